//! The door as a whole, between a strict double of the Bot API and an app that says what it was asked.

mod faults;
mod house;
mod pace;
mod render;
mod talk;
mod webhook;
