//! The preview page of a public channel. Invariant: a post's text is its own: what it answers, forwards from, previews or
//! is reacted to with is not part of it; a page that is a channel's but of which nothing can be read is told apart from a
//! channel that has no preview. Source: news.md section 4; the pages of t.me as they were in 2025.

#[cfg(test)]
mod tests;

use crate::{
    charset, content, dates,
    markup::{Element, Tree},
    post::{Post, plausible},
    text::{cut, line, without_links},
};

/// What is around a post on the page.
const MESSAGE: &str = "tgme_widget_message";
const TEXT: &str = "tgme_widget_message_text";
/// Longest text of a post, in characters; Telegram itself allows 4,096.
const LONGEST: usize = 16_384;

/// A page of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelPage {
    /// Its name for people.
    pub title: String,
    /// Oldest first, each id once; posts without words are left out.
    pub posts: Vec<Post>,
    /// The id before which the next older page ends; none: this is the oldest.
    pub before: Option<u64>,
}

/// Why no posts could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The channel exists, or may exist, but shows its posts to nobody outside; also what a redirect from the preview to
    /// the channel's own page comes to.
    #[error("this channel has no public preview")]
    NoPreview,
    /// The page is a channel's, and none of its posts could be read.
    #[error("the channel's page has a layout that cannot be read")]
    LayoutChanged,
    /// Not a page of a channel.
    #[error("this is not the page of a channel")]
    NoChannel,
    /// Not a feed.
    #[error("this is not a feed")]
    NoFeed,
}

/// Reads the preview page of the channel `slug` at `now` (Unix milliseconds).
///
/// # Errors
/// The page shows no posts.
pub fn channel(html: &[u8], slug: &str, now: i64) -> Result<ChannelPage, Unreadable> {
    let html = charset::text(html, "text/html; charset=utf-8");
    let tree = Tree::html(&html);
    let (mut info, mut page, mut empty) = (None, false, false);
    let (mut before, mut title) = (None, None);
    let mut messages: Vec<Element<'_, '_>> = Vec::new();
    for element in tree.all() {
        if element.name() == "link" && element.attribute("rel") == Some("prev") {
            before = before.or_else(|| element.attribute("href")?.split_once("before=")?.1.parse().ok());
        }
        let Some(classes) = element.attribute("class") else { continue };
        for class in classes.split_ascii_whitespace() {
            match class {
                MESSAGE => {
                    let inside =
                        messages.last().is_some_and(|last| tree.inside(last.at).contains(&element.at));
                    messages.extend((!inside).then_some(element));
                }
                "tgme_channel_info" => info = info.or(Some(element)),
                "tgme_channel_info_header_title" | "tgme_header_title" => {
                    title = title.or(Some(element));
                }
                "tme_messages_more" => {
                    before =
                        element.attribute("data-before").and_then(|id| id.trim().parse().ok()).or(before);
                }
                "tme_no_messages_found" => empty = true,
                // The page of a name that nobody has shows no title.
                "tgme_page_title" => page = true,
                _ => {}
            }
        }
    }
    let read: Vec<Message> = messages.into_iter().filter_map(message).collect();
    if !read.iter().any(|message| message.at.is_some() || !message.text.is_empty()) && !empty {
        return Err(match (info.is_some() || !read.is_empty(), page) {
            (true, _) => Unreadable::LayoutChanged,
            (false, true) => Unreadable::NoPreview,
            (false, false) => Unreadable::NoChannel,
        });
    }
    // Old pages have the name as the first text of the information.
    let title = title.and_then(named).or_else(|| info.and_then(named)).unwrap_or_else(|| slug.to_owned());
    Ok(ChannelPage { title, posts: posts(read, slug, now), before })
}

/// The first line of an element.
fn named(element: Element<'_, '_>) -> Option<String> {
    let text = content::whole(element);
    text.lines().next().map(line).filter(|name| !name.is_empty())
}

/// What was read of one message.
struct Message {
    slug: String,
    number: u64,
    text: String,
    at: Option<i64>,
    views: Option<u64>,
    edited: bool,
}

