//! Google's format in: what must be known of a body is read from the borrowed bytes in one pass; nothing is copied and
//! nothing re-serialised. Invariant: what leaves here is valid JSON, within every bound of `DecodeLimits`; both spellings
//! of a member count as one, so that neither can hide behind the other; every text a model would read (results of
//! functions included) is among the parts, so that it is inspected. Members we do not know are kept for the provider.
//!
//! Source: gateway.md sections 1 and 8; Google's API reference, "models.generateContent" and "Embeddings".

use super::super::{
    decode::{DecodeLimits, broken_text, missing, number, optional, present, raw, text, whole},
    json,
};
use bytes::Bytes;
use portcullis_domain::{
    ChatRequest, EmbedInput, EmbedRequest, Encoding, Failure, Format, Needs, Role, TextPart,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GenerateBody<'a> {
    #[serde(borrow, default, deserialize_with = "raw")]
    contents: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw", alias = "system_instruction")]
    system_instruction: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    tools: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw", alias = "generation_config")]
    generation_config: Option<&'a RawValue>,
    /// Only a count may hold a whole request.
    #[serde(borrow, default, deserialize_with = "raw", alias = "generate_content_request")]
    generate_content_request: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigBody<'a> {
    #[serde(borrow, default, deserialize_with = "raw", alias = "max_output_tokens")]
    max_output_tokens: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw", alias = "candidate_count")]
    candidate_count: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    temperature: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw", alias = "top_p")]
    top_p: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw", alias = "presence_penalty")]
    presence_penalty: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw", alias = "frequency_penalty")]
    frequency_penalty: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    seed: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "response_mime_type")]
    response_mime_type: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "raw", alias = "response_schema")]
    response_schema: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        deserialize_with = "raw",
        alias = "response_json_schema",
        alias = "_responseJsonSchema"
    )]
    response_json_schema: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw", alias = "response_logprobs")]
    response_logprobs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ContentBody<'a> {
    #[serde(borrow, default)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "raw")]
    parts: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartBody<'a> {
    #[serde(borrow, default, deserialize_with = "raw")]
    text: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw", alias = "inline_data")]
    inline_data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw", alias = "file_data")]
    file_data: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "function_response")]
    function_response: Option<ResponseBody<'a>>,
    #[serde(borrow, default, deserialize_with = "raw", alias = "executable_code")]
    executable_code: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw", alias = "code_execution_result")]
    code_execution_result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw", alias = "tool_response")]
    tool_response: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ResponseBody<'a> {
    #[serde(borrow, default, deserialize_with = "raw")]
    response: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    parts: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct BatchBody<'a> {
    #[serde(borrow, default, deserialize_with = "raw")]
    requests: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EmbedBody<'a> {
    #[serde(borrow, default)]
    content: Option<ContentBody<'a>>,
    #[serde(borrow, default, deserialize_with = "raw", alias = "output_dimensionality")]
    output_dimensionality: Option<&'a RawValue>,
}

/// The model as the path names it.
fn model(segment: Option<String>, limits: &DecodeLimits) -> Result<String, Failure> {
    let name = segment.unwrap_or_default();
    if name.is_empty() || name.chars().count() > limits.model_chars || name.chars().any(char::is_control) {
        let most = limits.model_chars;
        return Err(Failure::invalid(
            "model",
            format!("The path must name a model of 1 to {most} characters."),
        ));
    }
    Ok(name)
}

/// Reads a body of `:generateContent` and `:streamGenerateContent`.
///
/// # Errors
/// `Failure::InvalidInput` naming the member at fault.
pub(in crate::http) fn generate(
    body: Bytes,
    segment: Option<String>,
    stream: bool,
    limits: &DecodeLimits,
) -> Result<ChatRequest, Failure> {
    let model = model(segment, limits)?;
    json::check_depth(&body, limits.depth)?;
    let peek: GenerateBody<'_> = json::parse(&body)?;
    let read = Read::of(&body, &peek, limits)?;
    Ok(read.request(model, stream, body))
}

/// Reads a body of `:countTokens`: contents, or a whole request.
///
/// # Errors
/// `Failure::InvalidInput` naming the member at fault.
pub(in crate::http) fn count(
    body: Bytes,
    segment: Option<String>,
    limits: &DecodeLimits,
) -> Result<ChatRequest, Failure> {
    let model = model(segment, limits)?;
    json::check_depth(&body, limits.depth)?;
    let mut peek: GenerateBody<'_> = json::parse(&body)?;
    let rule = "must be an object, each member given once";
    if let Some(inside) = optional(peek.generate_content_request, "generateContentRequest", rule)? {
        peek = inside;
    }
    let read = Read::of(&body, &peek, limits)?;
    Ok(read.request(model, false, body))
}

