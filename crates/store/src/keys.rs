//! API keys as rows. Invariants: the plain key is never here, only its keyed digest; a key that was revoked stays
//! revoked; every change takes the next number of change, so that a replica that asks for what came after N misses
//! nothing. Source: gateway.md sections 13 and 14.

use crate::{
    PAGE,
    db::{Db, on},
    error::{Result, StoreError},
    next_change,
    revocations::RevocationRow,
};
use jiff::Timestamp;
use portcullis_domain::{Scopes, Tier};
use std::collections::BTreeMap;

/// Where a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// Made by itself at the first start. It does not count as "a key is configured".
    First,
    /// Made by somebody.
    Made,
}

impl KeyOrigin {
    const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Made => "made",
        }
    }
}

/// A key to be kept.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its public id: part of the key, unique.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// HMAC-SHA256 of the whole key.
    pub digest: [u8; 32],
    /// Service level.
    pub tier: Tier,
    /// What it allows.
    pub scopes: Scopes,
    /// Routes it may use; empty means all.
    pub routes: Vec<String>,
    /// Free words of the operator.
    pub labels: BTreeMap<String, String>,
    /// What else binds it: JSON of the crate that owns its meaning.
    pub bounds: serde_json::Value,
    /// Where it comes from.
    pub origin: KeyOrigin,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

/// A key as kept.
#[derive(Clone, Debug)]
pub struct KeyRow {
    /// What it was made with, or changed to since.
    pub key: NewKey,
    /// The digest it had before it was rotated, and until when that is still good.
    pub old: Option<([u8; 32], Timestamp)>,
    /// Since when it is refused.
    pub revoked_at: Option<Timestamp>,
    /// The number of its last change.
    pub changed_seq: i64,
}

/// What changed after a number.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Keys made or revoked.
    pub keys: Vec<KeyRow>,
    /// Tokens and subjects revoked.
    pub revocations: Vec<RevocationRow>,
    /// Ask again from here.
    pub cursor: i64,
    /// Whether there is more to ask for now.
    pub more: bool,
}

type Raw = (
    String,
    String,
    Vec<u8>,
    String,
    String,
    String,
    String,
    String,
    i64,
    Option<i64>,
    Option<i64>,
    i64,
    String,
    Option<Vec<u8>>,
    Option<i64>,
);

/// A revocation as kept.
type RawRevocation = (String, String, i64, i64);

/// API keys.
pub struct Keys<'a>(pub(crate) &'a Db);

macro_rules! columns {
    () => {
        "id, name, digest, tier, scopes, routes, labels, origin, created_at, expires_at, revoked_at, changed_seq, \
         bounds, old_digest, old_until"
    };
}

const INSERT: &str = concat!(
    "INSERT INTO api_keys (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, NULL, $11, $12, NULL, NULL)"
);

const UPDATE: &str = "UPDATE api_keys SET name = $2, digest = $3, tier = $4, scopes = $5, routes = $6, labels = $7, \
                      expires_at = $8, bounds = $9, old_digest = $10, old_until = $11, changed_seq = $12 \
                      WHERE id = $1 AND changed_seq = $13 AND revoked_at IS NULL";

fn scope_words(key: &NewKey) -> String {
    let scopes: Vec<_> = key.scopes.iter().map(portcullis_domain::Scope::as_str).collect();
    scopes.join(" ")
}

macro_rules! insert {
    ($tx:expr, $key:expr, $seq:expr) => {{
        sqlx::query(INSERT)
            .bind(&$key.id)
            .bind(&$key.name)
            .bind($key.digest.as_slice())
            .bind($key.tier.as_str())
            .bind(scope_words($key))
            .bind(serde_json::json!($key.routes).to_string())
            .bind(serde_json::json!($key.labels).to_string())
            .bind($key.origin.as_str())
            .bind($key.created_at.as_millisecond())
            .bind($key.expires_at.map(Timestamp::as_millisecond))
            .bind($seq)
            .bind($key.bounds.to_string())
            .execute(&mut *$tx)
            .await?
    }};
}

