//! Updates that Telegram brings.

use super::house::{House, quick};
use crate::{
    http::Hooks,
    signal::tests::house::unlimited,
    telegram::{Mode, TelegramConfig},
};
use axum::{Router, body::Body, extract::State, routing::any};
use http::Request;
use http_body_util::Full;
use portcullis_resilience::http::{Client, HttpConfig};
use portcullis_testkit::telegram::{Options, Rates, Telegram};
use tokio::net::TcpListener;

async fn bring(State(hooks): State<Hooks>, request: Request<Body>) -> axum::response::Response {
    hooks.answer(request).await
}

/// A house in webhook mode behind a listener; with it the listener's address.
async fn house() -> (House, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let double = Telegram::with(Options { rates: Rates::Off, ..Options::default() }).await;
    let config = TelegramConfig { mode: Mode::Webhook, webhook_url: address.clone(), ..quick(&double) };
    let house = House::with(double, config, unlimited()).await;
    let router = Router::new().fallback(any(bring)).with_state(house.hooks.clone());
    #[expect(clippy::disallowed_methods, reason = "a listener of a test ends with its runtime")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    (house, address)
}

async fn post(url: &str, secret: Option<&str>, body: String) -> u16 {
    let mut request = Request::post(url);
    if let Some(secret) = secret {
        request = request.header("X-Telegram-Bot-Api-Secret-Token", secret);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    Client::new(&HttpConfig::default()).send(request).await.unwrap().status().as_u16()
}

// news.md, must show 8
#[tokio::test]
async fn updates_are_taken_from_telegram_alone_and_the_same_one_is_answered_once() {
    let (house, address) = house().await;
    let ann = house.double.person("Ann");
    house.until("the webhook is set", |house| house.double.webhook().is_some()).await;
    let url = house.double.webhook().unwrap();
    let path = url.strip_prefix(&address).unwrap().to_owned();
    let hex = path.strip_prefix("/telegram/").unwrap();
    assert!(hex.len() == 16 && hex.chars().all(|c| c.is_ascii_hexdigit()));
    house.double.say(&ann, "one");
    house.double.sent_count(ann.id, 1).await;
    let update = serde_json::json!({"update_id": 5, "message": {"message_id": 900, "date": jiff::Timestamp::now().as_second(),
        "text": "two", "chat": {"id": ann.id, "type": "private"}, "from": {"id": ann.id, "is_bot": false}}});
    let secret = Some("made-up_secret");
    assert_eq!(post(&url, None, update.to_string()).await, 401);
    assert_eq!(post(&url, Some("made-up_secreT"), update.to_string()).await, 401);
    assert_eq!(post(&format!("{address}/telegram/0123456789abcdef"), secret, update.to_string()).await, 404);
    assert_eq!(post(&url, secret, "not json".into()).await, 400);
    assert_eq!(post(&url, secret, "{\"update_id\": \"7\"}".into()).await, 400);
    assert_eq!(post(&url, secret, format!("{{\"a\": \"{}\"}}", "x".repeat(1 << 20))).await, 413);
    for _ in 0..2 {
        assert_eq!(post(&url, secret, update.to_string()).await, 200);
    }
    house.double.sent_count(ann.id, 2).await;
    house.settle().await;
    assert_eq!(house.texts(&ann), ["re: one", "re: two"]);
    assert_eq!(house.double.calls_of("getUpdates").len(), 0);
    // What cannot be kept comes again.
    house.store.close().await;
    let third = update.to_string().replace("900", "901");
    assert_eq!(post(&url, secret, third).await, 503);
    house.close().await;
}
