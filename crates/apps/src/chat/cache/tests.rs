//! Kept answers over real sockets: who is given what, who pays, who waits.

use super::{super::tests as app_tests, *};
use app_tests::{PLAIN, Routed, bytes, inspected};
use bytes::Bytes;
use portcullis_domain::{CacheNote, CacheWish, Failure, Needs, Payload, Reply, RequestId, Role, TextPart};
use portcullis_engine::{App as _, Inspected};
use portcullis_telemetry::Metrics;
use portcullis_testkit::upstream::{Behaviour, OpenAi, Pace, Reply as Says};
use serde_json::Value;
use std::time::Duration;

use super::super::{CacheMode, ChatApp};

const ONE: Routed = &[("one", &[("a", "gpt-double", 0)])];
/// Ages are left out: seconds may pass.
const HIT: Option<&str> = Some("hit");
const MISS: Option<&str> = Some("miss");
const BYPASS: Option<&str> = Some("bypass");

fn app(double: &OpenAi, mode: CacheMode, change: impl Fn(&mut CacheConfig)) -> (ChatApp, Metrics) {
    let mut config = CacheConfig::default();
    change(&mut config);
    app_tests::built(&[("a", double)], ONE, |_, _| {}, |route| route.cache = mode, &config)
}

/// A conversation of one question; deterministic.
fn question(text: &str, stream: bool) -> Payload {
    let Payload::Chat(mut chat) = app_tests::chat("one", stream, Needs::default()) else { panic!() };
    let quoted = Value::from(text).to_string();
    let body = String::from_utf8(chat.body.to_vec()).unwrap();
    let body = body.replace("\"hello\"", &quoted).replacen('{', "{\"temperature\":0,", 1);
    let at = body.find(&quoted).unwrap() + 1;
    let span = at..at + quoted.len() - 2;
    chat.parts = vec![TextPart { role: Role::User, span, escaped: quoted.contains('\\') }];
    let model = body.find("\"one\"").unwrap();
    chat.model_span = Some(model..model + 5);
    chat.body = body.into();
    chat.deterministic = true;
    Payload::Chat(chat)
}

fn ask(text: &str) -> Inspected {
    inspected(PLAIN, question(text, false))
}

fn asked_by(who: &str, text: &str) -> Inspected {
    let mut request = ask(text);
    request.caller.id = who.into();
    request
}

fn with_key(key: &str, text: &str) -> Inspected {
    let mut request = ask(text);
    request.hints.idempotency_key = Some(key.into());
    request
}

async fn got(app: &ChatApp, request: Inspected) -> (Option<&'static str>, Bytes) {
    let reply: Reply = app.run(request).await.unwrap();
    (reply.cache.map(CacheNote::as_str), bytes(reply).await.unwrap())
}

fn slow(millis: u64) -> Behaviour {
    Behaviour::Paced(Pace { first_byte: Duration::from_millis(millis), ..Pace::default() })
}

