//! Tiers changed at run time, over those of the configuration. The definition is JSON of the crate that owns its
//! meaning; here it is only kept.

use crate::{
    db::{Db, on},
    error::{Result, StoreError},
    next_change,
};

/// One tier as kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierRow {
    /// Its name.
    pub name: String,
    /// What it means.
    pub definition: serde_json::Value,
    /// The number of its last change.
    pub changed_seq: i64,
}

/// Tiers changed at run time.
pub struct Tiers<'a>(pub(crate) &'a Db);

impl Tiers<'_> {
    /// Keeps a tier, over an earlier one of that name; the number of the change.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn set(&self, name: &str, definition: &serde_json::Value) -> Result<i64> {
        let db = self.0;
        let sql = "INSERT INTO tiers (name, definition, changed_seq) VALUES ($1, $2, $3) ON CONFLICT (name) \
                   DO UPDATE SET definition = excluded.definition, changed_seq = excluded.changed_seq";
        let text = definition.to_string();
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let seq = next_change!(tx);
                sqlx::query(sql).bind(name).bind(&text).bind(seq).execute(&mut *tx).await?;
                tx.commit().await.map(|()| seq)
            })
        })
        .await
    }

    /// Every kept tier, by name.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn list(&self) -> Result<Vec<TierRow>> {
        let db = self.0;
        let sql = "SELECT name, definition, changed_seq FROM tiers ORDER BY name";
        let rows: Vec<(String, String, i64)> =
            db.call(async { on!(db, read pool => sqlx::query_as(sql).fetch_all(pool).await) }).await?;
        let read = |(name, definition, changed_seq): (String, String, i64)| {
            let definition = serde_json::from_str(&definition).map_err(|_| StoreError::Damaged("tiers"))?;
            Ok(TierRow { name, definition, changed_seq })
        };
        rows.into_iter().map(read).collect()
    }

    /// Forgets a kept tier, so that the configured one holds again; says whether there was one.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn remove(&self, name: &str) -> Result<bool> {
        let db = self.0;
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let _seq: i64 = next_change!(tx);
                let done = sqlx::query("DELETE FROM tiers WHERE name = $1").bind(name).execute(&mut *tx).await?;
                tx.commit().await.map(|()| done.rows_affected() == 1)
            })
        })
        .await
    }
}
