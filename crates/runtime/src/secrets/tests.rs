//! The adapter against real files, variables and a real `.env`.

use super::*;
use crate::Environment;
use secrecy::ExposeSecret;

struct Places {
    folder: tempfile::TempDir,
    config: SecretsConfig,
}

fn places(dotenv: &str, files: &[(&str, &str)]) -> Places {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("secrets");
    std::fs::create_dir(&dir).unwrap();
    for (name, value) in files {
        std::fs::write(dir.join(name), value).unwrap();
    }
    let path = folder.path().join(".env");
    std::fs::write(&path, dotenv).unwrap();
    let config = SecretsConfig { dir, dotenv: path, ..SecretsConfig::default() };
    Places { folder, config }
}

async fn read(config: &SecretsConfig, environment: &[(&str, &str)], name: &str) -> (Option<String>, String) {
    let environment = Environment::fixed(environment.iter().copied());
    let secrets = Secrets::read(config, &environment, [name.to_owned()]).await;
    let said = secrets
        .reads()
        .map(|(_, source)| source.as_str().to_owned())
        .chain(secrets.broken().map(|(_, reason)| reason.to_owned()))
        .collect();
    (secrets.get(name).map(|value| value.expose_secret().to_owned()), said)
}

// req: S0-14
#[tokio::test]
async fn the_first_source_of_the_order_wins_and_the_order_can_be_turned() {
    let dotenv = "OPENAI_API_KEY=from-dotenv\nONLY_DOTENV='with $dollar'\n";
    let mut places = places(dotenv, &[("openai_api_key", "from-file\n"), ("empty", "\n")]);
    let vars = [("OPENAI_API_KEY", "from-env"), ("PORTCULLIS_SECRET_SPECIAL", "long"), ("SPECIAL", "short")];
    let config = &places.config;
    assert_eq!(read(config, &vars, "openai_api_key").await, (Some("from-file".into()), "file".into()));
    assert_eq!(read(config, &vars, "special").await, (Some("long".into()), "env".into()));
    assert_eq!(read(config, &vars, "only_dotenv").await, (Some("with $dollar".into()), "dotenv".into()));
    assert_eq!(read(config, &vars, "empty").await, (None, String::new()));
    places.config.sources = vec![SourceKind::Dotenv, SourceKind::Env, SourceKind::File];
    assert_eq!(
        read(&places.config, &vars, "openai_api_key").await,
        (Some("from-dotenv".into()), "dotenv".into())
    );
    places.config.sources = vec![SourceKind::Env];
    assert_eq!(read(&places.config, &[], "openai_api_key").await, (None, String::new()));
}

#[tokio::test]
async fn sources_that_are_not_there_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nowhere");
    let config = SecretsConfig { dir: missing.clone(), dotenv: missing, ..SecretsConfig::default() };
    assert_eq!(read(&config, &[("A_KEY", "v")], "a_key").await, (Some("v".into()), "env".into()));
}

#[tokio::test]
async fn a_source_that_is_there_but_broken_is_told_and_never_passed_over() {
    let places = places("FINE=1\nthis is a secret line without an equals sign\n", &[]);
    let (value, said) = read(&places.config, &[], "anything").await;
    assert_eq!(value, None);
    assert!(said.contains("entry 2") && !said.contains("secret line"), "{said}");

    std::fs::create_dir(places.config.dir.join("a_folder")).unwrap();
    let (value, said) = read(&places.config, &[("A_FOLDER", "old value")], "a_folder").await;
    assert_eq!(value, None);
    assert!(said.contains("source `file`"), "{said}");

    std::fs::write(places.config.dir.join("huge"), "x".repeat(MAX_SECRET_BYTES + 1)).unwrap();
    let (_, said) = read(&places.config, &[], "huge").await;
    assert!(said.contains("at most 65536"), "{said}");
    drop(places.folder);
}

#[tokio::test]
async fn a_name_can_never_become_a_path() {
    let places = places("", &[]);
    std::fs::write(places.folder.path().join("outside"), "stolen").unwrap();
    for name in ["../outside", "/etc/passwd", "Upper", "a-b", "", "1a"] {
        let (value, said) = read(&places.config, &[], name).await;
        assert_eq!(value, None);
        assert!(said.contains("lower-case"), "{name}: {said}");
    }
}

#[test]
fn secrets_are_found_in_settings_by_the_ending_of_their_key() {
    let settings = serde_json::json!({
        "redis": { "url_secret": "redis_url", "other": "x" },
        "providers": { "kimi": { "key_secret": "moonshot_api_key" }, "two": { "key_secrets": ["a", "b"] } },
        "alerts": { "receivers": [{ "kind": "log" }, { "kind": "webhook", "url_secret": "hook" }] },
        "store": { "url_secret": null },
    });
    let found: Vec<(String, String)> = references(&settings).into_iter().map(|r| (r.key, r.name)).collect();
    let expected = [
        ("alerts.receivers[1].url_secret", "hook"),
        ("providers.kimi.key_secret", "moonshot_api_key"),
        ("providers.two.key_secrets", "a"),
        ("providers.two.key_secrets", "b"),
        ("redis.url_secret", "redis_url"),
    ];
    let mut found = found;
    found.sort();
    assert_eq!(found, expected.map(|(key, name)| (key.to_owned(), name.to_owned())));
}

// req: S4-KEYS
#[test]
fn secrets_never_show_themselves_when_debugged() {
    let secrets = Secrets::fixed([("openai_api_key", "sk-very-secret-value")]);
    assert!(!format!("{secrets:?}").contains("very-secret"));
}
