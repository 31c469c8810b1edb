//! The control API: a conversation without a line of Rust.

use super::{done, double, http};
use serde_json::{Value, json};

async fn control(double: &super::Telegram, verb: &str, path: &str, body: Value) -> (u16, Value) {
    http(double, &format!("{verb} /_control/{path}"), "application/json", body.to_string().as_bytes()).await
}

#[tokio::test]
async fn people_can_be_made_to_talk_and_press_from_outside() {
    let double = double().await;
    let (_, anna) = control(&double, "POST", "people", json!({"name": "Anna", "language": "ru"})).await;
    let (_, said) = control(&double, "POST", "say", json!({"from": anna["id"], "text": "/start"})).await;
    let updates = done(&double, "getUpdates", json!({})).await;
    assert_eq!(updates[0]["update_id"], said["update_id"]);
    assert_eq!(updates[0]["message"]["from"]["language_code"], "ru");
    let markup = json!({"inline_keyboard": [[{"text": "b", "callback_data": "x"}]]});
    let sent =
        done(&double, "sendMessage", json!({"chat_id": anna["id"], "text": "a", "reply_markup": markup}))
            .await;
    let press = |data: &str| json!({"from": anna["id"], "chat_id": anna["id"], "message_id": sent["message_id"], "data": data});
    assert_eq!(control(&double, "POST", "press", press("y")).await.0, 400);
    let (_, pressed) = control(&double, "POST", "press", press("x")).await;
    done(&double, "answerCallbackQuery", json!({"callback_query_id": pressed["callback_query_id"]})).await;
    let team = json!({"title": "Team", "members": [anna["id"]], "kind": "forum"});
    let (_, team) = control(&double, "POST", "groups", team).await;
    let (_, topic) = control(&double, "POST", "topics", json!({"chat_id": team["id"]})).await;
    assert!(topic["message_thread_id"].is_i64());
    assert_eq!(control(&double, "POST", "say", json!({"from": 5, "text": "a"})).await.0, 400);
    assert_eq!(control(&double, "POST", "nothing", json!({})).await.0, 400);

    let (_, state) = control(&double, "GET", "state", Value::Null).await;
    assert_eq!((&state["sent"][0]["text"], &state["pending"]), (&json!("a"), &json!(2)));
    assert_eq!(state["calls"].as_array().unwrap().len(), 3);
    assert_eq!(control(&double, "GET", "idle", Value::Null).await.0, 200);
}

#[tokio::test]
async fn faults_come_as_json_and_count() {
    let double = double().await;
    let rule =
        json!({"match": {"method": "getMe"}, "times": 2, "do": {"status": 500, "body": {"ok": false}}});
    assert_eq!(control(&double, "POST", "faults", rule).await.0, 200);
    assert_eq!(super::call(&double, "getMe", json!({})).await, (500, json!({"ok": false})));
    let (_, left) = control(&double, "GET", "violations", Value::Null).await;
    assert!(left[0].as_str().unwrap().contains("1 left"), "{left}");
    control(&double, "DELETE", "faults", Value::Null).await;
    done(&double, "getMe", json!({})).await;
    for wrong in
        [json!({"do": {}}), json!({"do": {"explode": true}}), json!({"do": {"reset": "later"}}), json!({})]
    {
        assert_eq!(control(&double, "POST", "faults", wrong).await.0, 400);
    }
    assert_eq!(double.violations(), Vec::<String>::new());
}
