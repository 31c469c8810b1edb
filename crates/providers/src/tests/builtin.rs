//! The provider inside the process, without any network.

use super::{bytes, call, chat, drain, embed, stream};
use crate::{
    BUILTIN, EmbedConfig, ExtractConfig, ModelKind, ModelsConfig, Parts, Provider, Providers,
    ProvidersConfig, UpstreamConfig,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use portcullis_domain::{ChatRequest, Deadline, Encoding, Failure, InputCode, Role};
use portcullis_resilience::{
    Registry,
    http::{Client, HttpConfig},
};
use portcullis_telemetry::{Alerts, Metrics};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

const CONTEXT: &str = "Portcullis listens on port 8700 by default. The admin listener has its own address. \
    Rate limits are counted per caller and per minute. The cat of the house is called Mochi.";

fn builtin() -> Arc<Provider> {
    let parts = Parts {
        providers: &ProvidersConfig::new(),
        models: &ModelsConfig::default(),
        embed: &EmbedConfig { max_text_bytes: 2000, ..EmbedConfig::default() },
        extract: &ExtractConfig::default(),
        upstream: &UpstreamConfig::default(),
        client: Client::new(&HttpConfig::default()),
        registry: &Registry::new(),
        metrics: Metrics::new(),
        alerts: Alerts::silent(),
        paces: std::collections::BTreeMap::new(),
        overrides: portcullis_domain::SafetyView::none(),
        embedders: crate::Embedders::in_folder(std::path::Path::new("no-such-folder")),
    };
    let providers = Providers::new(&parts, |_| None).unwrap();
    assert!(!providers.any_remote());
    providers.get(BUILTIN).unwrap().clone()
}

async fn say(request: &ChatRequest) -> Value {
    let provider = builtin();
    let reply = provider.chat(&call(), request, &provider.model("extractive")).await.unwrap();
    serde_json::from_slice(&bytes(&reply)).unwrap()
}

fn words(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

#[tokio::test]
async fn it_answers_with_the_sentence_that_fits_from_wherever_the_context_stands() {
    let question = "What is the name of the cat?";
    let in_one = format!("{CONTEXT}\n\n{question}");
    for messages in [
        vec![(Role::System, CONTEXT), (Role::User, question)],
        vec![(Role::User, CONTEXT), (Role::Assistant, "Understood."), (Role::User, question)],
        vec![(Role::User, in_one.as_str())],
        vec![(Role::Tool, CONTEXT), (Role::User, question)],
    ] {
        let answer = say(&chat(&messages, false, false)).await;
        assert_eq!(words(&answer), "The cat of the house is called Mochi.", "{messages:?}");
        assert_eq!(answer["model"], "builtin/extractive");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        assert!(answer["usage"]["prompt_tokens"].as_u64() > Some(10), "{answer}");
    }
    let answer =
        say(&chat(&[(Role::System, CONTEXT), (Role::User, "Which port does it use?")], false, false)).await;
    assert!(words(&answer).contains("8700"), "{answer}");
}

#[tokio::test]
async fn with_nothing_to_answer_from_it_says_so_and_how_to_name_a_key() {
    for messages in [
        vec![(Role::User, "Hello there!")],
        vec![(Role::System, "You are a helpful assistant."), (Role::User, "Who are you?")],
        vec![(Role::System, CONTEXT), (Role::User, "How many moons does Jupiter have?")],
        vec![(Role::User, "")],
        vec![],
    ] {
        let answer = say(&chat(&messages, false, false)).await;
        let text = words(&answer);
        assert!(text.contains("No AI provider is configured") && text.contains("OPENAI_API_KEY"), "{text}");
    }
}

#[tokio::test]
async fn streamed_and_whole_answers_say_the_same() {
    let provider = builtin();
    let model = provider.model("extractive");
    let messages = [(Role::System, CONTEXT), (Role::User, "What is the name of the cat?")];
    let reply = provider.chat(&call(), &chat(&messages, true, true), &model).await.unwrap();
    let (text, failure) = drain(stream(reply)).await;
    assert!(failure.is_none() && text.ends_with("data: [DONE]\n\n"));
    let chunks: Vec<Value> = text
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let said: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(said, "The cat of the house is called Mochi.");
    let last = chunks.last().unwrap();
    assert!(
        last["choices"].as_array().unwrap().is_empty()
            && last["usage"]["completion_tokens"].as_u64() > Some(5)
    );
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["id"] == chunks[0]["id"] && chunk["object"] == "chat.completion.chunk")
    );
    let finishes = chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"] == "stop").count();
    assert_eq!(finishes, 1);
}

