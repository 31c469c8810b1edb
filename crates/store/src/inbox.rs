//! What chat doors took in, until it is answered. Invariants: a message is kept once, however often it arrives; of
//! each conversation the oldest open message is worked on, by one worker at a time; what answers it is kept in the
//! transaction that ends it.
//!
//! Source: news.md sections 9 and 11, ask.md section 2.

use crate::{
    db::{Db, on},
    error::Result,
    outbox::{NewOut, insert_out, room},
};

/// The sealed field, see [`crate::Seal`].
pub(crate) const PAYLOAD: &str = "inbox.payload";

/// The inbox.
pub struct Inbox<'a>(pub(crate) &'a Db);

/// A message to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIn {
    /// Which door.
    pub door: &'static str,
    /// What it is known by at that door.
    pub key: String,
    /// What it belongs to; one message of it is worked on at a time.
    pub conversation: String,
    /// Who wrote it.
    pub caller: String,
    /// The door's own form of it.
    pub payload: String,
    /// When, Unix milliseconds.
    pub received_at: i64,
}

/// What became of a message that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It waits to be answered.
    New,
    /// It had been here before.
    Known,
    /// Too many of its conversation wait; it will not be answered, and not be taken for new again.
    Full,
}

/// A message to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InRow {
    /// Its number.
    pub id: i64,
    /// What it is known by at its door.
    pub key: String,
    /// What it belongs to.
    pub conversation: String,
    /// Who wrote it.
    pub caller: String,
    /// The door's own form of it.
    pub payload: String,
    /// How often it was begun, this time included.
    pub attempts: i64,
    /// When it arrived, Unix milliseconds.
    pub received_at: i64,
}

/// How the end of a message was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It is done and its answers are in the outbox.
    Done,
    /// Another worker has it by now, or it was taken back: nothing was changed.
    Gone,
    /// The outbox has no room: nothing was changed.
    Full,
}

type Row = (i64, String, String, String, String, i64, i64);

const KEEP: &str = "INSERT INTO inbox (door, key, conversation, caller, payload, state, received_at) \
    SELECT $1, $2, $3, $4, CASE WHEN waiting >= $7 THEN '' ELSE $5 END, \
    CASE WHEN waiting >= $7 THEN 'done' ELSE 'queued' END, $6 FROM \
    (SELECT COUNT(*) AS waiting FROM inbox WHERE door = $1 AND conversation = $3 AND state <> 'done') AS line \
    WHERE true ON CONFLICT (door, key) DO NOTHING RETURNING state";

const MARK: &str = "INSERT INTO meta (name, value, note) VALUES ($1, $2, '') \
    ON CONFLICT (name) DO UPDATE SET value = excluded.value";

/// The second condition on `state` is for another replica that was faster: Postgres looks at it again after waiting.
const TAKE: &str = "UPDATE inbox SET state = 'working', lease_owner = $2, lease_until = $4, attempts = attempts + 1 \
    WHERE id IN (SELECT head.id FROM inbox AS head WHERE head.door = $1 AND head.state <> 'done' \
    AND (head.state = 'queued' OR head.lease_until < $3) \
    AND NOT EXISTS (SELECT 1 FROM inbox AS older WHERE older.door = head.door \
    AND older.conversation = head.conversation AND older.state <> 'done' AND older.id < head.id) \
    ORDER BY head.id LIMIT $5) AND (state = 'queued' OR lease_until < $3) \
    RETURNING id, key, conversation, caller, payload, attempts, received_at";

/// A message whose text cannot be opened is ended: it can never be answered, and would hold up its conversation.
const UNREADABLE: &str = "UPDATE inbox SET state = 'done', payload = '', lease_until = 0 WHERE id = $1";

const DONE: &str = "UPDATE inbox SET state = 'done', payload = '', lease_until = 0 \
                    WHERE id = $1 AND state = 'working' AND lease_owner = $2";

