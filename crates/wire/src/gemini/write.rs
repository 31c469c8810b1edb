//! Google's requests, written. Source: the API reference, "models.generateContent"; "Thought signatures" for what
//! models from Gemini 3 on want with calls they did not make.

use super::ids::is_ours;
use crate::Written;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use portcullis_domain::{
    Conversation, Image, Member, Part, Role, Sampling, Shape, Tool, ToolCall, ToolChoice, ToolResult,
};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Google takes no more.
const MAX_STOPS: usize = 5;
/// What stands for the signature of a call that came from elsewhere: without one, models from Gemini 3 on refuse it.
const FOREIGN_CALL: &str = "skip_thought_signature_validator";

/// Writes a request for that model; whether it is streamed says the address.
#[must_use]
pub fn write_request(conversation: &Conversation, model: &str) -> Written {
    let mut writer = Contents {
        calls: HashMap::new(),
        dropped: Vec::new(),
        signs: wants_signatures(model),
        system: Vec::new(),
        contents: Vec::new(),
    };
    writer.turns(conversation);
    let Contents { mut dropped, system, mut contents, .. } = writer;
    let mut out = Map::new();
    if contents.is_empty() {
        // Instructions alone are a request elsewhere; here somebody has to say something.
        contents.push((Role::User, system));
    } else if !system.is_empty() {
        out.insert("systemInstruction".into(), json!({"parts": system}));
    }
    let contents = contents.into_iter().map(|(role, parts)| {
        let role = if role == Role::Assistant { "model" } else { "user" };
        json!({"role": role, "parts": parts})
    });
    out.insert("contents".into(), contents.collect());
    if !conversation.tools.is_empty() {
        let declarations: Value = conversation.tools.iter().map(declaration).collect();
        out.insert("tools".into(), json!([{"functionDeclarations": declarations}]));
        if conversation.tools.iter().any(|tool| tool.strict == Some(true)) {
            dropped.push(Member::Strict);
        }
        // What nobody offers, nobody may be made to call.
        if let Some(choice) = &conversation.tool_choice {
            out.insert("toolConfig".into(), json!({"functionCallingConfig": calling(choice)}));
        }
    }
    if conversation.parallel_tools == Some(false) {
        dropped.push(Member::ParallelTools);
    }
    let config = generation(&conversation.sampling, &conversation.shape, &mut dropped);
    if !config.is_empty() {
        out.insert("generationConfig".into(), config.into());
    }
    dropped.sort_unstable();
    dropped.dedup();
    Written { body: Value::Object(out).to_string().into(), dropped }
}

/// Whether a model refuses calls that carry no signature: Gemini 3 and later, and names that move with the newest.
fn wants_signatures(model: &str) -> bool {
    let Some(version) = model.strip_prefix("gemini-") else { return false };
    let digits = version.bytes().take_while(u8::is_ascii_digit).count();
    digits == 0 || version[..digits].parse::<u32>().is_ok_and(|version| version >= 3)
}

/// Turns on their way to contents.
struct Contents {
    /// Names and places of calls, by id.
    calls: HashMap<String, (String, usize)>,
    dropped: Vec<Member>,
    signs: bool,
    system: Vec<Value>,
    contents: Vec<(Role, Vec<Value>)>,
}

impl Contents {
    fn turns(&mut self, conversation: &Conversation) {
        // Results that stand together: Google matches them to calls by their order.
        let mut results: Vec<(usize, Value)> = Vec::new();
        for turn in &conversation.turns {
            let mut parts = Vec::new();
            for part in &turn.parts {
                match part {
                    Part::ToolResult(result) => results.push(self.result(result)),
                    Part::Text(_)
                    | Part::Refusal(_)
                    | Part::Reasoning { .. }
                    | Part::Image(_)
                    | Part::ToolCall(_) => {
                        let first = !parts.iter().any(|part: &Value| part["functionCall"].is_object());
                        parts.extend(self.part(part, first));
                    }
                }
            }
            if !parts.is_empty() {
                self.flush(&mut results);
                self.push(turn.role, parts);
            }
        }
        self.flush(&mut results);
    }

    fn flush(&mut self, results: &mut Vec<(usize, Value)>) {
        if !results.is_empty() {
            results.sort_by_key(|(place, _)| *place);
            let parts = results.drain(..).map(|(_, part)| part).collect();
            self.push(Role::Tool, parts);
        }
    }

