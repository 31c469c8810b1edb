//! Reads Anthropic's requests. A result of a tool stands in a user's message here and becomes a turn of its own.

use super::REDACTED;
use crate::members::{Members, numbered, unsupported, wrong};
use portcullis_domain::{
    Conversation, Failure, Image, Part, Role, Sampling, Shape, Tool, ToolCall, ToolChoice, ToolResult, Turn,
};
use serde_json::{Value, json};

/// The name of a schema, which this format does not give.
const SCHEMA_NAME: &str = "answer";

/// What has no meaning elsewhere and stands everywhere: named once.
const CACHE_CONTROL: &str = "cache_control";

/// Reads a request.
///
/// # Errors
/// `InvalidInput` naming the member.
pub fn read_request(body: &[u8]) -> Result<Conversation, Failure> {
    let mut all = Members::of_body(body)?;
    let mut unheld = Vec::new();
    drop(all.value("model"));
    let mut turns = Vec::new();
    let system = contents(&mut all, "system", Role::System, &mut unheld)?;
    if !system.is_empty() {
        turns.push(Turn { role: Role::System, parts: system });
    }
    for (path, message) in all.items("messages")? {
        read_message(Members::of(message, path)?, &mut turns, &mut unheld)?;
    }
    let mut tools = Vec::new();
    for (path, item) in all.items("tools")? {
        tools.push(tool(Members::of(item, path)?, &mut unheld)?);
    }
    let (tool_choice, parallel_tools) = match all.object("tool_choice")? {
        None => (None, None),
        Some(choice) => read_choice(choice, &mut unheld)?,
    };
    let (shape, effort) = output_config(&mut all, &mut unheld)?;
    let thinking = thinking(&mut all, effort.is_some(), &mut unheld)?;
    let user = match all.object("metadata")? {
        None => None,
        Some(mut metadata) => {
            let user = metadata.text("user_id")?;
            metadata.rest(&mut unheld);
            user
        }
    };
    let stop = match all.value("stop_sequences") {
        None => Vec::new(),
        Some(value) => {
            serde_json::from_value(value).map_err(|_| wrong("stop_sequences", "an array of strings"))?
        }
    };
    let sampling = Sampling {
        max_tokens: all.count("max_tokens")?,
        temperature: all.number("temperature")?,
        top_p: all.number("top_p")?,
        top_k: all.count("top_k")?,
        stop,
        reasoning_effort: effort,
        reasoning_tokens: thinking,
        user,
        ..Sampling::default()
    };
    let stream = all.flag("stream")?.unwrap_or(false);
    rest(all, &mut unheld);
    Ok(Conversation { turns, tools, tool_choice, parallel_tools, shape, sampling, stream, unheld })
}

/// What is left of an object, with what stands everywhere named once.
fn rest(mut members: Members, unheld: &mut Vec<String>) {
    if members.value(CACHE_CONTROL).is_some() && !unheld.iter().any(|name| name == CACHE_CONTROL) {
        unheld.push(CACHE_CONTROL.to_owned());
    }
    members.rest(unheld);
}

/// A message; results of tools become turns of their own.
fn read_message(
    mut message: Members,
    turns: &mut Vec<Turn>,
    unheld: &mut Vec<String>,
) -> Result<(), Failure> {
    let role = match message.must_text("role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(wrong(&message.name("role"), "user, assistant or system")),
    };
    let parts = contents(&mut message, "content", role, unheld)?;
    rest(message, unheld);
    let first = turns.len();
    if parts.is_empty() {
        turns.push(Turn { role, parts });
        return Ok(());
    }
    for part in parts {
        let role = if matches!(part, Part::ToolResult(_)) { Role::Tool } else { role };
        match turns.get_mut(first..).and_then(<[Turn]>::last_mut) {
            Some(last) if last.role == role => last.parts.push(part),
            Some(_) | None => turns.push(Turn { role, parts: vec![part] }),
        }
    }
    Ok(())
}

/// A string or blocks.
fn contents(
    members: &mut Members,
    member: &str,
    role: Role,
    unheld: &mut Vec<String>,
) -> Result<Vec<Part>, Failure> {
    let path = members.name(member);
    match members.value(member) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::Text(text)]),
        Some(Value::Array(items)) => numbered(&path, items)
            .into_iter()
            .map(|(path, item)| block(Members::of(item, path)?, role, unheld))
            .collect(),
        Some(_) => Err(wrong(&path, "a string or an array of typed blocks")),
    }
}

