//! Sources of news, posts, vectors and summaries, on SQLite and on PostgreSQL alike.

use super::Place;
use crate::{FeedRow, PostRow};

cases!(
    news_is_kept_alike_on_a_real_postgres;
    a_source_stands_once_and_keeps_how_it_is,
    a_later_text_replaces_a_post_and_one_without_time_keeps_its_first,
    vectors_and_summaries_are_found_again_until_they_are_old,
);

fn post(id: &str, at: i64, text: &str) -> PostRow {
    PostRow {
        external_id: id.into(),
        at,
        dated: true,
        title: String::new(),
        text: text.into(),
        url: format!("https://example.org/{id}"),
        views: -1,
    }
}

async fn a_source_stands_once_and_keeps_how_it_is(place: &Place) {
    let store = place.open("a").await;
    let feeds = store.feeds();
    assert_eq!(feeds.find("@zembla_news").await.unwrap(), None);
    let made = feeds.of("@zembla_news", "channel").await.unwrap();
    assert_eq!((made.state.as_str(), made.fetched_at), ("new", 0));
    assert_eq!(feeds.of("@zembla_news", "other").await.unwrap(), made);
    let changed = FeedRow {
        kind: "channel".into(),
        title: "Zembla".into(),
        address: "https://example.org/new".into(),
        moved_to: "https://example.org/newer".into(),
        moved_times: 2,
        etag: "\"1\"".into(),
        modified: "yesterday".into(),
        state: "ok".into(),
        failures: 3,
        failing_since: 4,
        fetched_at: 5,
        covers_since: 6,
        next_at: 7,
        ..made
    };
    feeds.keep(&changed, &[]).await.unwrap();
    assert_eq!(feeds.find("@zembla_news").await.unwrap(), Some(changed));
}

async fn a_later_text_replaces_a_post_and_one_without_time_keeps_its_first(place: &Place) {
    let store = place.open("a").await;
    let feeds = store.feeds();
    let feed = feeds.of("https://example.org/feed", "feed").await.unwrap();
    let undated = |text: &str, at| PostRow { dated: false, ..post("3", at, text) };
    feeds.keep(&feed, &[post("1", 100, "one"), post("2", 200, "two"), undated("three", 150)]).await.unwrap();
    feeds.keep(&feed, &[post("1", 110, "one, corrected"), undated("three, corrected", 900)]).await.unwrap();
    let texts = |posts: Vec<PostRow>| posts.into_iter().map(|post| (post.at, post.text)).collect::<Vec<_>>();
    let all = [(200, "two"), (150, "three, corrected"), (110, "one, corrected")]
        .map(|(at, text)| (at, text.to_owned()));
    assert_eq!(texts(feeds.posts(feed.id, 0, 10).await.unwrap()), all);
    assert_eq!(texts(feeds.posts(feed.id, 150, 10).await.unwrap()), all[..2]);
    assert_eq!(texts(feeds.posts(feed.id, 0, 1).await.unwrap()), all[..1]);
    assert_eq!(feeds.sweep(150, 0, 0).await.unwrap(), 1);
    assert_eq!(feeds.posts(feed.id, 0, 10).await.unwrap().len(), 2);
}

async fn vectors_and_summaries_are_found_again_until_they_are_old(place: &Place) {
    let store = place.open("a").await;
    let feeds = store.feeds();
    let rows: Vec<(i64, Vec<u8>)> = (0..450).map(|n| (n - 200, vec![7; 3])).collect();
    feeds.keep_vectors("m", &rows, 50).await.unwrap();
    feeds.keep_vectors("m", &[(i64::MIN, vec![0, 255, 128])], 60).await.unwrap();
    let mut asked: Vec<i64> = rows.iter().map(|(hash, _)| *hash).collect();
    asked.extend([i64::MIN, i64::MAX]);
    let found = feeds.vectors("m", &asked).await.unwrap();
    assert_eq!(found.len(), 451);
    assert!(found.contains(&(i64::MIN, vec![0, 255, 128])));
    assert!(feeds.vectors("other", &asked).await.unwrap().is_empty());
    assert!(feeds.vectors("m", &[]).await.unwrap().is_empty());
    feeds.keep_told("k", "first", 50).await.unwrap();
    feeds.keep_told("k", "second", 70).await.unwrap();
    assert_eq!(feeds.told("k", 70).await.unwrap().as_deref(), Some("second"));
    assert_eq!(feeds.told("k", 71).await.unwrap(), None);
    assert_eq!(feeds.sweep(0, 60, 71).await.unwrap(), 451);
    assert_eq!(feeds.vectors("m", &asked).await.unwrap().len(), 1);
}
