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
