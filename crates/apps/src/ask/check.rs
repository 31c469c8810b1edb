//! An AI's answer held against the passages it cites. Invariants: every number left in the answer is that of a passage
//! that shares something with its sentence; no more numbers than sources are shown; a sentence is never reworded. Pure.
//! Source: ask.md section 7, "Check".

use ahash::AHashSet;
use unicode_segmentation::UnicodeSegmentation as _;

/// The stems of a text that say something.
pub(crate) type StemsOf<'a> = dyn Fn(&str) -> AHashSet<String> + 'a;

/// Likeness of a sentence and a passage that counts as support where they share no word.
pub(crate) const LIKE: f32 = 0.35;
/// Share of a sentence's stems that a passage must have for a number to be put where the AI put none.
const MOST_STEMS: f32 = 0.6;
/// Most digits of a number in brackets; longer ones are no citation.
const MAX_DIGITS: usize = 3;

/// One sentence with the numbers in it.
#[derive(Debug, PartialEq, Eq)]
struct Sentence {
    text: String,
    marks: Vec<usize>,
}

/// An answer under examination.
#[derive(Debug)]
pub(crate) struct Examined {
    sentences: Vec<Sentence>,
    /// Sentence and passage that share no word, to be compared by meaning.
    doubtful: Vec<(usize, usize)>,
    support: Vec<Vec<usize>>,
}

/// What remains of an answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Checked {
    /// The answer, with the numbers that hold.
    pub(crate) text: String,
    /// Those numbers, in order of first mention.
    pub(crate) cited: Vec<usize>,
    /// Share of sentences that a passage supports; 0 where there is none.
    pub(crate) support: f32,
}

/// Looks at an answer. `passages` are the texts by number, from 1.
pub(crate) fn examine(answer: &str, passages: &[&str], stems: &StemsOf<'_>) -> Examined {
    let sentences = sentences(answer);
    let known: Vec<AHashSet<String>> = passages.iter().map(|text| stems(text)).collect();
    let (mut doubtful, mut support) = (Vec::new(), Vec::new());
    for (at, sentence) in sentences.iter().enumerate() {
        let own = stems(&bare(&sentence.text));
        let shared = |n: usize| known.get(n - 1).map_or(0, |stems| own.intersection(stems).count());
        let mut holds = Vec::new();
        for &n in sentence.marks.iter().filter(|n| (1..=passages.len()).contains(*n)) {
            match shared(n) {
                0 => doubtful.push((at, n)),
                _ if !holds.contains(&n) => holds.push(n),
                _ => {}
            }
        }
        if sentence.marks.is_empty() && !own.is_empty() {
            let best = (1..=passages.len()).max_by_key(|n| (shared(*n), std::cmp::Reverse(*n)));
            #[expect(clippy::cast_precision_loss, reason = "counts of words in a sentence")]
            let enough = |n: &usize| shared(*n) as f32 >= MOST_STEMS * own.len() as f32;
            holds.extend(best.filter(enough));
        }
        support.push(holds);
    }
    Examined { sentences, doubtful, support }
}

impl Examined {
    /// Sentences and passages (from 1) that share no word: their likeness decides.
    pub(crate) fn doubtful(&self) -> impl Iterator<Item = (String, usize)> {
        self.doubtful.iter().map(|(at, n)| (bare(&self.sentences[*at].text), *n))
    }

    /// The answer with what holds. `likeness` is that of the doubtful pairs, in order; what is missing is none.
    /// At most `most` sources are cited.
    pub(crate) fn settle(mut self, likeness: &[f32], most: usize) -> Checked {
        for ((at, n), like) in self.doubtful.iter().zip(likeness) {
            if *like >= LIKE && !self.support[*at].contains(n) {
                self.support[*at].push(*n);
            }
        }
        let mut cited = Vec::new();
        for n in self.support.iter().flatten() {
            if cited.len() < most && !cited.contains(n) {
                cited.push(*n);
            }
        }
        let (mut text, mut supported, mut all) = (String::new(), 0_u16, 0_u16);
        for (sentence, holds) in self.sentences.iter().zip(&self.support) {
            let kept: Vec<usize> = holds.iter().copied().filter(|n| cited.contains(n)).collect();
            if sentence.text.chars().any(char::is_alphanumeric) {
                all = all.saturating_add(1);
                supported = supported.saturating_add(u16::from(!kept.is_empty()));
            }
            write(&mut text, sentence, &kept);
        }
        let support = if all == 0 { 0.0 } else { f32::from(supported) / f32::from(all) };
        Checked { text: text.trim().to_owned(), cited, support }
    }
}

