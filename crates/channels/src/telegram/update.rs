//! Updates of the Bot API, read. Pure. Invariants: of an update is kept what an answer needs and nothing else; what has
//! no sender, no chat or an unknown shape is ignored and never an error, because an update that cannot be taken would
//! come again for ever.
//!
//! Source: Bot API, "Update" and "Message"; news.md section 2.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest text kept, in characters; Telegram's own bound is below it.
const TEXT: usize = 8192;

/// A message or a press, as it is kept in the inbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Incoming {
    /// Number of the chat; that of a group is negative.
    pub(super) chat: i64,
    /// Topic of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) thread: Option<i64>,
    /// Number of the message, or of the one whose button was pressed.
    pub(super) message: i64,
    /// When it was sent, Unix seconds; 0 of a press, which does not tell.
    pub(super) at: i64,
    /// Number of the person, or of the chat in whose name somebody wrote.
    pub(super) from: i64,
    /// Whether it was written in the name of a chat.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) as_chat: bool,
    /// Two letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) language: Option<String>,
    /// The words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) text: String,
    /// A file that came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<Attached>,
    /// The button that was pressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) press: Option<Press>,
    /// Whether it is kept only to end what was asked for before it, beside the message itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) ends: bool,
}

/// A file on Telegram's server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attached {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// A press of a button.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Press {
    /// What it is answered by.
    pub(super) id: String,
    /// What the button carries.
    pub(super) token: String,
}

impl Incoming {
    /// Whether others read along.
    pub(super) const fn is_group(&self) -> bool {
        self.chat < 0
    }

    /// Who wrote it, as callers are named.
    pub(super) fn caller(&self) -> String {
        if self.as_chat { format!("tg:chat:{}", self.from) } else { format!("tg:{}", self.from) }
    }

    /// What it belongs to: one message of it is worked on at a time.
    pub(super) fn line(&self) -> String {
        line(self.chat)
    }

    /// Where it was written, as apps name it: the chat, or a topic of it.
    pub(super) fn conversation(&self) -> String {
        match self.thread {
            Some(thread) => format!("{}/{thread}", self.line()),
            None => self.line(),
        }
    }

    /// What it is known by at this door.
    pub(super) fn key(&self, bot: i64) -> String {
        match &self.press {
            Some(press) => format!("{bot}/press/{}", press.id),
            None if self.ends => format!("{bot}/{}/{}/end", self.chat, self.message),
            None => format!("{bot}/{}/{}", self.chat, self.message),
        }
    }
}

/// `telegram:<chat>`.
pub(super) fn line(chat: i64) -> String {
    format!("telegram:{chat}")
}

/// Chat and topic of a conversation.
pub(super) fn place(conversation: &str) -> Option<(i64, Option<i64>)> {
    let rest = conversation.strip_prefix("telegram:")?;
    match rest.split_once('/') {
        Some((chat, thread)) => Some((chat.parse().ok()?, Some(thread.parse().ok()?))),
        None => Some((rest.parse().ok()?, None)),
    }
}

/// Who the bot is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Me {
    pub(super) id: i64,
    /// Its name, without `@`.
    pub(super) name: String,
}

/// What an update says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Somebody wrote, and means us.
    Message(Incoming),
    /// Somebody changed what they wrote.
    Edited(Incoming),
    /// Somebody pressed a button.
    Press(Incoming),
    /// We were let into a chat, or put out of it.
    Member {
        chat: i64,
        /// Whether we may write there.
        inside: bool,
    },
    /// A group has another number from now on.
    Moved { from: i64, to: i64 },
    /// Nothing for us, and why.
    Ignored(&'static str),
}

impl Event {
    /// Metric label.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Message(_) => "message",
            Self::Edited(_) => "edited",
            Self::Press(_) => "press",
            Self::Member { .. } => "member",
            Self::Moved { .. } => "moved",
            Self::Ignored(why) => why,
        }
    }
}

/// Reads an update.
pub(super) fn read(update: &Value, me: &Me) -> Event {
    if let Some(message) = update.get("message") {
        return of_message(message, me, Event::Message);
    }
    if let Some(message) = update.get("edited_message") {
        return of_message(message, me, Event::Edited);
    }
    if let Some(press) = update.get("callback_query") {
        return of_press(press).map_or(Event::Ignored("unknown"), Event::Press);
    }
    if let Some(change) = update.get("my_chat_member") {
        let Some(chat) = change["chat"]["id"].as_i64() else { return Event::Ignored("unknown") };
        let status = change["new_chat_member"]["status"].as_str().unwrap_or_default();
        let muted = status == "restricted" && change["new_chat_member"]["can_send_messages"] == false;
        return Event::Member { chat, inside: !muted && !matches!(status, "kicked" | "left") };
    }
    Event::Ignored("unknown")
}

