//! The double against a plain hyper client: right answers are right, wrong requests are refused, every fault bites.

use super::*;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{net::TcpStream, time::timeout};

const SOON: Duration = Duration::from_secs(5);

struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
    tasks: TaskTracker,
    key: String,
}

impl Client {
    async fn to(double: &OpenAi) -> Self {
        let stream = TcpStream::connect(double.address()).await.unwrap();
        let (sender, connection) =
            http1::Builder::new().max_headers(4096).handshake(TokioIo::new(stream)).await.unwrap();
        let tasks = TaskTracker::new();
        tasks.spawn(connection);
        Self { sender, tasks, key: double.key() }
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> hyper::Result<Response<hyper::body::Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "double")
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))
            .unwrap();
        self.sender.send_request(request).await
    }

    async fn post(&mut self, path: &str, body: &Value) -> (StatusCode, Result<Bytes, String>) {
        let response = timeout(SOON, self.send(Method::POST, path, body)).await.unwrap().unwrap();
        let status = response.status();
        (status, read(response).await)
    }

    async fn chat(&mut self, body: Value) -> (StatusCode, Result<Bytes, String>) {
        self.post("/v1/chat/completions", &body).await
    }
}

#[expect(clippy::disallowed_methods, reason = "the body is wrapped in Limited")]
async fn read(response: Response<hyper::body::Incoming>) -> Result<Bytes, String> {
    let body = Limited::new(response.into_body(), 200 << 20);
    let collected = timeout(SOON, body.collect()).await.map_err(|_late| "late".to_owned())?;
    Ok(collected.map_err(|problem| problem.to_string())?.to_bytes())
}

fn hello() -> Value {
    json!({ "model": "gpt-double", "messages": [{ "role": "user", "content": "hello there" }] })
}

fn streamed() -> Value {
    let mut body = hello();
    body["stream"] = json!(true);
    body
}

fn parse(body: Result<Bytes, String>) -> Value {
    serde_json::from_slice(&body.unwrap()).unwrap()
}

/// The concatenated content of a stream, and whether it was finished properly.
fn content(events: &[u8]) -> (String, bool) {
    let text = std::str::from_utf8(events).unwrap();
    let data: Vec<&str> = text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
    let pieces = data.iter().filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let words = pieces.filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned()));
    (words.collect(), data.last() == Some(&"[DONE]"))
}

#[tokio::test]
async fn a_whole_answer_has_openais_shape_and_the_request_is_on_record() {
    let double = OpenAi::start().await;
    let mut client = Client::to(&double).await;
    let (status, body) = client.chat(hello()).await;
    let body = parse(body);
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["choices"][0]["message"]["content"], "The gate is open and the guard is awake.");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        body["usage"],
        json!({ "prompt_tokens": 6, "completion_tokens": 9, "total_tokens": 15,
        "prompt_tokens_details": body["usage"]["prompt_tokens_details"],
        "completion_tokens_details": body["usage"]["completion_tokens_details"] })
    );
    let received = double.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].header("authorization"), "Bearer sk-double-key");
    assert_eq!(received[0].json, hello());
    double.wait_idle().await;
    assert!(double.violations().is_empty() && double.hang_ups().is_empty());
}

#[tokio::test]
async fn a_stream_splits_as_told_and_ends_with_done_and_usage_only_when_asked() {
    let double = OpenAi::start().await;
    double.change(|options| options.pace.chunks = Some(100));
    let mut client = Client::to(&double).await;
    let events = client.chat(streamed()).await.1.unwrap();
    let text = String::from_utf8(events.to_vec()).unwrap();
    assert_eq!(content(&events), ("The gate is open and the guard is awake.".into(), true));
    assert_eq!(text.matches("data: ").count(), 100 + 3);
    assert!(!text.contains("usage"));
    let mut asking = streamed();
    asking["stream_options"] = json!({ "include_usage": true });
    let events = client.chat(asking).await.1.unwrap();
    let text = String::from_utf8(events.to_vec()).unwrap();
    assert_eq!(text.matches("\"usage\":null").count(), 102);
    assert!(text.contains("\"total_tokens\":106"));
}

