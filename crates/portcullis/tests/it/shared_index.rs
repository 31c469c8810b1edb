//! `knowledge.backend = "postgres"` with the real binary over a real PostgreSQL with pgvector: the same answers as from
//! files, one collection for two servers, damage found and mended, and settings that cannot work refused by name.

use crate::support::{BINARY, call, get, post, request, until};
use http::Method;
use portcullis_testkit::{
    postgres,
    process::{Options, Server, run},
};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Stdio};
use tokio::{process::Command, time::Instant};

const FILES: &str = "[knowledge]\nwatch_secs = 1\n[ask]\nrefresh_secs = 1\n";
const ROWS: &str = "[store]\nurl_secret = \"store_url\"\n[knowledge]\nbackend = \"postgres\"\nwatch_secs = 1\nscrub_hours = 0\n[ask]\nrefresh_secs = 1\n";

/// A made-up key that all servers are given.
const ADMIN_KEY: &str = "pcl_admin0000000_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

/// Questions that the manual answers, one that it does not, and two in other languages.
const QUESTIONS: &[&str] = &[
    "how do I restore a backup?",
    "which formats of documents are taken in?",
    "how long is a Signal session idle before it ends?",
    "what happens when the AI is away?",
    "where are the keys kept?",
    "what is the population of Madagascar?",
    "wie stelle ich eine Sicherung wieder her?",
    "как восстановить резервную копию?",
];

fn manual() -> String {
    format!("{}/../../docs/manual", env!("CARGO_MANIFEST_DIR"))
}

/// How often an ingestion is killed.
const KILLS: usize = 12;

struct Home<'a> {
    folder: tempfile::TempDir,
    env: Vec<(&'a str, &'a str)>,
}

