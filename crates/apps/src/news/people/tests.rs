//! News for people, over a real store in a temporary folder, a door that only notes, and a kitchen that serves what it is
//! told to.

use super::*;
use crate::{
    chat::tests::{PLAIN, inspected},
    news::{Failed, Less, Reason, Story},
};
use parking_lot::Mutex;
use portcullis_domain::{Caller, Door, NewsRequest, Payload, Progress, Scopes, Tier};
use portcullis_engine::messages::{Channel, Delivery, MessagesConfig, Outbox, Pace, Sending, Work};
use portcullis_news::Source;
use portcullis_store::{InRow, NewOut, OutRow, StoreConfig, StoreParts};
use portcullis_telemetry::{Alerts, Health};
use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicUsize, Ordering},
};
use tempfile::TempDir;

mod clock;
mod crowd;
mod more;
mod talk;

/// Turns posts into rows and nothing else.
struct Noting;

impl Channel for Noting {
    fn door(&self) -> Door {
        Door::Telegram
    }

    fn answer<'a>(&'a self, _row: &'a InRow) -> Work<'a, Vec<NewOut>> {
        Box::pin(async { Vec::new() })
    }

    fn give_up(&self, _row: &InRow) -> Vec<NewOut> {
        Vec::new()
    }

    fn compose(&self, conversation: &str, posts: &[Post], how: &Sending) -> Vec<NewOut> {
        let row = |post: &Post| NewOut {
            door: "telegram",
            chat: conversation.to_owned(),
            caller: how.caller.clone(),
            class: how.class,
            payload: post.text.clone(),
            created_at: now_ms(),
            expires_at: how.expires_at,
        };
        posts.iter().map(row).collect()
    }

    fn manages<'a>(&'a self, conversation: &'a str, caller: &'a str) -> Work<'a, bool> {
        Box::pin(async move { conversation == caller })
    }

    fn deliver<'a>(&'a self, _row: &'a OutRow) -> Work<'a, Delivery> {
        Box::pin(async { Delivery::Sent("1".into()) })
    }
}

/// What the kitchen serves.
pub(super) struct Kitchen {
    pub(super) serves: Mutex<Digest>,
    pub(super) takes: Mutex<Duration>,
    pub(super) asked: AtomicUsize,
    pub(super) last: Mutex<Option<DigestAsk>>,
}

pub(super) struct House {
    pub(super) people: People,
    pub(super) store: Store,
    pub(super) kitchen: Arc<Kitchen>,
    _folder: TempDir,
}

pub(super) fn story(headline: &str, links: usize, posts: usize) -> Story {
    Story {
        headline: headline.into(),
        bullets: vec!["First.".into(), "Second.".into()],
        links: (0..links).map(|n| (format!("@chan{n}"), format!("https://t.me/chan{n}/1"))).collect(),
        posts,
        at: 1,
        hashes: vec![u64::MAX - links as u64],
        told_by_ai: true,
    }
}

async fn open(folder: &TempDir, url: Option<&secrecy::SecretString>) -> Store {
    let parts = StoreParts {
        config: &StoreConfig { connections: 24, connect_timeout_ms: 20_000, ..StoreConfig::default() },
        data_dir: &folder.path().join("data"),
        url,
        metrics: &Metrics::new(),
        health: &Health::new(),
        alerts: &Alerts::silent(),
    };
    Store::open(parts).await.unwrap()
}

