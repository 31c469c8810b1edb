//! Sending, editing, deleting: limits, trimming, entities, keyboards, replies.

use super::{bad, direct, done, double, refused, words};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_text_has_one_to_4096_units_after_parsing() {
    let double = double().await;
    let anna = double.person("Anna");
    let say = |text: String| json!({"chat_id": anna.id, "text": text, "parse_mode": "MarkdownV2"});
    done(&double, "sendMessage", say("😀".repeat(2048))).await;
    done(&double, "sendMessage", say(format!("*{}*", "a".repeat(4096)))).await;
    assert_eq!(double.violations(), Vec::<String>::new());
    assert_eq!(refused(&double, "sendMessage", say("a".repeat(4097))).await, bad("message is too long"));
    assert_eq!(refused(&double, "sendMessage", say("😀".repeat(2049))).await, bad("message is too long"));
    assert_eq!(refused(&double, "sendMessage", say("a".repeat(32_769))).await, bad("text is too long"));
    assert_eq!(refused(&double, "sendMessage", say(String::new())).await, bad("message text is empty"));
    assert_eq!(refused(&double, "sendMessage", say("**".into())).await, bad("text must be non-empty"));
    assert_eq!(refused(&double, "sendMessage", say(" \n ".into())).await, bad("text must be non-empty"));
    assert_eq!(double.violations().len(), 2);
    assert_eq!(double.sent().len(), 2);
}

#[tokio::test]
async fn white_space_around_a_text_is_taken_off_and_entities_move_along() {
    let double = double().await;
    let anna = double.person("Anna");
    let entities =
        json!([{"type": "bold", "offset": 4, "length": 4}, {"type": "italic", "offset": 1, "length": 1}]);
    done(&double, "sendMessage", json!({"chat_id": anna.id, "text": "\n\r  hi \n", "entities": entities}))
        .await;
    let sent = &double.sent()[0];
    assert_eq!(
        (sent.text.as_str(), &sent.entities),
        ("hi", &vec![json!({"type": "bold", "offset": 0, "length": 2})])
    );
}

#[tokio::test]
async fn entities_are_kept_dropped_or_refused() {
    let double = double().await;
    let anna = double.person("Anna");
    let say = |entities: Value| json!({"chat_id": anna.id, "text": "a😀b", "entities": entities});
    let one =
        |kind: &str, offset: i64, length: i64| json!({"type": kind, "offset": offset, "length": length});
    let mention = json!({"type": "text_mention", "offset": 0, "length": 1, "user":
        {"id": anna.id, "is_bot": false, "first_name": "?"}});
    let link = json!({"type": "text_link", "offset": 3, "length": 1, "url": "Example.org"});
    done(&double, "sendMessage", say(json!([one("bold", 3, 5), one("bold", 0, 1), mention, link]))).await;
    let kept: Vec<_> = double.sent()[0].entities.iter().map(|entity| entity["type"].clone()).collect();
    // One lies outside the text.
    assert_eq!(kept, ["text_mention", "bold", "text_link"]);
    assert_eq!(double.sent()[0].entities[2]["url"], "http://example.org/");
    for (wrong, why) in [
        (one("bold", -1, 2), "receive an entity with incorrect offset -1"),
        (one("bold", 0, -2), "receive an entity with incorrect length -2"),
        (one("bold", 2, 1), "entity begins in a middle of a UTF-16 symbol at UTF-16 offset 2"),
        (one("loud", 0, 1), "can't parse MessageEntity: Unsupported type specified"),
        (one("text_link", 0, 1), "can't parse MessageEntity: Can't find field \"url\""),
    ] {
        assert_eq!(refused(&double, "sendMessage", say(json!([wrong]))).await, bad(why));
    }
    let many: Vec<_> = (0..101).map(|_| one("bold", 0, 1)).collect();
    done(&double, "sendMessage", say(json!(many))).await;
    let url = format!("https://example.org/{}", "a".repeat(1000));
    let heavy = (0..10).map(|n| json!({"type": "text_link", "offset": n, "length": 1, "url": url}));
    let heavy = json!({"chat_id": anna.id, "text": "abcdefghij", "entities": heavy.collect::<Vec<_>>()});
    assert_eq!(refused(&double, "sendMessage", heavy).await, bad("ENTITIES_TOO_LONG"));
    assert_eq!(double.violations(), ["1 of 4 entities lie outside the text", "101 entities, 100 are read"]);
}

