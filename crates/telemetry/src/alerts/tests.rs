//! Alerts: the decision against a naive model, the body, delivery.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;
use tokio_util::task::TaskTracker;

fn at(secs: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_700_000_000 + secs).unwrap()
}

// req: S2-3.7
#[test]
fn the_same_trouble_is_told_once_per_cooldown_with_its_repetitions() {
    let mut book = Book::new(Duration::from_secs(300));
    let mut raise = |subject, secs| book.raise(Category::KeyInvalid, subject, "refused", at(secs));
    assert_eq!(raise("openai", 0).map(|alert| alert.suppressed), Some(0));
    assert_eq!(raise("openai", 1), None);
    assert_eq!(raise("openai", 299), None);
    assert!(raise("kimi", 2).is_some(), "another subject is other trouble");
    let again = raise("openai", 301).unwrap();
    assert_eq!((again.suppressed, again.since, again.at), (2, at(0), at(301)));
}

// req: S0-11
#[test]
fn whoever_is_told_finds_each_alert_of_our_own_in_the_manual() {
    let manual = include_str!("../../../../docs/manual/on-call.md");
    let sections: Vec<&str> = manual.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(sections, Category::ALL.map(Category::as_str));
}

// req: S2-3.7
#[test]
fn an_end_is_told_once_and_flapping_within_the_cooldown_is_quiet() {
    let mut book = Book::new(Duration::from_secs(300));
    let breaker = Category::BreakerOpen;
    assert_eq!(book.resolve(breaker, "redis", "closed", at(0)), None, "nothing was wrong");
    assert!(book.raise(breaker, "redis", "open", at(1)).is_some());
    let over = book.resolve(breaker, "redis", "closed", at(5)).unwrap();
    assert_eq!((over.status, over.since, over.at), (Status::Resolved, at(1), at(5)));
    assert_eq!(book.resolve(breaker, "redis", "closed", at(6)), None);
    assert_eq!(book.raise(breaker, "redis", "open", at(7)), None);
    assert_eq!(book.resolve(breaker, "redis", "closed", at(8)), None, "its beginning was not told");
    let later = book.raise(breaker, "redis", "open", at(400)).unwrap();
    assert_eq!((later.suppressed, later.since), (1, at(400)));
}

#[test]
fn a_flood_of_subjects_is_bounded_and_forgets_what_is_over_first() {
    let mut book = Book::new(Duration::from_secs(300));
    book.raise(Category::Stalled, "old and open", "", at(0));
    for subject in 0..2_000 {
        let name = subject.to_string();
        book.raise(Category::Stalled, &name, "", at(subject));
        book.resolve(Category::Stalled, &name, "", at(subject));
    }
    assert!(book.len() <= 1_000);
    assert_eq!(book.raise(Category::Stalled, "old and open", "", at(1)), None, "still remembered");
}

proptest! {
    #[test]
    fn decisions_follow_a_naive_model(
        steps in prop::collection::vec((0_u8..3, any::<bool>(), 0_i64..200), 0..60),
    ) {
        let mut book = Book::new(Duration::from_secs(300));
        // Subject to (last told, wrong now, receivers believe so).
        let mut model: HashMap<u8, (i64, bool, bool)> = HashMap::new();
        let mut now = 0;
        for (subject, raised, later) in steps {
            now += later;
            let name = subject.to_string();
            let row = model.entry(subject).or_insert((i64::MIN / 2, false, false));
            let told = if raised {
                row.1 = true;
                let tells = now - row.0 >= 300;
                if tells {
                    (row.0, row.2) = (now, true);
                }
                prop_assert_eq!(book.raise(Category::Stalled, &name, "", at(now)).is_some(), tells);
                continue;
            } else {
                let tells = row.1 && row.2;
                (row.1, row.2) = (false, false);
                tells
            };
            prop_assert_eq!(book.resolve(Category::Stalled, &name, "", at(now)).is_some(), told);
        }
    }
}

