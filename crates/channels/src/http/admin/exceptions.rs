//! `/admin/v1/exceptions`: suspicious messages that pass nevertheless, of one caller or exactly one text, until a moment
//! that is named. The desk proves their start and their end itself, whoever ends them; a text is hashed here and not kept.
//!
//! Source: inspect.md section 2.

use super::call::{Ctx, Done, Refused};
use http::StatusCode;
use jiff::Timestamp;
use portcullis_domain::Failure;
use portcullis_engine::exceptions::{ExceptionRow, NewException};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    caller: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    sha256: Option<String>,
    for_secs: u64,
    reason: String,
}

fn value(row: &ExceptionRow) -> Value {
    let at = |ms| Timestamp::from_millisecond(ms).ok();
    json!({
        "id": row.id, "caller": row.caller, "sha256": row.digest, "since": at(row.since_ms),
        "until": at(row.until_ms), "reason": row.reason, "by": row.by,
    })
}

pub(super) async fn list(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let active: Vec<Value> = ctx.door.engine.exceptions().active().iter().map(value).collect();
    Ok(Done::shown(json!({"data": active})))
}

pub(super) async fn grant(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let Wanted { caller, text, sha256, for_secs, reason } = ctx.read()?;
    let time = Duration::from_secs(for_secs);
    let by = ctx.admitted.caller().id.to_string();
    let new = NewException { caller, text, sha256, time, reason, by };
    let row = value(&ctx.door.engine.exceptions().grant(new).await?);
    Ok(Done::shown(Value::Null).answering(StatusCode::CREATED, row))
}

pub(super) async fn end(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    match ctx.door.engine.exceptions().end(ctx.param(0)).await? {
        Some(row) => Ok(Done::shown(json!({"id": row.id, "ended": true}))),
        None => Err(Failure::NotFound("There is no such exception; it may be over.".into()).into()),
    }
}
