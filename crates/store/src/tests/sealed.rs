//! Texts of people in the files of a store: none is found there, old ones are sealed, none is read without the key.

use super::{
    Place,
    messages::{ROOM, answer, message},
};
use crate::{Kept, Seal, Settle, Store, StoreConfig, StoreError, StoreParts};
use portcullis_telemetry::{Alerts, Health, Metrics};
use secrecy::SecretString;
use std::path::Path;

cases!(
    texts_are_sealed_alike_on_a_real_postgres;
    sealed_texts_come_back_and_a_store_is_not_opened_without_their_key,
    texts_kept_before_there_was_a_key_or_under_an_earlier_one_are_sealed_anew,
);

/// A made-up key.
fn key(byte: char) -> SecretString {
    SecretString::from(byte.to_string().repeat(40))
}

async fn sealed(place: &Place, seal: Seal) -> crate::Result<Store> {
    let (metrics, health, alerts) = (Metrics::new(), Health::new(), Alerts::silent());
    let (config, data_dir) = (StoreConfig::default(), place.data_dir("a"));
    let parts = StoreParts {
        config: &config,
        data_dir: &data_dir,
        url: Some(&place.url),
        metrics: &metrics,
        health: &health,
        alerts: &alerts,
    };
    Store::open_sealed(parts, seal).await
}

/// Whether any file below the folder holds these bytes.
fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, text);
        }
        let content = std::fs::read(&path).unwrap();
        content.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

async fn sealed_texts_come_back_and_a_store_is_not_opened_without_their_key(place: &Place) {
    let store = sealed(place, Seal::new(key('a'), [])).await.unwrap();
    assert_eq!(store.inbox().keep(&message("1", "ann"), 9).await.unwrap(), Kept::New);
    assert!(store.inbox().replace("signal", "1", "other words").await.unwrap());
    assert!(store.outbox().add(&[answer("ann", 0)], ROOM).await.unwrap());
    assert_eq!(store.inbox().take("signal", "w", 1, 9, 9).await.unwrap()[0].payload, "other words");
    assert_eq!(store.outbox().list(None, None, 9).await.unwrap()[0].payload, "to ann");
    let row = store.outbox().take("signal", "w", 2000, 9000, 9, 4).await.unwrap().remove(0);
    assert_eq!(row.payload, "to ann");
    let dialog = crate::DialogRow { state: "name".into(), data: "a folder for ann".into() };
    store.readers().await_next("ann", "signal:ann", &dialog, 9000).await.unwrap();
    assert_eq!(store.readers().dialog("ann", "signal:ann", 1).await.unwrap(), Some(dialog));
    let whose = crate::Whose { door: "signal", conversation: "ann", caller: "signal:ann" };
    store.unconfirmed().keep(whose, "meant by ann", 9000, 9).await.unwrap();
    let later = Settle::Later { not_before: 0, failed: false, reason: "" };
    assert!(store.outbox().settle(row.id, "w", &later, 2000).await.unwrap());
    store.close().await;
    let refused = sealed(place, Seal::new(key('b'), [])).await.map(drop);
    assert!(matches!(refused, Err(StoreError::Sealed(_))), "{refused:?}");
    // A command that has no key can still be used for what is not sealed; a text that it meets is not sent.
    let plain = sealed(place, Seal::default()).await.unwrap();
    let meant = plain.unconfirmed().take(whose, 1).await;
    assert!(matches!(meant, Err(StoreError::Sealed(_))), "{meant:?}");
    assert_eq!(plain.outbox().take("signal", "w", 2000, 9000, 9, 4).await.unwrap(), []);
    assert_eq!(plain.outbox().list(None, None, 9).await.unwrap()[0].reason, "unreadable");
}

async fn texts_kept_before_there_was_a_key_or_under_an_earlier_one_are_sealed_anew(place: &Place) {
    let store = sealed(place, Seal::default()).await.unwrap();
    for n in 0..150 {
        let mut new = answer(&format!("chat{n}"), 0);
        new.payload = format!("planted {n}");
        assert!(store.outbox().add(&[new], ROOM).await.unwrap());
    }
    store.close().await;
    let a = sealed(place, Seal::new(key('a'), [])).await.unwrap();
    assert_eq!(a.reseal_all().await.unwrap(), 150);
    assert_eq!(a.reseal_all().await.unwrap(), 0);
    a.close().await;
    let b = sealed(place, Seal::new(key('b'), [key('a')])).await.unwrap();
    assert_eq!(b.reseal_all().await.unwrap(), 150);
    b.close().await;
    let b = sealed(place, Seal::new(key('b'), [])).await.unwrap();
    let rows = b.outbox().list(None, None, 200).await.unwrap();
    assert!(rows.iter().rev().enumerate().all(|(n, row)| row.payload == format!("planted {n}")));
    b.close().await;
}

// req: S1-10
#[tokio::test]
async fn no_text_of_a_person_is_found_in_any_file_of_the_store() {
    let place = Place::sqlite();
    let planted = "the-planted-words-of-a-person";
    let new = crate::NewIn { payload: planted.into(), ..message("1", "ann") };
    let plain = sealed(&place, Seal::default()).await.unwrap();
    plain.inbox().keep(&new, 9).await.unwrap();
    assert!(holds(&place.data_dir("a"), planted), "the search finds what is there");
    plain.close().await;
    let store = sealed(&place, Seal::new(key('a'), [])).await.unwrap();
    store.reseal_all().await.unwrap();
    store.inbox().keep(&crate::NewIn { key: "2".into(), ..new }, 9).await.unwrap();
    let dialog = crate::DialogRow { state: "name".into(), data: planted.into() };
    store.readers().await_next("ann", "signal:ann", &dialog, i64::MAX).await.unwrap();
    let whose = crate::Whose { door: "signal", conversation: "ann", caller: "signal:ann" };
    store.unconfirmed().keep(whose, planted, i64::MAX, 9).await.unwrap();
    let out = crate::NewOut { payload: planted.into(), ..answer("ann", 0) };
    assert!(store.outbox().add(&[out], ROOM).await.unwrap());
    assert!(!holds(&place.data_dir("a"), planted), "while it runs");
    store.close().await;
    assert!(!holds(&place.data_dir("a"), planted), "and after it");
}
