//! API keys: made, shown once, checked, revoked. A known key is checked from memory (one HMAC, one map look-up, one
//! constant-time comparison); what other replicas change arrives over Redis within a second where there is one, else by
//! polling the store. Invariants: no plain key is kept anywhere but in `data/keys/local.key`; a revoked key is refused
//! here from the moment the call returns; while the store is away known keys go on for `store.stale_secs`.
//!
//! Source: gateway.md section 13, settings.md "Secrets and keys" and "When Postgres is away".

mod config;
mod definition;
mod first;
mod follow;
pub(crate) mod known;
mod manage;
pub(crate) mod text;

pub use config::KeysConfig;
pub use definition::{Bounds, Budget, Definition};
pub use first::{AdminKey, LOCAL_KEY};
pub use manage::{Issued, NewKey, Record, failure as store_failure};

use known::{Known, KnownKey};
use parking_lot::Mutex;
use portcullis_domain::{AuthProblem, Scopes, Tier};
use portcullis_resilience::shared::Shared;
use portcullis_store::{Store, StoreError};
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use text::{Digest, Hasher};
use tokio::{sync::Semaphore, time::Instant};

/// What keys are opened with.
pub struct KeysParts {
    /// `[auth.keys]`.
    pub config: KeysConfig,
    /// Where they are kept.
    pub store: Store,
    /// The secret `api_key_pepper`; the same on every replica.
    pub pepper: SecretString,
    /// The secret `admin_key`, where it is given: a key with every scope that is not in the store.
    pub admin_key: Option<SecretString>,
    /// Names of the configured tiers.
    pub tiers: BTreeSet<String>,
    /// Redis, where there is one.
    pub shared: Option<Shared>,
}

/// Why keys cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file below `data/keys`.
    #[error(transparent)]
    File(#[from] portcullis_store::files::FileError),
    /// The keys in the store were made with another pepper.
    #[error(
        "the secret api_key_pepper is not the one that the keys in this store were made with, so every key would be \
         refused. Mend: give every process that uses this store the same api_key_pepper (first made in \
         data/keys/api_key_pepper of the process that started first)"
    )]
    OtherPepper,
    /// The declared admin key can be guessed.
    #[error("the secret admin_key is shorter than 32 characters. Mend: `openssl rand -base64 32`")]
    WeakAdminKey,
}

/// API keys. Cheap to clone.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    config: KeysConfig,
    store: Store,
    hasher: Hasher,
    declared: Option<(Digest, Arc<KnownKey>)>,
    known: Known,
    shared: Option<Shared>,
    /// Whether somebody made a key: then nobody is let in without one. Never goes back, not even when the last key is
    /// revoked: taking a key away must not open the door.
    closed: AtomicBool,
    /// The number of the newest change taken in. Its lock makes readers of changes take turns.
    cursor: tokio::sync::Mutex<i64>,
    /// When the store last answered.
    fresh: Mutex<Instant>,
    lookups: Semaphore,
}

/// Why a credential is not let in.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is not good, and whose key it is, if anybody's.
    Problem(AuthProblem, Option<Arc<str>>),
    /// Nobody can tell just now.
    Away(Duration),
}

/// Where `pepper` is noted.
const PEPPER_NOTE: &str = "api_key_pepper";
/// The public id of the declared admin key.
const DECLARED_ID: &str = "admin";
const MIN_ADMIN_CHARS: usize = 32;

impl Keys {
    /// See [`Hasher::derive`].
    pub(crate) fn derive(&self, purpose: &str, bytes: &[u8]) -> Digest {
        self.0.hasher.derive(purpose, bytes)
    }

    /// Opens the keys of a store and takes in what is there.
    ///
    /// # Errors
    /// A store that is away, another pepper, a declared admin key that is too short.
    pub async fn open(parts: KeysParts) -> Result<Self, KeysError> {
        let hasher = Hasher::new(&parts.pepper);
        let known = Known::new(&parts.config, parts.tiers);
        let declared = parts.admin_key.as_ref().map(|key| declare(&hasher, key)).transpose()?;
        let noted = parts.store.note_once(PEPPER_NOTE, &hasher.fingerprint()).await?;
        if noted != hasher.fingerprint() {
            return Err(KeysError::OtherPepper);
        }
        let keys = Self(Arc::new(Inner {
            lookups: Semaphore::new(parts.config.lookups),
            config: parts.config,
            store: parts.store,
            hasher,
            declared,
            known,
            shared: parts.shared,
            closed: AtomicBool::new(false),
            cursor: tokio::sync::Mutex::new(0),
            fresh: Mutex::new(Instant::now()),
        }));
        keys.refresh().await?;
        Ok(keys)
    }

