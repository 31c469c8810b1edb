//! What is asked of the news app. Invariant: every text here was bounded by its door; an app sees it only after
//! inspection. Source: news.md sections 3 and 14.

use crate::MessageRequest;

/// Something asked of news.
#[derive(Clone, Debug)]
pub enum NewsRequest {
    /// A message of a chat door: a command, a press, a file.
    Message(MessageRequest),
    /// A digest of sources that are named.
    Digest(DigestRequest),
}

impl NewsRequest {
    /// The words of a person in it.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Message(message) => Some(&message.text),
            Self::Digest(_) => None,
        }
    }

    /// The same, to be replaced.
    pub fn text_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Message(message) => Some(&mut message.text),
            Self::Digest(_) => None,
        }
    }
}

/// A digest of named sources, for nobody in particular.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DigestRequest {
    /// As a person writes them: `@channel`, a link to one, the address of a feed or page.
    pub sources: Vec<String>,
    /// How far back, in hours, where the caller says.
    pub window_hours: Option<u32>,
    /// Most stories, where the caller says.
    pub stories: Option<usize>,
    /// Two letters; none: the language of most posts.
    pub language: Option<String>,
    /// Of these words or phrases at least one must be in a post, if there are any.
    pub include: Vec<String>,
    /// None of these may be.
    pub exclude: Vec<String>,
}
