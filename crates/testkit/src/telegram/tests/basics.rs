//! Paths, tokens, envelopes, forms of parameters, a conversation.

use super::{bad, call, done, double, http, raw, refused};
use crate::telegram::{Fault, Options, Reset, Rule, Telegram};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn a_person_writes_and_the_bot_answers_edits_and_deletes() {
    let double = double().await;
    let anna = double.person("Anna");
    let said = double.say(&anna, "/start now");
    let updates = done(&double, "getUpdates", json!({"timeout": 5})).await;
    assert_eq!(updates[0]["update_id"], said.update.unwrap());
    assert_eq!(updates[0]["message"]["text"], "/start now");
    assert_eq!(updates[0]["message"]["entities"], json!([{"type": "bot_command", "offset": 0, "length": 6}]));
    let markup = json!({"inline_keyboard": [[{"text": "More", "callback_data": "more"}]]});
    let ask =
        json!({"chat_id": anna.id, "text": "*Hello*", "parse_mode": "MarkdownV2", "reply_markup": markup});
    let message = done(&double, "sendMessage", ask).await;
    assert_eq!(message["entities"], json!([{"type": "bold", "offset": 0, "length": 5}]));
    let sent = double.sent_count(anna.id, 1).await.remove(0);
    assert_eq!((sent.text.as_str(), sent.button("More").as_deref()), ("Hello", Some("more")));
    let query = double.press(&anna, anna.id, sent.id, "more");
    let updates = done(&double, "getUpdates", json!({"offset": said.update.unwrap() + 1})).await;
    assert_eq!(updates[0]["callback_query"]["id"], query.as_str());
    done(&double, "answerCallbackQuery", json!({"callback_query_id": query, "text": "Here"})).await;
    done(&double, "editMessageText", json!({"chat_id": anna.id, "message_id": sent.id, "text": "Bye"})).await;
    assert_eq!(double.sent()[0].shown(), "Bye");
    assert_eq!(double.sent()[0].buttons(), []);
    done(&double, "deleteMessage", json!({"chat_id": anna.id, "message_id": sent.id})).await;
    assert!(double.sent()[0].deleted.is_some());
    assert_eq!(double.answers()[0].text.as_deref(), Some("Here"));
    assert_eq!(double.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn only_the_right_token_opens() {
    let double = double().await;
    for (token, words) in [
        ("nonsense", "Unauthorized: invalid token specified"),
        ("0123:abc", "Unauthorized: invalid token specified"),
        ("x1:abc", "Unauthorized: invalid token specified"),
        ("123:abc", "Unauthorized"),
    ] {
        let (status, body) = http(&double, &format!("GET /bot{token}/getMe"), "", b"").await;
        assert_eq!((status, &body["description"]), (401, &json!(words)), "{token}");
    }
    assert_eq!(done(&double, "getMe", json!({})).await["id"], double.options().bot_id);
    assert_eq!(double.violations().len(), 2, "{:?}", double.violations());
}

#[tokio::test]
async fn method_names_ignore_case_and_unknown_paths_are_404() {
    let double = double().await;
    let token = double.token();
    for line in [format!("GET /bot{token}/GETME"), format!("POST /bot{token}/getme")] {
        assert_eq!(http(&double, &line, "", b"").await.0, 200);
    }
    assert_eq!(
        refused(&double, "getEverything", json!({})).await,
        (404, "Not Found: method not found".into())
    );
    assert_eq!(http(&double, "GET /elsewhere", "", b"").await.0, 404);
    assert_eq!(http(&double, &format!("PUT /bot{token}/getMe"), "", b"").await.0, 405);
    assert_eq!(double.violations(), ["no method getEverything"]);
}

#[tokio::test]
async fn parameters_come_in_four_forms() {
    let double = double().await;
    let anna = double.person("Anna");
    let (token, chat) = (double.token(), anna.id);
    let line = format!("POST /bot{token}/sendMessage");
    let query = format!("GET /bot{token}/sendMessage?chat_id={chat}&text=caf%C3%A9+1");
    assert_eq!(http(&double, &query, "", b"").await.0, 200);
    let form = format!(
        "chat_id={chat}&text=two%2B2&entities=%5B%7B%22type%22%3A%22bold%22%2C%22offset%22%3A0%2C%22length%22%3A3%7D%5D"
    );
    assert_eq!(http(&double, &line, "application/x-www-form-urlencoded", form.as_bytes()).await.0, 200);
    let part = |name: &str, value: &str| {
        format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let many = format!("{}{}--XX--\r\n", part("chat_id", &chat.to_string()), part("text", "three"));
    assert_eq!(http(&double, &line, "multipart/form-data; boundary=XX", many.as_bytes()).await.0, 200);
    done(&double, "sendMessage", json!({"chat_id": chat, "text": "four", "parse_mode": null})).await;
    let texts: Vec<String> = double.sent().into_iter().map(|sent| sent.text).collect();
    assert_eq!(texts, ["café 1", "two+2", "three", "four"]);
    assert_eq!(double.sent()[1].entities.len(), 1);
    assert_eq!(double.violations(), Vec::<String>::new());

    let broken = http(&double, &line, "application/x-www-form-urlencoded", b"chat_id=1&text=%FF").await;
    assert_eq!(
        (broken.0, &broken.1["description"]),
        (400, &json!("Bad Request: strings must be encoded in UTF-8"))
    );
    assert_eq!(http(&double, &line, "application/json", b"{").await.0, 400);
    assert_eq!(http(&double, &line, "multipart/form-data; boundary=XX", b"--YY").await.0, 400);
    assert_eq!(http(&double, &line, "text/plain", b"chat_id=1").await.0, 400);
}

#[tokio::test]
async fn what_the_table_does_not_know_is_noted_and_wrong_types_are_refused() {
    let double = double().await;
    let anna = double.person("Anna");
    done(&double, "sendMessage", json!({"chat_id": anna.id, "text": "a", "txet": "b"})).await;
    let keyboard = json!({"inline_keyboard": [[{"text": "a", "callback_data": "b", "colour": "red"}]]});
    done(&double, "sendMessage", json!({"chat_id": anna.id, "text": "a", "reply_markup": keyboard})).await;
    let wrong = refused(&double, "deleteMessage", json!({"chat_id": anna.id, "message_id": "first"})).await;
    assert_eq!(wrong, bad("can't parse `message_id`: it is no Integer"));
    let noted = double.violations();
    assert_eq!(noted, ["sendMessage has no parameter `txet`", "InlineKeyboardButton has no field `colour`"]);
}

#[tokio::test]
async fn each_fault_meets_its_calls_once_and_unmet_ones_are_noted() {
    let double = double().await;
    let anna = double.person("Anna");
    let text = |text: &str| json!({"chat_id": anna.id, "text": text});
    double.fault(Rule::new("sendMessage", 1, Fault::status(502)).to(anna.id));
    assert_eq!(refused(&double, "sendMessage", text("a")).await, (502, "Bad Gateway".into()));
    double.fault(Rule::new("sendMessage", 1, Fault::garbage()));
    let (status, page) = call(&double, "sendMessage", text("b")).await;
    assert!(status == 200 && page.as_str().unwrap().starts_with("<html>"));
    double.fault(Rule::new("sendMessage", 1, Fault::truncate(20)));
    let body = text("c").to_string();
    let request = format!(
        "POST /bot{}/sendMessage HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        double.token(),
        body.len()
    );
    for reset in [Reset::BeforeReading, Reset::AfterReading, Reset::AfterDoing] {
        double.fault(Rule::new("sendMessage", 1, Fault::reset(reset)));
    }
    let cut = raw(&double, request.as_bytes()).await.unwrap();
    assert!(cut.ends_with(&br#"{"ok":true,"result":{"chat":{"#[..20]), "{}", String::from_utf8_lossy(&cut));
    for _ in 0..3 {
        let ended = raw(&double, request.as_bytes()).await;
        assert!(ended.map_or(true, |answer| answer.is_empty()));
    }
    double.fault(Rule::new("*", 1, Fault::slow(1000).after(Duration::from_millis(20))));
    done(&double, "sendMessage", text("d")).await;
    // Two of the reset calls left nothing, the third was done.
    let texts: Vec<String> = double.sent().into_iter().map(|sent| sent.text).collect();
    assert_eq!(texts, ["c", "c", "d"]);
    assert_eq!(double.violations(), Vec::<String>::new());
    double.fault(Rule::new("sendMessage", 2, Fault::hang()));
    assert!(double.violations()[0].starts_with("a fault nobody met"));
}

#[tokio::test]
async fn a_fault_may_last_and_every_call_may_take_its_time() {
    let latency = Duration::from_millis(300);
    let double = Telegram::with(Options { latency, ..Options::default() }).await;
    let begun = Instant::now();
    done(&double, "getMe", json!({})).await;
    assert!(begun.elapsed() >= latency);
    double.fault(Rule::always("getMe", Fault::status(500)));
    assert_eq!(double.violations().len(), 1);
    for _ in 0..3 {
        assert_eq!(refused(&double, "getMe", json!({})).await.0, 500);
    }
    assert_eq!(double.violations(), Vec::<String>::new());
}
