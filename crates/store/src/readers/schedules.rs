//! Schedules and their planned minutes. Invariants: a planned minute is a row before it is made, so it is made once over
//! restarts and replicas; who makes it holds a lease; a schedule that is paused plans nothing.

use super::{Fire, Readers, change, count, damaged, lock, returning, row, rows};
use crate::{db::on, error::Result};

/// A schedule to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSchedule {
    /// Whose.
    pub person: i64,
    /// Of which folder.
    pub folder: i64,
    /// When, in the app's own form.
    pub cron: String,
    /// In which zone.
    pub zone: String,
    /// Where to: a conversation.
    pub target: String,
    /// Most stories; 0: as the person has it.
    pub stories: i64,
    /// How it looks; empty: as the door has it.
    pub layout: String,
    /// In which language; empty: as the person has it.
    pub told_in: String,
    /// Quiet hours, in the app's own form; empty: none.
    pub quiet: String,
    /// What is done when there is nothing.
    pub if_empty: String,
    /// Its first minute, Unix milliseconds.
    pub next_at: i64,
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRow {
    /// Its number.
    pub id: i64,
    /// What it is; its next minute is the one planned now.
    pub is: NewSchedule,
    /// Why it is paused; empty: it is not.
    pub paused: String,
    /// Minutes that failed, one after the other.
    pub fails: u64,
}

/// A planned minute that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FireRow {
    /// Which.
    pub fire: Fire,
    /// How often it was begun, this time included.
    pub attempts: u64,
}

type Row = (i64, i64, i64, String, String, String, i64, String, String, String, String, i64, String, i64);

macro_rules! columns {
    () => {
        "id, person, folder, cron, zone, target, stories, layout, told_in, quiet, if_empty, next_at, paused, fails"
    };
}

fn read(row: Row) -> ScheduleRow {
    let (
        id,
        person,
        folder,
        cron,
        zone,
        target,
        stories,
        layout,
        told_in,
        quiet,
        if_empty,
        next_at,
        paused,
        fails,
    ) = row;
    let is = NewSchedule {
        person,
        folder,
        cron,
        zone,
        target,
        stories,
        layout,
        told_in,
        quiet,
        if_empty,
        next_at,
    };
    ScheduleRow { id, is, paused, fails: count(fails) }
}