fn block(mut block: Members, role: Role, unheld: &mut Vec<String>) -> Result<Part, Failure> {
    let kind = block.must_text("type")?;
    let read = match (kind.as_str(), role) {
        ("text", _) => Part::Text(block.must_text("text")?),
        ("image", Role::User | Role::Tool) => {
            let source = block.object("source")?.ok_or_else(|| wrong(&block.name("source"), "an object"))?;
            Part::Image(image(source, unheld)?)
        }
        ("tool_result", Role::User) => {
            let id = block.must_text("tool_use_id")?;
            let parts = contents(&mut block, "content", Role::Tool, unheld)?;
            let failed = block.flag("is_error")?.unwrap_or(false);
            Part::ToolResult(ToolResult { id, name: None, parts, failed })
        }
        ("tool_use", Role::Assistant) => Part::ToolCall(ToolCall {
            id: block.must_text("id")?,
            name: block.must_text("name")?,
            arguments: block.value("input").unwrap_or_else(|| json!({})).to_string(),
            signature: None,
        }),
        ("thinking", Role::Assistant) => Part::Reasoning {
            text: block.must_text("thinking")?,
            signature: block.text("signature")?.filter(|signature| !signature.is_empty()),
        },
        ("redacted_thinking", Role::Assistant) => Part::Reasoning {
            text: String::new(),
            signature: Some(format!("{REDACTED}{}", block.must_text("data")?)),
        },
        (other, _) => {
            let shown: String = other.chars().filter(|c| !c.is_control()).take(32).collect();
            let message = format!("Blocks of type `{shown}` are not understood here by this model.");
            return Err(unsupported(&block.name("type"), message));
        }
    };
    rest(block, unheld);
    Ok(read)
}

fn image(mut source: Members, unheld: &mut Vec<String>) -> Result<Image, Failure> {
    let read = match source.must_text("type")?.as_str() {
        "base64" => Image::Data { mime: source.must_text("media_type")?, base64: source.must_text("data")? },
        "url" => Image::Url(source.must_text("url")?),
        _ => {
            return Err(unsupported(
                &source.name("type"),
                "Only pictures of type base64 or url can be given to this model.",
            ));
        }
    };
    rest(source, unheld);
    Ok(read)
}

fn tool(mut tool: Members, unheld: &mut Vec<String>) -> Result<Tool, Failure> {
    if let Some(kind) = tool.text("type")?
        && kind != "custom"
    {
        let message = "Only tools with an input_schema of your own can be offered to this model.";
        return Err(unsupported(&tool.name("type"), message));
    }
    let read = Tool {
        name: tool.must_text("name")?,
        description: tool.text("description")?,
        parameters: tool.value("input_schema"),
        strict: tool.flag("strict")?,
    };
    rest(tool, unheld);
    Ok(read)
}

fn read_choice(
    mut choice: Members,
    unheld: &mut Vec<String>,
) -> Result<(Option<ToolChoice>, Option<bool>), Failure> {
    let read = match choice.must_text("type")?.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(choice.must_text("name")?),
        _ => return Err(wrong(&choice.name("type"), "auto, any, tool or none")),
    };
    let one_by_one = choice.flag("disable_parallel_tool_use")?;
    choice.rest(unheld);
    Ok((Some(read), one_by_one.map(|disabled| !disabled)))
}

/// What the answer must look like, and with how much effort.
fn output_config(all: &mut Members, unheld: &mut Vec<String>) -> Result<(Shape, Option<String>), Failure> {
    let Some(mut config) = all.object("output_config")? else { return Ok((Shape::Text, None)) };
    let effort = match config.text("effort")?.as_deref() {
        None => None,
        Some("low") => Some("low"),
        Some("medium") => Some("medium"),
        // The rest of the field ends here.
        Some("high" | "xhigh" | "max") => Some("high"),
        Some(_) => return Err(wrong(&config.name("effort"), "low, medium, high, xhigh or max")),
    };
    let shape = match config.object("format")? {
        None => Shape::Text,
        Some(mut format) => {
            if format.must_text("type")? != "json_schema" {
                return Err(wrong(&format.name("type"), "json_schema"));
            }
            let schema =
                format.value("schema").ok_or_else(|| wrong(&format.name("schema"), "a JSON schema"))?;
            format.rest(unheld);
            Shape::Schema { name: SCHEMA_NAME.into(), description: None, schema, strict: Some(true) }
        }
    };
    config.rest(unheld);
    Ok((shape, effort.map(str::to_owned)))
}

/// Tokens that thinking may take. A model that decides itself is told an effort, if anything.
fn thinking(all: &mut Members, effort: bool, unheld: &mut Vec<String>) -> Result<Option<u32>, Failure> {
    let Some(mut thinking) = all.object("thinking")? else { return Ok(None) };
    let read = match thinking.must_text("type")?.as_str() {
        "disabled" => Some(0),
        "enabled" => thinking.count("budget_tokens")?,
        _ => {
            if !effort {
                unheld.push("thinking".to_owned());
            }
            None
        }
    };
    thinking.rest(unheld);
    Ok(read)
}
