//! What people meet at this door: answers, menus, work that shows itself, groups, limits, files.

use super::house::{House, quick};
use crate::{
    signal::tests::house::{ATTACK, unlimited},
    telegram::{Allow, TextFormat},
};
use portcullis_domain::File;
use portcullis_engine::{
    ActionConfig, AdmissionConfig,
    messages::{Sending, now_ms},
};
use portcullis_store::Setting;
use portcullis_testkit::telegram::{Fault, Incoming, Kind, Options, Rates, Rule, Telegram};
use std::time::Duration;

// req: S0-14
#[tokio::test]
async fn what_is_written_is_answered_once_and_in_order_and_the_token_stays_inside() {
    let house = House::new().await;
    let ann = house.double.person_speaking("Ann", "ru");
    for text in ["one", "two", "three"] {
        house.double.say(&ann, text);
    }
    house.double.sent_count(ann.id, 3).await;
    house.settle().await;
    assert_eq!(house.texts(&ann), ["re: one", "re: two", "re: three"]);
    let asked = house.actor.asked();
    let conversation = format!("telegram:{}", ann.id);
    assert_eq!((&*asked[0].conversation, asked[0].language.as_deref()), (conversation.as_str(), Some("ru")));
    assert!(!asked[0].group && asked[0].manages && asked[0].key.starts_with("telegram/"));
    let menus = house.double.menus();
    assert_eq!(menus.iter().map(|menu| menu.language.as_str()).collect::<Vec<_>>(), ["", "ru", "nl"]);
    assert_eq!(menus[1].commands, [("work".into(), "о чём".into()), ("chat".into(), "о чём".into())]);
    assert!(!format!("{:?}{}", house.health.snapshot(), house.metrics.render()).contains("made-up-token"));
    house.end().await;
}

#[tokio::test]
async fn commands_are_listed_again_only_when_they_changed() {
    let mut house = House::new().await;
    house.until("the door is open", |house| house.double.polled()).await;
    house.close().await;
    house.open();
    house.until("the door is open again", |house| house.double.calls_of("getMe").len() == 2).await;
    house.until("it polls", |house| house.double.polled()).await;
    assert_eq!(house.double.menus().len(), 3);
    house.end().await;
}

#[tokio::test]
async fn a_menu_answers_presses_in_its_place_with_their_words_and_two_at_once_are_one() {
    let house = House::new().await;
    let ann = house.double.person("Ann");
    house.double.say(&ann, "menu");
    let menu = house.double.sent_count(ann.id, 1).await.remove(0);
    let go = menu.button("Go").unwrap();
    house.double.press(&ann, ann.id, menu.id, &go);
    house.double.press(&ann, ann.id, menu.id, &go);
    house.double.until("both presses are answered", |double| double.answers().len() == 2).await;
    house.double.until("the menu shows it", |double| double.edits().len() == 1).await;
    house.settle().await;
    assert_eq!(house.texts(&ann), ["now 1:go:a"]);
    let words: Vec<_> = house.double.answers().into_iter().filter_map(|answer| answer.text).collect();
    assert_eq!(words, ["pressed 1:go:a"]);
    assert_eq!(house.actor.asked().len(), 2);
    house.end().await;
}

#[tokio::test]
async fn work_shows_one_status_message_runs_beside_others_and_can_be_cancelled() {
    let house = House::new().await;
    let ann = house.double.person("Ann");
    house.double.say(&ann, "/work 30");
    let status = house.double.sent_count(ann.id, 1).await.remove(0);
    assert_eq!((status.text.as_str(), status.silent), ("step 0", true));
    house.double.say(&ann, "hello");
    house.double.sent_count(ann.id, 2).await;
    house.double.until("an edit", |double| !double.edits().is_empty()).await;
    let first = house.double.edits().remove(0);
    assert!(first.at.duration_since(status.at) >= Duration::from_millis(1400));
    house.double.press(&ann, ann.id, status.id, &status.button("Cancel").unwrap());
    house.double.sent_count(ann.id, 3).await;
    house.double.until("the status is gone", |double| double.deletions().len() == 1).await;
    house.settle().await;
    assert_eq!(house.texts(&ann)[1..], ["re: hello", "not wanted"]);
    assert_eq!(house.double.answers().len(), 1);
    house.end().await;
}

