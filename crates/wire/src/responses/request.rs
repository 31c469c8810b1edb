//! OpenAI's responses requests. What stands between two inputs of the caller (thoughts, words and tool calls of the
//! model) is one turn. Source: the API reference, "Create a model response".

use super::offer::{NOT_OFFERED, check_offered, refused_content, refused_item, refused_tool};
use crate::{
    Written,
    members::{Members, numbered, unsupported, wrong},
    openai::{image, image_url},
};
use portcullis_domain::{
    Conversation, Failure, Member, Part, Role, Sampling, Shape, Tool, ToolCall, ToolChoice, ToolResult, Turn,
};
use serde_json::{Map, Value, json};

/// Reads a request.
///
/// # Errors
/// `InvalidInput` naming the member.
pub fn read_request(body: &[u8]) -> Result<Conversation, Failure> {
    let mut all = Members::of_body(body)?;
    let mut unheld = Vec::new();
    for (member, _) in NOT_OFFERED {
        if let Some(value) = all.value(member) {
            check_offered(member, &value.to_string())?;
        }
    }
    // Told again in the answer, without meaning to a model; or only about how bytes travel.
    for member in ["model", "metadata", "store", "stream_options"] {
        drop(all.value(member));
    }
    let mut turns = Vec::new();
    if let Some(text) = all.text("instructions")? {
        turns.push(Turn { role: Role::System, parts: vec![Part::Text(text)] });
    }
    input(&mut all, &mut turns, &mut unheld)?;
    let mut tools = Vec::new();
    for (path, item) in all.items("tools")? {
        tools.push(tool(Members::of(item, path)?, &mut unheld)?);
    }
    let tool_choice = all.value("tool_choice").as_ref().map(tool_choice).transpose()?;
    let parallel_tools = all.flag("parallel_tool_calls")?;
    let shape = match all.object("text")? {
        Some(mut text) => {
            let shape = text.object("format")?.map(|format| shape(format, &mut unheld)).transpose()?;
            text.rest(&mut unheld);
            shape
        }
        None => None,
    };
    let reasoning_effort = match all.object("reasoning")? {
        Some(mut reasoning) => {
            let effort = reasoning.text("effort")?;
            reasoning.rest(&mut unheld);
            effort
        }
        None => None,
    };
    let stream = all.flag("stream")?.unwrap_or(false);
    let top_logprobs = all.count("top_logprobs")?;
    let sampling = Sampling {
        max_tokens: all.count("max_output_tokens")?,
        temperature: all.number("temperature")?,
        top_p: all.number("top_p")?,
        logprobs: top_logprobs.map(|_| true),
        top_logprobs,
        reasoning_effort,
        user: all.text("user")?,
        ..Sampling::default()
    };
    unless(&mut all, "truncation", &["disabled"], &mut unheld)?;
    unless(&mut all, "service_tier", &["auto", "default"], &mut unheld)?;
    all.rest(&mut unheld);
    let shape = shape.unwrap_or_default();
    Ok(Conversation { turns, tools, tool_choice, parallel_tools, shape, sampling, stream, unheld })
}

/// Takes a member that asks for what is done anyway, and names it if it asks for anything else.
fn unless(all: &mut Members, member: &str, done: &[&str], unheld: &mut Vec<String>) -> Result<(), Failure> {
    match all.text(member)? {
        Some(wanted) if !done.contains(&wanted.as_str()) => unheld.push(all.name(member)),
        Some(_) | None => {}
    }
    Ok(())
}

fn input(all: &mut Members, turns: &mut Vec<Turn>, unheld: &mut Vec<String>) -> Result<(), Failure> {
    match all.value("input") {
        Some(Value::String(text)) => turns.push(Turn { role: Role::User, parts: vec![Part::Text(text)] }),
        Some(Value::Array(items)) => {
            for (path, one) in numbered("input", items) {
                item(Members::of(one, path)?, turns, unheld)?;
            }
        }
        Some(_) | None => return Err(wrong("input", "a string or an array of items")),
    }
    Ok(())
}

