//! Makes digests on schedule. Invariants: a planned minute is a row before it is made, so that it is made once over
//! restarts and replicas; a schedule that failed five times running is paused and its owner told; a chat that cannot be
//! reached pauses its schedules. Source: news.md section 10.

use super::{
    People, away,
    compose::Layout,
    config::PlanConfig,
    days, ms,
    schedules::Times,
    serve::{Job, Outcome, SCHEDULED},
    tongue,
    words::Say,
};
use portcullis_domain::{Caller, Deadline, Failure, Post, Scope, Scopes};
use portcullis_engine::{
    Filter,
    messages::{Sending, now_ms},
};
use portcullis_store::{Fire, FireRow, ReaderRow, Reserve, Reserved, ScheduleRow, StoreError};
use std::{net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often is looked what is due.
const LOOK: Duration = Duration::from_secs(5);
/// How often it is looked whose sources are gone.
const GONE: Duration = Duration::from_secs(60);
/// How often old rows are swept.
const SWEEP: Duration = Duration::from_secs(3600);
/// Schedules that are planned at one look.
const BATCH: u32 = 500;
/// Minutes until a planned minute that failed is made again, try by try.
const AGAIN_MINS: [u64; 3] = [2, 8, 20];
/// Failed minutes, one after the other, that pause a schedule.
const FAILURES: u64 = 5;
/// Planned minutes that one look catches up with, of one schedule.
const CATCH_UP: usize = 2000;

/// Which app makes digests now; settings may replace it.
pub type Current = Arc<dyn Fn() -> Option<People> + Send + Sync>;

/// Plans and makes digests on schedule until `stop`; what is under way is ended before it returns.
pub async fn keep_schedules(current: Current, stop: CancellationToken) {
    let owner = format!("news-{:016x}", rand::random::<u64>());
    let (tasks, mut swept, mut looked) = (TaskTracker::new(), None::<Instant>, None::<Instant>);
    let mut places: Option<Arc<Semaphore>> = None;
    while !stop.is_cancelled() {
        if let Some(people) = current() {
            let room = places
                .get_or_insert_with(|| Arc::new(Semaphore::new(people.schedule_config().at_once as usize)));
            let now = now_ms();
            people.plan_due(now).await;
            people.fire(&owner, now, room, &tasks).await;
            if looked.is_none_or(|at| at.elapsed() >= GONE) {
                looked = Some(Instant::now());
                people.tell_gone(now).await;
            }
            if swept.is_none_or(|at| at.elapsed() >= SWEEP) {
                swept = Some(Instant::now());
                people.sweep(now).await;
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(LOOK) => {}
        }
    }
    tasks.close();
    tasks.wait().await;
}

impl People {
    /// Plans every minute that has come.
    pub(super) async fn plan_due(&self, now: i64) {
        let due = match self.store().readers().due(now, BATCH).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "schedules cannot be read");
                return;
            }
        };
        for row in due {
            if let Err(failure) = self.plan_one(&row, now).await {
                tracing::warn!(schedule = row.id, %failure, "a schedule is planned later");
            }
        }
    }

    async fn plan_one(&self, row: &ScheduleRow, now: i64) -> Result<(), Failure> {
        let readers = self.store().readers();
        let Some(times) = Times::of(&row.is) else {
            readers.pause_schedule(row.id, "failed", i64::MAX).await.map_err(away)?;
            return Ok(());
        };
        let late = i64::from(self.schedule_config().catch_up_hours) * 3_600_000;
        let mut planned = row.is.next_at;
        let first = times.next(planned.saturating_sub(1)).unwrap_or(i64::MAX);
        if first != planned {
            // It goes on from a moment that is none of its own: the minute in which its chat was lost.
            readers.pause_schedule(row.id, "", first).await.map_err(away)?;
            return Ok(());
        }
        for _ in 0..CATCH_UP {
            let next = times.next(planned).unwrap_or(i64::MAX);
            let fire = Fire { schedule: row.id, planned };
            // Of several that were missed only the last is made, and that only while it is worth it.
            let missed = next <= now || now - planned > late;
            if missed {
                tracing::info!(schedule = row.id, planned, "a digest on schedule was missed");
            }
            let begins = planned.saturating_add(self.offset(row.id));
            if !readers.plan(fire, begins, next, missed).await.map_err(away)? || next > now {
                return Ok(());
            }
            planned = next;
        }
        Ok(())
    }

    /// How much later a schedule begins, always by the same.
    fn offset(&self, schedule: i64) -> i64 {
        let jitter = u64::from(self.schedule_config().jitter_secs).saturating_mul(1000);
        if jitter == 0 {
            return 0;
        }
        let mixed = schedule.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        i64::try_from(mixed % jitter).unwrap_or_default()
    }

    /// Makes what is to be made now, as many as there are places.
    pub(super) async fn fire(&self, owner: &str, now: i64, places: &Arc<Semaphore>, tasks: &TaskTracker) {
        let free = u32::try_from(places.available_permits()).unwrap_or(u32::MAX);
        if free == 0 {
            return;
        }
        let lease = now.saturating_add(ms(self.config().deadline_secs.saturating_mul(2)));
        let fires = match self.store().readers().take_fires(owner, now, lease, free).await {
            Ok(fires) => fires,
            Err(error) => {
                tracing::warn!(%error, "what is planned cannot be read");
                return;
            }
        };
        for row in fires {
            let Ok(place) = places.clone().try_acquire_owned() else { break };
            let (people, owner) = (self.clone(), owner.to_owned());
            drop(tasks.spawn(async move {
                people.one(&owner, row).await;
                drop(place);
            }));
        }
    }

    async fn one(&self, owner: &str, row: FireRow) {
        let readers = self.store().readers();
        let ended = match Box::pin(self.scheduled(row.fire)).await {
            Ok(Ended::Given) => return,
            Ok(Ended::Nothing) => readers.end_fire(row.fire, owner, false).await.map(|_| 0),
            Ok(Ended::Postponed) => {
                readers.fire_later(row.fire, owner, now_ms() + ms(60 * AGAIN_MINS[0])).await.map(|_| 0)
            }
            Err(failure) => {
                tracing::warn!(schedule = row.fire.schedule, %failure, "a digest on schedule failed");
                let tried = usize::try_from(row.attempts).unwrap_or(usize::MAX);
                match AGAIN_MINS.get(tried.saturating_sub(1)) {
                    Some(mins) => {
                        readers.fire_later(row.fire, owner, now_ms() + ms(60 * mins)).await.map(|_| 0)
                    }
                    None => readers.end_fire(row.fire, owner, true).await,
                }
            }
        };
        match ended {
            Ok(fails) if fails >= FAILURES => self.give_up(row.fire.schedule).await,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "what came of a digest on schedule is found out later"),
        }
    }

    /// Pauses a schedule that failed too often, and tells its owner.
    async fn give_up(&self, schedule: i64) {
        let readers = self.store().readers();
        let paused = readers.pause_schedule(schedule, "failed", i64::MAX).await;
        let Ok(Some(row)) = readers.schedule(schedule).await else { return };
        let Ok(Some(reader)) = readers.get(row.is.person).await else { return };
        if paused.is_ok() {
            let talk = super::Talk { words: &self.0.words, tongue: tongue(Some(&reader.lang)) };
            let text = talk.with(Say::SchedulePausedNote, &[("cron", &row.is.cron)]);
            self.tell(&reader, &reader.conversation, Post::text(text), 1).await;
        }
    }

    /// Tells whoever follows a source that is gone for good, once.
    pub(super) async fn tell_gone(&self, now: i64) {
        let told = async {
            let readers = self.store().readers();
            for source in readers.untold(crate::news::GONE, BATCH).await? {
                if !readers.tell_gone(&source, now).await? {
                    continue;
                }
                for reader in readers.following(&source).await? {
                    let talk = super::Talk { words: &self.0.words, tongue: tongue(Some(&reader.lang)) };
                    let text = talk.with(Say::SourceGone, &[("source", &source)]);
                    self.tell(&reader, &reader.conversation, Post::text(text), 3).await;
                }
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = told.await {
            tracing::warn!(%error, "followers of sources that are gone are told later");
        }
    }

    /// Puts a post into the outbox; that there is no room is only noted.
    pub(super) async fn tell(&self, reader: &ReaderRow, conversation: &str, post: Post, class: u8) -> bool {
        let expires_at = now_ms().saturating_add(ms(self.config().expire_hours * 3600));
        let how = Sending { caller: reader.caller.clone(), class, expires_at };
        let Some(out) = self.0.parts.doors.compose(conversation, &[post], &how) else { return false };
        match self.store().outbox().add(&out, self.0.parts.rows).await {
            Ok(added) => {
                self.0.parts.doors.wake(conversation);
                added
            }
            Err(error) => {
                tracing::warn!(%error, "somebody cannot be told something");
                false
            }
        }
    }

    async fn scheduled(&self, fire: Fire) -> Result<Ended, Failure> {
        let readers = self.store().readers();
        let Some(row) = readers.schedule(fire.schedule).await.map_err(away)? else {
            return Ok(Ended::Nothing);
        };
        let Some(reader) = readers.get(row.is.person).await.map_err(away)? else { return Ok(Ended::Nothing) };
        if reader.banned || !row.paused.is_empty() {
            return Ok(Ended::Nothing);
        }
        if self.store().chats().unreachable_since(&row.is.target).await.map_err(away)?.is_some() {
            readers.pause_schedule(row.id, "unreachable", i64::MAX).await.map_err(away)?;
            return Ok(Ended::Nothing);
        }
        let folders = readers.folders(reader.id).await.map_err(away)?;
        let Some(folder) = folders.into_iter().find(|folder| folder.id == row.is.folder) else {
            return Ok(Ended::Nothing);
        };
        let (_, plan) = self.plan(&reader.plan);
        let key = format!("fire/{}/{}", fire.schedule, fire.planned);
        if let Some(ended) = self.place(&reader, &key, plan, fire).await? {
            return Ok(ended);
        }
        let scopes = Scopes::NONE.with(Scope::Chat);
        let caller = Caller::new(
            reader.caller.as_str().into(),
            self.tier_of(&reader),
            scopes,
            Ipv4Addr::UNSPECIFIED.into(),
        );
        let told_in = if row.is.told_in.is_empty() { &reader.told_in } else { &row.is.told_in };
        let own = if row.is.stories > 0 { row.is.stories } else { reader.stories };
        let group = row.is.target.contains("-");
        let layout = if row.is.layout.is_empty() { &self.config().layout } else { &row.is.layout };
        let job = Job {
            talk: super::Talk { words: &self.0.words, tongue: tongue(Some(&reader.lang)) },
            reader: &reader,
            folder,
            key: &key,
            caller,
            quotas: (self.0.parts.quotas)(),
            span: None,
            filter: Filter::OPEN,
            deadline: Deadline::after(Duration::from_secs(self.config().deadline_secs)),
            conversation: &row.is.target,
            class: 3,
            layout: Layout::of(layout, group),
            window: self.window_of(&reader, plan, None),
            stories: self.stories_of(own, plan),
            told_in: told_in.clone(),
            all: false,
            urgent: false,
            progress: crate::news::Phases::silent(),
            fire: Some(fire),
            now: now_ms(),
        };
        let made = Box::pin(self.make(&job)).await;
        if !matches!(made, Ok(Outcome::Given { .. })) {
            self.release(&key).await;
        }
        self.ended(made?, &job, &row).await
    }

    /// A place in the quota of schedules; where there is none, or no need of one, what came of the minute.
    async fn place(
        &self,
        reader: &ReaderRow,
        key: &str,
        plan: &PlanConfig,
        fire: Fire,
    ) -> Result<Option<Ended>, Failure> {
        let (day, _) = self.quota_day(&reader.zone, fire.planned);
        let now = now_ms();
        let reserve = Reserve {
            person: reader.id,
            key,
            kind: SCHEDULED,
            day: &day,
            most: plan.scheduled.into(),
            now,
            lease_until: now.saturating_add(ms(self.config().deadline_secs.saturating_mul(2))),
        };
        Ok(match self.store().readers().reserve(&reserve).await.map_err(away)? {
            Reserved::Taken | Reserved::Held => None,
            Reserved::Answered => Some(Ended::Given),
            Reserved::Used(_) | Reserved::Unknown => {
                self.0.parts.metrics.news_request("refused");
                Some(Ended::Nothing)
            }
        })
    }

    /// What came of a planned minute, and what is said of it.
    async fn ended(&self, outcome: Outcome, job: &Job<'_>, row: &ScheduleRow) -> Result<Ended, Failure> {
        match outcome {
            Outcome::Given { .. } => Ok(Ended::Given),
            Outcome::Full | Outcome::Alone(..) => Ok(Ended::Postponed),
            Outcome::Unwanted => Ok(Ended::Nothing),
            Outcome::Empty(digest) if !digest.failed.is_empty() && digest.posts == 0 => {
                Err(Failure::Unavailable { retry_after: super::RETRY, rate_limited: false })
            }
            Outcome::Empty(_) => {
                if row.is.if_empty == "note" {
                    let planned = job.fire.map_or(job.now, |fire| fire.planned);
                    let when = days::clock(planned, &row.is.zone);
                    let values = [("folder", job.folder.name.as_str()), ("when", &when)];
                    let text = job.talk.with(Say::ScheduleEmpty, &values);
                    let post = Post { silent: true, ..Post::text(text) };
                    self.tell(job.reader, &row.is.target, post, 3).await;
                }
                Ok(Ended::Nothing)
            }
        }
    }

    async fn sweep(&self, now: i64) {
        let before = now.saturating_sub(i64::from(self.config().shown_days) * 86_400_000);
        if let Err(error) = self.store().readers().sweep(before).await {
            tracing::debug!(%error, "old rows of news stay for now");
        }
    }
}

/// What came of a planned minute.
enum Ended {
    /// Its digest is committed, and the minute ended with it.
    Given,
    /// There was nothing to give.
    Nothing,
    /// There is no room now.
    Postponed,
}
