//! What this process knows of keys and revoked tokens, so that a known caller costs no trip to the store. Invariants:
//! a key once seen revoked stays revoked; an older row never replaces a newer one; every map is bounded.

use super::{
    KeysConfig,
    definition::{Bounds, Network},
    text::Digest,
};
use parking_lot::{Mutex, RwLock};
use portcullis_domain::{KeyLimits, Scopes, Tier};
use portcullis_store::{Changes, KeyRow, RevocationKind};
use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

type Map<K, V> = HashMap<K, V, ahash::RandomState>;

/// One key, ready for use.
#[derive(Clone, Debug)]
pub(crate) struct KnownKey {
    /// `key:<id>`.
    pub(crate) caller: Arc<str>,
    pub(crate) id: Arc<str>,
    pub(super) digest: Digest,
    pub(crate) tier: Tier,
    /// The tier that was given, whether it is configured or not.
    pub(super) named_tier: Tier,
    pub(crate) scopes: Scopes,
    /// Unix milliseconds.
    pub(super) expires_at: i64,
    pub(super) revoked: bool,
    pub(super) changed_seq: i64,
    /// What it was before it was rotated, and until when that is good, in Unix milliseconds.
    pub(super) old: Option<(Digest, i64)>,
    /// Where it may be used from; empty: anywhere.
    pub(super) networks: Box<[Network]>,
    pub(crate) team: Option<Arc<str>>,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) routes: Option<Arc<[Box<str>]>>,
    pub(crate) limits: Option<Arc<KeyLimits>>,
    pub(crate) policy: Option<Arc<str>>,
}

impl KnownKey {
    /// Whether it may be used from there.
    pub(super) fn admits(&self, address: IpAddr) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|network| network.holds(address))
    }
}

pub(crate) struct Known {
    keys: RwLock<Map<Arc<str>, Arc<KnownKey>>>,
    /// Ids that nobody has, and until when we believe so.
    nobody: Mutex<Map<Box<str>, Instant>>,
    /// Until when each is refused, in Unix milliseconds.
    tokens: RwLock<Map<Box<str>, i64>>,
    subjects: RwLock<Map<Box<str>, i64>>,
    tiers: RwLock<BTreeSet<String>>,
    max_keys: usize,
    max_nobody: usize,
    nobody_for: Duration,
}

impl Known {
    pub(super) fn new(config: &KeysConfig, tiers: BTreeSet<String>) -> Self {
        Self {
            keys: RwLock::default(),
            nobody: Mutex::default(),
            tokens: RwLock::default(),
            subjects: RwLock::default(),
            tiers: RwLock::new(tiers),
            max_keys: config.cached_keys,
            max_nobody: config.unknown_keys,
            nobody_for: Duration::from_secs(config.unknown_secs),
        }
    }

    pub(super) fn key(&self, id: &str) -> Option<Arc<KnownKey>> {
        self.keys.read().get(id).cloned()
    }

    /// A tier whose limits are configured; others fall back to the ordinary one, so that no text of a token or of an
    /// old row becomes a metric label or escapes the limits.
    pub(crate) fn tier(&self, name: &str) -> Tier {
        if self.has_tier(name) { Tier::from_name(name) } else { Tier::Authenticated }
    }

    pub(crate) fn has_tier(&self, name: &str) -> bool {
        self.tiers.read().contains(name)
    }

    /// Other tiers are configured now: known keys get theirs, or the ordinary one.
    pub(super) fn set_tiers(&self, tiers: BTreeSet<String>) {
        *self.tiers.write() = tiers;
        for key in self.keys.write().values_mut() {
            let tier = self.tier(key.named_tier.as_str());
            if key.tier != tier {
                *key = Arc::new(KnownKey { tier, ..KnownKey::clone(key) });
            }
        }
    }

    pub(super) fn ready(&self, row: &KeyRow) -> KnownKey {
        let bounds = Bounds::read(&row.key.id, &row.key.bounds);
        let routes = &row.key.routes;
        KnownKey {
            caller: format!("key:{}", row.key.id).into(),
            id: row.key.id.as_str().into(),
            digest: row.key.digest,
            tier: self.tier(row.key.tier.as_str()),
            named_tier: row.key.tier.clone(),
            scopes: row.key.scopes,
            expires_at: row.key.expires_at.map_or(i64::MAX, jiff::Timestamp::as_millisecond),
            revoked: row.revoked_at.is_some(),
            changed_seq: row.changed_seq,
            old: row.old.map(|(digest, until)| (digest, until.as_millisecond())),
            networks: bounds.networks(),
            limits: bounds.limits(),
            team: bounds.team.map(Into::into),
            user: bounds.user.map(Into::into),
            policy: bounds.policy.map(Into::into),
            routes: (!routes.is_empty()).then(|| routes.iter().map(|name| name.as_str().into()).collect()),
        }
    }

    /// Takes a row in; what is known better stays.
    pub(super) fn learn(&self, row: &KeyRow) -> Arc<KnownKey> {
        self.insert(self.ready(row))
    }

    pub(super) fn insert(&self, mut key: KnownKey) -> Arc<KnownKey> {
        let mut keys = self.keys.write();
        if let Some(old) = keys.get(&*key.id) {
            if old.changed_seq > key.changed_seq {
                return old.clone();
            }
            key.revoked |= old.revoked;
        } else if keys.len() >= self.max_keys {
            // Anyone: a key that is pushed out is read again when it is next used.
            let out = keys.keys().next().cloned();
            if let Some(out) = out {
                keys.remove(&out);
            }
        }
        let key = Arc::new(key);
        keys.insert(key.id.clone(), key.clone());
        drop(keys);
        self.nobody.lock().remove(&*key.id);
        key
    }

    /// Heard from another replica, before the store says so.
    pub(super) fn revoke(&self, id: &str) {
        let mut keys = self.keys.write();
        if let Some(key) = keys.get_mut(id) {
            let mut changed = KnownKey::clone(key);
            changed.revoked = true;
            *key = Arc::new(changed);
        }
    }

    pub(super) fn apply(&self, changes: &Changes) {
        for row in &changes.keys {
            self.learn(row);
        }
        for row in &changes.revocations {
            let until = row.until.as_millisecond();
            self.list(row.kind).write().insert(row.value.as_str().into(), until);
        }
    }

    pub(super) fn is_nobody(&self, id: &str, now: Instant) -> bool {
        self.nobody.lock().get(id).is_some_and(|until| now < *until)
    }

    pub(super) fn note_nobody(&self, id: &str, now: Instant) {
        let mut nobody = self.nobody.lock();
        if nobody.len() >= self.max_nobody {
            nobody.retain(|_, until| now < *until);
        }
        if nobody.len() < self.max_nobody {
            nobody.insert(id.into(), now + self.nobody_for);
        }
    }

    fn list(&self, kind: RevocationKind) -> &RwLock<Map<Box<str>, i64>> {
        match kind {
            RevocationKind::Jti => &self.tokens,
            RevocationKind::Sub => &self.subjects,
        }
    }

    pub(crate) fn is_revoked(&self, kind: RevocationKind, value: &str, now_ms: i64) -> bool {
        self.list(kind).read().get(value).is_some_and(|until| now_ms < *until)
    }

    pub(super) fn revocations(&self) -> usize {
        self.tokens.read().len() + self.subjects.read().len()
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.keys.read().len(), self.nobody.lock().len())
    }

    pub(super) fn forget_revocations(&self, now_ms: i64) {
        self.tokens.write().retain(|_, until| now_ms < *until);
        self.subjects.write().retain(|_, until| now_ms < *until);
    }
}