/// What was read of a request.
struct Read {
    max_tokens: Option<u32>,
    n: u32,
    deterministic: bool,
    needs: Needs,
    parts: Vec<TextPart>,
}

impl Read {
    fn of(body: &[u8], peek: &GenerateBody<'_>, limits: &DecodeLimits) -> Result<Self, Failure> {
        let rule = "must be an object, each member given once and of its type";
        let config: ConfigBody<'_> =
            optional(peek.generation_config, "generationConfig", rule)?.unwrap_or_default();
        let most = "generationConfig.maxOutputTokens";
        let max_tokens =
            present(config.max_output_tokens).map(|raw| whole(raw, most, 1, u32::MAX)).transpose()?;
        let n = present(config.candidate_count)
            .map_or(Ok(1), |raw| whole(raw, "generationConfig.candidateCount", 1, limits.answers))?;
        let temperature = number(config.temperature, "generationConfig.temperature", 0.0, 2.0)?;
        number(config.top_p, "generationConfig.topP", 0.0, 1.0)?;
        number(config.presence_penalty, "generationConfig.presencePenalty", -2.0, 2.0)?;
        number(config.frequency_penalty, "generationConfig.frequencyPenalty", -2.0, 2.0)?;
        let logprobs = optional::<bool>(
            config.response_logprobs,
            "generationConfig.responseLogprobs",
            "must be true or false",
        )?;
        let schema = present(config.response_schema).or(present(config.response_json_schema));
        let plain =
            config.response_mime_type.as_deref().is_none_or(|mime| mime.is_empty() || mime == "text/plain");
        let mut needs = Needs {
            tools: has_tools(peek.tools, limits)?,
            json: schema.is_some() || !plain,
            images: false,
            logprobs: logprobs.unwrap_or(false),
        };
        let mut texts = Texts { body, parts: Vec::new(), needs: &mut needs };
        if let Some(system) =
            optional(peek.system_instruction, "systemInstruction", "must be an object with parts")?
        {
            texts.content(&system, Role::System, "systemInstruction")?;
        }
        texts.contents(present(peek.contents).ok_or_else(|| missing("contents"))?, limits)?;
        let parts = texts.parts;
        let deterministic = temperature == Some(0.0) || present(config.seed).is_some();
        Ok(Self { max_tokens, n, deterministic, needs, parts })
    }

    fn request(self, model: String, stream: bool, body: Bytes) -> ChatRequest {
        let Self { max_tokens, n, deterministic, needs, parts } = self;
        ChatRequest {
            format: Format::Gemini,
            model,
            model_span: None,
            stream,
            // This format tells the usage of every stream.
            include_usage: true,
            forced_span: None,
            max_tokens,
            n,
            deterministic,
            needs,
            parts,
            body,
        }
    }
}

