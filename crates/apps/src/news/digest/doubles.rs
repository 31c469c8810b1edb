//! Posts that say the same. Invariant: of doubles the earliest stays. Pure. Source: news.md section 6.

use super::item::Item;
use ahash::AHashMap;

/// For each post the place of the one it repeats, or its own.
pub(crate) fn doubles(items: &[Item]) -> Vec<u32> {
    let mut first = AHashMap::<u64, u32>::new();
    let mut order: Vec<u32> = (0_u32..).take(items.len()).collect();
    order.sort_by_key(|at| items[*at as usize].at);
    for at in &order {
        first.entry(items[*at as usize].hash).or_insert(*at);
    }
    items.iter().map(|item| first.get(&item.hash).copied().unwrap_or_default()).collect()
}
