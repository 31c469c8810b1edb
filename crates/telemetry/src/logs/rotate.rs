//! A log file that begins anew by size and by age; old ones are compressed aside by a thread of their own, so that
//! packing never delays a line. Invariant: a step that fails costs the rotation, never the lines: writing goes on in
//! the file that is there; what is no plain file (a device, a pipe) is written to and never moved, or a log to
//! `/dev/null` would take the device away from the whole machine. Files are readable by their owner only.

use super::LogConfig;
use flate2::{Compression, write::GzEncoder};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    thread::JoinHandle,
};

pub(super) struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    since: jiff::Timestamp,
    max_bytes: u64,
    max_age_secs: i64,
    keep: usize,
    /// Whether it is a plain file.
    plain: bool,
    packing: Option<JoinHandle<()>>,
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl Rotating {
    pub(super) fn open(path: &Path, config: &LogConfig) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = open(path)?;
        let meta = file.metadata()?;
        let born = meta.created().or_else(|_| meta.modified()).ok();
        let since = born.and_then(|at| jiff::Timestamp::try_from(at).ok());
        let mut rotating = Self {
            path: path.to_owned(),
            file,
            size: meta.len(),
            since: since.unwrap_or_else(jiff::Timestamp::now),
            max_bytes: config.max_bytes,
            max_age_secs: i64::from(config.max_days) * 86_400,
            keep: config.keep,
            plain: meta.is_file(),
            packing: None,
        };
        if rotating.plain {
            // What a crash left unpacked.
            rotating.pack();
        }
        Ok(rotating)
    }

    /// Writes whole lines.
    pub(super) fn write(&mut self, lines: &[u8], now: jiff::Timestamp) -> io::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            let old = now.as_second() - self.since.as_second() >= self.max_age_secs;
            let first = line_end(rest, 1);
            if self.plain && self.size > 0 && (old || self.size + first as u64 > self.max_bytes) {
                self.rotate(now);
            }
            let room = if self.plain { self.max_bytes.saturating_sub(self.size) } else { u64::MAX };
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            let fits = line_end(rest, room.min(rest.len())).max(first);
            let (now_written, later) = rest.split_at(fits);
            self.file.write_all(now_written)?;
            self.size += now_written.len() as u64;
            rest = later;
        }
        Ok(())
    }

    fn rotate(&mut self, now: jiff::Timestamp) {
        // Whatever happens, not again for every line.
        (self.size, self.since) = (0, now);
        let stamp = now.strftime("%Y%m%dT%H%M%S%.6fZ").to_string().replace('.', "");
        // All names of one length, so that their order is that of time, also within one moment.
        let free = |aside: &PathBuf| !aside.exists() && !with(aside, ".gz").exists();
        let names = (0..1000).map(|again| self.beside(&format!("{stamp}-{again:03}")));
        let Some(aside) = names.into_iter().find(free) else { return };
        if fs::rename(&self.path, &aside).is_ok() {
            match open(&self.path) {
                Ok(file) => self.file = file,
                // The old file goes on under its own name.
                Err(_) => drop(fs::rename(&aside, &self.path)),
            }
        }
        self.pack();
    }

    fn beside(&self, stamp: &str) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!("{name}.{stamp}"))
    }

    /// Packs what lies aside and forgets the oldest, on a thread of its own.
    fn pack(&mut self) {
        self.wait();
        let (path, keep) = (self.path.clone(), self.keep);
        let thread = std::thread::Builder::new().name("portcullis-pack".into());
        self.packing = thread.spawn(move || drop(pack_all(&path, keep))).ok();
    }

    /// Waits until packing is done.
    pub(super) fn wait(&mut self) {
        if let Some(packing) = self.packing.take() {
            // A failed packing leaves the file unpacked; the next one tries again.
            let _ended = packing.join();
        }
    }
}

/// The largest end of a line at or below `most`; the end of the first line when none fits.
fn line_end(lines: &[u8], most: usize) -> usize {
    let within = lines[..most].iter().rposition(|byte| *byte == b'\n');
    within.or_else(|| lines.iter().position(|byte| *byte == b'\n')).map_or(lines.len(), |at| at + 1)
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Old files of this log, oldest first: their names hold the time.
pub(super) fn old_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut all: Vec<PathBuf> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|file| {
            let file = file.file_name().unwrap_or_default().to_string_lossy();
            file.strip_prefix(&name)
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|stamp| stamp.starts_with(|c: char| c.is_ascii_digit()))
        })
        .collect();
    all.sort();
    Ok(all)
}

fn pack_all(path: &Path, keep: usize) -> io::Result<()> {
    for file in old_files(path)? {
        if file.extension().is_some_and(|kind| kind == "gz" || kind == "part") {
            continue;
        }
        let part = with(&file, ".part");
        // A crash may have left half of one.
        drop(fs::remove_file(&part));
        let mut encoder = GzEncoder::new(open(&part)?, Compression::fast());
        io::copy(&mut File::open(&file)?, &mut encoder)?;
        encoder.finish()?.sync_data()?;
        fs::rename(&part, with(&file, ".gz"))?;
        fs::remove_file(&file)?;
    }
    let old = old_files(path)?;
    for file in old.iter().take(old.len().saturating_sub(keep)) {
        fs::remove_file(file)?;
    }
    Ok(())
}
