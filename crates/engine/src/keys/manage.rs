//! Keys made, listed and revoked, tokens revoked: what the admin API and the command line do.

use super::{
    Keys,
    definition::{Bounds, Definition, Sound},
    text,
};
use crate::{ids, jwt::Jwt};
use jiff::Timestamp;
use portcullis_domain::{Failure, Scopes, Tier};
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
    /// Whether it was made by itself at the first start.
    pub first: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it is refused.
    pub revoked_at: Option<Timestamp>,
    /// Until when the text it had before it was rotated is still good.
    pub old_key_until: Option<Timestamp>,
    /// What can be changed.
    #[serde(flatten)]
    pub definition: Definition,
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
        let KeyRow { key, old, revoked_at, .. } = row;
        Self {
            id: key.id.clone(),
            first: key.origin == KeyOrigin::First,
            created_at: key.created_at,
            revoked_at: *revoked_at,
            old_key_until: old.map(|(_, until)| until),
            definition: Definition {
                name: key.name.clone(),
                tier: key.tier.to_string(),
                scopes: key.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
                routes: key.routes.clone(),
                labels: key.labels.clone(),
                expires_at: key.expires_at,
                bounds: Bounds::read(&key.id, &key.bounds),
            },
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
        let (id, key) = text::fresh();
        let new = self.row(id, &key, wish, KeyOrigin::Made);
        self.create(new, key).await
    }

    /// Makes a key of that definition, likewise.
    ///
    /// # Errors
    /// `InvalidInput` naming the part that is wrong; as `issue`.
    pub async fn make(&self, definition: Definition) -> Result<Issued, Failure> {
        let Sound { tier, scopes } = definition.sound(|tier| self.0.known.has_tier(tier))?;
        future(definition.expires_at)?;
        let (id, key) = text::fresh();
        let wish = NewKey { name: String::new(), tier, scopes, expires_at: None };
        let mut new = self.row(id, &key, wish, KeyOrigin::Made);
        define(&mut new, definition);
        self.create(new, key).await
    }

    async fn create(&self, new: portcullis_store::NewKey, key: SecretString) -> Result<Issued, Failure> {
        let row = self.0.store.keys().create(&new).await.map_err(failure)?;
        self.0.known.learn(&row);
        self.0.closed.store(true, Ordering::Release);
        self.tell("changed").await;
        Ok(Issued { key, record: Record::from(&row) })
    }

    /// One key, revoked or not.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` or `Internal` when the store does not answer.
    pub async fn record(&self, id: &str) -> Result<Record, Failure> {
        Ok(Record::from(&self.kept(id).await?))
    }

    async fn kept(&self, id: &str) -> Result<KeyRow, Failure> {
        let found = self.0.store.keys().get(id).await.map_err(failure)?;
        found.ok_or_else(|| Failure::NotFound("There is no such key.".into()))
    }

    /// Changes what a definition says, for a key that is not revoked: here at once, on other replicas as soon as a
    /// revocation.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` naming the part that is wrong; `Conflict` when somebody else changed it meanwhile.
    pub async fn redefine(&self, id: &str, definition: Definition) -> Result<Record, Failure> {
        let Sound { tier, scopes } = definition.sound(|tier| self.0.known.has_tier(tier))?;
        let mut row = self.kept(id).await?;
        if definition.expires_at != row.key.expires_at {
            future(definition.expires_at)?;
        }
        (row.key.tier, row.key.scopes) = (tier, scopes);
        define(&mut row.key, definition);
        Ok(Record::from(&self.put(&row).await?))
    }

    /// Gives a key a new text under its id; the old one is good for `overlap` more. Limits, budgets and usage go on.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is revoked or somebody else changed it meanwhile.
    pub async fn rotate(&self, id: &str, overlap: Duration) -> Result<Issued, Failure> {
        let mut row = self.kept(id).await?;
        let key = text::fresh_of(id);
        let until = Timestamp::now() + overlap;
        row.old = (!overlap.is_zero()).then_some((row.key.digest, until));
        row.key.digest = self.0.hasher.digest(key.expose_secret());
        let row = self.put(&row).await?;
        Ok(Issued { key, record: Record::from(&row) })
    }

    async fn put(&self, row: &KeyRow) -> Result<KeyRow, Failure> {
        if row.revoked_at.is_some() {
            return Err(Failure::Conflict("This key is revoked; make another.".into()));
        }
        let changed = self.0.store.keys().update(row).await.map_err(failure)?;
        let row = changed.ok_or_else(|| {
            Failure::Conflict("Somebody else changed this key at the same time; read it again.".into())
        })?;
        self.0.known.learn(&row);
        self.tell("changed").await;
        Ok(row)
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
            bounds: serde_json::Value::Object(serde_json::Map::new()),
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

/// Tier and scopes apart, which are checked words.
fn define(key: &mut portcullis_store::NewKey, definition: Definition) {
    let Definition { name, routes, labels, expires_at, bounds, tier: _, scopes: _ } = definition;
    key.name = name.trim().to_owned();
    (key.routes, key.labels, key.expires_at) = (routes, labels, expires_at);
    key.bounds = serde_json::to_value(bounds).unwrap_or_default();
}

fn future(expires_at: Option<Timestamp>) -> Result<(), Failure> {
    match expires_at {
        Some(at) if at <= Timestamp::now() => {
            Err(Failure::invalid("expires_at", "expires_at must be in the future."))
        }
        Some(_) | None => Ok(()),
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
