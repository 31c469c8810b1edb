//! JSON Web Tokens, checked in exactly one order, each rule with its own logged reason. Invariants: the algorithm is
//! the key's, never the header's; a token is read once and refused at the first rule it breaks; nothing of a token is
//! ever logged. Pure: time and the revocation list are passed in.
//!
//! Source: review.md section 10; RFC 7515 (form), RFC 7519 (claims), RFC 8725 (best practice).

mod algorithm;
mod config;
mod issue;

pub use config::{JwtAlg, JwtConfig, JwtKeyConfig};
pub use issue::{Inspection, IssuedToken, NewToken};

use algorithm::Verifier;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use portcullis_domain::{AuthProblem, Problem, Scope, Scopes};
use portcullis_store::RevocationKind;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

/// Longest `sub`, in bytes: `Caller::id` has room for it and a prefix.
const MAX_SUB_BYTES: usize = 128;

type Object = Map<String, Value>;

struct Key {
    kid: Option<String>,
    verifier: Verifier,
    /// The shared secret, for issuing.
    secret: Option<SecretString>,
}

/// The keys and rules of `[auth.jwt]`.
pub struct Jwt {
    keys: Vec<Key>,
    config: JwtConfig,
}

/// What a token that passed says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who.
    pub sub: String,
    /// Service level, if it says one.
    pub tier: Option<String>,
    /// What it allows; `chat` when it says nothing.
    pub scopes: Scopes,
    /// The guard policy its bearer is under, beside that of the route.
    pub policy: Option<String>,
}

/// Asks whether that `jti` or `sub` is revoked.
pub type Revoked<'a> = &'a dyn Fn(RevocationKind, &str) -> bool;

/// A token taken apart, nothing of it believed yet.
struct Parts<'a> {
    header: Object,
    claims: Object,
    message: &'a [u8],
    signature: Vec<u8>,
}

impl Jwt {
    /// Takes the keys from their secrets and files.
    ///
    /// # Errors
    /// Every key that is missing or not fit for its algorithm, by its place in the settings.
    pub fn new(
        config: &JwtConfig,
        prefix: &str,
        secret: impl Fn(&str) -> Option<SecretString>,
    ) -> Result<Self, Vec<Problem>> {
        let (mut keys, mut problems) = (Vec::new(), Vec::new());
        for (index, wanted) in config.keys.iter().enumerate() {
            match key(wanted, &secret) {
                Ok(key) => keys.push(key),
                Err((member, message)) => {
                    let place = format!("{prefix}.keys[{index}].{member}");
                    problems.push(Problem::new(place, message, "give the right key, or take this entry out"));
                }
            }
        }
        if problems.is_empty() { Ok(Self { keys, config: config.clone() }) } else { Err(problems) }
    }

    /// Whether any token can be accepted.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The longest life of a token: as long, a revoked one must be remembered.
    #[must_use]
    pub const fn max_age_secs(&self) -> u64 {
        self.config.max_age_secs + self.config.leeway_secs
    }

