//! Stage 4: every untrusted text of a message is looked at before an app sees it. System parts are the operator's
//! own words and are not judged. Large bodies are scanned off the async workers, so that one huge prompt delays
//! nobody. Invariant: what is scored is a cleaned copy of the text as it came; the payload itself is changed only for people
//! at chat doors, after that, by `clean`.
//!
//! Source: inspect.md sections 1 and 2, gateway.md section 11 (hook "input").

use crate::{
    exceptions::Granted,
    ids,
    pipeline::Inner,
    policy::{Findings, Policies, Policy},
    remembered::{Met, Remembered},
    shape::ShapeLimits,
};
use parking_lot::Mutex;
use portcullis_domain::{
    Door, Failure, Incident, LibraryRequest, NewsRequest, Payload, RequestId, Role, Tier, TraceId,
};
use portcullis_inspect::{
    Channel, CheckAction, Exceptions, Flagged, InspectConfig, Inspector, Removed, Sanitised, Turns,
    VerdictKind, sanitise,
};
use portcullis_telemetry::AuditEvent;
use std::{borrow::Cow, sync::Arc, time::Duration};
use tokio::time::Instant;

/// What stage 4 needs.
#[derive(Clone)]
pub struct Screening {
    /// The rules.
    pub inspector: Arc<Inspector>,
    /// What they found harmless before.
    pub remembered: Arc<Remembered>,
    /// Most characters of one text.
    pub max_chars: usize,
    /// The same of a message at a chat door.
    pub chat_chars: usize,
    /// Bodies larger than this many bytes are scanned on the blocking pool.
    pub offload_bytes: usize,
    /// Whether verdicts are only recorded (`mode = "shadow"`).
    pub shadow: bool,
    /// How much holding answers against schemas may cost.
    pub shape: ShapeLimits,
    /// What passes although it is suspicious, by the settings.
    pub exceptions: Arc<Exceptions>,
    /// The same as granted at run time; the engine sets it.
    pub granted: Granted,
    /// Seconds within which a sender can say that a message is meant.
    pub confirm_secs: u32,
    /// Most characters of a suspicious text in the audit trail; 0: none, as private texts deserve.
    pub excerpt_chars: usize,
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
    /// Names of exceptions by which suspicious texts passed.
    pub(crate) excepted: Vec<Arc<str>>,
    /// How the last suspicious text begins, redacted, where the trail may hold that.
    pub(crate) excerpt: Option<String>,
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
        Payload::Library(request) => {
            let chat = matches!(request, LibraryRequest::Message(_));
            said(screening, (caller, request.text()), chat, &mut worst)?;
        }
        Payload::News(request) => {
            let chat = matches!(request, NewsRequest::Message(_));
            said(screening, (caller, request.text()), chat, &mut worst)?;
        }
        Payload::Models(_) => {}
    }
    Ok(worst)
}

/// The one text of a person.
fn said(
    screening: &Screening,
    (caller, text): (&str, Option<&str>),
    chat: bool,
    worst: &mut Screened,
) -> Result<(), Failure> {
    let Some(text) = text else { return Ok(()) };
    worst.length = text.len();
    if chat {
        fits("question", text, screening.chat_chars)?;
    }
    look(screening, (caller, text), Channel::User, 0, "question", worst)
}

/// A character has at least one byte: most texts need not be counted.
fn fits(member: &str, text: &str, most: usize) -> Result<(), Failure> {
    if text.len() > most {
        let chars = chars(text);
        if chars > most {
            let message = format!("A text of {chars} characters is longer than the {most} allowed.");
            return Err(Failure::invalid(member.to_owned(), message));
        }
    }
    Ok(())
}

/// How many characters a text has, counted as bytes that begin one. In pieces whose sums fit a byte: that is vector code.
fn chars(text: &str) -> usize {
    let begins = |byte: &u8| u8::from(byte.cast_signed() >= -0x40);
    let pieces = text.as_bytes().chunks(usize::from(u8::MAX));
    pieces.map(|piece| usize::from(piece.iter().map(begins).sum::<u8>())).sum()
}

/// What a person wrote at a chat door goes on without what only hides in it, in composed form. What was hidden is counted
/// by then.
pub(crate) fn clean(payload: &mut Payload) {
    let text = if let Payload::Library(LibraryRequest::Message(message))
    | Payload::News(NewsRequest::Message(message)) = payload
    {
        &mut message.text
    } else {
        return;
    };
    let cleaned = match sanitise(text, portcullis_inspect::Policy::Chat, usize::MAX) {
        Ok(Sanitised { text: Cow::Owned(cleaned), .. }) => cleaned,
        Ok(Sanitised { text: Cow::Borrowed(_), .. }) | Err(_) => return,
    };
    *text = cleaned;
}

