//! Keys made, listed and revoked, tokens revoked: what the admin API and the command line do.

use super::{Keys, text};
use crate::{ids, jwt::Jwt};
use jiff::Timestamp;
use portcullis_domain::{Failure, Scope, Scopes, Tier};
use portcullis_store::{KeyOrigin, KeyRow, RevocationKind, StoreError};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

/// Keys shown in one list.
const MOST_LISTED: u32 = 10_000;

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What people call it, 1 to 64 characters.
    pub name: String,
    /// Service level; must be configured.
    pub tier: Tier,
    /// What it allows.
    pub scopes: Scopes,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

/// What anybody who may read keys is told about one. Never the key.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// Its public id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Service level.
    pub tier: String,
    /// What it allows.
    pub scopes: Vec<&'static str>,
    /// Whether it was made by itself at the first start.
    pub first: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// Since when it is refused.
    pub revoked_at: Option<Timestamp>,
}

/// A key just made: the only time its text is seen.
#[derive(Debug)]
pub struct Issued {
    /// The key.
    pub key: SecretString,
    /// What is kept about it.
    pub record: Record,
}

impl From<&KeyRow> for Record {
    fn from(row: &KeyRow) -> Self {
        Self {
            id: row.key.id.clone(),
            name: row.key.name.clone(),
            tier: row.key.tier.to_string(),
            scopes: row.key.scopes.iter().map(Scope::as_str).collect(),
            first: row.key.origin == KeyOrigin::First,
            created_at: row.key.created_at,
            expires_at: row.key.expires_at,
            revoked_at: row.revoked_at,
        }
    }
}

impl Keys {
    /// Makes a key. It works on this replica at once, on others within a second with Redis, else when first used.
    ///
    /// # Errors
    /// `InvalidInput` for a tier that is not configured; `Unavailable` or `Internal` when the store does not do it.
    pub async fn issue(&self, wish: NewKey) -> Result<Issued, Failure> {
        if !self.0.known.has_tier(wish.tier.as_str()) {
            return Err(Failure::invalid("tier", "tier must be one of the configured tiers."));
        }
        let (new, key) = self.fresh(wish, KeyOrigin::Made);
        let row = self.0.store.keys().create(&new).await.map_err(failure)?;
        self.0.known.learn(&row);
        self.0.closed.store(true, Ordering::Release);
        self.tell("changed").await;
        Ok(Issued { key, record: Record::from(&row) })
    }

    pub(super) fn fresh(&self, wish: NewKey, origin: KeyOrigin) -> (portcullis_store::NewKey, SecretString) {
        let (id, key) = text::fresh();
        (self.row(id, &key, wish, origin), key)
    }

    pub(super) fn row(
        &self,
        id: String,
        key: &SecretString,
        wish: NewKey,
        origin: KeyOrigin,
    ) -> portcullis_store::NewKey {
        portcullis_store::NewKey {
            id,
            name: wish.name,
            digest: self.0.hasher.digest(key.expose_secret()),
            tier: wish.tier,
            scopes: wish.scopes,
            routes: Vec::new(),
            labels: BTreeMap::new(),
            origin,
            created_at: Timestamp::now(),
            expires_at: wish.expires_at,
        }
    }

    /// Every key in the store, oldest first, revoked ones included.
    ///
    /// # Errors
    /// `Unavailable` or `Internal` when the store does not answer.
    pub async fn list(&self) -> Result<Vec<Record>, Failure> {
        let rows = self.0.store.keys().list(MOST_LISTED).await.map_err(failure)?;
        Ok(rows.iter().map(Record::from).collect())
    }

    /// Revokes a key for good: here at once, on other replicas within a second with Redis, within `auth.keys.poll_secs`
    /// without. Says whether it was there and not revoked before.
    ///
    /// # Errors
    /// `Unavailable` or `Internal` when the store does not do it; the key then still works.
    pub async fn revoke(&self, id: &str) -> Result<bool, Failure> {
        let done = self.0.store.keys().revoke(id, Timestamp::now()).await.map_err(failure)?;
        if done {
            self.0.known.revoke(id);
            self.tell(&format!("revoked {id}")).await;
            self.refresh_soon().await;
        }
        Ok(done)
    }

    /// Revokes one token by its `jti`, or every token of a person by their `sub`, as long as such a token can live.
    ///
    /// # Errors
    /// `InvalidInput` for an impossible value, `Conflict` when too many are remembered, `Unavailable` or `Internal`
    /// when the store does not do it.
    pub async fn revoke_tokens(&self, kind: RevocationKind, value: &str, jwt: &Jwt) -> Result<(), Failure> {
        if value.is_empty() || value.len() > 256 || value.chars().any(char::is_control) {
            return Err(Failure::invalid(kind.as_str(), "It must have 1 to 256 visible characters."));
        }
        if self.0.known.revocations() >= self.0.config.revocations {
            return Err(Failure::Conflict(
                "Too many tokens are revoked at once; change the signing key instead.".into(),
            ));
        }
        let life = Duration::from_secs(jwt.max_age_secs());
        let until = Timestamp::now() + life;
        self.0.store.revocations().add(kind, value, until).await.map_err(failure)?;
        self.tell("changed").await;
        self.refresh_soon().await;
        Ok(())
    }
}

/// What the caller is told of an error of the store; the whole is logged here, once.
#[must_use]
pub fn failure(error: StoreError) -> Failure {
    if let StoreError::Away { retry_after, reason } = error {
        tracing::warn!(reason, "the store is away");
        return Failure::Unavailable { retry_after, rate_limited: false };
    }
    let incident = ids::incident();
    tracing::error!(%incident, %error, "the store did not do it");
    Failure::Internal { incident }
}
