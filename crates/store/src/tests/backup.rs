//! Backups of SQLite: when they are made, which stay, how one is put back.

use super::{
    key,
    messages::{ROOM, answer},
};
use crate::{BackupConfig, Backups, OutState, Seal, Store, StoreConfig, StoreError, StoreParts, Which};
use jiff::Timestamp;
use portcullis_telemetry::{Alerts, Health, Metrics};
use secrecy::SecretString;
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A data folder with its server.
pub(super) struct House {
    outer: TempDir,
    pub(super) store: StoreConfig,
    pub(super) backup: BackupConfig,
}

impl House {
    pub(super) fn new() -> Self {
        let (store, backup) = (StoreConfig::default(), BackupConfig::default());
        Self { outer: TempDir::new().unwrap(), store, backup }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.outer.path().join("data")
    }

    pub(super) fn db(&self) -> PathBuf {
        self.data().join("portcullis.db")
    }

    pub(super) fn backups(&self) -> Backups {
        Backups::new(&self.backup, &self.data())
    }

    pub(super) async fn begin(&self) -> crate::Result<Store> {
        self.with(async |parts| Store::begin(parts, Seal::default(), &self.backup).await).await
    }

    /// The same in a folder that is there.
    pub(super) async fn with<T>(&self, work: impl AsyncFnOnce(StoreParts<'_>) -> T) -> T {
        self.at(None, work).await
    }

    async fn at<T>(&self, url: Option<&SecretString>, work: impl AsyncFnOnce(StoreParts<'_>) -> T) -> T {
        let (metrics, health, alerts) = (Metrics::new(), Health::new(), Alerts::silent());
        let data_dir = self.data();
        work(StoreParts {
            config: &self.store,
            data_dir: &data_dir,
            url,
            metrics: &metrics,
            health: &health,
            alerts: &alerts,
        })
        .await
    }

    fn names(&self) -> Vec<String> {
        self.backups().names().unwrap().iter().map(ToString::to_string).collect()
    }

    async fn restore(&self, which: &str) -> crate::Result<crate::Restored> {
        let which: Which = which.parse().unwrap();
        self.with(async |parts| self.backups().restore_now(&parts, &which).await).await
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(super) async fn ids(store: &Store) -> Vec<String> {
    let mut ids: Vec<_> = store.keys().list(1000).await.unwrap().into_iter().map(|row| row.key.id).collect();
    ids.sort_unstable();
    ids
}

// req: S1-10
#[tokio::test]
async fn a_change_is_backed_up_once_and_not_before_its_time_and_the_last_one_always() {
    let house = House::new();
    let store = house.begin().await.unwrap();
    let desk = store.backups().unwrap();
    assert!(desk.0.tick(at(0)).await.unwrap().is_some(), "a database without a backup");
    assert!(desk.0.tick(at(500)).await.unwrap().is_none(), "nothing changed");
    store.keys().create(&key("one")).await.unwrap();
    assert!(desk.0.tick(at(501)).await.unwrap().is_some(), "long enough after the one before");
    store.keys().create(&key("two")).await.unwrap();
    assert!(desk.0.tick(at(560)).await.unwrap().is_none(), "too soon");
    let made = desk.0.tick(at(561)).await.unwrap().unwrap();
    assert_eq!(made.name, "portcullis-20270115T080921Z.db");
    assert_eq!(made.rows["api_keys"], 2);
    assert!(desk.0.tick(at(700)).await.unwrap().is_none());
    store.keys().create(&key("three")).await.unwrap();
    store.close().await;
    let listed = house.backups().list().await.unwrap();
    assert_eq!(listed.len(), 4, "the end of the server is the last moment for the last change");
    assert!(listed.iter().all(|info| info.problem.is_none() && info.bytes > 0), "{listed:?}");
    let unchanged = house.begin().await.unwrap();
    unchanged.close().await;
    assert_eq!(house.names().len(), 4, "a start that changes nothing needs no backup");
}

#[tokio::test]
async fn a_large_database_is_backed_up_by_its_own_clock() {
    let mut house = House::new();
    house.backup.large_bytes = 1;
    let store = house.begin().await.unwrap();
    let desk = store.backups().unwrap();
    assert!(desk.0.tick(at(0)).await.unwrap().is_some());
    store.keys().create(&key("one")).await.unwrap();
    assert!(desk.0.tick(at(3599)).await.unwrap().is_none());
    assert!(desk.0.tick(at(3600)).await.unwrap().is_some());
}

// req: S1-10
#[tokio::test]
async fn twenty_are_kept_each_its_owners_alone_with_a_sum_that_others_can_check() {
    let house = House::new();
    let store = house.begin().await.unwrap();
    let desk = store.backups().unwrap();
    for n in 0..25 {
        store.keys().create(&key(&format!("{n}"))).await.unwrap();
        desk.0.tick(at(n * 60)).await.unwrap().unwrap();
    }
    let folder = house.data().join("backups");
    assert_eq!(house.names().len(), 20);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 40, "each with its sum, and nothing else");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o7777, 0o700);
    for entry in fs::read_dir(&folder).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    }
    let newest = house.names().remove(0);
    let checked = std::process::Command::new("sha256sum")
        .args(["-c", &format!("{newest}.sha256")])
        .current_dir(&folder)
        .output();
    assert!(checked.is_ok_and(|checked| checked.status.success()));
    drop(store);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).unwrap();
    let said = house.begin().await.map(drop).unwrap_err().to_string();
    assert!(said.contains("chmod 700"), "{said}");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(house.db(), fs::Permissions::from_mode(0o640)).unwrap();
    let said = house.begin().await.map(drop).unwrap_err().to_string();
    assert!(said.contains("chmod 600"), "{said}");
}

