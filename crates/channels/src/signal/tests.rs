//! The door as a whole, between a strict double of signal-cli and an app that says what it was asked.

mod faults;
mod house;
mod talk;
