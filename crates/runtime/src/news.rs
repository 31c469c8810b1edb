//! Digests of news: who compares posts, and the app for one process of the command line, without doors. Invariant: each
//! model stands there once, best first. Source: news.md sections 6 and 14.

use crate::{Secrets, Settings, StartError, embedding, pages, start};
use portcullis_apps::{
    chat::{
        ChatApp,
        cache::{Answers, CacheConfig},
    },
    news::{NewsApp, NewsParts, NewsState, Phase, Phases},
};
use portcullis_domain::{Caller, Deadline, Hints, NewsRequest, Payload, RequestId, Scope, Scopes, Tier};
use portcullis_engine::{Filter, Inspected, Quotas};
use portcullis_inspect::Inspector;
use portcullis_knowledge::Embedder;
use portcullis_providers::{Providers, ProvidersConfig};
use portcullis_store::{Store, StoreParts};
use portcullis_telemetry::{Alerts, Health, Metrics};
use serde_json::Value;
use std::{net::Ipv4Addr, sync::Arc, time::Duration};
use tokio_util::task::TaskTracker;

pub use portcullis_domain::{DigestRequest, Failure};

/// Who is asked where the setting is `auto`, in this order.
const AUTO: [&str; 4] =
    ["gemini/gemini-embedding-001", "openai/text-embedding-3-small", "builtin-multilingual", "builtin"];
/// Who is there always.
const LAST: &str = "builtin";

/// Who compares posts by meaning, best first.
pub(crate) fn embedders(settings: &Settings, providers: &Providers) -> Vec<Embedder> {
    let wish = settings.news.embedder.as_str();
    let auto = wish == "auto";
    let names: &[&str] = if auto { &AUTO } else { &[wish, LAST] };
    let mut found: Vec<Embedder> = Vec::new();
    for name in names {
        let embedder = match embedding::embedder(name, &settings.embed, providers) {
            Ok(embedder) => embedder,
            Err(error) => {
                if !auto {
                    tracing::warn!(embedder = name, %error, "posts are not compared by this model");
                }
                continue;
            }
        };
        if found.iter().all(|other| other.space != embedder.space) {
            found.push(embedder);
        }
    }
    found
}

/// The app in a process of its own: for the command line while no server runs.
pub struct Alone {
    app: NewsApp,
    store: Store,
    deadline: Duration,
}

impl Alone {
    /// Opens the store and sets up providers.
    ///
    /// # Errors
    /// A store that cannot be used; providers that cannot be set up as they are configured.
    pub async fn open(settings: &Settings, secrets: &Secrets) -> Result<Self, StartError> {
        let metrics = Metrics::new();
        let named: &ProvidersConfig = &settings.providers;
        let secret = |name: &str| secrets.get(name);
        let providers = embedding::providers_alone(settings, named, metrics.clone(), secret)?;
        let url = start::wanted(settings.store.url_secret.as_deref(), "store.url_secret", secrets)?;
        let store = Store::open(StoreParts {
            config: &settings.store,
            data_dir: &settings.data_dir,
            url: url.as_ref(),
            metrics: &metrics,
            health: &Health::new(),
            alerts: &Alerts::silent(),
        })
        .await?;
        let answers = Answers::new(&CacheConfig::default(), None, TaskTracker::new());
        let app = NewsApp::new(NewsParts {
            pages: pages::alone(settings),
            store: Some(store.clone()),
            embedders: embedders(settings, &providers),
            chat: ChatApp::new(providers, &settings.routes, metrics.clone(), answers),
            inspector: Arc::new(Inspector::new(&settings.inspect)?),
            config: Arc::new(settings.news.clone()),
            metrics,
            alerts: Alerts::silent(),
            state: NewsState::default(),
        });
        Ok(Self { app, store, deadline: Duration::from_secs(settings.news.deadline_secs) })
    }

    /// Makes a digest, as the server does in JSON. `progress` hears of sources that have answered, and of how many.
    ///
    /// # Errors
    /// As the app.
    pub async fn digest(
        &self,
        asked: DigestRequest,
        progress: impl Fn(usize, usize) + Send + Sync + 'static,
    ) -> Result<Value, Failure> {
        // Whoever runs the command owns the folder.
        let scopes = Scopes::NONE.with(Scope::Chat).with(Scope::Pin).with(Scope::AdminRead);
        let now = jiff::Timestamp::now().as_millisecond();
        let request = Inspected {
            id: RequestId::from_parts(now.unsigned_abs(), rand::random()),
            caller: Caller::new("local".into(), Tier::Premium, scopes, Ipv4Addr::LOCALHOST.into()),
            weight: 1,
            deadline: Deadline::after(self.deadline),
            hints: Hints::default(),
            payload: Payload::News(NewsRequest::Digest(asked)),
            score: 0.0,
            span: None,
            shape: None,
            flagged: false,
            filter: Filter::OPEN,
            quotas: Quotas::OPEN,
        };
        let phases = Phases(Arc::new(move |phase| {
            if let Phase::Fetching(done, all) = phase {
                progress(done, all);
            }
            true
        }));
        let told = self.app.told(&request, phases).await;
        self.store.close().await;
        told
    }
}

/// A refusal in words for people at the keyboard.
#[must_use]
pub fn sentence(failure: &Failure) -> String {
    match failure {
        Failure::DeadlineExceeded => "There was no time for anything.".to_owned(),
        Failure::Unavailable { .. } => "No digest can be made at the moment.".to_owned(),
        Failure::InvalidInput { .. }
        | Failure::NotFound(_)
        | Failure::Forbidden(_)
        | Failure::ModelNotAllowed(_)
        | Failure::Conflict(_)
        | Failure::Internal { .. }
        | Failure::Blocked { .. }
        | Failure::Unconfirmed { .. }
        | Failure::Unauthenticated(_)
        | Failure::RateLimited { .. }
        | Failure::BudgetExceeded { .. }
        | Failure::Overloaded { .. }
        | Failure::UpstreamInterrupted => crate::asking::sentence(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_apps::news::{BY_WORDS, calibrated, measure};
    use portcullis_knowledge::{Language, Purpose};
    use std::collections::BTreeMap;

    /// Texts and events of the labelled posts, by language.
    fn posts() -> BTreeMap<String, (Vec<String>, Vec<String>)> {
        let mut all = BTreeMap::<String, (Vec<String>, Vec<String>)>::new();
        for line in include_str!("../../../bench/news_cluster/posts.jsonl").lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            let (texts, events) = all.entry(text("lang")).or_default();
            texts.push(text("text"));
            events.push(text("event"));
        }
        all
    }

    #[tokio::test]
    async fn the_builtin_model_groups_english_posts_well_enough_and_better_than_words() {
        let settings = Settings::default();
        let embedder = embedding::standalone("builtin", &settings, &Secrets::default()).unwrap();
        let (texts, events) = &posts()["en"];
        let vectors = embedder.embed(texts.clone(), Purpose::Question).await.unwrap();
        let texts: Vec<(&str, Language)> = texts.iter().map(|text| (text.as_str(), Language::EN)).collect();
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        let least = calibrated(&embedder.space.id).unwrap();
        let f1 = |found: &[Vec<u32>]| measure::f1(measure::pairs(found, &events));
        let by_meaning = f1(&measure::grouped(&texts, Some(&vectors), least));
        let by_words = f1(&measure::grouped(&texts, None, BY_WORDS));
        assert!(by_meaning >= 0.85 && by_meaning >= by_words, "{by_meaning:.3} {by_words:.3}");
    }
}
