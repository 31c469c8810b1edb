//! temp
mod classify;
mod shape;
mod sse;