#[test]
fn the_webhook_body_is_alertmanagers() {
    let mut alert = Alert {
        status: Status::Firing,
        category: Category::QuotaExhausted,
        subject: "glm".into(),
        message: "no credit".into(),
        suppressed: 3,
        since: at(0),
        at: at(10),
    };
    let body = alert.webhook_body();
    assert_eq!(body["alerts"][0]["labels"]["alertname"], "quota_exhausted");
    assert_eq!((&body["version"], &body["status"]), (&"4".into(), &"firing".into()));
    assert_eq!(body["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
    alert.status = Status::Resolved;
    let body = alert.webhook_body();
    assert_eq!((&body["status"], &body["alerts"][0]["status"]), (&"resolved".into(), &"resolved".into()));
    assert_eq!(body["alerts"][0]["endsAt"], at(10).to_string());
    assert_eq!(body["alerts"][0]["startsAt"], at(0).to_string());
}

/// Refusals still to come, and what was taken.
type Seen = Arc<Mutex<(usize, Vec<Value>)>>;

/// A receiver that refuses so many times before it takes one, and remembers.
fn receiver(refusals: usize) -> (Post, Seen) {
    let seen = Arc::new(Mutex::new((refusals, Vec::new())));
    let inside = Arc::clone(&seen);
    let post: Post = Arc::new(move |body| {
        let inside = Arc::clone(&inside);
        Box::pin(async move {
            let mut seen = inside.lock();
            if seen.0 > 0 {
                seen.0 -= 1;
                return Err("503".into());
            }
            seen.1.push(body);
            Ok(())
        })
    });
    (post, seen)
}

// req: S2-3.7
#[tokio::test(start_paused = true)]
async fn a_receiver_that_fails_or_hangs_delays_no_other_and_gets_it_again() {
    let (config, metrics, tasks) = (AlertsConfig::default(), Metrics::new(), TaskTracker::new());
    let (alerts, queue) = Alerts::new(&config, metrics.clone());
    let hangs: Post = Arc::new(|_| Box::pin(std::future::pending()));
    let ((good, got), (flaky, got_late)) = (receiver(0), receiver(3));
    let all = vec![
        Destination::Webhook(hangs),
        Destination::Log,
        Destination::Webhook(flaky),
        Destination::Webhook(good),
    ];
    let (inner, counted) = (tasks.clone(), metrics.clone());
    tasks.spawn(async move { deliver(queue, &config, all, &inner, &counted).await });
    alerts.raise(Category::KeyInvalid, "openai", "our key is refused");
    alerts.raise(Category::KeyInvalid, "openai", "our key is refused");
    alerts.resolve(Category::KeyInvalid, "openai", "it works again");
    tokio::time::sleep(Duration::from_millis(10)).await;
    let statuses = |seen: &Seen| seen.lock().1.iter().map(|body| body["status"].clone()).collect::<Vec<_>>();
    assert_eq!(statuses(&got), ["firing", "resolved"]);
    assert!(statuses(&got_late).is_empty());
    drop(alerts);
    tasks.close();
    tasks.wait().await;
    assert_eq!(statuses(&got_late), ["firing", "resolved"]);
    assert!(
        metrics.render().contains("alerts_undelivered_total{receiver=\"webhook\"} 2\n"),
        "the one that hangs"
    );
}

#[test]
fn nobody_waits_when_nobody_takes_alerts() {
    let metrics = Metrics::new();
    let config = AlertsConfig { queue: 1, ..AlertsConfig::default() };
    let (alerts, _queue) = Alerts::new(&config, metrics.clone());
    for subject in ["a", "b", "c"] {
        alerts.raise(Category::StoreDown, subject, "away");
    }
    assert!(metrics.render().contains("alerts_undelivered_total{receiver=\"queue\"} 2\n"));
}

#[test]
fn a_webhook_needs_exactly_one_address() {
    let webhook = |url: Option<&str>, secret: Option<&str>| AlertReceiver::Webhook {
        url: url.map(str::to_owned),
        url_secret: secret.map(str::to_owned),
    };
    for (receiver, problems) in [
        (webhook(Some("https://a.example/x"), None), 0),
        (webhook(None, Some("hook")), 0),
        (webhook(Some("ftp://a"), None), 1),
        (webhook(None, None), 1),
        (webhook(Some("https://a.example"), Some("hook")), 1),
    ] {
        let config = AlertsConfig { receivers: vec![receiver.clone()], ..AlertsConfig::default() };
        let mut out = Vec::new();
        config.problems("alerts", &mut out);
        assert_eq!(out.len(), problems, "{receiver:?}: {out:?}");
    }
}
