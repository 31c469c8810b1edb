//! `/admin/v1/config`, `/admin/v1/drain`, `/admin/v1/audit`, `/admin/v1/anomalies`: the process itself.

use super::call::{Ctx, Done, Refused};
use crate::http::control::{Call, Unusable};
use http::StatusCode;
use portcullis_domain::Failure;
use portcullis_inspect::Channel;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Most records of one answer.
const MAX_RECORDS: usize = 1_000;
const DEFAULT_RECORDS: usize = 100;

pub(super) async fn config(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    Ok(Done::shown(ctx.door.control.ask(|reply| Call::Show { reply }).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Validate {
    toml: String,
}

pub(super) async fn validate(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let Validate { toml: text } = ctx.read()?;
    Ok(Done::shown(ctx.door.control.ask(|reply| Call::Validate { text, reply }).await?))
}

/// The runtime proves a reload itself, whoever asked for it.
pub(super) async fn reload(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let by = ctx.admitted.caller().id.to_string();
    match ctx.door.control.ask(|reply| Call::Reload { by, reply }).await? {
        Ok(told) => Ok(Done::shown(told)),
        Err(Unusable(report)) => Err(Refused::Unusable(report)),
    }
}

pub(super) async fn drain(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    ctx.door.control.give(Call::Drain)?;
    let after = json!({"draining": true});
    let done = Done::changed("drain", "process", json!({"draining": false}), after.clone());
    Ok(done.answering(StatusCode::ACCEPTED, after))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Inspect {
    text: String,
    #[serde(default)]
    channel: Option<String>,
}

pub(super) async fn inspect(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let Inspect { text, channel } = ctx.read()?;
    let channel = Channel::parse(channel.as_deref().unwrap_or("user"))
        .ok_or_else(|| Failure::invalid("channel", "channel is user or document."))?;
    Ok(Done::shown(ctx.door.engine.inspect(text, channel).await?))
}

fn limit(ctx: &Ctx<'_>) -> Result<usize, Failure> {
    match ctx.query("limit").map(str::parse::<usize>) {
        None => Ok(DEFAULT_RECORDS),
        Some(Ok(limit)) if (1..=MAX_RECORDS).contains(&limit) => Ok(limit),
        Some(_) => Err(Failure::invalid("limit", "limit is a whole number from 1 to 1000.")),
    }
}

pub(super) async fn audit(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let records: Vec<Value> = ctx.door.engine.last_audit(limit(ctx)?).await?;
    Ok(Done::shown(json!({"data": records})))
}

pub(super) async fn anomalies(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let anomalies = ctx.door.engine.anomalies();
    let rows = anomalies.last(limit(ctx)?).into_iter().map(|strange| {
        let details: Map<String, Value> =
            strange.details.iter().map(|(name, text)| ((*name).to_owned(), text.clone().into())).collect();
        json!({
            "at": strange.at, "kind": strange.kind, "caller": strange.caller, "tier": strange.tier,
            "outcome": strange.outcome, "request_id": strange.request_id, "details": details,
        })
    });
    let (callers, bytes) = anomalies.size();
    Ok(Done::shown(json!({"data": rows.collect::<Vec<_>>(), "callers": callers, "bytes": bytes})))
}
