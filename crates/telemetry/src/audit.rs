//! The audit trail: one JSON object a line, each holding the hash of the line before it, so that no line can be
//! removed, changed or swapped unseen. One thread writes; `record` never blocks. Invariants: no message text and no
//! clear caller id ever gets in; one process writes a folder; a torn last line after a crash is set aside and said.
//!
//! Source: inspect.md section 7 (signed checkpoints and anchors belong to a later plan).

use crate::{Alerts, Metrics, alerts::Category};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use portcullis_domain::{Action, Door, Incident, Problem, RequestId, Tier};
use ring::{digest, hmac};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError, SyncSender, TrySendError},
    },
    time::Duration,
};

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
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { flush_ms: 200, max_bytes: 67_108_864, buffer: 10_000 }
    }
}

impl AuditConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        for (key, value, least) in [
            ("flush_ms", self.flush_ms, 1),
            ("max_bytes", self.max_bytes, 65_536),
            ("buffer", self.buffer as u64, 100),
        ] {
            if value < least {
                let message = format!("must be at least {least}");
                out.push(Problem::new(
                    format!("{prefix}.{key}"),
                    message,
                    "leave the key out for its default",
                ));
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

enum Job {
    Record(Box<AuditEvent>, jiff::Timestamp),
    Flush(SyncSender<()>),
}

/// The trail. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    queue: SyncSender<Job>,
    metrics: Metrics,
    alerts: Alerts,
    full: Arc<AtomicBool>,
}

/// How a line of text is made safe to keep.
pub type Redact = fn(&str) -> std::borrow::Cow<'_, str>;

impl Audit {
    /// Opens or begins the trail in `folder` and starts its writer.
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
        fs::create_dir_all(folder)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => AuditError::Locked,
            fs::TryLockError::Error(error) => AuditError::Io(error),
        })?;
        let (queue, jobs) = mpsc::sync_channel(config.buffer);
        let mut writer = Writer {
            _lock: lock,
            folder: folder.to_owned(),
            file: None,
            max_bytes: config.max_bytes,
            size: 0,
            seq: 0,
            prev: String::new(),
            key: hmac::Key::new(hmac::HMAC_SHA256, id_key),
            redact,
            pending: Vec::new(),
            metrics: metrics.clone(),
        };
        writer.resume()?;
        let every = Duration::from_millis(config.flush_ms);
        let worried = alerts.clone();
        std::thread::Builder::new()
            .name("portcullis-audit".into())
            .spawn(move || writer.run(&jobs, every, &worried))?;
        Ok(Self { queue, metrics, alerts, full: Arc::new(AtomicBool::new(false)) })
    }

    /// Puts a record on its way. Never blocks; when the disk is so slow that the buffer is full, the loss is counted
    /// and an alert raised.
    pub fn record(&self, event: AuditEvent) {
        match self.queue.try_send(Job::Record(Box::new(event), jiff::Timestamp::now())) {
            Ok(()) => self.full.store(false, Ordering::Relaxed),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.metrics.audit_failed();
                if !self.full.swap(true, Ordering::Relaxed) {
                    self.alerts.raise(
                        Category::AuditFailing,
                        "audit",
                        "audit records are lost: the disk is full or too slow",
                    );
                }
            }
        }
    }

    /// Waits until everything recorded so far is on disk; at most `patience`.
    pub fn flush(&self, patience: Duration) {
        let (done, waits) = mpsc::sync_channel(1);
        if self.queue.send(Job::Flush(done)).is_ok() {
            // A writer that died has nothing more to flush.
            let _ignored = waits.recv_timeout(patience);
        }
    }
}

struct Writer {
    _lock: File,
    folder: PathBuf,
    file: Option<File>,
    max_bytes: u64,
    size: u64,
    seq: u64,
    prev: String,
    key: hmac::Key,
    redact: Redact,
    pending: Vec<u8>,
    metrics: Metrics,
}

/// Kinds that are on disk before the next one is looked at.
const URGENT: [&str; 4] = ["key_created", "key_revoked", "first_key", "secret_read"];

