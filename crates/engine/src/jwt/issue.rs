//! Tokens of our own, for callers without an identity provider, and a look into any token. Only keys with a shared
//! secret can issue: of the others we know the public half alone.

use super::{Jwt, Revoked};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use portcullis_domain::{Scope, Scopes, Tier};
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Value, json};

/// What a token is to say.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Who, 1 to 128 bytes.
    pub sub: String,
    /// Service level.
    pub tier: Tier,
    /// What it allows.
    pub scopes: Scopes,
    /// How long it lives, in seconds; at most `auth.jwt.max_age_secs`.
    pub life_secs: u64,
    /// The guard policy its bearer is under, beside that of the route.
    pub policy: Option<String>,
    /// Which key signs; the first with a shared secret when absent.
    pub kid: Option<String>,
}

/// A token, shown once.
#[derive(Debug)]
pub struct IssuedToken {
    /// The token.
    pub token: SecretString,
    /// Its id, by which it can be revoked.
    pub jti: String,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// What is in a token, and whether it would be accepted.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Its header.
    pub header: Value,
    /// Its claims.
    pub claims: Value,
    /// `accepted`, or the reason it would be refused for.
    pub verdict: &'static str,
}

impl Jwt {
    /// Issues a token.
    ///
    /// # Errors
    /// One sentence: no key that can sign, or a wish the rules would refuse.
    pub fn issue(&self, wish: &NewToken, now: Timestamp) -> Result<IssuedToken, String> {
        let signing = self.keys.iter().filter(|key| wish.kid.is_none() || key.kid == wish.kid);
        let Some((key, secret)) = signing.filter_map(|key| Some((key, key.secret.as_ref()?))).next() else {
            return Err(
                "there is no key that can issue tokens: write [[auth.jwt.keys]] with alg = \"HS256\" and \
                        key_secret = \"jwt_secret\", and give the secret jwt_secret"
                    .into(),
            );
        };
        if wish.life_secs == 0 || wish.life_secs > self.config.max_age_secs {
            return Err(format!(
                "a token lives 1 to {} seconds (auth.jwt.max_age_secs)",
                self.config.max_age_secs
            ));
        }
        let jti = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        let iat = now.as_second();
        let exp = iat.saturating_add_unsigned(wish.life_secs);
        let scopes: Vec<_> = wish.scopes.iter().map(Scope::as_str).collect();
        let mut claims = json!({
            "sub": wish.sub, "iat": iat, "exp": exp, "jti": jti, "tier": wish.tier.as_str(), "scopes": scopes,
        });
        let mut header = json!({"alg": key.verifier.alg().as_str(), "typ": "JWT"});
        let put = |object: &mut Value, name: &str, value: &Option<String>| {
            if let Some(value) = value {
                object[name] = value.as_str().into();
            }
        };
        put(&mut claims, "iss", &self.config.issuer);
        put(&mut claims, "aud", &self.config.audience);
        put(&mut claims, "portcullis_policy", &wish.policy);
        put(&mut header, "kid", &key.kid);
        let text = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", text(&header), text(&claims));
        let signing = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let tag = hmac::sign(&signing, message.as_bytes());
        let token = format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag));
        // Our own rules have the last word: what they would refuse is not handed out.
        self.check(&token, now, &|_, _| false).map_err(|problem| {
            format!("such a token would be refused ({}): check its subject and length", problem.as_str())
        })?;
        let expires_at = Timestamp::from_second(exp).map_err(|error| error.to_string())?;
        Ok(IssuedToken { token: token.into(), jti, expires_at })
    }

    /// Takes a token apart for a person to read. Never shows the signature.
    ///
    /// # Errors
    /// One sentence when it is no token.
    pub fn inspect(
        &self,
        token: &str,
        now: Timestamp,
        revoked: Revoked<'_>,
    ) -> Result<Inspection, &'static str> {
        let parts = self
            .take_apart(token)
            .map_err(|_| "this is no JSON Web Token: it must be three base64url parts, the first two JSON")?;
        let verdict = match self.check(token, now, revoked) {
            Ok(_) => "accepted",
            Err(problem) => problem.as_str(),
        };
        Ok(Inspection { header: Value::Object(parts.header), claims: Value::Object(parts.claims), verdict })
    }
}
