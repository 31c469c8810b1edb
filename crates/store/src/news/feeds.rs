//! Sources of news, what they published lately, and what was paid for once: vectors of texts and summaries of stories.
//! Invariants: a source stands here once, under its one spelling; a post is known by its id at its source, and a later
//! text of it replaces the earlier one; everything but sources is forgotten by age.
//!
//! Source: news.md sections 4 and 11.

use crate::{
    db::{Db, on},
    error::Result,
};
use sqlx::{AssertSqlSafe, Row as _};

/// Sources and posts.
pub struct Feeds<'a>(pub(crate) &'a Db);

/// A source, and how it was when it was last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedRow {
    /// Its number.
    pub id: i64,
    /// Its one spelling.
    pub source: String,
    /// What it turned out to be: the app's own word.
    pub kind: String,
    /// What it calls itself; may be empty.
    pub title: String,
    /// Where it is fetched instead, once it moved for good; else empty.
    pub address: String,
    /// Where it said last that it moved for good; else empty.
    pub moved_to: String,
    /// How often in a row it said so.
    pub moved_times: i64,
    /// Validator of its last answer; may be empty.
    pub etag: String,
    /// Date of its last answer, as it said; may be empty.
    pub modified: String,
    /// How it is: the app's own word.
    pub state: String,
    /// Failures in a row.
    pub failures: i64,
    /// When the first of them was; 0 when the last fetch went well.
    pub failing_since: i64,
    /// When it last answered; 0: never.
    pub fetched_at: i64,
    /// Every post since then is known as of `fetched_at`.
    pub covers_since: i64,
    /// Before that it is not asked again.
    pub next_at: i64,
}

/// A post as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostRow {
    /// What it is known by at its source.
    pub external_id: String,
    /// When it was published, or first seen.
    pub at: i64,
    /// Whether its source said when; else the moment it was first seen stays.
    pub dated: bool,
    /// Its title; may be empty.
    pub title: String,
    /// Its words.
    pub text: String,
    /// Where it can be read.
    pub url: String,
    /// How often it was seen; -1: nobody says.
    pub views: i64,
}

const FIND: &str = "SELECT id, source, kind, title, address, moved_to, moved_times, etag, modified, state, failures, \
    failing_since, fetched_at, covers_since, next_at FROM news_sources WHERE source = $1";
/// Texts that are looked up by one statement.
const AT_ONCE: usize = 200;

const POST: &str = "INSERT INTO news_posts (source, external_id, at, title, text, url, views) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (source, external_id) DO UPDATE SET title = excluded.title, \
    text = excluded.text, url = excluded.url, views = excluded.views, \
    at = CASE WHEN $8 = 1 THEN excluded.at ELSE news_posts.at END";

const KEEP: &str = "UPDATE news_sources SET kind = $2, title = $3, address = $4, moved_to = $5, moved_times = $6, \
    etag = $7, modified = $8, state = $9, failures = $10, failing_since = $11, fetched_at = $12, \
    covers_since = $13, next_at = $14 WHERE id = $1";

