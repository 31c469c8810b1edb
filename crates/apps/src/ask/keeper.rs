//! Who keeps collections sound while the process runs: they are loaded before somebody asks, checked every so often, and
//! a damaged one is made anew from the texts that are still sound. Invariant: nothing here ends an answer: what is sound
//! goes on answering while the damage is told and mended. Source: ask.md section 5, "Failure".

use super::desk::{Desk, Nothing};
use portcullis_knowledge::Collection;
use portcullis_telemetry::{AlertCategory, Alerts, Health, HealthState};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How long a collection that could not be mended is left alone.
const AFTER_FAILURE: Duration = Duration::from_secs(600);

/// When what was done to a collection.
struct Done {
    checked: Instant,
    mended: Option<Instant>,
}

/// Keeps the collections of a desk sound, until `stop`.
pub async fn keep(desk: Desk, alerts: Alerts, health: Health, stop: CancellationToken) {
    let (config, component) = (desk.config().clone(), health.component("index"));
    let every = Duration::from_secs(config.watch_secs);
    let scrub = Duration::from_secs(config.scrub_hours * 3600);
    let mut done = BTreeMap::<String, Done>::new();
    loop {
        let mut troubled = Vec::new();
        for name in desk.names() {
            let begun = Instant::now();
            let known = done.entry(name.clone()).or_insert(Done { checked: begun, mended: None });
            let collection = match desk.collection(&name, every).await {
                Ok(collection) => collection,
                Err(Nothing::Unreadable) => {
                    troubled.push(name);
                    continue;
                }
                Err(Nothing::Unknown | Nothing::Empty) => continue,
            };
            if !scrub.is_zero() && begun.saturating_duration_since(known.checked) >= scrub {
                known.checked = begun;
                checked(&collection).await;
            }
            let state = collection.state();
            if state.trouble.is_none() && !state.is_behind() {
                if known.mended.take().is_some() {
                    alerts.resolve(AlertCategory::Index, &name, "The index is sound again.");
                }
                continue;
            }
            let again = known.mended.is_none_or(|at| begun.saturating_duration_since(at) >= AFTER_FAILURE);
            if again {
                known.mended = Some(begun);
                alerts.raise(
                    AlertCategory::Index,
                    &name,
                    "An index is damaged. What was sound before answers; it is being made anew from its texts.",
                );
                if mended(&collection).await {
                    continue;
                }
            }
            troubled.push(name);
        }
        if troubled.is_empty() {
            component.set(HealthState::Healthy, "");
        } else {
            let words = format!("{}: damaged; ingest the documents again", troubled.join(", "));
            component.set(HealthState::Degraded, words);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(every) => {}
        }
    }
}

/// Looks at every byte; what is damaged goes to quarantine.
async fn checked(collection: &Collection) {
    let (name, checking) = (collection.name().to_owned(), collection.clone());
    match tokio::task::spawn_blocking(move || checking.scrub()).await {
        Ok(Ok(damages)) if damages.is_empty() => {}
        Ok(Ok(damages)) => {
            tracing::error!(collection = name, damages = damages.len(), "an index was found damaged");
        }
        Ok(Err(error)) => tracing::error!(collection = name, %error, "an index cannot be checked"),
        Err(error) => tracing::error!(collection = name, %error, "the check of an index ended"),
    }
}

/// Makes the index anew from its own texts; says whether that worked.
async fn mended(collection: &Collection) -> bool {
    let (name, mending) = (collection.name().to_owned(), collection.clone());
    let work = move || {
        let now = jiff::Timestamp::now().as_second();
        let writer = mending.lock(now).map_err(|error| error.to_string())?;
        let (contents, space) = writer.salvage().map_err(|error| error.to_string())?;
        let index = writer.publish(&contents, space.as_ref(), now).map_err(|error| error.to_string())?;
        Ok::<u64, String>(index.generation())
    };
    match tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(generation) => {
            tracing::info!(collection = name, generation, "the index was made anew from its texts");
            true
        }
        Err(error) => {
            tracing::error!(
                collection = name,
                error,
                "the index could not be made anew; ingest the documents again"
            );
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::tests::publish;
    use portcullis_knowledge::KnowledgeConfig;
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
        let desk = Desk::new(folder.path().into(), config, None, metrics.clone());
        let (alerts, mut queue) = Alerts::new(&AlertsConfig::default(), metrics);
        let (health, stop) = (Health::new(), CancellationToken::new());
        let keeping = keep(desk.clone(), alerts, health.clone(), stop.clone());
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
        assert_eq!(health.overall(), HealthState::Healthy);
    }
}
