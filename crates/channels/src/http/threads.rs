//! Threads that serve: each runs the connections it was given, from the first byte to the last, with timers and connections
//! to providers of its own, so that a request never goes from one core to another. A connection is given to the thread that
//! has fewest, in turn where several have as few.
//!
//! Invariant: a thread ends when this is dropped, with whatever still runs on it; whoever holds it waits for that before.
//! Source: the thread-per-core way of nginx and Seastar; "pooled connections per worker", gateway.md section 15.

use portcullis_resilience::http::keep_own_connections;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How often an idle thread wakes.
const TICK: Duration = Duration::from_secs(1);

/// Started threads.
#[derive(Debug)]
pub struct ServingThreads {
    handles: Vec<Handle>,
    /// How many connections each has.
    open: Vec<Arc<AtomicUsize>>,
    turn: AtomicUsize,
    _ends: DropGuard,
}

/// A connection's place on a thread; the thread has one fewer when it is dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ServingThreads {
    /// Starts so many.
    ///
    /// # Errors
    /// No thread, or nothing to wait for sockets with, can be had.
    pub fn start(count: usize) -> io::Result<Self> {
        let end = CancellationToken::new();
        let threads = Self {
            handles: Vec::new(),
            open: Vec::new(),
            turn: AtomicUsize::new(0),
            _ends: end.clone().drop_guard(),
        };
        (1..=count).try_fold(threads, |mut threads, number| {
            let runtime = Builder::new_current_thread().thread_name("portcullis").enable_all().build()?;
            threads.handles.push(runtime.handle().clone());
            threads.open.push(Arc::default());
            let end = end.clone();
            thread::Builder::new().name(format!("portcullis-{number}")).spawn(move || {
                keep_own_connections(number);
                runtime.block_on(end.run_until_cancelled(tick()));
                // Work on a blocking thread must not hold the end.
                runtime.shutdown_background();
            })?;
            Ok(threads)
        })
    }

    /// The runtimes, for whoever watches them.
    #[must_use]
    pub fn handles(&self) -> &[Handle] {
        &self.handles
    }

    /// A place for a connection. Several who ask at the same moment may be given the same thread; that is no more than
    /// one connection too many.
    pub(super) fn seat(&self) -> Option<(&Handle, Seat)> {
        let all = self.open.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let after = |index: usize| (index + all - turn % all) % all;
        let places = self.handles.iter().zip(&self.open).enumerate();
        let fewest = places.min_by_key(|(index, (_, open))| (open.load(Ordering::Relaxed), after(*index)));
        fewest.map(|(_, (handle, open))| {
            open.fetch_add(1, Ordering::Relaxed);
            (handle, Seat(open.clone()))
        })
    }
}

/// Keeps a timer that ends sooner than those of requests, which are of seconds. Without one the first of theirs would be
/// the next to end, and the runtime calls itself back from waiting for each such: a system call and a turn in vain.
async fn tick() {
    loop {
        tokio::time::sleep(TICK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which thread a task of that place runs on.
    fn thread(place: &(&Handle, Seat)) -> thread::ThreadId {
        let (tell, told) = std::sync::mpsc::channel();
        drop(place.0.spawn(async move { tell.send(thread::current().id()).unwrap() }));
        told.recv().unwrap()
    }

    #[test]
    fn a_connection_is_given_to_the_thread_that_has_fewest_and_in_turn_where_there_are_several() {
        let threads = ServingThreads::start(2).unwrap();
        let mut places: Vec<_> = (0..4).map(|_| threads.seat().unwrap()).collect();
        let ids: Vec<_> = places.iter().map(thread).collect();
        assert_ne!(ids[0], ids[1]);
        assert_eq!(ids[..2], ids[2..]);
        // Both connections of one thread end: the next two are its own.
        for index in [3, 1] {
            drop(places.remove(index));
        }
        let next = [threads.seat().unwrap(), threads.seat().unwrap()];
        assert_eq!(next.each_ref().map(thread), [ids[1]; 2]);
        // Short connections one after the other take turns.
        drop((places, next));
        let short: Vec<_> = (0..4).map(|_| thread(&threads.seat().unwrap())).collect();
        assert_ne!(short[0], short[1]);
        assert_eq!(short[..2], short[2..]);
    }

    #[test]
    fn threads_end_with_their_owner_and_what_ran_on_them() {
        let threads = ServingThreads::start(1).unwrap();
        let (held, gone) = std::sync::mpsc::channel::<()>();
        drop(threads.seat().unwrap().0.spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        }));
        drop(threads);
        assert!(gone.recv().is_err());
    }
}
