//! The settings in force and the one task that owns them. Reloads by signal, by the admin API and by a changed file
//! come here and take turns; so do tiers and budgets changed at run time. New settings are validated whole: any problem leaves the
//! old ones in force and all problems are told. Running requests end on what they began with.
//!
//! Source: gateway.md section 14; requirement S2-1.4.

use crate::{
    Secrets, Settings, check, read_secrets,
    settings::{
        Examined, LoadError, Located, Origin, Report, Severity, Sources, diff, examine, examine_text,
        find_file, policies_exist,
    },
    snapshot::{self, Apps, Ground},
    start::jwt,
};
use portcullis_channels::http::{
    Current,
    control::{Call, Unusable},
};
use portcullis_domain::{Door, Failure, Problem};
use portcullis_engine::{
    Admission, AdmissionConfig, Changes, Engine, Screening, TierConfig,
    budgets::{BudgetConfig, BudgetsConfig},
    identity::Identity,
    keys::Keys,
};
use portcullis_providers::{Providers, Staged};
use portcullis_store::{DefinitionRow, Definitions, Store, StoreError};
use portcullis_telemetry::{Audit, AuditEvent};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{sync::mpsc::Receiver, time::Instant};
use tokio_util::sync::CancellationToken;

/// How often tiers and budgets that another replica changed are looked for.
const CHANGES_EVERY: Duration = Duration::from_secs(10);
/// How often anything is looked for at all.
const TICK: Duration = Duration::from_secs(1);
/// Most keys named in one audit record.
const MAX_NAMED_KEYS: usize = 64;

/// What the task is built from.
pub(crate) struct Keeper {
    /// Where settings came from; none: they were given, and cannot be read again.
    pub(crate) sources: Option<Sources>,
    pub(crate) started_with: Settings,
    pub(crate) settings: Settings,
    pub(crate) secrets: Secrets,
    pub(crate) origins: BTreeMap<String, Origin>,
    pub(crate) ground: Ground,
    pub(crate) providers: Providers,
    pub(crate) identity: Arc<Identity>,
    pub(crate) apps: Apps,
    pub(crate) screening: Screening,
    pub(crate) engine: Engine,
    pub(crate) keys: Keys,
    pub(crate) tiers: Vec<DefinitionRow>,
    pub(crate) budgets: Vec<DefinitionRow>,
    pub(crate) store: Store,
    pub(crate) audit: Audit,
    pub(crate) current: Current,
    pub(crate) addresses: [SocketAddr; 2],
    pub(crate) asked_to_end: CancellationToken,
    /// The file as it was last looked at.
    pub(crate) seen: Print,
}

/// New settings, nothing of which is in force yet.
struct Candidate {
    examined: Examined,
    secrets: Secrets,
    staged: Staged,
    identity: Arc<Identity>,
}

