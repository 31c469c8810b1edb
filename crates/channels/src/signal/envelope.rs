//! What an envelope of signal-cli means to us: a message, a change of one, or nothing. Invariants: `viewOnce` is never
//! read; what we do not know is ignored by name, never an error; both shapes of notifications are understood.
//!
//! Source: ask.md section 2; signal-cli's `JsonMessageEnvelope`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A message of somebody, as it is kept until it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    /// Who wrote it.
    pub(super) from: Sender,
    /// When it was sent, Unix milliseconds: with the sender its name on Signal.
    pub(super) at: i64,
    /// The words.
    pub(super) text: String,
    /// The group it was written in.
    pub(super) group: Option<String>,
    /// Whether it mentions us, or answers a message of ours.
    pub(super) to_us: bool,
    /// Seconds after which it disappears.
    pub(super) expires_secs: u64,
    /// Whether files came with it.
    pub(super) files: bool,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<Attached>,
}

/// A file of a message, still at signal-cli.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attached {
    /// By which signal-cli knows it.
    pub(super) id: String,
    /// Its name, without folders.
    pub(super) name: String,
    /// Its size in bytes, as signal-cli says.
    pub(super) bytes: u64,
}

/// Who wrote a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Sender {
    /// Account id; the number where an old daemon gives none.
    pub(super) uuid: String,
    /// Number, unless hidden.
    pub(super) number: Option<String>,
    /// Whether it is the account's owner writing to themselves.
    pub(super) own: bool,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A message.
    Message(Message),
    /// The message of that moment now reads so.
    Edit {
        /// Which.
        target: i64,
        /// The message as it is now, known by its first moment.
        message: Message,
    },
    /// The message of that moment was taken back.
    Delete {
        /// Whose.
        from: Sender,
        /// Which.
        target: i64,
    },
    /// signal-cli could not read what came: identity or decryption.
    Trouble {
        /// Its kind, in signal-cli's words, letters only.
        kind: String,
    },
    /// Nothing for us.
    Ignored(&'static str),
}

impl Event {
    /// Its kind: metric label.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Message(_) => "message",
            Self::Edit { .. } => "edit",
            Self::Delete { .. } => "delete",
            Self::Trouble { .. } => "exception",
            Self::Ignored(kind) => kind,
        }
    }
}

/// Reads what a stream brought; `own` is our number.
pub(super) fn read(body: &Value, own: &str) -> Event {
    // `{"envelope":…}`, or on sockets the parameters of `receive`, wrapped after `subscribeReceive`.
    let body = body.get("result").unwrap_or(body);
    if let Some(trouble) = body.get("exception").filter(|trouble| !trouble.is_null()) {
        let kind = trouble["type"].as_str().unwrap_or("unknown");
        return Event::Trouble { kind: kind.chars().filter(char::is_ascii_alphanumeric).take(60).collect() };
    }
    let envelope = &body["envelope"];
    let member = |name: &str| envelope.get(name).filter(|value| !value.is_null());
    let Some(from) = sender(envelope) else { return Event::Ignored("unreadable") };
    if let Some(data) = member("dataMessage") {
        return data_message(data, from, own);
    }
    if let Some(edit) = member("editMessage") {
        let Some(target) = edit["targetSentTimestamp"].as_i64() else { return Event::Ignored("unreadable") };
        return match data_message(&edit["dataMessage"], from, own) {
            Event::Message(message) => Event::Edit { target, message: Message { at: target, ..message } },
            Event::Edit { .. } | Event::Delete { .. } | Event::Trouble { .. } | Event::Ignored(_) => {
                Event::Ignored("edit")
            }
        };
    }
    if let Some(sync) = member("syncMessage") {
        return sync_message(sync, from, own);
    }
    let kinds = [
        ("receiptMessage", "receipt"),
        ("typingMessage", "typing"),
        ("callMessage", "call"),
        ("storyMessage", "story"),
    ];
    let kind = kinds.into_iter().find(|(name, _)| member(name).is_some());
    Event::Ignored(kind.map_or("other", |(_, kind)| kind))
}

fn sender(envelope: &Value) -> Option<Sender> {
    let word = |name: &str| envelope[name].as_str().filter(|word| !word.is_empty() && word.len() <= 100);
    let number = word("sourceNumber").map(str::to_owned);
    let uuid = word("sourceUuid").or_else(|| word("sourceNumber")).or_else(|| word("source"))?;
    Some(Sender { uuid: uuid.to_owned(), number, own: false })
}

/// Writes to oneself are questions of the owner; whatever else happens on their other devices is not ours.
fn sync_message(sync: &Value, from: Sender, own: &str) -> Event {
    let Some(sent) = sync.get("sentMessage").filter(|sent| !sent.is_null()) else {
        return Event::Ignored("sync");
    };
    let group = sent.get("groupInfo").is_some_and(|group| !group.is_null());
    let to = ["destinationNumber", "destinationUuid", "destination"];
    let to_self = to.iter().any(|name| sent[*name] == own || sent[*name] == *from.uuid);
    if group || !to_self {
        return Event::Ignored("sync");
    }
    data_message(sent, Sender { own: true, ..from }, own)
}

