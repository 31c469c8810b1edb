//! Cuts a text into messages that Telegram takes, with what stands out in each. Pure. Invariants: the parts together are
//! the text without the space at the cuts; nothing is cut within a character as people see it (a surrogate pair, a
//! joined emoji, a letter with its accents); a piece that stands out goes on after a cut; offsets are in UTF-16 units
//! and inside their part.
//!
//! Source: news.md section 8; Bot API, "MessageEntity" and "sendMessage".

use portcullis_domain::{Look, Style};
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation as _;

/// What one message may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// UTF-16 units of its text.
    pub(super) units: usize,
    /// Pieces that stand out.
    pub(super) spans: usize,
    /// Bytes of all of them as JSON, addresses included.
    pub(super) span_bytes: usize,
}

/// A message; the server refuses entities near 9,500 bytes.
pub(super) const MESSAGE: Limits = Limits { units: 4096, spans: 100, span_bytes: 8000 };
/// What is written to a file.
pub(super) const CAPTION: Limits = Limits { units: 1024, ..MESSAGE };

/// Longest character as people see it, in UTF-16 units; more marks than that on one letter are no letter.
const LETTER: usize = 64;

/// A piece that stands out, as the Bot API writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    pub(super) offset: usize,
    pub(super) length: usize,
    #[serde(flatten)]
    pub(super) kind: Kind,
}

impl Span {
    pub(super) const fn end(&self) -> usize {
        self.offset + self.length
    }

    fn bytes(&self) -> usize {
        serde_json::to_string(self).map_or(usize::MAX / 2, |text| text.len() + 1)
    }
}

/// How it stands out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Kind {
    Bold,
    Italic,
    Strikethrough,
    Code,
    Pre {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        language: Option<Box<str>>,
    },
    TextLink {
        url: Box<str>,
    },
    Blockquote,
}

impl Kind {
    fn of(look: &Look) -> Self {
        match look {
            Look::Bold => Self::Bold,
            Look::Italic => Self::Italic,
            Look::Mono => Self::Code,
            Look::Strike => Self::Strikethrough,
            Look::Lines(language) => Self::Pre { language: language.clone() },
            Look::Link(url) => Self::TextLink { url: url.clone() },
            Look::Quote => Self::Blockquote,
        }
    }

    /// Whether nothing may stand out within it.
    pub(super) const fn is_code(&self) -> bool {
        matches!(self, Self::Code | Self::Pre { .. })
    }
}

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) text: String,
    pub(super) spans: Vec<Span>,
}

/// Length in UTF-16 units.
pub(super) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The messages of a text; none where nothing in it can be seen.
pub(super) fn split(text: &str, styles: &[Style], limits: Limits) -> Vec<Part> {
    let marks = Marks::of(text);
    let spans = tidy(styles, text, &marks);
    let end = marks.at_byte(text.trim_end().len());
    let (mut out, mut at) = (Vec::new(), marks.skip_space(text, 0));
    while at < end {
        let most = marks.furthest(at, &spans, limits).min(end);
        let cut = if most == end { end } else { marks.best_cut(text, at, most) };
        let whole = &text[marks.byte(at)..marks.byte(cut)];
        let words = whole.trim_end();
        if words.chars().any(is_seen) {
            let from = marks.units(at);
            let spans = within(&spans, from, from + units(words), limits);
            out.push(Part { text: words.to_owned(), spans });
        }
        at = marks.skip_space(text, cut);
    }
    out
}

/// Whether a character is more than a gap: a message of gaps is refused as empty.
fn is_seen(c: char) -> bool {
    let hidden = matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e0fff}');
    !c.is_whitespace() && !c.is_control() && !hidden
}

/// The borders between characters as people see them: bytes and UTF-16 units before each, the end included.
struct Marks(Vec<(usize, usize)>);

impl Marks {
    fn of(text: &str) -> Self {
        let (mut marks, mut byte, mut unit) = (Vec::with_capacity(text.len() + 1), 0, 0);
        for letter in text.graphemes(true) {
            let long = units(letter);
            // A mark may join a space, which is dropped at a cut all the same.
            if long <= LETTER && !letter.starts_with(char::is_whitespace) {
                marks.push((byte, unit));
                (byte, unit) = (byte + letter.len(), unit + long);
                continue;
            }
            for c in letter.chars() {
                marks.push((byte, unit));
                (byte, unit) = (byte + c.len_utf8(), unit + c.len_utf16());
            }
        }
        marks.push((byte, unit));
        Self(marks)
    }

    fn last(&self) -> usize {
        self.0.len() - 1
    }

    fn byte(&self, index: usize) -> usize {
        self.0[index].0
    }

    fn units(&self, index: usize) -> usize {
        self.0[index].1
    }

    /// The border at that byte, or the one before.
    fn at_byte(&self, byte: usize) -> usize {
        self.0.partition_point(|(at, _)| *at <= byte) - 1
    }

    /// The border at that unit, or the one before.
    fn at_unit(&self, unit: usize) -> usize {
        self.0.partition_point(|(_, at)| *at <= unit) - 1
    }

