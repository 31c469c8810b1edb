//! The best sentences of passages, word for word: an answer that needs no AI. Invariant: every sentence stands in a
//! passage as it is given; sentences come in reading order; the work is bounded. Source: ask.md section 8, row 3.

use super::answer::Source;
use portcullis_knowledge::{Embedder, Language, Purpose, sentences};
use std::time::Duration;

/// Sentences of an answer.
const CHOSEN: usize = 3;
/// A further sentence must come this near to the best one.
const NEAR_BEST: f32 = 0.6;
/// Sentences compared by meaning: of more, those that share most words with the question.
const COMPARED: usize = 48;
/// Longest sentence that is given, in characters; lists and tables have none that end.
const MAX_CHARS: usize = 600;

/// The sentences and the numbers of their passages.
pub(crate) async fn best(
    question: &str,
    language: Language,
    sources: &[Source],
    embedder: Option<&Embedder>,
    patience: Duration,
) -> Vec<(String, usize)> {
    let all: Vec<(&str, usize)> = sources
        .iter()
        .flat_map(|source| sentences::split(&source.text).into_iter().map(|sentence| (sentence, source.n)))
        .filter(|(sentence, _)| !asks(sentence, question))
        .collect();
    let texts: Vec<&str> = all.iter().map(|(sentence, _)| *sentence).collect();
    let words = sentences::score(question, &texts, language, None);
    let mut compared: Vec<usize> = (0..all.len()).collect();
    // Passages come best first: of sentences that share as many words the earlier one is compared.
    compared.sort_by(|a, b| words[*b].total_cmp(&words[*a]).then(a.cmp(b)));
    compared.truncate(COMPARED);
    let cosines = match embedder {
        Some(embedder) => likeness(question, &texts, &compared, embedder, patience).await,
        None => None,
    };
    let near: Vec<&str> = compared.iter().map(|n| texts[*n]).collect();
    let scores = sentences::score(question, &near, language, cosines.as_deref());
    let mut scored: Vec<(f32, usize)> = scores.into_iter().zip(compared).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let floor = scored.first().map_or(0.0, |(best, _)| best * NEAR_BEST);
    let mut chosen: Vec<usize> =
        scored.iter().take(CHOSEN).take_while(|(score, _)| *score >= floor).map(|(_, n)| *n).collect();
    chosen.sort_unstable();
    chosen.iter().map(|n| (cut(all[*n].0), all[*n].1)).collect()
}

/// Likeness of the question to sentences; none when nobody can tell in time.
async fn likeness(
    question: &str,
    texts: &[&str],
    compared: &[usize],
    embedder: &Embedder,
    patience: Duration,
) -> Option<Vec<f32>> {
    let mut asked = vec![question.to_owned()];
    asked.extend(compared.iter().map(|n| texts[*n].to_owned()));
    let embed = async {
        let mut vectors = Vec::with_capacity(asked.len());
        for batch in asked.chunks(embedder.batch) {
            vectors.extend(embedder.embed(batch.to_vec(), Purpose::Question).await.ok()?);
        }
        Some(vectors)
    };
    let vectors = tokio::time::timeout(patience, embed).await.ok()??;
    let (question, sentences) = vectors.split_first()?;
    let cosine = |vector: &Vec<f32>| vector.iter().zip(question).map(|(a, b)| a * b).sum();
    (sentences.len() == compared.len()).then(|| sentences.iter().map(cosine).collect())
}

/// Whether a sentence is a question itself, or quotes this one: nothing is like a question as much as itself.
fn asks(sentence: &str, question: &str) -> bool {
    const MARKS: [char; 4] = ['?', '？', '؟', ' '];
    let bare = |text: &str| text.trim_end_matches(MARKS).to_lowercase();
    let quoted = bare(question);
    let ends = sentence.trim_end_matches(['"', '\'', '”', '»', ')', ' ', ',', '.']);
    ends.ends_with(['?', '？', '؟']) || (!quoted.is_empty() && sentence.to_lowercase().contains(&quoted))
}

fn cut(sentence: &str) -> String {
    if sentence.chars().count() <= MAX_CHARS {
        return sentence.to_owned();
    }
    let mut out: String = sentence.chars().take(MAX_CHARS).collect();
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_no_answer_to_itself() {
        let question = "How do I restore a backup?";
        for sentence in [
            "How do I restore a backup?",
            "portcullis ask \"how do I restore a backup?\"",
            "{\"question\": \"How do I restore a backup?\", \"k\": 3}",
            "What is a backup?\"",
        ] {
            assert!(asks(sentence, question), "{sentence}");
        }
        assert!(!asks("To restore a backup, stop the server.", question));
        assert!(!asks("Anything at all.", ""));
    }
}
