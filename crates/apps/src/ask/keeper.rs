//! Who keeps collections sound while the process runs: they are loaded before somebody asks, checked every so often, a
//! damaged one is made anew from the texts that are still sound, and one whose vectors are of another model gets those of
//! the model in use. Invariant: nothing here ends an answer: what is sound goes on answering while the damage is told and
//! mended, and words answer while vectors are made. Source: ask.md section 5, "Failure".

use super::desk::{Desk, Nothing};
use portcullis_knowledge::{
    Embedder, Shelf,
    ingest::{
        again::{self, Means},
        report::IngestError,
    },
};
use portcullis_telemetry::{AlertCategory, Alerts, Health, HealthState};
use std::{
    collections::BTreeMap,
    future::{Future, pending},
    pin::Pin,
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How long a collection that could not be mended is left alone.
const AFTER_FAILURE: Duration = Duration::from_secs(600);

/// When what was done to a collection.
struct Done {
    checked: Instant,
    mended: Option<Instant>,
    /// When making its vectors anew was begun.
    embedded: Option<Instant>,
}

/// How a collection was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Sound,
    Damaged,
    /// Its vectors are of another model than the one in use.
    OtherVectors,
}

/// Vectors of one collection that are being made.
type Embedding = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Keeps the collections of a desk sound, until `stop`. Vectors are made anew by at most `at_once` calls at once.
pub async fn keep(desk: Desk, at_once: usize, alerts: Alerts, health: Health, stop: CancellationToken) {
    let component = health.component("index");
    let (ai, embedder) = (health.component("ai_provider"), health.component("embedder"));
    let every = Duration::from_secs(desk.config().watch_secs);
    let mut done = BTreeMap::<String, Done>::new();
    let mut embedding: Option<Embedding> = None;
    loop {
        let (mut damaged, mut other) = (Vec::new(), Vec::new());
        for name in desk.names().await {
            let now = Instant::now();
            let known =
                done.entry(name.clone()).or_insert(Done { checked: now, mended: None, embedded: None });
            let (found, collection) = looked_at(&desk, &name, known, &alerts).await;
            match found {
                Found::Sound => {}
                Found::Damaged => damaged.push(name),
                Found::OtherVectors => {
                    let again =
                        known.embedded.is_none_or(|at| now.saturating_duration_since(at) >= AFTER_FAILURE);
                    if let (None, true, Some(collection), Some(embedder)) =
                        (&embedding, again, collection, desk.embedder())
                    {
                        known.embedded = Some(now);
                        embedding = Some(Box::pin(embedded(collection, embedder, at_once, stop.clone())));
                    }
                    other.push(name);
                }
            }
        }
        component.set(state(&damaged, &other), words(&damaged, &other));
        let (state, words) = wording(desk.outlook());
        ai.set(state, words);
        let (state, words) = embedding_by(desk.embedder().as_ref());
        embedder.set(state, words);
        let mut pause = std::pin::pin!(sleep(every));
        loop {
            let making = async {
                match &mut embedding {
                    Some(embedding) => embedding.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = &mut pause => break,
                () = making => embedding = None,
            }
        }
    }
}

/// How well answers can be worded. Without any AI in the route the extractive answer is what was chosen.
const fn wording((all, ready): (usize, usize)) -> (HealthState, &'static str) {
    match (all, ready) {
        (0, _) => (HealthState::Healthy, "no AI is in the route: answers are the documents' own sentences"),
        (_, 0) => (
            HealthState::Unhealthy,
            "no AI of the route is called for now: answers are the documents' own sentences",
        ),
        (all, ready) if ready < all => {
            (HealthState::Degraded, "some AIs of the route are not called for now")
        }
        (_, _) => (HealthState::Healthy, ""),
    }
}

fn embedding_by(embedder: Option<&Embedder>) -> (HealthState, &'static str) {
    match embedder {
        None => (
            HealthState::Degraded,
            "nobody embeds: documents are searched by words, and none can be taken in",
        ),
        Some(embedder) if (embedder.ready)() => (HealthState::Healthy, ""),
        Some(_) => (
            HealthState::Unhealthy,
            "the embedding model is not called for now: documents are searched by words",
        ),
    }
}

const fn state(damaged: &[String], other: &[String]) -> HealthState {
    if damaged.is_empty() && other.is_empty() { HealthState::Healthy } else { HealthState::Degraded }
}

fn words(damaged: &[String], other: &[String]) -> String {
    let mut all = Vec::new();
    if !damaged.is_empty() {
        all.push(format!("{}: damaged; ingest the documents again", damaged.join(", ")));
    }
    if !other.is_empty() {
        let said = "searched by words until its vectors are made by the model in use";
        all.push(format!("{}: {said}", other.join(", ")));
    }
    all.join("; ")
}

/// Looks at one collection: followed, checked when it is time, told and made anew when it is damaged.
async fn looked_at(desk: &Desk, name: &str, known: &mut Done, alerts: &Alerts) -> (Found, Option<Shelf>) {
    let config = desk.config();
    let scrub = Duration::from_secs(config.scrub_hours * 3600);
    let begun = Instant::now();
    let collection = match desk.collection(name, Duration::from_secs(config.watch_secs)).await {
        Ok(collection) => collection,
        Err(Nothing::Unreadable) => return (Found::Damaged, None),
        Err(Nothing::Unknown | Nothing::Empty) => return (Found::Sound, None),
    };
    if !scrub.is_zero() && begun.saturating_duration_since(known.checked) >= scrub {
        known.checked = begun;
        checked(&collection).await;
    }
    let state = collection.state();
    if state.trouble.is_none() && !state.is_behind() {
        if known.mended.take().is_some() {
            alerts.resolve(AlertCategory::Index, name, "The index is sound again.");
        }
        let (index, embedder) = (collection.current(), desk.embedder());
        let fits = match (&index, &embedder) {
            (Some(index), Some(embedder)) => index.is_empty() || index.space() == Some(&embedder.space),
            (None, _) | (_, None) => true,
        };
        if fits {
            known.embedded = None;
            return (Found::Sound, None);
        }
        return (Found::OtherVectors, Some(collection));
    }
    if known.mended.is_none_or(|at| begun.saturating_duration_since(at) >= AFTER_FAILURE) {
        known.mended = Some(begun);
        alerts.raise(
            AlertCategory::Index,
            name,
            "An index is damaged. What was sound before answers; it is being made anew from its texts.",
        );
        if mended(&collection).await {
            return (Found::Sound, None);
        }
    }
    (Found::Damaged, None)
}

/// Looks at every byte; what is damaged goes to quarantine.
async fn checked(collection: &Shelf) {
    let name = collection.name();
    match collection.scrub().await {
        Ok(damages) if damages.is_empty() => {}
        Ok(damages) => {
            tracing::error!(collection = name, damages = damages.len(), "an index was found damaged");
        }
        Err(error) => tracing::error!(collection = name, %error, "an index cannot be checked"),
    }
}

/// Makes the index anew from its own texts; says whether that worked.
async fn mended(collection: &Shelf) -> bool {
    let name = collection.name();
    let work = async {
        let now = jiff::Timestamp::now().as_second();
        let writer = collection.lock(now).await?;
        let (contents, space) = writer.salvage().await?;
        Ok::<u64, IngestError>(writer.publish(contents, space.as_ref(), now).await?.generation())
    };
    match work.await {
        Ok(generation) => {
            tracing::info!(collection = name, generation, "the index was made anew from its texts");
            true
        }
        Err(error) => {
            tracing::error!(
                collection = name,
                %error,
                "the index could not be made anew; ingest the documents again"
            );
            false
        }
    }
}

/// Makes the vectors of a collection anew.
async fn embedded(collection: Shelf, embedder: Embedder, at_once: usize, cancel: CancellationToken) {
    let means = Means { embedder: &embedder, at_once, cancel: &cancel, told: &|_, _| () };
    let name = collection.name();
    match again::again(&collection, means, jiff::Timestamp::now().as_second()).await {
        Ok(Some(generation)) => {
            tracing::info!(collection = name, generation, "the vectors were made by the model in use");
        }
        Ok(None) | Err(IngestError::Cancelled) => {}
        Err(error) => {
            tracing::warn!(collection = name, %error, "the vectors could not be made; words are searched");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::tests::publish;
    use portcullis_knowledge::{KnowledgeConfig, Language, Library, Space};
    use portcullis_telemetry::{AlertsConfig, Metrics};

    // req: S2-2.6
    #[tokio::test]
    async fn a_damaged_index_is_told_made_anew_from_its_texts_and_answers_again() {
        let folder = tempfile::tempdir().unwrap();
        publish(&folder.path().join("default"), &[]);
        let words = folder.path().join("default/gen-1/words.post");
        let mut bytes = std::fs::read(&words).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&words, bytes).unwrap();
        let metrics = Metrics::new();
        let config = KnowledgeConfig { watch_secs: 1, ..KnowledgeConfig::default() };
        let desk = Desk::new(Library::files(folder.path().into(), config), None, metrics.clone());
        let (alerts, mut queue) = Alerts::new(&AlertsConfig::default(), metrics);
        let (health, stop) = (Health::new(), CancellationToken::new());
        let keeping = keep(desk.clone(), 1, alerts, health.clone(), stop.clone());
        let ending = async {
            let told = queue.recv().await.unwrap();
            assert!(told.message.contains("damaged"), "{}", told.message);
            let recovered = queue.recv().await.unwrap();
            assert!(recovered.message.contains("sound again"), "{}", recovered.message);
            stop.cancel();
        };
        tokio::join!(keeping, ending);
        let state = desk.state("default").unwrap();
        assert!(state.generation == Some(2) && state.trouble.is_none(), "{state:?}");
        let index = health.snapshot().into_iter().find(|one| one.name == "index").unwrap();
        assert_eq!(index.state, HealthState::Healthy);
    }

    // req: S2-2.6
    #[tokio::test(start_paused = true)]
    async fn vectors_of_another_model_are_made_anew_while_words_answer_and_health_says_so() {
        let folder = tempfile::tempdir().unwrap();
        publish(&folder.path().join("default"), &[]);
        let metrics = Metrics::new();
        let space = Space { id: "test/new".into(), version: 1, dimensions: 2, languages: vec![Language::EN] };
        let embedder = Embedder::new(space.clone(), 8, |texts, _| {
            Box::pin(async move {
                sleep(Duration::from_secs(20)).await;
                Ok(texts.iter().map(|_| vec![1.0, 0.0]).collect())
            })
        });
        let library = Library::files(folder.path().into(), KnowledgeConfig::default());
        let desk = Desk::new(library, Some(embedder), metrics);
        let (health, stop) = (Health::new(), CancellationToken::new());
        let keeping = keep(desk.clone(), 1, Alerts::silent(), health.clone(), stop.clone());
        let looking = async {
            while health.overall() == HealthState::Healthy {
                sleep(Duration::from_secs(1)).await;
            }
            let told = health.snapshot().into_iter().find(|one| one.name == "index").unwrap().detail;
            assert!(told.contains("searched by words"), "{told}");
            assert_eq!(desk.state("default").unwrap().generation, Some(1));
            while health.overall() != HealthState::Healthy {
                sleep(Duration::from_secs(1)).await;
            }
            stop.cancel();
        };
        tokio::join!(keeping, looking);
        let collection = desk.collection("default", Duration::ZERO).await.unwrap();
        assert_eq!(collection.current().unwrap().space(), Some(&space));
    }

    // req: S2-3.6
    #[test]
    fn health_says_who_words_and_who_embeds() {
        assert_eq!(wording((0, 0)).0, HealthState::Healthy, "that is how it was set up");
        assert_eq!([wording((2, 2)).0, wording((2, 1)).0], [HealthState::Healthy, HealthState::Degraded]);
        assert!(wording((2, 0)).0 == HealthState::Unhealthy && wording((2, 0)).1.contains("own sentences"));
        let space = Space { id: "test".into(), version: 1, dimensions: 2, languages: Vec::new() };
        let mut embedder = Embedder::new(space, 1, |_, _| Box::pin(async { Ok(Vec::new()) }));
        assert_eq!(embedding_by(Some(&embedder)), (HealthState::Healthy, ""));
        embedder.ready = std::sync::Arc::new(|| false);
        assert_eq!(embedding_by(Some(&embedder)).0, HealthState::Unhealthy);
        assert!(embedding_by(None).1.contains("by words"));
    }
}