    /// Whether somebody made or declared a key, so that callers without one are refused.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.declared.is_some() || self.0.closed.load(Ordering::Acquire)
    }

    /// From now on these tiers are configured.
    pub fn set_tiers(&self, tiers: BTreeSet<String>) {
        self.0.known.set_tiers(tiers);
    }

    pub(crate) fn known(&self) -> &Known {
        &self.0.known
    }

    /// Checks a key. Touches the store only for an id that is not known yet.
    pub(crate) async fn check(
        &self,
        key: &str,
        address: IpAddr,
        now_ms: i64,
    ) -> Result<Arc<KnownKey>, Refusal> {
        let inner = &*self.0;
        let digest = inner.hasher.digest(key);
        if let Some((declared, known)) = &inner.declared
            && text::same(declared, &digest)
        {
            return Ok(known.clone());
        }
        let id = text::id_of(key).ok_or(Refusal::Problem(AuthProblem::Malformed, None))?;
        let known = match inner.known.key(id) {
            Some(known) => {
                self.fresh_enough()?;
                known
            }
            None => self.look_up(id).await?.ok_or(Refusal::Problem(AuthProblem::UnknownKey, None))?,
        };
        // The secret first: who does not have it learns nothing about the key's state.
        let old = |(old, until): &(Digest, i64)| now_ms < *until && text::same(old, &digest);
        let problem = if !text::same(&known.digest, &digest) && !known.old.as_ref().is_some_and(old) {
            AuthProblem::UnknownKey
        } else if known.revoked {
            AuthProblem::Revoked
        } else if known.expires_at <= now_ms {
            AuthProblem::Expired
        } else if !known.admits(address) {
            AuthProblem::Address
        } else {
            return Ok(known);
        };
        Err(Refusal::Problem(problem, Some(known.id.clone())))
    }

    /// Whether the store answered recently enough to believe what is known.
    pub(crate) fn fresh_enough(&self) -> Result<(), Refusal> {
        let patience = self.0.store.stale() + Duration::from_secs(self.0.config.poll_secs);
        if self.0.fresh.lock().elapsed() <= patience {
            return Ok(());
        }
        Err(Refusal::Away(Duration::from_secs(self.0.config.poll_secs)))
    }

    async fn look_up(&self, id: &str) -> Result<Option<Arc<KnownKey>>, Refusal> {
        let inner = &*self.0;
        if inner.known.is_nobody(id, Instant::now()) {
            return Ok(None);
        }
        let away = |_| Refusal::Away(Duration::from_secs(1));
        let wait = Duration::from_millis(inner.config.lookup_wait_ms);
        let place = tokio::time::timeout(wait, inner.lookups.acquire()).await.map_err(away)?;
        let found = inner.store.keys().get(id).await;
        drop(place);
        match found {
            Ok(Some(row)) => Ok(Some(inner.known.learn(&row))),
            Ok(None) => {
                inner.known.note_nobody(id, Instant::now());
                Ok(None)
            }
            Err(StoreError::Away { retry_after, reason }) => {
                tracing::warn!(reason, "an unknown API key cannot be looked up");
                Err(Refusal::Away(retry_after))
            }
            Err(error) => {
                tracing::error!(%error, "an API key cannot be looked up");
                Err(Refusal::Problem(AuthProblem::CheckFailed, None))
            }
        }
    }
}

fn declare(hasher: &Hasher, key: &SecretString) -> Result<(Digest, Arc<KnownKey>), KeysError> {
    let key = key.expose_secret();
    if key.chars().count() < MIN_ADMIN_CHARS {
        return Err(KeysError::WeakAdminKey);
    }
    let digest = hasher.digest(key);
    let known = KnownKey {
        caller: format!("key:{DECLARED_ID}").into(),
        id: DECLARED_ID.into(),
        digest,
        tier: Tier::Premium,
        named_tier: Tier::Premium,
        scopes: Scopes::ALL,
        expires_at: i64::MAX,
        revoked: false,
        changed_seq: 0,
        old: None,
        networks: Box::default(),
        team: None,
        user: None,
        routes: None,
        limits: None,
        policy: None,
    };
    Ok((digest, Arc::new(known)))
}

#[cfg(test)]
pub(crate) mod tests;
