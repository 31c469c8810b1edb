//! OpenAI's chat requests. Source: the API reference, "Create chat completion".

use crate::{
    Written,
    members::{Members, numbered, unsupported, wrong},
};
use portcullis_domain::{
    Conversation, Failure, Image, Member, Part, Role, Sampling, Shape, Tool, ToolCall, ToolChoice,
    ToolResult, Turn,
};
use serde_json::{Map, Value, json};

/// Reads a request.
///
/// # Errors
/// `InvalidInput` naming the member.
pub fn read_request(body: &[u8]) -> Result<Conversation, Failure> {
    let mut all = Members::of_body(body)?;
    let mut unheld = Vec::new();
    drop(all.value("model"));
    let mut turns = Vec::new();
    for (path, message) in all.items("messages")? {
        turns.push(turn(Members::of(message, path)?, &mut unheld)?);
    }
    let mut tools = Vec::new();
    for (path, item) in all.items("tools")? {
        tools.push(tool(Members::of(item, path)?, &mut unheld)?);
    }
    let tool_choice = all.value("tool_choice").as_ref().map(tool_choice).transpose()?;
    let parallel_tools = all.flag("parallel_tool_calls")?;
    let shape = all.object("response_format")?.map(|format| shape(format, &mut unheld)).transpose()?;
    let stream = all.flag("stream")?.unwrap_or(false);
    drop(all.value("stream_options"));
    let max_tokens = (all.count("max_completion_tokens")?, all.count("max_tokens")?);
    let sampling = Sampling {
        max_tokens: max_tokens.0.or(max_tokens.1),
        temperature: all.number("temperature")?,
        top_p: all.number("top_p")?,
        top_k: all.count("top_k")?,
        stop: stop(&mut all)?,
        seed: all.whole("seed")?,
        presence_penalty: all.number("presence_penalty")?,
        frequency_penalty: all.number("frequency_penalty")?,
        n: all.count("n")?,
        logprobs: all.flag("logprobs")?,
        top_logprobs: all.count("top_logprobs")?,
        reasoning_effort: all.text("reasoning_effort")?,
        reasoning_tokens: None,
        user: all.text("user")?,
    };
    all.rest(&mut unheld);
    let shape = shape.unwrap_or_default();
    Ok(Conversation { turns, tools, tool_choice, parallel_tools, shape, sampling, stream, unheld })
}

fn stop(all: &mut Members) -> Result<Vec<String>, Failure> {
    let rule = || wrong("stop", "a string or an array of strings");
    match all.value("stop") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(value) => serde_json::from_value(value).map_err(|_| rule()),
    }
}

fn turn(mut message: Members, unheld: &mut Vec<String>) -> Result<Turn, Failure> {
    let role = match message.must_text("role")?.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        _ => return Err(wrong(&message.name("role"), "system, developer, user, assistant or tool")),
    };
    let mut parts = Vec::new();
    if let Some(thoughts) = message.text("reasoning_content")?
        && role == Role::Assistant
    {
        parts.push(Part::Reasoning { text: thoughts, signature: None });
    }
    let path = message.name("content");
    match message.value("content") {
        None => {}
        Some(Value::String(text)) => parts.push(Part::Text(text)),
        Some(Value::Array(items)) => {
            for (path, item) in numbered(&path, items) {
                parts.push(content(Members::of(item, path)?, unheld)?);
            }
        }
        Some(_) => return Err(wrong(&path, "a string or an array of typed parts")),
    }
    if let Some(refusal) = message.text("refusal")? {
        parts.push(Part::Refusal(refusal));
    }
    for (path, item) in message.items("tool_calls")? {
        parts.push(Part::ToolCall(tool_call(Members::of(item, path)?, unheld)?));
    }
    if role == Role::Tool {
        let id = message.text("tool_call_id")?.unwrap_or_default();
        let name = message.text("name")?;
        parts = vec![Part::ToolResult(ToolResult { id, name, parts, failed: false })];
    }
    message.rest(unheld);
    Ok(Turn { role, parts })
}

fn content(mut part: Members, unheld: &mut Vec<String>) -> Result<Part, Failure> {
    let kind = part.must_text("type")?;
    let read = match kind.as_str() {
        "text" => Part::Text(part.must_text("text")?),
        "refusal" => Part::Refusal(part.must_text("refusal")?),
        "image_url" => {
            let mut inside =
                part.object("image_url")?.ok_or_else(|| wrong(&part.name("image_url"), "an object"))?;
            let url = inside.must_text("url")?;
            inside.rest(unheld);
            Part::Image(image(url))
        }
        other => {
            let shown: String = other.chars().filter(|c| !c.is_control()).take(32).collect();
            return Err(unsupported(
                &part.name("type"),
                format!("Parts of type `{shown}` are not understood by this model."),
            ));
        }
    };
    part.rest(unheld);
    Ok(read)
}

