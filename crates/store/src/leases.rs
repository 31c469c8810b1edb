//! What one replica at a time does, such as asking a messenger for news or starting what is due: a lease under a name.
//! Invariant: of all who ask for a lease at one moment at most one holds it; a holder that went away is followed by
//! another once its time is over. Who holds a lease renews it well before its end, and stops its work when it cannot.
//!
//! Source: news.md sections 2 and 10.

use crate::{
    db::{Db, on},
    error::Result,
};

/// Leases.
pub struct Leases<'a>(pub(crate) &'a Db);

impl Leases<'_> {
    /// Takes the lease of that name until then (Unix milliseconds), when it is free, lapsed before `now`, or already
    /// that owner's; says whether it is the owner's now. Owners are told apart by their texts, so a process names
    /// itself by something nobody else has.
    ///
    /// # Errors
    /// A database that is away: nobody knows whether it was taken, and it counts as not taken.
    pub async fn take(&self, name: &str, owner: &str, now: i64, until: i64) -> Result<bool> {
        let db = self.0;
        let sql = "INSERT INTO leases (name, owner, until) VALUES ($1, $2, $4) \
                   ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until \
                   WHERE leases.owner = excluded.owner OR leases.until < $3";
        db.call(async {
            on!(db, write pool => {
                let done = sqlx::query(sql).bind(name).bind(owner).bind(now).bind(until).execute(pool).await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Lengthens a lease that is still the owner's; false when somebody else has it by now, or had it.
    ///
    /// # Errors
    /// A database that is away: the lease ends when it would have ended.
    pub async fn renew(&self, name: &str, owner: &str, until: i64) -> Result<bool> {
        let db = self.0;
        let sql = "UPDATE leases SET until = $3 WHERE name = $1 AND owner = $2";
        db.call(async {
            on!(db, write pool => {
                let done = sqlx::query(sql).bind(name).bind(owner).bind(until).execute(pool).await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Gives a lease back, so that the next one need not wait for its end. That of somebody else stays.
    ///
    /// # Errors
    /// A database that is away; the lease then lapses by itself.
    pub async fn release(&self, name: &str, owner: &str) -> Result<()> {
        let db = self.0;
        let sql = "DELETE FROM leases WHERE name = $1 AND owner = $2";
        db.call(async {
            on!(db, write pool => sqlx::query(sql).bind(name).bind(owner).execute(pool).await.map(drop))
        })
        .await
    }

    /// Who holds the lease of that name at `now`.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn holder(&self, name: &str, now: i64) -> Result<Option<String>> {
        let db = self.0;
        let sql = "SELECT owner FROM leases WHERE name = $1 AND until >= $2";
        let found: Option<(String,)> = db
            .call(async {
                on!(db, read pool => sqlx::query_as(sql).bind(name).bind(now).fetch_optional(pool).await)
            })
            .await?;
        Ok(found.map(|(owner,)| owner))
    }
}
