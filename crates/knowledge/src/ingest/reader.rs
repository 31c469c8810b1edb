//! Reading in a process of its own: a hostile or broken file ends that process, not us. The process is this same
//! binary under a hidden command; it gets bytes and gives what they say, and is bounded in memory, time, files and
//! network ([`confine`]). One process reads many files until one ends it. Invariants: at most `secs` after a file was
//! handed in there is an answer; whatever the process does, what comes of it is an [`Extracted`] or a [`Refusal`].
//! Source: ask design section 4.2.

pub mod confine;
mod frames;

pub use frames::{Setup, serve};

use super::extract::{Extracted, Hint, Limits, Refusal};
use crate::config::KnowledgeConfig;
use frames::{Request, answer, encode};
use std::{
    io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
    time::timeout,
};

/// The signal that ends a process whose processor time is used up.
const SIGXCPU: i32 = 24;
/// How long a process that has been told to end may take.
const ENDING: Duration = Duration::from_secs(5);

/// Reads files, one at a time.
pub struct Reader {
    how: How,
    setup: Setup,
}

enum How {
    Process {
        program: PathBuf,
        arguments: Vec<String>,
        process: Mutex<Option<Box<Process>>>,
    },
    #[cfg(test)]
    Here,
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

/// No reading process could be started: nothing can be taken in at all.
#[derive(Debug, thiserror::Error)]
#[error("the process that reads files cannot be started: {0}")]
pub struct NoProcess(io::Error);

impl Reader {
    /// By this program with these arguments, which must come to [`serve`].
    #[must_use]
    pub fn new(program: &Path, arguments: &[&str], config: &KnowledgeConfig) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let how = How::Process { program: program.to_owned(), arguments, process: Mutex::new(None) };
        Self { how, setup: Setup::from(config) }
    }

    #[cfg(test)]
    pub(crate) fn here(config: &KnowledgeConfig) -> Self {
        Self { how: How::Here, setup: Setup::from(config) }
    }

    /// What the file says, or why it is not taken in.
    ///
    /// # Errors
    /// No process can be started.
    pub async fn read(&self, bytes: Vec<u8>, hint: &Hint) -> Result<Result<Extracted, Refusal>, NoProcess> {
        match &self.how {
            #[cfg(test)]
            How::Here => Ok(super::extract::extract(&bytes, hint, &self.setup.limits)),
            How::Process { program, arguments, process } => {
                let mut process = process.lock().await;
                // Taken: a call that is given up leaves no process with half a file in its pipe.
                let mut running = match process.take() {
                    Some(running) => running,
                    None => self.start(program, arguments).await.map_err(NoProcess)?,
                };
                let (answer, goes_on) = self.ask(&mut running, bytes, hint).await;
                if goes_on {
                    *process = Some(running);
                }
                Ok(answer)
            }
        }
    }

    async fn start(&self, program: &Path, arguments: &[String]) -> io::Result<Box<Process>> {
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        input.write_all(&encode(&self.setup, &[])).await?;
        Ok(Box::new(Process { child, input, output }))
    }

    /// One file; whether the process can read another.
    async fn ask(
        &self,
        process: &mut Process,
        bytes: Vec<u8>,
        hint: &Hint,
    ) -> (Result<Extracted, Refusal>, bool) {
        let most = self.setup.most_answer();
        let exchange = async {
            process.input.write_all(&encode(&Request { hint: hint.clone() }, &bytes)).await?;
            drop(bytes);
            process.input.flush().await?;
            let mut length = [0; 8];
            process.output.read_exact(&mut length).await?;
            let length = u64::from_le_bytes(length);
            if length > most {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let mut body = Vec::new();
            (&mut process.output).take(length).read_to_end(&mut body).await?;
            answer(&body)
        };
        match timeout(Duration::from_secs(self.setup.secs), exchange).await {
            Ok(Ok(answer)) => (answer, true),
            Ok(Err(_)) => (Err(self.cause(process).await), false),
            Err(_) => {
                let _gone = process.child.start_kill();
                let _gone = timeout(ENDING, process.child.wait()).await;
                (Err(Refusal::TimeOut(self.setup.secs)), false)
            }
        }
    }

    /// Why the process ended.
    async fn cause(&self, process: &mut Process) -> Refusal {
        let _gone = process.child.start_kill();
        match timeout(ENDING, process.child.wait()).await {
            Ok(Ok(status)) if status.signal() == Some(SIGXCPU) => Refusal::TimeOut(self.setup.secs),
            _ => Refusal::Broke,
        }
    }

    /// The bounds of what is read.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.setup.limits
    }
}