#[tokio::test]
async fn a_typed_cancel_ends_what_was_asked_for_before_it_also_where_that_has_only_not_begun() {
    let house = House::new().await;
    let ann = house.double.person("Ann");
    house.double.say(&ann, "/work 40");
    house.double.sent_count(ann.id, 1).await;
    // A message that takes long stands in the line of the chat: what ends does not wait behind it.
    for text in ["slow", "/cancel@portcullis_test_bot", "/work 1"] {
        house.double.say(&ann, text);
    }
    house.settle().await;
    let texts = house.texts(&ann);
    let count = |text: &str| texts.iter().filter(|one| *one == text).count();
    assert_eq!((count("not wanted"), count("worked")), (1, 1), "{texts:?}");
    assert!(count("re: slow") == 1 && count("re: /cancel@portcullis_test_bot") == 1, "{texts:?}");
    house.end().await;
}

// news.md, must show 11
#[tokio::test]
async fn a_deleted_status_message_does_not_stop_the_work() {
    let house = House::new().await;
    let ann = house.double.person("Ann");
    house.double.fault(Rule::new(
        "editMessageText",
        1,
        Fault::refused(400, "Bad Request: message to edit not found"),
    ));
    house.double.say(&ann, "/work 8");
    let all = house.double.sent_count(ann.id, 2).await;
    assert_eq!(all[1].text, "worked");
    house.settle().await;
    assert_eq!(house.double.calls_of("editMessageText").len(), 1, "it is not tried again");
    house.end().await;
}

// news.md, must show 11
#[tokio::test]
async fn what_telegram_cannot_parse_arrives_as_plain_text() {
    let double = Telegram::with(Options { rates: Rates::Off, ..Options::default() }).await;
    let config = crate::telegram::TelegramConfig { format: TextFormat::MarkdownV2, ..quick(&double) };
    let house = House::with(double, config, unlimited()).await;
    let ann = house.double.person("Ann");
    let words = "Bad Request: can't parse entities: Can't find end of Bold entity at byte offset 4";
    house.double.fault(Rule::new("sendMessage", 1, Fault::refused(400, words)));
    for text in ["1 + 1 = 2. [really]!", "and *so* on_"] {
        house.double.say(&ann, text);
    }
    house.double.sent_count(ann.id, 2).await;
    assert_eq!(house.texts(&ann), ["re: 1 + 1 = 2. [really]!", "re: and *so* on_"]);
    house.end().await;
}

#[tokio::test]
async fn long_answers_come_in_parts_and_very_long_ones_as_a_document() {
    let house = House::new().await;
    let ann = house.double.person("Ann");
    house.double.say(&ann, "long 2000");
    let parts = house.double.sent_count(ann.id, 3).await;
    let joined: Vec<&str> = parts.iter().map(|sent| sent.text.as_str()).collect();
    assert_eq!(joined.join(" "), "word ".repeat(2000).trim());
    house.double.say(&ann, "long 20000");
    let all = house.double.sent_count(ann.id, 4).await;
    let document = all[3].document.as_ref().unwrap();
    assert_eq!(document.bytes, "word ".repeat(20_000).as_bytes());
    house.end().await;
}

