//! What the double saw a bot do, in order, each with its monotonic time stamp. Invariant: a record is of what the
//! server did, not of what was asked: a refused call is a [`Call`] only.

use serde_json::{Map, Value};
use tokio::time::Instant;

/// One call as it came, done or not.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method as the table writes it; as the caller wrote it when there is none.
    pub method: String,
    /// Its parameters; files are not among them.
    pub params: Map<String, Value>,
    /// When it had been read.
    pub at: Instant,
    /// How it was answered; none: not yet, or never.
    pub status: Option<u16>,
    /// Why it was refused.
    pub refused: Option<String>,
}

impl Call {
    /// The chat it names.
    #[must_use]
    pub fn chat(&self) -> Option<i64> {
        self.params.get("chat_id").and_then(Value::as_i64)
    }
}

/// A document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its name.
    pub name: String,
    /// Its type.
    pub mime: String,
    /// What is in it.
    pub bytes: bytes::Bytes,
}

/// A message of the bot that arrived.
#[derive(Clone, Debug)]
pub struct Sent {
    /// In which chat.
    pub chat: i64,
    /// Its number there.
    pub id: i64,
    /// The topic.
    pub thread: Option<i64>,
    /// The text (of a document: its caption) as people see it, after parsing and trimming.
    pub text: String,
    /// Its entities in the Bot API's form.
    pub entities: Vec<Value>,
    /// Its keyboard.
    pub markup: Option<Value>,
    /// Whether it came without a sound.
    pub silent: bool,
    /// The message it replies to.
    pub reply_to: Option<i64>,
    /// The file.
    pub document: Option<Document>,
    /// When.
    pub at: Instant,
    /// Later texts, oldest first.
    pub edits: Vec<Edited>,
    /// When it was deleted.
    pub deleted: Option<Instant>,
}

impl Sent {
    /// The text as it is now.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.edits.iter().rev().find_map(|edit| edit.text.as_deref()).unwrap_or(&self.text)
    }

    /// The keyboard as it is now.
    #[must_use]
    pub fn keyboard(&self) -> Option<&Value> {
        self.edits.last().map_or(self.markup.as_ref(), |edit| edit.markup.as_ref())
    }

    /// Label and data of each button that calls back, row by row, as they are now.
    #[must_use]
    pub fn buttons(&self) -> Vec<(String, String)> {
        let rows = self.keyboard().and_then(|markup| markup["inline_keyboard"].as_array());
        let all = rows.into_iter().flatten().filter_map(Value::as_array).flatten();
        all.filter_map(|button| {
            let (text, data) = (button["text"].as_str()?, button["callback_data"].as_str()?);
            Some((text.to_owned(), data.to_owned()))
        })
        .collect()
    }

    /// The data of the button with that label.
    #[must_use]
    pub fn button(&self, label: &str) -> Option<String> {
        self.buttons().into_iter().find(|(text, _)| text == label).map(|(_, data)| data)
    }
}

/// An edit that was done.
#[derive(Clone, Debug)]
pub struct Edited {
    /// In which chat.
    pub chat: i64,
    /// Of which message.
    pub id: i64,
    /// The new text; none: only the keyboard.
    pub text: Option<String>,
    /// Its entities.
    pub entities: Vec<Value>,
    /// The keyboard from then on.
    pub markup: Option<Value>,
    /// When.
    pub at: Instant,
}

/// A deletion that was done.
#[derive(Clone, Copy, Debug)]
pub struct Deleted {
    /// In which chat.
    pub chat: i64,
    /// Which message.
    pub id: i64,
    /// When.
    pub at: Instant,
}

/// An answer to a press of a button.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Of which press.
    pub query: String,
    /// What the person sees.
    pub text: Option<String>,
    /// Whether it has to be closed by hand.
    pub alert: bool,
    /// When.
    pub at: Instant,
}

/// A chat action ("typing").
#[derive(Clone, Debug)]
pub struct Action {
    /// In which chat.
    pub chat: i64,
    /// The topic.
    pub thread: Option<i64>,
    /// Which.
    pub action: String,
    /// When.
    pub at: Instant,
}

/// A text shown while it is being written.
#[derive(Clone, Debug)]
pub struct Draft {
    /// In which chat.
    pub chat: i64,
    /// Which of the bot's drafts there.
    pub id: i64,
    /// Its text as people see it.
    pub text: String,
    /// When.
    pub at: Instant,
}

/// A reaction of the bot.
#[derive(Clone, Debug)]
pub struct Reaction {
    /// In which chat.
    pub chat: i64,
    /// To which message.
    pub id: i64,
    /// The list as given; empty takes it back.
    pub reaction: Value,
    /// When.
    pub at: Instant,
}

/// A list of commands.
#[derive(Clone, Debug)]
pub struct Menu {
    /// Name and description of each.
    pub commands: Vec<(String, String)>,
    /// Whom it is for; none: everybody.
    pub scope: Option<Value>,
    /// For people of which language; empty: of any.
    pub language: String,
    /// When.
    pub at: Instant,
}