fn look(
    screening: &Screening,
    (caller, text): (&str, &str),
    channel: Channel,
    index: usize,
    member: &str,
    worst: &mut Screened,
) -> Result<(), Failure> {
    fits(member, text, screening.max_chars)?;
    let met = screening.remembered.look(caller, channel, text);
    if let Met::Harmless(score) = met {
        worst.score = worst.score.max(score);
        return Ok(());
    }
    let verdict = screening.inspector.inspect(text, channel);
    worst.removed.add(verdict.removed);
    let blocked = match verdict.verdict {
        VerdictKind::Allow => {
            worst.score = worst.score.max(verdict.score);
            if let Met::Before(sum) = met
                && verdict.removed == Removed::default()
            {
                screening.remembered.keep(sum, verdict.score);
            }
            return Ok(());
        }
        VerdictKind::Flag => false,
        VerdictKind::Block => true,
    };
    let now = jiff::Timestamp::now().as_second();
    let excepted = screening.exceptions.holds(caller, text, now);
    if let Some(row) = excepted.or_else(|| screening.granted.holds(caller, text, now)) {
        worst.excepted.push(row);
        return Ok(());
    }
    worst.score = worst.score.max(verdict.score);
    worst.flagged = true;
    worst.blocked |= blocked;
    worst.part = index;
    worst.bytes = text.len();
    worst.reasons.extend(verdict.reasons.iter().map(|reason| reason.id));
    if screening.excerpt_chars > 0 {
        worst.excerpt = Some(excerpt(text, screening.excerpt_chars));
    }
    Ok(())
}

/// Bytes that are redacted for each character of an excerpt: what is cut off afterwards was whole before.
const READ_PER_CHAR: usize = 8;

/// How a text begins, without what looks like a secret or tells of a person.
fn excerpt(text: &str, most: usize) -> String {
    let near = &text[..text.floor_char_boundary(most.saturating_mul(READ_PER_CHAR))];
    portcullis_inspect::redact(near).chars().take(most).collect()
}

/// A suspicious message that an exception lets pass, as outcome and metric label.
const EXCEPTED: &str = "excepted";

/// Counts and proves what was found, and refuses what policy blocks; the incident, where the sender is to be asked
/// whether the message is meant. The sender learns the incident, never the reason: reasons are for the operator, in log
/// and audit.
pub(crate) fn conclude(
    engine: &Inner,
    policy: &Policy,
    found: &mut Screened,
    who: &Who,
    confirmed: bool,
) -> Result<Option<Incident>, Failure> {
    for (kind, count) in found.removed.rows() {
        if count > 0 {
            engine.metrics.sanitised(kind, count.into());
        }
    }
    if policy.injection == CheckAction::Off {
        return Ok(None);
    }
    if !found.excepted.is_empty() {
        engine.metrics.guard(&policy.name, "injection", EXCEPTED);
        who.prove(engine, EXCEPTED, None, ids::incident(), vec![("exceptions", found.excepted.join(","))]);
    }
    if !found.flagged {
        return Ok(None);
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
    let strict = policy.injection != CheckAction::Flag;
    let blocked = strict && (found.blocked || policy.flagged() == Flagged::Block);
    let asks = !blocked && policy.flagged() == Flagged::Confirm;
    let action = match (blocked, asks, shadow) {
        (true, _, false) => "block",
        (true, _, true) => "shadow_block",
        (false, true, false) if confirmed => "confirmed",
        (false, true, false) => "confirm",
        (false, true, true) => "shadow_confirm",
        (false, false, _) => "flag",
    };
    engine.metrics.guard(&policy.name, "injection", action);
    let incident = ids::incident();
    let reasons = found.reasons.join(",");
    let (caller, score) = (&*who.caller, found.score);
    tracing::warn!(request_id = %who.id, %incident, caller, score, action, reasons, "inspection");
    let mut details =
        vec![("reasons", reasons), ("part", found.part.to_string()), ("bytes", found.bytes.to_string())];
    details.extend(found.excerpt.take().map(|text| ("excerpt", text)));
    who.prove(engine, action, Some(score), incident, details);
    if blocked && !shadow {
        return Err(Failure::Blocked { incident });
    }
    Ok((asks && !shadow && !confirmed).then_some(incident))
}

/// Whose message was looked at, for the audit trail.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) caller: Arc<str>,
    pub(crate) tier: Tier,
    pub(crate) id: RequestId,
    pub(crate) trace: Option<TraceId>,
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
            trace_id: self.trace,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_counted_as_the_library_counts_them() {
        for piece in ["a", "é", "한", "🔓", "aé한🔓"] {
            for times in [0, 1, 50, 63, 64, 65, 127, 128, 254, 255, 256, 1_000] {
                let text = piece.repeat(times);
                assert_eq!(chars(&text), text.chars().count(), "{times} times {piece}");
            }
        }
    }
}
