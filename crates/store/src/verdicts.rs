//! What people said over inspection: exceptions that an operator granted, and confirmations that senders used. Both carry
//! the moment they end; who reads them decides what has ended. Invariant: a confirmation is used once, whichever replica
//! hears it first.

use crate::{
    db::{Db, on},
    error::Result,
};

/// An exception from inspection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExceptionRow {
    /// Its name.
    pub id: String,
    /// Whose messages pass; none: everybody's.
    pub caller: Option<String>,
    /// Which text passes, as SHA-256 in hexadecimal digits; none: every text.
    pub digest: Option<String>,
    /// From when on, Unix milliseconds.
    pub since_ms: i64,
    /// Until when, Unix milliseconds.
    pub until_ms: i64,
    /// Why.
    pub reason: String,
    /// Who granted it.
    pub by: String,
}

/// Exceptions from inspection.
pub struct GuardExceptions<'a>(pub(crate) &'a Db);

type Row = (String, Option<String>, Option<String>, i64, i64, String, String);

impl GuardExceptions<'_> {
    /// Keeps one.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn add(&self, it: &ExceptionRow) -> Result<()> {
        let db = self.0;
        let sql = "INSERT INTO guard_exceptions (id, caller, digest, since, until, reason, set_by) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7)";
        db.call(async {
            on!(db, write pool => sqlx::query(sql)
                .bind(&it.id)
                .bind(&it.caller)
                .bind(&it.digest)
                .bind(it.since_ms)
                .bind(it.until_ms)
                .bind(&it.reason)
                .bind(&it.by)
                .execute(pool)
                .await
                .map(drop))
        })
        .await
    }

    /// All that are kept, ended ones included, the oldest first.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn list(&self) -> Result<Vec<ExceptionRow>> {
        let db = self.0;
        let sql = "SELECT id, caller, digest, since, until, reason, set_by FROM guard_exceptions \
                   ORDER BY since, id";
        let rows: Vec<Row> =
            db.call(async { on!(db, read pool => sqlx::query_as(sql).fetch_all(pool).await) }).await?;
        let read = |(id, caller, digest, since_ms, until_ms, reason, by): Row| ExceptionRow {
            id,
            caller,
            digest,
            since_ms,
            until_ms,
            reason,
            by,
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// Forgets one; says whether it was there. Of several replicas exactly one hears yes.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn remove(&self, id: &str) -> Result<bool> {
        let db = self.0;
        let sql = "DELETE FROM guard_exceptions WHERE id = $1";
        db.call(async {
            on!(db, write pool => {
                let gone = sqlx::query(sql).bind(id).execute(pool).await?;
                Ok(gone.rows_affected() == 1)
            })
        })
        .await
    }
}

/// Confirmations that were used.
pub struct Confirmations<'a>(pub(crate) &'a Db);

impl Confirmations<'_> {
    /// Notes that this one is used, good until that moment; false: it was used before. Those that are over are forgotten.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn spend(&self, id: &str, until_ms: i64, now_ms: i64) -> Result<bool> {
        let db = self.0;
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let over = "DELETE FROM confirmations WHERE until < $1";
                sqlx::query(over).bind(now_ms).execute(&mut *tx).await?;
                let sql = "INSERT INTO confirmations (id, until) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
                let noted = sqlx::query(sql).bind(id).bind(until_ms).execute(&mut *tx).await?;
                tx.commit().await?;
                Ok(noted.rows_affected() == 1)
            })
        })
        .await
    }
}
