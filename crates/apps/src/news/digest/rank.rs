//! Which stories come first. Invariant: the same posts give the same order. Pure. Source: news.md section 6.

use super::item::Item;
use ahash::{AHashMap, AHashSet};

/// Milliseconds of an hour.
const HOUR: f64 = 3_600_000.0;
/// Hours in which the weight of being new falls to a third.
const FRESH_HOURS: f64 = 12.0;

/// How often a source's posts are seen usually.
pub(crate) fn usual_views(items: &[Item]) -> AHashMap<usize, f64> {
    let mut views = AHashMap::<usize, Vec<u64>>::new();
    for item in items {
        if let Some(seen) = item.views {
            views.entry(item.source).or_default().push(seen);
        }
    }
    let median = |mut all: Vec<u64>| {
        all.sort_unstable();
        let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
        (low as f64 + high as f64) / 2.0
    };
    views.into_iter().map(|(source, all)| (source, median(all))).collect()
}

/// What a group weighs: many sources, new, seen more than usual, watched for.
pub(crate) fn weight(
    items: &[Item],
    group: &[u32],
    usual: &AHashMap<usize, f64>,
    hits: usize,
    now: i64,
) -> f64 {
    let members = || group.iter().map(|at| &items[*at as usize]);
    let sources: AHashSet<usize> = members().map(|item| item.source).collect();
    let newest = members().map(|item| item.at).max().unwrap_or_default();
    let age = (now.saturating_sub(newest)).max(0) as f64 / HOUR;
    let seen = members()
        .filter_map(|item| Some(item.views? as f64 / usual.get(&item.source).copied().filter(|m| *m > 0.0)?))
        .fold(0.0, f64::max);
    (1.0 + sources.len() as f64).ln()
        + 0.5 * (-age / FRESH_HOURS).exp()
        + 0.2 * seen.min(2.0)
        + 0.5 * hits as f64
}

/// Heaviest first, then newest, then by hash.
pub(crate) fn order(items: &[Item], weighed: &mut [(f64, Vec<u32>)]) {
    let newest = |group: &[u32]| group.iter().map(|at| items[*at as usize].at).max();
    let hash = |group: &[u32]| group.iter().map(|at| items[*at as usize].hash).min();
    weighed.sort_by(|(a, left), (b, right)| {
        b.total_cmp(a).then(newest(right).cmp(&newest(left))).then(hash(left).cmp(&hash(right)))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_knowledge::Language;

    const NOW: i64 = 1_000_000_000_000;

    fn item(source: usize, hours: i64, views: Option<u64>) -> Item {
        Item {
            source,
            words: String::new(),
            at: NOW - hours * 3_600_000,
            url: String::new(),
            views,
            hash: source as u64,
            language: Language::EN,
        }
    }

    #[test]
    fn many_sources_outweigh_many_posts_and_new_outweighs_old() {
        let items =
            [item(0, 1, None), item(0, 1, None), item(0, 1, None), item(1, 1, None), item(2, 9, None)];
        let usual = usual_views(&items);
        let of = |group: &[u32], hits| weight(&items, group, &usual, hits, NOW);
        assert_eq!(of(&[0, 1, 2], 0), of(&[0], 0), "a source that posts three times counts once");
        assert!(of(&[0, 3], 0) > of(&[0, 1, 2], 0));
        assert!(of(&[3], 0) > of(&[4], 0));
        assert!(of(&[4], 1) > of(&[3], 0), "what is watched for comes up");
        let expected = 2.0_f64.ln() + 0.5 * (-9.0_f64 / 12.0).exp();
        assert!((of(&[4], 0) - expected).abs() < 1e-12);
    }

    #[test]
    fn posts_seen_more_than_usual_come_up_and_twice_is_enough() {
        let items =
            [item(0, 1, Some(100)), item(0, 1, Some(300)), item(0, 1, Some(900)), item(0, 1, Some(0))];
        let usual = usual_views(&items);
        assert_eq!(usual[&0], 200.0);
        let of = |at| weight(&items, &[at], &usual, 0, NOW);
        assert!(of(1) > of(0) && of(2) > of(1));
        assert!((of(2) - of(3) - 0.4).abs() < 1e-9);
    }

    #[test]
    fn equal_weights_are_ordered_newest_first_and_never_by_chance() {
        let items = [item(0, 3, None), item(1, 2, None), item(2, 2, None)];
        let mut all = vec![(1.0, vec![0]), (1.0, vec![2]), (1.0, vec![1])];
        order(&items, &mut all);
        assert_eq!(all.iter().map(|(_, group)| group[0]).collect::<Vec<_>>(), [1, 2, 0]);
    }
}