impl Inbox<'_> {
    /// Keeps a message unless it is known, or `max_waiting` others of its conversation are open.
    ///
    /// # Errors
    /// A database that is away: the message was not kept.
    pub async fn keep(&self, new: &NewIn, max_waiting: u32) -> Result<Kept> {
        let kept = self.keep_all(std::slice::from_ref(new), max_waiting, None).await?;
        Ok(kept.first().copied().unwrap_or(Kept::Known))
    }

    /// Keeps messages likewise, and with them how far a door has read: a number under a name, as [`crate::Store::note`]
    /// shows it. One transaction: all or nothing.
    ///
    /// # Errors
    /// A database that is away: nothing was kept.
    pub async fn keep_all(
        &self,
        batch: &[NewIn],
        max_waiting: u32,
        mark: Option<(&str, i64)>,
    ) -> Result<Vec<Kept>> {
        let db = self.0;
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let mut out = Vec::with_capacity(batch.len());
                for new in batch {
                    let state: Option<(String,)> = sqlx::query_as(KEEP)
                        .bind(new.door)
                        .bind(&new.key)
                        .bind(&new.conversation)
                        .bind(&new.caller)
                        .bind(db.seal.seal(PAYLOAD, &new.payload))
                        .bind(new.received_at)
                        .bind(i64::from(max_waiting))
                        .fetch_optional(&mut *tx)
                        .await?;
                    out.push(match state {
                        None => Kept::Known,
                        Some((state,)) if state == "queued" => Kept::New,
                        Some(_) => Kept::Full,
                    });
                }
                if let Some((name, value)) = mark {
                    sqlx::query(MARK).bind(name).bind(value).execute(&mut *tx).await?;
                }
                tx.commit().await.map(|()| out)
            })
        })
        .await
    }

    /// Puts other words into a message that waits; says whether it still did.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn replace(&self, door: &str, key: &str, payload: &str) -> Result<bool> {
        let db = self.0;
        let payload = db.seal.seal(PAYLOAD, payload);
        let sql = "UPDATE inbox SET payload = $3 WHERE door = $1 AND key = $2 AND state = 'queued'";
        db.call(async {
            on!(db, write pool => {
                let done = sqlx::query(sql).bind(door).bind(key).bind(&payload).execute(pool).await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Takes back a message that waits; says whether it still did.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn take_back(&self, door: &str, key: &str) -> Result<bool> {
        let db = self.0;
        let sql =
            "UPDATE inbox SET state = 'done', payload = '' WHERE door = $1 AND key = $2 AND state = 'queued'";
        db.call(async {
            on!(db, write pool => {
                let done = sqlx::query(sql).bind(door).bind(key).execute(pool).await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Takes back every message of somebody that waits; how many.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn take_back_all(&self, door: &str, caller: &str) -> Result<u64> {
        let db = self.0;
        let sql = "UPDATE inbox SET state = 'done', payload = '' WHERE door = $1 AND caller = $2 AND state = 'queued'";
        db.call(async {
            on!(db, write pool => {
                sqlx::query(sql).bind(door).bind(caller).execute(pool).await.map(|done| done.rows_affected())
            })
        })
        .await
    }

    /// The oldest open message of each conversation that nobody works on, at most `limit`, leased to `owner`. Oldest
    /// conversation first.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn take(
        &self,
        door: &str,
        owner: &str,
        now: i64,
        lease_until: i64,
        limit: u32,
    ) -> Result<Vec<InRow>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let db = self.0;
        let rows: Vec<Row> = db
            .call(async {
                on!(db, write pool => sqlx::query_as(TAKE)
                    .bind(door)
                    .bind(owner)
                    .bind(now)
                    .bind(lease_until)
                    .bind(i64::from(limit))
                    .fetch_all(pool)
                    .await)
            })
            .await?;
        let mut read = Vec::with_capacity(rows.len());
        for (id, key, conversation, caller, payload, attempts, received_at) in rows {
            match db.seal.open(PAYLOAD, payload) {
                Ok(payload) => {
                    read.push(InRow { id, key, conversation, caller, payload, attempts, received_at });
                }
                Err(error) => {
                    tracing::error!(%error, id, "a message that came in cannot be read; it is not answered");
                    db.call(async {
                        on!(db, write pool => sqlx::query(UNREADABLE).bind(id).execute(pool).await.map(drop))
                    })
                    .await?;
                }
            }
        }
        let mut rows = read;
        // What an UPDATE returns has no order.
        rows.sort_unstable_by_key(|row| row.id);
        Ok(rows)
    }

    /// Ends a message and keeps its answers, in one transaction. Classes of 3 and above find no room from `max_rows`
    /// open rows of the outbox on, others from `max_rows + reserve_rows` on.
    ///
    /// # Errors
    /// A database that is away: nothing was changed.
    pub async fn finish(&self, id: i64, owner: &str, out: &[NewOut], rows: [u32; 2]) -> Result<Finished> {
        let db = self.0;
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let done = sqlx::query(DONE).bind(id).bind(owner).execute(&mut *tx).await?;
                if done.rows_affected() != 1 {
                    return tx.rollback().await.map(|()| Finished::Gone);
                }
                if !room!(tx, out, rows) {
                    return tx.rollback().await.map(|()| Finished::Full);
                }
                for new in out {
                    insert_out!(db, tx, new);
                }
                tx.commit().await.map(|()| Finished::Done)
            })
        })
        .await
    }

    /// Gives a leased message back, to be begun anew.
    ///
    /// # Errors
    /// A database that is away; the lease then lapses by itself.
    pub async fn give_back(&self, id: i64, owner: &str) -> Result<()> {
        let db = self.0;
        let sql = "UPDATE inbox SET state = 'queued', lease_until = 0 \
                   WHERE id = $1 AND state = 'working' AND lease_owner = $2";
        db.call(async {
            on!(db, write pool => sqlx::query(sql).bind(id).bind(owner).execute(pool).await.map(drop))
        })
        .await
    }

    /// Messages whose worker went away wait again; how many.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn reclaim(&self, door: &str, now: i64) -> Result<u64> {
        let db = self.0;
        let sql = "UPDATE inbox SET state = 'queued', lease_until = 0 \
                   WHERE door = $1 AND state = 'working' AND lease_until < $2";
        db.call(async {
            on!(db, write pool => {
                sqlx::query(sql).bind(door).bind(now).execute(pool).await.map(|done| done.rows_affected())
            })
        })
        .await
    }

    /// The same for whatever others than that owner work on, leased or not: they are known to be gone.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn inherit(&self, door: &str, owner: &str) -> Result<u64> {
        let db = self.0;
        let sql = "UPDATE inbox SET state = 'queued', lease_until = 0 \
                   WHERE door = $1 AND state = 'working' AND lease_owner <> $2";
        db.call(async {
            on!(db, write pool => {
                sqlx::query(sql).bind(door).bind(owner).execute(pool).await.map(|done| done.rows_affected())
            })
        })
        .await
    }

    /// Whether messages of a conversation wait that arrived after that one.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn newer(&self, id: i64, door: &str, conversation: &str) -> Result<bool> {
        let db = self.0;
        let sql = "SELECT id FROM inbox WHERE door = $1 AND conversation = $2 AND id > $3 AND state <> 'done' LIMIT 1";
        let found: Option<(i64,)> = db
            .call(async {
                on!(db, read pool => sqlx::query_as(sql).bind(door).bind(conversation).bind(id).fetch_optional(pool).await)
            })
            .await?;
        Ok(found.is_some())
    }

    /// Messages of a door that are open.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn open(&self, door: &str) -> Result<i64> {
        let db = self.0;
        let sql = "SELECT COUNT(*) FROM inbox WHERE door = $1 AND state <> 'done'";
        let (count,): (i64,) = db
            .call(async { on!(db, read pool => sqlx::query_as(sql).bind(door).fetch_one(pool).await) })
            .await?;
        Ok(count)
    }

    /// Forgets messages that are done and arrived before that moment; how many.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn sweep(&self, before: i64) -> Result<u64> {
        let db = self.0;
        let sql = "DELETE FROM inbox WHERE state = 'done' AND received_at < $1";
        db.call(async {
            on!(db, write pool => {
                sqlx::query(sql).bind(before).execute(pool).await.map(|done| done.rows_affected())
            })
        })
        .await
    }
}
