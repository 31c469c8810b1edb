//! One digest: fetch, filter, drop doubles, group, rank, sum up. Invariant: a digest never waits longer than its
//! deadline; a stage that runs out of its share hands on what it has. Source: news.md sections 5 to 7.

mod compare;
mod doubles;
mod group;
mod item;
pub mod measure;
mod model;
mod rank;
mod read;
pub mod scales;
mod sources;
mod stories;
mod tell;
mod turns;

pub use compare::{BY_WORDS, calibrated};
pub use model::{
    Checked, Digest, DigestAsk, Failed, Health, Keeps, Less, Phase, Phases, Reason, Shown, Story, Watches,
};

use super::NewsConfig;
use crate::chat::ChatApp;
use ahash::AHashSet;
use compare::Comparer;
use doubles::firsts;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use item::{Item, items, usual_language};
use parking_lot::Mutex;
use portcullis_domain::{Deadline, Failure};
use portcullis_inspect::Inspector;
use portcullis_knowledge::{Embedder, Language};
use portcullis_news::Source;
use portcullis_pages::Pages;
use portcullis_store::Store;
use portcullis_telemetry::{Alerts, Metrics};
use scales::Scales;
pub(crate) use sources::GONE;
use sources::{Fetcher, Got, Wanted, title};
use std::{collections::BTreeSet, pin::Pin, sync::Arc, time::Duration};
use stories::{Chosen, Grouped, Grouping, choose, story, untold};
use tell::{Teller, Telling};
use tokio::time::Instant;
use turns::Turns;

/// Kept of the deadline for telling what is there.
const FOR_TELLING: Duration = Duration::from_secs(1);
/// Time between two looks for what is old enough to be forgotten.
const SWEEP: Duration = Duration::from_secs(3600);
const DAY_MS: i64 = 86_400_000;

/// What stays while settings change: who fetches what, who tells what. Cheap to clone.
#[derive(Clone, Default)]
pub struct NewsState {
    sources: Arc<Turns>,
    stories: Arc<Turns>,
    scales: Scales,
    swept: Arc<Mutex<Option<Instant>>>,
    changed: Arc<Mutex<BTreeSet<String>>>,
}

/// What a digest needs.
pub struct NewsParts {
    /// Who fetches pages.
    pub pages: Pages,
    /// Where sources and posts are kept; none: nowhere.
    pub store: Option<Store>,
    /// Who asks an AI.
    pub chat: ChatApp,
    /// Who compares posts by meaning, best first.
    pub embedders: Vec<Embedder>,
    /// Who looks at posts before an AI sees them.
    pub inspector: Arc<Inspector>,
    /// `[news]`.
    pub config: Arc<NewsConfig>,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Who is told when pages cannot be read any more.
    pub alerts: Alerts,
    /// What stays.
    pub state: NewsState,
}

/// Makes digests. Cheap to clone.
#[derive(Clone)]
pub struct Newsroom(Arc<Room>);

struct Room {
    fetcher: Fetcher,
    teller: Teller,
    embedders: Vec<Embedder>,
    inspector: Arc<Inspector>,
    store: Option<Store>,
    config: Arc<NewsConfig>,
    metrics: Metrics,
    state: NewsState,
}

/// Work whose result has a place. Boxed by name: the compiler cannot tell that a closure's future may cross threads.
type Placed<'a, T> = Pin<Box<dyn Future<Output = (usize, T)> + Send + 'a>>;

impl Newsroom {
    /// Over these parts.
    #[must_use]
    pub fn new(parts: NewsParts) -> Self {
        let NewsParts { pages, store, chat, embedders, inspector, config, metrics, alerts, state } = parts;
        Self(Arc::new(Room {
            fetcher: Fetcher {
                pages,
                store: store.clone(),
                config: config.clone(),
                metrics: metrics.clone(),
                turns: state.sources.clone(),
                alerts,
                changed: state.changed.clone(),
            },
            teller: Teller {
                chat,
                store: store.clone(),
                inspector: inspector.clone(),
                config: config.clone(),
                metrics: metrics.clone(),
                turns: state.stories.clone(),
            },
            embedders,
            inspector,
            store,
            config,
            metrics,
            state,
        }))
    }

    /// `[news]`.
    #[must_use]
    pub fn config(&self) -> &NewsConfig {
        &self.0.config
    }