/// Until so many requests have come.
async fn until(double: &OpenAi, requests: u64) {
    for _ in 0..400 {
        if double.counts().requests as u64 >= requests {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("only {} came", double.counts().requests);
}

#[tokio::test]
async fn a_hit_is_the_same_to_the_byte_costs_nothing_and_says_so() {
    let a = OpenAi::start().await;
    let (app, metrics) = app(&a, CacheMode::Deterministic, |_| {});
    for stream in [false, true] {
        a.forget();
        let text = if stream { "streamed" } else { "whole" };
        let again = || inspected(PLAIN, question(text, stream));
        let first = app.run(again()).await.unwrap();
        assert_eq!(
            (first.cache.map(CacheNote::as_str), first.target.as_deref()),
            (MISS, Some("a/gpt-double"))
        );
        let first = bytes(first).await.unwrap();
        let hit = app.run(again()).await.unwrap();
        assert_eq!(
            (hit.cache.map(CacheNote::as_str), hit.meter.get().output, hit.target.as_deref()),
            (HIT, 0, Some("a/gpt-double"))
        );
        assert_eq!(bytes(hit).await.unwrap(), first);
        assert_eq!(a.counts().requests, 1);
    }
    let text = metrics.render();
    assert!(text.contains("cache_total{route=\"one\",outcome=\"hit\"} 2"), "{text}");
    assert!(text.contains("cache_total{route=\"one\",outcome=\"miss\"} 2"), "{text}");
}

#[tokio::test]
async fn a_streamed_answer_serves_whole_requests_and_a_whole_one_streams() {
    let a = OpenAi::start().await;
    let (app, _) = app(&a, CacheMode::Deterministic, |_| {});
    let content = |whole: &[u8]| {
        let whole: Value = serde_json::from_slice(whole).unwrap();
        whole["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    for stream in [false, true] {
        let text = if stream { "streamed first" } else { "whole first" };
        let (_, first) = got(&app, inspected(PLAIN, question(text, stream))).await;
        let (note, other) = got(&app, inspected(PLAIN, question(text, !stream))).await;
        assert_eq!(note, HIT);
        let (whole, streamed) = if stream { (other, first) } else { (first, other) };
        let streamed = String::from_utf8(streamed.to_vec()).unwrap();
        assert!(streamed.ends_with("data: [DONE]\n\n"));
        let said: String = streamed
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
            .filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned()))
            .collect();
        assert_eq!(said, content(&whole));
    }
    assert_eq!(a.counts().requests, 2);
}

#[tokio::test]
async fn another_key_another_question_and_an_open_question_miss() {
    let a = OpenAi::start().await;
    let (one, _) = app(&a, CacheMode::Deterministic, |_| {});
    got(&one, ask("x")).await;
    assert_eq!(got(&one, asked_by("key:other", "x")).await.0, MISS);
    assert_eq!(got(&one, ask("y")).await.0, MISS);
    let open = || inspected(PLAIN, app_tests::chat("one", false, Needs::default()));
    assert_eq!((got(&one, open()).await.0, got(&one, open()).await.0), (None, None));
    assert_eq!(a.counts().requests, 5);
    let (all, _) = app(&a, CacheMode::All, |config| config.scope = CacheScope::Global);
    got(&all, open()).await;
    let mut other = open();
    other.caller.id = "key:other".into();
    assert_eq!(got(&all, other).await.0, HIT, "everybody shares");
    let (off, _) = app(&a, CacheMode::Off, |_| {});
    assert_eq!((got(&off, ask("x")).await.0, got(&off, ask("x")).await.0), (None, None));
}

#[tokio::test]
async fn teams_share_with_their_own() {
    let a = OpenAi::start().await;
    let (app, _) = app(&a, CacheMode::Deterministic, |config| config.scope = CacheScope::Team);
    let of = |who: &str, team: Option<&str>| {
        let mut request = asked_by(who, "x");
        request.caller.team = team.map(Into::into);
        request
    };
    got(&app, of("key:1", Some("red"))).await;
    assert_eq!(got(&app, of("key:2", Some("red"))).await.0, HIT);
    assert_eq!(got(&app, of("key:3", Some("blue"))).await.0, MISS);
    got(&app, of("red", None)).await;
    assert_eq!(a.counts().requests, 3);
}

#[tokio::test]
async fn no_store_and_no_cache_are_obeyed() {
    let a = OpenAi::start().await;
    let (app, _) = app(&a, CacheMode::Deterministic, |_| {});
    let wish = |cache| {
        let mut request = ask("x");
        request.hints.cache = cache;
        request
    };
    for _ in 0..2 {
        assert_eq!(got(&app, wish(CacheWish::NoStore)).await.0, BYPASS);
    }
    assert_eq!(got(&app, wish(CacheWish::Any)).await.0, MISS, "nothing was kept");
    assert_eq!(got(&app, wish(CacheWish::Fresh)).await.0, BYPASS);
    assert_eq!(got(&app, wish(CacheWish::Any)).await.0, HIT);
    assert_eq!(a.counts().requests, 4);
}

#[tokio::test]
async fn errors_and_answers_that_are_cut_filtered_broken_or_dangerous_are_not_kept() {
    let a = OpenAi::start().await;
    let (app, _) = app(&a, CacheMode::Deterministic, |_| {});
    let (app, a) = (&app, &a);
    let twice = async |first: Behaviour, stream: bool, flagged: bool| {
        let again = || {
            let mut request = inspected(PLAIN, question(&format!("{first:?} {stream}"), stream));
            request.flagged = flagged;
            request
        };
        a.next(first.clone());
        if let Ok(reply) = app.run(again()).await {
            drop(bytes(reply).await);
        }
        got(app, again()).await.0
    };
    let tool = || Behaviour::Say(Says::ToolCall { name: "look".into(), arguments: "{}".into() });
    assert_eq!(twice(Behaviour::error(400, "invalid_request_error", "x", "x"), false, false).await, MISS);
    assert_eq!(twice(Behaviour::CutAfter(2), true, false).await, MISS);
    assert_eq!(twice(tool(), false, true).await, MISS);
    assert_eq!(twice(tool(), false, false).await, HIT);
}

#[tokio::test]
async fn judging_an_answer_reads_why_it_ended() {
    use super::replay::worth_keeping;
    use portcullis_domain::Format;
    let whole = |finish: &str| {
        let message = "{\"role\":\"assistant\",\"content\":\"x\"}";
        format!(
            "{{\"id\":\"a\",\"model\":\"m\",\"choices\":[{{\"index\":0,\"message\":{message},\"finish_reason\":\"{finish}\"}}]}}"
        )
    };
    let good = |body: &str, stream| worth_keeping(Format::OpenAi, stream, body.as_bytes(), false);
    assert!(good(&whole("stop"), false));
    for bad in ["length", "content_filter"] {
        assert!(!good(&whole(bad), false), "{bad}");
    }
    assert!(!good("{}", false) && !good("", true) && !good("data: [DONE]\n\n", true));
    let chunk = |finish: &str| {
        format!(
            "data: {{\"id\":\"a\",\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"x\"}},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    assert!(good(&(chunk("null") + &chunk("\"stop\"") + "data: [DONE]\n\n"), true));
    assert!(!good(&(chunk("null") + &chunk("\"length\"") + "data: [DONE]\n\n"), true));
    assert!(!good(&chunk("null"), true), "no end");
}

