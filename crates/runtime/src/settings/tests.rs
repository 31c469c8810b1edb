//! Settings from real files, with fixed environments.

use super::*;
use crate::Environment;
use portcullis_engine::BucketConfig;
use std::path::Path;

fn sources(folder: &Path, vars: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
    Sources {
        config: None,
        flags: flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        environment: Environment::fixed(vars.iter().copied()),
        folder: Some(folder.to_owned()),
    }
}

fn said(examined: &Examined, folder: &Path) -> String {
    examined.report.to_string().replace(&folder.display().to_string(), "FOLDER")
}

#[test]
fn the_defaults_are_without_fault() {
    assert_eq!(Settings::default().problems(), vec![]);
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = "data_dir = \"a\"\n[server]\ndrain_secs = 1\nflush_secs = 1\nworker_threads = 1\n";
    std::fs::write(folder.path().join("portcullis.toml"), file).unwrap();
    let vars = [("PORTCULLIS__SERVER__DRAIN_SECS", "2"), ("PORTCULLIS__SERVER__FLUSH_SECS", "2")];
    let examined = load(&sources(folder.path(), &vars, &[("server.flush_secs", "3")])).unwrap();
    let server = &examined.settings.server;
    assert_eq!((server.worker_threads, server.drain_secs, server.flush_secs), (1, 2, 3));
    assert_eq!(examined.origins["server.flush_secs"], Origin::Flag("--set server.flush_secs".into()));
    assert_eq!(examined.settings.data_dir, Path::new("a"));
}

#[test]
fn the_file_is_the_flag_then_the_variable_then_the_local_one() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("data_dir = \"{name}\"")).unwrap();
        path
    };
    let (flag, variable) = (write("flag.toml"), write("variable.toml"));
    write("portcullis.toml");
    let variable = variable.display().to_string();
    let mut from = sources(folder.path(), &[("PORTCULLIS_CONFIG", &variable)], &[]);
    from.config = Some(flag);
    let data_dir = |from: &Sources| load(from).unwrap().settings.data_dir.display().to_string();
    assert_eq!(data_dir(&from), "flag.toml");
    from.config = None;
    assert_eq!(data_dir(&from), "variable.toml");
    from.environment = Environment::fixed([]);
    assert_eq!(data_dir(&from), "portcullis.toml");
    from.config = Some(folder.path().join("gone.toml"));
    assert!(matches!(load(&from), Err(LoadError::Unreadable { .. })));
}

// req: S2-1.4
#[test]
fn everything_wrong_in_file_variables_and_flags_is_said_in_one_report() {
    let folder = tempfile::tempdir().unwrap();
    let file = "data_dri = \"data\"\ndata_dir = \"\"\n\n[server]\ndrain_secs = 99999\nworker_threads = \"two\"\n\
                flush_secs = \n\n[secrets]\nsources = [\"file\", \"fil\"]\n";
    std::fs::write(folder.path().join("portcullis.toml"), file).unwrap();
    let vars = [("PORTCULLIS__SERVER__STAL_WARN_MS", "5"), ("PORTCULLIS__SERVRE__X", "1")];
    let flags = [("server.stall_probe_ms", "0"), ("secrets.dir.deep", "x")];
    let examined = examine(&sources(folder.path(), &vars, &flags)).unwrap();
    assert!(examined.report.refuses());
    insta::assert_snapshot!(said(&examined, folder.path()));
}

