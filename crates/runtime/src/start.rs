//! The wiring: everything is built once, here, and handed on by argument. Read top to bottom, `start` is the list of
//! what the process consists of.
//!
//! Invariant: nothing listens before everything behind it stands; what fails here fails with a sentence that says how
//! to mend it, and leaves nothing running.

mod error;
mod listen;

pub use error::StartError;

use crate::{
    Secrets, Settings, alerting, asking, collector, embedding, kept, messenger, pages,
    people::Readers,
    reload::{Keeper, print, with_budgets, with_tiers},
    running::{Parts as RunningParts, Running, Tokens},
    secrets::{ADMIN_KEY, OwnKeys},
    settings::{Examined, Origin, Sources},
    snapshot::{self, Apps, Ground},
    stall::Watchdog,
    trail,
    vital::{Start, Vital},
};
use listen::{address, listen};
use portcullis_apps::{
    ask,
    chat::{ByHand, cache::Answers},
    news::NewsState,
};
use portcullis_channels::http::{Doors, Parts as DoorParts, ServingThreads, control::Control};
use portcullis_domain::{Door, EndClock};
use portcullis_engine::{
    Admission, AdmissionConfig, Engine, Parts as EngineParts, Screening, Suspicion,
    budgets::{Budgets, BudgetsConfig, BudgetsParts},
    exceptions::ExceptionDesk,
    holds,
    identity::{Identity, IdentityParts},
    jwt::Jwt,
    keys::{AdminKey, Keys, KeysParts},
    messages::ChatDoors,
    safety::{SafetyDesk, SafetyParts},
};
use portcullis_inspect::Inspector;
use portcullis_knowledge::Library;
use portcullis_providers::{Embedders, Providers, presets};
use portcullis_resilience::{
    Registry,
    connections::Connections,
    http::Client,
    limits::Limits,
    shared::{Shared, Surroundings},
};
use portcullis_store::{DefinitionRow, RevocationKind, Store, StoreParts, files};
use portcullis_telemetry::{
    AlertCategory, Alerts, Anomalies, Audit, AuditEvent, Health, LogGuard, Metrics, Traces, init_logs,
};
use secrecy::{ExposeSecret as _, SecretString};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What the parts share.
pub(crate) struct Base {
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) alerts: Alerts,
    pub(crate) audit: Audit,
    traces: Traces,
    client: Client,
    registry: Registry,
    /// Filled when the doors open; alerts to administrators wait for it.
    chat_doors: ChatDoors,
    pub(crate) tokens: Tokens,
    pub(crate) background: TaskTracker,
    /// Who serves the main listener's connections; without any, the runtime of the start does.
    threads: Option<Arc<ServingThreads>>,
    logs: LogGuard,
}

impl Base {
    /// What settings are built upon, now and at each reload.
    fn ground(
        &self,
        settings: &Settings,
        shared: Option<Shared>,
        budgets: Budgets,
        safety: &SafetyDesk,
        (store, library): (&Store, Library),
    ) -> Ground {
        let pages = pages::pages(settings, &self.metrics, &self.alerts, &self.registry);
        Ground {
            answers: Answers::new(&settings.cache, shared, self.background.clone()),
            budgets,
            by_hand: ByHand::default(),
            client: self.client.clone(),
            registry: self.registry.clone(),
            metrics: self.metrics.clone(),
            alerts: self.alerts.clone(),
            overrides: safety.view(),
            embedders: Embedders::in_folder(&embedding::models_folder(&settings.data_dir)),
            chat_doors: self.chat_doors.clone(),
            asking: asking::state(
                settings,
                library,
                &pages,
                &self.metrics,
                (&self.background, &self.tokens.background),
            ),
            pages,
            store: store.clone(),
            news: NewsState::default(),
            readers: Readers::new(&self.audit, safety, &self.registry, &self.metrics, store),
        }
    }

    /// Overrides of safety settings, as they were kept, ending on time from here on.
    async fn safety(&self, store: &Store) -> Result<SafetyDesk, StartError> {
        let gemini = presets::PRESETS.iter().filter(|row| row.wire == presets::Wire::Gemini);
        let desk = SafetyDesk::open(SafetyParts {
            store: store.clone(),
            audit: self.audit.clone(),
            alerts: self.alerts.clone(),
            metrics: self.metrics.clone(),
            providers: gemini.map(|row| row.name.to_owned()).collect(),
            clock: EndClock::new(),
        })
        .await?;
        desk.run(&self.background, self.tokens.background.clone());
        Ok(desk)
    }

