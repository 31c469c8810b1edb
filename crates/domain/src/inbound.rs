//! One message as a door hands it to the engine: who presents what, for which action, until when. The payload
//! follows only after identification and admission, so that a stranger cannot make us read or parse a large body.

use crate::{
    Action, ChatRequest, Credential, Deadline, Door, EmbedRequest, Hints, LibraryRequest, ModelsRequest,
    NewsRequest, RequestId,
};
use std::net::IpAddr;

/// A message at the start of the way in, before its body is read.
#[derive(Debug)]
pub struct Inbound {
    /// Our id for it.
    pub id: RequestId,
    /// The caller's own id for it, if it sent a plausible one (at most 64 visible ASCII characters).
    pub client_request_id: Option<Box<str>>,
    /// Where it came in.
    pub door: Door,
    /// The action whose limits apply.
    pub action: Action,
    /// Peer address.
    pub address: IpAddr,
    /// What was presented.
    pub credential: Credential,
    /// Until when the caller waits.
    pub deadline: Deadline,
    /// What it wishes beside.
    pub hints: Hints,
}

/// What is asked: decoded and bounded by the door.
#[derive(Debug)]
pub enum Payload {
    /// A conversation turn.
    Chat(ChatRequest),
    /// How many tokens a conversation turn would be to read, by estimate.
    Count(ChatRequest),
    /// Texts to embed.
    Embed(EmbedRequest),
    /// The model list.
    Models(ModelsRequest),
    /// Something asked of documents, or typed at a chat door.
    Library(LibraryRequest),
    /// Something asked of news, or typed at a chat door that has them.
    News(NewsRequest),
}

impl Payload {
    /// The model or route it names, as the caller wrote it.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::Chat(request) | Self::Count(request) => Some(&request.model),
            Self::Embed(request) => Some(&request.model),
            Self::Models(_) | Self::Library(_) | Self::News(_) => None,
        }
    }

    /// The action whose app answers it; the limits of a message of a chat door are those of what it asks for.
    #[must_use]
    pub const fn action(&self) -> Action {
        match self {
            Self::Chat(_) | Self::Count(_) => Action::Chat,
            Self::Embed(_) => Action::Embed,
            Self::Models(_) => Action::Models,
            Self::Library(request) => match request {
                LibraryRequest::Ask(_) => Action::Ask,
                LibraryRequest::Message(_) => Action::Message,
                LibraryRequest::Search(_) | LibraryRequest::Collections | LibraryRequest::Documents(_) => {
                    Action::Search
                }
                LibraryRequest::Remove { .. } | LibraryRequest::Ingest(_) | LibraryRequest::Job { .. } => {
                    Action::Ingest
                }
            },
            Self::News(_) => Action::News,
        }
    }
}
