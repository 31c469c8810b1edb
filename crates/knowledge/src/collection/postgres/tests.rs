//! Both backends on one set of documents, and what only the database can go through. A real server with pgvector.

use super::*;
use crate::{
    Collection, Document, Found, Language, Space,
    collection::tests::{contents, place, space},
};
use portcullis_store::{StoreConfig, StoreParts};
use portcullis_telemetry::{Alerts, Health, Metrics};
use portcullis_testkit::postgres;
use secrecy::SecretString;

async fn store(url: Option<String>) -> (Store, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = url.map(SecretString::from);
    let parts = StoreParts {
        config: &StoreConfig::default(),
        data_dir: &folder.path().join("data"),
        url: url.as_ref(),
        metrics: &Metrics::new(),
        health: &Health::new(),
        alerts: &Alerts::silent(),
    };
    (Store::open(parts).await.unwrap(), folder)
}

/// A collection in rows, with the folder of its machine.
struct Rows {
    collection: PgCollection,
    _folder: tempfile::TempDir,
}

impl std::ops::Deref for Rows {
    type Target = PgCollection;

    fn deref(&self) -> &PgCollection {
        &self.collection
    }
}

impl Rows {
    async fn publish(&self, contents: &Contents, space: Option<&Space>, now: i64) -> Arc<Index> {
        let writer = self.lock(now).await.unwrap();
        writer.publish(contents.clone(), space, now).await.unwrap()
    }

    async fn search(&self, query: &Query<'_>) -> Found {
        let index = self.current().unwrap();
        let nearest = self.nearest(&index, query).await;
        index.answered(query, &index.asked(query), nearest)
    }

    async fn numbers(&self) -> Vec<u64> {
        self.generations().await.unwrap().iter().map(|found| found.generation).collect()
    }

    /// What is damaged of the newest generation, without putting it aside.
    async fn damaged(&self) -> Vec<Damage> {
        self.generations().await.unwrap().pop().unwrap().damaged
    }
}

async fn open(store: &Store, name: &str) -> Rows {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join(name);
    let config = KnowledgeConfig::default();
    let collection = PgCollection::open(store.clone(), &home, name, &config).await.unwrap();
    Rows { collection, _folder: folder }
}

async fn sql(url: &str, words: &str) {
    postgres::execute(url, words).await;
}

/// The vector of a passage of `contents`.
fn vector(contents: &Contents, n: usize) -> Vec<f32> {
    contents.vectors.as_ref().unwrap()[n * 8..(n + 1) * 8].to_vec()
}

#[tokio::test]
async fn without_postgres_or_without_its_extension_it_says_what_to_do() {
    let config = KnowledgeConfig::default();
    let (sqlite, _folder) = store(None).await;
    let here = std::path::Path::new("never-made");
    let told = PgCollection::open(sqlite, here, "default", &config).await.unwrap_err().to_string();
    assert!(told.contains("only Postgres") && told.contains("kept in files"), "{told}");
    let Some(server) = postgres::start().await else { return };
    let (plain, _folder) = store(Some(server.database().await)).await;
    // A machine whose own server has the extension proves nothing here.
    if let Err(told) = PgCollection::open(plain, here, "default", &config).await {
        assert!(told.to_string().contains("install its package on the server"), "{told}");
    }
}

