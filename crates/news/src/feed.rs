//! Feeds: RSS 0.9x to 2.0, Atom 0.3 and 1.0, JSON Feed 1.x. Invariant: a feed that is broken gives what a reader would
//! still show of it; what it declares (document types, entities) is never expanded; an entry's address is http or https.
//! Source: news.md section 4; RSS 2.0, RFC 4287, jsonfeed.org 1.1.

mod json;
#[cfg(test)]
mod tests;

use crate::{
    Unreadable, charset, content, dates,
    markup::{Element, Tree},
    post::{Post, fingerprint, plausible, title},
    text::{clean, cut, line, without_links},
};
use std::{borrow::Cow, collections::HashSet};
use url::Url;

/// Entries that are read of one feed; the newest stand first in nearly all.
const MOST_ENTRIES: usize = 1000;
/// Longest address that is followed, in bytes: each link of a page is joined with the page's own.
const LONGEST_ADDRESS: usize = 4096;
/// Longest text of an entry that is kept, in characters.
const LONGEST: usize = 16_384;

/// A feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedPage {
    /// Its name for people; the host where it has none.
    pub title: String,
    /// In the feed's order, each id once; entries without any words are left out.
    pub posts: Vec<Post>,
}

/// Reads a feed that was fetched from `base`, at `now` (Unix milliseconds).
///
/// # Errors
/// It is no feed.
pub fn feed(bytes: &[u8], content_type: &str, base: &Url, now: i64) -> Result<FeedPage, Unreadable> {
    let text = charset::text(bytes, content_type);
    let (name, entries) = if text.trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t']).starts_with('{') {
        json::read(&text).ok_or(Unreadable::NoFeed)?
    } else {
        xml(&Tree::xml(&text)).ok_or(Unreadable::NoFeed)?
    };
    let mut known = HashSet::new();
    let posts = entries.into_iter().filter_map(|entry| entry.post(base, now));
    let posts = posts.filter(|post| known.insert(post.id.clone())).collect();
    let title = Some(name).filter(|name| !name.is_empty());
    Ok(FeedPage { title: title.unwrap_or_else(|| base.host_str().unwrap_or_default().to_owned()), posts })
}

/// An entry as it is written.
#[derive(Default)]
struct Entry {
    id: String,
    link: String,
    title: Words,
    /// The whole text, and a shorter one for where there is none.
    content: Words,
    summary: Words,
    published: Option<i64>,
    updated: Option<i64>,
}

/// Text of a feed, already plain or still HTML.
#[derive(Default)]
struct Words(String);

impl Words {
    fn plain(text: &str) -> Self {
        Self(clean(text))
    }

    fn html(html: &str) -> Self {
        let tree = Tree::html(html);
        Self(content::text(&tree, 0..tree.len(), |_| false))
    }
}

impl Entry {
    /// None: nothing to read.
    fn post(self, base: &Url, now: i64) -> Option<Post> {
        let title = title(&self.title.0);
        let words = [self.content.0, self.summary.0].into_iter().map(|text| without_links(&text));
        let text = words.into_iter().find(|text| !text.is_empty()).or_else(|| title.clone())?;
        let text = cut(&text, LONGEST).to_owned();
        let link =
            address(&self.link, base).or_else(|| address(&self.id, base).filter(|_| self.id.contains("://")));
        let id = [line(&self.id), link.as_ref().map(Url::to_string).unwrap_or_default()];
        let id = id.into_iter().find(|id| !id.is_empty());
        Some(Post {
            id: id.unwrap_or_else(|| fingerprint(&[title.as_deref().unwrap_or_default(), &text])),
            at: self.published.or(self.updated).and_then(|at| plausible(at, now)),
            edited: matches!((self.published, self.updated), (Some(first), Some(last)) if last > first),
            url: link.as_ref().unwrap_or(base).to_string(),
            title,
            text,
            views: None,
        })
    }
}

/// An address that can be opened.
pub(crate) fn address(written: &str, base: &Url) -> Option<Url> {
    let written = written.trim();
    if written.is_empty() || written.len() > LONGEST_ADDRESS {
        return None;
    }
    let url = base.join(written).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.host().is_some()).then_some(url)
}

