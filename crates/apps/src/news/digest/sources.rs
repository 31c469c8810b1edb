//! What a source published: known from a moment ago, or fetched now. Invariants: of each source one fetch is under way, and whoever
//! asks meanwhile gets what it brings; a source that failed is left alone for a while, longer each time; a fetch that is too
//! late or refused leaves what is known; our own trouble (no turn, no time) is not the source's failure.
//!
//! Source: news.md section 4.

use super::{
    model::{Health, Reason},
    read::{self, Read},
    turns::Turns,
};
use crate::news::NewsConfig;
use parking_lot::Mutex;
use portcullis_domain::Deadline;
use portcullis_news::{Boilerplate, Link, Source};
use portcullis_pages::{PageError, Pages};
use portcullis_store::{FeedRow, PostRow, Store};
use portcullis_telemetry::{AlertCategory, Alerts, Metrics};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Times in a row that a source must say that it moved for good.
const MOVED: i64 = 3;
/// Times in a row that a source must not be there until it is switched off.
const MISSING: i64 = 5;
/// Channels at once whose pages show no posts, from which an operator is told.
const CHANGED: usize = 3;
/// Newest posts of a source by which its usual endings are told.
const LOOKED_AT: usize = 20;
/// How a source is that will not be asked again.
pub(crate) const GONE: &str = "gone";
pub(crate) const OK: &str = "ok";

/// What a source gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Got {
    /// What it calls itself; may be empty.
    pub(crate) title: String,
    /// Newest first.
    pub(crate) posts: Vec<PostRow>,
    /// Why it did not answer.
    pub(crate) failed: Option<Reason>,
    /// Whether it would have answered with more time.
    pub(crate) late: bool,
}

/// What is wanted of a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) since: i64,
    pub(crate) urgent: bool,
    pub(crate) until: Deadline,
}

/// Who fetches.
pub(crate) struct Fetcher {
    pub(crate) pages: Pages,
    pub(crate) store: Option<Store>,
    pub(crate) config: Arc<NewsConfig>,
    pub(crate) metrics: Metrics,
    pub(crate) turns: Arc<Turns>,
    pub(crate) alerts: Alerts,
    /// Channels whose pages show no posts any more although they posted lately.
    pub(crate) changed: Arc<Mutex<BTreeSet<String>>>,
}

/// Why a fetch brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Of the network or the site.
    Page(PageError),
    /// Of what the site says.
    Said(Reason),
    /// The page is a channel's, and nothing in it can be read.
    Layout,
}

impl Fetcher {
    /// What a source published since that moment, until that deadline.
    pub(crate) async fn got(&self, source: &Source, wanted: Wanted) -> Got {
        let name = source.to_string();
        let asked = tokio::time::timeout_at(wanted.until.instant(), self.asked(source, &name, wanted));
        let (row, fresh, failed, late) = match asked.await {
            Ok((row, fresh, failed)) => (row, fresh, failed, false),
            // Somebody else's fetch of it takes longer than we can wait.
            Err(_) => (self.row(source, &name).await, Vec::new(), Some(Reason::NotAnswering), true),
        };
        let late = late || (failed.is_some() && wanted.until.passed());
        let posts = self.posts(&row, fresh, wanted.since).await;
        let outcome = match failed {
            None => "ok",
            Some(_) if late => "late",
            Some(reason) => reason.as_str(),
        };
        self.metrics.scraped(kind_label(&row.kind), outcome);
        Got { title: row.title, posts, failed, late }
    }

    async fn asked(
        &self,
        source: &Source,
        name: &str,
        wanted: Wanted,
    ) -> (FeedRow, Vec<PostRow>, Option<Reason>) {
        let _turn = self.turns.of(name).await;
        let mut row = self.row(source, name).await;
        let now = super::now_ms();
        if row.state == GONE {
            return (row, Vec::new(), Some(Reason::NotFound));
        }
        let life = self.config.fetch_ttl_secs.saturating_mul(1000).cast_signed();
        let known =
            row.state == OK && now.saturating_sub(row.fetched_at) < life && self.covers(&row, wanted).await;
        if known {
            return (row, Vec::new(), None);
        }
        if row.next_at > now {
            let reason = Reason::read(&row.state);
            return (row, Vec::new(), Some(reason));
        }
        match read::fetch(self, source, &row, wanted).await {
            Ok(read) => {
                let posts = settle(&mut row, read, now);
                self.keep(&row, &posts).await;
                self.readable(name);
                (row, posts, None)
            }
            Err(trouble) => {
                let reason = trouble.reason();
                if trouble == Trouble::Layout {
                    self.unreadable(&row, now).await;
                }
                if fail(&mut row, &trouble, &self.config, wanted, now) {
                    self.keep(&row, &[]).await;
                }
                (row, Vec::new(), Some(reason))
            }
        }
    }

