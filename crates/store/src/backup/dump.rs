//! Backups of PostgreSQL, as rows: JSON lines, compressed with Zstandard. A line that is a list says what follows or that
//! it was all; every other line is a row of the table that was named last.
//!
//! Invariants: all rows are of one moment; they are read into empty tables, all in one transaction or none; a dump that
//! was cut off is not read. Collections of documents (`knowledge_…`) are not in it: they are taken in again.

use super::{
    Backups, Made, Restored,
    names::{Kind, Name},
    wrong,
};
use crate::{
    StoreParts,
    condition::io_error,
    db,
    error::{Result, StoreError},
    files, migrations,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, BufReader, Write},
    time::Duration,
};

/// Rows of one statement.
const AT_ONCE: usize = 500;
/// Zstandard's own default.
const LEVEL: i32 = 3;
/// Of the format.
const VERSION: u64 = 1;

fn refused(error: sqlx::Error) -> StoreError {
    StoreError::from_driver(&error, Duration::from_secs(1))
}

async fn connect(parts: &StoreParts<'_>, url: &str) -> Result<PgPool> {
    let (statement, connect) = (Duration::ZERO, Duration::from_millis(parts.config.connect_timeout_ms));
    db::postgres_pool(parts.config, url, statement, connect).await
}

impl Backups {
    /// Writes all rows of a PostgreSQL database into a file.
    pub(super) async fn dump(&self, parts: &StoreParts<'_>, url: &str, now: Timestamp) -> Result<Made> {
        let pool = connect(parts, url).await?;
        let (name, temporary) = self.begin(|at| Name::new(at, Kind::Dump), now)?;
        let dumped = async {
            files::touch(&temporary)?;
            let failed = |error| io_error(&temporary, error);
            let file = files::open_to_change(&temporary)?;
            let mut out = zstd::stream::write::Encoder::new(file, LEVEL).map_err(failed)?;
            let rows = write_rows(&pool, now, &mut out).await?;
            out.finish().and_then(|file| file.sync_all()).map_err(failed)?;
            self.finish(name, &temporary).await.map(|made| Made { rows, ..made })
        };
        let dumped = dumped.await;
        drop(fs::remove_file(&temporary));
        pool.close().await;
        dumped
    }

    /// Reads a dump into the empty tables of a PostgreSQL database.
    pub(super) async fn load(
        &self,
        parts: &StoreParts<'_>,
        url: &str,
        name: &Name,
        now: Timestamp,
    ) -> Result<Restored> {
        let file = files::open_private(&self.path(name))?.ok_or_else(super::gone)?;
        let pool = connect(parts, url).await?;
        migrations::postgres(&pool).await?;
        let lines = BufReader::new(zstd::stream::read::Decoder::new(file).map_err(|_| cut())?);
        let loaded = read_rows(&pool, lines, now).await;
        pool.close().await;
        let (rows, unsent) = loaded?;
        Ok(Restored { name: name.to_string(), at: name.at(), rows, unsent, kept_as: None })
    }
}

fn cut() -> StoreError {
    wrong("it is cut off or no dump of Portcullis")
}

fn put(out: &mut impl Write, text: &str) -> Result<()> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n"));
    written.map_err(|error| StoreError::Backup(format!("the disk refuses: {error}")))
}

