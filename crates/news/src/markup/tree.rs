//! Tokens into a tree. Invariant: nodes lie in the order of the document and each knows where its inside ends, so that
//! walking a part of the tree is walking a slice; no more than `DEEPEST` elements lie inside one another, and what is
//! deeper is kept flat at that depth.

use super::token::{Dialect, Tag, Token, Tokens};
use ahash::AHashMap;
use std::{borrow::Cow, ops::Range};

/// Elements inside one another; browsers have about the same limit.
const DEEPEST: usize = 256;

/// Nodes of one document; what follows is not read. Pages have some thousands, and a node takes more memory than its tag.
const MOST_NODES: usize = 400_000;

/// A document.
pub(crate) struct Tree<'a> {
    nodes: Vec<Node<'a>>,
    /// Open elements that were looked at to make it.
    #[cfg(test)]
    pub(crate) work: usize,
}

struct Node<'a> {
    kind: Kind<'a>,
    parent: Option<usize>,
    /// One past the last node inside.
    end: usize,
}

/// What a node is.
pub(crate) enum Kind<'a> {
    Element(Tag<'a>),
    Text(Cow<'a, str>),
}

/// An element, with its place in the tree.
#[derive(Clone, Copy)]
pub(crate) struct Element<'t, 'a> {
    pub(crate) tree: &'t Tree<'a>,
    pub(crate) at: usize,
    pub(crate) tag: &'t Tag<'a>,
}

impl<'a> Tree<'a> {
    /// Reads a page or a piece of one.
    pub(crate) fn html(text: &'a str) -> Self {
        Self::read(text, Dialect::Html)
    }

    /// Reads a document of XML, well formed or not.
    pub(crate) fn xml(text: &'a str) -> Self {
        Self::read(text, Dialect::Xml)
    }

    fn read(text: &'a str, dialect: Dialect) -> Self {
        let mut builder = Builder {
            nodes: Vec::with_capacity((text.len() / 24).min(MOST_NODES)),
            open: Vec::new(),
            counts: AHashMap::new(),
            flat: 0,
            dialect,
            #[cfg(test)]
            work: 0,
        };
        for token in Tokens::new(text, dialect) {
            if builder.nodes.len() >= MOST_NODES {
                break;
            }
            match token {
                Token::Open(tag) => builder.element(tag),
                Token::Close(name) => builder.close(&name),
                Token::Text(text) => builder.add(Kind::Text(text)),
            }
        }
        while !builder.open.is_empty() {
            builder.pop();
        }
        Self {
            nodes: builder.nodes,
            #[cfg(test)]
            work: builder.work,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn kind(&self, at: usize) -> Option<&Kind<'a>> {
        self.nodes.get(at).map(|node| &node.kind)
    }

    pub(crate) fn parent(&self, at: usize) -> Option<usize> {
        self.nodes.get(at)?.parent
    }

    /// The nodes inside a node.
    pub(crate) fn inside(&self, at: usize) -> Range<usize> {
        at + 1..self.nodes.get(at).map_or(at + 1, |node| node.end)
    }

    pub(crate) fn element(&self, at: usize) -> Option<Element<'_, 'a>> {
        match self.kind(at)? {
            Kind::Element(tag) => Some(Element { tree: self, at, tag }),
            Kind::Text(_) => None,
        }
    }

    /// All elements of a stretch of nodes, in order.
    pub(crate) fn elements(&self, range: Range<usize>) -> impl Iterator<Item = Element<'_, 'a>> {
        range.filter_map(|at| self.element(at))
    }

    /// All elements, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = Element<'_, 'a>> {
        self.elements(0..self.len())
    }
}

impl<'t, 'a> Element<'t, 'a> {
    pub(crate) fn name(&self) -> &'t str {
        &self.tag.name
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&'t str> {
        self.tag.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    pub(crate) fn has_class(&self, class: &str) -> bool {
        self.attribute("class")
            .is_some_and(|classes| classes.split_ascii_whitespace().any(|one| one == class))
    }

    /// The elements directly inside, in order.
    pub(crate) fn children(self) -> impl Iterator<Item = Element<'t, 'a>> {
        let range = self.tree.inside(self.at);
        let mut at = range.start;
        std::iter::from_fn(move || {
            while at < range.end {
                let here = at;
                at = self.tree.inside(here).end;
                if let Some(element) = self.tree.element(here) {
                    return Some(element);
                }
            }
            None
        })
    }

    /// The elements around, innermost first.
    pub(crate) fn around(self) -> impl Iterator<Item = Element<'t, 'a>> {
        std::iter::successors(self.tree.parent(self.at), |at| self.tree.parent(*at))
            .filter_map(|at| self.tree.element(at))
    }

    /// All text inside as it is written.
    pub(crate) fn raw_text(self) -> String {
        self.tree
            .inside(self.at)
            .filter_map(|at| match self.tree.kind(at) {
                Some(Kind::Text(text)) => Some(&**text),
                Some(Kind::Element(_)) | None => None,
            })
            .collect()
    }
}

struct Builder<'a> {
    nodes: Vec<Node<'a>>,
    /// Open elements, outermost first, and whether the end tag of one was seen while others were open inside it.
    open: Vec<(usize, bool)>,
    /// How many elements of each name are open: an end tag without a beginning costs nothing.
    counts: AHashMap<Cow<'a, str>, usize>,
    /// Elements that are open but too deep to be kept open.
    flat: usize,
    dialect: Dialect,
    #[cfg(test)]
    work: usize,
}

