//! Start, drain, death and replicas, with the real binary.

use crate::support::{BINARY, WIDE, chat, get, open, post, request, serve, until};
use futures_util::future::join_all;
use http::{Method, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_testkit::{
    postgres,
    process::{Options, Server, run},
    redis,
    upstream::OpenAi,
};
use serde_json::json;
use std::time::Duration;
use tokio::{net::TcpStream, task::JoinSet};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn http2_from_the_first_byte_is_answered_and_who_says_nothing_delays_no_end() {
    let double = OpenAi::start().await;
    let mut server = serve(&double, &double.base_url(), WIDE).await;
    let silent = TcpStream::connect(server.address()).await.unwrap();
    let socket = TcpStream::connect(server.address()).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(connection.await) });
    for stream in [false, true] {
        let mut asked = request(Method::POST, CHAT, "", &chat(stream));
        *asked.uri_mut() = format!("http://{}{CHAT}", server.address()).parse().unwrap();
        let answer = sender.send_request(asked).await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
        let (mut body, mut bytes) = (answer.into_body(), 0);
        while let Some(frame) = body.frame().await {
            bytes += frame.unwrap().data_ref().map_or(0, |data| data.len());
        }
        assert!(bytes > 0);
    }
    assert_eq!(post(server.address(), CHAT, "", &chat(false)).await.status, 200);
    drop(sender);
    driver.join_all().await;
    server.terminate();
    // Shorter than the time in which a head must arrive.
    assert_eq!(server.wait(8).await, Some(0), "{}", server.stderr());
    drop(silent);
}

#[tokio::test]
async fn sigterm_lets_200_streams_finish_refuses_new_ones_and_exits_0() {
    let double = OpenAi::start().await;
    double.change(|options| {
        options.pace.chunks = Some(40);
        options.pace.between_chunks = Duration::from_millis(50);
    });
    let config = format!("concurrency = 300\nqueue = 300\nrpm = 100000\ntpm = 100000000\n{WIDE}");
    let mut server = serve(&double, &double.base_url(), &config).await;
    let address = server.address();
    let streams = join_all((0..200).map(|_| async move {
        let mut stream = open(address, request(Method::POST, CHAT, "", &chat(true))).await.unwrap();
        assert_eq!(stream.status, 200);
        let first = stream.next().await.unwrap().unwrap();
        (first, stream)
    }))
    .await;
    let ready = get(address, "/health/ready", "").await;
    assert_eq!(ready.status, 200);
    server.terminate();
    until("new requests are refused", async || {
        match open(address, request(Method::POST, CHAT, "", &chat(true))).await {
            Err(_) => true,
            Ok(answer) => answer.status == 503,
        }
    })
    .await;
    let ends = join_all(streams.into_iter().map(|(_, stream)| stream.rest())).await;
    let whole =
        ends.iter().filter(|(text, clean)| *clean && text.trim_end().ends_with("data: [DONE]")).count();
    assert_eq!(whole, 200, "none is cut");
    assert_eq!(server.wait(40).await, Some(0));
}

#[tokio::test]
async fn what_outlasts_the_drain_time_ends_with_an_error_event() {
    let double = OpenAi::start().await;
    double.change(|options| {
        options.pace.chunks = Some(10_000);
        options.pace.between_chunks = Duration::from_millis(50);
    });
    let config = format!("{WIDE}\n[server]\ndrain_secs = 1\n");
    let mut server = serve(&double, &double.base_url(), &config).await;
    let mut stream = open(server.address(), request(Method::POST, CHAT, "", &chat(true))).await.unwrap();
    stream.next().await.unwrap().unwrap();
    server.terminate();
    let (text, _) = stream.rest().await;
    assert!(text.contains("\"error\"") && !text.contains("[DONE]"), "{text}");
    assert_eq!(server.wait(40).await, Some(0));
}

