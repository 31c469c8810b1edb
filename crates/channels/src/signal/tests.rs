//! The door as a whole, between a strict double of signal-cli and an app that says what it was asked.

mod faults;
pub(crate) mod house;
mod talk;
