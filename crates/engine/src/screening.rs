//! Stage 4: every untrusted text of a message is looked at before an app sees it. System parts are the operator's
//! own words and are not judged. Large bodies are scanned off the async workers, so that one huge prompt delays
//! nobody. Invariant: the payload itself is never changed here; only the scored copy is cleaned.
//!
//! Source: inspect.md sections 1 and 2, gateway.md section 11 (hook "input").

use crate::{
    ids,
    pipeline::Inner,
    policy::{Findings, Policies, Policy},
    shape::ShapeLimits,
};
use parking_lot::Mutex;
use portcullis_domain::{Door, Failure, Incident, Payload, RequestId, Role, Tier};
use portcullis_inspect::{
    Channel, CheckAction, Exceptions, InspectConfig, Inspector, Removed, Turns, VerdictKind,
};
use portcullis_telemetry::AuditEvent;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// What stage 4 needs.
#[derive(Clone)]
pub struct Screening {
    /// The rules.
    pub inspector: Arc<Inspector>,
    /// Most characters of one text.
    pub max_chars: usize,
    /// Bodies larger than this many bytes are scanned on the blocking pool.
    pub offload_bytes: usize,
    /// Whether verdicts are only recorded (`mode = "shadow"`).
    pub shadow: bool,
    /// How much holding answers against schemas may cost.
    pub shape: ShapeLimits,
    /// What passes although it is suspicious.
    pub exceptions: Arc<Exceptions>,
    /// What follows, by route.
    pub policies: Policies,
}

/// Who sent suspicious messages lately. One for the life of the process, whatever its settings become.
pub struct Suspicion {
    turns: Mutex<Turns>,
    began: Instant,
    names: ahash::RandomState,
}

impl Suspicion {
    /// Nobody yet.
    #[must_use]
    pub fn new(config: &InspectConfig) -> Self {
        let half_life = Duration::from_secs(config.turn_half_life_secs.into());
        let turns = Mutex::new(Turns::new(half_life, config.turn_callers));
        Self { turns, began: Instant::now(), names: ahash::RandomState::new() }
    }

    pub(crate) fn raise(&self, caller: &str, score: f32) -> f32 {
        self.turns.lock().raise(self.names.hash_one(caller), score, self.began.elapsed())
    }
}

/// The worst that was found in a message.
#[derive(Debug, Default)]
pub(crate) struct Screened {
    pub(crate) score: f32,
    pub(crate) flagged: bool,
    pub(crate) blocked: bool,
    /// Whether there are texts among them that no person wrote to us, such as results of tools.
    pub(crate) untrusted: bool,
    pub(crate) reasons: Vec<&'static str>,
    pub(crate) part: usize,
    pub(crate) bytes: usize,
    /// Bytes of the last message of the person, or of all texts to embed.
    pub(crate) length: usize,
    /// Rows of the settings by which suspicious texts passed.
    pub(crate) excepted: Vec<usize>,
    /// What hid in all texts together.
    pub(crate) removed: Removed,
}

/// Looks at every text of the payload.
pub(crate) async fn screen(
    screening: &Screening,
    payload: Payload,
    caller: &Arc<str>,
) -> Result<(Payload, Screened), Failure> {
    let size = match &payload {
        Payload::Chat(request) | Payload::Count(request) => request.body.len(),
        Payload::Embed(request) => request.body.len(),
        Payload::Library(request) => request.text().map_or(0, str::len),
        Payload::News(request) => request.text().map_or(0, str::len),
        Payload::Models(_) => return Ok((payload, Screened::default())),
    };
    if size <= screening.offload_bytes {
        let screened = scan(screening, &payload, caller)?;
        return Ok((payload, screened));
    }
    let (screening, caller) = (screening.clone(), caller.clone());
    tokio::task::spawn_blocking(move || {
        scan(&screening, &payload, &caller).map(|screened| (payload, screened))
    })
    .await
    .unwrap_or_else(|error| {
        let incident = ids::incident();
        tracing::error!(%incident, %error, "inspection failed; only this request was refused");
        Err(Failure::Internal { incident })
    })
}

fn scan(screening: &Screening, payload: &Payload, caller: &str) -> Result<Screened, Failure> {
    let mut worst = Screened::default();
    match payload {
        Payload::Chat(request) | Payload::Count(request) => {
            for (index, (role, text)) in request.texts().enumerate() {
                let channel = match role {
                    Role::System | Role::Assistant => continue,
                    Role::User => {
                        worst.length = text.len();
                        Channel::User
                    }
                    Role::Tool => {
                        worst.untrusted = true;
                        Channel::Document
                    }
                };
                look(screening, (caller, &text), channel, index, "messages", &mut worst)?;
            }
        }
        Payload::Embed(request) => {
            for (index, text) in request.texts().enumerate() {
                worst.length += text.len();
                look(screening, (caller, &text), Channel::Document, index, "input", &mut worst)?;
            }
        }
        Payload::Library(request) => said(screening, caller, request.text(), &mut worst)?,
        Payload::News(request) => said(screening, caller, request.text(), &mut worst)?,
        Payload::Models(_) => {}
    }
    Ok(worst)
}

/// The one text of a person.
fn said(
    screening: &Screening,
    caller: &str,
    text: Option<&str>,
    worst: &mut Screened,
) -> Result<(), Failure> {
    let Some(text) = text else { return Ok(()) };
    worst.length = text.len();
    look(screening, (caller, text), Channel::User, 0, "question", worst)
}