#[tokio::test]
async fn in_a_group_the_bot_hears_who_means_it_and_its_menus_are_their_openers() {
    let house = House::new().await;
    let (ann, bob) = (house.double.person("Ann"), house.double.person("Bob"));
    let group = house.double.group("Team", &[&ann, &bob]);
    house.double.say_in(group.id, &bob, "just talking");
    let asked = house.double.say_in(group.id, &bob, "/menu@portcullis_test_bot");
    let menu = house.double.sent_count(group.id, 1).await.remove(0);
    assert_eq!(menu.reply_to, Some(asked.id));
    let go = menu.button("Go").unwrap();
    house.double.press(&ann, group.id, menu.id, &go);
    house.double.until("the other's press is answered", |double| double.answers().len() == 1).await;
    assert!(house.double.answers()[0].alert);
    house.double.press(&bob, group.id, menu.id, &go);
    house.double.until("the opener's press works", |double| double.edits().len() == 1).await;
    let reply = Incoming::text(&ann, "and that?").within(group.id).replying(menu.id);
    house.double.push(&reply);
    house.double.say_in(group.id, &ann, "what now, @Portcullis_Test_Bot?");
    house.double.sent_count(group.id, 3).await;
    house.settle().await;
    let asked = house.actor.asked();
    let manages: Vec<_> =
        asked.iter().map(|asked| (asked.text.as_str(), asked.manages, asked.group)).collect();
    let expected = [
        ("/menu@portcullis_test_bot", false, true),
        ("", false, true),
        ("and that?", true, true),
        ("what now,", true, true),
    ];
    assert_eq!(manages, expected, "Ann leads the group");
    assert_eq!(house.double.calls_of("getChatMember").len(), 2, "each is asked about once");
    house.end().await;
}

#[tokio::test]
async fn topics_are_places_of_their_own_and_apps_can_write_to_them() {
    let house = House::new().await;
    let ann = house.double.person("Ann");
    let forum = house.double.group_of(Kind::Forum, "Forum", &[&ann]);
    let topic = house.double.topic(forum.id);
    house.double.push(&Incoming::text(&ann, "/hello").within(forum.id).thread(topic));
    let sent = house.double.sent_count(forum.id, 1).await.remove(0);
    assert_eq!(sent.thread, Some(topic));
    let conversation = house.actor.asked()[0].conversation.clone();
    let how = Sending { caller: format!("tg:{}", ann.id), class: 3, expires_at: now_ms() + 60_000 };
    let file = File { name: "feeds.opml".into(), bytes: "<opml/>".into() };
    let post = portcullis_domain::Post { file: Some(file), ..portcullis_domain::Post::text("here") };
    let rows = house.doors.compose(&conversation, &[post], &how).unwrap();
    assert!(house.store.outbox().add(&rows, house.messages.rows()).await.unwrap());
    house.doors.wake(&conversation);
    let sent = house.double.sent_count(forum.id, 2).await.remove(1);
    assert_eq!((sent.thread, sent.text.as_str()), (Some(topic), "here"));
    assert_eq!(sent.document.unwrap().name, "feeds.opml");
    assert!(house.doors.manages(&conversation, &how.caller).await);
    assert!(!house.doors.manages(&conversation, "tg:77").await);
    assert!(house.doors.manages(&format!("telegram:{}", ann.id), &how.caller).await);
    house.close().await;
}

#[tokio::test]
async fn files_come_in_up_to_their_bound() {
    let house = House::new().await;
    let ann = house.double.person("Ann");
    house.double.push(&Incoming::document(&ann, "feeds.opml", b"<opml/>", "/import"));
    house.double.sent_count(ann.id, 1).await;
    let file = house.actor.asked().remove(0).file.unwrap();
    assert_eq!((file.name.as_str(), &*file.bytes), ("feeds.opml", &b"<opml/>"[..]));
    house.double.push(&Incoming::document(&ann, "big.opml", b"<opml/>", "").weighing(300_000));
    let sent = house.double.sent_count(ann.id, 2).await;
    assert!(sent[1].text.contains("256 KiB"), "{}", sent[1].text);
    house.double.push(&Incoming::text(&ann, "").with(serde_json::json!({"photo": [{"file_id": "p"}]})));
    let sent = house.double.sent_count(ann.id, 3).await;
    assert!(sent[2].text.starts_with("I cannot read attachments"));
    house.end().await;
}

