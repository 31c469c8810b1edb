//! Traces, seen from outside: what a collector is told of requests, what providers hear of the trace, and that no collector,
//! whatever it does, costs a request anything.

use crate::support::{BINARY, WIDE, call, chat, get, metric, open, post, request, until};
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use portcullis_testkit::{
    collector::{Collector, Mood, Span},
    process::{Options, Server},
    python,
    upstream::{Behaviour, OpenAi},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const CHAT: &str = "/v1/chat/completions";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// A server whose first choice is `first` and whose second is `second`.
async fn serve(first: &OpenAi, second: &OpenAi, more: &str) -> Server {
    let text = format!(
        "[providers.openai]\nbase_url = \"{}\"\nmodels = [\"gpt-double\", \"embed-double\"]\n\
         [providers.other]\nbase_url = \"{}\"\nkey_secret = \"openai_api_key\"\nmodels = [\"gpt-double-mini\"]\n\
         [routes.default]\ncache = \"off\"\ntargets = [{{ provider = \"openai\", model = \"gpt-double\" }}, \
         {{ provider = \"other\", model = \"gpt-double-mini\", rank = 1 }}]\n\
         [routes.embed]\ntargets = [{{ provider = \"openai\", model = \"embed-double\" }}]\n{more}{WIDE}",
        first.base_url(),
        second.base_url(),
    );
    let options = Options::config(text).env("OPENAI_API_KEY", first.key());
    let options = options.env("OTLP_HEADER", "Bearer made-up");
    Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("it did not start: {refused:?}"))
}

fn telling(collector: &Collector, sample: &str) -> String {
    format!(
        "[telemetry.traces]\nsample = {sample}\n[telemetry.otlp]\nendpoint = \"{}\"\nevery_ms = 20\n",
        collector.endpoint()
    )
}

/// A request whose caller says where it comes from.
fn asked(key: &str, body: &Value, parent: &str, states: &[&str]) -> Request<Full<bytes::Bytes>> {
    let mut request = request(Method::POST, CHAT, key, body);
    request.headers_mut().insert("traceparent", HeaderValue::from_str(parent).unwrap());
    for state in states {
        request.headers_mut().append("tracestate", HeaderValue::from_str(state).unwrap());
    }
    request
}

/// The spans of the first trace whose request was told, once so many of it are there.
async fn trace(collector: &Collector, count: usize) -> Vec<Span> {
    let found = collector.wait_for(move |spans| {
        let root = spans.iter().find(|span| span.kind == 2)?;
        let all: Vec<Span> = spans.iter().filter(|span| span.trace == root.trace).cloned().collect();
        (all.len() == count).then_some(all)
    });
    let spans = found.await;
    assert_eq!(collector.violations(), Vec::<String>::new());
    spans
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

fn child_of<'a>(spans: &'a [Span], parent: &Span) -> &'a Span {
    let child = spans.iter().find(|span| span.parent == parent.id).expect("a child");
    assert!(parent.begun <= child.begun && child.ended <= parent.ended, "{child:?} in {parent:?}");
    child
}

