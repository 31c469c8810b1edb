//! Settings: one tree of every crate's `Config`, read from file < environment < flags.
//!
//! Invariants: an unknown key is an error, never ignored; all problems of all sources are reported together, each
//! with where it was said and how to mend it; no value that looks like a key may stand in a settings file, and no
//! report ever shows one. Source: requirements S2-1.4 and S4-KEYS.

pub(crate) mod diff;
mod load;
mod overrides;
mod reference;
mod report;
mod schema;
mod sections;
mod source;
#[cfg(test)]
mod tests;

pub use load::{Examined, LoadError, Sources, examine, load};
pub(crate) use load::{examine_text, find_file};
pub use reference::{config_markdown, example_toml};
pub use report::{Located, Report, Severity};
pub use source::Origin;

use portcullis_apps::{
    ask::AskConfig,
    chat::{self, RoutesConfig, cache::CacheConfig},
    news::{NewsConfig, ScheduleConfig},
};
use portcullis_channels::{
    http::{AdminConfig, GatewayConfig, HttpConfig, MetricsConfig},
    signal::SignalConfig,
    telegram::TelegramConfig,
};
use portcullis_domain::Problem;
use portcullis_engine::{
    ActionConfig, AdmissionConfig, BucketConfig, DEFAULT_POLICY, TierConfig, budgets::BudgetsConfig,
    default_actions, default_tiers, identity::AuthConfig, messages::MessagesConfig,
};
use portcullis_inspect::{InspectConfig, PolicyConfig};
use portcullis_knowledge::{Backend, KnowledgeConfig};
use portcullis_pages::PagesConfig;
use portcullis_providers::{
    EmbedConfig, ExtractConfig, ModelsConfig, ProvidersConfig, UpstreamConfig, presets,
};
use portcullis_resilience::{
    connections::ConnectionsConfig, http::HttpConfig as OutboundConfig, limits::LimitsConfig,
    shared::RedisConfig,
};
use portcullis_store::{BackupConfig, StoreConfig};
use portcullis_telemetry::{AlertsConfig, AnomalyConfig, AuditConfig, LogConfig, TelemetryConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// Everything that can be set. One field for each section of the file; every section is owned by the crate that
/// obeys it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Folder below which everything persistent lives: the database, keys, audit trail. Made with mode 0700;
    /// start-up refuses a looser one. Default `"data"`.
    pub data_dir: PathBuf,
    /// The main listener: `/v1/*`, health, metrics, the API description.
    pub http: HttpConfig,
    /// The admin listener: `/admin/v1/*`.
    pub admin: AdminConfig,
    /// The process itself: worker threads, drain, stall watchdog.
    pub server: ServerConfig,
    /// This file itself.
    pub config: ConfigSection,
    /// Where secrets are read from.
    pub secrets: crate::secrets::SecretsConfig,
    /// Where state is kept.
    pub store: StoreConfig,
    /// Copies of the database, made while the server runs.
    pub backup: BackupConfig,
    /// Counting together with other replicas.
    pub redis: RedisConfig,
    /// Sockets at the doors.
    pub connections: ConnectionsConfig,
    /// The shared client for everything that is called outside.
    pub outbound: OutboundConfig,
    /// Bounds of one AI request.
    pub gateway: GatewayConfig,
    /// AI providers by name: what differs from their shipped rows, and your own.
    pub providers: ProvidersConfig,
    /// Models by `"provider/model"`: what differs from their shipped rows (context, price, abilities), and your own.
    pub models: ModelsConfig,
    /// The model names callers use, and who answers to them.
    pub routes: RoutesConfig,
    /// Answers that are kept and given again.
    pub cache: CacheConfig,
    /// Bounds of every call to a provider.
    pub upstream: UpstreamConfig,
    /// The gate in front of every embedding.
    pub embed: EmbedConfig,
    /// Collections of documents.
    pub knowledge: KnowledgeConfig,
    /// Fetching pages of the web.
    pub pages: PagesConfig,
    /// Answers from documents.
    pub ask: AskConfig,
    /// Digests of news.
    pub news: NewsConfig,
    /// Digests on schedule.
    pub schedule: ScheduleConfig,
    /// The answerer that works without any provider.
    pub extract: ExtractConfig,
    /// Looking at untrusted texts.
    pub inspect: InspectConfig,
    /// Guard policies by name: what is looked for in messages and answers, and what follows. Routes name the one they
    /// want; `default` is that of all others.
    pub policies: BTreeMap<String, PolicyConfig>,
    /// Who is believed: API keys and tokens.
    pub auth: AuthConfig,
    /// The buckets that every request draws from.
    pub limits: LimitsSection,
    /// What may be spent. A section `[budgets.<name>]` makes a budget.
    pub budgets: BudgetsConfig,
    /// Service levels by name. `anonymous`, `authenticated` and `premium` are there without being named.
    pub tiers: BTreeMap<String, TierConfig>,
    /// Limits of one kind of work, by its name: `chat`, `embed`, `models`, `admin`.
    pub actions: BTreeMap<String, ActionConfig>,
    /// The door of the messenger Signal.
    pub signal: SignalConfig,
    /// The door of the messenger Telegram.
    pub telegram: TelegramConfig,
    /// What chat doors take in and send out.
    pub messages: MessagesConfig,
    /// Who may read `/metrics`.
    pub metrics: MetricsConfig,
    /// Logs.
    pub log: LogConfig,
    /// The audit trail.
    pub audit: AuditConfig,
    /// Messages that do not fit their caller: noted, never blocked.
    pub anomaly: AnomalyConfig,
    /// Who is told when something is badly wrong.
    pub alerts: AlertsConfig,
    /// What a collector of OpenTelemetry is told.
    pub telemetry: TelemetryConfig,
}

