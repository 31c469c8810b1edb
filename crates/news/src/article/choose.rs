//! Which element holds the article. Invariant: a score goes up at most `LEVELS` elements.

use super::{facts::Facts, words::Sign};
use crate::markup::{Element, Tree, is_inline};

/// Elements around a paragraph that it speaks for.
const LEVELS: usize = 5;
/// Shortest paragraph that counts, in characters.
const LEAST: u32 = 20;

/// The element around the article; none: the page has no text.
pub(super) fn choose(tree: &Tree<'_>, facts: &Facts) -> Option<usize> {
    let scores = scores(tree, facts);
    let final_score = |at: usize| {
        let own = scores.get(at).copied().unwrap_or_default();
        own * (1.0 - facts.links(at)) * if facts.signs.get(at) == Some(&Sign::Body) { 1.5 } else { 1.0 }
    };
    let best = (0..tree.len())
        .filter(|at| scores.get(*at).is_some_and(|score| *score > 0.0))
        .max_by(|a, b| final_score(*a).total_cmp(&final_score(*b)).then(b.cmp(a)))?;
    let body = tree
        .all()
        .filter(|element| facts.signs.get(element.at) == Some(&Sign::Body) && !facts.is_out(element.at));
    let named =
        body.max_by_key(|element| (facts.get(&facts.sentences, element.at), std::cmp::Reverse(element.at)));
    if let Some(named) = named
        && facts.get(&facts.sentences, named.at) * 2 > facts.get(&facts.sentences, best)
        && facts.get(&facts.sentences, named.at) > 0
    {
        return Some(innermost(tree, facts, named.at));
    }
    Some(widened(tree, facts, &scores, best))
}

/// An element called the body may stand around another that is called so and holds the same.
fn innermost(tree: &Tree<'_>, facts: &Facts, mut at: usize) -> usize {
    let whole = facts.get(&facts.sentences, at);
    for element in tree.elements(tree.inside(at)) {
        let same = facts.get(&facts.sentences, element.at) * 20 >= whole * 19;
        if same && !facts.is_out(element.at) && facts.signs.get(element.at) == Some(&Sign::Body) {
            at = element.at;
        }
    }
    at
}

/// What each element holds of paragraphs, those near to it counting more.
fn scores(tree: &Tree<'_>, facts: &Facts) -> Vec<f32> {
    let mut scores = vec![0.0_f32; tree.len()];
    let mut at = 0;
    while at < tree.len() {
        let Some(element) = tree.element(at) else {
            at += 1;
            continue;
        };
        if facts.is_out(at) {
            at = tree.inside(at).end;
            continue;
        }
        at += 1;
        if !is_paragraph(element) {
            continue;
        }
        let chars = facts.get(&facts.chars, element.at);
        if chars < LEAST {
            continue;
        }
        #[expect(clippy::cast_precision_loss, reason = "a score needs no more")]
        let score = (1.0 + facts.get(&facts.stops, element.at) as f32 + (chars as f32 / 100.0).min(3.0))
            * (1.0 - facts.links(element.at));
        for (level, around) in element.around().take(LEVELS).enumerate() {
            let part = match level {
                0 => 1.0,
                1 => 0.5,
                2 => 1.0 / 6.0,
                3 => 1.0 / 9.0,
                _ => 1.0 / 12.0,
            };
            if let Some(value) = scores.get_mut(around.at) {
                *value += score * part;
            }
        }
    }
    scores
}

/// A block without blocks inside it.
fn is_paragraph(element: Element<'_, '_>) -> bool {
    match element.name() {
        "p" | "pre" | "blockquote" | "td" | "h2" | "h3" | "h4" => true,
        "div" | "section" | "li" | "span" => {
            let leaf = element.within().all(|inside| {
                is_inline(inside.name()) || matches!(inside.name(), "br" | "img" | "svg" | "path")
            });
            leaf && element.name() != "span"
        }
        _ => false,
    }
}

/// The element around several that are about as good, or around one that is alone in it.
fn widened(tree: &Tree<'_>, facts: &Facts, scores: &[f32], best: usize) -> usize {
    let mut chosen = best;
    let Some(element) = tree.element(best) else { return best };
    let mut last = scores.get(best).copied().unwrap_or_default();
    let least = last / 3.0;
    for around in element.around() {
        if matches!(around.name(), "body" | "html") {
            break;
        }
        let sentences = |at| facts.get(&facts.sentences, at);
        let here = scores.get(around.at).copied().unwrap_or_default();
        // More of the article beside what was chosen.
        if here < least || sentences(around.at) * 10 < sentences(chosen) * 11 {
            break;
        }
        if here > last {
            chosen = around.at;
        }
        last = here;
    }
    chosen
}
