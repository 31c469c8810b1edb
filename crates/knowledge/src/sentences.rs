//! Sentences of passages, and which of them answer a question: the extractive answer. Pure. Source: ask design section 8, row 3, measured on
//! WikiQA.

use crate::{Language, text::words::Stems};
use ahash::AHashMap;
use unicode_segmentation::UnicodeSegmentation as _;

/// Fewest words of a sentence: shorter ones are headings and fragments.
const FEWEST_WORDS: usize = 3;

/// Weight of likeness; words have the rest. Both from 0 for the worst sentence to 1 for the best: on WikiQA P@1 is .588,
/// by likeness alone .588, with a weight of 0.7 .564, by words alone .449.
const MEANING: f32 = 0.8;
const K1: f32 = 1.2;
const B: f32 = 0.75;

/// The sentences of a text by Unicode's rules (UAX 29), never across the end of a paragraph.
#[must_use]
pub fn split(text: &str) -> Vec<&str> {
    text.split("\n\n")
        .flat_map(|paragraph| paragraph.split_sentence_bounds())
        .map(str::trim)
        .filter(|sentence| sentence.unicode_words().take(FEWEST_WORDS).count() == FEWEST_WORDS)
        .collect()
}

/// What each sentence is worth as an answer, 0 to 1. `cosines` are the likenesses of question and sentence where the
/// embedder understands the language; without them words alone decide.
#[must_use]
pub fn score(question: &str, sentences: &[&str], language: Language, cosines: Option<&[f32]>) -> Vec<f32> {
    let words = spread(&bm25(question, sentences, language));
    match cosines.filter(|cosines| cosines.len() == words.len()) {
        None => words,
        Some(cosines) => {
            let both = words.iter().zip(spread(cosines));
            both.map(|(words, cosine)| MEANING * cosine + (1.0 - MEANING) * words).collect()
        }
    }
}

/// From 0 for the least to 1 for the most.
fn spread(scores: &[f32]) -> Vec<f32> {
    let least = scores.iter().copied().fold(f32::MAX, f32::min);
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    let width = (most - least).max(f32::MIN_POSITIVE);
    scores.iter().map(|score| (score - least) / width).collect()
}

fn bm25(question: &str, sentences: &[&str], language: Language) -> Vec<f32> {
    let stems = Stems::of(language);
    let mut asked = stems.terms(question);
    asked.sort_unstable();
    asked.dedup();
    let texts: Vec<Vec<String>> = sentences.iter().map(|sentence| stems.terms(sentence)).collect();
    let mean = texts.iter().map(Vec::len).sum::<usize>() as f32 / texts.len().max(1) as f32;
    let mut holders = AHashMap::<&str, usize>::new();
    for term in &asked {
        let count = texts.iter().filter(|text| text.contains(term)).count();
        holders.insert(term, count);
    }
    let score = |text: &Vec<String>| {
        let norm = K1 * (1.0 - B + B * text.len() as f32 / mean.max(1.0));
        asked
            .iter()
            .map(|term| {
                let times = text.iter().filter(|word| *word == term).count() as f32;
                let (all, holders) =
                    (texts.len() as f32, holders.get(term.as_str()).copied().unwrap_or_default() as f32);
                (1.0 + (all - holders + 0.5) / (holders + 0.5)).ln() * times * (K1 + 1.0) / (times + norm)
            })
            .sum()
    };
    texts.iter().map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_cut_at_their_ends_and_fragments_are_none() {
        let text = "Restore a backup. It takes a minute.\n\nSee also\n\nStop the server first";
        assert_eq!(split(text), ["Restore a backup.", "It takes a minute.", "Stop the server first"]);
    }

    #[test]
    fn the_sentence_with_the_rare_words_of_the_question_wins_and_likeness_outweighs_words() {
        let sentences = ["Gates are old.", "The notice period is two months.", "The period was long."];
        let words = score("What is the notice period?", &sentences, Language::EN, None);
        assert!(words[1] > words[2] && words[2] > words[0] && words[0] == 0.0);
        let both = score("What is the notice period?", &sentences, Language::EN, Some(&[0.9, 0.1, 0.1]));
        assert!(both[0] > both[1]);
        assert!(score("", &[], Language::EN, None).is_empty());
    }
}