fn has_tools(raw: Option<&RawValue>, limits: &DecodeLimits) -> Result<bool, Failure> {
    #[derive(Deserialize)]
    struct Tool<'a> {
        #[serde(borrow, default, rename = "functionDeclarations", alias = "function_declarations")]
        functions: Option<Vec<&'a RawValue>>,
    }
    let rule = "must be an array of tools";
    let Some(tools) = optional::<Vec<Tool<'_>>>(raw, "tools", rule)? else { return Ok(false) };
    let functions: usize = tools.iter().filter_map(|tool| tool.functions.as_ref()).map(Vec::len).sum();
    if tools.len().max(functions) > limits.tools {
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

const PARTS: &str = "parts must be an array of objects, each member given once.";

impl Texts<'_, '_> {
    fn contents(&mut self, raw: &RawValue, limits: &DecodeLimits) -> Result<(), Failure> {
        let contents: Vec<ContentBody<'_>> = serde_json::from_str(raw.get())
            .map_err(|_| Failure::invalid("contents", "contents must be an array of objects with parts."))?;
        if contents.is_empty() || contents.len() > limits.messages {
            let most = limits.messages;
            return Err(Failure::invalid("contents", format!("contents must hold 1 to {most} contents.")));
        }
        for (index, content) in contents.iter().enumerate() {
            let role = match content.role.as_deref() {
                None | Some("" | "user" | "function") => Role::User,
                Some("model") => Role::Assistant,
                Some(_) => {
                    let param = format!("contents[{index}].role");
                    return Err(Failure::invalid(param, "role must be user or model."));
                }
            };
            self.content(content, role, &format!("contents[{index}]"))?;
        }
        Ok(())
    }

    fn content(&mut self, content: &ContentBody<'_>, role: Role, param: &str) -> Result<(), Failure> {
        let param = format!("{param}.parts");
        let parts = present(content.parts).ok_or_else(|| Failure::invalid(param.clone(), PARTS))?;
        let parts: Vec<PartBody<'_>> =
            serde_json::from_str(parts.get()).map_err(|_| Failure::invalid(param.clone(), PARTS))?;
        for part in &parts {
            if let Some(raw) = present(part.text) {
                self.parts.push(text(self.body, raw, role).ok_or_else(|| broken_text(param.clone()))?);
            }
            let mut images = present(part.inline_data).or(present(part.file_data)).is_some();
            if let Some(response) = &part.function_response {
                images |= present(response.parts).is_some();
                self.strings(response.response, &param)?;
            }
            self.needs.images |= images;
            // What a tool of the provider's made: somebody else's words, too.
            for raw in [part.executable_code, part.code_execution_result, part.tool_response] {
                self.strings(raw, &param)?;
            }
        }
        Ok(())
    }

    /// Every string of a value, names included: what a tool wrote, in whatever shape.
    fn strings(&mut self, raw: Option<&RawValue>, param: &str) -> Result<(), Failure> {
        let Some(raw) = present(raw) else { return Ok(()) };
        let base = json::span(self.body, raw.get()).start;
        for inside in json::strings(raw.get()) {
            let escaped =
                json::escapes(&raw.get()[inside.clone()]).map_err(|()| broken_text(param.to_owned()))?;
            let span = base + inside.start..base + inside.end;
            if !span.is_empty() {
                self.parts.push(TextPart { role: Role::Tool, span, escaped });
            }
        }
        Ok(())
    }
}

/// Reads a body of `:batchEmbedContents`.
///
/// # Errors
/// `Failure::InvalidInput` naming the member, and for an empty text its index.
pub(in crate::http) fn embed_many(
    body: Bytes,
    segment: Option<String>,
    limits: &DecodeLimits,
) -> Result<EmbedRequest, Failure> {
    let model = model(segment, limits)?;
    json::check_depth(&body, limits.depth)?;
    let peek: BatchBody<'_> = json::parse(&body)?;
    let raw = present(peek.requests).ok_or_else(|| missing("requests"))?;
    let rule = "requests must be an array of objects with content.";
    let requests: Vec<EmbedBody<'_>> =
        serde_json::from_str(raw.get()).map_err(|_| Failure::invalid("requests", rule))?;
    if requests.is_empty() || requests.len() > limits.inputs {
        let most = limits.inputs;
        return Err(Failure::invalid("requests", format!("requests must hold 1 to {most} requests.")));
    }
    let read = texts(&body, &requests, |index| format!("requests[{index}]."))?;
    Ok(embed(model, read, body))
}

/// Reads a body of `:embedContent`.
///
/// # Errors
/// `Failure::InvalidInput` naming the member.
pub(in crate::http) fn embed_one(
    body: Bytes,
    segment: Option<String>,
    limits: &DecodeLimits,
) -> Result<EmbedRequest, Failure> {
    let model = model(segment, limits)?;
    json::check_depth(&body, limits.depth)?;
    let request: EmbedBody<'_> = json::parse(&body)?;
    let read = texts(&body, &[request], |_| String::new())?;
    Ok(embed(model, read, body))
}

fn embed(model: String, (parts, dimensions): (Vec<TextPart>, Option<u32>), body: Bytes) -> EmbedRequest {
    EmbedRequest {
        format: Format::Gemini,
        model,
        model_span: None,
        input: EmbedInput::Texts(parts),
        encoding: Encoding::Float,
        dimensions,
        body,
    }
}

/// One text of each request, and the length all wish for.
fn texts(
    body: &[u8],
    requests: &[EmbedBody<'_>],
    path: impl Fn(usize) -> String,
) -> Result<(Vec<TextPart>, Option<u32>), Failure> {
    let (mut parts, mut dimensions) = (Vec::with_capacity(requests.len()), None);
    for (index, request) in requests.iter().enumerate() {
        let param = || format!("{}content.parts", path(index));
        let rule = || Failure::invalid(param(), "content must have one part, with a text that is not empty.");
        let raw = request.content.as_ref().and_then(|content| present(content.parts)).ok_or_else(rule)?;
        let inside: Vec<PartBody<'_>> = serde_json::from_str(raw.get()).map_err(|_| rule())?;
        let [one] = inside.as_slice() else { return Err(rule()) };
        let part = text(body, present(one.text).ok_or_else(rule)?, Role::User)
            .ok_or_else(|| broken_text(param()))?;
        if part.span.is_empty() {
            return Err(rule());
        }
        parts.push(part);
        let wished = present(request.output_dimensionality)
            .map(|raw| whole(raw, "outputDimensionality", 1, 65_536))
            .transpose()?;
        if index > 0 && wished != dimensions {
            let message = "outputDimensionality must be the same in every request.";
            return Err(Failure::invalid("outputDimensionality", message));
        }
        dimensions = wished;
    }
    Ok((parts, dimensions))
}

#[cfg(test)]
mod tests;
