//! The one thread that writes the trail: numbers, chains, hashes ids, redacts, writes whole batches and syncs them.
//! Invariant: the file holds whole records only; a batch that the disk refused is cut off again and tried again, in
//! order, before anything newer is taken.

use super::{AuditConfig, AuditError, AuditEvent, Redact, Shared, verify::files, verify::hash};
use crate::alerts::Category;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use portcullis_domain::{Action, Tier};
use ring::{digest, hmac};
use serde::{Serialize, Serializer};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    panic::catch_unwind,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// What the writer is handed.
pub(super) enum Entry {
    Event(Box<AuditEvent>, jiff::Timestamp),
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
    key: hmac::Key,
    key_id: String,
    redact: Redact,
    max_bytes: u64,
    max_detail_bytes: usize,
    days: u32,
    shared: Arc<Shared>,
}

/// One record as it is written.
#[derive(Serialize)]
struct Line<'a> {
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
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<&'a str>,
    #[serde(serialize_with = "as_map")]
    details: Vec<(&'a str, String)>,
    prev: &'a str,
}

fn as_map<S: Serializer>(details: &[(&str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(details.iter().map(|(name, text)| (name, text)))
}

/// How long the writer sleeps at most when nothing comes; nothing depends on it.
const IDLE: Duration = Duration::from_secs(3600);

impl Writer {
    pub(super) fn open(
        config: &AuditConfig,
        folder: &Path,
        id_key: &[u8],
        redact: Redact,
        shared: Arc<Shared>,
    ) -> Result<Self, AuditError> {
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
        let key_id = digest::digest(&digest::SHA256, &[b"audit id key ", id_key].concat());
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
            key: hmac::Key::new(hmac::HMAC_SHA256, id_key),
            key_id: BASE64_URL_SAFE_NO_PAD.encode(&key_id.as_ref()[..3]),
            redact,
            max_bytes: config.max_bytes,
            max_detail_bytes: config.max_detail_bytes,
            days: config.days,
            shared,
        };
        writer.resume()?;
        writer.forget(jiff::Timestamp::now());
        Ok(writer)
    }

    pub(super) fn run(mut self, gather: Duration) {
        let mut entries = Vec::new();
        let mut waiting: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        let mut open = true;
        while open || !self.pending.is_empty() {
            if self.pending.is_empty() {
                open = self.shared.queue.take(&mut entries, IDLE, gather);
                for entry in entries.drain(..) {
                    match entry {
                        Entry::Event(event, at) => self.append(&event, at),
                        Entry::Flush(done) => waiting.push(done),
                    }
                }
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
            self.seq = match value.and_then(|value| value["seq"].as_u64()) {
                Some(seq) => seq,
                None => {
                    // Somebody changed the trail: go on behind it; checking it names that line.
                    let lines = fs::read(path)?.iter().filter(|byte| **byte == b'\n').count() as u64;
                    let first =
                        path.file_stem().and_then(|stem| stem.to_str()?.rsplit('-').next()?.parse().ok());
                    self.seq = first.unwrap_or(1u64) + lines - 1;
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
        let line = Line {
            seq: 0,
            at: jiff::Timestamp::now(),
            kind,
            door: None,
            caller: None,
            tier: None,
            action: None,
            outcome: "noted",
            request_id: None,
            incident: None,
            details,
            prev: "",
        };
        self.chain(line, kind);
    }

    fn append(&mut self, event: &AuditEvent, at: jiff::Timestamp) {
        let details = event.details.iter().map(|(name, text)| (*name, self.safe(text))).collect();
        let caller = event.caller.as_deref().map(|id| {
            let tag = hmac::sign(&self.key, id.as_bytes());
            format!("h:{}.{}", self.key_id, BASE64_URL_SAFE_NO_PAD.encode(&tag.as_ref()[..16]))
        });
        let line = Line {
            seq: 0,
            at,
            kind: event.kind,
            door: Some(event.door.as_str()),
            caller,
            tier: event.tier.as_ref().map(Tier::as_str),
            action: event.action.map(Action::as_str),
            outcome: event.outcome,
            request_id: event.request_id.as_ref().map(|id| id.as_str()),
            incident: event.incident.as_ref().map(|id| id.as_str()),
            details,
            prev: "",
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
        if self.pending.is_empty() {
            self.pending_from = self.seq + 1;
        }
        let line = Line { seq: self.seq + 1, prev: &self.prev, ..line };
        let start = self.pending.len();
        if let Err(error) = serde_json::to_writer(&mut self.pending, &line) {
            // Strings and numbers always serialise; should that ever change, the chain stays whole.
            self.pending.truncate(start);
            tracing::error!(%error, kind, "an audit record could not be written");
            self.shared.lost.fetch_add(1, Relaxed);
            return;
        }
        self.seq += 1;
        self.prev = hash(&self.pending[start..]);
        self.pending.push(b'\n');
        self.shared.metrics.audit_written(kind);
    }

    fn write(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.file.is_none() || self.size >= self.max_bytes {
            let name = format!("audit-{:012}.jsonl", self.pending_from);
            self.file = Some(private().truncate(false).open(self.folder.join(name))?);
            (self.size, self.dirty) = (0, true);
            File::open(&self.folder)?.sync_all()?;
            self.forget(jiff::Timestamp::now());
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
        Ok(())
    }

    /// Removes files whose last record is older than `audit.days`; never the newest.
    fn forget(&self, now: jiff::Timestamp) {
        let Ok(mut files) = files(&self.folder) else { return };
        files.pop();
        for path in files {
            let written = fs::metadata(&path).and_then(|meta| meta.modified()).ok();
            let written = written.and_then(|at| jiff::Timestamp::try_from(at).ok());
            let age = written.map_or(0, |at| now.as_second() - at.as_second());
            if age > i64::from(self.days) * 86_400 {
                tracing::info!(days = self.days, "an audit file reached its age and is removed");
                drop(fs::remove_file(path));
            }
        }
    }
}

/// Options of a file that only its owner reads.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// How a file ends.
struct End {
    /// Its last whole line, without the line feed.
    line: Option<Vec<u8>>,
    /// Bytes up to the end of that line.
    whole: u64,
    /// What follows it.
    torn: Vec<u8>,
}

impl End {
    /// Reads from the end, so that a large file costs nothing.
    fn of(mut file: &File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let mut window = 65_536;
        loop {
            let from = size.saturating_sub(window);
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(size - from).read_to_end(&mut bytes)?;
            let last = bytes.iter().rposition(|byte| *byte == b'\n');
            let before = last.and_then(|last| bytes[..last].iter().rposition(|byte| *byte == b'\n'));
            if from > 0 && before.is_none() {
                window *= 2;
                continue;
            }
            let start = before.map_or(0, |at| at + 1);
            return Ok(Self {
                line: last.map(|last| bytes[start..last].to_vec()),
                whole: last.map_or(0, |last| from + last as u64 + 1),
                torn: bytes[last.map_or(0, |last| last + 1)..].to_vec(),
            });
        }
    }
}
