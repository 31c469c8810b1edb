//! Questions to documents, from outside: what `portcullis ingest` took in beside a running server answers over HTTP, as
//! events and at the keyboard, with an AI and without. The index, the embedder and the processes are the product's own.

use crate::support::{BINARY, call, get, post, serve, until};
use portcullis_testkit::{
    process::{Options, Server, run},
    upstream::{Behaviour, OpenAi, Reply},
};
use serde_json::{Value, json};
use std::{fs, path::Path};

const QUESTION: &str = "What is the notice period?";

fn write_documents(folder: &Path) {
    fs::create_dir(folder.join("docs")).unwrap();
    let handbook = "# Handbook\n\n## Leaving\n\nThe notice period is two months. Notice is given in writing.\n\n\
                    ## Holidays\n\nEverybody has twenty-five days of holidays a year.\n";
    fs::write(folder.join("docs/handbook.md"), handbook).unwrap();
    fs::write(folder.join("docs/backups.txt"), "Stop the server before a backup is restored.").unwrap();
}

// req: S2-2.4
#[tokio::test(flavor = "multi_thread")]
async fn documents_taken_in_beside_a_running_server_answer_over_http_and_at_the_keyboard() {
    let double = OpenAi::start().await;
    double.always(Behaviour::Say(Reply::Text("The notice period is two months [1].".into())));
    let route = "[routes.ask]\ntargets = [{ provider = \"openai\", model = \"gpt-double\" }]\n";
    let server = serve(&double, &double.base_url(), route).await;
    let (address, key) = (server.address(), server.key().expect("a first key"));
    let asked = post(address, "/v1/ask", &key, &json!({ "question": QUESTION })).await;
    assert_eq!((asked.status.as_u16(), &asked.json()["mode"]), (200, &"refused".into()), "{asked:?}");

    write_documents(server.folder());
    let taken = run(BINARY, server.folder(), &["ingest", "docs"], &[]).await;
    assert_eq!(taken.code, Some(0), "{}", taken.stderr);
    until("the server follows what was published", async || {
        post(address, "/v1/ask", &key, &json!({ "question": QUESTION })).await.json()["mode"] != "refused"
    })
    .await;
    let answer = post(address, "/v1/ask", &key, &json!({ "question": QUESTION })).await.json();
    assert_eq!(answer["answer"], "The notice period is two months [1].");
    assert_eq!((&answer["sources"][0]["title"], &answer["degraded"]), (&"Handbook".into(), &false.into()));

    let found = post(address, "/v1/search", &key, &json!({ "query": "restore backup", "k": 1 })).await.json();
    assert!(found["results"][0]["text"].as_str().unwrap().contains("Stop the server"), "{found}");
    let wrong = post(address, "/v1/ask", &key, &json!({ "question": QUESTION, "collection": "other" })).await;
    assert_eq!((wrong.status.as_u16(), &wrong.json()["error"]), (404, &"NotFoundError".into()));

    let url = server.url();
    let typed = run(BINARY, server.folder(), &["ask", "--json", QUESTION], &[("PORTCULLIS_URL", &url)]).await;
    let said: Value = serde_json::from_str(&typed.stdout).expect("JSON");
    assert_eq!((typed.code, &said["answer"]), (Some(0), &answer["answer"]), "{}", typed.stderr);

    double.always(Behaviour::error(500, "server_error", "down", "down"));
    let body = json!({ "question": "How many days of holidays does everybody have?", "stream": true });
    let streamed = post(address, "/v1/ask", &key, &body).await;
    assert_eq!(
        (streamed.header("content-type"), streamed.header("x-portcullis-degraded")),
        ("text/event-stream", "extractive")
    );
    let events = streamed.text();
    assert!(
        events.starts_with("event: sources\n")
            && events.contains("twenty-five days")
            && events.contains("event: done\n")
    );

    let alone = run(BINARY, server.folder(), &["ask", "--offline", "How is a backup restored?"], &[]).await;
    assert!(alone.stdout.contains("Stop the server before a backup is restored. [1]"), "{alone:?}");
    let mut server = server;
    server.terminate();
    server.wait(60).await;
    for entry in fs::read_dir(server.folder().join("data/audit")).unwrap() {
        let kept = fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&kept).contains("notice period"), "the trail holds no question");
    }
    let verified = run(BINARY, server.folder(), &["audit", "verify"], &[]).await;
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
}