fn look(
    screening: &Screening,
    (caller, text): (&str, &str),
    channel: Channel,
    index: usize,
    member: &str,
    worst: &mut Screened,
) -> Result<(), Failure> {
    if text.len() > screening.max_chars {
        let chars = text.chars().count();
        if chars > screening.max_chars {
            let most = screening.max_chars;
            let message = format!("A text of {chars} characters is longer than the {most} allowed.");
            return Err(Failure::invalid(member.to_owned(), message));
        }
    }
    let verdict = screening.inspector.inspect(text, channel);
    worst.removed.add(verdict.removed);
    let blocked = match verdict.verdict {
        VerdictKind::Allow => {
            worst.score = worst.score.max(verdict.score);
            return Ok(());
        }
        VerdictKind::Flag => false,
        VerdictKind::Block => true,
    };
    if let Some(row) = screening.exceptions.holds(caller, text, jiff::Timestamp::now().as_second()) {
        worst.excepted.push(row);
        return Ok(());
    }
    worst.score = worst.score.max(verdict.score);
    worst.flagged = true;
    worst.blocked |= blocked;
    worst.part = index;
    worst.bytes = text.len();
    worst.reasons.extend(verdict.reasons.iter().map(|reason| reason.id));
    Ok(())
}

/// A suspicious message that the settings let pass, as outcome and metric label.
const EXCEPTED: &str = "excepted";

/// Counts and proves what was found, and refuses what policy blocks. The sender learns the incident, never the
/// reason: reasons are for the operator, in log and audit.
pub(crate) fn conclude(
    engine: &Inner,
    policy: &Policy,
    found: &mut Screened,
    who: &Who,
) -> Result<(), Failure> {
    for (kind, count) in found.removed.rows() {
        if count > 0 {
            engine.metrics.sanitised(kind, count.into());
        }
    }
    if policy.injection == CheckAction::Off {
        return Ok(());
    }
    if !found.excepted.is_empty() {
        engine.metrics.guard(&policy.name, "injection", EXCEPTED);
        let rows: Vec<String> = found.excepted.iter().map(usize::to_string).collect();
        who.prove(engine, EXCEPTED, None, ids::incident(), vec![("exceptions", rows.join(","))]);
    }
    if !found.flagged {
        return Ok(());
    }
    if policy.turns {
        let raised = engine.raised(&who.caller, found.score);
        if raised > found.score {
            found.score = raised;
            found.blocked |= engine.screening.inspector.blocks(raised);
            found.reasons.push("turns");
        }
    }
    let shadow = engine.screening.shadow || policy.shadow;
    let blocked = found.blocked && policy.injection != CheckAction::Flag;
    let action = match (blocked, shadow) {
        (true, false) => "block",
        (true, true) => "shadow_block",
        (false, _) => "flag",
    };
    engine.metrics.guard(&policy.name, "injection", action);
    let incident = ids::incident();
    let reasons = found.reasons.join(",");
    let (caller, score) = (&*who.caller, found.score);
    tracing::warn!(request_id = %who.id, %incident, caller, score, action, reasons, "inspection");
    let details =
        vec![("reasons", reasons), ("part", found.part.to_string()), ("bytes", found.bytes.to_string())];
    who.prove(engine, action, Some(score), incident, details);
    if blocked && !shadow { Err(Failure::Blocked { incident }) } else { Ok(()) }
}

/// Whose message was looked at, for the audit trail.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) caller: Arc<str>,
    pub(crate) tier: Tier,
    pub(crate) id: RequestId,
    pub(crate) door: Door,
}

impl Who {
    fn prove(
        &self,
        engine: &Inner,
        outcome: &'static str,
        score: Option<f32>,
        incident: Incident,
        details: Vec<(&'static str, String)>,
    ) {
        engine.audit.record(AuditEvent {
            caller: Some(self.caller.clone()),
            tier: Some(self.tier.clone()),
            score,
            verdict: score.is_some().then_some(outcome),
            request_id: Some(self.id),
            incident: Some(incident),
            details,
            ..AuditEvent::new("inspection", self.door, outcome)
        });
    }
}

/// Counts and proves what the checks of a policy found in a message or in an answer; the incident they are noted under.
pub(crate) fn note(
    engine: &Inner,
    policy: &Policy,
    direction: &'static str,
    findings: &Findings,
    who: &Who,
) -> Incident {
    let incident = ids::incident();
    let strictest = findings.iter().map(|(_, action)| *action).max().unwrap_or_default();
    for (check, action) in findings {
        engine.metrics.guard(&policy.name, check, action.as_str());
    }
    let mut checks: Vec<&str> = findings.iter().map(|(check, _)| *check).collect();
    checks.sort_unstable();
    checks.dedup();
    let (caller, checks, action) = (&*who.caller, checks.join(","), strictest.as_str());
    tracing::warn!(request_id = %who.id, %incident, caller, policy = &*policy.name, direction, checks, action, "policy");
    let details = vec![
        ("policy", policy.name.to_string()),
        ("direction", direction.to_owned()),
        ("checks", checks),
        ("findings", findings.len().to_string()),
    ];
    who.prove(engine, action, None, incident, details);
    incident
}
