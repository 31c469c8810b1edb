//! OpenAI's responses in: what must be known of a body is read from the borrowed bytes in one pass; nothing is copied and
//! nothing re-serialised. Invariant: what leaves here is valid JSON, within every bound of `DecodeLimits`, refers to
//! nothing stored or built in, and every text a model would read is among the parts, so that it is inspected: items and
//! parts of content of other kinds are refused. Members we do not know are kept for the provider to judge.
//!
//! Source: gateway.md sections 1 and 8; OpenAI's API reference, "Create a model response".

use super::super::{
    decode::{DecodeLimits, broken_text, missing, model, number, optional, present, raw, text, whole},
    json,
};
use bytes::Bytes;
use portcullis_domain::{ChatRequest, Failure, Format, Needs, Role, TextPart};
use portcullis_wire::responses::{check_offered, refused_content, refused_item, refused_tool};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

#[derive(Deserialize)]
struct ResponsesBody<'a> {
    #[serde(borrow, default, deserialize_with = "raw")]
    model: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    input: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    instructions: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    store: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    max_output_tokens: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    tools: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    text: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    top_logprobs: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    temperature: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    top_p: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    previous_response_id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    conversation: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    prompt: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    background: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    include: Option<&'a RawValue>,
}

impl ResponsesBody<'_> {
    /// Refuses what would need something stored.
    fn check_offered(&self) -> Result<(), Failure> {
        let members = [
            ("previous_response_id", self.previous_response_id),
            ("conversation", self.conversation),
            ("prompt", self.prompt),
            ("background", self.background),
            ("include", self.include),
        ];
        members.into_iter().try_for_each(|(name, raw)| check_offered(name, raw.map_or("null", RawValue::get)))
    }
}

/// An item of the input, or a part of one.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "raw")]
    content: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    output: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    summary: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    text: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    format: Option<&'a RawValue>,
}

/// Reads a body of `POST /v1/responses`.
///
/// # Errors
/// `Failure::InvalidInput` naming the member at fault.
pub(in crate::http) fn responses(body: Bytes, limits: &DecodeLimits) -> Result<ChatRequest, Failure> {
    json::check_depth(&body, limits.depth)?;
    let peek: ResponsesBody<'_> = json::parse(&body)?;
    let (model, model_span) = model(&body, peek.model, limits)?;
    peek.check_offered()?;
    let stream = optional::<bool>(peek.stream, "stream", "must be true or false")?.unwrap_or(false);
    optional::<bool>(peek.store, "store", "must be true or false")?;
    let forced_span = peek.store.map(|raw| json::span(&body, raw.get()));
    let max_tokens = present(peek.max_output_tokens)
        .map(|raw| whole(raw, "max_output_tokens", 1, u32::MAX))
        .transpose()?;
    let temperature = number(peek.temperature, "temperature", 0.0, 2.0)?;
    number(peek.top_p, "top_p", 0.0, 1.0)?;
    let logprobs = present(peek.top_logprobs).map(|raw| whole(raw, "top_logprobs", 0, 20)).transpose()?;
    if present(peek.metadata).is_some_and(|raw| !raw.get().starts_with('{')) {
        return Err(Failure::invalid("metadata", "metadata must be an object."));
    }
    let mut needs = Needs {
        tools: has_tools(peek.tools, limits)?,
        json: wants_json(peek.text)?,
        images: false,
        logprobs: logprobs.is_some_and(|alternatives| alternatives > 0),
    };
    let mut texts = Texts { body: &body, parts: Vec::new(), needs: &mut needs };
    if let Some(instructions) = present(peek.instructions) {
        texts.text(instructions, Role::System, "instructions")?;
    }
    texts.input(present(peek.input).ok_or_else(|| missing("input"))?, limits)?;
    let parts = texts.parts;
    Ok(ChatRequest {
        format: Format::Responses,
        model,
        model_span: Some(model_span),
        stream,
        // This format tells the usage of every stream.
        include_usage: true,
        forced_span,
        max_tokens,
        n: 1,
        deterministic: temperature == Some(0.0),
        needs,
        parts,
        body,
    })
}

fn has_tools(raw: Option<&RawValue>, limits: &DecodeLimits) -> Result<bool, Failure> {
    let rule = "must be an array of tools";
    let Some(tools) = optional::<Vec<Item<'_>>>(raw, "tools", rule)? else { return Ok(false) };
    if tools.len() > limits.tools {
        return Err(Failure::invalid("tools", format!("At most {} tools are allowed.", limits.tools)));
    }
    match tools.iter().position(|tool| tool.kind.as_deref() != Some("function")) {
        Some(index) => Err(refused_tool(&format!("tools[{index}].type"))),
        None => Ok(!tools.is_empty()),
    }
}

