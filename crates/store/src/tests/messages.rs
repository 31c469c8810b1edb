//! Inbox, outbox and sessions, on SQLite and on PostgreSQL alike.

use super::Place;
use crate::{Depth, Finished, Kept, NewIn, NewOut, OutRow, OutState, SessionRow, Settle, Whose};

cases!(
    messages_are_kept_alike_on_a_real_postgres;
    a_message_is_kept_once_and_too_many_of_a_conversation_are_not,
    conversations_go_side_by_side_and_each_in_order,
    a_message_ends_together_with_its_answers_or_not_at_all,
    a_waiting_message_is_edited_or_taken_back_and_one_at_work_is_not,
    of_two_workers_one_gets_each_message_and_a_lapsed_lease_is_taken_over,
    chats_take_turns_and_each_is_sent_in_order,
    a_try_ends_sent_later_dead_or_unknown_and_a_second_unknown_is_the_last,
    a_full_outbox_takes_replies_from_its_reserve_and_no_broadcast,
    dead_and_expired_rows_are_listed_retried_and_swept,
    sessions_begin_are_seen_and_end,
    a_batch_is_kept_together_with_how_far_it_was_read,
    a_chat_is_as_urgent_as_its_most_urgent_row_and_rows_can_be_put_off,
    a_conversation_is_lost_found_and_moved_in_every_table_at_once,
    who_takes_over_inherits_what_others_began_and_nothing_of_its_own,
    pauses_and_what_shows_some_work_are_kept_until_they_are_over,
    what_waits_to_be_meant_is_taken_once_by_its_sender_in_its_conversation_and_in_time,
);

pub(super) const ROOM: [u32; 2] = [1000, 100];

pub(super) fn message(key: &str, conversation: &str) -> NewIn {
    NewIn {
        door: "signal",
        key: key.into(),
        conversation: conversation.into(),
        caller: format!("signal:{conversation}"),
        payload: format!("text of {key}"),
        received_at: 1000,
    }
}

pub(super) fn answer(chat: &str, class: u8) -> NewOut {
    NewOut {
        door: "signal",
        chat: chat.into(),
        caller: format!("signal:{chat}"),
        class,
        payload: format!("to {chat}"),
        created_at: 1000,
        expires_at: 90_000,
    }
}

fn chats(rows: &[OutRow]) -> Vec<&str> {
    rows.iter().map(|row| row.chat.as_str()).collect()
}

async fn a_message_is_kept_once_and_too_many_of_a_conversation_are_not(place: &Place) {
    let (store, other) = (place.open("a").await, message("1", "bob"));
    let inbox = store.inbox();
    assert_eq!(inbox.keep(&message("1", "ann"), 2).await.unwrap(), Kept::New);
    assert_eq!(inbox.keep(&message("1", "ann"), 2).await.unwrap(), Kept::Known);
    assert_eq!(inbox.keep(&other, 2).await.unwrap(), Kept::Known, "the key alone tells");
    assert_eq!(inbox.keep(&message("2", "ann"), 2).await.unwrap(), Kept::New);
    assert_eq!(inbox.keep(&message("3", "ann"), 2).await.unwrap(), Kept::Full);
    assert_eq!(inbox.keep(&message("3", "ann"), 9).await.unwrap(), Kept::Known, "refused once is refused");
    assert_eq!(inbox.keep(&message("4", "bob"), 2).await.unwrap(), Kept::New);
    assert_eq!(inbox.open("signal").await.unwrap(), 3);
    assert_eq!(inbox.sweep(2000).await.unwrap(), 1, "only what is done goes");
}

