//! The one thread that writes the trail: numbers, chains, hashes ids, redacts, signs, writes whole batches and syncs
//! them. Invariants: the file holds whole records only; a batch that the disk refused is cut off again and tried again,
//! in order, before anything newer is taken; an anchor is given away only after its checkpoint is on disk.

use super::{
    AuditAnchor, AuditError, AuditEvent, AuditParts, FORMAT, Pseudonyms, Redact, Shared, anchor,
    checkpoint::{self, Reason, Signer, Unsigned},
    tail::{End, private},
    trail::{files, first_seq, hash},
};
use crate::alerts::Category;
use portcullis_domain::{Action, Tier};
use serde::{Serialize, Serializer};
use std::{
    fs::{self, DirBuilder, File},
    io::{self, Seek as _, SeekFrom, Write as _},
    panic::catch_unwind,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::time::Instant;

/// What the writer is handed.
pub(super) enum Entry {
    Event(Box<AuditEvent>, jiff::Timestamp),
    /// Sign what was recorded so far.
    Seal,
    /// Called when everything before it is on disk.
    Flush(Box<dyn FnOnce() + Send>),
}

pub(super) struct Writer {
    /// Held as long as the writer lives.
    _lock: File,
    folder: PathBuf,
    file: Option<File>,
    size: u64,
    /// The last write failed halfway, perhaps.
    dirty: bool,
    seq: u64,
    prev: String,
    /// Chained lines that are not on disk yet, and the number of the first of them.
    pending: Vec<u8>,
    pending_from: u64,
    /// Records since the last checkpoint, and when that was made.
    unsigned: u64,
    signed_at: Instant,
    /// The file is full and signed to its end: the next line belongs into a new one.
    sealed: bool,
    /// A checkpoint that is not on disk yet.
    checkpoint: Option<Arc<str>>,
    /// When files that reached their age were looked for, and those that go with the next write.
    looked: Option<Instant>,
    aged: Vec<PathBuf>,
    pseudonyms: Arc<Pseudonyms>,
    signer: Signer,
    anchors: Vec<PathBuf>,
    redact: Redact,
    max_bytes: u64,
    max_detail_bytes: usize,
    checkpoint_every: Duration,
    days: u32,
    shared: Arc<Shared>,
}

/// One record as it is written.
#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    seq: u64,
    at: jiff::Timestamp,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    door: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<&'a str>,
    #[serde(serialize_with = "as_map")]
    details: Vec<(&'a str, String)>,
    prev: &'a str,
}

impl<'a> Line<'a> {
    /// What every line has; `seq` and `prev` come when it is chained.
    const fn bare(
        at: jiff::Timestamp,
        kind: &'a str,
        outcome: &'a str,
        details: Vec<(&'a str, String)>,
    ) -> Self {
        Self {
            v: FORMAT,
            seq: 0,
            at,
            kind,
            door: None,
            caller: None,
            tier: None,
            action: None,
            outcome,
            score: None,
            verdict: None,
            request_id: None,
            trace_id: None,
            incident: None,
            details,
            prev: "",
        }
    }
}

fn as_map<S: Serializer>(details: &[(&str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(details.iter().map(|(name, text)| (name, text)))
}

/// How long the writer sleeps at most when nothing comes; nothing depends on it.
const IDLE: Duration = Duration::from_secs(3600);
/// How often files that reached their age are looked for, beside starts and new files.
const LOOK_EVERY: Duration = Duration::from_secs(86_400);

impl Writer {
    pub(super) fn open(
        parts: &AuditParts<'_>,
        pseudonyms: Arc<Pseudonyms>,
        shared: Arc<Shared>,
    ) -> Result<Self, AuditError> {
        let (config, folder) = (parts.config, parts.folder);
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
        let lock = private().truncate(false).open(folder.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => AuditError::Locked,
            fs::TryLockError::Error(error) => AuditError::Io(error),
        })?;
        let anchors = config.anchors.iter().filter_map(|anchor| match anchor {
            AuditAnchor::File { path } => Some(path.clone().unwrap_or_else(|| anchor::default_file(folder))),
            AuditAnchor::Webhook { .. } => None,
        });
        let mut writer = Self {
            _lock: lock,
            folder: folder.to_owned(),
            file: None,
            size: 0,
            dirty: false,
            seq: 0,
            prev: String::new(),
            pending: Vec::new(),
            pending_from: 1,
            unsigned: 0,
            signed_at: Instant::now(),
            sealed: false,
            checkpoint: None,
            looked: None,
            aged: Vec::new(),
            pseudonyms,
            signer: Signer::new(parts.sign_key)?,
            anchors: anchors.collect(),
            redact: parts.redact,
            max_bytes: config.max_bytes,
            max_detail_bytes: config.max_detail_bytes,
            checkpoint_every: Duration::from_secs(config.checkpoint_secs),
            days: config.days,
            shared,
        };
        writer.resume()?;
        writer.forget(jiff::Timestamp::now());
        writer.sign(Reason::Start);
        Ok(writer)
    }

    pub(super) fn run(mut self, gather: Duration) {
        let mut entries = Vec::new();
        let mut waiting: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        let mut open = true;
        while open || !self.pending.is_empty() {
            if self.pending.is_empty() {
                open = self.take(&mut entries, &mut waiting, gather);
            }
            match self.write() {
                Ok(()) => {
                    self.well();
                    waiting.drain(..).for_each(|done| done());
                }
                Err(error) => {
                    self.shared.metrics.audit_failed();
                    let words = format!("the audit trail cannot be written: {}", error.kind());
                    self.shared.alerts.raise(Category::AuditFailing, "audit", words);
                    if self.shared.queue.pause(gather) {
                        // The process ends; what cannot be written now never will be.
                        tracing::error!(%error, bytes = self.pending.len(), "audit records lost at the end");
                        return;
                    }
                }
            }
        }
    }

    /// Takes what there is to write, and signs what is due. Whether more can come.
    fn take(
        &mut self,
        entries: &mut Vec<Entry>,
        waiting: &mut Vec<Box<dyn FnOnce() + Send>>,
        gather: Duration,
    ) -> bool {
        let due = |since: Duration| self.checkpoint_every.saturating_sub(since);
        let idle = if self.unsigned > 0 { due(self.signed_at.elapsed()) } else { IDLE };
        let open = self.shared.queue.take(entries, idle, gather);
        let mut seal = !open;
        for entry in entries.drain(..) {
            match entry {
                Entry::Event(event, at) => self.append(&event, at),
                Entry::Seal => seal = true,
                Entry::Flush(done) => waiting.push(done),
            }
        }
        if self.unsigned > 0 && seal {
            self.sign(Reason::End);
        } else if self.unsigned > 0 && self.signed_at.elapsed() >= self.checkpoint_every {
            self.sign(Reason::Time);
        }
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            self.forget(jiff::Timestamp::now());
        }
        open
    }

    /// The disk takes records: says so, and records what was lost while it did not.
    fn well(&mut self) {
        self.shared.metrics.audit_pending().set(0);
        let was_full = self.shared.full.swap(false, Relaxed);
        let lost = self.shared.lost.swap(0, Relaxed);
        if lost > 0 {
            self.note("audit_gap", vec![("lost", lost.to_string())]);
            if self.write().is_err() {
                // Told again with what comes.
                self.shared.lost.fetch_add(lost, Relaxed);
            }
        }
        if was_full {
            self.shared.alerts.resolve(Category::AuditFailing, "audit", "the audit trail is written again");
        }
    }

    /// Finds the end of the chain; a torn last line is set aside, and its loss becomes a record.
    fn resume(&mut self) -> Result<(), AuditError> {
        let files = files(&self.folder)?;
        let mut torn = Vec::new();
        if let Some(path) = files.last() {
            let file = private().read(true).open(path)?;
            let end = End::of(&file)?;
            if !end.torn.is_empty() {
                let aside = path.with_extension(format!("torn-{}", end.whole));
                private().truncate(true).open(aside)?.write_all(&end.torn)?;
                file.set_len(end.whole)?;
                file.sync_all()?;
                torn = end.torn;
            }
            self.size = end.whole;
            self.file = Some(file);
        }
        // The newest file may be empty: a crash between its making and its first record.
        for path in files.iter().rev() {
            let Some(line) = End::of(&File::open(path)?)?.line else { continue };
            self.prev = hash(&line);
            let value: Option<serde_json::Value> = serde_json::from_slice(&line).ok();
            let signed = value.as_ref().is_some_and(|value| value["kind"] == checkpoint::KIND);
            self.sealed = signed && self.size >= self.max_bytes;
            self.seq = match value.and_then(|value| value["seq"].as_u64()) {
                Some(seq) => seq,
                None => {
                    // Somebody changed the trail: go on behind it; checking it names that line.
                    let lines = fs::read(path)?.iter().filter(|byte| **byte == b'\n').count() as u64;
                    self.seq = first_seq(path).unwrap_or(1) + lines - 1;
                    self.note("audit_damaged", vec![("line", lines.to_string())]);
                    break;
                }
            };
            break;
        }
        if !torn.is_empty() {
            tracing::warn!(bytes = torn.len(), "the last audit record was cut by a crash; it was set aside");
            self.note("audit_recovered", vec![("torn_bytes", torn.len().to_string())]);
        }
        Ok(())
    }

    /// A record about the trail itself.
    fn note(&mut self, kind: &'static str, details: Vec<(&'static str, String)>) {
        let line = Line::bare(jiff::Timestamp::now(), kind, "noted", details);
        self.chain(line, kind);
    }

    fn append(&mut self, event: &AuditEvent, at: jiff::Timestamp) {
        let details = event.details.iter().map(|(name, text)| (*name, self.safe(text))).collect();
        let line = Line {
            door: Some(event.door.as_str()),
            caller: event.caller.as_deref().map(|id| self.pseudonyms.of(id)),
            tier: event.tier.as_ref().map(Tier::as_str),
            action: event.action.map(Action::as_str),
            // More digits than the score has meaning would only be noise.
            score: event.score.map(|score| (score * 1_000.0).round() / 1_000.0),
            verdict: event.verdict,
            request_id: event.request_id.as_ref().map(|id| id.as_str()),
            trace_id: event.trace_id.map(|id| id.to_string()),
            incident: event.incident.as_ref().map(|id| id.as_str()),
            ..Line::bare(at, event.kind, event.outcome, details)
        };
        self.chain(line, event.kind);
    }

    /// Cut, redacted, and gone altogether when redaction fails.
    fn safe(&self, text: &str) -> String {
        let cut = &text[..text.floor_char_boundary(self.max_detail_bytes)];
        let redact = self.redact;
        catch_unwind(|| redact(cut).into_owned()).unwrap_or_else(|_| "[not redactable]".into())
    }

    fn chain(&mut self, line: Line<'_>, kind: &'static str) {
        let start = self.begin();
        let line = Line { seq: self.seq + 1, prev: &self.prev, ..line };
        match serde_json::to_writer(&mut self.pending, &line) {
            Ok(()) => {
                self.end(start, kind);
                self.unsigned += 1;
            }
            Err(error) => self.unwritable(start, kind, &error),
        }
    }

    /// A checkpoint: the chain so far, signed.
    fn sign(&mut self, reason: Reason) {
        let (start, kind) = (self.begin(), checkpoint::KIND);
        let (seq, at, signer, prev) =
            (self.seq + 1, jiff::Timestamp::now(), &*self.signer.public, &*self.prev);
        let line = Unsigned { v: FORMAT, seq, at, kind, reason, signer, prev };
        if let Err(error) = serde_json::to_writer(&mut self.pending, &line) {
            self.unwritable(start, kind, &error);
            return;
        }
        self.signer.sign(&mut self.pending, start);
        self.checkpoint = Some(String::from_utf8_lossy(&self.pending[start..]).into());
        self.end(start, kind);
        (self.unsigned, self.signed_at) = (0, Instant::now());
    }

    /// Where the next line begins.
    fn begin(&mut self) -> usize {
        if self.pending.is_empty() {
            self.pending_from = self.seq + 1;
        }
        self.pending.len()
    }

    /// Closes the line that begins at `start`: the next one follows it.
    fn end(&mut self, start: usize, kind: &'static str) {
        self.seq += 1;
        self.prev = hash(&self.pending[start..]);
        self.pending.push(b'\n');
        self.shared.metrics.audit_written(kind);
    }

    /// Strings and numbers always serialise; should that ever change, the chain stays whole.
    fn unwritable(&mut self, start: usize, kind: &'static str, error: &serde_json::Error) {
        self.pending.truncate(start);
        tracing::error!(%error, kind, "an audit record could not be written");
        self.shared.lost.fetch_add(1, Relaxed);
    }

    /// Writes what is pending, and closes a file that is full by a checkpoint.
    fn write(&mut self) -> io::Result<()> {
        self.put()?;
        if self.size >= self.max_bytes && !self.sealed {
            self.sign(Reason::Rotation);
            self.put()?;
        }
        if let Some(line) = self.checkpoint.take() {
            self.anchor(line);
        }
        for path in self.aged.drain(..) {
            tracing::info!(days = self.days, "an audit file reached its age and is removed");
            drop(fs::remove_file(path));
        }
        Ok(())
    }

    fn put(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.file.is_none() || self.sealed {
            let name = format!("audit-{:012}.jsonl", self.pending_from);
            self.file = Some(private().truncate(false).open(self.folder.join(name))?);
            (self.size, self.dirty, self.sealed) = (0, true, false);
            File::open(&self.folder)?.sync_all()?;
            // Room was needed: whether old files may go is looked at with the next batch.
            self.looked = None;
        }
        let Some(file) = self.file.as_mut() else { return Ok(()) };
        if self.dirty {
            file.set_len(self.size)?;
        }
        self.dirty = true;
        file.seek(SeekFrom::Start(self.size))?;
        file.write_all(&self.pending)?;
        file.sync_data()?;
        self.dirty = false;
        self.size += self.pending.len() as u64;
        self.pending.clear();
        self.pending.shrink_to(65_536);
        self.sealed = self.size >= self.max_bytes && self.unsigned == 0;
        Ok(())
    }

    /// Gives a checkpoint that is on disk to whoever keeps it outside.
    fn anchor(&self, line: Arc<str>) {
        let alerts = &self.shared.alerts;
        for path in &self.anchors {
            match anchor::append(path, &line) {
                Ok(()) => alerts.resolve(Category::AuditFailing, "audit-anchor", "anchors are written again"),
                Err(error) => {
                    self.shared.metrics.audit_failed();
                    let words = format!("an anchor of the audit trail cannot be written: {}", error.kind());
                    alerts.raise(Category::AuditFailing, "audit-anchor", words);
                }
            }
        }
        self.shared.anchored.send_replace(Some(line));
    }

    /// Marks files whose last record is older than `audit.days`, never the newest: a record says that their time was
    /// over, and they go when that is on disk.
    fn forget(&mut self, now: jiff::Timestamp) {
        self.looked = Some(Instant::now());
        let Ok(files) = files(&self.folder) else { return };
        let old = |path: &&PathBuf| {
            let written = fs::metadata(path).and_then(|meta| meta.modified()).ok();
            let written = written.and_then(|at| jiff::Timestamp::try_from(at).ok());
            written.is_some_and(|at| now.as_second() - at.as_second() > i64::from(self.days) * 86_400)
        };
        let newest = files.len().saturating_sub(1);
        let aged: Vec<PathBuf> = files[..newest].iter().take_while(old).cloned().collect();
        let Some(through) = files.get(aged.len()).and_then(|next| first_seq(next)).map(|seq| seq - 1) else {
            return;
        };
        if !aged.is_empty() {
            let details = vec![("through", through.to_string()), ("files", aged.len().to_string())];
            self.note("audit_forgotten", details);
            self.aged = aged;
        }
    }
}
