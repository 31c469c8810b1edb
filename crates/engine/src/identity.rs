//! Stage 2 of the way in: who is asking. Invariants: a known caller costs no trip to the store; every failure is one
//! structured log line, one count and one audit record, with address, reason and the public id of a key that exists,
//! never a byte of what was presented; an error inside refuses.
//!
//! Source: review.md section 10, gateway.md section 1, tools.md section 3.

mod addresses;
mod config;

pub use config::AuthConfig;

use crate::{
    jwt::{Claims, Jwt},
    keys::{Keys, Refusal, text},
};
use addresses::{Addresses, Count};
use jiff::Timestamp;
use portcullis_domain::{
    AuthProblem, Caller, Credential, Door, Failure, LimitScope, Scope, Scopes, Tier, Vouched,
};
use portcullis_telemetry::{Audit, AuditEvent, Metrics};
use std::{
    net::IpAddr,
    pin::Pin,
    sync::{Arc, OnceLock},
};
use tokio::time::Instant;

/// What identification is built from.
pub struct IdentityParts {
    /// `[auth]`.
    pub config: AuthConfig,
    /// `http.anonymous`: whether callers without a credential are let in.
    pub anonymous: bool,
    /// API keys.
    pub keys: Keys,
    /// Tokens.
    pub jwt: Arc<Jwt>,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Where it is proved.
    pub audit: Audit,
}

/// Finds the tier of somebody whom a door knows; none: nobody gave them another one.
pub type FindTier = Arc<dyn Fn(Arc<str>) -> Pin<Box<dyn Future<Output = Option<Tier>> + Send>> + Send + Sync>;

/// Tells who is asking.
pub struct Identity {
    anonymous: bool,
    keys: Keys,
    jwt: Arc<Jwt>,
    addresses: Arc<Addresses>,
    metrics: Metrics,
    audit: Audit,
    local: Arc<str>,
    /// Set once, by what the process knows of people.
    standing: Arc<OnceLock<FindTier>>,
}

impl Identity {
    /// Ready to tell.
    #[must_use]
    pub fn new(parts: IdentityParts) -> Self {
        Self {
            anonymous: parts.anonymous,
            keys: parts.keys,
            jwt: parts.jwt,
            addresses: Arc::new(Addresses::new(&parts.config)),
            metrics: parts.metrics,
            audit: parts.audit,
            local: "local".into(),
            standing: Arc::default(),
        }
    }

    /// The same with other rules: who may come without a credential, which tokens are believed. Addresses that guessed
    /// stay counted.
    #[must_use]
    pub fn changed(&self, anonymous: bool, jwt: Arc<Jwt>) -> Self {
        Self {
            anonymous,
            keys: self.keys.clone(),
            jwt,
            addresses: self.addresses.clone(),
            metrics: self.metrics.clone(),
            audit: self.audit.clone(),
            local: self.local.clone(),
            standing: self.standing.clone(),
        }
    }

    /// From now on, and in all that come from this one, people whom a door knows have the tier that is found there.
    /// Only the first one is asked.
    pub fn ask_standing(&self, find: FindTier) {
        drop(self.standing.set(find));
    }