/// Some of a span's facts.
fn facts(span: &Span, names: &[&str]) -> Value {
    names.iter().map(|name| span.facts.get(*name).cloned().unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_fallback_is_one_trace_with_both_attempts_in_their_places() {
    let (first, second, collector) = (OpenAi::start().await, OpenAi::start().await, Collector::start().await);
    first.next(Behaviour::server_error());
    let server = serve(&first, &second, &telling(&collector, "0.0")).await;
    let key = server.key().unwrap();
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let answer = call(server.address(), asked(&key, &chat(false), &parent, &["a=1", "b=2"])).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-portcullis-degraded")),
        (200, "fallback"),
        "{answer:?}"
    );

    let spans = trace(&collector, 5).await;
    let root = named(&spans, "POST /v1/chat/completions");
    assert_eq!((root.trace.as_str(), root.parent.as_str(), root.error), (TRACE, SPAN, false));
    let told = facts(
        root,
        &["http.request.method", "http.route", "http.response.status_code", "portcullis.outcome"],
    );
    assert_eq!(told, json!(["POST", CHAT, 200, "ok"]));
    assert_eq!(root.facts["portcullis.request_id"], answer.header("x-request-id"));

    let names =
        ["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.request.stream"];
    let (broken, sound) = (named(&spans, "chat gpt-double"), named(&spans, "chat gpt-double-mini"));
    assert_eq!(facts(broken, &names), json!(["chat", "openai", "gpt-double", false]));
    assert_eq!(facts(sound, &names), json!(["chat", "openai_compatible", "gpt-double-mini", false]));
    assert_eq!((broken.parent.as_str(), broken.error, sound.error), (root.id.as_str(), true, false));
    assert!(broken.ended <= sound.begun, "one after the other");
    assert_eq!(sound.facts["gen_ai.response.finish_reasons"], json!(["stop"]));
    assert_eq!(sound.facts["gen_ai.response.model"], "gpt-double-mini");
    let tokens = facts(sound, &["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"]);
    assert!(tokens.as_array().unwrap().iter().all(|count| count.as_u64() > Some(0)), "{tokens}");

    // What each provider was told is the very attempt, under the caller's trace.
    for (double, operation, status) in [(&first, broken, 500), (&second, sound, 200)] {
        let attempt = child_of(&spans, operation);
        assert_eq!((attempt.kind, attempt.facts["http.response.status_code"].clone()), (3, json!(status)));
        assert_eq!(attempt.facts["server.address"], "127.0.0.1");
        let sent = &double.received()[0];
        assert_eq!(sent.header("traceparent"), format!("00-{TRACE}-{}-01", attempt.id));
        assert_eq!(sent.header("tracestate"), "a=1,b=2");
    }
    let line = format!("\"trace_id\":\"{TRACE}\"");
    until("the log names the trace", || async { server.stderr().contains(&line) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_traced_to_its_last_byte_and_an_embedding_and_a_refusal_as_what_they_are() {
    let (double, collector) = (OpenAi::start().await, Collector::start().await);
    let server = serve(&double, &double, &telling(&collector, "1.0")).await;
    let key = server.key().unwrap();
    let open = open(server.address(), request(Method::POST, CHAT, &key, &chat(true))).await.unwrap();
    let (text, clean) = open.rest().await;
    assert!(clean && text.contains("[DONE]"), "{text}");
    let spans = trace(&collector, 3).await;
    let (root, operation) = (named(&spans, "POST /v1/chat/completions"), named(&spans, "chat gpt-double"));
    let attempt = child_of(&spans, child_of(&spans, root));
    assert_eq!(root.parent, "", "nobody said where it came from");
    let names = ["gen_ai.request.stream", "gen_ai.response.model", "gen_ai.response.finish_reasons"];
    assert_eq!(facts(operation, &names), json!([true, "gpt-double", ["stop"]]));
    assert!(operation.facts["gen_ai.usage.output_tokens"].as_u64() > Some(0));
    assert_eq!((attempt.error, operation.error, root.error), (false, false, false));

    let embedded =
        post(server.address(), "/v1/embeddings", &key, &json!({"model": "embed", "input": "a"})).await;
    assert_eq!(embedded.status, 200, "{embedded:?}");
    let operation =
        collector.wait_for(|spans| spans.iter().find(|span| span.name == "embeddings embed-double").cloned());
    assert_eq!(operation.await.facts["gen_ai.operation.name"], "embeddings");

    let unknown = json!({"model": "no-such-model", "messages": [{"role": "user", "content": "hello"}]});
    assert_eq!(post(server.address(), CHAT, &key, &unknown).await.status, 404);
    let refused = collector.wait_for(|spans| {
        spans.iter().find(|span| span.facts.get("http.response.status_code") == Some(&json!(404))).cloned()
    });
    let refused = refused.await;
    assert_eq!((refused.facts["error.type"].clone(), refused.error), (json!("not_found"), false));
    // Nothing that people wrote, and no key, is in anything that was told.
    let all = format!("{:?}", collector.bodies());
    assert!(!all.contains("no-such-model") && !all.contains("hello") && !all.contains(&key), "{all}");
    assert_eq!(collector.violations(), Vec::<String>::new());
    let spans = "otlp_spans_total{outcome=\"exported\"}";
    until("all are counted", || async { metric(server.address(), spans).await >= 7.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_decides_for_its_own_request_and_what_is_no_parent_is_no_parent() {
    let (double, collector) = (OpenAi::start().await, Collector::start().await);
    let server = serve(&double, &double, &telling(&collector, "0.0")).await;
    let key = server.key().unwrap();
    let parent = |flags: &str| format!("00-{TRACE}-{SPAN}-{flags}");
    let hostile = [
        parent("00"),
        "00-00000000000000000000000000000000-0000000000000000-01".to_owned(),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("{}-<script>alert(1)</script>", parent("01")),
        "0".repeat(16_000),
        "' OR 1=1 --".to_owned(),
    ];
    for text in &hostile {
        let answer = call(server.address(), asked(&key, &chat(false), text, &["not a state"])).await;
        assert_eq!(answer.status, 200, "{text}");
    }
    let mut twice = asked(&key, &chat(false), &parent("01"), &[]);
    twice.headers_mut().append("traceparent", HeaderValue::from_str(&parent("01")).unwrap());
    assert_eq!(call(server.address(), twice).await.status, 200);
    for received in double.received() {
        let sent = received.header("traceparent").to_owned();
        assert!(sent.len() == 55 && sent.ends_with("-00") && !sent.contains(SPAN), "{sent}");
        assert_eq!(received.header("tracestate"), "");
    }
    let own = double.received().iter().filter(|sent| sent.header("traceparent").contains(TRACE)).count();
    assert_eq!(own, 1, "the first alone was a parent");
    // The one that is wanted is told, and it alone.
    let last = call(server.address(), asked(&key, &chat(false), &parent("01"), &[])).await;
    assert_eq!(last.status, 200);
    assert_eq!(trace(&collector, 3).await.len(), 3);
    assert_eq!(collector.spans().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_nothing_is_made_and_a_callers_own_words_are_told_on() {
    let double = OpenAi::start().await;
    let server = serve(&double, &double, "").await;
    let key = server.key().unwrap();
    assert_eq!(post(server.address(), CHAT, &key, &chat(false)).await.status, 200);
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let answer = call(server.address(), asked(&key, &chat(false), &parent, &["a=1"])).await;
    assert_eq!(answer.status, 200);
    let received = double.received();
    let sent = |index: usize, name: &str| received[index].header(name).to_owned();
    assert_eq!((sent(0, "traceparent"), sent(0, "tracestate")), (String::new(), String::new()));
    assert_eq!((sent(1, "traceparent"), sent(1, "tracestate")), (parent, "a=1".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_dead_or_silent_costs_no_request_anything() {
    let (double, collector) = (OpenAi::start().await, Collector::start().await);
    let narrow = "queue = 16\nbatch = 4\ntimeout_secs = 60\n";
    let silent = serve(&double, &double, &(telling(&collector, "1.0") + narrow)).await;
    collector.be(Mood::Silent);
    let dead = "[telemetry.traces]\nsample = 1.0\n[telemetry.otlp]\nendpoint = \"http://127.0.0.1:1\"\nevery_ms = 10\n";
    let dead = serve(&double, &double, dead).await;
    let mut asking = JoinSet::new();
    for server in [&silent, &dead] {
        let (address, key) = (server.address(), server.key().unwrap());
        for _ in 0..50 {
            let key = key.clone();
            asking.spawn(async move { post(address, CHAT, &key, &chat(false)).await.status.as_u16() });
        }
    }
    // Each would take longer than the test waits, if it waited for the collector.
    assert_eq!(asking.join_all().await, [200; 100]);
    let lost = |server: &Server, outcome: &str| {
        let (address, line) = (server.address(), format!("otlp_spans_total{{outcome=\"{outcome}\"}}"));
        async move { metric(address, &line).await }
    };
    until("some find no room", || async { lost(&silent, "queue_full").await > 0.0 }).await;
    until("some are lost", || async { lost(&dead, "failed").await > 0.0 }).await;
    assert_eq!(get(dead.address(), "/health/live", "").await.status, 200);
    assert_eq!(get(dead.address(), "/health/ready", "").await.status, 200, "the collector is nobody's need");
    for mut server in [dead] {
        server.terminate();
        assert_eq!(server.wait(60).await, Some(0), "{}", server.stderr());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_the_end_goes_out_with_the_header_that_opens_the_collector() {
    let (double, collector) = (OpenAi::start().await, Collector::start().await);
    let late = telling(&collector, "1.0")
        .replace("every_ms = 20", "every_ms = 60000\nheader_secret = \"otlp_header\"");
    let mut server = serve(&double, &double, &late).await;
    let key = server.key().unwrap();
    assert_eq!(post(server.address(), CHAT, &key, &chat(false)).await.status, 200);
    assert_eq!(collector.spans().len(), 0, "they wait for others to go with them");
    server.terminate();
    assert_eq!(server.wait(60).await, Some(0), "{}", server.stderr());
    assert_eq!(trace(&collector, 3).await.len(), 3);
    assert_eq!(collector.headers()[0]["authorization"], "Bearer made-up");
    assert!(!server.stderr().contains("made-up"), "{}", server.stderr());
}

/// Reads every body as the official message. Ids are hexadecimal in OTLP's JSON, which protobuf's own JSON does not know.
const JUDGE: &str = r#"
import base64, json, sys
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
kinds = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}
def ids(node):
    if isinstance(node, dict):
        return {k: base64.b64encode(bytes.fromhex(v)).decode() if k in ("traceId", "spanId", "parentSpanId") else ids(v) for k, v in node.items()}
    return [ids(item) for item in node] if isinstance(node, list) else node
spans = points = 0
for path, body in json.load(open(sys.argv[1])):
    message = json_format.Parse(json.dumps(ids(body)), kinds[path]())
    again = kinds[path].FromString(message.SerializeToString())
    assert again == message
    if path == "/v1/traces":
        for resource in again.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    assert len(span.trace_id) == 16 and len(span.span_id) == 8 and span.flags & 1
                    spans += 1
    else:
        points += sum(len(s.metrics) for r in again.resource_metrics for s in r.scope_metrics)
print(spans, points)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_body_reads_as_the_official_message() {
    let Some(venv) = python::venv("otlp", &[python::OPENTELEMETRY_PROTO]).await else { return };
    let (double, collector) = (OpenAi::start().await, Collector::start().await);
    let server = serve(&double, &double, &(telling(&collector, "1.0") + "metrics_secs = 1\n")).await;
    let key = server.key().unwrap();
    let parent = format!("00-{TRACE}-{SPAN}-01");
    assert_eq!(call(server.address(), asked(&key, &chat(false), &parent, &["a=1"])).await.status, 200);
    assert_eq!(trace(&collector, 3).await.len(), 3);
    let metrics = || async { collector.bodies().iter().any(|(path, _)| path == "/v1/metrics") };
    until("metrics came too", metrics).await;
    let file = server.folder().join("bodies.json");
    std::fs::write(&file, json!(collector.bodies()).to_string()).unwrap();
    let judged = tokio::task::spawn_blocking(move || {
        std::process::Command::new(venv.join("bin/python")).arg("-c").arg(JUDGE).arg(file).output()
    });
    let output = judged.await.unwrap().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let counts: Vec<u32> = said.split_whitespace().map(|count| count.parse().unwrap()).collect();
    assert!(counts[0] == 3 && counts[1] > 20, "{said}");
}
