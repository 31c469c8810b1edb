//! OpenAI wire in: what must be known of a body is read from the borrowed bytes in one pass; nothing is copied and
//! nothing re-serialised. Invariant: what leaves here is valid JSON, within every bound of `DecodeLimits`, and all
//! spans lie on the caller's own bytes. Members we do not know are kept for the provider to judge.
//!
//! Source: gateway.md section 1 (bounds) and section 8 (same wire in and out); RFC 8259.

mod plain;

use super::super::{
    decode::{DecodeLimits, broken_text, missing, model, number, optional, present, raw, text, whole},
    json,
};
use bytes::Bytes;
use portcullis_domain::{
    ChatRequest, EmbedInput, EmbedRequest, Encoding, Failure, Format, InputCode, Needs, Role, TextPart,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

#[derive(Deserialize)]
#[serde(bound(deserialize = "M: Deserialize<'de>"))]
struct ChatBody<'a, M> {
    #[serde(borrow, default, deserialize_with = "raw")]
    model: Option<&'a RawValue>,
    messages: Option<M>,
    #[serde(borrow, default, deserialize_with = "raw")]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    n: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    tools: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    response_format: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    temperature: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    seed: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    top_p: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    presence_penalty: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    frequency_penalty: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessageBody<'a> {
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "raw")]
    content: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    function_call: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct PartBody<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "raw")]
    text: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct EmbedBody<'a> {
    #[serde(borrow, default, deserialize_with = "raw")]
    model: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    input: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    encoding_format: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    dimensions: Option<&'a RawValue>,
}

/// Reads a body of `POST /v1/chat/completions`.
///
/// # Errors
/// `Failure::InvalidInput` naming the member at fault.
pub(in crate::http) fn chat(body: Bytes, limits: &DecodeLimits) -> Result<ChatRequest, Failure> {
    plain::chat(&body, limits).map_or_else(|| general(&body, limits), Ok)
}

fn general(body: &Bytes, limits: &DecodeLimits) -> Result<ChatRequest, Failure> {
    json::check_depth(body, limits.depth)?;
    // Once over the body. One that fails is read again, first without its messages, to say what is wrong with it.
    if let Ok(peek) = serde_json::from_slice::<ChatBody<'_, Vec<MessageBody<'_>>>>(body) {
        return checked(body, peek, limits, Ok);
    }
    checked(body, json::parse::<ChatBody<'_, &RawValue>>(body)?, limits, |raw| {
        serde_json::from_str(raw.get())
            .map_err(|_| Failure::invalid("messages", "messages must be an array of objects with a role."))
    })
}

fn checked<'a, M>(
    body: &'a Bytes,
    peek: ChatBody<'a, M>,
    limits: &DecodeLimits,
    read: impl FnOnce(M) -> Result<Vec<MessageBody<'a>>, Failure>,
) -> Result<ChatRequest, Failure> {
    let (model, model_span) = model(body, peek.model, limits)?;
    let messages = peek.messages.ok_or_else(|| missing("messages"))?;
    let stream = optional::<bool>(peek.stream, "stream", "must be true or false")?.unwrap_or(false);
    let options = present(peek.stream_options);
    let include_usage = optional::<StreamOptions>(
        options,
        "stream_options",
        "must be an object like {\"include_usage\": true}",
    )?
    .and_then(|options| options.include_usage)
    .unwrap_or(false);
    let forced_span = peek.stream_options.map(|raw| json::span(body, raw.get()));
    let max_tokens = match (present(peek.max_completion_tokens), present(peek.max_tokens)) {
        (Some(raw), _) => Some(whole(raw, "max_completion_tokens", 1, u32::MAX)?),
        (None, Some(raw)) => Some(whole(raw, "max_tokens", 1, u32::MAX)?),
        (None, None) => None,
    };
    let n = present(peek.n).map_or(Ok(1), |raw| whole(raw, "n", 1, limits.answers))?;
    let temperature = number(peek.temperature, "temperature", 0.0, 2.0)?;
    let deterministic = temperature == Some(0.0) || present(peek.seed).is_some();
    number(peek.top_p, "top_p", 0.0, 1.0)?;
    number(peek.presence_penalty, "presence_penalty", -2.0, 2.0)?;
    number(peek.frequency_penalty, "frequency_penalty", -2.0, 2.0)?;
    let tools = tools(peek.tools, limits)?;
    let logprobs = optional::<bool>(peek.logprobs, "logprobs", "must be true or false")?.unwrap_or(false);
    let mut needs = Needs { tools, json: wants_json(peek.response_format)?, images: false, logprobs };
    let parts = parts(body, &read(messages)?, limits, &mut needs)?;
    Ok(ChatRequest {
        format: Format::OpenAi,
        model,
        model_span: Some(model_span),
        stream,
        include_usage,
        forced_span,
        max_tokens,
        n,
        deterministic,
        needs,
        parts,
        body: body.clone(),
    })
}

/// Reads a body of `POST /v1/embeddings`.
///
/// # Errors
/// `Failure::InvalidInput` naming the member, and for an empty text its index.
pub(in crate::http) fn embed(body: Bytes, limits: &DecodeLimits) -> Result<EmbedRequest, Failure> {
    json::check_depth(&body, limits.depth)?;
    let peek: EmbedBody<'_> = json::parse(&body)?;
    let (model, model_span) = model(&body, peek.model, limits)?;
    let input = embed_input(&body, present(peek.input).ok_or_else(|| missing("input"))?, limits)?;
    let encoding =
        match optional::<Cow<'_, str>>(peek.encoding_format, "encoding_format", ENCODINGS)?.as_deref() {
            None | Some("float") => Encoding::Float,
            Some("base64") => Encoding::Base64,
            Some(_) => return Err(Failure::invalid("encoding_format", ENCODINGS)),
        };
    let dimensions = present(peek.dimensions).map(|raw| whole(raw, "dimensions", 1, 65_536)).transpose()?;
    Ok(EmbedRequest {
        format: Format::OpenAi,
        model,
        model_span: Some(model_span),
        input,
        encoding,
        dimensions,
        body,
    })
}

