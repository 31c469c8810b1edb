//! Logs: JSON lines (text on a terminal), redacted as a whole line just before they leave, so that no log call can
//! bypass it. One thread writes, so async workers never wait for a disk; files rotate by size and by age, old ones are
//! compressed. Invariant: a slow disk costs lines (counted), never requests. Source: S2-3.2, settings.md.

use crate::{Metrics, audit::Redact};
use flate2::{Compression, write::GzEncoder};
use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    time::Duration,
};
use tracing_subscriber::{
    EnvFilter, fmt::MakeWriter, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// `[log]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// What is written: `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,portcullis=debug`.
    /// Default `info`.
    pub level: String,
    /// How lines look. Default `auto`.
    pub format: LogFormat,
    /// File to write to. Default: none, standard error.
    pub file: Option<PathBuf>,
    /// Size at which a new file is begun, in bytes. Default 104857600.
    pub max_bytes: u64,
    /// Age at which a new file is begun, in days. Default 1.
    pub max_days: u32,
    /// Old files kept, compressed. Default 7.
    pub keep: usize,
    /// Lines that may wait for the disk; further ones are dropped and counted. Default 8192.
    pub buffer: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: LogFormat::Auto,
            file: None,
            max_bytes: 104_857_600,
            max_days: 1,
            keep: 7,
            buffer: 8192,
        }
    }
}