fn item(mut item: Members, turns: &mut Vec<Turn>, unheld: &mut Vec<String>) -> Result<(), Failure> {
    let kind = item.text("type")?;
    // What an answer says of its items when they are sent back with the next question.
    for member in ["id", "status", "phase"] {
        drop(item.value(member));
    }
    match kind.as_deref() {
        None | Some("message") => {
            let role = match item.must_text("role")?.as_str() {
                "system" | "developer" => Role::System,
                "user" => Role::User,
                "assistant" => Role::Assistant,
                _ => return Err(wrong(&item.name("role"), "system, developer, user or assistant")),
            };
            let path = item.name("content");
            let parts = contents(item.value("content"), &path, unheld)?;
            match role {
                Role::Assistant => said(turns, parts),
                Role::System | Role::User | Role::Tool => turns.push(Turn { role, parts }),
            }
        }
        Some("function_call") => {
            let id = item.must_text("call_id")?;
            let name = item.must_text("name")?;
            let arguments = item.text("arguments")?.unwrap_or_default();
            said(turns, vec![Part::ToolCall(ToolCall { id, name, arguments, signature: None })]);
        }
        Some("function_call_output") => {
            let id = item.must_text("call_id")?;
            let name = item.text("name")?;
            let path = item.name("output");
            let parts = contents(item.value("output"), &path, unheld)?;
            let result = ToolResult { id, name, parts, failed: false };
            turns.push(Turn { role: Role::Tool, parts: vec![Part::ToolResult(result)] });
        }
        Some("reasoning") => {
            let signature = item.text("encrypted_content")?;
            let (content, summary) = (thoughts(&mut item, "content")?, thoughts(&mut item, "summary")?);
            let text = if content.is_empty() { summary } else { content };
            said(turns, vec![Part::Reasoning { text, signature }]);
        }
        Some(_) => return Err(refused_item(&item.name("type"))),
    }
    item.rest(unheld);
    Ok(())
}

/// Adds to what the model said.
fn said(turns: &mut Vec<Turn>, parts: Vec<Part>) {
    match turns.last_mut() {
        Some(turn) if turn.role == Role::Assistant => turn.parts.extend(parts),
        Some(_) | None => turns.push(Turn { role: Role::Assistant, parts }),
    }
}

fn thoughts(item: &mut Members, member: &str) -> Result<String, Failure> {
    let mut texts = Vec::new();
    for (path, one) in item.items(member)? {
        texts.push(Members::of(one, path)?.must_text("text")?);
    }
    Ok(texts.join("\n\n"))
}

fn contents(value: Option<Value>, path: &str, unheld: &mut Vec<String>) -> Result<Vec<Part>, Failure> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::Text(text)]),
        Some(Value::Array(items)) => numbered(path, items)
            .into_iter()
            .map(|(path, one)| content(Members::of(one, path)?, unheld))
            .collect(),
        Some(_) => Err(wrong(path, "a string or an array of typed parts")),
    }
}

fn content(mut part: Members, unheld: &mut Vec<String>) -> Result<Part, Failure> {
    let read = match part.must_text("type")?.as_str() {
        "input_text" => Part::Text(part.must_text("text")?),
        "output_text" => {
            drop((part.value("annotations"), part.value("logprobs")));
            Part::Text(part.must_text("text")?)
        }
        "refusal" => Part::Refusal(part.must_text("refusal")?),
        "input_image" => {
            unless(&mut part, "detail", &["auto"], unheld)?;
            let path = part.name("image_url");
            let url = part
                .text("image_url")?
                .ok_or_else(|| unsupported(&path, "A picture needs image_url; files are not stored here."))?;
            Part::Image(image(url))
        }
        _ => return Err(refused_content(&part.name("type"))),
    };
    part.rest(unheld);
    Ok(read)
}