// req: S0-10
// news.md, must show 12
#[tokio::test]
async fn who_is_limited_gets_one_friendly_notice_in_their_language_and_a_breach_is_counted() {
    let double = Telegram::with(Options { rates: Rates::Off, ..Options::default() }).await;
    let mut admission: AdmissionConfig = unlimited();
    let slow = ActionConfig { per_user_per_min: Some(2), ..ActionConfig::default() };
    admission.actions.insert("message".into(), slow);
    let config = quick(&double);
    let house = House::with(double, config, admission).await;
    let told = [
        ("en", "Too many messages. Please try again in"),
        ("ru", "Слишком много"),
        ("nl", "Te veel berichten"),
    ];
    // The last has Telegram in English and chose Russian here, at whichever start or replica.
    for (language, start) in told.into_iter().chain([("en", told[1].1)]) {
        let person = house.double.person_speaking("Somebody", language);
        if start != told[0].1 && language == "en" {
            let (caller, readers) = (format!("tg:{}", person.id), house.store.readers());
            let reader = readers.enter(&caller, "telegram:1", "Folder 1", 1).await.unwrap();
            assert!(readers.set(reader.id, Setting::Lang("ru")).await.unwrap());
        }
        for text in ["one", "two", "three", "four", "five"] {
            house.double.say(&person, text);
        }
        house.double.sent_count(person.id, 3).await;
        house.settle().await;
        let texts = house.texts(&person);
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert!(texts[2].starts_with(start), "{texts:?}");
    }
    assert_eq!(house.counted("rate_limit_breaches{"), 12);
    house.end().await;
}

#[tokio::test]
async fn who_is_not_allowed_hears_nothing_and_what_is_too_old_is_asked_for_again_once() {
    let double = Telegram::with(Options { rates: Rates::Off, ..Options::default() }).await;
    let (ann, bob) = (double.person("Ann"), double.person("Bob"));
    let mut config = quick(&double);
    config.allow = Allow::Ids(vec![ann.id]);
    config.max_replay_age_secs = 1;
    let mut house = House::with(double, config, unlimited()).await;
    house.double.say(&bob, "let me in");
    house.double.say(&ann, "hello");
    house.double.sent_count(ann.id, 1).await;
    house.close().await;
    for text in ["are", "you", "there?"] {
        house.double.say(&ann, text);
    }
    tokio::time::sleep(Duration::from_millis(2100)).await;
    house.open();
    house.double.sent_count(ann.id, 2).await;
    house.settle().await;
    let texts = house.texts(&ann);
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[1].starts_with("I was away"), "{texts:?}");
    assert!(house.texts(&bob).is_empty());
    assert_eq!(house.counted("telegram_updates_total{kind=\"unwanted\"}"), 1);
    house.end().await;
}

#[tokio::test]
async fn an_edit_replaces_what_waits_and_comes_too_late_for_what_does_not() {
    let house = House::new().await;
    let ann = house.double.person("Ann");
    house.double.say(&ann, "slow one");
    let second = house.double.say(&ann, "wrong");
    house.double.edit(&second, "right");
    house.double.sent_count(ann.id, 2).await;
    house.double.edit(&second, "too late");
    house.settle().await;
    assert_eq!(house.texts(&ann), ["re: slow one", "re: right"]);
    house.end().await;
}

#[tokio::test]
async fn a_model_answers_chat_in_drafts_and_then_for_good() {
    let house = House::new().await;
    let ann = house.double.person("Ann");
    let group = house.double.group("Team", &[&ann]);
    house.double.say(&ann, "/chat hi there");
    let sent = house.double.sent_count(ann.id, 1).await.remove(0);
    assert_eq!(sent.text, "Hello from the model");
    assert_eq!(sent.entities[0]["type"], "bold");
    let drafts = house.double.drafts();
    assert!(!drafts.is_empty() && drafts.iter().all(|draft| draft.text.starts_with("Hello")), "{drafts:?}");
    house.double.say_in(group.id, &ann, "/chat hi there");
    house
        .double
        .until("the answer", |double| {
            double.sent_to(group.id).iter().any(|sent| sent.text == "Hello from the model")
        })
        .await;
    house.double.until("what grew is gone", |double| double.deletions().len() == 1).await;
    house.double.say(&ann, "/chat");
    let sent = house.double.sent_count(ann.id, 2).await;
    assert!(sent[1].text.starts_with("Write /chat"));
    house.settle().await;
    house.end().await;
}