fn of_message(message: &Value, me: &Me, event: fn(Incoming) -> Event) -> Event {
    let Some(chat) = message["chat"]["id"].as_i64() else { return Event::Ignored("unknown") };
    if let Some(to) = message["migrate_to_chat_id"].as_i64() {
        return Event::Moved { from: chat, to };
    }
    if let Some(from) = message["migrate_from_chat_id"].as_i64() {
        return Event::Moved { from, to: chat };
    }
    // Of a channel that is linked to the group.
    if message["is_automatic_forward"] == true {
        return Event::Ignored("forward");
    }
    let Some(mut incoming) = sender(message) else { return Event::Ignored("bot") };
    let Some(number) = message["message_id"].as_i64() else { return Event::Ignored("unknown") };
    let words = ["text", "caption"].iter().find_map(|member| message[member].as_str()).unwrap_or_default();
    incoming.chat = chat;
    incoming.message = number;
    incoming.at = message["date"].as_i64().unwrap_or_default();
    incoming.thread = message["message_thread_id"].as_i64().filter(|_| message["is_topic_message"] == true);
    incoming.file = attached(&message["document"]);
    incoming.text = words.chars().take(TEXT).collect();
    if incoming.text.is_empty() && incoming.file.is_none() && !has_content(message) {
        return Event::Ignored("service");
    }
    if incoming.is_group() {
        let Some(text) = meant_for(&incoming.text, message, me) else { return Event::Ignored("others") };
        incoming.text = text;
    }
    event(incoming)
}

/// Whether somebody sent something that we could not read: they are told so, which a join or a new photo of the group
/// needs not.
fn has_content(message: &Value) -> bool {
    const KINDS: [&str; 10] = [
        "photo",
        "video",
        "voice",
        "audio",
        "sticker",
        "animation",
        "video_note",
        "location",
        "contact",
        "poll",
    ];
    KINDS.iter().any(|kind| message.get(kind).is_some())
}

/// Who wrote it; bots are not heard.
fn sender(message: &Value) -> Option<Incoming> {
    if let Some(chat) = message["sender_chat"]["id"].as_i64() {
        return Some(Incoming { from: chat, as_chat: true, ..Incoming::default() });
    }
    person(&message["from"])
}

fn person(from: &Value) -> Option<Incoming> {
    if from["is_bot"] == true {
        return None;
    }
    let code = from["language_code"].as_str().unwrap_or_default();
    let language = code.get(..2).filter(|code| code.bytes().all(|byte| byte.is_ascii_lowercase()));
    Some(Incoming {
        from: from["id"].as_i64()?,
        language: language.map(str::to_owned),
        ..Incoming::default()
    })
}

fn attached(document: &Value) -> Option<Attached> {
    let name = document["file_name"].as_str().unwrap_or("file");
    let name = name.rsplit(['/', '\\']).next().unwrap_or("file");
    Some(Attached {
        id: document["file_id"].as_str()?.to_owned(),
        name: name.chars().filter(|c| !c.is_control()).take(120).collect(),
        bytes: document["file_size"].as_u64().unwrap_or_default(),
    })
}

/// In a group: a command that may be ours, an answer to us, or our name in it. Our name is taken out of the words.
fn meant_for(text: &str, message: &Value, me: &Me) -> Option<String> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if first.len() > 1 && first.starts_with('/') {
        let named = first.split_once('@').map(|(_, name)| name);
        return named.is_none_or(|name| name.eq_ignore_ascii_case(&me.name)).then(|| text.to_owned());
    }
    if message["reply_to_message"]["from"]["id"].as_i64() == Some(me.id) {
        return Some(text.to_owned());
    }
    let mention = format!("@{}", me.name);
    let is_mention = |word: &&str| {
        let word = word.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '_');
        word.eq_ignore_ascii_case(&mention)
    };
    text.split_whitespace().any(|word| is_mention(&word)).then(|| {
        let words: Vec<&str> = text.split_whitespace().filter(|word| !is_mention(word)).collect();
        words.join(" ")
    })
}

