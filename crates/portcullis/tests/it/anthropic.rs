//! Anthropic's format from outside: its official clients against the server, in front of a double of Anthropic, of
//! OpenAI, and of nobody; and callers of OpenAI's format in front of the double of Anthropic.

use crate::support::{BINARY, WIDE, chat, open, post, request};
use http::Method;
use portcullis_testkit::{
    node,
    process::{Options, Server},
    python,
    upstream::{self, Behaviour, OpenAi, Reply},
};
use serde_json::{Value, json};

const SAID: &str = "The gate is open and the guard is awake.";

/// A server with the routes `claude`, `gpt` and `nobody` (the builtin model).
async fn serve(anthropic: &OpenAi, openai: &OpenAi) -> Server {
    let text = format!(
        "[providers.anthropic]\nbase_url = \"{}\"\nmodels = [\"claude-double\"]\n\
         [providers.openai]\nbase_url = \"{}\"\nmodels = [\"gpt-double\"]\n{WIDE}\n\
         [routes.claude]\ntargets = [{{ provider = \"anthropic\", model = \"claude-double\" }}]\n\
         [routes.gpt]\ntargets = [{{ provider = \"openai\", model = \"gpt-double\" }}]\n\
         [routes.nobody]\ntargets = [{{ provider = \"builtin\", model = \"echo\" }}]\n",
        anthropic.base_url(),
        openai.base_url(),
    );
    let options =
        Options::config(text).env("ANTHROPIC_API_KEY", anthropic.key()).env("OPENAI_API_KEY", openai.key());
    Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("it did not start: {refused:?}"))
}

async fn doubles() -> (OpenAi, OpenAi) {
    let (anthropic, openai) = (OpenAi::with(upstream::Options::anthropic()).await, OpenAi::start().await);
    for double in [&anthropic, &openai] {
        let call = Reply::ToolCall { name: "look".into(), arguments: "{\"at\":\"door\"}".into() };
        let call = Behaviour::Say(call);
        for behaviour in [Behaviour::Answer, Behaviour::Answer, call.clone(), call, Behaviour::Answer] {
            double.next(behaviour);
        }
    }
    (anthropic, openai)
}

