//! Inspection: what untrusted text is, and what must not be shown. Pure: no I/O, no async, every loop bounded by the
//! length of its input. Invariant: text that is passed on is never changed here; scoring works on a cleaned copy.
//!
//! Source: inspect.md.

mod config;
mod decode;
mod exceptions;
pub mod features;
#[cfg(test)]
mod fuzz;
mod harden;
mod inspector;
mod language;
mod leak;
mod matching;
pub mod model;
mod outflow;
mod placeholders;
mod policy;
mod redact;
mod rules;
mod sanitise;
mod schema;
mod scored;
mod signs;
mod told;
mod turns;

pub use config::{InspectConfig, LongTexts, Mode};
pub use decode::Encoding;
pub use exceptions::{Exception, Exceptions, named_by, names_text};
pub use harden::{Hardening, Origin};
pub use inspector::{Channel, Inspector, Reason, ReasonKind, Verdict, VerdictKind, Weighed};
pub use language::{GROUPS, group, letter};
pub use leak::Leak;
pub use outflow::{Outflow, Passed, Watch};
pub use placeholders::{Placeholders, Restoring};
pub use policy::{
    CheckAction, Flagged, Harden, InputPolicy, OutputPolicy, PolicyConfig, RedactPrompts, SchemaAction,
};
pub use redact::{Found, find, looks_like_secret, redact, redact_outside};
pub use rules::{Family, Rule, rules};
pub use sanitise::{Policy, Removed, SanitiseProblem, Sanitised, sanitise};
pub use schema::{Held, Schema, SchemaLimits, SchemaProblem};
pub use turns::Turns;

/// The copy of a text that rules and model look at, for the trainer.
#[must_use]
pub fn copy(text: &str) -> String {
    scored::scored(text).text
}
