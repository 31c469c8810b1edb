//! Passages of documents and their vectors, for several processes that answer from one collection: generations of rows
//! of which one is active. Only Postgres has them, with the extension `vector` (pgvector, from 0.8); what a row means is
//! known to who wrote it.
//!
//! Invariants: rows of a generation are invisible until its counts are right and it is made active, in one transaction;
//! whoever reads by generation reads that one to its end, or finds that it is gone. Source: ask design section 5.

use crate::{
    Store,
    db::{Db, Pools},
    error::{Result, StoreError},
};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

/// Most numbers of a vector that pgvector makes an index for; longer ones are compared one by one.
const MOST_INDEXED: usize = 2_000;
/// Rows of one statement when they are written.
const WRITTEN: usize = 200;
/// Rows of one page when they are read.
const PAGE: i64 = 1_000;
/// How many neighbours the index looks at: more than any list is long, so that little is missed.
const LOOK_AT: usize = 400;
/// Seconds after which a generation that nobody finished is swept.
const ABANDONED_SECS: i64 = 86_400;
/// Held while tables and indexes are made, so that processes that start together take turns. Any number of our own.
const TURN: i64 = 0x706f_7274_6375_6c6c;

/// How long to wait for a writer that is just leaving, in milliseconds.
const LEAVING_MS: u64 = 1_000;
/// Postgres' code for a lock that was not got in time.
const NOT_GOT: &str = "55P03";

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS knowledge_generations (
    collection text NOT NULL, generation bigint NOT NULL, created_at bigint NOT NULL, space text,
    documents bigint NOT NULL DEFAULT 0, passages bigint NOT NULL DEFAULT 0, published boolean NOT NULL DEFAULT false,
    PRIMARY KEY (collection, generation));
CREATE TABLE IF NOT EXISTS knowledge_active (
    collection text PRIMARY KEY, active_generation bigint NOT NULL,
    FOREIGN KEY (collection, active_generation) REFERENCES knowledge_generations (collection, generation));
CREATE TABLE IF NOT EXISTS knowledge_documents (
    collection text NOT NULL, generation bigint NOT NULL, n integer NOT NULL, body text NOT NULL, hash text NOT NULL,
    vectors_hash text NOT NULL, PRIMARY KEY (collection, generation, n),
    FOREIGN KEY (collection, generation) REFERENCES knowledge_generations (collection, generation) ON DELETE CASCADE);
CREATE TABLE IF NOT EXISTS knowledge_chunks (
    collection text NOT NULL, generation bigint NOT NULL, n integer NOT NULL, document integer NOT NULL,
    body text NOT NULL, meaning vector, PRIMARY KEY (collection, generation, n),
    FOREIGN KEY (collection, generation) REFERENCES knowledge_generations (collection, generation) ON DELETE CASCADE);";

/// A generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassageGeneration {
    /// Its number.
    pub generation: i64,
    /// When it was begun, in Unix seconds.
    pub created_at: i64,
    /// Space of its vectors, as its writer wrote it.
    pub space: Option<String>,
    /// How many documents it has.
    pub documents: i64,
    /// How many passages it has.
    pub passages: i64,
}

/// A document's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassageDocument {
    /// Its position.
    pub n: i32,
    /// It itself, as its writer wrote it.
    pub body: String,
    /// Sum over it and the texts of its passages.
    pub hash: String,
    /// Sum over the vectors of its passages.
    pub vectors_hash: String,
}

/// A passage's row.
#[derive(Clone, Debug, PartialEq)]
pub struct PassageRow {
    /// Its position.
    pub n: i32,
    /// Position of its document.
    pub document: i32,
    /// It itself, as its writer wrote it.
    pub body: String,
    /// Its vector.
    pub vector: Option<Vec<f32>>,
}

/// What is asked for by meaning.
#[derive(Clone, Copy, Debug)]
pub struct Nearest<'a> {
    /// Of which generation.
    pub generation: i64,
    /// The question's vector.
    pub question: &'a [f32],
    /// Positions of the documents to look at; none: all.
    pub only: Option<&'a [i32]>,
    /// Most passages.
    pub most: usize,
}