    /// A channel's page shows no posts: one is the channel's affair, several at once are a change of all pages.
    async fn unreadable(&self, row: &FeedRow, now: i64) {
        let newest = self.stored(row, now - super::DAY_MS, 1).await;
        if newest.is_empty() {
            return;
        }
        let many = {
            let mut changed = self.changed.lock();
            changed.insert(row.source.clone());
            changed.len() >= CHANGED
        };
        if many {
            let words = "Pages of channels have another layout than this version reads. Posts known before stay in use; look \
                         for a newer version.";
            self.alerts.raise(AlertCategory::ScraperLayout, "channels", words);
        }
    }

    fn readable(&self, name: &str) {
        let mut changed = self.changed.lock();
        let many = changed.len() >= CHANGED;
        if changed.remove(name) && many && changed.len() < CHANGED {
            self.alerts.resolve(
                AlertCategory::ScraperLayout,
                "channels",
                "Pages of channels can be read again.",
            );
        }
    }

    /// Asks a source, unless it was read a moment ago: its kind, what it calls itself, and feeds that it names.
    ///
    /// # Errors
    /// Why it did not answer; then nothing is kept of it but that.
    pub(crate) async fn checked(
        &self,
        source: &Source,
        wanted: Wanted,
    ) -> Result<(FeedRow, Vec<Link>), Reason> {
        let name = source.to_string();
        let ask = async {
            let _turn = self.turns.of(&name).await;
            let mut row = self.row(source, &name).await;
            let life = self.config.fetch_ttl_secs.saturating_mul(1000).cast_signed();
            // What was read a moment ago for somebody else is well; only a page must say again which feeds it names.
            if row.state == OK && row.kind != read::PAGE && super::now_ms() - row.fetched_at < life {
                return Ok((row, Vec::new()));
            }
            let read = read::fetch(self, source, &row, wanted).await.map_err(|trouble| trouble.reason())?;
            let feeds = read.feeds.clone();
            let posts = settle(&mut row, read, super::now_ms());
            self.keep(&row, &posts).await;
            Ok((row, feeds))
        };
        tokio::time::timeout_at(wanted.until.instant(), ask).await.unwrap_or(Err(Reason::NotAnswering))
    }

    /// How a source is; none: nobody has asked it yet.
    pub(crate) async fn health(&self, source: &Source) -> Option<Health> {
        let store = self.store.as_ref()?;
        let row = store.feeds().find(&source.to_string()).await.ok()??;
        if row.state == "new" {
            return None;
        }
        if row.state == GONE {
            return Some(Health::Gone);
        }
        if row.state != OK {
            let reason = Reason::read(&row.state);
            let failing = Health::Failing { reason, since: row.failing_since };
            return Some(if reason == Reason::NoPreview { Health::NoPreview } else { failing });
        }
        let quiet = super::now_ms() - i64::from(self.config.scrape.quiet_days) * super::DAY_MS;
        let newest = self.stored(&row, 0, 1).await;
        let posted = newest.first().is_some_and(|post| post.at >= quiet);
        Some(if posted { Health::Ok } else { Health::Quiet { since: newest.first().map(|post| post.at) } })
    }

    /// Whether everything since then is known, as of the last fetch.
    async fn covers(&self, row: &FeedRow, wanted: Wanted) -> bool {
        if row.covers_since <= wanted.since {
            return true;
        }
        let most = self.config.posts_per_source;
        self.stored(row, 0, most).await.len() >= most
    }

    async fn row(&self, source: &Source, name: &str) -> FeedRow {
        let kind = match source {
            Source::Channel(_) => read::CHANNEL,
            Source::Web(_) => read::UNKNOWN,
        };
        let blank = || FeedRow { source: name.to_owned(), kind: kind.to_owned(), ..FeedRow::default() };
        let Some(store) = &self.store else { return blank() };
        match store.feeds().of(name, kind).await {
            Ok(row) => row,
            Err(error) => {
                tracing::warn!(%error, "what is known of a source cannot be read; it is fetched");
                blank()
            }
        }
    }

    async fn keep(&self, row: &FeedRow, posts: &[PostRow]) {
        let Some(store) = self.store.as_ref().filter(|_| row.id != 0) else { return };
        if let Err(error) = store.feeds().keep(row, posts).await {
            tracing::warn!(%error, "what a source published is not kept");
        }
    }

