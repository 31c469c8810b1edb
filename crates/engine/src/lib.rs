//! The way in: identify, admit, inspect, run, finish. The order is carried by types: only `Engine::enter` makes an
//! `Admitted`, only `Admitted::run` makes an `Inspected`, and apps take nothing else.
//!
//! Invariant: this crate names no app and no door; both know it.

mod app;

pub use app::{App, Inspected, Run};
