//! What xtask says, on standard output, line by line, and how long things took.

use std::io::Write;
use std::time::Duration;

/// Prints one line. A closed pipe is not our failure.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// A wall clock for titles; xtask has no paused time to respect.
#[expect(clippy::disallowed_types, reason = "a command line measures real time and has no tokio")]
pub(crate) struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "a command line measures real time and has no tokio")]
    #[expect(clippy::disallowed_types, reason = "a command line measures real time and has no tokio")]
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
