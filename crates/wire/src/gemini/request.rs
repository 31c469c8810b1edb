//! Google's requests, read. Source: the API reference, "models.generateContent".

use super::{ids::Calls, schema::to_json_schema};
use crate::members::{Members, unsupported, wrong};
use portcullis_domain::{
    Conversation, Failure, Image, Part, Role, Sampling, Shape, Tool, ToolCall, ToolChoice, ToolResult, Turn,
};
use serde_json::{Map, Value};

/// Reads a request; `stream` says the address, not the body.
///
/// # Errors
/// `InvalidInput` naming the member.
pub fn read_request(body: &[u8], stream: bool) -> Result<Conversation, Failure> {
    let mut all = Members::of_body(body)?.in_camel_case();
    let (mut unheld, mut calls, mut turns) = (Vec::new(), Calls::default(), Vec::new());
    drop(all.value("model"));
    if let Some(system) = all.object("systemInstruction")? {
        let mut system = system.in_camel_case();
        drop(system.value("role"));
        read_parts(system, Role::System, &mut calls, &mut turns, &mut unheld)?;
    }
    for (path, content) in all.items("contents")? {
        let mut content = Members::of(content, path)?.in_camel_case();
        let role = match content.text("role")?.as_deref() {
            None | Some("" | "user" | "function") => Role::User,
            Some("model") => Role::Assistant,
            Some(_) => return Err(wrong(&content.name("role"), "user or model")),
        };
        read_parts(content, role, &mut calls, &mut turns, &mut unheld)?;
    }
    let mut tools = Vec::new();
    for (path, item) in all.items("tools")? {
        read_tools(Members::of(item, path)?.in_camel_case(), &mut tools, &mut unheld)?;
    }
    let tool_choice = match all.object("toolConfig")? {
        None => None,
        Some(config) => tool_choice(config.in_camel_case(), &mut tools, &mut unheld)?,
    };
    let (sampling, shape) = match all.object("generationConfig")? {
        None => (Sampling::default(), Shape::Text),
        Some(config) => generation(config.in_camel_case(), &mut unheld)?,
    };
    all.rest(&mut unheld);
    let parallel_tools = None;
    Ok(Conversation { turns, tools, tool_choice, parallel_tools, shape, sampling, stream, unheld })
}

/// The parts of one content; results of tools are turns of their own.
fn read_parts(
    mut content: Members,
    role: Role,
    calls: &mut Calls,
    turns: &mut Vec<Turn>,
    unheld: &mut Vec<String>,
) -> Result<(), Failure> {
    let first = turns.len();
    for (path, item) in content.items("parts")? {
        let part = Members::of(item, path)?.in_camel_case();
        let Some(part) = read_part(part, role, calls, unheld)? else { continue };
        let role = if matches!(part, Part::ToolResult(_)) { Role::Tool } else { role };
        match turns.get_mut(first..).and_then(<[Turn]>::last_mut).filter(|turn| turn.role == role) {
            Some(turn) => turn.parts.push(part),
            None => turns.push(Turn { role, parts: vec![part] }),
        }
    }
    content.rest(unheld);
    Ok(())
}

/// One part; none when it holds a signature and nothing to read.
fn read_part(
    mut part: Members,
    role: Role,
    calls: &mut Calls,
    unheld: &mut Vec<String>,
) -> Result<Option<Part>, Failure> {
    let path = part.name("");
    let path = path.trim_end_matches('.');
    let signature = part.text("thoughtSignature")?;
    let thought = part.flag("thought")?.unwrap_or(false);
    let read = if let Some(text) = part.text("text")? {
        if thought && role == Role::Assistant {
            Part::Reasoning { text, signature }
        } else {
            Part::Text(text)
        }
    } else if let Some(blob) = part.object("inlineData")? {
        Part::Image(inline(blob.in_camel_case(), unheld)?)
    } else if let Some(file) = part.object("fileData")? {
        Part::Image(file_data(file.in_camel_case(), unheld)?)
    } else if let Some(call) = part.object("functionCall")? {
        Part::ToolCall(function_call(call.in_camel_case(), signature, calls, unheld)?)
    } else if let Some(response) = part.object("functionResponse")? {
        Part::ToolResult(function_response(response.in_camel_case(), calls, unheld)?)
    } else {
        let mut left = Vec::new();
        part.rest(&mut left);
        return match (left.is_empty(), signature) {
            (true, Some(_)) => Ok(None),
            (true, None) => Err(wrong(path, "a part with text, inlineData, fileData or a function's call")),
            (false, _) => Err(unsupported(path, "Parts of this kind are not understood by this model.")),
        };
    };
    part.rest(unheld);
    Ok(Some(read))
}

