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

/// What follows when an answer is not what the caller's JSON schema asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SchemaAction {
    /// Nobody looks.
    #[default]
    Off,
    /// It is counted and noted in the audit trail.
    Flag,
    /// It is asked for once more, and refused if that is no better.
    Retry,
    /// It is refused.
    Block,
}

/// How what is redacted in a prompt is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RedactPrompts {
    /// By its kind, for good.
    #[default]
    Kinds,
    /// By a name such as `<EMAIL_1>` that is put back into the answer.
    Reversible,
}

/// How untrusted texts are told apart from instructions in a prompt. The later ones change more of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Harden {
    /// Not at all: prompts pass byte for byte.
    #[default]
    Off,
    /// Each stands between two lines with a random marker of its request.
    Delimit,
    /// Between such lines, its words joined by a character of no script.
    Datamark,
    /// Between such lines, in base64.
    Encode,
}

/// What follows when a message is suspicious and not blocked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Flagged {
    /// It is recorded and passes.
    #[default]
    Record,
    /// It goes on hardened, and its answer may call none but `output.flagged_tools`.
    Harden,
    /// It is refused until its sender says that it is meant; then it goes on hardened.
    Confirm,
    /// It is refused.
    Block,
}

/// `[policies.<name>]`: one guard policy; routes name the one they want.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// Whether findings have consequences (`enforce`) or are only recorded (`shadow`). Default `enforce`.
    pub mode: Mode,
    /// How messages of users and results of tools are marked in prompts, so that a model can tell them from its
    /// instructions: `off`, `delimit` (lines with a marker of this request around each), `datamark` (their words joined
    /// by a character that the system part names, too) or `encode` (base64, for models that read it). The system part
    /// says what the marks mean, which costs about 150 tokens. Default `off`.
    pub harden: Harden,
    /// Whether the system part holds a word that nothing asks for, so that an answer with it gives away that
    /// instructions leaked. Default: where prompts are hardened.
    pub canary: Option<bool>,
    /// What follows when a message is suspicious and not blocked: `record` lets it pass as it is, `harden` hardens it
    /// (`delimit`, unless `harden` says more), `confirm` asks its sender whether it is meant (a button or a word at chat
    /// doors, over HTTP 428 and a header to send it again with) and then hardens it, `block` refuses it. Default `record`.
    pub flagged: Flagged,
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
    /// Personal data: addresses of mail and machines, phones, cards, accounts, numbers of people. Default `off`.
    pub personal: CheckAction,
    /// Words and phrases that are not to be spoken of, at most 256 of at most 128 characters. Default none.
    pub topics: Vec<String>,
    /// What follows when one is. Default `block`.
    pub topics_action: CheckAction,
    /// How secrets and personal data are replaced: by their kind (`kinds`), or by names that are put back into the
    /// answer (`reversible`). The latter redacts both where they are `off`, in every text of the prompt, and remembers
    /// what it replaced only while the request runs. Default `kinds`.
    pub redact_prompts: RedactPrompts,
    /// Whether suspicious messages count against the next suspicious one of the same caller, so that several in a row are
    /// blocked. For callers that are one person each: behind the key of an app many speak, and one of a hundred honest
    /// messages is suspicious. Default `false`.
    pub turns: bool,
}