    /// Asks a source that is about to be added, for as long as somebody waits for that.
    ///
    /// # Errors
    /// Why it did not answer.
    pub async fn check(&self, source: &Source) -> Result<Checked, Reason> {
        let until = Deadline::after(Duration::from_secs(self.0.config.scrape.check_secs));
        let since = now_ms() - i64::from(self.0.config.window_hours) * 3_600_000;
        let (row, feeds) = self.0.fetcher.checked(source, Wanted { since, urgent: true, until }).await?;
        let feeds = feeds.into_iter().map(|feed| (feed.title, feed.url.to_string())).collect();
        Ok(Checked { title: row.title, is_page: row.kind == read::PAGE, feeds })
    }

    /// How a source is; none: nobody has asked it yet, or that is not known at the moment.
    pub async fn health(&self, source: &Source) -> Option<Health> {
        self.0.fetcher.health(source).await
    }

    /// Makes a digest.
    ///
    /// # Errors
    /// `Conflict` when nobody wants it any more; `DeadlineExceeded` when there was no time for anything; `Internal`.
    pub async fn digest(&self, ask: DigestAsk) -> Result<Digest, Failure> {
        let made = self.0.digest(&ask).await;
        self.0.metrics.news_request(match &made {
            Ok(digest) if digest.stories.is_empty() => "empty",
            Ok(digest) if digest.less.is_empty() => "ok",
            Ok(_) => "degraded",
            Err(_) => "failed",
        });
        self.0.sweep().await;
        made
    }
}

impl Room {
    async fn digest(&self, ask: &DigestAsk) -> Result<Digest, Failure> {
        let config = &self.config;
        let deadline = ask.deadline.within(Duration::from_secs(config.deadline_secs));
        let budget = |secs| {
            Deadline::after(deadline.remaining().saturating_sub(FOR_TELLING))
                .within(Duration::from_secs(secs))
        };
        let now = now_ms();
        let since = ask.since.max(now - i64::from(config.keep_days) * DAY_MS);

        let begun = Instant::now();
        let got = self.fetch(ask, since, budget(config.fetch_budget_secs)).await?;
        self.metrics.news_stage("fetch", begun.elapsed());

        let begun = Instant::now();
        wanted(ask, Phase::Grouping)?;
        let mut digest = Digest { failed: failed(ask, &got), ..Digest::default() };
        let late = got.iter().any(|got| got.late);
        let titles: Vec<String> =
            ask.sources.iter().zip(&got).map(|(source, got)| title(source, got)).collect();
        let (keeps, room) = (ask.keeps.clone(), config.clone());
        let items = blocking(move || items(got, keeps.as_ref(), &room)).await?;
        digest.posts = items.len();
        let comparer = Comparer {
            embedders: &self.embedders,
            store: self.store.as_ref(),
            metrics: &self.metrics,
            scales: &self.state.scales,
            chars: config.summary.post_chars,
            until: budget(config.embed_budget_secs),
        };
        let (items, doubles) = blocking(move || {
            let doubles = doubles::doubles(&items);
            (items, doubles)
        })
        .await?;
        let (items, firsts) = (Arc::new(items), firsts(&doubles));
        let compared_items: Arc<Vec<Item>> =
            Arc::new(firsts.iter().map(|at| items[*at as usize].clone()).collect());
        let compared = comparer.compare(ask, &compared_items).await;
        if compared.less {
            digest.less.push(Less::Lexical);
        }
        let (watches, chars) = (ask.watches.clone(), config.summary.post_chars);
        let grouping = Grouping { firsts, doubles, compared, compared_items, chars, now };
        let all = items.clone();
        let grouped = blocking(move || grouping.run(&all, watches.as_ref())).await?;
        let grouped = Grouped { items: Arc::unwrap_or_clone(items), ..grouped };
        let shown = ask.shown.clone();
        let (inspector, most) = (self.inspector.clone(), ask.stories);
        let (grouped, chosen) = blocking(move || {
            let chosen = choose(&grouped, &shown, &inspector, most);
            (grouped, chosen)
        })
        .await?;
        self.metrics.news_stage("group", begun.elapsed());

        let begun = Instant::now();
        let language = ask.language.unwrap_or_else(|| usual_language(&grouped.items));
        let until = budget(config.summary_budget_secs);
        let stories = self.tell(ask, &grouped, &chosen, (language, until), &titles).await?;
        self.metrics.news_stage("tell", begun.elapsed());
        for (story, less) in stories {
            if less && !digest.less.contains(&Less::Extractive) {
                digest.less.push(Less::Extractive);
            }
            digest.stories.push(story);
        }
        if late {
            digest.less.push(Less::Late);
        }
        if digest.stories.is_empty() && deadline.passed() {
            Err(Failure::DeadlineExceeded)
        } else {
            Ok(digest)
        }
    }

