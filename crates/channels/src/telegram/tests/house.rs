//! What the tests of this door stand in: the double, a store that outlives restarts of the door, an app that does what
//! it is told.

use crate::{
    signal::tests::house::{engine, unlimited},
    telegram::{Parts, SendConfig, TelegramConfig, chat, open},
};
use parking_lot::Mutex;
use portcullis_domain::{
    Action, Button, Failure, LibraryRequest, MessageReply, MessageRequest, Meter, Payload, Post, Reply,
    ReplyBody,
};
use portcullis_engine::{
    AdmissionConfig, App, Engine, Inspected, Run,
    messages::{ChatDoors, Command, Commands, MessagesConfig},
};
use portcullis_resilience::{
    Registry,
    http::{Client, HttpConfig},
};
use portcullis_store::{Store, StoreConfig, StoreParts};
use portcullis_telemetry::{
    Alert, AlertCategory, Alerts, AlertsConfig, Audit, AuditConfig, AuditParts, Health, HealthState, Metrics,
};
use portcullis_testkit::telegram::{Options, Person, Rates, Telegram};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Does what the words say, and notes what it was asked.
#[derive(Clone, Default)]
pub(super) struct Actor(Arc<Mutex<Vec<MessageRequest>>>);

impl Actor {
    pub(super) fn asked(&self) -> Vec<MessageRequest> {
        self.0.lock().clone()
    }

    async fn act(&self, message: &MessageRequest) -> Result<MessageReply, Failure> {
        if let Some(token) = &message.pressed {
            return Ok(MessageReply {
                toast: Some(format!("pressed {token}")),
                in_place: true,
                ..MessageReply::text(format!("now {token}"))
            });
        }
        let (word, rest) = message.text.split_once(' ').unwrap_or((&message.text, ""));
        match word.split('@').next().unwrap_or_default() {
            "menu" | "/menu" => {
                let choices = vec![vec![Button::new("Go", "1:go:a"), Button::new("Stay", "1:stay:b")]];
                Ok(MessageReply::post(Post { choices, ..Post::text("choose") }))
            }
            "fail" => Err(Failure::Unavailable { retry_after: Duration::from_secs(7), rate_limited: false }),
            "slow" => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok(MessageReply::text(format!("re: {}", message.text)))
            }
            "/work" => {
                for step in 0..rest.parse().unwrap_or(3_u32) {
                    let choices = vec![vec![Button::new("Cancel", Button::CANCEL)]];
                    if !message.progress.show(Post { choices, ..Post::text(format!("step {step}")) }) {
                        return Ok(MessageReply::text("not wanted"));
                    }
                    tokio::time::sleep(Duration::from_millis(400)).await;
                }
                Ok(MessageReply::text("worked"))
            }
            "long" => Ok(MessageReply::text("word ".repeat(rest.parse().unwrap_or(2000)))),
            _ => Ok(MessageReply::text(format!("re: {}", message.text))),
        }
    }
}

impl App for Actor {
    fn name(&self) -> &'static str {
        "actor"
    }

    fn run(&self, request: Inspected) -> Run<'_> {
        Box::pin(async move {
            match &request.payload {
                Payload::Library(LibraryRequest::Message(message)) => {
                    self.0.lock().push(message.clone());
                    let reply = self.act(message).await?;
                    Ok(Reply::new(ReplyBody::Message(Box::new(reply)), Meter::default()))
                }
                Payload::Chat(_) => Ok(Reply::new(ReplyBody::Stream(streamed()), Meter::default())),
                Payload::Count(_)
                | Payload::Embed(_)
                | Payload::Models(_)
                | Payload::Library(_)
                | Payload::News(_) => panic!("not asked for here: {:?}", request.payload),
            }
        })
    }
}

/// An answer of three pieces in two seconds.
fn streamed() -> portcullis_domain::ByteStream {
    let pieces = ["**Hello** ", "from ", "the model"].map(|text| {
        let chunk = json!({"id": "c", "object": "chat.completion.chunk", "model": "m",
            "choices": [{"index": 0, "delta": {"content": text}}]});
        Ok(bytes::Bytes::from(format!("data: {chunk}\n\n")))
    });
    Box::pin(futures_util::stream::unfold(pieces.into_iter(), |mut left| async move {
        let piece = left.next()?;
        tokio::time::sleep(Duration::from_millis(700)).await;
        Some((piece, left))
    }))
}

pub(super) struct House {
    pub(super) double: Telegram,
    pub(super) config: TelegramConfig,
    pub(super) messages: MessagesConfig,
    pub(super) actor: Actor,
    pub(super) metrics: Metrics,
    pub(super) health: Health,
    pub(super) store: Store,
    pub(super) doors: ChatDoors,
    pub(super) hooks: crate::http::Hooks,
    told: Receiver<Alert>,
    alerts: Alerts,
    engine: Engine,
    stop: CancellationToken,
    tasks: TaskTracker,
    _folder: TempDir,
}

/// Settings that wait for nothing longer than they must.
pub(super) fn quick(double: &Telegram) -> TelegramConfig {
    TelegramConfig {
        enabled: true,
        api_base: double.base_url(),
        poll_timeout_secs: 5,
        backoff_secs: [0, 1],
        call_secs: 3,
        send: SendConfig {
            chat_interval_ms: 0,
            global_per_sec: 100_000,
            group_per_min: 100_000,
            typing_after_secs: 60,
            ..SendConfig::default()
        },
        ..TelegramConfig::default()
    }
}

