//! The one owner of the Redis connection, for limits, breaker states, revocations. Connects lazily: the program
//! starts without Redis and goes on when it goes away. Invariant: a Redis that is gone or stuck costs a caller at
//! most `redis.timeout_ms`, and after `redis.breaker_failures` of those nothing at all: the breaker is then open,
//! and only a probe in the background asks. The probe does what limits do (a script that writes) in the time that a
//! call has, over a fresh connection each time, and closes the breaker as soon as that works. Source: S4-BRK.

mod listen;
#[cfg(test)]
pub(crate) mod tests;

use parking_lot::{Mutex, RwLock};
use portcullis_domain::Problem;
use portcullis_telemetry::{AlertCategory, Alerts, Component, Gauge, Health, HealthState, Metrics};
use redis::{
    AsyncCommands as _, Client, FromRedisValue, Script, ScriptInvocation, TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{sync::broadcast, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// `[redis]`: counting together with other replicas.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// Name of the secret that holds the address (`redis://…`, `rediss://…`). Default: none; everything is counted
    /// in memory, by this process alone.
    pub url_secret: Option<String>,
    /// PEM file of the authority that signs the server's certificate, for `rediss://` addresses. Default: none; the
    /// authorities of the web are trusted.
    pub ca_file: Option<PathBuf>,
    /// Longest time one call may take, in milliseconds; then limits are counted in memory. Default 100.
    pub timeout_ms: u64,
    /// Longest time to connect, in milliseconds; only background work ever waits so long. Default 2000.
    pub connect_timeout_ms: u64,
    /// Failed calls in a row after which Redis is not asked any more. Default 5.
    pub breaker_failures: u32,
    /// How often Redis is tried in the background, in milliseconds; one that is back is used again within that time.
    /// Default 1000.
    pub probe_ms: u64,
    /// Longest time, in seconds, that a Redis which fails again and again soon after it came back is left alone. The
    /// wait begins at `probe_ms` and doubles. Default 60.
    pub breaker_reset_secs: u64,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url_secret: None,
            ca_file: None,
            timeout_ms: 100,
            connect_timeout_ms: 2_000,
            breaker_failures: 5,
            probe_ms: 1_000,
            breaker_reset_secs: 60,
        }
    }
}

impl RedisConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        for (key, value) in [
            ("timeout_ms", self.timeout_ms),
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("breaker_failures", u64::from(self.breaker_failures)),
            ("probe_ms", self.probe_ms),
            ("breaker_reset_secs", self.breaker_reset_secs),
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
    /// No certificate in the file of `redis.ca_file`, or an address without TLS beside it.
    #[error(
        "redis.ca_file must name a readable PEM file with a certificate, beside an address of rediss://host:6379"
    )]
    Authority,
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
    /// The subscription has begun, or begun anew: messages before it were missed, read the state again. A receiver
    /// that lags behind (`RecvError::Lagged`) has missed some too.
    Gap,
}

type Told = Box<dyn Fn(bool) + Send + Sync>;

