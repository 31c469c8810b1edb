//! The path in, in order: `Engine::enter` identifies and admits, `Admitted::run` inspects and runs the app, and the
//! record finishes: metrics, log line, audit. Each stage takes what the one before it made, so no refactoring can
//! swap or skip one. Invariant: whatever happens (refusal, panic, deadline, hang-up in the middle of a stream), the
//! permits come back and exactly one outcome is recorded, both by `Drop`.

mod leaving;

use crate::{
    App, Inspected,
    admission::{Admission, Subjects},
    breaches::Breaches,
    budgets::Budgets,
    confirm::{self, Meant},
    exceptions::ExceptionDesk,
    filter::Filter,
    hardening::{self, Prompted},
    identity::Identity,
    ids,
    keys::Keys,
    outgoing::Sight,
    policy::{self, Policies},
    quotas::Quotas,
    record::{Finishing, Record},
    screening::{self, Screening, Suspicion, Who},
    shape::Shape,
    tokens,
};
use futures_util::FutureExt as _;
use leaving::Leaving;
use portcullis_domain::{
    Action, Caller, Deadline, Failure, Hints, Inbound, LimitView, Payload, Reply, ReplyBody, RequestId, Scope,
};
use portcullis_resilience::limits::{Limits, Receipt};
use portcullis_store::Store;
use portcullis_telemetry::{Anomalies, Audit, AuditEvent, Metrics, Span, Traces};
use smallvec::SmallVec;
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What the rate headers tell.
pub type Views = SmallVec<[LimitView; 5]>;

/// What the engine is built from.
pub struct Parts {
    /// Who is asking.
    pub identity: Arc<Identity>,
    /// Where limits are counted.
    pub limits: Limits,
    /// Which limits apply.
    pub admission: Admission,
    /// What may be spent.
    pub budgets: Budgets,
    /// What is looked for in texts.
    pub screening: Screening,
    /// Where state is kept.
    pub store: Store,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Where it is proved.
    pub audit: Audit,
    /// Who notices what does not fit a caller.
    pub anomalies: Anomalies,
    /// Where requests are traced.
    pub traces: Traces,
    /// Who sent suspicious messages before.
    pub suspicion: Suspicion,
    /// What operators let pass at run time.
    pub exceptions: ExceptionDesk,
    /// Which app answers which action.
    pub apps: Vec<(Action, Arc<dyn App>)>,
    /// Most messages being answered at once, streams included.
    pub max_in_flight: usize,
}

/// What of the engine changes with the settings while it runs.
pub struct Changes {
    /// Who is asking.
    pub identity: Arc<Identity>,
    /// Which limits apply.
    pub admission: Admission,
    /// What is looked for in texts.
    pub screening: Screening,
    /// Which app answers which action.
    pub apps: Vec<(Action, Arc<dyn App>)>,
}

/// The way in. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

pub(crate) struct Inner {
    identity: Arc<Identity>,
    pub(crate) limits: Limits,
    pub(crate) admission: Admission,
    budgets: Budgets,
    pub(crate) screening: Screening,
    pub(crate) store: Store,
    pub(crate) metrics: Metrics,
    pub(crate) audit: Audit,
    pub(crate) anomalies: Anomalies,
    traces: Traces,
    exceptions: ExceptionDesk,
    breaches: Arc<Breaches>,
    turns: Arc<Suspicion>,
    apps: [Option<Arc<dyn App>>; Action::ALL.len()],
    places: Arc<Semaphore>,
}

/// Turned away before the payload was read.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub failure: Failure,
    /// The caller's limits, where they were looked at.
    pub views: Views,
}

/// The end of a message's way in.
pub struct Answer {
    /// The answer, or why there is none.
    pub result: Result<Reply, Failure>,
    /// The caller's limits.
    pub views: Views,
}

