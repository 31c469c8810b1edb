//! The audit trail: one JSON object a line, each holding the hash of the line before it, so that no line can be
//! removed, changed or swapped unseen; signed checkpoints, kept outside too, so that no end can be cut off unseen.
//! One thread writes; recording never waits for it. Invariants: no message text and no clear caller id ever gets in;
//! one process writes a folder; nothing is lost silently: what a crash tore, what a full disk cost and what its age
//! removed is a record itself.
//!
//! Source: inspect.md section 7. Format 2; format 1 had no `v`, no checkpoints and nothing that told of removals.

mod anchor;
mod checkpoint;
mod config;
mod event;
mod pseudonym;
mod read;
mod tail;
mod trail;
mod verify;
mod writer;

use crate::{Alerts, Metrics, alerts::Category, batch::Batch};
pub use anchor::{Anchors, default_file};
pub use checkpoint::public_key;
pub use config::{AuditAnchor, AuditConfig, WhenFull};
pub use event::AuditEvent;
pub use pseudonym::Pseudonyms;
pub use read::{Wanted, export, show};
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
use tokio::sync::watch;
pub use verify::{AuditReport, Fault, FaultKind, Scope, check, verify};
use writer::{Entry, Writer};

/// The format that is written.
pub(crate) const FORMAT: u32 = 2;

/// Why the trail cannot be written or does not hold.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Another process writes the same trail.
    #[error("another process writes this audit trail; stop it, or give this one its own data folder")]
    Locked,
    /// The disk.
    #[error("the audit trail cannot be written: {0}")]
    Io(#[from] io::Error),
    /// A secret of which no signing key can be made.
    #[error("no signing key can be made of the secret `audit_sign_key`")]
    SignKey,
    /// The first bad line.
    #[error("{0}")]
    Broken(Box<Fault>),
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
    /// The newest checkpoint that is on disk.
    anchored: watch::Sender<Option<Arc<str>>>,
}

/// What a trail is made of.
#[derive(Debug)]
pub struct AuditParts<'a> {
    /// Bounds.
    pub config: &'a AuditConfig,
    /// Where it is.
    pub folder: &'a Path,
    /// With which key callers are hashed.
    pub id_key: &'a [u8],
    /// With which secret checkpoints are signed.
    pub sign_key: &'a [u8],
    /// What makes details safe to keep.
    pub redact: Redact,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Who is told when the disk takes nothing.
    pub alerts: Alerts,
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
pub struct Audit {
    handle: Arc<Handle>,
    pseudonyms: Arc<Pseudonyms>,
}

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
    pub fn start(parts: AuditParts<'_>) -> Result<Self, AuditError> {
        let (config, folder) = (parts.config, parts.folder);
        let shared = Arc::new(Shared {
            queue: Batch::new(),
            full: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            buffer: config.buffer,
            when_full: config.when_full,
            metrics: parts.metrics.clone(),
            alerts: parts.alerts.clone(),
            folder: folder.to_owned(),
            anchored: watch::Sender::new(None),
        });
        let pseudonyms = Arc::new(Pseudonyms::new(parts.id_key));
        let gather = Duration::from_millis(config.flush_ms);
        let writer = Writer::open(&parts, Arc::clone(&pseudonyms), Arc::clone(&shared))?;
        std::thread::Builder::new().name("portcullis-audit".into()).spawn(move || writer.run(gather))?;
        Ok(Self { handle: Arc::new(Handle(shared)), pseudonyms })
    }

    /// Puts a record on its way: a short lock, no waiting. A record that finds no room is counted, alerted, and told
    /// in the trail itself as soon as that can be written again.
    pub fn record(&self, event: AuditEvent) {
        let urgent = !event.is_ordinary();
        self.give(Entry::Event(Box::new(event), jiff::Timestamp::now()), urgent);
    }

    /// Records and waits until it is on disk, at most `patience`: for what must not happen unproved, such as a new
    /// key. False when it is not there yet.
    pub async fn record_synced(&self, event: AuditEvent, patience: Duration) -> bool {
        self.record(event);
        self.synced(patience).await
    }

    /// Waits until everything recorded so far is on disk, at most `patience`. False when it is not there yet.
    pub async fn synced(&self, patience: Duration) -> bool {
        let (done, waits) = tokio::sync::oneshot::channel();
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

    /// Signs what was recorded so far by a checkpoint and waits until it is on disk; at most `patience`. For the end of
    /// the process, not for async workers.
    pub fn seal(&self, patience: Duration) {
        self.give(Entry::Seal, true);
        self.flush(patience);
    }

    /// The newest checkpoint that is on disk, as its line; for receivers outside.
    #[must_use]
    pub fn checkpoints(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.handle.0.anchored.subscribe()
    }

    /// How a caller is called in the trail.
    #[must_use]
    pub fn pseudonym(&self, caller: &str) -> String {
        self.pseudonyms.of(caller)
    }

    /// The last records on disk without checkpoints, newest first; at most `count`, and no more than the last 4 MiB of
    /// the newest two files hold. Reads files: not for async workers.
    ///
    /// # Errors
    /// A trail that cannot be read.
    pub fn last(&self, count: usize) -> io::Result<Vec<serde_json::Value>> {
        self.flush(READ_PATIENCE);
        read::last(&self.handle.0.folder, count)
    }

    /// Whether new requests may be taken: false while `when_full = "refuse"`, the disk takes nothing and the buffer
    /// is full. One atomic load.
    #[must_use]
    pub fn accepts(&self) -> bool {
        let shared = &self.handle.0;
        match shared.when_full {
            WhenFull::Refuse => !shared.full.load(Relaxed),
            WhenFull::Continue => true,
        }
    }

    fn give(&self, entry: Entry, urgent: bool) {
        let shared = &self.handle.0;
        // What was let in before the refusal began may still finish its records.
        let most = match (&entry, shared.when_full) {
            (Entry::Flush(_) | Entry::Seal, _) => usize::MAX,
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
