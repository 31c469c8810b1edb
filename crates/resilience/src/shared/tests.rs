//! Against a real Redis: values, messages, loss and return, TLS. The pace of coming back in virtual time.

use super::*;
use portcullis_testkit::redis as server;

/// Silent, and ended by nobody.
pub(crate) fn around() -> Surroundings {
    Surroundings {
        metrics: Metrics::new(),
        health: Health::new(),
        alerts: Alerts::silent(),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    }
}

/// Patient with a busy machine.
fn patient() -> RedisConfig {
    RedisConfig { timeout_ms: 5_000, connect_timeout_ms: 5_000, probe_ms: 50, ..RedisConfig::default() }
}

/// Tries again until it is done.
pub(crate) async fn until(mut done: impl AsyncFnMut() -> bool) {
    let done = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), done).await.expect("in time");
}

async fn next(heard: &mut broadcast::Receiver<Heard>) -> Heard {
    let next = tokio::time::timeout(Duration::from_secs(60), heard.recv());
    next.await.expect("in time").expect("not behind")
}

fn message(text: &str) -> Heard {
    Heard::Message(text.into())
}

#[tokio::test]
async fn small_values_are_kept_for_their_time_and_can_be_forgotten() {
    let Some(server) = server::start().await else { return };
    let shared = Shared::new(&server.url(), &patient(), &around()).unwrap();
    assert_eq!(shared.get("k").await, Ok(None));
    shared.set_ex("k", "v", Duration::from_secs(60)).await.unwrap();
    assert_eq!(shared.get("k").await, Ok(Some("v".into())));
    shared.delete("k").await.unwrap();
    assert_eq!(shared.get("k").await, Ok(None));
    shared.set_ex("k", "v", Duration::ZERO).await.unwrap();
    until(async || shared.get("k").await == Ok(None)).await;
}

#[tokio::test]
async fn subscribers_hear_messages_in_order_and_of_a_gap_after_redis_was_away() {
    let Some(mut server) = server::start().await else { return };
    let one = Shared::new(&server.url(), &patient(), &around()).unwrap();
    let other = Shared::new(&server.url(), &patient(), &around()).unwrap();
    let mut heard = other.subscribe("news");
    assert_eq!(next(&mut heard).await, Heard::Gap);
    for text in ["a", "b"] {
        one.publish("news", text).await.unwrap();
    }
    one.publish("other", "not for us").await.unwrap();
    one.publish("news", "c").await.unwrap();
    for text in ["a", "b", "c"] {
        assert_eq!(next(&mut heard).await, message(text));
    }
    let mut late = other.subscribe("news");
    assert_eq!(next(&mut late).await, Heard::Gap, "whoever comes later reads the state too");
    assert_eq!(next(&mut heard).await, Heard::Gap);
    server.kill();
    let _server = server.restart().await;
    assert_eq!(next(&mut heard).await, Heard::Gap, "the subscription stands again");
    until(async || one.publish("news", "d").await.is_ok()).await;
    assert_eq!(next(&mut heard).await, message("d"));
}

#[tokio::test]
async fn a_subscription_that_died_without_a_word_is_made_anew() {
    let Some(mut server) = server::start().await else { return };
    let config = RedisConfig { connect_timeout_ms: 300, ..patient() };
    let shared = Shared::new(&server.url(), &config, &around()).unwrap();
    let mut heard = shared.subscribe("news");
    assert_eq!(next(&mut heard).await, Heard::Gap);
    server.freeze();
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.thaw();
    assert_eq!(next(&mut heard).await, Heard::Gap);
}

#[tokio::test]
async fn without_redis_it_starts_at_once_says_so_and_uses_it_when_it_comes() {
    let Some(mut server) = server::start().await else { return };
    server.kill();
    let around = around();
    let shared = Shared::new(&server.url(), &patient(), &around).unwrap();
    let mut heard = shared.subscribe("news");
    let changes = Arc::new(Mutex::new(Vec::new()));
    let told = changes.clone();
    shared.on_change(move |away| told.lock().push(away));
    until(async || shared.is_away()).await;
    assert_eq!(shared.get("k").await, Err(SharedError::Away));
    assert_eq!(around.metrics.breaker_state("redis").get(), 2);
    assert_eq!(around.health.overall(), HealthState::Degraded);
    let _server = server.restart().await;
    until(async || !shared.is_away()).await;
    assert_eq!(shared.get("k").await, Ok(None));
    assert_eq!(around.metrics.breaker_state("redis").get(), 0);
    assert_eq!(around.health.overall(), HealthState::Healthy);
    assert_eq!(next(&mut heard).await, Heard::Gap);
    assert_eq!(*changes.lock(), [true, false]);
}