struct Inner {
    manager: RwLock<ConnectionManager>,
    client: Client,
    settings: ConnectionManagerConfig,
    config: RedisConfig,
    failures: AtomicU32,
    open: AtomicBool,
    /// Who is told of changes. Its lock also orders them.
    told: Mutex<Vec<Told>>,
    channels: Mutex<HashMap<String, broadcast::Sender<Heard>>>,
    probe: Script,
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

/// Limits need scripts that may write; a server that is read-only, full or still loading is of no use.
const PROBE: &str = "return redis.call('SET', KEYS[1], '1', 'PX', '60000')";
const PROBE_KEY: &str = "{portcullis}:probe";
const ALERT: &str = "redis";

impl Shared {
    /// Prepares the connection; Redis need not be there. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// `Address`, `Authority`.
    pub fn new(url: &str, config: &RedisConfig, around: &Surroundings) -> Result<Self, SharedError> {
        let client = client(url, config)?;
        let patience = Duration::from_millis(config.connect_timeout_ms.max(config.timeout_ms));
        // `guard` keeps the time of a call; these only end what nobody waits for any more.
        let settings = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience));
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), settings.clone())
            .map_err(|_| SharedError::Address)?;
        let shared = Self(Arc::new(Inner {
            manager: RwLock::new(manager),
            client,
            settings,
            config: config.clone(),
            // Until it has answered once, one failure is enough to know that it is not there.
            failures: AtomicU32::new(config.breaker_failures.saturating_sub(1)),
            open: AtomicBool::new(false),
            told: Mutex::default(),
            channels: Mutex::default(),
            probe: Script::new(PROBE),
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
        let mut connection = self.connection();
        self.guard(script.invoke_async(&mut connection)).await
    }

    /// Sends a message to every subscriber of a channel, on all replicas.
    ///
    /// # Errors
    /// `Away`, `Failed`.
    pub async fn publish(&self, channel: &str, message: &str) -> Result<(), SharedError> {
        let mut connection = self.connection();
        self.guard(connection.publish::<_, _, ()>(channel, message)).await
    }

    /// Reads a small value.
    ///
    /// # Errors
    /// `Away`, `Failed`.
    pub async fn get(&self, key: &str) -> Result<Option<String>, SharedError> {
        let mut connection = self.connection();
        self.guard(connection.get(key)).await
    }

    /// Keeps a small value for a time of at least a millisecond.
    ///
    /// # Errors
    /// `Away`, `Failed`.
    pub async fn set_ex(&self, key: &str, value: &str, life: Duration) -> Result<(), SharedError> {
        let mut connection = self.connection();
        let millis = u64::try_from(life.as_millis()).unwrap_or(u64::MAX >> 1).max(1);
        self.guard(connection.pset_ex::<_, _, ()>(key, value, millis)).await
    }

    /// Forgets a small value.
    ///
    /// # Errors
    /// `Away`, `Failed`.
    pub async fn delete(&self, key: &str) -> Result<(), SharedError> {
        let mut connection = self.connection();
        self.guard(connection.del::<_, ()>(key)).await
    }

    /// Whether Redis is known to be away.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Has `told` called with whether Redis is away, each time that changes, and at once when it is away now. It must
    /// not block.
    pub fn on_change(&self, told: impl Fn(bool) + Send + Sync + 'static) {
        let mut all = self.0.told.lock();
        if self.is_away() {
            told(true);
        }
        all.push(Box::new(told));
    }

    fn connection(&self) -> ConnectionManager {
        self.0.manager.read().clone()
    }

    async fn guard<T>(&self, call: impl Future<Output = redis::RedisResult<T>>) -> Result<T, SharedError> {
        if self.is_away() {
            return Err(SharedError::Away);
        }
        match tokio::time::timeout(self.timeout(), call).await {
            Ok(Ok(value)) => {
                self.worked();
                Ok(value)
            }
            Ok(Err(_)) | Err(_) => {
                self.failed();
                Err(SharedError::Failed)
            }
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.0.config.timeout_ms)
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.0.config.connect_timeout_ms)
    }

    fn worked(&self) {
        // A plain load first: the store of a shared cache line costs more.
        if self.0.failures.load(Ordering::Relaxed) != 0 {
            self.0.failures.store(0, Ordering::Relaxed);
        }
    }

    fn failed(&self) {
        let failures = self.0.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= self.0.config.breaker_failures && !self.is_away() {
            self.set_open(true);
        }
    }

    fn set_open(&self, open: bool) {
        let told = self.0.told.lock();
        if self.0.open.swap(open, Ordering::Relaxed) == open {
            return;
        }
        self.0.failures.store(0, Ordering::Relaxed);
        self.0.state.set(if open { 2 } else { 0 });
        self.0.metrics.breaker_transition("redis", if open { "open" } else { "closed" });
        if open {
            tracing::warn!("breaker redis: closed -> open");
            let detail = "redis does not answer; limits are counted by each process";
            self.0.health.set(HealthState::Degraded, detail);
            self.0.alerts.raise(AlertCategory::BreakerOpen, ALERT, "redis does not answer; requests go on");
        } else {
            tracing::info!("breaker redis: open -> closed");
            self.0.health.set(HealthState::Healthy, "");
            self.0.alerts.resolve(AlertCategory::BreakerOpen, ALERT, "redis answers again");
        }
        for told in told.iter() {
            told(open);
        }
    }

    /// Tries Redis for ever, so that its state is known without traffic; closes the breaker when it answers.
    async fn watch(self) {
        let mut pace = Pace::new(&self.0.config);
        loop {
            let works = self.probe().await;
            match (self.is_away(), works) {
                (false, true) => self.worked(),
                (false, false) => self.failed(),
                (true, true) if pace.may_close(Instant::now()) => self.set_open(false),
                (true, _) => {}
            }
            if !works {
                pace.failed();
                // The old connection may be half dead, to an address that is no longer Redis's.
                if let Ok(fresh) =
                    ConnectionManager::new_lazy_with_config(self.0.client.clone(), self.0.settings.clone())
                {
                    *self.0.manager.write() = fresh;
                }
            }
            if !self.pause().await {
                return;
            }
        }
    }

    /// Whether Redis does what limits need in the time that a call has. The first try may take longer: it connects
    /// and loads the script.
    async fn probe(&self) -> bool {
        let mut connection = self.connection();
        for time in [self.patience(), self.timeout()] {
            let call = self.0.probe.key(PROBE_KEY);
            let answer = tokio::time::timeout(time, call.invoke_async::<String>(&mut connection));
            if !matches!(answer.await, Ok(Ok(_))) {
                return false;
            }
        }
        true
    }

    /// Waits a probe interval; false when it is time to stop.
    async fn pause(&self) -> bool {
        tokio::select! {
            () = self.0.stop.cancelled() => false,
            () = tokio::time::sleep(Duration::from_millis(self.0.config.probe_ms)) => true,
        }
    }
}