impl<'a> Builder<'a> {
    fn add(&mut self, kind: Kind<'a>) {
        let parent = self.open.last().map(|(at, _)| *at);
        let end = self.nodes.len() + 1;
        self.nodes.push(Node { kind, parent, end });
    }

    fn name(&self, at: usize) -> &str {
        match self.nodes.get(at).map(|node| &node.kind) {
            Some(Kind::Element(tag)) => &tag.name,
            Some(Kind::Text(_)) | None => "",
        }
    }

    fn element(&mut self, tag: Tag<'a>) {
        let html = self.dialect == Dialect::Html;
        if html {
            self.closed_by(&tag.name);
        }
        let alone = if html {
            is_void(&tag.name)
                || (tag.closed && (self.is_open("svg") || self.is_open("math") || tag.name == "svg"))
        } else {
            tag.closed
        };
        let name = tag.name.clone();
        self.add(Kind::Element(tag));
        if alone {
            return;
        }
        if self.open.len() >= DEEPEST {
            self.flat += 1;
            return;
        }
        self.open.push((self.nodes.len() - 1, false));
        *self.counts.entry(name).or_default() += 1;
    }

    fn is_open(&self, name: &str) -> bool {
        self.counts.get(name).is_some_and(|count| *count > 0)
    }

    fn pop(&mut self) {
        let Some((at, ended)) = self.open.pop() else { return };
        let end = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else { return };
        node.end = end;
        if let Kind::Element(tag) = &node.kind
            && let Some(count) = self.counts.get_mut(&tag.name).filter(|_| !ended)
        {
            *count = count.saturating_sub(1);
        }
    }

    fn pop_to(&mut self, depth: usize) {
        while self.open.len() > depth {
            self.pop();
        }
        while self.open.last().is_some_and(|(_, ended)| *ended) {
            self.pop();
        }
    }

