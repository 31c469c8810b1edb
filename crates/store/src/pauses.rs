//! What a door knows of chats beside its messages: who was told to wait until when, and which messages only show how far
//! some work is. Invariants: a wait never becomes shorter by being told again; what is over is forgotten.
//!
//! Source: news.md sections 5 and 9.

use crate::{
    db::{Db, on},
    error::Result,
};

/// Pauses of chats, and messages that pass.
pub struct Pauses<'a>(pub(crate) &'a Db);

impl Pauses<'_> {
    /// Nothing goes to that chat (none: to any) before that moment, in Unix milliseconds.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn hold(&self, door: &str, chat: Option<&str>, until: i64) -> Result<()> {
        let sql = "INSERT INTO pauses (door, chat, until) VALUES ($1, $2, $3) ON CONFLICT (door, chat) \
                   DO UPDATE SET until = excluded.until WHERE pauses.until < excluded.until";
        let (db, chat) = (self.0, chat.unwrap_or_default());
        db.call(async {
            on!(db, write pool => sqlx::query(sql).bind(door).bind(chat).bind(until).execute(pool).await.map(drop))
        })
        .await
    }

    /// Which chats wait (none: all), each until when.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn held(&self, door: &str, now: i64) -> Result<Vec<(Option<String>, i64)>> {
        let db = self.0;
        let sql = "SELECT chat, until FROM pauses WHERE door = $1 AND until > $2";
        let found: Vec<(String, i64)> = db
            .call(async {
                on!(db, read pool => sqlx::query_as(sql).bind(door).bind(now).fetch_all(pool).await)
            })
            .await?;
        Ok(found
            .into_iter()
            .map(|(chat, until)| (Some(chat).filter(|chat| !chat.is_empty()), until))
            .collect())
    }

    /// Forgets waits that are over.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn sweep(&self, now: i64) -> Result<()> {
        let db = self.0;
        let sql = "DELETE FROM pauses WHERE until <= $1";
        db.call(async { on!(db, write pool => sqlx::query(sql).bind(now).execute(pool).await.map(drop)) })
            .await
    }

    /// That message of a chat shows how far some work of that owner is.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn shows(&self, [door, chat, message, owner]: [&str; 4], now: i64) -> Result<()> {
        let db = self.0;
        let sql = "INSERT INTO sights (door, chat, message, owner, at) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (door, chat, message) DO NOTHING";
        db.call(async {
            on!(db, write pool => {
                let query = sqlx::query(sql).bind(door).bind(chat).bind(message).bind(owner).bind(now);
                query.execute(pool).await.map(drop)
            })
        })
        .await
    }

    /// That message is gone.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn gone(&self, door: &str, chat: &str, message: &str) -> Result<()> {
        let db = self.0;
        let sql = "DELETE FROM sights WHERE door = $1 AND chat = $2 AND message = $3";
        db.call(async {
            on!(db, write pool => {
                sqlx::query(sql).bind(door).bind(chat).bind(message).execute(pool).await.map(drop)
            })
        })
        .await
    }

    /// Messages that show work of others than that owner: chat and message, oldest first.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn left(&self, door: &str, owner: &str) -> Result<Vec<(String, String)>> {
        let db = self.0;
        let sql = "SELECT chat, message FROM sights WHERE door = $1 AND owner <> $2 ORDER BY at LIMIT 10000";
        db.call(async {
            on!(db, read pool => sqlx::query_as(sql).bind(door).bind(owner).fetch_all(pool).await)
        })
        .await
    }
}