    /// Whether a credential is needed. When not, callers on loopback are let in as `local`, and a listener off loopback
    /// must not be opened (unless callers are anonymous by configuration).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.keys.is_closed() || self.jwt.is_configured()
    }

    pub(crate) const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Who presents this.
    ///
    /// # Errors
    /// `Unauthenticated`; `RateLimited` for an address with too many failures; `Unavailable` when a key is not known
    /// here and the store is away.
    pub async fn identify(
        &self,
        credential: &Credential,
        address: IpAddr,
        door: Door,
    ) -> Result<Caller, Failure> {
        let address = address.to_canonical();
        if let Some(retry_after) = self.addresses.blocked(address, Instant::now()) {
            self.metrics.auth_failure(door, AuthProblem::AddressBlocked);
            return Err(Failure::RateLimited { scope: LimitScope::Ip, retry_after });
        }
        let result = match credential {
            Credential::None => self.without(address),
            Credential::Token(token) => self.with(token, address).await,
            Credential::Vouched(known) => return Ok(self.vouched(known, address).await),
        };
        match result {
            Ok(caller) => Ok(caller),
            Err(Refusal::Problem(problem, key)) => {
                let failure = self.refuse(problem, key, address, door);
                // An address that fails too often never comes as far as this.
                self.audit.synced(crate::pipeline::PROOF_PATIENCE).await;
                Err(failure)
            }
            Err(Refusal::Away(retry_after)) => Err(Failure::Unavailable { retry_after, rate_limited: false }),
        }
    }

    /// Nobody in particular.
    fn without(&self, address: IpAddr) -> Result<Caller, Refusal> {
        if address.is_loopback() && !self.is_closed() {
            let scopes = Scopes::NONE.with(Scope::Chat).with(Scope::Pin);
            return Ok(Caller::new(self.local.clone(), Tier::Authenticated, scopes, address));
        }
        if self.anonymous {
            let scopes = Scopes::NONE.with(Scope::Chat);
            let id = format!("ip:{}", addresses::group(address)).into();
            return Ok(Caller::new(id, Tier::Anonymous, scopes, address));
        }
        Err(Refusal::Problem(AuthProblem::Missing, None))
    }

    async fn with(&self, token: &str, address: IpAddr) -> Result<Caller, Refusal> {
        let now = Timestamp::now();
        // Three parts with two dots cannot be a key of ours: neither alphabet has a dot.
        if text::claims_to_be_key(token) || !token.contains('.') {
            let key = self.keys.check(token, address, now.as_millisecond()).await?;
            let caller = Caller::new(key.caller.clone(), key.tier.clone(), key.scopes, address);
            return Ok(Caller {
                key_id: Some(key.id.clone()),
                team: key.team.clone(),
                user: key.user.clone(),
                routes: key.routes.clone(),
                limits: key.limits.clone(),
                policy: key.policy.clone(),
                ..caller
            });
        }
        let known = self.keys.known();
        let revoked = |kind, value: &str| known.is_revoked(kind, value, now.as_millisecond());
        let Claims { sub, tier, scopes, policy } =
            self.jwt.check(token, now, &revoked).map_err(|problem| Refusal::Problem(problem, None))?;
        self.keys.fresh_enough()?;
        let tier = tier.map_or(Tier::Authenticated, |tier| known.tier(&tier));
        let caller = Caller::new(format!("jwt:{sub}").into(), tier, scopes, address);
        Ok(Caller { policy: policy.map(Into::into), ..caller })
    }

    /// Somebody whom the door knows: may ask, and as an administrator also change what is asked.
    async fn vouched(&self, known: &Vouched, address: IpAddr) -> Caller {
        let chat = Scopes::NONE.with(Scope::Chat);
        let scopes = if known.admin { chat.with(Scope::AdminRead).with(Scope::AdminWrite) } else { chat };
        let tier = match self.standing.get() {
            Some(find) => find(known.id.clone()).await.unwrap_or(Tier::Authenticated),
            None => Tier::Authenticated,
        };
        Caller::new(known.id.clone(), tier, scopes, address)
    }

    /// Counts, logs and proves one failure.
    fn refuse(&self, problem: AuthProblem, key: Option<Arc<str>>, address: IpAddr, door: Door) -> Failure {
        let reason = problem.as_str();
        let key_id = key.as_deref().unwrap_or("-");
        self.metrics.auth_failure(door, problem);
        tracing::warn!(event = "auth_failure", door = door.as_str(), reason, %address, id = key_id, "authentication failed");
        let count = self.addresses.failed(address, Instant::now());
        if let Count::JustBlocked(wait) = count {
            let secs = wait.as_secs();
            tracing::warn!(event = "address_blocked", %address, secs, "too many failed credentials from one address");
        }
        self.audit.record(AuditEvent {
            details: vec![
                ("address", address.to_string()),
                ("id", key_id.to_owned()),
                ("blocked", matches!(count, Count::JustBlocked(_)).to_string()),
            ],
            ..AuditEvent::new("auth_failure", door, reason)
        });
        if problem == AuthProblem::Address {
            // Whoever has the whole key may know why it is not taken.
            return Failure::Forbidden("This key may not be used from this address.".into());
        }
        Failure::Unauthenticated(problem)
    }
}

#[cfg(test)]
mod tests;
