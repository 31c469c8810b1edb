//! Daemons that die, freeze, stammer and come back: what the double delivered is answered exactly once.

use super::house::{House, quick, unlimited};
use crate::signal::{ReceiveMode, SignalConfig, Transport};
use portcullis_telemetry::HealthState;
use portcullis_testkit::signal::{Options, ReceiveMode as DoubleMode, Signal, envelope};
use std::time::Duration;

const ALL: [Transport; 3] = [Transport::Http, Transport::Tcp, Transport::Unix];

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("re: message {index}")).collect()
}

// req: S2-2.5
#[tokio::test]
async fn a_daemon_that_is_killed_and_comes_back_loses_and_doubles_nothing() {
    for transport in ALL {
        let house = House::new(transport).await;
        let ann = house.friend("Ann").await;
        house.double.push(envelope::data(&ann, "message 0"));
        house.until(|| house.answers(&ann).len() == 1).await;
        // An answer whose arrival the kill hides is sent once more: that is another test's.
        house.settle().await;
        house.double.kill().await;
        house.double.push(envelope::data(&ann, "message 1"));
        house.double.start_again().await;
        house.until(|| house.answers(&ann).len() == 2).await;
        house.settle().await;
        house.double.stop().await;
        house.double.push(envelope::data(&ann, "message 2"));
        house.double.start_again().await;
        house.until(|| house.answers(&ann).len() == 3).await;
        house.settle().await;
        assert_eq!(house.answers(&ann), numbered(3), "{transport:?}");
        assert!(house.counted("signal_reconnects_total") >= 2);
        house.close().await;
    }
}

// req: S2-2.5
#[tokio::test]
async fn a_frozen_stream_is_noticed_by_its_silence() {
    let double = Signal::with(Options { keep_alive: Duration::from_millis(100), ..Options::default() }).await;
    let config = SignalConfig { idle_secs: 1, ..quick(&double, Transport::Http) };
    let house = House::with(double, config, unlimited()).await;
    let ann = house.friend("Ann").await;
    house.double.freeze();
    house.until(|| house.counted("signal_reconnects_total{reason=\"idle\"}") >= 1).await;
    // What a daemon writes into a stream that is dead and not yet closed is gone: that is signal-cli's own limit.
    house.until(|| house.double.frozen() == 0).await;
    house.double.push(envelope::data(&ann, "message 0"));
    house.until(|| house.answers(&ann).len() == 1).await;
    assert_eq!(house.double.lost(), 0);
    house.close().await;
}

#[tokio::test]
async fn headers_that_come_late_are_waited_for() {
    let options =
        Options { flush_headers: false, keep_alive: Duration::from_millis(1500), ..Options::default() };
    let double = Signal::with(options).await;
    let config = quick(&double, Transport::Http);
    let house = House::with(double, config, unlimited()).await;
    let ann = house.friend("Ann").await;
    house.double.push(envelope::data(&ann, "message 0"));
    house.until(|| house.answers(&ann).len() == 1).await;
    assert_eq!(house.counted("signal_reconnects_total"), 0);
    house.close().await;
}

#[tokio::test]
async fn half_a_message_garbage_and_giants_end_nothing_and_lose_nothing() {
    for transport in ALL {
        let house = House::new(transport).await;
        let ann = house.friend("Ann").await;
        let (garbage, giant) = match transport {
            Transport::Http => (
                "event:receive\ndata:{garbage\n\nevent:unknown\ndata:{}\n\n".to_owned(),
                format!("event:receive\ndata:{}\n\n", "x".repeat(2 << 20)),
            ),
            Transport::Tcp | Transport::Unix => {
                ("{garbage\n\n[]\n{}\n".to_owned(), format!("{}\n", "x".repeat(2 << 20)))
            }
        };
        house.double.raw(garbage);
        house.double.push(envelope::data(&ann, "message 0"));
        house.double.raw(giant);
        house.double.push(envelope::data(&ann, "message 1"));
        house.until(|| house.answers(&ann).len() == 2).await;
        // A send whose answer the break hides is made once more: that is another test's.
        house.settle().await;
        house.double.cut_next();
        house.double.push(envelope::data(&ann, "message 2"));
        house.double.push(envelope::data(&ann, "message 3"));
        house.until(|| house.answers(&ann).len() == 4).await;
        house.settle().await;
        assert_eq!(house.answers(&ann), numbered(4), "{transport:?}");
        assert!(house.counted("signal_events_total{kind=\"unreadable\"}") >= 1);
        assert!(house.counted("signal_events_total{kind=\"too_long\"}") >= 1);
        house.close().await;
    }
}

