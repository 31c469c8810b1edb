//! Logs: JSON lines (text on a terminal), every string field redacted before it is written. One thread writes, in
//! batches, so that an async worker never waits for a disk and a line costs no system call; files rotate by size and
//! by age, old ones are compressed. Invariant: a slow disk costs lines (counted), never requests.
//!
//! Source: S2-3.2, S2-2.7, settings.md; fields and escapes in `line`.

mod line;
mod rotate;

use crate::{Metrics, audit::Redact, batch::Batch};
use line::Style;
pub(crate) use line::escape_json;
use portcullis_domain::Problem;
use rotate::Rotating;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    cell::RefCell,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, layer::Context, layer::SubscriberExt as _, util::SubscriberInitExt as _,
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
    /// Age at which a new file is begun, in days, looked at when a line is written. Default 1.
    pub max_days: u32,
    /// Old files kept, compressed. Default 7.
    pub keep: usize,
    /// Bytes of lines that may wait for the disk; further lines are dropped and counted in
    /// `log_lines_dropped_total`. Default 4194304.
    pub buffer_bytes: usize,
    /// Longest value of one field, in bytes; longer ones are cut and say so. Default 8192.
    pub max_field_bytes: usize,
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
            buffer_bytes: 4_194_304,
            max_field_bytes: 8192,
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
            ("buffer_bytes", self.buffer_bytes as u64, 65_536),
            ("max_field_bytes", self.max_field_bytes as u64, 64),
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

/// Where events become lines.
struct Lines {
    queue: Arc<Batch<u8>>,
    most: usize,
    style: Style,
    metrics: Metrics,
}

thread_local! {
    /// One line at a time on each thread, so that writing one does not allocate.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Lines {
    fn add(&self, line: &mut String, event: &Event<'_>) {
        line.clear();
        self.style.write(line, event, jiff::Timestamp::now());
        let urgent = *event.metadata().level() == Level::ERROR;
        let put = |bytes: &mut Vec<u8>| bytes.extend_from_slice(line.as_bytes());
        if self.queue.give(line.len(), self.most, urgent, put).is_none() {
            self.metrics.log_dropped(1);
        }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        LINE.with(|line| match line.try_borrow_mut() {
            Ok(mut line) => self.add(&mut line, event),
            // A Debug value that logs while it is logged.
            Err(_) => self.add(&mut String::new(), event),
        });
    }
}

/// Writes what is still queued when it is dropped.
pub struct LogGuard {
    queue: Arc<Batch<u8>>,
    writer: Option<JoinHandle<()>>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has nothing left to say.
            let _ended = writer.join();
        }
    }
}

/// Starts logging for the whole process. Only the first call of a process takes effect (tests share one).
///
/// # Errors
/// A log file that cannot be opened.
pub fn init_logs(config: &LogConfig, redact: Redact, metrics: Metrics) -> io::Result<LogGuard> {
    let target = match &config.file {
        Some(path) => Target::File(Box::new(Rotating::open(path, config)?)),
        None => Target::Standard,
    };
    let terminal = config.file.is_none() && io::stderr().is_terminal();
    let (lines, guard) = start(config, target, terminal, redact, metrics)?;
    let filter = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    // A second start in the same process (tests) keeps the first one's logs.
    let _already = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Ok(guard)
}

fn start(
    config: &LogConfig,
    target: Target,
    terminal: bool,
    redact: Redact,
    metrics: Metrics,
) -> io::Result<(Lines, LogGuard)> {
    let json = match config.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    let style = Style { json, colour: terminal, redact, max_field_bytes: config.max_field_bytes };
    let queue = Arc::new(Batch::new());
    let (lines, lost) = (Arc::clone(&queue), metrics.clone());
    let writer = std::thread::Builder::new()
        .name("portcullis-log".into())
        .spawn(move || write_all(&lines, target, &lost))?;
    let guard = LogGuard { queue: Arc::clone(&queue), writer: Some(writer) };
    Ok((Lines { queue, most: config.buffer_bytes, style, metrics }, guard))
}

enum Target {
    Standard,
    File(Box<Rotating>),
}

/// How long lines gather before they are written: fewer system calls and fewer wake-ups beside a request, and nobody reads
/// faster. Errors do not wait.
const GATHER: Duration = Duration::from_millis(100);
/// How long the writer sleeps at most; nothing depends on it.
const IDLE: Duration = Duration::from_secs(3600);

fn write_all(queue: &Batch<u8>, mut target: Target, metrics: &Metrics) {
    let mut lines = Vec::new();
    while queue.take(&mut lines, IDLE, GATHER) {
        let written = match &mut target {
            Target::Standard => io::stderr().lock().write_all(&lines),
            Target::File(file) => file.write(&lines, jiff::Timestamp::now()),
        };
        if written.is_err() {
            let count = lines.iter().filter(|byte| **byte == b'\n').count();
            metrics.log_dropped(u64::try_from(count).unwrap_or(u64::MAX));
        }
    }
    if let Target::File(mut file) = target {
        file.wait();
    }
}

#[cfg(test)]
mod tests;
