//! The wires providers are spoken to in. A wire turns a request into bytes for its provider and the provider's bytes
//! into an answer; which wire a provider speaks is a word in its preset row.

pub(crate) mod classify;
pub(crate) mod openai;
