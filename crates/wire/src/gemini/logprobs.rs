//! Log probabilities: Google's into OpenAI's shape, which the internal form holds, and back. Source: the API reference,
//! "LogprobsResult"; OpenAI's, "The chat completion object".

use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    #[serde(default)]
    chosen_candidates: Vec<Token>,
    #[serde(default)]
    top_candidates: Vec<Top>,
}

#[derive(Deserialize)]
struct Top {
    #[serde(default)]
    candidates: Vec<Token>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    log_probability: f64,
}

impl Token {
    fn members(&self) -> Map<String, Value> {
        let mut out = Map::new();
        out.insert("token".into(), self.token.clone().into());
        out.insert("logprob".into(), self.log_probability.into());
        out.insert("bytes".into(), self.token.bytes().collect());
        out
    }
}

/// Google's result in OpenAI's shape; none when it is no such result or tells nothing.
pub(super) fn read(result: &Value) -> Option<Value> {
    let told = Told::deserialize(result).ok().filter(|told| !told.chosen_candidates.is_empty())?;
    let mut tops = told.top_candidates.into_iter();
    let content = told.chosen_candidates.iter().map(|token| {
        let mut out = token.members();
        let top = tops.next().map(|top| top.candidates).unwrap_or_default();
        out.insert("top_logprobs".into(), top.iter().map(|token| Value::from(token.members())).collect());
        Value::from(out)
    });
    Some(json!({"content": content.collect::<Value>(), "refusal": null}))
}

/// OpenAI's shape as Google's result; none when it tells nothing.
pub(super) fn written(logprobs: &Value) -> Option<Value> {
    let content = logprobs.get("content")?.as_array().filter(|content| !content.is_empty())?;
    let token = |from: &Value| json!({"token": from["token"], "logProbability": from["logprob"]});
    let top = |from: &Value| -> Value {
        let tops = from["top_logprobs"].as_array().map(Vec::as_slice).unwrap_or_default();
        json!({"candidates": tops.iter().map(token).collect::<Value>()})
    };
    Some(json!({
        "chosenCandidates": content.iter().map(token).collect::<Value>(),
        "topCandidates": content.iter().map(top).collect::<Value>(),
    }))
}