/// A `data:` address holds the picture itself.
pub(crate) fn image(url: String) -> Image {
    let inside = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match inside {
        Some((mime, base64)) => Image::Data { mime: mime.to_owned(), base64: base64.to_owned() },
        None => Image::Url(url),
    }
}

/// The address of a picture, wherever it is.
pub(crate) fn image_url(image: &Image) -> String {
    match image {
        Image::Url(url) => url.clone(),
        Image::Data { mime, base64 } => format!("data:{mime};base64,{base64}"),
    }
}

fn tool_call(mut call: Members, unheld: &mut Vec<String>) -> Result<ToolCall, Failure> {
    let id = call.text("id")?.unwrap_or_default();
    drop(call.value("type"));
    let mut inside = call.object("function")?.ok_or_else(|| wrong(&call.name("function"), "an object"))?;
    let name = inside.must_text("name")?;
    let arguments = inside.text("arguments")?.unwrap_or_else(|| "{}".to_owned());
    // Where OpenAI's wire of Google keeps the signature of a call.
    let signature = call
        .value("extra_content")
        .and_then(|extra| extra.pointer("/google/thought_signature")?.as_str().map(str::to_owned));
    inside.rest(unheld);
    call.rest(unheld);
    Ok(ToolCall { id, name, arguments, signature })
}

fn tool(mut tool: Members, unheld: &mut Vec<String>) -> Result<Tool, Failure> {
    if let Some(kind) = tool.text("type")?
        && kind != "function"
    {
        return Err(unsupported(
            &tool.name("type"),
            "Only tools of type function can be offered to this model.",
        ));
    }
    let mut inside = tool.object("function")?.ok_or_else(|| wrong(&tool.name("function"), "an object"))?;
    let read = Tool {
        name: inside.must_text("name")?,
        description: inside.text("description")?,
        parameters: inside.value("parameters"),
        strict: inside.flag("strict")?,
    };
    inside.rest(unheld);
    tool.rest(unheld);
    Ok(read)
}

fn tool_choice(value: &Value) -> Result<ToolChoice, Failure> {
    let rule = || wrong("tool_choice", "\"auto\", \"none\", \"required\" or a function by name");
    match value.as_str() {
        Some("auto") => Ok(ToolChoice::Auto),
        Some("none") => Ok(ToolChoice::None),
        Some("required" | "any") => Ok(ToolChoice::Required),
        Some(_) => Err(rule()),
        None => {
            let name = value.pointer("/function/name").and_then(Value::as_str).ok_or_else(rule)?;
            Ok(ToolChoice::Named(name.to_owned()))
        }
    }
}

fn shape(mut format: Members, unheld: &mut Vec<String>) -> Result<Shape, Failure> {
    let read = match format.must_text("type")?.as_str() {
        "text" => Shape::Text,
        "json_object" => Shape::Json,
        "json_schema" => {
            let path = format.name("json_schema");
            let mut inside = format.object("json_schema")?.ok_or_else(|| wrong(&path, "an object"))?;
            let read = Shape::Schema {
                name: inside.must_text("name")?,
                description: inside.text("description")?,
                schema: inside.value("schema").unwrap_or_else(|| json!({})),
                strict: inside.flag("strict")?,
            };
            inside.rest(unheld);
            read
        }
        _ => return Err(wrong(&format.name("type"), "text, json_object or json_schema")),
    };
    format.rest(unheld);
    Ok(read)
}