impl Readers<'_> {
    /// Keeps a schedule unless there are `most` of that person; its number.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn add_schedule(&self, new: &NewSchedule, most: u64, now: i64) -> Result<Option<i64>> {
        const SQL: &str = "INSERT INTO news_schedules (person, folder, cron, zone, target, stories, layout, told_in, \
                           quiet, if_empty, next_at, created_at) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, \
                           $12 WHERE (SELECT COUNT(*) FROM news_schedules WHERE person = $1) < $13 \
                           AND EXISTS (SELECT 1 FROM news_folders WHERE id = $2 AND person = $1) RETURNING id";
        let (db, most) = (self.0, i64::try_from(most).unwrap_or(i64::MAX));
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let _known = lock!(tx, new.person, now);
                let made: Option<(i64,)> = sqlx::query_as(SQL).bind(new.person).bind(new.folder).bind(&new.cron)
                    .bind(&new.zone).bind(&new.target).bind(new.stories).bind(&new.layout).bind(&new.told_in)
                    .bind(&new.quiet).bind(&new.if_empty).bind(new.next_at).bind(now).bind(most)
                    .fetch_optional(&mut *tx).await?;
                tx.commit().await.map(|()| made.map(|(id,)| id))
            })
        })
        .await
    }

    /// Somebody's schedules, the oldest first.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn schedules(&self, person: i64) -> Result<Vec<ScheduleRow>> {
        const SQL: &str =
            concat!("SELECT ", columns!(), " FROM news_schedules WHERE person = $1 ORDER BY id");
        let found: Vec<Row> = rows!(self.0, SQL, person)?;
        Ok(found.into_iter().map(read).collect())
    }

    /// A schedule.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn schedule(&self, id: i64) -> Result<Option<ScheduleRow>> {
        const SQL: &str = concat!("SELECT ", columns!(), " FROM news_schedules WHERE id = $1");
        let found: Option<Row> = row!(self.0, SQL, id)?;
        Ok(found.map(read))
    }

    /// Changes one that is somebody's: what it is, with its next minute; says whether it is theirs.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn change_schedule(&self, id: i64, to: &NewSchedule) -> Result<bool> {
        let sql = "UPDATE news_schedules SET cron = $3, zone = $4, target = $5, stories = $6, layout = $7, \
                   told_in = $8, quiet = $9, if_empty = $10, next_at = $11 WHERE id = $1 AND person = $2";
        let done = change!(
            self.0,
            sql,
            id,
            to.person,
            &to.cron,
            &to.zone,
            &to.target,
            to.stories,
            &to.layout,
            &to.told_in,
            &to.quiet,
            &to.if_empty,
            to.next_at
        );
        Ok(done? == 1)
    }

    /// Deletes one that is somebody's; says whether there was one.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn delete_schedule(&self, person: i64, id: i64) -> Result<bool> {
        let sql = "DELETE FROM news_schedules WHERE id = $2 AND person = $1";
        Ok(change!(self.0, sql, person, id)? == 1)
    }

    /// Pauses a schedule for that reason, or lets it go on from that minute; says whether there is one.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn pause_schedule(&self, id: i64, reason: &str, next_at: i64) -> Result<bool> {
        let sql = "UPDATE news_schedules SET paused = $2, fails = 0, next_at = $3 WHERE id = $1";
        Ok(change!(self.0, sql, id, reason, next_at)? == 1)
    }

    /// Schedules whose next minute is at or before that moment, the earliest first.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn due(&self, now: i64, limit: u32) -> Result<Vec<ScheduleRow>> {
        const SQL: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM news_schedules WHERE paused = '' AND next_at <= $1 ORDER BY next_at, id LIMIT $2"
        );
        let found: Vec<Row> = rows!(self.0, SQL, now, i64::from(limit))?;
        Ok(found.into_iter().map(read).collect())
    }

    /// Plans a minute and moves its schedule on to the next; false when somebody else did. One that is missed is only
    /// noted.
    ///
    /// # Errors
    /// A database that is away: neither was done.
    pub async fn plan(&self, fire: Fire, not_before: i64, next_at: i64, missed: bool) -> Result<bool> {
        const MOVE: &str =
            "UPDATE news_schedules SET next_at = $3 WHERE id = $1 AND next_at = $2 AND paused = ''";
        const PLAN: &str = "INSERT INTO news_fires (schedule, planned, state, not_before) VALUES ($1, $2, $3, $4) \
                            ON CONFLICT (schedule, planned) DO NOTHING";
        let (db, state) = (self.0, if missed { "missed" } else { "queued" });
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let moved = sqlx::query(MOVE).bind(fire.schedule).bind(fire.planned).bind(next_at)
                    .execute(&mut *tx).await?;
                if moved.rows_affected() != 1 {
                    return Ok(false);
                }
                let planned = sqlx::query(PLAN).bind(fire.schedule).bind(fire.planned).bind(state)
                    .bind(not_before).execute(&mut *tx).await?;
                tx.commit().await.map(|()| planned.rows_affected() == 1)
            })
        })
        .await
    }

    /// Planned minutes that are to be made now, leased to `owner`: those that wait, and those whose maker went away.
    ///
    /// # Errors
    /// A database that is away; a row that is none.
    pub async fn take_fires(
        &self,
        owner: &str,
        now: i64,
        lease_until: i64,
        limit: u32,
    ) -> Result<Vec<FireRow>> {
        const TAKE: &str = "UPDATE news_fires SET state = 'running', attempts = attempts + 1, lease_owner = $1, \
                            lease_until = $3 WHERE (schedule, planned) IN (SELECT schedule, planned FROM news_fires \
                            WHERE state IN ('queued', 'running') AND not_before <= $2 AND (state = 'queued' \
                            OR lease_until < $2) ORDER BY not_before LIMIT $4) AND (state = 'queued' \
                            OR state = 'running' AND lease_until < $2) RETURNING schedule, planned, attempts";
        let found: Vec<(i64, i64, i64)> =
            returning!(self.0, TAKE, owner, now, lease_until, i64::from(limit))?;
        let read = |(schedule, planned, attempts)| {
            let attempts = u64::try_from(attempts).map_err(|_| damaged())?;
            Ok(FireRow { fire: Fire { schedule, planned }, attempts })
        };
        let mut fires = found.into_iter().map(read).collect::<Result<Vec<_>>>()?;
        fires.sort_unstable_by_key(|row| (row.fire.planned, row.fire.schedule));
        Ok(fires)
    }

    /// Has a planned minute made again later.
    ///
    /// # Errors
    /// A database that is away; its lease then lapses.
    pub async fn fire_later(&self, fire: Fire, owner: &str, not_before: i64) -> Result<bool> {
        let sql = "UPDATE news_fires SET state = 'queued', not_before = $4 WHERE schedule = $1 AND planned = $2 \
                   AND state = 'running' AND lease_owner = $3";
        Ok(change!(self.0, sql, fire.schedule, fire.planned, owner, not_before)? == 1)
    }

    /// Ends a planned minute without a digest; how often its schedule failed now, one after the other.
    ///
    /// # Errors
    /// A database that is away; its lease then lapses.
    pub async fn end_fire(&self, fire: Fire, owner: &str, failed: bool) -> Result<u64> {
        const END: &str = "UPDATE news_fires SET state = $4 WHERE schedule = $1 AND planned = $2 \
                           AND state = 'running' AND lease_owner = $3";
        const FAIL: &str = "UPDATE news_schedules SET fails = CASE WHEN $2 = 1 THEN fails + 1 ELSE 0 END \
                            WHERE id = $1 RETURNING fails";
        let db = self.0;
        let state = if failed { "failed" } else { "empty" };
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let ended = sqlx::query(END).bind(fire.schedule).bind(fire.planned).bind(owner).bind(state)
                    .execute(&mut *tx).await?;
                if ended.rows_affected() != 1 {
                    return Ok(0);
                }
                let fails: Option<(i64,)> = sqlx::query_as(FAIL).bind(fire.schedule).bind(i64::from(failed))
                    .fetch_optional(&mut *tx).await?;
                tx.commit().await.map(|()| fails.map_or(0, |(n,)| count(n)))
            })
        })
        .await
    }

    /// Planned minutes of a schedule with what became of them, the newest first.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn fires(&self, schedule: i64, limit: u32) -> Result<Vec<(i64, String)>> {
        let sql = "SELECT planned, state FROM news_fires WHERE schedule = $1 ORDER BY planned DESC LIMIT $2";
        rows!(self.0, sql, schedule, i64::from(limit))
    }
}
