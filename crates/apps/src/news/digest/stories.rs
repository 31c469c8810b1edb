//! From posts to stories: what is grouped and how heavily it weighs, which groups are told, what of them was not shown yet.
//! Invariants: each post is in at most one story; what inspection blocks is in none; what was shown comes again only with two
//! sources more. Pure. Source: news.md sections 5 and 6.

use super::{
    compare::Compared,
    group,
    item::Item,
    model::{Shown, Story, Watches},
    rank,
    tell::{self, Untold},
};
use ahash::{AHashMap, AHashSet};
use portcullis_inspect::{Channel, Inspector, VerdictKind};
use std::sync::Arc;

/// Posts of a run, in groups.
pub(super) struct Grouped {
    pub(super) items: Vec<Item>,
    /// Posts that repeat another, by that one's place.
    pub(super) doubles: AHashMap<u32, Vec<u32>>,
    /// With their weights, heaviest first; doubles are in them.
    pub(super) groups: Vec<(f64, Vec<u32>)>,
    /// The post in the middle of each group.
    pub(super) middles: Vec<u32>,
}

/// A story that was chosen.
pub(super) struct Chosen {
    /// The post in the middle first, then newest first.
    pub(super) posts: Vec<u32>,
    /// Whether each may enter a prompt.
    pub(super) harmless: Vec<bool>,
}

/// Posts as they are grouped.
pub(super) struct Grouping {
    /// Places of the posts that repeat no other.
    pub(super) firsts: Vec<u32>,
    /// For each post the one it repeats, or itself.
    pub(super) doubles: Vec<u32>,
    pub(super) compared: Compared,
    pub(super) compared_items: Arc<Vec<Item>>,
    pub(super) chars: usize,
    pub(super) now: i64,
}

impl Grouping {
    pub(super) fn run(self, items: &[Item], watches: Option<&Watches>) -> Grouped {
        let likeness = self.compared.likeness(&self.compared_items, self.chars);
        let mut doubles = AHashMap::<u32, Vec<u32>>::new();
        for (at, first) in (0_u32..).zip(&self.doubles) {
            if at != *first {
                doubles.entry(*first).or_default().push(at);
            }
        }
        let usual = rank::usual_views(items);
        let hits = |group: &[u32]| {
            let of = |post: &u32| watches.map_or(0, |watches| watches(&items[*post as usize].words));
            group.iter().map(of).max().unwrap_or_default()
        };
        let mut weighed: Vec<(f64, Vec<u32>)> = Vec::new();
        let mut middles = AHashMap::<u32, u32>::new();
        for group in group::groups(&likeness, self.compared.threshold) {
            let middle = likeness.medoid(&group).unwrap_or(group[0]);
            let mut members: Vec<u32> = group.iter().map(|at| self.firsts[*at as usize]).collect();
            let repeats: Vec<u32> =
                members.iter().flat_map(|at| doubles.get(at)).flatten().copied().collect();
            members.extend(repeats);
            members.sort_unstable();
            middles.insert(members[0], self.firsts[middle as usize]);
            weighed.push((rank::weight(items, &members, &usual, hits(&members), self.now), members));
        }
        rank::order(items, &mut weighed);
        let middles = weighed.iter().map(|(_, members)| middles[&members[0]]).collect();
        Grouped { items: Vec::new(), doubles, groups: weighed, middles }
    }
}

/// Of the groups the heaviest that hold something new and harmless.
pub(super) fn choose(grouped: &Grouped, shown: &Shown, inspector: &Inspector, most: usize) -> Vec<Chosen> {
    let mut chosen = Vec::new();
    for ((_, group), middle) in grouped.groups.iter().zip(&grouped.middles) {
        if chosen.len() == most {
            break;
        }
        let mut posts = unseen(grouped, group, shown);
        let newest =
            |post: &u32| (post != middle, std::cmp::Reverse(grouped.items[*post as usize].at), *post);
        posts.sort_by_key(newest);
        let verdicts = posts.iter().map(|post| {
            let words = &grouped.items[*post as usize].words;
            (*post, inspector.inspect(words, Channel::Document).verdict)
        });
        let (posts, harmless): (Vec<u32>, Vec<bool>) = verdicts
            .filter(|(_, verdict)| *verdict != VerdictKind::Block)
            .map(|(post, verdict)| (post, verdict == VerdictKind::Allow))
            .unzip();
        if !posts.is_empty() {
            chosen.push(Chosen { posts, harmless });
        }
    }
    chosen
}

/// What of a group was not shown yet; all of it once its story has two sources more than it was shown with.
fn unseen(grouped: &Grouped, group: &[u32], shown: &Shown) -> Vec<u32> {
    let items = || group.iter().map(|post| (*post, &grouped.items[*post as usize]));
    let sources: AHashSet<usize> = items().map(|(_, item)| item.source).collect();
    let then = items().filter_map(|(_, item)| shown.get(&item.hash)).max();
    match then {
        Some(then) if sources.len() < *then as usize + 2 => {
            items().filter(|(_, item)| !shown.contains_key(&item.hash)).map(|(post, _)| post).collect()
        }
        Some(_) | None => group.to_vec(),
    }
}

pub(super) fn story(
    grouped: &Grouped,
    chosen: &Chosen,
    told: tell::Told,
    told_by_ai: bool,
    titles: &[String],
) -> Story {
    let mut links: Vec<(usize, String)> = Vec::new();
    let posts = || chosen.posts.iter().map(|post| &grouped.items[*post as usize]);
    for item in posts() {
        if links.iter().all(|(source, _)| *source != item.source) {
            links.push((item.source, item.url.clone()));
        }
    }
    Story {
        headline: told.headline,
        bullets: told.bullets,
        links: links.into_iter().map(|(source, url)| (titles[source].clone(), url)).collect(),
        posts: chosen.posts.len(),
        at: posts().map(|item| item.at).max().unwrap_or_default(),
        hashes: posts().map(|item| item.hash).collect(),
        told_by_ai,
    }
}

/// What is told of a story: what repeats nothing, where there is such.
pub(super) fn untold<'a>(grouped: &'a Grouped, chosen: &Chosen, repeats: &AHashSet<u32>) -> Untold<'a> {
    let all = || chosen.posts.iter().copied().zip(chosen.harmless.iter().copied());
    let some: Vec<(u32, bool)> = all().filter(|(post, _)| !repeats.contains(post)).collect();
    let told = if some.is_empty() { all().collect() } else { some };
    Untold {
        posts: told.iter().map(|(post, _)| &grouped.items[*post as usize]).collect(),
        harmless: told.iter().map(|(_, harmless)| *harmless).collect(),
    }
}
