//! `/admin/v1/outbox`: messages to chats that wait, or could not be delivered. Their words are never shown.
//!
//! Source: news.md section 9.

use super::call::{Ctx, Done, Refused};
use portcullis_domain::Failure;
use portcullis_store::OutState;
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