    fn push(&mut self, role: Role, parts: Vec<Value>) {
        match (role, self.contents.last_mut()) {
            (Role::System, _) => self.system.extend(parts),
            (_, Some((last, all))) if *last == role => all.extend(parts),
            (_, _) => self.contents.push((role, parts)),
        }
    }

    /// A part that is no result. Only the first of calls made at once carries a signature.
    fn part(&mut self, part: &Part, first_call: bool) -> Option<Value> {
        match part {
            Part::Text(text) | Part::Refusal(text) => Some(json!({"text": text})),
            // Thoughts prove themselves to the provider that had them, and to no other.
            Part::Reasoning { .. } => {
                self.dropped.push(Member::Reasoning);
                None
            }
            Part::Image(image) => Some(written_image(image)),
            Part::ToolCall(call) => Some(self.call(call, first_call)),
            Part::ToolResult(_) => None,
        }
    }

    fn call(&mut self, call: &ToolCall, first: bool) -> Value {
        let place = self.calls.len();
        self.calls.insert(call.id.clone(), (call.name.clone(), place));
        let mut part = Map::new();
        part.insert("functionCall".into(), written_call(call));
        let signature = call.signature.as_deref().filter(|signature| is_base64(signature));
        if let Some(signature) = signature.or((first && self.signs).then_some(FOREIGN_CALL)) {
            part.insert("thoughtSignature".into(), signature.into());
        }
        part.into()
    }

    /// A result and the place of its call.
    fn result(&self, result: &ToolResult) -> (usize, Value) {
        let known = self.calls.get(&result.id);
        let name = result.name.as_deref().or(known.map(|(name, _)| name.as_str()));
        let texts: Vec<&str> = result
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::Text(text) | Part::Refusal(text) => Some(text.as_str()),
                Part::Image(_) | Part::Reasoning { .. } | Part::ToolCall(_) | Part::ToolResult(_) => None,
            })
            .collect();
        let images = result.parts.iter().filter_map(|part| match part {
            Part::Image(image) => Some(written_image(image)),
            Part::Text(_)
            | Part::Refusal(_)
            | Part::Reasoning { .. }
            | Part::ToolCall(_)
            | Part::ToolResult(_) => None,
        });
        let images: Vec<Value> = images.collect();
        let mut out = Map::new();
        if !result.id.is_empty() && !is_ours(&result.id) {
            out.insert("id".into(), result.id.clone().into());
        }
        out.insert("name".into(), name.unwrap_or("function").into());
        out.insert("response".into(), told(texts.join("\n"), result.failed));
        if !images.is_empty() {
            out.insert("parts".into(), images.into());
        }
        (known.map_or(usize::MAX, |(_, place)| *place), json!({"functionResponse": out}))
    }
}

/// What a function told, as an object: an object of its own, or the members that Google reads.
fn told(text: String, failed: bool) -> Value {
    if failed {
        return json!({"error": text});
    }
    match serde_json::from_str(&text) {
        Ok(Value::Object(told)) if !speaks(&told) => told.into(),
        Ok(_) | Err(_) => json!({"output": text}),
    }
}

/// Whether an object would be read as more than itself.
fn speaks(told: &Map<String, Value>) -> bool {
    told.len() == 1 && ["output", "result", "error"].iter().any(|name| told.contains_key(*name))
}

/// A call of a function, in requests and answers.
pub(super) fn written_call(call: &ToolCall) -> Value {
    let mut out = Map::new();
    if !call.id.is_empty() && !is_ours(&call.id) {
        out.insert("id".into(), call.id.clone().into());
    }
    out.insert("name".into(), call.name.clone().into());
    let arguments = match serde_json::from_str(&call.arguments) {
        Ok(arguments @ Value::Object(_)) => arguments,
        Ok(_) | Err(_) if call.arguments.trim().is_empty() => json!({}),
        // A model's broken arguments: shown as they are, in the only shape there is.
        Ok(_) | Err(_) => json!({"arguments": call.arguments}),
    };
    out.insert("args".into(), arguments);
    out.into()
}

/// Whether a signature can be one here: Google's clients decode it.
pub(super) fn is_base64(signature: &str) -> bool {
    !signature.is_empty() && (STANDARD.decode(signature).is_ok() || URL_SAFE.decode(signature).is_ok())
}

