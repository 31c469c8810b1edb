//! `portcullis keys …`: API keys, through the admin API of the running server, so that every change takes the one
//! guarded and audited path.

use super::{Ended, block_on, server, settings, trouble};
use crate::{
    cli::{KeyCreate, Keys},
    output::{BOLD, DIM, GOOD, line},
};
use http::Method;
use portcullis_runtime::{remote::Listener, settings::Sources};
use serde_json::{Value, json};
use std::{process::ExitCode, time::Duration};

/// How long an admin call may take.
const WITHIN: Duration = Duration::from_secs(30);

pub(super) fn run(sources: &Sources, command: &Keys, json: bool) -> Ended {
    let settings = settings(sources)?.settings;
    let server = server(&settings, sources, Listener::Admin)?;
    let (method, path, body) = match command {
        Keys::Create(wanted) => (Method::POST, "/admin/v1/keys".to_owned(), Some(create_body(wanted))),
        Keys::List => (Method::GET, "/admin/v1/keys".to_owned(), None),
        Keys::Revoke { id } => (Method::DELETE, format!("/admin/v1/keys/{}", plain_id(id)?), None),
    };
    let answer = block_on(async {
        server.call(method, &path, body.as_ref(), WITHIN).await.map_err(|error| trouble(&server, error))
    })?;
    if json {
        line(answer);
        return Ok(ExitCode::SUCCESS);
    }
    match command {
        Keys::Create(_) => {
            line(format_args!("{DIM}Shown once; the server keeps only a keyed hash.{DIM:#}"));
            line(text(&answer, "key"));
        }
        Keys::List => list(&answer),
        Keys::Revoke { id } => line(format_args!(
            "{GOOD}revoked{GOOD:#} {id}: refused within a second where Redis is shared, else within ten"
        )),
    }
    Ok(ExitCode::SUCCESS)
}

fn create_body(wanted: &KeyCreate) -> Value {
    let mut body = json!({"name": wanted.name, "tier": wanted.tier, "scopes": wanted.scopes});
    if let Some(days) = wanted.days {
        let hours = i64::from(days) * 24;
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
        body["expires_at"] = end.to_string().into();
    }
    body
}

/// Ids are letters and digits; anything else would change the path that is called.
fn plain_id(id: &str) -> Result<&str, crate::output::Trouble> {
    // People paste the whole key's beginning: the id is the middle part.
    let id = id.strip_prefix("pcl_").unwrap_or(id);
    if !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(id);
    }
    Err(crate::output::Trouble::usage("that is no key id").mend(
        "give the middle part of `pcl_<id>_…`, as `portcullis keys list` shows it; never the whole key",
    ))
}

fn list(answer: &Value) {
    let keys = answer["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    if keys.is_empty() {
        line("no keys");
        return;
    }
    line(format_args!("{BOLD}{:<14} {:<24} {:<14} {:<10} scopes{BOLD:#}", "id", "name", "tier", "state"));
    for key in keys {
        let scopes: Vec<&str> =
            key["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let state = if key["revoked_at"].is_null() { "active" } else { "revoked" };
        line(format_args!(
            "{:<14} {:<24} {:<14} {:<10} {}",
            text(key, "id"),
            text(key, "name"),
            text(key, "tier"),
            state,
            scopes.join(",")
        ));
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_id_can_never_change_the_path_that_is_called() {
        assert_eq!(plain_id("pcl_5f1c2a9b").unwrap(), "5f1c2a9b");
        for wrong in ["", "..", "a/b", "a?b", "pcl_5f1c_SECRETPART", "a%2fb"] {
            assert!(plain_id(wrong).is_err(), "{wrong}");
        }
    }
}