    /// Checks a token, rule by rule in the documented order.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn check(&self, token: &str, now: Timestamp, revoked: Revoked<'_>) -> Result<Claims, AuthProblem> {
        let parts = self.take_apart(token)?;
        let key = self.key_of(&parts.header)?;
        if !key.verifier.verify(parts.message, &parts.signature) {
            return Err(AuthProblem::Signature);
        }
        self.times(&parts.claims, now)?;
        self.parties(&parts.claims)?;
        let sub = subject(&parts.claims)?;
        let jti = match parts.claims.get("jti") {
            None => None,
            Some(Value::String(jti)) => Some(jti.as_str()),
            Some(_) => return Err(AuthProblem::CheckFailed),
        };
        if revoked(RevocationKind::Sub, sub) || jti.is_some_and(|jti| revoked(RevocationKind::Jti, jti)) {
            return Err(AuthProblem::Revoked);
        }
        Ok(Claims {
            sub: sub.to_owned(),
            tier: parts.claims.get("tier").and_then(Value::as_str).map(str::to_owned),
            scopes: scopes(&parts.claims),
            policy: parts.claims.get("portcullis_policy").and_then(Value::as_str).map(str::to_owned),
        })
    }

    /// Size, three parts, base64, JSON objects.
    fn take_apart<'a>(&self, token: &'a str) -> Result<Parts<'a>, AuthProblem> {
        const BAD: AuthProblem = AuthProblem::Malformed;
        if token.len() > self.config.max_bytes {
            return Err(BAD);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(BAD)?;
        let (header, claims) = message.split_once('.').ok_or(BAD)?;
        if claims.contains('.') {
            return Err(BAD);
        }
        let bytes = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| BAD);
        let object = |text: &str| serde_json::from_slice::<Object>(&bytes(text)?).map_err(|_| BAD);
        Ok(Parts {
            header: object(header)?,
            claims: object(claims)?,
            message: message.as_bytes(),
            signature: bytes(signature)?,
        })
    }

    /// The key that the header means, if the header agrees with it in everything.
    fn key_of(&self, header: &Object) -> Result<&Key, AuthProblem> {
        const BAD: AuthProblem = AuthProblem::Algorithm;
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.as_str()),
            Some(_) => return Err(BAD),
        };
        let key = self.keys.iter().find(|key| key.kid.as_deref() == kid).ok_or(BAD)?;
        let agrees = header.get("alg").and_then(Value::as_str) == Some(key.verifier.alg().as_str());
        // An extension marked critical must be understood or refused (RFC 7515, 4.1.11); we know none.
        if agrees && !header.contains_key("crit") { Ok(key) } else { Err(BAD) }
    }

    fn times(&self, claims: &Object, now: Timestamp) -> Result<(), AuthProblem> {
        let now = seconds(now);
        let leeway = whole(self.config.leeway_secs);
        let exp = number(claims, "exp").ok_or(AuthProblem::NoExpiry)?;
        if exp + leeway <= now {
            return Err(AuthProblem::Expired);
        }
        let iat = number(claims, "iat").ok_or(AuthProblem::NotYet)?;
        let nbf = if claims.contains_key("nbf") { number(claims, "nbf") } else { Some(iat) };
        let nbf = nbf.ok_or(AuthProblem::NotYet)?;
        if iat > now + leeway || nbf > now + leeway {
            return Err(AuthProblem::NotYet);
        }
        if exp - iat > whole(self.config.max_age_secs) {
            return Err(AuthProblem::TooLong);
        }
        Ok(())
    }

    fn parties(&self, claims: &Object) -> Result<(), AuthProblem> {
        if let Some(wanted) = &self.config.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(wanted)
        {
            return Err(AuthProblem::Issuer);
        }
        if let Some(wanted) = &self.config.audience {
            let meant = match claims.get("aud") {
                Some(Value::String(one)) => one == wanted,
                Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(wanted)),
                Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
            };
            if !meant {
                return Err(AuthProblem::Audience);
            }
        }
        Ok(())
    }
}

fn key(
    wanted: &JwtKeyConfig,
    secret: &impl Fn(&str) -> Option<SecretString>,
) -> Result<Key, (&'static str, String)> {
    let (member, text) = match (&wanted.key_secret, &wanted.key_file) {
        (Some(name), _) => {
            let text =
                secret(name).ok_or_else(|| ("key_secret", format!("names `{name}`, which is not given")))?;
            ("key_secret", text)
        }
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| ("key_file", format!("cannot be read: {error}")))?;
            ("key_file", SecretString::from(text))
        }
        (None, None) => return Err(("key_secret", "is missing".to_owned())),
    };
    let verifier = Verifier::new(wanted.alg, text.expose_secret()).map_err(|why| (member, why.to_owned()))?;
    let secret = (wanted.alg == JwtAlg::HS256).then_some(text);
    Ok(Key { kid: wanted.kid.clone(), verifier, secret })
}

/// A finite number; JSON has no others, but a huge one may read as infinite.
fn number(claims: &Object, name: &str) -> Option<f64> {
    claims.get(name)?.as_f64().filter(|number| number.is_finite())
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

/// Seconds of a setting; settings are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "settings are far below 2^52 seconds")]
fn whole(secs: u64) -> f64 {
    secs as f64
}

fn subject(claims: &Object) -> Result<&str, AuthProblem> {
    let sub = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    if sub.is_empty() || sub.len() > MAX_SUB_BYTES || sub.chars().any(char::is_control) {
        return Err(AuthProblem::Subject);
    }
    Ok(sub)
}

/// `scopes` as array or words, else `scope` as words (RFC 8693). Names that are not ours belong to somebody else's
/// service and allow nothing here.
fn scopes(claims: &Object) -> Scopes {
    let Some(said) = claims.get("scopes").or_else(|| claims.get("scope")) else {
        return Scopes::NONE.with(Scope::Chat);
    };
    let names: Vec<&str> = match said {
        Value::String(words) => words.split_whitespace().collect(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    let ours = names.into_iter().filter_map(|name| Scopes::parse([name]).ok());
    ours.flat_map(Scopes::iter).fold(Scopes::NONE, Scopes::with)
}

#[cfg(test)]
mod tests;
