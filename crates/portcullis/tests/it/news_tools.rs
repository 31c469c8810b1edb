//! The command line on files of news: the text of a page, near-duplicates of a list.

use portcullis_testkit::process::{Refused, run};
use serde_json::{Value, json};
use std::path::Path;

async fn portcullis(folder: &Path, args: &[&str]) -> Refused {
    run(env!("CARGO_BIN_EXE_portcullis"), folder, args, &[]).await
}

#[tokio::test]
async fn extract_prints_the_readable_text_with_title_and_date() {
    let folder = tempfile::tempdir().unwrap();
    let page = include_str!("../../../news/fixtures/article.html");
    std::fs::write(folder.path().join("page.html"), page).unwrap();
    let ended = portcullis(folder.path(), &["news", "extract", "--html", "page.html", "--json"]).await;
    let told: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        (&told["title"], &told["published_at"]),
        (&json!("The old bridge reopens on Monday"), &json!("2025-03-01T06:00:00Z"))
    );
    let text = told["text"].as_str().unwrap();
    assert!(text.starts_with("After eleven months") && text.ends_with("who lives beside it."), "{text}");

    let ended = portcullis(folder.path(), &["news", "extract", "--html", "page.html"]).await;
    assert!(
        ended.stdout.starts_with("The old bridge reopens on Monday\n2025-03-01T06:00:00Z\n\nAfter"),
        "{}",
        ended.stdout
    );
    std::fs::write(folder.path().join("empty.html"), "<html></html>").unwrap();
    assert_eq!(portcullis(folder.path(), &["news", "extract", "--html", "empty.html"]).await.code, Some(1));
    for wrong in [
        &["news", "extract", "--html", "gone.html"][..],
        &["news", "extract", "--html", "page.html", "--url", "nowhere"],
        &["news", "extract"],
        &["news", "--source", "@example", "extract", "--html", "page.html"],
    ] {
        assert_eq!(portcullis(folder.path(), wrong).await.code, Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn extract_of_a_hostile_page_ends() {
    let folder = tempfile::tempdir().unwrap();
    let deep = "<div>".repeat(2_000_000) + "words";
    std::fs::write(folder.path().join("deep.html"), deep).unwrap();
    let ended = portcullis(folder.path(), &["news", "extract", "--html", "deep.html", "--json"]).await;
    assert!(matches!(ended.code, Some(0 | 1)), "{}", ended.stderr);
    assert!(serde_json::from_str::<Value>(&ended.stdout).unwrap()["text"].is_string());
    assert!(ended.stderr.contains("larger than 8 MiB"), "{}", ended.stderr);
}

#[tokio::test]
async fn duplicates_prints_the_pairs_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "{\"id\":\"a\",\"text\":\"Breaking: the old bridge reopens on Monday\"}\n\n\
                {\"id\":\"b\",\"text\":\"A dog was found after eleven years\"}\n\
                {\"id\":\"c\",\"text\":\"BREAKING the old bridge reopens Monday!\"}\n";
    std::fs::write(folder.path().join("posts.jsonl"), rows).unwrap();
    let ended = portcullis(folder.path(), &["news", "duplicates", "--jsonl", "posts.jsonl"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "a\tc\n"), "{}", ended.stderr);
    let ended = portcullis(folder.path(), &["news", "duplicates", "--jsonl", "posts.jsonl", "--json"]).await;
    assert_eq!(
        serde_json::from_str::<Value>(&ended.stdout).unwrap(),
        json!({"texts": 3, "pairs": [["a", "c"]]})
    );
    std::fs::write(folder.path().join("bad.jsonl"), "{\"id\":1,\"text\":\"x\"}\n{\"id\":2}\n").unwrap();
    let ended = portcullis(folder.path(), &["news", "duplicates", "--jsonl", "bad.jsonl"]).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("line 2: it has no text"), "{}", ended.stderr);
}
