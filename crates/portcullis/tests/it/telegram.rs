//! The Telegram door of the whole product, against the strict double of the Bot API.

use crate::support::{chat, get, post, until};
use portcullis_runtime::{
    Environment, Running,
    settings::{Sources, load},
    start,
};
use portcullis_testkit::telegram::{Fault, Options, Rule, Telegram};
use secrecy::ExposeSecret as _;
use serde_json::json;
use std::net::TcpListener;
use tempfile::TempDir;

async fn door(double: &Telegram, more: &[(&str, String)]) -> (TempDir, Running) {
    let folder = tempfile::tempdir().unwrap();
    let set = [
        ("data_dir", folder.path().join("data").display().to_string()),
        ("http.listen", "127.0.0.1:0".to_owned()),
        ("admin.listen", "127.0.0.1:0".to_owned()),
        ("telegram.enabled", "true".to_owned()),
        ("telegram.api_base", double.base_url()),
    ];
    let flags = set.iter().chain(more).map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let token = double.token();
    let environment = Environment::fixed([("TELEGRAM_BOT_TOKEN", token.as_str())]);
    let sources = Sources { config: None, flags, environment, folder: None };
    let settings = load(&sources).expect("the settings are right").settings;
    let secrets = portcullis_runtime::read_secrets(&settings, &sources.environment).await;
    let running = Box::pin(start(settings, secrets)).await.expect("it starts");
    (folder, running)
}

// req: S0-14
#[tokio::test]
async fn a_person_talks_to_the_product_and_an_operator_to_the_person() {
    let double = Telegram::with(Options::default()).await;
    let (_folder, running) = door(&double, &[]).await;
    let key = running.first_key().expect("the first key is made").expose_secret().to_owned();
    let ann = double.person("Ann");
    double.say(&ann, "/chat Bees make honey. Cows give milk. Who makes honey?");
    let sent = double.sent_count(ann.id, 1).await;
    assert!(!sent[0].text.is_empty());
    let body = json!({"to": format!("telegram:{}", ann.id), "text": "The index is being rebuilt."});
    let queued = post(running.admin(), "/admin/v1/outbox", &key, &body).await;
    assert_eq!((queued.status.as_u16(), queued.json()["messages"].as_u64()), (202, Some(1)), "{queued:?}");
    let sent = double.sent_count(ann.id, 2).await;
    assert_eq!(sent[1].text, "The index is being rebuilt.");
    let nobody =
        post(running.admin(), "/admin/v1/outbox", &key, &json!({"to": "pigeon:7", "text": "x"})).await;
    assert_eq!(nobody.status, 400);
    backups_are_made_and_looked_into(&running, &key).await;
    let shown = get(running.http(), "/health", &key).await.text();
    let metrics = get(running.http(), "/metrics", "").await.text();
    assert!(shown.contains("\"name\":\"telegram\"") && shown.contains("polling"), "{shown}");
    for name in [
        "outbox_sent_total{door=\"telegram\"",
        "telegram_updates_total{kind=\"message\"",
        "messages_processed_total",
    ] {
        assert!(metrics.contains(name), "{name}");
    }
    let token = double.token();
    let secret = token.split(':').nth(1).unwrap();
    let trail = get(running.admin(), "/admin/v1/audit", &key).await.text();
    assert!(![shown, metrics, trail].iter().any(|text| text.contains(secret)));
    Box::pin(running.drain()).await;
    assert_eq!(double.violations(), [""; 0]);
}

// req: S0-14
#[tokio::test]
async fn telegram_brings_updates_to_the_main_listener_by_a_secret_that_is_made() {
    let double = Telegram::with(Options::default()).await;
    let picked = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let more = [
        ("http.listen", picked.to_string()),
        ("telegram.mode", "webhook".to_owned()),
        ("telegram.webhook_url", format!("http://{picked}")),
    ];
    let (folder, running) = door(&double, &more).await;
    double.until("the webhook is set", |double| double.webhook().is_some()).await;
    let url = double.webhook().unwrap();
    let path = url.strip_prefix(&format!("http://{picked}")).unwrap();
    let ann = double.person("Ann");
    double.say(&ann, "/chat Who makes honey?");
    double.sent_count(ann.id, 1).await;
    let made = std::fs::read_to_string(folder.path().join("data/keys/telegram_webhook_secret")).unwrap();
    assert!(made.trim().len() >= 32);
    for (path, status) in [(path, 401), ("/telegram/0123456789abcdef", 404)] {
        let answer = post(running.http(), path, "", &json!({"update_id": 1})).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {answer:?}");
    }
    assert_eq!(get(running.http(), path, "").await.status, 405);
    Box::pin(running.drain()).await;
    assert_eq!(double.violations(), [""; 0]);
}

// news.md, must show 9
#[tokio::test]
async fn a_telegram_door_that_cannot_open_says_why_and_the_other_doors_answer() {
    let double = Telegram::with(Options::default()).await;
    double.fault(Rule::always("getMe", Fault::refused(401, "Unauthorized")));
    let (_folder, running) = door(&double, &[]).await;
    let key = running.first_key().expect("the first key is made").expose_secret().to_owned();
    until("the reason is in health", async || {
        get(running.http(), "/health", &key).await.text().contains("the token of the bot is refused")
    })
    .await;
    let answer = post(running.http(), "/v1/chat/completions", &key, &chat(false)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    Box::pin(running.drain()).await;
}

/// Over the admin API, each of them proved.
async fn backups_are_made_and_looked_into(running: &Running, key: &str) {
    let made = post(running.admin(), "/admin/v1/backups", key, &json!(null)).await;
    let name = made.json()["name"].as_str().unwrap_or_default().to_owned();
    assert!(made.status == 201 && name.starts_with("portcullis-"), "{made:?}");
    let all = get(running.admin(), "/admin/v1/backups", key).await.json();
    assert_eq!((&all["data"][0]["name"], &all["data"][0]["valid"]), (&json!(name), &json!(true)), "{all}");
    let path = format!("/admin/v1/backups/{name}/verify");
    assert_eq!(post(running.admin(), &path, key, &json!(null)).await.json()["valid"], true);
    let none = post(running.admin(), "/admin/v1/backups/portcullis.toml/verify", key, &json!(null)).await;
    assert_eq!(none.status, 404);
    let trail = get(running.admin(), "/admin/v1/audit?limit=20", key).await.text();
    assert!(trail.contains("backup_made") && trail.contains("backup_verified"), "{trail}");
}