fn tool(mut tool: Members, unheld: &mut Vec<String>) -> Result<Tool, Failure> {
    if tool.must_text("type")? != "function" {
        return Err(refused_tool(&tool.name("type")));
    }
    let read = Tool {
        name: tool.must_text("name")?,
        description: tool.text("description")?,
        parameters: tool.value("parameters"),
        strict: tool.flag("strict")?,
    };
    tool.rest(unheld);
    Ok(read)
}

fn tool_choice(value: &Value) -> Result<ToolChoice, Failure> {
    let rule = || wrong("tool_choice", "\"auto\", \"none\", \"required\" or a function by name");
    match (value.as_str(), value["type"].as_str()) {
        (Some("auto"), _) => Ok(ToolChoice::Auto),
        (Some("none"), _) => Ok(ToolChoice::None),
        (Some("required"), _) => Ok(ToolChoice::Required),
        (None, Some("function")) => {
            value["name"].as_str().map(|name| ToolChoice::Named(name.to_owned())).ok_or_else(rule)
        }
        (None, Some(_)) => Err(refused_tool("tool_choice.type")),
        (Some(_), _) | (None, None) => Err(rule()),
    }
}

fn shape(mut format: Members, unheld: &mut Vec<String>) -> Result<Shape, Failure> {
    let read = match format.must_text("type")?.as_str() {
        "text" => Shape::Text,
        "json_object" => Shape::Json,
        "json_schema" => Shape::Schema {
            name: format.must_text("name")?,
            description: format.text("description")?,
            schema: format.value("schema").unwrap_or_else(|| json!({})),
            strict: format.flag("strict")?,
        },
        _ => return Err(wrong(&format.name("type"), "text, json_object or json_schema")),
    };
    format.rest(unheld);
    Ok(read)
}

/// Writes a request.
#[must_use]
pub fn write_request(conversation: &Conversation, model: &str) -> Written {
    let mut out = Map::new();
    out.insert("model".into(), model.into());
    out.insert("store".into(), false.into());
    let mut turns = conversation.turns.as_slice();
    if let [Turn { role: Role::System, parts }, rest @ ..] = turns
        && let [Part::Text(text)] = parts.as_slice()
    {
        out.insert("instructions".into(), text.clone().into());
        turns = rest;
    }
    let mut items = Vec::new();
    turns.iter().for_each(|turn| written_turn(turn, &mut items));
    out.insert("input".into(), items.into());
    if !conversation.tools.is_empty() {
        out.insert("tools".into(), conversation.tools.iter().map(written_tool).collect());
    }
    if let Some(choice) = &conversation.tool_choice {
        out.insert("tool_choice".into(), written_choice(choice));
    }
    put(&mut out, "parallel_tool_calls", conversation.parallel_tools);
    if let Some(format) = written_shape(&conversation.shape) {
        out.insert("text".into(), json!({"format": format}));
    }
    if conversation.stream {
        out.insert("stream".into(), true.into());
    }
    let sampling = &conversation.sampling;
    put(&mut out, "max_output_tokens", sampling.max_tokens);
    put(&mut out, "temperature", sampling.temperature);
    put(&mut out, "top_p", sampling.top_p);
    put(&mut out, "top_logprobs", sampling.top_logprobs);
    if let Some(effort) = &sampling.reasoning_effort {
        out.insert("reasoning".into(), json!({"effort": effort}));
    }
    put(&mut out, "user", sampling.user.clone());
    Written { body: Value::Object(out).to_string().into(), dropped: unsaid(sampling) }
}

/// What this format has no words for.
fn unsaid(sampling: &Sampling) -> Vec<Member> {
    let effort = sampling.reasoning_tokens.is_some() && sampling.reasoning_effort.is_none();
    let logprobs = sampling.logprobs == Some(true) && sampling.top_logprobs.is_none();
    let mut dropped: Vec<Member> = [
        (sampling.top_k.is_some(), Member::TopK),
        (sampling.seed.is_some(), Member::Seed),
        (sampling.presence_penalty.is_some(), Member::PresencePenalty),
        (sampling.frequency_penalty.is_some(), Member::FrequencyPenalty),
        (sampling.n.is_some_and(|n| n > 1), Member::N),
        (logprobs, Member::Logprobs),
        (!sampling.stop.is_empty(), Member::Stop),
        (effort, Member::Effort),
    ]
    .into_iter()
    .filter_map(|(said, member)| said.then_some(member))
    .collect();
    dropped.sort_unstable();
    dropped
}

