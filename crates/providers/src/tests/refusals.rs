//! Refusals and faults before the first byte: how each is seen, what the caller would be told, what is counted.

use super::{World, call, hello, model};
use portcullis_domain::{Deadline, Failure, Incident};
use portcullis_telemetry::AlertCategory;
use portcullis_testkit::upstream::{Behaviour, OpenAi};
use std::{fmt::Write as _, time::Duration};

fn behaviours() -> Vec<(&'static str, Behaviour)> {
    let with_url = "The `n` is wrong, see https://api.provider.example/docs and ask help@provider.example.";
    vec![
        ("429 too fast", Behaviour::rate_limited(7)),
        ("429 exhausted", Behaviour::quota_exhausted()),
        ("429 engine overloaded", Behaviour::engine_overloaded()),
        ("503 overloaded", Behaviour::overloaded()),
        ("529", Behaviour::overloaded_529()),
        ("500", Behaviour::server_error()),
        ("401", Behaviour::bad_key()),
        ("402", Behaviour::payment_required()),
        ("404 model", Behaviour::model_gone()),
        ("400 too long", Behaviour::context_too_long()),
        ("400 filter", Behaviour::content_filter()),
        ("400", Behaviour::error(400, "invalid_request_error", "invalid_value", with_url)),
        ("422", Behaviour::error(422, "invalid_request_error", "", "Unprocessable.")),
        ("302", Behaviour::error(302, "", "", "").with_header("location", "http://127.0.0.1:1/")),
        ("405", Behaviour::error(405, "", "", "POST is not allowed.")),
        ("error as html", Behaviour::Status { status: 502, headers: vec![], body: "<h1>nginx</h1>".into() }),
        ("closed", Behaviour::Close),
        ("hangs", Behaviour::Hang),
        ("garbage", Behaviour::Garbage),
        ("wrong schema", Behaviour::WrongSchema),
        ("html", Behaviour::Html),
        ("huge", Behaviour::Huge(8 << 20)),
        ("many headers", Behaviour::HeaderBomb(2000)),
    ]
}

// req: S0-05
#[tokio::test]
async fn every_refusal_and_fault_has_its_meaning_and_its_words() {
    let mut table = String::new();
    for stream in [false, true] {
        for (name, behaviour) in behaviours() {
            let world = World::start().await;
            world.double.next(behaviour);
            let result = world.provider().chat(&call(), &hello(stream), &model("gpt-double")).await;
            let Err(refusal) = result else { panic!("{name} is no answer") };
            let mut failure = refusal.failure;
            if let Failure::Blocked { incident } = &mut failure {
                *incident = Incident::from_parts(0, 0);
            }
            let metrics = world.metrics.render();
            let code = metrics
                .lines()
                .find_map(|line| line.strip_prefix("ai_failures{provider=\"double\",code=\""))
                .and_then(|rest| rest.split('"').next())
                .unwrap_or("-");
            let kind = if stream { "stream" } else { "whole" };
            let passed = if refusal.pass_on { "passed on" } else { "final" };
            writeln!(table, "{kind} {name}: {code}, {}, {passed}\n    {failure}", refusal.reason).unwrap();
            assert_eq!(world.double.counts().requests, 1, "{name}");
            assert_eq!(world.in_use("double"), 0, "{name}");
        }
    }
    for secret in ["127.0.0.1", "provider.example", "sk-", "nginx", "http"] {
        assert!(!table.contains(secret), "{secret} in {table}");
    }
    insta::assert_snapshot!("refusals", table);
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_passed_on() {
    let double = OpenAi::start().await;
    let world = World::with(double, |provider, _| {
        provider.base_url = Some(format!("http://127.0.0.1:{}/v1", portcullis_testkit::free_port()));
    });
    let refusal = world.provider().chat(&call(), &hello(false), &model("m")).await.map(|_| ()).unwrap_err();
    assert_eq!((refusal.reason, refusal.pass_on), ("failure", true));
    assert!(world.metrics.render().contains("code=\"connect\",latency_bucket=\"lt_1s\"} 1"));
}

// req: S2-3.7
#[tokio::test]
async fn a_refused_key_and_an_empty_account_raise_one_alert_each() {
    for (behaviour, category) in [
        (Behaviour::bad_key(), AlertCategory::KeyInvalid),
        (Behaviour::quota_exhausted(), AlertCategory::QuotaExhausted),
    ] {
        let mut world = World::start().await;
        world.double.always(behaviour);
        for _ in 0..4 {
            let result = world.provider().chat(&call(), &hello(false), &model("gpt-double")).await;
            let Err(refusal) = result else { panic!("no answer was possible") };
            assert!(matches!(refusal.failure, Failure::Unavailable { rate_limited: false, .. }), "never 401");
        }
        let alert = world.alerts.try_recv().unwrap();
        assert_eq!((alert.category, alert.subject.as_str()), (category, "double"));
        assert!(!alert.message.contains("sk-"), "{}", alert.message);
        assert!(world.alerts.try_recv().is_err(), "told once");
        assert!(world.double.counts().requests <= 2, "a held account is left alone");
    }
}

// req: S2-2.3
#[tokio::test]
async fn five_failures_in_a_row_open_the_breaker_and_then_nothing_is_sent() {
    let world = World::start().await;
    world.double.always(Behaviour::server_error());
    let mut reasons = Vec::new();
    for _ in 0..8 {
        let result = world.provider().chat(&call(), &hello(false), &model("gpt-double")).await;
        reasons.push(result.map(|_| ()).unwrap_err().reason);
    }
    assert_eq!(reasons[..5], ["failure"; 5]);
    assert_eq!(reasons[5..], ["breaker_open"; 3]);
    assert_eq!(world.double.counts().requests, 5);
}

#[tokio::test]
async fn a_caller_in_a_hurry_does_not_open_the_breaker() {
    let world = World::start().await;
    world.double.always(Behaviour::Hang);
    for _ in 0..8 {
        let hurried = crate::Call { deadline: Deadline::after(Duration::from_millis(30)), ..call() };
        let result = world.provider().chat(&hurried, &hello(false), &model("gpt-double")).await;
        let refusal = result.map(|_| ()).unwrap_err();
        assert_eq!(refusal.failure, Failure::DeadlineExceeded);
    }
    assert_eq!(world.double.counts().requests, 8);
    assert!(!world.metrics.render().contains("ai_failures{provider"));
}