// req: S4-KEYS
#[test]
fn a_key_in_the_file_is_refused_by_its_line_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ["sk-proj-FakeZx81kQm20vLpYt67RwBn", "ghp_Fake7e42F292c6912E7710c838347Ae178B4a"];
    let file =
        format!("# old: {}\ndata_dir = \"{}\"\n[server]\ndrain_secs = \"{}\"\n", keys[0], keys[1], keys[0]);
    std::fs::write(folder.path().join("portcullis.toml"), file).unwrap();
    let vars = [("PORTCULLIS__DATA_DIR", keys[0])];
    let examined = examine(&sources(folder.path(), &vars, &[])).unwrap();
    let text = said(&examined, folder.path());
    for key in keys {
        assert!(!text.contains(&key[8..]), "{text}");
        assert!(!examined.report.to_json().to_string().contains(&key[8..]));
    }
    for place in ["FOLDER/portcullis.toml:1:", "FOLDER/portcullis.toml:2:", "FOLDER/portcullis.toml:4:"] {
        let line =
            text.lines().find(|line| line.contains(place)).unwrap_or_else(|| panic!("{place}: {text}"));
        assert!(line.contains("looks like a key"), "{line}");
    }
    assert!(text.contains("PORTCULLIS__DATA_DIR"), "{text}");
}

#[test]
fn a_file_that_is_not_text_or_far_too_large_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.toml");
    std::fs::write(&path, b"data_dir = \"x\"\n# \xff\n").unwrap();
    let examined = examine(&sources(folder.path(), &[], &[])).unwrap();
    assert_eq!(
        said(&examined, folder.path()),
        "error: FOLDER/portcullis.toml:2:3: not UTF-8 from here on\n    mend: save the file as UTF-8\n"
    );
    std::fs::write(&path, vec![b'#'; 5_000_000]).unwrap();
    assert!(load(&sources(folder.path(), &[], &[])).unwrap_err().to_string().contains("the limit is"));
}

#[test]
fn the_generated_example_is_valid_and_says_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let uncommented: String = example_toml()
        .lines()
        .map(|line| {
            let body = line.strip_prefix("# ").unwrap_or(line);
            let is_key = body.split_once(" = ").is_some_and(|(key, _)| {
                key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            });
            if is_key && !body.ends_with("unset by default") {
                format!("{body}\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    std::fs::write(folder.path().join("portcullis.toml"), &uncommented).unwrap();
    let examined = examine(&sources(folder.path(), &[], &[])).unwrap();
    assert_eq!(said(&examined, folder.path()), "", "{uncommented}");
    let (said, default) = (&examined.settings, Settings::default());
    assert_eq!(serde_json::to_value(said).unwrap(), serde_json::to_value(default).unwrap());
}

// req: S0-11
#[test]
fn a_named_tier_or_action_keeps_what_is_not_said_of_it_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[tiers.premium]\nper_min = 5000\nuser = { capacity = 300 }\n[tiers.team]\nper_min = 7\n\
                [actions.message]\nper_user_per_min = 20\n[actions.chat]\nper_user_per_hour = 9\n\
                [actions.news]\nper_user_per_hour = 0\n";
    std::fs::write(folder.path().join("portcullis.toml"), text).unwrap();
    let examined = examine(&sources(folder.path(), &[], &[("tiers.anonymous.weight", "3")])).unwrap();
    assert_eq!(said(&examined, folder.path()), "");
    let (found, usual) = (examined.settings.admission(), Settings::default().admission());
    let premium = &usual.tiers["premium"];
    let user = BucketConfig { capacity: 300, ..premium.user.unwrap() };
    assert_eq!(found.tiers["premium"], TierConfig { per_min: 5000, user: Some(user), ..premium.clone() });
    assert_eq!(found.tiers["authenticated"], usual.tiers["authenticated"]);
    assert_eq!(found.tiers["anonymous"], TierConfig { weight: 3, ..usual.tiers["anonymous"].clone() });
    let team = &found.tiers["team"];
    assert_eq!((team.per_min, team.user, team.weight), (7, None, 1));
    let message = &found.actions["message"];
    assert_eq!((message.per_user_per_min, message.per_user_per_hour), (Some(20), Some(100)));
    assert_eq!(found.actions["chat"].per_user_per_hour, Some(9));
    assert_eq!(found.actions["news"].per_user_per_hour, Some(0), "not counted");
    assert_eq!(found.actions["summarise"], usual.actions["summarise"]);
}
