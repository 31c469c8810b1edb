//! One suite for both places where collections stand: what a library and a shelf promise holds in files and in rows.

use super::*;
use crate::{
    Backend, KnowledgeConfig, Language, Library,
    collection::tests::{contents, space},
    search::Question,
};
use portcullis_store::{Store, StoreConfig, StoreParts};
use portcullis_telemetry::{Alerts, Health, Metrics};
use portcullis_testkit::postgres;
use secrecy::SecretString;

fn question(text: &str, n: Option<usize>) -> Question {
    let of = |n: usize| contents(4, 3).vectors.unwrap()[n * 8..(n + 1) * 8].to_vec();
    let meaning = n.map(|n| (space(), of(n)));
    Question { text: text.into(), language: Language::EN, meaning, k: 3, per_document: 0, join: false }
}

async fn keeps_its_promises(library: &Library) {
    let any: fn(&str) -> bool = |_| true;
    assert_eq!(library.names(any).await, Vec::<String>::new());
    assert!(library.collection("default", false).await.unwrap().is_none(), "looking makes nothing");
    assert!(library.generations("default").await.unwrap().is_none());
    let shelf = library.collection("default", true).await.unwrap().unwrap();
    assert!(shelf.name() == "default" && shelf.current().is_none() && shelf.state() == State::default());
    let writer = shelf.lock(1).await.unwrap();
    assert!(matches!(shelf.lock(2).await, Err(Held::By(owner)) if owner.since == 1));
    assert!(matches!(writer.salvage().await, Err(IndexError::Missing)));
    writer.publish(contents(4, 3), Some(&space()), 7).await.unwrap();
    writer.publish(contents(5, 3), Some(&space()), 8).await.unwrap();
    assert!(writer.vectors(&space()).unwrap().is_empty());
    assert_eq!(library.names(any).await, ["default"]);
    assert_eq!(library.names(|name| name == "other").await, Vec::<String>::new());

    let second = library.collection("default", false).await.unwrap().unwrap();
    let index = second.current().unwrap();
    assert_eq!((index.generation(), index.len(), second.refresh().await.unwrap()), (2, 15, false));
    let found = second.search(&index, question("word7", Some(7))).await.unwrap();
    assert_eq!((found.hits[0].chunk, found.by_meaning), (7, true));
    let found = second.search(&index, question("word13", None)).await.unwrap();
    assert_eq!((found.hits[0].chunk, found.by_meaning), (13, false));
    let back = second.contents(&index).await.unwrap();
    assert_eq!((back.chunks, back.vectors.unwrap().len()), (contents(5, 3).chunks, 15 * 8));

    assert_eq!(writer.rollback(None).await.unwrap(), 1);
    assert!(second.refresh().await.unwrap() && second.current().unwrap().len() == 12);
    assert_eq!(index.len(), 15, "who began with a generation keeps it");
    assert!(matches!(writer.rollback(None).await, Err(IndexError::Missing)));
    let (saved, its_space) = writer.salvage().await.unwrap();
    assert_eq!((saved.chunks.len(), its_space), (12, Some(space())));
    assert_eq!((second.scrub().await.unwrap(), writer.prune().await.unwrap()), (vec![], 0));
    let told = library.generations("default").await.unwrap().unwrap();
    let told: Vec<_> = told.iter().map(|one| (one.generation, one.current, one.damaged.len())).collect();
    assert_eq!(told, [(1, true, 0), (2, false, 0)]);
    drop(writer);
    let gone = vec![contents(4, 3).documents[0].id.clone()];
    assert_eq!(crate::ingest::remove::remove(&second, &gone, 9).await.unwrap(), 1);
    assert_eq!(second.current().unwrap().len(), 9);
    second.condemn(99).await.unwrap();
    assert_eq!(second.current().unwrap().len(), 9, "nothing is wrong with the one that answers");
    assert!(format!("{library:?} {shelf:?}").contains("default"));
    library.close().await;
}

#[tokio::test]
async fn collections_in_files_keep_their_promises() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("knowledge");
    portcullis_store::files::private_dir(&folder).unwrap();
    keeps_its_promises(&Library::files(folder.clone(), KnowledgeConfig::default())).await;
    let same = Library::open(folder, KnowledgeConfig::default(), None).await.unwrap();
    assert_eq!((same.names(|_| true).await.len(), same.config().backend), (1, Backend::Files));
}

#[tokio::test]
async fn collections_in_rows_keep_their_promises() {
    let home = tempfile::tempdir().unwrap();
    let config = KnowledgeConfig { backend: Backend::Postgres, ..KnowledgeConfig::default() };
    let folder = home.path().join("knowledge");
    let without = Library::open(folder.clone(), config.clone(), None).await.unwrap_err();
    assert!(without.to_string().contains("there is none"), "{without}");
    let Some(server) = postgres::start_with_vectors().await else { return };
    let url = SecretString::from(server.database().await);
    let parts = StoreParts {
        config: &StoreConfig::default(),
        data_dir: &home.path().join("data"),
        url: Some(&url),
        metrics: &Metrics::new(),
        health: &Health::new(),
        alerts: &Alerts::silent(),
    };
    let store = Store::open(parts).await.unwrap();
    keeps_its_promises(&Library::open(folder, config, Some(&store)).await.unwrap()).await;
}

#[test]
fn settings_out_of_range_are_each_named() {
    let told = |config: &KnowledgeConfig| {
        let mut out = Vec::new();
        config.problems("knowledge", &mut out);
        out.into_iter().map(|problem| problem.key).collect::<Vec<_>>()
    };
    assert_eq!(told(&KnowledgeConfig::default()), Vec::<String>::new());
    let wrong = KnowledgeConfig { chunk_chars: 5, watch_secs: 0, max_files: 0, ..KnowledgeConfig::default() };
    assert_eq!(told(&wrong), ["knowledge.chunk_chars", "knowledge.watch_secs", "knowledge.max_files"]);
}
