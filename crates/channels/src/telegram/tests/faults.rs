//! What goes wrong between the door and Telegram, and what of that people notice.

use super::house::{House, quick};
use crate::{signal::tests::house::unlimited, telegram::TelegramConfig};
use portcullis_domain::Post;
use portcullis_engine::messages::{Sending, now_ms};
use portcullis_telemetry::HealthState;
use portcullis_testkit::telegram::{Fault, Options, Rates, Reset, Rule, Telegram};
use std::time::Duration;

// news.md, must show 8
#[tokio::test]
async fn killed_before_an_update_is_confirmed_it_is_answered_once() {
    let mut house = House::new().await;
    let ann = house.double.person("Ann");
    house.until("it polls", |house| house.double.polled()).await;
    // What was read is kept; the call that would confirm it never comes.
    house.double.fault(Rule::new("getUpdates", 2, Fault::status(502).after(Duration::from_secs(2))));
    house.double.say(&ann, "one");
    house.double.say(&ann, "two");
    house.double.sent_count(ann.id, 2).await;
    assert_eq!(house.double.pending(), 2, "nothing is confirmed yet");
    house.close().await;
    house.double.no_faults();
    house.open();
    house.double.say(&ann, "three");
    house.double.sent_count(ann.id, 3).await;
    house.settle().await;
    assert_eq!(house.texts(&ann), ["re: one", "re: two", "re: three"]);
    house.end().await;
}

#[tokio::test]
async fn numbers_of_updates_may_begin_anew() {
    let house = House::new().await;
    let ann = house.double.person("Ann");
    house.double.say(&ann, "one");
    house.double.sent_count(ann.id, 1).await;
    house.double.restart_updates_at(77);
    house.double.say(&ann, "two");
    house.double.say(&ann, "three");
    house.double.sent_count(ann.id, 3).await;
    house.settle().await;
    assert_eq!(house.texts(&ann), ["re: one", "re: two", "re: three"]);
    house.end().await;
}

// news.md, must show 9
#[tokio::test]
async fn errors_of_reading_are_named_and_reading_goes_on() {
    let mut house = House::new().await;
    let ann = house.double.person("Ann");
    house.until("it polls", |house| house.double.polled()).await;
    assert_eq!(house.state(), (HealthState::Healthy, "polling".into()));
    let conflict =
        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
    house.double.fault(Rule::new("getUpdates", 3, Fault::refused(409, conflict)));
    assert!(house.double.rival_polls());
    house.until("the conflict is named", |house| house.state().1.contains("somebody else reads")).await;
    house.until("it polls again", |house| house.state().1 == "polling").await;
    assert!(house.alerts_told().iter().any(|told| told.contains("somebody else reads")));
    for fault in [
        Fault::status(502),
        Fault::garbage(),
        Fault::reset(Reset::AfterReading),
        Fault::truncate(5),
        Fault::retry_after(1),
    ] {
        house.double.fault(Rule::new("getUpdates", 1, fault));
    }
    house.double.say(&ann, "still there?");
    house.double.sent_count(ann.id, 1).await;
    house.until("it polls again", |house| house.state().1 == "polling").await;
    assert_eq!(house.texts(&ann), ["re: still there?"]);
    house.close().await;
}

// news.md, must show 9
#[tokio::test]
async fn a_poll_that_stalls_is_given_up_and_begun_anew() {
    let double = Telegram::with(Options { rates: Rates::Off, ..Options::default() }).await;
    let config = TelegramConfig { poll_timeout_secs: 1, ..quick(&double) };
    double.fault(Rule::new("getUpdates", 1, Fault::hang()));
    let house = House::with(double, config, unlimited()).await;
    let ann = house.double.person("Ann");
    house.double.say(&ann, "still there?");
    house.double.sent_count(ann.id, 1).await;
    assert_eq!(house.texts(&ann), ["re: still there?"]);
    assert_eq!(house.counted("telegram_backoffs_total"), 1, "it was noticed");
    house.end().await;
}

