//! Taking in: folders, files and pages become documents and chunks of a collection. The way of one file: found
//! ([`find`]), read in a process of its own ([`extract`]), cleaned ([`clean`]), cut ([`chunk`]), embedded, and all of
//! them published at once ([`job`]). Invariant: one bad file stops nothing; it is named with its reason.
//! Source: ask design section 4.

pub mod again;
pub mod chunk;
pub mod clean;
pub mod extract;
pub mod find;
pub mod job;
pub mod reader;
pub mod remove;
pub mod report;
pub mod sources;
mod vectors;
