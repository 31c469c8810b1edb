//! Indexes of collections with the real binary: checked, damaged, rebuilt, rolled back; search and quoted answers
//! measured.

use portcullis_testkit::process::run;
use serde_json::Value;
use std::{fs, path::Path};

const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");

async fn told(folder: &Path, args: &[&str]) -> (i32, Value) {
    let all: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    let ended = run(BINARY, folder, &all, &[]).await;
    let report = serde_json::from_str(&ended.stdout).unwrap_or_default();
    (ended.code.unwrap_or(-1), report)
}

// req: S2-2.6
#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_with_file_and_block_and_a_rebuild_heals_it() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    fs::create_dir(folder.join("docs")).unwrap();
    fs::write(folder.join("docs/notice.md"), "# Notice\n\nThe notice period is two months.").unwrap();
    assert_eq!(told(folder, &["ingest", "docs"]).await.0, 0);
    let (code, sound) = told(folder, &["index", "verify", "--deep"]).await;
    assert_eq!((code, &sound["sound"]), (0, &Value::Bool(true)), "{sound}");
    assert!(sound["deep"]["least_cosine"].as_f64().unwrap() >= 0.99);

    let path = folder.join("data/knowledge/default/gen-1/words.post");
    let mut bytes = fs::read(&path).unwrap();
    bytes[3] ^= 16;
    fs::write(&path, bytes).unwrap();
    let (code, damaged) = told(folder, &["index", "verify"]).await;
    let found = &damaged["generations"][0]["damaged"][0];
    assert_eq!((code, &found["file"], &found["block"]), (4, &"words.post".into(), &0.into()), "{damaged}");

    assert_eq!(told(folder, &["index", "rebuild"]).await.0, 0);
    assert_eq!(told(folder, &["index", "prune"]).await.0, 0);
    let (code, healed) = told(folder, &["index", "verify"]).await;
    assert_eq!((code, &healed["generations"][0]["generation"]), (0, &2.into()), "{healed}");
    assert_eq!(told(folder, &["index", "rollback"]).await.0, 1, "there is none before");
    assert_eq!(told(folder, &["index", "verify", "--collection", "other"]).await.0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn search_and_quoted_answers_are_measured_on_judged_questions() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write(
        "corpus.jsonl",
        "{\"_id\":\"a\",\"title\":\"\",\"text\":\"The keeper opens the gate at dawn.\"}\n\
         {\"_id\":\"b\",\"title\":\"Moat\",\"text\":\"Water fills the moat in spring.\"}\n\
         {\"_id\":\"c\",\"text\":\"Bread is baked in the tower.\"}\n",
    );
    write(
        "queries.jsonl",
        "{\"_id\":\"1\",\"text\":\"who opens the gate?\"}\n{\"_id\":\"2\",\"text\":\"water in the moat\"}\n",
    );
    write("qrels.tsv", "query-id\tcorpus-id\tscore\n1\ta\t1\n2\tb\t1\n");
    let files = ["--corpus", "corpus.jsonl", "--queries", "queries.jsonl", "--qrels", "qrels.tsv"];
    for embedder in ["none", "builtin"] {
        let args = [&["index", "eval", "--embedder", embedder, "--run", "out.trec"][..], &files[..]].concat();
        let (code, measured) = told(folder, &args).await;
        assert_eq!(
            (code, &measured["ndcg@10"], &measured["queries"]),
            (0, &1.0.into(), &2.into()),
            "{measured}"
        );
        assert!(
            measured["recall@100"] == 1.0 && measured["mrr@10"] == 1.0 && measured["seconds"].is_number()
        );
    }
    let run = fs::read_to_string(folder.join("out.trec")).unwrap();
    assert!(run.starts_with("1 Q0 a 1 1.000000 portcullis\n"), "{run}");

    write(
        "questions.jsonl",
        "{\"question\":\"When is the gate opened?\",\"sentences\":[\"Bread is baked.\",\"The gate is opened at dawn.\"],\"labels\":[0,1]}\n\
         {\"question\":\"Why?\",\"sentences\":[\"No answer.\"],\"labels\":[0]}\n",
    );
    let (code, measured) = told(folder, &["answer", "eval", "--questions", "questions.jsonl"]).await;
    assert_eq!((code, &measured["p@1"], &measured["questions"]), (0, &1.0.into(), &1.into()), "{measured}");
    assert_eq!(told(folder, &["answer", "eval", "--questions", "absent.jsonl"]).await.0, 2);
}
