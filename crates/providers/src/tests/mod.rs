//! Providers against the strict double, over real sockets.

mod builtin;
mod lanes;
mod presets;
mod refusals;
mod streams;
mod whole;

use crate::{
    Call, EmbedConfig, ExtractConfig, Model, ModelConfig, ModelsConfig, Parts, Provider, ProviderConfig,
    Providers, ProvidersConfig, UpstreamConfig,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use portcullis_domain::{
    ByteStream, ChatRequest, Deadline, EmbedInput, EmbedRequest, Encoding, Failure, Needs, Reply, ReplyBody,
    RequestId, Role, TextPart,
};
use portcullis_resilience::{
    Registry,
    http::{Client, HttpConfig},
};
use portcullis_telemetry::{Alert, Alerts, AlertsConfig, Metrics};
use portcullis_testkit::upstream::OpenAi;
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc::Receiver;

/// Providers over one double called `double`.
pub(super) struct World {
    pub(super) double: OpenAi,
    pub(super) providers: Providers,
    pub(super) registry: Registry,
    pub(super) metrics: Metrics,
    pub(super) alerts: Receiver<Alert>,
}

impl World {
    pub(super) async fn start() -> Self {
        Self::with(OpenAi::start().await, |_, _| {})
    }

    pub(super) fn with(
        double: OpenAi,
        change: impl FnOnce(&mut ProviderConfig, &mut UpstreamConfig),
    ) -> Self {
        Self::named("double", double, change)
    }

    /// The same under another name: a preset's gives its row, and the double's key is the secret it asks for.
    pub(super) fn named(
        name: &str,
        double: OpenAi,
        change: impl FnOnce(&mut ProviderConfig, &mut UpstreamConfig),
    ) -> Self {
        let mut provider = ProviderConfig {
            base_url: Some(double.base_url()),
            key_secret: Some("double_key".into()),
            embed_rpm: Some(0),
            ..ProviderConfig::default()
        };
        let mut upstream = UpstreamConfig {
            ttft_timeout_secs: 1,
            idle_timeout_secs: 1,
            attempt_timeout_secs: 1,
            max_answer_bytes: 1_048_576,
            ..UpstreamConfig::default()
        };
        change(&mut provider, &mut upstream);
        let (registry, metrics) = (Registry::new(), Metrics::new());
        let (alerts, receiver) = Alerts::new(&AlertsConfig::default(), metrics.clone());
        let key = double.key();
        let parts = Parts {
            providers: &ProvidersConfig::from([(name.to_owned(), provider)]),
            models: &ModelsConfig::default(),
            embed: &EmbedConfig::default(),
            extract: &ExtractConfig::default(),
            upstream: &upstream,
            client: Client::new(&HttpConfig::default()),
            registry: &registry,
            metrics: metrics.clone(),
            alerts,
            paces: std::collections::BTreeMap::new(),
            overrides: portcullis_domain::SafetyView::none(),
            embedders: crate::Embedders::in_folder(std::path::Path::new("no-such-folder")),
        };
        let secret = |name: &str| match name {
            "double_key" | "moonshot_api_key" | "zai_api_key" => Some(SecretString::from(key.clone())),
            "other_key" => Some(SecretString::from("other-key".to_owned())),
            _ => None,
        };
        let providers = Providers::new(&parts, secret).unwrap();
        Self { double, providers, registry, metrics, alerts: receiver }
    }

    pub(super) fn provider(&self) -> Arc<Provider> {
        self.providers.get("double").unwrap().clone()
    }

    /// Calls that hold a place at the double's gate.
    pub(super) fn in_use(&self, dependency: &str) -> usize {
        self.registry.get(dependency).unwrap().status().in_use
    }
}

/// A call that is not tried again, so that each behaviour of the double is seen once.
pub(super) fn call() -> Call {
    Call {
        span: None,
        strict: false,
        purpose: None,
        id: RequestId::from_parts(1_700_000_000_000, 7),
        route: "test".into(),
        caller: "key:test".into(),
        weight: 2,
        deadline: Deadline::after(Duration::from_secs(30)),
        tried: 0,
        others: true,
    }
}

pub(super) fn model(name: &str) -> Model {
    Model::configured(
        &ModelConfig { name: name.into(), ..ModelConfig::default() },
        crate::presets::row_for("double"),
    )
}

/// A chat request in OpenAI's wire, with the spans a door finds.
pub(super) fn chat(messages: &[(Role, &str)], stream: bool, include_usage: bool) -> ChatRequest {
    let mut body = String::from("{\"model\":");
    let start = body.len();
    body.push_str("\"fast\"");
    let model_span = start..body.len();
    let mut forced_span = None;
    if stream {
        body.push_str(",\"stream\":true");
        if include_usage {
            body.push_str(",\"stream_options\":");
            let start = body.len();
            body.push_str("{\"include_usage\":true}");
            forced_span = Some(start..body.len());
        }
    }
    body.push_str(",\"messages\":[");
    let mut parts = Vec::new();
    for (at, (role, text)) in messages.iter().enumerate() {
        let name = match role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        let quoted = serde_json::Value::from(*text).to_string();
        body.push_str(if at > 0 { "," } else { "" });
        body.push_str(&format!("{{\"role\":\"{name}\",\"content\":"));
        let span = body.len() + 1..body.len() + quoted.len() - 1;
        parts.push(TextPart { role: *role, span, escaped: quoted.contains('\\') });
        body.push_str(&quoted);
        body.push('}');
    }
    body.push_str("]}");
    ChatRequest {
        body: body.into(),
        model: "fast".into(),
        format: portcullis_domain::Format::OpenAi,
        model_span: Some(model_span),
        stream,
        include_usage,
        forced_span,
        max_tokens: None,
        n: 1,
        deterministic: false,
        needs: Needs::default(),
        parts,
    }
}

pub(super) fn hello(stream: bool) -> ChatRequest {
    chat(&[(Role::System, "Be brief."), (Role::User, "Say \"hello\".")], stream, false)
}

pub(super) fn embed(texts: &[&str], encoding: Encoding) -> EmbedRequest {
    let mut body = String::from("{\"model\":\"embed\",\"input\":[");
    let mut parts = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        let quoted = serde_json::Value::from(*text).to_string();
        body.push_str(if at > 0 { "," } else { "" });
        let span = body.len() + 1..body.len() + quoted.len() - 1;
        parts.push(TextPart { role: Role::User, span, escaped: quoted.contains('\\') });
        body.push_str(&quoted);
    }
    body.push(']');
    if encoding == Encoding::Base64 {
        body.push_str(",\"encoding_format\":\"base64\"");
    }
    body.push('}');
    EmbedRequest {
        body: body.into(),
        model: "embed".into(),
        format: portcullis_domain::Format::OpenAi,
        model_span: Some(9..16),
        input: EmbedInput::Texts(parts),
        encoding,
        dimensions: None,
    }
}

pub(super) fn bytes(reply: &Reply) -> Bytes {
    match &reply.body {
        ReplyBody::Whole(bytes) => bytes.clone(),
        ReplyBody::Stream(_) | ReplyBody::Message(_) => panic!("expected a whole answer"),
    }
}

pub(super) fn stream(reply: Reply) -> ByteStream {
    match reply.body {
        ReplyBody::Stream(stream) => stream,
        ReplyBody::Whole(bytes) => panic!("expected a stream, not {bytes:?}"),
        ReplyBody::Message(_) => panic!("expected a stream, not a message"),
    }
}

/// Everything a stream said, and how it ended.
pub(super) async fn drain(mut stream: ByteStream) -> (String, Option<Failure>) {
    let mut text = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            Ok(bytes) => text.extend_from_slice(&bytes),
            Err(failure) => {
                assert!(stream.next().await.is_none(), "an error is the last item");
                return (String::from_utf8(text).unwrap(), Some(failure));
            }
        }
    }
    (String::from_utf8(text).unwrap(), None)
}