    /// The units from the border at or before the first to the one at or after the second, without the space at both
    /// ends.
    fn around(&self, text: &str, from: usize, to: usize) -> (usize, usize) {
        let first = self.at_unit(from);
        let behind = self.0.partition_point(|(_, at)| *at < to).clamp(first, self.last());
        let words = &text[self.byte(first)..self.byte(behind)];
        let space = words.len() - words.trim_start().len();
        let start = self.at_byte(self.byte(first) + space);
        let end = self.at_byte(self.byte(first) + words.trim_end().len());
        (self.units(start), self.units(end.max(start)))
    }

    fn skip_space(&self, text: &str, from: usize) -> usize {
        let rest = &text[self.byte(from)..];
        self.at_byte(text.len() - rest.trim_start().len()).max(from)
    }

    /// The last border that a part from `at` may reach.
    fn furthest(&self, at: usize, spans: &[Span], limits: Limits) -> usize {
        let from = self.units(at);
        let most = self.at_unit(from + limits.units);
        let (mut count, mut bytes) = (0, 0);
        for span in spans.iter().filter(|span| span.end() > from && span.offset < self.units(most)) {
            let more = span.bytes();
            if (count + 1 > limits.spans || bytes + more > limits.span_bytes) && span.offset > from {
                return self.at_unit(span.offset).clamp(at + 1, most);
            }
            (count, bytes) = (count + 1, bytes + more);
        }
        most.max(at + 1)
    }

    /// Blank line, line, sentence, space, border. Not before half of the part: tiny parts read worse than a cut line.
    fn best_cut(&self, text: &str, at: usize, most: usize) -> usize {
        let (start, end) = (self.byte(at), self.byte(most));
        let window = &text[start..end];
        let late = |byte: usize| (byte > window.len() / 2).then_some(start + byte);
        let sentence = || {
            let ends = [". ", "! ", "? ", "… ", "。", "！", "？"];
            let behind = |end: &str| window.rfind(end).map(|byte| byte + end.trim_end().len());
            ends.into_iter().filter_map(behind).max().and_then(late)
        };
        let goes_on = text[end..].starts_with(|c: char| !c.is_whitespace());
        let byte = window
            .rfind("\n\n")
            .and_then(late)
            .or_else(|| window.rfind('\n').and_then(late))
            .or_else(sentence)
            .or_else(|| window.rfind(' ').filter(|_| goes_on).and_then(late))
            .unwrap_or(end);
        self.at_byte(byte).max(at + 1)
    }
}

/// Styles as Telegram takes them: inside the text, one wholly within another or not at all, nothing within code, none
/// within its like, neighbours of one kind as one.
fn tidy(styles: &[Style], text: &str, marks: &Marks) -> Vec<Span> {
    let mut sorted: Vec<Span> = styles
        .iter()
        .map(|style| {
            let (offset, end) = marks.around(text, style.start, style.start.saturating_add(style.length));
            Span { offset, length: end - offset, kind: Kind::of(&style.look) }
        })
        .filter(|span| span.length > 0)
        .collect();
    sorted.sort_by_key(|span| (span.offset, std::cmp::Reverse(span.length)));
    let mut out: Vec<Span> = Vec::with_capacity(sorted.len());
    let mut open: Vec<usize> = Vec::new();
    for mut span in sorted {
        let mut beside = None;
        while let Some(last) = open.last().filter(|last| out[**last].end() <= span.offset) {
            beside = Some(*last);
            open.pop();
        }
        // A quote is whole lines: nothing stands around it.
        let hidden = span.kind == Kind::Blockquote && !open.is_empty();
        let within = |outer: &usize| out[*outer].kind.is_code() || is_like(&out[*outer].kind, &span.kind);
        if hidden || open.iter().any(within) {
            continue;
        }
        if let Some(outer) = open.last() {
            span.length = span.length.min(out[*outer].end() - span.offset);
        }
        if let Some(before) = beside.filter(|before| out[*before].end() == span.offset)
            && out[before].kind == span.kind
            && !matches!(span.kind, Kind::Pre { .. } | Kind::Blockquote)
        {
            out[before].length += span.length;
            open.push(before);
            continue;
        }
        open.push(out.len());
        out.push(span);
    }
    out
}

fn is_like(one: &Kind, other: &Kind) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

