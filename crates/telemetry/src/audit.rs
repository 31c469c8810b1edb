//! The audit trail: one JSON object a line, each holding the hash of the line before it, so that no line can be
//! removed, changed or swapped unseen. One thread writes; recording never waits for it. Invariants: no message text
//! and no clear caller id ever gets in; one process writes a folder; nothing is lost silently: what a crash tore,
//! and what a full disk cost, is a record itself.
//!
//! Source: inspect.md section 7 (signed checkpoints and anchors belong to a later plan).

mod verify;
mod writer;

use crate::{Alerts, Metrics, alerts::Category, batch::Batch};
use portcullis_domain::{Action, Door, Incident, Problem, RequestId, Tier};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    time::Duration,
};
pub use verify::{AuditReport, verify};
use writer::{Entry, Writer};

/// What happens to requests when the trail cannot be written and its buffer is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// New requests are refused until records can be written again: nothing happens unproved.
    #[default]
    Refuse,
    /// Requests go on; lost records are counted and the gap becomes a record itself.
    Continue,
}

/// `[audit]`: the trail of what happened.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// Longest time a record stays in memory before it is on disk, in milliseconds. A crash loses at most this much;
    /// security events are written at once. Default 200.
    pub flush_ms: u64,
    /// Size at which a new file is begun, in bytes. Default 67108864.
    pub max_bytes: u64,
    /// Records that may wait for the disk. Default 10000.
    pub buffer: usize,
    /// What happens when the disk takes nothing and the buffer is full: `refuse` new requests, or `continue` without
    /// proof. Default `refuse`.
    pub when_full: WhenFull,
    /// How long files are kept after their last record, in days. Default 400.
    pub days: u32,
    /// Longest text of one detail, in bytes; longer ones are cut. Default 1024.
    pub max_detail_bytes: usize,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            flush_ms: 200,
            max_bytes: 67_108_864,
            buffer: 10_000,
            when_full: WhenFull::Refuse,
            days: 400,
            max_detail_bytes: 1024,
        }
    }
}

impl AuditConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        for (key, value, least, most) in [
            ("flush_ms", self.flush_ms, 1, 60_000),
            ("max_bytes", self.max_bytes, 65_536, 1 << 40),
            ("buffer", self.buffer as u64, 100, 10_000_000),
            ("days", u64::from(self.days), 1, 36_500),
            ("max_detail_bytes", self.max_detail_bytes as u64, 64, 1 << 20),
        ] {
            if !(least..=most).contains(&value) {
                let message = format!("{value} is out of range: {least} to {most}");
                let mend = "leave the key out for its default";
                out.push(Problem::new(format!("{prefix}.{key}"), message, mend));
            }
        }
    }
}

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
    /// In which request.
    pub request_id: Option<RequestId>,
    /// Under which incident.
    pub incident: Option<Incident>,
    /// Further facts; redacted before they are written. Never message text.
    pub details: Vec<(&'static str, String)>,
}

/// Kinds that are ordinary traffic: they wait for the next flush. Every other kind is a security event.
const ORDINARY: [&str; 2] = ["limit_breach", "request"];

/// Why the trail cannot be written or does not hold.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Another process writes the same trail.
    #[error("another process writes this audit trail; stop it, or give this one its own data folder")]
    Locked,
    /// The disk.
    #[error("the audit trail cannot be written: {0}")]
    Io(#[from] io::Error),
    /// A line that does not follow from the one before it.
    #[error("{file}, line {line}: {what}")]
    Broken {
        /// File name, without folder.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// How a line of text is made safe to keep.
pub type Redact = fn(&str) -> std::borrow::Cow<'_, str>;

/// What recorders and the writer share.
struct Shared {
    queue: Batch<Entry>,
    /// The buffer is full and the disk takes nothing.
    full: AtomicBool,
    /// Records lost since the last one written.
    lost: AtomicU64,
    buffer: usize,
    when_full: WhenFull,
    metrics: Metrics,
    alerts: Alerts,
    folder: PathBuf,
}

/// How long a reader waits for what is queued to be on disk.
const READ_PATIENCE: Duration = Duration::from_secs(1);

/// Ends the writer when the last handle goes.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue.close();
    }
}