impl Keeper {
    /// Serves calls until `stop`.
    pub(crate) async fn run(mut self, mut calls: Receiver<Call>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looked = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                call = calls.recv() => match call {
                    Some(call) => Box::pin(self.serve(call)).await,
                    None => return,
                },
                _ = ticks.tick() => {
                    let print = print(self.sources.as_ref());
                    let other = std::mem::replace(&mut self.seen, print) != print;
                    if self.settings.config.watch && other {
                        // Once for each change: a file that cannot be used is told once, not every second.
                        let _told = Box::pin(self.reload("watch")).await;
                    }
                    if looked.elapsed() >= CHANGES_EVERY {
                        looked = Instant::now();
                        self.hear_changes().await;
                    }
                }
            }
        }
    }

    async fn serve(&mut self, call: Call) {
        // Whoever stopped waiting for an answer needs none.
        match call {
            Call::Reload { by, reply } => drop(reply.send(self.reload(&by).await)),
            Call::Validate { text, reply } => drop(reply.send(self.validate(text).await)),
            Call::Show { reply } => drop(reply.send(self.show())),
            Call::Tiers { reply } => drop(reply.send(self.tiers())),
            Call::SetTier { name, definition, reply } => {
                drop(reply.send(self.set_tier(&name, definition).await));
            }
            Call::Budgets { reply } => drop(reply.send(self.budgets())),
            Call::SetBudget { name, definition, reply } => {
                drop(reply.send(self.set_budget(&name, definition).await));
            }
            Call::Drain => self.asked_to_end.cancel(),
        }
    }

    /// Reads everything again and puts it in force, or nothing of it.
    async fn reload(&mut self, by: &str) -> Result<Value, Unusable> {
        match Box::pin(self.candidate(None)).await {
            Ok(candidate) => Ok(self.put_in_force(candidate, by)),
            Err(report) => {
                let (errors, _) = report.counts();
                tracing::warn!(
                    event = "config_refused",
                    by,
                    errors,
                    "the settings were not reloaded:\n{report}"
                );
                self.prove(
                    "config_refused",
                    "refused",
                    vec![("by", by.to_owned()), ("problems", errors.to_string())],
                );
                Err(Unusable(report.to_json()))
            }
        }
    }

    /// Validates whole: settings, secrets, token rules, providers, open doors.
    async fn candidate(&self, text: Option<&str>) -> Result<Candidate, Report> {
        let Some(sources) = &self.sources else {
            return Err(alone(
                "the settings of this server were not read from anywhere",
                "restart it instead",
            ));
        };
        let mut examined = match text.map_or_else(|| examine(sources), |text| Ok(examine_text(sources, text)))
        {
            Ok(examined) => examined,
            Err(LoadError::Refused(report)) => return Err(report),
            Err(error @ LoadError::Unreadable { .. }) => {
                return Err(alone(&error.to_string(), "make it readable"));
            }
        };
        let secrets = read_secrets(&examined.settings, &sources.environment).await;
        examined.report.problems.extend(check::secret_problems(&examined, &secrets));
        let mut error = |key: &str, message: String, mend: &str| {
            let origin = examined.origins.get(key).cloned().unwrap_or(Origin::Default);
            let (key, mend) = (key.to_owned(), mend.to_owned());
            examined.report.problems.push(Located { origin, key, message, mend, severity: Severity::Error });
        };
        let identity = match jwt(&examined.settings, &secrets) {
            Ok(jwt) => Some(Arc::new(self.identity.changed(examined.settings.http.anonymous, Arc::new(jwt)))),
            Err(why) => {
                error("auth.jwt", why.to_string(), "see this section in docs/reference/configuration.md");
                None
            }
        };
        let nobody_asked = |identity: &Identity| {
            !identity.is_closed() && self.addresses.iter().any(|at| !at.ip().to_canonical().is_loopback())
        };
        if !examined.settings.http.anonymous && identity.as_deref().is_some_and(nobody_asked) {
            let why = "other machines reach this server, and nobody would need a key any more".to_owned();
            error("auth.jwt", why, "make a key first, or leave a token issuer configured");
        }
        let staged = match self.ground.providers(&examined.settings, &secrets, Some(&self.providers)) {
            Ok(staged) => Some(staged),
            Err(why) => {
                let key = format!("providers.{}", why.name);
                error(&key, why.why.clone(), "correct its section, or set `enabled = false`");
                None
            }
        };
        examined.report.tidy();
        match (identity, staged) {
            (Some(identity), Some(staged)) if !examined.report.refuses() => {
                Ok(Candidate { examined, secrets, staged, identity })
            }
            (_, _) => Err(examined.report),
        }
    }

    /// Nothing here can fail.
    fn put_in_force(&mut self, candidate: Candidate, by: &str) -> Value {
        let Candidate { examined, secrets, staged, identity } = candidate;
        let changed = diff::changed(&self.settings, &examined.settings);
        self.settings = examined.settings;
        self.origins = examined.origins;
        self.secrets = secrets;
        self.identity = identity;
        self.providers = staged.commit(&self.ground.registry);
        let inspector = self.screening.inspector.under(&self.settings.inspect);
        self.apps = self.ground.apps(&self.settings, &self.providers, &inspector);
        self.screening = snapshot::screening(&self.settings, inspector);
        self.swap();
        let waiting = self.waiting();
        tracing::info!(
            event = "config_reloaded",
            by,
            changed = changed.len(),
            restart_needed = waiting.len(),
            "settings reloaded"
        );
        let names = |keys: &BTreeSet<String>| {
            keys.iter().take(MAX_NAMED_KEYS).map(String::as_str).collect::<Vec<_>>().join(",")
        };
        self.prove(
            "config_reloaded",
            "ok",
            vec![("by", by.to_owned()), ("changed", names(&changed)), ("restart_needed", names(&waiting))],
        );
        let mut told = examined.report.to_json();
        told["reloaded"] = true.into();
        told["changed"] = json!(changed);
        told["restart_needed"] = json!(waiting);
        told
    }

    /// The one swap: tiers, limits, apps and bounds of the doors, as they stand here.
    fn swap(&mut self) {
        let admission = with_tiers(&self.settings, &self.tiers);
        self.keys.set_tiers(admission.tiers.keys().cloned().collect());
        let most = self.settings.gateway.default_max_tokens;
        let budgets = with_budgets(&self.settings, &admission, &self.budgets);
        self.ground.budgets.apply(&budgets, &admission.tiers, most);
        self.engine = self.engine.changed(Changes {
            identity: self.identity.clone(),
            admission: Admission::new(&admission),
            screening: self.screening.clone(),
            apps: self.apps.clone(),
        });
        self.current.swap(snapshot::live(&self.settings, &self.secrets, self.engine.clone()));
    }

    /// Keys whose new value waits for a restart.
    fn waiting(&self) -> BTreeSet<String> {
        let mut changed = diff::changed(&self.started_with, &self.settings);
        changed.retain(|key| !diff::is_reloaded(key));
        changed
    }

    /// What is wrong with a file's text, under the environment and the flags of this server.
    async fn validate(&self, text: String) -> Value {
        match Box::pin(self.candidate(Some(&text))).await {
            Ok(candidate) => candidate.examined.report.to_json(),
            Err(report) => report.to_json(),
        }
    }

    fn show(&self) -> Value {
        json!({"data": diff::shown(&self.settings, &self.origins, &self.waiting())})
    }

    fn tiers(&self) -> Value {
        let effective = with_tiers(&self.settings, &self.tiers).tiers;
        let row = |(name, tier): (String, TierConfig)| {
            let changed = self.tiers.iter().any(|row| row.name == name);
            let mut value = serde_json::to_value(tier).unwrap_or_default();
            value["name"] = name.into();
            value["changed_at_run_time"] = changed.into();
            value
        };
        json!({"data": effective.into_iter().map(row).collect::<Vec<_>>()})
    }

    async fn set_tier(&mut self, name: &str, definition: Option<Value>) -> Result<Value, Failure> {
        if let Some(definition) = &definition {
            let tier: TierConfig = serde_json::from_value(definition.clone())
                .map_err(|error| Failure::invalid("body", format!("That is no tier: {error}.")))?;
            self.fits(name, tier)?;
        }
        keep(&self.store.tiers(), name, definition, "This tier was not changed at run time.").await?;
        self.hear_changes().await;
        Ok(self.tiers())
    }

    fn budgets(&self) -> Value {
        let admission = with_tiers(&self.settings, &self.tiers);
        let effective = with_budgets(&self.settings, &admission, &self.budgets).named;
        let row = |(name, budget): (String, BudgetConfig)| {
            let changed = self.budgets.iter().any(|row| row.name == name);
            let mut value = serde_json::to_value(budget).unwrap_or_default();
            value["name"] = name.into();
            value["changed_at_run_time"] = changed.into();
            value
        };
        json!({"data": effective.into_iter().map(row).collect::<Vec<_>>()})
    }

    async fn set_budget(&mut self, name: &str, definition: Option<Value>) -> Result<Value, Failure> {
        if let Some(definition) = &definition {
            if !self.settings.budgets.named.contains_key(name) {
                return Err(Failure::NotFound(
                    "There is no such budget; new ones are made in the settings.".into(),
                ));
            }
            let budget: BudgetConfig = serde_json::from_value(definition.clone())
                .map_err(|error| Failure::invalid("body", format!("That is no budget: {error}.")))?;
            let (mut problems, admission) = (Vec::new(), with_tiers(&self.settings, &self.tiers));
            budget.problems(name, |tier| admission.tiers.contains_key(tier), &mut problems);
            first(problems)?;
        }
        keep(&self.store.budgets(), name, definition, "This budget was not changed at run time.").await?;
        self.hear_changes().await;
        Ok(self.budgets())
    }

    fn fits(&self, name: &str, tier: TierConfig) -> Result<(), Failure> {
        let mut admission = self.settings.admission();
        if !admission.tiers.contains_key(name) {
            return Err(Failure::NotFound(
                "There is no such tier; new ones are made in the settings.".into(),
            ));
        }
        admission.tiers.insert(name.to_owned(), tier);
        let mut problems = Vec::new();
        admission.problems(&mut problems);
        policies_exist(&admission, &self.settings.policies, &mut problems);
        first(problems)
    }

    /// Takes in tiers and budgets that were changed at run time, here or on another replica.
    async fn hear_changes(&mut self) {
        let read = async { Ok((self.store.tiers().list().await?, self.store.budgets().list().await?)) };
        let read: Result<_, StoreError> = read.await;
        match read {
            Ok((tiers, budgets)) if tiers != self.tiers || budgets != self.budgets => {
                (self.tiers, self.budgets) = (tiers, budgets);
                self.swap();
                tracing::info!(
                    event = "changes_in_force",
                    "tiers or budgets changed at run time are in force"
                );
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "tiers and budgets changed elsewhere cannot be read just now")
            }
        }
    }

    fn prove(&self, kind: &'static str, outcome: &'static str, details: Vec<(&'static str, String)>) {
        self.audit.record(AuditEvent { details, ..AuditEvent::new(kind, Door::Admin, outcome) });
    }
}

