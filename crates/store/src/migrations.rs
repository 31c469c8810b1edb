//! The tables, brought up to date when the store is opened. Each step is one file per database, applied once, and never
//! changed afterwards (its checksum is kept); two processes that start together take turns. Steps are applied in the
//! order of their numbers; one with a lower number that comes later is still applied, so steps must not build upon
//! one another's numbers but upon tables that are there.

use crate::error::{Result, StoreError};
use sqlx::{
    ConnectOptions as _, Connection as _, PgPool, SqlSafeStr as _, SqliteConnection, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::SqliteConnectOptions,
};

/// The number of each step with what it does, for SQLite and for PostgreSQL.
macro_rules! steps {
    ($($number:literal $name:literal),* $(,)?) => {
        const STEPS: &[(i64, &str, &str)] = &[$((
            $number,
            include_str!(concat!("../migrations/sqlite/", $name, ".sql")),
            include_str!(concat!("../migrations/postgres/", $name, ".sql")),
        )),*];
    };
}

steps!(
    1 "0001_first",
    2 "0002_ledger",
    3 "0003_keys",
    4 "0004_overrides",
    5 "0005_budgets",
    6 "0006_messages",
    7 "0007_chats",
    8 "0008_news",
    9 "0009_readers",
    10 "0010_leases",
    11 "0011_verdicts",
    13 "0013_pauses",
    14 "0014_gone",
    16 "0016_unconfirmed",
);

fn migrator(steps: impl Iterator<Item = (i64, &'static str)>) -> Migrator {
    let step = |(number, sql): (i64, &'static str)| {
        Migration::new(number, "".into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(steps.map(step).collect())
}

pub(crate) async fn sqlite(pool: &SqlitePool) -> Result<()> {
    let steps = migrator(STEPS.iter().map(|(number, sqlite, _)| (*number, *sqlite)));
    steps.run(pool).await.map_err(|error| StoreError::Migration(error.to_string()))
}

pub(crate) async fn postgres(pool: &PgPool) -> Result<()> {
    let steps = migrator(STEPS.iter().map(|(number, _, postgres)| (*number, *postgres)));
    steps.run(pool).await.map_err(|error| StoreError::Migration(error.to_string()))
}

/// The steps that a SQLite database had, in the order in which it had them, unless it had one that this program does
/// not know.
pub(crate) async fn known(connection: &mut SqliteConnection) -> sqlx::Result<Option<Vec<i64>>> {
    let rows: Vec<(i64,)> =
        sqlx::query_as("SELECT version FROM _sqlx_migrations ORDER BY rowid").fetch_all(connection).await?;
    let numbers: Vec<i64> = rows.into_iter().map(|(number,)| number).collect();
    Ok(numbers.iter().all(|number| is_known(*number)).then_some(numbers))
}

/// Whether it is one of our steps.
pub(crate) fn is_known(number: i64) -> bool {
    STEPS.iter().any(|(step, ..)| *step == number)
}

/// The first table or index that is not there as our steps make it. Of a database that has none of our tables yet, or
/// steps of a newer program, nothing is said here.
pub(crate) async fn strange(connection: &mut SqliteConnection) -> sqlx::Result<Option<String>> {
    const OBJECTS: &str = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
    let found: Vec<(String, String)> = sqlx::query_as(OBJECTS).fetch_all(&mut *connection).await?;
    if !found.iter().any(|(name, _)| name == "_sqlx_migrations") {
        return Ok(None);
    }
    let Some(numbers) = known(connection).await? else { return Ok(None) };
    let mut memory = SqliteConnectOptions::new().in_memory(true).connect().await?;
    for number in numbers {
        for (_, sqlite, _) in STEPS.iter().filter(|(step, ..)| *step == number) {
            sqlx::raw_sql(*sqlite).execute(&mut memory).await?;
        }
    }
    let wanted: Vec<(String, String)> = sqlx::query_as(OBJECTS).fetch_all(&mut memory).await?;
    memory.close().await?;
    Ok(wanted.into_iter().find(|object| !found.contains(object)).map(|(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_steps_rise() {
        assert!(STEPS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[tokio::test]
    async fn a_step_with_a_lower_number_that_comes_later_is_still_applied() {
        let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await;
        let pool = pool.unwrap();
        let (one, two, three) =
            ((1, "CREATE TABLE one (x)"), (2, "CREATE TABLE two (x)"), (3, "CREATE TABLE three (x)"));
        migrator([one, three].into_iter()).run(&pool).await.unwrap();
        migrator([one, two, three].into_iter()).run(&pool).await.unwrap();
        sqlx::query("SELECT * FROM one, two, three").execute(&pool).await.unwrap();
        let newer = migrator([one, two].into_iter()).run(&pool).await;
        assert!(newer.is_err(), "the tables of a newer program are not touched");
    }
}
