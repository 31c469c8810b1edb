//! The model list in the caller's format: the names this caller may use, routes first. The extra member `portcullis`
//! tells what stands behind each. Source: the API references of OpenAI ("List models") and Google ("models.list").

use super::routes::{Route, Routes, not_allowed, not_found};
use bytes::Bytes;
use portcullis_domain::{Caller, Failure, Format, ModelsRequest};
use portcullis_providers::{Capability, ModelKind};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Every name, or the one asked for.
///
/// # Errors
/// `ModelNotAllowed` for a name that this key may not use, `NotFound` for one that is none.
pub(crate) fn models(routes: &Routes, caller: &Caller, wanted: &ModelsRequest) -> Result<Bytes, Failure> {
    let entry = match wanted.format {
        Format::OpenAi | Format::Responses | Format::Anthropic => entry,
        Format::Gemini => gemini_entry,
    };
    let mut named = routes.named(caller);
    let answer = match (wanted.id.as_deref(), wanted.format) {
        (None, format) => {
            let visible = named.filter(|(name, ..)| caller.may_use(name));
            let all: Value = visible.map(|(name, route, is_route)| entry(name, route, is_route)).collect();
            match format {
                Format::OpenAi | Format::Responses | Format::Anthropic => {
                    json!({ "object": "list", "data": all })
                }
                Format::Gemini => json!({ "models": all }),
            }
        }
        (Some(id), _) => {
            let (name, route, is_route) = named
                .find(|(name, ..)| *name == id)
                .ok_or_else(|| not_found(id, "does not exist or is not for this key"))?;
            if !caller.may_use(name) {
                return Err(not_allowed(name));
            }
            entry(name, route, is_route)
        }
    };
    Ok(answer.to_string().into())
}

/// An entry in Google's shape.
fn gemini_entry(name: &str, route: &Route, is_route: bool) -> Value {
    let mut entry = entry(name, route, is_route);
    let about = entry["portcullis"].take();
    let verbs: &[&str] = match route.kind {
        ModelKind::Chat => &["generateContent", "streamGenerateContent", "countTokens"],
        ModelKind::Embed => &["embedContent", "batchEmbedContents"],
    };
    let mut out = json!({
        "name": format!("models/{name}"), "version": "", "displayName": name,
        "supportedGenerationMethods": verbs,
    });
    for (member, limit) in [("inputTokenLimit", "context"), ("outputTokenLimit", "max_output")] {
        if let Some(limit) = about.get(limit) {
            out[member] = limit.clone();
        }
    }
    out["portcullis"] = about;
    out
}

fn entry(name: &str, route: &Route, is_route: bool) -> Value {
    let models = || route.targets.iter().map(|target| &target.model);
    let owner = match route.targets.first() {
        Some(target) if !is_route => target.provider.name(),
        Some(_) | None => "portcullis",
    };
    let mut about = json!({ "route": is_route, "kind": route.kind.as_str(), "state": state(route) });
    if route.kind == ModelKind::Chat {
        // A request goes to a target that can do what it needs, so one is enough.
        let able = |capability: &Capability| models().any(|model| !model.lacks.contains(capability));
        about["capabilities"] =
            Capability::ALL.into_iter().filter(able).map(Capability::as_str).collect::<Vec<_>>().into();
    }
    for (member, value) in [
        ("context", models().filter_map(|model| model.context).max()),
        ("max_output", models().filter_map(|model| model.max_output).max()),
        ("dimensions", models().next().and_then(|model| model.dimensions)),
    ] {
        if let Some(value) = value {
            about[member] = json!(value);
        }
    }
    // Names are ours and have no date of birth; clients want a number.
    json!({ "id": name, "object": "model", "created": 0, "owned_by": owner, "portcullis": about })
}

/// Whether it answers now.
fn state(route: &Route) -> &'static str {
    let now = Instant::now();
    let ready = (0..route.targets.len()).any(|index| route.readiness(index, now).is_zero());
    match (route.stand_in, ready) {
        (true, _) => "no-provider",
        (false, true) => "ready",
        (false, false) => "unavailable",
    }
}
