//! Proof of the trail: anybody with the files can check it. With the public key and the anchors it is a proof against
//! whoever could write the files; without them it finds mistakes and clumsy hands only.
//!
//! What is wrong is told by looking one line ahead: a line whose own hash the next line holds is whole, so that of two
//! lines that do not fit the changed one is named. Source: inspect.md section 7.

use super::{
    AuditError, FORMAT,
    anchor::Anchors,
    checkpoint,
    trail::{Row, Trail, hash},
};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::HashMap,
    fs::{File, TryLockError},
    path::Path,
};

/// What a check of the trail found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// Files read.
    pub files: usize,
    /// Records that hold, checkpoints included.
    pub records: u64,
    /// Number of the first record: above 1 when older files have been removed.
    pub first: u64,
    /// Number of the last record.
    pub last: u64,
    /// Records in format 1, written by an early version: chained, not signed by itself.
    pub format_1: u64,
    /// Checkpoints whose signature holds.
    pub checkpoints: u64,
    /// Number of the last checkpoint; 0 when there is none. Later records are chained, not yet signed.
    pub signed_to: u64,
    /// Anchors that the trail still holds.
    pub anchors: u64,
    /// Number of the newest anchor; 0 when there is none.
    pub anchored_to: u64,
    /// Keys that signed, oldest first.
    pub keys: Vec<String>,
    /// Whether a key was known beforehand; else each checkpoint was believed the key it names.
    pub trusted: bool,
    /// Whether records are missing before the first one that a trail of format 1 cannot account for.
    pub older_removed: bool,
    /// The last line was being written while it was read.
    pub live: bool,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// Records before it are missing.
    Removed,
    /// It is not what was written.
    Changed,
    /// It stands in another's place.
    Swapped,
    /// It stands there again.
    Duplicated,
    /// The trail ends too early.
    Truncated,
    /// It claims a signature that does not fit.
    Signature,
    /// It is no record.
    Unreadable,
    /// A later version wrote it.
    Format,
}

/// The first bad line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// File name, without folder.
    pub file: String,
    /// Line in the file, from 1; 0 when there is none.
    pub line: usize,
    /// Number of the record, where it has one.
    pub seq: Option<u64>,
    /// What kind of wrong.
    pub kind: FaultKind,
    /// In words.
    pub what: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, line {}", self.file, self.line)?;
        if let Some(seq) = self.seq {
            write!(f, ", record {seq}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What is checked, and against what.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Public keys that may sign; none: every checkpoint is believed the key it names.
    pub keys: Vec<String>,
    /// Checkpoints that were kept outside.
    pub anchors: Anchors,
    /// Files that end before are not looked at.
    pub from: Option<jiff::Timestamp>,
    /// The first record from then on ends the check.
    pub to: Option<jiff::Timestamp>,
}

/// The members of a line that matter here.
#[derive(Deserialize)]
struct Head<'a> {
    v: Option<u32>,
    seq: Option<u64>,
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    prev: Option<Cow<'a, str>>,
    #[serde(borrow)]
    signer: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sig: Option<Cow<'a, str>>,
}

fn head(bytes: &[u8]) -> Option<Head<'_>> {
    serde_json::from_slice(bytes).ok()
}

/// Whether a line holds the hash of that line.
fn names(next: &Row, row: &Row) -> bool {
    head(&next.bytes).and_then(|next| next.prev) == Some(hash(&row.bytes).into())
}

/// The line before.
struct Before {
    file: String,
    line: usize,
    seq: u64,
    hash: String,
}

/// Checks every line of the trail in `folder`, with nothing to hold it against.
///
/// # Errors
/// As [`check`].
pub fn verify(folder: &Path) -> Result<AuditReport, AuditError> {
    check(folder, &Scope::default(), &mut |_, _| {})
}