impl<'a> Home<'a> {
    fn new(config: &str, env: &[(&'a str, &'a str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("portcullis.toml"), config).unwrap();
        Self { folder, env: env.to_vec() }
    }

    async fn told(&self, args: &[&str]) -> (i32, Value) {
        let all: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let ended = run(BINARY, self.folder.path(), &all, &self.env).await;
        let said = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| ended.stderr.clone().into());
        (ended.code.unwrap_or(-1), said)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// What an answer says and from where, without what differs between two runs.
fn essence(answer: &Value) -> Value {
    let sources = answer["sources"].as_array().cloned().unwrap_or_default();
    let sources: Vec<Value> = sources
        .iter()
        .map(|source| json!([source["n"], source["title"], source["heading"], source["text"]]))
        .collect();
    json!([answer["answer"], answer["mode"], answer["degraded"], sources])
}

// Must show 22 of the ask design. req: S2-2.6
#[tokio::test(flavor = "multi_thread")]
async fn the_setting_changes_where_an_index_stands_and_no_answer() {
    let Some(server) = postgres::start_with_vectors().await else { return };
    let url = server.database().await;
    let (files, rows) = (Home::new(FILES, &[]), Home::new(ROWS, &[("STORE_URL", &url)]));
    for home in [&files, &rows] {
        let (code, report) = home.told(&["ingest", &manual()]).await;
        assert_eq!((code, &report["generation"]), (0, &1.into()), "{report}");
        let (_, again) = home.told(&["ingest", &manual()]).await;
        assert_eq!((&again["published"], &again["embedding_calls"]), (&false.into(), &0.into()), "{again}");
    }
    assert!(!rows.path().join("data/knowledge/default/gen-1").exists(), "nothing of it is in files");
    let (mut answered, mut equal) = (0, 0);
    for question in QUESTIONS {
        let (_, here) = files.told(&["ask", "--offline", question]).await;
        let (_, there) = rows.told(&["ask", "--offline", question]).await;
        assert_eq!((&here["mode"], &here["language"]), (&there["mode"], &there["language"]), "{question}");
        let first = |answer: &Value| answer["sources"][0]["text"].clone();
        assert_eq!(first(&here), first(&there), "{question}");
        // Files keep whole numbers, the database the vectors themselves: passages that are as near as each other may change
        // places behind the first.
        equal += usize::from(essence(&here) == essence(&there));
        answered += usize::from(here["sources"].as_array().is_some_and(|sources| !sources.is_empty()));
    }
    assert!(
        answered >= 5 && equal + 1 >= QUESTIONS.len(),
        "{answered} answered, {equal} alike to the last letter"
    );
    let (code, sound) = rows.told(&["index", "verify", "--deep"]).await;
    assert_eq!((code, &sound["sound"]), (0, &true.into()), "{sound}");
    assert!(sound["deep"]["least_cosine"].as_f64().unwrap() >= 0.99);

    // One letter and one vector changed behind our back are both found; a rebuild heals.
    postgres::execute(&url, "UPDATE knowledge_chunks SET body = replace(body, 'e', 'a') WHERE n = 3").await;
    let (code, damaged) = rows.told(&["index", "verify"]).await;
    assert_eq!(code, 4, "{damaged}");
    assert_eq!(rows.told(&["index", "rebuild"]).await.0, 1, "there is no sound generation before it");
    assert_eq!(rows.told(&["ingest", &manual()]).await.0, 0);
    assert_eq!(
        rows.told(&["ask", "--offline", QUESTIONS[0]]).await.1["mode"],
        files.told(&["ask", "--offline", QUESTIONS[0]]).await.1["mode"]
    );
    postgres::execute(
        &url,
        "UPDATE knowledge_chunks SET meaning = meaning * meaning WHERE generation = 2 AND n = 3",
    )
    .await;
    assert_eq!(rows.told(&["index", "verify"]).await.0, 4);
    assert_eq!(rows.told(&["index", "rebuild"]).await.0, 0);
    assert_eq!(
        rows.told(&["index", "list"]).await.1["generations"].as_array().unwrap().last().unwrap()["damaged"],
        json!([])
    );
}

/// Fails unless the active generation has four passages of one version.
const WHOLE: &str = "DO $$ DECLARE found text; BEGIN \
    SELECT count(*) || ' of ' || count(DISTINCT substring(body from 'Version ([0-9]+)')) INTO found FROM knowledge_chunks c \
    JOIN knowledge_active a ON c.collection = a.collection AND c.generation = a.active_generation; \
    IF found <> '4 of 1' THEN RAISE EXCEPTION '%', found; END IF; END $$";

// req: S2-2.6
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_of_an_ingestion_rows_are_of_one_generation_whole() {
    let Some(server) = postgres::start_with_vectors().await else { return };
    let url = server.database().await;
    let rows = Home::new(ROWS, &[("STORE_URL", &url)]);
    fs::create_dir(rows.path().join("docs")).unwrap();
    let write = |version: usize| {
        for name in ["one", "two", "three", "four"] {
            let text = format!("Version {version} of rule number {name}.");
            fs::write(rows.path().join(format!("docs/{name}.md")), text).unwrap();
        }
    };
    write(1);
    let begun = Instant::now();
    assert_eq!(rows.told(&["ingest", "docs"]).await.0, 0);
    let whole = begun.elapsed();
    for kill in 0..KILLS {
        write(kill + 2);
        let mut child = Command::new(BINARY)
            .args(["ingest", "docs"])
            .current_dir(rows.path())
            .env_clear()
            .env("STORE_URL", &url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        // Spread over the whole ingestion, a little beyond its end.
        tokio::time::sleep(whole.mul_f64((f64::from(kill as u32) + 0.5) * 1.1 / KILLS as f64)).await;
        child.kill().await.unwrap();
        postgres::execute(&url, WHOLE).await;
        assert_eq!(rows.told(&["index", "verify"]).await.0, 0, "kill {kill}");
    }
    write(1000);
    let (code, report) = rows.told(&["ingest", "docs"]).await;
    assert_eq!((code, &report["documents"]), (0, &4.into()), "{report}");
    postgres::execute(&url, WHOLE).await;
}

async fn generation(server: &Server, key: &str) -> Value {
    let told = get(server.address(), "/v1/collections", key).await.json();
    told["collections"][0]["generation"].clone()
}

// req: S2-2.6
#[tokio::test(flavor = "multi_thread")]
async fn two_servers_answer_from_one_collection_and_follow_each_other() {
    let Some(database) = postgres::start_with_vectors().await else { return };
    let url = database.database().await;
    let home = Home::new(ROWS, &[("STORE_URL", &url)]);
    let docs = home.path().join("docs");
    fs::create_dir(&docs).unwrap();
    fs::write(docs.join("notice.md"), "# Notice\n\nThe notice period is two months.").unwrap();
    fs::write(docs.join("bread.md"), "# Bread\n\nBread is baked in the tower.").unwrap();
    assert_eq!(home.told(&["ingest", "docs"]).await.0, 0);
    let start = async || {
        let options = Options::config(ROWS.to_owned() + crate::support::WIDE)
            .env("STORE_URL", url.clone())
            .env("ADMIN_KEY", ADMIN_KEY)
            .env("DATA_KEY", "one key for all replicas of this test, made up")
            .env("API_KEY_PEPPER", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
        Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("{refused:?}"))
    };
    let (first, second) = (start().await, start().await);
    let key = ADMIN_KEY;
    let asked = json!({"question": "What is the notice period?"});
    for server in [&first, &second] {
        let answer = post(server.address(), "/v1/ask", key, &asked).await.json();
        assert!(answer["answer"].as_str().unwrap().contains("two months"), "{answer}");
    }
    fs::write(docs.join("notice.md"), "# Notice\n\nThe notice period is three months.").unwrap();
    assert_eq!(home.told(&["ingest", "docs"]).await.0, 0);
    for server in [&first, &second] {
        until("the new generation answers", async || generation(server, key).await == 2).await;
        let answer = post(server.address(), "/v1/ask", key, &asked).await.json();
        assert!(answer["answer"].as_str().unwrap().contains("three months"), "{answer}");
    }
    // What one server takes out, the other does not find.
    let listed = get(first.address(), "/v1/documents", key).await.json();
    let id = listed["documents"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/documents/{id}");
    let gone = call(first.address(), request(Method::DELETE, &path, key, &Value::Null)).await;
    assert_eq!(gone.status, 200, "{}", gone.text());
    until("it is gone there too", async || generation(&second, key).await == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_without_a_store_in_postgres_is_refused_by_name() {
    let home = Home::new("[knowledge]\nbackend = \"postgres\"\n", &[]);
    let checked = run(BINARY, home.path(), &["check"], &[]).await;
    assert!(checked.stdout.contains("knowledge.backend") || checked.stderr.contains("knowledge.backend"));
    let refused = run(BINARY, home.path(), &["ingest", "docs"], &[]).await;
    assert_ne!(refused.code, Some(0));
}
