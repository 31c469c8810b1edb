//! The doors of Portcullis. Each door has one folder; it decodes, hands to the engine, and renders `Failure` in its
//! own words. Invariant: no door names a provider or an app.

pub mod http;
pub mod signal;
pub mod telegram;
