//! `/admin/v1/outbox`: messages to chats that wait, or could not be delivered. Their words are never shown.
//!
//! Source: news.md section 9.

use super::call::{Ctx, Done, Refused};
use http::StatusCode;
use portcullis_domain::{Failure, Post};
use portcullis_engine::messages::{Sending, now_ms};
use portcullis_store::OutState;
use serde::Deserialize;
use serde_json::json;

/// Rows of an answer, where nothing else is asked for and at most.
const ROWS: [u32; 2] = [100, 1000];

pub(super) async fn list(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let state = ctx.query("state").map(|name| {
        let known = OutState::ALL.map(OutState::as_str).join(", ");
        OutState::from_name(name)
            .ok_or_else(|| Failure::invalid("state", format!("state is one of {known}.")))
    });
    let [usual, most] = ROWS;
    let limit = ctx.query("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usual).min(most);
    let rows = ctx.door.engine.outbox(state.transpose()?, limit).await?;
    Ok(Done::shown(json!({"data": rows})))
}

/// How long a message of an operator is worth sending.
const DAY_MS: i64 = 86_400_000;

/// A message to a chat.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    to: String,
    text: String,
    #[serde(default)]
    silent: bool,
}

pub(super) async fn send(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let wanted: Wanted = ctx.read()?;
    if wanted.text.trim().is_empty() {
        return Err(Failure::invalid("text", "Say something to send.").into());
    }
    let how = Sending {
        caller: ctx.admitted.caller().id.to_string(),
        class: 2,
        expires_at: now_ms().saturating_add(DAY_MS),
    };
    let post = Post { silent: wanted.silent, ..Post::text(wanted.text) };
    let added = ctx.door.chats.send(&wanted.to, &[post], &how).await;
    let Some(added) = added else {
        let words =
            "No chat door takes that address; write it as telegram:<number>, and see that the door is open.";
        return Err(Failure::invalid("to", words).into());
    };
    let after = json!({"to": wanted.to, "messages": added?});
    let done = Done::changed("message_sent", wanted.to, json!(null), after.clone());
    Ok(done.answering(StatusCode::ACCEPTED, after))
}

pub(super) async fn retry(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let none =
        || Failure::NotFound("No message of that id can be sent again; /admin/v1/outbox lists them.".into());
    let id: i64 = ctx.param(0).parse().map_err(|_| none())?;
    if !ctx.door.engine.send_again(id).await? {
        return Err(none().into());
    }
    Ok(Done::changed(
        "message_retried",
        id.to_string(),
        json!({"queued": false}),
        json!({"id": id, "queued": true}),
    ))
}
