//! What a source published. Invariant: its text is plain and clean.

/// A post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// What it is known by at its source: a number, an address or a hash; never empty.
    pub id: String,
    /// When it was published, Unix milliseconds; none: the source does not say.
    pub at: Option<i64>,
    /// Its title, where it has one.
    pub title: Option<String>,
    /// Its words.
    pub text: String,
    /// Where it can be read.
    pub url: String,
    /// How often it was seen, where the source says.
    pub views: Option<u64>,
}
