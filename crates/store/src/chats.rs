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
const MOVES: [&str; 8] = [
    "UPDATE news_people SET conversation = $2 WHERE conversation = $1",
    "UPDATE news_schedules SET target = $2 WHERE target = $1",
    "DELETE FROM news_dialogs WHERE conversation = $2 AND $1 <> $2",
    "UPDATE news_dialogs SET conversation = $2 WHERE conversation = $1",
    "UPDATE outbox SET chat = $2 WHERE chat = $1",
    "UPDATE inbox SET conversation = $2 WHERE conversation = $1",
    "DELETE FROM chats WHERE conversation = $2 AND $1 <> $2",
    "UPDATE chats SET conversation = $2 WHERE conversation = $1",
];

/// Schedules that paused because nothing reached their place go on from the minute in which it was lost: what is long
/// past by then is judged as any missed minute is.
const RESUME: &str = "UPDATE news_schedules SET paused = '', fails = 0, next_at = \
    (SELECT unreachable_at / 60000 * 60000 FROM chats WHERE conversation = $1) \
    WHERE paused = 'unreachable' AND (target = $1 OR target LIKE $1 || '/%') \
    AND EXISTS (SELECT 1 FROM chats WHERE conversation = $1)";

/// The chat of a conversation: Telegram's topics are places within one.
fn chat(conversation: &str) -> &str {
    match conversation.split_once('/') {
        Some((chat, _)) if conversation.starts_with("telegram:") => chat,
        Some(_) | None => conversation,
    }
}

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
                sqlx::query(sql).bind(chat(conversation)).bind(now).bind(reason).execute(pool).await.map(drop)
            })
        })
        .await
    }

    /// Somebody wrote there again, and what was scheduled for it goes on; says whether it had been lost.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn found(&self, conversation: &str) -> Result<bool> {
        if self.unreachable_since(conversation).await?.is_none() {
            return Ok(false);
        }
        let (db, chat) = (self.0, chat(conversation));
        let sql = "DELETE FROM chats WHERE conversation = $1";
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                sqlx::query(RESUME).bind(chat).execute(&mut *tx).await?;
                let done = sqlx::query(sql).bind(chat).execute(&mut *tx).await?;
                tx.commit().await.map(|()| done.rows_affected() == 1)
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
                on!(db, read pool => sqlx::query_as(sql).bind(chat(conversation)).fetch_optional(pool).await)
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
