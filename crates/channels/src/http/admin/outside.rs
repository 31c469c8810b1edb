//! `/admin/v1/providers` and `/admin/v1/routes`: the guards of everything outside, and who answers to which name.

use super::call::{Ctx, Done, Refused};
use jiff::Timestamp;
use portcullis_domain::Failure;
use portcullis_resilience::Dependency;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Longest time a target can be switched off, in seconds: a year.
const MAX_OFF_SECS: i64 = 31_536_000;

fn found(ctx: &Ctx<'_>) -> Result<Dependency, Failure> {
    let missing = || Failure::NotFound("There is no such provider; /admin/v1/providers lists them.".into());
    ctx.door.registry.get(ctx.param(0)).ok_or_else(missing)
}

fn value(dependency: &Dependency) -> Value {
    serde_json::to_value(dependency.status()).unwrap_or_default()
}

pub(super) async fn list(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let all: Vec<Value> = ctx.door.registry.all().iter().map(value).collect();
    Ok(Done::shown(json!({"data": all})))
}

pub(super) async fn show(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    Ok(Done::shown(value(&found(ctx)?)))
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wish {
    Open,
    Close,
    Auto,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Breaker {
    state: Wish,
}

pub(super) async fn breaker(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let Breaker { state } = ctx.read()?;
    let dependency = found(ctx)?;
    let before = value(&dependency);
    match state {
        Wish::Open => dependency.open_breaker(),
        Wish::Close => dependency.close_breaker(),
        Wish::Auto => dependency.auto_breaker(),
    }
    Ok(Done::changed("breaker_set", dependency.name(), before, value(&dependency)))
}

pub(super) async fn release(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let dependency = found(ctx)?;
    let before = value(&dependency);
    if !dependency.release_hold() {
        return Err(Failure::NotFound("Nothing is held there.".into()).into());
    }
    Ok(Done::changed("hold_released", dependency.name(), before, value(&dependency)))
}

pub(super) async fn routes(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    Ok(Done::shown(json!({"data": ctx.door.engine.routes()})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    /// Absent: as it is; null: as configured.
    #[serde(default, deserialize_with = "said")]
    weight: Option<Option<u32>>,
    /// Absent: as it is; null: on.
    #[serde(default, deserialize_with = "said")]
    disabled_until: Option<Option<Timestamp>>,
}

/// Tells `null` from absence.
fn said<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

pub(super) async fn change_target(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let Target { weight, disabled_until } = ctx.read()?;
    let (route, engine) = (ctx.param(0), &ctx.door.engine);
    let missing = || Failure::NotFound("There is no such target; /admin/v1/routes lists them.".into());
    let number: usize = ctx.param(1).parse().map_err(|_| missing())?;
    let one = || engine.routes().into_iter().find(|shown| shown["name"] == *route);
    let before = one().ok_or_else(missing)?;
    if before["targets"].get(number).is_none() {
        return Err(missing().into());
    }
    let off = match disabled_until {
        None => None,
        Some(None) => Some(None),
        Some(Some(until)) => {
            let secs = until.as_second() - Timestamp::now().as_second();
            if !(1..=MAX_OFF_SECS).contains(&secs) {
                let words = "disabled_until is a time to come, at most a year away.";
                return Err(Failure::invalid("disabled_until", words).into());
            }
            Some(Some(Duration::from_secs(secs.unsigned_abs())))
        }
    };
    if let Some(weight) = weight
        && !engine.set_target_weight(route, number, weight)
    {
        return Err(Failure::invalid("weight", "weight is a whole number from 0 to 1000.").into());
    }
    if let Some(time) = off {
        let done = engine.switch_target_off(route, number, time);
        tracing::debug!(done, "a target was switched");
    }
    let target = format!("{route}/{number}");
    Ok(Done::changed("route_changed", target, before, one().unwrap_or_default()))
}
