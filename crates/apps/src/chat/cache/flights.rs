//! Answers that are being got: who asks for the same waits for the one who asked first.
//!
//! Invariants: of one key at most one leads; those who wait are bounded; when the one who leads goes away without an
//! answer (its caller hung up, it panicked), one of those who wait leads in its place; what is told is told to all.
//! Source: gateway design section 12; golang.org/x/sync/singleflight.

use super::{entry::Entry, key::Key};
use parking_lot::Mutex;
use portcullis_domain::Failure;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::watch;

/// What the one who leads came to.
pub(crate) type Outcome = Result<Arc<Entry>, Failure>;

struct Flight {
    print: Key,
    told: watch::Receiver<Option<Outcome>>,
    waiting: Arc<AtomicUsize>,
}

/// Those under way. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Flights(Arc<Mutex<HashMap<Key, Flight>>>);

/// What to do.
pub(crate) enum Turn {
    /// Get the answer, and tell.
    Lead(Lead),
    /// Wait for it.
    Join(Join),
    /// Too many wait already.
    Full,
    /// Somebody asks for something else under this key.
    Other,
}

impl Flights {
    /// Takes part in getting what `key` stands for; `print` tells requests with the same key apart.
    pub(crate) fn enter(&self, key: Key, print: Key, max_waiters: usize) -> Turn {
        let mut flights = self.0.lock();
        match flights.get(&key) {
            Some(flight) if flight.print != print => Turn::Other,
            Some(flight) if flight.waiting.load(Ordering::Relaxed) >= max_waiters => Turn::Full,
            Some(flight) => {
                flight.waiting.fetch_add(1, Ordering::Relaxed);
                Turn::Join(Join { told: flight.told.clone(), waiting: flight.waiting.clone() })
            }
            None => {
                let (tell, told) = watch::channel(None);
                flights.insert(key, Flight { print, told, waiting: Arc::default() });
                Turn::Lead(Lead { flights: self.clone(), key, tell })
            }
        }
    }
}

/// The one who gets the answer. Dropped without `tell`, somebody else leads.
pub(crate) struct Lead {
    flights: Flights,
    key: Key,
    tell: watch::Sender<Option<Outcome>>,
}

impl Lead {
    /// Tells everybody who waits.
    pub(crate) fn tell(self, outcome: Outcome) {
        self.tell.send_replace(Some(outcome));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        // Before the sender goes: who then finds out that nobody leads finds no flight either.
        self.flights.0.lock().remove(&self.key);
    }
}

/// One who waits.
pub(crate) struct Join {
    told: watch::Receiver<Option<Outcome>>,
    waiting: Arc<AtomicUsize>,
}

impl Join {
    /// What was told; none when the one who led went away: then enter again.
    pub(crate) async fn outcome(mut self) -> Option<Outcome> {
        self.told.wait_for(Option::is_some).await.ok()?.clone()
    }
}

impl Drop for Join {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::key, *};
    use portcullis_domain::{Caller, Scopes, Tier};
    use std::{net::Ipv4Addr, time::Duration};

    fn named(name: &str) -> Key {
        let caller =
            Caller::new("key:a".into(), Tier::Authenticated, Scopes::NONE, Ipv4Addr::LOCALHOST.into());
        key::once(&caller, name)
    }

    fn lead(flights: &Flights) -> Lead {
        match flights.enter(named("k"), named("p"), 2) {
            Turn::Lead(lead) => lead,
            Turn::Join(_) | Turn::Full | Turn::Other => panic!("somebody leads already"),
        }
    }

    fn join(flights: &Flights) -> Join {
        match flights.enter(named("k"), named("p"), 2) {
            Turn::Join(join) => join,
            Turn::Lead(_) | Turn::Full | Turn::Other => panic!("nobody to join"),
        }
    }

    #[tokio::test]
    async fn all_who_wait_are_told_and_whoever_comes_later_leads_anew() {
        let flights = Flights::default();
        let (leads, one, two) = (lead(&flights), join(&flights), join(&flights));
        let failure = Failure::Unavailable { retry_after: Duration::from_secs(3), rate_limited: true };
        leads.tell(Err(failure.clone()));
        assert_eq!(one.outcome().await, Some(Err(failure.clone())));
        assert_eq!(two.outcome().await, Some(Err(failure)), "though it asks late");
        drop(lead(&flights));
        assert!(flights.0.lock().is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_one_who_went_away_is_told_to_lead() {
        let flights = Flights::default();
        let (leads, waits) = (lead(&flights), join(&flights));
        drop(leads);
        assert_eq!(waits.outcome().await, None);
        drop(lead(&flights));
    }

    #[test]
    fn those_who_wait_are_bounded_and_another_request_is_told_apart() {
        let flights = Flights::default();
        let (_leads, one, _two) = (lead(&flights), join(&flights), join(&flights));
        assert!(matches!(flights.enter(named("k"), named("p"), 2), Turn::Full));
        drop(one);
        assert!(matches!(flights.enter(named("k"), named("p"), 2), Turn::Join(_)));
        assert!(matches!(flights.enter(named("k"), named("q"), 2), Turn::Other));
        assert!(matches!(flights.enter(named("other"), named("p"), 2), Turn::Lead(_)));
    }
}
