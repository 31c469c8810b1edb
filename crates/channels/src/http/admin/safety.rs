//! `/admin/v1/safety-overrides`: a provider's safety settings changed for some hours, with a reason. The desk proves
//! their start and their end itself, whoever ends them.
//!
//! Source: gateway.md section 10, "Incident override".

use super::call::{Ctx, Done, Refused};
use jiff::Timestamp;
use portcullis_domain::{Failure, HarmCategory, HarmThreshold, SafetyOverride};
use portcullis_engine::safety::NewOverride;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Override {
    provider: String,
    category: String,
    threshold: String,
    for_secs: u64,
    reason: String,
    #[serde(default)]
    i_understand: bool,
}

fn value(it: &SafetyOverride) -> Value {
    let at = |ms| Timestamp::from_millisecond(ms).ok();
    json!({
        "provider": it.provider, "category": it.category.as_str(), "threshold": it.threshold.as_str(),
        "since": at(it.since_ms), "until": at(it.until_ms), "reason": it.reason, "by": it.by,
    })
}

fn category(name: &str) -> Result<HarmCategory, Failure> {
    HarmCategory::parse(name).ok_or_else(|| {
        let known = HarmCategory::ALL.map(HarmCategory::as_str).join(", ");
        Failure::invalid("category", format!("category is one of {known}."))
    })
}

pub(super) async fn list(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let active: Vec<Value> = ctx.door.safety.active().iter().map(value).collect();
    Ok(Done::shown(json!({"data": active})))
}

pub(super) async fn set(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let wanted: Override = ctx.read()?;
    let threshold = HarmThreshold::parse(&wanted.threshold).ok_or_else(|| {
        let words = "threshold is a name of Google's, such as BLOCK_ONLY_HIGH.";
        Failure::invalid("threshold", words)
    })?;
    let new = NewOverride {
        provider: wanted.provider,
        category: category(&wanted.category)?,
        threshold,
        time: Duration::from_secs(wanted.for_secs),
        reason: wanted.reason,
        i_understand: wanted.i_understand,
        by: ctx.admitted.caller().id.to_string(),
    };
    Ok(Done::shown(value(&ctx.door.safety.set(new).await?)))
}

pub(super) async fn end(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let (provider, category) = (ctx.param(0), category(ctx.param(1))?);
    if !ctx.door.safety.end(provider, category).await? {
        return Err(Failure::NotFound("There is no such override; it may be over.".into()).into());
    }
    Ok(Done::shown(json!({"provider": provider, "category": category.as_str(), "ended": true})))
}
