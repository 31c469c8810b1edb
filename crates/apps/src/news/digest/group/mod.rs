//! Posts about one event. Invariants: each post is in exactly one group; the same posts and measure give the same groups in the
//! same order; nothing here waits, so it runs off the async workers. Pure.
//!
//! DBSCAN with two posts as a core is what posts at least so like one another hang together by; of a group that is a chain
//! those far from its middle are split off and grouped again. Source: news.md section 6.

mod heads;
mod likeness;
mod words;

use heads::Heads;
pub(crate) use likeness::Likeness;
pub(crate) use words::Words;

/// How far below the threshold a member may be from the middle of its group.
const SLACK: f32 = 0.10;

/// Groups of at least one post, each in rising order, ordered by their first post.
pub(crate) fn groups(likeness: &Likeness, threshold: f32) -> Vec<Vec<u32>> {
    let all: Vec<u32> = (0_u32..).take(likeness.len()).collect();
    let mut done = Vec::new();
    let mut open = vec![all];
    while let Some(among) = open.pop() {
        for group in hanging(likeness, &among, threshold) {
            let (near, far) = split(likeness, group, threshold - SLACK);
            done.push(near);
            if !far.is_empty() {
                open.push(far);
            }
        }
    }
    done.sort_unstable();
    done
}

/// What hangs together among these posts (in rising order).
fn hanging(likeness: &Likeness, among: &[u32], threshold: f32) -> Vec<Vec<u32>> {
    let mut heads = Heads::alone(among.len());
    likeness.join(among, threshold, &mut heads);
    let mut groups = std::collections::BTreeMap::<u32, Vec<u32>>::new();
    for (at, &post) in (0_u32..).zip(among) {
        groups.entry(heads.of(at)).or_default().push(post);
    }
    groups.into_values().collect()
}

/// Those near the middle, and the others.
fn split(likeness: &Likeness, group: Vec<u32>, least: f32) -> (Vec<u32>, Vec<u32>) {
    match likeness.medoid(&group) {
        Some(middle) if group.len() > 2 => {
            group.into_iter().partition(|post| *post == middle || likeness.of(*post, middle) >= least)
        }
        Some(_) | None => (group, Vec::new()),
    }
}

#[cfg(test)]
mod tests;
