//! Conversations that nothing reaches (blocked, kicked, gone), and conversations that became others. Invariants: a
//! conversation is unreachable until somebody writes there again; one that moved is found under its new name in every
//! table at once, or in none.
//!
//! Source: news.md sections 2 and 9.

use crate::{
    db::{Db, on},
    error::Result,
};

/// Conversations.
pub struct Chats<'a>(pub(crate) &'a Db);

/// Every place where a conversation is named.
const MOVES: [&str; 4] = [
    "UPDATE outbox SET chat = $2 WHERE chat = $1",
    "UPDATE inbox SET conversation = $2 WHERE conversation = $1",
    "DELETE FROM chats WHERE conversation = $2 AND $1 <> $2",
    "UPDATE chats SET conversation = $2 WHERE conversation = $1",
];

impl Chats<'_> {
    /// Nothing reaches that conversation any more; the first moment stays.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn lost(&self, conversation: &str, reason: &str, now: i64) -> Result<()> {
        let db = self.0;
        let sql = "INSERT INTO chats (conversation, unreachable_at, reason) VALUES ($1, $2, $3) \
                   ON CONFLICT (conversation) DO NOTHING";
        db.call(async {
            on!(db, write pool => {
                sqlx::query(sql).bind(conversation).bind(now).bind(reason).execute(pool).await.map(drop)
            })
        })
        .await
    }

    /// Somebody wrote there again; says whether it had been lost.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn found(&self, conversation: &str) -> Result<bool> {
        if self.unreachable_since(conversation).await?.is_none() {
            return Ok(false);
        }
        let db = self.0;
        let sql = "DELETE FROM chats WHERE conversation = $1";
        db.call(async {
            on!(db, write pool => {
                let done = sqlx::query(sql).bind(conversation).execute(pool).await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Since when nothing reaches it, Unix milliseconds; none where it is reached.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn unreachable_since(&self, conversation: &str) -> Result<Option<i64>> {
        let db = self.0;
        let sql = "SELECT unreachable_at FROM chats WHERE conversation = $1";
        let found: Option<(i64,)> = db
            .call(async {
                on!(db, read pool => sqlx::query_as(sql).bind(conversation).fetch_optional(pool).await)
            })
            .await?;
        Ok(found.map(|(at,)| at))
    }

    /// A conversation has another name from now on.
    ///
    /// # Errors
    /// A database that is away: nothing was changed.
    pub async fn moved(&self, from: &str, to: &str) -> Result<()> {
        let db = self.0;
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                for sql in MOVES {
                    sqlx::query(sql).bind(from).bind(to).execute(&mut *tx).await?;
                }
                tx.commit().await
            })
        })
        .await
    }
}
