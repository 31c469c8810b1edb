//! The real `portcullis` binary as a child process: its own folder, configuration and environment, its printed
//! address, its logs, its signals and its exit code. Invariant: nothing of the tester's environment reaches it, so
//! a test says everything that matters.

use crate::child::Owned;
use rustix::process::Signal;
use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Text of `portcullis.toml`; empty: no configuration file at all.
    pub config: String,
    /// Further environment variables. By default both listeners bind a picked port on loopback.
    pub env: Vec<(String, String)>,
    /// The command line after the program's name.
    pub args: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        let picked = "127.0.0.1:0";
        let env = [("PORTCULLIS__HTTP__LISTEN", picked), ("PORTCULLIS__ADMIN__LISTEN", picked)];
        Self {
            config: String::new(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            args: vec!["serve".into()],
        }
    }
}

impl Options {
    /// The default options with this configuration.
    #[must_use]
    pub fn config(text: impl Into<String>) -> Self {
        Self { config: text.into(), ..Self::default() }
    }

    /// One more environment variable; a later one wins.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }
}

/// A server that ended (or stayed silent) instead of printing its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its exit code; none: killed, or silent for 30 seconds.
    pub code: Option<i32>,
    /// All it wrote to standard output.
    pub stdout: String,
    /// All it wrote to standard error.
    pub stderr: String,
}

/// A running Portcullis; killed, and its folder removed, on `Drop`.
#[derive(Debug)]
pub struct Server {
    binary: PathBuf,
    options: Options,
    /// Before the folder, so that it has ended when that is removed and writes nothing there afterwards.
    child: Owned,
    folder: tempfile::TempDir,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    starts: usize,
}

impl Server {
    /// Starts `binary` (`env!("CARGO_BIN_EXE_portcullis")`) and waits for its printed address.
    ///
    /// # Errors
    /// What it said when it ended instead.
    ///
    /// # Panics
    /// When the binary cannot be run at all.
    pub async fn start(binary: &str, options: Options) -> Result<Self, Refused> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let binary = PathBuf::from(binary);
        crate::blocking(move || {
            let (child, found) = launch(&binary, &options, folder.path(), 0)?;
            Ok(Self { binary, options, folder, child, address: found.0, admin: found.1, starts: 1 })
        })
        .await
    }

    /// Starts it again in the same folder, killing it first if it still runs; `change` may alter the options.
    ///
    /// # Errors
    /// What it said when it ended instead.
    pub async fn restart(self, change: impl FnOnce(&mut Options) + Send + 'static) -> Result<Self, Refused> {
        crate::blocking(move || {
            let mut server = self;
            server.child.kill();
            change(&mut server.options);
            let started = launch(&server.binary, &server.options, server.folder.path(), server.starts)?;
            server.starts += 1;
            server.child = started.0;
            (server.address, server.admin) = started.1;
            Ok(server)
        })
        .await
    }

    /// The main listener.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The admin listener, when it printed one.
    #[must_use]
    pub const fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its working folder; `data/` is below it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The first API key it printed since the last start.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        find_key(&self.stdout())
    }

    /// What it wrote to standard output since the last start.
    #[must_use]
    pub fn stdout(&self) -> String {
        read_lossy(&log_path(self.folder.path(), "out", self.starts - 1))
    }

    /// What it wrote to standard error (its log) since the last start.
    #[must_use]
    pub fn stderr(&self) -> String {
        read_lossy(&log_path(self.folder.path(), "err", self.starts - 1))
    }

    /// SIGTERM: drain and end.
    pub fn terminate(&mut self) {
        self.child.signal(Signal::TERM);
    }

    /// SIGHUP: read the configuration again.
    pub fn hang_up(&mut self) {
        self.child.signal(Signal::HUP);
    }

    /// Kill -9.
    pub fn kill(&mut self) {
        self.child.kill();
    }

    /// Waits for its end, at most `seconds`; its exit code, none if a signal ended it or it still runs.
    pub async fn wait(&mut self, seconds: u64) -> Option<i32> {
        for _ in 0..seconds.saturating_mul(crate::NAPS_PER_SEC) {
            if let Some(status) = self.child.ended() {
                return status.code();
            }
            // Real time, even where a test has paused tokio's clock.
            crate::blocking(crate::nap).await;
        }
        None
    }
}

/// Keeps what the server logged, so that the test command can search the logs of a whole run for secrets. Standard
/// output stays behind: it shows the first key on purpose.
impl Drop for Server {
    fn drop(&mut self) {
        let Some(kept) = crate::environment("PORTCULLIS_TEST_LOGS").map(PathBuf::from) else { return };
        self.child.kill();
        let folder = self.folder.path();
        let mut files: Vec<PathBuf> = (0..self.starts).map(|start| log_path(folder, "err", start)).collect();
        files.extend(
            fs::read_dir(folder.join("data/audit")).into_iter().flatten().flatten().map(|e| e.path()),
        );
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let run = format!("{}-{}-{name}", std::process::id(), self.child.id());
            // A log that cannot be kept is no reason to fail a test that has ended.
            drop(fs::copy(&file, kept.join(run)));
        }
    }
}

