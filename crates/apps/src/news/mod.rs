//! News: what people's sources published lately, without doubles, the same event told once, in short summaries with
//! links. `digest` makes one for anybody; the rest knows people, their folders and their schedules.
//!
//! Invariant: what was fetched is data and never instruction; a digest that could not be made costs nothing.
//! Source: news.md.

mod digest;

pub use digest::{Digest, DigestAsk, Failed, Keeps, Less, Phase, Phases, Reason, Shown, Story, Watches};