/// The name of a feed and its entries; none: no feed.
fn xml(tree: &Tree<'_>) -> Option<(String, Vec<Entry>)> {
    let root = tree.all().next()?;
    if !matches!(local(root.name()).as_ref(), "rss" | "feed" | "rdf") {
        return None;
    }
    let mut name = String::new();
    let mut entries = Vec::new();
    let mut at = tree.inside(root.at).start;
    while at < tree.len() && entries.len() < MOST_ENTRIES {
        let Some(element) = tree.element(at) else {
            at += 1;
            continue;
        };
        match own(element.name()).as_deref() {
            Some("item" | "entry") => entries.push(entry(element)),
            Some("title") if name.is_empty() => name = line(&words(element).0),
            // Descend: items stand in the channel in RSS 2.0, beside it in RSS 1.0.
            Some("channel" | "feed" | "rss" | "rdf" | "items") => {
                at += 1;
                continue;
            }
            Some(_) | None => {}
        }
        at = tree.inside(element.at).end;
    }
    Some((name, entries))
}

/// A name without its prefix, in lower case.
fn local(name: &str) -> Cow<'_, str> {
    let local = name.rsplit(':').next().unwrap_or(name);
    if local.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(local.to_ascii_lowercase())
    } else {
        Cow::Borrowed(local)
    }
}

/// The local name of an element of feeds themselves; none: one of an extension, such as `media:title`.
fn own(name: &str) -> Option<Cow<'_, str>> {
    let prefix = name.rsplit_once(':').map_or("", |(prefix, _)| prefix);
    let own = ["", "atom", "atom10", "rss", "rdf", "a10", "dc", "dcterms", "content", "xhtml"];
    own.iter().any(|own| prefix.eq_ignore_ascii_case(own)).then(|| local(name))
}

fn entry(element: Element<'_, '_>) -> Entry {
    let mut entry = Entry::default();
    for part in element.children() {
        let Some(name) = own(part.name()) else { continue };
        match name.as_ref() {
            "title" if entry.title.0.is_empty() => entry.title = words(part),
            "guid" | "id" | "identifier" if entry.id.is_empty() => entry.id = line(&part.raw_text()),
            "link" => link(part, &mut entry.link),
            "encoded" | "content" if entry.content.0.is_empty() => entry.content = words(part),
            "description" | "summary" if entry.summary.0.is_empty() => entry.summary = words(part),
            "pubdate" | "published" | "date" | "issued" | "created" => {
                entry.published = entry.published.or_else(|| dates::read(&part.raw_text()));
            }
            "updated" | "modified" => entry.updated = entry.updated.or_else(|| dates::read(&part.raw_text())),
            _ => {}
        }
    }
    if entry.id.is_empty() {
        entry.id = element.attribute("rdf:about").unwrap_or_default().to_owned();
    }
    entry
}

/// The link to what an entry is about: text in RSS, an attribute in Atom, where other relations are other links.
fn link(part: Element<'_, '_>, to: &mut String) {
    match part.attribute("href") {
        Some(address) => {
            let alternate = part.attribute("rel").is_none_or(|rel| rel == "alternate");
            if alternate && to.is_empty() {
                address.clone_into(to);
            }
        }
        None if to.is_empty() => *to = part.raw_text().trim().to_owned(),
        None => {}
    }
}

/// What an element says: elements inside it (XHTML), else text, which is HTML unless it says and shows that it is not.
fn words(part: Element<'_, '_>) -> Words {
    let kind = part.attribute("type").unwrap_or_default();
    if kind.contains("xhtml") || part.children().next().is_some() {
        return Words(content::text(part.tree, part.tree.inside(part.at), |_| false));
    }
    let text = part.raw_text();
    let markup = text.contains("</") || text.contains("/>") || text.contains("<br") || text.contains("<p");
    if kind.starts_with("text") && !kind.contains("html") && !markup {
        Words::plain(&text)
    } else {
        Words::html(&text)
    }
}