// req: S1-10
#[tokio::test]
async fn a_backup_takes_the_place_of_the_database_which_is_kept_and_nothing_old_is_sent() {
    let house = House::new();
    let store = house.begin().await.unwrap();
    store.keys().create(&key("one")).await.unwrap();
    store.keys().create(&key("two")).await.unwrap();
    assert!(store.outbox().add(&[answer("ann", 0), answer("bob", 3)], ROOM).await.unwrap());
    assert!(store.leases().take("poll", "a", 0, i64::MAX).await.unwrap());
    let desk = store.backups().unwrap();
    let made = desk.make().await.unwrap();
    store.keys().revoke("two", Timestamp::now()).await.unwrap();
    store.keys().create(&key("three")).await.unwrap();
    assert!(matches!(house.restore("latest").await, Err(StoreError::InUse)), "a server has it");
    store.close().await;
    let restored = house.restore(&made.name).await.unwrap();
    assert_eq!((restored.unsent, restored.rows["api_keys"]), (2, 2));
    let store = house.begin().await.unwrap();
    assert!(store.mended().is_none(), "what was put back is trusted");
    assert_eq!(ids(&store).await, ["one", "two"]);
    assert!(store.keys().get("two").await.unwrap().unwrap().revoked_at.is_some(), "revoked stays revoked");
    let rows = store.outbox().list(Some(OutState::Dead), None, 9).await.unwrap();
    assert!(rows.len() == 2 && rows.iter().all(|row| row.reason == "restored"));
    assert_eq!(store.leases().holder("poll", 1).await.unwrap(), None);
    store.close().await;
    let kept = restored.kept_as.unwrap();
    assert!(kept.starts_with("pre-restore-"), "{kept}");
    house.restore(&kept).await.unwrap();
    assert_eq!(ids(&house.begin().await.unwrap()).await, ["one", "three", "two"], "and back again");
}

#[tokio::test]
async fn a_backup_asked_for_while_the_server_runs_is_put_back_at_its_next_start() {
    let house = House::new();
    let store = house.begin().await.unwrap();
    let desk = store.backups().unwrap();
    let made = desk.make().await.unwrap();
    store.keys().create(&key("one")).await.unwrap();
    assert!(desk.restore(&Which::Number(7)).await.is_err() && !desk.again().is_cancelled());
    desk.restore(&Which::Named(made.name.clone())).await.unwrap();
    assert!(desk.again().is_cancelled());
    assert_eq!(ids(&store).await, ["one"], "until then it goes on with what it has");
    store.close().await;
    let store = house.begin().await.unwrap();
    assert_eq!(store.restored().unwrap().name, made.name);
    assert_eq!(ids(&store).await, Vec::<String>::new());
    store.close().await;
    assert!(house.begin().await.unwrap().restored().is_none(), "once");
}