fn told(output: &std::process::Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

const PYTHON: &str = r#"
import sys, anthropic
client = anthropic.Anthropic(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
ask = [{"role": "user", "content": "Who keeps the gate?"}]
tools = [{"name": "look", "description": "Looks.", "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}}}]
for model in ("claude", "gpt"):
    whole = client.messages.create(model=model, max_tokens=200, system="Be kind.", messages=ask)
    print(model, "whole:", whole.content[0].text, whole.stop_reason, whole.usage.input_tokens > 0, whole.usage.output_tokens > 0, bool(whole._request_id))
    with client.messages.stream(model=model, max_tokens=200, messages=ask) as stream:
        text = "".join(stream.text_stream)
        last = stream.get_final_message()
    print(model, "stream:", text, last.stop_reason, last.usage.input_tokens > 0, last.usage.output_tokens > 0)
    called = client.messages.create(model=model, max_tokens=200, messages=ask, tools=tools, tool_choice={"type": "any"})
    call = called.content[-1]
    print(model, "tool:", call.type, call.name, call.input, called.stop_reason)
    with client.messages.stream(model=model, max_tokens=200, messages=ask, tools=tools) as stream:
        last = stream.get_final_message()
    print(model, "tool stream:", last.content[-1].input, last.stop_reason)
    turns = ask + [{"role": "assistant", "content": [{"type": "tool_use", "id": call.id, "name": "look", "input": call.input}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "A cat."}]}]}]
    print(model, "result:", client.messages.create(model=model, max_tokens=200, messages=turns, tools=tools).stop_reason)
alone = client.messages.create(model="nobody", max_tokens=50, messages=ask)
print("nobody:", alone.content[0].text, alone.role)
print("count:", client.messages.count_tokens(model="claude", messages=ask, system="Be kind.").input_tokens > 0)
for wrong in (dict(model="nothing"), dict(model="claude", temperature=3)):
    try:
        client.messages.create(max_tokens=5, messages=ask, extra_body={"temperature": wrong.pop("temperature", None)}, **wrong)
    except anthropic.APIStatusError as error:
        print("error:", type(error).__name__, error.body["error"]["type"], bool(error.request_id))
try:
    anthropic.Anthropic(base_url=sys.argv[1], api_key="wrong", max_retries=0).messages.create(model="claude", max_tokens=5, messages=ask)
except anthropic.AuthenticationError as error:
    print("error:", type(error).__name__, error.body["type"])
"#;

#[tokio::test]
async fn the_official_python_client_of_anthropic_runs_unmodified() {
    let (anthropic, openai) = doubles().await;
    let server = serve(&anthropic, &openai).await;
    let key = server.key().expect("a first key is printed");
    let Some(output) = python::anthropic_client(PYTHON, &[&server.url(), &key]).await else { return };
    let model = |name: &str| {
        format!(
            "{name} whole: {SAID} end_turn True True True\n{name} stream: {SAID} end_turn True True\n\
             {name} tool: tool_use look {{'at': 'door'}} tool_use\n{name} tool stream: {{'at': 'door'}} tool_use\n\
             {name} result: end_turn\n"
        )
    };
    let rest = "nobody: Who keeps the gate? assistant\ncount: True\nerror: NotFoundError not_found_error True\n\
         error: BadRequestError invalid_request_error True\nerror: AuthenticationError error\n";
    assert_eq!(told(&output), model("claude") + &model("gpt") + rest);
    for double in [&anthropic, &openai] {
        assert!(double.violations().is_empty(), "{:?}", double.violations());
    }
}

const NODE: &str = r#"
import Anthropic from '@anthropic-ai/sdk';
const client = new Anthropic({ baseURL: process.argv[1], apiKey: process.argv[2], maxRetries: 0 });
const messages = [{ role: 'user', content: 'Who keeps the gate?' }];
const tools = [{ name: 'look', description: 'Looks.', input_schema: { type: 'object', properties: { at: { type: 'string' } } } }];
for (const model of ['claude', 'gpt']) {
  const whole = await client.messages.create({ model, max_tokens: 200, messages });
  console.log(model, 'whole:', whole.content[0].text, whole.stop_reason, Boolean(whole._request_id));
  const stream = client.messages.stream({ model, max_tokens: 200, messages });
  console.log(model, 'stream:', await stream.finalText());
  const called = await client.messages.create({ model, max_tokens: 200, messages, tools });
  console.log(model, 'tool:', JSON.stringify(called.content.at(-1).input), called.stop_reason);
  const last = await client.messages.stream({ model, max_tokens: 200, messages, tools }).finalMessage();
  console.log(model, 'tool stream:', JSON.stringify(last.content.at(-1).input), last.stop_reason);
}
try {
  await client.messages.create({ model: 'nothing', max_tokens: 5, messages });
} catch (error) {
  console.log('error:', error.constructor.name, error.status, Boolean(error.requestID));
}
"#;

#[tokio::test]
async fn the_official_javascript_client_of_anthropic_runs_unmodified() {
    let (anthropic, openai) = doubles().await;
    let server = serve(&anthropic, &openai).await;
    let key = server.key().expect("a first key is printed");
    let Some(output) = node::run(NODE, &[&server.url(), &key]).await else { return };
    let model = |name: &str| {
        format!(
            "{name} whole: {SAID} end_turn true\n{name} stream: {SAID}\n{name} tool: {{\"at\":\"door\"}} tool_use\n\
             {name} tool stream: {{\"at\":\"door\"}} tool_use\n"
        )
    };
    assert_eq!(told(&output), model("claude") + &model("gpt") + "error: NotFoundError 404 true\n");
    for double in [&anthropic, &openai] {
        assert!(double.violations().is_empty(), "{:?}", double.violations());
    }
}

fn ask(model: &str, stream: bool) -> Value {
    json!({"model": model, "max_tokens": 100, "stream": stream, "messages": [{"role": "user", "content": "Who?"}]})
}

#[tokio::test]
async fn callers_of_openai_are_served_by_anthropic_and_told_what_was_dropped() {
    let (anthropic, openai) = (OpenAi::with(upstream::Options::anthropic()).await, OpenAi::start().await);
    let server = serve(&anthropic, &openai).await;
    let (address, key) = (server.address(), server.key().unwrap());
    let mut body = chat(false);
    body["model"] = "claude".into();
    body["seed"] = 7.into();
    body["temperature"] = 1.5.into();
    body["logit_bias"] = json!({"1": 2});
    let answer = post(address, "/v1/chat/completions", &key, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-portcullis-dropped"), "seed,logit_bias");
    let said = answer.json();
    assert_eq!(
        (&said["object"], &said["choices"][0]["finish_reason"]),
        (&"chat.completion".into(), &"stop".into())
    );
    assert_eq!(said["choices"][0]["message"]["content"], SAID);
    assert!(said["usage"]["prompt_tokens"].as_u64() > Some(0), "{said}");
    body["stream"] = true.into();
    body["reasoning_effort"] = "low".into();
    let stream = open(address, request(Method::POST, "/v1/chat/completions", &key, &body)).await.unwrap();
    let (text, clean) = stream.rest().await;
    assert!(clean && text.contains("chat.completion.chunk") && text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(text.contains("\"reasoning_content\":\"Who is there?\""), "{text}");
    let sent = &anthropic.received()[1];
    assert_eq!(sent.json["thinking"], json!({"type": "adaptive"}), "a name newer than our table");
    assert_eq!(sent.json["output_config"], json!({"effort": "low"}));
    assert!(anthropic.violations().is_empty(), "{:?}", anthropic.violations());
}

#[tokio::test]
async fn errors_of_anthropic_reach_callers_in_their_own_format() {
    let (anthropic, openai) = (OpenAi::with(upstream::Options::anthropic()).await, OpenAi::start().await);
    let server = serve(&anthropic, &openai).await;
    let (address, key) = (server.address(), server.key().unwrap());
    anthropic.always(Behaviour::anthropic_error(529, "overloaded_error", "Overloaded"));
    let answer = post(address, "/v1/messages", &key, &ask("claude", false)).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["type"]), (529, &"overloaded_error".into()));
    assert!(answer.headers.contains_key("retry-after") && answer.headers.contains_key("request-id"));
    let mut body = chat(false);
    body["model"] = "claude".into();
    assert_eq!(post(address, "/v1/chat/completions", &key, &body).await.status, 503);
    let wrong = "messages: text content blocks must be non-empty";
    anthropic.always(Behaviour::anthropic_error(400, "invalid_request_error", wrong));
    let answer = post(address, "/v1/messages", &key, &ask("claude", false)).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["message"]), (400, &wrong.into()));
}