impl Writer {
    fn run(mut self, jobs: &mpsc::Receiver<Job>, every: Duration, alerts: &Alerts) {
        loop {
            let (urgent, done) = match jobs.recv_timeout(every) {
                Ok(Job::Record(event, at)) => {
                    self.append(&event, at);
                    (URGENT.contains(&event.kind), None)
                }
                Ok(Job::Flush(done)) => (true, Some(done)),
                Err(RecvTimeoutError::Timeout) => (true, None),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if (urgent || self.pending.len() > FLUSH_BYTES)
                && let Err(error) = self.write()
            {
                self.metrics.audit_failed();
                alerts.raise(
                    Category::AuditFailing,
                    "audit",
                    format!("the audit trail cannot be written: {}", error.kind()),
                );
            }
            if let Some(done) = done {
                let _ignored = done.try_send(());
            }
        }
        let _ignored = self.write();
    }

    /// Finds the end of the chain and cuts off a torn last line, which it keeps beside.
    fn resume(&mut self) -> Result<(), AuditError> {
        let Some(path) = files(&self.folder)?.pop() else { return Ok(()) };
        let bytes = fs::read(&path)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            fs::write(path.with_extension("torn"), &bytes[whole..])?;
            OpenOptions::new().write(true).open(&path)?.set_len(whole as u64)?;
            tracing::warn!("the last audit record was cut by a crash; it was set aside");
        }
        let last = bytes[..whole].split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
        if let Some(line) = last {
            let value: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
            self.seq = value["seq"].as_u64().unwrap_or(0);
            self.prev = hash(line);
        }
        self.size = whole as u64;
        self.file = Some(OpenOptions::new().append(true).open(&path)?);
        Ok(())
    }

    fn append(&mut self, event: &AuditEvent, at: jiff::Timestamp) {
        self.seq += 1;
        let caller = event.caller.as_deref().map(|id| {
            let tag = hmac::sign(&self.key, id.as_bytes());
            format!("h:{}", BASE64_URL_SAFE_NO_PAD.encode(&tag.as_ref()[..16]))
        });
        let details: serde_json::Map<_, _> = event
            .details
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (self.redact)(text).into_owned().into()))
            .collect();
        let line = json!({
            "seq": self.seq,
            "at": at.to_string(),
            "kind": event.kind,
            "door": event.door.as_str(),
            "action": event.action.map(Action::as_str),
            "caller": caller,
            "tier": event.tier.as_ref().map(Tier::as_str),
            "outcome": event.outcome,
            "request_id": event.request_id.map(|id| id.to_string()),
            "incident": event.incident.map(|id| id.to_string()),
            "details": details,
            "prev": self.prev,
        })
        .to_string();
        self.prev = hash(line.as_bytes());
        self.pending.extend_from_slice(line.as_bytes());
        self.pending.push(b'\n');
        self.metrics.audit_written(event.kind);
    }

    fn write(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.file.is_none() || self.size >= self.max_bytes {
            let name = format!("audit-{:012}.jsonl", self.seq);
            let path = self.folder.join(name);
            self.file = Some(OpenOptions::new().create(true).append(true).open(path)?);
            self.size = 0;
        }
        let Some(file) = self.file.as_mut() else { return Ok(()) };
        file.write_all(&self.pending)?;
        file.sync_data()?;
        self.size += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

/// Bytes that make a batch worth writing early.
const FLUSH_BYTES: usize = 65_536;

fn hash(line: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, line).as_ref())
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all: Vec<PathBuf> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
        .collect();
    all.sort();
    Ok(all)
}

/// What a check of the trail found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// Files read.
    pub files: usize,
    /// Records that hold.
    pub records: u64,
}

/// Checks every line of the trail in `folder`.
///
/// # Errors
/// The first line that does not follow from the one before it, or a file that cannot be read.
pub fn verify(folder: &Path) -> Result<AuditReport, AuditError> {
    let mut report = AuditReport::default();
    let (mut prev, mut seq) = (None::<String>, None::<u64>);
    for path in files(folder)? {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (index, line) in BufReader::new(File::open(&path)?).split(b'\n').enumerate() {
            let line = line?;
            let broken = |what| AuditError::Broken { file: file.clone(), line: index + 1, what };
            let value: serde_json::Value =
                serde_json::from_slice(&line).map_err(|_| broken("is not a record"))?;
            let number = value["seq"].as_u64().ok_or_else(|| broken("has no number"))?;
            if seq.is_some_and(|seq| number != seq + 1) {
                return Err(broken("does not follow the record before it: one was removed, added or moved"));
            }
            if prev.as_deref().is_some_and(|prev| value["prev"] != prev) {
                return Err(broken("follows a record that was changed"));
            }
            if prev.is_none() && value["prev"] != "" && number == 1 {
                return Err(broken("claims a record before the first"));
            }
            (prev, seq) = (Some(hash(&line)), Some(number));
            report.records += 1;
        }
        report.files += 1;
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
