//! Looking into the trail: the last records, those that fit, and their lines as they stand.

use super::{
    checkpoint,
    trail::{Trail, files},
};
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read as _, Seek as _, Write},
    path::Path,
};

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
        let records = lines.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
        let told = records.filter(|record| record["kind"] != checkpoint::KIND);
        out.extend(told.take(count - out.len()));
        if out.len() >= count {
            break;
        }
    }
    Ok(out)
}

/// Which records are wanted; what is absent does not matter.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// From then on.
    pub from: Option<jiff::Timestamp>,
    /// Before then.
    pub to: Option<jiff::Timestamp>,
    /// Of these kinds; empty: of every kind but checkpoints.
    pub kinds: Vec<String>,
    /// Of these callers, as the trail calls them; empty: of all.
    pub callers: Vec<String>,
    /// With that outcome.
    pub outcome: Option<String>,
    /// Under that incident or in that request.
    pub id: Option<String>,
}

impl Wanted {
    fn fits(&self, record: &serde_json::Value) -> bool {
        let text = |name: &str| record[name].as_str().unwrap_or_default();
        let one_of = |wanted: &[String], name: &str| wanted.iter().any(|wanted| wanted == text(name));
        (if self.kinds.is_empty() { text("kind") != checkpoint::KIND } else { one_of(&self.kinds, "kind") })
            && (self.callers.is_empty() || one_of(&self.callers, "caller"))
            && self.outcome.as_deref().is_none_or(|outcome| outcome == text("outcome"))
            && self.id.as_deref().is_none_or(|id| id == text("incident") || id == text("request_id"))
            && self.from.is_none_or(|from| at(record).is_some_and(|at| at >= from))
    }
}

fn at(record: &serde_json::Value) -> Option<jiff::Timestamp> {
    record["at"].as_str()?.parse().ok()
}

/// Hears every record that is wanted with its line, oldest first. A line that is no record is passed over: checking
/// is `verify`'s.
fn each(
    folder: &Path,
    wanted: &Wanted,
    mut hear: impl FnMut(serde_json::Value, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut trail = Trail::open(folder, wanted.from)?;
    while let Some(row) = trail.next()? {
        let Ok(record) = serde_json::from_slice::<serde_json::Value>(&row.bytes) else { continue };
        if wanted.to.is_some_and(|to| at(&record).is_some_and(|at| at >= to)) {
            break;
        }
        if wanted.fits(&record) {
            hear(record, &row.bytes)?;
        }
    }
    Ok(())
}

/// The last `count` records that are wanted, oldest first.
///
/// # Errors
/// A trail that cannot be read.
pub fn show(folder: &Path, wanted: &Wanted, count: usize) -> io::Result<Vec<serde_json::Value>> {
    let mut kept = VecDeque::new();
    each(folder, wanted, |record, _| {
        kept.push_back(record);
        if kept.len() > count {
            kept.pop_front();
        }
        Ok(())
    })?;
    Ok(kept.into())
}

/// The lines of all records that are wanted, byte for byte; how many.
///
/// # Errors
/// A trail that cannot be read, or a writer that takes nothing.
pub fn export(folder: &Path, wanted: &Wanted, out: &mut dyn Write) -> io::Result<u64> {
    let mut count = 0;
    each(folder, wanted, |_, line| {
        count += 1;
        out.write_all(line)?;
        out.write_all(b"\n")
    })?;
    Ok(count)
}
