//! The double as Google's Generative Language API (v1beta): what the real endpoint accepts, member by member, and what
//! it answers, whole, streamed and as vectors. Stricter than the original in three things: names are in camel case, the
//! key is never part of the address, and every request to write says its safety settings, all four categories, each
//! once. Invariant: the same request gives the same content. Source: Google's API reference, "Generating content",
//! "Embeddings" and "Safety settings"; `google.rpc.Status`.

use super::{
    Options, Pace, Reply,
    answer::{split, vector, words},
    schema::{Member, Wrong, array, boolean, expect, integer, members, object, positive, string, within},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};

/// What is asked of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// A whole answer.
    Generate,
    /// A streamed one.
    Stream,
    /// Vectors.
    Embed,
}

const GENERATE: &[Member] = &[
    ("contents", true, contents),
    ("safetySettings", true, safety),
    ("systemInstruction", false, instruction),
    ("tools", false, tools),
    ("toolConfig", false, tool_config),
    ("generationConfig", false, generation),
    ("cachedContent", false, string),
];

const GENERATION: &[Member] = &[
    ("candidateCount", false, integer::<1, 8>),
    ("frequencyPenalty", false, within::<-2, 2>),
    ("logprobs", false, integer::<0, 20>),
    ("maxOutputTokens", false, positive),
    ("presencePenalty", false, within::<-2, 2>),
    ("responseJsonSchema", false, object),
    ("responseLogprobs", false, boolean),
    ("responseMimeType", false, mime),
    ("responseSchema", false, object),
    ("seed", false, integer::<-2_147_483_648, 2_147_483_647>),
    ("stopSequences", false, stops),
    ("temperature", false, within::<0, 2>),
    ("thinkingConfig", false, thinking),
    ("topK", false, positive),
    ("topP", false, within::<0, 1>),
];

const CATEGORIES: [&str; 4] = [
    "HARM_CATEGORY_HARASSMENT",
    "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    "HARM_CATEGORY_DANGEROUS_CONTENT",
];

/// Model and verb of a path behind the base; none when it is no such path.
pub(super) fn path(rest: &str) -> Option<(&str, Verb)> {
    let (model, verb) = rest.strip_prefix("/models/")?.rsplit_once(':')?;
    match verb {
        "generateContent" => Some((model, Verb::Generate)),
        "streamGenerateContent" => Some((model, Verb::Stream)),
        "batchEmbedContents" => Some((model, Verb::Embed)),
        _ => None,
    }
}

/// Checks the headers and the address that prove the caller.
pub(super) fn check_head(headers: &HeaderMap, uri: &Uri, verb: Verb, key: Option<&str>) -> Result<(), Wrong> {
    let keys: Vec<_> =
        headers.get_all("x-goog-api-key").iter().map(|value| value.to_str().unwrap_or("?")).collect();
    if keys != key.into_iter().collect::<Vec<_>>() || headers.contains_key("authorization") {
        let message = "API key not valid. Please pass a valid API key.";
        return Err(Wrong::other(StatusCode::BAD_REQUEST, Some("API_KEY_INVALID"), message));
    }
    let wanted = if verb == Verb::Stream { Some("alt=sse") } else { None };
    if uri.query() != wanted {
        return Err(Wrong::other(StatusCode::BAD_REQUEST, None, format!("expected the query {wanted:?}")));
    }
    Ok(())
}

/// Checks a request.
///
/// # Errors
/// The first thing Google would refuse.
pub(super) fn check(body: &Value, model: &str, verb: Verb) -> Result<(), Wrong> {
    if verb == Verb::Embed {
        return embeds(body, model).map_err(|why| Wrong::value("requests", format!("requests: {why}")));
    }
    members(body, GENERATE, true)?;
    let wrong = |message: &str| Err(Wrong::value("generationConfig", message));
    let config = &body["generationConfig"];
    let schemas = [&config["responseSchema"], &config["responseJsonSchema"]];
    let told = schemas.iter().filter(|schema| !schema.is_null()).count();
    if told > 1 || (told == 1 && config["responseMimeType"] != "application/json") {
        return wrong("a response schema needs the mime type application/json, and there is one of it");
    }
    if !config["logprobs"].is_null() && config["responseLogprobs"] != true {
        return wrong("logprobs needs responseLogprobs");
    }
    if !body["toolConfig"].is_null() && body["tools"].is_null() {
        return Err(Wrong::value(
            "toolConfig",
            "Function calling config is set without function_declarations.",
        ));
    }
    if model.starts_with("gemini-3") {
        signed(body).map_err(|why| Wrong::value("contents", why))?;
    }
    Ok(())
}

