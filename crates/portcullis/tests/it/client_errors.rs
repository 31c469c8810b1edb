//! What goes wrong, in the classes of each official client: refusals from 400 to 529, and streams that break off.
//! Invariant: no client tries again by itself here, and what is refused at the door reaches no provider.

use crate::support::{BINARY, WIDE, post};
use portcullis_testkit::{
    node,
    process::{Options, Server},
    python,
    upstream::{self, Behaviour, OpenAi},
};
use serde_json::json;
use std::{fmt::Write as _, process::Output};

/// A server whose models fail each in a way of its own, what is behind it, and the keys that the scripts are given: one
/// for everything, one for `good` alone, one for a single request a minute.
struct House {
    server: Server,
    keys: [String; 3],
    good: OpenAi,
    busy: OpenAi,
    broken: OpenAi,
    /// Streams of OpenAI, Anthropic and Google that break off.
    cut: [OpenAi; 3],
}

impl House {
    async fn start() -> Self {
        let (good, busy, broken) = (OpenAi::start().await, OpenAi::start().await, OpenAi::start().await);
        let (claude, gem) = (upstream::Options::anthropic(), upstream::Options::gemini());
        let cut = [OpenAi::start().await, OpenAi::with(claude).await, OpenAi::with(gem).await];
        // Longer than any caller waits: told at once.
        busy.always(Behaviour::rate_limited(600));
        broken.always(Behaviour::server_error());
        cut[0].always(Behaviour::CutAfter(4));
        cut[1].always(Behaviour::ErrorEventAfter(5));
        cut[2].always(Behaviour::ErrorEventAfter(3));
        let mut text = WIDE.to_owned();
        for (name, double, model, secret) in [
            ("good", &good, "gpt-double", "double_key"),
            ("busy", &busy, "gpt-double", "double_key"),
            ("broken", &broken, "gpt-double", "double_key"),
            ("cut", &cut[0], "gpt-double", "double_key"),
            ("anthropic", &cut[1], "claude-double", "double_key"),
            ("gemini", &cut[2], "gemini-3-double", "google_key"),
        ] {
            let base = double.base_url();
            write!(
                text,
                "[providers.{name}]\nbase_url = \"{base}\"\nkey_secret = \"{secret}\"\nattempts = 1\n\
                 models = [\"{model}\"]\n\
                 [routes.{name}]\ntargets = [{{ provider = \"{name}\", model = \"{model}\" }}]\n"
            )
            .unwrap();
        }
        let options = Options::config(text).env("DOUBLE_KEY", good.key()).env("GOOGLE_KEY", cut[2].key());
        let started = Server::start(BINARY, options).await;
        let server = started.unwrap_or_else(|refused| panic!("it did not start: {refused:?}"));
        let first = server.key().expect("a first key is printed");
        let make = async |definition| {
            let made = post(server.admin().unwrap(), "/admin/v1/keys", &first, &definition).await;
            made.json()["key"].as_str().unwrap_or_else(|| panic!("{made:?}")).to_owned()
        };
        let bound = make(json!({"name": "bound", "routes": ["good"]})).await;
        let narrow = make(json!({"name": "narrow", "rpm": 1})).await;
        Self { keys: [first, bound, narrow], server, good, busy, broken, cut }
    }

    /// What a script is given: the address with `path` behind it, and the keys.
    fn args(&self, path: &str) -> [String; 4] {
        let [first, bound, narrow] = self.keys.clone();
        [self.server.url() + path, first, bound, narrow]
    }

    /// The script has said `wanted`, and each provider was asked as often as that takes: `good` for the request that a
    /// second one conflicts with and for the one a minute, each of the others once.
    fn check(&self, output: &Output, wanted: &str, cut: [usize; 3]) {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(said, wanted);
        let [own, claude, gem] = &self.cut;
        let all = [&self.good, &self.busy, &self.broken, own, claude, gem];
        assert_eq!(all.map(|double| double.counts().requests), [2, 1, 1, cut[0], cut[1], cut[2]]);
        for double in all {
            assert!(double.violations().is_empty(), "{:?}", double.violations());
        }
    }
}

fn text(args: &[String; 4]) -> [&str; 4] {
    args.each_ref().map(String::as_str)
}