/// Writes a request.
#[must_use]
pub fn write_request(conversation: &Conversation, model: &str) -> Written {
    let mut dropped = Vec::new();
    let mut out = Map::new();
    out.insert("model".into(), model.into());
    let messages = conversation.turns.iter().flat_map(|turn| messages(turn, &mut dropped)).collect();
    out.insert("messages".into(), Value::Array(messages));
    if !conversation.tools.is_empty() {
        out.insert("tools".into(), conversation.tools.iter().map(written_tool).collect());
    }
    if let Some(choice) = &conversation.tool_choice {
        out.insert("tool_choice".into(), written_choice(choice));
    }
    put(&mut out, "parallel_tool_calls", conversation.parallel_tools);
    if let Some(format) = written_shape(&conversation.shape) {
        out.insert("response_format".into(), format);
    }
    if conversation.stream {
        out.insert("stream".into(), true.into());
        out.insert("stream_options".into(), json!({"include_usage": true}));
    }
    let Sampling { max_tokens, temperature, top_p, top_k, stop, seed, n, .. } = &conversation.sampling;
    let sampling = &conversation.sampling;
    put(&mut out, "max_tokens", *max_tokens);
    put(&mut out, "temperature", *temperature);
    put(&mut out, "top_p", *top_p);
    if top_k.is_some() {
        dropped.push(Member::TopK);
    }
    if !stop.is_empty() {
        out.insert("stop".into(), stop.iter().take(MAX_STOPS).cloned().collect());
        if stop.len() > MAX_STOPS {
            dropped.push(Member::Stop);
        }
    }
    put(&mut out, "seed", *seed);
    put(&mut out, "presence_penalty", sampling.presence_penalty);
    put(&mut out, "frequency_penalty", sampling.frequency_penalty);
    put(&mut out, "n", *n);
    put(&mut out, "logprobs", sampling.logprobs);
    put(&mut out, "top_logprobs", sampling.top_logprobs);
    put(&mut out, "reasoning_effort", sampling.reasoning_effort.clone());
    if sampling.reasoning_tokens.is_some() && sampling.reasoning_effort.is_none() {
        dropped.push(Member::Effort);
    }
    put(&mut out, "user", sampling.user.clone());
    dropped.sort_unstable();
    dropped.dedup();
    Written { body: Value::Object(out).to_string().into(), dropped }
}

/// OpenAI takes no more.
const MAX_STOPS: usize = 4;

fn put(out: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        out.insert(name.into(), value.into());
    }
}

/// The messages of a turn: a tool's results are one message each.
fn messages(turn: &Turn, dropped: &mut Vec<Member>) -> Vec<Value> {
    let mut out = Vec::new();
    let (mut content, mut calls) = (Vec::new(), Vec::new());
    for part in &turn.parts {
        match part {
            Part::Text(text) => content.push(json!({"type": "text", "text": text})),
            Part::Refusal(text) => content.push(json!({"type": "refusal", "refusal": text})),
            Part::Image(image) => {
                content.push(json!({"type": "image_url", "image_url": {"url": image_url(image)}}));
            }
            // OpenAI's models keep their thoughts to themselves.
            Part::Reasoning { .. } => dropped.push(Member::Reasoning),
            Part::ToolCall(call) => calls.push(json!({
                "id": call.id, "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            })),
            Part::ToolResult(result) => out.push(result_message(result)),
        }
    }
    if content.is_empty() && calls.is_empty() {
        return out;
    }
    let role = match turn.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "user",
    };
    let mut message = Map::new();
    message.insert("role".into(), role.into());
    message.insert("content".into(), joined(content));
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    out.push(message.into());
    out
}

fn result_message(result: &ToolResult) -> Value {
    let mut content = Vec::new();
    for part in &result.parts {
        match part {
            Part::Text(text) => content.push(json!({"type": "text", "text": text})),
            Part::Image(image) => {
                content.push(json!({"type": "image_url", "image_url": {"url": image_url(image)}}));
            }
            Part::Refusal(_) | Part::Reasoning { .. } | Part::ToolCall(_) | Part::ToolResult(_) => {}
        }
    }
    json!({"role": "tool", "tool_call_id": result.id, "content": joined(content)})
}

/// One text is a string: what every compatible server understands.
fn joined(mut content: Vec<Value>) -> Value {
    match content.as_mut_slice() {
        [] => Value::Null,
        [only] if only["type"] == "text" => only["text"].take(),
        _ => content.into(),
    }
}

fn written_tool(tool: &Tool) -> Value {
    let mut inside = Map::new();
    inside.insert("name".into(), tool.name.clone().into());
    put(&mut inside, "description", tool.description.clone());
    put(&mut inside, "parameters", tool.parameters.clone());
    put(&mut inside, "strict", tool.strict);
    json!({"type": "function", "function": inside})
}

fn written_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
    }
}

fn written_shape(shape: &Shape) -> Option<Value> {
    match shape {
        Shape::Text => None,
        Shape::Json => Some(json!({"type": "json_object"})),
        Shape::Schema { name, description, schema, strict } => {
            let mut inside = Map::new();
            inside.insert("name".into(), name.clone().into());
            put(&mut inside, "description", description.clone());
            inside.insert("schema".into(), schema.clone());
            put(&mut inside, "strict", *strict);
            Some(json!({"type": "json_schema", "json_schema": inside}))
        }
    }
}