#[tokio::test]
async fn keyboards_are_checked_button_by_button() {
    let double = double().await;
    let anna = double.person("Anna");
    let say =
        |rows: Value| json!({"chat_id": anna.id, "text": "a", "reply_markup": {"inline_keyboard": rows}});
    let button = |data: &str| json!({"text": "b", "callback_data": data});
    let link = json!({"text": "c", "url": "https://example.org"});
    done(&double, "sendMessage", say(json!([[button(&"x".repeat(64)), link]]))).await;
    for (wrong, why) in [
        (button(""), "BUTTON_DATA_INVALID"),
        (button(&"é".repeat(33)), "BUTTON_DATA_INVALID"),
        (json!({"text": "", "callback_data": "a"}), "BUTTON_TEXT_EMPTY"),
        (json!({"text": "b", "url": "nowhere"}), "BUTTON_URL_INVALID"),
        (
            json!({"text": "b"}),
            "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard",
        ),
        (
            json!({"text": "b", "callback_data": "a", "style": "pink"}),
            "can't parse inline keyboard button: invalid button style specified",
        ),
    ] {
        assert_eq!(refused(&double, "sendMessage", say(json!([[wrong]]))).await, bad(why));
    }
    let row: Vec<_> = (0..8).map(|_| button("y")).collect();
    let big: Vec<_> = (0..13).map(|_| row.clone()).collect();
    assert_eq!(refused(&double, "sendMessage", say(json!(big))).await, bad("reply markup is too long"));
    let broken = json!({"chat_id": anna.id, "text": "a", "reply_markup": "{"});
    assert_eq!(
        refused(&double, "sendMessage", broken).await,
        bad("can't parse `reply_markup`: it is no JSON")
    );
    assert_eq!(double.violations(), Vec::<String>::new());
    let wide: Vec<_> = (0..9).map(|_| button("y")).collect();
    done(&double, "sendMessage", say(json!([wide]))).await;
    assert_eq!(double.violations(), ["a row of more than 8 buttons"]);
}

#[tokio::test]
async fn a_reply_needs_its_message_unless_it_may_go_without() {
    let double = double().await;
    let anna = double.person("Anna");
    let said = double.say(&anna, "question");
    let say = |reply: Value| json!({"chat_id": anna.id, "text": "a", "reply_parameters": reply});
    let message = done(&double, "sendMessage", say(json!({"message_id": said.id}))).await;
    assert_eq!(message["reply_to_message"]["text"], "question");
    assert_eq!(double.sent()[0].reply_to, Some(said.id));
    assert_eq!(
        refused(&double, "sendMessage", say(json!({"message_id": 999}))).await,
        bad("message to be replied not found")
    );
    done(&double, "sendMessage", say(json!({"message_id": 999, "allow_sending_without_reply": true}))).await;
    assert_eq!(double.sent()[1].reply_to, None);
}

#[tokio::test]
async fn an_edit_changes_something_of_the_bots_own() {
    let double = double().await;
    let anna = double.person("Anna");
    let said = double.say(&anna, "hers");
    let markup = json!({"inline_keyboard": [[{"text": "b", "callback_data": "x"}]]});
    let own =
        done(&double, "sendMessage", json!({"chat_id": anna.id, "text": "a", "reply_markup": markup})).await;
    let edit = |id: &Value, text: &str| json!({"chat_id": anna.id, "message_id": id, "text": text, "reply_markup": markup});
    let same = "message is not modified: specified new message content and reply markup are exactly the same as a \
                current content and reply markup of the message";
    assert_eq!(refused(&double, "editMessageText", edit(&own["message_id"], "a ")).await, bad(same));
    assert_eq!(
        refused(&double, "editMessageText", edit(&json!(999), "b")).await,
        bad("message to edit not found")
    );
    assert_eq!(
        refused(&double, "editMessageText", edit(&json!(said.id), "b")).await,
        bad("message can't be edited")
    );
    assert_eq!(
        refused(&double, "editMessageText", json!({"text": "b"})).await,
        bad("message identifier is not specified")
    );
    let edited = done(&double, "editMessageText", edit(&own["message_id"], "b")).await;
    assert!(edited["edit_date"].is_i64() && edited["text"] == "b" && edited["reply_markup"] == markup);
    // Without a keyboard the message loses it.
    let bare = json!({"chat_id": anna.id, "message_id": own["message_id"]});
    assert!(done(&double, "editMessageReplyMarkup", bare.clone()).await["reply_markup"].is_null());
    assert_eq!(refused(&double, "editMessageReplyMarkup", bare).await, bad(same));
    assert_eq!(double.edits().len(), 2);
    assert_eq!((double.sent()[0].shown(), double.sent()[0].keyboard()), ("b", None));
}

