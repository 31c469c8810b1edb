//! Sensible settings are no problem; every mistake is named by its key.

use super::*;

fn found(toml_like: serde_json::Value, name: &str) -> Vec<String> {
    let config: ProviderConfig = serde_json::from_value(toml_like).unwrap();
    let mut out = Vec::new();
    problems(&ProvidersConfig::from([(name.to_owned(), config)]), "providers", &mut out);
    out.into_iter().map(|problem| problem.key).collect()
}

#[test]
fn the_shipped_figures_and_sensible_settings_are_no_problem() {
    let mut out = Vec::new();
    EmbedConfig::default().problems("embed", &mut out);
    UpstreamConfig::default().problems("upstream", &mut out);
    assert_eq!(out, vec![]);
    assert!(found(serde_json::json!({}), "openai").is_empty());
    assert!(
        found(serde_json::json!({ "rpm": 0, "models": ["a", { "name": "b", "lacks": ["tools"] }] }), "kimi")
            .is_empty()
    );
    assert!(found(serde_json::json!({ "base_url": "http://10.0.0.5:8000/v1" }), "my-server").is_empty());
}

#[test]
fn every_mistake_is_named_by_its_key() {
    let many = serde_json::json!({
        "concurrency": 0, "queue": 0, "breaker_failures": 5000, "breaker_reset_secs": 0, "models": [""],
    });
    let keys = ["concurrency", "queue", "breaker_failures", "breaker_reset_secs", "models"];
    assert_eq!(found(many, "openai"), keys.map(|key| format!("providers.openai.{key}")));
    for url in
        ["ftp://host/v1", "host/v1", "https://user:pw@host/v1", "https://host/v1/", "https://host/v1?x=1", ""]
    {
        let config = serde_json::json!({ "base_url": url });
        assert_eq!(found(config, "openai"), ["providers.openai.base_url"], "{url}");
    }
    assert_eq!(found(serde_json::json!({}), "my-server"), ["providers.my-server.base_url"]);
    assert_eq!(
        found(serde_json::json!({ "base_url": "https://h/v1" }), "builtin"),
        ["providers.builtin.base_url"]
    );
    assert_eq!(found(serde_json::json!({ "base_url": "https://h/v1" }), "Bad Name"), ["providers.Bad Name"]);
    assert!(
        serde_json::from_value::<ProviderConfig>(serde_json::json!({ "key": "sk-x" })).is_err(),
        "no keys in settings"
    );
}

#[test]
fn a_way_around_safety_settings_must_be_meant() {
    let key = ["providers.gemini-openai.allow_without_safety"];
    assert_eq!(found(serde_json::json!({}), "gemini-openai"), key);
    assert!(found(serde_json::json!({ "allow_without_safety": true }), "gemini-openai").is_empty());
    assert!(found(serde_json::json!({ "enabled": false }), "gemini-openai").is_empty());
    let elsewhere = found(serde_json::json!({ "allow_without_safety": true }), "openai");
    assert_eq!(elsewhere, ["providers.openai.allow_without_safety"]);
    let high = serde_json::json!({ "safety": { "harassment": "BLOCK_ONLY_HIGH" } });
    assert!(found(high.clone(), "gemini").is_empty());
    assert_eq!(found(high, "openai"), ["providers.openai.safety"]);
    let off = serde_json::json!({ "safety": { "hate_speech": "OFF" } });
    assert_eq!(found(off, "gemini"), ["providers.gemini.safety"]);
    let meant = serde_json::json!({ "safety": { "hate_speech": "OFF" }, "allow_without_safety": true });
    assert!(found(meant, "gemini").is_empty());
}

#[test]
fn a_model_row_is_checked_wherever_it_stands() {
    let wrong = serde_json::json!({
        "context": 0, "max_output": 0, "batch": 0, "timeout_factor": 0.0,
        "price": { "input": 100_000_000_001_u64, "valid_from": "soon" },
    });
    let models = ModelsConfig::from([
        ("openai/gpt-x".to_owned(), serde_json::from_value(wrong).unwrap()),
        ("nobody/gpt-x".to_owned(), ModelConfig::default()),
        ("gpt-x".to_owned(), ModelConfig::default()),
        ("openai/a/b".to_owned(), ModelConfig { name: "a/b".into(), ..ModelConfig::default() }),
    ]);
    let mut out = Vec::new();
    model_problems(&models, "models", |name| name == "openai", &mut out);
    let keys: Vec<&str> = out.iter().map(|problem| problem.key.as_str()).collect();
    let gpt = |key: &str| format!("models.\"openai/gpt-x\".{key}");
    assert_eq!(
        keys,
        [
            "models.\"gpt-x\"".to_owned(),
            "models.\"nobody/gpt-x\"".to_owned(),
            "models.\"openai/a/b\".name".to_owned(),
            gpt("context"),
            gpt("max_output"),
            gpt("batch"),
            gpt("timeout_factor"),
            gpt("price.input"),
            gpt("price.valid_from"),
        ]
    );
}

#[test]
fn several_keys_are_named_once_each_and_not_beside_a_single_one() {
    let key = "providers.openai.key_secrets";
    assert!(found(serde_json::json!({ "key_secrets": ["a", "b"], "learn": "raise" }), "openai").is_empty());
    assert!(found(serde_json::json!({ "learn": false, "when_full": "reject" }), "openai").is_empty());
    assert_eq!(found(serde_json::json!({ "key_secrets": ["a", "a"] }), "openai"), [key]);
    assert_eq!(found(serde_json::json!({ "key_secrets": ["a", ""] }), "openai"), [key]);
    assert_eq!(found(serde_json::json!({ "key_secrets": ["a"], "key_secret": "b" }), "openai"), [key]);
    let many: Vec<String> = (0..17).map(|n| format!("k{n}")).collect();
    assert_eq!(found(serde_json::json!({ "key_secrets": many }), "openai"), [key]);
    assert!(serde_json::from_value::<ProviderConfig>(serde_json::json!({ "learn": "up" })).is_err());
}
