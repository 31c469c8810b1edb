//! Messages that only show how far some work is. Each is noted as soon as it is there and forgotten when it is gone, so
//! that what a killed process left standing is taken away by the next one. Invariant: only messages of others than this
//! process are taken away at a start; work that was interrupted begins anew and shows itself anew.
//!
//! Source: news.md sections 5 and 9.

use super::{
    api::{Api, ApiError},
    update::{line, place},
};
use portcullis_domain::Door;
use portcullis_engine::messages::{Outbox, now_ms};
use portcullis_store::Store;
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const DOOR: &str = Door::Telegram.as_str();
/// Pause before room is asked for again, or a store or Telegram that was away.
const ROOM: Duration = Duration::from_millis(250);
const AWAY: Duration = Duration::from_secs(5);
/// Tries to take away what others left; what stays then is taken away by the next start.
const TRIES: u32 = 5;

/// Notes and takes away.
#[derive(Clone)]
pub(super) struct Sights {
    pub(super) api: Api,
    pub(super) store: Store,
    pub(super) outbox: Outbox,
}

impl Sights {
    /// A message is there.
    pub(super) async fn shown(&self, chat: i64, message: i64) {
        let row = [DOOR, &line(chat), &message.to_string(), self.outbox.owner()];
        if let Err(error) = self.store.pauses().shows(row, now_ms()).await {
            tracing::debug!(%error, "a status message may stay if this process ends now");
        }
    }

    /// A message is not there any more.
    pub(super) async fn forget(&self, chat: i64, message: i64) {
        if let Err(error) = self.store.pauses().gone(DOOR, &line(chat), &message.to_string()).await {
            tracing::debug!(%error, "a status message that is gone is taken away once more");
        }
    }

    /// Takes a message away; says whether it is gone.
    pub(super) async fn take_away(&self, chat: i64, message: i64) -> bool {
        let params = json!({"chat_id": chat, "message_id": message});
        match self.api.call("deleteMessage", &params).await {
            // What cannot be deleted by anybody is not asked for again.
            Ok(_) | Err(ApiError::Refused { code: 400 | 403, .. }) => {
                self.forget(chat, message).await;
                true
            }
            Err(error) => {
                tracing::debug!(%error, "a status message stays for now");
                false
            }
        }
    }

    /// Takes away what other processes left, each time that it is our turn.
    pub(super) async fn tidy(&self, stop: &CancellationToken) {
        let mut turn = None;
        while let Some(number) = self.outbox.turn().ours(stop).await {
            if turn != Some(number) {
                turn = Some(number);
                if stop.run_until_cancelled(self.tidy_once()).await.is_none() {
                    return;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.outbox.turn().lost() => {}
            }
        }
    }

    async fn tidy_once(&self) {
        for _ in 0..TRIES {
            let Ok(left) = self.store.pauses().left(DOOR, self.outbox.owner()).await else {
                sleep(AWAY).await;
                continue;
            };
            let mut all_gone = true;
            for (chat, message) in left {
                let (Some((chat, _)), Ok(message)) = (place(&chat), message.parse()) else { continue };
                while !self.outbox.may_pass(None) {
                    sleep(ROOM).await;
                }
                all_gone &= self.take_away(chat, message).await;
            }
            if all_gone {
                return;
            }
            sleep(AWAY).await;
        }
    }
}
