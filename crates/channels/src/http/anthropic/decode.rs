//! Anthropic's format in: what must be known of a body is read from the borrowed bytes in one pass; nothing is copied
//! and nothing re-serialised. Invariant: what leaves here is valid JSON, within every bound of `DecodeLimits`, and every
//! text a model would read (documents and results of tools included) is among the parts, so that it is inspected.
//! Members we do not know are kept for the provider to judge.
//!
//! Source: gateway.md sections 1 and 8; Anthropic's API reference, "Create a Message" (2023-06-01).

use super::super::{
    decode::{DecodeLimits, broken_text, missing, model, number, optional, present, raw, text, whole},
    json,
};
use bytes::Bytes;
use portcullis_domain::{ChatRequest, Failure, Format, Needs, Role, TextPart};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

#[derive(Deserialize)]
struct MessagesBody<'a> {
    #[serde(borrow, default, deserialize_with = "raw")]
    model: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    messages: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    system: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    tools: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    output_config: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    temperature: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    top_p: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    top_k: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessageBody<'a> {
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "raw")]
    content: Option<&'a RawValue>,
}

/// A block of content, or the source of one.
#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "raw")]
    text: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    content: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    source: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    title: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    context: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OutputConfig<'a> {
    #[serde(borrow, default, deserialize_with = "raw")]
    format: Option<&'a RawValue>,
}

/// Reads a body of `POST /v1/messages`.
///
/// # Errors
/// `Failure::InvalidInput` naming the member at fault.
pub(in crate::http) fn messages(body: Bytes, limits: &DecodeLimits) -> Result<ChatRequest, Failure> {
    read(body, limits, true)
}

/// Reads a body of `POST /v1/messages/count_tokens`: the same without a bound for the answer.
///
/// # Errors
/// `Failure::InvalidInput` naming the member at fault.
pub(in crate::http) fn count(body: Bytes, limits: &DecodeLimits) -> Result<ChatRequest, Failure> {
    read(body, limits, false)
}

fn read(body: Bytes, limits: &DecodeLimits, answered: bool) -> Result<ChatRequest, Failure> {
    json::check_depth(&body, limits.depth)?;
    let peek: MessagesBody<'_> = json::parse(&body)?;
    let (model, model_span) = model(&body, peek.model, limits)?;
    let max_tokens = present(peek.max_tokens).map(|raw| whole(raw, "max_tokens", 1, u32::MAX)).transpose()?;
    if answered && max_tokens.is_none() {
        return Err(missing("max_tokens"));
    }
    let stream = optional::<bool>(peek.stream, "stream", "must be true or false")?.unwrap_or(false);
    let temperature = number(peek.temperature, "temperature", 0.0, 1.0)?;
    number(peek.top_p, "top_p", 0.0, 1.0)?;
    present(peek.top_k).map(|raw| whole(raw, "top_k", 0, u32::MAX)).transpose()?;
    let config = optional::<OutputConfig<'_>>(peek.output_config, "output_config", "must be an object")?;
    let mut needs = Needs {
        tools: has_tools(peek.tools, limits)?,
        json: config.is_some_and(|config| present(config.format).is_some()),
        images: false,
        logprobs: false,
    };
    let mut texts = Texts { body: &body, parts: Vec::new(), needs: &mut needs };
    if let Some(system) = present(peek.system) {
        texts.content(system, Role::System, "system")?;
    }
    let messages = present(peek.messages).ok_or_else(|| missing("messages"))?;
    texts.messages(messages, limits)?;
    let parts = texts.parts;
    Ok(ChatRequest {
        format: Format::Anthropic,
        model,
        model_span: Some(model_span),
        stream,
        // This format tells the usage of every stream.
        include_usage: true,
        forced_span: None,
        max_tokens,
        n: 1,
        deterministic: temperature == Some(0.0),
        needs,
        parts,
        body,
    })
}

fn has_tools(raw: Option<&RawValue>, limits: &DecodeLimits) -> Result<bool, Failure> {
    let Some(tools) = optional::<Vec<&RawValue>>(raw, "tools", "must be an array of tools")? else {
        return Ok(false);
    };
    if tools.len() > limits.tools {
        return Err(Failure::invalid("tools", format!("At most {} tools are allowed.", limits.tools)));
    }
    Ok(!tools.is_empty())
}