/// Tables of ours, each after those that it refers to.
async fn tables(connection: &mut PgConnection) -> Result<Vec<String>> {
    let sql = "SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace \
               AND c.relkind = 'r' AND c.relname NOT LIKE '\\_sqlx\\_%' AND c.relname NOT LIKE 'knowledge\\_%' ORDER BY 1";
    let found: Vec<(String,)> = sqlx::query_as(sql).fetch_all(&mut *connection).await.map_err(refused)?;
    let sql = "SELECT a.relname::text, b.relname::text FROM pg_constraint k JOIN pg_class a ON a.oid = k.conrelid \
               JOIN pg_class b ON b.oid = k.confrelid WHERE k.contype = 'f' AND a.oid <> b.oid \
               AND a.relnamespace = current_schema()::regnamespace";
    let refers: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(connection).await.map_err(refused)?;
    let mut waiting: Vec<String> = found.into_iter().map(|(table,)| table).collect();
    let mut ordered = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let blocked = |table: &String| {
            refers.iter().any(|(from, to)| from == table && waiting.iter().any(|other| other == to))
        };
        let (stay, go): (Vec<_>, Vec<_>) = waiting.iter().cloned().partition(blocked);
        if go.is_empty() {
            return Err(wrong("the tables refer to one another in a circle"));
        }
        ordered.extend(go);
        waiting = stay;
    }
    Ok(ordered)
}

async fn write_rows(pool: &PgPool, now: Timestamp, out: &mut impl Write) -> Result<BTreeMap<String, u64>> {
    let mut tx = pool.begin().await.map_err(refused)?;
    let snapshot = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
    sqlx::query(snapshot).execute(&mut *tx).await.map_err(refused)?;
    let sql = "SELECT version FROM _sqlx_migrations ORDER BY version";
    let steps: Vec<(i64,)> = sqlx::query_as(sql).fetch_all(&mut *tx).await.map_err(refused)?;
    let steps: Vec<i64> = steps.into_iter().map(|(step,)| step).collect();
    put(out, &json!(["portcullis", VERSION, steps, now.to_string()]).to_string())?;
    let mut counts = BTreeMap::new();
    for table in tables(&mut tx).await? {
        put(out, &json!(["table", table]).to_string())?;
        let open =
            format!("DECLARE rows NO SCROLL CURSOR FOR SELECT row_to_json(t)::text FROM \"{table}\" t");
        sqlx::query(AssertSqlSafe(open)).execute(&mut *tx).await.map_err(refused)?;
        let mut count = 0;
        loop {
            let next = AssertSqlSafe(format!("FETCH {AT_ONCE} FROM rows"));
            let rows: Vec<(String,)> = sqlx::query_as(next).fetch_all(&mut *tx).await.map_err(refused)?;
            if rows.is_empty() {
                break;
            }
            for (row,) in &rows {
                put(out, row)?;
            }
            count += rows.len() as u64;
        }
        sqlx::query("CLOSE rows").execute(&mut *tx).await.map_err(refused)?;
        counts.insert(table, count);
    }
    put(out, &json!(["end", counts.values().sum::<u64>()]).to_string())?;
    tx.rollback().await.map_err(refused)?;
    Ok(counts)
}

/// Rows of each table, and messages that waited to be sent.
async fn read_rows(
    pool: &PgPool,
    lines: impl io::BufRead,
    now: Timestamp,
) -> Result<(BTreeMap<String, u64>, u64)> {
    let mut tx = pool.begin().await.map_err(refused)?;
    let known = empty_tables(&mut tx).await?;
    let mut lines = lines.lines();
    let head =
        lines.next().and_then(|line| serde_json::from_str::<Value>(&line.ok()?).ok()).unwrap_or_default();
    if head.get(0).and_then(Value::as_str) != Some("portcullis") || head.get(1) != Some(&json!(VERSION)) {
        return Err(cut());
    }
    let steps = head.get(2).and_then(Value::as_array).ok_or_else(cut)?;
    if !steps.iter().filter_map(Value::as_i64).all(migrations::is_known) {
        return Err(wrong("it was made by a newer Portcullis. Mend: install that"));
    }
    let (mut counts, mut batch, mut end) = (BTreeMap::new(), Batch::default(), None);
    for line in lines {
        let line = line.map_err(|_| cut())?;
        if !line.starts_with('[') {
            batch.add(line);
            if batch.rows.len() >= AT_ONCE {
                batch.write(&mut tx, &mut counts).await?;
            }
            continue;
        }
        batch.write(&mut tx, &mut counts).await?;
        let word: Value = serde_json::from_str(&line).map_err(|_| cut())?;
        match (word.get(0).and_then(Value::as_str), word.get(1)) {
            (Some("table"), Some(Value::String(table))) if known.contains(table) => {
                counts.insert(table.clone(), 0);
                batch.table.clone_from(table);
            }
            (Some("end"), Some(rows)) => end = rows.as_u64(),
            _ => return Err(cut()),
        }
    }
    if end != Some(counts.values().sum()) {
        return Err(cut());
    }
    numbers_go_on(&mut tx).await?;
    let dead = "UPDATE outbox SET state = 'dead', reason = 'restored', settled_at = $1 \
                WHERE state IN ('queued', 'sending')";
    let dead = sqlx::query(dead).bind(now.as_millisecond()).execute(&mut *tx).await.map_err(refused)?;
    sqlx::query("DELETE FROM leases").execute(&mut *tx).await.map_err(refused)?;
    tx.commit().await.map_err(refused)?;
    Ok((counts, dead.rows_affected()))
}