/// The right to write a collection, held by a connection of its own: it goes with the process that has it.
pub struct PassageLock(
    #[expect(dead_code, reason = "held for its Drop: the server sees its connection end")] PgConnection,
);

impl std::fmt::Debug for PassageLock {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("PassageLock")
    }
}

/// What came of publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publishing {
    /// It is active.
    Done,
    /// Another generation became active meanwhile, which this one knows nothing of. Nothing was changed.
    Overtaken,
}

/// Passages of one collection.
pub struct Passages<'a> {
    db: &'a Db,
    pool: &'a PgPool,
    collection: &'a str,
}

impl Store {
    /// The passages of a collection.
    ///
    /// # Errors
    /// [`StoreError::Vectors`] when the store is not Postgres.
    pub fn passages<'a>(&'a self, collection: &'a str) -> Result<Passages<'a>> {
        match &self.0.db.pools {
            Pools::Postgres(pool) => Ok(Passages { db: &self.0.db, pool, collection }),
            Pools::Sqlite { .. } => {
                Err(StoreError::Vectors("it is SQLite, and only Postgres keeps them".into()))
            }
        }
    }
}

impl Store {
    /// Names of the collections that have passages, in order. Their tables are there: [`Passages::prepare`].
    ///
    /// # Errors
    /// [`StoreError::Vectors`] when the store is not Postgres; a database that is away.
    pub async fn passage_collections(&self) -> Result<Vec<String>> {
        let rows = self.passages("")?;
        let sql = "SELECT DISTINCT collection FROM knowledge_generations WHERE published ORDER BY collection";
        rows.db.call(async { sqlx::query_scalar(sql).fetch_all(rows.pool).await }).await
    }
}