#[tokio::test]
async fn an_answer_ends_at_the_callers_limit_and_says_so() {
    let provider = builtin();
    let mut request = chat(&[(Role::User, "one two three four five")], false, false);
    (request.max_tokens, request.n) = (Some(3), 2);
    let reply = provider.chat(&call(), &request, &provider.model("echo")).await.unwrap();
    let answer: Value = serde_json::from_slice(&bytes(&reply)).unwrap();
    assert_eq!(words(&answer), "one two");
    assert_eq!(answer["choices"][1]["finish_reason"], "length");
    assert!(reply.meter.get().output > 0);
}

#[tokio::test]
async fn vectors_are_the_same_in_both_encodings_and_keep_their_order() {
    let provider = builtin();
    let model = provider.models().iter().find(|model| model.kind == ModelKind::Embed).unwrap().clone();
    let texts = ["a cat \"sat\" on a mat", "quarterly revenue", "a kitten rests on a rug"];
    let read = |encoding| {
        let (provider, model) = (provider.clone(), model.clone());
        async move {
            let reply = provider.embed(&call(), &embed(&texts, encoding), &model).await.unwrap();
            let answer: Value = serde_json::from_slice(&bytes(&reply)).unwrap();
            assert_eq!(answer["usage"]["prompt_tokens"], reply.meter.get().input);
            answer["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["embedding"].clone())
                .collect::<Vec<_>>()
        }
    };
    let floats: Vec<Vec<f32>> =
        read(Encoding::Float).await.into_iter().map(|value| serde_json::from_value(value).unwrap()).collect();
    let decoded: Vec<Vec<f32>> = read(Encoding::Base64)
        .await
        .iter()
        .map(|value| {
            let bytes = BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
        })
        .collect();
    assert_eq!(floats, decoded);
    let cosine = |a: usize, b: usize| floats[a].iter().zip(&floats[b]).map(|(x, y)| x * y).sum::<f32>();
    assert!(floats.iter().all(|vector| vector.len() == 384) && cosine(0, 2) > cosine(0, 1) + 0.2);
}

#[tokio::test]
async fn what_the_model_cannot_do_is_refused_by_name() {
    let provider = builtin();
    let model = provider.model("embed");
    let refused = |request| {
        let (provider, model) = (provider.clone(), model.clone());
        async move {
            let refusal = provider.embed(&call(), &request, &model).await.map(|_| ()).unwrap_err();
            let Failure::InvalidInput { code, param, .. } = refusal.failure else { panic!("{refusal:?}") };
            (code, param.unwrap().into_owned())
        }
    };
    let mut request = embed(&["text"], Encoding::Float);
    request.dimensions = Some(256);
    assert_eq!(refused(request).await, (InputCode::UnsupportedParameter, "dimensions".into()));
    let long = "x".repeat(2001);
    let request = embed(&["short", &long], Encoding::Float);
    assert_eq!(refused(request).await, (InputCode::ContextTooLong, "input[1]".into()));
    let mut request = embed(&["text"], Encoding::Float);
    request.dimensions = Some(384);
    assert!(provider.embed(&call(), &request, &model).await.is_ok());
}

#[tokio::test]
async fn it_stops_at_the_deadline() {
    let provider = builtin();
    let hurried = crate::Call { deadline: Deadline::after(Duration::from_millis(1)), ..call() };
    let texts = vec!["a longer text that takes the model a while to read"; 200];
    let result = provider.embed(&hurried, &embed(&texts, Encoding::Float), &provider.model("embed")).await;
    assert_eq!(result.map(|_| ()).unwrap_err().failure, Failure::DeadlineExceeded);
}