async fn conversations_go_side_by_side_and_each_in_order(place: &Place) {
    let store = place.open("a").await;
    let inbox = store.inbox();
    for (key, conversation) in [("1", "ann"), ("2", "ann"), ("3", "bob"), ("4", "cid"), ("5", "bob")] {
        inbox.keep(&message(key, conversation), 20).await.unwrap();
    }
    let first = inbox.take("signal", "w", 10, 100, 2).await.unwrap();
    assert_eq!(first.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["1", "3"]);
    assert_eq!(first[0].payload, "text of 1");
    let second = inbox.take("signal", "w", 10, 100, 9).await.unwrap();
    assert_eq!(second.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["4"]);
    assert_eq!(inbox.finish(first[0].id, "w", &[], ROOM).await.unwrap(), Finished::Done);
    let third = inbox.take("signal", "w", 10, 100, 9).await.unwrap();
    assert_eq!(third.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["2"]);
    inbox.give_back(third[0].id, "w").await.unwrap();
    let again = inbox.take("signal", "w", 10, 100, 9).await.unwrap();
    assert_eq!((again[0].key.as_str(), again[0].attempts), ("2", 2));
    assert!(inbox.take("telegram", "w", 10, 100, 9).await.unwrap().is_empty());
}

async fn a_message_ends_together_with_its_answers_or_not_at_all(place: &Place) {
    let store = place.open("a").await;
    let (inbox, outbox) = (store.inbox(), store.outbox());
    inbox.keep(&message("1", "ann"), 20).await.unwrap();
    let row = inbox.take("signal", "w", 10, 100, 1).await.unwrap().remove(0);
    let answers = [answer("ann", 0), answer("ann", 0)];
    assert_eq!(inbox.finish(row.id, "other", &answers, ROOM).await.unwrap(), Finished::Gone);
    assert_eq!(inbox.finish(row.id, "w", &answers, [1, 0]).await.unwrap(), Finished::Full);
    assert_eq!(outbox.depth("signal").await.unwrap(), Depth::default());
    assert_eq!(inbox.open("signal").await.unwrap(), 1);
    assert_eq!(inbox.finish(row.id, "w", &answers, ROOM).await.unwrap(), Finished::Done);
    assert_eq!(inbox.finish(row.id, "w", &answers, ROOM).await.unwrap(), Finished::Gone, "once");
    let depth = outbox.depth("signal").await.unwrap();
    assert_eq!(depth, Depth { rows: 2, oldest: Some(1000), sum: 2000 });
}

async fn a_waiting_message_is_edited_or_taken_back_and_one_at_work_is_not(place: &Place) {
    let store = place.open("a").await;
    let inbox = store.inbox();
    for key in ["1", "2", "3", "4"] {
        inbox.keep(&message(key, "ann"), 20).await.unwrap();
    }
    assert!(inbox.replace("signal", "1", "better").await.unwrap());
    let row = inbox.take("signal", "w", 10, 100, 1).await.unwrap().remove(0);
    assert_eq!(row.payload, "better");
    assert!(!inbox.replace("signal", "1", "too late").await.unwrap());
    assert!(!inbox.take_back("signal", "1").await.unwrap());
    assert!(inbox.take_back("signal", "2").await.unwrap());
    assert!(!inbox.take_back("signal", "never").await.unwrap());
    assert_eq!(inbox.take_back_all("signal", "signal:ann").await.unwrap(), 2);
    assert_eq!(inbox.open("signal").await.unwrap(), 1);
}

async fn of_two_workers_one_gets_each_message_and_a_lapsed_lease_is_taken_over(place: &Place) {
    let store = place.open("a").await;
    let inbox = store.inbox();
    for index in 0..20 {
        inbox.keep(&message(&index.to_string(), &format!("c{index}")), 20).await.unwrap();
    }
    let (one, two) =
        tokio::join!(inbox.take("signal", "one", 10, 100, 15), inbox.take("signal", "two", 10, 100, 15),);
    let mut keys: Vec<_> = one.unwrap().into_iter().chain(two.unwrap()).map(|row| row.key).collect();
    let taken = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), taken, "none twice");
    assert!(taken >= 15);
    let late = inbox.take("signal", "late", 101, 200, 20).await.unwrap();
    assert_eq!(late.len(), 20, "leases have lapsed");
    assert_eq!(late.iter().filter(|row| row.attempts == 2).count(), taken);
}

