//! A provider that means harm, in front of the real binary: whatever it sends, others are served meanwhile and
//! afterwards. Invariant: that somebody is served meanwhile is seen by the order of what happens, never by a clock.

use crate::support::{WIDE, chat, metric, open, post, request, serve, until};
use futures_util::future::join_all;
use http::Method;
use portcullis_testkit::upstream::{Behaviour, OpenAi};

const CHAT: &str = "/v1/chat/completions";

/// Short times, one attempt, and a breaker that stays closed: each request is one call.
fn config(provider: &str, upstream: &str, guard: &str) -> String {
    format!(
        "breaker_failures = 1000\nattempts = 1\nattempt_timeout_secs = 5\n{provider}{WIDE}[upstream]\n{upstream}\
         [upstream.guard]\nrate_min_calls = 1000\n{guard}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_sound_events_without_end_is_ended_in_time_while_others_are_served() {
    let double = OpenAi::start().await;
    // What the endless answer is taken to have cost would fill a minute's tokens.
    let config = config("tpm = 0\n", "stream_timeout_secs = 6\n", "");
    let server = serve(&double, &double.base_url(), &config).await;
    double.next(Behaviour::Endless);
    let mut stream = open(server.address(), request(Method::POST, CHAT, "", &chat(true))).await.unwrap();
    assert_eq!(stream.status, 200);
    let first = stream.next().await.unwrap().unwrap();
    assert!(first.starts_with(b"data: {") && first.windows(4).any(|word| word == b"more"), "{first:?}");
    // It is read as fast as it comes; of what comes only the end is kept.
    let reading = async {
        let mut end = Vec::new();
        while let Some(Ok(piece)) = stream.next().await {
            end.extend_from_slice(&piece);
            let from = end.len().saturating_sub(4_096);
            end.drain(..from);
        }
        end
    };
    // Somebody else, while it goes on: whole and streamed.
    let others = async {
        let other = post(server.address(), CHAT, "", &chat(false)).await;
        assert_eq!(other.status, 200, "{other:?}");
        let other = post(server.address(), CHAT, "", &chat(true)).await;
        assert!(other.status == 200 && other.text().ends_with("data: [DONE]\n\n"), "{other:?}");
        assert!(double.hang_ups().is_empty(), "the endless one was still going on");
    };
    let (end, ()) = tokio::join!(reading, others);
    let end = String::from_utf8_lossy(&end);
    let last = end.trim_end().rsplit("\n\n").next().unwrap();
    let error: serde_json::Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).expect(last);
    assert_eq!(error["error"]["code"], "upstream_interrupted", "{last}");
    assert!(error["error"]["request_id"].as_str().is_some_and(|id| id.starts_with("req_")), "{last}");
    assert!(!end.contains("[DONE]"), "{end}");
    double.wait_for_hang_ups(1).await;
    until("everything returns to rest", async || {
        metric(server.address(), "streams_active").await == 0.0
            && metric(server.address(), "gate_in_use{gate=\"openai\"}").await == 0.0
    })
    .await;
    assert_eq!(post(server.address(), CHAT, "", &chat(false)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_provider_sends_one_caller_another_is_served_at_the_same_time() {
    let double = OpenAi::start().await;
    let config = config("", "ttft_timeout_secs = 5\nidle_timeout_secs = 5\n", "");
    let server = serve(&double, &double.base_url(), &config).await;
    // Whether it is sure to go on while somebody else is served.
    for (behaviour, lasts) in [
        (Behaviour::Hang, true),
        (Behaviour::HangAfterHead, true),
        (Behaviour::Huge(100_000_000), false),
        (Behaviour::HeaderBomb(2_000), false),
        (Behaviour::Garbage, false),
        (Behaviour::WrongSchema, false),
        (Behaviour::Html, false),
        (Behaviour::Close, false),
    ] {
        for streamed in [false, true] {
            double.wait_idle().await;
            double.forget();
            double.next(behaviour.clone());
            let hostile = async {
                let open =
                    open(server.address(), request(Method::POST, CHAT, "", &chat(streamed))).await.unwrap();
                let status = open.status.as_u16();
                (status, open.rest().await.0)
            };
            let other = async {
                double.wait_for_requests(1).await;
                let other = post(server.address(), CHAT, "", &chat(false)).await;
                // What hangs ends only by our hanging up.
                (other.status.as_u16(), double.hang_ups().is_empty())
            };
            let ((status, text), (served, beside)) = tokio::join!(hostile, other);
            let what = format!("{behaviour:?} streamed {streamed}: {status} {text}");
            assert_eq!(served, 200, "{what}");
            assert!(!lasts || beside, "it was served beside {what}");
            // A stream that has begun can only say so itself.
            let begun = streamed && behaviour == Behaviour::HangAfterHead;
            assert!(if begun { status == 200 } else { matches!(status, 503 | 504) }, "{what}");
            assert!(text.contains("\"error\"") && !text.contains("[DONE]"), "{what}");
            assert!(!text.contains("html") && !text.contains("It works"), "{what}");
        }
    }
}

const ABSURD: &[&str] = &[
    "-1",
    "-1000000000000000000000000000000",
    "1000000000000000000000000000000",
    "1e30",
    "99999999999999999999",
    "NaN",
    "nan",
    "-inf",
    "inf",
    "0x10",
    "",
    "many",
    "-5s",
    "1e30s",
    "99999999h",
    "2999-01-01T00:00:00Z",
];

#[tokio::test(flavor = "multi_thread")]
async fn absurd_limits_in_a_providers_headers_change_nothing_for_the_next_callers() {
    let double = OpenAi::start().await;
    let config = config("learn = true\nrpm = 5000\n", "", "pace_wait_ms = 300\n");
    let server = serve(&double, &double.base_url(), &config).await;
    // All limits that a provider can tell, of which one figure is absurd.
    let tell = |absurd: &str, value: &str| {
        let mut headers = vec![("retry-after".to_owned(), value.to_owned())];
        for kind in ["requests", "tokens"] {
            for (figure, usual) in [("limit", "1000000"), ("remaining", "999999"), ("reset", "6ms")] {
                let value = if figure == absurd { value } else { usual };
                headers.push((format!("x-ratelimit-{figure}-{kind}"), value.to_owned()));
                headers.push((format!("anthropic-ratelimit-{kind}-{figure}"), value.to_owned()));
            }
        }
        double.change(|options| options.headers = headers);
    };
    let ask = async || post(server.address(), CHAT, "", &chat(false)).await;
    let rejected = "learned_header_rejected_total{provider=\"openai\"}";
    let learned = "learned_rpm{provider=\"openai\"}";
    tell("none", "1");
    assert_eq!(ask().await.status, 200);
    let (mut before, rpm) =
        (metric(server.address(), rejected).await, metric(server.address(), learned).await);
    for figure in ["limit", "remaining", "reset"] {
        for value in ABSURD {
            tell(figure, value);
            let answers = join_all((0..4).map(|_| ask())).await;
            for answer in &answers {
                assert_eq!(answer.status, 200, "{figure} {value}: {answer:?}");
            }
            assert_eq!(metric(server.address(), learned).await, rpm, "{figure} {value}");
            let after = metric(server.address(), rejected).await;
            assert!(after > before, "{figure} {value}: {before} {after}");
            before = after;
        }
    }

    // A refusal that asks for an absurd wait is told with a sensible one, and the next caller is served.
    tell("none", "1");
    for value in ABSURD {
        let refused = Behaviour::error(429, "requests", "rate_limit_exceeded", "Slow down.");
        double.next(refused.with_header("retry-after", value));
        let answer = ask().await;
        assert_eq!(answer.status, 429, "{value}: {answer:?}");
        let wait = answer.header("retry-after").parse::<u64>();
        assert!(wait.is_ok_and(|wait| (1..=86_400).contains(&wait)), "{value}: {answer:?}");
        until("the next is served", async || ask().await.status == 200).await;
    }

    // The counter-check: a limit that makes sense is believed.
    double.change(|options| {
        options.headers = [("limit", "5"), ("remaining", "0"), ("reset", "3600s")]
            .map(|(name, value)| (format!("x-ratelimit-{name}-requests"), value.to_owned()))
            .into();
    });
    assert_eq!(ask().await.status, 200);
    let answer = ask().await;
    assert!(matches!(answer.status.as_u16(), 429 | 503), "{answer:?}");
}
