//! Inspection: what untrusted text is, and what must not be shown. Pure: no I/O, no async, every loop bounded by the
//! length of its input. Invariant: text that is passed on is never changed here; scoring works on a cleaned copy.
//!
//! Source: inspect.md. The trained model, decoders and canaries join behind `Inspector` in a later plan.

mod config;
mod inspector;
mod outflow;
mod placeholders;
mod policy;
mod redact;
mod rules;
mod sanitise;
mod schema;
mod scored;
mod signs;

pub use config::{InspectConfig, Mode};
pub use inspector::{Channel, Inspector, Reason, Verdict, VerdictKind};
pub use outflow::{Outflow, Passed, Watch};
pub use placeholders::{Placeholders, Restoring};
pub use policy::{CheckAction, InputPolicy, OutputPolicy, PolicyConfig, RedactPrompts, SchemaAction};
pub use redact::{looks_like_secret, redact, redact_outside};
pub use rules::{Family, Rule, rules};
pub use sanitise::{Policy, Removed, SanitiseProblem, Sanitised, sanitise};
pub use schema::{Held, Schema, SchemaLimits, SchemaProblem};
