//! What every format's decoding at the door shares: the bounds of a decoded request and the readers of single members.
//! Invariant: nothing is copied but names; what is wrong is told by the member's name and its rule, never by quoting it.
//! Source: gateway.md section 1.

use super::json;
use portcullis_domain::{Failure, InputCode, Role, TextPart};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::ops::Range;

/// Bounds of a decoded request. The figures are the gateway's contract with its callers.
#[derive(Clone, Copy, Debug)]
pub struct DecodeLimits {
    /// Most messages in a conversation.
    pub messages: usize,
    /// Most tools offered to the model.
    pub tools: usize,
    /// Deepest nesting of the body.
    pub depth: usize,
    /// Longest model name, in characters.
    pub model_chars: usize,
    /// Most texts to embed in one request.
    pub inputs: usize,
    /// Most answers to one request (`n`).
    pub answers: u32,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { messages: 2048, tools: 128, depth: 64, model_chars: 128, inputs: 2048, answers: 8 }
    }
}

/// Keeps an explicit `null` apart from an absent member: its place must be known, or splicing would add a second
/// member of the same name.
pub(super) fn raw<'de: 'a, 'a, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Treats an explicit `null` as absent: several official clients send it for every option they leave out.
pub(super) fn present(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

/// A required member that is not there.
pub(super) fn missing(param: &'static str) -> Failure {
    Failure::InvalidInput {
        code: InputCode::MissingParameter,
        message: format!("The member {param} is required.").into(),
        param: Some(param.into()),
    }
}

/// A member of that type; none when absent.
pub(super) fn optional<'a, T: Deserialize<'a>>(
    raw: Option<&'a RawValue>,
    param: &'static str,
    rule: &'static str,
) -> Result<Option<T>, Failure> {
    present(raw)
        .map(|raw| serde_json::from_str(raw.get()))
        .transpose()
        .map_err(|_| Failure::invalid(param, format!("{}: {rule}", param.trim_end_matches(':'))))
}

/// A whole number within bounds.
pub(super) fn whole(raw: &RawValue, param: &'static str, least: u32, most: u32) -> Result<u32, Failure> {
    let rule = || Failure::invalid(param, format!("{param} must be a whole number from {least} to {most}."));
    let value: u32 = serde_json::from_str(raw.get()).map_err(|_| rule())?;
    if (least..=most).contains(&value) { Ok(value) } else { Err(rule()) }
}

/// Checks a number that only the provider reads.
pub(super) fn number(
    raw: Option<&RawValue>,
    param: &'static str,
    least: f64,
    most: f64,
) -> Result<Option<f64>, Failure> {
    let Some(raw) = present(raw) else { return Ok(None) };
    match serde_json::from_str::<f64>(raw.get()) {
        Ok(value) if (least..=most).contains(&value) => Ok(Some(value)),
        Ok(_) | Err(_) => {
            Err(Failure::invalid(param, format!("{param} must be a number from {least} to {most}.")))
        }
    }
}

/// The model's name, and where it stands.
pub(super) fn model(
    body: &[u8],
    raw: Option<&RawValue>,
    limits: &DecodeLimits,
) -> Result<(String, Range<usize>), Failure> {
    let raw = present(raw).ok_or_else(|| missing("model"))?;
    let name: String =
        serde_json::from_str(raw.get()).map_err(|_| Failure::invalid("model", "model must be a string."))?;
    if name.is_empty() || name.chars().count() > limits.model_chars || name.chars().any(char::is_control) {
        let most = limits.model_chars;
        return Err(Failure::invalid("model", format!("model must be a name of 1 to {most} characters.")));
    }
    Ok((name, json::span(body, raw.get())))
}

/// A text that is none.
pub(super) fn broken_text(param: String) -> Failure {
    Failure::invalid(param, "the text must be a JSON string without unpaired surrogate escapes.")
}

/// The inside of a JSON string as a part; `None` when it is no string or holds an unpaired surrogate escape.
pub(super) fn text(body: &[u8], raw: &RawValue, role: Role) -> Option<TextPart> {
    let quoted = raw.get();
    let inside = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let escaped = json::escapes(inside).ok()?;
    Some(TextPart { role, span: json::span(body, inside), escaped })
}
