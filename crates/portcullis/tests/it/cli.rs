//! The command line without a server: exit codes, words, generated documents.

use portcullis_testkit::process::{Refused, run};
use std::path::Path;

const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");

async fn portcullis(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Refused {
    run(BINARY, folder, args, env).await
}

fn code(ended: &Refused) -> i32 {
    ended.code.unwrap_or(-1)
}

// req: S2-1.4
#[tokio::test]
async fn check_names_every_problem_with_line_and_mend_and_says_so_by_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let ended = portcullis(folder.path(), &["check"], &[]).await;
    assert_eq!((code(&ended), ended.stderr.as_str()), (0, ""), "{}", ended.stdout);
    assert!(ended.stdout.starts_with("ready to serve"), "{}", ended.stdout);

    let file = "data_dri = \"x\"\n\n[server]\ndrain_secs = 99999\nworker_threads = \"two\"\n";
    std::fs::write(folder.path().join("portcullis.toml"), file).unwrap();
    let ended = portcullis(folder.path(), &["check"], &[("PORTCULLIS__SECRETS__SOURCES", "file,evn")]).await;
    assert_eq!(code(&ended), 1);
    insta::assert_snapshot!(ended.stdout);

    let ended = portcullis(folder.path(), &["check", "--json"], &[]).await;
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((code(&ended), report["errors"].as_u64(), report["ok"].as_bool()), (1, Some(3), Some(false)));

    let ended = portcullis(folder.path(), &["check", "--config", "gone.toml"], &[]).await;
    assert_eq!(code(&ended), 2);
    assert!(ended.stderr.contains("cannot read the settings file gone.toml"), "{}", ended.stderr);
    assert!(ended.stderr.contains("what to do:"), "{}", ended.stderr);
}

// req: S0-19
#[tokio::test]
async fn rules_are_written_with_the_thresholds_of_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    let ended = portcullis(folder.path(), &["rules"], &[]).await;
    let shipped = include_str!("../../../../monitoring/alerts.yml");
    assert_eq!((code(&ended), ended.stderr.as_str(), ended.stdout.as_str()), (0, "", shipped));
    let own = ["rules", "--json", "--set", "alerts.queue_depth=7"];
    let ended = portcullis(folder.path(), &own, &[]).await;
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((code(&ended), &told["thresholds"]["queue_depth"]), (0, &serde_json::json!(7)));
    assert!(told["rules"].as_str().unwrap().contains("(queue_depth) > 7\n"));
    let ended = portcullis(folder.path(), &["rules", "--set", "alerts.ai_failure_ratio=1.5"], &[]).await;
    assert_eq!((code(&ended), ended.stdout.as_str()), (2, ""));
    assert!(ended.stderr.contains("alerts.ai_failure_ratio"), "{}", ended.stderr);
}

// req: S2-1.4
// req: S0-14
#[tokio::test]
async fn check_names_secrets_that_are_asked_for_and_missing_and_how_to_give_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = "[redis]\nurl_secret = \"cache_url\"\n";
    std::fs::write(folder.path().join("portcullis.toml"), file).unwrap();
    let ended = portcullis(folder.path(), &["check"], &[]).await;
    assert_eq!(code(&ended), 1);
    assert!(ended.stdout.contains("the secret `cache_url` is in none of the sources"), "{}", ended.stdout);
    assert!(ended.stdout.contains("set CACHE_URL in the environment"), "{}", ended.stdout);
    let given = [("CACHE_URL", "redis://127.0.0.1:1/")];
    let ended = portcullis(folder.path(), &["check"], &given).await;
    assert_eq!(code(&ended), 0, "{}", ended.stdout);
    std::fs::write(folder.path().join("portcullis.toml"), "[telegram]\nenabled = true\n").unwrap();
    let ended = portcullis(folder.path(), &["check"], &[]).await;
    assert_eq!(code(&ended), 1);
    let words = "the secret `telegram_bot_token`, the token that BotFather shows, is in none of the sources";
    assert!(ended.stdout.contains(words), "{}", ended.stdout);
    let given = [("TELEGRAM_BOT_TOKEN", "1234567890:made-up-for-this-test")];
    let ended = portcullis(folder.path(), &["check"], &given).await;
    assert_eq!(code(&ended), 0, "{}", ended.stdout);
}

