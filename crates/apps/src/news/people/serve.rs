//! A digest for somebody, from first to last: a place in the quota, the digest, its messages, in one transaction with
//! what it costs. Invariants: the place is given back wherever no digest comes of it; a request that was answered is not
//! answered again, whenever this process or another ends. Source: news.md section 5.

use super::{
    People, RETRY, Said, Talk, Turn, away,
    compose::{Layout, Told, reasons},
    config::PlanConfig,
    days,
    filters::Filters,
    flights::Crowded,
    ms,
    words::Say,
    write::{Page, button},
};
use crate::news::{Digest, DigestAsk, Keeps, Less, Phase, Phases, Shown, Watches};
use portcullis_domain::{Action, Button, Caller, Deadline, Failure, MessageReply, Post};
use portcullis_engine::{
    Filter, Quotas,
    messages::{Sending, now_ms},
};
use portcullis_knowledge::Language;
use portcullis_news::Source;
use portcullis_store::{Deliver, Delivered, Fire, FolderRow, ReaderRow, Reserve, Reserved};
use portcullis_telemetry::Span;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// What a digest was asked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    Command,
    Button,
}

/// What is wanted of a folder.
pub(super) struct Wanted {
    pub(super) folder: FolderRow,
    /// Whether what was shown is shown again.
    pub(super) all: bool,
    /// Hours, where not as the person has it.
    pub(super) window: Option<i64>,
}

/// How long a place in the quota is held for a digest that is being made.
const LEASE_SECS: u64 = 600;
/// What is left of the door's time for composing and keeping.
const MARGIN: Duration = Duration::from_secs(5);
/// Tries to commit while the store is away: after the first, what came of it is not known, and the key tells.
const COMMITS: u32 = 4;
/// What is counted together: what was asked for, and what came on schedule.
pub(super) const BY_HAND: &str = "command";
pub(super) const SCHEDULED: &str = "schedule";

impl People {
    /// `/news [folder] [all]`.
    pub(super) async fn news(&self, turn: &Turn<'_>, rest: &str, trigger: Trigger) -> Said {
        let folders = self.store().readers().folders(turn.reader.id).await.map_err(away)?;
        let (named, all) = match rest.rsplit_once(char::is_whitespace) {
            Some((name, last)) if last.eq_ignore_ascii_case("all") => (name.trim(), true),
            _ if rest.eq_ignore_ascii_case("all") => ("", true),
            _ => (rest, false),
        };
        let found = if named.is_empty() {
            folders.iter().find(|folder| folder.id == turn.reader.folder).or(folders.first())
        } else {
            folders.iter().find(|folder| folder.name.to_lowercase() == named.to_lowercase())
        };
        let Some(folder) = found.cloned() else {
            let mut post = Post::text(turn.talk.with(Say::NoSuchFolder, &[("name", named)]));
            post.choices =
                folders.iter().map(|folder| vec![button(&folder.name, "n", folder.id, "")]).collect();
            return Ok(MessageReply::post(post));
        };
        self.digest(turn, Wanted { folder, all, window: None }, trigger).await
    }

    /// A digest of a folder.
    pub(super) async fn digest(&self, turn: &Turn<'_>, wanted: Wanted, trigger: Trigger) -> Said {
        let readers = self.store().readers();
        if readers.sources(wanted.folder.id).await.map_err(away)?.is_empty() {
            let mut post = Post::text(turn.talk.with(Say::NoSources, &[("folder", &wanted.folder.name)]));
            post.choices = vec![vec![button(turn.talk.say(Say::ButtonAdd), "ad", 0, "")]];
            return Ok(turn.shown(post));
        }
        let began = Instant::now();
        let flights = &self.0.parts.state.flights;
        let mut flight = match flights.enter(turn.reader.id, wanted.folder.id, began) {
            Ok(flight) => flight,
            Err(Crowded::Since(since)) => {
                // An earlier try of this request, which a crash ended, may hold a place that is needed no more.
                self.release(&self.key(turn)).await;
                return Ok(MessageReply::text(turn.talk.count(Say::BeingMade, since.as_secs().max(1))));
            }
            Err(Crowded::Full) => return Err(Failure::Overloaded { retry_after: RETRY }),
        };
        flight.begin().await;
        let key = self.key(turn);
        let (_, plan) = self.plan(&turn.reader.plan);
        if let Some(said) = self.reserve(turn, &key, plan).await? {
            return said;
        }
        let told_in = turn.reader.told_in.clone();
        let job = Job {
            talk: turn.talk,
            reader: &turn.reader,
            folder: wanted.folder,
            key: &key,
            caller: turn.request.caller.clone(),
            quotas: turn.request.quotas.clone(),
            span: turn.request.span.clone(),
            filter: turn.request.filter.clone(),
            deadline: self.deadline(turn.request.deadline),
            conversation: &turn.message.conversation,
            class: 1,
            layout: Layout::of(&self.config().layout, turn.message.group),
            window: self.window_of(&turn.reader, plan, wanted.window),
            stories: self.stories_of(turn.reader.stories, plan),
            told_in,
            all: wanted.all,
            urgent: true,
            progress: self.phases(turn),
            fire: None,
            now: turn.now,
        };
        let made = Box::pin(self.make(&job)).await;
        if !matches!(made, Ok(Outcome::Given { .. } | Outcome::Alone(..))) {
            self.release(&key).await;
        }
        let outcome = made.as_ref().map_or("failed", Outcome::name);
        tracing::info!(
            request_id = %turn.request.id, trigger = ?trigger, outcome, took_ms = began.elapsed().as_millis(), "news"
        );
        Ok(match made? {
            Outcome::Given { .. } => MessageReply::default(),
            Outcome::Alone(posts, _) => MessageReply { posts, ..MessageReply::default() },
            Outcome::Unwanted => turn.text(Say::Cancelled),
            Outcome::Empty(digest) => nothing(&job, &digest, i64::from(plan.window_hours)),
            Outcome::Full => {
                self.0.parts.metrics.news_request("refused");
                return Err(Failure::Overloaded { retry_after: RETRY });
            }
        })
    }