/// Pictures are what every format knows; sound, film and documents are not.
fn is_picture(mime: &str) -> bool {
    mime.starts_with("image/")
}

const ONLY_PICTURES: &str = "Of files, this model reads pictures only.";

fn inline(mut blob: Members, unheld: &mut Vec<String>) -> Result<Image, Failure> {
    let path = blob.name("mimeType");
    let (mime, base64) = (blob.must_text("mimeType")?, blob.must_text("data")?);
    drop(blob.value("displayName"));
    blob.rest(unheld);
    if is_picture(&mime) { Ok(Image::Data { mime, base64 }) } else { Err(unsupported(&path, ONLY_PICTURES)) }
}

fn file_data(mut file: Members, unheld: &mut Vec<String>) -> Result<Image, Failure> {
    let paths = (file.name("mimeType"), file.name("fileUri"));
    let (mime, uri) = (file.text("mimeType")?, file.must_text("fileUri")?);
    drop(file.value("displayName"));
    file.rest(unheld);
    if !mime.is_none_or(|mime| is_picture(&mime)) {
        return Err(unsupported(&paths.0, ONLY_PICTURES));
    }
    if !(uri.starts_with("https://") || uri.starts_with("http://")) {
        return Err(unsupported(&paths.1, "This model reads files by their http address only."));
    }
    Ok(Image::Url(uri))
}

