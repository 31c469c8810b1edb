//! What people meet at this door: silence, sessions, answers, limits, groups, changes of mind.

use super::house::{ATTACK, House, PASSPHRASE, jump, quick, unlimited};
use crate::signal::{SignalConfig, Transport};
use portcullis_engine::AdmissionConfig;
use portcullis_telemetry::AlertCategory;
use portcullis_testkit::signal::{Fault, Outcome, Rule, Signal, envelope};
use std::time::Duration;

// req: S2-2.5
#[tokio::test]
async fn a_guest_hears_nothing_and_the_passphrase_opens_until_it_is_deactivated() {
    let house = House::new(Transport::Http).await;
    let ann = house.double.person("Ann");
    for text in ["hello", "/help", "Open Sesame, made up"] {
        house.double.push(envelope::data(&ann, text));
    }
    house.until(|| house.double.delivered() == 3).await;
    house.settle().await;
    assert!(house.double.calls().iter().all(|call| !call.method.starts_with("send")), "not even typing");
    house.double.push(envelope::data(&ann, &format!("  {PASSPHRASE} ")));
    house.until(|| house.to(&ann).len() == 1).await;
    assert!(house.texts()[0].starts_with("Welcome"), "{:?}", house.texts());
    house.double.push(envelope::data(&ann, "what is the notice period?"));
    house.until(|| house.to(&ann).len() == 2).await;
    assert_eq!(house.texts()[1], "re: what is the notice period?");
    assert!(house.double.calls().iter().any(|call| call.method == "sendTyping"));
    house.double.push(envelope::data(&ann, "/reset"));
    house.double.push(envelope::data(&ann, "Deactivate"));
    house.until(|| house.to(&ann).len() == 4).await;
    assert!(house.texts()[3].starts_with("Your session has ended"));
    house.double.push(envelope::data(&ann, "still there?"));
    house.until(|| house.double.delivered() == 7).await;
    house.settle().await;
    assert_eq!(house.to(&ann).len(), 4);
    assert_eq!(house.double.violations(), [""; 0]);
    house.close().await;
}

#[tokio::test]
async fn guesses_beyond_five_an_hour_are_not_compared_and_a_crowd_is_told() {
    let mut house = House::new(Transport::Http).await;
    let (ann, bob) = (house.double.person("Ann"), house.double.person("Bob"));
    for index in 0..6 {
        house.double.push(envelope::data(&ann, &format!("guess {index}")));
    }
    house.until(|| house.double.delivered() == 6).await;
    house.settle().await;
    house.double.push(envelope::data(&ann, PASSPHRASE));
    house.double.push(envelope::data(&bob, PASSPHRASE));
    house.until(|| house.to(&bob).len() == 1).await;
    house.settle().await;
    assert!(house.to(&ann).is_empty(), "the right one comes too late");
    for index in 0..100 {
        let guest = house.double.person(&format!("Guest {index}"));
        house.double.push(envelope::data(&guest, "hi"));
    }
    // What was delivered may not have been read yet.
    let mut told = house.alerts_about(AlertCategory::Guessing);
    while told.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
        told = house.alerts_about(AlertCategory::Guessing);
    }
    house.until(|| house.double.delivered() == 108).await;
    house.settle().await;
    told.extend(house.alerts_about(AlertCategory::Guessing));
    assert_eq!(told.len(), 1);
    house.close().await;
}

#[tokio::test]
async fn sessions_survive_a_restart_and_end_by_silence_with_one_notice() {
    let mut house = House::new(Transport::Tcp).await;
    let ann = house.friend("Ann").await;
    house.close().await;
    house.config.session_idle_hours = 1;
    house.open().await;
    house.double.push(envelope::data(&ann, "do you know me?"));
    house.until(|| house.to(&ann).len() == 2).await;
    assert_eq!(house.answers(&ann), ["re: do you know me?"]);
    house.close().await;
    house.config.session_idle_hours = 0;
    house.open().await;
    house.double.push(envelope::data(&ann, "and now?"));
    house.double.push(envelope::data(&ann, "hello?"));
    house.until(|| house.to(&ann).len() == 3).await;
    house.settle().await;
    assert!(house.texts()[2].starts_with("Your session has ended"), "{:?}", house.texts());
    assert_eq!(house.to(&ann).len(), 3, "told once");
    house.close().await;
}