/// The trail. Cheap to clone.
#[derive(Clone)]
pub struct Audit(Arc<Handle>);

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Audit")
    }
}

impl Audit {
    /// Opens or begins the trail in `folder` (0700, files 0600) and starts its writer.
    ///
    /// # Errors
    /// A folder that cannot be written, or that another process writes.
    pub fn start(
        config: &AuditConfig,
        folder: &Path,
        id_key: &[u8],
        redact: Redact,
        metrics: Metrics,
        alerts: Alerts,
    ) -> Result<Self, AuditError> {
        let shared = Arc::new(Shared {
            queue: Batch::new(),
            full: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            buffer: config.buffer,
            when_full: config.when_full,
            metrics,
            alerts,
            folder: folder.to_owned(),
        });
        let writer = Writer::open(config, folder, id_key, redact, Arc::clone(&shared))?;
        let gather = Duration::from_millis(config.flush_ms);
        std::thread::Builder::new().name("portcullis-audit".into()).spawn(move || writer.run(gather))?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Puts a record on its way: a short lock, no waiting. A record that finds no room is counted, alerted, and told
    /// in the trail itself as soon as that can be written again.
    pub fn record(&self, event: AuditEvent) {
        let urgent = !ORDINARY.contains(&event.kind);
        self.give(Entry::Event(Box::new(event), jiff::Timestamp::now()), urgent);
    }

    /// Records and waits until it is on disk, at most `patience`: for what must not happen unproved, such as a new
    /// key. False when it is not there yet.
    pub async fn record_synced(&self, event: AuditEvent, patience: Duration) -> bool {
        let (done, waits) = tokio::sync::oneshot::channel();
        self.record(event);
        // Whoever stopped waiting need not be told.
        self.give(Entry::Flush(Box::new(move || _ = done.send(()))), true);
        matches!(tokio::time::timeout(patience, waits).await, Ok(Ok(())))
    }

    /// Waits until everything recorded so far is on disk; at most `patience`. For shutdown, not for async workers.
    pub fn flush(&self, patience: Duration) {
        let (done, waits) = mpsc::sync_channel(1);
        self.give(Entry::Flush(Box::new(move || _ = done.try_send(()))), true);
        // Patience ran out, or the writer is gone: there is nothing more to do here.
        let _flushed = waits.recv_timeout(patience);
    }

    /// The last records on disk, newest first; at most `count`, and no more than the last 4 MiB of the newest two files
    /// hold. Reads files: not for async workers.
    ///
    /// # Errors
    /// A trail that cannot be read.
    pub fn last(&self, count: usize) -> io::Result<Vec<serde_json::Value>> {
        self.flush(READ_PATIENCE);
        verify::last(&self.0.0.folder, count)
    }

    /// Whether new requests may be taken: false while `when_full = "refuse"`, the disk takes nothing and the buffer
    /// is full. One atomic load.
    #[must_use]
    pub fn accepts(&self) -> bool {
        let shared = &self.0.0;
        match shared.when_full {
            WhenFull::Refuse => !shared.full.load(Relaxed),
            WhenFull::Continue => true,
        }
    }

    fn give(&self, entry: Entry, urgent: bool) {
        let shared = &self.0.0;
        // What was let in before the refusal began may still finish its records.
        let most = match (&entry, shared.when_full) {
            (Entry::Flush(_), _) => usize::MAX,
            (Entry::Event(..), WhenFull::Refuse) => shared.buffer.saturating_mul(2),
            (Entry::Event(..), WhenFull::Continue) => shared.buffer,
        };
        let given = shared.queue.give(1, most, urgent, |entries| entries.push(entry));
        shared.metrics.audit_pending().set(given.unwrap_or(most).try_into().unwrap_or(i64::MAX));
        if given.is_none() {
            shared.lost.fetch_add(1, Relaxed);
            shared.metrics.audit_failed();
        }
        if given.is_none_or(|waiting| waiting >= shared.buffer) && !shared.full.swap(true, Relaxed) {
            let then = match shared.when_full {
                WhenFull::Refuse => "new requests are refused until it can be written again",
                WhenFull::Continue => "requests go on without proof; the gap will be recorded",
            };
            shared.alerts.raise(Category::AuditFailing, "audit", format!("the audit buffer is full: {then}"));
        }
    }
}

#[cfg(test)]
mod tests;
