//! People who read news, on SQLite and on PostgreSQL alike.

use super::Place;
use crate::{
    Added, Deliver, Delivered, DialogRow, Fire, NewFolder, NewOut, NewSchedule, ReaderRow, Reserve, Reserved,
    Setting, Store,
};
use std::collections::BTreeSet;

cases!(
    readers_are_kept_alike_on_a_real_postgres;
    somebody_new_has_one_folder_and_the_last_one_stays,
    names_of_folders_are_unique_whatever_their_case_and_bounded,
    sources_are_bounded_blocked_and_put_back,
    of_twenty_at_once_as_many_are_reserved_as_there_may_be,
    a_digest_is_given_once_and_charged_with_its_messages_or_not_at_all,
    a_place_is_taken_over_by_its_own_request_and_lapses_for_others,
    a_planned_minute_is_made_once_by_one_of_two,
    a_failed_minute_is_made_again_and_counts_against_its_schedule,
    dialogs_wait_and_everything_of_somebody_is_forgotten,
    schedules_follow_their_place_and_go_on_when_it_is_found_again,
);

const ROOM: [u32; 2] = [1000, 100];

async fn ann(store: &Store) -> ReaderRow {
    store.readers().enter("telegram:1", "telegram:1", "Folder 1", 1000).await.unwrap()
}

fn want<'a>(ann: &ReaderRow, key: &'a str, most: u64) -> Reserve<'a> {
    Reserve { person: ann.id, key, kind: "command", day: "2026-11-21", most, now: 1000, lease_until: 9000 }
}

fn give<'a>(ann: &ReaderRow, key: &'a str, out: &'a [NewOut]) -> Deliver<'a> {
    Deliver {
        person: ann.id,
        folder: ann.folder,
        key,
        now: 2000,
        stories: 1,
        degraded: false,
        charged: true,
        out,
        rows: ROOM,
        shown: &[(7, 2), (-8, 1)],
        fire: None,
    }
}

fn post(text: &str) -> NewOut {
    NewOut {
        door: "telegram",
        chat: "1".into(),
        caller: "telegram:1".into(),
        class: 1,
        payload: text.into(),
        created_at: 1000,
        expires_at: 90_000,
    }
}

async fn somebody_new_has_one_folder_and_the_last_one_stays(place: &Place) {
    let store = place.open("a").await;
    let (readers, first) = (store.readers(), ann(&store).await);
    assert_eq!(ann(&store).await, first, "entering again changes nothing");
    assert!(!readers.delete_folder(first.id, first.folder, 1).await.unwrap(), "it is the last");
    let NewFolder::Made(second) = readers.add_folder(first.id, "Work", 2, 1).await.unwrap() else { panic!() };
    assert_eq!(ann(&store).await.folder, second, "a new folder is the active one");
    assert!(readers.delete_folder(first.id, second, 1).await.unwrap());
    assert_eq!(ann(&store).await.folder, first.folder, "the oldest is active then");
    let bob = readers.enter("telegram:2", "telegram:2", "Folder 1", 1).await.unwrap();
    assert!(!readers.use_folder(bob.id, first.folder).await.unwrap(), "it is not theirs");
    assert!(readers.set(bob.id, Setting::Zone("Europe/Berlin")).await.unwrap());
    assert_eq!(readers.find("telegram:2").await.unwrap().unwrap().zone, "Europe/Berlin");
}

async fn names_of_folders_are_unique_whatever_their_case_and_bounded(place: &Place) {
    let store = place.open("a").await;
    let (readers, ann) = (store.readers(), ann(&store).await);
    assert!(matches!(readers.add_folder(ann.id, "Работа", 3, 1).await.unwrap(), NewFolder::Made(_)));
    assert_eq!(readers.add_folder(ann.id, "рАБОТА", 3, 1).await.unwrap(), NewFolder::Taken);
    assert_eq!(readers.rename_folder(ann.id, ann.folder, "РАБОТА").await.unwrap(), NewFolder::Taken);
    assert_eq!(readers.rename_folder(ann.id, ann.folder, "Home").await.unwrap(), NewFolder::Made(ann.folder));
    assert!(matches!(readers.add_folder(ann.id, "Third", 3, 1).await.unwrap(), NewFolder::Made(_)));
    assert_eq!(readers.add_folder(ann.id, "Fourth", 3, 1).await.unwrap(), NewFolder::Full);
    let names: Vec<_> =
        readers.folders(ann.id).await.unwrap().into_iter().map(|folder| folder.name).collect();
    assert_eq!(names, ["Home", "Работа", "Third"]);
}