impl Default for InputPolicy {
    fn default() -> Self {
        Self {
            injection: CheckAction::Block,
            secrets: CheckAction::Off,
            personal: CheckAction::Off,
            topics: Vec::new(),
            topics_action: CheckAction::Block,
            redact_prompts: RedactPrompts::Kinds,
            turns: false,
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
    /// Personal data: addresses of mail and machines, phones, cards, accounts, numbers of people. Default `off`.
    pub personal: CheckAction,
    /// Whether personal data may stand in an answer that the user's messages or results of tools hold: whoever asked knows
    /// it already, and a letter that is to be mended keeps its sender. Default `true`.
    pub personal_said: bool,
    /// Words and phrases that are not to be spoken of, at most 256 of at most 128 characters. Default none.
    pub topics: Vec<String>,
    /// What follows when one is. Default `block`.
    pub topics_action: CheckAction,
    /// Links to hosts that `link_hosts` does not name: they can carry what was said to a stranger. Default `off`.
    pub links: CheckAction,
    /// Hosts that may be linked to, with everything below them. Default none.
    pub link_hosts: Vec<String>,
    /// Whether hosts that messages of the user name may be linked to as well; results of tools do not count. Default
    /// `false`.
    pub link_cited: bool,
    /// Answers with the canary, or with eight words in a row of the system part that neither user nor tool said: `flag` or
    /// `block`; `redact` is as good as `block`. A stream ends before the first of these words. Default: `block` where
    /// prompts are hardened, else `off`.
    pub leak: Option<CheckAction>,
    /// Tools that answers may call, where not all: a call of another, or one whose arguments hold a key, token or
    /// password, ends the answer. Default: all, without a look.
    pub tools: Option<Vec<String>>,
    /// Tools that may be called by the answer to a message that holds what strangers wrote (results of tools), where not
    /// all of `tools`: what was read there must not decide what is done outside. A call of another ends the answer.
    /// Default: as `tools`.
    pub untrusted_tools: Option<Vec<String>>,
    /// Tools that the answer to a suspicious message may call where `flagged` is `harden`. Default none.
    pub flagged_tools: Vec<String>,
    /// Answers that are not what the caller's `response_format` asks for: `flag`, `retry` (one more call, which costs
    /// as any other, then as `block`) or `block`. Streams have been delivered when they can be judged, and are only
    /// flagged. A schema that cannot be checked is refused with 400 unless this is `flag`. Default `off`.
    pub schema: SchemaAction,
}

impl Default for OutputPolicy {
    fn default() -> Self {
        Self {
            secrets: CheckAction::Off,
            personal: CheckAction::Off,
            personal_said: true,
            topics: Vec::new(),
            topics_action: CheckAction::Block,
            links: CheckAction::Off,
            link_hosts: Vec::new(),
            link_cited: false,
            leak: None,
            tools: None,
            untrusted_tools: None,
            flagged_tools: Vec::new(),
            schema: SchemaAction::Off,
        }
    }
}

/// A list of topics, and what follows when one is spoken of.
type Topics<'a> = (&'a [String], CheckAction);

/// What both look for, with the stricter consequence; a list without consequences, or an empty one, adds neither.
fn topics(one: Topics<'_>, other: Topics<'_>) -> (Vec<String>, CheckAction) {
    let counts = |topics: &Topics<'_>| topics.1 != CheckAction::Off && !topics.0.is_empty();
    let (mut words, mut action) = (Vec::new(), CheckAction::Off);
    for (more, follows) in [one, other].into_iter().filter(counts) {
        words.extend_from_slice(more);
        action = action.max(follows);
    }
    words.sort_unstable();
    words.dedup();
    (words, action)
}

/// Hosts that both lists allow: of two names, one below the other, the lower one.
fn hosts(one: &[String], other: &[String]) -> Vec<String> {
    let (one, other) = (lower(one), lower(other));
    let under = |host: &String, list: &[String]| {
        list.iter().any(|known| {
            host.strip_suffix(known.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    };
    let mut both: Vec<String> = one.iter().filter(|host| under(host, &other)).cloned().collect();
    both.extend(other.iter().filter(|host| under(host, &one)).cloned());
    both.sort_unstable();
    both.dedup();
    both
}

fn lower(hosts: &[String]) -> Vec<String> {
    hosts.iter().map(|host| host.to_lowercase()).collect()
}

/// Tools that both lists allow; a missing list allows all.
fn tools(one: Option<&Vec<String>>, other: Option<&Vec<String>>) -> Option<Vec<String>> {
    let (Some(one), Some(other)) = (one, other) else {
        return one.or(other).map(|list| sorted(list.clone()));
    };
    Some(both(one, other))
}

fn both(one: &[String], other: &[String]) -> Vec<String> {
    sorted(one.iter().filter(|tool| other.contains(tool)).cloned().collect())
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort_unstable();
    list.dedup();
    list
}

impl InputPolicy {
    fn with(&self, other: &Self) -> Self {
        let (topics, topics_action) =
            topics((&self.topics, self.topics_action), (&other.topics, other.topics_action));
        Self {
            injection: self.injection.max(other.injection),
            secrets: self.secrets.max(other.secrets),
            personal: self.personal.max(other.personal),
            topics,
            topics_action,
            redact_prompts: self.redact_prompts.max(other.redact_prompts),
            turns: self.turns || other.turns,
        }
    }

    fn flagging(&self) -> Self {
        let most = CheckAction::Flag;
        Self {
            injection: self.injection.min(most),
            secrets: self.secrets.min(most),
            personal: self.personal.min(most),
            topics: self.topics.clone(),
            topics_action: self.topics_action.min(most),
            turns: self.turns,
            redact_prompts: if most < CheckAction::Redact {
                RedactPrompts::Kinds
            } else {
                self.redact_prompts
            },
        }
    }
}

impl OutputPolicy {
    fn with(&self, other: &Self) -> Self {
        let (topics, topics_action) =
            topics((&self.topics, self.topics_action), (&other.topics, other.topics_action));
        let link_hosts = match (self.links, other.links) {
            (CheckAction::Off, looks) if looks != CheckAction::Off => other.link_hosts.clone(),
            (looks, CheckAction::Off) if looks != CheckAction::Off => self.link_hosts.clone(),
            (_, _) => hosts(&self.link_hosts, &other.link_hosts),
        };
        let looks = |policy: &Self| policy.links != CheckAction::Off;
        Self {
            secrets: self.secrets.max(other.secrets),
            personal: self.personal.max(other.personal),
            // Only of those that look: the others say nothing of it.
            personal_said: [self, other]
                .into_iter()
                .filter(|policy| policy.personal != CheckAction::Off)
                .all(|policy| policy.personal_said),
            topics,
            topics_action,
            links: self.links.max(other.links),
            link_hosts,
            link_cited: [self, other]
                .into_iter()
                .filter(|policy| looks(policy))
                .all(|policy| policy.link_cited)
                && (looks(self) || looks(other)),
            leak: self.leak.max(other.leak),
            tools: tools(self.tools.as_ref(), other.tools.as_ref()),
            untrusted_tools: tools(self.untrusted_tools.as_ref(), other.untrusted_tools.as_ref()),
            flagged_tools: both(&self.flagged_tools, &other.flagged_tools),
            schema: self.schema.max(other.schema),
        }
    }

    fn flagging(&self) -> Self {
        let most = CheckAction::Flag;
        Self {
            secrets: self.secrets.min(most),
            personal: self.personal.min(most),
            personal_said: self.personal_said,
            topics: self.topics.clone(),
            topics_action: self.topics_action.min(most),
            links: self.links.min(most),
            link_hosts: self.link_hosts.clone(),
            link_cited: self.link_cited,
            leak: Some(self.leak.unwrap_or_default().min(most)),
            // A list has no consequence but a refusal.
            tools: None,
            untrusted_tools: None,
            flagged_tools: self.flagged_tools.clone(),
            schema: self.schema.min(SchemaAction::Flag),
        }
    }
}

/// Most words and phrases of one list.
const MAX_TOPICS: usize = 256;
/// Longest of them, in characters.
pub(crate) const MAX_TOPIC_CHARS: usize = 128;

impl PolicyConfig {
    /// Both at once: of each check the stricter consequence, the topics of both, the links that both allow. Where only
    /// one is in shadow, its findings are still only recorded.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        if self.mode != other.mode {
            return self.in_force().with(&other.in_force());
        }
        let output = OutputPolicy {
            leak: self.leak(other),
            flagged_tools: match (self.flagged == Flagged::Record, other.flagged == Flagged::Record) {
                (false, true) => self.output.flagged_tools.clone(),
                (true, false) => other.output.flagged_tools.clone(),
                (true, true) | (false, false) => {
                    both(&self.output.flagged_tools, &other.output.flagged_tools)
                }
            },
            ..self.output.with(&other.output)
        };
        Self {
            mode: self.mode,
            harden: self.harden.max(other.harden),
            // Unless somebody asks for one, it is there where prompts are hardened, which nobody denies alone.
            canary: match (self.canary, other.canary) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                (None, _) | (_, None) => None,
            },
            flagged: self.flagged.max(other.flagged),
            input: self.input.with(&other.input),
            output,
        }
    }

    /// The stricter consequence of a leak; what is left to its default blocks wherever one of the two hardens.
    fn leak(&self, other: &Self) -> Option<CheckAction> {
        let hardens = |policy: &Self| policy.harden != Harden::Off || policy.flagged != Flagged::Record;
        match (self.output.leak, other.output.leak) {
            (None, None) => None,
            (Some(one), Some(other)) => Some(one.max(other)),
            (Some(_), None) | (None, Some(_)) if hardens(self) || hardens(other) => Some(CheckAction::Block),
            (Some(action), None) | (None, Some(action)) => Some(action),
        }
    }

    /// The same without shadow: what a shadow changes is that nothing has more consequences than a note.
    fn in_force(&self) -> Self {
        match self.mode {
            Mode::Enforce => self.clone(),
            Mode::Shadow => Self {
                mode: Mode::Enforce,
                harden: Harden::Off,
                canary: Some(false),
                flagged: Flagged::Record,
                input: self.input.flagging(),
                output: self.output.flagging(),
            },
        }
    }

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

#[cfg(test)]
mod tests;
