//! `[policies.<name>]`: what is looked for in what comes in and what goes out, and what follows. Source: gateway.md
//! section 11.

use crate::config::Mode;
use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What follows from a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckAction {
    /// Nobody looks.
    #[default]
    Off,
    /// It is counted and noted in the audit trail.
    Flag,
    /// It is replaced by its kind, such as `[openai_key]`.
    Redact,
    /// The message is refused; an answer ends there.
    Block,
}

impl CheckAction {
    /// The stable name, as metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Flag => "flag",
            Self::Redact => "redact",
            Self::Block => "block",
        }
    }
}

/// `[policies.<name>]`: one guard policy; routes name the one they want.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// Whether findings have consequences (`enforce`) or are only recorded (`shadow`). Default `enforce`.
    pub mode: Mode,
    /// What is looked for in messages of users and results of tools, before cache and provider.
    pub input: InputPolicy,
    /// What is looked for in answers, streamed ones too.
    pub output: OutputPolicy,
}

/// `[policies.<name>.input]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InputPolicy {
    /// Attempts to turn the model against its instructions, by the scores of `[inspect]`: `block` blocks from
    /// `inspect.block` on, `flag` never blocks. `redact` is as good as `block`. Default `block`.
    pub injection: CheckAction,
    /// Keys, tokens and passwords. Default `off`.
    pub secrets: CheckAction,
    /// E-mail addresses. Default `off`.
    pub personal: CheckAction,
    /// Words and phrases that are not to be spoken of, at most 256 of at most 128 characters. Default none.
    pub topics: Vec<String>,
    /// What follows when one is. Default `block`.
    pub topics_action: CheckAction,
}

impl Default for InputPolicy {
    fn default() -> Self {
        Self {
            injection: CheckAction::Block,
            secrets: CheckAction::Off,
            personal: CheckAction::Off,
            topics: Vec::new(),
            topics_action: CheckAction::Block,
        }
    }
}

/// `[policies.<name>.output]`: with everything off, streams pass untouched; else the last unfinished word of a stream
/// (and as much as the longest topic) is held back until it is known to be harmless.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutputPolicy {
    /// Keys, tokens and passwords. Default `off`.
    pub secrets: CheckAction,
    /// E-mail addresses. Default `off`.
    pub personal: CheckAction,
    /// Words and phrases that are not to be spoken of, at most 256 of at most 128 characters. Default none.
    pub topics: Vec<String>,
    /// What follows when one is. Default `block`.
    pub topics_action: CheckAction,
    /// Links to hosts that `link_hosts` does not name: they can carry what was said to a stranger. Default `off`.
    pub links: CheckAction,
    /// Hosts that may be linked to, with everything below them. Default none.
    pub link_hosts: Vec<String>,
}

impl Default for OutputPolicy {
    fn default() -> Self {
        Self {
            secrets: CheckAction::Off,
            personal: CheckAction::Off,
            topics: Vec::new(),
            topics_action: CheckAction::Block,
            links: CheckAction::Off,
            link_hosts: Vec::new(),
        }
    }
}

/// Most words and phrases of one list.
const MAX_TOPICS: usize = 256;
/// Longest of them, in characters.
pub(crate) const MAX_TOPIC_CHARS: usize = 128;

impl PolicyConfig {
    /// Adds what is out of range.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        for (part, topics) in [("input", &self.input.topics), ("output", &self.output.topics)] {
            let sound = |topic: &String| !topic.trim().is_empty() && topic.chars().count() <= MAX_TOPIC_CHARS;
            if topics.len() > MAX_TOPICS || !topics.iter().all(sound) {
                let mend = format!("Use at most {MAX_TOPICS}, each of 1 to {MAX_TOPIC_CHARS} characters.");
                out.push(Problem::new(format!("{prefix}.{part}.topics"), "The list is not usable.", mend));
            }
        }
    }
}
