//! Which of several replicas works for a chat door. One at a time reads, works and sends, so that whatever one process
//! knows (pace, pauses, what is under way) is all that there is to know; when it goes away another takes over.
//! Invariants: nobody has the turn while another one may still use it, because its holder stops half a lease before the
//! lease ends; who takes over is told so by a new number, and begins with what is kept.
//!
//! Source: news.md sections 2 and 9.

use super::{ms, now_ms};
use portcullis_store::Store;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// How often within a lease it is renewed, and asked for by those who wait.
const ASKS: u32 = 6;

/// As it stands now.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// Until when the turn is ours; none: it never was.
    until: Option<Instant>,
    /// How often it became ours.
    number: u64,
}

struct Shared {
    store: Store,
    name: String,
    owner: String,
    lease: Duration,
    standing: watch::Sender<Standing>,
}

/// Whose turn it is. Cheap to clone.
#[derive(Clone)]
pub struct Turn {
    /// None: nobody takes turns.
    shared: Option<Arc<Shared>>,
    /// Whether whatever another worker has begun may be taken from it when the turn becomes ours.
    alone: bool,
}

impl Turn {
    /// For a door at which every replica works.
    #[must_use]
    pub fn of_all(store: &Store) -> Self {
        // A SQLite file belongs to one process: whoever had begun something there is gone.
        Self { shared: None, alone: store.kind() == "sqlite" }
    }

    /// For a door at which one replica works at a time; another takes over when that long nothing was heard of it.
    #[must_use]
    pub fn of_one(store: &Store, name: String, lease: Duration) -> Self {
        if store.kind() == "sqlite" {
            return Self::of_all(store);
        }
        let owner = format!("{:016x}", rand::random::<u64>());
        let standing = watch::Sender::new(Standing::default());
        let shared = Shared { store: store.clone(), name, owner, lease, standing };
        Self { shared: Some(Arc::new(shared)), alone: true }
    }

    /// Whether we may work now.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| {
            let until = shared.standing.borrow().until;
            until.is_some_and(|until| until > Instant::now())
        })
    }

    pub(super) const fn is_alone(&self) -> bool {
        self.alone
    }

    /// Waits until it is ours, and says the how manieth time that is: with a new number whatever was remembered is to be
    /// read anew. None: `stop` came first.
    pub async fn ours(&self, stop: &CancellationToken) -> Option<u64> {
        let Some(shared) = &self.shared else { return (!stop.is_cancelled()).then_some(0) };
        let mut heard = shared.standing.subscribe();
        let wait = heard.wait_for(|standing| standing.until.is_some_and(|until| until > Instant::now()));
        let standing = stop.run_until_cancelled(wait).await?.ok()?;
        Some(standing.number)
    }

    /// Waits until it is ours no more; for ever where nobody takes turns.
    pub async fn lost(&self) {
        let Some(shared) = &self.shared else { return std::future::pending().await };
        loop {
            let until = shared.standing.borrow().until;
            match until {
                Some(until) if until > Instant::now() => sleep_until(until).await,
                Some(_) | None => return,
            }
        }
    }

    /// Takes and renews it until `end`, then gives it back. Runs as long as anybody may use it.
    pub async fn keep(&self, end: CancellationToken) {
        let Some(shared) = &self.shared else { return end.cancelled().await };
        let mut failing = false;
        while !end.is_cancelled() {
            match shared.ask().await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "nobody knows which replica works for a chat door; this one does not");
                }
                Err(_) => {}
            }
            end.run_until_cancelled(sleep(shared.lease / ASKS)).await;
        }
        if self.is_ours()
            && let Err(error) = shared.store.leases().release(&shared.name, &shared.owner).await
        {
            tracing::debug!(%error, "another replica waits for the end of our lease");
        }
        shared.standing.send_modify(|standing| standing.until = None);
    }
}

impl Shared {
    async fn ask(&self) -> portcullis_store::Result<()> {
        // What we may use is counted from before the question was asked, and ends half a lease before the lease.
        let (asked, now) = (Instant::now(), now_ms());
        let until = now.saturating_add(ms(self.lease));
        if self.store.leases().take(&self.name, &self.owner, now, until).await? {
            self.standing.send_modify(|standing| {
                if standing.until.is_none_or(|until| until <= asked) {
                    standing.number += 1;
                    tracing::info!(name = %self.name, "this replica works for the chat door");
                }
                standing.until = Some(asked + self.lease / 2);
            });
        }
        Ok(())
    }
}
