//! Vectors of another model, made over texts that stay.

use super::*;
use crate::{
    Collection, EmbedFailure, Language, Space,
    collection::tests::{contents, place, space},
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

fn embedder(calls: &Arc<AtomicUsize>, works: bool) -> Embedder {
    let calls = calls.clone();
    let space =
        Space { id: "test/other".to_owned(), version: 1, dimensions: 4, languages: vec![Language::EN] };
    Embedder::new(space, 3, move |texts, _| {
        calls.fetch_add(texts.len(), Ordering::SeqCst);
        Box::pin(async move {
            if !works {
                return Err(EmbedFailure::Refused("no such model".to_owned()));
            }
            Ok(texts.iter().map(|text| vec![1.0 / text.len() as f32, 0.0, 0.0, 1.0]).collect())
        })
    })
}

// req: S2-2.6
#[tokio::test]
async fn vectors_of_another_model_are_replaced_over_the_same_texts_and_none_is_made_twice() {
    let place = place();
    let files = Collection::open(&place.path, "default", &crate::KnowledgeConfig::default()).unwrap();
    files.lock(1).unwrap().publish(&contents(4, 3), Some(&space()), 7).unwrap();
    let shelf = Shelf::from(files);
    let (calls, cancel) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let (broken, whole) = (embedder(&calls, false), embedder(&calls, true));
    let means = |embedder| Means { embedder, at_once: 2, cancel: &cancel, told: &|_, _| () };
    assert!(matches!(again(&shelf, means(&broken), 8).await, Err(IngestError::Embedder(_))));
    assert_eq!(shelf.current().unwrap().generation(), 1, "what was there answers");
    calls.store(0, Ordering::SeqCst);
    assert_eq!(again(&shelf, means(&whole), 9).await.unwrap(), Some(2));
    let index = shelf.current().unwrap();
    assert_eq!((index.space(), index.len()), (Some(&whole.space), 12));
    assert_eq!(index.chunk(5).unwrap(), contents(4, 3).chunks[5]);
    assert_eq!(calls.load(Ordering::SeqCst), 12);
    assert_eq!(again(&shelf, means(&whole), 10).await.unwrap(), None, "they are that model's already");
    let writer = shelf.lock(11).await.unwrap();
    assert_eq!(writer.rollback(None).await.unwrap(), 1);
    drop(writer);
    assert_eq!(again(&shelf, means(&whole), 12).await.unwrap(), Some(3));
    assert_eq!(calls.load(Ordering::SeqCst), 12, "all of them were kept");
}