pub(super) fn people(store: &Store, kitchen: &Arc<Kitchen>, config: NewsConfig) -> People {
    let serving = kitchen.clone();
    let cook: Cook = Arc::new(move |ask| {
        let kitchen = serving.clone();
        Box::pin(async move {
            kitchen.asked.fetch_add(1, Ordering::Relaxed);
            let takes = *kitchen.takes.lock();
            *kitchen.last.lock() = Some(ask);
            if takes > Duration::ZERO {
                tokio::time::sleep(takes).await;
            }
            Ok(kitchen.serves.lock().clone())
        })
    });
    let doors = ChatDoors::default();
    let pace = Pace::even(Duration::from_secs(1), 30);
    let metrics = Metrics::new();
    let outbox = Outbox::new(Door::Telegram, store.clone(), MessagesConfig::default(), metrics.clone(), pace);
    doors.add(Arc::new(Noting), outbox);
    let state = PeopleState::default();
    People::new(PeopleParts {
        config: Arc::new(config),
        schedule: ScheduleConfig { jitter_secs: 0, ..ScheduleConfig::default() },
        cook,
        looker: Arc::new(|source| {
            let name = source.to_string();
            let feeds = vec![("Feed".to_owned(), "https://example.org/feed".to_owned())];
            let checked = Checked { title: String::new(), is_page: name.contains("page"), feeds };
            let looked = if name.contains("away") { Err(Reason::NotAnswering) } else { Ok(checked) };
            Box::pin(async move { looked })
        }),
        doctor: Arc::new(|source| {
            let quiet =
                source.to_string().contains("quiet").then_some(crate::news::Health::Quiet { since: None });
            Box::pin(async move { quiet })
        }),
        store: store.clone(),
        doors,
        rows: [100_000, 1000],
        admins: vec!["telegram:99".into()],
        operations: Operations::new(),
        quotas: Arc::new(|| portcullis_engine::Quotas::OPEN),
        audit: None,
        backup_days: 7,
        beside: vec![("ask", ["Ask the documents", "Спросить документы", "Vraag het de documenten"])],
        metrics,
        state,
    })
}

impl House {
    pub(super) async fn new() -> Self {
        Self::with(NewsConfig::default()).await
    }

    pub(super) async fn with(config: NewsConfig) -> Self {
        let folder = TempDir::new().unwrap();
        let store = open(&folder, None).await;
        let kitchen = Arc::new(Kitchen {
            serves: Mutex::new(Digest { stories: vec![story("It rains", 2, 4)], ..Digest::default() }),
            takes: Mutex::default(),
            asked: AtomicUsize::new(0),
            last: Mutex::default(),
        });
        Self { people: people(&store, &kitchen, config), store, kitchen, _folder: folder }
    }

    pub(super) async fn ask(&self, message: MessageRequest) -> MessageReply {
        self.ask_as(PLAIN, message).await.unwrap()
    }

    pub(super) async fn ask_as(&self, scopes: Scopes, message: MessageRequest) -> Said {
        let person = if message.group { "telegram:9".into() } else { message.conversation.clone() };
        let mut request = inspected(scopes, Payload::News(NewsRequest::Message(MessageRequest::default())));
        request.caller = Caller::new(person, Tier::Authenticated, scopes, Ipv4Addr::LOCALHOST.into());
        self.people.message(&request, &message).await
    }

    /// What is said to words of the first person.
    pub(super) async fn say(&self, text: &str) -> String {
        self.ask(message("telegram:1", text)).await.words()
    }

    pub(super) async fn press(&self, token: &str) -> MessageReply {
        self.ask(MessageRequest { pressed: Some(token.into()), ..message("telegram:1", "") }).await
    }

    pub(super) async fn outbox(&self) -> Vec<String> {
        let rows = self.store.outbox().list(None, None, 10_000).await.unwrap();
        rows.into_iter().rev().map(|row| row.payload).collect()
    }
}

pub(super) fn message(who: &str, text: &str) -> MessageRequest {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    MessageRequest {
        text: text.into(),
        conversation: who.into(),
        key: format!("telegram:{}", NUMBER.fetch_add(1, Ordering::Relaxed)).into(),
        ..MessageRequest::default()
    }
}

/// Tokens of the buttons below an answer.
pub(super) fn tokens(reply: &MessageReply) -> Vec<String> {
    let rows = reply.posts.iter().flat_map(|post| post.choices.iter().flatten());
    rows.map(|button| button.token.clone()).collect()
}
