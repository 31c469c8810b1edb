//! The double itself: what it lets pass and what it refuses, row by row of its description.

mod basics;
mod chats;
mod control;
mod files;
mod judges;
mod markdown;
mod messages;
mod rates;
mod updates;
mod webhooks;

use super::{
    Options, Rates, Telegram, http as door,
    params::Params,
    state::{Outcome, Refusal},
    table,
};
use serde_json::Value;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const LONG: Duration = Duration::from_secs(20);

/// A double that does not count: what is tried here comes faster than any bot may be.
async fn double() -> Telegram {
    Telegram::with(Options { rates: Rates::Off, ..Options::default() }).await
}

/// Sends these bytes and reads until the end.
async fn raw(double: &Telegram, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(double.base_url().trim_start_matches("http://")).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    timeout(LONG, stream.read_to_end(&mut answer)).await.expect("an end")?;
    Ok(answer)
}

/// Status and body of a request.
async fn http(double: &Telegram, line: &str, kind: &str, body: &[u8]) -> (u16, Value) {
    let length = body.len();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    let answer = raw(double, &[head.as_bytes(), body].concat()).await.unwrap();
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned())))
}

/// A call by JSON: the status and the envelope.
async fn call(double: &Telegram, method: &str, params: Value) -> (u16, Value) {
    let line = format!("POST /bot{}/{method}", double.token());
    http(double, &line, "application/json", params.to_string().as_bytes()).await
}

/// A call that has to be done: its result.
async fn done(double: &Telegram, method: &str, params: Value) -> Value {
    let (status, body) = call(double, method, params).await;
    assert_eq!((status, &body["ok"]), (200, &Value::Bool(true)), "{method}: {body}");
    body["result"].clone()
}

/// A call that has to be refused: code and words, which the status repeats.
async fn refused(double: &Telegram, method: &str, params: Value) -> (u16, String) {
    let (status, body) = call(double, method, params).await;
    assert_eq!(
        (&body["ok"], &body["error_code"]),
        (&Value::Bool(false), &Value::from(status)),
        "{method}: {body}"
    );
    (status, body["description"].as_str().unwrap().to_owned())
}

fn bad(words: &str) -> (u16, String) {
    (400, format!("Bad Request: {words}"))
}

/// A call without a socket, so that paused time does not race ahead of it.
async fn direct(double: &Telegram, method: &str, params: Value) -> Outcome {
    let (name, fields) = table::method(method).unwrap();
    let checked = table::check(name, fields, params.as_object().unwrap())?;
    let params = Params { values: checked.values, ..Params::default() };
    door::run(&double.shared, name, &params).await
}

fn words(outcome: Outcome) -> (u16, String) {
    let Refusal { code, description, .. } = outcome.expect_err("a refusal");
    (code, description)
}
