//! Writes Anthropic's requests. Invariants: instructions stand before the conversation; user and assistant take turns;
//! results of tools come first in the message behind their calls; what this format cannot say is named.

use super::{
    REDACTED, input,
    model::{Generation, generation},
    plain_id,
};
use crate::Written;
use portcullis_domain::{
    Conversation, Image, Member, Part, Role, Sampling, Shape, Tool, ToolChoice, ToolResult,
};
use serde_json::{Map, Value, json};

/// Tokens to write where the caller did not say: this format requires a bound.
const DEFAULT_MAX_TOKENS: u32 = 4096;
/// Fewest tokens that thinking can be given.
const LEAST_BUDGET: u32 = 1024;

/// Writes a request.
#[must_use]
pub fn write_request(conversation: &Conversation, model: &str) -> Written {
    let mut dropped = Vec::new();
    let mut out = Map::new();
    out.insert("model".into(), model.into());
    let sampling = &conversation.sampling;
    let (system, messages) = turns(conversation, &mut dropped);
    if !system.is_empty() {
        out.insert("system".into(), joined(system));
    }
    out.insert("messages".into(), messages.into());
    let forced = tools(conversation, &mut out, &mut dropped);
    let mut config = Map::new();
    let thinks = effort(sampling, generation(model), forced, &mut out, &mut config, &mut dropped);
    match &conversation.shape {
        Shape::Text => {}
        Shape::Json => dropped.push(Member::Shape),
        Shape::Schema { schema, .. } => {
            config.insert("format".into(), json!({"type": "json_schema", "schema": closed(schema.clone())}));
        }
    }
    if !config.is_empty() {
        out.insert("output_config".into(), config.into());
    }
    sampled(sampling, generation(model), thinks, &mut out, &mut dropped);
    let stops: Vec<_> = sampling.stop.iter().filter(|text| !text.trim().is_empty()).cloned().collect();
    if stops.len() < sampling.stop.len() {
        dropped.push(Member::Stop);
    }
    if !stops.is_empty() {
        out.insert("stop_sequences".into(), stops.into());
    }
    if let Some(user) = &sampling.user {
        out.insert("metadata".into(), json!({"user_id": user}));
    }
    if conversation.stream {
        out.insert("stream".into(), true.into());
    }
    unsaid(sampling, &mut dropped);
    dropped.sort_unstable();
    dropped.dedup();
    Written { body: Value::Object(out).to_string().into(), dropped }
}

