//! The way in: identify, admit, inspect, run, finish. The order is carried by types: only `Engine::enter` makes an
//! `Admitted`, only `Admitted::run` makes an `Inspected`, and apps take nothing else.
//!
//! Invariant: this crate names no app and no door; both know it.

mod admission;
mod app;
mod breaches;
pub mod budgets;
mod confirm;
pub mod exceptions;
mod filter;
mod hardening;
pub mod holds;
pub mod identity;
mod ids;
pub mod jwt;
pub mod keys;
pub mod messages;
mod operate;
mod outgoing;
mod pipeline;
mod policy;
mod quotas;
mod record;
mod remembered;
pub mod safety;
mod screening;
mod shape;
mod tokens;
pub mod words;

pub use admission::{
    ActionConfig, Admission, AdmissionConfig, BucketConfig, TierConfig, default_actions, default_tiers,
};
pub use app::{App, FindEngine, Inspected, Run};
pub use breaches::Breaches;
pub use filter::Filter;
pub use keys::store_failure;
pub use operate::NamedLimit;
pub use pipeline::{Admitted, Answer, Changes, Engine, Parts, Refused, Views};
pub use policy::{DEFAULT_POLICY, Policies, Policy};
pub use quotas::Quotas;
pub use remembered::Remembered;
pub use screening::{Screening, Suspicion};
pub use shape::{Shape, ShapeLimits};
