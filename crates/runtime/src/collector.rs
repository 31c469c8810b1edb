//! The collector of OpenTelemetry as a guarded dependency: its address, its header, what its answers mean. What is told, how
//! much of it waits and what is dropped is telemetry's decision. Invariant: no request waits for it, and no log line holds its
//! address or header. Source: OTLP specification, "OTLP/HTTP".

use crate::{
    Secrets, Settings,
    start::{StartError, wanted},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use portcullis_domain::{Action, Deadline};
use portcullis_resilience::{
    CallCtx, CallError, Class, Dependency, DependencyPolicy, GuardConfig, Registry,
    breaker::BreakerPolicy,
    bulkhead::BulkheadPolicy,
    http::{AnswerBody, Client, collect},
    pacing::{Learn, PacePolicy},
};
use portcullis_telemetry::{
    Alerts, Metrics, OtlpConfig, Resource, Ship, Shipped, Traces, export_metrics, export_traces,
};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What the collector is reached with.
pub(crate) struct Around<'a> {
    pub(crate) client: &'a Client,
    pub(crate) registry: &'a Registry,
    pub(crate) metrics: &'a Metrics,
    pub(crate) alerts: &'a Alerts,
    pub(crate) tasks: &'a TaskTracker,
    pub(crate) stop: &'a CancellationToken,
}

/// Most bytes of its answer that are read.
const MAX_ANSWER_BYTES: usize = 65_536;
/// How often a batch is tried.
const ATTEMPTS: u32 = 3;

/// Begins to export where a collector is named; the maker of spans.
///
/// # Errors
/// An address or a header that cannot be written into a request, or a secret that is not there.
pub(crate) fn begin(
    settings: &Settings,
    secrets: &Secrets,
    around: &Around<'_>,
) -> Result<Traces, StartError> {
    let (traces, otlp) = (&settings.telemetry.traces, &settings.telemetry.otlp);
    let Some(endpoint) = &otlp.endpoint else { return Ok(Traces::off(traces.propagate)) };
    let (traces, waiting) = Traces::on(traces, otlp.queue, around.metrics.clone());
    let ship = shipping(endpoint, otlp, secrets, around)?;
    let resource = Resource::new(otlp, &format!("{:032x}", rand::random::<u128>()));
    let (metrics, stop) = (around.metrics.clone(), around.stop.clone());
    let (own, counted) = (otlp.clone(), metrics.clone());
    around.tasks.spawn(export_metrics(own, resource.clone(), ship.clone(), counted, stop.clone()));
    around.tasks.spawn(export_traces(waiting, otlp.clone(), resource, ship, metrics, stop));
    Ok(traces)
}

fn shipping(
    endpoint: &str,
    otlp: &OtlpConfig,
    secrets: &Secrets,
    around: &Around<'_>,
) -> Result<Ship, StartError> {
    let unusable = |key: &str, mend: &str| {
        StartError::Settings(format!("`telemetry.otlp.{key}` cannot be used. Mend: {mend}"))
    };
    let base = endpoint.trim_end_matches('/').to_owned();
    if base.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::len)).is_none() {
        return Err(unusable("endpoint", "write it as http://host:4318"));
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let secret = wanted(otlp.header_secret.as_deref(), "telemetry.otlp.header_secret", secrets)?;
    if let Some(secret) = secret {
        let name = HeaderName::try_from(&otlp.header).map_err(|_| unusable("header", "name a header"))?;
        let value = HeaderValue::from_str(secret.expose_secret().trim());
        let mut value = value.map_err(|_| unusable("header_secret", "its value must be one line"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let dependency = Dependency::new(policy(otlp), around.metrics, around.alerts);
    around.registry.add(dependency.clone());
    let (client, timeout) = (around.client.clone(), Duration::from_secs(otlp.timeout_secs));
    let collector = Arc::new(Collector { dependency, client, base, headers, timeout });
    Ok(Arc::new(move |path, body| {
        let collector = collector.clone();
        Box::pin(async move { collector.ship(path, Bytes::from(body)).await })
    }))
}

fn policy(config: &OtlpConfig) -> DependencyPolicy {
    DependencyPolicy {
        name: "otlp".to_owned(),
        breaker: BreakerPolicy { failures: 5, reset: Duration::from_secs(30) },
        bulkhead: BulkheadPolicy { concurrency: 2, queue: 8 },
        pace: PacePolicy { per_min: None, tokens_per_min: None },
        lanes: 1,
        learn: Learn::Off,
        attempt_timeout: Duration::from_secs(config.timeout_secs),
        hold: Duration::from_secs(60),
        guard: GuardConfig { attempts: ATTEMPTS, ..GuardConfig::default() },
    }
}

struct Collector {
    dependency: Dependency,
    client: Client,
    base: String,
    headers: HeaderMap,
    timeout: Duration,
}

/// What OTLP answers to a batch that it took in part.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    partial_success: Partial,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Partial {
    rejected_spans: Number,
    rejected_data_points: Number,
}

/// JSON of protobuf writes 64-bit numbers as strings; not every collector does.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Plain(u64),
}

impl Default for Number {
    fn default() -> Self {
        Self::Plain(0)
    }
}

impl Number {
    fn get(&self) -> u64 {
        match self {
            Self::Text(text) => text.parse().unwrap_or(0),
            Self::Plain(number) => *number,
        }
    }
}

impl Collector {
    async fn ship(&self, path: &'static str, body: Bytes) -> Shipped {
        let context = CallCtx {
            deadline: Deadline::after(self.timeout.saturating_mul(ATTEMPTS + 1)),
            caller: "telemetry".into(),
            weight: 1,
            action: Action::Admin,
            tokens: 0,
            tried: 0,
            others: false,
        };
        match self.dependency.call(&context, |_| self.send(path, body.clone())).await {
            Ok(guarded) => {
                guarded.permit.finish(Class::Ok);
                Shipped::Taken { rejected: guarded.value }
            }
            Err(CallError::Failed { error: Some(why), .. }) => Shipped::Lost(why),
            Err(CallError::Open { .. }) => Shipped::Lost("its breaker is open".to_owned()),
            Err(
                CallError::Failed { error: None, .. }
                | CallError::Full { .. }
                | CallError::Paced { .. }
                | CallError::DeadlineExceeded,
            ) => Shipped::Lost("it does not answer in time".to_owned()),
        }
    }

    /// One attempt: how many of the batch's items it does not want.
    async fn send(&self, path: &str, body: Bytes) -> Result<u64, (Class, String)> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = format!("{}{path}", self.base)
            .parse()
            .map_err(|_| (Class::CallerFault, "its address is no URL".to_owned()))?;
        request.headers_mut().clone_from(&self.headers);
        let response =
            self.client.send(request).await.map_err(|error| (Class::HardFailure, error.to_string()))?;
        self.judge(response).await
    }

    async fn judge(&self, response: Response<AnswerBody>) -> Result<u64, (Class, String)> {
        let status = response.status().as_u16();
        let wait = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = wait.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        // Read to its end, so that the connection can be used again.
        let body = collect(response.into_body(), MAX_ANSWER_BYTES, Deadline::after(self.timeout)).await;
        let why = format!("it answered {status}");
        match status {
            200..300 => {
                let answer: Answer =
                    body.ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
                let Partial { rejected_spans, rejected_data_points } = answer.partial_success;
                Ok(rejected_spans.get().max(rejected_data_points.get()))
            }
            429 => Err((Class::RateLimited { retry_after }, why)),
            502..=504 => Err((Class::HardFailure, why)),
            // OTLP: everything else is not to be sent again.
            _ => Err((Class::CallerFault, why)),
        }
    }
}