    /// Accounts held before the restart are held again, and from here on kept.
    async fn holds(&self, store: &Store) -> Result<(), StartError> {
        holds::restore(&self.registry, store).await?;
        holds::keep(self.registry.clone(), store.clone(), &self.background, self.tokens.background.clone());
        Ok(())
    }
}

/// Builds everything and starts listening. Settings that were given cannot be read again: nothing is reloaded.
///
/// # Errors
/// [`StartError`]; nothing is left running.
pub async fn start(settings: Settings, secrets: Secrets) -> Result<Running, StartError> {
    let origins = BTreeMap::new();
    Box::pin(begin(Begin { settings, secrets, sources: None, origins })).await
}

/// The same with settings that came from somewhere, and are read from there again at each reload.
///
/// # Errors
/// [`StartError`]; nothing is left running.
pub async fn start_from(
    examined: Examined,
    sources: Sources,
    secrets: Secrets,
) -> Result<Running, StartError> {
    let Examined { settings, origins, .. } = examined;
    Box::pin(begin(Begin { settings, secrets, sources: Some(sources), origins })).await
}

/// What a start begins with.
struct Begin {
    settings: Settings,
    secrets: Secrets,
    sources: Option<Sources>,
    origins: BTreeMap<String, Origin>,
}

async fn begin(begin: Begin) -> Result<Running, StartError> {
    let Begin { settings, secrets, sources, origins } = begin;
    let seen = print(sources.as_ref());
    // Redis and Postgres over TLS take the process's crypto provider; a second start finds it installed.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let mut base = base(&settings, &secrets)?;
    if sources.is_some() {
        let threads = ServingThreads::start(settings.server.threads()).map_err(StartError::Threads)?;
        base.threads = Some(Arc::new(threads));
    }
    // From here on an early return must end what already runs in the background.
    let guard = base.tokens.background.clone().drop_guard();
    let about = (&base.metrics, &base.alerts, &base.health);
    let vital = Vital::new(&settings.alerts, &settings.data_dir, about);
    base.background.spawn(vital.watch(base.tokens.background.clone()));
    let behind = Box::pin(behind(&settings, &secrets, &base)).await?;

    let http = listen("http.listen", &settings.http.listen, &settings, &behind.identity).await?;
    let admin = listen("admin.listen", &settings.admin.listen, &settings, &behind.identity).await?;
    let (serving, (control, calls)) = (TaskTracker::new(), Control::new());
    let doors = doors(&settings, &secrets, &base, &behind, control.clone(), serving.clone());
    let addresses = (address(&http)?, address(&admin)?);
    let ground = chats((&settings, &secrets, sources.as_ref()), &base, &behind, &doors);
    messenger::open(ground, &serving, base.tokens.stop.clone()).await?;
    behind.ground.readers.keep(doors.find_engine(), &serving, base.tokens.stop.clone());
    serving.spawn(doors.serve_main(http, base.tokens.stop.clone())?);
    serving.spawn(doors.serve_admin(admin, base.tokens.stop.clone())?);
    let watchdog = watchdog(&settings, &base);
    let (drain, flush) =
        (Duration::from_secs(settings.server.drain_secs), Duration::from_secs(settings.server.flush_secs));
    let (asked_to_end, data_dir) = (CancellationToken::new(), settings.data_dir.clone());
    let keeper = Keeper {
        sources,
        started_with: settings.clone(),
        settings,
        secrets,
        origins,
        ground: behind.ground,
        providers: behind.providers,
        identity: behind.identity,
        apps: behind.apps,
        screening: behind.screening,
        engine: behind.engine,
        keys: behind.keys,
        tiers: behind.tiers,
        budgets: behind.redefined,
        store: behind.store.clone(),
        audit: base.audit.clone(),
        current: doors.current(),
        addresses: [addresses.0, addresses.1],
        asked_to_end: asked_to_end.clone(),
        seen,
    };
    base.background.spawn(keeper.run(calls, base.tokens.background.clone()));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), http = %addresses.0, admin = %addresses.1, store = behind.store.kind(), "ready"
    );
    guard.disarm();
    Ok(Running::new(RunningParts {
        http: addresses.0,
        admin: addresses.1,
        first_key: behind.first_key,
        tokens: base.tokens,
        serving,
        background: base.background,
        health: base.health,
        metrics: base.metrics,
        registry: base.registry,
        audit: base.audit,
        store: behind.store,
        drain,
        flush,
        control,
        asked_to_end,
        start: Start::of(&data_dir),
        alerts: base.alerts,
        watchdog,
        threads: base.threads,
        logs: base.logs,
    }))
}