const OPENAI_PYTHON: &str = r#"
import sys, openai
base, first, bound, narrow = sys.argv[1:]
ask = [{"role": "user", "content": "Who keeps the gate?"}]
def chat(model, key=first, messages=ask, **more):
    client = openai.OpenAI(base_url=base, api_key=key, max_retries=0)
    return client.chat.completions.create(model=model, messages=messages, **more)
once = {"extra_headers": {"Idempotency-Key": "once"}}
chat("good", **once)
for kind, call in (
    (openai.BadRequestError, lambda: chat("good", messages=[])),
    (openai.AuthenticationError, lambda: chat("good", key="pcl_wrong")),
    (openai.PermissionDeniedError, lambda: chat("busy", key=bound)),
    (openai.NotFoundError, lambda: chat("nothing")),
    (openai.ConflictError, lambda: chat("good", messages=ask + ask, **once)),
    (openai.RateLimitError, lambda: chat("busy")),
    (openai.RateLimitError, lambda: [chat("good", key=narrow) for _ in range(2)]),
    (openai.InternalServerError, lambda: chat("broken")),
    (openai.APIError, lambda: list(chat("cut", stream=True))),
):
    try:
        call()
        print("no error")
    except kind as error:
        answer = getattr(error, "response", None)
        wait = "retry-after" in answer.headers if answer is not None else False
        print(type(error).__name__, answer.status_code if answer is not None else None, error.code, wait)
"#;

#[tokio::test]
async fn the_official_python_client_of_openai_raises_its_own_class_for_every_failure() {
    let house = House::start().await;
    let Some(output) = python::openai_client(OPENAI_PYTHON, &text(&house.args("/v1"))).await else { return };
    let wanted = "BadRequestError 400 invalid_value False\nAuthenticationError 401 invalid_api_key False\n\
         PermissionDeniedError 403 model_not_allowed False\nNotFoundError 404 model_not_found False\n\
         ConflictError 409 idempotency_mismatch False\nRateLimitError 429 provider_rate_limited True\n\
         RateLimitError 429 rate_limit_exceeded True\nInternalServerError 503 provider_unavailable True\n\
         APIError None upstream_interrupted False\n";
    house.check(&output, wanted, [1, 0, 0]);
}

const OPENAI_NODE: &str = r#"
import OpenAI from 'openai';
const [baseURL, first, bound, narrow] = process.argv.slice(1);
const ask = [{ role: 'user', content: 'Who keeps the gate?' }];
const chat = (model, { apiKey = first, messages = ask, stream = false } = {}, more = {}) =>
  new OpenAI({ baseURL, apiKey, maxRetries: 0 }).chat.completions.create({ model, messages, stream }, more);
const once = { headers: { 'Idempotency-Key': 'once' } };
await chat('good', {}, once);
for (const [kind, call] of [
  [OpenAI.BadRequestError, () => chat('good', { messages: [] })],
  [OpenAI.AuthenticationError, () => chat('good', { apiKey: 'pcl_wrong' })],
  [OpenAI.PermissionDeniedError, () => chat('busy', { apiKey: bound })],
  [OpenAI.NotFoundError, () => chat('nothing')],
  [OpenAI.ConflictError, () => chat('good', { messages: [...ask, ...ask] }, once)],
  [OpenAI.RateLimitError, () => chat('busy')],
  [OpenAI.RateLimitError, async () => {
    for (let calls = 0; calls < 2; calls += 1) await chat('good', { apiKey: narrow });
  }],
  [OpenAI.InternalServerError, () => chat('broken')],
  [OpenAI.APIError, async () => {
    for await (const chunk of await chat('cut', { stream: true }));
  }],
]) {
  try {
    await call();
    console.log('no error');
  } catch (error) {
    if (!(error instanceof kind)) throw error;
    console.log(error.constructor.name, error.status, error.code, Boolean(error.headers?.has('retry-after')));
  }
}
"#;