pub(super) fn written_image(image: &Image) -> Value {
    match image {
        Image::Data { mime, base64 } => json!({"inlineData": {"mimeType": mime, "data": base64}}),
        Image::Url(url) => match mime_of(url) {
            Some(mime) => json!({"fileData": {"mimeType": mime, "fileUri": url}}),
            None => json!({"fileData": {"fileUri": url}}),
        },
    }
}

/// The kind of a picture by the end of its address.
fn mime_of(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let (_, end) = path.rsplit_once('.')?;
    let kinds = [
        ("png", "image/png"),
        ("jpg", "image/jpeg"),
        ("jpeg", "image/jpeg"),
        ("webp", "image/webp"),
        ("gif", "image/gif"),
        ("heic", "image/heic"),
        ("heif", "image/heif"),
    ];
    kinds.into_iter().find(|(name, _)| end.eq_ignore_ascii_case(name)).map(|(_, mime)| mime)
}

fn declaration(tool: &Tool) -> Value {
    let mut out = Map::new();
    out.insert("name".into(), tool.name.clone().into());
    put(&mut out, "description", tool.description.clone());
    put(&mut out, "parametersJsonSchema", tool.parameters.clone());
    out.into()
}

fn calling(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!({"mode": "AUTO"}),
        ToolChoice::None => json!({"mode": "NONE"}),
        ToolChoice::Required => json!({"mode": "ANY"}),
        ToolChoice::Named(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
    }
}

fn put(out: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        out.insert(name.into(), value.into());
    }
}

fn generation(sampling: &Sampling, shape: &Shape, dropped: &mut Vec<Member>) -> Map<String, Value> {
    let mut out = Map::new();
    put(&mut out, "maxOutputTokens", sampling.max_tokens);
    put(&mut out, "temperature", sampling.temperature);
    put(&mut out, "topP", sampling.top_p);
    put(&mut out, "topK", sampling.top_k);
    if !sampling.stop.is_empty() {
        out.insert("stopSequences".into(), sampling.stop.iter().take(MAX_STOPS).cloned().collect());
        if sampling.stop.len() > MAX_STOPS {
            dropped.push(Member::Stop);
        }
    }
    match sampling.seed.map(i32::try_from) {
        None => {}
        Some(Ok(seed)) => put(&mut out, "seed", Some(seed)),
        Some(Err(_)) => dropped.push(Member::Seed),
    }
    put(&mut out, "presencePenalty", sampling.presence_penalty);
    put(&mut out, "frequencyPenalty", sampling.frequency_penalty);
    put(&mut out, "candidateCount", sampling.n.filter(|n| *n != 1));
    put(&mut out, "responseLogprobs", sampling.logprobs);
    put(&mut out, "logprobs", sampling.top_logprobs.filter(|_| sampling.logprobs == Some(true)));
    match shape {
        Shape::Text => {}
        Shape::Json => put(&mut out, "responseMimeType", Some("application/json")),
        Shape::Schema { schema, .. } => {
            put(&mut out, "responseMimeType", Some("application/json"));
            put(&mut out, "responseJsonSchema", Some(schema.clone()));
        }
    }
    if let Some(thinking) = thinking(sampling, dropped) {
        out.insert("thinkingConfig".into(), thinking);
    }
    if sampling.user.is_some() {
        dropped.push(Member::User);
    }
    out
}

/// How much is thought, in tokens: every model that thinks understands that, levels only the newer ones.
fn thinking(sampling: &Sampling, dropped: &mut Vec<Member>) -> Option<Value> {
    if let Some(tokens) = sampling.reasoning_tokens {
        // Whoever sets a budget in another format is shown the thoughts there.
        return Some(if tokens == 0 {
            json!({"thinkingBudget": 0})
        } else {
            json!({"thinkingBudget": tokens, "includeThoughts": true})
        });
    }
    let tokens = match sampling.reasoning_effort.as_deref()? {
        "none" => 0,
        "minimal" | "low" => 1024,
        "medium" => 8192,
        "high" | "xhigh" | "max" => 24_576,
        _ => {
            dropped.push(Member::Effort);
            return None;
        }
    };
    Some(json!({"thinkingBudget": tokens}))
}
