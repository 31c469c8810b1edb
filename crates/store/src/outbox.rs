//! What goes out to chats, until it is known to have left. Invariants: nothing leaves silently, each row ends `sent`,
//! `dead` or `expired` with its reason; of each chat the oldest open row is sent, by one sender at a time; the text of
//! a message that was sent is forgotten.
//!
//! Source: news.md section 9.

use crate::{
    db::{Db, on},
    error::Result,
};

mod row;

pub use row::{Depth, NewOut, OutRow, OutState, Settle};
use row::{Row, read};

/// The sealed field, see [`crate::Seal`].
pub(crate) const PAYLOAD: &str = "outbox.payload";

/// The outbox.
pub struct Outbox<'a>(pub(crate) &'a Db);

macro_rules! columns {
    () => {
        "id, door, chat, caller, class, payload, state, created_at, expires_at, attempts, uncertain, reason"
    };
}

/// See `inbox::TAKE`. A chat is as urgent as the most urgent of its rows: what waits behind a row of no hurry would
/// wait with it otherwise. Of chats of one class the one whose head is oldest.
const TAKE: &str = concat!(
    "UPDATE outbox SET state = 'sending', lease_owner = $2, lease_until = $4 WHERE id IN (SELECT head.id \
     FROM (SELECT MIN(id) AS id, MIN(class) AS urgency FROM outbox WHERE door = $1 \
     AND state IN ('queued', 'sending') GROUP BY chat) AS line JOIN outbox AS head ON head.id = line.id \
     WHERE head.state = 'queued' AND head.not_before <= $3 AND line.urgency < $6 \
     ORDER BY line.urgency, head.id LIMIT $5) AND state = 'queued' RETURNING ",
    columns!()
);

const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM outbox WHERE ($1 = '' OR state = $1) AND ($2 = '' OR door = $2) ORDER BY id DESC LIMIT $3"
);

pub(crate) const INSERT: &str = "INSERT INTO outbox (door, chat, caller, class, payload, created_at, not_before, \
                                 expires_at) VALUES ($1, $2, $3, $4, $5, $6, $6, $7)";

pub(crate) const OPEN: &str = "SELECT COUNT(*) FROM outbox WHERE state IN ('queued', 'sending')";

/// Adds a row inside the transaction `$tx`.
macro_rules! insert_out {
    ($db:expr, $tx:expr, $new:expr) => {
        sqlx::query($crate::outbox::INSERT)
            .bind($new.door)
            .bind(&$new.chat)
            .bind(&$new.caller)
            .bind(i64::from($new.class))
            .bind($db.seal.seal($crate::outbox::PAYLOAD, &$new.payload))
            .bind($new.created_at)
            .bind($new.expires_at)
            .execute(&mut *$tx)
            .await?
    };
}
pub(crate) use insert_out;

/// Whether there is room for these rows, seen inside the transaction `$tx`.
macro_rules! room {
    ($tx:expr, $out:expr, $rows:expr) => {
        $out.is_empty() || {
            let (open,): (i64,) = sqlx::query_as($crate::outbox::OPEN).fetch_one(&mut *$tx).await?;
            let [max, reserve] = $rows.map(i64::from);
            let urgent = $out.iter().all(|new| new.class < 3);
            open + i64::try_from($out.len()).unwrap_or(i64::MAX) <= if urgent { max + reserve } else { max }
        }
    };
}
pub(crate) use room;