/// Everything behind the doors.
struct Behind {
    store: Store,
    keys: Keys,
    identity: Arc<Identity>,
    first_key: Option<SecretString>,
    tiers: Vec<DefinitionRow>,
    redefined: Vec<DefinitionRow>,
    safety: SafetyDesk,
    ground: Ground,
    providers: Providers,
    apps: Apps,
    screening: Screening,
    engine: Engine,
}

async fn behind(settings: &Settings, secrets: &Secrets, base: &Base) -> Result<Behind, StartError> {
    let shared = shared(settings, secrets, base)?;
    let store = kept::store(settings, secrets, base).await?;
    store.flush_usage(&base.background, base.tokens.background.clone());
    let (identity, keys, admin_key) = identity(settings, secrets, base, &store, shared.clone()).await?;
    let first_key = match admin_key {
        AdminKey::Made(key) => Some(key),
        AdminKey::Declared | AdminKey::Present => None,
    };
    if let Some(id) = first_key.as_ref().and_then(|key| key.expose_secret().split('_').nth(1)) {
        base.audit
            .record(proof("key_created", vec![("id", id.to_owned()), ("by", "first start".to_owned())]));
    }
    let tiers = store.tiers().list().await?;
    let admission = with_tiers(settings, &tiers);
    keys.set_tiers(admission.tiers.keys().cloned().collect());
    let redefined = store.budgets().list().await?;
    let config = with_budgets(settings, &admission, &redefined);
    let budgets = budgets((settings, &config), base, &store, &admission, shared.clone()).await?;
    budgets.follow(&base.background, base.tokens.background.clone());
    let safety = base.safety(&store).await?;
    let library = asking::library(settings, &store).await?;
    let ground = base.ground(settings, shared.clone(), budgets.clone(), &safety, (&store, library));
    identity.ask_standing(ground.readers.standing());
    base.background.spawn(ask::keep(
        ground.asking.desk.clone(),
        settings.embed.ingest_concurrency as usize,
        base.alerts.clone(),
        base.health.clone(),
        base.tokens.background.clone(),
    ));
    let providers = ground.providers(settings, secrets, None)?.commit(&base.registry);
    base.holds(&store).await?;
    base.registry.start(shared.clone(), base.health.clone(), &base.background, &base.tokens.background);
    let inspector = Inspector::new(&settings.inspect)?;
    let apps = ground.apps(settings, &providers, &inspector);
    let screening = snapshot::screening(settings, inspector);
    let exceptions = ExceptionDesk::open(&settings.inspect, store.clone(), base.audit.clone()).await?;
    exceptions.run(&base.background, base.tokens.background.clone());
    let engine = Engine::new(EngineParts {
        identity: identity.clone(),
        limits: Limits::new(&settings.limits.counting, shared, &base.metrics, &base.health),
        admission: Admission::new(&admission),
        budgets,
        screening: screening.clone(),
        store: store.clone(),
        metrics: base.metrics.clone(),
        audit: base.audit.clone(),
        anomalies: Anomalies::new(
            &settings.anomaly,
            base.audit.clone(),
            base.alerts.clone(),
            base.metrics.clone(),
        ),
        apps: apps.clone(),
        traces: base.traces.clone(),
        suspicion: Suspicion::new(&settings.inspect),
        exceptions,
        max_in_flight: settings.server.max_in_flight,
    });
    trail::settle(engine.breaches(), &base.background, base.tokens.background.clone());
    Ok(Behind {
        store,
        keys,
        identity,
        first_key,
        tiers,
        redefined,
        safety,
        ground,
        providers,
        apps,
        screening,
        engine,
    })
}

/// What chat doors are opened with.
fn chats<'a>(
    (settings, secrets, sources): (&'a Settings, &'a Secrets, Option<&'a Sources>),
    base: &Base,
    behind: &Behind,
    doors: &Doors,
) -> messenger::Ground<'a> {
    messenger::Ground {
        settings,
        secrets,
        sources,
        engine: doors.find_engine(),
        doors: behind.ground.chat_doors.clone(),
        hooks: doors.hooks(),
        store: behind.store.clone(),
        client: base.client.clone(),
        registry: base.registry.clone(),
        metrics: base.metrics.clone(),
        health: base.health.clone(),
        alerts: base.alerts.clone(),
        audit: base.audit.clone(),
    }
}

