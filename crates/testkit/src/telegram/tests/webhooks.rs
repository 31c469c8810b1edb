//! Webhooks: what may be set, and how updates come.

use super::{bad, done, double, refused};
use crate::telegram::{Fault, Options, Rates, Reset, Rule, Telegram};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// What a receiver got: the secret and the update.
type Got = Arc<Mutex<Vec<(String, Value)>>>;

/// A receiver on loopback that answers so, one answer after the other, the last for ever.
async fn receiver(answers: &[&str]) -> (String, Got) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let got = Got::default();
    let kept = Arc::clone(&got);
    let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
    tokio_util::task::TaskTracker::new().spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
            let (head, body) = loop {
                let count = stream.read(&mut buffer).await.unwrap();
                bytes.extend_from_slice(&buffer[..count]);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n")
                    && let Ok(body) = serde_json::from_str::<Value>(body)
                {
                    break (head.to_owned(), body);
                }
            };
            let secret = head.lines().find_map(|line| line.strip_prefix("x-telegram-bot-api-secret-token: "));
            kept.lock().push((secret.unwrap_or_default().to_owned(), body));
            let answer = &answers[number.min(answers.len() - 1)];
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, got)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const BROKEN: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";

fn texts(got: &Got) -> Vec<String> {
    got.lock().iter().map(|(_, update)| update["message"]["text"].as_str().unwrap().to_owned()).collect()
}

async fn quick() -> Telegram {
    let options =
        Options { rates: Rates::Off, webhook_retry: Duration::from_millis(10), ..Options::default() };
    Telegram::with(options).await
}

#[tokio::test]
async fn only_sound_addresses_and_secrets_are_taken() {
    let double = Telegram::with(Options { loopback_webhooks: false, ..Options::default() }).await;
    let set = |url: &str, secret: &str| json!({"url": url, "secret_token": secret});
    for (url, secret, why) in [
        ("http://bot.example/hook", "s", "bad webhook: An HTTPS URL must be provided for webhook"),
        ("http://127.0.0.1:9/hook", "s", "bad webhook: An HTTPS URL must be provided for webhook"),
        (
            "https://bot.example:9000/hook",
            "s",
            "bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443",
        ),
        ("ftp://bot.example", "s", "invalid webhook URL specified"),
        ("https://bot.example", &"s".repeat(257) as &str, "secret token is too long"),
        ("https://bot.example", "s s", "secret token contains unallowed characters"),
    ] {
        double.advance(Duration::from_secs(2));
        assert_eq!(refused(&double, "setWebhook", set(url, secret)).await, bad(why));
    }
    double.advance(Duration::from_secs(2));
    done(&double, "setWebhook", set("https://bot.example:8443/hook", &"s".repeat(256))).await;
    let (status, body) = super::call(&double, "setWebhook", set("https://bot.example/hook", "s")).await;
    assert_eq!((status, &body["parameters"]["retry_after"]), (429, &json!(1)));
    assert_eq!(done(&double, "getWebhookInfo", json!({})).await["url"], "https://bot.example:8443/hook");
    done(&double, "deleteWebhook", json!({})).await;
    assert_eq!(done(&double, "getWebhookInfo", json!({})).await["url"], "");
}

