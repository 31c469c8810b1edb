//! Whole answers and vectors: what goes out, what comes back, what it is counted as.

use super::{World, bytes, call, chat, embed, hello, model};
use portcullis_domain::{Deadline, EmbedInput, Encoding, Role, Usage};
use portcullis_testkit::upstream::{Behaviour, OpenAi, Options, Pace, Received, Reply as Says};
use std::{fmt::Write as _, time::Duration};

/// A request as the provider got it.
pub(super) fn outgoing(received: &Received) -> String {
    let mut out = format!("{} {}\n", received.method, received.target);
    let mut headers: Vec<_> = received.headers.iter().collect();
    headers.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in headers {
        let value = match name.as_str() {
            "host" => "[host]",
            _ => value.to_str().unwrap(),
        };
        writeln!(out, "{name}: {value}").unwrap();
    }
    format!("{out}\n{}", String::from_utf8_lossy(&received.body))
}

#[tokio::test]
async fn a_whole_answer_goes_out_as_the_callers_bytes_and_comes_back_as_the_providers() {
    let world = World::start().await;
    let reply = world.provider().chat(&call(), &hello(false), &model("gpt-double")).await.unwrap();
    assert_eq!(world.double.violations(), Vec::<String>::new());
    insta::assert_snapshot!("whole_request", outgoing(&world.double.received()[0]));
    insta::assert_snapshot!("whole_answer", String::from_utf8_lossy(&bytes(&reply)));
    let usage = reply.meter.get();
    assert!(usage.input > 0 && usage.output > 0 && !usage.estimated, "{usage:?}");
    let metrics = world.metrics.render();
    assert!(
        metrics.contains("ai_requests_total{provider=\"double\",route=\"test\",outcome=\"ok\"} 1"),
        "{metrics}"
    );
    assert_eq!(world.in_use("double"), 0);
}

#[tokio::test]
async fn tool_calls_pass_untouched() {
    let world = World::start().await;
    world.double.next(Behaviour::Say(Says::ToolCall { name: "look".into(), arguments: "{\"at\":1}".into() }));
    let reply = world.provider().chat(&call(), &hello(false), &model("gpt-double")).await.unwrap();
    assert!(String::from_utf8_lossy(&bytes(&reply)).contains("\"tool_calls\""));
}

#[tokio::test]
async fn a_server_without_a_key_gets_no_authorization() {
    let double = OpenAi::with(Options { key: None, ..Options::default() }).await;
    let world = World::with(double, |provider, _| provider.key_secret = None);
    world.provider().chat(&call(), &hello(false), &model("gpt-double")).await.unwrap();
    assert_eq!(world.double.received()[0].header("authorization"), "");
    assert_eq!(world.double.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn vectors_pass_in_both_encodings_and_their_usage_is_read() {
    let world = World::start().await;
    for encoding in [Encoding::Float, Encoding::Base64] {
        let request = embed(&["first text", "second \"text\""], encoding);
        let reply = world.provider().embed(&call(), &request, &model("embed-double")).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&bytes(&reply)).unwrap();
        assert_eq!(answer["data"].as_array().unwrap().len(), 2);
        assert_eq!(answer["data"][0]["embedding"].is_string(), encoding == Encoding::Base64);
        assert!(reply.meter.get().input > 0);
    }
    insta::assert_snapshot!("vectors_request", outgoing(&world.double.received()[1]));
    assert_eq!(world.double.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn fewer_vectors_than_texts_are_no_answer() {
    let world = World::start().await;
    let mut request = embed(&["one"], Encoding::Float);
    // The door says two, the provider answers one.
    request.input = EmbedInput::Tokens { count: 2 };
    let refusal =
        world.provider().embed(&call(), &request, &model("embed-double")).await.map(|_| ()).unwrap_err();
    assert_eq!((refusal.reason, refusal.pass_on), ("failure", true));
}

// req: S0-07
#[tokio::test]
async fn at_most_five_embedding_calls_reach_a_provider_at_once_and_the_rest_wait() {
    let world = World::start().await;
    let pace = Pace { first_byte: Duration::from_millis(100), ..Pace::default() };
    world.double.always(Behaviour::Paced(pace));
    let provider = world.provider();
    let one = || async {
        let request = embed(&["text"], Encoding::Float);
        provider.embed(&call(), &request, &model("embed-double")).await.map(|_| ())
    };
    let results = futures_util::future::join_all((0..12).map(|_| one())).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(world.double.counts().max_in_flight, 5);
    assert_eq!(world.in_use("embed"), 0);
}

// req: S0-07
#[tokio::test]
async fn an_embedding_call_beyond_the_queue_is_refused_and_may_go_elsewhere() {
    let world = World::start().await;
    world.double.always(Behaviour::Hang);
    let provider = world.provider();
    let one = || async {
        let request = embed(&["text"], Encoding::Float);
        let hurried = crate::Call { deadline: Deadline::after(Duration::from_millis(300)), ..call() };
        provider.embed(&hurried, &request, &model("embed-double")).await.map(|_| ())
    };
    let results = futures_util::future::join_all((0..5 + 64 + 3).map(|_| one())).await;
    let full =
        results.iter().filter(|result| matches!(result, Err(refusal) if refusal.reason == "queue_full"));
    assert!(full.count() >= 3);
}

#[tokio::test]
async fn usage_that_the_provider_does_not_tell_is_estimated_and_said_so() {
    let world = World::start().await;
    let body = r#"{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"twelve bytes"},"finish_reason":"stop"}]}"#;
    world.double.next(Behaviour::Status { status: 200, headers: vec![], body: body.into() });
    let request = chat(&[(Role::User, "twelve bytes")], false, false);
    let reply = world.provider().chat(&call(), &request, &model("gpt-double")).await.unwrap();
    assert_eq!(reply.meter.get(), Usage { input: 3, output: 3, estimated: true, ..Usage::default() });
    assert_eq!(bytes(&reply), body);
}

#[tokio::test]
async fn without_another_target_a_failure_is_tried_again() {
    let world = World::start().await;
    world.double.next(Behaviour::server_error());
    let alone = crate::Call { others: false, ..call() };
    world.provider().chat(&alone, &hello(false), &model("gpt-double")).await.unwrap();
    assert_eq!(world.double.counts().requests, 2);
}