#[tokio::test]
async fn a_tool_call_comes_whole_and_in_pieces_that_join() {
    let double = OpenAi::start().await;
    let reply = Reply::ToolCall { name: "look_up".into(), arguments: r#"{"city":"Ghent"}"#.into() };
    double.change(|options| options.reply = reply);
    let mut client = Client::to(&double).await;
    let body = parse(client.chat(hello()).await.1);
    assert_eq!(
        body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"],
        r#"{"city":"Ghent"}"#
    );
    assert_eq!(body["choices"][0]["finish_reason"], "tool_calls");
    let events = client.chat(streamed()).await.1.unwrap();
    assert!(std::str::from_utf8(&events).unwrap().contains("\"finish_reason\":\"tool_calls\""));
}

#[tokio::test]
async fn embeddings_come_in_order_and_the_same_in_both_encodings() {
    let double = OpenAi::start().await;
    let mut client = Client::to(&double).await;
    let ask = |encoding: &str| json!({ "model": "embed-double", "input": ["one", "two"], "dimensions": 4, "encoding_format": encoding });
    let floats = parse(client.post("/v1/embeddings", &ask("float")).await.1);
    let packed = parse(client.post("/v1/embeddings", &ask("base64")).await.1);
    assert_ne!(floats["data"][0]["embedding"], floats["data"][1]["embedding"]);
    let expected: Vec<u8> = answer::vector("two", 4).iter().flat_map(|number| number.to_le_bytes()).collect();
    use base64::Engine as _;
    let bytes =
        base64::engine::general_purpose::STANDARD.decode(packed["data"][1]["embedding"].as_str().unwrap());
    assert_eq!(bytes.unwrap(), expected);
    let length: f64 =
        floats["data"][0]["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap().powi(2)).sum();
    assert!((length - 1.0).abs() < 1e-5);
}

#[tokio::test]
async fn wrong_requests_are_refused_in_openais_words_and_noted() {
    let double = OpenAi::start().await;
    let mut client = Client::to(&double).await;
    let unknown = json!({ "model": "gpt-9", "messages": [{ "role": "user", "content": "x" }] });
    let (status, body) = client.chat(unknown).await;
    assert_eq!((status.as_u16(), &parse(body)["error"]["code"]), (404, &json!("model_not_found")));
    let (status, body) = client.chat(json!({ "model": "gpt-double" })).await;
    assert_eq!((status.as_u16(), &parse(body)["error"]["param"]), (400, &json!("messages")));
    assert_eq!(client.post("/v1/completions", &hello()).await.0.as_u16(), 404);
    let get = client.send(Method::GET, "/v1/chat/completions", &hello()).await.unwrap();
    assert_eq!(get.status().as_u16(), 405);
    read(get).await.unwrap();
    client.key = "sk-other".into();
    let (status, body) = client.chat(hello()).await;
    assert_eq!((status.as_u16(), &parse(body)["error"]["code"]), (401, &json!("invalid_api_key")));
    assert_eq!(double.violations().len(), 5);
    double.forget();
    assert!(double.violations().is_empty());
}

#[tokio::test]
async fn headers_that_belong_to_our_side_and_other_content_types_are_refused() {
    let double = OpenAi::start().await;
    for (name, value, status) in [
        ("x-api-key", "pcl_secret", 400),
        ("x-portcullis-timeout-ms", "5", 400),
        ("cookie", "a=b", 400),
        ("content-type", "text/plain", 415),
        ("authorization", "Bearer sk-double-key", 401),
    ] {
        let mut client = Client::to(&double).await;
        let request = Request::post("/v1/chat/completions")
            .header("host", "double")
            .header("authorization", "Bearer sk-double-key")
            .header("content-type", "application/json")
            .header(name, value)
            .body(Full::from(hello().to_string()))
            .unwrap();
        assert_eq!(client.sender.send_request(request).await.unwrap().status().as_u16(), status, "{name}");
    }
}

#[tokio::test]
async fn scripted_errors_come_in_order_and_then_the_rule_again() {
    let double = OpenAi::start().await;
    double.next(Behaviour::rate_limited(7));
    double.next_times(2, &Behaviour::server_error());
    let mut client = Client::to(&double).await;
    let limited = client.send(Method::POST, "/v1/chat/completions", &hello()).await.unwrap();
    assert_eq!((limited.status().as_u16(), &limited.headers()["retry-after"]), (429, &"7".parse().unwrap()));
    assert_eq!(limited.headers().get_all("x-ratelimit-remaining-requests").iter().count(), 1);
    read(limited).await.unwrap();
    for expected in [500, 500, 200] {
        assert_eq!(client.chat(hello()).await.0.as_u16(), expected);
    }
    for (behaviour, status) in [
        (Behaviour::quota_exhausted(), 429),
        (Behaviour::engine_overloaded(), 429),
        (Behaviour::overloaded(), 503),
        (Behaviour::overloaded_529(), 529),
        (Behaviour::bad_key(), 401),
        (Behaviour::payment_required(), 402),
        (Behaviour::model_gone(), 404),
        (Behaviour::context_too_long(), 400),
        (Behaviour::content_filter(), 400),
    ] {
        double.next(behaviour);
        let (got, body) = client.chat(hello()).await;
        assert_eq!(got.as_u16(), status);
        assert!(parse(body)["error"]["message"].is_string());
    }
}

#[tokio::test]
async fn broken_answers_are_broken_as_told() {
    let double = OpenAi::start().await;
    let mut client = Client::to(&double).await;
    double.next(Behaviour::Garbage);
    assert!(serde_json::from_slice::<Value>(&client.chat(hello()).await.1.unwrap()).is_err());
    double.next(Behaviour::WrongSchema);
    assert!(parse(client.chat(hello()).await.1)["choices"].is_null());
    double.next(Behaviour::Html);
    assert!(client.chat(hello()).await.1.unwrap().starts_with(b"<html>"));
    double.next(Behaviour::EndAfter(3));
    assert_eq!(content(&client.chat(streamed()).await.1.unwrap()), ("The gate ".into(), false));
    double.next(Behaviour::ErrorEventAfter(2));
    let events = client.chat(streamed()).await.1.unwrap();
    assert!(String::from_utf8(events.to_vec()).unwrap().contains("\"error\""));
    double.next(Behaviour::HeaderBomb(500));
    let bomb = client.send(Method::POST, "/v1/chat/completions", &hello()).await.unwrap();
    assert!(bomb.headers().len() > 500);
    read(bomb).await.unwrap();
    double.next(Behaviour::Huge(3_000_000));
    assert!(client.chat(hello()).await.1.unwrap().len() >= 3_000_000);
    double.wait_idle().await;
    assert!(double.hang_ups().is_empty(), "{:?}", double.hang_ups());
}

#[tokio::test]
async fn a_cut_stream_breaks_after_its_events_and_a_closed_one_before_any_byte() {
    let double = OpenAi::start().await;
    double.next(Behaviour::CutAfter(3));
    let response =
        Client::to(&double).await.send(Method::POST, "/v1/chat/completions", &streamed()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(read(response).await.is_err());
    double.next(Behaviour::Close);
    assert!(Client::to(&double).await.send(Method::POST, "/v1/chat/completions", &hello()).await.is_err());
    double.wait_idle().await;
    assert!(double.hang_ups().is_empty());
}

#[tokio::test]
async fn what_is_held_is_answered_when_it_is_released() {
    let double = OpenAi::start().await;
    double.always(Behaviour::Held);
    let (mut client, body) = (Client::to(&double).await, streamed());
    let mut sending = Box::pin(client.send(Method::POST, "/v1/chat/completions", &body));
    assert!(timeout(Duration::from_millis(50), &mut sending).await.is_err());
    assert_eq!(double.counts().in_flight, 1);
    double.release();
    assert_eq!(timeout(SOON, sending).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_hang_up_is_noticed_before_the_head_in_a_stream_and_in_an_endless_one() {
    let double = OpenAi::start().await;
    let slow = Pace { between_chunks: Duration::from_secs(60), ..Pace::default() };
    for (index, behaviour) in
        [Behaviour::Hang, Behaviour::Paced(slow), Behaviour::Endless].into_iter().enumerate()
    {
        double.next(behaviour);
        let (mut client, body) = (Client::to(&double).await, streamed());
        let sending =
            timeout(Duration::from_millis(50), client.send(Method::POST, "/v1/chat/completions", &body));
        let response = sending.await;
        double.wait_for_requests(index + 1).await;
        assert_eq!(double.counts().in_flight, 1);
        let left = tokio::time::Instant::now();
        drop((response, client));
        let noticed = timeout(SOON, double.wait_for_hang_ups(index + 1)).await.unwrap();
        assert!(noticed.request == index && noticed.at >= left);
        assert_eq!(double.counts().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn pace_and_trickle_keep_their_time() {
    let double = OpenAi::start().await;
    let mut client = Client::to(&double).await;
    let (first_byte, between_chunks) = (Duration::from_secs(2), Duration::from_secs(1));
    let pace = Pace { first_byte, between_chunks, chunks: Some(4) };
    double.next(Behaviour::Paced(pace));
    let begun = tokio::time::Instant::now();
    let mut response = client.send(Method::POST, "/v1/chat/completions", &streamed()).await.unwrap();
    while let Some(frame) = response.body_mut().frame().await {
        frame.unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_secs(2 + 6), "{:?}", begun.elapsed());
    double.next(Behaviour::Trickle { every: Duration::from_secs(1) });
    let begun = tokio::time::Instant::now();
    let mut response = client.send(Method::POST, "/v1/chat/completions", &hello()).await.unwrap();
    while let Some(frame) = response.body_mut().frame().await {
        frame.unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_secs(300));
}

#[tokio::test]
async fn the_most_requests_at_once_are_counted_and_stop_breaks_them() {
    let double = OpenAi::start().await;
    double.always(Behaviour::Hang);
    let tasks = TaskTracker::new();
    for _ in 0..5 {
        let mut client = Client::to(&double).await;
        tasks.spawn(async move {
            assert!(client.send(Method::POST, "/v1/chat/completions", &hello()).await.is_err());
            client.tasks.close();
        });
    }
    double.wait_for_requests(5).await;
    assert_eq!((double.counts().in_flight, double.counts().max_in_flight), (5, 5));
    double.stop().await;
    tasks.close();
    timeout(SOON, tasks.wait()).await.unwrap();
    assert!(TcpStream::connect(double.address()).await.is_err());
}

#[tokio::test]
async fn a_server_without_a_key_refuses_one() {
    let options = Options { key: None, ..Options::default() };
    let double = OpenAi::with(options).await;
    let mut client = Client::to(&double).await;
    client.key = "anything".into();
    assert_eq!(client.chat(hello()).await.0, StatusCode::UNAUTHORIZED);
}

/// The double is only worth something if the official client takes it for the real thing.
#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_understands_every_kind_of_answer() {
    const SCRIPT: &str = r#"
import sys, openai
client = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
ask = dict(model="gpt-double", messages=[{"role": "user", "content": "hello"}])
whole = client.chat.completions.create(**ask)
assert whole.choices[0].message.content == "The gate is open and the guard is awake.", whole
assert whole.usage.total_tokens == 14, whole.usage
stream = client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
chunks = list(stream)
assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
assert chunks[-1].usage.prompt_tokens == 5, chunks[-1]
vectors = client.embeddings.create(model="embed-double", input=["one", "two"])
plain = client.embeddings.create(model="embed-double", input=["one", "two"], encoding_format="float")
assert len(vectors.data[1].embedding) == 16
assert all(abs(a - b) < 1e-6 for a, b in zip(vectors.data[1].embedding, plain.data[1].embedding))
assert [m.id for m in client.models.list()] == ["gpt-double", "gpt-double-mini", "embed-double"]
assert client.models.retrieve("gpt-double").owned_by == "double"
for wrong, kind in [
    (dict(ask, model="gpt-9"), openai.NotFoundError),
    (dict(ask, messages=[]), openai.BadRequestError),
]:
    try:
        client.chat.completions.create(**wrong)
    except kind as error:
        assert error.message, error
    else:
        raise AssertionError(wrong)
try:
    openai.OpenAI(base_url=sys.argv[1], api_key="sk-other", max_retries=0).models.list()
except openai.AuthenticationError as error:
    assert error.code == "invalid_api_key", error.code
else:
    raise AssertionError("another key was let in")
"#;
    let double = OpenAi::start().await;
    let ran = crate::python::openai_client(SCRIPT, &[&double.base_url(), &double.key()]).await;
    let Some(output) = ran else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(double.violations().len(), 3);
}