impl Feeds<'_> {
    /// A source under its one spelling, where it is known.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn find(&self, source: &str) -> Result<Option<FeedRow>> {
        let db = self.0;
        db.call(async {
            on!(db, read pool => {
                let Some(row) = sqlx::query(FIND).bind(source).fetch_optional(pool).await? else {
                    return Ok(None);
                };
                Ok(Some(FeedRow {
                    id: row.try_get(0)?,
                    source: row.try_get(1)?,
                    kind: row.try_get(2)?,
                    title: row.try_get(3)?,
                    address: row.try_get(4)?,
                    moved_to: row.try_get(5)?,
                    moved_times: row.try_get(6)?,
                    etag: row.try_get(7)?,
                    modified: row.try_get(8)?,
                    state: row.try_get(9)?,
                    failures: row.try_get(10)?,
                    failing_since: row.try_get(11)?,
                    fetched_at: row.try_get(12)?,
                    covers_since: row.try_get(13)?,
                    next_at: row.try_get(14)?,
                }))
            })
        })
        .await
    }

    /// The same, made where it is not known.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn of(&self, source: &str, kind: &str) -> Result<FeedRow> {
        if let Some(row) = self.find(source).await? {
            return Ok(row);
        }
        let db = self.0;
        let sql = "INSERT INTO news_sources (source, kind) VALUES ($1, $2) ON CONFLICT (source) DO NOTHING";
        db.call(async {
            on!(db, write pool => sqlx::query(sql).bind(source).bind(kind).execute(pool).await.map(drop))
        })
        .await?;
        Ok(self.find(source).await?.unwrap_or_default())
    }

    /// Keeps how a source is, and posts of it, in one transaction.
    ///
    /// # Errors
    /// A database that is away: nothing was changed.
    pub async fn keep(&self, feed: &FeedRow, posts: &[PostRow]) -> Result<()> {
        let db = self.0;
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                sqlx::query(KEEP)
                    .bind(feed.id)
                    .bind(&feed.kind)
                    .bind(&feed.title)
                    .bind(&feed.address)
                    .bind(&feed.moved_to)
                    .bind(feed.moved_times)
                    .bind(&feed.etag)
                    .bind(&feed.modified)
                    .bind(&feed.state)
                    .bind(feed.failures)
                    .bind(feed.failing_since)
                    .bind(feed.fetched_at)
                    .bind(feed.covers_since)
                    .bind(feed.next_at)
                    .execute(&mut *tx)
                    .await?;
                for post in posts {
                    sqlx::query(POST)
                        .bind(feed.id)
                        .bind(&post.external_id)
                        .bind(post.at)
                        .bind(&post.title)
                        .bind(&post.text)
                        .bind(&post.url)
                        .bind(post.views)
                        .bind(i64::from(post.dated))
                        .execute(&mut *tx)
                        .await?;
                }
                tx.commit().await
            })
        })
        .await
    }

    /// Posts of a source since that moment, newest first, at most `limit`.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn posts(&self, feed: i64, since: i64, limit: u32) -> Result<Vec<PostRow>> {
        let db = self.0;
        let sql = "SELECT external_id, at, title, text, url, views FROM news_posts \
                   WHERE source = $1 AND at >= $2 ORDER BY at DESC, external_id DESC LIMIT $3";
        let rows: Vec<(String, i64, String, String, String, i64)> = db
            .call(async {
                on!(db, read pool => sqlx::query_as(sql)
                    .bind(feed)
                    .bind(since)
                    .bind(i64::from(limit))
                    .fetch_all(pool)
                    .await)
            })
            .await?;
        let read = |(external_id, at, title, text, url, views)| PostRow {
            external_id,
            at,
            dated: true,
            title,
            text,
            url,
            views,
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// Vectors of texts by that model, by the texts' hashes; those that are not kept are missing.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn vectors(&self, model: &str, hashes: &[i64]) -> Result<Vec<(i64, Vec<u8>)>> {
        let db = self.0;
        let mut all = Vec::with_capacity(hashes.len());
        for some in hashes.chunks(AT_ONCE) {
            let places: Vec<String> = (2..some.len() + 2).map(|n| format!("${n}")).collect();
            let places = places.join(", ");
            let sql =
                format!("SELECT hash, vector FROM news_vectors WHERE model = $1 AND hash IN ({places})");
            let found: Vec<(i64, Vec<u8>)> = db
                .call(async {
                    on!(db, read pool => {
                        let query = sqlx::query_as(AssertSqlSafe(sql)).bind(model);
                        some.iter().fold(query, |query, hash| query.bind(*hash)).fetch_all(pool).await
                    })
                })
                .await?;
            all.extend(found);
        }
        Ok(all)
    }

    /// Keeps vectors of texts by that model.
    ///
    /// # Errors
    /// A database that is away: none was kept.
    pub async fn keep_vectors(&self, model: &str, vectors: &[(i64, Vec<u8>)], now: i64) -> Result<()> {
        let db = self.0;
        let sql = "INSERT INTO news_vectors (model, hash, vector, made_at) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (model, hash) DO UPDATE SET vector = excluded.vector, made_at = excluded.made_at";
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                for (hash, vector) in vectors {
                    sqlx::query(sql).bind(model).bind(*hash).bind(vector).bind(now).execute(&mut *tx).await?;
                }
                tx.commit().await
            })
        })
        .await
    }

    /// What was told under that key, not before that moment.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn told(&self, key: &str, since: i64) -> Result<Option<String>> {
        let db = self.0;
        let sql = "SELECT told FROM news_told WHERE key = $1 AND made_at >= $2";
        let found: Option<(String,)> = db
            .call(async {
                on!(db, read pool => sqlx::query_as(sql).bind(key).bind(since).fetch_optional(pool).await)
            })
            .await?;
        Ok(found.map(|(told,)| told))
    }

    /// Keeps what was told.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn keep_told(&self, key: &str, told: &str, now: i64) -> Result<()> {
        let db = self.0;
        let sql = "INSERT INTO news_told (key, told, made_at) VALUES ($1, $2, $3) \
                   ON CONFLICT (key) DO UPDATE SET told = excluded.told, made_at = excluded.made_at";
        db.call(async {
            on!(db, write pool => sqlx::query(sql).bind(key).bind(told).bind(now).execute(pool).await.map(drop))
        })
        .await
    }

    /// Forgets posts, vectors and summaries from before those moments; how many.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn sweep(&self, posts: i64, vectors: i64, told: i64) -> Result<u64> {
        let db = self.0;
        let rows = [
            ("DELETE FROM news_posts WHERE at < $1", posts),
            ("DELETE FROM news_vectors WHERE made_at < $1", vectors),
            ("DELETE FROM news_told WHERE made_at < $1", told),
        ];
        let mut gone = 0;
        for (sql, before) in rows {
            gone += db
                .call(async {
                    on!(db, write pool => {
                        sqlx::query(sql).bind(before).execute(pool).await.map(|done| done.rows_affected())
                    })
                })
                .await?;
        }
        Ok(gone)
    }
}
