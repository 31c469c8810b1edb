//! Digests on schedule: planned once, made once, caught up with or noted, paused when they fail.

use super::*;
use portcullis_store::NewSchedule;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

const HOUR: i64 = 3_600_000;

/// Somebody with a source and a schedule at eight every day, whose next minute is ten days old.
async fn scheduled(house: &House, if_empty: &str) -> (i64, i64) {
    house.say("/add @alpha_one").await;
    let reader = house.store.readers().find("telegram:1").await.unwrap().unwrap();
    let planned = now_ms() / (24 * HOUR) * 24 * HOUR - 10 * 24 * HOUR + 8 * HOUR;
    let new = NewSchedule {
        person: reader.id,
        folder: reader.folder,
        cron: "0 8 * * *".into(),
        zone: "UTC".into(),
        target: "telegram:1".into(),
        stories: 0,
        layout: String::new(),
        told_in: String::new(),
        quiet: String::new(),
        if_empty: if_empty.into(),
        next_at: planned,
    };
    let id = house.store.readers().add_schedule(&new, 9, planned).await.unwrap().unwrap();
    (id, planned)
}

async fn fire(people: &People, now: i64) {
    let (places, tasks) = (Arc::new(Semaphore::new(9)), TaskTracker::new());
    people.fire("me", now, &places, &tasks).await;
    tasks.close();
    tasks.wait().await;
}

async fn states(house: &House, id: i64) -> Vec<String> {
    house.store.readers().fires(id, 99).await.unwrap().into_iter().map(|(_, state)| state).collect()
}

