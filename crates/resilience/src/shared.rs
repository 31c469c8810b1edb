//! The one owner of the Redis connection, for limits, breaker states, revocations. Connects lazily: the program
//! starts without Redis and goes on when it goes away. Invariant: a Redis that is gone or stuck costs a caller at
//! most `redis.timeout_ms`, and after `redis.breaker_failures` of those nothing at all: the breaker is then open,
//! and a ping in the background, once a second, closes it as soon as Redis answers again.

use parking_lot::Mutex;
use portcullis_domain::Problem;
use portcullis_telemetry::{AlertCategory, Alerts, Component, Gauge, Health, HealthState, Metrics};
use redis::{
    AsyncCommands as _, Client, FromRedisValue, ScriptInvocation,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::sync::broadcast;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// `[redis]`: counting together with other replicas.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// Name of the secret that holds the address (`redis://…`, `rediss://…`). Default: none; everything is counted
    /// in memory, by this process alone.
    pub url_secret: Option<String>,
    /// Longest time one call may take, in milliseconds; then limits are counted in memory. Default 100.
    pub timeout_ms: u64,
    /// Failed calls in a row after which Redis is not asked any more. Default 5.
    pub breaker_failures: u32,
    /// How often a Redis that is away is tried again, in milliseconds. Default 1000.
    pub probe_ms: u64,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self { url_secret: None, timeout_ms: 100, breaker_failures: 5, probe_ms: 1000 }
    }
}

impl RedisConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        for (key, value) in [
            ("timeout_ms", self.timeout_ms),
            ("breaker_failures", u64::from(self.breaker_failures)),
            ("probe_ms", self.probe_ms),
        ] {
            if value == 0 {
                let key = format!("{prefix}.{key}");
                out.push(Problem::new(key, "must be at least 1", "leave the key out for its default"));
            }
        }
    }
}

/// Why Redis could not be used. Holds no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SharedError {
    /// The address makes no sense.
    #[error("the Redis address is not understood; it must look like redis://host:6379")]
    Address,
    /// It is away, and known to be.
    #[error("redis is away")]
    Away,
    /// This call failed.
    #[error("the call to redis failed")]
    Failed,
}

/// What subscribers hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message.
    Message(String),
    /// The subscription was interrupted: messages may have been missed, read the state again.
    Gap,
}

struct Inner {
    manager: ConnectionManager,
    client: Client,
    timeout: Duration,
    probe: Duration,
    most_failures: u32,
    failures: AtomicU32,
    open: AtomicBool,
    channels: Mutex<HashMap<String, broadcast::Sender<Heard>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    state: Gauge,
    metrics: Metrics,
    health: Component,
    alerts: Alerts,
}

/// The connection. Cheap to clone.
#[derive(Clone)]
pub struct Shared(Arc<Inner>);

/// Messages a slow subscriber may fall behind before it is told of a gap.
const BACKLOG: usize = 256;

/// What the connection is built with, beside its configuration.
#[derive(Clone)]
pub struct Surroundings {
    /// Where it is counted.
    pub metrics: Metrics,
    /// Where its state is told.
    pub health: Health,
    /// Where its loss is reported.
    pub alerts: Alerts,
    /// Where its background work runs.
    pub tasks: TaskTracker,
    /// Ends the background work.
    pub stop: CancellationToken,
}

