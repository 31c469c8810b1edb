//! Messages of a chat door that inspection asked about and that wait for their senders to say that they are meant: one
//! for each sender in each conversation, the newest.
//!
//! Invariants: kept sealed in the store, so that a restart forgets none and every replica knows them; bounded, and gone
//! when its time is over, whoever asks next; what is taken is taken once. Source: inspect.md section 2.

use super::{ms, now_ms};
use portcullis_domain::{Door, Failure};
use portcullis_store::{Store, Whose};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// See the module.
#[derive(Clone)]
pub struct Unconfirmed {
    store: Store,
    door: Door,
    most: u32,
}

/// A message as its door keeps it, with what lets it pass.
#[derive(Serialize, Deserialize)]
struct Waiting<T> {
    message: T,
    proof: Box<str>,
}

/// What became of a word that an earlier message is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant<T> {
    /// This one, with its proof.
    This(T, Box<str>),
    /// Others wait at this door, and none of this sender there.
    Nothing,
    /// Nothing waits at all: a word like any other.
    Silence,
}

impl Unconfirmed {
    /// Of that door, for so many.
    #[must_use]
    pub const fn new(store: Store, door: Door, most: u32) -> Self {
        Self { store, door, most }
    }

    /// Keeps a message that was refused for want of a word of its sender; says whether it waits now.
    pub async fn keep<T: Serialize + Sync>(
        &self,
        (conversation, caller): (&str, &str),
        failure: &Failure,
        message: &T,
    ) -> bool {
        let Failure::Unconfirmed { proof, expires_in, .. } = failure else { return false };
        let Ok(text) = serde_json::to_string(&Waiting { message, proof: proof.clone() }) else {
            return false;
        };
        let until = now_ms().saturating_add(ms(*expires_in));
        let whose = Whose { door: self.door.as_str(), conversation, caller };
        match self.store.unconfirmed().keep(whose, &text, until, self.most.max(1)).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(door = self.door.as_str(), %error, "a message does not wait for its sender's word");
                false
            }
        }
    }

    /// The message of that sender that waits there, which waits no longer.
    pub async fn take<T: DeserializeOwned>(&self, (conversation, caller): (&str, &str)) -> Meant<T> {
        let (door, now) = (self.door.as_str(), now_ms());
        let waiting = self.store.unconfirmed();
        let found = match waiting.take(Whose { door, conversation, caller }, now).await {
            Ok(Some(text)) => serde_json::from_str::<Waiting<T>>(&text).ok(),
            Ok(None) if !waiting.any(door, now).await.unwrap_or(true) => return Meant::Silence,
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(door, %error, "what waits for its sender's word cannot be looked up");
                None
            }
        };
        found.map_or(Meant::Nothing, |it| Meant::This(it.message, it.proof))
    }
}
