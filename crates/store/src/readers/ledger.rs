//! What digests cost and that each is given once. Invariants: live reservations and charges of a day never exceed what
//! was allowed when they were made; a charge exists exactly when its digest's messages are in the outbox, because one
//! transaction makes both; a key is answered by at most one digest.

use super::{Readers, change, count, lock, row, rows};
use crate::{
    db::on,
    error::Result,
    outbox::{NewOut, insert_out, room},
};
use std::collections::HashMap;

/// A place in a day's quota that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Reserve<'a> {
    /// For whom.
    pub person: i64,
    /// What the request is known by.
    pub key: &'a str,
    /// What is counted together, such as what was asked for by hand.
    pub kind: &'a str,
    /// Which day.
    pub day: &'a str,
    /// How many that day may have.
    pub most: u64,
    /// Now, Unix milliseconds.
    pub now: i64,
    /// From then on the place is free again by itself.
    pub lease_until: i64,
}

/// Whether there was one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// There is.
    Taken,
    /// An earlier try of the same request had it.
    Held,
    /// The request was answered already.
    Answered,
    /// So many are used, which are all.
    Used(u64),
    /// There is no such person.
    Unknown,
}

/// A digest to commit.
#[derive(Clone, Copy, Debug)]
pub struct Deliver<'a> {
    /// For whom.
    pub person: i64,
    /// Of which folder.
    pub folder: i64,
    /// What the request is known by.
    pub key: &'a str,
    /// Now, Unix milliseconds.
    pub now: i64,
    /// How many stories.
    pub stories: u64,
    /// Whether it is less than it should be.
    pub degraded: bool,
    /// Whether it costs its place in the quota.
    pub charged: bool,
    /// Its messages.
    pub out: &'a [NewOut],
    /// Room of the outbox, see [`crate::Inbox::finish`].
    pub rows: [u32; 2],
    /// Hashes of the posts that are shown, with the number of sources of their stories.
    pub shown: &'a [(i64, i64)],
    /// The planned minute it is made for, which ends with it.
    pub fire: Option<Fire>,
}

/// A planned minute of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fire {
    /// Of which schedule.
    pub schedule: i64,
    /// Which minute, Unix milliseconds.
    pub planned: i64,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// Its messages are in the outbox.
    Done,
    /// The request was answered before.
    Known,
    /// The outbox has no room.
    Full,
    /// Its place in the quota is gone, or its person.
    Lapsed,
}

const LIVE: &str = "SELECT COUNT(*) FROM news_ledger WHERE person = $1 AND kind = $2 AND day = $3 \
                    AND (state = 'charged' OR state = 'reserved' AND lease_until > $4)";