#[tokio::test]
async fn identical_requests_under_way_share_one_call_and_other_callers_do_not() {
    let a = OpenAi::start().await;
    let (app, metrics) = app(&a, CacheMode::Deterministic, |config| config.max_waiters = 3);
    a.next(slow(300));
    let first = TaskTracker::new().spawn({
        let app = app.clone();
        async move { got(&app, ask("x")).await }
    });
    until(&a, 1).await;
    let others: Vec<_> = (0..3)
        .map(|_| {
            TaskTracker::new().spawn({
                let app = app.clone();
                async move { got(&app, ask("x")).await }
            })
        })
        .collect();
    tokio::task::yield_now().await;
    let stranger = got(&app, asked_by("key:other", "x")).await;
    assert_eq!(stranger.0, MISS);
    let (note, body) = first.await.unwrap();
    assert_eq!(note, MISS);
    for other in others {
        assert_eq!(other.await.unwrap(), (HIT, body.clone()));
    }
    assert_eq!(a.counts().requests, 2);
    assert!(metrics.render().contains("cache_total{route=\"one\",outcome=\"joined\"} 3"));
}

#[tokio::test]
async fn a_leader_who_hangs_up_hands_over() {
    let a = OpenAi::start().await;
    let (app, _) = app(&a, CacheMode::Deterministic, |_| {});
    a.next(Behaviour::Hang);
    let leader = TaskTracker::new().spawn({
        let app = app.clone();
        async move { app.run(ask("x")).await.map(|_| ()) }
    });
    until(&a, 1).await;
    let waiter = TaskTracker::new().spawn({
        let app = app.clone();
        async move { got(&app, ask("x")).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(a.counts().requests, 1, "it waits");
    leader.abort();
    assert_eq!(waiter.await.unwrap().0, MISS, "it leads");
    assert_eq!(a.counts().requests, 2);
}

#[tokio::test]
async fn an_idempotent_retry_pays_once_even_when_the_first_caller_hung_up() {
    let a = OpenAi::start().await;
    let (app, metrics) = app(&a, CacheMode::Off, |_| {});
    a.next(slow(200));
    let first = TaskTracker::new().spawn({
        let app = app.clone();
        async move { app.run(with_key("k", "x")).await.map(|_| ()) }
    });
    until(&a, 1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let (note, body) = got(&app, with_key("k", "x")).await;
    assert_eq!(note, HIT);
    assert_eq!(got(&app, with_key("k", "x")).await, (HIT, body));
    assert_eq!(a.counts().requests, 1);
    assert!(metrics.render().contains("cache_total{route=\"one\",outcome=\"replayed\"} 2"));
    let failure = app.run(with_key("k", "y")).await.map(|_| ()).unwrap_err();
    assert!(matches!(failure, Failure::Conflict(_)), "{failure}");
    let mut other = with_key("k", "y");
    other.caller.id = "key:other".into();
    got(&app, other).await;
    got(&app, with_key("k2", "x")).await;
    assert_eq!(a.counts().requests, 3, "keys are each caller's own");
}

#[tokio::test]
async fn an_idempotent_request_that_failed_may_be_tried_again_and_a_stream_is_replayed() {
    let a = OpenAi::start().await;
    let (app, _) = app(&a, CacheMode::Off, |_| {});
    a.next(Behaviour::error(400, "invalid_request_error", "x", "x"));
    assert!(app.run(with_key("k", "x")).await.is_err());
    a.forget();
    let streamed = || {
        let mut request = inspected(PLAIN, question("x", true));
        request.hints.idempotency_key = Some("s".into());
        request
    };
    a.always(Behaviour::Answer);
    assert!(app.run(with_key("k", "x")).await.is_ok());
    let first = got(&app, streamed()).await;
    let second = got(&app, streamed()).await;
    assert_eq!((first.0, second.0), (None, HIT));
    assert_eq!(first.1, second.1);
}

#[tokio::test]
async fn the_semantic_cache_knows_the_same_question_in_other_words_and_refuses_two_apples_for_three() {
    let a = OpenAi::start().await;
    let (app, _) = app(&a, CacheMode::Deterministic, |config| {
        config.semantic.enabled = true;
        config.semantic.similarity = 0.9;
    });
    let again = |text: &str| {
        let mut request = ask(text);
        request.id = RequestId::from_parts(1_700_000_000_000, 9);
        request
    };
    got(&app, again("How do I reset my password?")).await;
    let (note, _) = got(&app, again("How can I reset my password?")).await;
    assert_eq!(note, Some("semantic"));
    got(&app, again("What is the price of 2 apples?")).await;
    assert_eq!(got(&app, again("What is the price of 3 apples?")).await.0, MISS);
    assert_eq!(got(&app, again("Tell me a story about a dragon")).await.0, MISS);
    let mut stranger = again("How could I reset my password?");
    stranger.caller.id = "key:other".into();
    assert_eq!(got(&app, stranger).await.0, MISS);
}