/// Gathers the texts of a conversation.
struct Texts<'a, 'n> {
    body: &'a [u8],
    parts: Vec<TextPart>,
    needs: &'n mut Needs,
}

impl Texts<'_, '_> {
    fn messages(&mut self, raw: &RawValue, limits: &DecodeLimits) -> Result<(), Failure> {
        let messages: Vec<MessageBody<'_>> = serde_json::from_str(raw.get())
            .map_err(|_| Failure::invalid("messages", "messages must be an array of objects with a role."))?;
        if messages.is_empty() || messages.len() > limits.messages {
            let most = limits.messages;
            return Err(Failure::invalid("messages", format!("messages must hold 1 to {most} messages.")));
        }
        for (index, message) in messages.iter().enumerate() {
            let role = match message.role.as_deref() {
                Some("user") => Role::User,
                Some("assistant") => Role::Assistant,
                Some("system") => Role::System,
                Some(_) | None => {
                    let param = format!("messages[{index}].role");
                    return Err(Failure::invalid(param, "role must be user, assistant or system."));
                }
            };
            let param = format!("messages[{index}].content");
            let content = present(message.content).ok_or_else(|| {
                Failure::invalid(param.clone(), "content must be a string or an array of typed blocks.")
            })?;
            self.content(content, role, &param)?;
        }
        Ok(())
    }

    /// A string, or blocks.
    fn content(&mut self, raw: &RawValue, role: Role, param: &str) -> Result<(), Failure> {
        if raw.get().starts_with('"') {
            return self.text(raw, role, param);
        }
        let blocks: Vec<Block<'_>> = serde_json::from_str(raw.get()).map_err(|_| {
            Failure::invalid(param.to_owned(), "content must be a string or an array of typed blocks.")
        })?;
        blocks.iter().try_for_each(|block| self.block(block, role, param))
    }

    fn block(&mut self, block: &Block<'_>, role: Role, param: &str) -> Result<(), Failure> {
        let Some(kind) = block.kind.as_deref() else {
            return Err(Failure::invalid(param.to_owned(), "every block of content needs a type."));
        };
        match kind {
            "text" => match present(block.text) {
                Some(raw) => self.text(raw, role, param),
                None => Err(Failure::invalid(param.to_owned(), "a block of type text needs a member text.")),
            },
            "image" => {
                self.needs.images = true;
                Ok(())
            }
            // The model's own, of which nothing reads as text.
            "tool_use" | "thinking" | "redacted_thinking" => Ok(()),
            // Results of tools, documents, results of searches, and whatever comes to be: somebody else's words.
            _ => self.foreign(block, param),
        }
    }

    fn foreign(&mut self, block: &Block<'_>, param: &str) -> Result<(), Failure> {
        for raw in [block.title, block.context, block.text].into_iter().filter_map(present) {
            if raw.get().starts_with('"') {
                self.text(raw, Role::Tool, param)?;
            }
        }
        if let Some(content) = present(block.content).filter(|raw| raw.get().starts_with(['"', '['])) {
            self.content(content, Role::Tool, param)?;
        }
        // A document's source is an object; that of a search result a text.
        let Some(raw) = present(block.source).filter(|raw| raw.get().starts_with('{')) else { return Ok(()) };
        let source: Block<'_> = serde_json::from_str(raw.get())
            .map_err(|_| Failure::invalid(param.to_owned(), "the source of a block must be an object."))?;
        match (source.kind.as_deref(), present(source.data), present(source.content)) {
            (Some("text"), Some(data), _) => self.text(data, Role::Tool, param),
            (Some("content"), _, Some(content)) => self.content(content, Role::Tool, param),
            (Some(_) | None, _, _) => Ok(()),
        }
    }

    fn text(&mut self, raw: &RawValue, role: Role, param: &str) -> Result<(), Failure> {
        self.parts.push(text(self.body, raw, role).ok_or_else(|| broken_text(param.to_owned()))?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