/// Checks the trail in `folder`; `progress` hears how many bytes are read, of how many.
///
/// # Errors
/// The first line that does not hold, or a file that cannot be read.
pub fn check(
    folder: &Path,
    scope: &Scope,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<AuditReport, AuditError> {
    let mut trail = Trail::open(folder, scope.from)?;
    let mut check = Check {
        scope,
        anchors: anchors(scope),
        report: AuditReport { trusted: !scope.keys.is_empty(), ..AuditReport::default() },
        before: None,
        missing: None,
        forgotten: 0,
    };
    let mut stopped = false;
    while let Some(row) = trail.next()? {
        if !row.ended && trail.in_newest() && trail.peek().is_none() && is_written(folder) {
            check.report.live = true;
            break;
        }
        let head = check.record(&row, trail.peek())?;
        let at = head.at.as_ref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
        if scope.to.is_some_and(|to| at.is_some_and(|at| at >= to)) {
            stopped = true;
            break;
        }
        progress(trail.read, trail.total);
    }
    check.report.files = trail.begun;
    check.ended(stopped)
}

/// Anchors by the number of their record; what is not signed by a key of ours proves nothing.
fn anchors(scope: &Scope) -> HashMap<u64, &str> {
    let lines = scope.anchors.0.iter().filter_map(|line| {
        let head = head(line.as_bytes())?;
        let key = head.signer?;
        let known = scope.keys.is_empty() || scope.keys.iter().any(|known| **known == *key);
        (known && checkpoint::holds(line.as_bytes(), &key)).then_some((head.seq?, line.as_str()))
    });
    lines.collect()
}

/// Whether a process writes the trail just now.
fn is_written(folder: &Path) -> bool {
    File::open(folder.join("lock"))
        .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

struct Check<'a> {
    scope: &'a Scope,
    anchors: HashMap<u64, &'a str>,
    report: AuditReport,
    before: Option<Before>,
    /// The first line, where records before it are gone and it is told whether their time was over.
    missing: Option<Fault>,
    /// Up to which record the trail itself says that files were removed by age.
    forgotten: u64,
}

fn fault(row: &Row, seq: Option<u64>, kind: FaultKind, what: impl Into<String>) -> AuditError {
    let (file, line) = (row.file.to_string(), row.line);
    AuditError::Broken(Box::new(Fault { file, line, seq, kind, what: what.into() }))
}

impl Check<'_> {
    fn record<'r>(&mut self, row: &'r Row, next: Option<&Row>) -> Result<Head<'r>, AuditError> {
        let bad = |seq, kind, what: &str| fault(row, seq, kind, what);
        if !row.ended {
            return Err(bad(None, FaultKind::Truncated, "is cut off"));
        }
        let head = head(&row.bytes).ok_or_else(|| bad(None, FaultKind::Unreadable, "is not a record"))?;
        let seq = head.seq.ok_or_else(|| bad(None, FaultKind::Unreadable, "has no number"))?;
        if head.v.is_some_and(|v| v > FORMAT) {
            let what = "is in the format of a later version; check it with that version";
            return Err(bad(head.seq, FaultKind::Format, what));
        }
        let Some(prev) = head.prev.as_deref() else {
            return Err(bad(head.seq, FaultKind::Unreadable, "has no hash of the record before it"));
        };
        self.follows(row, &head, seq, prev, next)?;
        self.signed(row, &head, seq)?;
        if let Some(anchor) = self.anchors.get(&seq) {
            if anchor.as_bytes() != row.bytes {
                let what = "is not the checkpoint that was anchored outside: the trail was replaced from here on or before";
                return Err(bad(head.seq, FaultKind::Changed, what));
            }
            self.report.anchors += 1;
        }
        if head.kind.as_deref() == Some("audit_forgotten") {
            let value: serde_json::Value = serde_json::from_slice(&row.bytes).unwrap_or_default();
            let through = value["details"]["through"].as_str().and_then(|text| text.parse().ok());
            self.forgotten = self.forgotten.max(through.unwrap_or_default());
        }
        self.report.format_1 += u64::from(head.v.is_none());
        self.report.last = seq;
        self.report.records += 1;
        let (file, line) = (row.file.to_string(), row.line);
        self.before = Some(Before { file, line, seq, hash: hash(&row.bytes) });
        Ok(head)
    }

    /// Number and hash of the line before.
    fn follows(
        &mut self,
        row: &Row,
        head: &Head<'_>,
        seq: u64,
        prev: &str,
        next: Option<&Row>,
    ) -> Result<(), AuditError> {
        let Some(before) = &self.before else { return self.begins(row, head, seq, prev, next) };
        if seq == before.seq + 1 && *prev == before.hash {
            return Ok(());
        }
        if seq != before.seq + 1 {
            if *prev == before.hash {
                return Err(fault(row, Some(seq), FaultKind::Changed, "was changed: its number is wrong"));
            }
            return Err(misplaced(row, seq, before.seq + 1, next));
        }
        let whole = match next {
            Some(next) => names(next, row),
            // The last line: a signature tells it, and without one the older line is the likelier.
            None => match (&head.sig, &head.signer) {
                (Some(_), Some(key)) => checkpoint::holds(&row.bytes, key),
                (_, _) => true,
            },
        };
        if !whole {
            let what = "was changed: neither the record before it nor the one after it fits";
            return Err(fault(row, Some(seq), FaultKind::Changed, what));
        }
        Err(AuditError::Broken(Box::new(Fault {
            file: before.file.clone(),
            line: before.line,
            seq: Some(before.seq),
            kind: FaultKind::Changed,
            what: "was changed: the record after it holds another hash of it".into(),
        })))
    }

    /// The first line that is read.
    fn begins(
        &mut self,
        row: &Row,
        head: &Head<'_>,
        seq: u64,
        prev: &str,
        next: Option<&Row>,
    ) -> Result<(), AuditError> {
        self.report.first = seq;
        let named = row.named.unwrap_or(seq);
        let whole = next.is_none_or(|next| names(next, row));
        if seq != named && (whole || (named == 1 && !prev.is_empty())) {
            return Err(misplaced(row, seq, named, next));
        }
        if seq != named {
            return Err(fault(
                row,
                Some(seq),
                FaultKind::Changed,
                "was changed: its file begins with another number",
            ));
        }
        if (seq == 1) != prev.is_empty() {
            let what = "was changed: the first record, and only that, follows none";
            return Err(fault(row, Some(seq), FaultKind::Changed, what));
        }
        if seq > 1 && self.scope.from.is_none() {
            if head.v.is_none() {
                self.report.older_removed = true;
            } else {
                let what = format!(
                    "records 1 to {} before it are missing, and no record says that their time was over",
                    seq - 1
                );
                let (file, line) = (row.file.to_string(), row.line);
                self.missing = Some(Fault { file, line, seq: Some(seq), kind: FaultKind::Removed, what });
            }
        }
        Ok(())
    }

    /// The signature of a checkpoint.
    fn signed(&mut self, row: &Row, head: &Head<'_>, seq: u64) -> Result<(), AuditError> {
        let is_checkpoint = head.kind.as_deref() == Some(checkpoint::KIND);
        let bad = |what: String| Err(fault(row, Some(seq), FaultKind::Signature, what));
        let key = match (is_checkpoint, &head.signer, &head.sig) {
            (true, Some(key), Some(_)) => key,
            (true, _, _) => return bad("is a checkpoint without a signature".into()),
            (false, _, Some(_)) => return bad("has a signature and is no checkpoint".into()),
            (false, _, None) => return Ok(()),
        };
        if !self.scope.keys.is_empty() && !self.scope.keys.iter().any(|known| **known == **key) {
            return bad(
                "is signed with a key that is not ours: it, or records before it, were made by somebody else"
                    .into(),
            );
        }
        if !checkpoint::holds(&row.bytes, key) {
            let from = self.report.signed_to + 1;
            return bad(format!(
                "has a signature that does not fit: it, or a record from {from} on, was rewritten"
            ));
        }
        if self.report.keys.last().is_none_or(|last| **last != **key) {
            self.report.keys.push(key.to_string());
        }
        self.report.checkpoints += 1;
        self.report.signed_to = seq;
        Ok(())
    }

    /// What only the end can tell.
    fn ended(mut self, stopped: bool) -> Result<AuditReport, AuditError> {
        if let Some(missing) = self.missing.take()
            && !stopped
            && self.forgotten + 1 < self.report.first
        {
            return Err(AuditError::Broken(Box::new(missing)));
        }
        let newest = self.anchors.keys().copied().max().unwrap_or_default();
        self.report.anchored_to = newest;
        if !stopped && newest > self.report.last {
            let (file, line) =
                self.before.as_ref().map_or_else(Default::default, |at| (at.file.clone(), at.line));
            let at = self.anchors.get(&newest).and_then(|line| head(line.as_bytes())?.at);
            let (last, at) = (self.report.last, at.unwrap_or_default());
            let what = format!(
                "is where the trail ends, and an anchor of {at} proves record {newest}: records {} to {newest} were cut off",
                last + 1
            );
            let seq = Some(last).filter(|last| *last > 0);
            return Err(AuditError::Broken(Box::new(Fault {
                file,
                line,
                seq,
                kind: FaultKind::Truncated,
                what,
            })));
        }
        Ok(self.report)
    }
}

/// A line whose number is not the one that belongs there.
fn misplaced(row: &Row, seq: u64, expected: u64, next: Option<&Row>) -> AuditError {
    let (kind, what) = if seq < expected {
        (FaultKind::Duplicated, format!("record {seq} stands here again, where record {expected} belongs"))
    } else {
        let follows = next.and_then(|next| head(&next.bytes)?.seq);
        let swapped = follows
            .is_some_and(|follows| follows == expected || (follows == expected + 1 && follows != seq + 1));
        if swapped {
            (FaultKind::Swapped, format!("record {seq} stands where record {expected} belongs"))
        } else {
            let last = seq - 1;
            let which = if last == expected {
                format!("record {expected} before it is missing")
            } else {
                format!("records {expected} to {last} before it are missing")
            };
            (FaultKind::Removed, which)
        }
    };
    fault(row, Some(seq), kind, what)
}
