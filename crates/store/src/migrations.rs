//! The tables, brought up to date when the store is opened. Each step is one file per database, applied once, in
//! order, and never changed afterwards (its checksum is kept); two processes that start together take turns.

use crate::error::{Result, StoreError};
use sqlx::{
    PgPool, SqlSafeStr as _, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
};

const SQLITE: &[&str] = &[
    include_str!("../migrations/sqlite/0001_first.sql"),
    include_str!("../migrations/sqlite/0002_ledger.sql"),
    include_str!("../migrations/sqlite/0003_keys.sql"),
    include_str!("../migrations/sqlite/0004_overrides.sql"),
    include_str!("../migrations/sqlite/0005_budgets.sql"),
    include_str!("../migrations/sqlite/0006_messages.sql"),
];
const POSTGRES: &[&str] = &[
    include_str!("../migrations/postgres/0001_first.sql"),
    include_str!("../migrations/postgres/0002_ledger.sql"),
    include_str!("../migrations/postgres/0003_keys.sql"),
    include_str!("../migrations/postgres/0004_overrides.sql"),
    include_str!("../migrations/postgres/0005_budgets.sql"),
    include_str!("../migrations/postgres/0006_messages.sql"),
];

fn migrator(steps: &'static [&'static str]) -> Migrator {
    let steps = steps.iter().zip(1..).map(|(sql, version)| {
        Migration::new(version, "".into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(steps.collect())
}

pub(crate) async fn sqlite(pool: &SqlitePool) -> Result<()> {
    migrator(SQLITE).run(pool).await.map_err(|error| StoreError::Migration(error.to_string()))
}

pub(crate) async fn postgres(pool: &PgPool) -> Result<()> {
    migrator(POSTGRES).run(pool).await.map_err(|error| StoreError::Migration(error.to_string()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_databases_have_the_same_steps() {
        assert_eq!(super::SQLITE.len(), super::POSTGRES.len());
    }
}