fn named(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn function_call(
    mut call: Members,
    signature: Option<String>,
    calls: &mut Calls,
    unheld: &mut Vec<String>,
) -> Result<ToolCall, Failure> {
    let (given, name) = (named(call.text("id")?), call.must_text("name")?);
    let args = call.name("args");
    let arguments = match call.value("args") {
        None => "{}".to_owned(),
        Some(args @ Value::Object(_)) => args.to_string(),
        Some(_) => return Err(wrong(&args, "an object")),
    };
    call.rest(unheld);
    let id = calls.made(given, &name, &arguments);
    Ok(ToolCall { id, name, arguments, signature })
}

fn function_response(
    mut response: Members,
    calls: &mut Calls,
    unheld: &mut Vec<String>,
) -> Result<ToolResult, Failure> {
    let (given, name) = (named(response.text("id")?), response.must_text("name")?);
    let path = response.name("name");
    let (text, failed) = match response.value("response") {
        None => (String::new(), false),
        Some(Value::Object(told)) => told_by(told),
        Some(_) => return Err(wrong(&response.name("response"), "an object")),
    };
    let mut parts = vec![Part::Text(text)];
    for (path, item) in response.items("parts")? {
        let mut item = Members::of(item, path)?.in_camel_case();
        if let Some(blob) = item.object("inlineData")? {
            parts.push(Part::Image(inline(blob.in_camel_case(), unheld)?));
        } else if let Some(file) = item.object("fileData")? {
            parts.push(Part::Image(file_data(file.in_camel_case(), unheld)?));
        }
        item.rest(unheld);
    }
    response.rest(unheld);
    let id = calls
        .answered(given, &name)
        .ok_or_else(|| Failure::invalid(path, "A functionResponse must answer a functionCall before it."))?;
    Ok(ToolResult { id, name: Some(name), parts, failed })
}

/// What a function told, and whether it failed: Google reads `output` and `error` as such, its clients write `result`.
fn told_by(mut told: Map<String, Value>) -> (String, bool) {
    let text = |value: Value| match value {
        Value::String(text) => text,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    };
    if told.len() == 1 {
        for (name, failed) in [("output", false), ("result", false), ("error", true)] {
            if let Some(value) = told.remove(name) {
                return (text(value), failed);
            }
        }
    }
    (Value::Object(told).to_string(), false)
}

fn read_tools(mut item: Members, tools: &mut Vec<Tool>, unheld: &mut Vec<String>) -> Result<(), Failure> {
    let path = item.name("");
    for (path, declaration) in item.items("functionDeclarations")? {
        let mut declaration = Members::of(declaration, path)?.in_camel_case();
        let own = declaration.value("parameters").map(to_json_schema);
        tools.push(Tool {
            name: declaration.must_text("name")?,
            description: declaration.text("description")?,
            parameters: declaration.value("parametersJsonSchema").or(own),
            strict: None,
        });
        declaration.rest(unheld);
    }
    let mut others = Vec::new();
    item.rest(&mut others);
    if others.is_empty() {
        return Ok(());
    }
    let rule = "Only tools of functionDeclarations can be offered to this model.";
    Err(unsupported(path.trim_end_matches('.'), rule))
}

/// Of functions that are allowed by name, the others are not offered: that says the same in every format.
fn tool_choice(
    mut config: Members,
    tools: &mut Vec<Tool>,
    unheld: &mut Vec<String>,
) -> Result<Option<ToolChoice>, Failure> {
    let Some(calling) = config.object("functionCallingConfig")? else {
        config.rest(unheld);
        return Ok(None);
    };
    let mut calling = calling.in_camel_case();
    let mut allowed = Vec::new();
    for (path, name) in calling.items("allowedFunctionNames")? {
        let Value::String(name) = name else { return Err(wrong(&path, "a string")) };
        allowed.push(name);
    }
    let path = calling.name("mode");
    let mode = calling.text("mode")?.unwrap_or_default().to_ascii_uppercase();
    let choice = match (mode.as_str(), allowed.as_slice()) {
        ("" | "MODE_UNSPECIFIED", _) => None,
        ("AUTO", _) => Some(ToolChoice::Auto),
        ("VALIDATED", _) => {
            unheld.push(path);
            Some(ToolChoice::Auto)
        }
        ("NONE", _) => Some(ToolChoice::None),
        ("ANY", [only]) => Some(ToolChoice::Named(only.clone())),
        ("ANY", _) => Some(ToolChoice::Required),
        _ => return Err(wrong(&path, "AUTO, ANY, NONE or VALIDATED")),
    };
    if !allowed.is_empty() && matches!(mode.as_str(), "ANY" | "VALIDATED") && allowed.len() > 1 {
        tools.retain(|tool| allowed.contains(&tool.name));
    }
    calling.rest(unheld);
    config.rest(unheld);
    Ok(choice)
}

fn generation(mut config: Members, unheld: &mut Vec<String>) -> Result<(Sampling, Shape), Failure> {
    let shape = shape(&mut config)?;
    let mut sampling = Sampling {
        max_tokens: config.count("maxOutputTokens")?,
        temperature: config.number("temperature")?,
        top_p: config.number("topP")?,
        top_k: config.count("topK")?,
        seed: config.whole("seed")?,
        presence_penalty: config.number("presencePenalty")?,
        frequency_penalty: config.number("frequencyPenalty")?,
        n: config.count("candidateCount")?,
        logprobs: config.flag("responseLogprobs")?,
        top_logprobs: config.count("logprobs")?,
        ..Sampling::default()
    };
    for (path, text) in config.items("stopSequences")? {
        let Value::String(text) = text else { return Err(wrong(&path, "a string")) };
        sampling.stop.push(text);
    }
    if let Some(thinking) = config.object("thinkingConfig")? {
        read_thinking(thinking.in_camel_case(), &mut sampling, unheld)?;
    }
    let path = config.name("responseModalities");
    if config.items("responseModalities")?.iter().any(|(_, kind)| kind != "TEXT") {
        unheld.push(path);
    }
    config.rest(unheld);
    Ok((sampling, shape))
}

fn shape(config: &mut Members) -> Result<Shape, Failure> {
    let path = config.name("responseMimeType");
    let mime = config.text("responseMimeType")?;
    let own = config.value("responseSchema").map(to_json_schema);
    let schema = config.value("responseJsonSchema").or(own);
    match (mime.as_deref(), schema) {
        (None | Some("text/plain" | ""), None) => Ok(Shape::Text),
        (Some("application/json"), None) => Ok(Shape::Json),
        (None | Some("application/json" | "text/plain" | ""), Some(schema)) => {
            // Other formats want a name; Google has none.
            Ok(Shape::Schema { name: "answer".into(), description: None, schema, strict: None })
        }
        (Some(_), _) => Err(unsupported(&path, "This model answers as text/plain or application/json.")),
    }
}

fn read_thinking(
    mut thinking: Members,
    sampling: &mut Sampling,
    unheld: &mut Vec<String>,
) -> Result<(), Failure> {
    let path = thinking.name("thinkingBudget");
    let budget = thinking.whole("thinkingBudget")?;
    // -1 leaves it to the model, as silence does.
    sampling.reasoning_tokens = match budget {
        None | Some(-1) => None,
        Some(tokens) => {
            Some(u32::try_from(tokens).map_err(|_| wrong(&path, "a whole number of tokens, or -1"))?)
        }
    };
    let level = named(thinking.text("thinkingLevel")?).map(|level| level.to_ascii_lowercase());
    sampling.reasoning_effort = level.filter(|level| level != "thinking_level_unspecified");
    // Formats that know a budget of tokens show the thoughts with it; the others show none or as they like.
    let include = thinking.name("includeThoughts");
    if thinking.flag("includeThoughts")? == Some(true) && sampling.reasoning_tokens.is_none_or(|n| n == 0) {
        unheld.push(include);
    }
    thinking.rest(unheld);
    Ok(())
}