// req: S2-2.4
#[tokio::test(flavor = "multi_thread")]
async fn while_the_provider_is_down_passages_answer_and_a_probe_of_its_breaker_brings_whole_answers_back() {
    let double = OpenAi::start().await;
    double.always(Behaviour::server_error());
    let config = format!(
        "[ask]\ncache_hours = 0\n[providers.openai]\nbase_url = \"{}\"\nmodels = [\"gpt-double\"]\nattempts = 1\n\
         breaker_failures = 2\nbreaker_reset_secs = 1\n\
         [routes.ask]\ntargets = [{{ provider = \"openai\", model = \"gpt-double\" }}]\n{}",
        double.base_url(),
        crate::support::WIDE
    );
    let options = Options::config(config).env("OPENAI_API_KEY", double.key());
    let server = Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("{refused:?}"));
    let (address, key) = (server.address(), server.key().expect("a first key"));
    write_documents(server.folder());
    let taken = run(BINARY, server.folder(), &["ingest", "docs"], &[]).await;
    assert_eq!(taken.code, Some(0), "{}", taken.stderr);
    let asked = async || post(address, "/v1/ask", &key, &json!({ "question": QUESTION })).await.json();
    until("the passages answer", async || asked().await["mode"] == "extractive").await;
    until("the breaker opens", async || {
        let answer = asked().await;
        assert!(answer["mode"] == "extractive" && answer["degraded"] == true, "{answer}");
        assert!(answer["answer"].as_str().unwrap().contains("two months."), "{answer}");
        get(address, "/health", &key).await.text().contains("calls fail; they are not made for now")
    })
    .await;
    double.always(Behaviour::Say(Reply::Text("The notice period is two months [1].".into())));
    until("an AI words answers again", async || asked().await["mode"] == "full").await;
}

/// A form with one file, as curl sends it.
fn form(name: &str, text: &str) -> (String, String) {
    let part = format!("Content-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n{text}");
    ("multipart/form-data; boundary=b0".to_owned(), format!("--b0\r\n{part}\r\n--b0--\r\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_sent_over_http_answers_and_one_that_cannot_be_read_is_named() {
    let double = OpenAi::start().await;
    let server = serve(&double, &double.base_url(), "[gateway]\nmax_upload_bytes = 10000\n").await;
    let (address, key) = (server.address(), server.key().expect("a first key"));
    let send = async |key: &str, (kind, body): (String, String)| {
        let request = http::Request::post("/v1/ingest").header("host", "test").header("content-type", kind);
        let request = request.header("authorization", format!("Bearer {key}"));
        call(address, request.body(http_body_util::Full::from(body)).unwrap()).await
    };
    let done = async |job: &Value| {
        let path = format!("/v1/ingest/{}", job["job"].as_str().unwrap());
        until("the job ends", async || get(address, &path, &key).await.json()["state"] == "done").await;
        get(address, &path, &key).await.json()
    };
    let begun = send(&key, form("../handbook.md", "# Leaving\n\nThe notice period is two months.\n")).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    assert_eq!(done(&begun.json()).await["added"], 1);
    let body = json!({ "question": QUESTION, "mode": "extractive" });
    let answer = post(address, "/v1/ask", &key, &body).await.json();
    assert!(answer["answer"].as_str().unwrap().contains("two months"), "{answer}");
    let begun = send(&key, form("broken.pdf", "%PDF-1.7 and nothing more")).await;
    let told = done(&begun.json()).await;
    assert_eq!(
        told["refused"][0]["source"].as_str().map(|name| name.ends_with("broken.pdf")),
        Some(true),
        "{told}"
    );
    assert_eq!(send(&key, form("a.md", &"x".repeat(20_000))).await.status, 413);
    assert_eq!(send("pcl_unknown", form("a.md", "x")).await.status, 401);
}
