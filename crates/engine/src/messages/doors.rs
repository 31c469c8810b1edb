//! The chat doors that are open, by name: for apps that say something nobody asked for at that moment, such as a digest
//! on schedule, or that keep an answer in a transaction of their own. Invariant: an app names a place by its
//! conversation and never a door.

use super::{Channel, Outbox, now_ms};
use crate::keys::store_failure;
use parking_lot::RwLock;
use portcullis_domain::{Action, Door, Failure, MessageRequest, Payload, Post};
use portcullis_store::NewOut;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// How posts are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// Whose they are.
    pub caller: String,
    /// 0 replies, 1 stories, 2 alerts to administrators, 3 scheduled and broadcast: lower ones first.
    pub class: u8,
    /// When they are worth nothing any more, Unix milliseconds.
    pub expires_at: i64,
}

/// When a full outbox may have room again; a guess.
const FULL: Duration = Duration::from_secs(30);

type Open = HashMap<Door, (Arc<dyn Channel>, Outbox)>;

impl Sending {
    /// The row of the outbox for one message in the door's own form.
    #[must_use]
    pub fn row(&self, door: Door, chat: &str, payload: String) -> NewOut {
        NewOut {
            door: door.as_str(),
            chat: chat.to_owned(),
            caller: self.caller.clone(),
            class: self.class,
            payload,
            created_at: now_ms(),
            expires_at: self.expires_at,
        }
    }
}

/// The chat doors that are open. Cheap to clone.
#[derive(Clone, Default)]
pub struct ChatDoors(Arc<RwLock<Open>>);

impl ChatDoors {
    /// A door opened.
    pub fn add(&self, channel: Arc<dyn Channel>, outbox: Outbox) {
        self.0.write().insert(channel.door(), (channel, outbox));
    }

    fn of(&self, conversation: &str) -> Option<(Arc<dyn Channel>, Outbox)> {
        let name = conversation.split([':', '-']).next()?;
        self.0.read().iter().find(|(door, _)| door.as_str() == name).map(|(_, open)| open.clone())
    }

    /// Rows of the outbox for these posts; none: the door of that conversation is not open. They leave once they are in
    /// the outbox, and [`ChatDoors::wake`] hurries them.
    #[must_use]
    pub fn compose(&self, conversation: &str, posts: &[Post], how: &Sending) -> Option<Vec<NewOut>> {
        Some(self.of(conversation)?.0.compose(conversation, posts, how))
    }

    /// Sends posts to that conversation; how many messages that are. None: no open door takes it.
    ///
    /// # Errors
    /// `Unavailable` while the store is away, `Overloaded` while the outbox is full: nothing is sent.
    pub async fn send(
        &self,
        conversation: &str,
        posts: &[Post],
        how: &Sending,
    ) -> Option<Result<usize, Failure>> {
        let (channel, outbox) = self.of(conversation)?;
        let rows = channel.compose(conversation, posts, how);
        if rows.is_empty() {
            return None;
        }
        Some(match outbox.add(&rows).await {
            Ok(true) => Ok(rows.len()),
            Ok(false) => Err(Failure::Overloaded { retry_after: FULL }),
            Err(error) => Err(store_failure(error)),
        })
    }

    /// Something was added for that conversation.
    pub fn wake(&self, conversation: &str) {
        if let Some((_, outbox)) = self.of(conversation) {
            outbox.wake();
        }
    }

    /// Whether that person may change what holds for the conversation, as its door knows it now: the person alone, or an
    /// administrator of a group; also whether the bot may post there.
    pub async fn manages(&self, conversation: &str, person: &str) -> bool {
        match self.of(conversation) {
            Some((channel, _)) => channel.manages(conversation, person).await,
            None => false,
        }
    }
}

/// A command that an app understands, as doors list it and route by it.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Its name, without a slash.
    pub name: &'static str,
    /// What it does, in the languages of [`crate::words::Tongue::ALL`]; none of them empty, at most 256 characters. Of a
    /// command that is not listed: empty.
    pub about: [&'static str; 3],
    /// Whether only administrators hear of it.
    pub admin: bool,
    /// Whether it may take long: then it is worked on beside others of its conversation.
    pub beside: bool,
    /// Which limits it is charged when it comes in.
    pub action: Action,
    /// What the engine is asked.
    pub payload: fn(MessageRequest) -> Payload,
}

/// What apps behind a door understand.
#[derive(Clone, Debug)]
pub struct Commands {
    /// By name.
    pub listed: Vec<Command>,
    /// For presses, files and words that are no command.
    pub other: fn(MessageRequest) -> Payload,
}

impl Commands {
    /// The command that a text begins with, such as `/news` or `/news@its_name`; the name of another bot is none of
    /// ours.
    #[must_use]
    pub fn find(&self, text: &str, our_name: &str) -> Option<&Command> {
        let word = text.split_whitespace().next()?.strip_prefix('/')?;
        let (name, whose) = word.split_once('@').unwrap_or((word, our_name));
        if !whose.eq_ignore_ascii_case(our_name) {
            return None;
        }
        self.listed.iter().find(|command| command.name.eq_ignore_ascii_case(name))
    }
}