#[tokio::test]
async fn a_stream_that_breaks_off_never_looks_finished_in_this_format() {
    let (anthropic, openai) = (OpenAi::with(upstream::Options::anthropic()).await, OpenAi::start().await);
    let server = serve(&anthropic, &openai).await;
    let (address, key) = (server.address(), server.key().unwrap());
    for (double, model, behaviour) in [
        (&anthropic, "claude", Behaviour::EndAfter(5)),
        (&anthropic, "claude", Behaviour::ErrorEventAfter(5)),
        (&openai, "gpt", Behaviour::EndAfter(3)),
    ] {
        double.next(behaviour.clone());
        let stream =
            open(address, request(Method::POST, "/v1/messages", &key, &ask(model, true))).await.unwrap();
        assert_eq!(stream.status, 200);
        let (text, _) = stream.rest().await;
        assert!(text.starts_with("event: message_start\n"), "{behaviour:?}: {text}");
        assert!(text.contains("event: error\ndata: {\"type\":\"error\""), "{behaviour:?}: {text}");
        assert!(!text.contains("message_stop") && !text.contains("DONE"), "{behaviour:?}: {text}");
    }
    // An error right behind the opening comes while another target could still answer: no stream was begun.
    anthropic.next_times(3, &Behaviour::ErrorEventAfter(1));
    let early = post(address, "/v1/messages", &key, &ask("claude", true)).await;
    assert_eq!((early.status.as_u16(), &early.json()["type"]), (529, &"error".into()), "{early:?}");
}
