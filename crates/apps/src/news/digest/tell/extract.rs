//! A story in the words of its posts: no AI is asked. Invariant: every sentence stands in a post; no address is among
//! them. Pure. Source: news.md section 7.

use super::{Told, is_address};
use crate::news::digest::item::cut;
use portcullis_knowledge::{Language, sentences};

/// Characters of a headline.
const HEADLINE: usize = 100;
/// Characters of a sentence that is shown.
const SENTENCE: usize = 300;
/// Sentences of a story beside its headline.
const BULLETS: usize = 2;
/// What it is worth to open a post.
const LEAD: f32 = 0.15;
/// Share of words from which two sentences say the same.
const SAME: f32 = 0.6;

/// Tells it: the headline is the first sentence of the post in the middle, which comes first.
pub(crate) fn told(posts: &[&str], language: Language) -> Told {
    let plain: Vec<String> = posts.iter().map(|post| without_addresses(post)).collect();
    let first = plain.first().map_or("", String::as_str);
    let opening = opening(first);
    let headline = cut(opening, HEADLINE).to_owned();
    let all: Vec<(usize, &str)> = plain
        .iter()
        .flat_map(|post| sentences::split(post).into_iter().enumerate())
        .map(|(at, sentence)| (at, sentence.trim()))
        .filter(|(_, sentence)| *sentence != headline)
        .collect();
    let texts: Vec<&str> = all.iter().map(|(_, sentence)| *sentence).collect();
    let whole = plain.join("\n\n");
    let scores = sentences::score(&whole, &texts, language, None);
    let mut order: Vec<(f32, usize)> = scores
        .iter()
        .enumerate()
        .map(|(n, score)| (score + if all[n].0 <= 1 { LEAD } else { 0.0 }, n))
        .collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut chosen: Vec<usize> = Vec::new();
    for (_, n) in order {
        let news = chosen.iter().all(|other| !same(texts[*other], texts[n], language));
        // A headline that was cut is worth its whole sentence.
        let repeats = texts[n] == opening && headline == opening || same(texts[n], &headline, language);
        if news && (!repeats || texts[n] == opening && headline != opening) {
            chosen.push(n);
        }
        if chosen.len() == BULLETS {
            break;
        }
    }
    chosen.sort_unstable();
    let bullets = chosen.into_iter().map(|n| one_line(cut(texts[n], SENTENCE))).collect();
    Told { headline: one_line(&headline), bullets }
}

/// The first sentence; the first line where there is none.
fn opening(text: &str) -> &str {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let first = sentences::split(text).into_iter().next().unwrap_or(line);
    // A title stands before its text without a full stop; its line is the sentence.
    let first = first.lines().next().unwrap_or(first).trim();
    if line.starts_with(first) || first.is_empty() {
        if first.is_empty() { line } else { first }
    } else {
        line
    }
}

fn same(a: &str, b: &str, language: Language) -> bool {
    let stems = |text| portcullis_knowledge::text::content_stems(text, language);
    let (a, b) = (stems(a), stems(b));
    let shared = a.intersection(&b).count() as f32;
    let least = a.len().min(b.len()).max(1) as f32;
    shared / least >= SAME
}

fn without_addresses(text: &str) -> String {
    let line =
        |line: &str| line.split_whitespace().filter(|word| !is_address(word)).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_is_told_in_sentences_of_its_posts() {
        let posts = [
            "Zembla opens its first railway. The line runs from Onhava to the coast in 50 minutes. Tickets are free \
             in May. See https://example.org/x for times.",
            "The first railway of Zembla was opened by the king today. It runs from Onhava to the coast.",
        ];
        let told = told(&posts, Language::EN);
        assert_eq!(told.headline, "Zembla opens its first railway.");
        assert_eq!(told.bullets.len(), 2);
        let all = posts.join(" ");
        for bullet in &told.bullets {
            assert!(all.contains(bullet.trim_end_matches(" for times.")), "{bullet}");
            assert!(!bullet.contains("http"), "{bullet}");
        }
    }

    #[test]
    fn a_long_first_sentence_is_cut_at_a_word_and_stands_whole_below() {
        let long = "The council of the harbour town decided after nine hours of debate that the old lighthouse will be \
                    turned into a library for sailors and their children.";
        let told = told(&[long], Language::EN);
        assert!(told.headline.chars().count() <= 100 && long.starts_with(&told.headline));
        assert_eq!(told.bullets, [long]);
    }

    #[test]
    fn nothing_is_told_of_nothing_and_a_title_is_the_headline() {
        assert_eq!(told(&[], Language::EN), Told::default());
        let told = told(&["Storm in the north\n\nRoofs flew through the streets of Onhava."], Language::EN);
        assert_eq!(told.headline, "Storm in the north");
        assert_eq!(told.bullets, ["Roofs flew through the streets of Onhava."]);
    }
}