/// One message; none: an element that is no post, such as a note that the channel was created.
fn message(element: Element<'_, '_>) -> Option<Message> {
    let (slug, number) = element.attribute("data-post")?.trim().split_once('/')?;
    let number: u64 = number.parse().ok()?;
    let named = !slug.is_empty() && slug.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !named || element.has_class("service_message") {
        return None;
    }
    let mut message =
        Message { slug: slug.to_owned(), number, text: String::new(), at: None, views: None, edited: false };
    let tree = element.tree;
    let range = tree.inside(element.at);
    let mut at = range.start;
    while at < range.end {
        let next = tree.inside(at).end;
        let Some(part) = tree.element(at) else {
            at += 1;
            continue;
        };
        if is_foreign(part) {
            at = next;
        } else if part.has_class(TEXT) {
            add(&mut message.text, part);
            at = next;
        } else {
            if let Some(time) = part.attribute("datetime").filter(|_| part.name() == "time") {
                message.at = dates::read(time).or(message.at);
            } else if part.has_class("tgme_widget_message_views") {
                message.views = views(&content::whole(part));
            } else if part.has_class("tgme_widget_message_meta") {
                message.edited |= edited(part);
            }
            at += 1;
        }
    }
    Some(message)
}

/// Parts of a message that are not its own words.
fn is_foreign(part: Element<'_, '_>) -> bool {
    const FOREIGN: [&str; 8] = [
        "tgme_widget_message_reply",
        "tgme_widget_message_forwarded_from",
        "tgme_widget_message_link_preview",
        "tgme_widget_message_reactions",
        "tgme_widget_message_inline_keyboard",
        "tgme_widget_message_author",
        "js-message_reply_text",
        "message_media_not_supported",
    ];
    part.attribute("class")
        .is_some_and(|classes| classes.split_ascii_whitespace().any(|class| FOREIGN.contains(&class)))
}

fn add(to: &mut String, part: Element<'_, '_>) {
    let text = content::text(part.tree, part.tree.inside(part.at), is_foreign);
    let text = without_links(&text);
    // An album repeats the words of its pictures.
    if text.is_empty() || to.len() > LONGEST || to.contains(&text) {
        return;
    }
    if !to.is_empty() {
        to.push_str("\n\n");
    }
    to.push_str(cut(&text, LONGEST));
}

/// Whether the line under a post says that it was edited: the word stands before the date, in the page's language.
fn edited(meta: Element<'_, '_>) -> bool {
    let text = content::text(meta.tree, meta.tree.inside(meta.at), |part| {
        part.name() == "a" || part.name() == "time" || part.has_class("tgme_widget_message_from_author")
    });
    text.split_whitespace().any(|word| word.trim_matches(',').eq_ignore_ascii_case("edited"))
}

/// `12.3K` as a number.
fn views(text: &str) -> Option<u64> {
    let text = text.trim().replace(',', ".");
    let (number, factor) = match text.char_indices().next_back()? {
        (at, 'K' | 'k') => (text.get(..at)?, 1e3),
        (at, 'M' | 'm') => (text.get(..at)?, 1e6),
        (at, 'B' | 'b') => (text.get(..at)?, 1e9),
        _ => (text.as_str(), 1.0),
    };
    let number: f64 = number.trim().parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to lie within")]
    (0.0..1e15).contains(&number).then(|| (number * factor).round() as u64)
}

/// The channel's own posts, each once, oldest first.
fn posts(read: Vec<Message>, slug: &str, now: i64) -> Vec<Post> {
    // A channel may be known by several names; then its page uses one that was not asked for.
    let own = |message: &Message| message.slug.eq_ignore_ascii_case(slug);
    let name = match read.iter().find(|message| own(message)).or(read.first()) {
        Some(message) => message.slug.clone(),
        None => return Vec::new(),
    };
    let mut numbered = std::collections::BTreeMap::new();
    for message in read {
        if message.slug.eq_ignore_ascii_case(&name) && !message.text.is_empty() {
            numbered.insert(message.number, message);
        }
    }
    numbered
        .into_values()
        .map(|message| Post {
            id: message.number.to_string(),
            at: message.at.and_then(|at| plausible(at, now)),
            title: None,
            text: message.text,
            url: format!("https://t.me/{name}/{}", message.number),
            views: message.views,
            edited: message.edited,
        })
        .collect()
}