/// When a full house may have room again; a guess, since answers take seconds.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// When the audit trail may be written again: somebody has to make room on a disk.
const UNPROVED_RETRY: Duration = Duration::from_secs(10);
/// How long a change waits for its proof to be on disk. It is made either way: the record is queued by then.
pub(crate) const PROOF_PATIENCE: Duration = Duration::from_secs(2);

impl Engine {
    /// Builds the path.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            identity: parts.identity,
            limits: parts.limits,
            admission: parts.admission,
            budgets: parts.budgets,
            screening: Screening { granted: parts.exceptions.granted(), ..parts.screening },
            exceptions: parts.exceptions,
            breaches: Arc::new(Breaches::new(parts.audit.clone())),
            store: parts.store,
            metrics: parts.metrics,
            audit: parts.audit,
            anomalies: parts.anomalies,
            traces: parts.traces,
            turns: Arc::new(parts.suspicion),
            apps: by_action(parts.apps),
            places: Arc::new(Semaphore::new(parts.max_in_flight)),
        }))
    }

    /// The way in with other rules. What is counted goes on being counted: limits, places, what was told of breaches.
    /// Messages that came in by this one end by it.
    #[must_use]
    pub fn changed(&self, changes: Changes) -> Self {
        let inner = &*self.0;
        Self(Arc::new(Inner {
            identity: changes.identity,
            limits: inner.limits.clone(),
            admission: changes.admission,
            budgets: inner.budgets.clone(),
            screening: Screening { granted: inner.exceptions.granted(), ..changes.screening },
            exceptions: inner.exceptions.clone(),
            breaches: inner.breaches.clone(),
            store: inner.store.clone(),
            metrics: inner.metrics.clone(),
            audit: inner.audit.clone(),
            anomalies: inner.anomalies.clone(),
            traces: inner.traces.clone(),
            turns: inner.turns.clone(),
            apps: by_action(changes.apps),
            places: inner.places.clone(),
        }))
    }

    /// What may be spent, and what was.
    #[must_use]
    pub fn budgets(&self) -> &Budgets {
        &self.0.budgets
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn admission(&self) -> &Admission {
        &self.0.admission
    }

    pub(crate) fn keys(&self) -> &Keys {
        self.0.keys()
    }

    /// What operators let pass at run time.
    #[must_use]
    pub fn exceptions(&self) -> &ExceptionDesk {
        &self.0.exceptions
    }

    pub(crate) fn screening(&self) -> &Screening {
        &self.0.screening
    }

    pub(crate) fn policies(&self) -> &Policies {
        &self.0.screening.policies
    }

    /// The callers' own limits, for what is done for them without a message, such as a digest on schedule.
    #[must_use]
    pub fn quotas(&self) -> Quotas {
        Quotas::new(&self.0)
    }

    /// Refusals by limits, as they are told; for whoever settles them in time.
    #[must_use]
    pub fn breaches(&self) -> Arc<Breaches> {
        self.0.breaches.clone()
    }

    /// What does not fit its caller.
    #[must_use]
    pub fn anomalies(&self) -> &Anomalies {
        &self.0.anomalies
    }

    /// Where requests are traced.
    #[must_use]
    pub fn traces(&self) -> &Traces {
        &self.0.traces
    }

    pub(crate) fn audit(&self) -> &Audit {
        &self.0.audit
    }

    pub(crate) fn app(&self, action: Action) -> Option<&Arc<dyn App>> {
        self.0.apps[action.index()].as_ref()
    }

    /// Headers that the app behind this action wants to see as `Hints::affinity`, in lower case.
    #[must_use]
    pub fn affinity_headers(&self, action: Action) -> &[Box<str>] {
        self.0.apps[action.index()].as_ref().map_or(&[], |app| app.affinity_headers())
    }

    /// A fresh request id, for answers that never reach the path (unknown paths).
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        ids::request()
    }

    /// Who has nothing left to spend need not send a body.
    fn affordable(&self, caller: &Caller, action: Action) -> Result<(), Failure> {
        match action {
            Action::Chat
            | Action::Embed
            | Action::Ask
            | Action::Message
            | Action::News
            | Action::Summarise => self.0.budgets.precheck(caller),
            // Costs nothing.
            Action::Models
            | Action::Admin
            | Action::Search
            | Action::Ingest
            | Action::Menu
            | Action::AddSource => Ok(()),
        }
    }

    /// Stages 2 and 3: identify and admit. Charges every level or none.
    ///
    /// # Errors
    /// `Refused` with `Unauthenticated`, `Forbidden`, `RateLimited`, `BudgetExceeded` or `Unavailable`.
    pub async fn enter(&self, inbound: Inbound) -> Result<Admitted, Refused> {
        let (door, action) = (inbound.door.as_str(), inbound.action.as_str());
        let span = self.0.traces.begin(None, || format!("{door} {action}").into());
        self.enter_traced(inbound, span).await
    }

    /// The same, as that span, which the door has begun.
    ///
    /// # Errors
    /// Those of [`Engine::enter`].
    pub async fn enter_traced(&self, mut inbound: Inbound, span: Option<Span>) -> Result<Admitted, Refused> {
        let mut record = Record::begin(self.0.clone(), &mut inbound, span);
        let Inbound { door, action, address, credential, deadline, hints, .. } = inbound;
        let identified = self.0.identity.identify(&credential, address, door).await;
        let caller = match identified {
            Ok(caller) => caller,
            Err(failure) => return Err(record.refuse(failure, Views::new())),
        };
        record.known(&caller);
        if !self.0.audit.accepts() {
            let failure = Failure::Unavailable { retry_after: UNPROVED_RETRY, rate_limited: false };
            return Err(record.refuse(failure, Views::new()));
        }
        let subjects = self.0.admission.subjects(&caller, action);
        let decision = self.0.limits.decide(&self.0.admission.charges(&caller, action, &subjects)).await;
        let (views, receipt) = (decision.views, decision.receipt);
        if let Some(refusal) = decision.refused {
            let inner = &self.0;
            inner.breaches.note(inner, &record, &caller, (refusal, &views));
            let failure = Failure::RateLimited { scope: refusal.scope, retry_after: refusal.retry_after };
            return Err(record.refuse(failure, views));
        }
        if let Some(failure) = forbidden(&caller, action) {
            return Err(record.refuse(failure, views));
        }
        if let Err(failure) = self.affordable(&caller, action) {
            return Err(record.refuse(failure, views));
        }
        Ok(Admitted { record, caller, deadline, hints, subjects, views, receipt })
    }
}

