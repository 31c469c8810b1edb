//! A PostgreSQL that goes away and comes back: nothing waits for ever, nothing is lost, nothing counts twice.

use super::{Place, batches, key, row, sums, usage};
use crate::{StoreConfig, StoreError};
use portcullis_telemetry::HealthState;
use std::time::Duration;

fn impatient() -> StoreConfig {
    StoreConfig {
        connect_timeout_ms: 500,
        statement_timeout_ms: 500,
        breaker_reset_secs: 1,
        ..StoreConfig::default()
    }
}

/// Until the breaker lets a call try.
async fn until_back(store: &crate::Store) {
    let mut last = String::new();
    for _ in 0..100 {
        match store.newest_change().await {
            Ok(_) => return,
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not come back: {last}");
}

// req: S4-BRK
#[tokio::test]
async fn usage_counted_while_postgres_is_away_arrives_exactly_once_when_it_is_back() {
    let Some(mut server) = portcullis_testkit::postgres::start().await else { return };
    let place = Place::postgres(server.url());
    let (store, health) = place.open_with("a", &impatient()).await;
    store.ledger().add(usage(0, "key:a", "fast", [1, 0]));
    store.ledger().flush().await.unwrap();

    server.kill();
    let spool = place.data_dir("a").join("spool");
    for _ in 0..5 {
        store.ledger().add(usage(0, "key:a", "fast", [1, 0]));
        assert!(matches!(store.ledger().flush().await, Err(StoreError::Away { .. })));
        assert!(batches(&spool) >= 1, "counted means on disk after a failed flush");
    }
    assert!(matches!(store.keys().create(&key("one")).await, Err(StoreError::Away { .. })));
    assert_eq!(health.overall(), HealthState::Degraded);

    // What is on disk alone already holds everything: a second process of the same folder could finish the work.
    let server = server.restart().await;
    until_back(&store).await;
    store.ledger().flush().await.unwrap();
    assert_eq!(sums(&store).await[0].1, [6, 6, 0]);
    assert_eq!(batches(&spool), 0);
    assert_eq!(health.overall(), HealthState::Healthy);
    drop(server);
}

#[tokio::test]
async fn closing_while_postgres_is_away_leaves_the_usage_to_the_next_start() {
    let Some(mut server) = portcullis_testkit::postgres::start().await else { return };
    let place = Place::postgres(server.url());
    let (store, _) = place.open_with("a", &impatient()).await;
    server.kill();
    store.ledger().add(usage(0, "key:a", "fast", [3, 0]));
    store.close().await;
    let server = server.restart().await;
    let store = place.open("a").await;
    assert_eq!(store.ledger().recover().await.unwrap().len(), 1);
    store.ledger().flush().await.unwrap();
    assert_eq!(sums(&store).await, [row("1970-01-01", "key:a", "fast", [1, 3, 0])]);
    drop(server);
}

// req: S4-BRK
#[tokio::test]
async fn after_three_failures_a_dead_postgres_is_refused_without_being_asked() {
    let Some(mut server) = portcullis_testkit::postgres::start().await else { return };
    let config = StoreConfig { breaker_reset_secs: 600, ..impatient() };
    let (store, _) = Place::postgres(server.url()).open_with("a", &config).await;
    server.kill();
    for _ in 0..3 {
        assert!(store.newest_change().await.is_err());
    }
    let Err(StoreError::Away { retry_after, .. }) = store.newest_change().await else {
        panic!("the breaker is closed");
    };
    assert!(retry_after > Duration::from_secs(500));
}
