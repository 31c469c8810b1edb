//! What sites ask of us, remembered: robots.txt by origin. Invariants: one origin is asked once at a time, however many
//! wait for the answer; a robots.txt that could not be had forbids everything, for a shorter time; memory is bounded in
//! files and in bytes.

use crate::{PageError, PagesConfig, Robots};
use ahash::AHashMap;
use parking_lot::Mutex;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{sync::OnceCell, time::Instant};

/// What an origin said, or why nothing of it may be fetched for now.
type Said = Result<Arc<Robots>, PageError>;

#[derive(Clone, Debug)]
struct Remembered {
    said: Said,
    until: Instant,
}

type Slot = Arc<OnceCell<Remembered>>;

/// All that is remembered.
#[derive(Debug)]
pub(crate) struct Manners {
    slots: Mutex<AHashMap<String, Slot>>,
    keep: Duration,
    retry: Duration,
    most: usize,
    most_bytes: usize,
}

impl Manners {
    pub(crate) fn new(config: &PagesConfig) -> Self {
        Self {
            slots: Mutex::default(),
            keep: Duration::from_secs(config.robots_hours * 3_600),
            retry: Duration::from_secs(config.robots_retry_secs),
            most: config.max_hosts,
            most_bytes: config.max_robots_memory_bytes,
        }
    }

    /// What an origin says; `ask` fetches it, at most once at a time. Its own error is remembered by nobody; what it
    /// found out (`Ok(Err(_))`) is, for a while.
    pub(crate) async fn of<F>(&self, origin: &str, ask: F) -> Said
    where
        F: Future<Output = Result<Said, PageError>>,
    {
        let slot = self.slot(origin, Instant::now());
        let known = slot
            .get_or_try_init(|| async {
                let said = ask.await?;
                let keep = if said.is_ok() { self.keep } else { self.retry };
                Ok(Remembered { said, until: Instant::now() + keep })
            })
            .await;
        known.and_then(|known| known.said.clone())
    }

    fn slot(&self, origin: &str, now: Instant) -> Slot {
        let mut slots = self.slots.lock();
        let fresh = |slot: &Slot| slot.get().is_none_or(|known| known.until > now);
        if let Some(slot) = slots.get(origin).filter(|slot| fresh(slot)) {
            return Arc::clone(slot);
        }
        self.make_room(&mut slots, now);
        let slot = Slot::default();
        slots.insert(origin.to_owned(), Arc::clone(&slot));
        slot
    }

    /// Forgets what is too old, and of the rest the oldest, until there is room for one more.
    fn make_room(&self, slots: &mut AHashMap<String, Slot>, now: Instant) {
        let until = |slot: &Slot| slot.get().map_or(now, |known| known.until);
        let memory = |slot: &Slot| match slot.get().map(|known| &known.said) {
            Some(Ok(robots)) => robots.memory(),
            Some(Err(_)) | None => 0,
        };
        let bytes: usize = slots.values().map(memory).sum();
        if slots.len() < self.most && bytes < self.most_bytes {
            return;
        }
        // Three quarters stay, so that this is not done again for each new site.
        let mut ages: Vec<_> = slots.iter().map(|(origin, slot)| (until(slot), origin.clone())).collect();
        ages.sort_unstable();
        let (mut count, mut bytes) = (slots.len(), bytes);
        for (_, origin) in ages {
            if count * 4 < self.most * 3 && bytes * 4 < self.most_bytes * 3 {
                return;
            }
            count -= 1;
            bytes -= slots.remove(&origin).as_ref().map_or(0, memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn manners(most: usize, most_bytes: usize) -> Manners {
        let config =
            PagesConfig { max_hosts: most, max_robots_memory_bytes: most_bytes, ..PagesConfig::default() };
        Manners::new(&config)
    }

    #[tokio::test(start_paused = true)]
    async fn one_origin_is_asked_once_for_a_day_and_after_a_failure_again_in_five_minutes() {
        let (manners, asked) = (manners(100, 1 << 20), AtomicUsize::new(0));
        let ask = |said: Said| {
            let asked = &asked;
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                asked.fetch_add(1, Ordering::Relaxed);
                Ok(said)
            }
        };
        let good = || ask(Ok(Arc::new(Robots::allowing())));
        let (first, second) = tokio::join!(manners.of("a", good()), manners.of("a", good()));
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        tokio::time::sleep(Duration::from_secs(86_399)).await;
        manners.of("a", good()).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(manners.of("a", ask(Err(PageError::NoAnswer))).await, Err(PageError::NoAnswer));
        tokio::time::sleep(Duration::from_secs(299)).await;
        assert_eq!(manners.of("a", good()).await, Err(PageError::NoAnswer));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(manners.of("a", good()).await.is_ok());
        // Our own trouble is not the site's word.
        let busy = PageError::Busy { retry_after: Duration::from_secs(1) };
        let told = manners.of("b", async { Err(busy.clone()) }).await;
        assert_eq!(told, Err(busy));
        assert!(manners.of("b", good()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_in_files_and_in_bytes() {
        let few = manners(8, 1 << 20);
        for n in 0..100 {
            few.of(&n.to_string(), async { Ok(Ok(Arc::new(Robots::allowing()))) }).await.unwrap();
            assert!(few.slots.lock().len() <= 8);
        }
        let small = manners(1_000, 100_000);
        let file = format!("User-agent: *\nDisallow: /{}", "x".repeat(20_000));
        for n in 0..100 {
            let said = Ok(Arc::new(Robots::parse(file.as_bytes())));
            small.of(&n.to_string(), async { Ok(said) }).await.unwrap();
            assert!(small.slots.lock().len() <= 6);
        }
    }
}
