//! Settings, secrets, wiring, start, drain and shutdown: the only crate that sees both apps and channels, and the
//! only one that reads the environment.
//!
//! Invariant: `start` builds everything once and hands it on by argument; there is no global state, so a
//! test starts as many runtimes in one process as it likes.

mod alerting;
pub mod asking;
mod check;
mod collector;
pub mod embedding;
mod environment;
pub mod ingestion;
pub mod kept;
mod messenger;
pub mod models;
pub mod news;
pub mod pages;
mod people;
mod reload;
pub mod remote;
mod running;
pub mod secrets;
pub mod settings;
mod snapshot;
mod stall;
mod start;
pub mod trail;
mod vital;

pub use check::{check, read_secrets};
pub use environment::Environment;
pub use portcullis_channels::http::openapi_document;
pub use portcullis_inspect as inspect;
pub use portcullis_knowledge as knowledge;
pub use portcullis_news as posts;
pub use portcullis_providers::presets::markdown as providers_markdown;
pub use portcullis_telemetry::{audit, metric_catalogue, prometheus_rules};
pub use running::Running;
pub use secrets::Secrets;
pub use settings::Settings;
pub use start::{StartError, jwt, revoke_token, start, start_from};

/// What `portcullis signal` asks with.
pub mod signal {
    pub use portcullis_channels::signal::{Probe, ProbeError, Status};
    pub use portcullis_resilience::http::Client;
}

/// The words of `portcullis token`.
pub mod tokens {
    pub use portcullis_domain::{Scopes, Tier};
    pub use portcullis_engine::{DEFAULT_POLICY, jwt::NewToken};
    pub use portcullis_store::RevocationKind;
}

use std::borrow::Cow;

/// The first net: key shapes, credentials, absolute paths.
pub(crate) fn redact(text: &str) -> Cow<'_, str> {
    portcullis_inspect::redact(text)
}

/// Whether a text holds something with the shape of a key.
pub(crate) fn looks_like_key(text: &str) -> bool {
    portcullis_inspect::looks_like_secret(text)
}