    pub(crate) async fn stored(&self, row: &FeedRow, since: i64, most: usize) -> Vec<PostRow> {
        let Some(store) = self.store.as_ref().filter(|_| row.id != 0) else { return Vec::new() };
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        store.feeds().posts(row.id, since, most).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "posts cannot be read");
            Vec::new()
        })
    }

    /// Posts of the window, newest first, without what the source puts below each of them.
    async fn posts(&self, row: &FeedRow, fresh: Vec<PostRow>, since: i64) -> Vec<PostRow> {
        let most = self.config.posts_per_source;
        let mut posts = self.stored(row, since, most.max(LOOKED_AT)).await;
        if posts.is_empty() {
            posts = fresh;
            posts.sort_by(|a, b| b.at.cmp(&a.at).then(b.external_id.cmp(&a.external_id)));
        }
        let looked = if posts.len() < LOOKED_AT {
            let older = self.stored(row, 0, LOOKED_AT).await;
            if older.len() > posts.len() { older } else { posts.clone() }
        } else {
            posts.clone()
        };
        let texts: Vec<&str> = looked.iter().map(|post| post.text.as_str()).collect();
        let endings = Boilerplate::of(texts);
        posts.retain(|post| post.at >= since);
        posts.truncate(most);
        for post in &mut posts {
            post.text = endings.cut(&post.text).to_owned();
        }
        posts
    }
}

/// A source that answered.
fn settle(row: &mut FeedRow, read: Read, now: i64) -> Vec<PostRow> {
    OK.clone_into(&mut row.state);
    (row.failures, row.failing_since, row.next_at, row.fetched_at) = (0, 0, 0, now);
    read.kind.clone_into(&mut row.kind);
    if !read.title.is_empty() {
        row.title = read.title;
    }
    if !read.not_modified {
        (row.etag, row.modified) = (read.etag, read.modified);
        row.covers_since = read.covers_since;
    }
    match read.moved {
        None => (row.moved_to, row.moved_times) = (String::new(), 0),
        Some(to) if to == row.moved_to => row.moved_times += 1,
        Some(to) => (row.moved_to, row.moved_times) = (to, 1),
    }
    if row.moved_times >= MOVED {
        row.address = std::mem::take(&mut row.moved_to);
        row.moved_times = 0;
    }
    read.posts
}

/// A source that did not answer. Whether that is its own failure, and to be kept.
fn fail(row: &mut FeedRow, trouble: &Trouble, config: &NewsConfig, wanted: Wanted, now: i64) -> bool {
    let wait = match trouble {
        Trouble::Page(PageError::Busy { .. }) => return false,
        Trouble::Page(PageError::Timeout) if wanted.until.passed() => return false,
        Trouble::Page(PageError::Later { retry_after }) => {
            row.next_at = now.saturating_add(millis(*retry_after));
            Reason::NotAnswering.as_str().clone_into(&mut row.state);
            return true;
        }
        Trouble::Page(PageError::Status(410)) => {
            GONE.clone_into(&mut row.state);
            return true;
        }
        Trouble::Page(_) | Trouble::Said(_) | Trouble::Layout => {
            let minutes = 1_u64 << row.failures.clamp(0, 20).unsigned_abs();
            Duration::from_secs(60 * minutes.min(config.scrape.retry_mins))
        }
    };
    if row.failures == 0 {
        row.failing_since = now;
    }
    let missing = trouble.reason() == Reason::NotFound;
    let before = row.failures == 0 || row.state == Reason::NotFound.as_str();
    row.failures = if missing && !before { 1 } else { row.failures + 1 };
    row.next_at = now.saturating_add(millis(wait));
    let state = if missing && row.failures >= MISSING { GONE } else { trouble.reason().as_str() };
    state.clone_into(&mut row.state);
    true
}

/// What a source is called in a digest.
pub(super) fn title(source: &Source, got: &Got) -> String {
    match source {
        Source::Channel(_) => source.to_string(),
        Source::Web(url) if got.title.is_empty() => url.host_str().unwrap_or_default().to_owned(),
        Source::Web(_) => got.title.clone(),
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// A metric's label: a closed set.
fn kind_label(kind: &str) -> &'static str {
    [read::CHANNEL, read::FEED, read::PAGE].into_iter().find(|known| *known == kind).unwrap_or(read::UNKNOWN)
}

impl Trouble {
    pub(crate) const fn reason(&self) -> Reason {
        match self {
            Self::Said(reason) => *reason,
            Self::Layout => Reason::Unreadable,
            Self::Page(error) => match error {
                PageError::Address | PageError::NotReachable => Reason::Refused,
                PageError::Robots => Reason::Robots,
                PageError::Status(404 | 410) => Reason::NotFound,
                PageError::TooLarge(_) => Reason::Unreadable,
                PageError::Busy { .. } => Reason::Busy,
                PageError::NoAnswer
                | PageError::Status(_)
                | PageError::Redirects
                | PageError::Timeout
                | PageError::Broken
                | PageError::Later { .. } => Reason::NotAnswering,
            },
        }
    }
}

impl From<PageError> for Trouble {
    fn from(error: PageError) -> Self {
        Self::Page(error)
    }
}
