//! Commands around backups of the database.

use clap::Args;

pub(super) const BACKUP: &str = "\
Works beside a running server and without one; the server makes backups by itself ([backup]). A backup holds the database \
alone: keep a copy of data/keys apart from it, because texts of people in it are sealed by the key there.

Examples:
  portcullis backup
  portcullis backup --list
  portcullis backup --json
Exit codes: 0 made or listed, 1 the database or the disk cannot be used, 2 wrong use.";

pub(super) const RESTORE: &str = "\
Without a name it lists what there is, newest first. The server must be stopped. The database that is there is kept: as \
pre-restore-… beside the backups, or in data/quarantine when it is damaged. Messages that waited to be sent are dead \
afterwards (`portcullis outbox list --state dead`); keys and tokens revoked since stay revoked.

Examples:
  portcullis restore
  portcullis restore latest
  portcullis restore 3
  portcullis restore portcullis-20261121T201500Z.db --json
Exit codes: 0 restored or listed, 1 nothing was changed, 2 wrong use.";

/// `backup`.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Only list what there is, newest first.
    #[arg(long)]
    pub(crate) list: bool,
}

/// `restore`.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// `latest`, a number of the list, or a file's name.
    #[arg(value_name = "WHICH")]
    pub(crate) which: Option<String>,
}
