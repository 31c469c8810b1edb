//! What news keeps: sources and their posts, shared by everybody who follows them.

mod feeds;

pub use feeds::{FeedRow, Feeds, PostRow};
