//! How the command line speaks: results on standard output, everything else on standard error, colours only on a
//! terminal (anstream sees to that, and to `NO_COLOR`). A trouble says what happened, what was not affected, and
//! what to do.

use anstyle::{AnsiColor, Style};
use std::{
    borrow::Cow,
    fmt,
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};
use tokio::time::Instant;

/// Bold, for what the eye should find first.
pub(crate) const BOLD: Style = Style::new().bold();
/// For what is wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// For what deserves a look.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// For what is well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// For what may be skipped.
pub(crate) const DIM: Style = Style::new().dimmed();

/// Something went wrong, in the words of the person at the keyboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// What happened.
    pub(crate) what: String,
    /// What was not affected; may be empty.
    pub(crate) safe: String,
    /// What to do; may be empty.
    pub(crate) mend: String,
    /// 1 the thing failed, 2 wrong use.
    pub(crate) code: u8,
}

impl Trouble {
    /// The thing asked for failed.
    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self { what: what.into(), safe: String::new(), mend: String::new(), code: 1 }
    }

    /// The command line, or a file named on it, cannot be used.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self { code: 2, ..Self::failed(what) }
    }

    pub(crate) fn safe(mut self, safe: impl Into<String>) -> Self {
        self.safe = safe.into();
        self
    }

    pub(crate) fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = mend.into();
        self
    }

    /// Says it on standard error.
    pub(crate) fn tell(&self, json: bool) -> ExitCode {
        if json {
            let body = serde_json::json!({
                "ok": false, "error": self.what, "unaffected": self.safe, "mend": self.mend,
            });
            anstream::eprintln!("{body}");
        } else {
            anstream::eprintln!("{BAD}error:{BAD:#} {self}");
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.safe.is_empty() {
            write!(f, "\n  not affected: {}", self.safe)?;
        }
        if !self.mend.is_empty() {
            write!(f, "\n  what to do: {}", self.mend)?;
        }
        Ok(())
    }
}

/// Prints a line of the result. A reader that has gone away (`| head`) is no error.
pub(crate) fn line(text: impl fmt::Display) {
    let _gone = writeln!(anstream::stdout(), "{text}");
}

/// Prints a piece of the result at once, in one write: who reads along sees all of it or nothing.
pub(crate) fn piece(text: &str) {
    let stdout = std::io::stdout();
    let plain = match anstream::AutoStream::choice(&stdout) {
        anstream::ColorChoice::Never => Cow::Owned(anstream::adapter::strip_str(text).to_string()),
        anstream::ColorChoice::Auto | anstream::ColorChoice::AlwaysAnsi | anstream::ColorChoice::Always => {
            Cow::Borrowed(text)
        }
    };
    let mut out = stdout.lock();
    let _gone = out.write_all(plain.as_bytes()).and_then(|()| out.flush());
}

/// Tells how far something is, on standard error: on a terminal one line that changes, else a line every five seconds.
/// What takes less than two seconds says nothing.
pub(crate) struct Progress {
    what: &'static str,
    started: Instant,
    told: Option<Instant>,
    live: bool,
}

/// Silence at the beginning.
const QUIET: Duration = Duration::from_secs(2);
/// Between two lines where nobody watches.
const LINES: Duration = Duration::from_secs(5);

impl Progress {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, started: Instant::now(), told: None, live: std::io::stderr().is_terminal() }
    }

    /// So many of so many are done.
    pub(crate) fn tell(&mut self, done: usize, all: usize) {
        let (now, passed) = (Instant::now(), self.started.elapsed());
        let due = self.told.is_none_or(|told| self.live || now - told >= LINES || done == all);
        if passed < QUIET || !due {
            return;
        }
        self.told = Some(now);
        let left = passed.as_secs_f64() / done.max(1) as f64 * all.saturating_sub(done) as f64;
        let (percent, left) = (done * 100 / all.max(1), left.ceil() as u64);
        let text = format!("{done}/{all} {}  {percent} %  ETA {}:{:02}", self.what, left / 60, left % 60);
        let mut out = anstream::stderr();
        let end = if done == all || !self.live { "\n" } else { "" };
        let start = if self.live { "\r\x1b[K" } else { "" };
        let _gone = write!(out, "{start}{text}{end}").and_then(|()| out.flush());
    }
}
