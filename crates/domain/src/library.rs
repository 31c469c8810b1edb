//! What is asked of documents: questions, searches, collections, and messages of people who type. Invariant: every text here was bounded by its door; an app sees it only after inspection.

use crate::MessageRequest;
use bytes::Bytes;

/// Something asked of documents, or typed to an app at a chat door.
#[derive(Clone, Debug)]
pub enum LibraryRequest {
    /// A question.
    Ask(AskRequest),
    /// A message of a chat door: a question or a command.
    Message(MessageRequest),
    /// Passages that fit some words.
    Search(SearchRequest),
    /// Which collections this caller may read.
    Collections,
    /// The documents of one.
    Documents(DocumentsRequest),
    /// Takes a document out, by its id.
    Remove {
        /// `d_…`.
        document: String,
    },
    /// Takes documents in.
    Ingest(IngestRequest),
    /// How an ingestion goes.
    Job {
        /// `j_…`.
        id: String,
        /// Whether it shall end.
        cancel: bool,
    },
}

impl LibraryRequest {
    /// The words of a person in it.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Ask(ask) => Some(&ask.question),
            Self::Message(message) => Some(&message.text),
            Self::Search(search) => Some(&search.query),
            Self::Collections
            | Self::Documents(_)
            | Self::Remove { .. }
            | Self::Ingest(_)
            | Self::Job { .. } => None,
        }
    }

    /// The same, to be replaced.
    pub fn text_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Ask(ask) => Some(&mut ask.question),
            Self::Message(message) => Some(&mut message.text),
            Self::Search(search) => Some(&mut search.query),
            Self::Collections
            | Self::Documents(_)
            | Self::Remove { .. }
            | Self::Ingest(_)
            | Self::Job { .. } => None,
        }
    }
}

/// A question to the documents of a collection.
#[derive(Clone, Debug, Default)]
pub struct AskRequest {
    /// The question.
    pub question: String,
    /// Which collection; none: the default one.
    pub collection: Option<String>,
    /// The caller's name for the conversation; none: the question stands alone.
    pub conversation: Option<String>,
    /// Two letters; none: the language of the question.
    pub language: Option<String>,
    /// Whether an AI is asked at all.
    pub extractive: bool,
    /// Most passages, where the caller says.
    pub passages: Option<usize>,
    /// Whether the answer comes in events.
    pub stream: bool,
}

/// Words to look for.
#[derive(Clone, Debug, Default)]
pub struct SearchRequest {
    /// They.
    pub query: String,
    /// Which collection; none: the default one.
    pub collection: Option<String>,
    /// Most passages, where the caller says.
    pub passages: Option<usize>,
}

/// A page of the list of documents.
#[derive(Clone, Debug, Default)]
pub struct DocumentsRequest {
    /// Which collection; none: the default one.
    pub collection: Option<String>,
    /// The id after which the page begins.
    pub cursor: Option<String>,
    /// Most documents on the page, where the caller says.
    pub limit: Option<usize>,
}

/// What to take in.
#[derive(Clone, Debug)]
pub struct IngestRequest {
    /// Into which collection; none: the default one.
    pub collection: Option<String>,
    /// From where.
    pub source: IngestSource,
}

/// Where documents come from.
#[derive(Clone, Debug)]
pub enum IngestSource {
    /// A page and, up to that depth, pages of the same host that it links to.
    Url {
        /// The page.
        url: String,
        /// 0: only the page.
        depth: u32,
    },
    /// Files as they were sent: name and bytes.
    Files(Vec<(String, Bytes)>),
}
