//! What is known of each node before anything is chosen: how much text and how much of it in links is inside, and what is
//! surely not the article. Invariant: one pass forward and one backward over the nodes.

use super::words::{Sign, is_tail, sign};
use crate::{
    content::{is_made_invisible, is_never_text},
    markup::{Element, Kind, Tree, is_inline},
    text::line,
};

/// Share of the page's sentences that an element must hold to be kept in spite of its name.
const MOST_OF_PAGE: f32 = 0.4;
/// Share of the page's sentences that what is never the article may hold and still be left out.
const NEARLY_ALL: f32 = 0.9;
/// Shortest stretch of text that counts as a sentence, in characters.
const SENTENCE: u32 = 60;

/// What a header must say to be more than a headline with what belongs to it, in characters.
const LONG_HEADER: u32 = 500;
/// What must be said outside a hidden element for it to be left out, in characters: some pages show their text by script.
const LITTLE: u32 = 300;

/// How much is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strictness {
    /// What is surely or by its name something else.
    Names,
    /// Only what people do not see and what is there to lead elsewhere: for pages whose names mislead.
    Kinds,
}

/// What is inside each node, and directly in each block (its inline elements included).
pub(super) struct Facts {
    /// Of all that is inside.
    pub(super) inside: Vec<Count>,
    /// Of what stands in the block itself, not in blocks inside it.
    pub(super) own: Vec<Count>,
    /// What the element's name says.
    pub(super) signs: Vec<Sign>,
    /// Left out, with all that is inside.
    pub(super) out: Vec<bool>,
    strictness: Strictness,
}

/// How much text there is.
#[derive(Clone, Copy, Default)]
pub(super) struct Count {
    /// Characters that are seen, blanks left out.
    pub(super) chars: u32,
    /// Of these, in links.
    pub(super) linked: u32,
    /// Of these, in stretches long enough to be sentences, outside links.
    pub(super) sentences: u32,
    /// Commas and full stops.
    pub(super) stops: u32,
    /// Line breaks.
    pub(super) breaks: u32,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.chars = self.chars.saturating_add(other.chars);
        self.linked = self.linked.saturating_add(other.linked);
        self.sentences = self.sentences.saturating_add(other.sentences);
        self.stops = self.stops.saturating_add(other.stops);
        self.breaks = self.breaks.saturating_add(other.breaks);
    }

    /// Part of the text that stands in links, 0 to 1.
    pub(super) fn links(self) -> f32 {
        share(self.linked, self.chars)
    }
}

impl Facts {
    pub(super) fn new(tree: &Tree<'_>, heading: Option<usize>, strictness: Strictness) -> Self {
        let n = tree.len();
        let mut facts = Self {
            inside: vec![Count::default(); n],
            own: vec![Count::default(); n],
            signs: vec![Sign::None; n],
            out: vec![false; n],
            strictness,
        };
        facts.count(tree);
        let roots = (0..n).filter(|at| tree.parent(*at).is_none());
        let page = roots.map(|at| facts.inside(at).sentences).sum();
        facts.leave_out(tree, page);
        if strictness == Strictness::Names {
            facts.leave_out_tails(tree, page, heading);
        }
        // What is left out no longer counts.
        facts.inside.fill(Count::default());
        facts.own.fill(Count::default());
        facts.count(tree);
        facts
    }

    pub(super) fn inside(&self, at: usize) -> Count {
        self.inside.get(at).copied().unwrap_or_default()
    }

    pub(super) fn own(&self, at: usize) -> Count {
        self.own.get(at).copied().unwrap_or_default()
    }

    pub(super) fn is_out(&self, at: usize) -> bool {
        self.out.get(at).copied().unwrap_or(true)
    }

    pub(super) fn is_body(&self, at: usize) -> bool {
        self.signs.get(at) == Some(&Sign::Body)
    }

    /// Counts text into its nearest block, then every block into the one around it.
    fn count(&mut self, tree: &Tree<'_>) {
        let mut blocks: Vec<(usize, usize)> = Vec::new();
        let (mut link_ends, mut at) = (0, 0);
        while at < tree.len() {
            let next = tree.inside(at).end;
            while blocks.pop_if(|(_, end)| *end <= at).is_some() {}
            let mut count = Count::default();
            match tree.kind(at) {
                Some(Kind::Element(tag)) => {
                    if self.is_out(at) || self.is_never(Element { tree, at, tag }) {
                        at = next;
                        continue;
                    }
                    match &*tag.name {
                        "a" => link_ends = link_ends.max(next),
                        "br" => count.breaks = 1,
                        name if !is_inline(name) => blocks.push((at, next)),
                        _ => {}
                    }
                }
                Some(Kind::Text(text)) => count = counted(text, at < link_ends),
                None => {}
            }
            let block = blocks.last().map_or(0, |(block, _)| *block);
            if let Some(own) = self.own.get_mut(block) {
                own.add(count);
            }
            at += 1;
        }
        for at in (0..tree.len()).rev() {
            let Some(own) = self.own.get_mut(at) else { continue };
            let unlinked = own.chars - own.linked;
            own.sentences = if unlinked >= SENTENCE { unlinked } else { 0 };
            let mut whole = *own;
            if let Some(inside) = self.inside.get_mut(at) {
                inside.add(whole);
                whole = *inside;
            }
            if let Some(around) = tree.parent(at).and_then(|parent| self.inside.get_mut(parent)) {
                around.add(whole);
            }
        }
    }

