//! What chat doors share: a message is kept before anything else happens, worked off in order, and its answer kept
//! until it has left. Invariants: one message of a conversation at a time; an answer is kept in the transaction that
//! ends its question; a door that is away loses nothing.
//!
//! Source: news.md sections 9 and 11, ask.md sections 2 and 9.

mod config;
mod doors;
mod inbox;
mod notices;
mod outbox;
mod pace;
#[cfg(test)]
mod tests;
mod turn;
mod unconfirmed;

pub use config::MessagesConfig;
pub use doors::{ChatDoors, Command, Commands, Sending};
pub use inbox::Inbox;
pub use notices::Notices;
pub use outbox::Outbox;
pub use pace::Pace;
pub use turn::Turn;
pub use unconfirmed::{Meant, Unconfirmed};

use jiff::Timestamp;
use portcullis_domain::{Door, Post};
use portcullis_store::{InRow, NewOut, OutRow};
use std::{future::Future, pin::Pin, time::Duration};

/// Work in progress.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A chat door as the engine sees it: what it answers, how it sends.
pub trait Channel: Send + Sync + 'static {
    /// Which door.
    fn door(&self) -> Door;

    /// Answers a message; what is to be sent for it, often nothing. Called again for a message whose worker went away.
    fn answer<'a>(&'a self, row: &'a InRow) -> Work<'a, Vec<NewOut>>;

    /// What is sent for a message that cannot be worked off.
    fn give_up(&self, row: &InRow) -> Vec<NewOut>;

    /// The door's own rows for posts that go to that conversation.
    fn compose(&self, conversation: &str, posts: &[Post], how: &Sending) -> Vec<NewOut>;

    /// Whether that caller may change what holds for the whole conversation, and may be answered there at all.
    fn manages<'a>(&'a self, conversation: &'a str, caller: &'a str) -> Work<'a, bool>;

    /// Sends a message.
    fn deliver<'a>(&'a self, row: &'a OutRow) -> Work<'a, Delivery>;
}

/// How a try to send ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It left, known by that id.
    Sent(String),
    /// A failed try; another follows after the usual pause.
    Failed(Trouble),
    /// The chat waits so long; no failed try.
    Wait(Trouble, Duration),
    /// Everything waits so long; no failed try.
    Pause(Trouble, Duration),
    /// Nobody knows whether it left.
    Unknown,
    /// It will never leave.
    Dead(Trouble),
    /// Nothing will ever reach this chat.
    Unreachable(Trouble),
}

/// Why a message did not leave. A closed set: metric label and reason of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The other side is not reached.
    Network,
    /// Too many.
    RateLimited,
    /// The other side wants proof of a human.
    ProofRequired,
    /// The recipient's keys changed and nobody trusted them yet.
    Identity,
    /// There is no such recipient.
    Unregistered,
    /// The other side does not take such a message.
    Refused,
    /// The other side is too old.
    TooOld,
    /// The account is not linked.
    NotLinked,
    /// The chat is gone, or its owner does not want us.
    Unreachable,
    /// The chat became another one.
    Moved,
    /// Our own name is not believed.
    Token,
    /// Two outcomes are unknown.
    Unknown,
    /// Too many tries failed.
    Tries,
}

impl Trouble {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::RateLimited => "rate_limited",
            Self::ProofRequired => "proof_required",
            Self::Identity => "identity",
            Self::Unregistered => "unregistered",
            Self::Refused => "refused",
            Self::TooOld => "too_old",
            Self::NotLinked => "not_linked",
            Self::Unreachable => "unreachable",
            Self::Moved => "moved",
            Self::Token => "token_refused",
            Self::Unknown => "unknown",
            Self::Tries => "tries",
        }
    }
}

/// Unix milliseconds.
#[must_use]
pub fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

/// Pause of a loop that found nothing to do and was not woken: rows that become due, and those of other replicas.
const IDLE: Duration = Duration::from_secs(1);
/// Pause of a loop that found the store away.
const AWAY: Duration = Duration::from_secs(2);
/// How often old rows are swept and queues are measured.
const TEND: Duration = Duration::from_secs(10);