// req: S2-1.3, S0-10
#[tokio::test]
async fn the_eleventh_message_in_a_minute_and_the_101st_in_an_hour_get_one_notice_each() {
    let double = Signal::start().await;
    // The clock jumps over keep-alives: silence says nothing here.
    let config = SignalConfig { idle_secs: 86_400, ..quick(&double, Transport::Http) };
    let house = House::with(double, config, AdmissionConfig::default()).await;
    let ann = house.friend("Ann").await;
    let (mut asked, mut answered) = (0, 0);
    for round in 0..10 {
        let notices = usize::from(round == 0);
        for _ in 0..10 + 3 * notices {
            asked += 1;
            house.double.push(envelope::data(&ann, &format!("question {asked}")));
        }
        answered += 10;
        let expected = answered + 1;
        house
            .until(|| house.answers(&ann).len() >= if round == 0 { answered + notices } else { expected })
            .await;
        house.settle().await;
        assert_eq!(house.answers(&ann).len(), expected, "round {round}: {:?}", house.answers(&ann).last());
        if round == 0 {
            let notice = house.answers(&ann).pop().unwrap();
            assert!(notice.starts_with("Too many messages. Please try again in "), "{notice}");
            assert!(
                notice.ends_with("seconds.")
                    || notice.ends_with("1 minute.")
                    || notice.ends_with("2 minutes."),
                "{notice}"
            );
        }
        // A sliding window counts in steps: it lets in a little after its minute.
        jump(Duration::from_secs(75)).await;
    }
    for text in ["the 101st", "the 102nd"] {
        house.double.push(envelope::data(&ann, text));
    }
    house.until(|| house.answers(&ann).len() == 102).await;
    house.settle().await;
    let notice = house.answers(&ann).pop().unwrap();
    assert!(notice.ends_with(" minutes."), "{notice}");
    assert_eq!(house.answers(&ann).len(), 102, "told once");
    jump(Duration::from_secs(3600)).await;
    house.double.push(envelope::data(&ann, "an hour later"));
    house.until(|| house.answers(&ann).len() == 103).await;
    assert_eq!(house.answers(&ann)[102], "re: an hour later");
    house.close().await;
}

#[tokio::test]
async fn failures_are_told_in_friendly_words_in_the_persons_language() {
    let house = House::new(Transport::Unix).await;
    let ann = house.friend("Ann").await;
    house.double.push(envelope::data(&ann, "fail"));
    house.double.push(envelope::data(&ann, "/lang nl"));
    house.double.push(envelope::data(&ann, "fail"));
    house.double.push(envelope::attachment(&ann, ""));
    house.until(|| house.answers(&ann).len() == 4).await;
    let answers = house.answers(&ann);
    assert_eq!(answers[0], "I cannot answer at the moment. Please try again in 7 seconds.");
    assert_eq!(answers[2], "Ik kan nu niet antwoorden. Probeer het over 7 seconden opnieuw.");
    assert_eq!(answers[3], "Ik kan geen bijlagen lezen. Schrijf uw vraag als tekst.");
    assert_eq!(house.counted("messages_failed_total{door=\"signal\",category=\"unavailable\"}"), 2);
    house.close().await;
}