#[tokio::test]
async fn a_server_that_may_not_be_written_to_is_no_use_until_it_may() {
    let Some(server) = server::start().await else { return };
    let shared = Shared::new(&server.url(), &patient(), &around()).unwrap();
    until(async || shared.get("k").await.is_ok()).await;
    let client = Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut set = async |key: &str, value: &str| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg(key).arg(value).query_async::<()>(&mut connection).await.unwrap();
    };
    set("min-replicas-to-write", "1").await;
    until(async || shared.is_away()).await;
    set("min-replicas-to-write", "0").await;
    until(async || !shared.is_away()).await;
}

#[tokio::test]
async fn background_work_ends_when_it_is_time_to_stop() {
    let Some(server) = server::start().await else { return };
    let around = around();
    let shared = Shared::new(&server.url(), &patient(), &around).unwrap();
    let mut heard = shared.subscribe("news");
    assert_eq!(next(&mut heard).await, Heard::Gap);
    around.stop.cancel();
    around.tasks.close();
    tokio::time::timeout(Duration::from_secs(60), around.tasks.wait()).await.expect("in time");
}

#[tokio::test]
async fn tls_trusts_the_authority_of_the_file_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(path("cert.pem"), issued.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), issued.signing_key.serialize_pem()).unwrap();
    let port = portcullis_testkit::free_port().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let flags = ["--tls-port", &port, "--tls-auth-clients", "no", "--tls-cert-file", &text(&cert)];
    let flags: Vec<&str> = flags.into_iter().chain(["--tls-key-file", key.to_str().unwrap()]).collect();
    let Some(_server) = server::start_with(&flags).await else { return };
    rustls::crypto::ring::default_provider().install_default().ok();
    let url = format!("rediss://localhost:{port}/");
    let trusting = RedisConfig { ca_file: Some(cert), ..patient() };
    let shared = Shared::new(&url, &trusting, &around()).unwrap();
    until(async || shared.set_ex("k", "v", Duration::from_secs(60)).await.is_ok()).await;
    let mut heard = shared.subscribe("news");
    assert_eq!(next(&mut heard).await, Heard::Gap);

    let stranger = Shared::new(&url, &patient(), &around()).unwrap();
    until(async || stranger.is_away()).await;

    assert_eq!(
        Shared::new(&url, &RedisConfig { ca_file: Some(key), ..patient() }, &around()).err(),
        Some(SharedError::Authority)
    );
    let missing = RedisConfig { ca_file: Some(path("nothing.pem")), ..patient() };
    assert_eq!(Shared::new(&url, &missing, &around()).err(), Some(SharedError::Authority));
}

#[tokio::test]
async fn an_address_that_makes_no_sense_is_refused_without_being_told() {
    for url in ["", "localhost", "http://user:secret@host/", "redis://:secret@host:port/"] {
        let refused = Shared::new(url, &RedisConfig::default(), &around()).err();
        assert_eq!(refused, Some(SharedError::Address), "{url}");
        assert!(!SharedError::Address.to_string().contains("secret"));
    }
}

#[test]
fn settings_of_nothing_are_named_and_the_defaults_are_fine() {
    let mut out = vec![];
    RedisConfig::default().problems("redis", &mut out);
    assert_eq!(out, []);
    RedisConfig { timeout_ms: 0, probe_ms: 0, ..RedisConfig::default() }.problems("redis", &mut out);
    let keys: Vec<_> = out.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["redis.timeout_ms", "redis.probe_ms"]);
}

// req: S4-BRK
#[tokio::test(start_paused = true)]
async fn a_redis_that_fails_soon_after_it_is_back_must_prove_itself_longer_each_time() {
    let mut pace = Pace::new(&RedisConfig::default());
    let mut probes = async || {
        for probes in 1.. {
            tokio::time::advance(Duration::from_secs(1)).await;
            if pace.may_close(Instant::now()) {
                return probes;
            }
        }
        unreachable!()
    };
    for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(probes().await, expected);
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(probes().await, 1);
}