async fn sources_are_bounded_blocked_and_put_back(place: &Place) {
    let store = place.open("a").await;
    let (readers, ann) = (store.readers(), ann(&store).await);
    assert!(readers.block("@secret", Some("its owner asked"), 1).await.unwrap());
    let sources = ["@alpha", "@secret", "@alpha", "@beta", "@gamma"].map(str::to_owned);
    assert_eq!(
        readers.follow(ann.id, ann.folder, &sources, 2, 5).await.unwrap(),
        [Added::New, Added::Blocked, Added::Known, Added::New, Added::Full]
    );
    let removed = readers.unfollow(ann.id, ann.folder, None, 10, 100).await.unwrap();
    assert_eq!(removed.sources.iter().collect::<BTreeSet<_>>().len(), 2);
    assert_eq!(readers.undo(ann.id, removed.undo, 2, 101).await.unwrap(), None, "too late");
    assert_eq!(readers.undo(ann.id + 1, removed.undo, 2, 50).await.unwrap(), None, "not theirs");
    let undone = readers.undo(ann.id, removed.undo, 2, 50).await.unwrap().unwrap();
    assert_eq!((undone.folder, undone.sources), (ann.folder, 2));
    assert_eq!(readers.undo(ann.id, removed.undo, 2, 50).await.unwrap(), None, "once");
    assert_eq!(readers.sources(ann.folder).await.unwrap(), ["@alpha", "@beta"]);
    assert_eq!(readers.followers("@alpha").await.unwrap(), 1);
    readers.block("@beta", Some("x"), 1).await.unwrap();
    assert_eq!(readers.sources(ann.folder).await.unwrap(), ["@alpha"], "blocked after it was added");
}

async fn of_twenty_at_once_as_many_are_reserved_as_there_may_be(place: &Place) {
    let store = place.open("a").await;
    let ann = ann(&store).await;
    let keys = (0..20).map(|n| format!("telegram:{n}"));
    let mut tries = tokio::task::JoinSet::new();
    for key in keys {
        let (store, ann) = (store.clone(), ann.clone());
        tries.spawn(async move { store.readers().reserve(&want(&ann, &key, 3)).await.unwrap() });
    }
    let answers = tries.join_all().await;
    let taken = answers.iter().filter(|answer| **answer == Reserved::Taken).count();
    assert_eq!(taken, 3);
    assert!(answers.iter().all(|answer| matches!(answer, Reserved::Taken | Reserved::Used(3))));
}

async fn a_digest_is_given_once_and_charged_with_its_messages_or_not_at_all(place: &Place) {
    let store = place.open("a").await;
    let (readers, ann) = (store.readers(), ann(&store).await);
    let out = [post("one"), post("two")];
    assert_eq!(readers.deliver(&give(&ann, "k", &out)).await.unwrap(), Delivered::Lapsed, "nothing reserved");
    assert_eq!(readers.reserve(&want(&ann, "k", 3)).await.unwrap(), Reserved::Taken);
    let full = Deliver { rows: [1, 0], ..give(&ann, "k", &out) };
    assert_eq!(readers.deliver(&full).await.unwrap(), Delivered::Full);
    assert_eq!(store.outbox().depth("telegram").await.unwrap().rows, 0);
    assert_eq!(readers.given(ann.id).await.unwrap(), (0, 0));
    let twice = tokio::join!(async { readers.deliver(&give(&ann, "k", &out)).await.unwrap() }, async {
        readers.deliver(&give(&ann, "k", &out)).await.unwrap()
    },);
    assert!([(Delivered::Done, Delivered::Known), (Delivered::Known, Delivered::Done)].contains(&twice));
    assert_eq!(readers.given(ann.id).await.unwrap(), (1, 1));
    assert_eq!(store.outbox().depth("telegram").await.unwrap().rows, 2);
    assert_eq!(readers.shown(ann.id, 0).await.unwrap(), [(7, 2), (-8, 1)].into());
    assert_eq!(readers.reserve(&want(&ann, "k", 3)).await.unwrap(), Reserved::Answered);
    readers.reserve(&want(&ann, "less", 3)).await.unwrap();
    let free = Deliver { charged: false, degraded: true, ..give(&ann, "less", &[]) };
    assert_eq!(readers.deliver(&free).await.unwrap(), Delivered::Done);
    assert_eq!(readers.given(ann.id).await.unwrap(), (2, 1), "given and not charged");
    assert_eq!(readers.sweep(3000).await.unwrap(), 6);
}

