//! Posts about one event. Invariants: each post is in exactly one group; the same posts and measure give the same groups in the
//! same order; nothing here waits, so it runs off the async workers. Pure.
//!
//! DBSCAN with two posts as a core is what posts at least so like one another hang together by; of a group that is a chain
//! those far from its middle are split off and grouped again. Source: news.md section 6.

mod likeness;

pub(crate) use likeness::Likeness;

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

/// What hangs together among these posts.
fn hanging(likeness: &Likeness, among: &[u32], threshold: f32) -> Vec<Vec<u32>> {
    let mut heads: Vec<u32> = (0_u32..).take(likeness.len()).collect();
    likeness.pairs(among, threshold, &mut |a, b| {
        let (a, b) = (head(&mut heads, a), head(&mut heads, b));
        heads[a.max(b) as usize] = a.min(b);
    });
    let mut groups = std::collections::BTreeMap::<u32, Vec<u32>>::new();
    for &post in among {
        groups.entry(head(&mut heads, post)).or_default().push(post);
    }
    groups.into_values().collect()
}

fn head(heads: &mut [u32], post: u32) -> u32 {
    let mut at = post;
    while heads[at as usize] != at {
        heads[at as usize] = heads[heads[at as usize] as usize];
        at = heads[at as usize];
    }
    at
}

/// Those near the middle, and the others.
fn split(likeness: &Likeness, group: Vec<u32>, least: f32) -> (Vec<u32>, Vec<u32>) {
    match likeness.medoid(&group).filter(|_| group.len() > 2) {
        None => (group, Vec::new()),
        Some(middle) => {
            group.into_iter().partition(|post| *post == middle || likeness.of(*post, middle) >= least)
        }
    }
}

#[cfg(test)]
mod tests;
