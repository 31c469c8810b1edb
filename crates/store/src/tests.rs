//! One suite on both databases: each case runs on SQLite as a test of its own, and all of them on a real PostgreSQL.

/// Names the cases once: a test each on SQLite, one test with all of them on PostgreSQL.
macro_rules! cases {
    ($(#[$real:meta])* $postgres:ident; $($(#[$mark:meta])* $name:ident),* $(,)?) => {
        mod sqlite {
            $($(#[$mark])* #[tokio::test] async fn $name() { super::$name(&super::Place::sqlite()).await; })*
        }

        $(#[$real])*
        // req: S3-BUG-5, S4-KEYS
        #[tokio::test]
        async fn $postgres() {
            let Some(server) = portcullis_testkit::postgres::start().await else { return };
            $($name(&Place::postgres(server.database().await)).await;)*
        }
    };
}

mod away;
mod backup;
mod damage;
mod messages;
mod news;
mod readers;
mod sealed;
mod suite;
mod survival;

use crate::{GroupBy, KeyOrigin, LedgerPrice, LedgerRow, NewKey, Store, StoreConfig, StoreParts, UsageQuery};
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
        bounds: serde_json::json!({"rpm": 7}),
        origin: KeyOrigin::Made,
        created_at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
        expires_at: Some(Timestamp::from_millisecond(1_900_000_000_000).unwrap()),
    }
}

/// A row with that much input and output, at a price of a micro-dollar for each token of either.
fn usage(at: i64, caller: &str, model: &str, [input, output]: [u64; 2]) -> LedgerRow {
    let price = LedgerPrice { input: 1_000_000, cached: 1_000_000, output: 1_000_000 };
    LedgerRow {
        at,
        request: "req_1".into(),
        caller: caller.into(),
        person: caller.into(),
        key: caller.strip_prefix("key:").map(Into::into),
        team: None,
        tier: "authenticated".into(),
        route: "fast".into(),
        provider: "openai".into(),
        model: model.into(),
        input,
        cached: 0,
        output,
        micros: price.cost(input, 0, output),
        price: Some(price),
        estimated: false,
    }
}

/// Day, caller and model; requests, input and output.
async fn sums(store: &Store) -> Vec<([String; 3], [i64; 3])> {
    let by = vec![GroupBy::Day, GroupBy::Caller, GroupBy::Model];
    let query = UsageQuery { by, from: 0, to: i64::MAX, limit: 10_000 };
    let sums = store.ledger().usage(&query).await.unwrap();
    let row = |sum: crate::UsageSum| (sum.group.try_into().unwrap(), [sum.requests, sum.input, sum.output]);
    sums.into_iter().map(row).collect()
}

fn row(day: &str, caller: &str, model: &str, counts: [i64; 3]) -> ([String; 3], [i64; 3]) {
    ([day, caller, model].map(str::to_owned), counts)
}

/// Files of the journal in that spool.
fn batches(spool: &Path) -> usize {
    let files = std::fs::read_dir(spool).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension() == Some("journal".as_ref())).count()
}
