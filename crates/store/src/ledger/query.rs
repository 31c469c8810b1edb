//! Reading the ledger: sums by subject for budgets, groups for reports; and the few changes it allows: money computed
//! again from tokens, rows that are too old removed. Budgets raised or changed at run time are kept beside it.

use super::{DAY_MS, Ledger, LedgerPrice};
use crate::{
    db::on,
    error::{Result, StoreError},
};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use sqlx::{AssertSqlSafe, Row as _};

pub(super) const INSERT: &str = "INSERT INTO ledger (at, request, caller, person, key_id, team, tier, route, provider, \
                                 model, input, cached, output, micros, price, estimated, unpriced) ";

/// Rows removed at once, so that nobody waits long for the one writing connection of SQLite.
const PURGED_AT_ONCE: i64 = 5_000;

/// Whose rows a sum is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SumBy {
    /// Each caller of one tier.
    Caller,
    /// Each API key.
    Key,
    /// Each user who pays.
    Person,
    /// Each team.
    Team,
    /// Each tier.
    Tier,
    /// All together, under the empty name.
    All,
}

impl SumBy {
    const fn column(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Key => "key_id",
            Self::Person => "person",
            Self::Team => "team",
            Self::Tier => "tier",
            Self::All => "''",
        }
    }
}

/// The sum of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SumRow {
    /// Whose; empty for rows that name none.
    pub subject: String,
    /// Input and output.
    pub tokens: u64,
    /// Micro-dollars.
    pub micros: u64,
}

/// By what a report is grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupBy {
    /// UTC day, `2026-11-21`.
    Day,
    /// Public id of the key.
    Key,
    /// `Caller::id`.
    Caller,
    /// The user who pays.
    User,
    /// The team.
    Team,
    /// The tier.
    Tier,
    /// The route.
    Route,
    /// The provider.
    Provider,
    /// The model.
    Model,
}

impl GroupBy {
    /// Everything that can be grouped by.
    pub const ALL: [Self; 9] = [
        Self::Day,
        Self::Key,
        Self::Caller,
        Self::User,
        Self::Team,
        Self::Tier,
        Self::Route,
        Self::Provider,
        Self::Model,
    ];

    /// The stable name: admin API, command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Key => "key",
            Self::Caller => "caller",
            Self::User => "user",
            Self::Team => "team",
            Self::Tier => "tier",
            Self::Route => "route",
            Self::Provider => "provider",
            Self::Model => "model",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.as_str() == name)
    }

    const fn expression(self) -> &'static str {
        match self {
            // Integer division is the same in both databases; the number of the day becomes a date below.
            Self::Day => "CAST(at / 86400000 AS TEXT)",
            Self::Key => "key_id",
            Self::Caller => "caller",
            Self::User => "person",
            Self::Team => "team",
            Self::Tier => "tier",
            Self::Route => "route",
            Self::Provider => "provider",
            Self::Model => "model",
        }
    }
}

/// What a report is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageQuery {
    /// By what; none: one sum over all.
    pub by: Vec<GroupBy>,
    /// First moment, in Unix milliseconds.
    pub from: i64,
    /// First moment after it.
    pub to: i64,
    /// Most rows.
    pub limit: u32,
}

/// One group of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsageSum {
    /// The values it is grouped by, in the order asked for.
    pub group: Vec<String>,
    /// Calls.
    pub requests: i64,
    /// Tokens read, cached ones included.
    pub input: i64,
    /// Of those from a provider's cache.
    pub cached: i64,
    /// Tokens written.
    pub output: i64,
    /// Micro-dollars.
    pub micros: i64,
    /// Calls whose tokens were counted by us.
    pub estimated: i64,
    /// Calls to targets without a price.
    pub unpriced: i64,
}

/// A budget raised for the rest of one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaiseRow {
    /// Its name.
    pub budget: String,
    /// Whose.
    pub subject: String,
    /// The window, by its beginning in Unix milliseconds.
    pub window_start: i64,
    /// By how many tokens.
    pub tokens: u64,
    /// By how many micro-dollars.
    pub micros: u64,
}

