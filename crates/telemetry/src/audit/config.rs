//! `[audit]`: bounds of the trail and where its checkpoints are kept beside it.

use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What happens to requests when the trail cannot be written and its buffer is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// New requests are refused until records can be written again: nothing happens unproved.
    #[default]
    Refuse,
    /// Requests go on; lost records are counted and the gap becomes a record itself.
    Continue,
}

/// Where signed checkpoints go beside the trail. A trail whose end was cut off does not reach what its anchors hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum AuditAnchor {
    /// One line a checkpoint at the end of a file, best on another disk.
    File {
        /// The file; `audit-anchors.jsonl` in the data folder when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<PathBuf>,
    },
    /// A POST with the checkpoint; best to a machine that other people run.
    Webhook {
        /// Where to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
        /// Name of the secret that holds the address, where the address itself opens the receiver.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url_secret: Option<String>,
    },
}

/// `[audit]`: the trail of what happened.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// Longest time a record stays in memory before it is on disk, in milliseconds. A crash loses at most this much;
    /// security events are written at once. Default 200.
    pub flush_ms: u64,
    /// Size at which a new file is begun, in bytes. Default 67108864.
    pub max_bytes: u64,
    /// Records that may wait for the disk. Default 10000.
    pub buffer: usize,
    /// What happens when the disk takes nothing and the buffer is full: `refuse` new requests, or `continue` without
    /// proof. Default `refuse`.
    pub when_full: WhenFull,
    /// How long files are kept after their last record, in days. Default 400.
    pub days: u32,
    /// Longest text of one detail, in bytes; longer ones are cut. Default 1024.
    pub max_detail_bytes: usize,
    /// Whether records of suspicious messages hold how those begin, redacted, for deployments where operators may read
    /// what people write. Default `false`: lengths and hashes only.
    pub excerpts: bool,
    /// Most characters of such a beginning. Default 200.
    pub excerpt_chars: usize,
    /// Longest time until new records are covered by a signed checkpoint, in seconds. Records since the last one are
    /// chained, not yet signed. Default 60.
    pub checkpoint_secs: u64,
    /// Where checkpoints are kept beside the trail, so that an end that was cut off shows. Default: a file in the data
    /// folder, which catches mistakes; against who owns the machine, name a webhook elsewhere.
    pub anchors: Vec<AuditAnchor>,
    /// Public keys of `audit_sign_key` as it was before it was changed, as `portcullis audit verify` shows them: their
    /// checkpoints stay good. Default none.
    pub retired_sign_keys: Vec<String>,
    /// Names of the secrets that hold `audit_id_key` as it was before it was changed, for `portcullis audit who`.
    /// Default none.
    pub retired_id_key_secrets: Vec<String>,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            flush_ms: 200,
            max_bytes: 67_108_864,
            buffer: 10_000,
            when_full: WhenFull::Refuse,
            days: 400,
            max_detail_bytes: 1024,
            excerpts: false,
            excerpt_chars: 200,
            checkpoint_secs: 60,
            anchors: vec![AuditAnchor::File { path: None }],
            retired_sign_keys: Vec::new(),
            retired_id_key_secrets: Vec::new(),
        }
    }
}

impl AuditConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        for (key, value, least, most) in [
            ("flush_ms", self.flush_ms, 1, 60_000),
            ("max_bytes", self.max_bytes, 65_536, 1 << 40),
            ("buffer", self.buffer as u64, 100, 10_000_000),
            ("days", u64::from(self.days), 1, 36_500),
            ("max_detail_bytes", self.max_detail_bytes as u64, 64, 1 << 20),
            ("excerpt_chars", self.excerpt_chars as u64, 1, 10_000),
            ("checkpoint_secs", self.checkpoint_secs, 1, 86_400),
        ] {
            if !(least..=most).contains(&value) {
                let message = format!("{value} is out of range: {least} to {most}");
                let mend = "leave the key out for its default";
                out.push(Problem::new(format!("{prefix}.{key}"), message, mend));
            }
        }
        for (index, anchor) in self.anchors.iter().enumerate() {
            let at = format!("{prefix}.anchors[{index}]");
            match anchor {
                AuditAnchor::File { .. } => {}
                AuditAnchor::Webhook { url: Some(url), url_secret: None } => {
                    if !url.starts_with("https://") && !url.starts_with("http://") {
                        let mend = "write it as https://host/path";
                        out.push(Problem::new(format!("{at}.url"), "is not a web address", mend));
                    }
                }
                AuditAnchor::Webhook { url: None, url_secret: Some(_) } => {}
                AuditAnchor::Webhook { .. } => {
                    out.push(Problem::new(at, "needs one address", "give either url or url_secret"));
                }
            }
        }
        for (index, key) in self.retired_sign_keys.iter().enumerate() {
            if super::checkpoint::decode_key(key).is_none() {
                let at = format!("{prefix}.retired_sign_keys[{index}]");
                let mend = "copy it from `portcullis audit verify`";
                out.push(Problem::new(at, "is not a public key", mend));
            }
        }
    }
}