#[tokio::test]
async fn a_group_is_answered_after_activation_when_it_means_us_by_a_quote() {
    let house = House::new(Transport::Tcp).await;
    let ann = house.friend("Ann").await;
    let bob = house.double.person("Bob");
    house.double.group("team", &[ann.clone(), bob.clone()]);
    house.double.push(envelope::mention(&ann, "team", "not yet"));
    house.double.push(envelope::group(&bob, "team", "/activate"));
    house.double.push(envelope::group(&ann, "team", "/activate"));
    let in_team = || house.double.sent().into_iter().filter(|sent| sent.group.is_some()).collect::<Vec<_>>();
    house.until(|| in_team().len() == 1).await;
    assert!(in_team()[0].text.starts_with("I now answer members"), "{:?}", in_team());
    house.double.push(envelope::group(&bob, "team", "among ourselves"));
    house.double.push(envelope::mention(&bob, "team", "what is it?"));
    house.double.push(envelope::reply(&bob, "team", "and then?"));
    house.double.push(envelope::group(&bob, "team", "/ask why"));
    house.until(|| in_team().len() == 4).await;
    house.settle().await;
    let answers = in_team();
    let texts: Vec<_> = answers.iter().skip(1).map(|sent| sent.text.as_str()).collect();
    assert_eq!(texts, ["re: what is it?", "re: and then?", "re: /ask why"]);
    assert!(answers.iter().all(|sent| sent.quote.is_some()));
    assert_eq!(answers[1].quote.as_ref().unwrap().1, bob.uuid);
    assert!(house.to(&bob).is_empty(), "a member is no friend in private");
    house.close().await;
}

#[tokio::test]
async fn a_waiting_question_is_edited_or_taken_back_and_old_ones_are_summed_up() {
    let house = House::new(Transport::Http).await;
    let ann = house.friend("Ann").await;
    let now = envelope::timestamp();
    house.double.push(envelope::data_at(&ann, "slow one", now));
    house.double.push(envelope::data_at(&ann, "secnod", now + 1));
    house.double.push(envelope::data_at(&ann, "third", now + 2));
    house.double.push(envelope::edit(&ann, now + 1, "second"));
    house.double.push(envelope::delete(&ann, now + 2));
    house.until(|| house.answers(&ann).len() == 2).await;
    house.settle().await;
    assert_eq!(house.answers(&ann), ["re: slow one", "re: second"]);
    for index in 0..3 {
        house.double.push(envelope::data_at(&ann, "old", now - 7_200_000 + index));
    }
    house.until(|| house.answers(&ann).len() > 2).await;
    house.double.push(envelope::data(&ann, "fresh"));
    house.until(|| house.answers(&ann).contains(&"re: fresh".to_owned())).await;
    house.settle().await;
    let notices: Vec<_> =
        house.answers(&ann).into_iter().filter(|text| text.starts_with("I was away")).collect();
    let old: u64 = notices.iter().filter_map(|notice| notice.split(' ').nth(3)?.parse::<u64>().ok()).sum();
    assert_eq!(old, 3, "{notices:?}");
    assert!(!house.texts().contains(&"re: old".to_owned()));
    house.close().await;
}

#[tokio::test]
async fn the_owner_and_administrators_need_no_passphrase_and_see_sessions() {
    let double = Signal::start().await;
    let boss = double.person("Boss");
    let enemy = double.person("Enemy");
    let config = SignalConfig {
        admins: vec![boss.number.clone().unwrap()],
        deny: vec![enemy.uuid.clone()],
        ..quick(&double, Transport::Http)
    };
    let house = House::with(double, config, unlimited()).await;
    let ann = house.friend("Ann").await;
    house.double.push(envelope::note_to_self("note"));
    house.until(|| house.texts().contains(&"re: note".to_owned())).await;
    house.double.push(envelope::data(&enemy, PASSPHRASE));
    house.double.push(envelope::data(&boss, "/sessions"));
    house.until(|| house.to(&boss).len() == 1).await;
    assert!(
        house.answers(&boss)[0].starts_with(&format!("1 session:\nsignal:{}", ann.uuid)),
        "{:?}",
        house.answers(&boss)
    );
    house.double.push(envelope::data(&boss, &format!("/revoke {}", ann.uuid)));
    house.double.push(envelope::data(&boss, &format!("/trust {}", ann.uuid)));
    house.until(|| house.to(&boss).len() == 3).await;
    house.double.push(envelope::data(&ann, "am I still here?"));
    house.double.push(envelope::data(&ann, "/sessions"));
    house.until(|| house.double.delivered() == 8).await;
    house.settle().await;
    assert!(house.answers(&ann).is_empty() && house.to(&enemy).is_empty());
    house.close().await;
}