const fn whole(number: i64) -> u64 {
    if number < 0 { 0 } else { number.unsigned_abs() }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn day_text(day: &str) -> String {
    let day: i64 = day.parse().unwrap_or_default();
    let at = Timestamp::from_millisecond(day.saturating_mul(DAY_MS)).unwrap_or_default();
    at.to_zoned(TimeZone::UTC).date().to_string()
}

impl Ledger<'_> {
    /// What each subject has spent since a moment; with a tier, only as a caller of that tier. Rows not yet flushed are
    /// not in it.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn sums(&self, by: SumBy, since: i64, tier: Option<&str>) -> Result<Vec<SumRow>> {
        let db = &self.0.db;
        let column = by.column();
        let group = if by == SumBy::All { "" } else { " GROUP BY 1" };
        let sql = format!(
            "SELECT {column}, CAST(COALESCE(SUM(input + output), 0) AS BIGINT), \
             CAST(COALESCE(SUM(micros), 0) AS BIGINT) FROM ledger WHERE at >= $1 AND ($2 = '' OR tier = $2){group}"
        );
        let rows: Vec<(String, i64, i64)> = db
            .call(async {
                on!(db, read pool => {
                    sqlx::query_as(AssertSqlSafe(sql))
                        .bind(since)
                        .bind(tier.unwrap_or_default())
                        .fetch_all(pool)
                        .await
                })
            })
            .await?;
        let sum =
            |(subject, tokens, micros)| SumRow { subject, tokens: whole(tokens), micros: whole(micros) };
        Ok(rows.into_iter().map(sum).collect())
    }

    /// What one caller has spent since a moment: tokens and micro-dollars.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn sum_of_caller(&self, caller: &str, since: i64) -> Result<(u64, u64)> {
        let db = &self.0.db;
        let sql = "SELECT CAST(COALESCE(SUM(input + output), 0) AS BIGINT), \
                   CAST(COALESCE(SUM(micros), 0) AS BIGINT) FROM ledger WHERE at >= $1 AND caller = $2";
        let (tokens, micros): (i64, i64) = db
            .call(async {
                on!(db, read pool => sqlx::query_as(sql).bind(since).bind(caller).fetch_one(pool).await)
            })
            .await?;
        Ok((whole(tokens), whole(micros)))
    }

    /// A report; groups in the order of their values.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageSum>> {
        let db = &self.0.db;
        let columns: String = query.by.iter().map(|by| format!("{}, ", by.expression())).collect();
        let places: Vec<String> = (1..=query.by.len()).map(|place| place.to_string()).collect();
        let (group, order) = match places.join(", ") {
            none if none.is_empty() => (String::new(), String::new()),
            places => (format!(" GROUP BY {places}"), format!(" ORDER BY {places}")),
        };
        let sums: String = ["input", "cached", "output", "micros", "estimated", "unpriced"]
            .map(|name| format!(", CAST(COALESCE(SUM({name}), 0) AS BIGINT)"))
            .concat();
        let sql = format!(
            "SELECT {columns}COUNT(*){sums} FROM ledger WHERE at >= $1 AND at < $2{group}{order} LIMIT $3"
        );
        let limit = i64::from(query.limit);
        db.call(async {
            on!(db, read pool => {
                let rows = sqlx::query(AssertSqlSafe(sql))
                    .bind(query.from)
                    .bind(query.to)
                    .bind(limit)
                    .fetch_all(pool)
                    .await?;
                rows.iter().map(|row| {
                    let texts = query.by.iter().enumerate().map(|(place, by)| {
                        let text: String = row.try_get(place)?;
                        Ok(if *by == GroupBy::Day { day_text(&text) } else { text })
                    });
                    let number = |place: usize| row.try_get::<i64, _>(query.by.len() + place);
                    Ok(UsageSum {
                        group: texts.collect::<Result<_, sqlx::Error>>()?,
                        requests: number(0)?,
                        input: number(1)?,
                        cached: number(2)?,
                        output: number(3)?,
                        micros: number(4)?,
                        estimated: number(5)?,
                        unpriced: number(6)?,
                    })
                }).collect::<Result<Vec<_>, sqlx::Error>>()
            })
        })
        .await
    }

    /// Computes the money of a model's rows again from their tokens, from one moment to before another. How many rows,
    /// and by how many micro-dollars their sum has changed.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn reprice(
        &self,
        target: (&str, &str),
        time: (i64, i64),
        price: LedgerPrice,
    ) -> Result<(u64, i64)> {
        let db = &self.0.db;
        let sum = "SELECT CAST(COALESCE(SUM(micros), 0) AS BIGINT) FROM ledger \
                   WHERE provider = $1 AND model = $2 AND at >= $3 AND at < $4";
        // The arithmetic of `LedgerPrice::cost`, rounding up.
        let update = "UPDATE ledger SET price = $5, unpriced = 0, \
                      micros = ((input - cached) * $6 + cached * $7 + output * $8 + 999999) / 1000000 \
                      WHERE provider = $1 AND model = $2 AND at >= $3 AND at < $4";
        let ((provider, model), (from, to)) = (target, time);
        let text = price.to_string();
        let [input, cached, output] = [price.input, price.cached, price.output].map(signed);
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let asked = || sqlx::query_scalar(sum).bind(provider).bind(model).bind(from).bind(to);
                let before: i64 = asked().fetch_one(&mut *tx).await?;
                let done = sqlx::query(update)
                    .bind(provider)
                    .bind(model)
                    .bind(from)
                    .bind(to)
                    .bind(&text)
                    .bind(input)
                    .bind(cached)
                    .bind(output)
                    .execute(&mut *tx)
                    .await?;
                let after: i64 = asked().fetch_one(&mut *tx).await?;
                tx.commit().await.map(|()| (done.rows_affected(), after.saturating_sub(before)))
            })
        })
        .await
    }

    /// Removes rows from before a moment; how many.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn purge(&self, before: i64) -> Result<u64> {
        let db = &self.0.db;
        let sql = "DELETE FROM ledger WHERE id IN (SELECT id FROM ledger WHERE at < $1 LIMIT $2)";
        let mut removed = 0;
        loop {
            let done = db
                .call(async {
                    on!(db, write pool => {
                        let done = sqlx::query(sql).bind(before).bind(PURGED_AT_ONCE).execute(pool).await?;
                        Ok(done.rows_affected())
                    })
                })
                .await?;
            removed += done;
            if done < PURGED_AT_ONCE.unsigned_abs() {
                return Ok(removed);
            }
        }
    }

    /// Raises a budget for the rest of one window, on top of earlier raises of it.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn raise(&self, raise: &RaiseRow) -> Result<()> {
        let db = &self.0.db;
        let sql = "INSERT INTO budget_raises (budget, subject, window_start, tokens, micros) \
                   VALUES ($1, $2, $3, $4, $5) ON CONFLICT (budget, subject, window_start) DO UPDATE SET \
                   tokens = budget_raises.tokens + excluded.tokens, micros = budget_raises.micros + excluded.micros";
        db.call(async {
            on!(db, write pool => {
                sqlx::query(sql)
                    .bind(&raise.budget)
                    .bind(&raise.subject)
                    .bind(raise.window_start)
                    .bind(signed(raise.tokens))
                    .bind(signed(raise.micros))
                    .execute(pool)
                    .await
                    .map(drop)
            })
        })
        .await
    }

    /// Every raise, for all windows that are kept.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn raises(&self) -> Result<Vec<RaiseRow>> {
        let db = &self.0.db;
        let sql = "SELECT budget, subject, window_start, tokens, micros FROM budget_raises";
        let rows: Vec<(String, String, i64, i64, i64)> =
            db.call(async { on!(db, read pool => sqlx::query_as(sql).fetch_all(pool).await) }).await?;
        let row = |(budget, subject, window_start, tokens, micros)| RaiseRow {
            budget,
            subject,
            window_start,
            tokens: whole(tokens),
            micros: whole(micros),
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Forgets raises of windows that began before a moment.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn forget_raises(&self, before: i64) -> Result<()> {
        let db = &self.0.db;
        // Windows without a beginning (`total`) never end.
        let sql = "DELETE FROM budget_raises WHERE window_start > 0 AND window_start < $1";
        db.call(async { on!(db, write pool => sqlx::query(sql).bind(before).execute(pool).await.map(drop)) })
            .await
    }

    /// Keeps a budget changed at run time, or forgets it (`None`), so that the configured one holds again.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn set_budget(&self, name: &str, definition: Option<&serde_json::Value>) -> Result<()> {
        let db = &self.0.db;
        let set = "INSERT INTO budgets (name, definition) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET \
                   definition = excluded.definition";
        let text = definition.map(ToString::to_string);
        db.call(async {
            on!(db, write pool => match &text {
                Some(text) => sqlx::query(set).bind(name).bind(text).execute(pool).await.map(drop),
                None => sqlx::query("DELETE FROM budgets WHERE name = $1").bind(name).execute(pool).await.map(drop),
            })
        })
        .await
    }

    /// Every budget changed at run time, by name.
    ///
    /// # Errors
    /// A database that is away, a row nobody understands.
    pub async fn budgets(&self) -> Result<Vec<(String, serde_json::Value)>> {
        let db = &self.0.db;
        let sql = "SELECT name, definition FROM budgets ORDER BY name";
        let rows: Vec<(String, String)> =
            db.call(async { on!(db, read pool => sqlx::query_as(sql).fetch_all(pool).await) }).await?;
        let read = |(name, text): (String, String)| {
            let definition = serde_json::from_str(&text).map_err(|_| StoreError::Damaged("budgets"))?;
            Ok((name, definition))
        };
        rows.into_iter().map(read).collect()
    }
}