async fn chats_take_turns_and_each_is_sent_in_order(place: &Place) {
    let store = place.open("a").await;
    let outbox = store.outbox();
    let out = [answer("team", 3), answer("ann", 0), answer("ann", 0), answer("bob", 1)];
    assert!(outbox.add(&out, ROOM).await.unwrap());
    assert!(outbox.take("signal", "s", 999, 5000, 9, u8::MAX).await.unwrap().is_empty(), "made later");
    let first = outbox.take("signal", "s", 1000, 5000, 2, u8::MAX).await.unwrap();
    assert_eq!(chats(&first), ["ann", "bob"], "lower classes first");
    let rest = outbox.take("signal", "s", 1000, 5000, 9, u8::MAX).await.unwrap();
    assert_eq!(chats(&rest), ["team"]);
    assert!(outbox.settle(first[0].id, "s", &Settle::Sent { message_id: "77" }, 1001).await.unwrap());
    let next = outbox.take("signal", "s", 1002, 5000, 9, u8::MAX).await.unwrap();
    assert_eq!(chats(&next), ["ann"]);
    assert!(next[0].id > first[0].id);
}

async fn a_try_ends_sent_later_dead_or_unknown_and_a_second_unknown_is_the_last(place: &Place) {
    let store = place.open("a").await;
    let outbox = store.outbox();
    outbox.add(&[answer("a", 0), answer("b", 0), answer("c", 0), answer("d", 0)], ROOM).await.unwrap();
    let rows = outbox.take("signal", "s", 1000, 5000, 9, u8::MAX).await.unwrap();
    let settle =
        async |index: usize, how: Settle<'_>| outbox.settle(rows[index].id, "s", &how, 2000).await.unwrap();
    assert!(settle(0, Settle::Sent { message_id: "77" }).await);
    assert!(!settle(0, Settle::Dead { reason: "late" }).await, "ended once");
    assert!(settle(1, Settle::Later { not_before: 3000, failed: true, reason: "network" }).await);
    assert!(settle(2, Settle::Dead { reason: "unregistered" }).await);
    assert!(settle(3, Settle::Uncertain { not_before: 2500 }).await);
    let sent = outbox.list(Some(OutState::Sent), Some("signal"), 9).await.unwrap();
    assert_eq!((sent.len(), sent[0].payload.as_str()), (1, ""), "a text that left is forgotten");
    assert!(outbox.take("signal", "s", 2400, 5000, 9, u8::MAX).await.unwrap().is_empty());
    let again = outbox.take("signal", "s", 3000, 5000, 9, u8::MAX).await.unwrap();
    assert_eq!(chats(&again), ["b", "d"]);
    assert_eq!(
        [(again[0].attempts, again[0].uncertain), (again[1].attempts, again[1].uncertain)],
        [(1, 0), (0, 1)]
    );
    assert_eq!(outbox.reclaim("signal", 5000).await.unwrap(), 0, "the lease still holds");
    assert_eq!(outbox.reclaim("signal", 5001).await.unwrap(), 2);
    let dead = outbox.list(Some(OutState::Dead), None, 9).await.unwrap();
    assert_eq!(chats(&dead), ["d", "c"]);
    assert_eq!(dead[0].reason, "outcome unknown");
    assert_eq!(chats(&outbox.list(Some(OutState::Queued), None, 9).await.unwrap()), ["b"]);
}

async fn a_full_outbox_takes_replies_from_its_reserve_and_no_broadcast(place: &Place) {
    let store = place.open("a").await;
    let outbox = store.outbox();
    let rows = [2, 1];
    assert!(outbox.add(&[answer("a", 3), answer("b", 3)], rows).await.unwrap());
    assert!(!outbox.add(&[answer("c", 3)], rows).await.unwrap());
    assert!(!outbox.add(&[answer("c", 0), answer("c", 0)], rows).await.unwrap(), "all or none");
    assert!(outbox.add(&[answer("c", 0)], rows).await.unwrap());
    assert!(!outbox.add(&[answer("d", 0)], rows).await.unwrap());
    assert_eq!(outbox.depth("signal").await.unwrap().rows, 3);
}

