//! Sampling, and what becomes of spans on the way to a collector that is given as a function.

use super::*;
use parking_lot::Mutex;
use serde_json::Value;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0";

fn parent(sampled: bool) -> Option<TraceParent> {
    let text = format!("{PARENT}{}", u8::from(sampled));
    TraceParent::read(text.as_bytes(), [&b"vendor=word"[..]])
}

fn config(sample: f64) -> TracesConfig {
    TracesConfig { sample, ..TracesConfig::default() }
}

fn on(config: &TracesConfig, queue: usize) -> (Traces, Waiting, Metrics) {
    let metrics = Metrics::new();
    let (traces, waiting) = Traces::on(config, queue, metrics.clone());
    (traces, waiting, metrics)
}

fn root(traces: &Traces, parent: Option<TraceParent>) -> Option<Span> {
    traces.begin(parent, || "POST /v1/chat/completions".into())
}

fn ended(waiting: &mut Waiting) -> Vec<Ended> {
    std::iter::from_fn(|| waiting.0.try_recv().ok()).collect()
}

#[test]
fn without_a_collector_there_is_nothing_but_what_a_caller_says_which_is_told_on_as_it_came() {
    assert!(Traces::off(true).begin(None, || unreachable!("no name is written")).is_none());
    let span = root(&Traces::off(true), parent(true)).unwrap();
    let child = span.child(SpanKind::Client, || unreachable!("nobody reads this name"));
    assert!(!child.records());
    assert_eq!(child.traceparent().unwrap(), format!("{PARENT}1"));
    assert_eq!(child.tracestate(), Some("vendor=word"));
    let kept = root(&Traces::off(false), parent(true)).unwrap();
    assert_eq!((kept.traceparent(), kept.tracestate()), (None, None));
    assert_eq!(kept.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c", "the log still names it");
}

#[test]
fn a_caller_that_says_whether_is_heeded_and_of_the_others_the_share_is_traced() {
    let (traces, mut waiting, _) = on(&config(0.0), 64);
    assert!(root(&traces, None).is_some_and(|span| !span.records()));
    assert!(root(&traces, parent(true)).is_some_and(|span| span.records()));
    let (all, mut others, _) = on(&config(1.0), 64);
    assert!(root(&all, parent(false)).is_some_and(|span| !span.records()));
    assert!(root(&all, None).is_some_and(|span| span.records()));
    assert_eq!((ended(&mut waiting).len(), ended(&mut others).len()), (1, 1));

    let unheeded = |sample| {
        let (traces, _waiting, _) = on(&TracesConfig { heed_parent: false, ..config(sample) }, 64);
        [true, false].map(|sampled| root(&traces, parent(sampled)).is_some_and(|span| span.records()))
    };
    assert_eq!((unheeded(0.0), unheeded(1.0)), ([false; 2], [true; 2]));

    let (some, _waiting, _) = on(&config(0.25), 20_000);
    let traced = (0..10_000).filter(|_| root(&some, None).is_some_and(|span| span.records())).count();
    assert!((2_200..2_800).contains(&traced), "{traced} of 10,000");
}

#[test]
fn replicas_with_one_share_trace_the_same_traces() {
    let (one, ..) = on(&config(0.5), 1);
    let (two, ..) = on(&config(0.5), 1);
    let takes = |traces: &Traces, bits: u128| traces.on.as_ref().unwrap().takes(TraceId::new(bits).unwrap());
    for _ in 0..1_000 {
        let bits = rand::random::<u128>() | 1;
        assert_eq!(takes(&one, bits), takes(&two, bits));
    }
}

#[test]
fn a_span_ends_with_its_last_holder_under_the_span_it_belongs_to() {
    let (traces, mut waiting, _) = on(&config(0.0), 64);
    let request = root(&traces, parent(true)).unwrap();
    let operation = request.child(SpanKind::Client, || "chat gpt-double".into());
    operation.tell(|about| {
        about.text("gen_ai.operation.name", "chat");
        about.more("gen_ai.usage.input_tokens", 3);
        about.more("gen_ai.usage.input_tokens", 4);
        about.text("long", "ä".repeat(400));
    });
    let header = operation.traceparent().unwrap();
    let held = operation.clone();
    drop(operation);
    assert!(ended(&mut waiting).is_empty(), "somebody still works on it");
    held.ok();
    drop(held);
    let failed = request.child(SpanKind::Client, || "chat other".into());
    failed.failed("timeout", true);
    let left = request.child(SpanKind::Internal, || "left".into());
    drop((failed, left, request));
    let spans = ended(&mut waiting);
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["chat gpt-double", "chat other", "left", "POST /v1/chat/completions"]);
    let last = &spans[3];
    assert_eq!(
        last.parent.map(|(id, remote)| (id.to_string(), remote)),
        Some(("b7ad6b7169203331".into(), true))
    );
    for span in &spans[..3] {
        assert_eq!((span.parent, span.trace), (Some((last.id, false)), last.trace));
    }
    assert_eq!(header, format!("00-{}-{}-01", spans[0].trace, spans[0].id));
    let fact = |span: &Ended, name: &str| {
        span.facts.iter().find(|(other, _)| *other == name).map(|(_, fact)| fact.clone())
    };
    assert_eq!(fact(&spans[0], "gen_ai.usage.input_tokens"), Some(Fact::Count(7)));
    assert_eq!(fact(&spans[0], "long"), Some(Fact::Text("ä".repeat(128).into())));
    assert_eq!((spans[1].fault, fact(&spans[1], "error.type")), (true, Some(Fact::Text("timeout".into()))));
    assert_eq!(
        (spans[2].fault, fact(&spans[2], "error.type")),
        (false, Some(Fact::Text("cancelled".into())))
    );
}