#[tokio::test]
async fn the_official_javascript_client_of_openai_throws_its_own_class_for_every_failure() {
    let house = House::start().await;
    let Some(output) = node::run(OPENAI_NODE, &text(&house.args("/v1"))).await else { return };
    let wanted = "BadRequestError 400 invalid_value false\nAuthenticationError 401 invalid_api_key false\n\
         PermissionDeniedError 403 model_not_allowed false\nNotFoundError 404 model_not_found false\n\
         ConflictError 409 idempotency_mismatch false\nRateLimitError 429 provider_rate_limited true\n\
         RateLimitError 429 rate_limit_exceeded true\nInternalServerError 503 provider_unavailable true\n\
         APIError undefined upstream_interrupted false\n";
    house.check(&output, wanted, [1, 0, 0]);
}

const ANTHROPIC_PYTHON: &str = r#"
import sys, anthropic
base, first, bound, narrow = sys.argv[1:]
ask = [{"role": "user", "content": "Who keeps the gate?"}]
def client(key=first):
    return anthropic.Anthropic(base_url=base, api_key=key, max_retries=0).messages
def say(model, key=first, messages=ask, **more):
    return client(key).create(model=model, max_tokens=50, messages=messages, **more)
def stream(model):
    with client().stream(model=model, max_tokens=50, messages=ask) as stream:
        return stream.get_final_message()
once = {"extra_headers": {"Idempotency-Key": "once"}}
say("good", **once)
for kind, call in (
    (anthropic.BadRequestError, lambda: say("good", messages=[])),
    (anthropic.AuthenticationError, lambda: say("good", key="pcl_wrong")),
    (anthropic.PermissionDeniedError, lambda: say("busy", key=bound)),
    (anthropic.NotFoundError, lambda: say("nothing")),
    (anthropic.ConflictError, lambda: say("good", messages=ask + ask, **once)),
    (anthropic.RateLimitError, lambda: say("busy")),
    (anthropic.RateLimitError, lambda: [say("good", key=narrow) for _ in range(2)]),
    (anthropic.InternalServerError, lambda: say("broken")),
    (anthropic.APIStatusError, lambda: stream("cut")),
    (anthropic.APIStatusError, lambda: stream("anthropic")),
):
    try:
        call()
        print("no error")
    except kind as error:
        wait = "retry-after" in error.response.headers
        print(type(error).__name__, error.status_code, error.body["error"]["type"], wait)
"#;

#[tokio::test]
async fn the_official_python_client_of_anthropic_raises_its_own_class_for_every_failure() {
    let house = House::start().await;
    let Some(output) = python::anthropic_client(ANTHROPIC_PYTHON, &text(&house.args(""))).await else {
        return;
    };
    let wanted = "BadRequestError 400 invalid_request_error False\nAuthenticationError 401 authentication_error False\n\
         PermissionDeniedError 403 permission_error False\nNotFoundError 404 not_found_error False\n\
         ConflictError 409 invalid_request_error False\nRateLimitError 429 rate_limit_error True\n\
         RateLimitError 429 rate_limit_error True\nOverloadedError 529 overloaded_error True\n\
         APIStatusError 200 api_error False\nAPIStatusError 200 api_error False\n";
    house.check(&output, wanted, [1, 1, 0]);
}

const ANTHROPIC_NODE: &str = r#"
import Anthropic from '@anthropic-ai/sdk';
const [baseURL, first, bound, narrow] = process.argv.slice(1);
const ask = [{ role: 'user', content: 'Who keeps the gate?' }];
const client = (apiKey = first) => new Anthropic({ baseURL, apiKey, maxRetries: 0 }).messages;
const say = (model, { apiKey, messages = ask } = {}, more = {}) =>
  client(apiKey).create({ model, max_tokens: 50, messages }, more);
const stream = (model) => client().stream({ model, max_tokens: 50, messages: ask }).finalMessage();
const once = { headers: { 'Idempotency-Key': 'once' } };
await say('good', {}, once);
for (const [kind, call] of [
  [Anthropic.BadRequestError, () => say('good', { messages: [] })],
  [Anthropic.AuthenticationError, () => say('good', { apiKey: 'pcl_wrong' })],
  [Anthropic.PermissionDeniedError, () => say('busy', { apiKey: bound })],
  [Anthropic.NotFoundError, () => say('nothing')],
  [Anthropic.ConflictError, () => say('good', { messages: [...ask, ...ask] }, once)],
  [Anthropic.RateLimitError, () => say('busy')],
  [Anthropic.RateLimitError, async () => {
    for (let calls = 0; calls < 2; calls += 1) await say('good', { apiKey: narrow });
  }],
  [Anthropic.InternalServerError, () => say('broken')],
  [Anthropic.APIError, () => stream('cut')],
  [Anthropic.APIError, () => stream('anthropic')],
]) {
  try {
    await call();
    console.log('no error');
  } catch (error) {
    if (!(error instanceof kind)) throw error;
    console.log(error.constructor.name, error.status, error.type, error.headers.has('retry-after'));
  }
}
"#;

