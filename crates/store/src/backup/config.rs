//! `[backup]`: where copies of the database are kept, how often one is made, how many stay.

use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// `[backup]`: copies of the database, made while the server runs (SQLite).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackupConfig {
    /// Whether the server makes backups by itself. A database on PostgreSQL is backed up there, or by
    /// `portcullis backup`. Default true.
    pub enabled: bool,
    /// Folder of the backups; a relative one lies below `data_dir`. Another disk is better: with the data folder's disk its
    /// backups are lost too. Default `"backups"`.
    pub dir: PathBuf,
    /// Shortest time between two backups, in seconds. After a change at most this much is lost when the database is
    /// damaged. Default 60.
    pub debounce_secs: u64,
    /// Backups that are kept. The newer half are the last ones; the others are spread over `max_age_days`. Default 20.
    pub keep: usize,
    /// Age beyond which a backup goes, in days; the newest valid one stays. Default 7.
    pub max_age_days: u64,
    /// Size of the database in bytes from which on a backup is made every `large_secs` only. Default 268435456.
    pub large_bytes: u64,
    /// Shortest time between two backups of a large database, in seconds. Default 3600.
    pub large_secs: u64,
}

impl Default for BackupConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            dir: PathBuf::from("backups"),
            debounce_secs: 60,
            keep: 20,
            max_age_days: 7,
            large_bytes: 268_435_456,
            large_secs: 3600,
        }
    }
}

impl BackupConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        for (key, value, least, most) in [
            ("debounce_secs", self.debounce_secs, 1, 86_400),
            ("keep", self.keep as u64, 2, 10_000),
            ("max_age_days", self.max_age_days, 1, 36_500),
            ("large_bytes", self.large_bytes, 1 << 20, 1 << 50),
            ("large_secs", self.large_secs, 1, 604_800),
        ] {
            if !(least..=most).contains(&value) {
                let message = format!("is {value}; it must be from {least} to {most}");
                let mend = "leave the key out for its default";
                out.push(Problem::new(format!("{prefix}.{key}"), message, mend));
            }
        }
        if self.dir.as_os_str().is_empty() {
            out.push(Problem::new(format!("{prefix}.dir"), "is empty", "name a folder, such as \"backups\""));
        }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self, data_dir: &Path) -> PathBuf {
        data_dir.join(&self.dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_every_number_out_of_range_is_named() {
        let problems = |config: &BackupConfig| {
            let mut out = Vec::new();
            config.problems("backup", &mut out);
            out.into_iter().map(|problem| problem.key).collect::<Vec<_>>()
        };
        assert_eq!(problems(&BackupConfig::default()), Vec::<String>::new());
        let wrong =
            BackupConfig { debounce_secs: 0, keep: 1, dir: PathBuf::new(), ..BackupConfig::default() };
        assert_eq!(problems(&wrong), ["backup.debounce_secs", "backup.keep", "backup.dir"]);
    }

    #[test]
    fn a_relative_folder_lies_below_the_data_folder_and_an_absolute_one_where_it_says() {
        let config = |dir: &str| BackupConfig { dir: dir.into(), ..BackupConfig::default() };
        assert_eq!(config("backups").folder(Path::new("/var/lib/p")), Path::new("/var/lib/p/backups"));
        assert_eq!(config("/mnt/b").folder(Path::new("/var/lib/p")), Path::new("/mnt/b"));
    }
}