#[tokio::test]
async fn only_a_whole_backup_of_ours_in_the_folder_itself_is_put_back() {
    let house = House::new();
    let store = house.begin().await.unwrap();
    let first = store.backups().unwrap().make().await.unwrap();
    store.keys().create(&key("one")).await.unwrap();
    let second = store.backups().unwrap().make().await.unwrap();
    store.close().await;
    let folder = house.data().join("backups");
    let file = |name: &str| folder.join(name);
    for outside in ["../portcullis.db", "/etc/passwd", "portcullis-20270115T080921Z.db", "0", "99"] {
        assert!(house.restore(outside).await.is_err(), "{outside}");
    }
    let link = "portcullis-20300101T000000Z.db";
    symlink(house.db(), file(link)).unwrap();
    fs::copy(file(&format!("{}.sha256", first.name)), file(&format!("{link}.sha256"))).unwrap();
    assert!(house.restore(link).await.is_err() && !house.names().contains(&link.to_owned()), "a link");
    flip(&file(&second.name), 5000);
    let said = house.restore(&second.name).await.unwrap_err().to_string();
    assert!(said.contains("sha256"), "{said}");
    let listed = house.backups().list().await.unwrap();
    assert!(listed.iter().any(|info| info.name == second.name && info.problem.is_some()));
    assert_eq!(house.restore("latest").await.unwrap().name, first.name, "the newest that is whole");
    let newer = first.name;
    change(
        &file(&newer),
        "INSERT INTO _sqlx_migrations SELECT 9999, description, installed_on, success, checksum, \
                           execution_time FROM _sqlx_migrations WHERE version = 1",
    )
    .await;
    let said = house.restore(&newer).await.unwrap_err().to_string();
    assert!(said.contains("newer"), "{said}");
}

// req: S1-10
#[tokio::test]
async fn rows_of_a_postgres_are_read_into_an_empty_one_and_into_no_other() {
    let Some(server) = portcullis_testkit::postgres::start().await else { return };
    let (from, to) =
        (SecretString::from(server.database().await), SecretString::from(server.database().await));
    let house = House::new();
    let open = async |url| house.at(Some(url), Store::open).await.unwrap();
    let store = open(&from).await;
    for n in 0..1200 {
        store.keys().create(&key(&format!("{n:04}"))).await.unwrap();
    }
    assert!(store.outbox().add(&[answer("ann", 0)], ROOM).await.unwrap());
    store.close().await;
    let make = async |parts: StoreParts<'_>| house.backups().make_now(&parts).await;
    let made = house.at(Some(&from), make).await.unwrap();
    assert!(made.name.ends_with(".dump") && made.rows["api_keys"] == 1200, "{made:?}");
    let restore = async |parts: StoreParts<'_>| house.backups().restore_now(&parts, &Which::Latest).await;
    let refused = house.at(Some(&from), restore).await.unwrap_err().to_string();
    assert!(refused.contains("not empty"), "{refused}");
    let restored = house.at(Some(&to), restore).await.unwrap();
    assert_eq!((restored.rows, restored.unsent), (made.rows, 1));
    let store = open(&to).await;
    let (first, last) = (store.keys().get("0000").await.unwrap(), store.keys().list(2000).await.unwrap());
    assert_eq!(format!("{:?}", first.unwrap().key), format!("{:?}", key("0000")));
    assert_eq!(last.len(), 1200);
    assert_eq!(store.outbox().list(None, None, 9).await.unwrap()[0].reason, "restored");
    assert!(store.outbox().add(&[answer("bob", 0)], ROOM).await.unwrap(), "numbers go on");
    let newest = store.newest_change().await.unwrap();
    store.keys().create(&key("new")).await.unwrap();
    assert!(store.newest_change().await.unwrap() > newest && newest >= 1200);
    store.close().await;
    let path = house.data().join("backups").join(&made.name);
    let content = fs::read(&path).unwrap();
    fs::write(&path, &content[..content.len() / 2]).unwrap();
    assert!(house.at(Some(&to), restore).await.is_err());
}

/// Changes one bit.
pub(super) fn flip(path: &Path, at: usize) {
    let mut content = fs::read(path).unwrap();
    content[at] ^= 1;
    fs::write(path, content).unwrap();
}

/// Changes a backup as a newer program would have written it, with its sum.
async fn change(path: &Path, sql: &'static str) {
    let options = crate::condition::plain(path).journal_mode(sqlx::sqlite::SqliteJournalMode::Delete);
    crate::condition::with(options, async |connection| sqlx::query(sql).execute(connection).await.map(drop))
        .await
        .unwrap();
    let sum = crate::condition::sum(path).await.unwrap();
    fs::write(crate::condition::beside(path, ".sha256"), sum.sha256).unwrap();
}