async fn dead_and_expired_rows_are_listed_retried_and_swept(place: &Place) {
    let store = place.open("a").await;
    let outbox = store.outbox();
    outbox.add(&[answer("a", 0), answer("b", 0), answer("c", 0)], ROOM).await.unwrap();
    assert_eq!(outbox.end_chat("signal", "a", "unregistered", 1500).await.unwrap(), 1);
    assert_eq!(outbox.end_caller("signal", "signal:b", "session ended", 1500).await.unwrap(), 1);
    assert_eq!(outbox.expire("signal", 90_000).await.unwrap(), 0);
    assert_eq!(outbox.expire("signal", 90_001).await.unwrap(), 1);
    let expired = outbox.list(Some(OutState::Expired), None, 9).await.unwrap();
    assert_eq!(chats(&expired), ["c", "b"]);
    assert_eq!(expired[0].reason, "too late");
    assert!(outbox.retry(expired[0].id, 91_000, 99_000).await.unwrap());
    assert!(!outbox.retry(expired[0].id, 91_000, 99_000).await.unwrap(), "it is queued");
    assert!(!outbox.retry(expired[1].id, 91_000, 99_000).await.unwrap(), "its text was dropped");
    assert_eq!(chats(&outbox.take("signal", "s", 91_000, 95_000, 9, u8::MAX).await.unwrap()), ["c"]);
    assert_eq!(outbox.sweep(1500).await.unwrap(), 0);
    assert_eq!(outbox.sweep(1501).await.unwrap(), 2);
}

async fn sessions_begin_are_seen_and_end(place: &Place) {
    let store = place.open("a").await;
    let sessions = store.sessions();
    let row = |caller: &str, at| SessionRow {
        caller: caller.into(),
        door: "signal".into(),
        activated_at: at,
        last_seen: at,
        expires_at: at + 1000,
        activated_by: caller.into(),
    };
    sessions.begin(&row("signal:ann", 10)).await.unwrap();
    sessions.begin(&row("signal:bob", 10)).await.unwrap();
    sessions.begin(&row("signal:bob", 20)).await.unwrap();
    sessions.seen(&[("signal:ann".into(), 50), ("signal:bob".into(), 5), ("gone".into(), 5)]).await.unwrap();
    let ann = SessionRow { last_seen: 50, ..row("signal:ann", 10) };
    assert_eq!(sessions.list("signal").await.unwrap(), [ann, row("signal:bob", 20)]);
    assert!(sessions.end("signal:ann").await.unwrap() && !sessions.end("signal:ann").await.unwrap());
    assert!(sessions.list("telegram").await.unwrap().is_empty());
}

async fn a_batch_is_kept_together_with_how_far_it_was_read(place: &Place) {
    let store = place.open("a").await;
    let inbox = store.inbox();
    let batch = ["1", "2", "1"].map(|key| message(key, "ann"));
    let kept = inbox.keep_all(&batch, 9, Some(("telegram/7", 42))).await.unwrap();
    assert_eq!(kept, [Kept::New, Kept::New, Kept::Known]);
    assert_eq!(store.note("telegram/7").await.unwrap(), Some((42, String::new())));
    store.note_text("telegram/7", "words").await.unwrap();
    assert!(inbox.keep_all(&[], 9, Some(("telegram/7", 3))).await.unwrap().is_empty());
    assert_eq!(store.note("telegram/7").await.unwrap(), Some((3, "words".into())));
}

