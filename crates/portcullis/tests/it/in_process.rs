//! The runtime inside the test: built from settings and secrets as the binary builds it, on port 0.

use crate::support::{call, chat, get, post, until};
use http::{Method, Request};
use http_body_util::Full;
use portcullis_runtime::{
    Environment, Running, Secrets, StartError,
    settings::{Sources, load},
    start,
};
use portcullis_testkit::upstream::{Behaviour, OpenAi};
use secrecy::ExposeSecret as _;
use serde_json::json;
use tempfile::TempDir;

const CHAT: &str = "/v1/chat/completions";

/// Settings below a folder of their own, both listeners on picked ports.
async fn try_start(settings: &str, secrets: Secrets) -> (TempDir, Result<Running, StartError>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portcullis.toml");
    std::fs::write(&file, settings).unwrap();
    let picked = |key: &str| (key.to_owned(), "127.0.0.1:0".to_owned());
    let data_dir = ("data_dir".to_owned(), folder.path().join("data").display().to_string());
    let mut flags = vec![data_dir];
    flags.extend(
        ["http.listen", "admin.listen"].iter().filter(|key| !settings.contains(**key)).map(|key| picked(key)),
    );
    let sources = Sources { config: Some(file), flags, environment: Environment::fixed([]), folder: None };
    let settings = load(&sources).expect("the settings are right").settings;
    let started = Box::pin(start(settings, secrets)).await;
    (folder, started)
}

async fn started(settings: &str) -> (TempDir, Running) {
    let (folder, started) = try_start(settings, Secrets::default()).await;
    (folder, started.expect("it starts"))
}

// req: S2-3.6
// req: S0-18
#[tokio::test]
async fn it_starts_with_nothing_and_answers_whole_and_streamed_without_a_network() {
    let (folder, running) = started("").await;
    let http = running.http();
    let whole = post(
        http,
        CHAT,
        "",
        &json!({"model": "default", "messages": [
        {"role": "user", "content": "Bees make honey. Cows give milk. Who makes honey?"}]}),
    )
    .await;
    assert_eq!(whole.status, 200, "{whole:?}");
    assert_eq!(whole.header("x-portcullis-degraded"), "no-provider");
    assert!(
        !whole.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().is_empty(),
        "{whole:?}"
    );
    let streamed = post(http, CHAT, "", &chat(true)).await;
    assert!(streamed.text().trim_end().ends_with("data: [DONE]"), "{streamed:?}");
    let vectors = post(http, "/v1/embeddings", "", &json!({"model": "embed", "input": "honey"})).await;
    assert_eq!(
        vectors.json()["data"][0]["embedding"].as_array().map(Vec::len),
        Some(384),
        "{:?}",
        vectors.status
    );
    for path in ["/health/live", "/health/ready", "/health", "/metrics", "/openapi.json", "/v1/models"] {
        assert_eq!(get(http, path, "").await.status, 200, "{path}");
    }
    let key = running.first_key().expect("the first key is made").expose_secret().to_owned();
    let kept = std::fs::read_to_string(folder.path().join("data/keys/local.key")).unwrap();
    assert_eq!(kept, key);
    let details = get(http, "/health", &key).await.json();
    assert!(details["components"].as_array().is_some_and(|all| !all.is_empty()), "{details}");
    Box::pin(running.drain()).await;
}

// req: S0-18
#[tokio::test]
async fn metrics_are_shown_to_the_token_and_to_nobody_else() {
    let settings = "[metrics]\nallow = [\"192.0.2.1\"]\n";
    let secrets = Secrets::fixed([("metrics_token", "a-made-up-token-for-scraping")]);
    let (_folder, running) = try_start(settings, secrets).await;
    let running = running.expect("it starts");
    assert_eq!(get(running.http(), "/metrics", "").await.status, 404);
    assert_eq!(get(running.http(), "/metrics", "wrong").await.status, 404);
    let shown = get(running.http(), "/metrics", "a-made-up-token-for-scraping").await;
    assert!(shown.status == 200 && shown.text().contains("# HELP request_duration"), "{:?}", shown.status);
}