/// Our tables, all of which must be empty; of `meta`, which a first start fills, the rows go.
async fn empty_tables(connection: &mut PgConnection) -> Result<BTreeSet<String>> {
    let tables = tables(connection).await?;
    for table in tables.iter().filter(|table| *table != "meta") {
        let sql = AssertSqlSafe(format!("SELECT EXISTS (SELECT 1 FROM \"{table}\")"));
        let (filled,): (bool,) = sqlx::query_as(sql).fetch_one(&mut *connection).await.map_err(refused)?;
        if filled {
            return Err(StoreError::Backup(format!(
                "the table `{table}` is not empty. Mend: name an empty database or schema in the store's URL"
            )));
        }
    }
    sqlx::query("DELETE FROM meta").execute(connection).await.map_err(refused)?;
    Ok(tables.into_iter().collect())
}

/// Rows of one table that are written together.
#[derive(Default)]
struct Batch {
    table: String,
    rows: Vec<String>,
}

impl Batch {
    fn add(&mut self, row: String) {
        self.rows.push(row);
    }

    /// Columns that the dump does not know keep their defaults.
    async fn write(
        &mut self,
        connection: &mut PgConnection,
        counts: &mut BTreeMap<String, u64>,
    ) -> Result<()> {
        let Some(first) = self.rows.first() else { return Ok(()) };
        let first: serde_json::Map<String, Value> = serde_json::from_str(first).map_err(|_| cut())?;
        if first.keys().any(|name| name.contains('"')) || self.table.is_empty() {
            return Err(cut());
        }
        let columns = first.keys().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "INSERT INTO \"{table}\" ({columns}) OVERRIDING SYSTEM VALUE \
             SELECT {columns} FROM json_populate_recordset(NULL::\"{table}\", $1::json)",
            table = self.table
        );
        let rows = format!("[{}]", self.rows.join(","));
        let done = sqlx::query(AssertSqlSafe(sql)).bind(rows).execute(connection).await;
        done.map_err(|error| StoreError::Backup(format!("a row of `{}` is not taken: {error}", self.table)))?;
        *counts.entry(self.table.clone()).or_default() += self.rows.len() as u64;
        self.rows.clear();
        Ok(())
    }
}

/// Columns that number their rows by themselves go on after the last number.
async fn numbers_go_on(connection: &mut PgConnection) -> Result<()> {
    let sql = "SELECT table_name::text, column_name::text FROM information_schema.columns \
               WHERE table_schema = current_schema() AND is_identity = 'YES' AND table_name NOT LIKE 'knowledge\\_%'";
    let columns: Vec<(String, String)> =
        sqlx::query_as(sql).fetch_all(&mut *connection).await.map_err(refused)?;
    for (table, column) in columns {
        let sql = format!(
            "SELECT setval(pg_get_serial_sequence('\"{table}\"', '{column}'), COALESCE(MAX(\"{column}\") + 1, 1), false) \
             FROM \"{table}\""
        );
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *connection).await.map_err(refused)?;
    }
    Ok(())
}