    /// What the request is known by.
    fn key(&self, turn: &Turn<'_>) -> String {
        if turn.message.key.is_empty() { turn.request.id.to_string() } else { turn.message.key.to_string() }
    }

    pub(super) async fn release(&self, key: &str) {
        if let Err(error) = self.store().readers().release(key).await {
            tracing::warn!(%error, "a place in a quota is free only when its lease lapses");
        }
    }

    /// The day that a quota is counted in, and when the next one begins.
    pub(super) fn quota_day(&self, zone: &str, now: i64) -> (String, i64) {
        let zone = if self.config().quota_day == "user" { zone } else { "" };
        (days::day(now, zone), days::next_day(now, zone))
    }

    /// A place in the quota; where there is none, or no need of one, the answer.
    async fn reserve(&self, turn: &Turn<'_>, key: &str, plan: &PlanConfig) -> Result<Option<Said>, Failure> {
        let (day, renewed) = self.quota_day(&turn.reader.zone, turn.now);
        let now = now_ms();
        let reserve = Reserve {
            person: turn.reader.id,
            key,
            kind: BY_HAND,
            day: &day,
            most: plan.digests.into(),
            now,
            lease_until: now.saturating_add(ms(LEASE_SECS)),
        };
        match self.store().readers().reserve(&reserve).await.map_err(away)? {
            Reserved::Answered => Ok(Some(Ok(MessageReply::default()))),
            Reserved::Used(used) => {
                self.0.parts.metrics.news_request("refused");
                let (used, limit) = (used.to_string(), plan.digests.to_string());
                let when = days::clock(renewed, &turn.reader.zone);
                let values = [("used", used.as_str()), ("limit", &limit), ("when", &when)];
                Ok(Some(Ok(turn.with(Say::QuotaUsed, &values))))
            }
            Reserved::Unknown => Ok(Some(Ok(turn.text(Say::Gone)))),
            Reserved::Taken => match turn.request.quotas.spend(&turn.request.caller, Action::News).await {
                Ok(()) => Ok(None),
                Err(failure) => {
                    self.release(key).await;
                    self.0.parts.metrics.news_request("refused");
                    Err(failure)
                }
            },
            Reserved::Held => Ok(None),
        }
    }

