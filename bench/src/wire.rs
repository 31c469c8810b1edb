//! The bytes that go over the wire: what the load asks and what the mock upstream answers. Both sides read this one
//! file, so an answer can be verified to the last byte. Invariant: nothing here depends on time or chance.

use bytes::Bytes;

/// The key the proxies take from callers; the product makes its own.
pub(crate) const CALLER_KEY: &str = "pcl_bench_caller";
/// The key the mock upstream asks for.
pub(crate) const UPSTREAM_KEY: &str = "sk-bench-upstream";
/// The model that answers at once.
pub(crate) const MODEL: &str = "bench-model";
/// The model that sends one event and then nothing for a minute.
pub(crate) const HOLD_MODEL: &str = "hold-model";
/// The model that sends an event every 200 ms.
pub(crate) const SLOW_MODEL: &str = "slow-model";
/// What a whole answer says.
pub(crate) const WORDS: &str = "The capital of France is Paris. It lies on the Seine.";
/// Events of one stream, `[DONE]` included.
pub(crate) const EVENTS: usize = 101;

/// A whole answer.
pub(crate) const ANSWER: &str = r#"{"id":"chatcmpl-bench0000000000","object":"chat.completion","created":1760000000,"model":"bench-model","choices":[{"index":0,"message":{"role":"assistant","content":"The capital of France is Paris. It lies on the Seine.","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":24,"completion_tokens":13,"total_tokens":37,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_bench"}"#;

/// One event of a stream; the last but one finishes, the last is `[DONE]`.
pub(crate) fn event(index: usize) -> Bytes {
    if index + 1 == EVENTS {
        return Bytes::from_static(b"data: [DONE]\n\n");
    }
    let (delta, finish) = match index {
        0 => (r#"{"role":"assistant","content":""}"#.to_owned(), "null"),
        last if last + 2 == EVENTS => ("{}".to_owned(), r#""stop""#),
        middle => (format!(r#"{{"content":" word{middle:03}"}}"#), "null"),
    };
    format!(
        "data: {{\"id\":\"chatcmpl-bench0000000000\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\
         \"model\":\"{MODEL}\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench\",\
         \"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n"
    )
    .into()
}

/// Stands in a question; a load that never asks the same twice puts its own number there.
const NUMBER: &str = "0000000000";

/// The same request with another number in its question.
pub(crate) fn numbered(body: &Bytes, number: u32) -> Bytes {
    let mut other = bytes::BytesMut::from(&body[..]);
    if let Some(at) = memchr::memmem::rfind(&other, NUMBER.as_bytes()) {
        other[at..at + NUMBER.len()].copy_from_slice(format!("{number:010}").as_bytes());
    }
    other.freeze()
}

/// The same request as people write it: each sentence of its prompt is a line and holds signs beyond ASCII.
pub(crate) fn typeset(body: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(body).replace("; clerks wrote", " \u{2013} clerks\u{2019} pens put");
    text.replace("the rest. ", "the rest.\\n").into()
}

/// A chat request with a prompt of about `prompt_bytes` (at least one question).
pub(crate) fn request(model: &str, prompt_bytes: usize, stream: bool) -> Bytes {
    const TEXT: &str = "The harbour opened at six and the first boats came in with the tide, heavy with herring; \
                        clerks wrote the catch into ledgers while gulls argued over the rest. ";
    let question =
        format!("Question {NUMBER}: what is the capital of France, and on which river does it lie?");
    let prompt: String = TEXT.chars().cycle().take(prompt_bytes.saturating_sub(question.len())).collect();
    let stream = if stream { r#","stream":true"# } else { "" };
    format!(
        r#"{{"model":"{model}","messages":[{{"role":"system","content":"You are a helpful assistant."}},{{"role":"user","content":"{prompt}{question}"}}],"temperature":0.7,"max_tokens":64{stream}}}"#
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_number_changes_the_question_and_nothing_else() {
        let body = request(MODEL, 400, false);
        let (first, second) = (numbered(&body, 7), numbered(&body, u32::MAX));
        assert!(first != second && first.len() == body.len() && second.len() == body.len());
        assert_eq!(numbered(&first, 0).len(), body.len());
        assert!(serde_json::from_slice::<Value>(&second).unwrap().to_string().contains("4294967295"));
    }

    #[test]
    fn a_typeset_prompt_is_the_same_but_for_its_signs_and_lines() {
        let body = request(MODEL, 400_000, false);
        let typeset = typeset(&body);
        let text = str::from_utf8(&typeset).unwrap();
        assert_eq!((text.matches('\u{2019}').count(), text.matches("\\n").count()), (2515, 2515));
        assert!(serde_json::from_slice::<Value>(&numbered(&typeset, 7)).unwrap()["messages"].is_array());
        assert!(typeset.len() < body.len() * 107 / 100);
    }

    #[test]
    fn requests_answers_and_events_are_json() {
        for body in [request(MODEL, 0, false), request(MODEL, 400_000, true)] {
            assert!(serde_json::from_slice::<Value>(&body).unwrap()["messages"].is_array());
        }
        assert_eq!(serde_json::from_str::<Value>(ANSWER).unwrap()["model"], MODEL);
        for index in 0..EVENTS - 1 {
            let event = event(index);
            let data = event.strip_prefix(b"data: ").unwrap();
            assert_eq!(serde_json::from_slice::<Value>(data).unwrap()["model"], MODEL);
        }
        assert!((399_000..402_000).contains(&request(MODEL, 400_000, false).len()));
    }
}