/// Of calls made at once, the first must be signed: what models from Gemini 3 on refuse.
fn signed(body: &Value) -> Result<(), String> {
    for content in body["contents"].as_array().into_iter().flatten() {
        let parts = content["parts"].as_array().into_iter().flatten();
        if let Some(first) = parts.into_iter().find(|part| !part["functionCall"].is_null()) {
            let rule = "Function call is missing a thought_signature in functionCall parts.";
            expect(first["thoughtSignature"].as_str().is_some_and(|text| !text.is_empty()), rule)?;
        }
    }
    Ok(())
}

/// The error body of a refusal.
pub(super) fn error(wrong: &Wrong) -> Value {
    let name = match wrong.status {
        StatusCode::NOT_FOUND => "NOT_FOUND",
        _ => "INVALID_ARGUMENT",
    };
    let reason = wrong.code.map(|code| {
        json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code, "domain": "googleapis.com"})
    });
    error_body(wrong.status.as_u16(), name, &wrong.message, reason.into_iter().collect())
}

/// An error body of that status with details.
pub(super) fn error_body(code: u16, status: &str, message: &str, details: Vec<Value>) -> Value {
    let mut error = json!({"code": code, "message": message, "status": status});
    if !details.is_empty() {
        error["details"] = details.into();
    }
    json!({ "error": error })
}

fn mime(value: &Value) -> Result<(), String> {
    expect(
        matches!(value.as_str(), Some("text/plain" | "application/json" | "text/x.enum")),
        "a known mime type",
    )
}

fn stops(value: &Value) -> Result<(), String> {
    let all = value.as_array().ok_or("expected an array")?;
    let filled = |text: &Value| text.as_str().is_some_and(|text| !text.is_empty());
    expect((1..=5).contains(&all.len()) && all.iter().all(filled), "1 to 5 texts")
}

fn thinking(value: &Value) -> Result<(), String> {
    object(value)?;
    let budget = &value["thinkingBudget"];
    expect(budget.is_null() || budget.as_i64().is_some_and(|budget| budget >= -1), "a budget from -1")?;
    expect(budget.is_null() || value["thinkingLevel"].is_null(), "a budget or a level, not both")
}

fn safety(value: &Value) -> Result<(), String> {
    let all = value.as_array().ok_or("expected an array")?;
    let thresholds =
        ["OFF", "BLOCK_NONE", "BLOCK_ONLY_HIGH", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_LOW_AND_ABOVE"];
    for category in CATEGORIES {
        let said: Vec<_> = all.iter().filter(|setting| setting["category"] == category).collect();
        let known =
            said.iter().all(|one| one["threshold"].as_str().is_some_and(|text| thresholds.contains(&text)));
        expect(said.len() == 1 && known, &format!("one known threshold for {category}"))?;
    }
    Ok(())
}

fn instruction(value: &Value) -> Result<(), String> {
    let parts = value["parts"].as_array().ok_or("expected parts")?;
    expect(!parts.is_empty() && parts.iter().all(|part| part["text"].is_string()), "text parts")
}

fn function_name(value: &Value) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | ':');
    value.as_str().is_some_and(|text| (1..=128).contains(&text.len()) && text.chars().all(fits))
}

fn tools(value: &Value) -> Result<(), String> {
    array(value)?;
    for tool in value.as_array().into_iter().flatten() {
        let functions = tool["functionDeclarations"].as_array().ok_or("expected functionDeclarations")?;
        for function in functions {
            expect(function_name(&function["name"]), "a function's name")?;
            let both = !function["parameters"].is_null() && !function["parametersJsonSchema"].is_null();
            expect(!both, "parameters or parametersJsonSchema, not both")?;
        }
    }
    Ok(())
}

fn tool_config(value: &Value) -> Result<(), String> {
    let calling = &value["functionCallingConfig"];
    let mode = calling["mode"].as_str().unwrap_or_default();
    expect(matches!(mode, "AUTO" | "ANY" | "NONE" | "VALIDATED"), "a known mode")?;
    let named = !calling["allowedFunctionNames"].is_null();
    expect(!named || matches!(mode, "ANY" | "VALIDATED"), "names only with mode ANY")
}

fn generation(value: &Value) -> Result<(), String> {
    members(value, GENERATION, true).map_err(|wrong| wrong.message)
}

