//! What `serve` prints on standard output: where it listens, the first admin key once, and three lines that work
//! when pasted. Pure, so that a test can hold it to every situation.

use crate::output::{BOLD, DIM};
use std::{fmt::Write as _, net::SocketAddr, path::Path};

/// What the lines depend on.
#[derive(Clone, Debug)]
pub(super) struct Facts<'a> {
    pub(super) http: SocketAddr,
    pub(super) http_tls: bool,
    pub(super) admin: SocketAddr,
    pub(super) admin_tls: bool,
    /// The first admin key, if this start made it.
    pub(super) first_key: Option<&'a str>,
    /// The file that keeps it, if it is there.
    pub(super) key_file: Option<&'a Path>,
    /// How this program was called.
    pub(super) program: &'a str,
    /// Whether the command line finds this server by itself: same settings, same address.
    pub(super) found_by_default: bool,
}

/// The question of all three lines.
const QUESTION: &str = "What is a portcullis?";

/// The whole text, coloured; printed in one piece.
pub(super) fn welcome(facts: &Facts<'_>) -> String {
    let base = url(facts.http, facts.http_tls);
    let mut out = String::new();
    let _ = writeln!(out, "{BOLD}Portcullis {}{BOLD:#}", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(out, "  API    {base}/v1");
    let _ = writeln!(out, "  admin  {}/admin/v1", url(facts.admin, facts.admin_tls));
    if let Some(key) = facts.first_key {
        let kept = facts.key_file.map_or_else(String::new, |file| {
            format!("; kept for this machine's command line in {}", file.display())
        });
        let _ = writeln!(out, "\nFirst admin key, shown only now{kept}:\n  {BOLD}{key}{BOLD:#}");
    }
    let _ = writeln!(out, "\n{DIM}Try it:{DIM:#}");
    let body = format!(r#"{{"model":"default","messages":[{{"role":"user","content":"{QUESTION}"}}]}}"#);
    let key = match facts.key_file {
        Some(file) => format!("$(cat {})", quoted(&file.display().to_string())),
        None => "$PORTCULLIS_KEY".to_owned(),
    };
    let _ = writeln!(
        out,
        "  curl {base}/v1/chat/completions -H \"Authorization: Bearer {key}\" \
         -H 'Content-Type: application/json' -d '{body}'"
    );
    let _ = writeln!(
        out,
        "  OPENAI_BASE_URL={base}/v1 OPENAI_API_KEY=\"{key}\" python3 -c 'from openai import OpenAI; \
         print(OpenAI().chat.completions.create(model=\"default\", \
         messages=[{{\"role\": \"user\", \"content\": \"{QUESTION}\"}}]).choices[0].message.content)'"
    );
    let mut chat = String::new();
    if !facts.found_by_default {
        let _ = write!(chat, "PORTCULLIS_URL={base} ");
        if facts.key_file.is_some() {
            let _ = write!(chat, "PORTCULLIS_KEY=\"{key}\" ");
        }
    }
    let _ = writeln!(out, "  {chat}{} chat \"{QUESTION}\"", quoted(facts.program));
    out
}

/// The URL of a listener; one that listens everywhere is shown at loopback, where these lines are pasted.
fn url(mut address: SocketAddr, tls: bool) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("{}://{address}", if tls { "https" } else { "http" })
}

/// A word for the shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts<'static> {
        Facts {
            http: "127.0.0.1:8700".parse().unwrap(),
            http_tls: false,
            admin: "127.0.0.1:8090".parse().unwrap(),
            admin_tls: false,
            first_key: Some("pcl_0123_abc"),
            key_file: Some(Path::new("data/keys/local.key")),
            program: "portcullis",
            found_by_default: true,
        }
    }

    fn plain(facts: &Facts<'_>) -> String {
        anstream::adapter::strip_str(&welcome(facts)).to_string()
    }

    #[test]
    fn the_first_start_shows_addresses_the_key_once_and_three_lines() {
        insta::assert_snapshot!(plain(&facts()));
    }

    #[test]
    fn later_starts_and_other_addresses_need_no_reading_of_manuals() {
        let text = plain(&Facts {
            http: "[::]:9000".parse().unwrap(),
            http_tls: true,
            first_key: None,
            key_file: Some(Path::new("/srv/my data/keys/local.key")),
            program: "./target/release/portcullis",
            found_by_default: false,
            ..facts()
        });
        insta::assert_snapshot!(text);
    }
}
