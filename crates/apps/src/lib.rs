//! What Portcullis does for people. Each app is one folder; it knows the engine and the providers, never a door.

pub mod ask;
pub mod chat;
pub mod news;
