//! Tiers and budgets changed at run time, over those of the configuration. The definition is JSON of the crate that owns its
//! meaning; here it is only kept.

use crate::{
    db::{Db, on},
    error::{Result, StoreError},
    next_change,
};

/// One tier or budget as kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionRow {
    /// Its name.
    pub name: String,
    /// What it means.
    pub definition: serde_json::Value,
    /// The number of its last change.
    pub changed_seq: i64,
}

/// The words of one table. Each is whole, so that no text is ever put into SQL.
struct Words {
    set: &'static str,
    list: &'static str,
    remove: &'static str,
    name: &'static str,
}

const TIERS: &Words = &Words {
    set: "INSERT INTO tiers (name, definition, changed_seq) VALUES ($1, $2, $3) ON CONFLICT (name) \
          DO UPDATE SET definition = excluded.definition, changed_seq = excluded.changed_seq",
    list: "SELECT name, definition, changed_seq FROM tiers ORDER BY name",
    remove: "DELETE FROM tiers WHERE name = $1",
    name: "tiers",
};

const BUDGETS: &Words = &Words {
    set: "INSERT INTO budget_definitions (name, definition, changed_seq) VALUES ($1, $2, $3) ON CONFLICT (name) \
          DO UPDATE SET definition = excluded.definition, changed_seq = excluded.changed_seq",
    list: "SELECT name, definition, changed_seq FROM budget_definitions ORDER BY name",
    remove: "DELETE FROM budget_definitions WHERE name = $1",
    name: "budget_definitions",
};

/// Tiers, or budgets, changed at run time.
pub struct Definitions<'a> {
    db: &'a Db,
    words: &'static Words,
}

impl<'a> Definitions<'a> {
    pub(crate) const fn tiers(db: &'a Db) -> Self {
        Self { db, words: TIERS }
    }

    pub(crate) const fn budgets(db: &'a Db) -> Self {
        Self { db, words: BUDGETS }
    }

    /// Keeps one, over an earlier one of that name; the number of the change.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn set(&self, name: &str, definition: &serde_json::Value) -> Result<i64> {
        let (db, sql) = (self.db, self.words.set);
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

    /// Every kept one, by name.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn list(&self) -> Result<Vec<DefinitionRow>> {
        let (db, sql) = (self.db, self.words.list);
        let rows: Vec<(String, String, i64)> =
            db.call(async { on!(db, read pool => sqlx::query_as(sql).fetch_all(pool).await) }).await?;
        let read = |(name, definition, changed_seq): (String, String, i64)| {
            let definition =
                serde_json::from_str(&definition).map_err(|_| StoreError::Damaged(self.words.name))?;
            Ok(DefinitionRow { name, definition, changed_seq })
        };
        rows.into_iter().map(read).collect()
    }

    /// Forgets a kept one, so that the configured one holds again; says whether there was one.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn remove(&self, name: &str) -> Result<bool> {
        let (db, sql) = (self.db, self.words.remove);
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let _seq: i64 = next_change!(tx);
                let done = sqlx::query(sql).bind(name).execute(&mut *tx).await?;
                tx.commit().await.map(|()| done.rows_affected() == 1)
            })
        })
        .await
    }
}
