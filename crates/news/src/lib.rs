//! Posts: what people follow, read out of pages and feeds. Everything here is pure and bounded: bytes in, posts out, with
//! `now` passed in where a date matters.
//!
//! Invariant: every fetched text is untrusted and comes out as plain text, without markup, hidden parts and control
//! characters; no page, however broken, costs more than its size. Source: news.md sections 3, 4 and 6.

mod post;
mod source;

pub use post::Post;
pub use source::{Source, SourceError};