fn contents(value: &Value) -> Result<(), String> {
    let all = value.as_array().ok_or("expected an array")?;
    expect(!all.is_empty(), "at least one content")?;
    // Calls of the turn before, by name.
    let mut called: Vec<&str> = Vec::new();
    for (index, content) in all.iter().enumerate() {
        called = turn(content, &called).map_err(|why| format!("{why} at [{index}]"))?;
    }
    expect(called.is_empty(), "function response parts for the last function call turn")
}

/// Checks a content behind calls of those names; the names it calls itself.
fn turn<'a>(content: &'a Value, called: &[&str]) -> Result<Vec<&'a str>, String> {
    let role = content["role"].as_str().unwrap_or("user");
    expect(matches!(role, "user" | "model"), "a valid role: user, model")?;
    let parts = content["parts"].as_array().filter(|parts| !parts.is_empty()).ok_or("expected parts")?;
    let (mut calls, mut answered) = (Vec::new(), Vec::new());
    for part in parts {
        let kinds = ["text", "inlineData", "fileData", "functionCall", "functionResponse"];
        let told: Vec<_> = kinds.into_iter().filter(|kind| !part[*kind].is_null()).collect();
        let [kind] = told.as_slice() else { return Err("a part must have exactly one kind of data".into()) };
        let inside = &part[*kind];
        match (*kind, role) {
            ("text", _) => string(inside)?,
            ("inlineData", "user") => {
                expect(inside["mimeType"].is_string() && inside["data"].is_string(), "mimeType and data")?;
            }
            ("fileData", "user") => {
                expect(inside["fileUri"].as_str().is_some_and(|uri| uri.contains("://")), "a fileUri")?;
            }
            ("functionCall", "model") => {
                expect(function_name(&inside["name"]) && inside["args"].is_object(), "a name and args")?;
                calls.extend(inside["name"].as_str());
            }
            ("functionResponse", "user") => {
                expect(inside["response"].is_object(), "a response")?;
                answered.extend(inside["name"].as_str());
            }
            (other, _) => return Err(format!("no part of kind {other} from {role}")),
        }
    }
    let rule =
        "the number of function response parts is equal to the number of function call parts, in their order";
    expect(answered == called, rule)?;
    Ok(calls)
}

fn embeds(body: &Value, model: &str) -> Result<(), String> {
    let all = body["requests"].as_array().ok_or("expected an array")?;
    expect((1..=100).contains(&all.len()), "1 to 100 requests")?;
    for request in all {
        expect(request["model"] == format!("models/{model}"), "the model of the path in every request")?;
        let parts = request["content"]["parts"].as_array().ok_or("expected content")?;
        let filled = |part: &Value| part["text"].as_str().is_some_and(|text| !text.is_empty());
        expect(!parts.is_empty() && parts.iter().all(filled), "texts that are not empty")?;
    }
    Ok(())
}

/// The parts of an answer, and its tokens.
fn said(request: &Value, reply: &Reply) -> (Option<Value>, Reply, usize) {
    let shown = request["generationConfig"]["thinkingConfig"]["includeThoughts"] == true;
    let thought = shown.then(|| json!({"text": "Who is there?", "thought": true}));
    let tokens = match reply {
        Reply::Text(text) => words(text),
        Reply::ToolCall { arguments, .. } => words(arguments),
    };
    (thought, reply.clone(), tokens)
}

fn called(name: &str, arguments: &str) -> Value {
    let args: Value = serde_json::from_str(arguments).unwrap_or_default();
    json!({"functionCall": {"name": name, "args": args}, "thoughtSignature": "c2lnbmVk"})
}

/// Tokens as the double counts them: words of the whole request.
fn usage(request: &Value, output: usize) -> Value {
    let prompt = words(&request["contents"].to_string());
    json!({"promptTokenCount": prompt, "candidatesTokenCount": output, "totalTokenCount": prompt + output,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}]})
}

fn response(model: &str, index: usize, candidates: Vec<Value>, usage: Value) -> Value {
    json!({
        "candidates": candidates, "usageMetadata": usage, "modelVersion": model,
        "responseId": format!("double{index:08}"),
    })
}

fn candidates(request: &Value, parts: &[Value], finish: Option<&str>) -> Vec<Value> {
    let count = request["generationConfig"]["candidateCount"].as_u64().unwrap_or(1);
    let candidate = |index| {
        let mut out = json!({"content": {"parts": parts, "role": "model"}, "index": index});
        if let Some(finish) = finish {
            out["finishReason"] = finish.into();
        }
        out
    };
    (0..count).map(candidate).collect()
}

