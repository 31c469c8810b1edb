//! The whole product, from outside: the real binary as a process, and the real runtime in process on port 0. One
//! binary with a module for each subject, because linking is the slow part. Invariant: every test has its own
//! folder and its own ports, so all run at once.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test helpers too end the test with a sentence; clippy only knows the test functions themselves"
)]

mod admin;
mod alerts;
mod anthropic;
mod ask;
mod audit;
mod backup;
mod bad_input;
mod balanced;
mod budgets;
mod cli;
mod client_errors;
mod faults;
mod gateway;
mod gemini;
mod governed;
mod guard;
mod hardening;
mod hostile;
mod hostile_news;
mod in_process;
mod index;
mod ingest;
mod judges;
mod lifecycle;
mod limits;
mod news_limits;
mod news_tools;
mod openai;
mod passing;
mod readers;
mod reload;
mod replicas;
mod secrecy;
mod shared_index;
mod signal;
mod support;
mod telegram;
mod traces;
