//! Inbox and outbox with a channel that notes what it is asked.

use super::{Channel, Delivery, Inbox, MessagesConfig, Outbox, Pace, Sending, Trouble, Work, now_ms};
use parking_lot::Mutex;
use portcullis_domain::{Door, Post};
use portcullis_store::{InRow, Kept, NewIn, NewOut, OutRow, OutState, Store, StoreConfig, StoreParts};
use portcullis_telemetry::{Alerts, Health, Metrics};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

async fn store(folder: &TempDir) -> Store {
    let parts = StoreParts {
        config: &StoreConfig::default(),
        data_dir: &folder.path().join("data"),
        url: None,
        metrics: &Metrics::new(),
        health: &Health::new(),
        alerts: &Alerts::silent(),
    };
    Store::open(parts).await.unwrap()
}

/// Answers each message with itself, and ends sends as it was told to.
#[derive(Default)]
struct Echo {
    answered: Mutex<Vec<String>>,
    sent: Mutex<Vec<String>>,
    script: Mutex<HashMap<String, Vec<Delivery>>>,
    slow: Option<Duration>,
}

fn answer(chat: &str, text: &str) -> NewOut {
    let (now, chat) = (now_ms(), chat.to_owned());
    NewOut {
        door: "signal",
        caller: chat.clone(),
        chat,
        class: 0,
        payload: text.into(),
        created_at: now,
        expires_at: now + 60_000,
    }
}

impl Channel for Echo {
    fn door(&self) -> Door {
        Door::Signal
    }

    fn answer<'a>(&'a self, row: &'a InRow) -> Work<'a, Vec<NewOut>> {
        Box::pin(async {
            if let Some(slow) = self.slow {
                tokio::time::sleep(slow).await;
            }
            self.answered.lock().push(row.payload.clone());
            vec![answer(&row.conversation, &row.payload)]
        })
    }

    fn give_up(&self, row: &InRow) -> Vec<NewOut> {
        vec![answer(&row.conversation, "given up")]
    }

    fn compose(&self, conversation: &str, posts: &[Post], _how: &Sending) -> Vec<NewOut> {
        posts.iter().map(|post| answer(conversation, &post.text)).collect()
    }

    fn manages<'a>(&'a self, conversation: &'a str, caller: &'a str) -> Work<'a, bool> {
        Box::pin(async move { conversation == caller })
    }

    fn deliver<'a>(&'a self, row: &'a OutRow) -> Work<'a, Delivery> {
        Box::pin(async {
            let next =
                self.script.lock().get_mut(&row.chat).filter(|all| !all.is_empty()).map(|all| all.remove(0));
            let delivery = next.unwrap_or(Delivery::Sent("1".into()));
            if matches!(delivery, Delivery::Sent(_)) {
                self.sent.lock().push(row.payload.clone());
            }
            delivery
        })
    }
}

struct House {
    store: Store,
    echo: Arc<Echo>,
    inbox: Inbox,
    outbox: Outbox,
    stop: CancellationToken,
    tasks: TaskTracker,
    _folder: TempDir,
}

impl House {
    async fn new(echo: Echo) -> Self {
        let folder = TempDir::new().unwrap();
        let (store, echo, metrics) = (store(&folder).await, Arc::new(echo), Metrics::new());
        let config = MessagesConfig { retry_secs: [1, 1], tries: 3, waiting: 5, ..MessagesConfig::default() };
        let pace = Pace::even(Duration::from_millis(1), 1000);
        let outbox = Outbox::new(Door::Signal, store.clone(), config.clone(), metrics.clone(), pace);
        let inbox = Inbox::new(echo.clone(), store.clone(), config, metrics, outbox.clone());
        Self {
            store,
            echo,
            inbox,
            outbox,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            _folder: folder,
        }
    }

    fn run(&self) {
        let (inbox, outbox, echo, stop) =
            (self.inbox.clone(), self.outbox.clone(), self.echo.clone(), self.stop.clone());
        let also = stop.clone();
        self.tasks.spawn(async move { inbox.run(stop).await });
        self.tasks.spawn(async move { outbox.run(echo, also).await });
    }

    async fn keep(&self, key: &str, conversation: &str) -> Kept {
        let new = NewIn {
            door: "signal",
            key: key.into(),
            conversation: conversation.into(),
            caller: conversation.into(),
            payload: key.into(),
            received_at: now_ms(),
        };
        self.inbox.keep(&new).await.unwrap()
    }