    /// Makes a digest and commits it.
    pub(super) async fn make(&self, job: &Job<'_>) -> Result<Outcome, Failure> {
        let written = self.store().readers().sources(job.folder.id).await.map_err(away)?;
        let sources: Vec<Source> = written.iter().filter_map(|source| Source::read(source).ok()).collect();
        let asked = sources.len();
        let shown = if job.all { Shown::new() } else { self.shown_to(job.reader.id, job.now).await? };
        // What cannot be read any more holds nothing back.
        let filters = Arc::new(Filters::read(&job.folder.filters).unwrap_or_default());
        let (keeping, watching) = (filters.clone(), filters.clone());
        let ask = DigestAsk {
            caller: job.caller.clone(),
            quotas: job.quotas.clone(),
            span: job.span.clone(),
            deadline: job.deadline,
            sources,
            since: job.now.saturating_sub(job.window.saturating_mul(3_600_000)),
            stories: job.stories,
            language: (!job.told_in.is_empty()).then(|| Language::from_code(&job.told_in)),
            keeps: filters.holds_back().then(|| -> Keeps { Arc::new(move |post| keeping.keeps(post)) }),
            watches: filters.watches().then(|| -> Watches { Arc::new(move |post| watching.hits(post)) }),
            shown,
            urgent: job.urgent,
            progress: job.progress.clone(),
        };
        let digest = match (self.0.parts.cook)(ask).await {
            Ok(digest) => digest,
            // So it says that nobody wants it any more.
            Err(Failure::Conflict(_)) => return Ok(Outcome::Unwanted),
            Err(failure) => return Err(failure),
        };
        if !(job.progress.0)(Phase::Telling(digest.stories.len(), digest.stories.len())) {
            return Ok(Outcome::Unwanted);
        }
        if digest.stories.is_empty() {
            return Ok(Outcome::Empty(digest));
        }
        let digest = filtered(&job.filter, digest)?;
        let degraded = is_degraded(&digest);
        let charged = !degraded || self.config().charge_degraded;
        let told = Told {
            talk: &job.talk,
            folder: &job.folder.name,
            folder_id: job.folder.id,
            window_hours: job.window,
            sources: asked,
            layout: job.layout,
            free: !charged,
            menu: job.fire.is_none(),
        };
        let posts = told.posts(&digest);
        let how = Sending {
            caller: job.caller.id.to_string(),
            class: job.class,
            expires_at: now_ms().saturating_add(ms(self.config().expire_hours * 3600)),
        };
        // A door that is not open hands the posts on itself.
        let out = self.0.parts.doors.compose(job.conversation, &posts, &how);
        let marks = marks(&digest);
        let deliver = Deliver {
            person: job.reader.id,
            folder: job.folder.id,
            key: job.key,
            now: now_ms(),
            stories: digest.stories.len() as u64,
            degraded,
            charged,
            out: out.as_deref().unwrap_or_default(),
            rows: self.0.parts.rows,
            shown: &marks,
            fire: job.fire,
        };
        match self.commit(&deliver).await? {
            Delivered::Done if out.is_none() => Ok(Outcome::Alone(posts, degraded)),
            Delivered::Done | Delivered::Known => {
                self.0.parts.doors.wake(job.conversation);
                Ok(Outcome::Given { degraded })
            }
            Delivered::Full => Ok(Outcome::Full),
            Delivered::Lapsed => Err(Failure::DeadlineExceeded),
        }
    }

    /// Commits; while nobody knows whether it was done, it is asked again, which the key makes harmless.
    pub(super) async fn commit(&self, deliver: &Deliver<'_>) -> Result<Delivered, Failure> {
        let mut tries = 0;
        loop {
            match self.store().readers().deliver(deliver).await {
                Ok(delivered) => return Ok(delivered),
                Err(error) if tries + 1 >= COMMITS => return Err(away(error)),
                Err(error) => tracing::warn!(%error, "a digest is committed anew"),
            }
            tries += 1;
            sleep(Duration::from_secs(tries.into())).await;
        }
    }

    /// Posts that were shown to somebody.
    pub(super) async fn shown_to(&self, person: i64, now: i64) -> Result<Shown, Failure> {
        let since = now.saturating_sub(i64::from(self.config().shown_days) * 86_400_000);
        let shown = self.store().readers().shown(person, since).await.map_err(away)?;
        let read =
            |(hash, sources): (i64, i64)| (hash.cast_unsigned(), u32::try_from(sources).unwrap_or(u32::MAX));
        Ok(shown.into_iter().map(read).collect())
    }

    /// Hours that a digest looks back.
    pub(super) fn window_of(&self, reader: &ReaderRow, plan: &PlanConfig, wanted: Option<i64>) -> i64 {
        let own =
            if reader.window_hours > 0 { reader.window_hours } else { self.config().window_hours.into() };
        wanted.unwrap_or(own).clamp(1, plan.window_hours.into())
    }

    /// Stories of a digest.
    pub(super) fn stories_of(&self, own: i64, plan: &PlanConfig) -> usize {
        let own = usize::try_from(own).ok().filter(|own| *own > 0).unwrap_or(self.config().stories);
        own.min(plan.stories as usize)
    }

    /// Until when a digest must be there: something is left of the door's time for what follows.
    fn deadline(&self, door: Deadline) -> Deadline {
        let (now, own) = (Instant::now(), Duration::from_secs(self.config().deadline_secs));
        let left = door.instant().saturating_duration_since(now);
        Deadline::after(own.min(left.saturating_sub(MARGIN.min(left / 4))))
    }