fn data_message(data: &Value, from: Sender, own: &str) -> Event {
    let member = |name: &str| data.get(name).filter(|value| !value.is_null());
    if let Some(target) = member("remoteDelete").and_then(|delete| delete["timestamp"].as_i64()) {
        return Event::Delete { from, target };
    }
    if data["viewOnce"] == true {
        return Event::Ignored("view_once");
    }
    for (name, kind) in [("reaction", "reaction"), ("sticker", "sticker"), ("payment", "payment")] {
        if member(name).is_some() {
            return Event::Ignored(kind);
        }
    }
    let group = member("groupInfo");
    if group.is_some_and(|group| group["type"].as_str().is_some_and(|kind| kind != "DELIVER")) {
        return Event::Ignored("group_update");
    }
    let files = data["attachments"].as_array().is_some_and(|files| !files.is_empty());
    let text = data["message"].as_str().unwrap_or_default();
    if text.trim().is_empty() && !files {
        return Event::Ignored("empty");
    }
    let Some(at) = data["timestamp"].as_i64() else { return Event::Ignored("unreadable") };
    let ours = |who: &Value, names: [&str; 2]| names.iter().any(|name| who[*name] == own);
    let mentions = data["mentions"].as_array().map_or(&[][..], Vec::as_slice);
    let mentioned = mentions.iter().any(|mention| ours(mention, ["number", "uuid"]));
    let quoted = member("quote").is_some_and(|quote| ours(quote, ["authorNumber", "author"]));
    Event::Message(Message {
        from,
        at,
        text: without_mentions(text, mentions),
        group: group.and_then(|group| group["groupId"].as_str()).map(str::to_owned),
        to_us: mentioned || quoted,
        expires_secs: data["expiresInSeconds"].as_u64().unwrap_or(0),
        files,
        file: data["attachments"].as_array().and_then(|files| attached(files.first()?)),
    })
}

fn attached(file: &Value) -> Option<Attached> {
    let id = file["id"].as_str().filter(|id| !id.is_empty() && id.len() <= 200)?;
    let sent = file["filename"].as_str().unwrap_or(id);
    let name: String =
        sent.rsplit(['/', '\\']).next()?.chars().filter(|c| !c.is_control()).take(200).collect();
    Some(Attached { id: id.to_owned(), name, bytes: file["size"].as_u64().unwrap_or(0) })
}

/// Mentions stand in the text as one placeholder each, which says nothing to an app.
fn without_mentions(text: &str, mentions: &[Value]) -> String {
    if mentions.is_empty() {
        return text.to_owned();
    }
    text.replace('\u{fffc}', "").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_testkit::signal::{ACCOUNT, ACCOUNT_UUID, Person, envelope};
    use serde_json::json;

    fn ann() -> Person {
        Person { uuid: "ann-uuid".into(), number: None, name: "Ann".into() }
    }

    fn event(envelope: &Value) -> Event {
        read(&json!({"account": ACCOUNT, "envelope": envelope}), ACCOUNT)
    }

    fn message(envelope: &Value) -> Message {
        let Event::Message(message) = event(envelope) else { panic!("a message") };
        message
    }

    #[test]
    fn a_message_is_read_from_both_shapes_of_notifications() {
        let plain = json!({"account": ACCOUNT, "envelope": envelope::data_at(&ann(), "hello", 5)});
        let wrapped = json!({"subscription": 0, "result": plain});
        let from = Sender { uuid: "ann-uuid".into(), number: None, own: false };
        let expected = Event::Message(Message {
            from,
            at: 5,
            text: "hello".into(),
            group: None,
            to_us: false,
            expires_secs: 0,
            files: false,
            file: None,
        });
        assert_eq!(read(&plain, ACCOUNT), expected);
        assert_eq!(read(&wrapped, ACCOUNT), expected);
    }

    #[test]
    fn groups_tell_whether_we_are_meant() {
        let ann = ann();
        assert!(!message(&envelope::group(&ann, "team", "hi")).to_us);
        let mention = message(&envelope::mention(&ann, "team", "what is the notice period?"));
        assert_eq!((mention.to_us, mention.text.as_str()), (true, "what is the notice period?"));
        assert_eq!(mention.group.as_deref(), Some("team"));
        assert!(message(&envelope::reply(&ann, "team", "and then?")).to_us);
    }

    #[test]
    fn notes_to_self_are_the_owners_and_other_sent_messages_nobodys() {
        let note = message(&envelope::note_to_self("remind me"));
        assert_eq!(
            (note.from.own, note.from.uuid.as_str(), note.text.as_str()),
            (true, ACCOUNT_UUID, "remind me")
        );
        assert_eq!(event(&envelope::sent_elsewhere(&ann(), "private")), Event::Ignored("sync"));
    }

    #[test]
    fn edits_and_deletes_name_the_first_message() {
        let Event::Edit { target: 7, message } = event(&envelope::edit(&ann(), 7, "better")) else {
            panic!()
        };
        assert_eq!((message.at, message.text.as_str()), (7, "better"));
        assert!(matches!(event(&envelope::delete(&ann(), 7)), Event::Delete { target: 7, .. }));
    }

    #[test]
    fn everything_else_is_ignored_by_name() {
        let ann = ann();
        for (kind, envelope) in [
            ("reaction", envelope::reaction(&ann, 5)),
            ("receipt", envelope::receipt(&ann)),
            ("typing", envelope::typing(&ann)),
            ("call", envelope::call(&ann)),
            ("story", envelope::story(&ann)),
            ("sticker", envelope::sticker(&ann)),
            ("group_update", envelope::group_update(&ann, "team")),
            ("view_once", envelope::view_once(&ann, "look")),
            ("empty", envelope::data(&ann, "  ")),
            ("other", json!({"sourceUuid": "x"})),
            ("unreadable", json!({})),
        ] {
            assert_eq!(event(&envelope), Event::Ignored(kind));
        }
        assert!(message(&envelope::attachment(&ann, "read this")).files);
        assert_eq!(message(&envelope::disappearing(&ann, "x", 60)).expires_secs, 60);
        let broken = json!({"envelope": envelope::data(&ann, "x"), "exception": {"type": "Untrusted/Identity", "message": "secret"}});
        assert_eq!(read(&broken, ACCOUNT), Event::Trouble { kind: "UntrustedIdentity".into() });
    }
}
