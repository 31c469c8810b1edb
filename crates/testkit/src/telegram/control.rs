//! The control API under `/_control/`, for tests in other languages. Invariant: it does nothing that the Rust API does
//! not do, and its paths are none of the imitated ones.

use super::{
    fault,
    http::{Body, json_answer},
    state::Shared,
};
use bytes::Bytes;
use http::{Method, Response};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) fn answer(shared: &Shared, verb: &Method, path: &str, body: &Bytes) -> Response<Body> {
    let body = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(body) };
    let done = match body {
        Ok(body) => route(shared, verb, path, &body),
        Err(problem) => Err(format!("no JSON: {problem}")),
    };
    match done {
        Ok(value) => json_answer(200, &value),
        Err(why) => json_answer(400, &json!({ "error": why })),
    }
}

fn route(shared: &Shared, verb: &Method, path: &str, body: &Value) -> Result<Value, String> {
    match (verb.as_str(), path) {
        ("GET", "state") => Ok(snapshot(shared)),
        ("GET", "violations") => Ok(json!(shared.lock().all_violations())),
        ("POST", "faults") => {
            let rule = fault::Rule::from_json(body)?;
            let left = rule.times;
            shared.change(|state, _now| state.rules.push(fault::Live { rule, left }));
            Ok(Value::Null)
        }
        ("DELETE", "faults") => {
            shared.change(|state, _now| state.rules.clear());
            Ok(Value::Null)
        }
        ("POST", "clock") => {
            let by = body["advance_ms"].as_u64().ok_or("`advance_ms` is a number")?;
            shared.change(|state, _now| state.shift += Duration::from_millis(by));
            Ok(Value::Null)
        }
        _ => Err(format!("no {verb} /_control/{path}")),
    }
}

fn snapshot(shared: &Shared) -> Value {
    let state = shared.lock();
    let start = shared.started();
    let since = |at: &tokio::time::Instant| u64::try_from((*at - start).as_millis()).unwrap_or(u64::MAX);
    let calls = state.calls.iter().map(|call| {
        json!({
            "method": call.method, "params": call.params, "at_ms": since(&call.at), "status": call.status,
            "refused": call.refused,
        })
    });
    let sent = state.sent.iter().map(|sent| {
        json!({
            "chat_id": sent.chat, "message_id": sent.id, "thread": sent.thread, "text": sent.text,
            "entities": sent.entities, "reply_markup": sent.markup, "silent": sent.silent, "at_ms": since(&sent.at),
            "shown": sent.shown(), "deleted_at_ms": sent.deleted.as_ref().map(since),
            "document": sent.document.as_ref().map(|document| &document.name),
        })
    });
    let answers = state.answers.iter().map(|answer| {
        json!({"query": answer.query, "text": answer.text, "alert": answer.alert, "at_ms": since(&answer.at)})
    });
    json!({
        "calls": calls.collect::<Vec<_>>(), "sent": sent.collect::<Vec<_>>(),
        "answers": answers.collect::<Vec<_>>(), "pending": state.queue.len(),
        "polled": state.poll.is_some(), "webhook": state.webhook.as_ref().map(super::webhook::Webhook::url),
        "in_flight": state.calls.iter().filter(|call| call.status.is_none()).count(),
    })
}
