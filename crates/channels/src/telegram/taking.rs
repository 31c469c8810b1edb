//! What is done with updates when they arrive: kept, changed or taken back, and nothing else. Invariants: a batch and how
//! far it was read are kept in one transaction, so that what Telegram is told to forget is durable here; nothing here
//! waits for anything but the store; a press of "Cancel" is heard beside every queue.
//!
//! Source: news.md section 2.

use super::{
    desk::Desk,
    progress::{Which, is_cancel},
    update::{Event, Incoming, line, read},
};
use portcullis_domain::Door;
use portcullis_engine::messages::{Inbox, Trouble, now_ms};
use portcullis_store::{Kept, NewIn, Result};
use serde_json::Value;
use std::sync::Arc;

const DOOR: &str = Door::Telegram.as_str();

/// Takes updates in.
pub(super) struct Taking {
    pub(super) desk: Arc<Desk>,
    pub(super) inbox: Inbox,
}

/// What a batch comes to.
#[derive(Default)]
struct Batch {
    rows: Vec<NewIn>,
    /// Of the rows, in their order.
    messages: Vec<Incoming>,
}

impl Taking {
    /// Takes a batch, and with it how far Telegram was read.
    ///
    /// # Errors
    /// A store that is away: the batch must be taken again.
    pub(super) async fn take(&self, updates: &[Value], mark: Option<(&str, i64)>) -> Result<()> {
        let me = self.desk.me.load_full();
        let mut batch = Batch::default();
        for update in updates {
            let event = read(update, &me);
            self.desk.metrics.telegram_update(event.kind());
            match event {
                Event::Message(it) => self.add(&mut batch, it, me.id),
                Event::Press(it) => self.press(&mut batch, it, me.id),
                Event::Edited(it) => self.edit(&mut batch, &it, me.id).await?,
                Event::Member { chat, inside } => self.member(chat, inside).await?,
                Event::Moved { from, to } => {
                    self.desk.groups.forget(from);
                    self.desk.store.chats().moved(&line(from), &line(to)).await?;
                }
                Event::Ignored(_) => {}
            }
        }
        let kept = self.inbox.keep_all(&batch.rows, mark).await?;
        for (kept, it) in kept.into_iter().zip(&batch.messages) {
            match kept {
                Kept::New if !it.ends => self.desk.metrics.message_received(Door::Telegram),
                Kept::New | Kept::Known => {}
                Kept::Full => self.desk.line_is_full(it).await,
            }
        }
        Ok(())
    }

    /// A command that may take long has a line of its own, so that others of its chat are worked on beside it.
    fn add(&self, batch: &mut Batch, it: Incoming, bot: i64) {
        if !self.desk.config.answers(it.from, it.chat) {
            self.desk.metrics.telegram_update("unwanted");
            return;
        }
        let found = self.desk.commands.find(&it.text, &self.desk.me.load().name);
        let beside = found.is_some_and(|command| command.beside);
        if self.ends(&it.text) {
            self.desk.running.cancel(&it.line(), &it.caller(), Which::All);
            // What it ends may not have begun, or another replica does it: whoever works finds this in the inbox, and
            // waits behind nothing.
            batch.push(
                Incoming { ends: true, ..it.clone() },
                format!("{}#{}/end", it.line(), it.message),
                bot,
            );
        }
        let line = if beside { format!("{}#{}", it.line(), it.message) } else { it.line() };
        batch.push(it, line, bot);
    }

    /// A press never waits behind what a press began.
    fn press(&self, batch: &mut Batch, it: Incoming, bot: i64) {
        let Some(press) = it.press.clone() else { return };
        if !self.desk.config.answers(it.from, it.chat) {
            self.desk.metrics.telegram_update("unwanted");
            return;
        }
        // Where it is another replica's turn, that one finds it in the inbox.
        let cancels = is_cancel(&press.token) && self.desk.outbox.turn().is_ours();
        if cancels {
            self.desk.running.cancel(&it.line(), &it.caller(), Which::Shown(it.message));
            let desk = self.desk.clone();
            self.desk.tasks.spawn(async move { desk.answer_press(&press.id, "", false).await });
            return;
        }
        let line = format!("{}#{}", it.line(), press.id);
        batch.push(it, line, bot);
    }

    /// Whether somebody types that nothing is wanted any more.
    fn ends(&self, text: &str) -> bool {
        let word = text.split_whitespace().next().unwrap_or_default();
        let (name, whose) = word.split_once('@').unwrap_or((word, ""));
        name.eq_ignore_ascii_case("/cancel")
            && (whose.is_empty() || whose.eq_ignore_ascii_case(&self.desk.me.load().name))
    }

    /// Other words in the place of those that wait; too late for those that do not.
    async fn edit(&self, batch: &mut Batch, it: &Incoming, bot: i64) -> Result<()> {
        let key = it.key(bot);
        if let Some(index) = batch.rows.iter().position(|row| row.key == key) {
            batch.rows[index].payload = payload(it);
            batch.messages[index] = it.clone();
            return Ok(());
        }
        self.desk.store.inbox().replace(DOOR, &key, &payload(it)).await.map(drop)
    }

    async fn member(&self, chat: i64, inside: bool) -> Result<()> {
        let (line, store, reason) = (line(chat), &self.desk.store, Trouble::Unreachable.as_str());
        self.desk.groups.forget(chat);
        if inside {
            return store.chats().found(&line).await.map(drop);
        }
        store.chats().lost(&line, reason, now_ms()).await?;
        store.outbox().end_chat(DOOR, &line, reason, now_ms()).await.map(drop)
    }
}

impl Batch {
    fn push(&mut self, it: Incoming, line: String, bot: i64) {
        self.rows.push(NewIn {
            door: DOOR,
            key: it.key(bot),
            conversation: line,
            caller: it.caller(),
            payload: payload(&it),
            received_at: now_ms(),
        });
        self.messages.push(it);
    }
}

fn payload(it: &Incoming) -> String {
    // A struct of texts and numbers always has a form in JSON.
    serde_json::to_string(it).unwrap_or_default()
}