    fn close(&mut self, name: &str) {
        if self.flat > 0 {
            self.flat -= 1;
            return;
        }
        if !self.is_open(name) {
            return;
        }
        let inline = self.dialect == Dialect::Html && is_inline(name);
        let table = matches!(name, "table" | "thead" | "tbody" | "tfoot" | "tr" | "td" | "th" | "caption");
        for depth in (0..self.open.len()).rev() {
            #[cfg(test)]
            {
                self.work += 1;
            }
            let Some(at) = self.open.get(depth).map(|(at, _)| *at) else { return };
            let open = self.name(at);
            if open == name {
                return self.pop_to(depth);
            }
            if self.dialect == Dialect::Xml {
                continue;
            }
            if inline && !is_inline(open) {
                return self.end_later(name);
            }
            let barrier =
                if table { open == "table" } else { matches!(open, "td" | "th" | "caption" | "table") };
            if barrier || open == "template" {
                return;
            }
        }
    }

    /// An end tag inside a block for something that began outside it: it ends with the block.
    fn end_later(&mut self, name: &str) {
        let ends = (0..self.open.len())
            .rev()
            .find(|depth| self.open.get(*depth).is_some_and(|(at, ended)| !ended && self.name(*at) == name));
        if let Some((_, ended)) = ends.and_then(|depth| self.open.get_mut(depth)) {
            *ended = true;
            if let Some(count) = self.counts.get_mut(name) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// A start tag closes some elements whose end tag may be left out.
    fn closed_by(&mut self, name: &str) {
        let (closed, walls): (&[&str], &[&str]) = match name {
            "li" => (&["li"], &["ul", "ol", "menu", "td", "th", "table"]),
            "dt" | "dd" => (&["dt", "dd"], &["dl", "td", "th", "table"]),
            "td" | "th" => (&["td", "th"], &["tr", "table"]),
            "tr" => (&["tr"], &["table", "tbody", "thead", "tfoot"]),
            "tbody" | "thead" | "tfoot" => (&["tbody", "thead", "tfoot"], &["table"]),
            "option" => (&["option"], &["select"]),
            "a" => return self.link_within_link(),
            _ if is_block(name) => (&["p"], &["button", "td", "th", "table"]),
            _ => return,
        };
        if !closed.iter().any(|closed| self.is_open(closed)) {
            return;
        }
        for depth in (0..self.open.len()).rev() {
            #[cfg(test)]
            {
                self.work += 1;
            }
            let Some(at) = self.open.get(depth).map(|(at, _)| *at) else { return };
            let open = self.name(at);
            if closed.contains(&open) {
                return self.pop_to(depth);
            }
            if walls.contains(&open) || open == "template" {
                return;
            }
        }
    }
}

impl Builder<'_> {
    /// A link begins inside another one, which ends here; where blocks stand between them, it ends with the outermost of
    /// those, because their end tags are still to come.
    fn link_within_link(&mut self) {
        if !self.is_open("a") {
            return;
        }
        let mut within_block = false;
        for depth in (0..self.open.len()).rev() {
            #[cfg(test)]
            {
                self.work += 1;
            }
            let Some((at, ended)) = self.open.get(depth).copied() else { return };
            match self.name(at) {
                "td" | "th" | "table" | "svg" | "template" => return,
                "a" if !ended && within_block => return self.end_later("a"),
                "a" if !ended => return self.pop_to(depth),
                open => within_block |= !is_inline(open),
            }
        }
    }
}

fn is_void(name: &str) -> bool {
    const VOID: [&str; 14] = [
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
        "track", "wbr",
    ];
    VOID.contains(&name)
}

/// Elements inside a line of text.
pub(crate) fn is_inline(name: &str) -> bool {
    const INLINE: [&str; 32] = [
        "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font",
        "i", "ins", "kbd", "label", "mark", "nobr", "q", "s", "samp", "small", "span", "strike", "strong",
        "sub", "sup", "time", "u", "var",
    ];
    INLINE.contains(&name)
}

/// Elements that begin a line of their own.
pub(crate) fn is_block(name: &str) -> bool {
    const BLOCK: [&str; 37] = [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "center",
        "dd",
        "details",
        "dialog",
        "dir",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hgroup",
        "hr",
        "main",
        "menu",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "ul",
    ];
    BLOCK.contains(&name)
}
