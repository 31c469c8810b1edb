//! One digest: fetch, filter, drop doubles, group, rank, sum up. Invariant: a digest never waits longer than its
//! deadline; a stage that runs out of its share hands on what it has. Source: news.md sections 5 to 7.

mod model;

pub use model::{Digest, DigestAsk, Failed, Keeps, Less, Phase, Phases, Reason, Shown, Story, Watches};