fn client(url: &str, config: &RedisConfig) -> Result<Client, SharedError> {
    let Some(path) = &config.ca_file else { return Client::open(url).map_err(|_| SharedError::Address) };
    let pem = std::fs::read(path).map_err(|_| SharedError::Authority)?;
    // The client takes a file without a certificate and then trusts nobody.
    if memchr::memmem::find(&pem, b"-----BEGIN CERTIFICATE-----").is_none() {
        return Err(SharedError::Authority);
    }
    let trusted = TlsCertificates { client_tls: None, root_cert: Some(pem) };
    Client::build_with_tls(url, trusted).map_err(|_| SharedError::Authority)
}

/// How soon a Redis that answers again is used again: at once, unless it failed soon after it was last used again;
/// then it must answer twice as many probes in a row as before.
#[derive(Debug)]
struct Pace {
    needed: u64,
    most: u64,
    good: u64,
    reset: Duration,
    closed_at: Option<Instant>,
    trying: bool,
}

impl Pace {
    const fn new(config: &RedisConfig) -> Self {
        let (reset, probe) =
            (config.breaker_reset_secs, if config.probe_ms == 0 { 1 } else { config.probe_ms });
        let probes = reset.saturating_mul(1_000) / probe;
        let most = if probes == 0 { 1 } else { probes };
        Self { needed: 1, most, good: 0, reset: Duration::from_secs(reset), closed_at: None, trying: false }
    }

    /// A probe worked while the breaker is open: whether it may close.
    fn may_close(&mut self, now: Instant) -> bool {
        if !self.trying {
            self.trying = true;
            let soon = self.closed_at.is_some_and(|at| now.duration_since(at) < self.reset);
            self.needed = if soon { (self.needed * 2).min(self.most) } else { 1 };
        }
        self.good += 1;
        if self.good < self.needed {
            return false;
        }
        self.closed_at = Some(now);
        (self.good, self.trying) = (0, false);
        true
    }

    /// A probe failed.
    const fn failed(&mut self) {
        self.good = 0;
    }
}
