//! Who was let in through a chat door, and until when. Invariant: one row for each person or group; who judges whether
//! it has ended is the door.

use crate::{
    db::{Db, on},
    error::Result,
};

/// Sessions of chat doors.
pub struct Sessions<'a>(pub(crate) &'a Db);

/// One session. Times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Whose: a person, or a group.
    pub caller: String,
    /// At which door.
    pub door: String,
    /// Since when.
    pub activated_at: i64,
    /// Last message.
    pub last_seen: i64,
    /// It ends then at the latest.
    pub expires_at: i64,
    /// Who began it: the person, or for a group the member who did.
    pub activated_by: String,
}

type Row = (String, String, i64, i64, i64, String);

impl Sessions<'_> {
    /// Keeps one, over an earlier one of the same person or group.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn begin(&self, it: &SessionRow) -> Result<()> {
        let db = self.0;
        let sql = "INSERT INTO sessions (caller, door, activated_at, last_seen, expires_at, activated_by) \
                   VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (caller) DO UPDATE SET door = excluded.door, \
                   activated_at = excluded.activated_at, last_seen = excluded.last_seen, \
                   expires_at = excluded.expires_at, activated_by = excluded.activated_by";
        db.call(async {
            on!(db, write pool => sqlx::query(sql)
                .bind(&it.caller)
                .bind(&it.door)
                .bind(it.activated_at)
                .bind(it.last_seen)
                .bind(it.expires_at)
                .bind(&it.activated_by)
                .execute(pool)
                .await
                .map(drop))
        })
        .await
    }

    /// Sets the moments of last messages, for those that are still there.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn seen(&self, last: &[(String, i64)]) -> Result<()> {
        let db = self.0;
        let sql = "UPDATE sessions SET last_seen = $2 WHERE caller = $1 AND last_seen < $2";
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                for (caller, at) in last {
                    sqlx::query(sql).bind(caller).bind(at).execute(&mut *tx).await?;
                }
                tx.commit().await
            })
        })
        .await
    }

    /// Ends one; says whether there was one.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn end(&self, caller: &str) -> Result<bool> {
        let db = self.0;
        let sql = "DELETE FROM sessions WHERE caller = $1";
        db.call(async {
            on!(db, write pool => {
                sqlx::query(sql).bind(caller).execute(pool).await.map(|done| done.rows_affected() == 1)
            })
        })
        .await
    }

    /// All of a door, ended ones included, by whose they are.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn list(&self, door: &str) -> Result<Vec<SessionRow>> {
        let db = self.0;
        let sql = "SELECT caller, door, activated_at, last_seen, expires_at, activated_by FROM sessions \
                   WHERE door = $1 ORDER BY caller";
        let rows: Vec<Row> = db
            .call(async { on!(db, read pool => sqlx::query_as(sql).bind(door).fetch_all(pool).await) })
            .await?;
        let read = |(caller, door, activated_at, last_seen, expires_at, activated_by): Row| SessionRow {
            caller,
            door,
            activated_at,
            last_seen,
            expires_at,
            activated_by,
        };
        Ok(rows.into_iter().map(read).collect())
    }
}
