//! Texts that were kept before there was a key, or under an earlier one, are sealed by the present key, a few at a time
//! beside everything else. Invariants: a store is not opened without the key under which its texts are kept; a row that
//! changes meanwhile keeps its change.

use crate::{
    Store,
    db::{Pools, on},
    error::{Result, StoreError},
    seal::FIELDS,
};
use sqlx::AssertSqlSafe;
use std::time::Duration;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Name of the note that holds the id of the key under which texts are kept.
const NOTE: &str = "data_key";
/// Texts of one statement.
const AT_ONCE: i64 = 100;
/// Between two statements, so that others write in between.
const PAUSE: Duration = Duration::from_millis(20);

impl Store {
    /// Refuses a database whose texts are kept under a key that is not here: reading would fail later, row by row.
    pub(crate) async fn holds_the_key(&self) -> Result<()> {
        let seal = &self.0.db.seal;
        let Some(id) = seal.key_id() else { return Ok(()) };
        let kept = self.note_once(NOTE, id).await?;
        if seal.knows(&kept) { Ok(()) } else { Err(StoreError::Sealed(kept)) }
    }

    /// Seals in the background what is not sealed by the present key, once.
    pub fn reseal(&self, tasks: &TaskTracker, stop: CancellationToken) {
        if self.0.db.seal.prefix().is_none() {
            return;
        }
        let store = self.clone();
        drop(tasks.spawn(async move {
            match stop.run_until_cancelled(store.reseal_all()).await {
                Some(Ok(0)) | None => {}
                Some(Ok(texts)) => tracing::info!(texts, "texts are sealed by the present data key"),
                Some(Err(error)) => {
                    tracing::warn!(%error, "older texts are not sealed yet; the next start tries again");
                }
            }
        }));
    }

    /// Seals everything that is not sealed by the present key; how many texts.
    pub(crate) async fn reseal_all(&self) -> Result<u64> {
        let db = &self.0.db;
        let (Some(prefix), Some(id)) = (db.seal.prefix(), db.seal.key_id()) else { return Ok(0) };
        let (mut texts, mut plain) = (0, false);
        for (table, column, field) in FIELDS {
            loop {
                let found = self.other_texts(table, column, &prefix).await?;
                if found.is_empty() {
                    break;
                }
                let sql = format!("UPDATE {table} SET {column} = $2 WHERE {column} = $1");
                for kept in found {
                    plain |= !kept.starts_with("sealed:1:");
                    let sealed = db.seal.seal(field, &db.seal.open(field, kept.clone())?);
                    texts += db
                        .call(async {
                            on!(db, write pool => sqlx::query(AssertSqlSafe(sql.clone()))
                                .bind(&kept)
                                .bind(&sealed)
                                .execute(pool)
                                .await
                                .map(|done| done.rows_affected()))
                        })
                        .await?;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        if plain {
            self.forget_free_pages().await?;
        }
        let sql = "UPDATE meta SET note = $2 WHERE name = $1 AND note <> $2";
        db.call(async {
            on!(db, write pool => sqlx::query(sql).bind(NOTE).bind(id).execute(pool).await.map(drop))
        })
        .await?;
        Ok(texts)
    }

    /// Some texts of a column that the present key did not seal.
    async fn other_texts(&self, table: &str, column: &str, prefix: &str) -> Result<Vec<String>> {
        let db = &self.0.db;
        let sql = format!(
            "SELECT DISTINCT {column} FROM {table} WHERE {column} <> '' AND substr({column}, 1, $1) <> $2 LIMIT $3"
        );
        let length = i32::try_from(prefix.len()).unwrap_or(i32::MAX);
        let rows: Vec<(String,)> = db
            .call(async {
                on!(db, read pool => sqlx::query_as(AssertSqlSafe(sql.clone()))
                    .bind(length)
                    .bind(prefix)
                    .bind(AT_ONCE)
                    .fetch_all(pool)
                    .await)
            })
            .await?;
        Ok(rows.into_iter().map(|(text,)| text).collect())
    }

    /// What was written plainly once still lies in pages that SQLite no longer uses, and in its log.
    async fn forget_free_pages(&self) -> Result<()> {
        let Pools::Sqlite { write, .. } = &self.0.db.pools else { return Ok(()) };
        let refused = |error: sqlx::Error| StoreError::from_driver(&error, Duration::from_secs(1));
        sqlx::query("VACUUM").execute(write).await.map_err(refused)?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(write).await.map_err(refused)?;
        Ok(())
    }
}
