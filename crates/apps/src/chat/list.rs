//! The model list in OpenAI's shape: the names this caller may use, routes first. The extra member `portcullis` tells
//! what stands behind each.

use super::routes::{Route, Routes, not_found};
use bytes::Bytes;
use portcullis_domain::{Caller, Failure};
use portcullis_providers::Capability;
use serde_json::{Value, json};

/// Every name, or the one asked for.
///
/// # Errors
/// `NotFound` for a name this caller does not have.
pub(crate) fn models(routes: &Routes, caller: &Caller, id: Option<&str>) -> Result<Bytes, Failure> {
    let mut entries = routes.visible(caller).map(|(name, route, is_route)| entry(name, route, is_route));
    let answer = match id {
        None => json!({ "object": "list", "data": entries.collect::<Vec<_>>() }),
        Some(id) => entries
            .find(|entry| entry["id"] == id)
            .ok_or_else(|| not_found(id, "does not exist or is not for this key"))?,
    };
    Ok(answer.to_string().into())
}

fn entry(name: &str, route: &Route, is_route: bool) -> Value {
    let first = route.targets.first();
    let owner = match first {
        Some(target) if !is_route => target.provider.name(),
        Some(_) | None => "portcullis",
    };
    let lacks: Vec<&str> =
        first.map(|target| target.model.lacks.iter().map(|lack| lack.as_str()).collect()).unwrap_or_default();
    let able: Vec<&str> =
        Capability::ALL.iter().map(|able| able.as_str()).filter(|able| !lacks.contains(able)).collect();
    let mut about = json!({
        "route": is_route,
        "kind": route.kind.as_str(),
        "state": if route.stand_in { "no-provider" } else { "ready" },
    });
    if route.kind == portcullis_providers::ModelKind::Chat {
        about["capabilities"] = json!(able);
    }
    for (member, value) in [
        ("context", first.and_then(|target| target.model.context)),
        ("max_output", first.and_then(|target| target.model.max_output)),
        ("dimensions", first.and_then(|target| target.model.dimensions)),
    ] {
        if let Some(value) = value {
            about[member] = json!(value);
        }
    }
    // Names are ours and have no date of birth; clients want a number.
    json!({ "id": name, "object": "model", "created": 0, "owned_by": owner, "portcullis": about })
}
