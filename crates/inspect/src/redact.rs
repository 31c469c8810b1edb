//! Redaction: what looks like a secret becomes its kind and, when at least 20 characters long, its last four. One
//! engine for logs, audit and errors. Invariant: redacting twice changes nothing, and text without a suspicious
//! substring is not copied (log lines pass here one by one).
//!
//! Shapes: the published prefixes of the issuers; checks before shapes where a checksum exists.

use aho_corasick::AhoCorasick;
use regex::{Captures, Regex};
use std::{borrow::Cow, sync::LazyLock};

struct Shape {
    kind: &'static str,
    pattern: &'static str,
}

/// Most specific first. Group 1, where there is one, is what is replaced.
const SHAPES: &[Shape] = &[
    Shape {
        kind: "private_key",
        pattern: r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
    },
    Shape { kind: "portcullis_key", pattern: r"\bpcl_[A-Za-z0-9]{4,32}_[A-Za-z0-9_-]{20,}" },
    Shape { kind: "anthropic_key", pattern: r"\bsk-ant-[A-Za-z0-9_-]{20,}" },
    Shape { kind: "openai_key", pattern: r"\bsk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{16,}" },
    Shape { kind: "google_key", pattern: r"\bAIza[A-Za-z0-9_-]{35}" },
    Shape { kind: "github_token", pattern: r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})" },
    Shape { kind: "gitlab_token", pattern: r"\bglpat-[A-Za-z0-9_-]{20,}" },
    Shape { kind: "slack_token", pattern: r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}" },
    Shape { kind: "aws_key", pattern: r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b" },
    Shape { kind: "vault_token", pattern: r"\bhv[sb]\.[A-Za-z0-9_-]{20,}" },
    Shape { kind: "stripe_key", pattern: r"\b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}" },
    Shape { kind: "sendgrid_key", pattern: r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}" },
    Shape { kind: "npm_token", pattern: r"\bnpm_[A-Za-z0-9]{36}" },
    Shape { kind: "pypi_token", pattern: r"\bpypi-[A-Za-z0-9_-]{50,}" },
    Shape { kind: "telegram_token", pattern: r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}" },
    Shape { kind: "zhipu_key", pattern: r"\b[0-9a-f]{32}\.[A-Za-z0-9]{16}\b" },
    Shape { kind: "jwt", pattern: r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*" },
    Shape { kind: "password", pattern: r"\b[a-z][a-z0-9+.-]*://[^\s:/@?#\x22]*:([^\s/@\x22]+)@" },
    Shape { kind: "bearer", pattern: r"(?i)\bbearer\s+([A-Za-z0-9._~+/-]{8,}=*)" },
    Shape {
        kind: "secret",
        pattern: r#"(?i)\b(?:api[_-]?key|secret|password|passwd|token|authorization)\\?["']?\s*[=:]\s*\\?["']?([A-Za-z0-9._~+/-]{12,}=*)"#,
    },
    Shape {
        kind: "email",
        pattern: r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}\b",
    },
    Shape {
        kind: "path",
        pattern: r#"(?:^|[\s\x22'(=:,])((?:/(?:root|home|Users|tmp|var|usr|etc|opt|srv|mnt|work)/)[^\s\x22'),:]+)"#,
    },
];

/// Substrings without one of which no shape can match.
const HINTS: &[&str] = &[
    "-----BEGIN",
    "pcl_",
    "sk-",
    "AIza",
    "glpat-",
    "xox",
    "AKIA",
    "ASIA",
    "hvs.",
    "hvb.",
    "_live_",
    "_test_",
    "SG.",
    "npm_",
    "pypi-",
    ":AA",
    "eyJ",
    "://",
    "bearer",
    "secret",
    "passw",
    "token",
    "authorization",
    "@",
    "/root/",
    "/home/",
    "/users/",
    "/tmp/",
    "/var/",
    "/usr/",
    "/etc/",
    "/opt/",
    "/srv/",
    "/mnt/",
    "/work/",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "apikey",
    "api_key",
    "api-key",
];

struct Engine {
    hints: AhoCorasick,
    dotted: Regex,
    shapes: Vec<(&'static str, Regex)>,
}

#[expect(clippy::expect_used, reason = "constant patterns; a test compiles every one")]
static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine {
    hints: AhoCorasick::builder().ascii_case_insensitive(true).build(HINTS).expect("constant patterns"),
    dotted: Regex::new(r"[0-9a-f]{32}\.[A-Za-z0-9]{16}").expect("a constant pattern"),
    shapes: SHAPES
        .iter()
        .map(|shape| (shape.kind, Regex::new(shape.pattern).expect("constant patterns")))
        .collect(),
});