impl Shared {
    /// Prepares the connection; Redis need not be there.
    ///
    /// # Errors
    /// `Address`.
    pub fn new(url: &str, config: &RedisConfig, around: &Surroundings) -> Result<Self, SharedError> {
        let client = Client::open(url).map_err(|_| SharedError::Address)?;
        let timeout = Duration::from_millis(config.timeout_ms);
        let settings = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), settings)
            .map_err(|_| SharedError::Address)?;
        let shared = Self(Arc::new(Inner {
            manager,
            client,
            timeout,
            probe: Duration::from_millis(config.probe_ms),
            most_failures: config.breaker_failures,
            failures: AtomicU32::new(0),
            open: AtomicBool::new(false),
            channels: Mutex::default(),
            tasks: around.tasks.clone(),
            stop: around.stop.clone(),
            state: around.metrics.breaker_state("redis"),
            metrics: around.metrics.clone(),
            health: around.health.component("redis"),
            alerts: around.alerts.clone(),
        }));
        around.tasks.spawn(shared.clone().watch());
        Ok(shared)
    }

    /// Runs a script.
    ///
    /// # Errors
    /// `Away` at once while the breaker is open, else `Failed`.
    pub async fn invoke<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, SharedError> {
        let mut connection = self.0.manager.clone();
        self.guard(script.invoke_async(&mut connection)).await
    }

    /// Sends a message to every subscriber of a channel, on all replicas.
    ///
    /// # Errors
    /// `Away`, `Failed`.
    pub async fn publish(&self, channel: &str, message: &str) -> Result<(), SharedError> {
        let mut connection = self.0.manager.clone();
        self.guard(connection.publish::<_, _, ()>(channel, message)).await
    }

    /// Reads a small value.
    ///
    /// # Errors
    /// `Away`, `Failed`.
    pub async fn get(&self, key: &str) -> Result<Option<String>, SharedError> {
        let mut connection = self.0.manager.clone();
        self.guard(connection.get(key)).await
    }

    /// Keeps a small value for a time.
    ///
    /// # Errors
    /// `Away`, `Failed`.
    pub async fn set_ex(&self, key: &str, value: &str, life: Duration) -> Result<(), SharedError> {
        let mut connection = self.0.manager.clone();
        self.guard(connection.set_ex::<_, _, ()>(key, value, life.as_secs().max(1))).await
    }

    /// Hears every message of a channel from now on.
    #[must_use]
    pub fn subscribe(&self, channel: &str) -> broadcast::Receiver<Heard> {
        let mut channels = self.0.channels.lock();
        if let Some(sender) = channels.get(channel) {
            return sender.subscribe();
        }
        let (sender, receiver) = broadcast::channel(BACKLOG);
        channels.insert(channel.to_owned(), sender.clone());
        self.0.tasks.spawn(self.clone().listen(channel.to_owned(), sender));
        receiver
    }

    /// Whether Redis is known to be away.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.0.open.load(Ordering::Relaxed)
    }

    async fn guard<T>(&self, call: impl Future<Output = redis::RedisResult<T>>) -> Result<T, SharedError> {
        if self.is_away() {
            return Err(SharedError::Away);
        }
        match tokio::time::timeout(self.0.timeout, call).await {
            Ok(Ok(value)) => {
                // A plain load first: the store of a shared cache line costs more.
                if self.0.failures.load(Ordering::Relaxed) != 0 {
                    self.0.failures.store(0, Ordering::Relaxed);
                }
                Ok(value)
            }
            Ok(Err(_)) | Err(_) => {
                let failures = self.0.failures.fetch_add(1, Ordering::Relaxed) + 1;
                if failures >= self.0.most_failures {
                    self.set_open(true);
                }
                Err(SharedError::Failed)
            }
        }
    }

    fn set_open(&self, open: bool) {
        if self.0.open.swap(open, Ordering::Relaxed) == open {
            return;
        }
        let (from, to) = if open { ("closed", "open") } else { ("open", "closed") };
        tracing::warn!("breaker redis: {from} -> {to}");
        self.0.state.set(if open { 2 } else { 0 });
        self.0.metrics.breaker_transition("redis", to);
        if open {
            self.0
                .health
                .set(HealthState::Degraded, "redis does not answer; limits are counted by each process");
            self.0.alerts.raise(AlertCategory::BreakerOpen, "redis", "redis does not answer; requests go on");
        } else {
            self.0.failures.store(0, Ordering::Relaxed);
            self.0.health.set(HealthState::Healthy, "");
        }
    }

    /// Tries a Redis that is away, until it answers.
    async fn watch(self) {
        let mut connection = self.0.manager.clone();
        while self.pause().await {
            if !self.is_away() {
                continue;
            }
            // Longer than a call's time-out: a fresh connection has to be made first.
            let ping = redis::cmd("PING");
            let answer =
                tokio::time::timeout(self.0.timeout * 10, ping.query_async::<String>(&mut connection));
            if matches!(answer.await, Ok(Ok(_))) {
                self.set_open(false);
            }
        }
    }

    /// Waits a probe interval; false when it is time to stop.
    async fn pause(&self) -> bool {
        tokio::select! {
            () = self.0.stop.cancelled() => false,
            () = tokio::time::sleep(self.0.probe) => true,
        }
    }

    /// Listens to one channel, for ever, over a connection of its own.
    async fn listen(self, channel: String, sender: broadcast::Sender<Heard>) {
        use futures_util::StreamExt as _;
        loop {
            if let Ok(Ok(mut source)) =
                tokio::time::timeout(LISTEN_TIMEOUT, self.0.client.get_async_pubsub()).await
                && source.subscribe(&channel).await.is_ok()
            {
                // Nobody may be listening in this process just now.
                let _ignored = sender.send(Heard::Gap);
                let mut messages = source.into_on_message();
                loop {
                    let message = tokio::select! {
                        () = self.0.stop.cancelled() => return,
                        message = messages.next() => message,
                    };
                    let Some(message) = message else { break };
                    if let Ok(text) = message.get_payload::<String>() {
                        let _ignored = sender.send(Heard::Message(text));
                    }
                }
            }
            if !self.pause().await {
                return;
            }
        }
    }
}

/// Longest time to connect for listening.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);
