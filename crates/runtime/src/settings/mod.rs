//! Settings: one tree of every crate's `Config`, read from file < environment < flags.
//!
//! Invariants: an unknown key is an error, never ignored; all problems of all sources are reported together, each
//! with where it was said and how to mend it; no value that looks like a key may stand in a settings file, and no
//! report ever shows one. Source: requirements S2-1.4 and S4-KEYS.

mod load;
mod overrides;
mod reference;
mod report;
mod schema;
mod source;
#[cfg(test)]
mod tests;

pub use load::{Examined, LoadError, Sources, examine, load};
pub use reference::{config_markdown, example_toml};
pub use report::{Located, Report, Severity};
pub use source::Origin;

use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything that can be set. One field for each section of the file; every section is owned by the crate that
/// obeys it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Folder below which everything persistent lives: the database, keys, audit trail. Made with mode 0700;
    /// start-up refuses a looser one. Default `"data"`.
    pub data_dir: PathBuf,
    /// The process itself: worker threads, drain, stall watchdog.
    pub server: ServerConfig,
    /// Where secrets are read from.
    pub secrets: crate::secrets::SecretsConfig,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            server: ServerConfig::default(),
            secrets: crate::secrets::SecretsConfig::default(),
        }
    }
}

impl Settings {
    /// Everything out of range or contradictory, all at once.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut out = Vec::new();
        if self.data_dir.as_os_str().is_empty() {
            out.push(Problem::new("data_dir", "is empty", "name a folder, such as \"data\""));
        }
        self.server.problems("server", &mut out);
        self.secrets.problems("secrets", &mut out);
        out
    }
}

/// The process itself.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Threads that run requests. More than the machine has cores only adds switching. 0 (default) means one for
    /// each core. Needs a restart.
    pub worker_threads: u16,
    /// How long running requests and streams may go on after SIGTERM before they are cancelled, in seconds.
    /// A supervisor must wait longer than this before it kills. Default 30.
    pub drain_secs: u64,
    /// A runtime thread blocked for longer than this many milliseconds is counted and logged: it delays every
    /// other request. Default 100.
    pub stall_warn_ms: u64,
    /// How often the stall watchdog looks, in milliseconds. Default 50.
    pub stall_probe_ms: u64,
    /// How long flushing usage, audit and logs may take at the end of a drain, in seconds. Default 5.
    pub flush_secs: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { worker_threads: 0, drain_secs: 30, stall_warn_ms: 100, stall_probe_ms: 50, flush_secs: 5 }
    }
}

impl ServerConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        let mut range = |key: &str, value: u64, low: u64, high: u64| {
            if !(low..=high).contains(&value) {
                let message = format!("{value} is out of range");
                out.push(Problem::new(format!("{prefix}.{key}"), message, format!("choose {low} to {high}")));
            }
        };
        range("worker_threads", u64::from(self.worker_threads), 0, 1024);
        range("drain_secs", self.drain_secs, 0, 3600);
        range("stall_warn_ms", self.stall_warn_ms, 1, 60_000);
        range("stall_probe_ms", self.stall_probe_ms, 1, 60_000);
        range("flush_secs", self.flush_secs, 1, 600);
    }
}

/// The known name nearest to a misspelt one, if it is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}