fn by_action(listed: Vec<(Action, Arc<dyn App>)>) -> [Option<Arc<dyn App>>; Action::ALL.len()] {
    let mut apps = [const { None }; Action::ALL.len()];
    for (action, app) in listed {
        apps[action.index()] = Some(app);
    }
    apps
}

/// What the caller's scopes do not allow.
fn forbidden(caller: &Caller, action: Action) -> Option<Failure> {
    let needed = match action {
        Action::Chat
        | Action::Embed
        | Action::Models
        | Action::Ask
        | Action::Message
        | Action::Search
        | Action::News
        | Action::Menu
        | Action::AddSource
        | Action::Summarise => Scope::Chat,
        Action::Admin => Scope::AdminRead,
        Action::Ingest => Scope::AdminWrite,
    };
    let name = needed.as_str();
    (!caller.scopes.has(needed))
        .then(|| Failure::Forbidden(format!("This key lacks the scope {name}.").into()))
}

/// A message that has paid: identified and admitted. Dropping it counts as the caller hanging up.
pub struct Admitted {
    record: Record,
    caller: Caller,
    deadline: Deadline,
    hints: Hints,
    subjects: Subjects,
    views: Views,
    receipt: Receipt,
}

impl Admitted {
    /// Who asks.
    #[must_use]
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.record.engine().limits
    }

    /// Stages 4 to 6: inspect, run, finish.
    pub async fn run(mut self, payload: Payload) -> Answer {
        let engine = self.record.engine().clone();
        match self.answer(&engine, payload).await {
            Ok((reply, place)) => {
                let Self { record, views, .. } = self;
                Answer { result: Ok(finish(record, reply, place)), views }
            }
            Err(failure) => {
                if matches!(failure, Failure::Blocked { .. }) {
                    // Whoever reads the incident finds it in the trail, whatever happens to this process.
                    engine.audit.synced(PROOF_PATIENCE).await;
                }
                self.refuse(failure).await
            }
        }
    }

    /// Ends the message with a failure found outside the engine, such as a body that does not decode.
    pub async fn refuse(self, failure: Failure) -> Answer {
        if failure.refunds() {
            let engine = self.record.engine();
            let charges = engine.admission.charges(&self.caller, self.record.action(), &self.subjects);
            engine.limits.refund(&charges, self.receipt).await;
        }
        let Refused { failure, views } = self.record.refuse(failure, self.views);
        Answer { result: Err(failure), views }
    }

    /// Proves a change that the door itself makes for this caller (the admin API): back when the proof is on disk.
    pub async fn audit(&self, kind: &'static str, details: Vec<(&'static str, String)>) {
        let event = AuditEvent {
            action: Some(self.record.action()),
            caller: Some(self.caller.id.clone()),
            tier: Some(self.caller.tier.clone()),
            request_id: Some(self.record.id()),
            trace_id: self.record.trace_id(),
            details,
            ..AuditEvent::new(kind, self.record.door(), "ok")
        };
        if !self.record.engine().audit.record_synced(event, PROOF_PATIENCE).await {
            tracing::error!(kind, request_id = %self.record.id(), "a change was made before its proof was on disk");
        }
    }

    /// Ends a message that the door itself has answered (the admin API).
    pub fn done(self) -> Views {
        self.record.succeed(None);
        self.views
    }

    async fn answer(
        &mut self,
        engine: &Arc<Inner>,
        payload: Payload,
    ) -> Result<(Reply, OwnedSemaphorePermit), Failure> {
        let place = engine
            .places
            .clone()
            .try_acquire_owned()
            .map_err(|_| Failure::Overloaded { retry_after: FULL_RETRY })?;
        let named = engine.admission.policies(&self.caller, self.record.action());
        let policy = engine.screening.policies.of(&payload, named)?;
        let (mut payload, mut screened) =
            screening::screen(&engine.screening, payload, &self.caller.id).await?;
        if !matches!(payload, Payload::Count(_) | Payload::Models(_)) {
            self.record.said(screened.length);
        }
        let who = self.who();
        let meant = Meant { who: &who, action: self.record.action(), payload: &payload };
        confirm::judge(engine, &policy, &mut screened, &meant, self.hints.confirm.take()).await?;
        screening::clean(&mut payload);
        let mut remembered = None;
        if let Some(watch) = &policy.input {
            let found = policy::incoming(watch, &mut payload, &engine.metrics);
            if !found.findings.is_empty() {
                let incident = screening::note(engine, &policy, "input", &found.findings, &who);
                if found.blocked {
                    return Err(Failure::Blocked { incident });
                }
            }
            remembered = found.remembered;
        }
        let suspicious = screened.flagged && policy.judges() && !engine.screening.shadow;
        let Prompted { payload, watch, hardened, instructions } = match policy.prompting.plan(suspicious) {
            None => Prompted { payload, watch: policy.output.clone(), hardened: false, instructions: None },
            Some(plan) => Box::pin(hardening::harden(engine, &policy, payload, plan)).await?,
        };
        // Formats whose answers are looked at here; what other apps say is looked at by them, text by text.
        let (shape, spoken) = match &payload {
            Payload::Chat(request) => {
                let shape = Shape::of(request, policy.schema, engine.screening.shape)?;
                (shape, Some((request.format, request.n)))
            }
            Payload::Count(_)
            | Payload::Embed(_)
            | Payload::Models(_)
            | Payload::Library(_)
            | Payload::News(_) => (None, None),
        };
        let app = engine.apps[payload.action().index()]
            .clone()
            .ok_or_else(|| Failure::NotFound("This is not offered here.".into()))?;
        let request = Inspected {
            id: self.record.id(),
            caller: self.caller.clone(),
            weight: engine.admission.weight(&self.caller.tier),
            deadline: self.deadline,
            hints: std::mem::take(&mut self.hints),
            payload,
            span: self.record.span().cloned(),
            score: screened.score,
            shape: shape.clone(),
            flagged: screened.flagged,
            filter: Filter::new(engine, &policy, watch.as_ref(), remembered.as_ref(), &who),
            quotas: Quotas::new(engine),
        };
        if let Some(charged) = tokens::charge(&engine.limits, &request.caller, &request.payload).await? {
            self.record.charged(charged);
        }
        let result = self.ask(engine, &*app, request).await;
        let sight = Sight::new(watch, policy.tools(suspicious, screened.untrusted), hardened, remembered)
            .repeating(instructions);
        let Some((format, choices)) = spoken.filter(|_| !sight.is_blind() || shape.is_some()) else {
            return Ok((result?, place));
        };
        if shape.as_ref().is_some_and(|shape| shape.was_asked_again()) {
            engine.metrics.guard(&policy.name, "schema", "retry");
        }
        let guard = Leaving { engine, policy: &policy, shape, sight, who, format, choices };
        Ok((guard.reply(result?)?, place))
    }

    /// Runs the app to its end or the deadline's; a panic ends this request only.
    async fn ask(&mut self, engine: &Inner, app: &dyn App, request: Inspected) -> Result<Reply, Failure> {
        self.record.app_begins();
        let running = AssertUnwindSafe(app.run(request)).catch_unwind();
        let result = match tokio::time::timeout_at(self.deadline.instant(), running).await {
            Err(_) => Err(Failure::DeadlineExceeded),
            Ok(Err(panic)) => Err(engine.panicked(app.name(), panic.as_ref(), self.record.id())),
            Ok(Ok(result)) => result,
        };
        self.record.app_ends();
        result
    }

    fn who(&self) -> Who {
        Who {
            caller: self.caller.id.clone(),
            tier: self.caller.tier.clone(),
            id: self.record.id(),
            trace: self.record.trace_id(),
            door: self.record.door(),
        }
    }
}