#[tokio::test]
async fn errors_of_sending_wait_pause_or_end_and_the_queue_survives_a_restart() {
    let mut house = House::new(Transport::Http).await;
    let (ann, bob, cid) = (house.friend("Ann").await, house.friend("Bob").await, house.friend("Cid").await);
    let limited = |secs, token: Option<&str>| {
        Fault::Outcome(Outcome::RateLimited { retry_after: Some(secs), token: token.map(Into::into) })
    };
    house.double.fault(Rule::new("send", 1, limited(1, None)).to(&ann.uuid));
    house.double.fault(Rule::new("send", 1, Fault::Outcome(Outcome::Unregistered)).to(&cid.uuid));
    for person in [&ann, &bob, &cid] {
        house.double.push(envelope::data(person, "hello"));
    }
    house.until(|| house.answers(&ann).len() + house.answers(&bob).len() == 2).await;
    assert_eq!(house.texts().last().unwrap(), "re: hello");
    house.settle().await;
    house.double.push(envelope::data(&cid, "again"));
    house.settle().await;
    assert!(house.answers(&cid).is_empty(), "the session of somebody without an account has ended");
    house.double.fault(Rule::new("send", 1, Fault::Outcome(Outcome::Identity)).to(&bob.uuid));
    house.double.push(envelope::data(&bob, "who are you?"));
    house.until(|| house.double.violations().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    house.double.fault(Rule::new("send", 1, limited(86_400, Some("made-up-token"))).to(&ann.uuid));
    house.double.push(envelope::data(&ann, "proof?"));
    house.until(|| house.double.violations().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let told = house.alerts_about(AlertCategory::Signal).join("\n");
    assert!(
        told.contains("portcullis signal challenge made-up-token") && told.contains("safety number"),
        "{told}"
    );
    house.close().await;
    let waiting = house.store.outbox().list(Some(portcullis_store::OutState::Queued), None, 9).await.unwrap();
    let mut reasons: Vec<_> = waiting.iter().map(|row| row.reason.as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["identity", "proof_required"]);
    house.close().await;
}

#[tokio::test]
async fn an_answer_that_may_have_left_is_sent_once_more_and_no_oftener() {
    let double = Signal::start().await;
    let config = SignalConfig { rpc_secs: 1, ..quick(&double, Transport::Http) };
    let house = House::with(double, config, unlimited()).await;
    let ann = house.friend("Ann").await;
    house.double.fault(Rule::new("send", 1, Fault::DoneSilent).to(&ann.uuid));
    house.double.push(envelope::data(&ann, "once or twice"));
    house.until(|| house.answers(&ann).len() == 2).await;
    house.settle().await;
    house.double.fault(Rule::new("send", 2, Fault::Silent).to(&ann.uuid));
    house.double.push(envelope::data(&ann, "never"));
    house.until(|| house.double.violations().is_empty()).await;
    house.settle().await;
    assert_eq!(house.answers(&ann).len(), 2);
    assert_eq!(house.counted("outbox_uncertain_total"), 3);
    let dead = house.store.outbox().list(Some(portcullis_store::OutState::Dead), None, 9).await.unwrap();
    assert_eq!((dead.len(), dead[0].reason.as_str()), (1, "outcome unknown"));
    house.close().await;
}

/// A hundred people and one whose answers do not come: whoever waits, waits behind their own messages only.
#[tokio::test]
async fn of_a_hundred_people_nobody_waits_for_one_who_floods() {
    let double = Signal::start().await;
    let config = SignalConfig { answer_secs: 600, ..quick(&double, Transport::Tcp) };
    let house = House::with(double, config, unlimited()).await;
    let flooder = house.friend("Flo").await;
    let others: Vec<_> = (0..100).map(|n| house.double.person(&format!("Person {n}"))).collect();
    for person in &others {
        house.double.push(envelope::data(person, PASSPHRASE));
    }
    house.until(|| house.double.sent().len() == 101).await;
    for n in 0..20 {
        house.double.push(envelope::data(&flooder, &format!("held {n}")));
    }
    for person in &others {
        house.double.push(envelope::data(person, "message 0"));
        house.double.push(envelope::data(person, "message 1"));
    }
    house.until(|| house.double.sent().len() == 301).await;
    for person in &others {
        assert_eq!(house.answers(person), ["re: message 0", "re: message 1"]);
    }
    assert_eq!(house.answers(&flooder), Vec::<String>::new(), "the gate is closed");
    house.gate.add_permits(20);
    house.until(|| house.answers(&flooder).len() == 20).await;
    let expected: Vec<String> = (0..20).map(|n| format!("re: held {n}")).collect();
    assert_eq!(house.answers(&flooder), expected, "in order, and none is lost");
    house.close().await;
}

// req: S2-1.6
#[tokio::test]
async fn a_message_that_looks_like_an_attack_is_answered_when_its_sender_says_that_it_is_meant() {
    let house = House::new(Transport::Http).await;
    let (ann, bob) = (house.friend("Ann").await, house.friend("Bob").await);
    let said = |text: &str| house.double.push(envelope::data(&ann, text));
    let before = house.answers(&ann).len();
    said(ATTACK);
    house.until(|| house.answers(&ann).len() > before).await;
    let asked = house.answers(&ann).pop().unwrap();
    assert!(asked.contains("\"confirm\" within 10 minutes"), "{asked}");
    house.double.push(envelope::data(&bob, "confirm"));
    house.until(|| house.answers(&bob).iter().any(|text| text.starts_with("Nothing of yours waits"))).await;
    said("Bevestig");
    house.until(|| house.answers(&ann).iter().any(|text| *text == format!("re: {ATTACK}"))).await;
    said(ATTACK);
    house.until(|| house.answers(&ann).iter().filter(|text| text.contains("confirm")).count() == 2).await;
    house.settle().await;
    let answered = house.answers(&ann).iter().filter(|text| text.starts_with("re: Ignore")).count();
    assert_eq!(answered, 1, "the word counts once: {:?}", house.answers(&ann));
    house.close().await;
}

#[tokio::test]
async fn a_file_is_fetched_for_an_administrator_who_wants_it_taken_in_and_for_nobody_else() {
    for transport in [Transport::Http, Transport::Tcp] {
        let double = Signal::start().await;
        let boss = double.person("Boss");
        let config = SignalConfig { admins: vec![boss.uuid.clone()], ..quick(&double, transport) };
        let house = House::with(double, config, unlimited()).await;
        let ann = house.friend("Ann").await;
        // Longer than any message may be.
        house.double.keep_file("made-up", vec![b'x'; 3 << 20]);
        let sent = [
            (&boss, "made-up", 3 << 20),
            (&boss, "made-up", 20 << 20),
            (&boss, "gone", 10),
            (&ann, "made-up", 3 << 20),
        ];
        for (person, id, size) in sent {
            house.double.push(envelope::file(person, "/ingest", (id, "../Handbook.pdf", size)));
        }
        house.until(|| house.answers(&boss).len() == 3 && house.answers(&ann).len() == 1).await;
        let answers = house.answers(&boss);
        assert_eq!(answers[0], "Handbook.pdf of 3145728 bytes", "{transport:?}");
        assert!(answers[1].contains("10240 KiB") && answers[2].contains("could not fetch"), "{answers:?}");
        assert_eq!(house.answers(&ann), ["re: /ingest"]);
        let fetched = house.double.calls().into_iter().filter(|call| call.method == "getAttachment");
        assert_eq!(fetched.count(), 2, "what is too large by its own word is not fetched");
        house.close().await;
    }
}