    fn phases(&self, turn: &Turn<'_>) -> Phases {
        let (words, tongue) = (self.0.words.clone(), turn.talk.tongue);
        Phases::shown(turn.message.progress.clone(), move |phase| {
            let talk = super::Talk { words: &words, tongue };
            let of = |say, done: usize, all: usize| {
                talk.with(say, &[("done", &done.to_string()), ("all", &all.to_string())])
            };
            let mut post = Post::text(match phase {
                Phase::Fetching(done, all) => of(Say::PhaseFetching, done, all),
                Phase::Grouping => talk.say(Say::PhaseGrouping),
                Phase::Telling(done, all) => of(Say::PhaseTelling, done, all),
            });
            post.silent = true;
            post.choices = vec![vec![Button::new(talk.say(Say::ButtonCancel), Button::CANCEL)]];
            post
        })
    }
}

/// A digest to make.
pub(super) struct Job<'a> {
    pub(super) talk: Talk<'a>,
    pub(super) reader: &'a ReaderRow,
    pub(super) folder: FolderRow,
    /// What the request is known by.
    pub(super) key: &'a str,
    pub(super) caller: Caller,
    pub(super) quotas: Quotas,
    /// The span of the message it is for; what fires on schedule has none.
    pub(super) span: Option<Span>,
    /// What its words pass before they leave.
    pub(super) filter: Filter,
    pub(super) deadline: Deadline,
    pub(super) conversation: &'a str,
    /// How urgent its messages are.
    pub(super) class: u8,
    pub(super) layout: Layout,
    /// Hours.
    pub(super) window: i64,
    pub(super) stories: usize,
    /// Two letters; empty: as the posts.
    pub(super) told_in: String,
    /// Whether what was shown is shown again.
    pub(super) all: bool,
    /// Whether somebody waits.
    pub(super) urgent: bool,
    pub(super) progress: Phases,
    pub(super) fire: Option<Fire>,
    pub(super) now: i64,
}

/// What came of making a digest.
pub(super) enum Outcome {
    /// It is in the outbox.
    Given {
        /// Less than it should be.
        degraded: bool,
    },
    /// It is committed, and no door is open that would take it.
    Alone(Vec<Post>, bool),
    /// There is nothing to tell.
    Empty(Digest),
    /// Nobody wants it any more.
    Unwanted,
    /// The outbox has no room.
    Full,
}

impl Outcome {
    const fn name(&self) -> &'static str {
        match self {
            Self::Given { degraded: false } | Self::Alone(_, false) => "ok",
            Self::Given { degraded: true } | Self::Alone(_, true) => "degraded",
            Self::Empty(_) | Self::Unwanted => "empty",
            Self::Full => "refused",
        }
    }
}

/// Whether a digest is less than it should be because something failed.
pub(super) fn is_degraded(digest: &Digest) -> bool {
    digest.less.iter().any(|less| match less {
        Less::Extractive | Less::Lexical => true,
        Less::Late => false,
    })
}

/// What is kept of the posts that a digest shows.
pub(super) fn marks(digest: &Digest) -> Vec<(i64, i64)> {
    let story = |story: &crate::news::Story| {
        let sources = i64::try_from(story.links.len()).unwrap_or(i64::MAX);
        story.hashes.iter().map(move |hash| (hash.cast_signed(), sources)).collect::<Vec<_>>()
    };
    digest.stories.iter().flat_map(story).collect()
}

/// What is told passes the output filter, text by text.
fn filtered(filter: &Filter, mut digest: Digest) -> Result<Digest, Failure> {
    for story in &mut digest.stories {
        story.headline = filter.text(std::mem::take(&mut story.headline))?;
        for bullet in &mut story.bullets {
            *bullet = filter.text(std::mem::take(bullet))?;
        }
    }
    Ok(digest)
}

/// What is said where there is nothing to tell.
fn nothing(job: &Job<'_>, digest: &Digest, widest: i64) -> MessageReply {
    let (talk, asked, window) = (&job.talk, job.folder.sources, job.window);
    let mut page = Page::default();
    if digest.failed.len() as u64 >= asked {
        page.bold(&talk.say(Say::AllFailed)).line().say(&reasons(talk, &digest.failed));
    } else {
        let (hours, sources) = (talk.span(window), talk.count(Say::CountSources, asked));
        page.say(&talk.with(Say::NoNews, &[("window", &hours), ("sources", &sources)]));
        if !digest.failed.is_empty() {
            page.say("\n\n").say(&reasons(talk, &digest.failed));
        }
    }
    let mut post = page.post();
    let wider = (window * 3).min(widest);
    if wider > window {
        let label = talk.with(Say::ButtonWider, &[("window", &talk.span(wider))]);
        post.choices.push(vec![button(label, "n", job.folder.id, &wider.to_string())]);
    }
    post.choices.push(vec![button(talk.say(Say::ButtonAll), "na", job.folder.id, "")]);
    MessageReply::post(post)
}