impl LogConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        if EnvFilter::try_new(&self.level).is_err() {
            let mend = "use error, warn, info, debug or trace, or a directive such as info,portcullis=debug";
            out.push(Problem::new(format!("{prefix}.level"), "is no log level", mend));
        }
        for (key, value, least) in [
            ("max_bytes", self.max_bytes, 4096),
            ("max_days", u64::from(self.max_days), 1),
            ("buffer", self.buffer as u64, 16),
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

enum Line {
    Text(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The queue to the writer.
#[derive(Clone)]
struct Queue {
    lines: SyncSender<Line>,
    redact: Redact,
    metrics: Metrics,
}

impl Write for Queue {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let safe = (self.redact)(&text).into_owned().into_bytes();
        if self.lines.try_send(Line::Text(safe)).is_err() {
            self.metrics.log_dropped(1);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Writes what is still queued when it is dropped.
pub struct LogGuard(SyncSender<Line>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (done, waits) = mpsc::sync_channel(1);
        if self.0.send(Line::Flush(done)).is_ok() {
            let _ignored = waits.recv_timeout(Duration::from_secs(5));
        }
    }
}

/// Starts logging for the whole process. Only the first call of a process takes effect (tests share one).
///
/// # Errors
/// A log file that cannot be opened.
pub fn init_logs(config: &LogConfig, redact: Redact, metrics: Metrics) -> io::Result<LogGuard> {
    let target = match &config.file {
        Some(path) => Target::File(Rotating::open(path, config)?),
        None => Target::Standard,
    };
    let (lines, waiting) = mpsc::sync_channel(config.buffer);
    std::thread::Builder::new().name("portcullis-log".into()).spawn(move || write_all(&waiting, target))?;
    let queue = Queue { lines: lines.clone(), redact, metrics };
    let filter = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let terminal = config.file.is_none() && io::stderr().is_terminal();
    let json = match config.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    // A second start in the same process (tests) keeps the first one's logs.
    let _already = if json {
        let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false);
        registry.with(layer.with_span_list(false).with_writer(queue)).try_init()
    } else {
        registry.with(tracing_subscriber::fmt::layer().with_ansi(terminal).with_writer(queue)).try_init()
    };
    Ok(LogGuard(lines))
}

enum Target {
    Standard,
    File(Rotating),
}

/// How often age is looked at when nothing is written.
const LOOK_EVERY: Duration = Duration::from_secs(60);

fn write_all(lines: &Receiver<Line>, mut target: Target) {
    loop {
        match lines.recv_timeout(LOOK_EVERY) {
            Ok(Line::Text(text)) => match &mut target {
                // Nobody is left to tell when standard error is gone.
                Target::Standard => drop(io::stderr().lock().write_all(&text)),
                Target::File(file) => drop(file.write(&text, jiff::Timestamp::now())),
            },
            Ok(Line::Flush(done)) => drop(done.try_send(())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// A file that begins anew by size and by age.
struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    since: jiff::Timestamp,
    max_bytes: u64,
    max_age_secs: i64,
    keep: usize,
}

impl Rotating {
    fn open(path: &Path, config: &LogConfig) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let meta = file.metadata()?;
        let born = meta.created().or_else(|_| meta.modified());
        let since =
            born.ok().and_then(|at| jiff::Timestamp::try_from(at).ok()).unwrap_or_else(jiff::Timestamp::now);
        Ok(Self {
            path: path.to_owned(),
            file,
            size: meta.len(),
            since,
            max_bytes: config.max_bytes,
            max_age_secs: i64::from(config.max_days) * 86_400,
            keep: config.keep,
        })
    }

    fn write(&mut self, line: &[u8], now: jiff::Timestamp) -> io::Result<()> {
        let old = now.as_second() - self.since.as_second() >= self.max_age_secs;
        if self.size > 0 && (old || self.size + line.len() as u64 > self.max_bytes) {
            self.rotate(now)?;
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self, now: jiff::Timestamp) -> io::Result<()> {
        let stamp = now.as_nanosecond();
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let packed = self.path.with_file_name(format!("{name}.{stamp}.gz"));
        let aside = self.path.with_file_name(format!("{name}.{stamp}"));
        fs::rename(&self.path, &aside)?;
        self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        (self.size, self.since) = (0, now);
        let mut encoder = GzEncoder::new(File::create(&packed)?, Compression::fast());
        io::copy(&mut File::open(&aside)?, &mut encoder)?;
        encoder.finish()?;
        fs::remove_file(&aside)?;
        let mut old = self.packed(&name)?;
        while old.len() > self.keep {
            fs::remove_file(old.remove(0))?;
        }
        Ok(())
    }

    /// Packed files, oldest first: their names hold the time, all of one length.
    fn packed(&self, name: &str) -> io::Result<Vec<PathBuf>> {
        let folder =
            self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut all: Vec<PathBuf> = fs::read_dir(folder)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                file.starts_with(name) && file.ends_with(".gz")
            })
            .collect();
        all.sort();
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    // req: S2-3.2
    #[test]
    fn files_rotate_by_size_and_by_age_are_packed_and_only_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portcullis.log");
        let config = LogConfig { max_bytes: 100, keep: 2, ..LogConfig::default() };
        let mut file = Rotating::open(&path, &config).unwrap();
        let at = |secs: i64| jiff::Timestamp::from_second(file_start() + secs).unwrap();
        let line = [b'x'; 60];
        for second in 0..5 {
            file.write(&line, at(second)).unwrap();
        }
        assert_eq!(fs::read(&path).unwrap().len(), 60);
        let packed = file.packed("portcullis.log").unwrap();
        assert_eq!(packed.len(), 2, "two are kept");
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(File::open(&packed[0]).unwrap()).read_to_end(&mut text).unwrap();
        assert_eq!(text, line);
        file.write(b"short", at(86_500)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"short", "a day later a new file begins");
    }

    fn file_start() -> i64 {
        jiff::Timestamp::now().as_second() + 1
    }

    // req: S2-2.7
    #[test]
    fn every_line_is_redacted_on_its_way_out() {
        let (lines, waiting) = mpsc::sync_channel(4);
        let redact: Redact = |text| text.replace("hunter2", "[…]").into();
        let mut queue = Queue { lines, redact, metrics: Metrics::new() };
        queue.write_all(b"{\"message\":\"the word is hunter2\"}\n").unwrap();
        let Ok(Line::Text(text)) = waiting.recv() else { panic!("a line") };
        assert_eq!(text, "{\"message\":\"the word is […]\"}\n".as_bytes());
    }
}
