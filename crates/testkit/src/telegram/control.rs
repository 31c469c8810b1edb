//! The control API under `/_control/`, for tests in other languages. Invariant: it does nothing that the Rust API does
//! not do, and its paths are none of the imitated ones.
//!
//! `GET state`, `GET violations`, `GET idle` (409 while a call is under way); `POST people`, `groups`, `topics`, `say`,
//! `edit`, `press`, `document`, `block`, `unblock`, `kick`, `invite`, `updates`, `rival`, `faults`, `clock`;
//! `DELETE faults`, `violations`. Bodies are JSON; what is wrong with one is said with 400.

use super::{
    Incoming, Kind, Person, Pushed, Rule, Telegram,
    http::{Body, json_answer},
};
use bytes::Bytes;
use http::{Method, Response};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) fn answer(double: &Telegram, verb: &Method, path: &str, body: &Bytes) -> Response<Body> {
    let body = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(body) };
    let done = match body {
        Ok(body) => route(double, verb, path, &Asked(&body)),
        Err(problem) => Err(format!("no JSON: {problem}")),
    };
    match done {
        Ok(value) if path == "idle" && value["in_flight"] != 0 => json_answer(409, &value),
        Ok(value) => json_answer(200, &value),
        Err(why) => json_answer(400, &json!({ "error": why })),
    }
}

/// A body with what it has to have.
struct Asked<'a>(&'a Value);

impl Asked<'_> {
    fn text(&self, name: &str) -> Result<&str, String> {
        self.0[name].as_str().ok_or_else(|| format!("`{name}` is a text"))
    }

    fn number(&self, name: &str) -> Result<i64, String> {
        self.0[name].as_i64().ok_or_else(|| format!("`{name}` is a number"))
    }

    fn person(&self, double: &Telegram, name: &str) -> Result<Person, String> {
        let id = self.number(name)?;
        known(double, id)
    }

    fn chat(&self, double: &Telegram, or: i64) -> Result<i64, String> {
        let id = self.0["chat_id"].as_i64().unwrap_or(or);
        let there = double.read(|state| state.chats.contains_key(&id));
        if there { Ok(id) } else { Err(format!("no chat {id}")) }
    }
}

fn known(double: &Telegram, id: i64) -> Result<Person, String> {
    double.read(|state| state.people.get(&id).cloned()).ok_or_else(|| format!("no person {id}"))
}

fn route(double: &Telegram, verb: &Method, path: &str, asked: &Asked<'_>) -> Result<Value, String> {
    match (verb.as_str(), path) {
        ("GET", "state") => Ok(snapshot(double)),
        ("GET", "violations") => Ok(json!(double.violations())),
        ("DELETE", "violations") => Ok(json!(double.forgive())),
        ("GET", "idle") => Ok(json!({ "in_flight": in_flight(double) })),
        ("POST", "faults") => {
            double.fault(Rule::from_json(asked.0)?);
            Ok(Value::Null)
        }
        ("DELETE", "faults") => {
            double.no_faults();
            Ok(Value::Null)
        }
        ("POST", "clock") => {
            double.advance(Duration::from_millis(asked.number("advance_ms")?.unsigned_abs()));
            Ok(Value::Null)
        }
        ("POST", _) => happen(double, path, asked),
        _ => Err(format!("no {verb} /_control/{path}")),
    }
}

fn pushed(pushed: &Pushed) -> Value {
    json!({"chat_id": pushed.chat, "message_id": pushed.id, "update_id": pushed.update})
}

