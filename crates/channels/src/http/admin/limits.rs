//! `/admin/v1/tiers` and `/admin/v1/limits`: what is allowed, what one caller has left, both changed at run time.

use super::call::{Ctx, Done, Refused};
use crate::http::control::Call;
use portcullis_domain::{Failure, LimitScope};
use serde_json::{Value, json};

pub(super) async fn tiers(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    Ok(Done::shown(ctx.door.control.ask(|reply| Call::Tiers { reply }).await?))
}

pub(super) async fn set_tier(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    put_tier(ctx, Some(ctx.body().clone())).await
}

pub(super) async fn reset_tier(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    put_tier(ctx, None).await
}

async fn put_tier(ctx: &Ctx<'_>, definition: Option<Value>) -> Result<Done, Refused> {
    let name = ctx.param(0).to_owned();
    let one = |tiers: &Value| {
        let rows = tiers["data"].as_array().into_iter().flatten();
        rows.into_iter().find(|row| row["name"] == *name).cloned().unwrap_or_default()
    };
    let before = one(&ctx.door.control.ask(|reply| Call::Tiers { reply }).await?);
    let wanted = name.clone();
    let set = |reply| Call::SetTier { name: wanted, definition, reply };
    let after = ctx.door.control.ask(set).await??;
    Ok(Done::changed("tier_changed", name.clone(), before, one(&after)))
}

pub(super) async fn list(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let shown = ["limits", "tiers", "actions"];
    let config = ctx.door.control.ask(|reply| Call::Show { reply }).await?;
    let belongs = |row: &&Value| {
        let key = row["key"].as_str().unwrap_or_default();
        shown.iter().any(|section| key.starts_with(&format!("{section}.")))
    };
    let rows: Vec<&Value> = config["data"].as_array().into_iter().flatten().filter(belongs).collect();
    Ok(Done::shown(json!({"scopes": LimitScope::ALL.map(LimitScope::as_str), "data": rows})))
}

/// The level that the path names.
fn scope(ctx: &Ctx<'_>) -> Result<LimitScope, Failure> {
    let name = ctx.param(0);
    LimitScope::ALL.into_iter().find(|scope| scope.as_str() == name).ok_or_else(|| {
        let known = LimitScope::ALL.map(LimitScope::as_str).join(", ");
        Failure::NotFound(format!("There is no such level; levels are {known}.").into())
    })
}

pub(super) async fn show(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let views = ctx.door.engine.limits_of(scope(ctx)?, ctx.param(1), ctx.query("tier")).await?;
    Ok(Done::shown(told(ctx, &views)))
}

pub(super) async fn clear(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let (scope, key, tier) = (scope(ctx)?, ctx.param(1), ctx.query("tier"));
    let before = ctx.door.engine.limits_of(scope, key, tier).await?;
    ctx.door.engine.clear_limits(scope, key, tier).await?;
    let after = ctx.door.engine.limits_of(scope, key, tier).await?;
    let target = format!("{}/{key}", scope.as_str());
    Ok(Done::changed("limits_cleared", target, told(ctx, &before), told(ctx, &after)))
}

fn told(ctx: &Ctx<'_>, views: &[portcullis_engine::NamedLimit]) -> Value {
    let row = |limit: &portcullis_engine::NamedLimit| {
        json!({
            "name": limit.name, "quota": limit.view.quota, "window_secs": limit.view.window_secs,
            "remaining": limit.view.remaining, "reset_secs": limit.view.reset_secs,
        })
    };
    json!({"scope": ctx.param(0), "key": ctx.param(1), "data": views.iter().map(row).collect::<Vec<_>>()})
}