#[tokio::test]
async fn the_official_javascript_client_of_anthropic_throws_its_own_class_for_every_failure() {
    let house = House::start().await;
    let Some(output) = node::run(ANTHROPIC_NODE, &text(&house.args(""))).await else { return };
    let wanted = "BadRequestError 400 invalid_request_error false\nAuthenticationError 401 authentication_error false\n\
         PermissionDeniedError 403 permission_error false\nNotFoundError 404 not_found_error false\n\
         ConflictError 409 invalid_request_error false\nRateLimitError 429 rate_limit_error true\n\
         RateLimitError 429 rate_limit_error true\nOverloadedError 529 overloaded_error true\n\
         APIError undefined api_error false\nAPIError undefined api_error false\n";
    house.check(&output, wanted, [1, 1, 0]);
}

const GOOGLE_PYTHON: &str = r#"
import sys
from google import genai
from google.genai import errors, types
base, first, bound, narrow = sys.argv[1:]
ask = "Who keeps the gate?"
once = {"http_options": {"headers": {"Idempotency-Key": "once"}}}
# They try again only where they are told to, and one that nobody holds any more closes its connections.
clients = {key: genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base))
    for key in (first, bound, narrow, "pcl_wrong")}
def say(model, key=first, contents=ask, config=None):
    return clients[key].models.generate_content(model=model, contents=contents, config=config)
def stream(model):
    return list(clients[first].models.generate_content_stream(model=model, contents=ask))
say("good", config=once)
for kind, call in (
    (errors.ClientError, lambda: say("good", config={"temperature": 3})),
    (errors.ClientError, lambda: say("good", key="pcl_wrong")),
    (errors.ClientError, lambda: say("busy", key=bound)),
    (errors.ClientError, lambda: say("nothing")),
    (errors.ClientError, lambda: say("good", contents="Who else?", config=once)),
    (errors.ClientError, lambda: say("busy")),
    (errors.ClientError, lambda: [say("good", key=narrow) for _ in range(2)]),
    (errors.ServerError, lambda: say("broken")),
    (errors.ServerError, lambda: stream("cut")),
    (errors.ServerError, lambda: stream("gemini")),
):
    try:
        call()
        print("no error")
    except kind as error:
        print(type(error).__name__, error.code, error.status, "RetryInfo" in str(error.details))
"#;

#[tokio::test]
async fn the_official_python_client_of_google_raises_its_own_class_for_every_failure() {
    let house = House::start().await;
    let Some(output) = python::google_client(GOOGLE_PYTHON, &text(&house.args(""))).await else { return };
    let wanted = "ClientError 400 INVALID_ARGUMENT False\nClientError 401 UNAUTHENTICATED False\n\
         ClientError 403 PERMISSION_DENIED False\nClientError 404 NOT_FOUND False\nClientError 409 ABORTED False\n\
         ClientError 429 RESOURCE_EXHAUSTED True\nClientError 429 RESOURCE_EXHAUSTED True\n\
         ServerError 503 UNAVAILABLE True\nServerError 502 UNAVAILABLE False\nServerError 502 UNAVAILABLE False\n";
    house.check(&output, wanted, [1, 0, 1]);
}

const GOOGLE_NODE: &str = r#"
import { ApiError, GoogleGenAI } from '@google/genai';
const [baseUrl, first, bound, narrow] = process.argv.slice(1);
const ask = 'Who keeps the gate?';
const once = { httpOptions: { headers: { 'Idempotency-Key': 'once' } } };
// It tries again only where it is told to.
const models = (apiKey = first) => new GoogleGenAI({ apiKey, httpOptions: { baseUrl } }).models;
const say = (model, { apiKey, contents = ask, config } = {}) =>
  models(apiKey).generateContent({ model, contents, config });
