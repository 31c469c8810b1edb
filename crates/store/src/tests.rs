//! One suite on both databases: each case runs on SQLite as a test of its own, and all of them on a real PostgreSQL.

mod away;
mod suite;
mod survival;

use crate::{KeyOrigin, NewKey, Store, StoreConfig, StoreParts, UsageRow};
use jiff::Timestamp;
use portcullis_domain::{Scope, Scopes, Tier};
use portcullis_telemetry::{Alerts, Health, Metrics};
use secrecy::SecretString;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// One database, and folders for as many replicas as a case needs.
pub(crate) struct Place {
    folder: TempDir,
    url: SecretString,
}

impl Place {
    fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        crate::files::private_dir(&folder.path().join("a")).unwrap();
        let url = format!("sqlite:{}", folder.path().join("a/portcullis.db").display()).into();
        Self { folder, url }
    }

    fn postgres(url: String) -> Self {
        Self { folder: TempDir::new().unwrap(), url: url.into() }
    }

    fn data_dir(&self, replica: &str) -> PathBuf {
        self.folder.path().join(replica)
    }

    async fn open(&self, replica: &str) -> Store {
        self.open_with(replica, &StoreConfig::default()).await.0
    }

    async fn open_with(&self, replica: &str, config: &StoreConfig) -> (Store, Health) {
        open(&self.data_dir(replica), config, Some(&self.url)).await.unwrap()
    }
}

async fn open(
    data_dir: &Path,
    config: &StoreConfig,
    url: Option<&SecretString>,
) -> crate::Result<(Store, Health)> {
    let (metrics, health, alerts) = (Metrics::new(), Health::new(), Alerts::silent());
    let parts = StoreParts { config, data_dir, url, metrics: &metrics, health: &health, alerts: &alerts };
    Store::open(parts).await.map(|store| (store, health))
}

fn key(id: &str) -> NewKey {
    NewKey {
        id: id.into(),
        name: "robot".into(),
        digest: [7; 32],
        tier: Tier::Other("gold".into()),
        scopes: Scopes::NONE.with(Scope::Chat).with(Scope::AdminRead),
        routes: vec!["fast".into(), "a b".into()],
        labels: [("team".to_owned(), "blue \"1\"".to_owned())].into(),
        origin: KeyOrigin::Made,
        created_at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
        expires_at: Some(Timestamp::from_millisecond(1_900_000_000_000).unwrap()),
    }
}

fn usage(at: i64, caller: &str, model: &str, counts: [u64; 3]) -> UsageRow {
    let [requests, input, output] = counts;
    let at = Timestamp::from_millisecond(at).unwrap();
    UsageRow { at, caller: caller.into(), model: model.into(), requests, input, output }
}

async fn sums(store: &Store) -> Vec<(String, String, String, [i64; 3])> {
    let sums = store.usage().report("0000-00-00", "9999-99-99", 1000).await.unwrap();
    sums.into_iter().map(|s| (s.day, s.caller, s.model, [s.requests, s.input, s.output])).collect()
}

/// Batches in that spool.
fn batches(spool: &Path) -> usize {
    let files = std::fs::read_dir(spool).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension() == Some("json".as_ref())).count()
}
