//! What the admin API asks of the process itself: its settings, its end. The answers come from the one task of the
//! runtime that owns the settings in force, so that reloads by signal, by call and by a changed file take turns.

use portcullis_domain::Failure;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Calls that may wait for their turn; more are refused.
const BACKLOG: usize = 16;
/// When the task may have time again.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// Settings that cannot be used: what is wrong with them, all of it, as `portcullis check --json` says it.
#[derive(Clone, Debug)]
pub struct Unusable(pub Value);

type Reply<T> = oneshot::Sender<T>;

/// One question or order.
#[derive(Debug)]
pub enum Call {
    /// Read the settings again and put them in force, or leave everything as it is.
    Reload {
        /// Who wants it: a caller's id, `signal` or `watch`.
        by: String,
        /// What changed, and what needs a restart.
        reply: Reply<Result<Value, Unusable>>,
    },
    /// Say what is wrong with these settings; nothing changes.
    Validate {
        /// A settings file.
        text: String,
        /// The report.
        reply: Reply<Value>,
    },
    /// The settings in force, redacted, each with where it was said.
    Show {
        /// They.
        reply: Reply<Value>,
    },
    /// Every tier with what it allows and whether it was changed at run time.
    Tiers {
        /// They.
        reply: Reply<Value>,
    },
    /// Changes a tier at run time, here and on every replica; without a definition the settings' one holds again.
    SetTier {
        /// Its name.
        name: String,
        /// What it allows.
        definition: Option<Value>,
        /// The tiers thereafter.
        reply: Reply<Result<Value, Failure>>,
    },
    /// Every budget of the settings with whether it was redefined at run time.
    Budgets {
        /// They.
        reply: Reply<Value>,
    },
    /// Redefines a budget at run time, here and on every replica; without a definition the settings' one holds again.
    SetBudget {
        /// Its name.
        name: String,
        /// Scope, window, tokens, money and action.
        definition: Option<Value>,
        /// The budgets thereafter.
        reply: Reply<Result<Value, Failure>>,
    },
    /// Take nothing new, let running answers finish, end.
    Drain,
}

/// The asking end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control(mpsc::Sender<Call>);

impl Control {
    /// Both ends.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Call>) {
        let (send, receive) = mpsc::channel(BACKLOG);
        (Self(send), receive)
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// `Overloaded` when too many wait; `Unavailable` when the process is ending.
    pub async fn ask<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        self.give(call(reply))?;
        answer.await.map_err(|_| Failure::Unavailable { retry_after: BUSY_RETRY, rate_limited: false })
    }

    /// Gives an order that needs no answer.
    ///
    /// # Errors
    /// As `ask`.
    pub fn give(&self, call: Call) -> Result<(), Failure> {
        self.0.try_send(call).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Failure::Overloaded { retry_after: BUSY_RETRY },
            mpsc::error::TrySendError::Closed(_) => {
                Failure::Unavailable { retry_after: BUSY_RETRY, rate_limited: false }
            }
        })
    }
}