/// Runs a command of the binary to its end in `folder` with a clean environment: exit code, output, error output.
///
/// # Panics
/// When the binary cannot be run at all.
pub async fn run(binary: &str, folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Refused {
    let mut command = clean(Path::new(binary), folder);
    command.args(args).envs(env.iter().copied()).stdin(Stdio::null());
    let output = crate::blocking(move || command.output()).await.expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Refused { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn clean(binary: &Path, folder: &Path) -> Command {
    let mut command = Command::new(binary);
    command.current_dir(folder).env_clear().env("HOME", folder).env("TZ", "UTC");
    if let Some(path) = crate::environment("PATH") {
        command.env("PATH", path);
    }
    // Coverage of child processes is written where the runner asks for it.
    if let Some(profile) = crate::environment("LLVM_PROFILE_FILE") {
        command.env("LLVM_PROFILE_FILE", profile);
    }
    command
}

type Addresses = (SocketAddr, Option<SocketAddr>);

fn launch(
    binary: &Path,
    options: &Options,
    folder: &Path,
    number: usize,
) -> Result<(Owned, Addresses), Refused> {
    let (out, err) = (log_path(folder, "out", number), log_path(folder, "err", number));
    let mut command = clean(binary, folder);
    command.args(&options.args).stdin(Stdio::null());
    command.stdout(File::create(&out).expect("a log file")).stderr(File::create(&err).expect("a log file"));
    if !options.config.is_empty() {
        let path = folder.join("portcullis.toml");
        fs::write(&path, &options.config).expect("the configuration can be written");
        command.env("PORTCULLIS_CONFIG", path);
    }
    command.envs(options.env.iter().map(|(name, value)| (name, value)));
    let mut child = Owned::spawn(&mut command, Some(folder)).expect("the binary runs");
    let found = crate::wait_for(30, || {
        let ended = child.ended();
        match (find_addresses(&read_lossy(&out)), ended) {
            (Some(found), None) => Some(Ok(found)),
            (_, Some(status)) => Some(Err(status.code())),
            (None, None) => None,
        }
    });
    match found.unwrap_or(Err(None)) {
        Ok(found) => Ok((child, found)),
        Err(code) => Err(Refused { code, stdout: read_lossy(&out), stderr: read_lossy(&err) }),
    }
}

fn log_path(folder: &Path, which: &str, number: usize) -> PathBuf {
    folder.join(format!("{number}.{which}.log"))
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The first printed URL is the main listener's; one on a line that says "admin" is the admin listener's. Only whole
/// lines count: half a line may hold half a port.
fn find_addresses(printed: &str) -> Option<Addresses> {
    let whole = printed.rsplit_once('\n')?.0;
    let address = |line: &str| {
        let after = line.split_once("://")?.1;
        let end = after.find(|letter: char| !(letter.is_ascii_alphanumeric() || ".:[]".contains(letter)));
        after[..end.unwrap_or(after.len())].parse::<SocketAddr>().ok()
    };
    let is_admin = |line: &&str| line.to_ascii_lowercase().contains("admin");
    let main = whole.lines().filter(|line| !is_admin(line)).find_map(address)?;
    Some((main, whole.lines().filter(is_admin).find_map(address)))
}

fn find_key(printed: &str) -> Option<String> {
    let start = printed.find("pcl_")?;
    let rest = &printed[start..];
    let end = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || "_-".contains(letter)));
    Some(rest[..end.unwrap_or(rest.len())].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in that behaves as the contract says, so that the starter is tested before the product exists.
    fn stand_in(script: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portcullis");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (folder, path)
    }

    #[tokio::test]
    async fn it_finds_addresses_and_key_takes_signals_and_collects_the_exit_code() {
        let (_folder, binary) = stand_in(
            "trap 'echo bye; exit 0' TERM
             echo 'Portcullis listens on http://127.0.0.1:4711 (admin API http://127.0.0.1:1)' >/dev/null
             echo 'API    http://127.0.0.1:4711/v1'; echo 'Admin  http://127.0.0.1:4712'
             echo \"key pcl_abc_DEF-1, config $PORTCULLIS_CONFIG, home $HOME, $1\"; echo log >&2
             while :; do sleep 0.01; done",
        );
        let mut server = Server::start(&binary, Options::config("a = 1")).await.unwrap();
        assert_eq!(server.address().port(), 4711);
        assert_eq!(server.admin().map(|address| address.port()), Some(4712));
        assert_eq!(server.url(), "http://127.0.0.1:4711");
        assert_eq!(fs::read_to_string(server.folder().join("portcullis.toml")).unwrap(), "a = 1");
        server.terminate();
        assert_eq!(server.wait(10).await, Some(0));
        assert_eq!(server.key().as_deref(), Some("pcl_abc_DEF-1"));
        assert!(server.stdout().ends_with("serve\nbye\n") && server.stderr() == "log\n");
        let mut server = server.restart(|options| options.config.clear()).await.unwrap();
        server.kill();
        assert_eq!(server.wait(1).await, None);
    }

    #[tokio::test]
    async fn a_server_that_refuses_to_start_says_why() {
        let (_folder, binary) = stand_in("echo 'no key' >&2; exit 3");
        let refused = Server::start(&binary, Options::default()).await.unwrap_err();
        assert_eq!((refused.code, refused.stderr.as_str()), (Some(3), "no key\n"));
    }

    #[test]
    fn half_a_line_is_no_address() {
        assert_eq!(find_addresses("listening on http://127.0.0.1:47"), None);
        let (main, admin) = find_addresses("on http://127.0.0.1:47\nadmin on http://[::1]:8/\n").unwrap();
        assert_eq!((main.to_string(), admin.unwrap().to_string()), ("127.0.0.1:47".into(), "[::1]:8".into()));
    }
}