const stream = async (model) => {
  for await (const chunk of await models().generateContentStream({ model, contents: ask }));
};
await say('good', { config: once });
for (const call of [
  () => say('good', { config: { temperature: 3 } }),
  () => say('good', { apiKey: 'pcl_wrong' }),
  () => say('busy', { apiKey: bound }),
  () => say('nothing'),
  () => say('good', { contents: 'Who else?', config: once }),
  () => say('busy'),
  async () => {
    for (let calls = 0; calls < 2; calls += 1) await say('good', { apiKey: narrow });
  },
  () => say('broken'),
  () => stream('cut'),
  () => stream('gemini'),
]) {
  try {
    await call();
    console.log('no error');
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const { error: told } = JSON.parse(error.message.slice(error.message.indexOf('{')));
    console.log('ApiError', error.status, told.status, JSON.stringify(told.details).includes('RetryInfo'));
  }
}
"#;

#[tokio::test]
async fn the_official_javascript_client_of_google_throws_its_own_class_for_every_failure() {
    let house = House::start().await;
    let Some(output) = node::run(GOOGLE_NODE, &text(&house.args(""))).await else { return };
    let wanted = "ApiError 400 INVALID_ARGUMENT false\nApiError 401 UNAUTHENTICATED false\n\
         ApiError 403 PERMISSION_DENIED false\nApiError 404 NOT_FOUND false\nApiError 409 ABORTED false\n\
         ApiError 429 RESOURCE_EXHAUSTED true\nApiError 429 RESOURCE_EXHAUSTED true\n\
         ApiError 503 UNAVAILABLE true\nApiError 502 UNAVAILABLE false\nApiError 502 UNAVAILABLE false\n";
    house.check(&output, wanted, [1, 0, 1]);
}

const ZAI: &str = r#"
import sys
from zai import ZaiClient, core
base, first, bound, narrow = sys.argv[1:]
ask = [{"role": "user", "content": "Who keeps the gate?"}]
def chat(model, key=first, messages=ask, **more):
    client = ZaiClient(base_url=base, api_key=key, max_retries=0)
    return client.chat.completions.create(model=model, messages=messages, **more)
once = {"extra_headers": {"Idempotency-Key": "once"}}
chat("good", **once)
for kind, call in (
    (core.APIRequestFailedError, lambda: chat("good", messages=[])),
    (core.APIAuthenticationError, lambda: chat("good", key="pcl_wrong")),
    (core.APIStatusError, lambda: chat("busy", key=bound)),
    (core.APIStatusError, lambda: chat("nothing")),
    (core.APIStatusError, lambda: chat("good", messages=ask + ask, **once)),
    (core.APIReachLimitError, lambda: chat("busy")),
    (core.APIReachLimitError, lambda: [chat("good", key=narrow) for _ in range(2)]),
    (core.APIServerFlowExceedError, lambda: chat("broken")),
    (core.APIResponseError, lambda: list(chat("cut", stream=True))),
):
    try:
        call()
        print("no error")
    except kind as error:
        answer = getattr(error, "response", None)
        told = answer.json()["error"] if answer is not None else error.json_data
        print(type(error).__name__, answer.status_code if answer is not None else None, told["code"])
"#;

#[tokio::test]
async fn the_official_client_of_zai_raises_its_own_class_for_every_failure() {
    let house = House::start().await;
    let Some(output) = python::zai_client(ZAI, &text(&house.args("/v1/"))).await else { return };
    let wanted = "APIRequestFailedError 400 invalid_value\nAPIAuthenticationError 401 invalid_api_key\n\
         APIStatusError 403 model_not_allowed\nAPIStatusError 404 model_not_found\n\
         APIStatusError 409 idempotency_mismatch\nAPIReachLimitError 429 provider_rate_limited\n\
         APIReachLimitError 429 rate_limit_exceeded\nAPIServerFlowExceedError 503 provider_unavailable\n\
         APIResponseError None upstream_interrupted\n";
    house.check(&output, wanted, [1, 0, 0]);
}
