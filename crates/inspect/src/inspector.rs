//! From text to verdict: rules and model look at the cleaned copy, and at every layer that the decoders undo. Their
//! evidence adds up, and what it comes to is a score of which honest texts of the same channel and length reach one
//! half once in a hundred and nine tenths once in a thousand. Linear in the length of the text: a payload at its end
//! counts like one at its start.
//!
//! Source: inspect.md section 2.

use crate::{
    InspectConfig, LongTexts,
    decode::{self, Decoded, Encoding},
    matching::{Hit, Matcher},
    model::{Depth, Model, ModelProblem, Reading},
    sanitise::Removed,
    scored::scored,
};
use std::{borrow::Cow, ops::Range, sync::Arc};

/// Who is speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// A person.
    User,
    /// A document, post, diff or tool result.
    Document,
}

/// What to do about a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerdictKind {
    /// Goes on.
    Allow,
    /// Goes on, recorded.
    Flag,
    /// Refused.
    Block,
}

impl VerdictKind {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Flag => "flag",
            Self::Block => "block",
        }
    }
}

/// What kind of evidence a reason is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReasonKind {
    /// A rule of the table; `id` is its name.
    Rule,
    /// The trained model.
    Model,
    /// Something was undone first; `id` says what.
    Decoded,
}

impl ReasonKind {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Model => "model",
            Self::Decoded => "decoded",
        }
    }
}

/// Why. For the operator, never for the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What kind of evidence.
    pub kind: ReasonKind,
    /// Its stable name; never a word of the text.
    pub id: &'static str,
    /// Bytes of the copy that was judged: in lower case, with single blanks, decoded where that is among the reasons.
    pub span: Range<usize>,
}

/// What inspection says of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// 0 to 1.
    pub score: f32,
    /// What to do.
    pub verdict: VerdictKind,
    /// Who spoke.
    pub channel: Channel,
    /// What speaks for an attack; empty when the text is allowed.
    pub reasons: Vec<Reason>,
    /// What was hidden in the text and is not in the copy that was scored.
    pub removed: Removed,
    /// Which model judged: `g1-` and the beginning of its checksum.
    pub model: Arc<str>,
}

/// Rules, decoders and model, ready to use. Share it behind an `Arc`.
#[derive(Clone, Debug)]
pub struct Inspector {
    matcher: Arc<Matcher>,
    model: Arc<Model>,
    name: Arc<str>,
    config: InspectConfig,
}

/// One layer of a text, judged.
struct Judged {
    score: f32,
    evidence: f32,
    hits: Vec<Hit>,
    /// Where the model saw most.
    seen: Range<usize>,
    copy: String,
}

/// Bytes of a copy below which the model alone says nothing: a word or two hold too few features to tell a bare "Word?"
/// from an attack, and of the attacks that are known one in 250 is so short.
const LEAST: usize = 16;
/// The most that such a text comes to: below any flag.
const UNSURE: f32 = 0.4;
/// From this score of the rules on they are enough by themselves.
const CERTAIN: f32 = 1.0;

impl Inspector {
    /// Prepares rules and model: about a millisecond, patterns are compiled when they are first needed.
    ///
    /// # Errors
    /// Weights that were changed since they were trained.
    pub fn new(config: &InspectConfig) -> Result<Self, ModelProblem> {
        Ok(Self::over(config, Model::trained()?))
    }

    /// With the model of another file, for the trainer.
    ///
    /// # Errors
    /// A file that is none of this version.
    pub fn with_model(config: &InspectConfig, file: Vec<u8>) -> Result<Self, ModelProblem> {
        Ok(Self::over(config, Model::read(Cow::Owned(file))?))
    }

    fn over(config: &InspectConfig, model: Model) -> Self {
        let name = model.name().into();
        let matcher = Arc::new(Matcher::new(model.language()));
        Self { matcher, model: Arc::new(model), name, config: config.clone() }
    }

    /// The same rules and model under other settings.
    #[must_use]
    pub fn under(&self, config: &InspectConfig) -> Self {
        Self { config: config.clone(), ..self.clone() }
    }

