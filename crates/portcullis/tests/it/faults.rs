//! A provider that misbehaves: the breaker, the one probe, honest answers in time, and no outage from one error.

use crate::support::{WIDE, chat, metric, open, post, request, serve, until};
use futures_util::future::join_all;
use http::Method;
use portcullis_testkit::{
    fault::{Fault, Proxy},
    upstream::{Behaviour, OpenAi},
};
use std::time::Duration;

const CHAT: &str = "/v1/chat/completions";

/// Short times, and no second attempt, so that each request is one call.
fn config(extra: &str) -> String {
    format!(
        "breaker_reset_secs = 2\nbreaker_failures = 5\nattempts = 1\nattempt_timeout_secs = 2\n{extra}\n{WIDE}"
    )
}

// req: S4-BRK
// req: S2-2.3
#[tokio::test]
async fn the_breaker_opens_at_its_number_admits_one_probe_and_closes_again() {
    let double = OpenAi::start().await;
    let server = serve(&double, &double.base_url(), &config("")).await;
    let ask = async || post(server.address(), CHAT, "", &chat(false)).await;
    double.always(Behaviour::server_error());
    for _ in 0..5 {
        assert_eq!(ask().await.status, 503);
    }
    assert_eq!(double.counts().requests, 5);
    let refused = ask().await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "provider_unavailable"));
    assert!(refused.header("retry-after").parse::<u64>().is_ok());
    assert_eq!(double.counts().requests, 5, "open means that calls fail without a request");
    double.always(Behaviour::Paced(portcullis_testkit::upstream::Pace {
        first_byte: Duration::from_millis(800),
        ..Default::default()
    }));
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let answers = join_all((0..20).map(|_| ask())).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert_eq!(double.counts().requests, 6, "exactly one probe");
    assert_eq!(ask().await.status, 200, "closed again");
    assert_eq!(metric(server.address(), "breaker_state{dependency=\"openai\"}").await, 0.0);
}

// req: S4-BRK
#[tokio::test]
async fn no_number_of_429_opens_the_breaker_and_one_error_is_no_outage() {
    let double = OpenAi::start().await;
    let server = serve(&double, &double.base_url(), &config("")).await;
    let ask = async || post(server.address(), CHAT, "", &chat(false)).await;
    for behaviour in
        [Behaviour::server_error(), Behaviour::rate_limited(1), Behaviour::Close, Behaviour::bad_key()]
    {
        double.next(behaviour.clone());
        let first = ask().await;
        assert_ne!(first.status, 200, "{behaviour:?}");
        until("the very next requests are tried again", async || ask().await.status == 200).await;
    }
    double.next_times(8, &Behaviour::error(429, "requests", "rate_limit_exceeded", "Slow down."));
    for _ in 0..8 {
        let answer = ask().await;
        assert!(matches!(answer.status.as_u16(), 429 | 200), "{answer:?}");
        assert!(!answer.text().contains("Slow down."), "the provider's words stay inside");
    }
    assert_eq!(metric(server.address(), "breaker_state{dependency=\"openai\"}").await, 0.0);
}

// req: S2-2.2
#[tokio::test]
async fn every_fault_gets_an_answer_or_a_clear_error_before_the_deadline() {
    let double = OpenAi::start().await;
    let proxy = Proxy::start(double.address()).await;
    let server = serve(&double, &double.base_url_at(proxy.address()), &config("")).await;
    let ask = async |stream| {
        let mut request = request(Method::POST, CHAT, "", &chat(stream));
        request.headers_mut().insert("x-portcullis-timeout-ms", "4000".parse().unwrap());
        let asked = tokio::time::Instant::now();
        let answer = open(server.address(), request).await.expect("an answer");
        let status = answer.status.as_u16();
        let (text, _) = answer.rest().await;
        assert!(asked.elapsed() < Duration::from_secs(30), "it hung");
        (status, text)
    };
    for fault in [Fault::Refuse, Fault::Reset, Fault::Hang, Fault::CutAfter { bytes: 20 }] {
        proxy.set(fault);
        let (status, text) = ask(false).await;
        assert!(matches!(status, 503 | 504), "{fault:?}: {status} {text}");
        assert!(text.contains("\"request_id\":\"req_"), "{text}");
        proxy.set(Fault::Pass);
        tokio::time::sleep(Duration::from_millis(2_200)).await;
        assert_eq!(ask(false).await.0, 200, "after {fault:?} it answers again");
    }
}

#[tokio::test]
async fn a_cut_stream_ends_with_an_error_event_and_never_with_done() {
    let double = OpenAi::start().await;
    let server = serve(&double, &double.base_url(), &config("")).await;
    for behaviour in [Behaviour::CutAfter(3), Behaviour::EndAfter(3), Behaviour::ErrorEventAfter(2)] {
        double.next(behaviour.clone());
        let stream = open(server.address(), request(Method::POST, CHAT, "", &chat(true))).await.unwrap();
        assert_eq!(stream.status, 200, "{behaviour:?}");
        let (text, _) = stream.rest().await;
        assert!(text.contains("data: {") && text.contains("\"error\""), "{behaviour:?}: {text}");
        assert!(!text.contains("[DONE]"), "{behaviour:?}: {text}");
    }
    let stream = open(server.address(), request(Method::POST, CHAT, "", &chat(true))).await.unwrap();
    let (text, clean) = stream.rest().await;
    assert!(clean && text.trim_end().ends_with("data: [DONE]"), "{text}");
}

#[tokio::test]
async fn hostile_answers_hurt_nobody_and_show_nothing() {
    let double = OpenAi::start().await;
    let server = serve(
        &double,
        &double.base_url(),
        &config("breaker_failures = 1000").replacen("breaker_failures = 5\n", "", 1),
    )
    .await;
    let ask = async || post(server.address(), CHAT, "", &chat(false)).await;
    for behaviour in [
        Behaviour::Garbage,
        Behaviour::WrongSchema,
        Behaviour::Html,
        Behaviour::Huge(100_000_000),
        Behaviour::HeaderBomb(2_000),
    ] {
        double.next(behaviour.clone());
        let answer = ask().await;
        assert_eq!(answer.status, 503, "{behaviour:?}: {answer:?}");
        assert!(!answer.text().contains("html"), "{}", answer.text());
        assert_eq!(ask().await.status, 200, "the next caller is not affected by {behaviour:?}");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_is_seen_upstream_and_everything_returns_to_rest() {
    let double = OpenAi::start().await;
    double.change(|options| {
        options.pace.chunks = Some(1_000);
        options.pace.between_chunks = Duration::from_millis(20);
    });
    let server = serve(&double, &double.base_url(), &config("")).await;
    let mut stream = open(server.address(), request(Method::POST, CHAT, "", &chat(true))).await.unwrap();
    stream.next().await.unwrap().unwrap();
    assert_eq!(metric(server.address(), "streams_active").await, 1.0);
    let left = tokio::time::Instant::now();
    drop(stream);
    double.wait_for_hang_ups(1).await;
    let seen = left.elapsed();
    // 50 ms and one chunk are the goal; the bound here is only wide enough for a busy machine.
    assert!(seen < Duration::from_secs(2), "seen after {seen:?}");
    until("gauges return to rest", async || {
        metric(server.address(), "streams_active").await == 0.0
            && metric(server.address(), "gate_in_use{gate=\"openai\"}").await == 0.0
    })
    .await;
    assert_eq!(metric(server.address(), "breaker_state{dependency=\"openai\"}").await, 0.0);
}