fn doors(
    settings: &Settings,
    secrets: &Secrets,
    base: &Base,
    behind: &Behind,
    control: Control,
    tasks: TaskTracker,
) -> Doors {
    let connections = &settings.connections;
    Doors::new(DoorParts {
        engine: behind.engine.clone(),
        keys: behind.keys.clone(),
        metrics: base.metrics.clone(),
        health: base.health.clone(),
        connections: Connections::new(connections.max_http, connections.max_http_per_address, &base.metrics),
        tasks,
        threads: base.threads.clone(),
        cut: base.tokens.cut.clone(),
        http: settings.http.clone(),
        admin: settings.admin.clone(),
        gateway: settings.gateway.clone(),
        metrics_access: settings.metrics.clone(),
        metrics_token: secrets.get(&settings.metrics.token_secret),
        control,
        registry: base.registry.clone(),
        safety: behind.safety.clone(),
        chats: behind.ground.chat_doors.clone(),
    })
}

/// Telemetry, alerts, the audit trail, the outbound client.
fn base(settings: &Settings, secrets: &Secrets) -> Result<Base, StartError> {
    let metrics = Metrics::new();
    let logs =
        init_logs(&settings.log, portcullis_inspect::redact, metrics.clone()).map_err(StartError::Logs)?;
    let health = Health::new();
    let (tokens, background) = (Tokens::default(), TaskTracker::new());
    let (alerts, queue) = Alerts::new(&settings.alerts, metrics.clone());
    let (client, registry) = (Client::new(&settings.outbound), Registry::new());
    let chat_doors = ChatDoors::default();
    files::private_dir(&settings.data_dir)?;
    let audit = trail::begin(settings, secrets, &metrics, &alerts)?;
    for (name, source) in secrets.reads() {
        audit.record(proof(
            "secret_read",
            vec![("name", name.to_owned()), ("source", source.as_str().to_owned())],
        ));
    }
    let parts = alerting::Delivery {
        config: &settings.alerts,
        secrets,
        client: &client,
        registry: &registry,
        metrics: &metrics,
        alerts: &alerts,
    };
    let admins = alerting::administrators(&settings.telegram, &settings.signal, &chat_doors);
    alerting::deliver(&parts, admins, queue, &background, tokens.background.clone())?;
    trail::anchor(&parts, &settings.audit, &audit, &background, &tokens.background)?;
    let around = collector::Around {
        client: &client,
        registry: &registry,
        metrics: &metrics,
        alerts: &alerts,
        tasks: &background,
        stop: &tokens.background,
    };
    let traces = collector::begin(settings, secrets, &around)?;
    Ok(Base {
        metrics,
        health,
        alerts,
        audit,
        traces,
        client,
        registry,
        chat_doors,
        tokens,
        background,
        threads: None,
        logs,
    })
}

/// Proof of what the start itself did: a secret read (its name and where from), a key made (its public id).
pub(crate) fn proof(kind: &'static str, details: Vec<(&'static str, String)>) -> AuditEvent {
    AuditEvent { details, ..AuditEvent::new(kind, Door::Admin, "ok") }
}

/// The Redis connection, where one is configured.
fn shared(settings: &Settings, secrets: &Secrets, base: &Base) -> Result<Option<Shared>, StartError> {
    let Some(url) = wanted(settings.redis.url_secret.as_deref(), "redis.url_secret", secrets)? else {
        return Ok(None);
    };
    let around = Surroundings {
        metrics: base.metrics.clone(),
        health: base.health.clone(),
        alerts: base.alerts.clone(),
        tasks: base.background.clone(),
        stop: base.tokens.background.clone(),
    };
    Ok(Some(Shared::new(url.expose_secret(), &settings.redis, &around)?))
}

/// The secret a setting names; naming one that is not there is an error.
pub(crate) fn wanted(
    name: Option<&str>,
    key: &str,
    secrets: &Secrets,
) -> Result<Option<SecretString>, StartError> {
    let Some(name) = name else { return Ok(None) };
    let missing = || {
        StartError::Settings(format!(
            "the secret `{name}` (`{key}`) is in none of the sources. Mend: give it, or take `{key}` out"
        ))
    };
    secrets.get(name).map(Some).ok_or_else(missing)
}

