//! Who is on the other side: people, their private chats, groups and channels; and what they say. Invariant: a chat
//! exists before anything happens in it, and a private chat has its person's number.

use super::{records::Document, text::units};
use serde_json::{Value, json};

/// Somebody on Telegram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Their number, and that of their private chat.
    pub id: i64,
    /// First name.
    pub name: String,
    /// Without the `@`.
    pub username: Option<String>,
    /// Language of their app.
    pub language: Option<String>,
}

impl Person {
    pub(super) fn json(&self) -> Value {
        let mut user = json!({"id": self.id, "is_bot": false, "first_name": self.name});
        if let Some(username) = &self.username {
            user["username"] = json!(username);
        }
        if let Some(language) = &self.language {
            user["language_code"] = json!(language);
        }
        user
    }
}

/// What kind of chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With one person.
    Private,
    /// A small group of the old kind.
    Group,
    /// A group of the new kind.
    Supergroup,
    /// One of the new kind with topics.
    Forum,
    /// One writes, many read.
    Channel,
}

/// Whether the bot may write there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may.
    Open,
    /// The person never wrote to it.
    NotStarted,
    /// The person blocked it.
    Blocked,
    /// The person deleted their account.
    Deactivated,
    /// It was thrown out of the group.
    Kicked,
    /// It is not in the group.
    NotMember,
    /// The group is gone.
    Deleted,
    /// The group has this number now.
    Upgraded(i64),
}

#[derive(Clone, Debug)]
pub(super) struct Chat {
    pub(super) id: i64,
    pub(super) kind: Kind,
    pub(super) title: String,
    pub(super) username: Option<String>,
    pub(super) access: Access,
    pub(super) members: Vec<i64>,
    pub(super) admins: Vec<i64>,
    pub(super) topics: Vec<i64>,
    /// The newest message's number, where chats count for themselves.
    pub(super) last_message: i64,
}

impl Chat {
    pub(super) fn json(&self) -> Value {
        let mut chat = json!({"id": self.id, "type": self.type_name()});
        chat[if self.kind == Kind::Private { "first_name" } else { "title" }] = json!(self.title);
        if let Some(username) = &self.username {
            chat["username"] = json!(username);
        }
        if self.kind == Kind::Forum {
            chat["is_forum"] = json!(true);
        }
        chat
    }

    pub(super) const fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Private => "private",
            Kind::Group => "group",
            Kind::Supergroup | Kind::Forum => "supergroup",
            Kind::Channel => "channel",
        }
    }

    /// What the server says when it lets nobody write there: status and words after the prefix.
    pub(super) fn closed(&self) -> Option<(u16, String)> {
        let kind = match self.kind {
            Kind::Private | Kind::Group => "group",
            Kind::Supergroup | Kind::Forum => "supergroup",
            Kind::Channel => "channel",
        };
        match self.access {
            Access::Open => None,
            Access::NotStarted => Some((403, "bot can't initiate conversation with a user".into())),
            Access::Blocked => Some((403, "bot was blocked by the user".into())),
            Access::Deactivated => Some((403, "user is deactivated".into())),
            Access::Kicked => Some((403, format!("bot was kicked from the {kind} chat"))),
            Access::NotMember => Some((403, format!("bot is not a member of the {kind} chat"))),
            Access::Deleted => Some((403, "the group chat was deleted".into())),
            Access::Upgraded(_) => Some((400, "group chat was upgraded to a supergroup chat".into())),
        }
    }
}

/// A group or a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number, below zero.
    pub id: i64,
    /// Its name.
    pub title: String,
    /// Of which kind.
    pub kind: Kind,
}

/// A message somebody sends.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub(super) from: Person,
    pub(super) chat: i64,
    pub(super) text: String,
    pub(super) thread: Option<i64>,
    pub(super) reply_to: Option<i64>,
    pub(super) document: Option<(Document, u64)>,
    pub(super) extra: Value,
}

impl Incoming {
    /// A text in the private chat. Commands, links and mentions in it are marked as Telegram marks them.
    #[must_use]
    pub fn text(from: &Person, text: &str) -> Self {
        Self {
            from: from.clone(),
            chat: from.id,
            text: text.to_owned(),
            thread: None,
            reply_to: None,
            document: None,
            extra: Value::Null,
        }
    }

    /// A document; the text is its caption.
    #[must_use]
    pub fn document(from: &Person, name: &str, bytes: &[u8], caption: &str) -> Self {
        let bytes = bytes::Bytes::copy_from_slice(bytes);
        let size = bytes.len() as u64;
        let document = Document { name: name.into(), mime: mime(name).into(), bytes };
        Self { document: Some((document, size)), ..Self::text(from, caption) }
    }

    /// The document is said to be so big.
    #[must_use]
    pub fn weighing(mut self, bytes: u64) -> Self {
        if let Some((_, size)) = &mut self.document {
            *size = bytes;
        }
        self
    }

    /// In a group.
    #[must_use]
    pub const fn within(mut self, chat: i64) -> Self {
        self.chat = chat;
        self
    }

    /// In a topic.
    #[must_use]
    pub const fn thread(mut self, thread: i64) -> Self {
        self.thread = Some(thread);
        self
    }

    /// As a reply to a message of that chat.
    #[must_use]
    pub const fn replying(mut self, message: i64) -> Self {
        self.reply_to = Some(message);
        self
    }

    /// With further fields of a Bot API message, as they are (`photo`, `forward_origin`, ...).
    #[must_use]
    pub fn with(mut self, fields: Value) -> Self {
        self.extra = fields;
        self
    }
}

/// What became of a message somebody sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its chat.
    pub chat: i64,
    /// Its number there.
    pub id: i64,
    /// The update that tells the bot; none: it asked for no such updates.
    pub update: Option<i64>,
}

pub(super) fn mime(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, end)| end) {
        "txt" => "text/plain",
        "md" => "text/markdown",
        "html" => "text/html",
        "json" => "application/json",
        "opml" => "text/x-opml",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        _ => "application/octet-stream",
    }
}

/// What Telegram marks in a text by itself: commands, links, mentions.
pub(super) fn marked(text: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let (mut offset, mut start) = (0, 0);
    let ends =
        text.char_indices().filter(|(_, one)| one.is_whitespace()).map(|(at, one)| (at, at + one.len_utf8()));
    for (end, next) in ends.chain([(text.len(), text.len())]).collect::<Vec<_>>() {
        let word = &text[start..end];
        let kind = if command(word) {
            Some(("bot_command", word.len()))
        } else if word.starts_with("http://") || word.starts_with("https://") {
            Some(("url", word.len()))
        } else if word.len() > 5 && word.starts_with('@') && name(&word[1..]) {
            Some(("mention", word.len()))
        } else {
            None
        };
        if let Some((kind, bytes)) = kind {
            found.push(json!({"type": kind, "offset": offset, "length": units(&word[..bytes])}));
        }
        offset += units(&text[start..next]);
        start = next;
    }
    found
}

fn name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn command(word: &str) -> bool {
    let Some(rest) = word.strip_prefix('/') else { return false };
    let (command, bot) = rest.split_once('@').unwrap_or((rest, "x"));
    command.len() <= 64 && name(command) && name(bot)
}
