//! Messages: sent, edited, deleted. Invariant: a message is stored with what people see, and an edit that changes
//! nothing is refused.

use super::{
    methods::{DELETABLE, Work},
    people::{Chat, Kind, mime},
    records::{Deleted, Document, Edited, Sent},
    state::{Message, Outcome, Refusal, State, Stored},
    text::{self, Formatted, Wanted},
};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Units of a text.
pub(super) const TEXT_UNITS: usize = 4096;
/// Units of a caption.
const CAPTION_UNITS: usize = 1024;
/// Bytes of a document.
const UPLOAD_BYTES: usize = 50 << 20;

const TEXT: Wanted = Wanted { most: TEXT_UNITS, too_long: "message is too long", entities: "entities" };
const CAPTION: Wanted =
    Wanted { most: CAPTION_UNITS, too_long: "message caption is too long", entities: "caption_entities" };

/// The number of a chat's next message.
pub(super) fn next_id(state: &mut State, chat: i64) -> i64 {
    let own = state.chats.get_mut(&chat).filter(|chat| !matches!(chat.kind, Kind::Private | Kind::Group));
    match own {
        Some(chat) => {
            chat.last_message += 1;
            chat.last_message
        }
        // Private chats and old groups share the account's own count.
        None => {
            state.last_message += 1;
            state.last_message
        }
    }
}

/// Where in the chat.
struct Place {
    thread: Option<i64>,
    reply_to: Option<i64>,
}

fn place(work: &mut Work<'_>, chat: &Chat) -> Result<Place, Refusal> {
    let thread = work.number("message_thread_id").filter(|thread| *thread != 0);
    if let Some(thread) = thread {
        match chat.kind {
            Kind::Forum if chat.topics.contains(&thread) => {}
            Kind::Forum | Kind::Private => return Err(Refusal::bad("message thread not found")),
            Kind::Group | Kind::Supergroup | Kind::Channel => {
                work.state.violation(format!("chat {} has no topics", chat.id));
            }
        }
    }
    let reply = work.values.get("reply_parameters");
    let reply_to = reply.and_then(|reply| reply["message_id"].as_i64());
    let (elsewhere, lenient) = reply.map_or((false, false), |reply| {
        (
            !reply["chat_id"].is_null() && reply["chat_id"] != chat.id,
            reply["allow_sending_without_reply"] == true,
        )
    });
    if elsewhere {
        work.state.violation("a reply to another chat is not imitated".to_owned());
    }
    let found = reply_to.filter(|id| work.state.messages.contains_key(&(chat.id, *id)));
    if reply_to.is_some() && found.is_none() && !lenient {
        return Err(Refusal::bad("message to be replied not found"));
    }
    Ok(Place { thread: thread.filter(|_| chat.kind == Kind::Forum), reply_to: found })
}

pub(super) fn send(work: &mut Work<'_>) -> Outcome {
    let raw = work.text("text").to_owned();
    if raw.is_empty() {
        return Err(Refusal::bad("message text is empty"));
    }
    let text = text::formatted(work.state, &raw, work.values, &TEXT)?;
    let markup = work.markup()?;
    let chat = work.writable()?;
    let place = place(work, &chat)?;
    work.pace(chat.id)?;
    Ok(post(work, &chat, &place, &text, markup, None))
}

pub(super) fn send_document(work: &mut Work<'_>) -> Outcome {
    let given = work.text("document").to_owned();
    let upload = match given.strip_prefix("attach://") {
        Some(name) => work.files.get(name).cloned(),
        None => work.files.get("document").cloned(),
    };
    if upload.as_ref().is_some_and(|upload| upload.bytes.len() > UPLOAD_BYTES) {
        return Err(Refusal::new(413, "Request Entity Too Large"));
    }
    let raw = work.text("caption").to_owned();
    let caption = if raw.is_empty() {
        Formatted::default()
    } else {
        text::formatted(work.state, &raw, work.values, &CAPTION)?
    };
    let markup = work.markup()?;
    let chat = work.writable()?;
    let place = place(work, &chat)?;
    let document = match upload {
        Some(upload) if upload.bytes.is_empty() => return Err(Refusal::bad("file must be non-empty")),
        Some(upload) => upload,
        None if given.is_empty() => return Err(Refusal::bad("there is no document in the request")),
        None => {
            let known = work.state.files.get(&given);
            let known = known.ok_or_else(|| Refusal::bad("wrong remote file identifier specified"))?;
            let name = known.path.rsplit('/').next().unwrap_or_default().to_owned();
            Document { mime: mime(&name).into(), name, bytes: known.bytes.clone() }
        }
    };
    work.pace(chat.id)?;
    Ok(post(work, &chat, &place, &caption, markup, Some(document)))
}

/// Keeps a file and tells how messages show it.
pub(super) fn store(state: &mut State, document: &Document, size: u64) -> Value {
    let number = state.number();
    let id = format!("BQACAgIAAxkB{number:08}");
    let path = format!("documents/file_{number}/{}", document.name);
    state.files.insert(id.clone(), Stored { bytes: document.bytes.clone(), size, path });
    json!({
        "file_id": id, "file_unique_id": format!("u{id}"), "file_size": size,
        "file_name": document.name, "mime_type": document.mime,
    })
}

