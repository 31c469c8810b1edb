//! More texts than a model takes at once: the request in pieces, one after the other, and their answers as one.
//!
//! Invariants: the order of the texts is the order of the vectors; numbers are passed on as they were written; one
//! piece that fails fails the whole request, so that vectors of two targets never mix. Source: gateway design section 9.

use bytes::Bytes;
use portcullis_domain::{
    EmbedInput, EmbedRequest, Failure, Format, Meter, Reply, ReplyBody, TextPart, Usage,
};
use portcullis_providers::{Call, Model, Provider, Refusal};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use std::{borrow::Cow, collections::BTreeMap, ops::Range};

/// Vectors of all texts, in as many calls as it takes.
pub(crate) async fn embed(
    provider: &Provider,
    call: &Call,
    request: &EmbedRequest,
    model: &Model,
) -> Result<Reply, Refusal> {
    let most = model.batch.map_or(usize::MAX, |batch| batch.max(1) as usize);
    let pieces = if count(request) > most { split(request, most) } else { None };
    let Some(pieces) = pieces else { return provider.embed(call, request, model).await };
    let (mut answers, mut used, mut dropped) =
        (Vec::with_capacity(pieces.len()), Usage::default(), Vec::new());
    for piece in &pieces {
        let reply = Box::pin(provider.embed(call, piece, model)).await?;
        let usage = reply.meter.get();
        used.input += usage.input;
        used.cached += usage.cached;
        used.estimated |= usage.estimated;
        dropped = reply.dropped;
        if let ReplyBody::Whole(bytes) = reply.body {
            answers.push(bytes);
        }
    }
    let Some(body) = join(request.format, &answers, &used) else {
        let failure = Failure::Unavailable { retry_after: AFTER_NONSENSE, rate_limited: false };
        return Err(Refusal { failure, pass_on: true, reason: "failure" });
    };
    let meter = Meter::default();
    meter.set(used);
    Ok(Reply { dropped, ..Reply::new(ReplyBody::Whole(body), meter) })
}

/// When to come back after answers that could not be put together.
const AFTER_NONSENSE: std::time::Duration = std::time::Duration::from_secs(5);

const fn count(request: &EmbedRequest) -> usize {
    match &request.input {
        EmbedInput::Texts(parts) => parts.len(),
        EmbedInput::Tokens { count } => *count,
    }
}

/// The member that lists what is to be embedded; none for formats without embeddings.
const fn list_of(format: Format) -> Option<&'static str> {
    match format {
        Format::OpenAi => Some("input"),
        Format::Gemini => Some("requests"),
        Format::Responses | Format::Anthropic => None,
    }
}

/// The same request over so many items each; none when it has no list.
fn split(request: &EmbedRequest, most: usize) -> Option<Vec<EmbedRequest>> {
    let list = list_of(request.format)?;
    let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(&request.body).ok()?;
    let items: Vec<&RawValue> = serde_json::from_str(members.get(list)?.get()).ok()?;
    Some(items.chunks(most).map(|items| piece(request, &members, list, items)).collect())
}

fn piece(
    request: &EmbedRequest,
    members: &BTreeMap<Cow<'_, str>, &RawValue>,
    list: &str,
    items: &[&RawValue],
) -> EmbedRequest {
    let (mut body, mut parts, mut model_span) = (String::from("{"), Vec::new(), None);
    for (name, value) in members {
        let comma = if body.len() > 1 { "," } else { "" };
        body.push_str(comma);
        body.push_str(&json!(name).to_string());
        body.push(':');
        let start = body.len();
        if name == list {
            body.push('[');
            for (at, item) in items.iter().enumerate() {
                body.push_str(if at > 0 { "," } else { "" });
                moved(request, item, body.len(), &mut parts);
                body.push_str(item.get());
            }
            body.push(']');
        } else {
            body.push_str(value.get());
        }
        if name == "model" && request.model_span.is_some() {
            model_span = Some(start..body.len());
        }
    }
    body.push('}');
    let input = match &request.input {
        EmbedInput::Texts(_) => EmbedInput::Texts(parts),
        EmbedInput::Tokens { .. } => EmbedInput::Tokens { count: items.len() },
    };
    EmbedRequest { body: body.into(), model_span, input, ..request.clone() }
}

/// The texts of an item that now stands at `to`.
fn moved(request: &EmbedRequest, item: &RawValue, to: usize, out: &mut Vec<TextPart>) {
    let EmbedInput::Texts(parts) = &request.input else { return };
    let from = span(&request.body, item.get());
    let inside = parts.iter().filter(|part| from.start <= part.span.start && part.span.end <= from.end);
    out.extend(inside.map(|part| TextPart {
        span: part.span.start - from.start + to..part.span.end - from.start + to,
        ..part.clone()
    }));
}

/// Where a borrowed piece of the body lies in it.
fn span(body: &[u8], piece: &str) -> Range<usize> {
    let start = (piece.as_ptr() as usize).saturating_sub(body.as_ptr() as usize);
    start..start + piece.len()
}

