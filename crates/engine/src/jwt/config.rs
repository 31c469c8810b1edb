//! `[auth.jwt]`: whose tokens are believed. Invariant: each key has exactly one algorithm, so a token's header can only
//! agree with it, never choose; `none` cannot be written here.

use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, path::PathBuf};

/// How a token is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JwtAlg {
    /// HMAC with SHA-256: both sides know the secret.
    #[default]
    HS256,
    /// RSA (2048 to 8192 bits) with SHA-256, PKCS #1 v1.5.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

impl JwtAlg {
    /// As written in a token's header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
        }
    }
}

/// `[[auth.jwt.keys]]`: one key that signs tokens.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JwtKeyConfig {
    /// The `kid` a token names to mean this key. Needed as soon as there are two keys. Default none: tokens must not
    /// name any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// How tokens of this key are signed: `HS256`, `RS256`, `ES256` or `EdDSA`. Default `HS256`.
    pub alg: JwtAlg,
    /// Name of the secret that holds the key: for `HS256` at least 32 bytes, otherwise a public key as PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_secret: Option<String>,
    /// File with the public key as PEM, for the algorithms that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// `[auth.jwt]`: tokens of an identity provider, or of `portcullis token issue`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JwtConfig {
    /// Keys whose signatures are believed. Default none: no token is accepted.
    pub keys: Vec<JwtKeyConfig>,
    /// What a token's `iss` must be. Default none: not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What a token's `aud` must be or contain. Default none: not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// How far clocks may differ, in seconds, at most 60: that much longer an expired token is accepted. Default 0.
    pub leeway_secs: u64,
    /// Longest life of a token, `exp - iat`, in seconds. Default 86400.
    pub max_age_secs: u64,
    /// Longest token, in bytes. Default 8192.
    pub max_bytes: usize,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            issuer: None,
            audience: None,
            leeway_secs: 0,
            max_age_secs: 86_400,
            max_bytes: 8192,
        }
    }
}

impl JwtConfig {
    /// Range checks and contradictions.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        let mut say = |key: &str, message: &str, mend: &str| {
            out.push(Problem::new(format!("{prefix}.{key}"), message, mend));
        };
        if self.leeway_secs > 60 {
            say("leeway_secs", "is over 60", "synchronise the clocks; 60 is the most");
        }
        if !(60..=31_536_000).contains(&self.max_age_secs) {
            say("max_age_secs", "is not between 60 and 31536000", "leave the key out for 86400");
        }
        if !(256..=65_536).contains(&self.max_bytes) {
            say("max_bytes", "is not between 256 and 65536", "leave the key out for 8192");
        }
        let mut kids = BTreeSet::new();
        for (index, key) in self.keys.iter().enumerate() {
            let at = |member: &str| format!("keys[{index}].{member}");
            if self.keys.len() > 1 && key.kid.is_none() {
                let mend = "give every key the kid that its tokens name";
                say(&at("kid"), "is missing, and there are several keys", mend);
            }
            if !kids.insert(&key.kid) && key.kid.is_some() {
                say(&at("kid"), "is used twice", "give every key a kid of its own");
            }
            match (key.alg, &key.key_secret, &key.key_file) {
                (JwtAlg::HS256, None, _) => {
                    say(&at("key_secret"), "is missing", "name the secret that HS256 tokens are signed with");
                }
                (JwtAlg::HS256, Some(_), Some(_)) => {
                    let mend = "HS256 takes its key from key_secret; leave key_file out";
                    say(&at("key_file"), "does not go with HS256", mend);
                }
                (_, None, None) => say(
                    &at("key_file"),
                    "is missing",
                    "name the PEM file of the public key, or the secret that holds it in key_secret",
                ),
                (_, Some(_), Some(_)) => {
                    say(&at("key_file"), "is given beside key_secret", "keep one of them")
                }
                (_, _, _) => {}
            }
        }
    }
}