/// Instructions, and messages in turns.
fn turns(conversation: &Conversation, dropped: &mut Vec<Member>) -> (Vec<Value>, Vec<Value>) {
    let (mut system, mut messages) = (Vec::new(), Vec::<(&str, Vec<Value>)>::new());
    for turn in &conversation.turns {
        let blocks = turn.parts.iter().filter_map(|part| block(part, turn.role, dropped));
        let role = match turn.role {
            Role::System => {
                system.extend(blocks);
                continue;
            }
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let blocks: Vec<_> = blocks.collect();
        match messages.last_mut() {
            _ if blocks.is_empty() => {}
            Some((last, before)) if *last == role => before.extend(blocks),
            Some(_) | None => messages.push((role, blocks)),
        }
    }
    if messages.is_empty() {
        // Nothing but instructions: somebody has to say them.
        messages.extend((!system.is_empty()).then(|| ("user", std::mem::take(&mut system))));
    }
    let written = messages.into_iter().map(|(role, mut blocks)| {
        // A stable sort: results first, all else as it was.
        blocks.sort_by_key(|block| block["type"] != "tool_result");
        json!({"role": role, "content": joined(blocks)})
    });
    (system, written.collect())
}

/// A block; none for what is empty or cannot be said.
fn block(part: &Part, role: Role, dropped: &mut Vec<Member>) -> Option<Value> {
    match part {
        Part::Text(text) | Part::Refusal(text) => {
            // Empty ones are refused.
            (!text.is_empty()).then(|| json!({"type": "text", "text": text}))
        }
        Part::Reasoning { text, signature } => {
            let Some(signature) = signature else {
                dropped.push(Member::Reasoning);
                return None;
            };
            Some(match signature.strip_prefix(REDACTED) {
                Some(data) => json!({"type": "redacted_thinking", "data": data}),
                None => json!({"type": "thinking", "thinking": text, "signature": signature}),
            })
        }
        Part::Image(image) => {
            matches!(role, Role::User | Role::Tool).then(|| json!({"type": "image", "source": source(image)}))
        }
        Part::ToolCall(call) => Some(json!({
            "type": "tool_use", "id": plain_id(&call.id), "name": call.name, "input": input(&call.arguments),
        })),
        Part::ToolResult(result) => Some(result_block(result, dropped)),
    }
}

fn source(image: &Image) -> Value {
    match image {
        Image::Url(url) => json!({"type": "url", "url": url}),
        Image::Data { mime, base64 } => json!({"type": "base64", "media_type": mime, "data": base64}),
    }
}

fn result_block(result: &ToolResult, dropped: &mut Vec<Member>) -> Value {
    let inside = |part: &Part| match part {
        Part::Text(_) | Part::Refusal(_) | Part::Image(_) => block(part, Role::Tool, dropped),
        Part::Reasoning { .. } | Part::ToolCall(_) | Part::ToolResult(_) => None,
    };
    let content: Vec<_> = result.parts.iter().filter_map(inside).collect();
    let mut out = Map::new();
    out.insert("type".into(), "tool_result".into());
    out.insert("tool_use_id".into(), plain_id(&result.id).into());
    if !content.is_empty() {
        out.insert("content".into(), joined(content));
    }
    if result.failed {
        out.insert("is_error".into(), true.into());
    }
    out.into()
}

/// One text is a string.
fn joined(mut blocks: Vec<Value>) -> Value {
    match blocks.as_mut_slice() {
        [only] if only["type"] == "text" => only["text"].take(),
        _ => blocks.into(),
    }
}

/// Tools and the choice among them; whether one must be called.
fn tools(conversation: &Conversation, out: &mut Map<String, Value>, dropped: &mut Vec<Member>) -> bool {
    if conversation.tools.is_empty() {
        let forced = matches!(conversation.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
        dropped.extend(forced.then_some(Member::ToolChoice));
        return false;
    }
    out.insert("tools".into(), conversation.tools.iter().map(tool).collect());
    let mut choice = match &conversation.tool_choice {
        Some(ToolChoice::Auto) => json!({"type": "auto"}),
        Some(ToolChoice::None) => json!({"type": "none"}),
        Some(ToolChoice::Required) => json!({"type": "any"}),
        Some(ToolChoice::Named(name)) => json!({"type": "tool", "name": name}),
        // To call several is what it does unasked.
        None if conversation.parallel_tools == Some(false) => json!({"type": "auto"}),
        None => return false,
    };
    if let Some(parallel) = conversation.parallel_tools
        && choice["type"] != "none"
    {
        choice["disable_parallel_tool_use"] = (!parallel).into();
    }
    out.insert("tool_choice".into(), choice);
    matches!(conversation.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)))
}

fn tool(tool: &Tool) -> Value {
    let mut schema = tool.parameters.clone().filter(Value::is_object).unwrap_or_else(|| json!({}));
    if schema["type"].is_null() {
        schema["type"] = "object".into();
    }
    let mut out = Map::new();
    out.insert("name".into(), tool.name.clone().into());
    if let Some(description) = &tool.description {
        out.insert("description".into(), description.clone().into());
    }
    out.insert("input_schema".into(), schema);
    if let Some(strict) = tool.strict {
        out.insert("strict".into(), strict.into());
    }
    out.into()
}