/// What may be spent, as the ledger says it was.
async fn budgets(
    (settings, config): (&Settings, &BudgetsConfig),
    base: &Base,
    store: &Store,
    admission: &AdmissionConfig,
    shared: Option<Shared>,
) -> Result<Budgets, StartError> {
    let parts = BudgetsParts {
        config,
        tiers: &admission.tiers,
        default_max_tokens: settings.gateway.default_max_tokens,
        store: store.clone(),
        shared,
        fallback_share: settings.limits.counting.fallback_share,
        metrics: base.metrics.clone(),
        alerts: base.alerts.clone(),
    };
    Ok(Budgets::open(parts).await?)
}

/// Keys, tokens, and who is asking.
async fn identity(
    settings: &Settings,
    secrets: &Secrets,
    base: &Base,
    store: &Store,
    shared: Option<Shared>,
) -> Result<(Arc<Identity>, Keys, AdminKey), StartError> {
    let keys = Keys::open(KeysParts {
        config: settings.auth.keys.clone(),
        store: store.clone(),
        pepper: OwnKeys::new(&settings.data_dir).get("api_key_pepper", secrets)?,
        admin_key: secrets.get(ADMIN_KEY),
        tiers: settings.admission().tiers.into_keys().collect(),
        shared,
    })
    .await?;
    let admin_key = keys.ensure_admin_key(&settings.data_dir).await?;
    keys.follow(&base.background, base.tokens.background.clone());
    let identity = Identity::new(IdentityParts {
        config: settings.auth.clone(),
        anonymous: settings.http.anonymous,
        keys: keys.clone(),
        jwt: Arc::new(jwt(settings, secrets)?),
        metrics: base.metrics.clone(),
        audit: base.audit.clone(),
    });
    Ok((Arc::new(identity), keys, admin_key))
}

/// The token rules of these settings.
///
/// # Errors
/// Every key that cannot be used, in one message.
pub fn jwt(settings: &Settings, secrets: &Secrets) -> Result<Jwt, StartError> {
    Jwt::new(&settings.auth.jwt, "auth.jwt", |name| secrets.get(name)).map_err(|problems| {
        let lines = problems
            .iter()
            .map(|problem| format!("`{}`: {}. Mend: {}", problem.key, problem.message, problem.mend));
        StartError::Settings(lines.collect::<Vec<_>>().join("\n"))
    })
}

/// Refuses a token id, or every token of a subject, from now on: written to the store, where running servers find it.
///
/// # Errors
/// [`StartError`]: a store or a secret that cannot be used.
pub async fn revoke_token(
    settings: &Settings,
    secrets: &Secrets,
    kind: RevocationKind,
    value: &str,
) -> Result<(), StartError> {
    let url = wanted(settings.store.url_secret.as_deref(), "store.url_secret", secrets)?;
    let (metrics, health) = (Metrics::new(), Health::new());
    let parts = StoreParts {
        config: &settings.store,
        data_dir: &settings.data_dir,
        url: url.as_ref(),
        metrics: &metrics,
        health: &health,
        alerts: &Alerts::silent(),
    };
    let store = Store::open(parts).await?;
    let life = jwt(settings, secrets)?.max_age_secs();
    let until = jiff::Timestamp::now() + Duration::from_secs(life);
    let written = store.revocations().add(kind, value, until).await;
    store.close().await;
    Ok(written?)
}

/// Watches the workers of this runtime and the threads that serve from outside.
fn watchdog(settings: &Settings, base: &Base) -> Option<Watchdog> {
    let (metrics, alerts) = (base.metrics.clone(), base.alerts.clone());
    let probe = Duration::from_millis(settings.server.stall_probe_ms);
    let warn = Duration::from_millis(settings.server.stall_warn_ms);
    let report = move |lasted: Duration| {
        metrics.stalled(lasted);
        let stalled_ms = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(event = "stall", stalled_ms, "an async worker was blocked");
        if lasted >= ALERT_STALL {
            alerts.raise(
                AlertCategory::Stalled,
                "runtime",
                format!("an async worker was blocked for {stalled_ms} ms"),
            );
        }
    };
    let serving = base.threads.iter().flat_map(|threads| threads.handles());
    let runtimes = [tokio::runtime::Handle::current()].into_iter().chain(serving.cloned());
    Watchdog::start(runtimes.collect(), probe, warn, report)
        .inspect_err(|error| tracing::warn!(%error, "no stall watchdog: no thread could be started"))
        .ok()
}

/// From here on a stall is worth waking somebody.
const ALERT_STALL: Duration = Duration::from_secs(5);