const ENCODINGS: &str = "encoding_format must be \"float\" or \"base64\".";
const TEXTS: &str = "input must be a string, an array of strings, or arrays of token numbers.";

fn tools(raw: Option<&RawValue>, limits: &DecodeLimits) -> Result<bool, Failure> {
    let rule = "must be an array of tools";
    let Some(tools) = optional::<Vec<&RawValue>>(raw, "tools", rule)? else { return Ok(false) };
    if tools.len() > limits.tools {
        return Err(Failure::invalid("tools", format!("At most {} tools are allowed.", limits.tools)));
    }
    Ok(!tools.is_empty())
}

fn wants_json(raw: Option<&RawValue>) -> Result<bool, Failure> {
    let rule = "must be an object with a member type";
    let format = optional::<PartBody<'_>>(raw, "response_format", rule)?;
    Ok(format.and_then(|format| format.kind).is_some_and(|kind| kind != "text"))
}

fn parts(
    body: &[u8],
    messages: &[MessageBody<'_>],
    limits: &DecodeLimits,
    needs: &mut Needs,
) -> Result<Vec<TextPart>, Failure> {
    if messages.is_empty() || messages.len() > limits.messages {
        let most = limits.messages;
        return Err(Failure::invalid("messages", format!("messages must hold 1 to {most} messages.")));
    }
    let mut parts = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        let role = role(message.role.as_deref(), index)?;
        match present(message.content) {
            Some(content) => content_parts(body, content, role, index, &mut parts, needs)?,
            None if present(message.tool_calls).or(present(message.function_call)).is_some() => {}
            None if role == Role::Assistant => {}
            None => {
                return Err(Failure::InvalidInput {
                    code: InputCode::MissingParameter,
                    message: format!("messages[{index}].content is required.").into(),
                    param: Some(format!("messages[{index}].content").into()),
                });
            }
        }
    }
    Ok(parts)
}

fn role(name: Option<&str>, index: usize) -> Result<Role, Failure> {
    match name {
        Some("system" | "developer") => Ok(Role::System),
        Some("user") => Ok(Role::User),
        Some("assistant") => Ok(Role::Assistant),
        Some("tool" | "function") => Ok(Role::Tool),
        Some(_) | None => Err(Failure::invalid(
            format!("messages[{index}].role"),
            "role must be system, developer, user, assistant, tool or function.",
        )),
    }
}

fn content_parts(
    body: &[u8],
    raw: &RawValue,
    role: Role,
    index: usize,
    parts: &mut Vec<TextPart>,
    needs: &mut Needs,
) -> Result<(), Failure> {
    let param = || format!("messages[{index}].content");
    if raw.get().starts_with('"') {
        parts.push(text(body, raw, role).ok_or_else(|| broken_text(param()))?);
        return Ok(());
    }
    let pieces: Vec<PartBody<'_>> = serde_json::from_str(raw.get())
        .map_err(|_| Failure::invalid(param(), "content must be a string or an array of typed parts."))?;
    for piece in &pieces {
        match (piece.kind.as_deref(), present(piece.text)) {
            (Some("text" | "input_text" | "refusal"), Some(raw)) => {
                parts.push(text(body, raw, role).ok_or_else(|| broken_text(param()))?);
            }
            (Some("text"), None) => {
                return Err(Failure::invalid(param(), "a part of type text needs a member text."));
            }
            (Some("image_url" | "input_image"), _) => needs.images = true,
            (Some(_), _) => {}
            (None, _) => return Err(Failure::invalid(param(), "every part of content needs a type.")),
        }
    }
    Ok(())
}

fn embed_input(body: &[u8], raw: &RawValue, limits: &DecodeLimits) -> Result<EmbedInput, Failure> {
    let one = |raw: &RawValue, index: usize| match text(body, raw, Role::User) {
        Some(part) if part.span.is_empty() => {
            Err(Failure::invalid(format!("input[{index}]"), format!("input[{index}] is empty.")))
        }
        Some(part) => Ok(part),
        None => Err(broken_text(format!("input[{index}]"))),
    };
    if raw.get().starts_with('"') {
        return Ok(EmbedInput::Texts(vec![one(raw, 0)?]));
    }
    let items: Vec<&RawValue> =
        serde_json::from_str(raw.get()).map_err(|_| Failure::invalid("input", TEXTS))?;
    if items.is_empty() || items.len() > limits.inputs {
        return Err(Failure::invalid("input", format!("input must hold 1 to {} texts.", limits.inputs)));
    }
    if items.iter().all(|item| item.get().starts_with('"')) {
        let parts = items.iter().enumerate().map(|(index, raw)| one(raw, index));
        return Ok(EmbedInput::Texts(parts.collect::<Result<_, _>>()?));
    }
    if serde_json::from_str::<Vec<u32>>(raw.get()).is_ok() {
        return Ok(EmbedInput::Tokens { count: 1 });
    }
    let arrays = serde_json::from_str::<Vec<Vec<u32>>>(raw.get());
    match arrays {
        Ok(arrays) if arrays.iter().all(|tokens| !tokens.is_empty()) => {
            Ok(EmbedInput::Tokens { count: arrays.len() })
        }
        Ok(_) | Err(_) => Err(Failure::invalid("input", TEXTS)),
    }
}

#[cfg(test)]
mod tests;