#[tokio::test(start_paused = true)]
async fn a_message_can_be_deleted_for_two_days_and_edited_no_more_after() {
    let double = double().await;
    let anna = double.person("Anna");
    let team = double.group("Team", &[&anna]);
    let own = direct(&double, "sendMessage", json!({"chat_id": anna.id, "text": "a"})).await.unwrap();
    let delete =
        |chat: i64, id: &Value| direct(&double, "deleteMessage", json!({"chat_id": chat, "message_id": id}));
    assert_eq!(words(delete(anna.id, &json!(999)).await), bad("message to delete not found"));
    assert_eq!(words(delete(anna.id, &Value::Null).await), bad("message identifier is not specified"));
    assert!(delete(anna.id, &own["message_id"]).await.is_ok());
    assert_eq!(words(delete(anna.id, &own["message_id"]).await), bad("message to delete not found"));
    let late = json!({"chat_id": anna.id, "message_id": own["message_id"], "text": "b"});
    assert_eq!(words(direct(&double, "editMessageText", late).await), bad("message to edit not found"));
    let hers = double.say_in(team.id, &anna, "hers");
    assert_eq!(words(delete(team.id, &json!(hers.id)).await), bad("message can't be deleted"));
    let old = direct(&double, "sendMessage", json!({"chat_id": anna.id, "text": "old"})).await.unwrap();
    double.advance(Duration::from_secs(48 * 3600 + 1));
    assert_eq!(words(delete(anna.id, &old["message_id"]).await), bad("message can't be deleted"));
    assert_eq!(double.deletions().len(), 1);
}

#[tokio::test]
async fn entities_across_each_other_are_kept_as_the_server_keeps_them() {
    let double = double().await;
    let anna = double.person("Anna");
    let one = |kind: &str, from: usize, to: usize| {
        let url = if kind == "text_link" { json!("https://example.org/") } else { Value::Null };
        json!({"type": kind, "offset": from, "length": to - from, "url": url})
    };
    for (given, kept) in [
        // Code lets nothing in, and is inside of quotes only.
        (vec![one("bold", 0, 9), one("code", 3, 6)], vec![("bold", 0, 3), ("code", 3, 6), ("bold", 6, 9)]),
        (vec![one("italic", 4, 5), one("pre", 3, 6)], vec![("pre", 3, 6)]),
        (vec![one("blockquote", 0, 9), one("code", 3, 6)], vec![("blockquote", 0, 9), ("code", 3, 6)]),
        (vec![one("text_link", 0, 9), one("code", 3, 6)], vec![("text_link", 0, 9)]),
        // Quotes hold no quotes, and nothing lies across their edges.
        (vec![one("blockquote", 0, 9), one("blockquote", 3, 6)], vec![("blockquote", 0, 9)]),
        (vec![one("blockquote", 0, 5), one("text_link", 3, 7)], vec![("blockquote", 0, 5)]),
        // Plain marks may cross.
        (vec![one("bold", 0, 5), one("italic", 3, 7)], vec![("bold", 0, 5), ("italic", 3, 7)]),
        (vec![one("text_link", 0, 9), one("bold", 3, 6)], vec![("text_link", 0, 9), ("bold", 3, 6)]),
    ] {
        let sent = json!({"chat_id": anna.id, "text": "abcdefghi", "entities": given});
        let entities = done(&double, "sendMessage", sent).await["entities"].clone();
        let got: Vec<_> = entities
            .as_array()
            .unwrap()
            .iter()
            .map(|entity| {
                let at = |name: &str| usize::try_from(entity[name].as_u64().unwrap()).unwrap();
                (entity["type"].as_str().unwrap(), at("offset"), at("offset") + at("length"))
            })
            .collect();
        assert_eq!(got, kept, "{given:?}");
    }
}