/// What of the spans is in a part, in its own units; of too many the first.
fn within(spans: &[Span], from: usize, to: usize, limits: Limits) -> Vec<Span> {
    let (mut out, mut bytes) = (Vec::new(), 0);
    for span in spans.iter().filter(|span| span.end() > from && span.offset < to) {
        let (start, end) = (span.offset.max(from), span.end().min(to));
        let span = Span { offset: start - from, length: end - start, kind: span.kind.clone() };
        let more = span.bytes();
        if out.len() < limits.spans && bytes + more <= limits.span_bytes {
            bytes += more;
            out.push(span);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn style(start: usize, length: usize, look: Look) -> Style {
        Style { start, length, look }
    }

    #[test]
    fn a_cut_is_made_where_a_reader_would_and_its_space_is_dropped() {
        let limits = Limits { units: 20, ..MESSAGE };
        let texts =
            |text: &str| split(text, &[], limits).into_iter().map(|part| part.text).collect::<Vec<_>>();
        assert_eq!(texts("One two three.\n\nFour five six."), ["One two three.", "Four five six."]);
        assert_eq!(texts("One two three.\nFour five six."), ["One two three.", "Four five six."]);
        assert_eq!(texts("One two three. Four five six."), ["One two three.", "Four five six."]);
        assert_eq!(texts("One two three four five six"), ["One two three four", "five six"]);
        assert_eq!(texts("Onetwothreefourfivesixseven"), ["Onetwothreefourfives", "ixseven"]);
        assert_eq!(texts("  \n "), [""; 0]);
        assert_eq!(texts("\u{200b}\u{200d}"), [""; 0]);
        // Nineteen units, then a family of eleven.
        let family = "👨‍👩‍👧‍👦";
        assert_eq!(texts(&format!("1234567890123456789{family}")), ["1234567890123456789", family]);
    }

    #[test]
    fn what_stands_out_goes_on_after_a_cut_and_pre_keeps_its_language() {
        let limits = Limits { units: 10, ..MESSAGE };
        let look = Look::Lines(Some("rust".into()));
        let parts = split("0123 56789 123456", &[style(2, 12, look)], limits);
        let pre = |offset, length| Span { offset, length, kind: Kind::Pre { language: Some("rust".into()) } };
        assert_eq!(parts[0], Part { text: "0123 56789".into(), spans: vec![pre(2, 8)] });
        assert_eq!(parts[1], Part { text: "123456".into(), spans: vec![pre(0, 3)] });
    }

    #[test]
    fn a_part_ends_before_it_has_too_many_spans_or_too_long_addresses() {
        let text = "word ".repeat(300);
        let bold: Vec<Style> = (0..300).map(|index| style(index * 5, 4, Look::Bold)).collect();
        let parts = split(&text, &bold, MESSAGE);
        assert_eq!(parts.iter().map(|part| part.spans.len()).collect::<Vec<_>>(), [100, 100, 100]);
        let url = format!("https://example.org/{}", "x".repeat(1900));
        let links: Vec<Style> =
            (0..9).map(|index| style(index * 5, 4, Look::Link(url.as_str().into()))).collect();
        let parts = split(&text, &links, MESSAGE);
        assert_eq!(parts.iter().map(|part| part.spans.len()).sum::<usize>(), 9);
        assert!(parts.iter().all(|part| part.spans.iter().map(Span::bytes).sum::<usize>() <= 8000));
        let vast = Look::Link("x".repeat(9000).into());
        assert!(split("word", &[style(0, 4, vast)], MESSAGE)[0].spans.is_empty());
    }

    #[test]
    fn spans_lie_within_each_other_or_apart() {
        let styles = [
            style(0, 4, Look::Bold),
            style(2, 4, Look::Italic),
            style(6, 3, Look::Mono),
            style(7, 1, Look::Bold),
            style(10, 2, Look::Italic),
            style(12, 2, Look::Italic),
        ];
        let spans = tidy(&styles, "0123456789abc", &Marks::of("0123456789abc"));
        let told: Vec<_> = spans.iter().map(|span| (span.offset, span.length)).collect();
        assert_eq!(told, [(0, 4), (2, 2), (6, 3), (10, 3)]);
    }

    fn look() -> impl Strategy<Value = Look> {
        prop_oneof![
            Just(Look::Bold),
            Just(Look::Italic),
            Just(Look::Mono),
            Just(Look::Strike),
            Just(Look::Quote),
            Just(Look::Lines(Some("c".into()))),
            "[a-z]{1,40}".prop_map(|path| Look::Link(format!("https://example.org/{path}").into())),
        ]
    }

    proptest! {
        #[test]
        fn every_part_is_within_the_limits_and_together_they_are_the_text(
            words in prop::collection::vec("[a-zа-яא-ת👍🏽👨‍👩‍👧é́ ]{1,30}[.!\n]{0,2}", 1..60),
            styles in prop::collection::vec((0..900_usize, 1..400_usize, look()), 0..30),
            most in 70..300_usize,
        ) {
            let text = words.join(" ");
            let styles: Vec<Style> = styles.into_iter().map(|(start, length, look)| style(start, length, look)).collect();
            let limits = Limits { units: most, spans: 5, span_bytes: 300 };
            let parts = split(&text, &styles, limits);
            let bare = |text: &str| text.chars().filter(|c| is_seen(*c)).collect::<String>();
            let joined: String = parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(bare(&joined), bare(&text));
            for part in &parts {
                let long = units(&part.text);
                prop_assert!((1..=most).contains(&long) && part.spans.len() <= 5);
                prop_assert!(part.spans.iter().map(Span::bytes).sum::<usize>() <= 300);
                prop_assert_eq!(part.text.trim(), part.text.as_str());
                for (index, span) in part.spans.iter().enumerate() {
                    prop_assert!(span.length > 0 && span.end() <= long);
                    for later in &part.spans[index + 1..] {
                        let apart = later.offset >= span.end();
                        prop_assert!(apart || later.offset >= span.offset && later.end() <= span.end());
                    }
                }
            }
        }
    }
}
