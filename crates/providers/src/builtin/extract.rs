//! Answers from the conversation itself: the sentences of the supplied context whose meaning lies nearest to the
//! question. Nothing is made up; where nothing fits, that is said. Invariant: the same conversation gives the same
//! answer, and the work is bounded by `max_sentences`, however long the conversation is.
//!
//! Source: query-sentence cosine, measured on WikiQA beside BM25 and the first sentence (crate README of the model).

use super::minilm::cosine;
use ahash::AHashSet;
use portcullis_domain::{ChatRequest, Problem, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation as _;

/// `[extract]`: the builtin answerer `builtin/extractive`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExtractConfig {
    /// Sentences of a conversation compared with its question by meaning, about 10 ms each; of longer conversations
    /// those that share most words with the question. Default 64.
    pub max_sentences: usize,
    /// Bytes of a conversation that are looked at, from its end. Default 262144.
    pub max_context_bytes: usize,
    /// Sentences in an answer. Default 2.
    pub answer_sentences: usize,
    /// Least likeness (cosine, 0 to 1) of a sentence to the question; below it the answer says that nothing fits.
    /// Default 0.35.
    pub min_score: f32,
}

impl Default for ExtractConfig {
    fn default() -> Self {
        Self { max_sentences: 64, max_context_bytes: 262_144, answer_sentences: 2, min_score: 0.35 }
    }
}

impl ExtractConfig {
    /// Adds what is out of range.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        let mut check = |key: &str, fine: bool, mend: &str| {
            if !fine {
                out.push(Problem::new(format!("{prefix}.{key}"), "The value is out of range.", mend));
            }
        };
        check("max_sentences", (1..=4096).contains(&self.max_sentences), "Use 1 to 4096.");
        let bytes = (1024..=33_554_432).contains(&self.max_context_bytes);
        check("max_context_bytes", bytes, "Use 1024 to 33554432.");
        check("answer_sentences", (1..=20).contains(&self.answer_sentences), "Use 1 to 20.");
        check("min_score", (0.0..=1.0).contains(&self.min_score), "Use 0 to 1.");
    }
}

/// A second sentence must come this near to the best one.
const NEAR_BEST: f32 = 0.85;

/// A question and where its answer may lie.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Framed {
    /// The question.
    pub(crate) question: String,
    /// Sentences in order, without repetition.
    pub(crate) sentences: Vec<String>,
}

/// Instructions to a model are no source of answers: sentences of system texts that begin like this are passed over.
const INSTRUCTIONS: &[&str] = &[
    "you ", "you're ", "your ", "act as ", "answer ", "respond ", "reply ", "always ", "never ", "do not ",
    "don't ", "be ", "use ", "if ", "please ",
];

/// Finds the question and the candidate sentences of a conversation.
pub(crate) fn frame(request: &ChatRequest, config: &ExtractConfig) -> Framed {
    let last = request.parts.iter().rposition(|part| part.role == Role::User);
    let mut budget = config.max_context_bytes;
    let mut blocks: Vec<(Role, Vec<String>)> = Vec::new();
    let mut question = String::new();
    for (at, part) in request.parts.iter().enumerate().rev() {
        if part.role == Role::Assistant || budget == 0 {
            continue;
        }
        let text = part.read(&request.body);
        let text = tail(&text, budget);
        budget -= text.len();
        let mut sentences = sentences(text);
        if Some(at) == last {
            question = take_question(&mut sentences);
        }
        blocks.push((part.role, sentences));
    }
    let mut seen = AHashSet::new();
    let mut candidates = Vec::new();
    for (role, sentences) in blocks.into_iter().rev() {
        for sentence in sentences {
            let lower = sentence.to_lowercase();
            let instruction =
                role == Role::System && INSTRUCTIONS.iter().any(|opener| lower.starts_with(opener));
            let words = sentence.split_whitespace().count();
            if words >= 3 && !instruction && sentence != question && seen.insert(lower) {
                candidates.push(sentence);
            }
        }
    }
    Framed { sentences: nearest_by_words(&question, candidates, config.max_sentences), question }
}

/// The sentences that answer, best first; empty when none comes near enough. `vector` gives unit vectors.
pub(crate) fn choose<E>(
    framed: &Framed,
    config: &ExtractConfig,
    mut vector: impl FnMut(&str) -> Result<Vec<f32>, E>,
) -> Result<Vec<String>, E> {
    if framed.question.is_empty() || framed.sentences.is_empty() {
        return Ok(Vec::new());
    }
    let question = vector(&framed.question)?;
    let mut scored = Vec::with_capacity(framed.sentences.len());
    for sentence in &framed.sentences {
        scored.push((cosine(&question, &vector(sentence)?), sentence));
    }
    // A stable sort: of equals the earlier one wins.
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let best = scored.first().map_or(0.0, |(score, _)| *score);
    let floor = config.min_score.max(best * NEAR_BEST);
    let chosen = scored.into_iter().take(config.answer_sentences).take_while(|(score, _)| *score >= floor);
    Ok(chosen.map(|(_, sentence)| sentence.clone()).collect())
}

/// Takes the question out of the last message: all of a short one; of a longer one its last sentence with a question
/// mark, else its last sentence. The rest of the message is context.
fn take_question(sentences: &mut Vec<String>) -> String {
    const SHORT: usize = 2;
    if sentences.len() <= SHORT {
        let asks = sentences.iter().filter(|sentence| sentence.ends_with(['?', '？', '؟'])).count();
        // Two sentences of which one asks: the other is what it asks about.
        if !(sentences.len() == SHORT && asks == 1) {
            return std::mem::take(sentences).join(" ");
        }
    }
    let at = sentences.iter().rposition(|sentence| sentence.ends_with(['?', '？', '؟']));
    match at.or(sentences.len().checked_sub(1)) {
        Some(at) => sentences.remove(at),
        None => String::new(),
    }
}

/// Sentences by Unicode's rules (UAX 29), never across a line end.
fn sentences(text: &str) -> Vec<String> {
    text.lines()
        .flat_map(|line| line.split_sentence_bounds())
        .map(str::trim)
        .filter(|sentence| sentence.chars().any(char::is_alphanumeric))
        .map(str::to_owned)
        .collect()
}

/// The last `most` bytes of a text, on a character border.
fn tail(text: &str, most: usize) -> &str {
    let mut from = text.len().saturating_sub(most);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

/// At most `most` sentences, those that share most words with the question, in their order.
fn nearest_by_words(question: &str, sentences: Vec<String>, most: usize) -> Vec<String> {
    if sentences.len() <= most {
        return sentences;
    }
    let words = |text: &str| text.unicode_words().map(str::to_lowercase).collect::<AHashSet<_>>();
    let asked = words(question);
    let shared = |sentence: &String| words(sentence).intersection(&asked).count();
    let mut ranked: Vec<(usize, usize)> =
        sentences.iter().enumerate().map(|(at, sentence)| (at, shared(sentence))).collect();
    ranked.sort_by_key(|(at, shared)| (std::cmp::Reverse(*shared), *at));
    ranked.truncate(most);
    let mut kept: Vec<usize> = ranked.into_iter().map(|(at, _)| at).collect();
    kept.sort_unstable();
    let mut sentences: Vec<Option<String>> = sentences.into_iter().map(Some).collect();
    kept.into_iter().filter_map(|at| sentences[at].take()).collect()
}
