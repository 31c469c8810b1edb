//! Answers in OpenAI's shapes for what the builtin models say: whole, streamed, and vectors. Pure: id and time are
//! passed in, so that the same answer is the same bytes.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use portcullis_domain::{Encoding, RequestId, Usage};
use serde::Serialize;
use serde_json::{Value, json};

/// What a builtin model says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Saying {
    /// The words.
    pub(crate) text: String,
    /// `stop`, or `length` when the caller's limit cut them.
    pub(crate) finish: &'static str,
    /// Tokens of one choice, and of the prompt.
    pub(crate) usage: Usage,
}

/// Whose answer it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    /// Our id of the request; the answer's id follows from it.
    pub(crate) id: &'a RequestId,
    /// Seconds since 1970.
    pub(crate) created: i64,
    /// The model that answers.
    pub(crate) model: &'a str,
    /// Choices wanted; all are alike.
    pub(crate) n: u32,
}

impl Head<'_> {
    fn id(&self) -> String {
        format!("chatcmpl-{}", self.id.as_str().trim_start_matches("req_"))
    }

    fn chunk(&self, choices: &Value) -> Value {
        json!({
            "id": self.id(),
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }
}

fn usage(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
    })
}

/// A whole answer.
pub(crate) fn whole(head: Head<'_>, saying: &Saying) -> Bytes {
    let choice = |index: u32| {
        json!({
            "index": index,
            "message": { "role": "assistant", "content": saying.text, "refusal": null },
            "logprobs": null,
            "finish_reason": saying.finish,
        })
    };
    let answer = json!({
        "id": head.id(),
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": (0..head.n).map(choice).collect::<Vec<_>>(),
        "usage": usage(saying.usage),
    });
    answer.to_string().into()
}

/// A streamed answer, a word a chunk, with its usage chunk when the caller wants one.
pub(crate) fn events(head: Head<'_>, saying: &Saying, include_usage: bool) -> Vec<Bytes> {
    let mut out = Vec::new();
    let mut push = |value: Value| out.push(Bytes::from(format!("data: {value}\n\n")));
    for index in 0..head.n {
        let delta = |delta: Value, finish: Value| json!([{ "index": index, "delta": delta, "logprobs": null, "finish_reason": finish }]);
        push(head.chunk(&delta(json!({ "role": "assistant", "content": "" }), Value::Null)));
        for word in saying.text.split_inclusive(' ') {
            push(head.chunk(&delta(json!({ "content": word }), Value::Null)));
        }
        push(head.chunk(&delta(json!({}), json!(saying.finish))));
    }
    if include_usage {
        let mut last = head.chunk(&json!([]));
        last["usage"] = usage(saying.usage);
        push(last);
    }
    out.push(Bytes::from_static(b"data: [DONE]\n\n"));
    out
}

/// Vectors, in order.
pub(crate) fn vectors(vectors: &[Vec<f32>], model: &str, tokens: u64, encoding: Encoding) -> Bytes {
    #[derive(Serialize)]
    struct Item<'a> {
        object: &'static str,
        index: usize,
        embedding: Numbers<'a>,
    }
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Numbers<'a> {
        Float(&'a [f32]),
        Base64(String),
    }
    #[derive(Serialize)]
    struct Answer<'a> {
        object: &'static str,
        data: Vec<Item<'a>>,
        model: &'a str,
        usage: Value,
    }
    let data = vectors.iter().enumerate().map(|(index, vector)| Item {
        object: "embedding",
        index,
        embedding: match encoding {
            Encoding::Float => Numbers::Float(vector),
            Encoding::Base64 => Numbers::Base64(base64(vector)),
        },
    });
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    let answer = Answer { object: "list", data: data.collect(), model, usage };
    // Numbers, texts and lists of them always serialise.
    serde_json::to_vec(&answer).unwrap_or_default().into()
}

/// Little-endian f32, base64.
pub(crate) fn base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    BASE64_STANDARD.encode(bytes)
}
