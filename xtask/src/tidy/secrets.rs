//! Credentials in the tree, by shape. Test data must be visibly made up: it says `example`, `fake`, `test` or
//! `dummy`, counts (`1234`, `abcd`) or repeats few characters.

use super::{Finding, Ground, sources};

/// A prefix and how many characters of the token alphabet must follow.
const SHAPES: [(&str, usize); 12] = [
    ("sk-", 24),
    ("sk_live_", 16),
    ("AKIA", 16),
    ("AIza", 35),
    ("ghp_", 30),
    ("gho_", 30),
    ("ghs_", 30),
    ("github_pat_", 40),
    ("glpat-", 20),
    ("xoxb-", 24),
    ("pcl_", 40),
    ("hvs.", 24),
];

const PRIVATE_KEY: &str = concat!("PRIVATE ", "KEY-----");

pub(crate) fn check(ground: &Ground) -> Vec<Finding> {
    let find = |line: &str| secret(line).map(|what| format!("looks like a secret ({what}); take it out"));
    ground.tree.files.iter().flat_map(|file| sources::lines_where(file, find)).collect()
}

fn secret(line: &str) -> Option<&'static str> {
    // A literal header only: a pattern that looks for one has other signs in it.
    let kind = line.split_once("-----BEGIN ").and_then(|(_, rest)| rest.split_once(PRIVATE_KEY));
    if let Some((_, body)) = kind.filter(|(kind, _)| kind.chars().all(|c| c.is_ascii_uppercase() || c == ' '))
    {
        // A line that ends here goes on below; one that closes the key at once has no key in it.
        let empty = body.split_once("-----END").is_some_and(|(key, _)| key.len() < 40);
        return (!empty && !looks_made_up(line)).then_some("private key");
    }
    SHAPES.iter().find(|(prefix, least)| has_token(line, prefix, *least)).map(|(prefix, _)| *prefix)
}

fn has_token(line: &str, prefix: &str, least: usize) -> bool {
    line.match_indices(prefix).any(|(at, _)| {
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let starts = !line.get(..at).and_then(|s| s.chars().next_back()).is_some_and(part);
        let rest = line.get(at + prefix.len()..).unwrap_or_default();
        let token: String = rest.chars().take_while(|c| part(*c)).collect();
        starts && token.len() >= least && !looks_made_up(&token)
    })
}

fn looks_made_up(token: &str) -> bool {
    let lower = token.to_ascii_lowercase();
    let says_so = ["example", "fake", "test", "dummy", "1234", "abcd", "secret", "canary"];
    let distinct: std::collections::BTreeSet<char> = token.chars().collect();
    says_so.iter().any(|word| lower.contains(word)) || distinct.len() < 9
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: S4-KEYS
    #[test]
    fn shapes_of_real_keys_are_found() {
        for (prefix, least) in SHAPES {
            let body: String = "q7Rz9mKx2LpWn5Vt8YbG3HdJ6FsC4QaTuEiOk0Mw7Rz9".chars().take(least).collect();
            assert!(secret(&format!("key = \"{prefix}{body}\"")).is_some(), "{prefix}");
        }
        assert!(secret(&format!("-----BEGIN EC {PRIVATE_KEY}")).is_some());
    }

    #[test]
    fn made_up_keys_and_words_are_left_alone() {
        assert_eq!(secret("sk-example-Rz9mKx2LpWn5Vt8YbG3HdJ6F"), None);
        assert_eq!(secret("sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), None);
        assert_eq!(secret("risk-assessment-of-something-rather-long-winded"), None);
        assert_eq!(secret("sk-short"), None);
        assert_eq!(secret(&format!("\"-----BEGIN {PRIVATE_KEY}\\nAAAA\\n-----END {PRIVATE_KEY}\"")), None);
        assert_eq!(secret(&format!("-----BEGIN [A-Z ]{{0,30}}{PRIVATE_KEY}")), None);
    }
}
