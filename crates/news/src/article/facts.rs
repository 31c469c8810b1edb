//! What is known of each node before anything is chosen: how much text and how much of it in links is inside, and what is
//! surely not the article. Invariant: one pass forward and one backward over the nodes.

use super::words::{Sign, sign};
use crate::{
    content::{is_made_invisible, is_never_text},
    markup::{Element, Kind, Tree, is_inline},
};

/// Share of the page's sentences that an element must hold to be kept in spite of its name.
const MOST_OF_PAGE: f32 = 0.4;
/// Shortest stretch of text that counts as a sentence, in characters.
const SENTENCE: u32 = 80;

/// What is inside each node.
pub(super) struct Facts {
    /// Characters of text that is seen, blanks left out.
    pub(super) chars: Vec<u32>,
    /// Of these, in links.
    pub(super) linked: Vec<u32>,
    /// Of these, in stretches long enough to be sentences, outside links.
    pub(super) sentences: Vec<u32>,
    /// Commas and full stops.
    pub(super) stops: Vec<u32>,
    /// What the element's name says.
    pub(super) signs: Vec<Sign>,
    /// Left out, with all that is inside.
    pub(super) out: Vec<bool>,
}

impl Facts {
    pub(super) fn new(tree: &Tree<'_>) -> Self {
        let n = tree.len();
        let mut facts = Self {
            chars: vec![0; n],
            linked: vec![0; n],
            sentences: vec![0; n],
            stops: vec![0; n],
            signs: vec![Sign::None; n],
            out: vec![false; n],
        };
        facts.count(tree);
        let page = facts.sentences.first().map_or(0, |_| facts.top(tree));
        facts.leave_out(tree, page);
        // What is left out no longer counts.
        for values in [&mut facts.chars, &mut facts.linked, &mut facts.sentences, &mut facts.stops] {
            values.fill(0);
        }
        facts.count(tree);
        facts
    }

    /// Part of the text that stands in links, 0 to 1.
    pub(super) fn links(&self, at: usize) -> f32 {
        share(self.get(&self.linked, at), self.get(&self.chars, at))
    }

    pub(super) fn get(&self, values: &[u32], at: usize) -> u32 {
        values.get(at).copied().unwrap_or_default()
    }

    pub(super) fn is_out(&self, at: usize) -> bool {
        self.out.get(at).copied().unwrap_or(true)
    }

    /// Sentences of the whole page.
    fn top(&self, tree: &Tree<'_>) -> u32 {
        let roots = (0..tree.len()).filter(|at| tree.parent(*at).is_none());
        roots.map(|at| self.get(&self.sentences, at)).sum()
    }

    /// Counts text into its nearest block, then every node into the one around it.
    fn count(&mut self, tree: &Tree<'_>) {
        let mut link_ends = 0;
        let mut at = 0;
        while at < tree.len() {
            let next = tree.inside(at).end;
            match tree.kind(at) {
                Some(Kind::Element(tag)) => {
                    if self.is_out(at) || is_never_text(Element { tree, at, tag }) {
                        at = next;
                        continue;
                    }
                    if tag.name == "a" {
                        link_ends = link_ends.max(next);
                    }
                }
                Some(Kind::Text(text)) => {
                    let (mut chars, mut stops) = (0_u32, 0_u32);
                    for c in text.chars() {
                        chars += u32::from(!c.is_whitespace());
                        stops += u32::from(matches!(
                            c,
                            ',' | '.' | '،' | '、' | '，' | '。' | '！' | '？' | ';' | '؛'
                        ));
                    }
                    let link = at < link_ends;
                    let values = [
                        (&mut self.chars, chars),
                        (&mut self.linked, if link { chars } else { 0 }),
                        (&mut self.stops, stops),
                    ];
                    for (values, count) in values {
                        if let Some(value) = values.get_mut(at) {
                            *value = count;
                        }
                    }
                }
                None => {}
            }
            at += 1;
        }
        self.gather(tree);
    }

    fn gather(&mut self, tree: &Tree<'_>) {
        // Text directly in a block, its inline elements included, is one stretch.
        for at in (0..tree.len()).rev() {
            let block = tree.element(at).is_some_and(|element| !is_inline(element.name()));
            if block {
                let own = self.get(&self.chars, at).saturating_sub(self.get(&self.linked, at));
                let inside = self.get(&self.sentences, at);
                // What blocks inside have said already is not said again.
                let rest = own.saturating_sub(self.inner(tree, at));
                let said = inside + if rest >= SENTENCE { rest } else { 0 };
                if let Some(value) = self.sentences.get_mut(at) {
                    *value = said;
                }
            }
            let Some(parent) = tree.parent(at) else { continue };
            for values in [&mut self.chars, &mut self.linked, &mut self.sentences, &mut self.stops] {
                let value = values.get(at).copied().unwrap_or_default();
                if let Some(of_parent) = values.get_mut(parent) {
                    *of_parent = of_parent.saturating_add(value);
                }
            }
        }
    }

    /// Unlinked characters in the blocks directly inside a block.
    fn inner(&self, tree: &Tree<'_>, at: usize) -> u32 {
        let range = tree.inside(at);
        let (mut sum, mut child) = (0_u32, range.start);
        while child < range.end {
            let element = tree.element(child);
            match element {
                Some(element) if is_inline(element.name()) => child += 1,
                Some(_) => {
                    sum = sum.saturating_add(
                        self.get(&self.chars, child).saturating_sub(self.get(&self.linked, child)),
                    );
                    child = tree.inside(child).end;
                }
                None => child += 1,
            }
        }
        sum
    }

    fn leave_out(&mut self, tree: &Tree<'_>, page: u32) {
        let mut at = 0;
        while at < tree.len() {
            let Some(element) = tree.element(at) else {
                at += 1;
                continue;
            };
            let names = [element.attribute("class"), element.attribute("id")].map(Option::unwrap_or_default);
            let mut said = sign(names[0]).max(sign(names[1]));
            if element.attribute("itemprop").is_some_and(|item| item.eq_ignore_ascii_case("articleBody")) {
                said = Sign::Body;
            }
            let share = share(self.get(&self.sentences, at), page);
            let out = is_never_text(element)
                || (share < MOST_OF_PAGE && (is_made_invisible(element) || is_other(element)))
                || match said {
                    Sign::None | Sign::Body => false,
                    Sign::Beside => share < MOST_OF_PAGE && !is_root(element),
                    Sign::Comments => share < 0.9 && !is_root(element),
                };
            if let (Some(sign), Some(is_out)) = (self.signs.get_mut(at), self.out.get_mut(at)) {
                (*sign, *is_out) = (said, out);
            }
            at = if out { tree.inside(at).end } else { at + 1 };
        }
    }
}

pub(super) fn share(part: u32, whole: u32) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more")]
    if whole == 0 { 0.0 } else { part as f32 / whole as f32 }
}

fn is_root(element: Element<'_, '_>) -> bool {
    matches!(element.name(), "html" | "body" | "main" | "article")
}

/// Elements that hold something other than an article.
fn is_other(element: Element<'_, '_>) -> bool {
    matches!(
        element.name(),
        "nav"
            | "footer"
            | "aside"
            | "form"
            | "figcaption"
            | "menu"
            | "dialog"
            | "fieldset"
            | "input"
            | "label"
    ) || element.attribute("role").is_some_and(|role| {
        matches!(
            role,
            "navigation"
                | "banner"
                | "contentinfo"
                | "search"
                | "dialog"
                | "alert"
                | "alertdialog"
                | "menu"
                | "menubar"
                | "complementary"
                | "note"
                | "tooltip"
                | "button"
        )
    })
}