async fn a_place_is_taken_over_by_its_own_request_and_lapses_for_others(place: &Place) {
    let store = place.open("a").await;
    let (readers, ann) = (store.readers(), ann(&store).await);
    for expected in [Reserved::Taken, Reserved::Held] {
        assert_eq!(readers.reserve(&want(&ann, "a", 1)).await.unwrap(), expected);
    }
    assert_eq!(readers.reserve(&want(&ann, "b", 1)).await.unwrap(), Reserved::Used(1));
    let later = Reserve { now: 9001, lease_until: 20_000, ..want(&ann, "b", 1) };
    assert_eq!(readers.reserve(&later).await.unwrap(), Reserved::Taken, "the first one's lease lapsed");
    readers.release("b").await.unwrap();
    assert_eq!(readers.used(ann.id, "command", "2026-11-21", 9001).await.unwrap(), 0);
    let tomorrow = Reserve { day: "2026-11-22", ..want(&ann, "c", 1) };
    assert_eq!(readers.reserve(&tomorrow).await.unwrap(), Reserved::Taken);
}

fn schedule(ann: &ReaderRow) -> NewSchedule {
    NewSchedule {
        person: ann.id,
        folder: ann.folder,
        cron: "0 8 * * *".into(),
        zone: "Europe/Berlin".into(),
        target: "telegram:1".into(),
        stories: 0,
        layout: String::new(),
        told_in: String::new(),
        quiet: String::new(),
        if_empty: "skip".into(),
        next_at: 60_000,
    }
}

async fn a_planned_minute_is_made_once_by_one_of_two(place: &Place) {
    let store = place.open("a").await;
    let (readers, ann) = (store.readers(), ann(&store).await);
    let id = readers.add_schedule(&schedule(&ann), 1, 1).await.unwrap().unwrap();
    assert_eq!(readers.add_schedule(&schedule(&ann), 1, 1).await.unwrap(), None, "as many as there may be");
    assert!(readers.due(59_999, 9).await.unwrap().is_empty());
    assert_eq!(readers.due(60_000, 9).await.unwrap()[0].is, schedule(&ann));
    let fire = Fire { schedule: id, planned: 60_000 };
    let planned = tokio::join!(async { readers.plan(fire, 61_000, 120_000, false).await.unwrap() }, async {
        readers.plan(fire, 61_000, 120_000, false).await.unwrap()
    },);
    assert!(planned.0 != planned.1);
    let (one, two) =
        tokio::join!(async { readers.take_fires("one", 61_000, 70_000, 9).await.unwrap() }, async {
            readers.take_fires("two", 61_000, 70_000, 9).await.unwrap()
        },);
    assert_eq!(one.len() + two.len(), 1);
    let again = readers.take_fires("three", 70_001, 80_000, 9).await.unwrap();
    assert_eq!((again.len(), again[0].attempts), (1, 2), "its maker went away");
    readers.reserve(&want(&ann, "fire", 3)).await.unwrap();
    let made = Deliver { fire: Some(fire), ..give(&ann, "fire", &[]) };
    assert_eq!(readers.deliver(&made).await.unwrap(), Delivered::Done);
    assert!(readers.take_fires("four", 90_000, 99_000, 9).await.unwrap().is_empty());
    assert_eq!(readers.fires(id, 9).await.unwrap(), [(60_000, "done".into())]);
}

