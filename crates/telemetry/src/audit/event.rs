//! What is told to the trail. Invariant: nothing in it is message text; who is meant stays clear only until the writer
//! has hashed it.

use portcullis_domain::{Action, Door, Incident, RequestId, Tier, TraceId};
use std::sync::Arc;

/// What happened.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// What kind of thing: `limit_breach`, `inspection`, `auth_failure`, `key_created`, …
    pub kind: &'static str,
    /// Through which door.
    pub door: Door,
    /// To do what.
    pub action: Option<Action>,
    /// Who; written only as keyed hash.
    pub caller: Option<Arc<str>>,
    /// At which service level.
    pub tier: Option<Tier>,
    /// How it ended.
    pub outcome: &'static str,
    /// Score of the inspection, 0 to 1.
    pub score: Option<f32>,
    /// Verdict of the inspection.
    pub verdict: Option<&'static str>,
    /// In which request.
    pub request_id: Option<RequestId>,
    /// In which trace.
    pub trace_id: Option<TraceId>,
    /// Under which incident.
    pub incident: Option<Incident>,
    /// Further facts; redacted before they are written. Never message text.
    pub details: Vec<(&'static str, String)>,
}

impl AuditEvent {
    /// Something of that kind that came through a door and ended so; nothing else is known of it.
    #[must_use]
    pub const fn new(kind: &'static str, door: Door, outcome: &'static str) -> Self {
        Self {
            kind,
            door,
            action: None,
            caller: None,
            tier: None,
            outcome,
            score: None,
            verdict: None,
            request_id: None,
            trace_id: None,
            incident: None,
            details: Vec::new(),
        }
    }

    /// Whether it waits for the next flush as ordinary traffic does. Every other kind is on disk at once.
    pub(super) fn is_ordinary(&self) -> bool {
        ["limit_breach", "request", "sign_in"].contains(&self.kind)
    }
}