    /// Name of the model.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.name
    }

    /// Whether a score is enough to block.
    #[must_use]
    pub fn blocks(&self, score: f32) -> bool {
        score >= self.config.block
    }

    /// Looks at one text.
    #[must_use]
    pub fn inspect(&self, text: &str, channel: Channel) -> Verdict {
        let (worst, undone, removed) = self.worst(text, channel);
        let verdict = match worst.score {
            score if score >= self.config.block => VerdictKind::Block,
            score if score >= self.config.flag => VerdictKind::Flag,
            _ => VerdictKind::Allow,
        };
        let mut reasons = Vec::new();
        if verdict != VerdictKind::Allow {
            let rules = worst.hits.iter();
            reasons.extend(rules.map(|hit| Reason {
                kind: ReasonKind::Rule,
                id: hit.rule.id,
                span: hit.span.clone(),
            }));
            reasons.push(Reason { kind: ReasonKind::Model, id: "model", span: worst.seen });
            let decoded = |layer: Decoded| Reason {
                kind: ReasonKind::Decoded,
                id: layer.encoding.as_str(),
                span: layer.span,
            };
            reasons.extend(undone.map(decoded));
        }
        Verdict { score: worst.score, verdict, channel, reasons, removed, model: self.name.clone() }
    }

    /// The layer that scores most, what was undone to get there, and what hid in the text.
    fn worst(&self, text: &str, channel: Channel) -> (Judged, Option<Decoded>, Removed) {
        let copy = scored(text);
        let removed = copy.removed;
        let clean = copy.clean.as_deref().unwrap_or(text);
        let deep = if self.depth(channel).words { clean.len() } else { self.config.model_bytes };
        let mut layers = self.layers(text, &clean[..clean.floor_char_boundary(deep)], removed);
        // What is wholly encoded is judged by what it says: its own letters say nothing.
        let opaque: Vec<bool> = layers.iter().map(|layer| layer.whole).collect();
        let mut worst = self.judge(copy.folded(), channel, false);
        if opaque.first().copied().unwrap_or(false) {
            worst.score = 0.0;
        }
        let mut undone = None;
        for (index, layer) in layers.iter().enumerate() {
            if opaque.get(index + 1).copied().unwrap_or(false) {
                continue;
            }
            let judged = self.judge(scored(&layer.text).folded(), channel, layer.whole);
            if judged.score > worst.score {
                (worst, undone) = (judged, Some(index));
            }
        }
        (worst, undone.map(|index| layers.swap_remove(index)), removed)
    }

    /// How much of a text the model reads.
    const fn depth(&self, channel: Channel) -> Depth {
        match (channel, self.config.long_texts) {
            (Channel::User, long) => {
                Depth { fully: self.config.model_bytes, words: matches!(long, LongTexts::Model) }
            }
            (Channel::Document, _) => Depth::FULL,
        }
    }

    fn layers(&self, text: &str, clean: &str, removed: Removed) -> Vec<Decoded> {
        let language = self.model.language();
        let mut layers = decode::layers(clean, language, self.config.decode_budget);
        if removed.invisible >= decode::FEWEST_BITS {
            layers.extend(decode::hidden(text, language));
        }
        layers
    }

    fn judge(&self, (copy, plain): (String, bool), channel: Channel, decoded: bool) -> Judged {
        let hits = self.matcher.hits(&copy, plain);
        let (rules, spoken_about) = self.matcher.score(&hits, &copy);
        let by_rules = rules * self.model.rules - if spoken_about { self.model.mention } else { 0.0 };
        let reading = self.model.look(&copy, channel, self.depth(channel), |place| touches(&hits, place));
        let (evidence, seen) = evidence(&reading, &hits, by_rules, copy.len());
        let score = self.model.calibration(channel, decoded, copy.len()).score(evidence);
        let score = match (hits.is_empty(), copy.len()) {
            (true, ..LEAST) => score.min(UNSURE),
            _ if rules >= CERTAIN => score.max(rules),
            _ => score,
        };
        Judged { score, evidence, hits, seen, copy }
    }

    /// What undoing encodings makes of a text, layer by layer, each with what was undone.
    #[must_use]
    pub fn undone(&self, text: &str) -> Vec<(Encoding, String)> {
        let copy = scored(text);
        let layers = self.layers(text, copy.clean.as_deref().unwrap_or(text), Removed::default());
        layers.into_iter().map(|layer| (layer.encoding, layer.text)).collect()
    }

    /// The words of a text that weigh most, of its worst layer, with their evidence: why the model flags it. These are
    /// words of the text: for the person who asks, not for log or audit.
    #[must_use]
    pub fn explain(&self, text: &str, channel: Channel, most: usize) -> Vec<(String, f32)> {
        let (worst, ..) = self.worst(text, channel);
        self.model.explain(&worst.copy[worst.seen], channel, most)
    }

    /// What the calibration is made of, for the trainer: the evidence of a text, and of what it encodes as a whole.
    #[must_use]
    pub fn weigh(&self, text: &str, channel: Channel) -> Weighed {
        let copy = scored(text);
        let clean = copy.clean.as_deref().unwrap_or(text);
        let layers = self.layers(text, clean, copy.removed);
        let whole = layers.last().filter(|layer| layer.whole);
        let whole = whole.map(|layer| self.judge(scored(&layer.text).folded(), channel, true));
        let decoded = whole.map(|judged| (judged.evidence, judged.copy.len()));
        let judged = self.judge(copy.folded(), channel, false);
        let encoding = layers.first().map(|layer| layer.encoding);
        Weighed { evidence: judged.evidence, bytes: judged.copy.len(), decoded, encoding }
    }
}

/// The most that the whole or a window comes to, with what the rules say where they hit.
fn evidence(reading: &Reading, hits: &[Hit], by_rules: f32, bytes: usize) -> (f32, Range<usize>) {
    let mut most = (reading.whole + by_rules, 0..bytes);
    for (evidence, place) in &reading.windows {
        let evidence = evidence + if touches(hits, place) { by_rules } else { 0.0 };
        if evidence > most.0 {
            most = (evidence, place.clone());
        }
    }
    most
}

/// Whether a rule hit there.
fn touches(hits: &[Hit], place: &Range<usize>) -> bool {
    hits.iter().any(|hit| hit.span.start < place.end && place.start < hit.span.end)
}

/// Evidence before calibration.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighed {
    /// Of the text itself.
    pub evidence: f32,
    /// Length of its copy.
    pub bytes: usize,
    /// Of the worst layer that was wholly encoded, and its length.
    pub decoded: Option<(f32, usize)>,
    /// What was undone first.
    pub encoding: Option<Encoding>,
}

#[cfg(test)]
mod tests;