impl Outbox<'_> {
    /// Adds rows that answer no message of the inbox, all or none; says whether there was room (see
    /// [`crate::Inbox::finish`]).
    ///
    /// # Errors
    /// A database that is away.
    pub async fn add(&self, out: &[NewOut], rows: [u32; 2]) -> Result<bool> {
        let db = self.0;
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                if !room!(tx, out, rows) {
                    return tx.rollback().await.map(|()| false);
                }
                for new in out {
                    insert_out!(db, tx, new);
                }
                tx.commit().await.map(|()| true)
            })
        })
        .await
    }

    /// The oldest open row of each chat that may be sent now, at most `limit`, leased to `owner`; only of chats where
    /// something of a class below `below` waits.
    ///
    /// # Errors
    /// A database that is away; a row that is none.
    pub async fn take(
        &self,
        door: &str,
        owner: &str,
        now: i64,
        lease_until: i64,
        limit: u32,
        below: u8,
    ) -> Result<Vec<OutRow>> {
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
                    .bind(i64::from(below))
                    .fetch_all(pool)
                    .await)
            })
            .await?;
        let mut read_rows = Vec::with_capacity(rows.len());
        for row in rows {
            let mut row = read(row)?;
            match db.seal.open(PAYLOAD, std::mem::take(&mut row.payload)) {
                Ok(payload) => read_rows.push(OutRow { payload, ..row }),
                Err(error) => {
                    tracing::error!(%error, id = row.id, "a message that goes out cannot be read; it is dead");
                    self.settle(row.id, owner, &Settle::Dead { reason: "unreadable" }, now).await?;
                }
            }
        }
        read_rows.sort_unstable_by_key(|row| (row.class, row.id));
        Ok(read_rows)
    }

    /// Gives leased rows back untried, each until that moment in Unix milliseconds.
    ///
    /// # Errors
    /// A database that is away; the leases then lapse, and the outcomes count as unknown.
    pub async fn defer(&self, rows: &[(i64, i64)], owner: &str) -> Result<()> {
        let db = self.0;
        let sql = "UPDATE outbox SET state = 'queued', not_before = $3, lease_until = 0 \
                   WHERE id = $1 AND state = 'sending' AND lease_owner = $2";
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                for (id, until) in rows {
                    sqlx::query(sql).bind(id).bind(owner).bind(until).execute(&mut *tx).await?;
                }
                tx.commit().await
            })
        })
        .await
    }

    /// To whom the message was sent that the other side knows by that id, as far as it is remembered.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn sent_for(&self, door: &str, chat: &str, message_id: &str) -> Result<Option<String>> {
        let db = self.0;
        let sql = "SELECT caller FROM outbox WHERE door = $1 AND chat = $2 AND message_id = $3 \
                   AND message_id <> '' ORDER BY id DESC LIMIT 1";
        let found: Option<(String,)> = db
            .call(async {
                on!(db, read pool => sqlx::query_as(sql).bind(door).bind(chat).bind(message_id).fetch_optional(pool).await)
            })
            .await?;
        Ok(found.map(|(caller,)| caller))
    }

    /// Says how a try ended; false when the lease had lapsed and the row is somebody else's by now. A second unknown
    /// outcome is the last: the row is dead.
    ///
    /// # Errors
    /// A database that is away; the lease then lapses, and the outcome counts as unknown.
    pub async fn settle(&self, id: i64, owner: &str, how: &Settle<'_>, now: i64) -> Result<bool> {
        const SENT: &str = "UPDATE outbox SET state = 'sent', payload = '', message_id = $4, settled_at = $3, \
                            reason = '' WHERE id = $1 AND state = 'sending' AND lease_owner = $2";
        const LATER: &str = "UPDATE outbox SET state = 'queued', not_before = $3, reason = $4, \
                             attempts = attempts + $5 WHERE id = $1 AND state = 'sending' AND lease_owner = $2";
        const UNCERTAIN: &str = "UPDATE outbox SET state = CASE WHEN uncertain >= 1 THEN 'dead' ELSE 'queued' END, \
                                 uncertain = uncertain + 1, reason = 'outcome unknown', settled_at = $3, \
                                 not_before = $4 WHERE id = $1 AND state = 'sending' AND lease_owner = $2";
        const DEAD: &str = "UPDATE outbox SET state = 'dead', reason = $4, settled_at = $3 \
                            WHERE id = $1 AND state = 'sending' AND lease_owner = $2";
        let db = self.0;
        let done = db
            .call(async {
                on!(db, write pool => match how {
                    Settle::Sent { message_id } => {
                        sqlx::query(SENT).bind(id).bind(owner).bind(now).bind(*message_id).execute(pool).await
                            .map(|done| done.rows_affected())
                    }
                    Settle::Later { not_before, failed, reason } => {
                        sqlx::query(LATER).bind(id).bind(owner).bind(*not_before).bind(*reason)
                            .bind(i64::from(*failed)).execute(pool).await.map(|done| done.rows_affected())
                    }
                    Settle::Uncertain { not_before } => {
                        sqlx::query(UNCERTAIN).bind(id).bind(owner).bind(now).bind(*not_before).execute(pool).await
                            .map(|done| done.rows_affected())
                    }
                    Settle::Dead { reason } => {
                        sqlx::query(DEAD).bind(id).bind(owner).bind(now).bind(*reason).execute(pool).await
                            .map(|done| done.rows_affected())
                    }
                })
            })
            .await?;
        Ok(done == 1)
    }

    /// Rows whose sender went away: of the first time they are tried once more, of the second they are dead. How many.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn reclaim(&self, door: &str, now: i64) -> Result<u64> {
        let sql = "UPDATE outbox SET state = CASE WHEN uncertain >= 1 THEN 'dead' ELSE 'queued' END, \
                   uncertain = uncertain + 1, reason = 'outcome unknown', settled_at = $2 \
                   WHERE door = $1 AND state = 'sending' AND lease_until < $2";
        self.change(sql, door, now).await
    }

    /// The same for whatever others than that owner are sending, leased or not: they are known to be gone. The chats of
    /// those rows, each with its class.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn inherit(&self, door: &str, owner: &str, now: i64) -> Result<Vec<(String, i64)>> {
        let sql = "UPDATE outbox SET state = CASE WHEN uncertain >= 1 THEN 'dead' ELSE 'queued' END, \
                   uncertain = uncertain + 1, reason = 'outcome unknown', settled_at = $3 \
                   WHERE door = $1 AND state = 'sending' AND lease_owner <> $2 RETURNING chat, class";
        let db = self.0;
        db.call(async {
            on!(db, write pool => sqlx::query_as(sql).bind(door).bind(owner).bind(now).fetch_all(pool).await)
        })
        .await
    }

    /// Messages that left since that moment: chat, class and when, oldest first.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn recent(&self, door: &str, since: i64) -> Result<Vec<(String, i64, i64)>> {
        let sql = "SELECT chat, class, settled_at FROM outbox WHERE door = $1 AND state = 'sent' \
                   AND state NOT IN ('queued', 'sending') AND settled_at > $2 ORDER BY settled_at";
        let db = self.0;
        db.call(async {
            on!(db, read pool => sqlx::query_as(sql).bind(door).bind(since).fetch_all(pool).await)
        })
        .await
    }

    /// Ends rows that nobody needs any more; how many.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn expire(&self, door: &str, now: i64) -> Result<u64> {
        let sql = "UPDATE outbox SET state = 'expired', settled_at = $2, \
                   reason = CASE WHEN reason = '' THEN 'too late' ELSE reason END \
                   WHERE door = $1 AND state = 'queued' AND expires_at < $2";
        self.change(sql, door, now).await
    }

    async fn change(&self, sql: &'static str, door: &str, now: i64) -> Result<u64> {
        let db = self.0;
        db.call(async {
            on!(db, write pool => {
                sqlx::query(sql).bind(door).bind(now).execute(pool).await.map(|done| done.rows_affected())
            })
        })
        .await
    }

    /// Ends every waiting row of a chat; how many.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn end_chat(&self, door: &str, chat: &str, reason: &str, now: i64) -> Result<u64> {
        let sql = "UPDATE outbox SET state = 'dead', reason = $3, settled_at = $4 \
                   WHERE door = $1 AND chat = $2 AND state = 'queued'";
        self.end(sql, [door, chat, reason], now).await
    }

    /// Drops every waiting answer to somebody; how many.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn end_caller(&self, door: &str, caller: &str, reason: &str, now: i64) -> Result<u64> {
        let sql = "UPDATE outbox SET state = 'expired', reason = $3, settled_at = $4, payload = '' \
                   WHERE door = $1 AND caller = $2 AND state = 'queued'";
        self.end(sql, [door, caller, reason], now).await
    }

    async fn end(&self, sql: &'static str, [door, whom, reason]: [&str; 3], now: i64) -> Result<u64> {
        let db = self.0;
        db.call(async {
            on!(db, write pool => {
                let query = sqlx::query(sql).bind(door).bind(whom).bind(reason).bind(now);
                query.execute(pool).await.map(|done| done.rows_affected())
            })
        })
        .await
    }

    /// Rows, newest first; of one state and door where named. The text of one that cannot be opened is empty.
    ///
    /// # Errors
    /// A database that is away; a row that is none.
    pub async fn list(&self, state: Option<OutState>, door: Option<&str>, limit: u32) -> Result<Vec<OutRow>> {
        let db = self.0;
        let rows: Vec<Row> = db
            .call(async {
                on!(db, read pool => sqlx::query_as(LIST)
                    .bind(state.map_or("", OutState::as_str))
                    .bind(door.unwrap_or_default())
                    .bind(i64::from(limit))
                    .fetch_all(pool)
                    .await)
            })
            .await?;
        let opened = |row: Row| {
            let mut row = read(row)?;
            row.payload = db.seal.open(PAYLOAD, row.payload).unwrap_or_default();
            Ok(row)
        };
        rows.into_iter().map(opened).collect()
    }

    /// Queues a dead or expired row again, as if new; says whether there was one with a text to send.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn retry(&self, id: i64, now: i64, expires_at: i64) -> Result<bool> {
        let db = self.0;
        let sql = "UPDATE outbox SET state = 'queued', attempts = 0, uncertain = 0, not_before = $2, expires_at = $3, \
                   settled_at = 0, reason = '' WHERE id = $1 AND state IN ('dead', 'expired') AND payload <> ''";
        db.call(async {
            on!(db, write pool => {
                let done = sqlx::query(sql).bind(id).bind(now).bind(expires_at).execute(pool).await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// How full the outbox of a door is.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn depth(&self, door: &str) -> Result<Depth> {
        let db = self.0;
        let sql = "SELECT COUNT(*), MIN(created_at), CAST(COALESCE(SUM(created_at), 0) AS BIGINT) FROM outbox \
                   WHERE door = $1 AND state IN ('queued', 'sending')";
        let (rows, oldest, sum): (i64, Option<i64>, i64) = db
            .call(async { on!(db, read pool => sqlx::query_as(sql).bind(door).fetch_one(pool).await) })
            .await?;
        Ok(Depth { rows, oldest, sum })
    }

    /// Forgets rows that ended before that moment; how many.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn sweep(&self, before: i64) -> Result<u64> {
        let db = self.0;
        let sql = "DELETE FROM outbox WHERE state NOT IN ('queued', 'sending') AND settled_at < $1";
        db.call(async {
            on!(db, write pool => {
                sqlx::query(sql).bind(before).execute(pool).await.map(|done| done.rows_affected())
            })
        })
        .await
    }
}
