//! The readable text of a page: what somebody came for, without what stands around it. Invariant: linear in the size of
//! the page; text comes only from what people would see; nothing is fetched and no script is run.
//!
//! How: parts that are surely something else (by what they are and what they are called) are left out, the rest is scored
//! by its sentences, the element around most of them is taken, and of it the lines that are links, notes and labels go.
//! Source: news.md section 4; the score is that of Mozilla's Readability, the reasons for leaving out are our own.

mod choose;
mod facts;
mod meta;
#[cfg(test)]
mod tests;
mod trim;
mod words;

use crate::{charset, content, markup::Tree, text::cut};
use facts::{Facts, Strictness};
use url::Url;

/// A text so short is looked for again with less left out, in bytes.
const SHORT: usize = 300;
/// Longest text that is kept, in characters.
const LONGEST: usize = 200_000;

/// An article.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Article {
    /// Its headline; none: the page has none.
    pub title: Option<String>,
    /// Its text, paragraphs parted by blank lines; empty: the page has none.
    pub text: String,
    /// When it was published, Unix milliseconds; none: the page does not say, or nothing that can be.
    pub published_at: Option<i64>,
}

/// Reads the article of a page that was fetched from `url`, at `now` (Unix milliseconds).
#[must_use]
pub fn article(html: &[u8], content_type: &str, url: Option<&Url>, now: i64) -> Article {
    let html = charset::text(html, content_type);
    let tree = Tree::html(&html);
    let data = meta::Data::read(&tree);
    let (title, heading) = meta::title(&tree, &data);
    let read = |strictness| {
        let facts = Facts::new(&tree, heading, strictness);
        let chosen = choose::choose(&tree, &facts, heading);
        let range = chosen.map_or(0..tree.len(), |at| tree.inside(at));
        trim::text(&tree, &facts, range, title.as_deref())
    };
    let mut text = read(Strictness::Names);
    if text.len() < SHORT {
        let said = data.body.as_deref().map(html_text).unwrap_or_default();
        text = [read(Strictness::Kinds), said]
            .into_iter()
            .fold(text, |best, other| if other.len() > 2 * best.len() { other } else { best });
    }
    Article {
        text: cut(&text, LONGEST).to_owned(),
        published_at: meta::published(&tree, &data, url, now),
        title,
    }
}

/// The text of a piece of HTML.
fn html_text(html: &str) -> String {
    let tree = Tree::html(html);
    content::text(&tree, 0..tree.len(), |_| false)
}