impl Passages<'_> {
    /// Makes extension and tables, where they are not there.
    ///
    /// # Errors
    /// [`StoreError::Vectors`] when the extension is missing, too old, or may not be made; a database that is away.
    pub async fn prepare(&self) -> Result<()> {
        let sql =
            "SELECT default_version, installed_version FROM pg_available_extensions WHERE name = 'vector'";
        let found = self.db.call(async { sqlx::query_as(sql).fetch_optional(self.pool).await }).await?;
        let missing = "the server lacks the extension `vector` (pgvector): install its package on the server";
        let (offered, installed): (Option<String>, Option<String>) =
            found.ok_or_else(|| StoreError::Vectors(missing.into()))?;
        let version = installed.or(offered).unwrap_or_default();
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < (0, 8) {
            let words = format!("its extension `vector` has version {version}, and 0.8 is needed");
            return Err(StoreError::Vectors(words));
        }
        let made = self.in_turn("CREATE EXTENSION IF NOT EXISTS vector").await;
        if let Err(StoreError::Refused(why)) = made {
            return Err(StoreError::Vectors(format!(
                "the extension `vector` cannot be made ({why}): have an administrator run CREATE EXTENSION vector"
            )));
        }
        made?;
        self.in_turn(TABLES).await
    }

    /// Takes the collection for writing, among all processes of this database; none when another has it.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn lock(&self) -> Result<Option<PassageLock>> {
        let sql = "SELECT pg_advisory_lock(hashtextextended('portcullis knowledge ' || $1, 0))";
        self.db
            .call(async {
                let mut connection = self.pool.acquire().await?.detach();
                sqlx::raw_sql(AssertSqlSafe(format!("SET lock_timeout = {LEAVING_MS}")))
                    .execute(&mut connection)
                    .await?;
                match sqlx::query(sql).bind(self.collection).execute(&mut connection).await {
                    Ok(_) => Ok(Some(PassageLock(connection))),
                    Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(NOT_GOT) => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .await
    }

    /// Some statements in one transaction, one process at a time.
    async fn in_turn(&self, sql: &'static str) -> Result<()> {
        self.db
            .call(async {
                let mut tx = self.pool.begin().await?;
                sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(TURN).execute(&mut *tx).await?;
                sqlx::raw_sql(sql).execute(&mut *tx).await?;
                tx.commit().await
            })
            .await
    }

    /// An index over vectors of that length, where there is none and pgvector can.
    async fn index(&self, dimensions: usize) -> Result<()> {
        if dimensions > MOST_INDEXED {
            return Ok(());
        }
        let sql = format!(
            "CREATE INDEX IF NOT EXISTS knowledge_chunks_hnsw_{dimensions} ON knowledge_chunks USING hnsw \
             ((meaning::vector({dimensions})) vector_cosine_ops) WHERE vector_dims(meaning) = {dimensions}"
        );
        self.db
            .call(async {
                let mut tx = self.pool.begin().await?;
                sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(TURN).execute(&mut *tx).await?;
                sqlx::query(AssertSqlSafe(sql)).execute(&mut *tx).await?;
                tx.commit().await
            })
            .await
    }

    /// Every finished generation, rising.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn generations(&self) -> Result<Vec<PassageGeneration>> {
        let sql = "SELECT generation, created_at, space, documents, passages FROM knowledge_generations \
                   WHERE collection = $1 AND published ORDER BY generation";
        let rows: Vec<(i64, i64, Option<String>, i64, i64)> = self
            .db
            .call(async { sqlx::query_as(sql).bind(self.collection).fetch_all(self.pool).await })
            .await?;
        let row = |(generation, created_at, space, documents, passages)| PassageGeneration {
            generation,
            created_at,
            space,
            documents,
            passages,
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Which generation is active.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn active(&self) -> Result<Option<i64>> {
        let sql = "SELECT active_generation FROM knowledge_active WHERE collection = $1";
        self.db
            .call(async { sqlx::query_scalar(sql).bind(self.collection).fetch_optional(self.pool).await })
            .await
    }

    /// Begins a generation that nobody sees yet; its number. Sweeps what others began and left.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when somebody else began one at the same moment; a database that is away.
    pub async fn begin(&self, space: Option<&str>, dimensions: Option<usize>, now: i64) -> Result<i64> {
        if let Some(dimensions) = dimensions {
            self.index(dimensions).await?;
        }
        let sweep =
            "DELETE FROM knowledge_generations WHERE collection = $1 AND NOT published AND created_at < $2";
        let begin = "INSERT INTO knowledge_generations (collection, generation, created_at, space) \
                     SELECT $1, coalesce(max(generation), 0) + 1, $2, $3 FROM knowledge_generations \
                     WHERE collection = $1 RETURNING generation";
        self.db
            .call(async {
                let mut tx = self.pool.begin().await?;
                let old = now.saturating_sub(ABANDONED_SECS);
                sqlx::query(sweep).bind(self.collection).bind(old).execute(&mut *tx).await?;
                let begun = sqlx::query_scalar(begin).bind(self.collection).bind(now).bind(space);
                let number = begun.fetch_one(&mut *tx).await?;
                tx.commit().await.map(|()| number)
            })
            .await
    }

    /// Adds rows to a generation that was begun.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn add(
        &self,
        generation: i64,
        documents: &[PassageDocument],
        passages: &[PassageRow],
    ) -> Result<()> {
        let sql = "INSERT INTO knowledge_documents (collection, generation, n, body, hash, vectors_hash) \
                   SELECT $1, $2, * FROM unnest($3::int[], $4::text[], $5::text[], $6::text[])";
        for rows in documents.chunks(WRITTEN) {
            let n: Vec<i32> = rows.iter().map(|row| row.n).collect();
            let body: Vec<&str> = rows.iter().map(|row| row.body.as_str()).collect();
            let hash: Vec<&str> = rows.iter().map(|row| row.hash.as_str()).collect();
            let vectors: Vec<&str> = rows.iter().map(|row| row.vectors_hash.as_str()).collect();
            let insert =
                sqlx::query(sql).bind(self.collection).bind(generation).bind(n).bind(body).bind(hash);
            self.db.call(async { insert.bind(vectors).execute(self.pool).await.map(drop) }).await?;
        }
        let sql = "INSERT INTO knowledge_chunks (collection, generation, n, document, body, meaning) \
                   SELECT $1, $2, n, document, body, meaning::vector \
                   FROM unnest($3::int[], $4::int[], $5::text[], $6::text[]) AS rows (n, document, body, meaning)";
        for rows in passages.chunks(WRITTEN) {
            let n: Vec<i32> = rows.iter().map(|row| row.n).collect();
            let document: Vec<i32> = rows.iter().map(|row| row.document).collect();
            let body: Vec<&str> = rows.iter().map(|row| row.body.as_str()).collect();
            let meaning: Vec<Option<String>> =
                rows.iter().map(|row| row.vector.as_deref().map(written)).collect();
            let insert =
                sqlx::query(sql).bind(self.collection).bind(generation).bind(n).bind(document).bind(body);
            self.db.call(async { insert.bind(meaning).execute(self.pool).await.map(drop) }).await?;
        }
        Ok(())
    }

    /// Makes a generation active, when its rows are as many as told and `based` is still the active one.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when rows are missing; a database that is away. Then the old one is active.
    pub async fn publish(
        &self,
        generation: i64,
        (documents, passages): (i64, i64),
        based: Option<i64>,
    ) -> Result<Publishing> {
        let turn = "SELECT pg_advisory_xact_lock(hashtextextended('portcullis publish ' || $1, 0))";
        let active = "SELECT active_generation FROM knowledge_active WHERE collection = $1";
        let count = "SELECT (SELECT count(*) FROM knowledge_documents WHERE collection = $1 AND generation = $2), \
                     (SELECT count(*) FROM knowledge_chunks WHERE collection = $1 AND generation = $2)";
        let finish = "UPDATE knowledge_generations SET documents = $3, passages = $4, published = true \
                      WHERE collection = $1 AND generation = $2";
        let collection = self.collection;
        let came = self
            .db
            .call(async {
                let mut tx = self.pool.begin().await?;
                sqlx::query(turn).bind(collection).execute(&mut *tx).await?;
                let now: Option<i64> =
                    sqlx::query_scalar(active).bind(collection).fetch_optional(&mut *tx).await?;
                if now != based {
                    return Ok(Some(Publishing::Overtaken));
                }
                let found: (i64, i64) =
                    sqlx::query_as(count).bind(collection).bind(generation).fetch_one(&mut *tx).await?;
                if found != (documents, passages) {
                    return Ok(None);
                }
                let finish =
                    sqlx::query(finish).bind(collection).bind(generation).bind(documents).bind(passages);
                finish.execute(&mut *tx).await?;
                sqlx::query(ACTIVATE).bind(collection).bind(generation).execute(&mut *tx).await?;
                tx.commit().await.map(|()| Some(Publishing::Done))
            })
            .await?;
        came.ok_or(StoreError::Damaged("knowledge_chunks"))
    }

    /// Removes finished generations before the active one but for the newest `keep`, and those that were given up; how many.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn prune(&self, keep: i64, given_up: &[i64]) -> Result<u64> {
        let sql = "WITH active AS (SELECT active_generation AS n FROM knowledge_active WHERE collection = $1), \
                   old AS (SELECT generation FROM knowledge_generations, active WHERE collection = $1 AND published \
                   AND generation < n AND generation <> ALL($3) ORDER BY generation DESC OFFSET $2) \
                   DELETE FROM knowledge_generations USING active WHERE collection = $1 AND generation <> n \
                   AND (generation IN (SELECT generation FROM old) OR generation = ANY($3))";
        let remove = sqlx::query(sql).bind(self.collection).bind(keep).bind(given_up.to_vec());
        self.db.call(async { remove.execute(self.pool).await.map(|done| done.rows_affected()) }).await
    }

    /// Makes an older generation active. Whether there is such a one.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn activate(&self, generation: i64) -> Result<bool> {
        let known = self.generations().await?.iter().any(|row| row.generation == generation);
        if known {
            let set = sqlx::query(ACTIVATE).bind(self.collection).bind(generation);
            self.db.call(async { set.execute(self.pool).await.map(drop) }).await?;
        }
        Ok(known)
    }

    /// The documents of a generation, by position.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn documents(&self, generation: i64) -> Result<Vec<PassageDocument>> {
        let sql = "SELECT n, body, hash, vectors_hash FROM knowledge_documents \
                   WHERE collection = $1 AND generation = $2 AND n > $3 ORDER BY n LIMIT $4";
        let mut out: Vec<PassageDocument> = Vec::new();
        loop {
            let after = out.last().map_or(-1, |row| row.n);
            let page = sqlx::query_as(sql).bind(self.collection).bind(generation).bind(after).bind(PAGE);
            let page: Vec<(i32, String, String, String)> =
                self.db.call(async { page.fetch_all(self.pool).await }).await?;
            if page.is_empty() {
                return Ok(out);
            }
            let row = |(n, body, hash, vectors_hash)| PassageDocument { n, body, hash, vectors_hash };
            out.extend(page.into_iter().map(row));
        }
    }

    /// Passages after that position, a page of them; none: the end.
    ///
    /// # Errors
    /// A vector that cannot be read; a database that is away.
    pub async fn rows(&self, generation: i64, after: i32, with_vectors: bool) -> Result<Vec<PassageRow>> {
        let sql = if with_vectors {
            "SELECT n, document, body, meaning::text FROM knowledge_chunks \
             WHERE collection = $1 AND generation = $2 AND n > $3 ORDER BY n LIMIT $4"
        } else {
            "SELECT n, document, body, NULL::text FROM knowledge_chunks \
             WHERE collection = $1 AND generation = $2 AND n > $3 ORDER BY n LIMIT $4"
        };
        let page = sqlx::query_as(sql).bind(self.collection).bind(generation).bind(after).bind(PAGE);
        let page: Vec<(i32, i32, String, Option<String>)> =
            self.db.call(async { page.fetch_all(self.pool).await }).await?;
        page.into_iter()
            .map(|(n, document, body, meaning)| {
                let vector = meaning.as_deref().map(read).transpose()?;
                Ok(PassageRow { n, document, body, vector })
            })
            .collect()
    }

    /// The passages nearest to a question, with their cosines, nearest first.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn nearest(&self, asked: Nearest<'_>) -> Result<Vec<(i32, f32)>> {
        let dimensions = asked.question.len();
        // The cast and the condition are those of the index, or it would not be used.
        let typed =
            if dimensions > MOST_INDEXED { "vector".to_owned() } else { format!("vector({dimensions})") };
        let sql = format!(
            "SELECT n, (1 - (meaning::{typed} <=> $3::{typed}))::real FROM knowledge_chunks \
             WHERE collection = $1 AND generation = $2 AND vector_dims(meaning) = {dimensions} \
             AND ($4::int[] IS NULL OR document = ANY($4)) ORDER BY meaning::{typed} <=> $3::{typed} LIMIT $5"
        );
        let (question, most) = (written(asked.question), i64::try_from(asked.most).unwrap_or(i64::MAX));
        let only = asked.only.map(<[i32]>::to_vec);
        let mut found: Vec<(i32, f32)> = self
            .db
            .call(async {
                let mut tx = self.pool.begin().await?;
                // Other collections and generations lie in the same index: it must go on until enough are found.
                let look = format!(
                    "SET LOCAL hnsw.ef_search = {}; SET LOCAL hnsw.iterative_scan = strict_order",
                    asked.most.clamp(LOOK_AT, 1_000)
                );
                sqlx::raw_sql(AssertSqlSafe(look)).execute(&mut *tx).await?;
                let query = sqlx::query_as(AssertSqlSafe(sql)).bind(self.collection).bind(asked.generation);
                let found = query.bind(question).bind(only).bind(most).fetch_all(&mut *tx).await?;
                tx.commit().await.map(|()| found)
            })
            .await?;
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Ok(found)
    }
}

const ACTIVATE: &str = "INSERT INTO knowledge_active (collection, active_generation) VALUES ($1, $2) \
                        ON CONFLICT (collection) DO UPDATE SET active_generation = excluded.active_generation";

/// A vector in pgvector's own words; each number in its shortest form that reads back as itself.
fn written(vector: &[f32]) -> String {
    let numbers: Vec<String> = vector.iter().map(f32::to_string).collect();
    format!("[{}]", numbers.join(","))
}

fn read(text: &str) -> Result<Vec<f32>> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let numbers = inner.map(|inner| inner.split(',').map(str::parse).collect::<Result<Vec<f32>, _>>());
    numbers.and_then(Result::ok).ok_or(StoreError::Damaged("knowledge_chunks"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_reads_back_as_itself() {
        let vector = [1.0, -0.1, 1e-30, f32::MIN_POSITIVE, 0.333_333_34, -12_345.678, 0.0];
        assert_eq!(read(&written(&vector)).unwrap(), vector);
        for wrong in ["", "1,2", "[1,x]", "[1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
