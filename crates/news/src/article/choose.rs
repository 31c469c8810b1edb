//! Which element holds the article. Invariant: a score goes up at most `LEVELS` elements.

use super::facts::{self, Count, Facts};
use crate::markup::{Element, Tree};

/// Elements around a paragraph that it speaks for, and how much for each.
const LEVELS: [f32; 5] = [1.0, 0.5, 1.0 / 6.0, 1.0 / 9.0, 1.0 / 12.0];
/// Shortest paragraph that counts, in characters.
const LEAST: u32 = 20;
/// Text directly in an element that makes it more than one paragraph, in characters.
const SEVERAL: u32 = 400;

/// The element around the article; none: the page has no text. `heading` is where the headline stands.
pub(super) fn choose(tree: &Tree<'_>, facts: &Facts, heading: Option<usize>) -> Option<usize> {
    let scores = scores(tree, facts);
    let before = facts.said_before(tree);
    let at_heading = heading.and_then(|at| before.get(at).copied());
    let worth = |at: usize| {
        let score = scores.get(at).copied().unwrap_or_default() * (1.0 - facts.inside(at).links());
        let named = if facts.is_body(at) { 1.5 } else { 1.0 };
        score * named * nearness(tree, at, heading, at_heading, before.get(at).copied().unwrap_or_default())
    };
    let worths: Vec<f32> = (0..tree.len()).map(worth).collect();
    let best =
        (0..tree.len()).filter(|at| worths.get(*at).is_some_and(|worth| *worth > 0.0)).max_by(|a, b| {
            worths.get(*a).unwrap_or(&0.0).total_cmp(worths.get(*b).unwrap_or(&0.0)).then(b.cmp(a))
        })?;
    // What is called the text of the article is it, where it holds a good part of what is said around the best.
    let sentences = |at: usize| facts.inside(at).sentences;
    let named = tree.all().filter(|element| facts.is_body(element.at) && !facts.is_out(element.at));
    let named = named
        .map(|element| element.at)
        .filter(|at| sentences(*at) > 0 && sentences(*at) * 4 > sentences(best));
    let value = |at: usize| {
        nearness(tree, at, heading, at_heading, before.get(at).copied().unwrap_or_default())
            * facts::share(sentences(at), 1)
    };
    let chosen = named.max_by(|a, b| value(*a).total_cmp(&value(*b))).unwrap_or(best);
    Some(widened(tree, facts, chosen))
}

/// An article stands below its headline and not far from it.
fn nearness(tree: &Tree<'_>, at: usize, heading: Option<usize>, at_heading: Option<u32>, before: u32) -> f32 {
    let (Some(heading), Some(at_heading)) = (heading, at_heading) else { return 1.0 };
    if tree.inside(at).contains(&heading) {
        return 1.0;
    }
    if at < heading {
        return 0.5;
    }
    #[expect(clippy::cast_precision_loss, reason = "a weight needs no more")]
    let between = before.saturating_sub(at_heading) as f32;
    1.0 / (1.0 + between / 250.0)
}

/// What each element holds of paragraphs, those near to it counting more.
fn scores(tree: &Tree<'_>, facts: &Facts) -> Vec<f32> {
    let mut scores = vec![0.0_f32; tree.len()];
    for element in tree.all() {
        let own = facts.own(element.at);
        if own.chars < LEAST {
            continue;
        }
        let alone = std::iter::once(element).filter(|element| is_container(*element, own));
        let score = worth(own);
        for (around, part) in alone.chain(element.around()).zip(LEVELS) {
            if let Some(value) = scores.get_mut(around.at) {
                *value += score * part;
            }
        }
    }
    scores
}

#[expect(clippy::cast_precision_loss, reason = "a score needs no more")]
fn worth(own: Count) -> f32 {
    (1.0 + own.stops as f32 + (own.chars as f32 / 100.0).min(3.0)) * (1.0 - own.links())
}

/// Whether an element with text directly inside is more than a paragraph: one with line breaks for paragraphs.
fn is_container(element: Element<'_, '_>, own: Count) -> bool {
    matches!(element.name(), "div" | "section" | "article" | "main" | "td" | "body")
        && (own.breaks > 2 || own.chars > SEVERAL)
}

/// The element around the chosen one and others of its kind, where they hold more of the article.
fn widened(tree: &Tree<'_>, facts: &Facts, chosen: usize) -> usize {
    let Some(start) = tree.element(chosen) else { return chosen };
    let (mut chosen, mut child) = (chosen, start);
    for around in start.around() {
        if matches!(around.name(), "body" | "html") || child.name() == "article" {
            break;
        }
        let kind = (child.name(), child.attribute("class"));
        let like: u32 = around
            .children()
            .filter(|sibling| sibling.at != child.at && !facts.is_out(sibling.at))
            .filter(|sibling| {
                let same = (sibling.name(), sibling.attribute("class")) == kind;
                let text = matches!(sibling.name(), "p" | "blockquote" | "pre");
                (same || text || facts.is_body(sibling.at)) && facts.inside(sibling.at).links() < 0.3
            })
            .map(|sibling| facts.inside(sibling.at).sentences)
            .sum();
        if like * 10 > facts.inside(chosen).sentences {
            chosen = around.at;
        }
        child = around;
    }
    chosen
}
