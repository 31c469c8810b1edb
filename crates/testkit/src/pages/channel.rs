//! What public channels and feeds look like: the preview page of a channel, RSS, Atom and JSON Feed, each made from the
//! same list of posts. Invariant: a page holds at most 20 posts, newest last, and says where the older ones are.

use super::{Answer, Site};
use std::fmt::Write as _;

/// One post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Its number in the channel.
    pub id: u64,
    /// Text, without markup.
    pub text: String,
    /// RFC 3339; empty: the page shows no time.
    pub time: String,
    /// A post that this one answers, shown above it.
    pub reply_to: Option<String>,
}

/// A channel's preview pages.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its short name.
    pub slug: String,
    /// Oldest first.
    pub posts: Vec<Post>,
    /// Other class names, as after a change of layout.
    pub other_layout: bool,
}

const PER_PAGE: usize = 20;

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl Channel {
    /// Shows it at `/s/<slug>` of a site, with a page for each `?before=`.
    #[must_use]
    pub fn show(&self, site: Site) -> Site {
        let ends = (1..=self.posts.len()).rev().step_by(PER_PAGE);
        let path = format!("/s/{}", self.slug);
        let site = site.page(&path, Answer::html(&self.page(self.posts.len())));
        ends.skip(1).fold(site, |site, end| {
            site.page(&format!("{path}?before={}", self.posts[end].id), Answer::html(&self.page(end)))
        })
    }

    /// The page of the posts before position `end`.
    fn page(&self, end: usize) -> String {
        let begin = end.saturating_sub(PER_PAGE);
        let prefix = if self.other_layout { "tgx" } else { "tgme_widget" };
        let mut out = format!(
            "<!DOCTYPE html><html><body><div class=\"tgme_channel_info\">{}</div><main>",
            escaped(&self.slug)
        );
        if begin > 0 {
            let before = self.posts[begin].id;
            let _written = write!(out, "<a class=\"tme_messages_more\" data-before=\"{before}\"></a>");
        }
        for post in &self.posts[begin..end] {
            let _written = write!(
                out,
                "<div class=\"{prefix}_message\" data-post=\"{}/{}\">{}<div class=\"{prefix}_message_text\">{}</div>\
                 <span class=\"{prefix}_message_views\">1.2K</span>{}</div>",
                self.slug,
                post.id,
                post.reply_to.as_ref().map_or_else(String::new, |text| format!(
                    "<a class=\"{prefix}_message_reply\"><div class=\"{prefix}_message_text\">{}</div></a>",
                    escaped(text)
                )),
                escaped(&post.text),
                if post.time.is_empty() {
                    String::new()
                } else {
                    format!("<time datetime=\"{}\"></time>", post.time)
                },
            );
        }
        out + "</main></body></html>"
    }
}

/// The posts as RSS 2.0; its times are left out, because they are of another form.
#[must_use]
pub fn feed_rss(posts: &[Post]) -> Answer {
    let items: String = posts
        .iter()
        .map(|post| {
            format!("<item><guid>{}</guid><description>{}</description></item>", post.id, escaped(&post.text))
        })
        .collect();
    let text = format!(
        "<?xml version=\"1.0\"?><rss version=\"2.0\"><channel><title>t</title>{items}</channel></rss>"
    );
    Answer::text("application/rss+xml", &text)
}

/// Ten words that no other number has, so that no post is like another.
#[must_use]
pub fn own_words(number: u64) -> String {
    let word = |n: u64| {
        let mut rest = (number * 16 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut letters = String::new();
        for _ in 0..9 {
            letters.push(char::from(b'a' + u8::try_from(rest % 26).expect("below 26")));
            rest /= 26;
        }
        letters
    };
    (0..10).map(word).collect::<Vec<_>>().join(" ")
}

/// The posts as Atom.
#[must_use]
pub fn feed_atom(posts: &[Post]) -> Answer {
    let entries: String = posts
        .iter()
        .map(|post| {
            format!(
                "<entry><id>urn:post:{}</id><updated>{}</updated><content>{}</content></entry>",
                post.id,
                post.time,
                escaped(&post.text)
            )
        })
        .collect();
    let text = format!(
        "<?xml version=\"1.0\"?><feed xmlns=\"http://www.w3.org/2005/Atom\"><title>t</title>{entries}</feed>"
    );
    Answer::text("application/atom+xml", &text)
}

/// The posts as JSON Feed.
#[must_use]
pub fn feed_json(posts: &[Post]) -> Answer {
    let items: Vec<_> = posts
        .iter()
        .map(|post| {
            serde_json::json!({"id": post.id.to_string(), "content_text": post.text, "date_published": post.time})
        })
        .collect();
    let feed =
        serde_json::json!({"version": "https://jsonfeed.org/version/1.1", "title": "t", "items": items});
    Answer::text("application/feed+json", &feed.to_string())
}
