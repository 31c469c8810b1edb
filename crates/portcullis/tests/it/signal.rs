//! The Signal door against the real signal-cli, and the double held against it: the same probes must print the same.

use portcullis_runtime::{
    Environment, Running, Secrets,
    settings::{Sources, load},
    start,
};
use portcullis_testkit::{
    signal::{Options, Signal},
    signal_cli::{self, SignalCli},
};
use serde_json::Value;
use std::{fmt::Write as _, net::SocketAddr, path::Path, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{TcpStream, UnixStream},
    time::timeout,
};

const LONG: Duration = Duration::from_secs(30);

/// Status and body of one request.
async fn http(address: SocketAddr, head: &str, kind: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
    let length = body.len();
    let head = format!(
        "{head} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n{kind}Connection: close\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(LONG, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

/// What an answer says that is no wording of a library.
fn gist(answer: &Value) -> String {
    if let Some(list) = answer.as_array() {
        let mut all: Vec<_> = list.iter().map(gist).collect();
        all.sort_unstable();
        return format!("{all:?}");
    }
    let id = &answer["id"];
    match (&answer["error"], &answer["result"]) {
        (Value::Null, result) if result.is_u64() => format!("{id} a number"),
        (Value::Null, result) => format!("{id} {result}"),
        (error, _) if error["code"] == -32700 || error["code"] == -32600 => format!("{id} {}", error["code"]),
        (error, _) => format!("{id} {} {} {}", error["code"], error["message"], error["data"]),
    }
}

const JSON: &str = "application/json";

/// Everything a client can find out without an account.
async fn probes(http_address: SocketAddr, tcp: SocketAddr, socket: &Path) -> String {
    let mut out = String::new();
    for head in [
        "GET /api/v1/check",
        "POST /api/v1/check",
        "GET /api/v1/checkx",
        "GET /api/v2/check",
        "GET /api/v1/rpc",
        "POST /api/v1/events",
        "GET /api/v1/events?account=%2B15550001111",
    ] {
        let (status, _) = http(http_address, head, "", "").await;
        writeln!(out, "{head}: {status}").unwrap();
    }
    for (kind, body) in [
        ("text/plain", "{}"),
        ("", "{}"),
        ("application/json; charset=utf-8", r#"{"jsonrpc":"2.0","method":"version","id":"1"}"#),
        (JSON, "{"),
        (JSON, "{}"),
        (JSON, "[]"),
        (JSON, r#"{"jsonrpc":"1.0","method":"version","id":"1"}"#),
        (JSON, r#"{"jsonrpc":"2.0","method":"version","id":7}"#),
        (JSON, r#"{"jsonrpc":"2.0","method":"version"}"#),
        (JSON, r#"{"jsonrpc":"2.0","method":"version","params":[1],"id":"1"}"#),
        (JSON, r#"{"jsonrpc":"2.0","method":"nope","id":"1"}"#),
        (JSON, r#"{"jsonrpc":"2.0","method":"listAccounts","id":"1"}"#),
        (JSON, r#"{"jsonrpc":"2.0","method":"subscribeReceive","id":"1"}"#),
        (
            JSON,
            r#"{"jsonrpc":"2.0","method":"send","params":{"recipient":["+15550002222"],"message":"x"},"id":"1"}"#,
        ),
        (
            JSON,
            r#"{"jsonrpc":"2.0","method":"send","params":{"account":"+15550001111","recipient":["+15550002222"],"message":"x"},"id":"1"}"#,
        ),
        (
            JSON,
            r#"{"jsonrpc":"2.0","method":"sendTyping","params":{"account":"+15550001111","recipient":["+15550002222"]},"id":"1"}"#,
        ),
        (
            JSON,
            r#"{"jsonrpc":"2.0","method":"trust","params":{"account":"+15550001111","recipient":"+15550002222","trustAllKnownKeys":true},"id":"1"}"#,
        ),
        (
            JSON,
            r#"{"jsonrpc":"2.0","method":"submitRateLimitChallenge","params":{"challenge":"a","captcha":"b"},"id":"1"}"#,
        ),
        (
            JSON,
            r#"[{"jsonrpc":"2.0","method":"version","id":"1"},{"jsonrpc":"2.0","method":"nope","id":"2"}]"#,
        ),
    ] {
        let (status, answer) = http(http_address, "POST /api/v1/rpc", kind, body).await;
        let answer = serde_json::from_str(&answer).map_or(answer, |answer| gist(&answer));
        writeln!(out, "{kind} {body}: {status} {answer}").unwrap();
    }
    let (read, write) = TcpStream::connect(tcp).await.unwrap().into_split();
    writeln!(out, "tcp: {}", lines(read, write).await).unwrap();
    let (read, write) = UnixStream::connect(socket).await.unwrap().into_split();
    writeln!(out, "unix: {}", lines(read, write).await).unwrap();
    out
}

/// The answers of a socket, in whatever order they came.
async fn lines(read: impl AsyncRead + Unpin, mut write: impl AsyncWrite + Unpin) -> String {
    const CALLS: [&str; 7] = [
        r#"{"jsonrpc":"2.0","method":"listAccounts","id":"a"}"#,
        r#"{"jsonrpc":"2.0","method":"version","id":"b"}"#,
        r#"{"jsonrpc":"2.0","method":"nope","id":"c"}"#,
        "not json",
        r#"{"jsonrpc":"2.0","method":"subscribeReceive","params":{"account":"+15550001111"},"id":"d"}"#,
        r#"{"jsonrpc":"2.0","method":"unsubscribeReceive","params":{"subscription":999},"id":"e"}"#,
        r#"[{"jsonrpc":"2.0","method":"version","id":"f"}]"#,
    ];
    write.write_all(format!("{}\n", CALLS.join("\n")).as_bytes()).await.unwrap();
    let mut lines = BufReader::new(read).lines();
    let mut answers = Vec::new();
    for _ in CALLS {
        let line = timeout(LONG, lines.next_line()).await.unwrap().unwrap().unwrap();
        answers.push(gist(&serde_json::from_str(&line).unwrap()));
    }
    answers.sort_unstable();
    answers.join(" | ")
}

/// What a stream says first, whenever that is.
async fn first_bytes(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let silent = timeout(Duration::from_secs(2), stream.peek(&mut [0])).await.is_err();
    let mut text = String::new();
    while !text.contains(":\n") {
        let mut buffer = [0; 4096];
        let count = timeout(LONG, stream.read(&mut buffer)).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    let status = text.lines().next().unwrap_or_default().to_owned();
    let events = text.to_lowercase().contains("content-type: text/event-stream");
    format!("silent at first: {silent}, {status}, events: {events}")
}

async fn door(url: &str, transport: &str) -> (tempfile::TempDir, Running) {
    let folder = tempfile::tempdir().unwrap();
    let set = [
        ("data_dir", folder.path().join("data").display().to_string()),
        ("http.listen", "127.0.0.1:0".to_owned()),
        ("admin.listen", "127.0.0.1:0".to_owned()),
        ("signal.enabled", "true".to_owned()),
        ("signal.transport", transport.to_owned()),
        ("signal.url", url.to_owned()),
    ];
    let flags = set.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let environment = Environment::fixed([
        ("SIGNAL_PHONE_NUMBER", "+15550001111"),
        ("ACTIVATION_PASSPHRASE", "open sesame, made up"),
    ]);
    let sources = Sources { config: None, flags, environment, folder: None };
    let settings = load(&sources).expect("the settings are right").settings;
    let secrets: Secrets = portcullis_runtime::read_secrets(&settings, &sources.environment).await;
    let running = Box::pin(start(settings, secrets)).await.expect("it starts");
    (folder, running)
}

/// What the component `signal_cli` says once it says something.
async fn health(running: &Running) -> String {
    let detail = || {
        let all = running.health().snapshot();
        all.into_iter()
            .find(|one| one.name == "signal_cli")
            .map(|one| one.detail)
            .filter(|detail| !detail.is_empty())
    };
    for _ in 0..1000 {
        if let Some(detail) = detail() {
            return detail;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("signal_cli says nothing");
}

// req: S2-2.5
#[tokio::test]
async fn the_real_daemon_and_the_double_answer_the_same_probes_alike() {
    let Some(real) = signal_cli::start().await else { return };
    let double =
        Signal::with(Options { accounts: Vec::new(), flush_headers: false, ..Options::default() }).await;
    let address = |url: String| url.split_once("://").unwrap().1.parse::<SocketAddr>().unwrap();
    let socket = double.unix_url();
    let socket = Path::new(socket.strip_prefix("unix://").unwrap());
    let (theirs, ours) = tokio::join!(
        probes(real.http, real.tcp, &real.socket),
        probes(address(double.http_url()), address(double.tcp_url()), socket),
    );
    assert_eq!(ours, theirs);
    let (theirs, ours) = tokio::join!(first_bytes(real.http), first_bytes(address(double.http_url())));
    assert_eq!(ours, theirs);
    assert!(theirs.starts_with("silent at first: true, HTTP/1.1 200"), "{theirs}");
}

// req: S2-2.5
#[tokio::test]
async fn the_door_reaches_the_real_daemon_by_every_transport_and_names_the_missing_account() {
    let Some(SignalCli { http, tcp, socket, .. }) = &signal_cli::start().await else { return };
    let urls = [
        ("http", format!("http://{http}"), "it does not know the account"),
        ("tcp", format!("tcp://{tcp}"), "account not linked"),
        ("unix", format!("unix://{}", socket.display()), "account not linked"),
    ];
    for (transport, url, expected) in urls {
        let (_folder, running) = door(&url, transport).await;
        let said = health(&running).await;
        assert!(said.contains(expected), "{transport}: {said}");
        running.drain().await;
    }
}