// req: S0-01
// req: S2-1.4
#[tokio::test]
async fn check_warns_of_models_whose_price_no_budget_of_money_sees() {
    let folder = tempfile::tempdir().unwrap();
    let text = |budget: &str| {
        format!(
            "[providers.openai]\nmodels = [\"gpt-4o-mini\", \"mystery\", \"told\"]\n\
             [models.\"openai/told\"]\nprice = {{ input = 1, output = 2 }}\n\
             [routes.fast]\ntargets = [{{ provider = \"openai\", model = \"riddle\" }}, {{ provider = \"builtin\", model = \"extractive\" }}]\n\
             {budget}"
        )
    };
    let path = folder.path().join("portcullis.toml");
    let keys = [("OPENAI_API_KEY", "made-up-key-for-a-test")];
    std::fs::write(&path, text("[budgets.team]\nscope = \"global\"\nmoney_usd = 5.0\n")).unwrap();
    let ended = portcullis(folder.path(), &["check"], &keys).await;
    let out = format!("{}{}", ended.stdout, ended.stderr);
    assert!(out.contains("routes.fast.targets") && out.contains("openai/riddle"), "{out}");
    assert!(out.contains("openai/mystery") && !out.contains("openai/told\"]"), "{out}");
    assert!(!out.contains("gpt-4o-mini") && !out.contains("extractive"), "{out}");
    assert_eq!(ended.code, Some(0), "{out}");
}

#[tokio::test]
async fn check_warns_of_a_limit_above_the_published_quota_and_of_a_provider_without_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = "[providers.openai]\nrpm = 100\n";
    std::fs::write(folder.path().join("portcullis.toml"), file).unwrap();
    let ended = portcullis(folder.path(), &["check"], &[("ZAI_API_KEY", "made-up-key-for-a-test")]).await;
    assert_eq!(code(&ended), 0, "warnings refuse nothing: {}", ended.stdout);
    assert!(ended.stdout.contains("providers.glm.concurrency: 4 calls at once"), "{}", ended.stdout);
    assert!(ended.stdout.contains("providers.openai: has no key"), "{}", ended.stdout);
    assert!(ended.stdout.contains("0 errors and 2 warnings"), "{}", ended.stdout);
}

#[tokio::test]
async fn wrong_use_ends_with_2_and_help_with_0() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&["chekc"][..], &[], &["check", "--set", "nonsense"]] {
        assert_eq!(code(&portcullis(folder.path(), args, &[]).await), 2, "{args:?}");
    }
    let help = portcullis(folder.path(), &["--help"], &[]).await;
    assert_eq!(code(&help), 0);
    for word in ["Exit codes", "Examples"] {
        assert!(help.stdout.contains(word), "{}", help.stdout);
    }
    assert!(!help.stdout.contains("reference"), "hidden commands stay hidden");
}

#[tokio::test]
async fn output_that_is_no_terminal_has_no_colours() {
    let folder = tempfile::tempdir().unwrap();
    let ended = portcullis(folder.path(), &["check", "--set", "nope=1"], &[]).await;
    assert!(!ended.stdout.contains('\u{1b}') && ended.stdout.contains("error"), "{}", ended.stdout);
}

// req: S4-KEYS
#[tokio::test]
async fn the_template_of_secrets_has_every_name_and_no_value() {
    let folder = tempfile::tempdir().unwrap();
    let printed = portcullis(folder.path(), &["reference", "env"], &[]).await.stdout;
    let kept = include_str!("../../../../deploy/portcullis.env.template");
    assert_eq!(printed.trim_end(), kept.trim_end(), "write it again: portcullis reference env");
    let names: Vec<&str> = kept.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(names.contains(&"API_KEY_PEPPER="), "{names:?}");
    for line in names {
        let (name, value) = line.split_once('=').expect("NAME=");
        assert!(value.is_empty(), "{name} has a value");
    }
}
