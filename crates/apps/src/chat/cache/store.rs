//! Where answers are kept: in memory, least recently used first to go; and beside it in Redis, where one is configured,
//! so that replicas share them. Invariants: memory never holds more than its bound; an answer is never given after its
//! time; a Redis that is away costs nothing but its answers. Memory is asked first, since what is kept never changes.

use super::{entry::Entry, key::Key};
use parking_lot::Mutex;
use portcullis_resilience::shared::Shared;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Both places.
pub(crate) struct Store {
    memory: Memory,
    shared: Option<Shared>,
    tasks: TaskTracker,
}

impl Store {
    pub(crate) fn new(max_bytes: usize, shared: Option<Shared>, tasks: TaskTracker) -> Self {
        Self { memory: Memory::new(max_bytes), shared, tasks }
    }

    /// Another bound, from the next answer on.
    pub(crate) fn set_max_bytes(&self, max_bytes: usize) {
        self.memory.max_bytes.store(max_bytes, Ordering::Relaxed);
    }

    /// What is kept under that key. What Redis has is kept here too for the rest of `life`.
    pub(crate) async fn get(&self, key: &Key, life: Duration) -> Option<Arc<Entry>> {
        if let Some(entry) = self.here(key) {
            return Some(entry);
        }
        let shared = self.shared.as_ref().filter(|shared| !shared.is_away())?;
        let text = shared.get(&name(key)).await.ok()??;
        let entry = Arc::new(Entry::read(&text)?);
        let left = life.checked_sub(Duration::from_secs(entry.age_secs()))?;
        self.memory.put(*key, entry.clone(), left, Instant::now());
        Some(entry)
    }

    /// What is kept in memory.
    pub(crate) fn here(&self, key: &Key) -> Option<Arc<Entry>> {
        self.memory.get(key, Instant::now())
    }

    /// Keeps an answer for so long. In memory at once; in Redis in the background.
    pub(crate) fn put(&self, key: Key, entry: Arc<Entry>, life: Duration) {
        self.memory.put(key, entry.clone(), life, Instant::now());
        if let Some(shared) = self.shared.clone().filter(|shared| !shared.is_away()) {
            self.tasks.spawn(async move {
                if let Some(text) = entry.write() {
                    // Losing it costs one more call.
                    let _lost = shared.set_ex(&name(&key), &text, life).await;
                }
            });
        }
    }
}

fn name(key: &Key) -> String {
    format!("portcullis:answer:{}", key.hex())
}

struct Slot {
    entry: Arc<Entry>,
    used: u64,
    until: Instant,
}

#[derive(Default)]
struct Slots {
    by_key: HashMap<Key, Slot>,
    /// The least recently used first.
    by_use: BTreeMap<u64, Key>,
    bytes: usize,
    uses: u64,
}

/// In memory.
struct Memory {
    slots: Mutex<Slots>,
    max_bytes: AtomicUsize,
}

impl Memory {
    fn new(max_bytes: usize) -> Self {
        Self { slots: Mutex::default(), max_bytes: AtomicUsize::new(max_bytes) }
    }

    fn get(&self, key: &Key, now: Instant) -> Option<Arc<Entry>> {
        let mut guard = self.slots.lock();
        let slots = &mut *guard;
        let slot = slots.by_key.get_mut(key)?;
        if slot.until <= now {
            slots.forget(key);
            return None;
        }
        slots.uses += 1;
        slots.by_use.remove(&slot.used);
        slot.used = slots.uses;
        slots.by_use.insert(slots.uses, *key);
        Some(slot.entry.clone())
    }

    fn put(&self, key: Key, entry: Arc<Entry>, life: Duration, now: Instant) {
        let max_bytes = self.max_bytes.load(Ordering::Relaxed);
        let size = entry.size();
        let Some(until) = now.checked_add(life) else { return };
        let mut slots = self.slots.lock();
        slots.forget(&key);
        if size > max_bytes {
            return;
        }
        slots.uses += 1;
        let used = slots.uses;
        slots.bytes += size;
        slots.by_use.insert(used, key);
        slots.by_key.insert(key, Slot { entry, used, until });
        while slots.bytes > max_bytes
            && let Some((_, oldest)) = slots.by_use.first_key_value()
        {
            let oldest = *oldest;
            slots.forget(&oldest);
        }
    }
}

impl Slots {
    fn forget(&mut self, key: &Key) {
        if let Some(slot) = self.by_key.remove(key) {
            self.by_use.remove(&slot.used);
            self.bytes -= slot.entry.size();
        }
    }
}

#[cfg(test)]
mod tests;
