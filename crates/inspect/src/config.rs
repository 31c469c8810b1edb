//! `[inspect]`.

use crate::exceptions::{self, Exception};
use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What follows from a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Blocked messages are refused.
    #[default]
    Enforce,
    /// Verdicts are recorded; nothing else changes.
    Shadow,
}

/// How much of a long text of a user is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LongTexts {
    /// The model looks at whatever is suspicious.
    #[default]
    Model,
    /// The model looks at what the rules hit.
    Rules,
}

/// `[inspect]`: looking at untrusted texts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InspectConfig {
    /// Whether blocked messages are refused (`enforce`) or only recorded (`shadow`). Default `enforce`.
    pub mode: Mode,
    /// Most characters of one text; longer ones are refused with 400. Default 1000000.
    pub max_chars: usize,
    /// Most characters of a message at a chat door; whoever writes a longer one is told so. Default 2000.
    pub chat_chars: usize,
    /// Bodies larger than this many bytes are scanned off the async workers. Default 262144.
    pub offload_bytes: usize,
    /// Most bytes of a caller's JSON schema that answers are held against (`policies.<name>.output.schema`); a larger
    /// one is refused where the policy blocks, else not looked at. Default 65536.
    pub schema_bytes: usize,
    /// Most steps that holding one answer against a schema may take, a step being a rule held against a value or 64
    /// bytes read: about 10 milliseconds for 100000. What would take more is not flagged, but blocked. Default 200000.
    pub schema_steps: u32,
    /// Most bytes of one streamed answer that are kept to hold it against a schema when it has ended; a longer one is
    /// not looked at. Default 1048576.
    pub schema_stream_bytes: usize,
    /// A user's text is read by the model in full up to this many bytes; what follows is read as `long_texts` says.
    /// Documents are read in full. Default 32768.
    pub model_bytes: usize,
    /// What is read of a user's text behind its first `model_bytes`. `model`: the model reads what rules or single words
    /// make suspicious, encodings are undone everywhere (about 20 milliseconds a megabyte). `rules`: only what the
    /// rules hit, and encodings in the first part only (about 2 milliseconds a megabyte); attacks in the middle of long
    /// prompts are found less often. Default `model`.
    pub long_texts: LongTexts,
    /// Most bytes that are produced of one text by undoing encodings; what would be more stays encoded. Default 65536.
    pub decode_budget: usize,
    /// Score from which a text is flagged: at 0.5 one honest text in a hundred is. Default 0.5.
    pub flag: f32,
    /// Score from which a text is blocked: at 0.9 one honest text in a thousand is. Default 0.9.
    pub block: f32,
    /// Seconds after which what a caller sent counts half as much against its next suspicious message
    /// (`policies.<name>.input.turns`). Read at start. Default 600.
    pub turn_half_life_secs: u32,
    /// Most texts that are remembered as harmless, about 50 bytes each (no text, only its sum): a conversation's earlier
    /// messages, which clients send again with each new one, are not read anew. 0: none. Default 16384.
    pub remembered_texts: usize,
    /// Most callers whose suspicious messages are remembered, about 100 bytes each. Read at start. Default 100000.
    pub turn_callers: usize,
    /// Suspicious messages that pass nevertheless, until a day. Default none.
    pub exceptions: Vec<Exception>,
    /// Most exceptions that are granted at run time beside those (`portcullis exceptions`), about 500 bytes each. Read at
    /// start. Default 1000.
    pub max_granted: usize,
    /// Longest time of one that is granted at run time, in days. Read at start. Default 90.
    pub granted_days: u32,
    /// Seconds within which a sender can say that a message is meant (`policies.<name>.flagged = "confirm"`); later it is
    /// asked about anew. Default 600.
    pub confirm_secs: u32,
}

/// Most bytes that decoders may make of one text, whatever is configured.
const MOST_DECODED: usize = 16 << 20;
/// Most texts that may be remembered.
const MOST_REMEMBERED: usize = 1 << 24;
/// Fewest bytes that the model reads in full.
const LEAST_READ: usize = 1024;

impl Default for InspectConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            max_chars: 1_000_000,
            chat_chars: 2000,
            offload_bytes: 262_144,
            schema_bytes: 65_536,
            schema_steps: 200_000,
            schema_stream_bytes: 1 << 20,
            model_bytes: 32_768,
            long_texts: LongTexts::Model,
            decode_budget: 65_536,
            flag: 0.5,
            block: 0.9,
            turn_half_life_secs: 600,
            remembered_texts: 16_384,
            turn_callers: 100_000,
            exceptions: Vec::new(),
            max_granted: 1000,
            granted_days: 90,
            confirm_secs: 600,
        }
    }
}

impl InspectConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        if self.max_chars == 0 {
            out.push(Problem::new(
                format!("{prefix}.max_chars"),
                "must be at least 1",
                "leave the key out for 1000000",
            ));
        }
        for (name, value) in [
            ("schema_bytes", self.schema_bytes),
            ("schema_steps", usize::try_from(self.schema_steps).unwrap_or(usize::MAX)),
            ("schema_stream_bytes", self.schema_stream_bytes),
            ("turn_half_life_secs", usize::try_from(self.turn_half_life_secs).unwrap_or(usize::MAX)),
            ("turn_callers", self.turn_callers),
        ] {
            if value == 0 {
                let key = format!("{prefix}.{name}");
                out.push(Problem::new(key, "must be at least 1", "leave the key out for its default"));
            }
        }
        if self.remembered_texts > MOST_REMEMBERED {
            let mend = "keep it below 16777216; leave the key out for 16384";
            out.push(Problem::new(format!("{prefix}.remembered_texts"), "would take gigabytes", mend));
        }
        if self.decode_budget > MOST_DECODED {
            let mend = "keep it below 16777216; leave the key out for 65536";
            out.push(Problem::new(
                format!("{prefix}.decode_budget"),
                "would let one text take seconds",
                mend,
            ));
        }
        if self.model_bytes < LEAST_READ {
            let mend = "keep at least 1024; leave the key out for 32768";
            out.push(Problem::new(format!("{prefix}.model_bytes"), "too few for the model", mend));
        }
        for (name, value, least, most) in [
            ("chat_chars", self.chat_chars as u64, 1, 1_000_000),
            ("max_granted", self.max_granted as u64, 1, 100_000),
            ("granted_days", u64::from(self.granted_days), 1, 366),
            ("confirm_secs", u64::from(self.confirm_secs), 10, 86_400),
        ] {
            if !(least..=most).contains(&value) {
                let mend = format!("choose {least} to {most}, or leave the key out");
                out.push(Problem::new(format!("{prefix}.{name}"), "is out of range", mend));
            }
        }
        exceptions::problems(&self.exceptions, prefix, out);
        if !(self.flag > 0.0 && self.flag <= self.block && self.block <= 1.0) {
            let mend = "keep 0 < flag <= block <= 1; the defaults are 0.5 and 0.9";
            out.push(Problem::new(format!("{prefix}.flag"), "the thresholds are out of order", mend));
        }
    }
}