async fn a_chat_is_as_urgent_as_its_most_urgent_row_and_rows_can_be_put_off(place: &Place) {
    let store = place.open("a").await;
    let outbox = store.outbox();
    let out = [answer("late", 3), answer("mixed", 3), answer("mixed", 0), answer("soon", 1)];
    assert!(outbox.add(&out, ROOM).await.unwrap());
    let urgent = outbox.take("signal", "s", 1000, 5000, 9, 3).await.unwrap();
    assert_eq!(
        urgent.iter().map(|row| (row.chat.as_str(), row.class)).collect::<Vec<_>>(),
        [("soon", 1), ("mixed", 3)]
    );
    outbox.defer(&[(urgent[0].id, 2000), (urgent[1].id, 3000)], "s").await.unwrap();
    outbox.defer(&[(urgent[0].id, 9000)], "somebody else").await.unwrap();
    assert_eq!(chats(&outbox.take("signal", "s", 1999, 5000, 9, u8::MAX).await.unwrap()), ["late"]);
    assert_eq!(chats(&outbox.take("signal", "s", 2000, 5000, 9, u8::MAX).await.unwrap()), ["soon"]);
}

async fn a_conversation_is_lost_found_and_moved_in_every_table_at_once(place: &Place) {
    let store = place.open("a").await;
    let (chats_of, outbox) = (store.chats(), store.outbox());
    assert!(outbox.add(&[answer("old", 0)], ROOM).await.unwrap());
    store.inbox().keep(&message("1", "old"), 9).await.unwrap();
    chats_of.lost("old", "unreachable", 5).await.unwrap();
    chats_of.lost("old", "unreachable", 9).await.unwrap();
    chats_of.lost("new", "unreachable", 9).await.unwrap();
    chats_of.moved("old", "new").await.unwrap();
    assert_eq!(chats_of.unreachable_since("new").await.unwrap(), Some(5));
    assert_eq!(chats_of.unreachable_since("old").await.unwrap(), None);
    let row = outbox.take("signal", "s", 1000, 5000, 9, u8::MAX).await.unwrap().remove(0);
    assert_eq!(row.chat, "new");
    assert!(outbox.settle(row.id, "s", &Settle::Sent { message_id: "77" }, 1001).await.unwrap());
    assert_eq!(outbox.sent_for("signal", "new", "77").await.unwrap().as_deref(), Some("signal:old"));
    assert_eq!(outbox.sent_for("signal", "new", "78").await.unwrap(), None);
    assert_eq!(store.inbox().take("signal", "w", 10, 100, 9).await.unwrap()[0].conversation, "new");
    assert!(chats_of.found("new").await.unwrap());
    assert!(!chats_of.found("new").await.unwrap());
}

async fn who_takes_over_inherits_what_others_began_and_nothing_of_its_own(place: &Place) {
    let store = place.open("a").await;
    let (inbox, outbox) = (store.inbox(), store.outbox());
    for key in ["1", "2"] {
        inbox.keep(&message(key, key), 9).await.unwrap();
    }
    inbox.take("signal", "old", 0, 90_000, 1).await.unwrap();
    inbox.take("signal", "new", 0, 90_000, 1).await.unwrap();
    assert_eq!(inbox.inherit("telegram", "new").await.unwrap(), 0, "another door");
    assert_eq!(inbox.inherit("signal", "new").await.unwrap(), 1);
    let again = inbox.take("signal", "new", 0, 90_000, 9).await.unwrap();
    assert_eq!(again.iter().map(|row| (row.key.as_str(), row.attempts)).collect::<Vec<_>>(), [("1", 2)]);
    outbox.add(&[answer("ann", 0), answer("bob", 3), answer("eve", 0)], ROOM).await.unwrap();
    let first = outbox.take("signal", "old", 1000, 90_000, 9, 3).await.unwrap();
    assert_eq!(chats(&first), ["ann", "eve"]);
    outbox.settle(first[1].id, "old", &Settle::Sent { message_id: "7" }, 2000).await.unwrap();
    outbox.take("signal", "new", 1000, 90_000, 9, u8::MAX).await.unwrap();
    assert_eq!(outbox.inherit("signal", "new", 3000).await.unwrap(), [("ann".to_owned(), 0)]);
    assert_eq!(outbox.recent("signal", 1999).await.unwrap(), [("eve".to_owned(), 0, 2000)]);
    assert_eq!(outbox.recent("signal", 2000).await.unwrap(), []);
    assert!(outbox.inherit("signal", "third", 3000).await.unwrap().contains(&("bob".to_owned(), 3)));
}

