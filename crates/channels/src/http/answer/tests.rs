//! Every failure in every schema, and the rate headers. // req: S3-BUG-9

use super::*;
use portcullis_domain::{AuthProblem, Incident, InputCode};
use std::fmt::Write as _;

fn all() -> Vec<Failure> {
    let incident = Incident::from_parts(1_700_000_000_000, 7);
    let wait = Duration::from_millis(1_200);
    let mut all: Vec<Failure> = [
        InputCode::InvalidValue,
        InputCode::MissingParameter,
        InputCode::ContextTooLong,
        InputCode::UnsupportedParameter,
        InputCode::TooLarge,
        InputCode::UnsupportedMedia,
        InputCode::TooSlow,
        InputCode::MethodNotAllowed,
    ]
    .into_iter()
    .map(|code| Failure::InvalidInput {
        code,
        message: "What is wrong.".into(),
        param: Some("member".into()),
    })
    .collect();
    all.extend(AuthProblem::ALL.map(Failure::Unauthenticated));
    all.extend([
        Failure::Forbidden("This key may not do that.".into()),
        Failure::ModelNotAllowed("This key may not use that.".into()),
        Failure::NotFound("There is no such model.".into()),
        Failure::Conflict("Already so.".into()),
        Failure::Blocked { incident },
        Failure::Unconfirmed { incident, proof: "a proof".into(), expires_in: Duration::from_secs(600) },
        Failure::Overloaded { retry_after: wait },
        Failure::Unavailable { retry_after: wait, rate_limited: false },
        Failure::Unavailable { retry_after: wait, rate_limited: true },
        Failure::DeadlineExceeded,
        Failure::UpstreamInterrupted,
        Failure::Internal { incident },
    ]);
    all.extend(
        [Some(wait), None].map(|resets_in| Failure::BudgetExceeded { budget: "team".into(), resets_in }),
    );
    all.extend(LimitScope::ALL.map(|scope| Failure::RateLimited { scope, retry_after: wait }));
    all
}

#[test]
fn every_failure_has_its_words_in_every_schema() {
    let id = RequestId::from_parts(1_700_000_000_000, 9);
    let mut shown = String::new();
    for failure in all() {
        let parts = openai::render::parts(&failure);
        let retry = parts.retry.seconds();
        writeln!(shown, "{failure:?}\n  retry {retry:?}").unwrap();
        let wires = [Format::OpenAi, Format::Anthropic, Format::Gemini].map(Schema::Wire);
        for schema in wires.into_iter().chain([Schema::Rest]) {
            let body = body(schema, &parts, &id, jiff::Timestamp::UNIX_EPOCH);
            writeln!(shown, "  {} {body}", status(schema, parts.status).as_u16()).unwrap();
        }
        assert_eq!(retry.is_some(), matches!(parts.status.as_u16(), 429 | 503), "{failure:?}");
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn rate_headers_name_every_policy_but_the_global_one_and_the_tightest_in_the_old_families() {
    let view = |scope, quota, remaining, reset_secs| LimitView {
        scope,
        quota,
        window_secs: 60,
        remaining,
        reset_secs,
    };
    let views = [
        view(LimitScope::Global, 1000, 1, 1),
        view(LimitScope::User, 50, 49, 1),
        view(LimitScope::Tier, 100, 0, 23),
    ];
    let id = RequestId::from_parts(1, 1);
    let failure = Failure::RateLimited { scope: LimitScope::Tier, retry_after: Duration::from_millis(100) };
    let response = super::failure(
        &Metrics::new(),
        Schema::Wire(Format::OpenAi),
        &failure,
        &id,
        &views,
        jiff::Timestamp::UNIX_EPOCH,
    );
    let get = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(get("ratelimit-policy"), "\"user\";q=50;w=60, \"tier\";q=100;w=60");
    assert_eq!(get("ratelimit"), "\"user\";r=49;t=1, \"tier\";r=0;t=23");
    assert_eq!((get("x-ratelimit-limit"), get("x-ratelimit-remaining")), ("100".into(), "0".into()));
    assert_eq!(get("x-ratelimit-reset"), "23");
    assert_eq!(get("retry-after"), "23", "never earlier than the policy's t");
    assert_eq!(get("x-request-id"), id.as_str());
}

// req: S3-BUG-9
#[tokio::test]
async fn what_slips_through_the_first_net_is_caught_at_the_door_and_counted() {
    let metrics = Metrics::new();
    let id = RequestId::from_parts(1, 1);
    let leak = Failure::NotFound("open /var/lib/portcullis/portcullis.db at 10.0.0.7 as a@b.example".into());
    for schema in [Schema::Wire(Format::OpenAi), Schema::Wire(Format::Anthropic), Schema::Rest] {
        let response = failure(&metrics, schema, &leak, &id, &[], jiff::Timestamp::UNIX_EPOCH);
        let mut chunks = response.into_body().into_data_stream();
        let chunk = futures_util::StreamExt::next(&mut chunks).await.unwrap().unwrap();
        let body = String::from_utf8(chunk.to_vec()).unwrap();
        assert!(!body.contains("/var/lib") && !body.contains("10.0.0.7") && !body.contains("a@b"), "{body}");
    }
    assert!(metrics.render().contains("error_redacted_total 3\n"));
}
