//! How the command line speaks: results on standard output, everything else on standard error, colours only on a
//! terminal (anstream sees to that, and to `NO_COLOR`). A trouble says what happened, what was not affected, and
//! what to do.

use anstyle::{AnsiColor, Style};
use std::{borrow::Cow, fmt, io::Write as _, process::ExitCode};

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