#[test]
fn spans_that_find_no_room_are_dropped_and_counted() {
    let (traces, mut waiting, metrics) = on(&config(1.0), 4);
    for _ in 0..10 {
        drop(root(&traces, None));
    }
    assert_eq!(ended(&mut waiting).len(), 4);
    assert!(metrics.render().contains("otlp_spans_total{outcome=\"queue_full\"} 6\n"));
}

/// A collector that notes bodies and answers as it is told.
fn collector(answers: Vec<Shipped>) -> (Ship, Arc<Mutex<Vec<Value>>>) {
    let (bodies, answers) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(answers)));
    let noted = bodies.clone();
    let ship: Ship = Arc::new(move |path, body| {
        assert_eq!(path, "/v1/traces");
        noted.lock().push(serde_json::from_str(&body).unwrap());
        let answer = answers.lock().pop().unwrap_or(Shipped::Taken { rejected: 0 });
        Box::pin(async move { answer })
    });
    (ship, bodies)
}

fn spans_in(body: &Value) -> usize {
    body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len()
}

async fn exported(answers: Vec<Shipped>, spans: usize, config: OtlpConfig) -> (Vec<usize>, Metrics) {
    let (traces, waiting, metrics) = on(&TracesConfig { sample: 1.0, ..TracesConfig::default() }, 1_000);
    let (ship, bodies) = collector(answers);
    let stop = CancellationToken::new();
    let resource = Resource::new(&config, "one");
    let work = export_traces(waiting, config, resource, ship, metrics.clone(), stop.clone());
    let told = async {
        for _ in 0..spans {
            drop(root(&traces, None));
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        // What is told last, at the very end, still goes out.
        drop(root(&traces, None));
        stop.cancel();
    };
    tokio::join!(work, told);
    let sizes = bodies.lock().iter().map(spans_in).collect();
    (sizes, metrics)
}

#[tokio::test(start_paused = true)]
async fn spans_gather_in_batches_and_the_last_of_them_goes_out_at_the_end() {
    let config = OtlpConfig { batch: 4, ..OtlpConfig::default() };
    let (sizes, metrics) = exported(vec![Shipped::Taken { rejected: 1 }], 9, config).await;
    assert_eq!(sizes, [4, 4, 1, 1]);
    let text = metrics.render();
    assert!(text.contains("otlp_spans_total{outcome=\"exported\"} 9\n"), "{text}");
    assert!(text.contains("otlp_spans_total{outcome=\"rejected\"} 1\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_lost_is_counted_and_the_next_one_is_tried() {
    let config = OtlpConfig { batch: 4, ..OtlpConfig::default() };
    let (sizes, metrics) = exported(vec![Shipped::Lost("away".into())], 5, config).await;
    assert_eq!(sizes, [4, 1, 1]);
    let text = metrics.render();
    assert!(text.contains("otlp_spans_total{outcome=\"failed\"} 4\n"), "{text}");
    assert!(text.contains("otlp_spans_total{outcome=\"exported\"} 2\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_never_answers_holds_up_neither_the_telling_nor_the_end() {
    let (traces, waiting, metrics) = on(&config(1.0), 16);
    let ship: Ship = Arc::new(|_, _| Box::pin(std::future::pending()));
    let (stop, config) = (CancellationToken::new(), OtlpConfig::default());
    let resource = Resource::new(&config, "one");
    let begun = tokio::time::Instant::now();
    let work = export_traces(waiting, config, resource, ship, metrics.clone(), stop.clone());
    let told = async {
        for _ in 0..3 {
            for _ in 0..10 {
                drop(root(&traces, None));
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        stop.cancel();
    };
    tokio::join!(work, told);
    assert_eq!(begun.elapsed(), Duration::from_secs(9 + 5));
    assert!(
        metrics.render().contains("otlp_spans_total{outcome=\"queue_full\"} 4\n"),
        "{}",
        metrics.render()
    );
}

#[test]
fn facts_about_this_program_stand_once_each() {
    let config = OtlpConfig {
        service: "gate \"one\"".into(),
        attributes: [("service.name", "twice"), ("deployment.environment.name", "test")]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into(),
        ..OtlpConfig::default()
    };
    let body: Value = serde_json::from_str(&Resource::new(&config, "7").spans(&[])).unwrap();
    let facts = body["resourceSpans"][0]["resource"]["attributes"].as_array().unwrap();
    let names: Vec<_> = facts.iter().map(|fact| fact["key"].as_str().unwrap()).collect();
    let expected = ["service.name", "service.version", "service.instance.id", "deployment.environment.name"];
    assert_eq!(names, expected);
    assert_eq!(facts[0]["value"]["stringValue"], "gate \"one\"");
}

#[test]
fn settings_out_of_range_are_named() {
    let mut config = TelemetryConfig::default();
    let mut none = Vec::new();
    config.problems("telemetry", &mut none);
    assert!(none.is_empty());
    config.traces.sample = f64::NAN;
    config.otlp.endpoint = Some("collector:4318".into());
    config.otlp.queue = 1;
    config.otlp.header = "two words".into();
    let mut problems = Vec::new();
    config.problems("telemetry", &mut problems);
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    let expected = ["traces.sample", "otlp.queue", "otlp.endpoint", "otlp.header"];
    assert_eq!(keys, expected.map(|key| format!("telemetry.{key}")));
}