fn post(
    work: &mut Work<'_>,
    chat: &Chat,
    place: &Place,
    text: &Formatted,
    markup: Option<Value>,
    document: Option<Document>,
) -> Value {
    let id = next_id(work.state, chat.id);
    let mut body = json!({
        "message_id": id, "from": work.shared.bot(), "chat": chat.json(), "date": work.shared.unix(work.now),
    });
    let (name, marks) =
        if document.is_some() { ("caption", "caption_entities") } else { ("text", "entities") };
    if !text.text.is_empty() {
        body[name] = json!(text.text);
    }
    if !text.entities.is_empty() {
        body[marks] = json!(text.entities);
    }
    if let Some(document) = &document {
        body["document"] = store(work.state, document, document.bytes.len() as u64);
    }
    if let Some(thread) = place.thread {
        body["message_thread_id"] = json!(thread);
        body["is_topic_message"] = json!(true);
    }
    let replied = place.reply_to.and_then(|reply| work.state.messages.get(&(chat.id, reply)));
    if let Some(replied) = replied {
        let mut replied = replied.body.clone();
        if let Some(fields) = replied.as_object_mut() {
            fields.remove("reply_to_message");
        }
        body["reply_to_message"] = replied;
    }
    if let Some(markup) = &markup {
        body["reply_markup"] = markup.clone();
    }
    work.state.messages.insert((chat.id, id), Message { own: true, at: work.now, body: body.clone() });
    work.state.sent.push(Sent {
        chat: chat.id,
        id,
        thread: place.thread,
        text: text.text.clone(),
        entities: text.entities.clone(),
        markup,
        silent: work.flag("disable_notification"),
        reply_to: place.reply_to,
        document,
        at: Instant::now(),
        edits: Vec::new(),
        deleted: None,
    });
    body
}

/// The bot's own message that is named.
fn own(work: &Work<'_>, chat: i64) -> Result<(i64, Value), Refusal> {
    let id = work.number("message_id").unwrap_or_default();
    let message =
        work.state.messages.get(&(chat, id)).ok_or_else(|| Refusal::bad("message to edit not found"))?;
    if message.own { Ok((id, message.body.clone())) } else { Err(Refusal::bad("message can't be edited")) }
}

pub(super) fn edit_text(work: &mut Work<'_>) -> Outcome {
    let raw = work.text("text").to_owned();
    if raw.is_empty() {
        return Err(Refusal::bad("message text is empty"));
    }
    let text = text::formatted(work.state, &raw, work.values, &TEXT)?;
    let markup = work.markup()?;
    identified(work)?;
    let chat = work.writable()?.id;
    let (id, body) = own(work, chat)?;
    if body["text"].is_null() {
        return Err(Refusal::bad("there is no text in the message to edit"));
    }
    change(work, (chat, id), body, Some(&text), markup)
}

pub(super) fn edit_markup(work: &mut Work<'_>) -> Outcome {
    let markup = work.markup()?;
    identified(work)?;
    let chat = work.writable()?.id;
    let (id, body) = own(work, chat)?;
    change(work, (chat, id), body, None, markup)
}

/// Neither chat nor message means an inline message.
fn identified(work: &Work<'_>) -> Result<(), Refusal> {
    let named = work.values.contains_key("chat_id") || work.values.contains_key("message_id");
    if named { Ok(()) } else { Err(Refusal::bad("message identifier is not specified")) }
}

fn change(
    work: &mut Work<'_>,
    key: (i64, i64),
    mut body: Value,
    text: Option<&Formatted>,
    markup: Option<Value>,
) -> Outcome {
    let before = body.clone();
    if let Some(text) = text {
        body["text"] = json!(text.text);
        body["entities"] = json!(text.entities);
    }
    body["reply_markup"] = json!(markup);
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null() && value != &json!([]));
    }
    if ["text", "entities", "reply_markup"].iter().all(|name| body[*name] == before[*name]) {
        return Err(Refusal::bad(
            "message is not modified: specified new message content and reply markup are exactly the same as a \
             current content and reply markup of the message",
        ));
    }
    work.pace(key.0)?;
    body["edit_date"] = json!(work.shared.unix(work.now));
    let edit = Edited {
        chat: key.0,
        id: key.1,
        text: text.map(|text| text.text.clone()),
        entities: text.map(|text| text.entities.clone()).unwrap_or_default(),
        markup,
        at: Instant::now(),
    };
    if let Some(message) = work.state.messages.get_mut(&key) {
        message.body = body.clone();
    }
    if let Some(sent) = work.state.sent.iter_mut().rev().find(|sent| (sent.chat, sent.id) == key) {
        sent.edits.push(edit.clone());
    }
    work.state.edits.push(edit);
    Ok(body)
}

pub(super) fn delete(work: &mut Work<'_>) -> Outcome {
    if !work.values.contains_key("chat_id") {
        return Err(Refusal::bad("chat identifier is not specified"));
    }
    let id = work.number("message_id").filter(|id| *id != 0);
    let id = id.ok_or_else(|| Refusal::bad("message identifier is not specified"))?;
    let chat = work.writable()?;
    let key = (chat.id, id);
    let message = work.state.messages.get(&key).ok_or_else(|| Refusal::bad("message to delete not found"))?;
    // A bot may delete what people write to it in private, and nobody else's words elsewhere.
    let allowed = message.own || chat.kind == Kind::Private;
    if !allowed || work.now.saturating_sub(message.at) > DELETABLE {
        return Err(Refusal::bad("message can't be deleted"));
    }
    work.state.messages.remove(&key);
    let at = Instant::now();
    if let Some(sent) = work.state.sent.iter_mut().rev().find(|sent| (sent.chat, sent.id) == key) {
        sent.deleted = Some(at);
    }
    work.state.deletions.push(Deleted { chat: chat.id, id, at });
    Ok(true.into())
}
