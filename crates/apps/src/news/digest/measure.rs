//! How well posts are grouped, for calibration and benchmarks. Invariant: the same code groups here and in digests. Pure.
//! Source: news.md section 6.

use super::group::{Likeness, groups};
use portcullis_knowledge::Language;

/// Groups of posts about one event, by vectors where there are some and else by words; places of posts, each once.
#[must_use]
pub fn grouped(texts: &[(&str, Language)], vectors: Option<&[Vec<f32>]>, threshold: f32) -> Vec<Vec<u32>> {
    let likeness = match vectors {
        Some(vectors) => Likeness::by_vectors(vectors, vectors.first().map_or(0, Vec::len)),
        None => Likeness::by_words(texts),
    };
    groups(&likeness, threshold)
}

/// Pairs that are rightly together, wrongly together and wrongly apart, of posts that belong to these events; a post of no
/// event (an empty name) belongs to no other.
#[must_use]
pub fn pairs(found: &[Vec<u32>], events: &[&str]) -> [usize; 3] {
    let mut of = vec![0; events.len()];
    for (number, group) in found.iter().enumerate() {
        group.iter().for_each(|post| of[*post as usize] = number);
    }
    let mut counts = [0; 3];
    for a in 0..events.len() {
        for b in a + 1..events.len() {
            match (of[a] == of[b], !events[a].is_empty() && events[a] == events[b]) {
                (true, true) => counts[0] += 1,
                (true, false) => counts[1] += 1,
                (false, true) => counts[2] += 1,
                (false, false) => {}
            }
        }
    }
    counts
}

/// The harmonic mean of precision and recall of such counts.
#[must_use]
pub fn f1([right, wrong, missed]: [usize; 3]) -> f64 {
    2.0 * right as f64 / (2 * right + wrong + missed).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::{super::BY_WORDS, *};

    /// Posts of a language, with their events.
    fn posts(language: &str) -> Vec<(String, String)> {
        let lines = include_str!("../../../../../bench/news_cluster/posts.jsonl").lines();
        let rows = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let of = rows.filter(|row| row["lang"] == language);
        of.map(|row| (row["text"].as_str().unwrap().to_owned(), row["event"].as_str().unwrap().to_owned()))
            .collect()
    }

    #[test]
    fn by_words_posts_are_grouped_well_enough_in_each_language() {
        for code in ["en", "ru", "nl"] {
            let (posts, language) = (posts(code), Language::from_code(code));
            let texts: Vec<(&str, Language)> =
                posts.iter().map(|(text, _)| (text.as_str(), language)).collect();
            let events: Vec<&str> = posts.iter().map(|(_, event)| event.as_str()).collect();
            let found = f1(pairs(&grouped(&texts, None, BY_WORDS), &events));
            assert!(found >= 0.75, "{code}: {found:.3}");
        }
    }

    #[test]
    fn pairs_are_counted_and_posts_of_no_event_belong_together_with_none() {
        let counts = pairs(&[vec![0, 1, 4], vec![2], vec![3]], &["a", "a", "a", "", ""]);
        assert_eq!(counts, [1, 2, 2]);
        assert!((f1(counts) - 2.0 / 6.0).abs() < 1e-9);
    }
}
