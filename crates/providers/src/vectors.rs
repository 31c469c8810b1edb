//! Vectors for work of our own, such as documents: texts in, unit vectors out, from any provider that makes them.
//! Invariant: as many vectors as texts, in their order, all of one length, each of length 1; anything else a provider
//! says is no answer.

use crate::{
    builtin::{Reading, minilm::unit},
    model::Model,
    provider::{Call, Provider, Voice, context},
    refusal::Refusal,
};
use portcullis_domain::{
    Action, EmbedInput, EmbedRequest, Encoding, Failure, Format, ReplyBody, Role, TextPart,
};
use portcullis_wire::look::tokens_of;
use serde::Deserialize;
use std::time::Duration;

/// When to come back to a provider whose answer could not be used.
const LATER: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    embedding: Vec<f32>,
}

impl Provider {
    /// The vectors of many texts, in order, unit length, behind the process's one gate for embeddings. The builtin
    /// models read whole texts, as `reading` says, on at most `threads` threads; others what their makers let them.
    ///
    /// # Errors
    /// `Refusal`.
    pub async fn vectors(
        &self,
        call: &Call,
        model: &Model,
        texts: Vec<String>,
        reading: Reading,
        threads: usize,
    ) -> Result<Vec<Vec<f32>>, Refusal> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        match &self.voice {
            Voice::Builtin(builtin) => {
                let bytes: usize = texts.iter().map(String::len).sum();
                let ctx = context(call, Action::Embed, tokens_of(bytes as u64));
                self.gated(&ctx, call, builtin.vectors(call, &model.name, texts, reading, threads)).await
            }
            Voice::Remote(_) => {
                let reply = self.embed(call, &request(&texts, &model.name), model).await?;
                let ReplyBody::Whole(bytes) = &reply.body else { return Err(unusable()) };
                vectors(bytes, texts.len()).ok_or_else(unusable)
            }
        }
    }
}

fn unusable() -> Refusal {
    Refusal::passed_on(Failure::Unavailable { retry_after: LATER, rate_limited: false }, "bad_response")
}

/// The request as a caller of the API would send it.
fn request(texts: &[String], model: &str) -> EmbedRequest {
    let name = serde_json::Value::from(model).to_string();
    let mut body = format!("{{\"model\":{name},\"input\":[");
    let model_span = 9..9 + name.len();
    let mut parts = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        let quoted = serde_json::Value::from(text.as_str()).to_string();
        body.push_str(if at > 0 { "," } else { "" });
        let span = body.len() + 1..body.len() + quoted.len() - 1;
        parts.push(TextPart { role: Role::User, span, escaped: quoted.contains('\\') });
        body.push_str(&quoted);
    }
    body.push_str("]}");
    EmbedRequest {
        body: body.into(),
        model: model.into(),
        format: Format::OpenAi,
        model_span: Some(model_span),
        input: EmbedInput::Texts(parts),
        encoding: Encoding::Float,
        dimensions: None,
    }
}

fn vectors(body: &[u8], count: usize) -> Option<Vec<Vec<f32>>> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let length = answer.data.first()?.embedding.len();
    let mut vectors = vec![Vec::new(); count];
    if answer.data.len() != count {
        return None;
    }
    for Item { index, mut embedding } in answer.data {
        unit(&mut embedding);
        let sound = embedding.len() == length && embedding.iter().any(|value| *value != 0.0);
        let place = vectors.get_mut(index).filter(|place| place.is_empty())?;
        if !sound || embedding.iter().any(|value| !value.is_finite()) {
            return None;
        }
        *place = embedding;
    }
    Some(vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_vectors_is_put_in_order_and_brought_to_length_one() {
        let body = br#"{"data":[{"index":1,"embedding":[0,2]},{"index":0,"embedding":[3,4]}],"model":"m"}"#;
        assert_eq!(vectors(body, 2), Some(vec![vec![0.6, 0.8], vec![0.0, 1.0]]));
    }

    #[test]
    fn an_answer_that_lacks_repeats_or_empties_a_vector_is_none() {
        for body in [
            r#"{"data":[{"index":0,"embedding":[3,4]}]}"#,
            r#"{"data":[{"index":0,"embedding":[3,4]},{"index":0,"embedding":[3,4]}]}"#,
            r#"{"data":[{"index":0,"embedding":[3,4]},{"index":2,"embedding":[3,4]}]}"#,
            r#"{"data":[{"index":0,"embedding":[3,4]},{"index":1,"embedding":[3]}]}"#,
            r#"{"data":[{"index":0,"embedding":[3,4]},{"index":1,"embedding":[0,0]}]}"#,
            r#"{"data":[]}"#,
            "not json",
        ] {
            assert_eq!(vectors(body.as_bytes(), 2), None, "{body}");
        }
    }

    #[test]
    fn a_request_of_our_own_points_at_its_texts() {
        let texts = ["a \"quoted\"\ntext".to_owned(), "déjà".to_owned()];
        let request = request(&texts, "m\"x");
        let read: Vec<_> = request.texts().map(std::borrow::Cow::into_owned).collect();
        assert_eq!(read, texts);
        assert!(serde_json::from_slice::<serde_json::Value>(&request.body).is_ok());
    }
}