#[tokio::test]
async fn updates_come_in_order_with_the_secret_and_any_2xx_takes_them() {
    let double = quick().await;
    let anna = double.person("Anna");
    let (url, got) = receiver(&[OK, "HTTP/1.1 204 No Content\r\n\r\n"]).await;
    double.say(&anna, "before");
    done(&double, "setWebhook", json!({"url": url, "secret_token": "made-up", "max_connections": 3})).await;
    for text in ["1", "2", "3"] {
        double.say(&anna, text);
    }
    double.until("all taken", |double| double.pending() == 0).await;
    assert_eq!(texts(&got), ["before", "1", "2", "3"]);
    assert!(got.lock().iter().all(|(secret, _)| secret == "made-up"));
    let info = done(&double, "getWebhookInfo", json!({})).await;
    assert_eq!((&info["pending_update_count"], &info["max_connections"]), (&json!(0), &json!(3)));
    assert!(info["last_error_message"].is_null());
    assert_eq!(double.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_not_taken_comes_again_before_what_follows_it() {
    let double = quick().await;
    let anna = double.person("Anna");
    let (url, got) = receiver(&[BROKEN, BROKEN, OK]).await;
    done(&double, "setWebhook", json!({"url": url, "secret_token": "made-up"})).await;
    double.say(&anna, "1");
    double.say(&anna, "2");
    double.until("all taken", |double| double.pending() == 0).await;
    assert_eq!(texts(&got), ["1", "1", "1", "2"]);
    let info = done(&double, "getWebhookInfo", json!({})).await;
    assert_eq!(info["last_error_message"], "Wrong response from the webhook: 500 Internal Server Error");
    assert!(info["last_error_date"].is_i64());
}

#[tokio::test]
async fn retry_after_is_kept_and_others_go_on_meanwhile() {
    let double = quick().await;
    let (anna, ben) = (double.person("Anna"), double.person("Ben"));
    let later = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 100\r\nContent-Length: 0\r\n\r\n";
    let (url, got) = receiver(&[later, OK]).await;
    done(&double, "setWebhook", json!({"url": url, "secret_token": "made-up"})).await;
    double.say(&anna, "1");
    double.until("the first try", |_| got.lock().len() == 1).await;
    double.say(&ben, "2");
    double.until("the other", |double| double.pending() == 1).await;
    assert_eq!(texts(&got), ["1", "2"]);
    double.advance(Duration::from_secs(101));
    double.until("all taken", |double| double.pending() == 0).await;
    assert_eq!(texts(&got), ["1", "2", "1"]);
}

#[tokio::test]
async fn an_answer_may_call_a_method_but_none_that_asks() {
    let double = quick().await;
    let anna = double.person("Anna");
    let answer = |body: Value| {
        let body = body.to_string();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let say = answer(json!({"method": "sendMessage", "chat_id": anna.id, "text": "at once"}));
    let delete = answer(json!({"method": "deleteWebhook"}));
    let (url, _got) = receiver(&[&say, &delete]).await;
    done(&double, "setWebhook", json!({"url": url, "secret_token": "made-up"})).await;
    double.say(&anna, "1");
    let sent = double.sent_count(anna.id, 1).await;
    assert_eq!(sent[0].text, "at once");
    double.say(&anna, "2");
    double.until("all taken", |double| double.pending() == 0).await;
    assert_eq!(double.webhook(), Some(url));
}

#[tokio::test]
async fn nobody_at_home_and_gone_for_good_are_told_apart() {
    let double = quick().await;
    let anna = double.person("Anna");
    let port = crate::free_port();
    done(
        &double,
        "setWebhook",
        json!({"url": format!("http://127.0.0.1:{port}/x"), "secret_token": "made-up"}),
    )
    .await;
    double.say(&anna, "1");
    double
        .until("a try", |double| {
            double.shared.lock().webhook.as_ref().is_some_and(|webhook| webhook.failed())
        })
        .await;
    assert_eq!(done(&double, "getWebhookInfo", json!({})).await["last_error_message"], "Connection refused");
    let gone = "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n";
    let (url, got) = receiver(&[gone]).await;
    double.advance(Duration::from_secs(2));
    done(&double, "setWebhook", json!({"url": url, "secret_token": "made-up"})).await;
    double.until("a try", |_| got.lock().len() > 1).await;
    assert!(double.webhook().is_some());
    double.advance(Duration::from_secs(23 * 3600 + 1));
    double.until("it gave up", |double| double.webhook().is_none()).await;
}

#[tokio::test]
async fn a_webhook_without_a_secret_is_noted() {
    let double = double().await;
    done(&double, "setWebhook", json!({"url": "http://127.0.0.1:9/x"})).await;
    assert_eq!(double.violations(), ["a webhook without a secret"]);
}

#[tokio::test]
async fn a_proxy_ends_tls_for_its_host_only() {
    let double = quick().await;
    let anna = double.person("Anna");
    let (url, got) = receiver(&[OK]).await;
    let address = url.trim_start_matches("http://").trim_end_matches("/hook").parse().unwrap();
    double.proxy("bot.example.org", address);
    let set = |host: &str| json!({"url": format!("https://{host}:8443/hook"), "secret_token": "made-up"});
    double.say(&anna, "1");
    done(&double, "setWebhook", set("other.example.org")).await;
    double
        .until("a try", |double| {
            double.shared.lock().webhook.as_ref().is_some_and(|webhook| webhook.failed())
        })
        .await;
    double.advance(Duration::from_secs(2));
    done(&double, "setWebhook", set("bot.example.org")).await;
    double.until("all taken", |double| double.pending() == 0).await;
    assert_eq!(texts(&got), ["1"]);
}

#[tokio::test]
async fn at_most_so_many_updates_are_on_their_way_at_once() {
    let double = quick().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    done(&double, "setWebhook", json!({"url": url, "secret_token": "made-up", "max_connections": 2})).await;
    for name in ["Anna", "Ben", "Cleo"] {
        double.say(&double.person(name), "hi");
    }
    let (first, _) = listener.accept().await.unwrap();
    let (_second, _) = listener.accept().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), listener.accept()).await.is_err());
    // Its place is free when the first is given up.
    drop(first);
    let (_third, _) = listener.accept().await.unwrap();
}

#[tokio::test]
async fn an_update_whose_answer_is_lost_comes_again() {
    let double = quick().await;
    let anna = double.person("Anna");
    let (url, got) = receiver(&[OK]).await;
    done(&double, "setWebhook", json!({"url": url, "secret_token": "made-up"})).await;
    double.fault(Rule::new("*", 0, Fault::hang()));
    double.fault(Rule::new("webhook", 1, Fault::reset(Reset::AfterDoing)).to(anna.id));
    double.say(&anna, "1");
    double.until("all taken", |double| double.pending() == 0).await;
    assert_eq!(texts(&got), ["1", "1"]);
    let ids: Vec<Value> = got.lock().iter().map(|(_, update)| update["update_id"].clone()).collect();
    assert_eq!(ids[0], ids[1]);
    assert_eq!(double.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn somebody_else_may_knock() {
    let double = quick().await;
    assert_eq!(double.knock(None, "{}").await, None);
    let (url, got) = receiver(&["HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"]).await;
    done(&double, "setWebhook", json!({"url": url, "secret_token": "made-up"})).await;
    assert_eq!(double.knock(Some("wrong"), r#"{"update_id":1}"#).await, Some(401));
    assert_eq!(double.knock(None, r#"{"update_id":1}"#).await, Some(401));
    let secrets: Vec<String> = got.lock().iter().map(|(secret, _)| secret.clone()).collect();
    assert_eq!(secrets, ["wrong", ""]);
}
