//! Tokens that are refused before they expire, by token (`jti`) or by person (`sub`). A row is kept as long as a token
//! it stops could live.

use crate::{
    db::{Db, on},
    error::{Result, StoreError},
    next_change,
};
use jiff::Timestamp;

/// What is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RevocationKind {
    /// One token.
    Jti,
    /// Every token of one person.
    Sub,
}

impl RevocationKind {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jti => "jti",
            Self::Sub => "sub",
        }
    }
}

/// One revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationRow {
    /// What `value` names.
    pub kind: RevocationKind,
    /// The `jti` or `sub`.
    pub value: String,
    /// Until when it is kept.
    pub until: Timestamp,
    /// The number of its last change.
    pub changed_seq: i64,
}

impl RevocationRow {
    pub(crate) fn read((kind, value, until, changed_seq): (String, String, i64, i64)) -> Result<Self> {
        const DAMAGED: StoreError = StoreError::Damaged("revocations");
        let kind = match kind.as_str() {
            "jti" => RevocationKind::Jti,
            "sub" => RevocationKind::Sub,
            _ => return Err(DAMAGED),
        };
        let until = Timestamp::from_millisecond(until).map_err(|_| DAMAGED)?;
        Ok(Self { kind, value, until, changed_seq })
    }
}

/// Revoked tokens.
pub struct Revocations<'a>(pub(crate) &'a Db);

impl Revocations<'_> {
    /// Revokes; a later `until` of the same value wins.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn add(&self, kind: RevocationKind, value: &str, until: Timestamp) -> Result<()> {
        let db = self.0;
        let sql = "INSERT INTO revocations (kind, value, until, changed_seq) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (kind, value) DO UPDATE SET changed_seq = excluded.changed_seq, until = \
                   CASE WHEN excluded.until > revocations.until THEN excluded.until ELSE revocations.until END";
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let seq = next_change!(tx);
                sqlx::query(sql)
                    .bind(kind.as_str())
                    .bind(value)
                    .bind(until.as_millisecond())
                    .bind(seq)
                    .execute(&mut *tx)
                    .await?;
                tx.commit().await
            })
        })
        .await
    }

    /// Forgets what no living token can need any more; says how many.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn purge(&self, now: Timestamp) -> Result<u64> {
        let db = self.0;
        let sql = "DELETE FROM revocations WHERE until <= $1";
        db.call(async {
            on!(db, write pool => {
                let done = sqlx::query(sql).bind(now.as_millisecond()).execute(pool).await?;
                Ok(done.rows_affected())
            })
        })
        .await
    }
}