    /// Leaves out what stands below a heading such as "Related stories": the box that begins with it, else what follows it up
    /// to the next text.
    fn leave_out_tails(&mut self, tree: &Tree<'_>, page: u32, heading: Option<usize>) {
        let before = self.said_before(tree);
        let said = |at: usize| before.get(at).copied().unwrap_or_default();
        for element in tree.all() {
            if self.is_out(element.at) || !self.is_tail(element) {
                continue;
            }
            let Some(around) = element.around().next() else { continue };
            let size = share(self.inside(around.at).sentences, page);
            let headline = heading.is_some_and(|at| tree.inside(around.at).contains(&at));
            let most = if heading.is_some() { NEARLY_ALL } else { MOST_OF_PAGE };
            let first = said(element.at) == said(around.at);
            if first && !headline && size < most && !matches!(around.name(), "html" | "body" | "main") {
                self.leave(around.at);
                continue;
            }
            self.leave(element.at);
            let mut at = tree.inside(element.at).end;
            while at < tree.inside(around.at).end {
                if let Some(next) = tree.element(at) {
                    let text = matches!(next.name(), "p" | "blockquote" | "pre" | "h1" | "h2" | "h3" | "h4");
                    let much = share(self.inside(at).sentences, page) > MOST_OF_PAGE;
                    if text || much || self.is_body(at) {
                        break;
                    }
                    self.leave(at);
                }
                at = tree.inside(at).end;
            }
        }
    }

    /// Whether an element is a heading such as "Related stories".
    fn is_tail(&self, element: Element<'_, '_>) -> bool {
        let label =
            matches!(element.name(), "h2" | "h3" | "h4" | "h5" | "h6" | "p" | "div" | "li" | "header");
        let (own, inside) = (self.own(element.at).chars, self.inside(element.at).chars);
        label && (3..=60).contains(&inside) && inside == own && is_tail(&line(&element.raw_text()))
    }

    /// How much is said before each node, in sentences.
    pub(super) fn said_before(&self, tree: &Tree<'_>) -> Vec<u32> {
        let mut sum = 0_u32;
        let before = |at| {
            let before = sum;
            sum = sum.saturating_add(self.own(at).sentences);
            before
        };
        (0..tree.len()).map(before).collect()
    }

    /// Whether what is inside is never text. Some pages have their text only for those without scripts.
    fn is_never(&self, element: Element<'_, '_>) -> bool {
        is_never_text(element) && !(self.strictness == Strictness::Kinds && element.name() == "noscript")
    }

    /// Whether an element holds something other than an article by what it is.
    fn is_other(&self, element: Element<'_, '_>, share: f32) -> bool {
        match element.name() {
            "header" => {
                self.strictness == Strictness::Names
                    && self.inside(element.at).sentences < LONG_HEADER
                    && share < MOST_OF_PAGE
            }
            "aside" | "form" | "figcaption" => self.strictness == Strictness::Names && share < MOST_OF_PAGE,
            _ => share < MOST_OF_PAGE && is_other(element),
        }
    }

    fn leave(&mut self, at: usize) {
        if let Some(out) = self.out.get_mut(at) {
            *out = true;
        }
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
            let share = share(self.inside(at).sentences, page);
            let out = self.is_never(element)
                || self.is_other(element, share)
                || (is_made_invisible(element) && page.saturating_sub(self.inside(at).sentences) > LITTLE)
                || match said {
                    Sign::None | Sign::Body => false,
                    Sign::Beside => {
                        self.strictness == Strictness::Names
                            && share < MOST_OF_PAGE
                            && !is_root(element)
                            && element.name() != "blockquote"
                    }
                    Sign::Never => share < NEARLY_ALL && !is_root(element),
                };
            if let (Some(sign), Some(is_out)) = (self.signs.get_mut(at), self.out.get_mut(at)) {
                (*sign, *is_out) = (said, out);
            }
            at = if out { tree.inside(at).end } else { at + 1 };
        }
    }
}

fn counted(text: &str, linked: bool) -> Count {
    let mut count = Count::default();
    for c in text.chars() {
        count.chars += u32::from(!c.is_whitespace());
        count.stops += u32::from(matches!(c, ',' | '.' | ';' | '،' | '؛' | '、' | '，' | '。' | '！' | '？'));
    }
    count.linked = if linked { count.chars } else { 0 };
    count
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
    matches!(element.name(), "nav" | "footer" | "menu" | "dialog" | "fieldset" | "input" | "label")
        || element.attribute("role").is_some_and(|role| {
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