// req: S2-2.5
#[tokio::test]
async fn the_same_message_again_is_not_answered_again_not_even_after_a_restart() {
    let mut house = House::new(Transport::Http).await;
    let ann = house.friend("Ann").await;
    let message = envelope::data(&ann, "message 0");
    house.double.push(message.clone());
    house.double.push(message.clone());
    house.until(|| house.answers(&ann).len() == 1).await;
    house.close().await;
    house.double.push(message);
    house.open().await;
    house.double.push(envelope::data(&ann, "message 1"));
    house.until(|| house.answers(&ann).len() == 2).await;
    house.settle().await;
    assert_eq!(house.answers(&ann), numbered(2));
    house.close().await;
}

#[tokio::test]
async fn streams_are_changed_without_a_gap_or_a_double_answer() {
    for transport in ALL {
        let double = Signal::start().await;
        let config = SignalConfig { rotate_secs: 1, ..quick(&double, transport) };
        let house = House::with(double, config, unlimited()).await;
        let ann = house.friend("Ann").await;
        for index in 0..60 {
            house.double.push(envelope::data(&ann, &format!("message {index}")));
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        house.until(|| house.answers(&ann).len() >= 60).await;
        house.settle().await;
        assert_eq!(house.answers(&ann), numbered(60), "{transport:?}");
        assert!(house.counted("signal_reconnects_total{reason=\"rotate\"}") >= 1);
        assert_eq!(house.double.lost(), 0);
        house.until(|| house.double.listeners() == 1).await;
        house.close().await;
    }
}

#[tokio::test]
async fn in_manual_mode_we_subscribe() {
    let double = Signal::with(Options { receive_mode: DoubleMode::Manual, ..Options::default() }).await;
    let config = SignalConfig { receive_mode: ReceiveMode::Manual, ..quick(&double, Transport::Tcp) };
    let house = House::with(double, config, unlimited()).await;
    let ann = house.friend("Ann").await;
    house.double.push(envelope::data(&ann, "message 0"));
    house.until(|| house.answers(&ann).len() == 1).await;
    house.close().await;
}

#[tokio::test]
async fn an_account_that_is_not_linked_is_named_with_what_mends_it() {
    let double = Signal::with(Options { accounts: Vec::new(), ..Options::default() }).await;
    let config = quick(&double, Transport::Tcp);
    let house = House::with(double, config, unlimited()).await;
    house.until(|| house.health.snapshot().iter().any(|one| one.state == HealthState::Unhealthy)).await;
    let signal = house.health.snapshot().into_iter().find(|one| one.name == "signal_cli").unwrap();
    assert!(signal.detail.contains("signal-cli link"), "{}", signal.detail);
    house.close().await;
}

// req: S2-2.5
#[tokio::test]
async fn a_thousand_messages_across_twenty_restarts_are_answered_once_each() {
    let house = House::new(Transport::Http).await;
    let mut people = Vec::new();
    for index in 0..10 {
        people.push(house.friend(&format!("Person {index}")).await);
    }
    for round in 0..20 {
        for index in 0..50 {
            let number = round * 50 + index;
            house.double.push(envelope::data(&people[number % 10], &format!("message {number}")));
            if index == 25 {
                house.double.stop().await;
                house.double.start_again().await;
            }
        }
    }
    house.until(|| house.double.sent().len() >= 1010).await;
    house.settle().await;
    assert_eq!((house.double.delivered(), house.double.lost()), (1010, 0));
    let mut answers: Vec<_> = people.iter().flat_map(|person| house.answers(person)).collect();
    for person in &people {
        let numbers: Vec<usize> = house
            .answers(person)
            .iter()
            .map(|text| text.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(numbers.is_sorted(), "in order: {numbers:?}");
    }
    answers.sort_unstable();
    let mut expected = numbered(1000);
    expected.sort_unstable();
    assert_eq!(answers, expected);
    house.close().await;
}
