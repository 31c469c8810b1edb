//! What may be linked: permissive licences and, file by file, MPL-2.0; one TLS stack (ring) and one SQLite.

use super::{Finding, Ground};
use crate::cargo::Resolved;

/// SPDX ids. MPL-2.0 is weak copyleft per file, which a binary may contain unchanged.
const ALLOWED: [&str; 17] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "NCSA",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "WTFPL",
    "Zlib",
];

/// Crates that must not join the tree, with the reason.
const BANNED: [(&str, &str); 5] = [
    ("aws-lc-sys", "a second TLS provider beside ring: rustls panics when it finds two"),
    ("aws-lc-rs", "a second TLS provider beside ring: rustls panics when it finds two"),
    ("openssl-sys", "needs a system library; rustls with ring is the only TLS here"),
    ("native-tls", "needs a system library; rustls with ring is the only TLS here"),
    ("rusqlite", "links SQLite a second time beside sqlx; the two cannot coexist"),
];

pub(crate) fn check(ground: &Ground) -> Vec<Finding> {
    ground.resolved.iter().filter_map(problem).collect()
}

fn problem(package: &Resolved) -> Option<Finding> {
    let say = |message: String| {
        Some(Finding::new("Cargo.lock", 0, format!("{} {}: {message}", package.name, package.version)))
    };
    if let Some((_, reason)) = BANNED.iter().find(|(name, _)| *name == package.name) {
        return say(format!("banned: {reason}"));
    }
    match &package.license {
        None => say("states no licence".to_owned()),
        Some(expression) if !allowed(expression) => say(format!("licence `{expression}` is not on the list")),
        Some(_) => None,
    }
}

/// Evaluates an SPDX expression: some alternative of `OR` (or the old `/`) has all its `AND` parts on the list.
fn allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let ok = any(&words, &mut at);
    ok && at == words.len()
}

fn any(words: &[&str], at: &mut usize) -> bool {
    let mut ok = all(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        ok |= all(words, at);
    }
    ok
}

fn all(words: &[&str], at: &mut usize) -> bool {
    let mut ok = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        ok &= one(words, at);
    }
    ok
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let word = words.get(*at).copied().unwrap_or_default();
    *at += 1;
    if word == "(" {
        let ok = any(words, at);
        *at += 1;
        return ok;
    }
    // An exception only widens what the licence grants.
    if words.get(*at) == Some(&"WITH") {
        *at += 2;
    }
    ALLOWED.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_understood() {
        for good in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT AND GPL-3.0) OR AGPL-3.0", "", "MIT MIT"] {
            assert!(!allowed(bad), "{bad}");
        }
    }

    #[test]
    fn banned_and_unlicensed_crates_are_found() {
        let package = |name: &str, license: Option<&str>| Resolved {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: license.map(str::to_owned),
        };
        assert!(problem(&package("aws-lc-sys", Some("MIT"))).is_some());
        assert!(problem(&package("serde", None)).is_some());
        assert!(problem(&package("serde", Some("MIT"))).is_none());
    }
}