/// The text without what looks like a secret, a person's address or a path of the machine.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    let engine = &*ENGINE;
    let suspicious = engine.hints.is_match(text) || (text.contains('.') && engine.dotted.is_match(text));
    let mut out = Cow::Borrowed(text);
    // What one replacement leaves behind may look like another shape: again, until nothing changes.
    for _ in 0..if suspicious { MAX_ROUNDS } else { 0 } {
        let mut changed = false;
        for (kind, pattern) in &engine.shapes {
            if let Cow::Owned(next) = pattern.replace_all(&out, |found: &Captures<'_>| replace(kind, found)) {
                changed |= next != *out;
                out = Cow::Owned(next);
            }
        }
        if !changed {
            break;
        }
    }
    out
}

/// Rounds of replacement; ordinary text needs one, crafted text two or three.
const MAX_ROUNDS: usize = 8;

/// Whether a value, such as one of a configuration file, has the shape of a key.
#[must_use]
pub fn looks_like_secret(value: &str) -> bool {
    let keys = &ENGINE.shapes[..ENGINE.shapes.iter().position(|(kind, _)| *kind == "bearer").unwrap_or(0)];
    keys.iter().any(|(_, pattern)| pattern.is_match(value))
}

fn replace(kind: &str, found: &Captures<'_>) -> String {
    let (whole, secret) = (&found[0], found.get(1).unwrap_or_else(|| found.get_match()));
    let start = secret.start() - found.get_match().start();
    let (before, after) = (&whole[..start], &whole[start + secret.len()..]);
    let tail: String = match (kind, secret.len()) {
        ("email" | "path" | "private_key", _) | (_, ..20) => String::new(),
        _ => format!(
            " …{}",
            secret.as_str().chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect::<String>()
        ),
    };
    format!("{before}[{kind}{tail}]{after}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // req: S2-2.7
    #[test]
    fn keys_of_every_kind_lose_everything_but_their_kind_and_last_four() {
        let long = "a1B2".repeat(12);
        for (text, expected) in [
            (format!("key sk-proj-{long}"), "key [openai_key …a1B2]".to_owned()),
            (format!("sk-ant-api03-{long} x"), "[anthropic_key …a1B2] x".to_owned()),
            (format!("AIza{}", &long[..35]), "[google_key …2a1B]".to_owned()),
            (format!("ghp_{}", &long[..36]), "[github_token …a1B2]".to_owned()),
            ("AKIAIOSFODNN7EXAMPLE".to_owned(), "[aws_key …MPLE]".to_owned()),
            (format!("pcl_abcd1234_{long}"), "[portcullis_key …a1B2]".to_owned()),
            ("postgres://user:hunter2@db/x".to_owned(), "postgres://user:[password]@db/x".to_owned()),
            ("Authorization: Bearer abcdefghijk".to_owned(), "Authorization: Bearer [bearer]".to_owned()),
            ("mail ann@example.org now".to_owned(), "mail [email] now".to_owned()),
            ("at /home/ann/x.rs:5".to_owned(), "at [path]:5".to_owned()),
            ("{\"password\":\"correcthorsebattery\"}".to_owned(), "{\"password\":\"[secret]\"}".to_owned()),
        ] {
            assert_eq!(redact(&text), expected.as_str());
        }
    }

    #[test]
    fn ordinary_text_and_our_own_ids_are_left_alone() {
        for text in [
            "GET /v1/chat/completions took 12 ms for req_01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "the token bucket refills at 10/s; tokens_in=12",
            "see https://example.org/a/b?c=d and mask-shaped skeletons",
            "{\"caller\":\"key:ab12cd34\",\"tier\":\"premium\",\"outcome\":\"ok\"}",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn a_value_shaped_like_a_key_is_known_as_one() {
        assert!(looks_like_secret(&format!("sk-{}", "x1".repeat(12))));
        assert!(!looks_like_secret("openai_api_key") && !looks_like_secret("http://127.0.0.1:8080/v1"));
    }

    proptest! {
        #[test]
        fn redacting_twice_changes_nothing(text in "(sk-|ghp_|://a:|bearer |token=|a@b.co|/tmp/|[a-zA-Z0-9 .:/@_-]){0,30}") {
            let once = redact(&text).into_owned();
            prop_assert_eq!(redact(&once), once.as_str());
        }
    }
}