// Must show 22 of the ask design.
#[tokio::test]
async fn files_and_postgres_give_the_same_answers() {
    let Some(server) = postgres::start_with_vectors().await else { return };
    let (store, _folder) = store(Some(server.database().await)).await;
    let place = place();
    let files = Collection::open(&place.path, "default", &KnowledgeConfig::default()).unwrap();
    let (contents, space) = (contents(20, 6), space());
    let index = files.lock(1).unwrap().publish(&contents, Some(&space), 7).unwrap();
    let rows = open(&store, "default").await;
    // Another collection in the same tables must not show.
    open(&store, "other").await.publish(&contents, Some(&space), 7).await;
    let published = rows.publish(&contents, Some(&space), 7).await;
    assert_eq!((published.generation(), published.created_at(), published.len()), (1, 7, 120));
    let odd = |document: &Document| document.category.as_deref() == Some("odd");
    let mut asked = 0;
    for (n, text) in
        [(3, "word3"), (17, "the keeper of the gate"), (50, "river"), (90, "what is only here"), (119, "")]
    {
        let vector = vector(&contents, n);
        for meaning in [None, Some((&space, &vector[..]))] {
            for only in [None, Some(&odd as &(dyn Fn(&Document) -> bool + Sync))] {
                let query = Query { text, language: Language::EN, meaning, only, ..Query::default() };
                let (here, there) = (index.search(&query), rows.search(&query).await);
                let chunks = |found: &Found| found.hits.iter().map(|hit| hit.chunk).collect::<Vec<_>>();
                // Files keep whole numbers, the database the vectors themselves: likeness differs in its third digit,
                // so equals may change places behind the first.
                assert_eq!(
                    here.hits.first().map(|hit| hit.chunk),
                    there.hits.first().map(|hit| hit.chunk),
                    "{text}"
                );
                assert_eq!((here.by_meaning, here.hits.len()), (there.by_meaning, there.hits.len()));
                if meaning.is_none() {
                    assert_eq!(here, there, "{text}");
                } else {
                    let (mut a, mut b) = (chunks(&here), chunks(&there));
                    a.sort_unstable();
                    b.sort_unstable();
                    assert_eq!(a, b, "{text}");
                    let (a, b) = (here.evidence.cosine.unwrap(), there.evidence.cosine.unwrap());
                    assert!((a - b).abs() < 0.01, "{a} {b}");
                }
                asked += 1;
            }
        }
    }
    assert_eq!(asked, 20);
    for n in [0, 7, 119] {
        assert_eq!(index.chunk(n).unwrap(), published.chunk(n).unwrap());
    }
    let back = rows.contents(&published).await.unwrap();
    assert_eq!(back, contents, "what was written comes back to the last bit");
    assert_eq!((published.space(), rows.scrub().await.unwrap()), (Some(&space), vec![]));
}

#[tokio::test]
async fn another_generation_answers_everywhere_after_one_transaction_and_older_ones_can_be_had_back() {
    let Some(server) = postgres::start_with_vectors().await else { return };
    let url = server.database().await;
    let ((store, _folder), (second, _other)) = (store(Some(url.clone())).await, store(Some(url)).await);
    let (writer, reader) = (open(&store, "default").await, open(&second, "default").await);
    assert!(reader.current().is_none() && !reader.refresh().await.unwrap());
    for documents in 1..=3 {
        let published = writer.publish(&contents(documents, 2), Some(&space()), 7).await;
        assert_eq!(published.documents().len() as u32, documents);
    }
    assert!(reader.refresh().await.unwrap());
    assert_eq!((reader.current().unwrap().generation(), reader.current().unwrap().len()), (3, 6));
    assert_eq!(writer.numbers().await, [2, 3], "two are kept");
    let lock = writer.lock(8).await.unwrap();
    assert_eq!(lock.rollback(None).await.unwrap(), 2);
    assert!(reader.refresh().await.unwrap());
    assert_eq!(reader.state().generation, Some(2));
    assert!(matches!(lock.rollback(Some(9)).await, Err(IndexError::Missing)));
    // Words alone, and a wrong number of vectors, which changes nothing.
    let mut wrong = contents(2, 2);
    wrong.vectors.as_mut().unwrap().pop();
    assert!(matches!(lock.publish(wrong.clone(), Some(&space()), 8).await, Err(IndexError::Contents(_))));
    wrong.vectors = None;
    let published = lock.publish(wrong, None, 8).await.unwrap();
    assert_eq!((published.generation(), published.space()), (4, None));
    let query = Query { text: "word1", ..Query::default() };
    assert_eq!(writer.search(&query).await.hits[0].chunk, 1);
}

