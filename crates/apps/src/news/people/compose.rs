//! A digest as posts: a header, one post a story, a footer with what is missing; or all in one, where many read. Invariant:
//! only the first post makes a sound; no post shows a card; what is written about the same story stands in one post.
//! Source: news.md section 7.

use super::{
    Talk,
    words::Say,
    write::{Page, button},
};
use crate::news::digest::{Digest, Failed, Less, Reason, Story};
use portcullis_domain::{Button, Post};

/// How a digest looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One post a story.
    Stories,
    /// All in one post.
    Compact,
}

impl Layout {
    pub(super) fn of(name: &str, group: bool) -> Self {
        match name {
            "stories" => Self::Stories,
            "compact" => Self::Compact,
            _ if group => Self::Compact,
            _ => Self::Stories,
        }
    }
}

/// What a digest is told with.
pub(super) struct Told<'a> {
    pub(super) talk: &'a Talk<'a>,
    pub(super) folder: &'a str,
    pub(super) folder_id: i64,
    pub(super) window_hours: i64,
    /// Sources that were asked.
    pub(super) sources: usize,
    pub(super) layout: Layout,
    /// Whether it was not charged since it is less than it should be.
    pub(super) free: bool,
    /// Whether buttons stand below it.
    pub(super) menu: bool,
}

/// A story of more posts than that is hot.
const HOT: usize = 3;
/// Links of one story.
const LINKS: usize = 10;
/// Sources that are named when they gave nothing.
const NAMED: usize = 10;

impl Told<'_> {
    /// The posts, in order.
    pub(super) fn posts(&self, digest: &Digest) -> Vec<Post> {
        let header = self.header(digest);
        let stories = digest.stories.iter().zip(1..).map(|(story, number)| self.story(story, number));
        let footer = self.footer(digest);
        let mut posts = match self.layout {
            Layout::Stories => {
                let mut posts: Vec<Post> = std::iter::once(header).chain(stories).collect();
                if footer.is_empty() {
                    // The buttons stand below the last story.
                } else {
                    posts.push(footer.post());
                }
                posts
            }
            Layout::Compact => {
                let mut page = Page::default();
                page.add(&header);
                for story in stories {
                    page.say("\n\n").add(&story);
                }
                if !footer.is_empty() {
                    page.say("\n\n").add(&footer.post());
                }
                vec![page.post()]
            }
        };
        for post in posts.iter_mut().skip(1) {
            post.silent = true;
        }
        if self.menu
            && let Some(last) = posts.last_mut()
        {
            last.choices = self.menu();
        }
        posts
    }

    fn header(&self, digest: &Digest) -> Post {
        let mut page = Page::default();
        page.say("📰 ").bold(self.folder).line();
        let n = digest.stories.len() as u64;
        page.say(&self.talk.count(Say::HeaderStories, n)).say(" · ").say(&self.talk.span(self.window_hours));
        page.post()
    }

    fn story(&self, story: &Story, number: usize) -> Post {
        let mut page = Page::default();
        let mark = if story.posts > HOT { "🔥" } else { "📰" };
        page.say(&format!("{mark} {number}. ")).bold(&story.headline);
        for bullet in &story.bullets {
            page.say("\n• ").say(bullet);
        }
        if !story.links.is_empty() {
            let all = story.links.len();
            page.say("\n\n").say(&self.talk.with(Say::Sources, &[("count", &all.to_string())])).say(" ");
            for (index, (name, address)) in story.links.iter().take(LINKS).enumerate() {
                if index > 0 {
                    page.say(", ");
                }
                page.link(name, address);
            }
            if all > LINKS {
                page.say(" ").say(&self.talk.count(Say::AndMore, (all - LINKS) as u64));
            }
        }
        page.post()
    }

    fn footer(&self, digest: &Digest) -> Page {
        let mut page = Page::default();
        let mut line = |text: String| {
            if !page.is_empty() {
                page.line();
            }
            page.say("ℹ️ ").say(&text);
        };
        if !digest.failed.is_empty() {
            let (failed, all) = (digest.failed.len().to_string(), self.sources.to_string());
            let named = names(&digest.failed);
            let values = [("failed", failed.as_str()), ("all", &all), ("names", &named)];
            line(self.talk.with(Say::SomeFailed, &values));
        }
        for less in &digest.less {
            line(self.talk.say(match less {
                Less::Extractive => Say::LessExtractive,
                Less::Lexical => Say::LessLexical,
                Less::Late => Say::LessLate,
            }));
        }
        if self.free {
            line(self.talk.say(Say::NotCharged));
        }
        page
    }

    fn menu(&self) -> Vec<Vec<Button>> {
        let label = |say| self.talk.say(say);
        vec![vec![
            button(label(Say::ButtonAgain), "n", self.folder_id, ""),
            button(label(Say::ButtonMenu), "m", 0, ""),
        ]]
    }
}

fn names(failed: &[Failed]) -> String {
    let named: Vec<String> = failed.iter().take(NAMED).map(|failed| failed.source.to_string()).collect();
    let more = if failed.len() > NAMED { ", …" } else { "" };
    named.join(", ") + more
}

/// Why sources gave nothing, a line each.
pub(super) fn reasons(talk: &Talk<'_>, failed: &[Failed]) -> String {
    let line = |failed: &Failed| format!("• {}: {}", failed.source, talk.say(reason(failed.reason)));
    let mut lines: Vec<String> = failed.iter().take(NAMED).map(line).collect();
    if failed.len() > NAMED {
        lines.push(talk.count(Say::AndMore, (failed.len() - NAMED) as u64));
    }
    lines.join("\n")
}

/// Why a source gave nothing, in words.
pub(super) const fn reason(reason: Reason) -> Say {
    match reason {
        Reason::NoPreview => Say::ReasonNoPreview,
        Reason::NotFound => Say::ReasonNotFound,
        Reason::Robots => Say::ReasonRobots,
        Reason::Refused => Say::ReasonRefused,
        Reason::NotAnswering => Say::ReasonNotAnswering,
        Reason::Busy => Say::ReasonBusy,
        Reason::Unreadable => Say::ReasonUnreadable,
    }
}
