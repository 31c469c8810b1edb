//! One message as a door hands it to the engine: decoded and bounded, but from nobody we know yet.

use crate::{Action, ChatRequest, Credential, Deadline, Door, EmbedRequest, ModelsRequest, RequestId};
use std::net::IpAddr;

/// A decoded message at the start of the way in.
#[derive(Debug)]
pub struct Inbound {
    /// Our id for it.
    pub id: RequestId,
    /// The caller's own id for it, if it sent a plausible one (at most 64 visible ASCII characters).
    pub client_request_id: Option<Box<str>>,
    /// Where it came in.
    pub door: Door,
    /// Peer address.
    pub address: IpAddr,
    /// What was presented.
    pub credential: Credential,
    /// Until when the caller waits.
    pub deadline: Deadline,
    /// What is asked.
    pub payload: Payload,
}

impl Inbound {
    /// The action whose limits apply.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.payload.action()
    }
}

/// What is asked.
#[derive(Debug)]
pub enum Payload {
    /// A conversation turn.
    Chat(ChatRequest),
    /// Texts to embed.
    Embed(EmbedRequest),
    /// The model list.
    Models(ModelsRequest),
    /// An admin call: the admin door itself does the work after admission.
    Admin,
}

impl Payload {
    /// The action whose limits apply.
    #[must_use]
    pub const fn action(&self) -> Action {
        match self {
            Self::Chat(_) => Action::Chat,
            Self::Embed(_) => Action::Embed,
            Self::Models(_) => Action::Models,
            Self::Admin => Action::Admin,
        }
    }
}
