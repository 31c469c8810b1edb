//! Posts: what people follow, read out of pages and feeds. Everything here is pure and bounded: bytes in, posts out, with
//! `now` passed in where a date matters.
//!
//! Invariant: every fetched text is untrusted and comes out as plain text, without markup, hidden parts and control
//! characters; no page, however broken, costs more than its size. Source: news.md sections 3, 4 and 6.

mod article;
mod boilerplate;
mod channel;
mod charset;
mod content;
mod dates;
mod duplicates;
mod feed;
#[cfg(test)]
mod fuzz;
mod markup;
mod page;
mod post;
mod source;
mod text;

pub use article::{Article, article};
pub use boilerplate::Boilerplate;
pub use channel::{ChannelPage, Unreadable, channel};
pub use duplicates::{Print, groups, normal, pairs};
pub use feed::{FeedPage, feed};
pub use page::{Form, Link, alternates, form, links};
pub use post::Post;
pub use source::{Source, SourceError};
