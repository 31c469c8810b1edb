//! Pools of connections by thread. A connection is driven by the runtime that opened it: another thread that used it would
//! wake that one for every byte. Threads that serve on their own keep their own connections; all others share one pool.
//! Invariant: a thread's pool never changes, so a connection goes back to where it came from.

use std::{cell::Cell, fmt, sync::OnceLock};

/// Pools that can be told apart; a number beyond shares one.
const MOST: usize = 64;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// From now on calls of this thread use connections of their own. `number`: from 1, another one for each such thread.
pub fn keep_own_connections(number: usize) {
    NUMBER.set(number);
}

/// One pool for each thread that keeps its own, made when it is first used.
pub(super) struct Pools<P> {
    make: Box<dyn Fn() -> P + Send + Sync>,
    pools: [OnceLock<P>; MOST],
}

impl<P> Pools<P> {
    pub(super) fn new(make: impl Fn() -> P + Send + Sync + 'static) -> Self {
        Self { make: Box::new(make), pools: [const { OnceLock::new() }; MOST] }
    }

    /// The one of this thread.
    pub(super) fn here(&self) -> &P {
        self.pools[NUMBER.get() % MOST].get_or_init(&self.make)
    }
}

impl<P> fmt::Debug for Pools<P> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.pools.iter().filter(|pool| pool.get().is_some()).count();
        out.debug_struct("Pools").field("open", &open).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn threads_that_keep_their_own_have_another_pool_and_all_others_share_one() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let pools = Pools::new(|| MADE.fetch_add(1, Ordering::Relaxed));
        let on = |number: Option<usize>| {
            std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    if let Some(number) = number {
                        keep_own_connections(number);
                    }
                    (*pools.here(), *pools.here())
                });
                thread.join().unwrap()
            })
        };
        let shared = on(None);
        assert_eq!(on(None), shared);
        let (first, second) = (on(Some(1)), on(Some(2)));
        assert!(shared != first && first != second && first.0 == first.1);
        assert_eq!((on(Some(1)), MADE.load(Ordering::Relaxed)), (first, 3));
    }
}
