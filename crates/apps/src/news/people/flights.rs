//! Digests under way: one for each folder at a time, so many for each person, the others in line. Invariant: whoever
//! leaves, however, makes room. Source: news.md section 5.

use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// Digests of one person that are made at once.
const AT_ONCE: usize = 2;
/// Digests of one person that wait.
const WAITING: usize = 10;

/// Digests under way. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Flights(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    folders: HashMap<i64, Instant>,
    people: HashMap<i64, Line>,
}

struct Line {
    places: Arc<Semaphore>,
    inside: usize,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowded {
    /// The folder's digest is being made, since so long.
    Since(Duration),
    /// Too many wait.
    Full,
}

/// A place; dropping it gives it back.
pub(super) struct Flight {
    flights: Flights,
    person: i64,
    folder: i64,
    places: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Flights {
    /// A place for that folder's digest; [`Flight::begin`] waits for its turn.
    pub(super) fn enter(&self, person: i64, folder: i64, now: Instant) -> Result<Flight, Crowded> {
        let mut state = self.0.lock();
        if let Some(since) = state.folders.get(&folder) {
            return Err(Crowded::Since(now.saturating_duration_since(*since)));
        }
        let line = state
            .people
            .entry(person)
            .or_insert_with(|| Line { places: Arc::new(Semaphore::new(AT_ONCE)), inside: 0 });
        if line.inside >= AT_ONCE + WAITING {
            return Err(Crowded::Full);
        }
        line.inside += 1;
        let places = line.places.clone();
        state.folders.insert(folder, now);
        Ok(Flight { flights: self.clone(), person, folder, places, permit: None })
    }

    /// Whether a digest of that person is being made or waits.
    pub(super) fn any_of(&self, person: i64) -> bool {
        self.0.lock().people.contains_key(&person)
    }
}

impl Flight {
    /// Waits for its turn, in order.
    pub(super) async fn begin(&mut self) {
        if let Ok(permit) = self.places.clone().acquire_owned().await {
            self.permit = Some(permit);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut state = self.flights.0.lock();
        state.folders.remove(&self.folder);
        if let Some(line) = state.people.get_mut(&self.person) {
            line.inside -= 1;
            if line.inside == 0 {
                state.people.remove(&self.person);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_folder_is_made_once_at_a_time_and_two_of_a_person_while_ten_wait() {
        let (flights, now) = (Flights::default(), Instant::now());
        let mut inside: Vec<Flight> =
            (0..12).map(|folder| flights.enter(1, folder, now).ok().unwrap()).collect();
        let later = now + Duration::from_secs(12);
        assert_eq!(flights.enter(1, 3, later).err(), Some(Crowded::Since(Duration::from_secs(12))));
        assert_eq!(flights.enter(1, 99, now).err(), Some(Crowded::Full));
        assert!(flights.enter(2, 99, now).is_ok(), "another person is not held up");
        let mut third = inside.remove(2);
        for flight in inside.iter_mut().take(2) {
            flight.begin().await;
        }
        let soon = Duration::from_secs(1);
        assert!(tokio::time::timeout(soon, third.begin()).await.is_err());
        drop(inside.remove(0));
        assert!(tokio::time::timeout(soon, third.begin()).await.is_ok());
        assert!(flights.enter(1, 0, now).is_ok(), "a place that was left is free");
        assert!(flights.any_of(1) && !flights.any_of(2));
    }
}