async fn pauses_and_what_shows_some_work_are_kept_until_they_are_over(place: &Place) {
    let store = place.open("a").await;
    let pauses = store.pauses();
    for (chat, until) in [(Some("ann"), 5000), (Some("ann"), 4000), (None, 3000)] {
        pauses.hold("telegram", chat, until).await.unwrap();
    }
    let mut held = pauses.held("telegram", 1000).await.unwrap();
    held.sort();
    assert_eq!(held, [(None, 3000), (Some("ann".to_owned()), 5000)], "told again a wait is not shorter");
    assert_eq!(pauses.held("signal", 1000).await.unwrap(), []);
    pauses.sweep(3000).await.unwrap();
    assert_eq!(pauses.held("telegram", 0).await.unwrap().len(), 1);
    for (message, owner, at) in [("7", "old", 2), ("8", "new", 1), ("7", "new", 3)] {
        pauses.shows(["telegram", "ann", message, owner], at).await.unwrap();
    }
    let own = |message: &str| ("ann".to_owned(), message.to_owned());
    assert_eq!(pauses.left("telegram", "new").await.unwrap(), [own("7")]);
    assert_eq!(pauses.left("telegram", "").await.unwrap(), [own("8"), own("7")]);
    pauses.gone("telegram", "ann", "7").await.unwrap();
    assert_eq!(pauses.left("telegram", "new").await.unwrap(), []);
}

async fn what_waits_to_be_meant_is_taken_once_by_its_sender_in_its_conversation_and_in_time(place: &Place) {
    let (one, two) = (place.open("a").await, place.open("b").await);
    let whose = |conversation, caller| Whose { door: "telegram", conversation, caller };
    let waiting = one.unconfirmed();
    assert!(!waiting.any("telegram", 0).await.unwrap());
    for (caller, text, until) in [("ann", "first", 60), ("ann", "second", 70), ("bob", "other", 70)] {
        waiting.keep(whose("c", caller), text, until, 9).await.unwrap();
    }
    assert_eq!(waiting.take(whose("d", "ann"), 1).await.unwrap(), None, "not elsewhere");
    let elsewhere = Whose { door: "signal", ..whose("c", "ann") };
    assert_eq!(waiting.take(elsewhere, 1).await.unwrap(), None, "nor at another door");
    assert!(two.unconfirmed().any("telegram", 69).await.unwrap());
    let (a, b) = (one.unconfirmed(), two.unconfirmed());
    let (a, b) = tokio::join!(a.take(whose("c", "ann"), 1), b.take(whose("c", "ann"), 1));
    let mut taken = [a.unwrap(), b.unwrap()];
    taken.sort();
    assert_eq!(taken, [None, Some("second".to_owned())], "the newest, once, whoever is asked");
    assert_eq!(waiting.take(whose("c", "bob"), 70).await.unwrap(), None, "its time is over");
    assert!(!waiting.any("telegram", 70).await.unwrap());
    waiting.sweep(70).await.unwrap();
    assert_eq!(waiting.take(whose("c", "bob"), 1).await.unwrap(), None, "and it is forgotten");
    for (caller, until) in [("a", 20), ("b", 10), ("c", 30)] {
        waiting.keep(whose("c", caller), "text", until, 2).await.unwrap();
    }
    assert_eq!(waiting.take(whose("c", "b"), 1).await.unwrap(), None, "of too many the oldest is forgotten");
    assert!(waiting.take(whose("c", "a"), 1).await.unwrap().is_some());
    assert!(waiting.take(whose("c", "c"), 1).await.unwrap().is_some());
}
