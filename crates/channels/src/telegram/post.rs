//! The sending half of the desk: one row of the outbox to Telegram, and what follows from how it ended.
//!
//! Source: news.md section 9.

use super::{
    api::{ApiError, Upload},
    config::TextFormat,
    desk::Desk,
    letter::{Letter, Spot, letters},
    send::{Crowd, Verdict, verdict},
    update::{line, place},
};
use portcullis_domain::{Button, Post};
use portcullis_engine::messages::{Delivery, Trouble};
use portcullis_store::OutRow;
use portcullis_telemetry::AlertCategory;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// Other forms of one message that are tried: without a message to edit, and plain.
const FORMS: usize = 3;

impl Desk {
    pub(super) async fn send(&self, row: &OutRow) -> Delivery {
        let Ok(mut letter) = serde_json::from_str::<Letter>(&row.payload) else {
            return Delivery::Dead(Trouble::Refused);
        };
        let Some((chat, _)) = place(&row.chat) else { return Delivery::Dead(Trouble::Refused) };
        let mut format = self.config.format;
        for _ in 0..FORMS {
            let answer = self.post(chat, &letter, format).await;
            if let Err(error) = &answer {
                tracing::debug!(id = row.id, %error, "a message did not leave");
            }
            match verdict(&answer) {
                Verdict::Plainly if format != TextFormat::Plain => {
                    tracing::warn!(
                        id = row.id,
                        "a message is sent as plain text, because Telegram refused its form"
                    );
                    format = TextFormat::Plain;
                    if letter.file.is_none() && letter.edit.is_none() {
                        return self.plainly(chat, &letter).await;
                    }
                }
                Verdict::Anew if letter.edit.is_some() => letter.edit = None,
                other @ (Verdict::Ends(_)
                | Verdict::Limited(_)
                | Verdict::Plainly
                | Verdict::Anew
                | Verdict::Moved(_)
                | Verdict::Lost
                | Verdict::Token) => return self.ended(row, chat, other, letter.edit.is_some()).await,
            }
        }
        Delivery::Dead(Trouble::Refused)
    }

    /// The words alone, cut anew; the last part's end is the message's.
    async fn plainly(&self, chat: i64, letter: &Letter) -> Delivery {
        let rows = letter.buttons.iter();
        let choices =
            rows.map(|row| row.iter().map(|(label, token)| Button::new(label, token)).collect()).collect();
        let post = Post { choices, silent: letter.silent, ..Post::text(letter.text.clone()) };
        let spot = Spot { thread: letter.thread, reply_to: letter.reply_to, edit: None };
        let mut last = Delivery::Dead(Trouble::Refused);
        for part in letters(&post, spot, usize::MAX) {
            match verdict(&self.post(chat, &part, TextFormat::Plain).await) {
                Verdict::Ends(delivery) => last = delivery,
                Verdict::Limited(wait) => {
                    self.outbox.hold(&line(chat), wait).await;
                    last = self.crowd.lock().limited(chat, wait, Instant::now());
                }
                Verdict::Plainly | Verdict::Anew | Verdict::Moved(_) | Verdict::Lost | Verdict::Token => {
                    last = Delivery::Dead(Trouble::Refused);
                }
            }
            if !matches!(last, Delivery::Sent(_)) {
                break;
            }
        }
        last
    }

    /// One call.
    pub(super) async fn post(
        &self,
        chat: i64,
        letter: &Letter,
        format: TextFormat,
    ) -> Result<Value, ApiError> {
        let params = letter.params(chat, format);
        match letter.attachment() {
            Some((name, bytes)) => {
                let file = Upload { field: "document", name, bytes: &bytes };
                self.api.upload(letter.method(), &params, &file).await
            }
            None => self.api.call(letter.method(), &params).await,
        }
    }

    async fn ended(&self, row: &OutRow, chat: i64, verdict: Verdict, edits: bool) -> Delivery {
        match verdict {
            // An edit that may have been made is made again without harm.
            Verdict::Ends(Delivery::Unknown) if edits => Delivery::Failed(Trouble::Network),
            Verdict::Ends(delivery) => {
                if matches!(delivery, Delivery::Sent(_)) {
                    let over = "messages of Telegram leave again";
                    self.alerts.resolve(AlertCategory::Telegram, "token", over);
                }
                delivery
            }
            Verdict::Limited(wait) => {
                self.outbox.hold(&row.chat, wait).await;
                self.crowd.lock().limited(chat, wait, Instant::now())
            }
            Verdict::Moved(to) => {
                tracing::info!("a group has another number now");
                match self.store.chats().moved(&row.chat, &line(to)).await {
                    Ok(()) => Delivery::Wait(Trouble::Moved, Duration::ZERO),
                    Err(error) => {
                        tracing::warn!(%error, "the new number of a group cannot be kept yet");
                        Delivery::Wait(Trouble::Moved, Duration::from_secs(5))
                    }
                }
            }
            Verdict::Lost => Delivery::Unreachable(Trouble::Unreachable),
            Verdict::Token => {
                self.alerts.raise(AlertCategory::Telegram, "token", TOKEN_REFUSED);
                Crowd::token()
            }
            Verdict::Plainly | Verdict::Anew => Delivery::Dead(Trouble::Refused),
        }
    }
}

/// What the operator is told of a token.
pub(super) const TOKEN_REFUSED: &str = "Telegram refuses the token of the bot: ask BotFather for a new one and put it into the secret that telegram.token_secret names";