fn put(out: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        out.insert(name.into(), value.into());
    }
}

/// The items of a turn: words that follow each other are one message.
fn written_turn(turn: &Turn, items: &mut Vec<Value>) {
    let role = match turn.role {
        Role::System => "developer",
        Role::User | Role::Tool => "user",
        Role::Assistant => "assistant",
    };
    let mut content = Vec::new();
    let message = |content: &mut Vec<Value>, items: &mut Vec<Value>| {
        if !content.is_empty() {
            items.push(json!({"type": "message", "role": role, "content": std::mem::take(content)}));
        }
    };
    for part in &turn.parts {
        match part {
            Part::Text(_) | Part::Refusal(_) | Part::Image(_) => {
                content.extend(written_content(part, turn.role));
                continue;
            }
            Part::Reasoning { .. } | Part::ToolCall(_) | Part::ToolResult(_) => {}
        }
        message(&mut content, items);
        match part {
            Part::Reasoning { text, signature } => {
                let summary: Value =
                    if text.is_empty() { json!([]) } else { json!([{"type": "summary_text", "text": text}]) };
                let id = format!("rs_{}", items.len());
                let mut item = json!({"type": "reasoning", "id": id, "summary": summary});
                if let Some(signature) = signature {
                    item["encrypted_content"] = signature.clone().into();
                }
                items.push(item);
            }
            Part::ToolCall(call) => items.push(json!({
                "type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments,
            })),
            Part::ToolResult(result) => items.push(json!({
                "type": "function_call_output", "call_id": result.id, "output": written_output(result),
            })),
            Part::Text(_) | Part::Refusal(_) | Part::Image(_) => {}
        }
    }
    message(&mut content, items);
}

/// A part of a message, or of what a tool answered.
fn written_content(part: &Part, role: Role) -> Option<Value> {
    match (part, role) {
        (Part::Text(text), Role::Assistant) => {
            Some(json!({"type": "output_text", "text": text, "annotations": []}))
        }
        (Part::Text(text), Role::System | Role::User | Role::Tool) => {
            Some(json!({"type": "input_text", "text": text}))
        }
        (Part::Refusal(text), _) => Some(json!({"type": "refusal", "refusal": text})),
        (Part::Image(image), _) => {
            Some(json!({"type": "input_image", "detail": "auto", "image_url": image_url(image)}))
        }
        (Part::Reasoning { .. } | Part::ToolCall(_) | Part::ToolResult(_), _) => None,
    }
}

/// One text is a string.
fn written_output(result: &ToolResult) -> Value {
    match result.parts.as_slice() {
        [] => "".into(),
        [Part::Text(text)] => text.clone().into(),
        parts => parts.iter().filter_map(|part| written_content(part, Role::Tool)).collect(),
    }
}

fn written_tool(tool: &Tool) -> Value {
    let mut out = Map::new();
    out.insert("type".into(), "function".into());
    out.insert("name".into(), tool.name.clone().into());
    put(&mut out, "description", tool.description.clone());
    put(&mut out, "parameters", tool.parameters.clone());
    put(&mut out, "strict", tool.strict);
    out.into()
}

fn written_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => json!({"type": "function", "name": name}),
    }
}

fn written_shape(shape: &Shape) -> Option<Value> {
    match shape {
        Shape::Text => None,
        Shape::Json => Some(json!({"type": "json_object"})),
        Shape::Schema { name, description, schema, strict } => {
            let mut out = Map::new();
            out.insert("type".into(), "json_schema".into());
            out.insert("name".into(), name.clone().into());
            put(&mut out, "description", description.clone());
            out.insert("schema".into(), schema.clone());
            put(&mut out, "strict", *strict);
            Some(out.into())
        }
    }
}
