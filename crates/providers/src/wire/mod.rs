//! How providers are spoken to: over the network in a format of `portcullis-wire`, the caller's own or another. Which
//! format a provider speaks is a word in its preset row.

pub(crate) mod classify;
pub(crate) mod endpoint;
mod heads;
pub(crate) mod remote;
mod scan;
mod stream;
mod translate;

pub(crate) use translate::{Dropped, Translator, head, strictly};
