//! Envelopes as signal-cli shows them, one builder for each kind. Offsets are UTF-16 units.

use super::{ACCOUNT, ACCOUNT_UUID, Person};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

static CLOCK: AtomicI64 = AtomicI64::new(0);

/// Unix milliseconds of now, never the same twice in this process: Signal knows messages by sender and time.
pub fn timestamp() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let next = |last: i64| Some(now.max(last + 1));
    let last = CLOCK.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(now);
    now.max(last + 1)
}

/// An envelope from somebody with that content.
#[must_use]
pub fn envelope(from: &Person, at: i64, key: &str, content: Value) -> Value {
    let source = from.number.as_deref().unwrap_or(&from.uuid);
    json!({
        "source": source, "sourceNumber": from.number, "sourceUuid": from.uuid, "sourceName": from.name,
        "sourceDevice": 1, "timestamp": at, key: content,
    })
}

/// The content of a plain message.
#[must_use]
pub fn content(at: i64, text: &str) -> Value {
    json!({"timestamp": at, "message": text, "expiresInSeconds": 0, "viewOnce": false})
}

/// A message.
#[must_use]
pub fn data(from: &Person, text: &str) -> Value {
    data_at(from, text, timestamp())
}

/// A message of that moment.
#[must_use]
pub fn data_at(from: &Person, text: &str, at: i64) -> Value {
    envelope(from, at, "dataMessage", content(at, text))
}

/// A message with further members of its content.
#[must_use]
pub fn with(from: &Person, text: &str, members: &Value) -> Value {
    let at = timestamp();
    let mut body = content(at, text);
    if let (Some(body), Some(members)) = (body.as_object_mut(), members.as_object()) {
        body.extend(members.clone());
    }
    envelope(from, at, "dataMessage", body)
}

/// The member that puts a message into a group.
#[must_use]
pub fn in_group(id: &str) -> Value {
    json!({"groupInfo": {"groupId": id, "groupName": "Team", "revision": 3, "type": "DELIVER"}})
}

/// A message in a group.
#[must_use]
pub fn group(from: &Person, id: &str, text: &str) -> Value {
    with(from, text, &in_group(id))
}

/// A message in a group that mentions the account at its beginning; `text` begins with the placeholder.
#[must_use]
pub fn mention(from: &Person, id: &str, text: &str) -> Value {
    let mut members = in_group(id);
    members["mentions"] =
        json!([{"name": ACCOUNT, "number": ACCOUNT, "uuid": ACCOUNT_UUID, "start": 0, "length": 1}]);
    with(from, &format!("\u{fffc} {text}"), &members)
}

/// A message in a group that answers one of the account.
#[must_use]
pub fn reply(from: &Person, id: &str, text: &str) -> Value {
    let mut members = in_group(id);
    members["quote"] = json!({"id": 1, "author": ACCOUNT, "authorNumber": ACCOUNT, "authorUuid": ACCOUNT_UUID,
        "text": "earlier", "attachments": []});
    with(from, text, &members)
}

/// A group whose title or members changed.
#[must_use]
pub fn group_update(from: &Person, id: &str) -> Value {
    let at = timestamp();
    let info = json!({"groupId": id, "groupName": "Team", "revision": 4, "type": "UPDATE"});
    envelope(from, at, "dataMessage", json!({"timestamp": at, "message": null, "groupInfo": info}))
}

/// A message that vanishes after so many seconds.
#[must_use]
pub fn disappearing(from: &Person, text: &str, secs: u64) -> Value {
    with(from, text, &json!({"expiresInSeconds": secs}))
}

/// A message that may be seen once.
#[must_use]
pub fn view_once(from: &Person, text: &str) -> Value {
    with(
        from,
        text,
        &json!({"viewOnce": true, "attachments": [{"contentType": "image/jpeg", "id": "made-up"}]}),
    )
}

/// A message with a file of that id, name and size.
#[must_use]
pub fn file(from: &Person, text: &str, (id, name, size): (&str, &str, usize)) -> Value {
    let file = json!({"contentType": "application/octet-stream", "filename": name, "id": id, "size": size});
    with(from, text, &json!({"attachments": [file]}))
}

/// A message with a file.
#[must_use]
pub fn attachment(from: &Person, text: &str) -> Value {
    let file = json!({"contentType": "application/pdf", "filename": "a.pdf", "id": "made-up", "size": 1000});
    with(from, text, &json!({"attachments": [file]}))
}

/// A sticker.
#[must_use]
pub fn sticker(from: &Person) -> Value {
    let at = timestamp();
    let body = json!({"timestamp": at, "message": null, "sticker": {"packId": "made-up", "stickerId": 1}});
    envelope(from, at, "dataMessage", body)
}

/// A reaction to the message of that moment.
#[must_use]
pub fn reaction(from: &Person, target: i64) -> Value {
    let at = timestamp();
    let reaction =
        json!({"emoji": "👍", "targetAuthor": ACCOUNT, "targetSentTimestamp": target, "isRemove": false});
    envelope(from, at, "dataMessage", json!({"timestamp": at, "message": null, "reaction": reaction}))
}

/// The message of that moment is taken back.
#[must_use]
pub fn delete(from: &Person, target: i64) -> Value {
    let at = timestamp();
    let body = json!({"timestamp": at, "message": null, "remoteDelete": {"timestamp": target}});
    envelope(from, at, "dataMessage", body)
}

/// The message of that moment now reads so.
#[must_use]
pub fn edit(from: &Person, target: i64, text: &str) -> Value {
    let at = timestamp();
    envelope(
        from,
        at,
        "editMessage",
        json!({"targetSentTimestamp": target, "dataMessage": content(at, text)}),
    )
}

/// The owner writes to themselves from another device.
#[must_use]
pub fn note_to_self(text: &str) -> Value {
    let at = timestamp();
    let own = Person { uuid: ACCOUNT_UUID.into(), number: Some(ACCOUNT.into()), name: "Owner".into() };
    let mut sent = content(at, text);
    sent["destination"] = json!(ACCOUNT);
    sent["destinationNumber"] = json!(ACCOUNT);
    sent["destinationUuid"] = json!(ACCOUNT_UUID);
    envelope(&own, at, "syncMessage", json!({"sentMessage": sent}))
}

/// The owner writes to somebody else from another device.
#[must_use]
pub fn sent_elsewhere(to: &Person, text: &str) -> Value {
    let mut note = note_to_self(text);
    let sent = &mut note["syncMessage"]["sentMessage"];
    sent["destination"] = json!(to.uuid);
    sent["destinationNumber"] = json!(to.number);
    sent["destinationUuid"] = json!(to.uuid);
    note
}

/// Somebody has read.
#[must_use]
pub fn receipt(from: &Person) -> Value {
    let at = timestamp();
    let body =
        json!({"when": at, "isDelivery": false, "isRead": true, "isViewed": false, "timestamps": [at]});
    envelope(from, at, "receiptMessage", body)
}

/// Somebody types.
#[must_use]
pub fn typing(from: &Person) -> Value {
    let at = timestamp();
    envelope(from, at, "typingMessage", json!({"action": "STARTED", "timestamp": at}))
}

/// Somebody calls.
#[must_use]
pub fn call(from: &Person) -> Value {
    envelope(from, timestamp(), "callMessage", json!({"offerMessage": {"id": 1, "type": "AUDIO_CALL"}}))
}

/// Somebody tells a story.
#[must_use]
pub fn story(from: &Person) -> Value {
    let body = json!({"allowsReplies": true, "textAttachment": {"text": "a story"}});
    envelope(from, timestamp(), "storyMessage", body)
}