/// What tells one state of the file from another.
pub(crate) type Print = Option<(SystemTime, u64)>;

/// The file's state now.
pub(crate) fn print(sources: Option<&Sources>) -> Print {
    let meta = std::fs::metadata(sources.and_then(find_file)?).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

/// The limits of the way in, with the tiers that were changed at run time. A kept row that no longer fits is passed
/// over: the settings' own holds.
pub(crate) fn with_tiers(settings: &Settings, rows: &[DefinitionRow]) -> portcullis_engine::AdmissionConfig {
    let mut admission = settings.admission();
    for row in rows {
        let Some(tier) = admission.tiers.get_mut(&row.name) else { continue };
        match serde_json::from_value(row.definition.clone()) {
            Ok(kept) => *tier = kept,
            Err(error) => {
                tracing::warn!(tier = row.name, %error, "a tier kept in the store is not understood")
            }
        }
    }
    admission
}

/// The budgets, with those that were redefined at run time. A kept row that no longer fits is passed over: the
/// settings' own holds.
pub(crate) fn with_budgets(
    settings: &Settings,
    admission: &AdmissionConfig,
    rows: &[DefinitionRow],
) -> BudgetsConfig {
    let mut config = settings.budgets.clone();
    for row in rows {
        let Some(budget) = config.named.get_mut(&row.name) else { continue };
        let kept = serde_json::from_value::<BudgetConfig>(row.definition.clone()).ok().filter(|kept| {
            let mut problems = Vec::new();
            kept.problems(&row.name, |tier| admission.tiers.contains_key(tier), &mut problems);
            problems.is_empty()
        });
        match kept {
            Some(kept) => *budget = kept,
            None => tracing::warn!(budget = row.name, "a budget kept in the store no longer fits"),
        }
    }
    config
}

/// Keeps a definition, or forgets it.
async fn keep(
    kept: &Definitions<'_>,
    name: &str,
    definition: Option<Value>,
    absent: &'static str,
) -> Result<(), Failure> {
    let done = match definition {
        Some(definition) => kept.set(name, &definition).await.map(|_seq| true),
        None => kept.remove(name).await,
    };
    match done.map_err(portcullis_engine::store_failure)? {
        true => Ok(()),
        false => Err(Failure::NotFound(absent.into())),
    }
}

/// The first of what is wrong.
fn first(problems: Vec<Problem>) -> Result<(), Failure> {
    match problems.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(Failure::invalid(first.key, format!("{}: {}.", first.message, first.mend))),
    }
}

fn alone(message: &str, mend: &str) -> Report {
    let problem = Located {
        origin: Origin::Default,
        key: String::new(),
        message: message.to_owned(),
        mend: mend.to_owned(),
        severity: Severity::Error,
    };
    Report { file: None, problems: vec![problem] }
}