impl Inner {
    pub(crate) fn keys(&self) -> &Keys {
        self.identity.keys()
    }

    /// A suspicious score after what its caller sent before.
    pub(crate) fn raised(&self, caller: &str, score: f32) -> f32 {
        self.turns.raise(caller, score)
    }

    /// Where the marks of a prompt come from.
    pub(crate) fn seed(&self, body: &[u8]) -> [u8; 32] {
        self.keys().derive("portcullis: marks of a prompt", body)
    }

    /// A caught panic: logged in full once, told outside only as an incident.
    pub(crate) fn panicked(&self, app: &str, panic: &(dyn std::any::Any + Send), id: RequestId) -> Failure {
        let words = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        let incident = ids::incident();
        self.metrics.panic_caught();
        tracing::error!(request_id = %id, %incident, app, panic = words, "an app panicked; only this request failed");
        Failure::Internal { incident }
    }
}

/// Stage 6. A stream keeps its record and its place to its end.
fn finish(mut record: Record, reply: Reply, place: OwnedSemaphorePermit) -> Reply {
    let meter = reply.meter.clone();
    record.answered_by(reply.target.clone());
    let body = match reply.body {
        ReplyBody::Whole(bytes) => {
            record.succeed(Some(meter.get()));
            ReplyBody::Whole(bytes)
        }
        ReplyBody::Message(message) => {
            record.succeed(Some(meter.get()));
            ReplyBody::Message(message)
        }
        ReplyBody::Stream(source) => {
            ReplyBody::Stream(Box::pin(Finishing::new(source, record, meter, place)))
        }
    };
    Reply { body, ..reply }
}

#[cfg(test)]
pub(crate) mod tests;