impl Keys<'_> {
    /// Keeps a key.
    ///
    /// # Errors
    /// [`StoreError::Exists`] for an id that is taken; a database that is away.
    pub async fn create(&self, key: &NewKey) -> Result<KeyRow> {
        let db = self.0;
        let changed_seq = db
            .call(async {
                on!(db, write pool => {
                    let mut tx = pool.begin().await?;
                    let seq = next_change!(tx);
                    insert!(tx, key, seq);
                    tx.commit().await.map(|()| seq)
                })
            })
            .await?;
        Ok(KeyRow { key: key.clone(), old: None, revoked_at: None, changed_seq })
    }

    /// Keeps a key if there is no other at all, revoked ones included. Of several processes that try at the same time
    /// exactly one succeeds.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn create_first(&self, key: &NewKey) -> Result<bool> {
        let db = self.0;
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                // Locks the counter, so that another first start waits here and then sees our key.
                let seq = next_change!(tx);
                let any: Option<(i32,)> =
                    sqlx::query_as("SELECT 1 FROM api_keys LIMIT 1").fetch_optional(&mut *tx).await?;
                if any.is_some() {
                    return tx.rollback().await.map(|()| false);
                }
                insert!(tx, key, seq);
                tx.commit().await.map(|()| true)
            })
        })
        .await
    }

    /// The key of that id.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn get(&self, id: &str) -> Result<Option<KeyRow>> {
        let db = self.0;
        let sql = concat!("SELECT ", columns!(), " FROM api_keys WHERE id = $1");
        let raw: Option<Raw> = db
            .call(async { on!(db, read pool => sqlx::query_as(sql).bind(id).fetch_optional(pool).await) })
            .await?;
        raw.map(row).transpose()
    }

    /// Every key, oldest first, revoked ones included; at most `limit`.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn list(&self, limit: u32) -> Result<Vec<KeyRow>> {
        let db = self.0;
        let sql = concat!("SELECT ", columns!(), " FROM api_keys ORDER BY created_at, id LIMIT $1");
        let raw: Vec<Raw> = db
            .call(async {
                on!(db, read pool => sqlx::query_as(sql).bind(i64::from(limit)).fetch_all(pool).await)
            })
            .await?;
        raw.into_iter().map(row).collect()
    }

    /// Changes a key to what the row says, if nobody changed it since the row was read and it is not revoked. Id,
    /// origin and time of making stay. The row with its new number; none when it was not changed.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn update(&self, row: &KeyRow) -> Result<Option<KeyRow>> {
        let (db, key) = (self.0, &row.key);
        let old = row.old.as_ref();
        let seq = db
            .call(async {
                on!(db, write pool => {
                    let mut tx = pool.begin().await?;
                    let seq = next_change!(tx);
                    let done = sqlx::query(UPDATE)
                        .bind(&key.id)
                        .bind(&key.name)
                        .bind(key.digest.as_slice())
                        .bind(key.tier.as_str())
                        .bind(scope_words(key))
                        .bind(serde_json::json!(key.routes).to_string())
                        .bind(serde_json::json!(key.labels).to_string())
                        .bind(key.expires_at.map(Timestamp::as_millisecond))
                        .bind(key.bounds.to_string())
                        .bind(old.map(|(digest, _)| digest.as_slice()))
                        .bind(old.map(|(_, until)| until.as_millisecond()))
                        .bind(seq)
                        .bind(row.changed_seq)
                        .execute(&mut *tx)
                        .await?;
                    tx.commit().await.map(|()| (done.rows_affected() == 1).then_some(seq))
                })
            })
            .await?;
        Ok(seq.map(|changed_seq| KeyRow { changed_seq, ..row.clone() }))
    }

    /// Revokes the key for good. Says whether it was there and not revoked before.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn revoke(&self, id: &str, now: Timestamp) -> Result<bool> {
        let db = self.0;
        let sql =
            "UPDATE api_keys SET revoked_at = $2, changed_seq = $3 WHERE id = $1 AND revoked_at IS NULL";
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let seq = next_change!(tx);
                let done =
                    sqlx::query(sql).bind(id).bind(now.as_millisecond()).bind(seq).execute(&mut *tx).await?;
                tx.commit().await.map(|()| done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Whether somebody ever made a key, revoked ones included: then the door is closed to those without. Taking the
    /// last key away must not open it again.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn any_made(&self) -> Result<bool> {
        let db = self.0;
        let sql = "SELECT 1 FROM api_keys WHERE origin = 'made' LIMIT 1";
        let found: Option<(i32,)> =
            db.call(async { on!(db, read pool => sqlx::query_as(sql).fetch_optional(pool).await) }).await?;
        Ok(found.is_some())
    }

    /// Keys and revocations changed after `cursor`, in order of change, a page at a time.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn changed_since(&self, cursor: i64) -> Result<Changes> {
        let db = self.0;
        let newest = "SELECT value FROM meta WHERE name = 'changes'";
        let keys = concat!(
            "SELECT ",
            columns!(),
            " FROM api_keys WHERE changed_seq > $1 AND changed_seq <= $2 ORDER BY changed_seq LIMIT $3"
        );
        let revocations = "SELECT kind, value, until, changed_seq FROM revocations \
                           WHERE changed_seq > $1 AND changed_seq <= $2 ORDER BY changed_seq LIMIT $3";
        let (newest, keys, revocations): (i64, Vec<Raw>, Vec<RawRevocation>) = db
            .call(async {
                on!(db, read pool => {
                    // The bound first: whatever is committed between the two lists is left for the next time in both.
                    let newest: i64 = sqlx::query_scalar(newest).fetch_one(pool).await?;
                    if newest <= cursor {
                        return Ok((newest, Vec::new(), Vec::new()));
                    }
                    let keys = sqlx::query_as(keys).bind(cursor).bind(newest).bind(PAGE).fetch_all(pool).await?;
                    let revocations =
                        sqlx::query_as(revocations).bind(cursor).bind(newest).bind(PAGE).fetch_all(pool).await?;
                    Ok((newest, keys, revocations))
                })
            })
            .await?;
        page(newest, keys, revocations)
    }
}

