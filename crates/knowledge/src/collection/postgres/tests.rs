//! Both backends on one set of documents, and what only the database can go through. A real server with pgvector.

use super::*;
use crate::{
    Collection,
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

async fn open(store: &Store, name: &str) -> PgCollection {
    PgCollection::open(store.clone(), name, &KnowledgeConfig::default()).await.unwrap()
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
    let told = PgCollection::open(sqlite, "default", &config).await.unwrap_err().to_string();
    assert!(told.contains("only Postgres") && told.contains("kept in files"), "{told}");
    let Some(server) = postgres::start().await else { return };
    let (plain, _folder) = store(Some(server.database().await)).await;
    // A machine whose own server has the extension proves nothing here.
    if let Err(told) = PgCollection::open(plain, "default", &config).await {
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
    open(&store, "other").await.publish(&contents, Some(&space), 7).await.unwrap();
    let published = rows.publish(&contents, Some(&space), 7).await.unwrap();
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
    let (back, its_space) = rows.contents().await.unwrap();
    assert_eq!((back, its_space), (contents, Some(space)), "what was written comes back to the last bit");
    assert_eq!(rows.verify().await.unwrap(), []);
}

#[tokio::test]
async fn another_generation_answers_everywhere_after_one_transaction_and_older_ones_can_be_had_back() {
    let Some(server) = postgres::start_with_vectors().await else { return };
    let url = server.database().await;
    let ((store, _folder), (second, _other)) = (store(Some(url.clone())).await, store(Some(url)).await);
    let (writer, reader) = (open(&store, "default").await, open(&second, "default").await);
    assert!(reader.current().is_none() && !reader.refresh().await.unwrap());
    for documents in 1..=3 {
        let published = writer.publish(&contents(documents, 2), Some(&space()), 7).await.unwrap();
        assert_eq!(published.documents().len() as u32, documents);
    }
    assert!(reader.refresh().await.unwrap());
    assert_eq!((reader.current().unwrap().generation(), reader.current().unwrap().len()), (3, 6));
    assert_eq!(writer.generations().await.unwrap(), [2, 3], "two are kept");
    assert_eq!(writer.rollback(None).await.unwrap(), 2);
    assert!(reader.refresh().await.unwrap());
    assert_eq!(reader.state().generation, Some(2));
    assert!(matches!(writer.rollback(Some(9)).await, Err(IndexError::Missing)));
    // Words alone, and a wrong number of vectors, which changes nothing.
    let mut wrong = contents(2, 2);
    wrong.vectors.as_mut().unwrap().pop();
    assert!(matches!(writer.publish(&wrong, Some(&space()), 8).await, Err(IndexError::Contents(_))));
    wrong.vectors = None;
    let published = writer.publish(&wrong, None, 8).await.unwrap();
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
        rows.publish(&contents(4, 3), Some(&space()), 7).await.unwrap();
    }
    sql(&url, "UPDATE knowledge_chunks SET meaning = '[1,0,0,0,0,0,0,0]' WHERE generation = 2 AND n = 5")
        .await;
    assert_eq!(rows.verify().await.unwrap().len(), 1, "a vector that was changed");
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
        assert!(!rows.verify().await.unwrap().is_empty(), "{from}");
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
    assert_eq!(rows.generations().await.unwrap(), [1, 2]);
    assert_eq!(rows.publish(&contents(1, 1), Some(&space()), 1_000_000).await.unwrap().generation(), 3);
}

#[tokio::test]
async fn while_the_database_is_away_words_answer() {
    let Some(mut server) = postgres::start_with_vectors().await else { return };
    let (store, _folder) = store(Some(server.database().await)).await;
    let rows = open(&store, "default").await;
    let (contents, space) = (contents(4, 3), space());
    rows.publish(&contents, Some(&space), 7).await.unwrap();
    let vector = vector(&contents, 2);
    let query =
        Query { text: "word7", language: Language::EN, meaning: Some((&space, &vector)), ..Query::default() };
    assert!(rows.search(&query).await.by_meaning);
    server.kill();
    let found = rows.search(&query).await;
    assert!(!found.by_meaning);
    assert_eq!(found.hits[0].chunk, 7);
}