impl Readers<'_> {
    /// Takes a place in a day's quota.
    ///
    /// # Errors
    /// A database that is away: there is none then.
    pub async fn reserve(&self, it: &Reserve<'_>) -> Result<Reserved> {
        const ANSWERED: &str = "SELECT COUNT(*) FROM news_digests WHERE key = $1";
        const HELD: &str = "SELECT COUNT(*) FROM news_ledger WHERE key = $1 AND state = 'reserved'";
        const TAKE: &str = "INSERT INTO news_ledger (key, person, kind, day, state, lease_until, at) \
                            SELECT $1, $2, $3, $4, 'reserved', $5, $6 WHERE (SELECT COUNT(*) FROM news_ledger \
                            WHERE person = $2 AND kind = $3 AND day = $4 AND key <> $1 AND (state = 'charged' \
                            OR state = 'reserved' AND lease_until > $6)) < $7 ON CONFLICT (key) DO UPDATE SET \
                            state = 'reserved', lease_until = excluded.lease_until, day = excluded.day \
                            WHERE news_ledger.state <> 'charged' AND news_ledger.person = excluded.person";
        let (db, most) = (self.0, i64::try_from(it.most).unwrap_or(i64::MAX));
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                if !lock!(tx, it.person, it.now) {
                    return Ok(Reserved::Unknown);
                }
                let (answered,): (i64,) = sqlx::query_as(ANSWERED).bind(it.key).fetch_one(&mut *tx).await?;
                if answered > 0 {
                    return Ok(Reserved::Answered);
                }
                let (held,): (i64,) = sqlx::query_as(HELD).bind(it.key).fetch_one(&mut *tx).await?;
                let taken = sqlx::query(TAKE).bind(it.key).bind(it.person).bind(it.kind).bind(it.day)
                    .bind(it.lease_until).bind(it.now).bind(most).execute(&mut *tx).await?;
                if taken.rows_affected() == 1 {
                    return tx.commit().await.map(|()| if held > 0 { Reserved::Held } else { Reserved::Taken });
                }
                let (used,): (i64,) = sqlx::query_as(LIVE).bind(it.person).bind(it.kind).bind(it.day).bind(it.now)
                    .fetch_one(&mut *tx).await?;
                Ok(Reserved::Used(count(used)))
            })
        })
        .await
    }

    /// Gives a place back; nothing where it was charged.
    ///
    /// # Errors
    /// A database that is away; the place is then free when its lease lapses.
    pub async fn release(&self, key: &str) -> Result<()> {
        let sql = "UPDATE news_ledger SET state = 'released' WHERE key = $1 AND state = 'reserved'";
        change!(self.0, sql, key).map(drop)
    }

    /// How much of a day's quota is used or promised.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn used(&self, person: i64, kind: &str, day: &str, now: i64) -> Result<u64> {
        let found: Option<(i64,)> = row!(self.0, LIVE, person, kind, day, now)?;
        Ok(found.map_or(0, |(n,)| count(n)))
    }

    /// Commits a digest: that it was given, what it cost, its messages, what was shown, all or nothing.
    ///
    /// # Errors
    /// A database that is away: nothing was committed, or it was and the answer is lost; the key tells.
    pub async fn deliver(&self, it: &Deliver<'_>) -> Result<Delivered> {
        const GIVEN: &str = "INSERT INTO news_digests (key, person, folder, at, stories, degraded) \
                             SELECT $1, $2, $3, $4, $5, $6 WHERE EXISTS (SELECT 1 FROM news_people WHERE id = $2) \
                             ON CONFLICT (key) DO NOTHING";
        const KNOWN: &str = "SELECT COUNT(*) FROM news_digests WHERE key = $1";
        const CHARGE: &str = "UPDATE news_ledger SET state = $2 WHERE key = $1 AND state = 'reserved'";
        const SHOWN: &str = "INSERT INTO news_shown (person, hash, sources, at) VALUES ($1, $2, $3, $4) \
                             ON CONFLICT (person, hash) DO UPDATE SET sources = excluded.sources, at = excluded.at";
        const FIRED: &str = "UPDATE news_fires SET state = 'done' WHERE schedule = $1 AND planned = $2";
        const SOUND: &str = "UPDATE news_schedules SET fails = 0 WHERE id = $1";
        let (db, stories) = (self.0, i64::try_from(it.stories).unwrap_or(i64::MAX));
        let state = if it.charged { "charged" } else { "released" };
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let given = sqlx::query(GIVEN).bind(it.key).bind(it.person).bind(it.folder).bind(it.now)
                    .bind(stories).bind(i64::from(it.degraded)).execute(&mut *tx).await?;
                if given.rows_affected() != 1 {
                    let (known,): (i64,) = sqlx::query_as(KNOWN).bind(it.key).fetch_one(&mut *tx).await?;
                    return Ok(if known > 0 { Delivered::Known } else { Delivered::Lapsed });
                }
                let charge = sqlx::query(CHARGE).bind(it.key).bind(state).execute(&mut *tx).await?;
                if charge.rows_affected() != 1 {
                    return tx.rollback().await.map(|()| Delivered::Lapsed);
                }
                if !room!(tx, it.out, it.rows) {
                    return tx.rollback().await.map(|()| Delivered::Full);
                }
                for new in it.out {
                    insert_out!(db, tx, new);
                }
                for (hash, sources) in it.shown {
                    sqlx::query(SHOWN).bind(it.person).bind(hash).bind(sources).bind(it.now)
                        .execute(&mut *tx).await?;
                }
                if let Some(fire) = it.fire {
                    sqlx::query(FIRED).bind(fire.schedule).bind(fire.planned).execute(&mut *tx).await?;
                    sqlx::query(SOUND).bind(fire.schedule).execute(&mut *tx).await?;
                }
                tx.commit().await.map(|()| Delivered::Done)
            })
        })
        .await
    }

    /// Posts that were shown to somebody since then: hashes of their texts with the number of sources of their stories.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn shown(&self, person: i64, since: i64) -> Result<HashMap<i64, i64>> {
        let sql = "SELECT hash, sources FROM news_shown WHERE person = $1 AND at >= $2";
        let found: Vec<(i64, i64)> = rows!(self.0, sql, person, since)?;
        Ok(found.into_iter().collect())
    }

    /// How many digests were committed for somebody and how many of them were charged.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn given(&self, person: i64) -> Result<(u64, u64)> {
        let sql = "SELECT (SELECT COUNT(*) FROM news_digests WHERE person = $1), \
                   (SELECT COUNT(*) FROM news_ledger WHERE person = $1 AND state = 'charged')";
        let found: Option<(i64, i64)> = row!(self.0, sql, person)?;
        Ok(found.map_or((0, 0), |(given, charged)| (count(given), count(charged))))
    }

    /// Forgets what was shown, given and charged before that moment, and planned minutes of then; how many rows.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn sweep(&self, before: i64) -> Result<u64> {
        let db = self.0;
        let mut gone = change!(db, "DELETE FROM news_shown WHERE at < $1", before)?;
        gone += change!(db, "DELETE FROM news_digests WHERE at < $1", before)?;
        gone += change!(db, "DELETE FROM news_ledger WHERE at < $1", before)?;
        gone += change!(db, "DELETE FROM news_fires WHERE planned < $1", before)?;
        Ok(gone)
    }
}