// req: S2-1.6
#[tokio::test]
async fn a_message_that_looks_like_an_attack_is_answered_when_its_sender_presses_or_says_that_it_is_meant() {
    let house = House::new().await;
    let (ann, bea) = (house.double.person("Ann"), house.double.person_speaking("Bea", "ru"));
    house.double.say(&ann, ATTACK);
    let asked = house.double.sent_count(ann.id, 1).await.remove(0);
    assert!(asked.text.contains("\"confirm\" within 10 minutes"), "{}", asked.text);
    assert!(house.actor.asked().is_empty(), "no app has seen it");
    house.double.press(&ann, ann.id, asked.id, &asked.button("Send it anyway").unwrap());
    house.double.sent_count(ann.id, 2).await;
    assert_eq!(house.texts(&ann)[1], format!("re: {ATTACK}"));
    house.settle().await;
    assert_eq!(house.actor.asked().len(), 1);
    house.double.say(&bea, ATTACK);
    let asked = house.double.sent_count(bea.id, 1).await.remove(0);
    assert!(asked.text.contains("подтверждаю"), "{}", asked.text);
    house.double.say(&bea, "Подтверждаю");
    house.double.sent_count(bea.id, 2).await;
    assert_eq!(house.texts(&bea)[1], format!("re: {ATTACK}"));
    house.double.say(&bea, "подтверждаю");
    house.double.sent_count(bea.id, 3).await;
    assert_eq!(house.texts(&bea)[2], "re: подтверждаю", "where nothing waits it is a word like any other");
    house.end().await;
}

// req: S2-1.6
#[tokio::test]
async fn what_waits_for_its_sender_to_mean_it_outlives_the_process_that_asked() {
    let mut house = House::new().await;
    let (ann, bea) = (house.double.person("Ann"), house.double.person("Bea"));
    for person in [&ann, &bea] {
        house.double.say(person, ATTACK);
    }
    let asked = house.double.sent_count(ann.id, 1).await.remove(0);
    let asked_bea = house.double.sent_count(bea.id, 1).await.remove(0);
    house.settle().await;
    house.close().await;
    house.open();
    let button = asked.button("Send it anyway").unwrap();
    house.double.press(&ann, ann.id, asked.id, &button);
    house.double.sent_count(ann.id, 2).await;
    house.double.say(&bea, "confirm");
    house.double.sent_count(bea.id, 2).await;
    for person in [&ann, &bea] {
        assert_eq!(house.texts(person)[1], format!("re: {ATTACK}"));
    }
    // Taken once: the other button says so, and the app has seen each message once.
    house.double.press(&bea, bea.id, asked_bea.id, &button);
    house.double.until("the press is answered", |double| double.answers().len() == 2).await;
    house.settle().await;
    assert!(
        house.double.answers()[1].text.as_deref().is_some_and(|text| text.starts_with("Nothing of yours"))
    );
    assert_eq!(house.actor.asked().len(), 2);
    house.end().await;
}

// req: S2-1.2
#[tokio::test]
async fn what_hides_in_a_message_does_not_reach_an_app_and_a_message_that_is_too_long_is_told_so() {
    let house = House::new().await;
    let ann = house.double.person("Ann");
    house.double.say(&ann, "he\u{200b}llo\u{7} caf\u{65}\u{301} 👩\u{200d}👩\u{200d}👧");
    house.double.sent_count(ann.id, 1).await;
    assert_eq!(house.actor.asked()[0].text, "he\u{200b}llo caf\u{e9} 👩\u{200d}👩\u{200d}👧");
    house.double.say(&ann, &"word ".repeat(401));
    let sent = house.double.sent_count(ann.id, 2).await;
    assert!(sent[1].text.contains("longer than the 2000 allowed"), "{}", sent[1].text);
    assert_eq!(house.actor.asked().len(), 1);
    house.end().await;
}