/// What people do.
fn happen(double: &Telegram, path: &str, asked: &Asked<'_>) -> Result<Value, String> {
    match path {
        "people" => {
            let language = asked.0["language"].as_str().unwrap_or("en");
            Ok(double.person_speaking(asked.text("name")?, language).json())
        }
        "groups" => {
            let members = asked.0["members"].as_array().ok_or("`members` is a list")?;
            let members = members.iter().map(|id| known(double, id.as_i64().unwrap_or_default()));
            let members = members.collect::<Result<Vec<_>, _>>()?;
            let kind = match asked.0["kind"].as_str().unwrap_or("supergroup") {
                "group" => Kind::Group,
                "supergroup" => Kind::Supergroup,
                "forum" => Kind::Forum,
                "channel" => Kind::Channel,
                other => return Err(format!("no kind `{other}`")),
            };
            let group = double.group_of(kind, asked.text("title")?, &members.iter().collect::<Vec<_>>());
            Ok(json!({"id": group.id, "title": group.title}))
        }
        "topics" => {
            let chat = asked.chat(double, 0)?;
            let forum =
                double.read(|state| state.chats.get(&chat).is_some_and(|chat| chat.kind == Kind::Forum));
            if forum {
                Ok(json!({ "message_thread_id": double.topic(chat) }))
            } else {
                Err("no forum".into())
            }
        }
        "say" | "document" => {
            let from = asked.person(double, "from")?;
            let mut incoming = if path == "say" {
                Incoming::text(&from, asked.text("text")?)
            } else {
                let caption = asked.0["caption"].as_str().unwrap_or_default();
                Incoming::document(&from, asked.text("name")?, asked.text("content")?.as_bytes(), caption)
            };
            incoming = incoming.within(asked.chat(double, from.id)?);
            incoming.thread = asked.0["message_thread_id"].as_i64();
            Ok(pushed(&double.push(&incoming)))
        }
        "edit" => {
            let to = Pushed { chat: asked.chat(double, 0)?, id: asked.number("message_id")?, update: None };
            let there = double.read(|state| state.messages.contains_key(&(to.chat, to.id)));
            let update = there.then(|| double.edit(&to, asked.0["text"].as_str().unwrap_or_default()));
            Ok(json!({ "update_id": update.ok_or("no such message")? }))
        }
        "press" => {
            let (from, chat) = (asked.person(double, "from")?, asked.chat(double, 0)?);
            let (message, data) = (asked.number("message_id")?, asked.text("data")?);
            if asked.0["stale"] != true {
                double.pressable(chat, message, data)?;
            }
            Ok(json!({ "callback_query_id": double.press_stale(&from, chat, message, data) }))
        }
        "block" => Ok(json!({ "update_id": double.block(&asked.person(double, "from")?) })),
        "unblock" => Ok(json!({ "update_id": double.unblock(&asked.person(double, "from")?) })),
        "kick" => {
            Ok(json!({ "update_id": double.kick(asked.chat(double, 0)?, &asked.person(double, "from")?) }))
        }
        "invite" => {
            Ok(json!({ "update_id": double.invite(asked.chat(double, 0)?, &asked.person(double, "from")?) }))
        }
        "updates" => Ok(json!({ "update_id": double.raw_update(asked.text("kind")?, &asked.0["payload"]) })),
        "rival" => Ok(json!({ "ended": double.rival_polls() })),
        other => Err(format!("no POST /_control/{other}")),
    }
}

fn in_flight(double: &Telegram) -> usize {
    // A long poll is no work under way.
    let waiting = |call: &&super::Call| call.status.is_none() && call.method != "getUpdates";
    double.read(|state| state.calls.iter().filter(waiting).count())
}

fn snapshot(double: &Telegram) -> Value {
    let under_way = in_flight(double);
    let start = double.shared.started();
    let since = |at: &tokio::time::Instant| u64::try_from((*at - start).as_millis()).unwrap_or(u64::MAX);
    let state = double.shared.lock();
    let calls = state.calls.iter().map(|call| {
        json!({
            "method": call.method, "params": call.params, "at_ms": since(&call.at), "status": call.status,
            "refused": call.refused,
        })
    });
    let sent = state.sent.iter().map(|sent| {
        json!({
            "chat_id": sent.chat, "message_id": sent.id, "message_thread_id": sent.thread, "text": sent.text,
            "entities": sent.entities, "reply_markup": sent.markup, "silent": sent.silent, "at_ms": since(&sent.at),
            "shown": sent.shown(), "deleted_at_ms": sent.deleted.as_ref().map(since),
            "document": sent.document.as_ref().map(|document| &document.name),
        })
    });
    let answers = state.answers.iter().map(|answer| {
        json!({"query": answer.query, "text": answer.text, "alert": answer.alert, "at_ms": since(&answer.at)})
    });
    let rules = state.rules.iter().map(|live| json!({"rule": format!("{:?}", live.rule), "left": live.left}));
    json!({
        "calls": calls.collect::<Vec<_>>(), "sent": sent.collect::<Vec<_>>(),
        "answers": answers.collect::<Vec<_>>(), "faults": rules.collect::<Vec<_>>(),
        "pending": state.queue.len(), "polled": state.poll.is_some(),
        "webhook": state.webhook.as_ref().map(super::webhook::Webhook::url), "in_flight": under_way,
    })
}