/// The sentence with only these numbers; those that stand in it keep their place, others come behind it.
fn write(out: &mut String, sentence: &Sentence, kept: &[usize]) {
    let mut missing = kept.to_vec();
    let (mut rest, mut seen) = (sentence.text.as_str(), Vec::new());
    let mut said = String::with_capacity(sentence.text.len());
    while let Some((before, n, after)) = next_mark(rest) {
        said.push_str(before);
        if kept.contains(&n) && !seen.contains(&n) {
            said.push_str(&format!("[{n}]"));
            missing.retain(|left| *left != n);
            seen.push(n);
        } else {
            // The blank that stood before a number goes with it.
            said.truncate(said.trim_end_matches([' ', '\u{a0}']).len());
            unbracket(&mut said);
        }
        rest = after;
    }
    said.push_str(rest);
    if missing.is_empty() {
        out.push_str(&said);
        return;
    }
    let end = said.trim_end().len();
    let (words, blank) = said.split_at(end);
    out.push_str(words);
    for n in missing {
        out.push_str(&format!(" [{n}]"));
    }
    out.push_str(blank);
}

/// What stood around a number that went must not become one: of `[1[2]]` only `1]` stays.
fn unbracket(said: &mut String) {
    let opened = |said: &String| {
        let open = said.rfind('[')?;
        said[open + 1..].bytes().all(|b| b.is_ascii_digit() || b == b' ').then_some(open)
    };
    while let Some(open) = opened(said) {
        said.remove(open);
    }
}

/// Without numbers.
fn bare(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, _, after)) = next_mark(rest) {
        out.push_str(before);
        rest = after;
    }
    out.push_str(rest);
    out.trim().to_owned()
}

/// The first number in brackets, what stands before it and what behind. `[1, 2]` counts as its first number, and the
/// rest follows as if it stood in brackets of its own: callers see the text after the whole.
fn next_mark(text: &str) -> Option<(&str, usize, &str)> {
    let mut from = 0;
    while let Some(open) = text[from..].find('[').map(|at| from + at) {
        let inside = &text[open + 1..];
        if let Some(close) = inside.find(']') {
            // Not across a line's end: sentences are.
            let digits = inside[..close].trim_matches(' ');
            if (1..=MAX_DIGITS).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
                return Some((&text[..open], digits.parse().ok()?, &inside[close + 1..]));
            }
        }
        from = open + 1;
    }
    None
}