/// A schema whose objects hold nothing that it does not name: this format takes no other.
fn closed(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(members) => {
            if members.get("type").is_some_and(|kind| kind == "object") {
                members.insert("additionalProperties".into(), false.into());
            }
            members.values_mut().for_each(|value| *value = closed(value.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = closed(item.take())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    schema
}

/// How much to think, and the bound of the answer, which thinking counts against; whether it thinks within a budget.
fn effort(
    sampling: &Sampling,
    generation: Generation,
    forced: bool,
    out: &mut Map<String, Value>,
    config: &mut Map<String, Value>,
    dropped: &mut Vec<Member>,
) -> bool {
    let wished = wish(sampling, dropped);
    let budget = wished.filter(|budget| *budget > 0);
    let most = sampling.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS.saturating_add(budget.unwrap_or(0)));
    out.insert("max_tokens".into(), most.into());
    let Some(budget) = budget else {
        if wished.is_some() {
            out.insert("thinking".into(), json!({"type": "disabled"}));
        }
        return false;
    };
    match generation {
        Generation::Budget => {
            let budget = budget.max(LEAST_BUDGET).min(most.saturating_sub(1));
            // A model that must call a tool cannot think, and one with so little room need not.
            if forced || budget < LEAST_BUDGET {
                dropped.push(Member::Effort);
                return false;
            }
            out.insert("thinking".into(), json!({"type": "enabled", "budget_tokens": budget}));
            true
        }
        Generation::Adaptive | Generation::Unsampled => {
            let effort = match &sampling.reasoning_effort {
                Some(effort) if sampling.reasoning_tokens.is_none() => effort_name(effort),
                Some(_) | None => effort_of(budget),
            };
            out.insert("thinking".into(), json!({"type": "adaptive"}));
            config.insert("effort".into(), effort.into());
            false
        }
    }
}

/// Tokens for each effort. The names are those of the field.
const BUDGETS: &[(&str, u32, &str)] = &[
    ("none", 0, "low"),
    ("minimal", 0, "low"),
    ("low", 1024, "low"),
    ("medium", 4096, "medium"),
    ("high", 16_384, "high"),
    ("xhigh", 32_768, "high"),
];

/// Tokens that thinking may take; 0 turns it off.
fn wish(sampling: &Sampling, dropped: &mut Vec<Member>) -> Option<u32> {
    if sampling.reasoning_tokens.is_some() {
        return sampling.reasoning_tokens;
    }
    let effort = sampling.reasoning_effort.as_deref()?;
    let known = BUDGETS.iter().find(|(name, ..)| *name == effort);
    if known.is_none() {
        dropped.push(Member::Effort);
    }
    known.map(|(_, budget, _)| *budget)
}

fn effort_name(effort: &str) -> &'static str {
    BUDGETS.iter().find(|(name, ..)| *name == effort).map_or("medium", |(.., name)| name)
}

/// The effort that comes nearest to a budget.
fn effort_of(budget: u32) -> &'static str {
    let nearest = BUDGETS.iter().rev().find(|(_, least, _)| budget >= *least);
    nearest.map_or("low", |(.., name)| name)
}

/// Sampling, as far as the model takes it.
fn sampled(
    sampling: &Sampling,
    generation: Generation,
    thinks: bool,
    out: &mut Map<String, Value>,
    dropped: &mut Vec<Member>,
) {
    let takes = !thinks && generation != Generation::Unsampled;
    // The field goes to 2, this format to 1.
    let temperature = sampling.temperature.map(|temperature| temperature.clamp(0.0, 1.0));
    match temperature {
        Some(temperature) if takes => drop(out.insert("temperature".into(), temperature.into())),
        // What all do unasked.
        Some(1.0) | None => {}
        Some(_) => dropped.push(Member::Temperature),
    }
    // Its models take one of the two.
    match sampling.top_p {
        Some(top_p) if takes && temperature.is_none() => drop(out.insert("top_p".into(), top_p.into())),
        Some(1.0) | None => {}
        Some(_) => dropped.push(Member::TopP),
    }
    match sampling.top_k {
        Some(top_k) if takes => drop(out.insert("top_k".into(), top_k.into())),
        Some(_) => dropped.push(Member::TopK),
        None => {}
    }
}

/// What this format has no words for.
fn unsaid(sampling: &Sampling, dropped: &mut Vec<Member>) {
    let asked = |penalty: Option<f64>| penalty.is_some_and(|penalty| penalty != 0.0);
    let rows = [
        (sampling.seed.is_some(), Member::Seed),
        (asked(sampling.presence_penalty), Member::PresencePenalty),
        (asked(sampling.frequency_penalty), Member::FrequencyPenalty),
        (sampling.n.is_some_and(|n| n > 1), Member::N),
        (sampling.logprobs == Some(true) || sampling.top_logprobs.is_some(), Member::Logprobs),
    ];
    dropped.extend(rows.into_iter().filter_map(|(asked, member)| asked.then_some(member)));
}