    async fn until(&self, what: impl Fn(&Echo) -> bool) {
        for _ in 0..1000 {
            if what(&self.echo) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not within ten seconds: {:?} {:?}", self.echo.answered.lock(), self.echo.sent.lock());
    }

    async fn ended(&self) {
        for _ in 0..1000 {
            if self.store.outbox().depth("signal").await.unwrap().rows == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn states(&self) -> Vec<(String, OutState, String)> {
        let rows = self.store.outbox().list(None, None, 100).await.unwrap();
        rows.into_iter().rev().map(|row| (row.chat, row.state, row.reason)).collect()
    }
}

#[tokio::test]
async fn each_message_is_answered_once_and_in_order_however_often_it_arrives() {
    let house = House::new(Echo::default()).await;
    for key in ["ann1", "bob1", "ann2", "ann1", "bob2", "ann3"] {
        house.keep(key, &key[..3]).await;
    }
    house.run();
    house.until(|echo| echo.sent.lock().len() == 5).await;
    house.keep("ann2", "ann").await;
    house.ended().await;
    let sent = house.echo.sent.lock().clone();
    for (who, expected) in [("ann", vec!["ann1", "ann2", "ann3"]), ("bob", vec!["bob1", "bob2"])] {
        let theirs: Vec<_> = sent.iter().filter(|text| text.starts_with(who)).collect();
        assert_eq!(theirs, expected.iter().collect::<Vec<_>>());
    }
    assert_eq!(sent.len(), 5);
}

#[tokio::test]
async fn a_conversation_has_a_bounded_line_and_its_overflow_is_told() {
    let house = House::new(Echo::default()).await;
    for index in 0..5 {
        assert_eq!(house.keep(&index.to_string(), "ann").await, Kept::New);
    }
    assert_eq!(house.keep("5", "ann").await, Kept::Full);
    assert_eq!(house.keep("6", "bob").await, Kept::New);
}

#[tokio::test]
async fn a_stop_ends_what_is_under_way_and_leaves_the_rest_for_the_next_start() {
    let house = House::new(Echo { slow: Some(Duration::from_millis(200)), ..Echo::default() }).await;
    house.keep("1", "ann").await;
    house.keep("2", "ann").await;
    house.run();
    tokio::time::sleep(Duration::from_millis(100)).await;
    house.stop.cancel();
    house.tasks.close();
    house.tasks.wait().await;
    assert_eq!(*house.echo.answered.lock(), ["1"]);
    assert_eq!(house.store.inbox().open("signal").await.unwrap(), 1);
}

#[tokio::test]
async fn what_an_earlier_process_worked_on_is_taken_up_and_given_up_after_three_times() {
    let house = House::new(Echo::default()).await;
    house.keep("1", "ann").await;
    for owner in ["a", "b", "c"] {
        assert_eq!(house.store.inbox().take("signal", owner, 0, i64::MAX - 1, 9).await.unwrap().len(), 1);
        assert_eq!(house.store.inbox().reclaim("signal", i64::MAX).await.unwrap(), 1);
    }
    house.run();
    house.until(|echo| echo.sent.lock().len() == 1).await;
    house.ended().await;
    assert_eq!(*house.echo.sent.lock(), ["given up"]);
}

#[tokio::test]
async fn tries_end_as_the_other_side_says_and_a_chat_that_waits_holds_up_only_itself() {
    let house = House::new(Echo::default()).await;
    let mut script = HashMap::new();
    let failed = Delivery::Failed(Trouble::Network);
    script.insert("flaky".to_owned(), vec![failed.clone()]);
    script.insert("broken".to_owned(), vec![failed.clone(), failed.clone(), failed]);
    script
        .insert("limited".to_owned(), vec![Delivery::Wait(Trouble::RateLimited, Duration::from_millis(300))]);
    script.insert("refused".to_owned(), vec![Delivery::Dead(Trouble::Refused)]);
    script.insert("gone".to_owned(), vec![Delivery::Unreachable(Trouble::Unregistered)]);
    script.insert("unsure".to_owned(), vec![Delivery::Unknown, Delivery::Unknown]);
    *house.echo.script.lock() = script;
    let chats = ["flaky", "broken", "limited", "refused", "gone", "gone", "unsure", "fine"];
    let rows: Vec<_> = chats.iter().map(|chat| answer(chat, chat)).collect();
    assert!(house.store.outbox().add(&rows, [100, 10]).await.unwrap());
    house.run();
    house.ended().await;
    let states = house.states().await;
    let state = |chat: &str| {
        states.iter().filter(|row| row.0 == chat).map(|row| (row.1, row.2.as_str())).collect::<Vec<_>>()
    };
    let sent = (OutState::Sent, "");
    assert_eq!([state("flaky"), state("limited"), state("fine")], [[sent], [sent], [sent]]);
    assert_eq!(state("broken"), [(OutState::Dead, "tries")]);
    assert_eq!(state("refused"), [(OutState::Dead, "refused")]);
    assert_eq!(state("gone"), [(OutState::Dead, "unregistered"); 2], "the second was never tried");
    assert_eq!(state("unsure"), [(OutState::Dead, "outcome unknown")]);
    let order = house.echo.sent.lock().clone();
    assert_eq!(order[0], "fine", "{order:?}");
}

#[tokio::test]
async fn a_pause_holds_everything_and_loses_nothing() {
    let house = House::new(Echo::default()).await;
    let pause = Delivery::Pause(Trouble::ProofRequired, Duration::from_secs(3600));
    house.echo.script.lock().insert("ann".into(), vec![pause]);
    house.store.outbox().add(&[answer("ann", "one")], [100, 10]).await.unwrap();
    house.run();
    house.until(|echo| echo.script.lock()["ann"].is_empty()).await;
    house.store.outbox().add(&[answer("bob", "two")], [100, 10]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(house.echo.sent.lock().is_empty());
    house.outbox.resume();
    house.until(|echo| echo.sent.lock().len() == 1).await;
    house.stop.cancel();
    house.tasks.close();
    house.tasks.wait().await;
    let waiting = house.states().await.into_iter().find(|row| row.0 == "ann").unwrap();
    assert_eq!((waiting.1, waiting.2.as_str()), (OutState::Queued, "proof_required"));
}
