//! `portcullis backup` and `portcullis restore`: copies of the database, on the data folder. Invariant: a database is
//! replaced only while no server has it open.

use super::{Ended, block_on, settings};
use crate::{
    cli::{Backup, Restore},
    output::{BAD, BOLD, DIM, GOOD, Trouble, line},
};
use portcullis_runtime::{
    StartError,
    kept::{self, BackupInfo, Which},
    read_secrets,
    settings::Sources,
};
use serde_json::json;
use std::{collections::BTreeMap, process::ExitCode};

pub(super) fn backup(sources: &Sources, wanted: &Backup, as_json: bool) -> Ended {
    if wanted.list {
        return list(sources, as_json);
    }
    let settings = settings(sources)?.settings;
    let made = block_on(async {
        let secrets = read_secrets(&settings, &sources.environment).await;
        kept::make(&settings, &secrets)
            .await
            .map_err(|error| trouble(&error).safe("the database is as it was"))
    })?;
    if as_json {
        line(json!({"ok": true, "backup": made}));
    } else {
        line(format_args!("{GOOD}made{GOOD:#} {} ({}, {})", made.name, size(made.bytes), rows(&made.rows)));
        line(format_args!("{DIM}it holds no keys: keep a copy of data/keys apart from it{DIM:#}"));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn restore(sources: &Sources, wanted: &Restore, as_json: bool) -> Ended {
    let Some(which) = &wanted.which else { return list(sources, as_json) };
    let which: Which = which.parse().unwrap_or(Which::Latest);
    let settings = settings(sources)?.settings;
    let restored = block_on(async {
        let secrets = read_secrets(&settings, &sources.environment).await;
        kept::restore(&settings, &secrets, &which)
            .await
            .map_err(|error| trouble(&error).safe("the database is as it was"))
    })?;
    if as_json {
        line(json!({"ok": true, "restored": restored}));
        return Ok(ExitCode::SUCCESS);
    }
    line(format_args!(
        "{GOOD}restored{GOOD:#} {} of {}: {}",
        restored.name,
        restored.at,
        rows(&restored.rows)
    ));
    if let Some(kept) = &restored.kept_as {
        line(format_args!("the database that was there is kept as {BOLD}{kept}{BOLD:#}"));
    }
    if restored.unsent > 0 {
        line(format_args!(
            "{} messages that waited to be sent are dead: portcullis outbox list --state dead",
            restored.unsent
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn list(sources: &Sources, as_json: bool) -> Ended {
    let settings = settings(sources)?.settings;
    let listed = block_on(async { kept::list(&settings).await.map_err(|error| trouble(&error)) })?;
    if as_json {
        let row = |(index, info): (usize, &BackupInfo)| {
            let mut row = json!(info);
            row["number"] = json!(index + 1);
            row
        };
        line(json!({"ok": true, "backups": listed.iter().enumerate().map(row).collect::<Vec<_>>()}));
        return Ok(ExitCode::SUCCESS);
    }
    if listed.is_empty() {
        line(format_args!("no backups in {}", settings.backup.folder(&settings.data_dir).display()));
    }
    for (index, info) in listed.iter().enumerate() {
        let counted = [("users", info.users), ("folders", info.folders)];
        let counts: String = counted
            .iter()
            .filter_map(|(name, count)| count.map(|count| format!("  {count} {name}")))
            .collect();
        let problem = info.problem.as_ref().map(|why| format!("  {BAD}{why}{BAD:#}")).unwrap_or_default();
        line(format_args!(
            "{BOLD}{:>3}{BOLD:#}  {}  {:>9}{counts}  {DIM}{}{DIM:#}{problem}",
            index + 1,
            info.at,
            size(info.bytes),
            info.name
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn trouble(error: &StartError) -> Trouble {
    Trouble::failed(error.to_string())
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10),
    }
}

/// What people count by; of the rest the sum.
fn rows(rows: &BTreeMap<String, u64>) -> String {
    let named = [("api_keys", "API keys"), ("news_people", "users"), ("news_folders", "folders")];
    let mut said: Vec<String> = named
        .iter()
        .filter_map(|(table, noun)| rows.get(*table).map(|count| format!("{count} {noun}")))
        .collect();
    said.push(format!("{} rows in all", rows.values().sum::<u64>()));
    said.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_rows_are_told_in_words() {
        assert_eq!(
            (size(1), size(45_100_000), size(2_500_000_000)),
            ("1 kB".into(), "45.1 MB".into(), "2.5 GB".into())
        );
        let counted = BTreeMap::from([("api_keys".to_owned(), 2), ("outbox".to_owned(), 5)]);
        assert_eq!(rows(&counted), "2 API keys, 7 rows in all");
    }
}
