//! Budgets against a naive model, under concurrency, over restarts, and through the ledger.

mod model;
mod together;
mod whole;
