//! The presets that speak OpenAI's wire with words of their own, each under its name, at the path and with the key of
//! its row: what goes out, and answers, streams and refusals as they send them. Invariant: an answer and a stream reach
//! the caller as the provider's bytes, without the usage chunk nobody asked for, and a caller of another format reads
//! the same in its own. Source: the API references of Moonshot and Z.ai ("Chat", "Errors") and Ollama's "OpenAI
//! compatibility"; gateway.md sections 3 and 6.

use super::{World, bytes, call, drain, hello, stream, whole::outgoing};
use crate::{Model, ModelConfig, presets};
use portcullis_domain::{ChatRequest, Failure, Format, Incident};
use portcullis_testkit::upstream::{Behaviour, OpenAi, Options};
use serde_json::json;
use std::fmt::Write as _;

/// What a provider says, in the shape that is its own.
struct Says {
    name: &'static str,
    model: &'static str,
    whole: &'static str,
    /// An event without choices is there because we ask for usage.
    stream: &'static str,
    /// A line each: its status and its body.
    refusals: &'static str,
}

/// Its usage stands in the last choice, and how much of it was cached beside the other figures.
const KIMI: Says = Says {
    name: "kimi",
    model: "kimi-k2.6",
    whole: include_str!("presets/kimi.json"),
    stream: include_str!("presets/kimi.sse"),
    refusals: include_str!("presets/kimi.refusals"),
};

/// It names no `object`, its last chunk carries finish reason and usage together, its codes are numbers in text.
const GLM: Says = Says {
    name: "glm",
    model: "glm-4.6",
    whole: include_str!("presets/glm.json"),
    stream: include_str!("presets/glm.sse"),
    refusals: include_str!("presets/glm.refusals"),
};

/// No key, a colon in the model's name, thoughts under a name of its own, and refusals without a code.
const OLLAMA: Says = Says {
    name: "ollama",
    model: "qwen3:8b",
    whole: include_str!("presets/ollama.json"),
    stream: include_str!("presets/ollama.sse"),
    refusals: include_str!("presets/ollama.refusals"),
};

impl Says {
    /// The provider as its row makes it, but for the host.
    async fn world(&self) -> World {
        let row = presets::find(self.name).unwrap();
        let host_and_path = row.base_url.split_once("://").unwrap().1;
        let base_path = &host_and_path[host_and_path.find('/').unwrap()..];
        let mut options = Options { base_path, models: vec![self.model.into()], ..Options::default() };
        options.headers.clear();
        options.key = options.key.filter(|_| !row.key_secret.is_empty());
        World::named(self.name, OpenAi::with(options).await, |provider, _| provider.key_secret = None)
    }

    fn model(&self) -> Model {
        let config = ModelConfig { name: self.model.into(), ..ModelConfig::default() };
        Model::configured(&config, presets::row_for(self.name))
    }

    /// The whole exchange in words: both requests, both answers with what they cost, both again for a caller of
    /// Anthropic's format, and every refusal.
    async fn exchange(&self) -> String {
        let world = self.world().await;
        let mut told = String::new();
        for request in [hello(false), hello(true), messages(false), messages(true)] {
            let kind = if request.stream { "text/event-stream" } else { "application/json; charset=utf-8" };
            let headers = vec![("content-type".to_owned(), kind.to_owned())];
            let body = if request.stream { self.stream } else { self.whole };
            world.double.next(Behaviour::Status { status: 200, headers, body: body.into() });
            let provider = world.providers.get(self.name).unwrap();
            let reply = provider.chat(&call(), &request, &self.model()).await.unwrap();
            let meter = reply.meter.clone();
            let (answer, failure) = if request.stream {
                drain(stream(reply)).await
            } else {
                (String::from_utf8(bytes(&reply).to_vec()).unwrap(), None)
            };
            assert_eq!(failure, None);
            if request.format == Format::OpenAi {
                let events = body.split_inclusive("\n\n");
                let asked_for = events.filter(|event| !event.contains("\"choices\":[]"));
                assert_eq!(answer, asked_for.collect::<String>());
            }
            let sent = world.double.received().pop().unwrap();
            writeln!(told, "{}\n\n{}\n{:?}\n", outgoing(&sent), answer.trim_end(), meter.get()).unwrap();
        }
        assert_eq!(world.double.violations(), Vec::<String>::new());
        for line in self.refusals.lines() {
            writeln!(told, "{line}\n    {}\n", self.refused(line).await).unwrap();
        }
        told
    }

    /// How a refusal is seen and what the caller would be told.
    async fn refused(&self, line: &str) -> String {
        let world = self.world().await;
        let (status, body) = line.split_once(' ').unwrap();
        let status = status.parse().unwrap();
        world.double.next(Behaviour::Status { status, headers: vec![], body: body.into() });
        let provider = world.providers.get(self.name).unwrap().clone();
        let Err(refusal) = provider.chat(&call(), &hello(false), &self.model()).await else {
            panic!("{line} is no answer")
        };
        let mut failure = refusal.failure;
        if let Failure::Blocked { incident } = &mut failure {
            *incident = Incident::from_parts(0, 0);
        }
        let passed = if refusal.pass_on { "passed on" } else { "final" };
        format!("{}, {passed}: {failure}", refusal.reason)
    }
}

/// What `hello` says, in Anthropic's format.
fn messages(stream: bool) -> ChatRequest {
    let body = json!({"model": "fast", "max_tokens": 50, "stream": stream, "system": "Be brief.",
                      "messages": [{"role": "user", "content": "Say \"hello\"."}]});
    ChatRequest {
        body: body.to_string().into(),
        format: Format::Anthropic,
        model_span: None,
        parts: vec![],
        ..hello(stream)
    }
}

#[tokio::test]
async fn kimi_is_asked_and_understood_in_its_own_words() {
    insta::assert_snapshot!("kimi", KIMI.exchange().await);
}

#[tokio::test]
async fn glm_is_asked_and_understood_in_its_own_words() {
    insta::assert_snapshot!("glm", GLM.exchange().await);
}

#[tokio::test]
async fn ollama_is_asked_without_a_key_and_understood_in_its_own_words() {
    insta::assert_snapshot!("ollama", OLLAMA.exchange().await);
}