/// Makes a key through the admin API.
async fn new_key(server: &Server, admin_key: &str) -> (String, String) {
    let admin = server.admin().expect("an admin listener");
    let made = post(admin, "/admin/v1/keys", admin_key, &json!({"name": "a test", "scopes": ["chat"]})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let value = made.json();
    (value["id"].as_str().unwrap().to_owned(), value["key"].as_str().unwrap().to_owned())
}

// req: S4-KEYS
#[tokio::test]
async fn keys_survive_kill_9_and_are_never_shown_again() {
    let double = OpenAi::start().await;
    let mut server = serve(&double, &double.base_url(), WIDE).await;
    let admin_key = server.key().expect("a first key is printed");
    let (id, key) = new_key(&server, &admin_key).await;
    assert_eq!(post(server.address(), CHAT, &key, &chat(false)).await.status, 200);
    server.kill();
    let server = server.restart(|_| {}).await.unwrap_or_else(|refused| panic!("{refused:?}"));
    assert_eq!(post(server.address(), CHAT, &key, &chat(false)).await.status, 200, "intact");
    assert_eq!(
        post(server.address(), CHAT, "", &chat(false)).await.status,
        401,
        "with a key, a key is needed"
    );
    let list = get(server.admin().unwrap(), "/admin/v1/keys", &admin_key).await;
    assert!(list.text().contains(&id) && !list.text().contains(&key), "{}", list.text());
    assert!(server.key().is_none(), "the first key is printed once");
    let revoke = Request::delete(format!("/admin/v1/keys/{id}"))
        .header("authorization", format!("Bearer {admin_key}"))
        .body(Full::default())
        .unwrap();
    assert_eq!(crate::support::call(server.admin().unwrap(), revoke).await.status, 200);
    assert_eq!(post(server.address(), CHAT, &key, &chat(false)).await.status, 401);
}

// req: S4-KEYS
#[tokio::test]
async fn a_key_revoked_on_one_replica_is_refused_by_the_other_within_a_second() {
    let (Some(shared), Some(rows)) = (redis::start().await, postgres::start().await) else { return };
    let double = OpenAi::start().await;
    let config = format!("[redis]\nurl_secret = \"redis_url\"\n[store]\nurl_secret = \"store_url\"\n{WIDE}");
    let text = format!(
        "[providers.openai]\nbase_url = \"{}\"\nmodels = [\"gpt-double\"]\n{config}\n[routes.default]\n\
         targets = [{{ provider = \"openai\", model = \"gpt-double\" }}]\n",
        double.base_url()
    );
    let admin_key = "pcl_admin0000000_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
    let pepper = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let options = Options::config(text)
        .env("OPENAI_API_KEY", double.key())
        .env("REDIS_URL", shared.url())
        .env("STORE_URL", rows.url())
        .env("ADMIN_KEY", admin_key)
        .env("API_KEY_PEPPER", pepper);
    let start =
        async || Server::start(BINARY, options.clone()).await.unwrap_or_else(|refused| panic!("{refused:?}"));
    let (one, two) = (start().await, start().await);
    let (id, key) = new_key(&one, admin_key).await;
    until("the other replica knows the key", async || {
        post(two.address(), CHAT, &key, &chat(false)).await.status == 200
    })
    .await;
    let revoke = Request::delete(format!("/admin/v1/keys/{id}"))
        .header("authorization", format!("Bearer {admin_key}"))
        .body(Full::default())
        .unwrap();
    assert_eq!(crate::support::call(one.admin().unwrap(), revoke).await.status, 200);
    let revoked = tokio::time::Instant::now();
    until("the other replica refuses it", async || {
        post(two.address(), CHAT, &key, &chat(false)).await.status == 401
    })
    .await;
    // Without Redis it would take up to ten seconds: this bound tells the two apart on a busy machine.
    assert!(revoked.elapsed() < Duration::from_secs(5), "{:?}", revoked.elapsed());
}

#[tokio::test]
async fn a_newcomer_gets_an_answer_with_no_key_no_file_and_no_network() {
    let mut server =
        Server::start(BINARY, Options::default()).await.unwrap_or_else(|refused| panic!("{refused:?}"));
    let printed = server.stdout();
    for line in ["curl ", "OpenAI(", "portcullis chat"] {
        assert!(printed.contains(line), "{printed}");
    }
    let answer = post(server.address(), CHAT, "", &chat(false)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-portcullis-degraded"), "no-provider");
    assert!(answer.json()["choices"][0]["message"]["content"].as_str().is_some_and(|text| text.len() > 20));
    let vectors =
        post(server.address(), "/v1/embeddings", "", &json!({"model": "embed", "input": ["a", "b"]})).await;
    assert_eq!(vectors.json()["data"][1]["embedding"].as_array().map(Vec::len), Some(384), "{vectors:?}");
    let models = get(server.address(), "/v1/models", "").await;
    assert!(models.json()["data"].as_array().unwrap().iter().any(|model| model["id"] == "default"));
    let key = server.key().expect("printed once");
    let url = server.url();
    let env = [("PORTCULLIS_URL", url.as_str()), ("PORTCULLIS_KEY", key.as_str())];
    let said = run(BINARY, server.folder(), &["chat", "What is Portcullis?"], &env).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.len() > 20, "{said:?}");
    let health = run(BINARY, server.folder(), &["health"], &env).await;
    assert_eq!(health.code, Some(0), "{health:?}");
    server.terminate();
    assert_eq!(server.wait(40).await, Some(0));
    let trail = std::fs::read_dir(server.folder().join("data/audit")).unwrap();
    let trail: String = trail.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert!(trail.contains("\"key_created\"") && trail.contains("first start"), "{trail}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_data_folder_is_private_and_a_looser_one_is_refused_with_words() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut server =
        Server::start(BINARY, Options::default()).await.unwrap_or_else(|refused| panic!("{refused:?}"));
    let data = server.folder().join("data");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for file in ["portcullis.db", "portcullis.db-wal", "portcullis.db-shm"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
    server.terminate();
    assert_eq!(server.wait(40).await, Some(0));
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let refused = server.restart(|_| {}).await.expect_err("refused");
    assert!(refused.stderr.contains("0700") || refused.stderr.contains("chmod 700"), "{refused:?}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_with_1() {
    let double = OpenAi::start().await;
    double.change(|options| {
        options.pace.chunks = Some(10_000);
        options.pace.between_chunks = Duration::from_millis(50);
    });
    let mut server = serve(&double, &double.base_url(), WIDE).await;
    let mut stream = open(server.address(), request(Method::POST, CHAT, "", &chat(true))).await.unwrap();
    stream.next().await.unwrap().unwrap();
    server.terminate();
    until("it drains", async || server.stderr().contains("draining")).await;
    server.terminate();
    assert_eq!(server.wait(10).await, Some(1), "{}", server.stderr());
}
