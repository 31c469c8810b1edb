//! Overrides of safety settings and held accounts: what must neither end nor be prolonged by a restart. Both carry the
//! moment they end; who reads them decides what has ended.

use crate::{
    db::{Db, on},
    error::{Result, StoreError},
};
use portcullis_domain::{HarmCategory, HarmThreshold, SafetyOverride};

/// Overrides of safety settings.
pub struct SafetyOverrides<'a>(pub(crate) &'a Db);

type Row = (String, String, String, i64, i64, String, String);

impl SafetyOverrides<'_> {
    /// Keeps one, over an earlier one of the same provider and category.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn set(&self, it: &SafetyOverride) -> Result<()> {
        let db = self.0;
        let sql = "INSERT INTO safety_overrides (provider, category, threshold, since, until, reason, set_by) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (provider, category) DO UPDATE SET \
                   threshold = excluded.threshold, since = excluded.since, until = excluded.until, \
                   reason = excluded.reason, set_by = excluded.set_by";
        db.call(async {
            on!(db, write pool => sqlx::query(sql)
                .bind(&it.provider)
                .bind(it.category.as_str())
                .bind(it.threshold.as_str())
                .bind(it.since_ms)
                .bind(it.until_ms)
                .bind(&it.reason)
                .bind(&it.by)
                .execute(pool)
                .await
                .map(drop))
        })
        .await
    }

    /// All that are kept, ended ones included, by provider and category.
    ///
    /// # Errors
    /// A database that is away; a row that is none.
    pub async fn list(&self) -> Result<Vec<SafetyOverride>> {
        let db = self.0;
        let sql = "SELECT provider, category, threshold, since, until, reason, set_by FROM safety_overrides \
                   ORDER BY provider, category";
        let rows: Vec<Row> =
            db.call(async { on!(db, read pool => sqlx::query_as(sql).fetch_all(pool).await) }).await?;
        rows.into_iter().map(read).collect()
    }

    /// Forgets this one, unless another has taken its place; says whether it was there. Of several replicas exactly one
    /// hears yes.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn remove(&self, it: &SafetyOverride) -> Result<bool> {
        let db = self.0;
        let sql = "DELETE FROM safety_overrides WHERE provider = $1 AND category = $2 AND since = $3";
        db.call(async {
            on!(db, write pool => {
                let gone = sqlx::query(sql)
                    .bind(&it.provider)
                    .bind(it.category.as_str())
                    .bind(it.since_ms)
                    .execute(pool)
                    .await?;
                Ok(gone.rows_affected() == 1)
            })
        })
        .await
    }
}

fn read((provider, category, threshold, since_ms, until_ms, reason, by): Row) -> Result<SafetyOverride> {
    const DAMAGED: StoreError = StoreError::Damaged("safety_overrides");
    let category = HarmCategory::parse(&category).ok_or(DAMAGED)?;
    let threshold = HarmThreshold::parse(&threshold).ok_or(DAMAGED)?;
    Ok(SafetyOverride { provider, category, threshold, since_ms, until_ms, reason, by })
}

/// An account that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRow {
    /// The dependency's name.
    pub dependency: String,
    /// Which of its keys, from 0.
    pub lane: u32,
    /// Until when, Unix milliseconds.
    pub until_ms: i64,
}

/// Held accounts.
pub struct Holds<'a>(pub(crate) &'a Db);

impl Holds<'_> {
    /// Keeps exactly these.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn replace(&self, holds: &[HoldRow]) -> Result<()> {
        let db = self.0;
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                sqlx::query("DELETE FROM holds").execute(&mut *tx).await?;
                for hold in holds {
                    sqlx::query("INSERT INTO holds (dependency, lane, until) VALUES ($1, $2, $3)")
                        .bind(&hold.dependency)
                        .bind(i64::from(hold.lane))
                        .bind(hold.until_ms)
                        .execute(&mut *tx)
                        .await?;
                }
                tx.commit().await
            })
        })
        .await
    }

    /// All that are kept, ended ones included.
    ///
    /// # Errors
    /// A database that is away; a row that is none.
    pub async fn list(&self) -> Result<Vec<HoldRow>> {
        let db = self.0;
        let sql = "SELECT dependency, lane, until FROM holds ORDER BY dependency, lane";
        let rows: Vec<(String, i64, i64)> =
            db.call(async { on!(db, read pool => sqlx::query_as(sql).fetch_all(pool).await) }).await?;
        let read = |(dependency, lane, until_ms): (String, i64, i64)| {
            let lane = u32::try_from(lane).map_err(|_| StoreError::Damaged("holds"))?;
            Ok(HoldRow { dependency, lane, until_ms })
        };
        rows.into_iter().map(read).collect()
    }
}
