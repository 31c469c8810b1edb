//! What an answer looks like on its way out: parts of at most 2,000 bytes, cut where a reader would, with the styles of
//! each part. Pure. Invariants: the parts together are the text without the space at the cuts; styles are in UTF-16
//! units and inside their part; nothing is cut within a character.
//!
//! Source: ask.md section 9.

use portcullis_domain::{Look, Post, Style};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Longest part, in bytes: above that Signal makes an attachment of it.
pub(super) const PART_BYTES: usize = 2_000;
/// Most parts; a longer text goes as one, with its attachment.
const PARTS: usize = 4;

/// One message to send, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Letter {
    /// To whom.
    pub(super) to: To,
    /// The words.
    pub(super) text: String,
    /// `start:length:LOOK`, as signal-cli takes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) styles: Vec<String>,
    /// Link of its card; it is in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) preview: Option<String>,
    /// Moment and author of the message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) quote: Option<(i64, String)>,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum To {
    /// Somebody, by uuid or number.
    Person(String),
    /// A group, by id.
    Group(String),
}

/// The letters of an answer.
pub(super) fn letters(reply: &Post, to: &To, quote: Option<&(i64, String)>) -> Vec<Letter> {
    let parts = parts(&reply.text);
    let letter = |(index, range): (usize, &Range<usize>)| {
        let text = reply.text[range.clone()].to_owned();
        let preview = reply.preview.clone().filter(|link| text.contains(link.as_str()));
        let styles = styles(&reply.styles, &reply.text, range);
        Letter { to: to.clone(), text, styles, preview, quote: quote.filter(|_| index == 0).cloned() }
    };
    parts.iter().enumerate().map(letter).collect()
}

/// Where the parts of a text lie.
fn parts(text: &str) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut start = skip_space(text, 0);
    let end = text.trim_end().len();
    while start < end {
        if end - start <= PART_BYTES {
            out.push(start..end);
            break;
        }
        if out.len() + 1 == PARTS {
            // Too long for parts: all of it at once.
            out.clear();
            out.push(skip_space(text, 0)..end);
            break;
        }
        let cut = cut(text, start);
        out.push(start..start + text[start..cut].trim_end().len());
        start = skip_space(text, cut);
    }
    out
}

fn skip_space(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start().len()
}

/// The best place to cut within the next part: blank line, line, sentence, space, character.
fn cut(text: &str, start: usize) -> usize {
    let most = text.floor_char_boundary(start + PART_BYTES);
    let window = &text[start..most];
    // Not before half of the part: tiny parts read worse than a cut line.
    let late = |at: usize| (at > window.len() / 2).then_some(start + at);
    let sentence = || {
        let ends = [". ", "! ", "? ", "。"];
        ends.iter()
            .filter_map(|end| window.rfind(end).map(|at| at + end.trim_end().len()))
            .max()
            .and_then(late)
    };
    window
        .rfind("\n\n")
        .and_then(late)
        .or_else(|| window.rfind('\n').and_then(late))
        .or_else(sentence)
        .or_else(|| window.rfind(' ').and_then(late))
        .unwrap_or(most)
}

/// The styles of a part, in its own units.
fn styles(all: &[Style], text: &str, part: &Range<usize>) -> Vec<String> {
    let units = |text: &str| text.encode_utf16().count();
    let from = units(&text[..part.start]);
    let to = from + units(&text[part.clone()]);
    let inside = |style: &Style| {
        let (start, end) = (style.start.max(from), (style.start + style.length).min(to));
        let look = look(&style.look)?;
        (start < end).then(|| format!("{}:{}:{look}", start - from, end - start))
    };
    all.iter().filter_map(inside).collect()
}

/// Signal has no links behind words and no quotes within a text.
const fn look(look: &Look) -> Option<&'static str> {
    match look {
        Look::Bold => Some("BOLD"),
        Look::Italic => Some("ITALIC"),
        Look::Mono | Look::Lines(_) => Some("MONOSPACE"),
        Look::Strike => Some("STRIKETHROUGH"),
        Look::Link(_) | Look::Quote => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn to() -> To {
        To::Person("ann".into())
    }

    #[test]
    fn a_short_answer_is_one_letter_with_its_styles_preview_and_quote() {
        let style = Style { start: 3, length: 4, look: Look::Bold };
        let reply = Post {
            text: "👍 bold, see https://example.org/a".into(),
            styles: vec![style],
            preview: Some("https://example.org/a".into()),
            ..Post::default()
        };
        let letters = letters(&reply, &to(), Some(&(5, "ann".into())));
        assert_eq!(letters[0].styles, ["3:4:BOLD"]);
        assert_eq!(letters[0].quote, Some((5, "ann".into())));
        assert!(letters[0].preview.is_some() && letters.len() == 1);
    }

    #[test]
    fn long_answers_are_cut_at_sentences_and_very_long_ones_not_at_all() {
        let sentence = "This sentence says what it says and says it once. ";
        let reply = |times: usize| Post::text(sentence.repeat(times));
        let cut = letters(&reply(100), &to(), None);
        assert_eq!(cut.len(), 3);
        assert!(cut.iter().all(|letter| letter.text.ends_with("once.") && letter.text.len() <= PART_BYTES));
        assert_eq!(letters(&reply(300), &to(), None).len(), 1);
        assert!(letters(&Post::default(), &to(), None).is_empty());
    }

    proptest! {
        #[test]
        fn parts_hold_the_whole_text_and_styles_stay_inside(
            words in prop::collection::vec("[a-zа-я👍]{1,60}[.!\n]{0,2}", 1..160), start in 0..3000_usize, length in 1..3000_usize,
        ) {
            let text = words.join(" ");
            let total = text.encode_utf16().count();
            let style = Style { start: start % total, length: length.min(total - start % total), look: Look::Mono };
            let reply = Post { styles: vec![style], ..Post::text(text.clone()) };
            let letters = letters(&reply, &to(), None);
            let bare = |text: &str| text.split_whitespace().collect::<String>();
            let joined: String = letters.iter().map(|letter| letter.text.as_str()).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(bare(&joined), bare(&text));
            prop_assert!(letters.len() <= PARTS);
            for letter in &letters {
                prop_assert!(letters.len() == 1 || letter.text.len() <= PART_BYTES);
                let units = letter.text.encode_utf16().count();
                for style in &letter.styles {
                    let mut parts = style.split(':').map(|part| part.parse::<usize>());
                    let (start, length) = (parts.next().unwrap().unwrap(), parts.next().unwrap().unwrap());
                    prop_assert!(length > 0 && start + length <= units);
                }
            }
        }
    }
}
