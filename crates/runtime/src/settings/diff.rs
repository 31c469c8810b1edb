//! What differs between two settings, key by key, and which of it a running process can take in. Invariant: a key
//! that no row names needs a restart, so a new setting is never said to be in force when it is not.
//!
//! Source: gateway.md section 14.

use super::{Origin, Settings};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Keys that a reload puts in force; a row covers what lies below it.
const RELOADED: [&str; 24] = [
    "actions",
    "ask",
    "auth.jwt",
    "cache",
    "config",
    "embed",
    "extract",
    "gateway",
    "http.anonymous",
    "http.body_timeout_secs",
    "inspect",
    "policies",
    "limits.global",
    "limits.ip",
    "limits.user",
    "metrics",
    "models",
    "news",
    "providers",
    "routes",
    "schedule",
    "secrets",
    "tiers",
    "upstream",
];

/// Dotted key -> value, for every value that is no table. Lists are values as a whole.
pub(crate) fn flat(settings: &Settings) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    if let Ok(Value::Object(members)) = serde_json::to_value(settings) {
        spread("", &members, &mut out);
    }
    out
}

fn spread(prefix: &str, members: &Map<String, Value>, out: &mut BTreeMap<String, Value>) {
    for (name, value) in members {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Object(inner) if !inner.is_empty() => spread(&key, inner, out),
            Value::Object(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                out.insert(key, value.clone());
            }
        }
    }
}

/// Keys whose values differ.
pub(crate) fn changed(before: &Settings, after: &Settings) -> BTreeSet<String> {
    let (before, after) = (flat(before), flat(after));
    let keys = before.keys().chain(after.keys());
    keys.filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

/// Whether a reload puts this key in force.
pub(crate) fn is_reloaded(key: &str) -> bool {
    RELOADED
        .iter()
        .any(|row| key.strip_prefix(row).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// The settings, each value with where it was said, and whether it waits for a restart. Values pass redaction: a
/// secret has no place here, and one in the wrong place is not shown.
pub(crate) fn shown(
    settings: &Settings,
    origins: &BTreeMap<String, Origin>,
    waiting: &BTreeSet<String>,
) -> Vec<Value> {
    let rows = flat(settings).into_iter();
    rows.map(|(key, value)| {
        let source = said(&key, origins).map_or_else(|| Origin::Default.to_string(), Origin::to_string);
        let mut row = json!({"key": key, "value": redacted(value), "source": source});
        if waiting.contains(&key) {
            row["restart_needed"] = true.into();
        }
        row
    })
    .collect()
}

/// Where a key was said: itself, or a list or table it belongs to.
fn said<'a>(key: &str, origins: &'a BTreeMap<String, Origin>) -> Option<&'a Origin> {
    let inside = |known: &&String| known.strip_prefix(key).is_some_and(|rest| rest.starts_with(['[', '.']));
    origins.get(key).or_else(|| origins.keys().find(inside).and_then(|known| origins.get(known)))
}

fn redacted(value: Value) -> Value {
    match value {
        Value::String(text) => crate::redact(&text).into_owned().into(),
        Value::Array(items) => items.into_iter().map(redacted).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, redacted(value))).collect::<Map<_, _>>().into()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reloaded_row_is_a_key_and_a_prefix_of_a_name_is_none() {
        let keys = flat(&Settings::default());
        for row in RELOADED {
            let found = keys.keys().any(|key| key == row || key.starts_with(&format!("{row}.")));
            assert!(found, "{row} is no key");
        }
        assert!(is_reloaded("limits.global.capacity") && is_reloaded("routes"));
        for restart in
            ["limits.max_keys", "http.listen", "store.url", "data_dir", "metricsx", "server.drain_secs"]
        {
            assert!(!is_reloaded(restart), "{restart}");
        }
    }

    #[test]
    fn what_differs_is_named_by_its_whole_key() {
        let before = Settings::default();
        let mut after = before.clone();
        after.gateway.timeout_secs = 7;
        after.http.listen = "127.0.0.1:1".into();
        let found: Vec<_> = changed(&before, &after).into_iter().collect();
        assert_eq!(found, ["gateway.timeout_secs", "http.listen"]);
    }
}
