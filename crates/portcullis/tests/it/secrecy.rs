//! No configured secret is ever told: not in logs at any level, not in errors, panics, reports, audit or metrics.

use crate::support::{BINARY, chat, get, post};
use portcullis_testkit::process::{Options, Server, run};
use std::path::Path;

/// Every secret the product knows, each with its own made-up value, some with a real issuer's shape.
fn planted() -> Vec<(String, String)> {
    let template = include_str!("../../../../deploy/portcullis.env.template");
    let names = template.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim());
    names
        .filter(|name| !name.starts_with('#'))
        .enumerate()
        .map(|(index, name)| {
            (name.to_owned(), format!("planted{index:02}-Zq7Rk2mV9xWc4TbN8yLs{index:02}-and-long-enough"))
        })
        .collect()
}

fn holds(text: &str, secrets: &[(String, String)]) -> Option<String> {
    secrets.iter().find(|(_, value)| text.contains(value.as_str())).map(|(name, _)| name.clone())
}

fn everything_below(folder: &Path, out: &mut String) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            everything_below(&path, out);
        } else if let Ok(bytes) = std::fs::read(&path) {
            out.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
}

// req: S0-14
// req: S4-KEYS
#[tokio::test]
async fn no_configured_secret_is_told_by_logs_at_every_level_errors_audit_metrics_or_reports() {
    let secrets = planted();
    assert!(secrets.len() >= 6, "{secrets:?}");
    for level in ["error", "warn", "info", "debug", "trace"] {
        // Nobody listens at that address: every call fails, with retries, errors and breaker changes.
        let config = "[providers.openai]\nbase_url = \"http://127.0.0.1:9/v1\"\nmodels = [\"m\"]\n\
                      [routes.default]\ntargets = [{ provider = \"openai\", model = \"m\" }]\n";
        let mut options = Options::config(config).env("PORTCULLIS__LOG__LEVEL", level);
        for (name, value) in &secrets {
            options = options.env(name, value.clone());
        }
        let mut server = Server::start(BINARY, options).await.expect("it starts");
        let admin_key =
            secrets.iter().find(|(name, _)| name == "ADMIN_KEY").map(|(_, value)| value.clone()).unwrap();
        let mut told = String::new();
        for key in
            [admin_key.as_str(), "", "pcl_aaaaaaaaaaaa_wrong", &secrets[0].1, "eyJhbGciOiJub25lIn0.e30."]
        {
            for stream in [false, true] {
                told += &format!(
                    "{:?}",
                    post(server.address(), "/v1/chat/completions", key, &chat(stream)).await
                );
            }
            for path in ["/health", "/metrics", "/v1/models", &format!("/v1/{key}?key={key}")] {
                let answer = get(server.address(), path, key).await;
                told += &format!("{:?} {}", answer.headers, answer.text());
            }
        }
        server.terminate();
        assert_eq!(server.wait(40).await, Some(0), "{}", server.stderr());
        assert_eq!(holds(&told, &secrets), None, "an answer at level {level}");
        assert_eq!(holds(&server.stdout(), &secrets), None, "standard output at level {level}");
        assert_eq!(holds(&server.stderr(), &secrets), None, "the log at level {level}");
        let mut kept = String::new();
        everything_below(&server.folder().join("data"), &mut kept);
        assert_eq!(holds(&kept, &secrets), None, "the data folder at level {level}");
    }
}

// req: S4-KEYS
#[tokio::test]
async fn reports_name_secrets_and_never_show_them() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = planted();
    let config =
        "[redis]\nurl_secret = \"openai_api_key\"\n[[auth.jwt.keys]]\nkey_secret = \"moonshot_api_key\"\n";
    std::fs::write(folder.path().join("portcullis.toml"), config).unwrap();
    let env: Vec<(&str, &str)> =
        secrets.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for args in [
        &["check"][..],
        &["check", "--json"],
        &["serve"],
        &["chat", "x"],
        &["keys", "list"],
        &["token", "issue", "--subject", "a"],
    ] {
        let ended = run(BINARY, folder.path(), args, &env).await;
        // A token is made from a secret and does not hold it.
        assert_eq!(
            holds(&ended.stdout, &secrets).or_else(|| holds(&ended.stderr, &secrets)),
            None,
            "{args:?}"
        );
    }
}
