//! A message in Telegram's own marks, MarkdownV2. Pure. Invariant: what the reader sees is the text, whatever is in it;
//! a piece that these marks cannot say loses its look and not its words.
//!
//! Source: Bot API, "MarkdownV2 style"; news.md section 8.

use super::parts::{Kind, Part, Span};

/// Most bytes of a marked text.
pub(super) const RAW_BYTES: usize = 32_768;

/// Everything that means something anywhere outside of code.
const RESERVED: &str = "_*[]()~`>#+-=|{}.!\\";

/// The text with its marks.
pub(super) fn markdown(part: &Part) -> String {
    let spans = sayable(part);
    let mut out = String::with_capacity(part.text.len() * 2);
    // Spans still open, the innermost last.
    let (mut open, mut next, mut unit): (Vec<&Span>, usize, usize) = (Vec::new(), 0, 0);
    // Where an italic piece ended: an underscore behind it would be another mark.
    let mut slanted = usize::MAX;
    let mut quoted_line = false;
    for c in part.text.chars() {
        close(&mut open, unit, &mut out, &mut slanted);
        while let Some(span) = spans.get(next).filter(|span| span.offset <= unit) {
            if !quoted_line && span.kind == Kind::Blockquote {
                out.push('>');
            }
            if span.kind == Kind::Italic && slanted == out.len() {
                // Bold around nothing, which is nothing.
                out.push_str("**");
            }
            begin(span, &mut out);
            open.push(span);
            next += 1;
        }
        let code = open.last().is_some_and(|span| span.kind.is_code());
        if code && matches!(c, '`' | '\\') || !code && RESERVED.contains(c) {
            out.push('\\');
        }
        out.push(c);
        unit += c.len_utf16();
        quoted_line = false;
        let quote = open.iter().find(|span| span.kind == Kind::Blockquote);
        if c == '\n' && quote.is_some_and(|quote| quote.end() > unit) {
            out.push('>');
            quoted_line = true;
        }
    }
    close(&mut open, unit, &mut out, &mut slanted);
    out
}

/// The spans that these marks can say. Code of several lines within a quote would hold the marks of its lines.
fn sayable(part: &Part) -> Vec<&Span> {
    let mut quoted = 0;
    let mut out = Vec::with_capacity(part.spans.len());
    for span in part.spans.iter().filter(|span| can_say(span, &part.text)) {
        if span.kind == Kind::Blockquote {
            quoted = span.end();
        }
        let breaks =
            || part.text.encode_utf16().skip(span.offset).take(span.length).any(|unit| unit == NEWLINE);
        if span.offset >= quoted || !span.kind.is_code() || !breaks() {
            out.push(span);
        }
    }
    out
}

const NEWLINE: u16 = 0x0a;

/// A quote is whole lines, and the language of code one word.
fn can_say(span: &Span, text: &str) -> bool {
    match &span.kind {
        Kind::Blockquote => {
            let units: Vec<u16> = text.encode_utf16().collect();
            let starts = span.offset == 0 || units.get(span.offset - 1) == Some(&NEWLINE);
            let ends = span.end() >= units.len() || units.get(span.end()) == Some(&NEWLINE);
            starts && ends
        }
        Kind::Pre { language } => language
            .as_ref()
            .is_none_or(|language| language.chars().all(|c| c.is_alphanumeric() || "+-#._".contains(c))),
        Kind::Bold | Kind::Italic | Kind::Strikethrough | Kind::Code | Kind::TextLink { .. } => true,
    }
}

fn begin(span: &Span, out: &mut String) {
    match &span.kind {
        Kind::Bold => out.push('*'),
        Kind::Italic => out.push('_'),
        Kind::Strikethrough => out.push('~'),
        Kind::Code => out.push('`'),
        Kind::Pre { language } => {
            out.push_str("```");
            out.push_str(language.as_deref().unwrap_or_default());
            out.push('\n');
        }
        Kind::TextLink { .. } => out.push('['),
        Kind::Blockquote => {}
    }
}

fn close(open: &mut Vec<&Span>, unit: usize, out: &mut String, slanted: &mut usize) {
    while let Some(span) = open.pop_if(|span| span.end() <= unit) {
        match &span.kind {
            Kind::Bold => out.push('*'),
            Kind::Italic => {
                out.push('_');
                *slanted = out.len();
            }
            Kind::Strikethrough => out.push('~'),
            Kind::Code => out.push('`'),
            Kind::Pre { .. } => out.push_str("```"),
            Kind::TextLink { url } => {
                out.push_str("](");
                for c in url.chars() {
                    if matches!(c, ')' | '\\') {
                        out.push('\\');
                    }
                    out.push(c);
                }
                out.push(')');
            }
            Kind::Blockquote => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str, spans: &[(usize, usize, Kind)]) -> Part {
        let span = |(offset, length, kind): &(usize, usize, Kind)| Span {
            offset: *offset,
            length: *length,
            kind: kind.clone(),
        };
        Part { text: text.into(), spans: spans.iter().map(span).collect() }
    }

    #[test]
    fn marks_stand_around_what_stands_out_and_everything_else_is_escaped() {
        let link = Kind::TextLink { url: "https://example.org/a_(b)\\c".into() };
        let rows = [
            (part("1+1=2. (a_b)!", &[]), r"1\+1\=2\. \(a\_b\)\!"),
            (part("👍 bold it", &[(3, 4, Kind::Bold), (8, 2, Kind::Italic)]), "👍 *bold* _it_"),
            (part("a b", &[(0, 3, Kind::Bold), (2, 1, Kind::Italic)]), "*a _b_*"),
            (part("f`x\\.", &[(0, 5, Kind::Code)]), r"`f\`x\\.`"),
            (part("see", &[(0, 3, link)]), r"[see](https://example.org/a_(b\)\\c)"),
            (part("x\ny", &[(0, 3, Kind::Pre { language: Some("c".into()) })]), "```c\nx\ny```"),
            (part("a\nb\nc", &[(0, 3, Kind::Blockquote)]), ">a\n>b\nc"),
            (part("a b\nc", &[(2, 1, Kind::Blockquote)]), "a b\nc"),
            (part("~a~", &[(1, 1, Kind::Strikethrough)]), r"\~~a~\~"),
        ];
        for (part, expected) in rows {
            assert_eq!(markdown(&part), expected, "{part:?}");
        }
    }
}
