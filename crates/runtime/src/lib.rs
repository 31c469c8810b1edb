//! Settings, secrets, wiring, start, drain and shutdown: the only crate that sees both apps and channels, and the
//! only one that reads the environment.
//!
//! Invariant: `Runtime::start` builds everything once and hands it on by argument; there is no global state, so a
//! test starts as many runtimes in one process as it likes.

mod check;
mod environment;
pub mod remote;
pub mod secrets;
pub mod settings;
#[cfg(test)]
mod stall;

pub use check::{check, read_secrets};
pub use environment::Environment;
pub use portcullis_channels::http::openapi_document;
pub use portcullis_inspect as inspect;
pub use portcullis_providers::presets::markdown as providers_markdown;
pub use portcullis_telemetry::{audit, metric_catalogue};
pub use secrets::Secrets;
pub use settings::Settings;

use std::borrow::Cow;

/// The first net: key shapes, credentials, absolute paths.
pub(crate) fn redact(text: &str) -> Cow<'_, str> {
    portcullis_inspect::redact(text)
}

/// Whether a text holds something with the shape of a key.
pub(crate) fn looks_like_key(text: &str) -> bool {
    portcullis_inspect::looks_like_secret(text)
}
