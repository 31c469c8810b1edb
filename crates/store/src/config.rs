//! `[store]`: where state is kept and how long anything waits for it.

use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[store]`: keys, tiers, revocations and usage.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Where state is kept: `sqlite:<path>` for one process, `postgres://user@host/database` for several. A password
    /// does not belong here: see `url_secret`. Default `"sqlite:<data_dir>/portcullis.db"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Name of the secret that holds the whole URL; it wins over `url`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_secret: Option<String>,
    /// How long known API keys and tokens go on from memory while the store is away, in seconds. A key revoked
    /// meanwhile elsewhere is accepted at most this long (with Redis: at most a second). Default 300.
    pub stale_secs: u64,
    /// Connections to Postgres at most. Readers of SQLite are no more than that, and no more than the machine has cores or
    /// two: what they read is in memory, and each holds some 300 KiB. Default 8.
    pub connections: u32,
    /// Longest wait for a free connection, in milliseconds. Default 3000.
    pub connect_timeout_ms: u64,
    /// Longest time for one statement, in milliseconds; for SQLite also the longest wait for another process that
    /// writes. Default 5000.
    pub statement_timeout_ms: u64,
    /// Consecutive failures after which Postgres is left alone. Default 3.
    pub breaker_failures: u32,
    /// How long Postgres is left alone, in seconds; then one call tries. Default 30.
    pub breaker_reset_secs: u64,
    /// How often usage is added to the store, in seconds. Default 5.
    pub usage_flush_secs: u64,
    /// How often what was used is written to the journal in `data/spool`, in milliseconds. `kill -9` loses at most this
    /// much of the usage of calls that no budget of `[budgets]` refuses; that of others is never lost. Default 50.
    pub journal_ms: u64,
    /// Rows of usage gathered in memory before they are added to the store early. Default 10000.
    pub usage_rows: usize,
    /// Size of `data/spool`, in bytes. Beyond it the newest usage is lost, which is logged and alerted.
    /// Default 67108864.
    pub spool_max_bytes: u64,
    /// Up to this size of a SQLite file, in bytes, a server that was killed compares every index with its table at the next
    /// start; a larger file is checked page by page only, which is quicker. Default 268435456.
    pub check_bytes: u64,
    /// Whether texts of people (messages in and out, what dialogs hold) are kept sealed with the data key, the secret
    /// `data_key`. Without it a stolen database file tells them. Turned off, what is sealed is still read. With PostgreSQL
    /// nothing is sealed unless that secret is given, the same to every replica. Default true.
    pub encrypt: bool,
    /// Names of secrets that hold earlier data keys; what they sealed is read, and sealed anew by the present one. A name
    /// can go once the log has said that everything is sealed by the present key. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retired_data_key_secrets: Vec<String>,
    /// Whether to start with an empty database when the one there was is lost or damaged and no backup of it is valid.
    /// Keys, usage and messages are then gone; damaged files are kept in `data/quarantine`. Default false.
    pub allow_empty_start: bool,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: None,
            url_secret: None,
            stale_secs: 300,
            connections: 8,
            connect_timeout_ms: 3000,
            statement_timeout_ms: 5000,
            breaker_failures: 3,
            breaker_reset_secs: 30,
            usage_flush_secs: 5,
            journal_ms: 50,
            usage_rows: 10_000,
            spool_max_bytes: 67_108_864,
            check_bytes: 268_435_456,
            encrypt: true,
            retired_data_key_secrets: Vec::new(),
            allow_empty_start: false,
        }
    }
}

impl StoreConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        for (key, value, least, most) in [
            ("stale_secs", self.stale_secs, 0, 86_400),
            ("connections", u64::from(self.connections), 1, 1000),
            ("connect_timeout_ms", self.connect_timeout_ms, 10, 60_000),
            ("statement_timeout_ms", self.statement_timeout_ms, 10, 600_000),
            ("breaker_failures", u64::from(self.breaker_failures), 1, 1000),
            ("breaker_reset_secs", self.breaker_reset_secs, 1, 3600),
            ("usage_flush_secs", self.usage_flush_secs, 1, 3600),
            ("journal_ms", self.journal_ms, 1, 10_000),
            ("usage_rows", self.usage_rows as u64, 100, 1_000_000),
            ("spool_max_bytes", self.spool_max_bytes, 0, 1 << 40),
            ("check_bytes", self.check_bytes, 0, 1 << 40),
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
        let Some(url) = &self.url else { return };
        if engine_of(url).is_none() {
            out.push(Problem::new(
                format!("{prefix}.url"),
                "is neither a SQLite nor a Postgres URL",
                "write sqlite:PATH or postgres://USER@HOST/DATABASE",
            ));
        }
        if has_password(url) {
            out.push(Problem::new(
                format!("{prefix}.url"),
                "holds a password",
                "put the whole URL into a secret and name that in url_secret",
            ));
        }
    }
}

/// The two kinds of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

pub(crate) fn engine_of(url: &str) -> Option<Kind> {
    match url.split_once(':')?.0 {
        "sqlite" => Some(Kind::Sqlite),
        "postgres" | "postgresql" => Some(Kind::Postgres),
        _ => None,
    }
}

fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let (authority, query) = rest.split_once(['/', '?']).unwrap_or((rest, ""));
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    user.contains(':') || query.contains("password=")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(config: &StoreConfig) -> Vec<String> {
        let mut out = Vec::new();
        config.problems("store", &mut out);
        out.into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn the_defaults_are_sound_and_every_number_out_of_range_is_named() {
        assert_eq!(problems(&StoreConfig::default()), Vec::<String>::new());
        let wrong = StoreConfig { connections: 0, usage_flush_secs: 0, ..StoreConfig::default() };
        assert_eq!(problems(&wrong), ["store.connections", "store.usage_flush_secs"]);
    }

    // req: S4-KEYS
    #[test]
    fn a_password_in_the_configured_url_is_refused() {
        for (url, fine) in [
            ("sqlite:data/x.db", true),
            ("postgres://me@host/db", true),
            ("postgresql://me@host:5432/db?sslmode=require", true),
            ("postgres://me:secret@host/db", false),
            ("postgres://host/db?password=x", false),
            ("mysql://host/db", false),
        ] {
            let config = StoreConfig { url: Some(url.into()), ..StoreConfig::default() };
            assert_eq!(problems(&config).is_empty(), fine, "{url}");
        }
    }
}
