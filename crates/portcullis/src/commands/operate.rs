//! Commands that look at and change a running server through its admin API, so that every change takes the one guarded
//! and audited path. Each is a call and the columns of its answer.

use super::{Ended, block_on, server, settings, trouble};
use crate::{
    cli::{
        Breaker, Budgets, Exceptions, KeyBounds, KeyCreate, KeyUpdate, Keys, Limits, Outbox, Safety, Usage,
    },
    output::{BOLD, DIM, GOOD, Trouble, line},
};
use http::Method;
use portcullis_runtime::{remote::Listener, settings::Sources};
use serde_json::{Map, Value, json};
use std::{process::ExitCode, time::Duration};

/// How long an admin call may take.
const WITHIN: Duration = Duration::from_secs(30);

/// What is asked of the server, and how the answer is shown.
pub(super) struct Ask {
    method: Method,
    path: String,
    body: Option<Value>,
    show: Show,
}

/// How an answer is shown to people.
enum Show {
    /// Rows of `data`, these members of each.
    Table(&'static [&'static str]),
    /// The same with the columns that were asked for before them.
    Grouped(Vec<String>),
    /// The text of a key.
    Key,
    /// One sentence.
    Said(String),
    /// What a reload came to.
    Reload,
}

impl Ask {
    fn get(path: impl Into<String>, columns: &'static [&'static str]) -> Self {
        Self { method: Method::GET, path: path.into(), body: None, show: Show::Table(columns) }
    }

    fn post(path: impl Into<String>, body: Value, show: Show) -> Self {
        Self { method: Method::POST, path: path.into(), body: Some(body), show }
    }

    fn delete(path: impl Into<String>, show: Show) -> Self {
        Self { method: Method::DELETE, path: path.into(), body: None, show }
    }

    /// `keys …`.
    pub(super) fn keys(command: &Keys) -> Result<Self, Trouble> {
        const COLUMNS: &[&str] = &["id", "name", "tier", "scopes", "team", "expires_at", "revoked_at"];
        Ok(match command {
            Keys::Create(wanted) => Self::post("/admin/v1/keys", create_body(wanted)?, Show::Key),
            Keys::List => Self::get("/admin/v1/keys", COLUMNS),
            Keys::Update(wanted) => Self {
                method: Method::PATCH,
                path: format!("/admin/v1/keys/{}", plain_id(&wanted.id)?),
                body: Some(update_body(wanted)?),
                show: said("changed", &wanted.id),
            },
            Keys::Rotate { id, overlap_hours } => {
                let path = format!("/admin/v1/keys/{}/rotate", plain_id(id)?);
                Self::post(path, json!({"overlap_secs": overlap_hours * 3600}), Show::Key)
            }
            Keys::Revoke { id } => {
                let what = "revoked; refused within a second where Redis is shared, else within ten:";
                Self::delete(format!("/admin/v1/keys/{}", plain_id(id)?), said(what, id))
            }
        })
    }

    /// `limits …`.
    pub(super) fn limits(command: &Limits) -> Self {
        const COLUMNS: &[&str] = &["name", "quota", "window_secs", "remaining", "reset_secs"];
        let (Limits::Show(of) | Limits::Clear(of)) = command;
        let path = format!("/admin/v1/limits/{}/{}", of.scope, segment(&of.subject));
        match command {
            Limits::Show(_) => Self::get(path, COLUMNS),
            Limits::Clear(_) => Self::delete(path, said("forgotten what was used by", &of.subject)),
        }
    }

    /// `breaker …`.
    pub(super) fn breaker(command: &Breaker) -> Self {
        let set = |name: &str, state: &str| {
            let path = format!("/admin/v1/providers/{}/breaker", segment(name));
            Self::post(path, json!({"state": state}), said(&format!("breaker set to {state}:"), name))
        };
        match command {
            Breaker::Open(of) => set(&of.name, "open"),
            Breaker::Close(of) => set(&of.name, "close"),
            Breaker::Auto(of) => set(&of.name, "auto"),
            Breaker::Release(of) => {
                let path = format!("/admin/v1/providers/{}/hold", segment(&of.name));
                Self::delete(path, said("released", &of.name))
            }
        }
    }

    /// `providers`.
    pub(super) fn providers() -> Self {
        const COLUMNS: &[&str] =
            &["name", "breaker", "held", "paused", "resumes_in_secs", "in_use", "waiting", "capacity"];
        Self::get("/admin/v1/providers", COLUMNS)
    }

    /// `anomalies`.
    pub(super) fn anomalies() -> Self {
        const COLUMNS: &[&str] = &["at", "kind", "caller", "tier", "outcome", "details", "request_id"];
        Self::get("/admin/v1/anomalies?limit=50", COLUMNS)
    }

    /// `routes`.
    pub(super) fn routes() -> Self {
        Self::get("/admin/v1/routes", &["name", "kind", "sticky", "policy", "cache", "targets"])
    }

    /// `budgets …`.
    pub(super) fn budgets(command: &Budgets) -> Result<Self, Trouble> {
        const COLUMNS: &[&str] = &[
            "budget",
            "scope",
            "window",
            "subject",
            "tokens",
            "spent_tokens",
            "micros",
            "spent_micros",
            "left",
        ];
        Ok(match command {
            Budgets::List => Self::get("/admin/v1/budgets", COLUMNS),
            Budgets::Set { name, scope, window, tokens, usd, action } => {
                let body = json!({"scope": scope, "window": window, "tokens": tokens, "money_usd": usd, "action": action});
                let path = format!("/admin/v1/budgets/{}", segment(name));
                Self { method: Method::PUT, path, body: Some(body), show: said("redefined:", name) }
            }
            Budgets::Reset { name } => {
                let path = format!("/admin/v1/budgets/{}", segment(name));
                Self::delete(path, said("as in the settings:", name))
            }
            Budgets::Raise { name, subject, tokens, usd } => {
                let body = json!({"subject": subject, "tokens": tokens, "money_usd": usd});
                let path = format!("/admin/v1/budgets/{}/raise", segment(name));
                Self::post(path, body, said("raised for the rest of its window:", name))
            }
            Budgets::Reprice { target, from, to, input, cached_input, output } => {
                let (provider, model) = target
                    .split_once('/')
                    .ok_or_else(|| Trouble::usage("that is no target").mend("write it as provider/model"))?;
                let mut body = json!({"provider": provider, "model": model, "from": from, "to": to,
                                      "input_usd": input, "output_usd": output});
                if let Some(cached) = cached_input {
                    body["cached_input_usd"] = (*cached).into();
                }
                Self::post("/admin/v1/budgets/reprice", body, said("computed again:", target))
            }
        })
    }

    /// `usage`.
    pub(super) fn usage(wanted: &Usage) -> Self {
        let mut path = format!("/admin/v1/usage?group_by={}", segment(&wanted.by));
        for (name, value) in [("from", &wanted.from), ("to", &wanted.to)] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", segment(value)));
            }
        }
        let groups = wanted.by.split(',').map(str::trim).map(str::to_owned).collect();
        Self { method: Method::GET, path, body: None, show: Show::Grouped(groups) }
    }

    /// `safety …`.
    pub(super) fn safety(command: &Safety) -> Self {
        const PATH: &str = "/admin/v1/safety-overrides";
        const COLUMNS: &[&str] = &["provider", "category", "threshold", "until", "by", "reason"];
        match command {
            Safety::List => Self::get(PATH, COLUMNS),
            Safety::Override(wanted) => {
                let body = json!({
                    "provider": wanted.provider, "category": wanted.category, "threshold": wanted.threshold,
                    "for_secs": wanted.time, "reason": wanted.reason, "i_understand": wanted.i_understand,
                });
                Self::post(PATH, body, said("counts from the next call on:", &wanted.category))
            }
            Safety::End { provider, category } => {
                let path = format!("{PATH}/{}/{}", segment(provider), segment(category));
                Self::delete(path, said("ended", category))
            }
        }
    }

    /// `exceptions …`.
    pub(super) fn exceptions(command: &Exceptions) -> Result<Self, Trouble> {
        const PATH: &str = "/admin/v1/exceptions";
        const COLUMNS: &[&str] = &["id", "caller", "sha256", "until", "by", "reason"];
        Ok(match command {
            Exceptions::List => Self::get(PATH, COLUMNS),
            Exceptions::Grant(wanted) => {
                let text = match wanted.text.as_deref() {
                    Some("-") => Some(std::io::read_to_string(std::io::stdin()).map_err(|error| {
                        Trouble::usage(format!("standard input cannot be read: {error}"))
                    })?),
                    given => given.map(str::to_owned),
                };
                let body = json!({
                    "caller": wanted.caller, "text": text, "sha256": wanted.sha256, "for_secs": wanted.time,
                    "reason": wanted.reason,
                });
                Self::post(
                    PATH,
                    body,
                    said("granted; `portcullis exceptions list` shows it:", &wanted.reason),
                )
            }
            Exceptions::End { id } => Self::delete(format!("{PATH}/{}", segment(id)), said("ended", id)),
        })
    }

    /// `outbox …`.
    pub(super) fn outbox(command: &Outbox) -> Self {
        const COLUMNS: &[&str] = &["id", "door", "chat", "state", "created_at", "attempts", "reason"];
        match command {
            Outbox::List { state: None } => Self::get("/admin/v1/outbox", COLUMNS),
            Outbox::List { state: Some(state) } => {
                Self::get(format!("/admin/v1/outbox?state={}", segment(state)), COLUMNS)
            }
            Outbox::Retry { id } => Self::post(
                format!("/admin/v1/outbox/{id}/retry"),
                Value::Null,
                said("queued again:", &id.to_string()),
            ),
        }
    }

    /// `send`.
    pub(super) fn send(to: &str, text: &str, silent: bool) -> Result<Self, Trouble> {
        let text = if text == "-" {
            std::io::read_to_string(std::io::stdin())
                .map_err(|error| Trouble::usage(format!("standard input cannot be read: {error}")))?
        } else {
            text.to_owned()
        };
        let body = json!({"to": to, "text": text, "silent": silent});
        Ok(Self::post("/admin/v1/outbox", body, said("queued for", to)))
    }

    /// `reload`.
    pub(super) fn reload() -> Self {
        Self::post("/admin/v1/config/reload", Value::Null, Show::Reload)
    }

    /// `drain`.
    pub(super) fn drain() -> Self {
        let words =
            "nothing new is taken; the server ends when running answers have, or when their time is over";
        Self::post("/admin/v1/drain", Value::Null, Show::Said(words.to_owned()))
    }

    /// Asks and shows.
    pub(super) fn run(self, sources: &Sources, json: bool) -> Ended {
        let settings = settings(sources)?.settings;
        let server = server(&settings, sources, Listener::Admin)?;
        let body = self.body.as_ref().filter(|body| !body.is_null());
        let answer = block_on(async {
            let called = server.call(self.method, &self.path, body, WITHIN).await;
            called.map_err(|error| trouble(&server, error))
        })?;
        if json {
            line(answer);
            return Ok(ExitCode::SUCCESS);
        }
        match &self.show {
            Show::Table(columns) => table(&answer, columns),
            Show::Grouped(groups) => {
                let sums = ["requests", "input", "cached", "output", "micros", "estimated", "unpriced"];
                let columns: Vec<&str> = groups.iter().map(String::as_str).chain(sums).collect();
                table(&answer, &columns);
            }
            Show::Key => {
                line(format_args!("{DIM}Shown once; the server keeps only a keyed hash.{DIM:#}"));
                line(answer["key"].as_str().unwrap_or("-"));
            }
            Show::Said(words) => line(format_args!("{GOOD}done{GOOD:#} {words}")),
            Show::Reload => reloaded(&answer),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn said(what: &str, whom: &str) -> Show {
    Show::Said(format!("{what} {whom}"))
}

fn reloaded(answer: &Value) {
    let words = |name: &str| {
        let keys = answer[name].as_array().into_iter().flatten().filter_map(Value::as_str);
        keys.collect::<Vec<_>>().join(", ")
    };
    let (changed, waiting) = (words("changed"), words("restart_needed"));
    line(format_args!(
        "{GOOD}reloaded{GOOD:#} {}",
        if changed.is_empty() { "nothing changed" } else { &changed }
    ));
    if !waiting.is_empty() {
        line(format_args!("{BOLD}in force after a restart only:{BOLD:#} {waiting}"));
    }
}

/// Columns as wide as their widest cell.
fn table(answer: &Value, columns: &[&str]) {
    let rows = answer["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        line("none");
        return;
    }
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|name| cell(&row[*name])).collect()).collect();
    let width = |place: usize| {
        let widest = cells.iter().filter_map(|row| row.get(place)).map(|cell| cell.chars().count()).max();
        widest.unwrap_or(0).max(columns.get(place).map_or(0, |name| name.len()))
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let row = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    line(format_args!("{BOLD}{}{BOLD:#}", row(&mut columns.iter().copied())));
    for cells in &cells {
        line(row(&mut cells.iter().map(String::as_str)));
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items = items.iter().map(|item| cell(item.get("target").unwrap_or(item)));
            items.collect::<Vec<_>>().join(",")
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

fn create_body(wanted: &KeyCreate) -> Result<Value, Trouble> {
    let mut body = bounds(&wanted.bounds)?;
    body.insert("name".into(), wanted.name.as_str().into());
    body.insert("tier".into(), wanted.tier.as_str().into());
    body.insert("scopes".into(), json!(wanted.scopes));
    Ok(body.into())
}

fn update_body(wanted: &KeyUpdate) -> Result<Value, Trouble> {
    let mut body = bounds(&wanted.bounds)?;
    for (name, value) in [("name", &wanted.name), ("tier", &wanted.tier)] {
        if let Some(value) = value {
            body.insert(name.into(), value.as_str().into());
        }
    }
    if !wanted.scopes.is_empty() {
        body.insert("scopes".into(), json!(wanted.scopes));
    }
    body.extend(wanted.take_away.iter().map(|name| (name.clone(), Value::Null)));
    if body.is_empty() {
        return Err(
            Trouble::usage("nothing is to change").mend("name something: `portcullis keys update --help`")
        );
    }
    Ok(body.into())
}

/// Only what was said.
fn bounds(wanted: &KeyBounds) -> Result<Map<String, Value>, Trouble> {
    let mut body = Map::new();
    if let Some(days) = wanted.days {
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(i64::from(days) * 24);
        body.insert("expires_at".into(), end.to_string().into());
    }
    for (name, list) in [("routes", &wanted.routes), ("addresses", &wanted.addresses)] {
        if !list.is_empty() {
            body.insert(name.into(), json!(list));
        }
    }
    for (name, text) in [("team", &wanted.team), ("user", &wanted.user), ("policy", &wanted.policy)] {
        if let Some(text) = text {
            body.insert(name.into(), text.as_str().into());
        }
    }
    for (name, limit) in [("rpm", wanted.rpm), ("tpm", wanted.tpm)] {
        if let Some(limit) = limit {
            body.insert(name.into(), limit.into());
        }
    }
    if !wanted.labels.is_empty() {
        let labels: Map<String, Value> =
            wanted.labels.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        body.insert("labels".into(), labels.into());
    }
    if !wanted.budgets.is_empty() {
        let budget = |(window, usd): &(String, String)| {
            let usd: f64 = usd.parse().map_err(|_| {
                Trouble::usage("a budget is not in dollars").mend("write it as day=5 or month=99.50")
            })?;
            Ok(json!({"window": window, "money_usd": usd}))
        };
        let budgets = wanted.budgets.iter().map(budget).collect::<Result<Vec<_>, Trouble>>()?;
        body.insert("budgets".into(), budgets.into());
    }
    Ok(body)
}

/// Ids are letters and digits; anything else would change the path that is called.
fn plain_id(id: &str) -> Result<&str, Trouble> {
    // People paste the whole key's beginning: the id is the middle part.
    let id = id.strip_prefix("pcl_").unwrap_or(id);
    if !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(id);
    }
    Err(Trouble::usage("that is no key id").mend(
        "give the middle part of `pcl_<id>_…`, as `portcullis keys list` shows it; never the whole key",
    ))
}

/// One segment of a path, or a value of a query: what is not plain is percent-encoded.
fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric()
            || b"-_~:,".contains(&byte)
            || (byte == b'.' && text != "." && text != "..")
        {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
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
        assert_eq!(segment("jwt:a/../b?c"), "jwt:a%2F..%2Fb%3Fc");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