fn wants_json(raw: Option<&RawValue>) -> Result<bool, Failure> {
    let config = optional::<Item<'_>>(raw, "text", "must be an object")?;
    let rule = "must be an object with a member type";
    let format = optional::<Item<'_>>(config.and_then(|config| config.format), "text.format", rule)?;
    Ok(format.and_then(|format| format.kind).is_some_and(|kind| kind != "text"))
}

/// Gathers the texts of a conversation.
struct Texts<'a, 'n> {
    body: &'a [u8],
    parts: Vec<TextPart>,
    needs: &'n mut Needs,
}

impl Texts<'_, '_> {
    fn input(&mut self, raw: &RawValue, limits: &DecodeLimits) -> Result<(), Failure> {
        if raw.get().starts_with('"') {
            return self.text(raw, Role::User, "input");
        }
        let items: Vec<Item<'_>> = serde_json::from_str(raw.get())
            .map_err(|_| Failure::invalid("input", "input must be a string or an array of items."))?;
        if items.is_empty() || items.len() > limits.messages {
            let most = limits.messages;
            return Err(Failure::invalid("input", format!("input must hold 1 to {most} items.")));
        }
        items.iter().enumerate().try_for_each(|(index, item)| self.item(item, index))
    }

    fn item(&mut self, item: &Item<'_>, index: usize) -> Result<(), Failure> {
        let path = |member: &str| format!("input[{index}].{member}");
        match item.kind.as_deref() {
            None | Some("message") => {
                let role = match item.role.as_deref() {
                    Some("system" | "developer") => Role::System,
                    Some("user") => Role::User,
                    Some("assistant") => Role::Assistant,
                    Some(_) | None => {
                        let rule = "role must be system, developer, user or assistant.";
                        return Err(Failure::invalid(path("role"), rule));
                    }
                };
                self.content(item.content, role, &path("content"))
            }
            Some("function_call_output") => self.content(item.output, Role::Tool, &path("output")),
            Some("reasoning") => {
                for (raw, member) in [(item.summary, "summary"), (item.content, "content")] {
                    if let Some(raw) = present(raw) {
                        self.thoughts(raw, &path(member))?;
                    }
                }
                Ok(())
            }
            // The model's own, of which nothing reads as text.
            Some("function_call") => Ok(()),
            Some(_) => Err(refused_item(&path("type"))),
        }
    }

    /// A string, or parts.
    fn content(&mut self, raw: Option<&RawValue>, role: Role, param: &str) -> Result<(), Failure> {
        let wrong = || {
            Failure::invalid(
                param.to_owned(),
                format!("{param} must be a string or an array of typed parts."),
            )
        };
        let raw = present(raw).ok_or_else(wrong)?;
        if raw.get().starts_with('"') {
            return self.text(raw, role, param);
        }
        let parts: Vec<Item<'_>> = serde_json::from_str(raw.get()).map_err(|_| wrong())?;
        for (index, part) in parts.iter().enumerate() {
            let words = match part.kind.as_deref() {
                Some("input_text" | "output_text") => present(part.text),
                Some("refusal") => present(part.refusal),
                Some("input_image") => {
                    self.needs.images = true;
                    continue;
                }
                Some(_) => return Err(refused_content(&format!("{param}[{index}].type"))),
                None => return Err(wrong()),
            };
            let rule =
                || Failure::invalid(format!("{param}[{index}]"), "a part needs the words of its type.");
            self.text(words.ok_or_else(rule)?, role, param)?;
        }
        Ok(())
    }

    fn thoughts(&mut self, raw: &RawValue, param: &str) -> Result<(), Failure> {
        let rule = || Failure::invalid(param.to_owned(), format!("{param} must be an array of typed texts."));
        let parts: Vec<Item<'_>> = serde_json::from_str(raw.get()).map_err(|_| rule())?;
        let mut words = parts.iter().filter_map(|part| present(part.text));
        words.try_for_each(|raw| self.text(raw, Role::Assistant, param))
    }

    fn text(&mut self, raw: &RawValue, role: Role, param: &str) -> Result<(), Failure> {
        self.parts.push(text(self.body, raw, role).ok_or_else(|| broken_text(param.to_owned()))?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