/// One page of both tables.
fn page(newest: i64, keys: Vec<Raw>, revocations: Vec<RawRevocation>) -> Result<Changes> {
    let full = usize::try_from(PAGE).unwrap_or(usize::MAX);
    let mut keys = keys.into_iter().map(row).collect::<Result<Vec<_>>>()?;
    let mut revocations = revocations.into_iter().map(RevocationRow::read).collect::<Result<Vec<_>>>()?;
    let last_key = keys.get(full - 1).map(|key| key.changed_seq);
    let last_revocation = revocations.get(full - 1).map(|row| row.changed_seq);
    let (cursor, more) = cut(newest, last_key, last_revocation);
    keys.retain(|key| key.changed_seq <= cursor);
    revocations.retain(|row| row.changed_seq <= cursor);
    Ok(Changes { keys, revocations, cursor, more })
}

/// Where a page ends, from the last numbers of the lists that are full, and whether there is more. Rows of the other
/// list beyond that end wait for the next page: otherwise the cursor would pass over what the full list left out.
fn cut(newest: i64, last_key: Option<i64>, last_revocation: Option<i64>) -> (i64, bool) {
    let end = last_key.into_iter().chain(last_revocation).min();
    (end.unwrap_or(newest), end.is_some())
}

fn row(raw: Raw) -> Result<KeyRow> {
    const DAMAGED: StoreError = StoreError::Damaged("api_keys");
    let (id, name, digest, tier, scopes, routes, labels, origin, created, expires, revoked, changed_seq) =
        (raw.0, raw.1, raw.2, raw.3, raw.4, raw.5, raw.6, raw.7, raw.8, raw.9, raw.10, raw.11);
    let (bounds, old_digest, old_until) = (raw.12, raw.13, raw.14);
    let time = |ms: i64| Timestamp::from_millisecond(ms).map_err(|_| DAMAGED);
    Ok(KeyRow {
        key: NewKey {
            id,
            name,
            digest: digest.try_into().map_err(|_| DAMAGED)?,
            tier: Tier::from_name(&tier),
            scopes: Scopes::parse(scopes.split_whitespace()).map_err(|_| DAMAGED)?,
            routes: serde_json::from_str(&routes).map_err(|_| DAMAGED)?,
            labels: serde_json::from_str(&labels).map_err(|_| DAMAGED)?,
            bounds: serde_json::from_str(&bounds).map_err(|_| DAMAGED)?,
            origin: if origin == KeyOrigin::First.as_str() { KeyOrigin::First } else { KeyOrigin::Made },
            created_at: time(created)?,
            expires_at: expires.map(time).transpose()?,
        },
        old: match (old_digest, old_until) {
            (Some(digest), Some(until)) => Some((digest.try_into().map_err(|_| DAMAGED)?, time(until)?)),
            (_, _) => None,
        },
        revoked_at: revoked.map(time).transpose()?,
        changed_seq,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn page_by_page_every_change_of_both_tables_is_seen_exactly_once(
            kinds in proptest::collection::vec(any::<bool>(), 0..60),
            full in 1..7_usize,
        ) {
            let (mut keys, mut others) = (Vec::new(), Vec::new());
            for (seq, key) in (1_i64..).zip(&kinds) {
                if *key { keys.push(seq) } else { others.push(seq) }
            }
            let newest = i64::try_from(kinds.len()).unwrap();
            let (mut cursor, mut seen) = (0, Vec::new());
            loop {
                let list = |all: &[i64]| -> Vec<i64> {
                    all.iter().copied().filter(|seq| *seq > cursor).take(full).collect()
                };
                let (some_keys, some_others) = (list(&keys), list(&others));
                let (end, more) =
                    cut(newest, some_keys.get(full - 1).copied(), some_others.get(full - 1).copied());
                seen.extend(some_keys.into_iter().chain(some_others).filter(|seq| *seq <= end));
                cursor = end;
                if !more {
                    break;
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (1..=newest).collect::<Vec<_>>());
        }
    }
}
