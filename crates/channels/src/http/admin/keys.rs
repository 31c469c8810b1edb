//! `/admin/v1/keys`: made, shown, changed, rotated, revoked. Invariant: a key's text is in the answer of its making or
//! rotation and nowhere else, the audit trail included.

use super::call::{Ctx, Done, Refused, typed};
use http::StatusCode;
use portcullis_domain::Failure;
use portcullis_engine::keys::{Definition, Issued, Record};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Longest overlap of a rotation, in seconds: 90 days.
const MAX_OVERLAP_SECS: u64 = 7_776_000;
const DEFAULT_OVERLAP_SECS: u64 = 86_400;
/// What a record says and nobody changes.
const FIXED: [&str; 5] = ["id", "first", "created_at", "revoked_at", "old_key_until"];

pub(super) async fn list(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    Ok(Done::shown(json!({"data": ctx.door.keys.list().await?})))
}

pub(super) async fn show(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    Ok(Done::shown(value(&ctx.door.keys.record(ctx.param(0)).await?)))
}

pub(super) async fn create(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let definition: Definition = ctx.read()?;
    under_a_policy(ctx, &definition)?;
    let issued = ctx.door.keys.make(definition).await?;
    Ok(told("key_created", Value::Null, &issued, StatusCode::CREATED))
}

/// A key under a policy that nobody configured would be refused whatever it asks.
fn under_a_policy(ctx: &Ctx<'_>, definition: &Definition) -> Result<(), Refused> {
    match &definition.bounds.policy {
        Some(name) if !ctx.door.engine.has_policy(name) => {
            Err(Failure::invalid("policy", "policy must be one of the configured guard policies.").into())
        }
        Some(_) | None => Ok(()),
    }
}

/// A merge patch (RFC 7396) over what can be changed.
pub(super) async fn change(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let Value::Object(wanted) = ctx.body() else {
        return Err(Failure::invalid("body", "The body must be an object with what is to change.").into());
    };
    let id = ctx.param(0);
    let before = value(&ctx.door.keys.record(id).await?);
    let mut definition = before.clone();
    if let Value::Object(members) = &mut definition {
        for name in FIXED {
            members.remove(name);
        }
        for (name, value) in wanted {
            if value.is_null() {
                members.remove(name);
            } else {
                members.insert(name.clone(), value.clone());
            }
        }
    }
    let definition: Definition = typed(definition)?;
    under_a_policy(ctx, &definition)?;
    let after = ctx.door.keys.redefine(id, definition).await?;
    Ok(Done::changed("key_changed", id, before, value(&after)))
}

pub(super) async fn revoke(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let id = ctx.param(0);
    let before = value(&ctx.door.keys.record(id).await?);
    if !ctx.door.keys.revoke(id).await? {
        return Err(Failure::NotFound("There is no such key, or it is revoked already.".into()).into());
    }
    Ok(Done::changed("key_revoked", id, before, json!({"id": id, "revoked": true})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    #[serde(default = "default_overlap")]
    overlap_secs: u64,
}

const fn default_overlap() -> u64 {
    DEFAULT_OVERLAP_SECS
}

pub(super) async fn rotate(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let Rotate { overlap_secs } = ctx.read()?;
    if overlap_secs > MAX_OVERLAP_SECS {
        let words = format!("overlap_secs is at most {MAX_OVERLAP_SECS}.");
        return Err(Failure::invalid("overlap_secs", words).into());
    }
    let id = ctx.param(0);
    let before = value(&ctx.door.keys.record(id).await?);
    let issued = ctx.door.keys.rotate(id, Duration::from_secs(overlap_secs)).await?;
    Ok(told("key_rotated", before, &issued, StatusCode::OK))
}

/// The proof holds the record, the answer the key too.
fn told(kind: &'static str, before: Value, issued: &Issued, status: StatusCode) -> Done {
    let record = value(&issued.record);
    let mut answer = record.clone();
    answer["key"] = issued.key.expose_secret().into();
    Done::changed(kind, issued.record.id.clone(), before, record).answering(status, answer)
}

fn value(record: &Record) -> Value {
    serde_json::to_value(record).unwrap_or_default()
}
