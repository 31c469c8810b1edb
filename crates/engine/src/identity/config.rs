//! `[auth]`: who is believed, and how long guessing is borne.

use crate::{jwt::JwtConfig, keys::KeysConfig};
use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[auth]`: API keys and tokens.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Failed credentials that one address (IPv6: one /64 network) may send within `failure_window_secs`; after one
    /// more everything from it is answered 429. 0 never blocks. Default 10.
    pub failures: u32,
    /// The time in which failures are counted, in seconds. Default 300.
    pub failure_window_secs: u64,
    /// How long such an address is refused, in seconds. Default 300.
    pub block_secs: u64,
    /// Addresses with failures that are remembered; beyond it the one whose failures are oldest is forgotten.
    /// Default 65536.
    pub failure_addresses: usize,
    /// API keys.
    pub keys: KeysConfig,
    /// Tokens.
    pub jwt: JwtConfig,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            failures: 10,
            failure_window_secs: 300,
            block_secs: 300,
            failure_addresses: 65_536,
            keys: KeysConfig::default(),
            jwt: JwtConfig::default(),
        }
    }
}

impl AuthConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        for (key, value, least, most) in [
            ("failures", u64::from(self.failures), 0, 1_000_000),
            ("failure_window_secs", self.failure_window_secs, 1, 86_400),
            ("block_secs", self.block_secs, 1, 86_400),
            ("failure_addresses", self.failure_addresses as u64, 16, 10_000_000),
        ] {
            if !(least..=most).contains(&value) {
                let message = format!("is {value}; it must be from {least} to {most}");
                out.push(Problem::new(
                    format!("{prefix}.{key}"),
                    message,
                    "leave the key out for its default",
                ));
            }
        }
        self.keys.problems(&format!("{prefix}.keys"), out);
        self.jwt.problems(&format!("{prefix}.jwt"), out);
    }
}