impl House {
    pub(super) async fn new() -> Self {
        let double = Telegram::with(Options { rates: Rates::Off, ..Options::default() }).await;
        let config = quick(&double);
        Self::with(double, config, unlimited()).await
    }

    pub(super) async fn with(double: Telegram, config: TelegramConfig, admission: AdmissionConfig) -> Self {
        let folder = TempDir::new().unwrap();
        let (metrics, health) = (Metrics::new(), Health::new());
        let (alerts, told) = Alerts::new(&AlertsConfig::default(), metrics.clone());
        let data = folder.path().join("data");
        let parts = StoreParts {
            config: &StoreConfig::default(),
            data_dir: &data,
            url: None,
            metrics: &metrics,
            health: &health,
            alerts: &alerts,
        };
        let store = Store::open(parts).await.unwrap();
        let audit = Audit::start(AuditParts {
            config: &AuditConfig::default(),
            folder: &data.join("audit"),
            id_key: b"key",
            sign_key: b"sign key",
            redact: portcullis_inspect::redact,
            metrics: metrics.clone(),
            alerts: alerts.clone(),
        })
        .unwrap();
        let actor = Actor::default();
        let app: Arc<dyn App> = Arc::new(actor.clone());
        let apps = vec![(Action::Message, app.clone()), (Action::Chat, app)];
        let engine = engine(&store, &audit, &metrics, &health, admission, apps).await;
        let mut house = Self {
            double,
            config,
            messages: MessagesConfig { waiting: 5000, retry_secs: [1, 1], ..MessagesConfig::default() },
            actor,
            metrics,
            health,
            store,
            doors: ChatDoors::default(),
            hooks: crate::http::Hooks::default(),
            told,
            alerts,
            engine,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            _folder: folder,
        };
        house.open();
        house
    }

    pub(super) fn open(&mut self) {
        (self.stop, self.tasks) = (CancellationToken::new(), TaskTracker::new());
        let engine = self.engine.clone();
        let parts = Parts {
            config: self.config.clone(),
            messages: self.messages.clone(),
            token: self.double.token().into(),
            webhook_secret: "made-up_secret".to_owned().into(),
            engine: Arc::new(move || engine.clone()),
            commands: commands(),
            doors: self.doors.clone(),
            hooks: self.hooks.clone(),
            store: self.store.clone(),
            client: Client::new(&HttpConfig::default()),
            registry: Registry::new(),
            metrics: self.metrics.clone(),
            health: self.health.clone(),
            alerts: self.alerts.clone(),
        };
        open(parts, &self.tasks, self.stop.clone()).unwrap();
    }

    /// Ends the door as a drain does.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        let ended = tokio::time::timeout(Duration::from_secs(20), self.tasks.wait()).await;
        assert!(ended.is_ok(), "{} tasks go on", self.tasks.len());
    }

    /// Ends the test: nothing was done that a careful bot would not do.
    pub(super) async fn end(self) {
        self.close().await;
        assert_eq!(self.double.violations(), [""; 0]);
    }

    /// What somebody was told.
    pub(super) fn texts(&self, person: &Person) -> Vec<String> {
        self.double.sent_to(person.id).into_iter().map(|sent| sent.shown().to_owned()).collect()
    }

    /// Nothing more is on its way: what was to be answered is.
    pub(super) async fn settle(&self) {
        for _ in 0..2000 {
            let open = self.store.inbox().open("telegram").await.unwrap();
            let out = self.store.outbox().depth("telegram").await.unwrap().rows;
            if self.double.pending() == 0 && open == 0 && out == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not settle: {} updates wait", self.double.pending());
    }

    /// Waits until something holds of what is kept.
    pub(super) async fn settled(&self, what: &str, holds: impl AsyncFn(&Store) -> bool) {
        for _ in 0..1000 {
            if holds(&self.store).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: not in time");
    }

    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..2000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: not in time. health {:?}", self.health.snapshot());
    }

    /// How the door is, and why.
    pub(super) fn state(&self) -> (HealthState, String) {
        let all = self.health.snapshot();
        let own = all.into_iter().find(|component| component.name == "telegram").unwrap();
        (own.state, own.detail)
    }

    pub(super) fn alerts_told(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.told.try_recv().ok())
            .filter(|alert| alert.category == AlertCategory::Telegram)
            .map(|alert| alert.message)
            .collect()
    }

    pub(super) fn counted(&self, start: &str) -> u64 {
        let text = self.metrics.render();
        let lines = text.lines().filter(|line| line.starts_with(start));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).map(|count| count as u64).sum()
    }
}

fn commands() -> Commands {
    let library: fn(MessageRequest) -> Payload = |message| Payload::Library(LibraryRequest::Message(message));
    let command = |name, admin, payload| Command {
        name,
        about: ["about", "о чём", "waarover"],
        admin,
        beside: true,
        action: Action::Message,
        payload,
    };
    Commands {
        listed: vec![
            command("work", false, library),
            command("chat", false, chat),
            command("stats", true, library),
        ],
        other: library,
    }
}