// news.md, must show 9
#[tokio::test]
async fn a_wrong_token_closes_the_door_with_its_reason_and_a_foreign_webhook_too() {
    let double = Telegram::with(Options { rates: Rates::Off, ..Options::default() }).await;
    let config = quick(&double);
    double.fault(Rule::new("getMe", 1, Fault::refused(401, "Unauthorized")));
    let mut house = House::with(double, config, unlimited()).await;
    house.until("the reason is named", |house| house.state().1.contains("token of the bot is refused")).await;
    assert_eq!(house.state().0, HealthState::Unhealthy);
    assert!(house.alerts_told()[0].contains("telegram.token_secret"));
    house.close().await;
    house.double.rival_sets_webhook("https://elsewhere.example.org/hook");
    house.open();
    house.until("the webhook is named", |house| house.state().1.contains("take_over")).await;
    house.close().await;
    assert!(house.double.webhook().is_some(), "not ours to remove");
    house.config.take_over = true;
    house.open();
    house.until("it polls", |house| house.double.polled()).await;
    assert!(house.double.webhook().is_none());
    // Two programs that both insist: once in ten minutes, whoever is started how often.
    house.double.rival_sets_webhook("https://elsewhere.example.org/hook");
    house.until("it is named", |house| house.state().1.contains("another program uses its token")).await;
    assert!(house.alerts_told().iter().any(|told| told.contains("in at most ten minutes")));
    house.close().await;
    house.open();
    house.until("it is named", |house| house.state().1.contains("another program uses its token")).await;
    assert!(house.double.webhook().is_some());
    house.close().await;
    let name = format!("telegram/{}/taken_over", house.double.options().bot_id);
    house.store.note_text(&name, &(now_ms() - 601_000).to_string()).await.unwrap();
    house.open();
    house.until("it polls again", |house| house.double.webhook().is_none() && house.double.polled()).await;
    house.close().await;
}

#[tokio::test]
async fn an_answer_whose_fate_is_unknown_is_sent_once_more_and_no_oftener() {
    let house = House::new().await;
    let ann = house.double.person("Ann");
    house.double.fault(Rule::new("sendMessage", 1, Fault::reset(Reset::AfterDoing)));
    house.double.say(&ann, "one");
    house.double.sent_count(ann.id, 2).await;
    house.settle().await;
    assert_eq!(house.texts(&ann), ["re: one", "re: one"], "told twice rather than never");
    house.double.fault(Rule::new("sendMessage", 2, Fault::reset(Reset::AfterReading)));
    house.double.say(&ann, "two");
    house
        .until("it is given up", |house| {
            house.counted("outbox_dead_total{door=\"telegram\",reason=\"unknown\"}") == 1
        })
        .await;
    assert_eq!(house.double.calls_of("sendMessage").len(), 4);
    house.double.fault(Rule::new("sendMessage", 2, Fault::status(502)));
    house.double.say(&ann, "three");
    house.double.sent_count(ann.id, 3).await;
    house.close().await;
}

// news.md, must show 20
#[tokio::test]
async fn a_group_that_moved_and_a_person_who_blocked_are_followed() {
    let house = House::new().await;
    let ann = house.double.person("Ann");
    let group = house.double.group_of(portcullis_testkit::telegram::Kind::Group, "Team", &[&ann]);
    house.double.say_in(group.id, &ann, "/one");
    house.double.sent_count(group.id, 1).await;
    house.settle().await;
    let to = |chat: i64| format!("telegram:{chat}");
    let write = |chat: i64| {
        let how = Sending { caller: format!("tg:{}", ann.id), class: 3, expires_at: now_ms() + 60_000 };
        house.doors.compose(&to(chat), &[Post::text("digest")], &how).unwrap()
    };
    // Nobody told us: the answer to a message does.
    let moved = house.double.upgrade(&group);
    let rows = house.messages.rows();
    house.store.outbox().add(&write(group.id), rows).await.unwrap();
    house.doors.wake(&to(group.id));
    house.double.sent_count(moved.id, 1).await;
    house.double.block(&ann);
    let lost = async |chat: i64| house.store.chats().unreachable_since(&to(chat)).await.unwrap().is_some();
    house.settle().await;
    for _ in 0..500 {
        if lost(ann.id).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(lost(ann.id).await && !lost(moved.id).await);
    house.store.outbox().add(&write(ann.id), rows).await.unwrap();
    house.doors.wake(&to(ann.id));
    house.settle().await;
    assert_eq!(house.counted("outbox_dead_total{door=\"telegram\",reason=\"unreachable\"}"), 1);
    house.double.unblock(&ann);
    house.double.say(&ann, "back again");
    house.double.sent_count(ann.id, 1).await;
    assert!(!lost(ann.id).await);
    // Thrown out without a word: the next message tells.
    house.double.set_access(moved.id, portcullis_testkit::telegram::Access::Kicked);
    house.store.outbox().add(&write(moved.id), rows).await.unwrap();
    house.doors.wake(&to(moved.id));
    house.settle().await;
    assert!(lost(moved.id).await);
    house.close().await;
}
