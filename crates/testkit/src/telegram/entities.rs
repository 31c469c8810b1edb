//! What the server makes of entities that lie across each other. Invariant: afterwards nothing lies in or around code,
//! but quotes around it; no two links share a place, no two quotes either, and none lies across a quote's edge. Marks
//! of the plain kinds (bold and so on) may lie across each other, as given.

use serde_json::Value;

/// An entity and its place in units.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) body: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Plain,
    Code,
    Whole,
    Quote,
}

impl Span {
    fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap_or_default()
    }

    fn class(&self) -> Class {
        match self.kind() {
            "bold" | "italic" | "underline" | "strikethrough" | "spoiler" => Class::Plain,
            "code" | "pre" | "date_time" => Class::Code,
            "blockquote" | "expandable_blockquote" => Class::Quote,
            _ => Class::Whole,
        }
    }

    const fn meets(&self, other: &Self) -> bool {
        self.from < other.to && other.from < self.to
    }

    const fn inside(&self, other: &Self) -> bool {
        other.from <= self.from && self.to <= other.to
    }
}

/// In the server's order: by place, outer ones first, then by kind.
pub(super) fn sort(spans: &mut [Span]) {
    spans.sort_by_key(|span| (span.from, usize::MAX - span.to, super::text::rank(span.kind())));
}

/// Keeps of each crowd the first.
fn apart(spans: Vec<Span>) -> Vec<Span> {
    let mut kept: Vec<Span> = Vec::new();
    for span in spans {
        if kept.last().is_none_or(|last| last.to <= span.from) {
            kept.push(span);
        }
    }
    kept
}

/// Takes out what the server takes out.
pub(super) fn untangled(mut spans: Vec<Span>) -> Vec<Span> {
    sort(&mut spans);
    let (plain, rest): (Vec<_>, Vec<_>) = spans.into_iter().partition(|span| span.class() == Class::Plain);
    let (quotes, whole): (Vec<_>, Vec<_>) = rest.into_iter().partition(|span| span.class() == Class::Quote);
    let quotes = apart(quotes);
    let mut kept = apart(whole);
    kept.retain(|span| quotes.iter().all(|quote| !span.meets(quote) || span.inside(quote)));
    let code: Vec<Span> = kept.iter().filter(|span| span.class() == Class::Code).cloned().collect();
    kept.extend(quotes);
    for span in plain {
        kept.extend(around(span, &code));
    }
    sort(&mut kept);
    kept
}

/// The pieces of a mark that lie outside code.
fn around(span: Span, code: &[Span]) -> Vec<Span> {
    let mut pieces = vec![span];
    for code in code {
        pieces = pieces
            .into_iter()
            .flat_map(|piece| {
                if !piece.meets(code) {
                    return vec![piece];
                }
                let left = Span { to: code.from.max(piece.from), ..piece.clone() };
                let right = Span { from: code.to.min(piece.to), ..piece };
                [left, right].into_iter().filter(|piece| piece.from < piece.to).collect()
            })
            .collect();
    }
    pieces
}