#[derive(Deserialize)]
struct OpenAiAnswer<'a> {
    #[serde(borrow)]
    data: Vec<OpenAiVector<'a>>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OpenAiVector<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Deserialize)]
struct GeminiAnswer<'a> {
    #[serde(borrow)]
    embeddings: Vec<&'a RawValue>,
}

/// The answers as one; none when one is no answer.
fn join(format: Format, answers: &[Bytes], used: &Usage) -> Option<Bytes> {
    let mut out = String::new();
    match format {
        Format::OpenAi => {
            let read: Vec<OpenAiAnswer<'_>> =
                answers.iter().map(|answer| serde_json::from_slice(answer).ok()).collect::<Option<_>>()?;
            out.push_str("{\"object\":\"list\",\"data\":[");
            for (index, vector) in read.iter().flat_map(|answer| &answer.data).enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                out.push_str(&format!("{{\"object\":\"embedding\",\"index\":{index},\"embedding\":"));
                out.push_str(vector.embedding.get());
                out.push('}');
            }
            let model = read.first().and_then(|answer| answer.model).map_or("null", RawValue::get);
            let tokens = used.input;
            out.push_str(&format!(
                "],\"model\":{model},\"usage\":{{\"prompt_tokens\":{tokens},\"total_tokens\":{tokens}}}}}"
            ));
        }
        Format::Gemini => {
            let read: Vec<GeminiAnswer<'_>> =
                answers.iter().map(|answer| serde_json::from_slice(answer).ok()).collect::<Option<_>>()?;
            let vectors: Vec<&str> =
                read.iter().flat_map(|answer| &answer.embeddings).map(|vector| vector.get()).collect();
            out.push_str("{\"embeddings\":[");
            out.push_str(&vectors.join(","));
            out.push_str("]}");
        }
        Format::Responses | Format::Anthropic => return None,
    }
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::{Encoding, Role};
    use proptest::prelude::*;

    fn request(texts: &[String]) -> EmbedRequest {
        let (mut body, mut parts) = (String::from("{\"dimensions\":3,\"input\": ["), Vec::new());
        for (at, text) in texts.iter().enumerate() {
            let quoted = json!(text).to_string();
            body.push_str(if at > 0 { " ,\n" } else { "" });
            let span = body.len() + 1..body.len() + quoted.len() - 1;
            parts.push(TextPart { role: Role::User, span, escaped: quoted.contains('\\') });
            body.push_str(&quoted);
        }
        body.push_str("],\"model\":\"m\"}");
        let at = body.rfind("\"m\"").unwrap();
        EmbedRequest {
            format: Format::OpenAi,
            body: body.into(),
            model: "m".into(),
            model_span: Some(at..at + 3),
            input: EmbedInput::Texts(parts),
            encoding: Encoding::Float,
            dimensions: Some(3),
        }
    }

    proptest! {
        #[test]
        fn pieces_hold_all_texts_in_order_and_no_more_than_allowed(
            texts in prop::collection::vec("[a-z\"\\\\ é]{1,6}", 1..20),
            most in 1_usize..7,
        ) {
            let pieces = split(&request(&texts), most).unwrap();
            prop_assert!(pieces.iter().all(|piece| (1..=most).contains(&count(piece))));
            let read: Vec<String> =
                pieces.iter().flat_map(|piece| piece.texts().map(Cow::into_owned).collect::<Vec<_>>()).collect();
            prop_assert_eq!(read, texts);
            for piece in &pieces {
                let spliced: serde_json::Value = serde_json::from_slice(&piece.splice("other")).unwrap();
                prop_assert_eq!((&spliced["model"], &spliced["dimensions"]), (&json!("other"), &json!(3)));
            }
        }
    }

    #[test]
    fn answers_are_put_together_as_they_were_written() {
        let used = Usage { input: 7, ..Usage::default() };
        let answers = [
            Bytes::from_static(
                br#"{"data":[{"index":0,"embedding":[0.10]},{"index":1,"embedding":"aGk="}],"model":"m"}"#,
            ),
            Bytes::from_static(br#"{"data":[{"index":0,"embedding":[1e-3]}],"model":"m"}"#),
        ];
        assert_eq!(
            join(Format::OpenAi, &answers, &used).unwrap(),
            concat!(
                r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.10]},"#,
                r#"{"object":"embedding","index":1,"embedding":"aGk="},"#,
                r#"{"object":"embedding","index":2,"embedding":[1e-3]}],"model":"m","#,
                r#""usage":{"prompt_tokens":7,"total_tokens":7}}"#
            )
        );
        let gemini = [
            Bytes::from_static(br#"{"embeddings":[{"values":[1.0]}]}"#),
            Bytes::from_static(br#"{"embeddings":[{"values":[2]}]}"#),
        ];
        let joined = join(Format::Gemini, &gemini, &used).unwrap();
        assert_eq!(joined, r#"{"embeddings":[{"values":[1.0]},{"values":[2]}]}"#);
        assert_eq!(join(Format::OpenAi, &gemini, &used), None);
    }
}
