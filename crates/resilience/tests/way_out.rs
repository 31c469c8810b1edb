//! The whole way out against real sockets: the shared client behind a guarded dependency, a strict provider double,
//! and a proxy that breaks the network between them. What time alone decides is tested in paused time elsewhere.

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use portcullis_domain::{Action, Deadline};
use portcullis_resilience::{
    Attempt, CallCtx, CallError, CallPermit, Class, Dependency, DependencyPolicy, GuardConfig, Guarded,
    Learn,
    breaker::{BreakerPolicy, BreakerState},
    bulkhead::BulkheadPolicy,
    http::{AnswerBody, Client, HttpConfig, HttpError, collect},
    pacing::PacePolicy,
};
use portcullis_telemetry::{Alerts, Metrics};
use portcullis_testkit::{
    fault::{Fault, Proxy},
    upstream::{Behaviour, OpenAi, Pace},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};

const RESET: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

/// A dependency in front of a double, with the network between them.
struct House {
    double: OpenAi,
    proxy: Proxy,
    client: Client,
    dependency: Dependency,
}

#[derive(Debug)]
enum Refused {
    Request,
    Status(StatusCode),
    Transport(HttpError),
}

type Answer = Result<Bytes, CallError<Refused>>;

fn policy() -> DependencyPolicy {
    DependencyPolicy {
        name: "double".into(),
        breaker: BreakerPolicy { failures: 4, reset: RESET },
        bulkhead: BulkheadPolicy { concurrency: 16, queue: 64 },
        pace: PacePolicy::default(),
        lanes: 1,
        learn: Learn::Off,
        attempt_timeout: Duration::from_secs(20),
        hold: LONG,
        guard: GuardConfig { attempts: 1, ..GuardConfig::default() },
    }
}

fn ctx(patience: Duration) -> CallCtx {
    CallCtx {
        deadline: Deadline::after(patience),
        caller: Arc::from("a"),
        weight: 1,
        action: Action::Chat,
        tokens: 10,
        tried: 0,
        others: false,
    }
}

impl House {
    async fn build(policy: DependencyPolicy) -> Self {
        let double = OpenAi::start().await;
        let proxy = Proxy::start(double.address()).await;
        let dependency = Dependency::new(policy, &Metrics::new(), &Alerts::silent());
        Self { double, proxy, client: Client::new(&HttpConfig::default()), dependency }
    }

    fn request(&self, stream: bool) -> http::Result<Request<Full<Bytes>>> {
        let body = format!(
            r#"{{"model":"gpt-double","messages":[{{"role":"user","content":"hi"}}],"stream":{stream}}}"#
        );
        Request::post(format!("{}/chat/completions", self.double.base_url_at(self.proxy.address())))
            .header("authorization", format!("Bearer {}", self.double.key()))
            .header("content-type", "application/json")
            .body(Full::from(body))
    }

    async fn send(&self, stream: bool) -> Result<hyper::Response<AnswerBody>, (Class, Refused)> {
        let hard = |error| (Class::HardFailure, Refused::Transport(error));
        let request = self.request(stream).map_err(|_| (Class::CallerFault, Refused::Request))?;
        let response = self.client.send(request).await.map_err(hard)?;
        let asked = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let class = match response.status() {
            status if status.is_success() => return Ok(response),
            StatusCode::TOO_MANY_REQUESTS => {
                Class::RateLimited { retry_after: asked.map(Duration::from_secs) }
            }
            status if status.is_server_error() => Class::HardFailure,
            _ => Class::CallerFault,
        };
        Err((class, Refused::Status(response.status())))
    }

    /// A whole answer, read within the attempt.
    async fn whole(&self, patience: Duration) -> Answer {
        let attempt = |attempt: Attempt| async move {
            let response = self.send(false).await?;
            let body = collect(response.into_body(), 1 << 20, attempt.deadline).await;
            body.map_err(|error| (Class::HardFailure, Refused::Transport(error)))
        };
        let Guarded { value, permit } = self.dependency.call(&ctx(patience), attempt).await?;
        permit.finish(Class::Ok);
        Ok(value)
    }

    /// The beginning of a streamed answer.
    async fn open(&self) -> Result<(AnswerBody, CallPermit), CallError<Refused>> {
        let Guarded { value, permit } = self.dependency.call(&ctx(LONG), |_| self.send(true)).await?;
        Ok((value.into_body(), permit))
    }

    fn state(&self) -> BreakerState {
        self.dependency.status().breaker
    }