/// `[limits]`: the buckets that every request draws from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LimitsSection {
    /// Everybody together. Default 1000 at once, 100 a second.
    pub global: BucketConfig,
    /// One address (of IPv6 one /64). Default 100 at once, 10 a second.
    pub ip: BucketConfig,
    /// One caller whose tier names no bucket. Default 50 at once, 5 a second.
    pub user: BucketConfig,
    /// How limits are counted.
    #[serde(flatten)]
    pub counting: LimitsConfig,
}

impl Default for LimitsSection {
    fn default() -> Self {
        let AdmissionConfig { global, ip, user, .. } = AdmissionConfig::default();
        Self { global, ip, user, counting: LimitsConfig::default() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            http: HttpConfig::default(),
            admin: AdminConfig::default(),
            server: ServerConfig::default(),
            config: ConfigSection::default(),
            secrets: crate::secrets::SecretsConfig::default(),
            store: StoreConfig::default(),
            backup: BackupConfig::default(),
            redis: RedisConfig::default(),
            connections: ConnectionsConfig::default(),
            outbound: OutboundConfig::default(),
            gateway: GatewayConfig::default(),
            providers: ProvidersConfig::default(),
            models: ModelsConfig::default(),
            routes: RoutesConfig::default(),
            cache: CacheConfig::default(),
            upstream: UpstreamConfig::default(),
            extract: ExtractConfig::default(),
            auth: AuthConfig::default(),
            embed: EmbedConfig::default(),
            knowledge: KnowledgeConfig::default(),
            pages: PagesConfig::default(),
            ask: AskConfig::default(),
            news: NewsConfig::default(),
            schedule: ScheduleConfig::default(),
            inspect: InspectConfig::default(),
            policies: BTreeMap::new(),
            limits: LimitsSection::default(),
            budgets: BudgetsConfig::default(),
            tiers: default_tiers(),
            actions: default_actions(),
            signal: SignalConfig::default(),
            telegram: TelegramConfig::default(),
            messages: MessagesConfig::default(),
            metrics: MetricsConfig::default(),
            log: LogConfig::default(),
            audit: AuditConfig::default(),
            anomaly: AnomalyConfig::default(),
            alerts: AlertsConfig::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

impl Settings {
    /// Everything out of range or contradictory, all at once.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut out = Vec::new();
        if self.data_dir.as_os_str().is_empty() {
            out.push(Problem::new("data_dir", "is empty", "name a folder, such as \"data\""));
        }
        self.http.problems("http", &mut out);
        self.admin.problems("admin", &mut out);
        self.server.problems("server", &mut out);
        self.secrets.problems("secrets", &mut out);
        self.store.problems("store", &mut out);
        self.backup.problems("backup", &mut out);
        self.redis.problems("redis", &mut out);
        self.connections.problems("connections", &mut out);
        self.outbound.problems("outbound", &mut out);
        self.gateway.problems("gateway", &mut out);
        portcullis_providers::config::problems(&self.providers, "providers", &mut out);
        let known = |name: &str| self.providers.contains_key(name) || presets::find(name).is_some();
        portcullis_providers::config::model_problems(&self.models, "models", known, &mut out);
        chat::problems(&self.routes, "routes", known, &mut out);
        self.cache.problems("cache", &mut out);
        self.upstream.problems("upstream", &mut out);
        self.extract.problems("extract", &mut out);
        self.auth.problems("auth", &mut out);
        self.embed.problems("embed", &mut out);
        self.knowledge.problems("knowledge", &mut out);
        if self.knowledge.backend == Backend::Postgres && self.store.url_secret.is_none() {
            let said = "Indexes in Postgres need a store that is Postgres.";
            let mend = "Name the secret that holds its address in `store.url_secret`, or leave the key out for files.";
            out.push(Problem::new("knowledge.backend", said, mend));
        }
        if !crate::embedding::is_embedder(&self.knowledge.embedder) {
            let said = format!("`{}` is no embedder.", self.knowledge.embedder);
            let mend = "Use builtin, builtin-multilingual, or provider/model.";
            out.push(Problem::new("knowledge.embedder", said, mend));
        }
        self.pages.problems("pages", &mut out);
        self.ask.problems("ask", &mut out);
        self.news.problems("news", &mut out);
        self.schedule.problems("schedule", &mut out);
        if self.news.embedder != "auto" && !crate::embedding::is_embedder(&self.news.embedder) {
            let said = format!("`{}` is no embedder.", self.news.embedder);
            let mend = "Use auto, builtin, builtin-multilingual, or provider/model.";
            out.push(Problem::new("news.embedder", said, mend));
        }
        self.inspect.problems("inspect", &mut out);
        for (name, policy) in &self.policies {
            policy.problems(&format!("policies.{name}"), &mut out);
        }
        for (route, config) in &self.routes {
            if config.policy != DEFAULT_POLICY && !self.policies.contains_key(&config.policy) {
                out.push(Problem::new(
                    format!("routes.{route}.policy"),
                    "There is no policy of that name.",
                    "Add its section to `[policies]`, or name another.",
                ));
            }
        }
        self.limits.counting.problems("limits", &mut out);
        let admission = self.admission();
        admission.problems(&mut out);
        policies_exist(&admission, &self.policies, &mut out);
        self.news.tier_problems("news", |tier| admission.tiers.contains_key(tier), &mut out);
        self.budgets.problems("budgets", |tier| admission.tiers.contains_key(tier), &mut out);
        self.signal.problems("signal", &mut out);
        self.telegram.problems("telegram", &mut out);
        self.messages.problems("messages", &mut out);
        self.log.problems("log", &mut out);
        self.audit.problems("audit", &mut out);
        self.anomaly.problems("anomaly", &mut out);
        self.alerts.problems("alerts", &mut out);
        self.telemetry.problems("telemetry", &mut out);
        out
    }

    /// The limits of the way in.
    #[must_use]
    pub fn admission(&self) -> AdmissionConfig {
        AdmissionConfig {
            global: self.limits.global,
            ip: self.limits.ip,
            user: self.limits.user,
            tiers: self.tiers.clone(),
            actions: self.actions.clone(),
        }
    }
}

/// What tiers and actions name must be there: who is under a policy that is not is refused.
pub(crate) fn policies_exist(
    admission: &AdmissionConfig,
    policies: &BTreeMap<String, PolicyConfig>,
    out: &mut Vec<Problem>,
) {
    let missing = |(_, name): &(String, &str)| *name != DEFAULT_POLICY && !policies.contains_key(*name);
    out.extend(admission.policies().filter(missing).map(|(key, _)| {
        let mend = "Add its section to `[policies]`, or name another.";
        Problem::new(key, "There is no policy of that name.", mend)
    }));
}

/// `[config]`: this file itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigSection {
    /// Whether the settings are read again by themselves within about a second of a change of the file, as SIGHUP and
    /// `portcullis reload` do when told. A file with a problem changes nothing and is told in the log. Default false.
    pub watch: bool,
}

/// The process itself.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Threads that run requests, and as many for what runs beside them (chat doors, reports, news). Each connection stays on
    /// one of them. More than the machine has cores only adds switching. 0 (default) means one for each core. Needs a restart.
    pub worker_threads: u16,
    /// How long running requests and streams may go on after SIGTERM before they are cancelled, in seconds.
    /// A supervisor must wait longer than this before it kills. Default 30.
    pub drain_secs: u64,
    /// Most messages being answered at once, streams included; further ones get 503. Default 4096.
    pub max_in_flight: usize,
    /// A runtime thread blocked for longer than this many milliseconds is counted and logged: it delays every
    /// other request. Default 100.
    pub stall_warn_ms: u64,
    /// How often the stall watchdog looks, in milliseconds. Default 50.
    pub stall_probe_ms: u64,
    /// How long flushing usage, audit and logs may take at the end of a drain, in seconds. Default 5.
    pub flush_secs: u64,
}

impl ServerConfig {
    /// How many threads run requests.
    #[must_use]
    pub fn threads(&self) -> usize {
        match self.worker_threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            chosen => chosen.into(),
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            worker_threads: 0,
            drain_secs: 30,
            max_in_flight: 4096,
            stall_warn_ms: 100,
            stall_probe_ms: 50,
            flush_secs: 5,
        }
    }
}

impl ServerConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        let mut range = |key: &str, value: u64, low: u64, high: u64| {
            if !(low..=high).contains(&value) {
                let message = format!("{value} is out of range");
                out.push(Problem::new(format!("{prefix}.{key}"), message, format!("choose {low} to {high}")));
            }
        };
        range("worker_threads", u64::from(self.worker_threads), 0, 1024);
        range("drain_secs", self.drain_secs, 0, 3600);
        range("max_in_flight", self.max_in_flight as u64, 1, 1_000_000);
        range("stall_warn_ms", self.stall_warn_ms, 1, 60_000);
        range("stall_probe_ms", self.stall_probe_ms, 1, 60_000);
        range("flush_secs", self.flush_secs, 1, 600);
    }
}

/// The known name nearest to a misspelt one, if it is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}