fn of_press(press: &Value) -> Option<Incoming> {
    let incoming = person(&press["from"])?;
    let message = &press["message"];
    let chat = message["chat"]["id"].as_i64()?;
    Some(Incoming {
        chat,
        message: message["message_id"].as_i64()?,
        thread: message["message_thread_id"].as_i64().filter(|_| message["is_topic_message"] == true),
        press: Some(Press {
            id: press["id"].as_str()?.to_owned(),
            token: press["data"].as_str()?.to_owned(),
        }),
        ..incoming
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn me() -> Me {
        Me { id: 100, name: "MadeUpBot".into() }
    }

    fn in_group(text: &str) -> Value {
        json!({"update_id": 1, "message": {"message_id": 5, "date": 7, "text": text,
            "chat": {"id": -9, "type": "supergroup"}, "from": {"id": 3, "is_bot": false, "language_code": "ru-RU"}}})
    }

    #[test]
    fn a_message_keeps_what_an_answer_needs() {
        let mut update = in_group("/news all");
        update["message"]["message_thread_id"] = json!(44);
        update["message"]["is_topic_message"] = json!(true);
        update["message"]["document"] =
            json!({"file_id": "F", "file_name": "../a/feeds.opml", "file_size": 12});
        let Event::Message(it) = read(&update, &me()) else { panic!("a message") };
        assert_eq!((it.chat, it.thread, it.message, it.at, it.from), (-9, Some(44), 5, 7, 3));
        assert_eq!(it.language.as_deref(), Some("ru"));
        assert_eq!(it.file.as_ref().unwrap().name, "feeds.opml");
        assert_eq!(
            (it.caller(), it.conversation(), it.key(100)),
            ("tg:3".into(), "telegram:-9/44".into(), "100/-9/5".into())
        );
        assert_eq!(place(&it.conversation()), Some((-9, Some(44))));
        assert_eq!(place(&it.line()), Some((-9, None)));
        assert_eq!(place("signal:1"), None);
        let kept: Incoming = serde_json::from_str(&serde_json::to_string(&it).unwrap()).unwrap();
        assert_eq!(kept, it);
    }

    #[test]
    fn in_groups_only_who_means_us_is_heard() {
        let text = |text: &str| {
            let event = read(&in_group(text), &me());
            if let Event::Message(it) = event {
                return Some(it.text);
            }
            assert_eq!(event, Event::Ignored("others"));
            None
        };
        assert_eq!(text("/news"), Some("/news".into()));
        assert_eq!(text("/news@madeupbot x"), Some("/news@madeupbot x".into()));
        assert_eq!(text("/news@OtherBot"), None);
        assert_eq!(text("hello all"), None);
        assert_eq!(text("hello @MadeUpBot, what is up?"), Some("hello what is up?".into()));
        assert_eq!(text("hello @MadeUpBots"), None);
        let mut reply = in_group("yes");
        reply["message"]["reply_to_message"] = json!({"message_id": 4, "from": {"id": 100}});
        assert!(matches!(read(&reply, &me()), Event::Message(_)));
    }

    #[test]
    fn bots_are_not_heard_and_anonymous_administrators_are_their_chat() {
        let mut update = in_group("/news");
        update["message"]["from"]["is_bot"] = json!(true);
        assert_eq!(read(&update, &me()), Event::Ignored("bot"));
        update["message"]["sender_chat"] = json!({"id": -9});
        let Event::Message(it) = read(&update, &me()) else { panic!("a message") };
        assert_eq!(it.caller(), "tg:chat:-9");
    }

    #[test]
    fn presses_members_moves_and_the_unknown() {
        let press = json!({"callback_query": {"id": "77", "from": {"id": 3}, "data": "1:go:a",
            "message": {"message_id": 5, "chat": {"id": 3}}}});
        let Event::Press(it) = read(&press, &me()) else { panic!("a press") };
        assert_eq!((it.key(100), it.press.unwrap().token), ("100/press/77".into(), "1:go:a".into()));
        let member = |status: &str| json!({"my_chat_member": {"chat": {"id": 3}, "new_chat_member": {"status": status}}});
        assert_eq!(read(&member("kicked"), &me()), Event::Member { chat: 3, inside: false });
        assert_eq!(read(&member("member"), &me()), Event::Member { chat: 3, inside: true });
        let moved = json!({"message": {"chat": {"id": -5}, "migrate_to_chat_id": -1005}});
        assert_eq!(read(&moved, &me()), Event::Moved { from: -5, to: -1005 });
        for odd in
            [json!({}), json!({"message": 5}), json!({"poll": {}}), json!({"callback_query": {"id": "1"}})]
        {
            assert!(matches!(read(&odd, &me()), Event::Ignored(_)), "{odd}");
        }
        let join = json!({"message": {"message_id": 1, "chat": {"id": 3}, "from": {"id": 3}, "new_chat_title": "x"}});
        assert_eq!(read(&join, &me()), Event::Ignored("service"));
    }
}
