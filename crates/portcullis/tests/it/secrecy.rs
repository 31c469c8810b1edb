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

/// A made-up value of every kind that has to be known, put together here so that scanners of the repository see none;
/// and the part of it that must never be shown.
fn kinds() -> Vec<(&'static str, String, String)> {
    let (mixed, hex) = ("q7Rk2mV9xWc4TbN8".repeat(8), "0a1b2c3d4e5f6789".repeat(4));
    let key = |kind, before: &str, secret: &str| (kind, format!("{before}{secret}"), secret.to_owned());
    let jwt = format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIi{}.{}", &mixed[..24], &mixed[..43]);
    let pem = format!("-----BEGIN {0}-----\n{1}\n-----END {0}-----", "RSA PRIVATE KEY", &mixed[..64]);
    let mut all = vec![
        ("private_key", pem, mixed[..64].to_owned()),
        ("jwt", jwt.clone(), jwt),
        ("password", "postgres://made_up:q7Rk2mV9@db.example/x".into(), "q7Rk2mV9@".into()),
        ("email", "made.up.person@example.org".into(), "made.up.person".into()),
        ("phone", "call +31 20 123 4567".into(), "123 4567".into()),
        ("card", "4012 8888 8888 1881".into(), "8888 1881".into()),
        ("iban", "GB82 WEST 1234 5698 7654 32".into(), "5698 7654".into()),
        ("ssn", "536-22-1234".into(), "536-22-1234".into()),
        ("crypto_address", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4".into(), "qejxtdg4y5r3".into()),
        ("telegram_id", "telegram_id: 5361234567".into(), "5361234567".into()),
        ("signal_id", "Signal: made_up_person.4207".into(), "made_up_person.4207".into()),
    ];
    for (kind, before, long) in [
        ("openai_key", "sk-", 48),
        ("openai_key", "sk-proj-", 64),
        ("openai_key", "sk-svcacct-", 60),
        ("openai_key", "sk-admin-", 60),
        ("google_key", "AIza", 35),
        ("anthropic_key", "sk-ant-api03-", 93),
        ("telegram_token", "1234567890:AA", 33),
        ("github_token", "ghp_", 36),
        ("github_token", "gho_", 36),
        ("github_token", "ghu_", 36),
        ("github_token", "ghs_", 36),
        ("github_token", "ghr_", 36),
        ("github_token", "github_pat_", 82),
        ("gitlab_token", "glpat-", 20),
        ("slack_token", "xoxb-123456789012-", 24),
        ("slack_token", "xoxp-123456789012-", 24),
        ("vault_token", "hvs.", 90),
        ("vault_token", "hvb.", 90),
        ("stripe_key", "sk_live_", 24),
        ("npm_token", "npm_", 36),
        ("pypi_token", "pypi-AgE", 100),
        ("bearer", "Authorization: Bearer ", 40),
        ("secret", "MADE_UP_API_KEY=", 32),
        ("aws secret", "aws_secret_access_key = ", 40),
        ("azure_key", "AccountKey=", 86),
        ("sendgrid_key", "SG.q7Rk2mV9xWc4TbN8q7Rk2m.", 43),
    ] {
        all.push(key(kind, before, &mixed[..long]));
    }
    all.push(key("zhipu_key", "", &format!("{}.{}", &hex[..32], &mixed[..16])));
    all.push(key("twilio_key", "SK", &hex[..32]));
    all.push(key("aws_key", "AKIA", "Q7RK2MV9XWC4TBN8"));
    all.push(key("aws_key", "ASIA", "Q7RK2MV9XWC4TBN8"));
    all
}

/// What somebody sees who asks for all of it: whatever goes in, wherever it goes in.
async fn send_everywhere(address: std::net::SocketAddr, key: &str, value: &str) -> String {
    let body = serde_json::json!({"model": value, "messages": [{"role": "user", "content": value}]});
    let mut told = format!("{:?}", post(address, "/v1/chat/completions", key, &body).await);
    let broken = serde_json::json!({"model": value, "messages": value, value: 1});
    told += &format!("{:?}", post(address, "/v1/chat/completions", key, &broken).await);
    let name: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
    told += &format!("{:?}", get(address, &format!("/v1/models/{name}?q={name}"), key).await.text());
    if !value.contains('\n') {
        told += &format!("{:?}", get(address, "/v1/models", value).await.text());
    }
    told + &get(address, "/metrics", key).await.text()
}

// req: S2-2.7
// req: S2-3.3
#[tokio::test]
async fn no_secret_of_any_kind_that_a_caller_sends_is_kept_or_counted_and_other_scanners_find_none() {
    let config = "[log]\nlevel = \"trace\"\nformat = \"json\"\n[providers.openai]\nbase_url = \"http://127.0.0.1:9/v1\"\n\
                  models = [\"m\"]\n[routes.default]\ntargets = [{ provider = \"openai\", model = \"m\" }]\n";
    let admin = "planted-admin-key-Zq7Rk2mV9xWc4TbN8yLs-and-long-enough";
    let mut server =
        Server::start(BINARY, Options::config(config).env("ADMIN_KEY", admin)).await.expect("it starts");
    for (kind, value, hidden) in kinds() {
        let told = send_everywhere(server.address(), admin, &value).await;
        assert!(!told.contains(&hidden), "an answer tells a {kind}: {told}");
    }
    server.terminate();
    assert_eq!(server.wait(40).await, Some(0), "{}", server.stderr());
    let mut kept = server.stderr() + &server.stdout();
    everything_below(&server.folder().join("data"), &mut kept);
    for (kind, _, hidden) in kinds() {
        assert!(!kept.contains(&hidden), "a {kind} is kept");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("everything.log"), &kept).unwrap();
    judged_by_detect_secrets(folder.path()).await;
}

/// What detect-secrets knows by form; its guesses by entropy alone would call every hash in the audit trail a secret.
const JUDGE: &str = "
import json, sys
from detect_secrets import SecretsCollection
from detect_secrets.settings import transient_settings
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
guesses = {'Base64HighEntropyString', 'HexHighEntropyString', 'KeywordDetector', 'IPPublicDetector'}
names = [plugin.__name__ for plugin in get_mapping_from_secret_type_to_class().values()]
with transient_settings({'plugins_used': [{'name': name} for name in names if name not in guesses]}):
    found = SecretsCollection()
    found.scan_file(sys.argv[1])
    print(json.dumps([[secret.type, secret.line_number] for _, secret in found]))
";

async fn judged_by_detect_secrets(folder: &Path) {
    let Some(python) = portcullis_testkit::python::venv("detect-secrets", &["detect-secrets==1.5.0"]).await
    else {
        return;
    };
    let scan = |name: &str| {
        let command = std::process::Command::new(python.join("bin/python"))
            .args(["-c", JUDGE])
            .arg(folder.join(name))
            .output()
            .unwrap();
        assert!(command.status.success(), "{}", String::from_utf8_lossy(&command.stderr));
        String::from_utf8(command.stdout).unwrap()
    };
    let planted: String = kinds().into_iter().map(|(_, value, _)| value + "\n").collect();
    std::fs::write(folder.join("planted.log"), planted).unwrap();
    assert!(scan("planted.log").matches("\", ").count() >= 5, "the judge is awake");
    assert_eq!(scan("everything.log").trim(), "[]");
}
