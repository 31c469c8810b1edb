//! The text of the chosen element without lines that are no part of it. Invariant: what is left is in the page's order.

use super::{
    facts::Facts,
    words::{asks_to_follow, is_note},
};
use crate::{
    content,
    markup::{Element, Tree},
    text::line,
};
use std::ops::Range;

/// Longest line that may be a note beside the text, in characters.
const NOTE: usize = 140;

/// Longest line at the end that asks to be followed elsewhere, in characters.
const FOLLOW: usize = 300;
/// Lines before and behind the sentences that are taken for labels; more are a list that belongs to the text.
const MOST_LABELS: usize = 3;

/// The text of the article in a stretch of nodes.
pub(super) fn text(tree: &Tree<'_>, facts: &Facts, range: Range<usize>, title: Option<&str>) -> String {
    let text = content::without(tree, range, |element| {
        facts.is_out(element.at) || is_links(facts, element) || element.name() == "h1"
    });
    let title = title.map(key);
    let mut blocks: Vec<&str> = text.split("\n\n").filter(|block| !block.trim().is_empty()).collect();
    blocks.retain(|block| {
        let short = block.chars().nth(NOTE).is_none();
        !(short && (is_note(block) || title.as_ref().is_some_and(|title| *title == key(block))))
    });
    let begins =
        blocks.iter().position(|block| is_sentence(block)).filter(|at| *at <= MOST_LABELS).unwrap_or(0);
    let labels = blocks.iter().rev().take_while(|block| !is_sentence(block)).count();
    let mut ends = blocks.len() - if labels <= MOST_LABELS && labels < blocks.len() { labels } else { 0 };
    while ends > begins + 1
        && blocks.get(ends - 1).is_some_and(|last| last.chars().nth(FOLLOW).is_none() && asks_to_follow(last))
    {
        ends -= 1;
    }
    blocks.get(begins..ends).unwrap_or_default().join("\n\n")
}

fn key(text: &str) -> String {
    line(text).chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether a block reads like a part of a text rather than a label.
fn is_sentence(block: &str) -> bool {
    let long = block.chars().nth(100).is_some();
    long || block
        .trim_end_matches(['"', '”', '’', '\'', ')', '»', ']'])
        .ends_with(['.', '!', '?', ':', '…', '。', '！', '？'])
}

/// Whether an element is a list of links, or a line that is nothing but one.
fn is_links(facts: &Facts, element: Element<'_, '_>) -> bool {
    let links = facts.inside(element.at).links();
    match element.name() {
        "ul" | "ol" | "dl" | "table" => links > 0.5,
        "p" | "div" | "section" | "h2" | "h3" | "h4" | "h5" | "h6" | "li" => links > 0.8,
        _ => false,
    }
}
