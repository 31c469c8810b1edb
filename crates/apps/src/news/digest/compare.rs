//! Who compares posts: a configured model, the builtin one, or words. Invariants: one measure for the whole run, never two models
//! mixed; a model is used only for languages that it reads and with a threshold that was calibrated; every step down is counted
//! and said; an embedding call is the caller's own use of `embed`. Source: news.md section 6, S0-06, S0-07.

use super::{
    group::{Likeness, Words},
    item::Item,
    model::DigestAsk,
    scales::{Scales, items, labelled},
};
use futures_util::{StreamExt as _, stream};
use portcullis_domain::{Action, Deadline};
use portcullis_knowledge::{EmbedFailure, Embedder, Language, Purpose};
use portcullis_store::Store;
use portcullis_telemetry::Metrics;
use std::{pin::Pin, sync::Arc, time::Duration};

/// Least likeness of two posts about one event, by model: the last part of its name, measured by `cargo xtask bench news`. Others
/// are measured when they are first used ([`Scales`]).
const THRESHOLDS: [(&str, f32); 3] =
    [("gemini-embedding-001", 0.87), ("minilm-l6-v2", 0.55), ("multilingual-e5-small", 0.90)];
/// The same for words.
pub const BY_WORDS: f32 = 0.27;
/// Likeness by words below which two posts are not worth comparing by a model in this process: on the labelled posts no pair
/// about one event is below 0.15.
const WORTH: f32 = 0.10;
/// Posts up to which all of them are read.
const FEW: usize = 50;
/// Characters of a post that a model in this process reads: what happened stands in the first sentences.
const LEAD: usize = 300;
/// Calls of one digest to an embedder at once.
const AT_ONCE: usize = 3;

/// Least likeness of two posts about one event by that model; none: it was not measured beforehand.
#[must_use]
pub fn calibrated(name: &str) -> Option<f32> {
    let model = name.rsplit('/').next().unwrap_or_default();
    THRESHOLDS.iter().find(|(known, _)| *known == model).map(|(_, least)| *least)
}

/// How the posts of a run are compared.
pub(crate) struct Compared {
    /// Vectors, and how many numbers each has; none: by words.
    pub(crate) vectors: Option<(Vec<Vec<f32>>, usize)>,
    pub(crate) threshold: f32,
    /// Whether something failed that should have compared them better.
    pub(crate) less: bool,
}

impl Compared {
    /// The measure. Takes time: off the async workers.
    pub(crate) fn likeness(&self, items: &[Item], chars: usize) -> Likeness {
        match &self.vectors {
            Some((vectors, width)) => Likeness::by_vectors(vectors, *width),
            None => {
                let texts: Vec<(&str, Language)> =
                    items.iter().map(|item| (item.beginning(chars), item.language)).collect();
                Likeness::by_words(&texts)
            }
        }
    }
}

/// Places of texts, and their vectors or why there are none.
type Call<'a> = Pin<Box<dyn Future<Output = (&'a [usize], Result<Vec<Vec<f32>>, &'static str>)> + Send + 'a>>;

/// Who compares.
pub(crate) struct Comparer<'a> {
    /// Best first.
    pub(crate) embedders: &'a [Embedder],
    pub(crate) store: Option<&'a Store>,
    pub(crate) metrics: &'a Metrics,
    /// What models are measured by that nobody measured before.
    pub(crate) scales: &'a Scales,
    /// Characters of a post that are read.
    pub(crate) chars: usize,
    pub(crate) until: Deadline,
}

