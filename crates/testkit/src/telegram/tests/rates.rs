//! The counters and the waits.

use super::{direct, words};
use crate::telegram::{
    Fault, Limits, Options, Rates, Rule, Telegram,
    rates::{Counters, Verdict},
};
use serde_json::json;
use std::time::Duration;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Which of these moments (in milliseconds) are let through.
fn passed(chat: i64, rates: Rates, times: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut counters = Counters::default();
    let counted = times.into_iter().filter(|at| {
        let waiting = counters.waiting(chat, ms(*at)).is_some();
        !waiting && matches!(counters.count(chat, &Limits::default(), rates, ms(*at)), Verdict::Fine)
    });
    counted.collect()
}

#[test]
fn a_chat_gets_one_message_a_second() {
    assert_eq!(passed(7, Rates::Exact, [0, 500, 1600, 2560, 2600]), [0, 1600, 2560]);
    // Short bursts pass the lenient ones.
    assert_eq!(passed(7, Rates::Lenient, [0, 10, 20, 30, 40]), [0, 10, 20, 30]);
    assert_eq!(passed(7, Rates::Off, [0, 1, 2, 3, 4, 5, 6]).len(), 7);
}

#[test]
fn calling_before_the_end_of_a_wait_begins_it_anew() {
    // Refused at 100 until 1100; each call before its end moves that end by a second.
    assert_eq!(passed(7, Rates::Exact, [0, 100, 1000, 1900, 2800, 3850]), [0, 3850]);
}

#[test]
fn all_chats_together_get_thirty_a_second() {
    let mut counters = Counters::default();
    let mut fine = |chat: i64, at: u64| {
        counters.waiting(chat, ms(at)).is_none()
            && matches!(counters.count(chat, &Limits::default(), Rates::Exact, ms(at)), Verdict::Fine)
    };
    assert!((1..=30).all(|chat| fine(chat, 0)));
    assert!(!fine(31, 999));
    assert!(fine(32, 2000));
}

#[test]
fn a_group_gets_twenty_a_minute() {
    let times: Vec<u64> = (0..25).map(|n| n * 1000).collect();
    assert_eq!(passed(-7, Rates::Exact, times.clone()).len(), 20);
    assert_eq!(passed(7, Rates::Exact, times.clone()).len(), 25);
    assert_eq!(passed(-7, Rates::Lenient, times).len(), 25);
    assert_eq!(passed(-7, Rates::Lenient, (0..50).map(|n| n * 1000)).len(), 40);
}

#[tokio::test(start_paused = true)]
async fn what_comes_too_fast_is_refused_and_noted_edits_too() {
    let double = Telegram::with(Options { rates: Rates::Exact, ..Options::default() }).await;
    let anna = double.person("Anna");
    let sent = direct(&double, "sendMessage", json!({"chat_id": anna.id, "text": "a"})).await.unwrap();
    let edit = |text: &str| {
        direct(
            &double,
            "editMessageText",
            json!({"chat_id": anna.id, "message_id": sent["message_id"], "text": text}),
        )
    };
    let refusal = edit("b").await.unwrap_err();
    assert_eq!((refusal.code, refusal.description.as_str()), (429, "Too Many Requests: retry after 1"));
    assert_eq!(refusal.body()["parameters"]["retry_after"], 1);
    assert_eq!(double.violations().len(), 1, "{:?}", double.violations());
    double.advance(Duration::from_secs(2));
    assert!(edit("b").await.is_ok());
    // What is refused for another reason counts for nothing.
    double.advance(Duration::from_secs(1));
    assert_eq!(words(edit("b").await).0, 400);
    assert!(edit("c").await.is_ok());
    // Another chat is not held up by the first.
    let ben = double.person("Ben");
    assert!(direct(&double, "sendMessage", json!({"chat_id": ben.id, "text": "a"})).await.is_ok());
    assert_eq!(double.violations().len(), 1);
}

#[tokio::test]
async fn a_wait_that_a_rule_told_is_kept() {
    let double = super::double().await;
    let (anna, ben) = (double.person("Anna"), double.person("Ben"));
    let text = |chat: i64| json!({"chat_id": chat, "text": "a"});
    double.fault(Rule::new("sendMessage", 1, Fault::retry_after(7)).to(anna.id));
    let (status, body) = super::call(&double, "sendMessage", text(anna.id)).await;
    assert_eq!((status, &body["parameters"]["retry_after"]), (429, &json!(7)));
    super::done(&double, "sendMessage", text(ben.id)).await;
    double.advance(Duration::from_secs(5));
    assert_eq!(super::refused(&double, "sendMessage", text(anna.id)).await.0, 429);
    assert!(double.violations()[0].contains("before the end of a wait"), "{:?}", double.violations());
    double.advance(Duration::from_secs(7));
    super::done(&double, "sendMessage", text(anna.id)).await;
    assert_eq!(double.violations().len(), 1);
}