    /// What every source published, by its place.
    async fn fetch(&self, ask: &DigestAsk, since: i64, until: Deadline) -> Result<Vec<Got>, Failure> {
        let all = ask.sources.len();
        let wish = Wanted { since, urgent: ask.urgent, until };
        let mut fetches: FuturesUnordered<Placed<'_, Got>> = FuturesUnordered::new();
        for (at, source) in ask.sources.iter().enumerate() {
            fetches.push(Box::pin(async move { (at, self.fetcher.got(source, wish).await) }));
        }
        let mut got = vec![Got::default(); all];
        let mut done = 0;
        wanted(ask, Phase::Fetching(done, all))?;
        while let Some((at, one)) = fetches.next().await {
            got[at] = one;
            done += 1;
            wanted(ask, Phase::Fetching(done, all))?;
        }
        Ok(got)
    }

    /// The stories in words, and whether each is less than it should be.
    async fn tell(
        &self,
        ask: &DigestAsk,
        grouped: &Grouped,
        chosen: &[Chosen],
        (language, until): (Language, Deadline),
        titles: &[String],
    ) -> Result<Vec<(Story, bool)>, Failure> {
        let all = chosen.len();
        wanted(ask, Phase::Telling(0, all))?;
        let repeats: AHashSet<u32> = grouped.doubles.values().flatten().copied().collect();
        let mut tellings: FuturesUnordered<Placed<'_, Telling>> = FuturesUnordered::new();
        for (at, chosen) in chosen.iter().enumerate() {
            let story = untold(grouped, chosen, &repeats);
            tellings
                .push(Box::pin(async move { (at, self.teller.tell(ask, &story, language, until).await) }));
        }
        let mut stories: Vec<Option<(Story, bool)>> = vec![None; all];
        let mut done = 0;
        while let Some((at, telling)) = tellings.next().await {
            done += 1;
            let story = story(grouped, &chosen[at], telling.told, telling.by_ai, titles);
            stories[at] = Some((story, telling.less));
            wanted(ask, Phase::Telling(done, all))?;
        }
        Ok(stories.into_iter().flatten().filter(|(story, _)| !story.headline.is_empty()).collect())
    }

    /// Forgets what is old, now and then.
    async fn sweep(&self) {
        let Some(store) = &self.store else { return };
        {
            let mut swept = self.state.swept.lock();
            if swept.is_some_and(|at| at.elapsed() < SWEEP) {
                return;
            }
            *swept = Some(Instant::now());
        }
        let (now, config) = (now_ms(), &self.config);
        let posts = now - i64::from(config.keep_days) * DAY_MS;
        let vectors = now - i64::from(config.vector_days) * DAY_MS;
        let told = now - i64::try_from(config.summary.cache_hours * 3_600_000).unwrap_or(i64::MAX);
        if let Err(error) = store.feeds().sweep(posts, vectors, told).await {
            tracing::warn!(%error, "old posts are not forgotten yet");
        }
    }
}

fn failed(ask: &DigestAsk, got: &[Got]) -> Vec<Failed> {
    let none = ask.sources.iter().zip(got).filter(|(_, got)| got.posts.is_empty());
    none.filter_map(|(source, got)| Some(Failed { source: source.clone(), reason: got.failed? })).collect()
}

/// Tells how far it is; nobody waits for a digest that was cancelled.
fn wanted(ask: &DigestAsk, phase: Phase) -> Result<(), Failure> {
    if (ask.progress.0)(phase) { Ok(()) } else { Err(Failure::Conflict("The digest was cancelled.".into())) }
}

/// Work that would hold up an async worker.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        let incident = portcullis_domain::Incident::from_parts(now_ms().unsigned_abs(), rand::random());
        tracing::error!(%incident, %error, "a digest failed; only this request was refused");
        Failure::Internal { incident }
    })
}

pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests;