#[tokio::test]
async fn a_changed_row_is_found_and_an_older_generation_answers() {
    let Some(server) = postgres::start_with_vectors().await else { return };
    let url = server.database().await;
    let (store, _folder) = store(Some(url.clone())).await;
    let rows = open(&store, "default").await;
    for _ in 0..2 {
        rows.publish(&contents(4, 3), Some(&space()), 7).await;
    }
    sql(&url, "UPDATE knowledge_chunks SET meaning = '[1,0,0,0,0,0,0,0]' WHERE generation = 2 AND n = 5")
        .await;
    assert_eq!(rows.damaged().await.len(), 1, "a vector that was changed");
    for (change, from) in [
        (
            "UPDATE knowledge_chunks SET body = replace(body, 'number5', 'number6') WHERE generation = 2 AND n = 5",
            "passage",
        ),
        (
            "UPDATE knowledge_documents SET body = replace(body, 'Notes 1', 'Notes 2') WHERE generation = 2",
            "document",
        ),
        ("DELETE FROM knowledge_chunks WHERE generation = 2 AND n = 11", "row"),
        ("UPDATE knowledge_chunks SET body = '{}' WHERE generation = 2 AND n = 0", "body"),
    ] {
        sql(&url, change).await;
        assert!(!rows.damaged().await.is_empty(), "{from}");
        let fresh = open(&store, "default").await;
        let state = fresh.state();
        assert_eq!((state.generation, state.wanted), (Some(1), Some(2)), "{from}: {state:?}");
        assert!(state.trouble.unwrap().contains("generation 2"), "{from}");
        assert_eq!(fresh.current().unwrap().len(), 12);
    }
    // What begins and never ends is seen by nobody.
    sql(
        &url,
        "INSERT INTO knowledge_generations (collection, generation, created_at) VALUES ('default', 99, 0)",
    )
    .await;
    assert_eq!(rows.numbers().await, [1, 2]);
    // The scrub of a server that loaded the generation while it was sound: words of it answered, and no more do.
    assert_eq!((rows.scrub().await.unwrap().is_empty(), rows.current().unwrap().generation()), (false, 1));
    let state = rows.state();
    assert!(state.is_behind() && state.quarantined == ["gen-2"], "{state:?}");
    let writer = rows.lock(1_000_000).await.unwrap();
    let (saved, its_space) = writer.salvage().await.unwrap();
    assert_eq!((saved, its_space), (contents(4, 3), Some(space())), "of the one before, which is whole");
    let mended = writer.publish(contents(4, 3), Some(&space()), 1_000_000).await.unwrap();
    let state = rows.state();
    assert_eq!((mended.generation(), state.generation, state.trouble), (3, Some(3), None));
    assert_eq!((rows.numbers().await, state.quarantined.len()), (vec![1, 3], 0), "the damaged one is gone");
}

#[tokio::test]
async fn while_the_database_is_away_words_answer() {
    let Some(mut server) = postgres::start_with_vectors().await else { return };
    let (store, _folder) = store(Some(server.database().await)).await;
    let rows = open(&store, "default").await;
    let (contents, space) = (contents(4, 3), space());
    rows.publish(&contents, Some(&space), 7).await;
    let vector = vector(&contents, 2);
    let query =
        Query { text: "word7", language: Language::EN, meaning: Some((&space, &vector)), ..Query::default() };
    assert!(rows.search(&query).await.by_meaning);
    server.kill();
    let found = rows.search(&query).await;
    assert!(!found.by_meaning);
    assert_eq!(found.hits[0].chunk, 7);
}

#[tokio::test]
async fn one_machine_writes_at_a_time_and_what_another_published_meanwhile_is_not_lost() {
    let Some(server) = postgres::start_with_vectors().await else { return };
    let url = server.database().await;
    let ((store, _folder), (second, _other)) =
        (store(Some(url.clone())).await, store(Some(url.clone())).await);
    let (here, there) = (open(&store, "default").await, open(&second, "default").await);
    let writer = here.lock(1).await.unwrap();
    assert!(matches!(here.lock(2).await, Err(Held::By(owner)) if owner.pid == std::process::id()));
    assert!(matches!(there.lock(2).await, Err(Held::Elsewhere)));
    writer.publish(contents(1, 1), Some(&space()), 3).await.unwrap();
    // The lock breaks with its connection; the writer does not notice, and another begins.
    sql(&url, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()")
        .await;
    there.publish(&contents(2, 2), Some(&space()), 4).await;
    let overtaken = writer.publish(contents(3, 3), Some(&space()), 5).await;
    assert!(matches!(overtaken, Err(IndexError::Overtaken)));
    drop(writer);
    here.publish(&contents(4, 2), Some(&space()), 6).await;
    assert!(there.refresh().await.unwrap());
    assert_eq!(there.current().unwrap().len(), 8);
}
