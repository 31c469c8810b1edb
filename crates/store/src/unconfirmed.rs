//! Messages of chat doors that wait for their senders to say that they are meant. Invariants: of each sender in each
//! conversation the newest; what is taken is taken once, by one replica; what is over is never given, and is forgotten.
//!
//! Source: inspect.md section 2.

use crate::{
    db::{Db, on},
    error::Result,
};

/// The sealed field, see [`crate::Seal`].
pub(crate) const MESSAGE: &str = "unconfirmed.message";

/// Messages that wait to be meant.
pub struct Unconfirmed<'a>(pub(crate) &'a Db);

/// Whose message waits where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whose<'a> {
    /// Which door.
    pub door: &'static str,
    /// In which conversation.
    pub conversation: &'a str,
    /// Who wrote it.
    pub caller: &'a str,
}

const KEEP: &str = "INSERT INTO unconfirmed (door, conversation, caller, message, until) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (door, conversation, caller) DO UPDATE SET message = excluded.message, until = excluded.until";

/// Those of a door beyond so many, the oldest of them.
const BEYOND: &str = "DELETE FROM unconfirmed WHERE door = $1 AND (conversation, caller) IN \
    (SELECT conversation, caller FROM unconfirmed WHERE door = $1 ORDER BY until DESC, conversation, caller \
    LIMIT 1000000 OFFSET $2)";

const OVER: &str = "DELETE FROM unconfirmed WHERE until <= $1";

impl Unconfirmed<'_> {
    /// Keeps a message until then, over an earlier one of the same sender there. Of more than `most` at one door the
    /// oldest are forgotten.
    ///
    /// # Errors
    /// A database that is away: it does not wait.
    pub async fn keep(&self, whose: Whose<'_>, message: &str, until: i64, most: u32) -> Result<()> {
        let db = self.0;
        let sealed = db.seal.seal(MESSAGE, message);
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                sqlx::query(KEEP)
                    .bind(whose.door)
                    .bind(whose.conversation)
                    .bind(whose.caller)
                    .bind(&sealed)
                    .bind(until)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(BEYOND).bind(whose.door).bind(i64::from(most)).execute(&mut *tx).await?;
                tx.commit().await
            })
        })
        .await
    }

    /// The message that waits there, which waits no longer.
    ///
    /// # Errors
    /// A database that is away; a message that cannot be opened, which waits no longer either.
    pub async fn take(&self, whose: Whose<'_>, now: i64) -> Result<Option<String>> {
        let db = self.0;
        let sql = "DELETE FROM unconfirmed WHERE door = $1 AND conversation = $2 AND caller = $3 AND until > $4 \
                   RETURNING message";
        let found: Option<(String,)> = db
            .call(async {
                on!(db, write pool => sqlx::query_as(sql)
                    .bind(whose.door)
                    .bind(whose.conversation)
                    .bind(whose.caller)
                    .bind(now)
                    .fetch_optional(pool)
                    .await)
            })
            .await?;
        found.map(|(message,)| db.seal.open(MESSAGE, message)).transpose()
    }

    /// Whether anything waits at that door.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn any(&self, door: &str, now: i64) -> Result<bool> {
        let db = self.0;
        let sql = "SELECT until FROM unconfirmed WHERE door = $1 AND until > $2 LIMIT 1";
        let found: Option<(i64,)> = db
            .call(async {
                on!(db, read pool => sqlx::query_as(sql).bind(door).bind(now).fetch_optional(pool).await)
            })
            .await?;
        Ok(found.is_some())
    }

    /// Forgets what is over.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn sweep(&self, now: i64) -> Result<()> {
        let db = self.0;
        db.call(async { on!(db, write pool => sqlx::query(OVER).bind(now).execute(pool).await.map(drop)) })
            .await
    }
}