async fn a_failed_minute_is_made_again_and_counts_against_its_schedule(place: &Place) {
    let store = place.open("a").await;
    let (readers, ann) = (store.readers(), ann(&store).await);
    let id = readers.add_schedule(&schedule(&ann), 9, 1).await.unwrap().unwrap();
    let fire = Fire { schedule: id, planned: 60_000 };
    assert!(readers.plan(fire, 60_000, 120_000, false).await.unwrap());
    assert_eq!(readers.take_fires("me", 60_000, 70_000, 9).await.unwrap().len(), 1);
    assert!(readers.fire_later(fire, "me", 62_000).await.unwrap());
    assert!(readers.take_fires("me", 61_000, 70_000, 9).await.unwrap().is_empty());
    assert_eq!(readers.take_fires("me", 62_000, 70_000, 9).await.unwrap()[0].attempts, 2);
    assert_eq!(readers.end_fire(fire, "other", true).await.unwrap(), 0, "not theirs to end");
    assert_eq!(readers.end_fire(fire, "me", true).await.unwrap(), 1);
    assert!(readers.pause_schedule(id, "failed", 120_000).await.unwrap());
    assert!(readers.due(999_999, 9).await.unwrap().is_empty());
    let next = Fire { planned: 120_000, ..fire };
    assert!(!readers.plan(next, 1, 2, false).await.unwrap(), "it is paused");
    readers.pause_schedule(id, "", 180_000).await.unwrap();
    let missed = Fire { planned: 180_000, ..fire };
    assert!(readers.plan(missed, 1, 240_000, true).await.unwrap());
    assert!(readers.take_fires("me", 999_999, 9_999_999, 9).await.unwrap().is_empty(), "only noted");
    assert!(readers.delete_schedule(ann.id, id).await.unwrap());
}

async fn dialogs_wait_and_everything_of_somebody_is_forgotten(place: &Place) {
    let store = place.open("a").await;
    let (readers, ann) = (store.readers(), ann(&store).await);
    let dialog = DialogRow { state: "folder".into(), data: "{}".into() };
    readers.await_next("telegram:1", "telegram:1", &dialog, 100).await.unwrap();
    assert_eq!(readers.dialog("telegram:1", "telegram:1", 99).await.unwrap(), Some(dialog.clone()));
    assert_eq!(readers.dialog("telegram:1", "telegram:1", 100).await.unwrap(), None, "too late");
    assert!(readers.end_dialog("telegram:1", "telegram:1").await.unwrap());
    readers.await_next("telegram:1", "telegram:1", &dialog, 100).await.unwrap();
    readers.follow(ann.id, ann.folder, &["@alpha".to_owned()], 9, 1).await.unwrap();
    readers.add_schedule(&schedule(&ann), 9, 1).await.unwrap();
    readers.note_use("2026-11-21", "command", 2).await.unwrap();
    readers.note_use("2026-11-21", "command", 1).await.unwrap();
    let traffic = readers.traffic("2026-11-15", 0).await.unwrap();
    assert_eq!((traffic.people, traffic.sources, traffic.asked), (1, 1, vec![("command".into(), 3)]));
    assert!(readers.forget("telegram:1").await.unwrap());
    assert!(!readers.forget("telegram:1").await.unwrap());
    let traffic = readers.traffic("2026-11-15", 0).await.unwrap();
    assert_eq!((traffic.people, traffic.folders, traffic.sources, traffic.schedules), (0, 0, 0, 0));
    assert_eq!(readers.dialog("telegram:1", "telegram:1", 1).await.unwrap(), None);
}

async fn schedules_follow_their_place_and_go_on_when_it_is_found_again(place: &Place) {
    let store = place.open("a").await;
    let (readers, chats, ann) = (store.readers(), store.chats(), ann(&store).await);
    let id = readers.add_schedule(&schedule(&ann), 9, 1).await.unwrap().unwrap();
    chats.moved("telegram:1", "telegram:-1001").await.unwrap();
    let target = async || readers.schedule(id).await.unwrap().unwrap();
    assert_eq!(target().await.is.target, "telegram:-1001");
    assert_eq!(readers.find("telegram:1").await.unwrap().unwrap().conversation, "telegram:-1001");
    chats.lost("telegram:-1001", "unreachable", 125_000).await.unwrap();
    assert_eq!(
        chats.unreachable_since("telegram:-1001/7").await.unwrap(),
        Some(125_000),
        "a topic of it too"
    );
    readers.pause_schedule(id, "unreachable", i64::MAX).await.unwrap();
    assert!(chats.found("telegram:-1001").await.unwrap());
    assert_eq!((target().await.paused.as_str(), target().await.is.next_at), ("", 120_000));
    readers.pause_schedule(id, "owner", 7).await.unwrap();
    chats.lost("telegram:-1001", "unreachable", 125_000).await.unwrap();
    chats.found("telegram:-1001").await.unwrap();
    assert_eq!(target().await.paused, "owner", "paused for another reason");
}
