//! One thing wrong with the configuration. Every crate's `Config` reports all of them at once through
//! `problems()`; `runtime` adds the file and line, so that an operator mends everything in one go.

/// What is wrong, where, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Dotted key, such as `providers.openai.rpm`.
    pub key: String,
    /// What is wrong, in one sentence. Never the value of a secret.
    pub message: String,
    /// What to do about it, in one sentence.
    pub mend: String,
}

impl Problem {
    /// A problem at a key.
    pub fn new(key: impl Into<String>, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into(), mend: mend.into() }
    }
}
