//! A damaged database: every start serves exactly what was kept, or says what it put in its place, or refuses.

use super::{
    backup::{House, flip, ids},
    key,
    messages::{ROOM, answer},
};
use crate::{Store, StoreError};
use proptest::prelude::*;
use std::{fs, path::Path};

/// A house whose server has stopped, with `keys` keys, each covered by a backup.
async fn stopped(keys: usize) -> House {
    let house = House::new();
    let store = house.begin().await.unwrap();
    fill(&store, keys).await;
    store.close().await;
    house
}

async fn fill(store: &Store, keys: usize) {
    for n in 0..keys {
        store.keys().create(&key(&format!("{n:03}"))).await.unwrap();
        assert!(store.outbox().add(&[answer(&format!("chat{n}"), 0)], ROOM).await.unwrap());
    }
}

fn expected(keys: usize) -> Vec<String> {
    (0..keys).map(|n| format!("{n:03}")).collect()
}

// req: S1-10
#[tokio::test]
async fn a_database_damaged_at_rest_is_replaced_by_the_newest_backup_that_is_whole_and_kept_aside() {
    let house = stopped(3).await;
    let store = house.begin().await.unwrap();
    store.keys().create(&key("later")).await.unwrap();
    store.close().await;
    let newest = house.backups().list().await.unwrap().remove(0).name;
    flip(&house.data().join("backups").join(&newest), 100);
    flip(&house.db(), 4096 * 3 + 7);
    let damaged = fs::read(house.db()).unwrap();
    let beside = house.with(async |parts| Store::open(parts).await.map(drop)).await;
    assert!(matches!(beside, Err(StoreError::Corrupt(_))), "a command does not mend: {beside:?}");
    let store = house.begin().await.unwrap();
    assert_eq!(ids(&store).await, expected(3), "the newest was not whole");
    let mended = store.mended().unwrap();
    assert!(mended.to_string().contains("minutes") && mended.what.contains("closed"), "{mended}");
    let aside = house.data().join(mended.quarantine.clone().unwrap()).join("portcullis.db");
    assert_eq!(fs::read(aside).unwrap(), damaged);
    store.close().await;
    assert!(house.begin().await.unwrap().mended().is_none());
}

// req: S1-10
#[tokio::test]
async fn without_a_valid_backup_it_refuses_changes_nothing_and_says_what_to_do() {
    let mut house = stopped(1).await;
    fs::remove_dir_all(house.data().join("backups")).unwrap();
    flip(&house.db(), 20);
    let damaged = fs::read(house.db()).unwrap();
    let said = house.begin().await.map(drop).unwrap_err().to_string();
    assert!(said.contains("backup.dir") && said.contains("allow_empty_start"), "{said}");
    assert_eq!(fs::read(house.db()).unwrap(), damaged);
    for gone in [false, true] {
        if gone {
            fs::remove_file(house.db()).unwrap();
        } else {
            fs::write(house.db(), "").unwrap();
        }
        let said = house.begin().await.map(drop).unwrap_err().to_string();
        assert!(said.contains("gone or empty"), "never silently empty: {said}");
    }
    house.store.allow_empty_start = true;
    let store = house.begin().await.unwrap();
    assert_eq!(ids(&store).await, Vec::<String>::new());
    assert!(store.mended().unwrap().restored.is_none());
}

#[tokio::test]
async fn a_database_that_is_gone_comes_back_even_when_all_but_the_backups_is_gone() {
    let house = stopped(2).await;
    for entry in fs::read_dir(house.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    let store = house.begin().await.unwrap();
    assert!(store.mended().is_some());
    assert_eq!(ids(&store).await, expected(2));
}

#[tokio::test]
async fn damage_met_while_the_database_is_used_is_said_once_and_mended_at_the_next_start() {
    let house = stopped(200).await;
    let store = house.begin().await.unwrap();
    // Every page but the first: whatever is read next is read from the file.
    let mut content = fs::read(house.db()).unwrap();
    content[4096..].fill(0x5a);
    fs::write(house.db(), content).unwrap();
    let found = store.outbox().list(None, None, 100).await;
    assert!(matches!(found, Err(StoreError::Corrupt(_))), "{found:?}");
    assert!(store.damaged().is_cancelled());
    store.close().await;
    let store = house.begin().await.unwrap();
    assert!(store.mended().is_some());
    assert_eq!(ids(&store).await, expected(200));
}

/// What happens to a file.
#[derive(Clone, Debug)]
enum Harm {
    Flip(usize, u8),
    Zero(usize),
    Truncate(usize),
    Append(u8),
}

impl Harm {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            (any::<usize>(), 1..=255_u8).prop_map(|(at, with)| Self::Flip(at, with)),
            any::<usize>().prop_map(Self::Zero),
            any::<usize>().prop_map(Self::Truncate),
            any::<u8>().prop_map(Self::Append),
        ]
    }

    fn structural() -> impl Strategy<Value = Self> {
        prop_oneof![any::<usize>().prop_map(Self::Zero), any::<usize>().prop_map(Self::Truncate)]
    }

    fn harm(&self, path: &Path) {
        let mut content = fs::read(path).unwrap();
        let length = content.len();
        match *self {
            Self::Flip(at, with) => content[at % length] ^= with,
            Self::Zero(at) => {
                let from = at % length / 4096 * 4096;
                content[from..(from + 4096).min(length)].fill(0);
            }
            Self::Truncate(at) => content.truncate(at % length),
            Self::Append(with) => content.push(with),
        }
        fs::write(path, content).unwrap();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    // req: S1-10
    #[test]
    fn whatever_happens_to_the_file_of_a_stopped_server_it_serves_exactly_the_data(
        harms in proptest::collection::vec(Harm::any(), 1..4), with_backups: bool,
    ) {
        runtime().block_on(async {
            let house = stopped(40).await;
            let before = fs::read(house.db()).unwrap();
            for harm in &harms {
                if fs::metadata(house.db()).unwrap().len() > 0 {
                    harm.harm(&house.db());
                }
            }
            if !with_backups {
                fs::remove_dir_all(house.data().join("backups")).unwrap();
            }
            let same = fs::read(house.db()).unwrap() == before;
            match house.begin().await {
                Ok(store) => {
                    assert_eq!(store.mended().is_none(), same, "{harms:?}");
                    assert!(with_backups || same);
                    assert_eq!(ids(&store).await, expected(40));
                    assert_eq!(store.outbox().list(None, None, 100).await.unwrap().len(), 40);
                }
                Err(error) => assert!(!with_backups && matches!(error, StoreError::Lost { .. }), "{error}"),
            }
        });
    }

    // req: S1-10
    #[test]
    fn lost_pages_of_a_killed_server_are_seen_too(harm in Harm::structural()) {
        runtime().block_on(async {
            let house = stopped(40).await;
            let store = house.begin().await.unwrap();
            store.keys().create(&key("zzz")).await.unwrap();
            // `kill -9` leaves the file as it is at this moment, and nobody's.
            let killed = House::new();
            copy(&house.data(), &killed.data());
            drop(store);
            harm.harm(&killed.db());
            let store = killed.begin().await.unwrap();
            let mut all = expected(40);
            if store.mended().is_none() {
                all.push("zzz".to_owned());
            }
            assert_eq!(ids(&store).await, all, "{harm:?} {:?}", store.mended());
            assert_eq!(store.outbox().list(None, None, 100).await.unwrap().len(), 40);
        });
    }
}

fn copy(from: &Path, to: &Path) {
    crate::files::private_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
