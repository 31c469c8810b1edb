//! What is wrong with the settings, in the words of an operator: where, what, how to mend it. Invariant: no report
//! shows the value of a secret.

use super::source::Origin;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fmt, path::PathBuf};

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Start-up refuses.
    Error,
    /// Start-up goes on; worth knowing.
    Warning,
}

impl Severity {
    /// The word shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One problem and where it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Where the value was said.
    pub origin: Origin,
    /// Dotted key; empty when the problem has none (broken syntax).
    pub key: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it.
    pub mend: String,
    /// How bad.
    pub severity: Severity,
}

/// Everything found in one examination.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// In the order of the file, then variables, flags and defaults.
    pub problems: Vec<Located>,
}

impl Report {
    /// Whether start-up must refuse.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// How many errors and warnings.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let errors = self.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
        (errors, self.problems.len() - errors)
    }

    /// Puts problems into the order of the file; drops repetitions, and what only follows from a line that cannot
    /// be read as it stands.
    pub(crate) fn tidy(&mut self) {
        let line_of = |origin: &Origin| match origin {
            Origin::File { line, .. } => Some(*line),
            Origin::Environment(_) | Origin::Flag(_) | Origin::Default => None,
        };
        let broken: BTreeSet<usize> =
            self.problems.iter().filter(|p| p.key.is_empty()).filter_map(|p| line_of(&p.origin)).collect();
        self.problems
            .retain(|p| p.key.is_empty() || line_of(&p.origin).is_none_or(|line| !broken.contains(&line)));
        self.problems.sort_by(|a, b| (&a.origin, &a.key, a.severity).cmp(&(&b.origin, &b.key, b.severity)));
        self.problems.dedup();
    }

    /// Where a problem was said: `portcullis.toml:12:1`, a variable, a flag, or the default.
    #[must_use]
    pub fn place(&self, problem: &Located) -> String {
        match (&problem.origin, &self.file) {
            (Origin::File { line, column }, Some(file)) => format!("{}:{line}:{column}", file.display()),
            (other, _) => other.to_string(),
        }
    }

    /// The report for machines.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (errors, warnings) = self.counts();
        let problems: Vec<Value> = self
            .problems
            .iter()
            .map(|problem| {
                json!({
                    "severity": problem.severity.as_str(),
                    "place": self.place(problem),
                    "key": problem.key,
                    "message": problem.message,
                    "mend": problem.mend,
                })
            })
            .collect();
        json!({
            "ok": errors == 0,
            "file": self.file.as_ref().map(|file| file.display().to_string()),
            "errors": errors,
            "warnings": warnings,
            "problems": problems,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            write!(f, "{}: {}: ", problem.severity.as_str(), self.place(problem))?;
            if !problem.key.is_empty() {
                write!(f, "`{}`: ", problem.key)?;
            }
            writeln!(f, "{}", problem.message)?;
            if !problem.mend.is_empty() {
                writeln!(f, "    mend: {}", problem.mend)?;
            }
        }
        Ok(())
    }
}
