//! The double itself: what it lets pass and what it refuses, row by row.

use super::{Fault, Options, Outcome, ReceiveMode, Rule, Signal, envelope};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpStream, UnixStream},
    time::timeout,
};

const LONG: Duration = Duration::from_secs(20);

async fn open(double: &Signal, head: &str, headers: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(double.http_url().trim_start_matches("http://")).await.unwrap();
    let length = body.len();
    let host = if headers.contains("Host:") { "" } else { "Host: 127.0.0.1\r\n" };
    let request = format!("{head} HTTP/1.1\r\n{host}Content-Length: {length}\r\n{headers}\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Status and body.
async fn http(double: &Signal, head: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = open(double, head, &format!("Connection: close\r\n{headers}"), body).await;
    let mut text = String::new();
    timeout(LONG, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn rpc_text(double: &Signal, body: &str) -> Value {
    let (status, text) = http(double, "POST /api/v1/rpc", "Content-Type: application/json\r\n", body).await;
    assert_eq!(status, 200);
    serde_json::from_str(&text).unwrap()
}

async fn rpc(double: &Signal, method: &str, mut params: Value) -> Value {
    if params.get("account").is_none() {
        params["account"] = json!(super::ACCOUNT);
    }
    rpc_text(double, &json!({"jsonrpc": "2.0", "id": "1", "method": method, "params": params}).to_string())
        .await
}

/// The next bytes of a stream until `end` was among them.
async fn until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.contains(end) {
        let count = timeout(LONG, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(count, 0, "the stream ended after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    text
}

#[tokio::test]
async fn check_answers_and_wrong_paths_and_verbs_do_not() {
    let double = Signal::start().await;
    assert_eq!(http(&double, "GET /api/v1/check", "", "").await, (200, String::new()));
    assert_eq!(http(&double, "GET /api/v1/checkx", "", "").await.0, 404);
    assert_eq!(http(&double, "POST /api/v1/check", "", "").await.0, 405);
    assert_eq!(http(&double, "GET /api/v1/rpc", "", "").await.0, 405);
}

#[tokio::test]
async fn a_foreign_host_is_refused_where_the_daemon_is_new() {
    let double = Signal::with(Options { host_check: true, ..Options::default() }).await;
    assert_eq!(http(&double, "GET /api/v1/check", "Host: evil.example\r\n", "").await.0, 421);
    assert_eq!(http(&double, "GET /api/v1/check", "Host: localhost:1\r\n", "").await.0, 200);
}

#[tokio::test]
async fn calls_are_answered_or_refused_with_the_codes_of_the_real_one() {
    let double = Signal::start().await;
    let version = rpc_text(&double, r#"{"jsonrpc":"2.0","method":"version","id":7}"#).await;
    assert_eq!(version, json!({"jsonrpc": "2.0", "result": {"version": "0.13.19"}, "id": 7}));
    for (body, code) in [
        ("{", -32700),
        ("{}", -32600),
        (r#"{"jsonrpc":"1.0","method":"version","id":"1"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":"1"}"#, -32600),
        (r#"{"jsonrpc":"2.0","method":"version","params":[1],"id":"1"}"#, -32600),
        (r#"{"jsonrpc":"2.0","method":"nope","id":"1"}"#, -32601),
        (r#"{"jsonrpc":"2.0","method":"send","params":{},"id":"1"}"#, -32602),
        (r#"{"jsonrpc":"2.0","method":"send","params":{"account":"+49"},"id":"1"}"#, -32602),
        (r#"{"jsonrpc":"2.0","method":"subscribeReceive","id":"1"}"#, -32601),
        ("[]", -32600),
    ] {
        assert_eq!(rpc_text(&double, body).await["error"]["code"], code, "{body}");
    }
    let (head, note) = ("POST /api/v1/rpc", r#"{"jsonrpc":"2.0","method":"version"}"#);
    assert_eq!(http(&double, head, "Content-Type: application/json\r\n", note).await, (201, String::new()));
    assert_eq!(http(&double, head, "Content-Type: text/plain\r\n", note).await.0, 415);
    let batch =
        r#"[{"jsonrpc":"2.0","method":"version","id":"1"},{"jsonrpc":"2.0","method":"version","id":"2"}]"#;
    let answers = rpc_text(&double, batch).await;
    assert_eq!([&answers[0]["id"], &answers[1]["id"]], ["2", "1"], "shuffled");
    assert_eq!(rpc(&double, "listAccounts", json!({})).await["result"][0]["number"], super::ACCOUNT);
    assert_eq!(double.violations(), ["no such method: nope"]);
}

#[tokio::test]
async fn a_stream_gets_events_and_keep_alives_and_an_unknown_account_none() {
    let double = Signal::with(Options { keep_alive: Duration::from_millis(50), ..Options::default() }).await;
    let ann = double.person("Ann");
    assert_eq!(http(&double, "GET /api/v1/events?account=%2B49", "", "").await.0, 400);
    assert_eq!(http(&double, "POST /api/v1/events", "", "").await.0, 405);
    let mut one = open(&double, "GET /api/v1/events?account=%2B15550001111", "", "").await;
    let mut two = open(&double, "GET /api/v1/events", "", "").await;
    let head = until(&mut one, ":\n").await;
    assert!(head.contains("text/event-stream"), "{head}");
    until(&mut two, ":\n").await;
    double.push(envelope::data(&ann, "hello"));
    for stream in [&mut one, &mut two] {
        let text = until(stream, "\n\n").await;
        assert!(text.contains("event:receive\ndata:{"), "{text}");
        assert!(text.contains(r#""message":"hello""#), "{text}");
    }
    assert_eq!((double.delivered(), double.lost(), double.listeners()), (1, 0, 2));
}

#[tokio::test]
async fn an_old_daemon_sends_no_byte_before_the_first_event_or_keep_alive() {
    let options =
        Options { flush_headers: false, keep_alive: Duration::from_millis(300), ..Options::default() };
    let double = Signal::with(options).await;
    let mut stream = open(&double, "GET /api/v1/events", "", "").await;
    let mut byte = [0; 1];
    assert!(timeout(Duration::from_millis(100), stream.read(&mut byte)).await.is_err(), "silence");
    assert!(until(&mut stream, ":\n").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn what_nobody_listens_to_waits_or_is_lost_by_the_mode() {
    for (mode, waiting, lost) in [(ReceiveMode::OnStart, 0, 2), (ReceiveMode::OnConnection, 2, 0)] {
        let double = Signal::with(Options { receive_mode: mode, ..Options::default() }).await;
        let ann = double.person("Ann");
        double.push(envelope::data(&ann, "one"));
        double.push(envelope::data(&ann, "two"));
        assert_eq!((double.waiting(), double.lost()), (waiting, lost), "{mode:?}");
        if waiting > 0 {
            let mut stream = open(&double, "GET /api/v1/events", "", "").await;
            let text = until(&mut stream, r#""two""#).await;
            assert!(text.find(r#""one""#) < text.find(r#""two""#), "in order");
        }
    }
}

#[tokio::test]
async fn sockets_answer_in_any_order_with_messages_in_between() {
    let double = Signal::start().await;
    let ann = double.person("Ann");
    let tcp = TcpStream::connect(double.tcp_url().trim_start_matches("tcp://")).await.unwrap();
    let unix = UnixStream::connect(double.unix_url().trim_start_matches("unix://")).await.unwrap();
    let (tcp_read, mut tcp_write) = tcp.into_split();
    let (unix_read, mut unix_write) = unix.into_split();
    let mut tcp_lines = BufReader::new(tcp_read).lines();
    let mut unix_lines = BufReader::new(unix_read).lines();
    let calls: String =
        (0..20).map(|id| format!("{{\"jsonrpc\":\"2.0\",\"method\":\"version\",\"id\":{id}}}\n")).collect();
    tcp_write.write_all(calls.as_bytes()).await.unwrap();
    unix_write.write_all(b"not json\n\n").await.unwrap();
    let mut order = Vec::new();
    for _ in 0..20 {
        let line: Value = serde_json::from_str(&tcp_lines.next_line().await.unwrap().unwrap()).unwrap();
        order.push(line["id"].as_u64().unwrap());
    }
    assert!(!order.is_sorted(), "{order:?}");
    for _ in 0..2 {
        let line: Value = serde_json::from_str(&unix_lines.next_line().await.unwrap().unwrap()).unwrap();
        assert_eq!(line["error"]["code"], -32700);
    }
    double.push(envelope::data(&ann, "hello"));
    for lines in [tcp_lines.next_line().await, unix_lines.next_line().await] {
        let line: Value = serde_json::from_str(&lines.unwrap().unwrap()).unwrap();
        assert_eq!(line["method"], "receive");
        assert_eq!(line["params"]["envelope"]["dataMessage"]["message"], "hello");
    }
}

#[tokio::test]
async fn in_manual_mode_a_socket_hears_nothing_until_it_subscribes() {
    let double = Signal::with(Options { receive_mode: ReceiveMode::Manual, ..Options::default() }).await;
    let ann = double.person("Ann");
    double.push(envelope::data(&ann, "hello"));
    let tcp = TcpStream::connect(double.tcp_url().trim_start_matches("tcp://")).await.unwrap();
    let (read, mut write) = tcp.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut ask = async |request: &str| {
        write.write_all(format!("{request}\n").as_bytes()).await.unwrap();
        let mut line: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        let mut other = Value::Null;
        if line["method"] == "receive" || line.get("result").is_some_and(Value::is_u64) {
            other = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        }
        if line["method"] == "receive" {
            std::mem::swap(&mut line, &mut other);
        }
        (line, other)
    };
    let refused = r#"{"jsonrpc":"2.0","method":"unsubscribeReceive","params":{"subscription":99},"id":"2"}"#;
    assert_eq!(ask(refused).await.0["error"]["code"], -1);
    assert_eq!(double.waiting(), 1);
    let subscribe =
        r#"{"jsonrpc":"2.0","method":"subscribeReceive","params":{"account":"+15550001111"},"id":"3"}"#;
    let (answer, message) = ask(subscribe).await;
    assert!(answer["result"].is_u64(), "{answer}");
    assert_eq!(message["params"]["subscription"], answer["result"]);
    assert_eq!(message["params"]["result"]["envelope"]["dataMessage"]["message"], "hello");
}

#[tokio::test]
async fn a_restart_keeps_what_waits_and_a_cut_message_comes_again() {
    let double = Signal::start().await;
    let ann = double.person("Ann");
    let mut stream = open(&double, "GET /api/v1/events", "", "").await;
    until(&mut stream, "\r\n\r\n").await;
    double.cut_next();
    double.push(envelope::data(&ann, "broken in its middle"));
    let mut text = String::new();
    drop(timeout(LONG, stream.read_to_string(&mut text)).await.unwrap());
    assert!(text.contains("event:receive") && !text.contains("\n\n"), "{text}");
    double.stop().await;
    assert!(TcpStream::connect(double.http_url().trim_start_matches("http://")).await.is_err());
    double.start_again().await;
    let mut stream = open(&double, "GET /api/v1/events", "", "").await;
    until(&mut stream, "broken in its middle").await;
    double.kill().await;
    double.push(envelope::data(&ann, "while it was dead"));
    double.start_again().await;
    let mut stream = open(&double, "GET /api/v1/events", "", "").await;
    until(&mut stream, "while it was dead").await;
    assert_eq!((double.delivered(), double.lost()), (2, 0));
}

#[tokio::test]
async fn a_frozen_stream_says_nothing_and_raw_bytes_go_into_the_others() {
    let double = Signal::with(Options { keep_alive: Duration::from_millis(20), ..Options::default() }).await;
    let ann = double.person("Ann");
    let mut frozen = open(&double, "GET /api/v1/events", "", "").await;
    until(&mut frozen, ":\n").await;
    double.freeze();
    double.push(envelope::data(&ann, "into the void"));
    // What was on its way may still come.
    let mut rest = [0; 64];
    while timeout(Duration::from_millis(100), frozen.read(&mut rest)).await.is_ok() {}
    assert_eq!(double.lost(), 1);
    let mut other = open(&double, "GET /api/v1/events", "", "").await;
    until(&mut other, ":\n").await;
    double.raw("event:unknown\ndata:{broken\n\n");
    until(&mut other, "event:unknown").await;
}

#[tokio::test]
async fn a_message_arrives_or_is_refused_as_the_real_one_would() {
    let double = Signal::start().await;
    let ann = double.person("Ann");
    let sent = rpc(
        &double,
        "send",
        json!({"recipient": [ann.uuid], "message": "ä bold 👍", "textStyle": ["2:4:BOLD", "7:2:ITALIC"],
            "quoteTimestamp": 5, "quoteAuthor": ann.uuid}),
    )
    .await;
    assert_eq!(sent["result"]["results"][0]["type"], "SUCCESS");
    assert_eq!(sent["result"]["results"][0]["recipientAddress"]["uuid"], ann.uuid);
    let kept = &double.sent()[0];
    assert_eq!((kept.text.as_str(), kept.long_text), ("ä bold 👍", false));
    assert_eq!(kept.quote, Some((5, ann.uuid.clone())));
    for (wrong, code) in [
        (json!({"recipient": [ann.uuid], "message": ""}), -1),
        (json!({"message": "to nobody"}), -1),
        (json!({"recipient": ["unknown"], "message": "x"}), -1),
        (json!({"groupId": "none", "message": "x"}), -1),
        (json!({"recipient": [ann.uuid], "message": "👍", "textStyle": ["0:3:BOLD"]}), -1),
        (json!({"recipient": [ann.uuid], "message": "x", "textStyle": ["0:1:LOUD"]}), -1),
        (json!({"recipient": [ann.uuid], "message": "x", "quoteTimestamp": 5}), -1),
    ] {
        assert_eq!(rpc(&double, "send", wrong.clone()).await["error"]["code"], code, "{wrong}");
    }
    rpc(&double, "send", json!({"recipient": [ann.uuid], "message": "x".repeat(2001)})).await;
    assert!(double.sent()[1].long_text);
    rpc(&double, "send", json!({"recipient": [ann.uuid], "message": "x", "colour": "red"})).await;
    assert_eq!(double.violations(), ["send has no parameter colour"]);
}

#[tokio::test]
async fn recipients_that_fail_make_a_mixed_result_or_an_error_with_their_results() {
    let double = Signal::start().await;
    let (ann, bob) = (double.person("Ann"), double.person("Bob"));
    double.group("team", &[ann.clone(), bob]);
    let limited =
        |token: Option<&str>| Outcome::RateLimited { retry_after: Some(30), token: token.map(Into::into) };
    for (outcome, code, word) in [
        (limited(None), -5, "RATE_LIMIT_FAILURE"),
        (limited(Some("proof")), -5, "RATE_LIMIT_FAILURE"),
        (Outcome::Identity, -4, "IDENTITY_FAILURE"),
        (Outcome::Network, -3, "NETWORK_FAILURE"),
        (Outcome::Unregistered, -1, "UNREGISTERED_FAILURE"),
        (Outcome::InvalidPreKey, -1, "INVALID_PRE_KEY_FAILURE"),
    ] {
        double.fault(Rule::new("send", 1, Fault::Outcome(outcome.clone())).to(&ann.uuid));
        let failed = rpc(&double, "send", json!({"recipient": [ann.uuid], "message": "x"})).await;
        assert_eq!(failed["error"]["code"], code);
        assert_eq!(failed["error"]["data"]["response"]["results"][0]["type"], word);
        double.fault(Rule::new("send", 1, Fault::Outcome(outcome)));
        let mixed = rpc(&double, "send", json!({"groupId": "team", "message": "x"})).await;
        assert_eq!(mixed["result"]["results"][0]["type"], word);
        assert_eq!(mixed["result"]["results"][1]["type"], "SUCCESS");
    }
    assert_eq!(double.violations(), [""; 0]);
    double.fault(Rule::new("send", 1, Fault::Error(-3, "never met")));
    assert_eq!(double.violations().len(), 1, "a fault that nobody met is a mistake of the test");
}

#[tokio::test]
async fn answers_may_be_lost_or_late_with_the_call_done() {
    let double = Signal::start().await;
    let ann = double.person("Ann");
    let params = json!({"account": super::ACCOUNT, "recipient": [ann.uuid], "message": "x"});
    let body = json!({"jsonrpc": "2.0", "id": "1", "method": "send", "params": params}).to_string();
    for (fault, done) in [(Fault::Silent, 0), (Fault::DoneSilent, 1)] {
        double.fault(Rule::new("send", 1, fault));
        let ask = http(&double, "POST /api/v1/rpc", "Content-Type: application/json\r\n", &body);
        assert!(timeout(Duration::from_millis(100), ask).await.is_err(), "no answer");
        assert_eq!(double.sent().len(), done);
    }
    double.fault(Rule::new("send", 1, Fault::DoneBroken));
    let mut stream = open(&double, "POST /api/v1/rpc", "Content-Type: application/json\r\n", &body).await;
    let mut text = String::new();
    drop(timeout(LONG, stream.read_to_string(&mut text)).await.unwrap());
    assert_eq!((text.as_str(), double.sent().len()), ("", 2), "the connection broke and the message left");
    double.fault(Rule::new("send", 1, Fault::Late(Duration::from_millis(50))));
    assert!(rpc(&double, "send", params).await.get("result").is_some());
}

#[tokio::test(start_paused = true)]
async fn typing_ends_by_itself_after_fifteen_seconds_or_when_told() {
    let double = Signal::start().await;
    let ann = double.person("Ann");
    rpc(&double, "sendTyping", json!({"recipient": [ann.uuid]})).await;
    assert!(double.typing(&ann.uuid));
    tokio::time::advance(Duration::from_secs(16)).await;
    assert!(!double.typing(&ann.uuid));
    rpc(&double, "sendTyping", json!({"recipient": [ann.uuid]})).await;
    rpc(&double, "sendTyping", json!({"recipient": [ann.uuid], "stop": true})).await;
    assert!(!double.typing(&ann.uuid));
}

#[tokio::test]
async fn a_captcha_is_taken_or_rejected() {
    let double = Signal::start().await;
    let good = json!({"challenge": "made-up", "captcha": "signalcaptcha://made-up"});
    assert_eq!(rpc(&double, "submitRateLimitChallenge", good).await["result"], json!({}));
    let bad = json!({"challenge": "made-up", "captcha": "made-up"});
    assert_eq!(rpc(&double, "submitRateLimitChallenge", bad).await["error"]["code"], -6);
}

#[test]
fn envelopes_of_every_kind_are_told_apart_by_their_members() {
    let ann = super::Person { uuid: "u".into(), number: None, name: "Ann".into() };
    assert_eq!(envelope::data(&ann, "x")["sourceNumber"], Value::Null);
    assert_eq!(envelope::data(&ann, "x")["source"], "u");
    assert_eq!(
        envelope::note_to_self("x")["syncMessage"]["sentMessage"]["destinationUuid"],
        super::ACCOUNT_UUID
    );
    assert_eq!(envelope::edit(&ann, 5, "x")["editMessage"]["targetSentTimestamp"], 5);
    assert_eq!(envelope::delete(&ann, 5)["dataMessage"]["remoteDelete"]["timestamp"], 5);
    assert_eq!(envelope::mention(&ann, "g", "x")["dataMessage"]["mentions"][0]["uuid"], super::ACCOUNT_UUID);
    assert_eq!(envelope::group_update(&ann, "g")["dataMessage"]["groupInfo"]["type"], "UPDATE");
    assert_eq!(envelope::view_once(&ann, "x")["dataMessage"]["viewOnce"], true);
    assert_eq!(envelope::disappearing(&ann, "x", 60)["dataMessage"]["expiresInSeconds"], 60);
    assert!(envelope::timestamp() < envelope::timestamp());
}

#[tokio::test]
async fn the_control_api_pushes_and_tells() {
    let double = Signal::start().await;
    let envelope = json!({"envelope": {"source": "+15550002222"}}).to_string();
    assert_eq!(http(&double, "POST /_control/push", "", &envelope).await.0, 200);
    assert_eq!(http(&double, "POST /_control/push", "", "{}").await.0, 400);
    let (_, state) = http(&double, "GET /_control/state", "", "").await;
    assert_eq!(serde_json::from_str::<Value>(&state).unwrap()["waiting"], 1);
}