impl Comparer<'_> {
    /// Chooses the measure for these posts, and has their vectors made.
    pub(crate) async fn compare(&self, ask: &DigestAsk, items: &Arc<Vec<Item>>) -> Compared {
        let mut less = false;
        for embedder in self.embedders {
            let reason = match self.by(embedder, ask, items).await {
                Ok((vectors, threshold)) => {
                    let vectors = Some((vectors, embedder.space.dimensions));
                    return Compared { vectors, threshold, less: false };
                }
                Err(reason) => reason,
            };
            less |= !matches!(reason, "language" | "uncalibrated");
            self.metrics.degraded("news", "embed", reason);
            tracing::info!(
                event = "news_embed_fallback",
                model = embedder.space.id,
                reason,
                posts = items.len(),
                "posts are not compared by this model"
            );
        }
        Compared { vectors: None, threshold: BY_WORDS, less }
    }

    async fn by(
        &self,
        embedder: &Embedder,
        ask: &DigestAsk,
        items: &Arc<Vec<Item>>,
    ) -> Result<(Vec<Vec<f32>>, f32), &'static str> {
        if !items.iter().all(|item| embedder.space.understands(item.language)) {
            return Err("language");
        }
        let compared = tokio::time::timeout_at(self.until.instant(), async {
            let threshold = match calibrated(&embedder.space.id) {
                Some(threshold) => threshold,
                None => self.measured(embedder).await?.ok_or("uncalibrated")?,
            };
            let (chars, here) = self.reads(embedder);
            let worth = if here && items.len() > FEW {
                worth(items.clone(), chars).await?
            } else {
                vec![true; items.len()]
            };
            Ok((self.vectors(embedder, Some(ask), items, &worth).await?, threshold))
        });
        compared.await.map_err(|_| "late")?
    }

    /// What the model's likeness means, by labelled posts. The calls are the house's own.
    async fn measured(&self, embedder: &Embedder) -> Result<Option<f32>, &'static str> {
        let space = &embedder.space;
        let mut known = self.scales.held().await;
        if let Some(found) = known.of(space) {
            return Ok(found);
        }
        let posts = labelled(space);
        let items = items(&posts);
        let vectors = self.vectors(embedder, None, &items, &vec![true; items.len()]).await?;
        Ok(known.measure(space, posts, vectors).await)
    }

    /// How much of a post a model reads, and whether it does so in this process.
    fn reads(&self, embedder: &Embedder) -> (usize, bool) {
        let here = embedder.space.id.starts_with("builtin/");
        (if here { self.chars.min(LEAD) } else { self.chars }, here)
    }

    /// A vector of each post; noughts where it is not worth knowing. Nobody asks: the house does.
    async fn vectors(
        &self,
        embedder: &Embedder,
        ask: Option<&DigestAsk>,
        items: &[Item],
        worth: &[bool],
    ) -> Result<Vec<Vec<f32>>, &'static str> {
        let space = &embedder.space;
        let (chars, _) = self.reads(embedder);
        let name = format!("{}@{}/{}/{chars}", space.id, space.version, space.dimensions);
        let keys: Vec<i64> = items.iter().map(|item| item.hash.cast_signed()).collect();
        let mut known = ahash::AHashMap::new();
        if let Some(store) = self.store {
            for (key, row) in store.feeds().vectors(&name, &keys).await.unwrap_or_default() {
                if row.len() == space.dimensions {
                    known.insert(key, row.iter().map(|value| f32::from(value.cast_signed())).collect());
                }
            }
        }
        let open = |at: &usize| worth[*at] && !known.contains_key(&keys[*at]);
        let mut missing: Vec<usize> = (0..items.len()).filter(open).collect();
        missing.sort_unstable_by_key(|at| keys[*at]);
        missing.dedup_by_key(|at| keys[*at]);
        // Boxed by name: the compiler cannot tell that a closure's future may cross threads.
        let mut calls: Vec<Call<'_>> = Vec::new();
        for part in missing.chunks(embedder.batch) {
            let texts: Vec<String> = part.iter().map(|at| items[*at].beginning(chars).to_owned()).collect();
            calls.push(Box::pin(async move { (part, self.call(embedder, ask, texts).await) }));
        }
        let mut calls = stream::iter(calls).buffer_unordered(AT_ONCE);
        let (mut rows, mut failed) = (Vec::new(), None);
        while let Some((part, vectors)) = calls.next().await {
            match vectors {
                Ok(vectors) => {
                    for (at, vector) in part.iter().zip(vectors) {
                        rows.push((keys[*at], row(&vector)));
                        known.insert(keys[*at], vector);
                    }
                }
                Err(reason) => {
                    failed = Some(reason);
                    break;
                }
            }
        }
        drop(calls);
        // What was paid for is kept, whatever became of the rest.
        if let Some(store) = self.store.filter(|_| !rows.is_empty())
            && let Err(error) = store.feeds().keep_vectors(&name, &rows, super::now_ms()).await
        {
            tracing::warn!(%error, "vectors of posts are not kept");
        }
        if let Some(reason) = failed {
            return Err(reason);
        }
        // What is like nobody has no direction.
        let vector = |(key, worth): (&i64, &bool)| match known.get(key) {
            Some(vector) => Some(vector.clone()),
            None => (!worth).then(|| vec![0.0; space.dimensions]),
        };
        keys.iter().zip(worth).map(vector).collect::<Option<Vec<_>>>().ok_or("unavailable")
    }

    /// One call, once the caller may make it.
    async fn call(
        &self,
        embedder: &Embedder,
        ask: Option<&DigestAsk>,
        texts: Vec<String>,
    ) -> Result<Vec<Vec<f32>>, &'static str> {
        if let Some(ask) = ask {
            while let Err(wait) = ask.quotas.charge(&ask.caller, Action::Embed).await {
                if wait >= self.until.remaining() {
                    return Err("rate_limited");
                }
                tokio::time::sleep(wait.max(Duration::from_millis(10))).await;
            }
        }
        let wanted = texts.len();
        match embedder.embed(texts, Purpose::Question).await {
            Ok(vectors) if vectors.len() == wanted => Ok(vectors),
            Ok(_) => Err("unavailable"),
            Err(EmbedFailure::Away { .. }) => Err("unavailable"),
            Err(EmbedFailure::Refused(_)) => Err("refused"),
        }
    }
}

/// Which posts share enough words with another one that it is worth knowing what they mean.
async fn worth(items: Arc<Vec<Item>>, chars: usize) -> Result<Vec<bool>, &'static str> {
    let look = move || {
        let texts: Vec<(&str, Language)> =
            items.iter().map(|item| (item.beginning(chars), item.language)).collect();
        Words::of(&texts).any(WORTH)
    };
    tokio::task::spawn_blocking(look).await.map_err(|_| "unavailable")
}

/// A vector as it is kept: as good as it is compared.
fn row(vector: &[f32]) -> Vec<u8> {
    let most = vector.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    let part = if most > 0.0 && most.is_finite() { 127.0 / most } else { 0.0 };
    #[expect(clippy::cast_possible_truncation, reason = "between -127 and 127")]
    vector.iter().map(|value| ((value * part).round() as i8).cast_unsigned()).collect()
}
