//! Proof of the trail: anybody with the files can check it, no key is needed. Source: inspect.md section 7.

use super::AuditError;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::digest;
use serde::Serialize;
use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _},
    path::{Path, PathBuf},
};

/// SHA-256 of a line without its line feed, base64url.
pub(super) fn hash(line: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, line).as_ref())
}

/// The files of a trail, oldest first: their names hold the number of their first record.
pub(super) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all: Vec<PathBuf> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
        .collect();
    all.sort();
    Ok(all)
}

/// Most bytes of one file that are read for its last records.
const TAIL_BYTES: u64 = 4 * 1024 * 1024;

/// The last records of the newest two files, newest first.
pub(super) fn last(folder: &Path, count: usize) -> io::Result<Vec<serde_json::Value>> {
    let mut out = Vec::new();
    for path in files(folder)?.iter().rev().take(2) {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let begin = length.saturating_sub(TAIL_BYTES);
        file.seek(io::SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        // The first line may be cut, the last may still be under way: neither parses, neither is shown.
        let lines = bytes.split(|byte| *byte == b'\n').rev();
        let records = lines.filter_map(|line| serde_json::from_slice(line).ok());
        out.extend(records.take(count - out.len()));
        if out.len() >= count {
            break;
        }
    }
    Ok(out)
}

/// What a check of the trail found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// Files read.
    pub files: usize,
    /// Records that hold.
    pub records: u64,
    /// Number of the first record: above 1 when older files have been removed.
    pub first: u64,
    /// Number of the last record.
    pub last: u64,
}

/// Checks every line of the trail in `folder`. A tail of whole lines cut off the end does not show: that takes the
/// signed checkpoints of a later plan.
///
/// # Errors
/// The first line that does not follow from the one before it, or a file that cannot be read.
pub fn verify(folder: &Path) -> Result<AuditReport, AuditError> {
    let mut report = AuditReport::default();
    let mut prev = None::<String>;
    for path in files(folder)? {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut reader = BufReader::new(File::open(&path)?);
        let (mut line, mut number) = (Vec::new(), 0);
        while reader.read_until(b'\n', &mut line)? > 0 {
            number += 1;
            let broken = |what| AuditError::Broken { file: file.clone(), line: number, what };
            if line.pop() != Some(b'\n') {
                return Err(broken("is cut off"));
            }
            let value: serde_json::Value =
                serde_json::from_slice(&line).map_err(|_| broken("is not a record"))?;
            let seq = value["seq"].as_u64().ok_or_else(|| broken("has no number"))?;
            let before =
                value["prev"].as_str().ok_or_else(|| broken("has no hash of the record before it"))?;
            match &prev {
                Some(_) if seq != report.last + 1 => {
                    return Err(broken(
                        "does not follow the record before it: one was removed, added or moved",
                    ));
                }
                Some(hash) if before != hash => {
                    return Err(broken("follows a record that was changed"));
                }
                None if seq == 1 && !before.is_empty() => {
                    return Err(broken("claims a record before the first"));
                }
                None if seq != 1 && before.is_empty() => {
                    return Err(broken("claims to be the first and is not"));
                }
                Some(_) | None => {}
            }
            if prev.is_none() {
                report.first = seq;
            }
            (prev, report.last) = (Some(hash(&line)), seq);
            report.records += 1;
            line.clear();
        }
        report.files += 1;
    }
    Ok(report)
}