#[tokio::test]
async fn off_loopback_it_refuses_to_open_a_door_without_keys_and_says_how_to_mend_it() {
    let open = "[http]\nlisten = \"0.0.0.0:0\" # http.listen\n";
    let (_folder, refused) = try_start(open, Secrets::default()).await;
    let Err(error) = refused else { unreachable!("an open door") };
    let told = error.to_string();
    assert!(told.contains("`http.listen`") && told.contains("Mend:") && told.contains("admin_key"), "{told}");
    let declared = Secrets::fixed([("admin_key", "a-made-up-admin-key-of-enough-length")]);
    let (_folder, running) = try_start(open, declared).await;
    let running = running.expect("a declared key closes the door");
    assert!(running.first_key().is_none());
    let local = (std::net::Ipv4Addr::LOCALHOST, running.http().port()).into();
    assert_eq!(get(local, "/v1/models", "").await.status, 401);
    assert_eq!(get(local, "/v1/models", "a-made-up-admin-key-of-enough-length").await.status, 200);
}

#[tokio::test]
async fn an_address_in_use_is_told_and_leaves_nothing_running() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let settings = format!("[http]\nlisten = \"{address}\" # http.listen\n");
    let (folder, refused) = try_start(&settings, Secrets::default()).await;
    let Err(error) = refused else { unreachable!("two listeners on one port") };
    assert!(error.to_string().contains("stop what listens there"), "{error}");
    until("the audit trail is free again", async || {
        let lock = std::fs::File::options().write(true).open(folder.path().join("data/audit/lock"));
        lock.is_ok_and(|lock| lock.try_lock().is_ok())
    })
    .await;
}

// req: S0-14
#[tokio::test]
async fn two_runtimes_live_in_one_process_and_secrets_read_are_proved_in_the_trail() {
    let secrets = Secrets::fixed([("openai_api_key", "made-up-openai-key-0001")]);
    let (folder, one) =
        try_start("[providers.openai]\nbase_url = \"http://127.0.0.1:9/v1\"\n", secrets).await;
    let (one, (_other, two)) = (one.expect("it starts"), started("").await);
    assert_ne!(one.http(), two.http());
    Box::pin(one.drain()).await;
    assert_eq!(get(two.http(), "/health/ready", "").await.status, 200, "the other goes on");
    let audit = folder.path().join("data/audit");
    let trail: String = std::fs::read_dir(&audit)
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
        .collect();
    assert!(trail.contains("secret_read") && trail.contains("openai_api_key"), "{trail}");
    assert!(!trail.contains("made-up-openai-key-0001"));
    portcullis_runtime::audit::verify(&audit).expect("the trail holds");
}

#[tokio::test]
async fn the_admin_listener_offers_nothing_without_a_key() {
    let (_folder, running) = started("").await;
    let refused = get(running.admin(), "/admin/v1/keys", "").await;
    assert!(matches!(refused.status.as_u16(), 401 | 403), "{refused:?}");
    let request = Request::builder().method(Method::DELETE).uri("/admin/v1/keys/x").header("host", "x");
    let refused = call(running.admin(), request.body(Full::default()).unwrap()).await;
    assert!(matches!(refused.status.as_u16(), 401 | 403), "{refused:?}");
}

// req: S2-3.7
#[tokio::test]
async fn a_refused_provider_key_is_told_once_to_a_webhook_in_alertmanagers_words() {
    let (url, mut bodies, _tasks) = crate::support::receiver().await;
    let double = OpenAi::start().await;
    double.always(Behaviour::bad_key());
    let settings = format!(
        "[alerts]\nreceivers = [{{ kind = \"log\" }}, {{ kind = \"webhook\", url_secret = \"hook_url\" }}]\n\
         [providers.openai]\nbase_url = \"{}\"\nmodels = [\"gpt-double\"]\n\
         [routes.default]\ntargets = [{{ provider = \"openai\", model = \"gpt-double\" }}]\n",
        double.base_url()
    );
    let secrets = Secrets::fixed([("hook_url", url.as_str()), ("openai_api_key", &double.key())]);
    let (_folder, running) = try_start(&settings, secrets).await;
    let running = running.expect("it starts");
    for _ in 0..4 {
        let refused = post(running.http(), CHAT, "", &chat(false)).await;
        assert_eq!(refused.status, 503, "the caller never sees 401: {refused:?}");
    }
    let told = tokio::time::timeout(crate::support::PATIENCE, bodies.recv()).await.unwrap().unwrap();
    let body: serde_json::Value = serde_json::from_str(told.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["alerts"][0]["labels"]["alertname"], "key_invalid", "{body}");
    assert_eq!(body["status"], "firing");
    assert!(!body.to_string().contains(&double.key()), "{body}");
    Box::pin(running.drain()).await;
    assert!(bodies.try_recv().is_err(), "the same trouble is told once");
}
