//! `/admin/v1/backups`: backups of this server's state, listed, made, looked into. What is in them is never shown, nor where they
//! lie. Putting one back ends the server, so it is no call: `portcullis restore` does it, and `/restore_backup` in a chat.
//!
//! Source: news.md section 11, S1-10.

use super::call::{Ctx, Done, Refused};
use http::StatusCode;
use portcullis_domain::Failure;
use portcullis_store::{BackupDesk, BackupInfo, StoreError};
use serde_json::{Value, json};
use std::time::Duration;

/// When a disk may have room again.
const RETRY: Duration = Duration::from_secs(60);

pub(super) async fn list(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let all = desk(ctx)?.list().await.map_err(|error| failed(&error))?;
    Ok(Done::shown(json!({"data": all.iter().map(shown).collect::<Vec<_>>()})))
}

pub(super) async fn make(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let made = desk(ctx)?.make().await.map_err(|error| failed(&error))?;
    let rows: u64 = made.rows.values().sum();
    let after = json!({"name": made.name, "at": made.at, "bytes": made.bytes, "rows": rows});
    Ok(Done::changed("backup_made", made.name, json!(null), after.clone())
        .answering(StatusCode::CREATED, after))
}

pub(super) async fn verify(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let none = || Failure::NotFound("There is no backup of that name; /admin/v1/backups lists them.".into());
    let found = desk(ctx)?.verify(ctx.param(0)).await.ok_or_else(none)?;
    Ok(Done::changed("backup_verified", found.name.clone(), json!(null), shown(&found)))
}

fn desk(ctx: &Ctx<'_>) -> Result<BackupDesk, Failure> {
    let words = "This server keeps its state in PostgreSQL, which is backed up with its own tools, or by the command \
                 `portcullis backup`. Nothing was done.";
    ctx.door.engine.backups().ok_or_else(|| Failure::Conflict(words.into()))
}

fn shown(info: &BackupInfo) -> Value {
    let mut value = json!({
        "name": info.name, "at": info.at, "bytes": info.bytes, "users": info.users, "folders": info.folders,
        "valid": info.problem.is_none(),
    });
    if let Some(problem) = &info.problem {
        value["problem"] = problem.as_str().into();
    }
    value
}

/// The log says why: an error of the disk names paths.
fn failed(error: &StoreError) -> Failure {
    tracing::error!(%error, "a call about backups failed");
    Failure::Unavailable { retry_after: RETRY, rate_limited: false }
}