/// A whole answer.
pub(super) fn whole(request: &Value, model: &str, reply: &Reply, index: usize) -> Value {
    let (thought, reply, tokens) = said(request, reply);
    let part = match &reply {
        Reply::Text(text) => json!({"text": text}),
        Reply::ToolCall { name, arguments } => called(name, arguments),
    };
    let parts: Vec<Value> = thought.into_iter().chain([part]).collect();
    response(model, index, candidates(request, &parts, Some("STOP")), usage(request, tokens))
}

/// Every event of a streamed answer, each as the bytes of one chunk. The last one is marked by nothing but its reason.
pub(super) fn events(request: &Value, model: &str, reply: &Reply, pace: &Pace, index: usize) -> Vec<Bytes> {
    let (thought, reply, tokens) = said(request, reply);
    let mut parts: Vec<Value> = thought.into_iter().collect();
    match &reply {
        Reply::Text(text) => {
            parts.extend(split(text, pace.chunks).into_iter().map(|piece| json!({"text": piece})));
        }
        Reply::ToolCall { name, arguments } => parts.push(called(name, arguments)),
    }
    let last = parts.len().saturating_sub(1);
    let chunk = |(at, part): (usize, Value)| {
        let (finish, output) = if at == last { (Some("STOP"), tokens) } else { (None, 0) };
        event(&response(model, index, candidates(request, &[part], finish), usage(request, output)))
    };
    parts.into_iter().enumerate().map(chunk).collect()
}

/// One server-sent event, with the line ends that Google writes.
pub(super) fn event(body: &Value) -> Bytes {
    format!("data: {body}\r\n\r\n").into()
}

/// Vectors, one for each request.
pub(super) fn vectors(request: &Value, options: &Options) -> Value {
    let vectors = request["requests"].as_array().into_iter().flatten().map(|one| {
        let text = one["content"]["parts"][0]["text"].as_str().unwrap_or_default();
        let wished = one["outputDimensionality"].as_u64().and_then(|count| usize::try_from(count).ok());
        json!({"values": vector(text, wished.unwrap_or(options.dimensions))})
    });
    json!({"embeddings": vectors.collect::<Value>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(changes: Value) -> Value {
        let safety: Value =
            CATEGORIES.iter().map(|it| json!({"category": it, "threshold": "BLOCK_ONLY_HIGH"})).collect();
        let mut body =
            json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}], "safetySettings": safety});
        for (key, value) in changes.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    }

    #[test]
    fn honest_requests_pass_and_malformed_ones_are_refused() {
        let call = json!({"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]});
        let result = json!({"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]});
        let user = json!({"role": "user", "parts": [{"text": "go"}]});
        for good in [
            json!({}),
            json!({"contents": [user, call, result, user]}),
            json!({"generationConfig": {"temperature": 1, "stopSequences": ["a"], "responseMimeType": "application/json",
                "responseJsonSchema": {}, "thinkingConfig": {"thinkingBudget": 0}}}),
            json!({"tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {}}]}],
                "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}}),
        ] {
            assert_eq!(check(&with(good.clone()), "gemini-2.5-double", Verb::Generate), Ok(()), "{good}");
        }
        assert!(
            check(&with(json!({"contents": [user, call, result]})), "gemini-3-double", Verb::Stream).is_err()
        );
        for bad in [
            json!({"safetySettings": null}),
            json!({"safetySettings": [{"category": CATEGORIES[0], "threshold": "BLOCK_ONLY_HIGH"}]}),
            json!({"system_instruction": {"parts": [{"text": "a"}]}}),
            json!({"contents": []}),
            json!({"contents": [{"role": "assistant", "parts": [{"text": "a"}]}]}),
            json!({"contents": [{"role": "user", "parts": [{"text": ""}, {}]}]}),
            json!({"contents": [user, call]}),
            json!({"contents": [user, call, user]}),
            json!({"contents": [result]}),
            json!({"generationConfig": {"top_p": 1}}),
            json!({"generationConfig": {"responseJsonSchema": {}}}),
            json!({"generationConfig": {"logprobs": 2}}),
            json!({"toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}}),
        ] {
            assert!(check(&with(bad.clone()), "gemini-2.5-double", Verb::Generate).is_err(), "{bad}");
        }
    }
}
