//! What a message on its way out is made of, and how a try to send it ends.

use crate::error::{Result, StoreError};

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOut {
    /// Through which door.
    pub door: &'static str,
    /// Where to, in the door's own words.
    pub chat: String,
    /// Whose question it answers.
    pub caller: String,
    /// 0 replies, 1 stories, 2 alerts to administrators, 3 scheduled and broadcast: lower ones first.
    pub class: u8,
    /// The door's own form of it.
    pub payload: String,
    /// When it was made, Unix milliseconds.
    pub created_at: i64,
    /// When it is worth nothing any more, Unix milliseconds.
    pub expires_at: i64,
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutState {
    /// It waits.
    Queued,
    /// Somebody sends it.
    Sending,
    /// It left.
    Sent,
    /// It cannot be delivered; its reason says why.
    Dead,
    /// Nobody needs it any more.
    Expired,
}

impl OutState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Sending, Self::Sent, Self::Dead, Self::Expired];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Dead => "dead",
            Self::Expired => "expired",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A message in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutRow {
    /// Its number, which is its place within its chat.
    pub id: i64,
    /// Through which door.
    pub door: String,
    /// Where to.
    pub chat: String,
    /// Whose question it answers.
    pub caller: String,
    /// Its class.
    pub class: u8,
    /// The door's own form of it; empty once sent.
    pub payload: String,
    /// How far it is.
    pub state: OutState,
    /// When it was made, Unix milliseconds.
    pub created_at: i64,
    /// When it is worth nothing any more, Unix milliseconds.
    pub expires_at: i64,
    /// Tries that failed.
    pub attempts: i64,
    /// Tries of unknown outcome.
    pub uncertain: i64,
    /// Why it is where it is, where there is something to say.
    pub reason: String,
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settle<'a> {
    /// It left, known by that id.
    Sent {
        /// The other side's id.
        message_id: &'a str,
    },
    /// Not now.
    Later {
        /// When next, Unix milliseconds.
        not_before: i64,
        /// Whether it counts as a failed try.
        failed: bool,
        /// Why.
        reason: &'a str,
    },
    /// Nobody knows whether it left.
    Uncertain {
        /// When next, Unix milliseconds.
        not_before: i64,
    },
    /// Never.
    Dead {
        /// Why.
        reason: &'a str,
    },
}

/// How full the outbox of a door is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Open rows.
    pub rows: i64,
    /// When the oldest of them was made, Unix milliseconds.
    pub oldest: Option<i64>,
    /// Sum of the times they were made, for the average.
    pub sum: i64,
}

/// A row as the database gives it, in the order of `columns!`.
pub(super) type Row = (i64, String, String, String, i64, String, String, i64, i64, i64, i64, String);

/// A row as it was read; its text is still sealed.
pub(super) fn read(row: Row) -> Result<OutRow> {
    const DAMAGED: StoreError = StoreError::Damaged("outbox");
    let (id, door, chat, caller, class, payload, state, created_at, expires_at, attempts, uncertain, reason) =
        row;
    Ok(OutRow {
        id,
        door,
        chat,
        caller,
        class: u8::try_from(class).map_err(|_| DAMAGED)?,
        payload,
        state: OutState::from_name(&state).ok_or(DAMAGED)?,
        created_at,
        expires_at,
        attempts,
        uncertain,
        reason,
    })
}