#[tokio::test]
async fn of_two_replicas_one_makes_the_digest_of_a_minute_once() {
    let house = House::new().await;
    let (id, planned) = scheduled(&house, "skip").await;
    let other = people(&house.store, &house.kitchen, NewsConfig::default());
    let now = planned + 60_000;
    tokio::join!(house.people.plan_due(now), other.plan_due(now));
    let late = now_ms() + 1;
    tokio::join!(fire(&house.people, late), fire(&other, late));
    assert_eq!(states(&house, id).await, ["done"]);
    assert_eq!(house.kitchen.asked.load(Ordering::Relaxed), 1);
    let rows = house.store.outbox().list(None, None, 99).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.class == 3), "what is scheduled does not hold up replies");
    assert!(!house.kitchen.last.lock().as_ref().unwrap().urgent);
    house.people.plan_due(now).await;
    fire(&house.people, late + 60_000).await;
    assert_eq!(house.outbox().await.len(), 2, "once over looks and restarts");
    let (readers, day) = (house.store.readers(), days::day(planned, ""));
    let reader = readers.find("telegram:1").await.unwrap().unwrap();
    assert_eq!(readers.used(reader.id, serve::SCHEDULED, &day, now_ms()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_minute_missed_by_an_hour_is_made_and_one_missed_by_three_is_noted() {
    for (late, state) in [(HOUR, "queued"), (3 * HOUR, "missed"), (49 * HOUR, "queued")] {
        let house = House::new().await;
        let (id, planned) = scheduled(&house, "skip").await;
        house.people.plan_due(planned + late).await;
        let states = states(&house, id).await;
        assert_eq!(states.first().map(String::as_str), Some(state), "{late}");
        let older = states.iter().skip(1).filter(|state| *state == "missed").count();
        assert_eq!(older as i64, late / (24 * HOUR), "of several only the last is made");
        let next = house.store.readers().schedule(id).await.unwrap().unwrap().is.next_at;
        assert!(next > planned + late && next <= planned + late + 24 * HOUR);
    }
}

#[tokio::test]
async fn an_empty_minute_is_passed_over_or_noted_as_its_owner_wishes() {
    for (wish, posts) in [("skip", 0), ("note", 1)] {
        let house = House::new().await;
        let (id, planned) = scheduled(&house, wish).await;
        *house.kitchen.serves.lock() = Digest { posts: 3, ..Digest::default() };
        house.people.plan_due(planned + 1).await;
        fire(&house.people, now_ms()).await;
        assert_eq!((states(&house, id).await, house.outbox().await.len()), (vec!["empty".to_owned()], posts));
    }
}

#[tokio::test]
async fn five_failed_minutes_pause_the_schedule_and_its_owner_is_told() {
    let house = House::new().await;
    let (id, mut planned) = scheduled(&house, "skip").await;
    let failed = vec![Failed { source: Source::Channel("alpha_one".into()), reason: Reason::NotAnswering }];
    *house.kitchen.serves.lock() = Digest { failed, ..Digest::default() };
    for minute in 1..=5 {
        house.people.plan_due(planned + 1).await;
        for tried in 1..=4 {
            // Longer than the longest pause, so that each look finds it.
            fire(&house.people, now_ms() + 21 * 60_000).await;
            assert_eq!(house.kitchen.asked.load(Ordering::Relaxed), (minute - 1) * 4 + tried);
        }
        planned += 24 * HOUR;
    }
    let row = house.store.readers().schedule(id).await.unwrap().unwrap();
    assert_eq!(row.paused, "failed");
    let posts = house.outbox().await;
    assert_eq!(posts.len(), 1, "{posts:?}");
    assert!(posts[0].contains("failed five times and is paused"));
    assert!(house.say("/schedule").await.contains("paused: it failed several times"));
    assert!(house.say("/usage").await.contains("2 of 2 on schedule"), "failures cost nothing");
    house.press(&format!("1:sr:{}", write::base36(u64::try_from(id).unwrap()))).await;
    assert_eq!(house.store.readers().schedule(id).await.unwrap().unwrap().paused, "");
}

#[tokio::test]
async fn a_chat_that_cannot_be_reached_pauses_its_schedules() {
    let house = House::new().await;
    let (id, planned) = scheduled(&house, "skip").await;
    house.store.chats().lost("telegram:1", "blocked", now_ms()).await.unwrap();
    house.people.plan_due(planned + 1).await;
    fire(&house.people, now_ms()).await;
    assert_eq!(house.store.readers().schedule(id).await.unwrap().unwrap().paused, "unreachable");
    assert_eq!(house.kitchen.asked.load(Ordering::Relaxed), 0);
    house.store.chats().found("telegram:1").await.unwrap();
    house.people.plan_due(now_ms()).await;
    let row = house.store.readers().schedule(id).await.unwrap().unwrap();
    assert!(row.paused.is_empty() && row.is.next_at % (24 * HOUR) == 8 * HOUR, "{row:?}");
}

#[tokio::test(start_paused = true)]
async fn the_keeper_of_schedules_ends_when_it_is_told_to() {
    let stop = tokio_util::sync::CancellationToken::new();
    let none: Current = Arc::new(|| None);
    let keeping = tokio::time::timeout(Duration::from_secs(60), keep_schedules(none, stop.clone()));
    let (kept, ()) = tokio::join!(keeping, async {
        tokio::time::sleep(Duration::from_secs(12)).await;
        stop.cancel();
    });
    assert!(kept.is_ok());
}

#[tokio::test]
async fn whoever_follows_a_source_that_is_gone_is_told_once() {
    let house = House::new().await;
    house.say("/add @alpha_one @beta_two").await;
    house.ask(message("telegram:2", "/add @beta_two")).await;
    house.ask(MessageRequest { language: Some("nl".into()), ..message("telegram:2", "/lang nl") }).await;
    let feeds = house.store.feeds();
    let mut row = feeds.of("@beta_two", "channel").await.unwrap();
    row.state = crate::news::GONE.into();
    feeds.keep(&row, &[]).await.unwrap();
    let other = people(&house.store, &house.kitchen, NewsConfig::default());
    tokio::join!(house.people.tell_gone(1), other.tell_gone(1));
    house.people.tell_gone(2).await;
    let mut told = house.outbox().await;
    told.sort_unstable();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("@beta_two bestaat niet meer"));
    assert!(told[1].starts_with("@beta_two is gone for good"));
    for (state, messages) in [("ok", 2), (crate::news::GONE, 4)] {
        row.state = state.into();
        feeds.keep(&row, &[]).await.unwrap();
        house.people.tell_gone(3).await;
        assert_eq!(house.outbox().await.len(), messages, "back, and gone again");
    }
}
