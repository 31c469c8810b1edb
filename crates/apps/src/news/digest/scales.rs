//! From which likeness on posts are about one event, by a model whose scale nobody measured: it reads labelled posts once, and
//! the likeness that groups those best is taken. Invariants: a model that does not group them well enough compares no posts; what
//! was measured holds for that space only, while this process lives; one digest measures, others wait for it.
//! Source: news.md section 6.

use super::{
    group::{Likeness, groups},
    item::Item,
    measure::{f1, pairs},
};
use ahash::AHashMap;
use portcullis_knowledge::{Language, Space};
use portcullis_store::PostRow;
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Made up for it, in English, Russian and Dutch.
const POSTS: &str = include_str!("../../../../../bench/news_cluster/posts.jsonl");
/// Least F1 over pairs of the labelled posts with which a model may compare others.
pub const WELL: f64 = 0.85;
/// Likenesses that are tried.
const STEPS: u16 = 200;
/// What groups so little worse than the best counts as well as it: the middle of such likenesses is taken, since the edge of what
/// just works for these posts is no good place for others.
const AS_GOOD: f64 = 0.01;

/// A post of the labelled ones.
#[derive(Clone, Debug, Deserialize)]
pub struct Labelled {
    /// Its language, two letters.
    pub lang: String,
    /// What it is about; empty: nothing that another one is about.
    pub event: String,
    /// The post.
    pub text: String,
}

/// The labelled posts of languages that are read in that space.
#[must_use]
pub fn labelled(space: &Space) -> Vec<Labelled> {
    let posts = POSTS.lines().filter_map(|line| serde_json::from_str::<Labelled>(line).ok());
    posts.filter(|post| space.understands(Language::from_code(&post.lang))).collect()
}

/// The likeness that groups these posts best, each language for itself, and how well: F1 over pairs.
#[must_use]
pub fn best(posts: &[Labelled], vectors: &[Vec<f32>]) -> (f32, f64) {
    let mut languages = std::collections::BTreeMap::<&str, (Vec<Vec<f32>>, Vec<&str>)>::new();
    for (post, vector) in posts.iter().zip(vectors) {
        let (vectors, events) = languages.entry(&post.lang).or_default();
        vectors.push(vector.clone());
        events.push(&post.event);
    }
    let width = vectors.first().map_or(0, Vec::len);
    let sets: Vec<(Likeness, Vec<&str>)> = languages
        .into_values()
        .map(|(vectors, events)| (Likeness::by_vectors(&vectors, width), events))
        .collect();
    let well = |threshold: f32| {
        let add = |sum: [usize; 3], (likeness, events): &(Likeness, Vec<&str>)| {
            let counts = pairs(&groups(likeness, threshold), events);
            [sum[0] + counts[0], sum[1] + counts[1], sum[2] + counts[2]]
        };
        f1(sets.iter().fold([0; 3], add))
    };
    let tried: Vec<(f32, f64)> =
        (1..STEPS).map(|step| f32::from(step) / f32::from(STEPS)).map(|at| (at, well(at))).collect();
    let most = tried.iter().map(|(_, well)| *well).fold(0.0, f64::max);
    let good: Vec<&(f32, f64)> = tried.iter().filter(|(_, well)| *well >= most - AS_GOOD).collect();
    good.get(good.len() / 2).map_or((1.0, 0.0), |found| **found)
}

/// What was measured; whoever measures holds it. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Scales(Arc<Mutex<Measured>>);

/// From which likeness on posts are about one event, by model; none: it is no good for that.
#[derive(Default)]
pub(crate) struct Measured(AHashMap<String, Option<f32>>);

impl Scales {
    /// Waits for whoever measures.
    pub(crate) async fn held(&self) -> OwnedMutexGuard<Measured> {
        self.0.clone().lock_owned().await
    }
}

impl Measured {
    /// What was measured; the outer none: nothing yet.
    pub(crate) fn of(&self, space: &Space) -> Option<Option<f32>> {
        self.0.get(&name(space)).copied()
    }

    /// Measures by the vectors of these posts.
    pub(crate) async fn measure(
        &mut self,
        space: &Space,
        posts: Vec<Labelled>,
        vectors: Vec<Vec<f32>>,
    ) -> Option<f32> {
        let measured = tokio::task::spawn_blocking(move || best(&posts, &vectors)).await;
        // Measuring does not fail; if it does, nothing is known of the model.
        let (threshold, well) = measured.unwrap_or((1.0, 0.0));
        let found = (well >= WELL).then_some(threshold);
        let (model, used) = (name(space), found.is_some());
        tracing::info!(
            event = "news_calibrated",
            model,
            threshold,
            f1 = well,
            used,
            "labelled posts tell from which likeness on posts are about one event"
        );
        self.0.insert(model, found);
        found
    }
}

fn name(space: &Space) -> String {
    format!("{}@{}/{}", space.id, space.version, space.dimensions)
}

/// Labelled posts as those of a digest.
pub(crate) fn items(posts: &[Labelled]) -> Vec<Item> {
    let post = |post: &Labelled| Item::of(0, PostRow { text: post.text.clone(), ..PostRow::default() });
    posts.iter().map(post).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Space {
        Space { id: "a/b".into(), version: 1, dimensions: 512, languages: Vec::new() }
    }

    /// Words of each post by their beginnings, as a poor model has them; `lift` makes all posts more alike.
    fn vectors(posts: &[Labelled], lift: f32) -> Vec<Vec<f32>> {
        let vector = |post: &Labelled| {
            let mut sums = vec![0.0_f32; 511];
            for word in post.text.to_lowercase().split(|c: char| !c.is_alphanumeric()) {
                if word.chars().count() > 3 {
                    let begin: String = word.chars().take(5).collect();
                    sums[crate::news::digest::item::hash(&begin) as usize % 511] = 1.0;
                }
            }
            let length = sums.iter().map(|x| x * x).sum::<f32>().sqrt();
            sums.iter_mut().for_each(|x| *x /= length);
            sums.push(lift);
            sums
        };
        posts.iter().map(vector).collect()
    }

    #[test]
    fn the_same_model_on_another_scale_groups_as_well_with_a_likeness_of_its_own() {
        let posts = labelled(&everything());
        assert!(posts.len() > 100);
        let (plain, well) = best(&posts, &vectors(&posts, 0.0));
        // Every likeness of a lifted vector is (likeness + 4) / 5.
        let (lifted, as_well) = best(&posts, &vectors(&posts, 2.0));
        assert!(well > 0.7 && as_well > well - 0.08, "{well:.3} {as_well:.3}");
        assert!(plain < 0.6 && lifted > 0.8, "{plain} {lifted}");
    }

    #[tokio::test]
    async fn a_model_that_groups_badly_is_known_as_that() {
        let (scales, space) = (Scales::default(), everything());
        let posts = labelled(&space);
        let noise = |item: Item| (0..64).map(|bit| ((item.hash >> bit) & 1) as f32 - 0.5).collect();
        let vectors: Vec<Vec<f32>> = items(&posts).into_iter().map(noise).collect();
        assert_eq!(scales.held().await.of(&space), None);
        assert_eq!(scales.held().await.measure(&space, posts, vectors).await, None);
        assert_eq!(scales.held().await.of(&space), Some(None));
        assert_eq!(
            scales.held().await.of(&Space { version: 2, ..space }),
            None,
            "another space is another model"
        );
    }
}