/// `[1, 2]` and `[1][2]` alike as `[1][2]`.
fn apart(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(open) = rest.find('[') {
        out.push_str(&rest[..open]);
        let inside = &rest[open + 1..];
        let list = inside.find(']').map(|close| (&inside[..close], &inside[close + 1..]));
        let numbers = |list: &str| {
            let all: Vec<&str> = list.split([',', ';']).map(str::trim).collect();
            let number =
                |n: &&str| (1..=MAX_DIGITS).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit());
            (all.len() > 1 && all.iter().all(number))
                .then(|| all.iter().map(|n| format!("[{n}]")).collect::<String>())
        };
        match list.and_then(|(list, after)| Some((numbers(list)?, after))) {
            Some((marks, after)) => {
                out.push_str(&marks);
                rest = after;
            }
            None => {
                out.push('[');
                rest = inside;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Cut at the ends of sentences, never inside a number in brackets.
fn pieces(text: &str) -> Vec<&str> {
    let (mut marks, mut from) = (Vec::new(), 0);
    while let Some((before, _, after)) = next_mark(&text[from..]) {
        let end = text.len() - after.len();
        marks.push(from + before.len()..end);
        from = end;
    }
    let inside = |at: usize| marks.iter().any(|mark| mark.start < at && at < mark.end);
    let starts = text.split_sentence_bound_indices().map(|(at, _)| at).filter(|at| !inside(*at));
    let cuts: Vec<usize> = starts.chain([text.len()]).collect();
    cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

/// Sentences; numbers that open one belong to the one before.
fn sentences(answer: &str) -> Vec<Sentence> {
    let answer = apart(answer);
    let mut texts: Vec<String> = Vec::new();
    for piece in pieces(&answer) {
        let mut rest = piece;
        if let Some(before) = texts.last_mut() {
            while let Some((blank, n, after)) = next_mark(rest).filter(|(blank, ..)| blank.trim().is_empty())
            {
                let end = before.trim_end().len();
                let space = if blank.is_empty() && !before.ends_with(char::is_whitespace) { "" } else { " " };
                before.insert_str(end, &format!("{space}[{n}]"));
                // The blank between the two sentences stays where it was.
                rest =
                    if before.ends_with(char::is_whitespace) { after.trim_start_matches(' ') } else { after };
            }
        }
        if !rest.is_empty() {
            texts.push(rest.to_owned());
        }
    }
    let marks = |text: &str| {
        let (mut all, mut rest) = (Vec::new(), text);
        while let Some((_, n, after)) = next_mark(rest) {
            all.push(n);
            rest = after;
        }
        all
    };
    texts.into_iter().map(|text| Sentence { marks: marks(&text), text }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stems(text: &str) -> AHashSet<String> {
        const STOP: [&str; 6] = ["the", "is", "a", "of", "two", "in"];
        text.unicode_words().map(str::to_lowercase).filter(|word| !STOP.contains(&word.as_str())).collect()
    }

    const PASSAGES: [&str; 3] =
        ["The notice period is two months.", "Holidays are 25 days a year.", "Bicycles stand in the yard."];

    fn checked(answer: &str) -> Checked {
        examine(answer, &PASSAGES, &stems).settle(&[], 5)
    }

    #[test]
    fn a_number_holds_when_its_sentence_shares_a_word_with_the_passage() {
        let checked = checked("The notice period is two months [1]. You get 25 days [2].");
        assert_eq!(checked.text, "The notice period is two months [1]. You get 25 days [2].");
        assert_eq!((checked.cited, checked.support), (vec![1, 2], 1.0));
    }

    #[test]
    fn invented_numbers_and_numbers_of_other_passages_go() {
        let checked = checked("The notice period is long [7]. Lunch tastes fine [3]. Holidays exist [2][2].");
        assert_eq!(checked.text, "The notice period is long. Lunch tastes fine. Holidays exist [2].");
        assert_eq!(checked.cited, [2]);
        assert!((checked.support - 1.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn what_stood_around_a_number_that_went_is_no_number() {
        for answer in ["[0[0]]", "a [[9]1] b", "[[7[7]]]", "[2 [9 [9]]]"] {
            let checked = checked(answer);
            assert_eq!(
                (next_mark(&checked.text), checked.cited),
                (None, vec![]),
                "{answer}: {}",
                checked.text
            );
        }
    }

    #[test]
    fn numbers_behind_the_full_stop_belong_to_the_sentence_before() {
        let checked = checked("The notice period is two months. [1] Holidays are 25 days. [2]");
        assert_eq!(checked.text, "The notice period is two months. [1] Holidays are 25 days. [2]");
        assert_eq!(checked.support, 1.0);
    }

    #[test]
    fn several_numbers_in_one_pair_of_brackets_are_several() {
        let checked = checked("Notice period and holidays are settled [1, 2; 9].");
        assert_eq!(checked.text, "Notice period and holidays are settled [1][2].");
    }

    #[test]
    fn a_sentence_taken_from_a_passage_gets_its_number() {
        let checked = checked("The notice period is two months.");
        assert_eq!((checked.text.as_str(), checked.cited), ("The notice period is two months. [1]", vec![1]));
    }

    #[test]
    fn an_answer_that_nothing_supports_says_so() {
        let checked = checked("Bananas are yellow. So is gold.");
        assert_eq!((checked.support, checked.cited), (0.0, vec![]));
        assert_eq!(super::examine("", &PASSAGES, &stems).settle(&[], 5).support, 0.0);
    }

    #[test]
    fn where_no_word_is_shared_likeness_decides() {
        let examined = examine("Vacations last five weeks [2].", &PASSAGES, &stems);
        let pairs: Vec<_> = examined.doubtful().collect();
        assert_eq!(pairs, [("Vacations last five weeks .".to_owned(), 2)]);
        assert_eq!(examined.settle(&[0.36], 5).cited, [2]);
        let examined = examine("Vacations last five weeks [2].", &PASSAGES, &stems);
        assert_eq!(examined.settle(&[0.34], 5).text, "Vacations last five weeks.");
    }

    #[test]
    fn no_more_sources_are_cited_than_are_shown() {
        let examined = examine("Notice [1]. Holidays [2]. Bicycles [3].", &PASSAGES, &stems);
        let checked = examined.settle(&[], 2);
        assert_eq!((checked.text.as_str(), checked.cited.len()), ("Notice [1]. Holidays [2]. Bicycles.", 2));
    }

    proptest! {
        #[test]
        fn whatever_is_answered_only_passages_are_cited_and_words_stay(answer in "(?s)[a-z\\[\\]0-9,. \n\u{e9}]{0,120}") {
            let checked = checked(&answer);
            let mut rest = checked.text.as_str();
            while let Some((_, n, after)) = next_mark(rest) {
                prop_assert!(checked.cited.contains(&n) && (1..=3).contains(&n));
                rest = after;
            }
            let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).collect::<String>();
            prop_assert_eq!(letters(&checked.text), letters(&answer));
        }
    }
}
