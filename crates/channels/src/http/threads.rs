//! Threads that serve: each runs the connections it was given, from the first byte to the last, with timers and connections
//! to providers of its own, so that a request never goes from one core to another. Connections are handed out in turn.
//!
//! Invariant: a thread ends when this is dropped, with whatever still runs on it; whoever holds it waits for that before.
//! Source: the thread-per-core way of nginx and Seastar; "pooled connections per worker", gateway.md section 15.

use portcullis_resilience::http::keep_own_connections;
use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
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
    turn: AtomicUsize,
    _ends: DropGuard,
}

impl ServingThreads {
    /// Starts so many.
    ///
    /// # Errors
    /// No thread, or nothing to wait for sockets with, can be had.
    pub fn start(count: usize) -> io::Result<Self> {
        let end = CancellationToken::new();
        let threads =
            Self { handles: Vec::new(), turn: AtomicUsize::new(0), _ends: end.clone().drop_guard() };
        (1..=count).try_fold(threads, |mut threads, number| {
            let runtime = Builder::new_current_thread().thread_name("portcullis").enable_all().build()?;
            threads.handles.push(runtime.handle().clone());
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

    /// Whose turn it is.
    pub(super) fn next(&self) -> Option<&Handle> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.handles.get(turn % self.handles.len().max(1))
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

    #[test]
    fn connections_are_handed_out_in_turn_and_threads_end_with_their_owner() {
        let threads = ServingThreads::start(2).unwrap();
        let ids: Vec<_> = (0..4)
            .map(|_| {
                let (tell, told) = std::sync::mpsc::channel();
                let task = async move { tell.send(thread::current().id()).unwrap() };
                drop(threads.next().unwrap().spawn(task));
                told.recv().unwrap()
            })
            .collect();
        assert_ne!(ids[0], ids[1]);
        assert_eq!(ids[..2], ids[2..]);
        let (held, gone) = std::sync::mpsc::channel::<()>();
        drop(threads.next().unwrap().spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        }));
        drop(threads);
        // The task went with its thread.
        assert!(gone.recv().is_err());
    }
}
