//! A child process that never outlives its owner: killed and reaped on `Drop`, and, when the owner itself is killed
//! (a test runner's time-out), by a watchdog shell whose standard input is a pipe that only the owner holds open.
//! Invariant: signals go to one process id that has not been reaped yet.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    io,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

/// Waits for the owner's end, then ends the child: politely first, so that a master can stop its own children.
const WATCHDOG: &str = r#"read -r _
kill "$1" 2>/dev/null && { sleep 0.5; kill -9 "$1" 2>/dev/null; }
test -z "$2" || rm -rf -- "$2""#;

/// A running (or ended) child.
#[derive(Debug)]
pub struct Owned {
    child: Child,
    watchdog: Option<Child>,
    status: Option<ExitStatus>,
}

impl Owned {
    /// Starts `command`. `scratch` is a folder the watchdog removes if the owner dies before it can.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(command: &mut Command, scratch: Option<&Path>) -> io::Result<Self> {
        let child = command.spawn()?;
        let mut watchdog = Command::new("sh");
        watchdog
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(child.id().to_string())
            .arg(scratch.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let watchdog = watchdog.spawn().ok();
        Ok(Self { child, watchdog, status: None })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Takes the piped standard output, once.
    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Sends a signal; nothing happens when the process has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            // It may end between the look and the signal.
            let _ = kill_process(pid, signal);
        }
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Asks it to end with SIGTERM, so that it can stop children of its own, and kills it after `seconds`.
    pub fn terminate(&mut self, seconds: u64) {
        self.signal(Signal::TERM);
        crate::wait_for(seconds, || self.ended());
        self.kill();
    }

    /// Kills with -9 and reaps.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if self.status.is_none() {
            self.status = self.child.wait().ok();
        }
        self.dismiss_watchdog();
    }

    fn dismiss_watchdog(&mut self) {
        if let Some(mut watchdog) = self.watchdog.take() {
            drop(watchdog.kill());
            drop(watchdog.wait());
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_child_is_gone_and_reaped() {
        let mut child = Owned::spawn(Command::new("sleep").arg("600"), None).unwrap();
        assert!(child.ended().is_none());
        child.kill();
        assert!(child.ended().is_some_and(|status| !status.success()));
    }

    #[test]
    fn a_polite_end_lets_a_master_stop_its_children() {
        let script = "trap 'kill $!; exit 7' TERM; sleep 600 & wait";
        let mut child = Owned::spawn(Command::new("sh").args(["-c", script]), None).unwrap();
        // Before it is `sleep` it is a copy of the shell, which may swallow the signal.
        let first_child = || {
            let path = format!("/proc/{0}/task/{0}/children", child.id());
            let pid = std::fs::read_to_string(path).ok()?.trim().to_owned();
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            (name.trim() == "sleep").then_some(pid)
        };
        let grandchild = cfg!(target_os = "linux").then(|| crate::wait_for(10, first_child).unwrap());
        child.terminate(10);
        assert_eq!(child.ended().and_then(|status| status.code()), Some(7));
        if let Some(pid) = grandchild {
            let path = format!("/proc/{pid}");
            assert!(crate::wait_for(10, || (!Path::new(&path).exists()).then_some(())).is_some());
        }
    }

    #[test]
    fn the_watchdog_kills_an_orphan_and_removes_its_folder() {
        let scratch = tempfile::tempdir().unwrap().keep();
        let mut child = Owned::spawn(Command::new("sleep").arg("600"), Some(&scratch)).unwrap();
        // What the kernel does for an owner that was killed: the pipe closes.
        drop(child.watchdog.as_mut().and_then(|watchdog| watchdog.stdin.take()));
        assert!(crate::wait_for(10, || child.ended()).is_some());
        assert!(crate::wait_for(10, || (!scratch.exists()).then_some(())).is_some());
    }
}