    /// Waits until the next call is a probe.
    async fn until_half_open(&self) {
        while self.state() == BreakerState::Open {
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn assert_at_rest(&self) {
        let status = self.dependency.status();
        assert_eq!((status.in_use, status.waiting), (0, 0));
    }
}

fn failed_with(answer: &Answer, status: u16) -> bool {
    matches!(answer, Err(CallError::Failed { error: Some(Refused::Status(told)), .. }) if *told == status)
}

// req: S4-BRK, S2-2.3
#[tokio::test]
async fn the_breaker_opens_at_its_number_lets_one_probe_through_and_closes_again() {
    let house = House::build(policy()).await;
    house.double.always(Behaviour::server_error());
    for _ in 0..4 {
        assert!(failed_with(&house.whole(LONG).await, 500));
    }
    for _ in 0..20 {
        assert!(matches!(house.whole(LONG).await, Err(CallError::Open { .. })));
    }
    assert_eq!(house.double.counts().requests, 4, "open means that nothing is sent");
    house.until_half_open().await;
    // Slow enough that all others come while it is under way.
    let slow = Pace { first_byte: Duration::from_millis(300), ..Pace::default() };
    house.double.always(Behaviour::Paced(slow));
    let all = join_all((0..20).map(|_| house.whole(LONG))).await;
    assert_eq!(all.iter().filter(|answer| answer.is_ok()).count(), 1, "exactly one probe");
    assert_eq!(house.double.counts().requests, 5);
    assert_eq!(house.state(), BreakerState::Closed);
    house.double.always(Behaviour::Answer);
    assert!(join_all((0..20).map(|_| house.whole(LONG))).await.iter().all(Result::is_ok));
    house.assert_at_rest();
}

// req: S4-BRK
#[tokio::test]
async fn a_429_to_the_probe_opens_again_and_429s_alone_never_open() {
    let house = House::build(policy()).await;
    house.double.always(Behaviour::rate_limited(0));
    for _ in 0..50 {
        assert!(failed_with(&house.whole(LONG).await, 429));
    }
    assert_eq!(house.state(), BreakerState::Closed);
    house.double.always(Behaviour::server_error());
    for _ in 0..4 {
        drop(house.whole(LONG).await);
    }
    house.until_half_open().await;
    house.double.always(Behaviour::rate_limited(0));
    assert!(failed_with(&house.whole(LONG).await, 429));
    assert_eq!(house.state(), BreakerState::Open);
}

#[tokio::test]
async fn one_500_or_one_429_causes_no_outage() {
    for fault in [Behaviour::server_error(), Behaviour::rate_limited(30), Behaviour::Close] {
        let house = House::build(policy()).await;
        house.double.next(fault.clone());
        assert!(house.whole(Duration::from_secs(10)).await.is_err(), "{fault:?}: it is passed on");
        assert!(house.whole(Duration::from_secs(10)).await.is_ok(), "{fault:?}: the very next call is tried");
    }
}

// req: S2-2.2
#[tokio::test]
async fn short_faults_are_hidden_by_retries() {
    let guard = GuardConfig { backoff_ms: 20, ..GuardConfig::default() };
    let house = House::build(DependencyPolicy { guard, ..policy() }).await;
    for fault in [Behaviour::server_error(), Behaviour::Close, Behaviour::rate_limited(1)] {
        house.double.next(fault.clone());
        assert!(house.whole(LONG).await.is_ok(), "{fault:?}");
    }
    assert_eq!(house.double.counts().requests, 6);
}

// req: S2-2.2
#[tokio::test]
async fn a_hanging_provider_is_cut_after_the_attempts_time_and_tried_again_before_the_deadline() {
    let guard = GuardConfig { backoff_ms: 20, ..GuardConfig::default() };
    let attempt_timeout = Duration::from_millis(200);
    let house = House::build(DependencyPolicy { guard, attempt_timeout, ..policy() }).await;
    house.double.next(Behaviour::Hang);
    assert!(house.whole(LONG).await.is_ok());
    house.double.wait_for_hang_ups(1).await;
    house.double.always(Behaviour::Hang);
    let answer = house.whole(LONG).await;
    assert!(
        matches!(answer, Err(CallError::Failed { class: Class::HardFailure, error: None })),
        "{answer:?}"
    );
    house.double.wait_for_hang_ups(4).await;
    house.assert_at_rest();
}

#[tokio::test]
async fn whatever_the_network_does_there_is_an_answer_or_a_clear_error_before_the_deadline() {
    let hang = Pace { first_byte: LONG, ..Pace::default() };
    let faults = [
        (Fault::Hang, Behaviour::Answer),
        (Fault::Trickle { bytes_per_sec: 20 }, Behaviour::Answer),
        (Fault::Latency(LONG), Behaviour::Answer),
        (Fault::CutAfter { bytes: 40 }, Behaviour::Answer),
        (Fault::Reset, Behaviour::Answer),
        (Fault::Refuse, Behaviour::Answer),
        (Fault::Pass, Behaviour::Trickle { every: Duration::from_millis(100) }),
        (Fault::Pass, Behaviour::HangAfterHead),
        (Fault::Pass, Behaviour::CutAfter(20)),
        (Fault::Pass, Behaviour::Paced(hang)),
        (Fault::Pass, Behaviour::HeaderBomb(5_000)),
        (Fault::Pass, Behaviour::Huge(1 << 30)),
    ];
    let all = faults.into_iter().map(|(fault, behaviour)| async move {
        let house = House::build(policy()).await;
        house.double.always(behaviour.clone());
        house.proxy.set(fault);
        // The bound is generous: what is asserted is that nothing waits for the fault to end.
        let answer = timeout(Duration::from_secs(20), house.whole(Duration::from_millis(500))).await;
        let answer = answer.unwrap_or_else(|_| panic!("{fault:?}, {behaviour:?}: no answer"));
        assert!(answer.is_err(), "{fault:?}, {behaviour:?}");
        house.assert_at_rest();
    });
    join_all(all).await;
}

// req: S4-BRK
#[tokio::test]
async fn a_provider_that_cannot_be_reached_opens_the_breaker_and_is_found_again_by_a_probe() {
    let house = House::build(policy()).await;
    house.proxy.set(Fault::Refuse);
    for _ in 0..4 {
        let answer = house.whole(LONG).await;
        let Err(CallError::Failed { error: Some(Refused::Transport(error)), .. }) = answer else {
            panic!("{answer:?}");
        };
        let words = error.to_string();
        assert!(!words.contains("127.0.0.1") && !words.contains("http"), "{words}");
    }
    assert_eq!(house.state(), BreakerState::Open);
    house.proxy.set(Fault::Pass);
    let found = async {
        while house.whole(LONG).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), found).await.expect("it is found again");
    assert_eq!(house.state(), BreakerState::Closed);
}

#[tokio::test]
async fn a_stream_that_breaks_off_counts_and_is_never_asked_for_again() {
    let guard = GuardConfig::default();
    let house = House::build(DependencyPolicy { guard, ..policy() }).await;
    house.double.always(Behaviour::CutAfter(3));
    for _ in 0..4 {
        let (mut body, permit) = house.open().await.unwrap();
        let broke = loop {
            match body.frame().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        assert!(broke, "a cut stream does not look finished");
        permit.finish(Class::HardFailure);
    }
    assert_eq!(house.double.counts().requests, 4, "once each, whatever the retries allow");
    assert_eq!(house.state(), BreakerState::Open);
    house.assert_at_rest();
}

#[tokio::test]
async fn a_caller_that_goes_away_is_seen_upstream_and_leaves_nothing_behind() {
    let house = House::build(policy()).await;
    house.double.next(Behaviour::Hang);
    {
        let mut call = Box::pin(house.whole(LONG));
        tokio::select! {
            answer = &mut call => panic!("{answer:?}"),
            _ = house.double.wait_for_requests(1) => {}
        }
    }
    house.double.wait_for_hang_ups(1).await;
    house.assert_at_rest();
    house.double.next(Behaviour::HangAfterHead);
    let (mut body, permit) = house.open().await.unwrap();
    assert!(body.frame().await.unwrap().is_ok());
    assert_eq!(house.dependency.status().in_use, 1, "held to the end of the stream");
    let gone = Instant::now();
    drop((body, permit));
    let seen = house.double.wait_for_hang_ups(2).await;
    assert!(seen.at >= gone && seen.request == 1);
    house.assert_at_rest();
    assert_eq!(house.state(), BreakerState::Closed, "nobody's fault");
}

// req: S0-02
#[tokio::test]
async fn never_more_than_16_calls_are_at_the_provider_at_once() {
    let house = House::build(policy()).await;
    let slow = Pace { first_byte: Duration::from_millis(20), ..Pace::default() };
    house.double.always(Behaviour::Paced(slow));
    let all = join_all((0..81).map(|_| house.whole(LONG))).await;
    assert_eq!(house.double.counts().max_in_flight, 16);
    assert_eq!(all.iter().filter(|answer| matches!(answer, Err(CallError::Full { .. }))).count(), 1);
    assert_eq!(all.iter().filter(|answer| answer.is_ok()).count(), 80);
    house.assert_at_rest();
}
