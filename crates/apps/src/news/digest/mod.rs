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
mod tell;
mod turns;

pub use compare::{BY_WORDS, calibrated};
pub use model::{
    Checked, Digest, DigestAsk, Failed, Health, Keeps, Less, Phase, Phases, Reason, Shown, Story, Watches,
};

use super::NewsConfig;
use crate::chat::ChatApp;
use ahash::{AHashMap, AHashSet};
use compare::{Compared, Comparer};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use item::Item;
use parking_lot::Mutex;
use portcullis_domain::{Deadline, Failure};
use portcullis_inspect::{Channel, Inspector, VerdictKind};
use portcullis_knowledge::{Embedder, Language};
use portcullis_news::Source;
use portcullis_pages::Pages;
use portcullis_store::Store;
use portcullis_telemetry::{Alerts, Metrics};
use scales::Scales;
use sources::{Fetcher, Got, Wanted};
use std::{collections::BTreeSet, pin::Pin, sync::Arc, time::Duration};
use tell::{Teller, Telling, Untold};
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

/// Posts of a run, in groups.
struct Grouped {
    items: Vec<Item>,
    /// Posts that repeat another, by that one's place.
    doubles: AHashMap<u32, Vec<u32>>,
    /// With their weights, heaviest first; doubles are in them.
    groups: Vec<(f64, Vec<u32>)>,
    /// The post in the middle of each group.
    middles: Vec<u32>,
}

/// A story that was chosen.
struct Chosen {
    /// The post in the middle first, then newest first.
    posts: Vec<u32>,
    /// Whether each may enter a prompt.
    harmless: Vec<bool>,
}

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

/// What is told of a story: what repeats nothing, where there is such.
fn untold<'a>(grouped: &'a Grouped, chosen: &Chosen, repeats: &AHashSet<u32>) -> Untold<'a> {
    let all = || chosen.posts.iter().copied().zip(chosen.harmless.iter().copied());
    let some: Vec<(u32, bool)> = all().filter(|(post, _)| !repeats.contains(post)).collect();
    let told = if some.is_empty() { all().collect() } else { some };
    Untold {
        posts: told.iter().map(|(post, _)| &grouped.items[*post as usize]).collect(),
        harmless: told.iter().map(|(_, harmless)| *harmless).collect(),
    }
}

/// Posts as they are grouped.
struct Grouping {
    /// Places of the posts that repeat no other.
    firsts: Vec<u32>,
    /// For each post the one it repeats, or itself.
    doubles: Vec<u32>,
    compared: Compared,
    compared_items: Arc<Vec<Item>>,
    chars: usize,
    now: i64,
}

impl Grouping {
    fn run(self, items: &[Item], watches: Option<&Watches>) -> Grouped {
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
fn choose(grouped: &Grouped, shown: &Shown, inspector: &Inspector, most: usize) -> Vec<Chosen> {
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

fn story(grouped: &Grouped, chosen: &Chosen, told: tell::Told, told_by_ai: bool, titles: &[String]) -> Story {
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

/// The posts that are looked at: long enough, wanted, the newest.
fn items(got: Vec<Got>, keeps: Option<&Keeps>, config: &NewsConfig) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for (source, got) in got.into_iter().enumerate() {
        let posts = got.posts.into_iter().map(|post| Item::of(source, post));
        let long =
            |item: &Item| config.min_chars == 0 || item.words.chars().nth(config.min_chars - 1).is_some();
        items.extend(posts.filter(|item| long(item) && keeps.is_none_or(|keeps| keeps(&item.words))));
    }
    items.sort_by(|a, b| b.at.cmp(&a.at).then(a.hash.cmp(&b.hash)).then(a.source.cmp(&b.source)));
    items.truncate(config.max_posts);
    let usual = usual_language(&items);
    for item in items.iter_mut().filter(|item| item.language == Language::UNKNOWN) {
        // A few words tell no language; letters of another script do, and then it stays unknown.
        item.language = portcullis_knowledge::text::of_question(&item.words, &[usual]);
    }
    items
}

/// The language of most posts.
fn usual_language(items: &[Item]) -> Language {
    let mut counts = AHashMap::<Language, usize>::new();
    for item in items.iter().filter(|item| item.language != Language::UNKNOWN) {
        *counts.entry(item.language).or_default() += 1;
    }
    let most = counts.into_iter().max_by(|(a, left), (b, right)| left.cmp(right).then(b.cmp(a)));
    most.map_or(Language::UNKNOWN, |(language, _)| language)
}

/// Places of the posts that repeat no other.
fn firsts(doubles: &[u32]) -> Vec<u32> {
    (0_u32..).zip(doubles).filter(|(at, first)| at == *first).map(|(at, _)| at).collect()
}

fn failed(ask: &DigestAsk, got: &[Got]) -> Vec<Failed> {
    let none = ask.sources.iter().zip(got).filter(|(_, got)| got.posts.is_empty());
    none.filter_map(|(source, got)| Some(Failed { source: source.clone(), reason: got.failed? })).collect()
}

/// What a source is called in a digest.
fn title(source: &Source, got: &Got) -> String {
    match source {
        Source::Channel(_) => source.to_string(),
        Source::Web(url) if got.title.is_empty() => url.host_str().unwrap_or_default().to_owned(),
        Source::Web(_) => got.title.clone(),
    }
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
