//! OpenAI's formats from outside: the official clients against the server, in front of a double that takes responses
//! (they are forwarded whole), of one that knows chat only, of Anthropic, and of nobody.

use crate::support::{BINARY, WIDE, get, post, serve};
use portcullis_testkit::{
    node,
    process::{Options, Server},
    python,
    upstream::{self, Behaviour, OpenAi, Reply},
};
use serde_json::json;

const SAID: &str = "The gate is open and the guard is awake.";

/// Doubles of OpenAI, of a server that knows chat only, and of Anthropic.
struct Doubles {
    openai: OpenAi,
    chat: OpenAi,
    anthropic: OpenAi,
}

impl Doubles {
    async fn start() -> Self {
        let openai = OpenAi::start().await;
        let (chat, anthropic) = (OpenAi::start().await, OpenAi::with(upstream::Options::anthropic()).await);
        Self { openai, chat, anthropic }
    }

    fn all(&self) -> [&OpenAi; 3] {
        [&self.openai, &self.chat, &self.anthropic]
    }

    /// What each says, in turn.
    fn script(&self, behaviours: &[Behaviour]) {
        for double in self.all() {
            behaviours.iter().for_each(|behaviour| double.next(behaviour.clone()));
        }
    }

    fn check(&self) {
        for double in self.all() {
            assert!(double.violations().is_empty(), "{:?}", double.violations());
        }
    }

    /// A server with the routes `whole`, `chat`, `claude` and `nobody` (the builtin model).
    async fn serve(&self) -> Server {
        let text = format!(
            "[providers.openai]\nbase_url = \"{}\"\nmodels = [\"gpt-double\"]\n\
             [providers.small]\nbase_url = \"{}\"\nkey_secret = \"small_key\"\nmodels = [\"gpt-double\"]\n\
             [providers.anthropic]\nbase_url = \"{}\"\nmodels = [\"claude-double\"]\n{WIDE}\n\
             [routes.whole]\ntargets = [{{ provider = \"openai\", model = \"gpt-double\" }}]\n\
             [routes.chat]\ntargets = [{{ provider = \"small\", model = \"gpt-double\" }}]\n\
             [routes.claude]\ntargets = [{{ provider = \"anthropic\", model = \"claude-double\" }}]\n\
             [routes.nobody]\ntargets = [{{ provider = \"builtin\", model = \"echo\" }}]\n",
            self.openai.base_url(),
            self.chat.base_url(),
            self.anthropic.base_url(),
        );
        let options = Options::config(text)
            .env("OPENAI_API_KEY", self.openai.key())
            .env("SMALL_KEY", self.chat.key())
            .env("ANTHROPIC_API_KEY", self.anthropic.key());
        Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("it did not start: {refused:?}"))
    }
}

fn call() -> Behaviour {
    Behaviour::Say(Reply::ToolCall { name: "look".into(), arguments: "{\"at\":\"door\"}".into() })
}

fn json_words() -> Behaviour {
    Behaviour::Say(Reply::Text("{\"word\":\"gate\"}".into()))
}

fn told(output: &std::process::Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

const PYTHON: &str = r#"
import sys, openai, pydantic
from openai.types.responses import Response, ResponseStreamEvent
client = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
sound = pydantic.TypeAdapter(ResponseStreamEvent).validate_python
tools = [{"type": "function", "name": "look", "description": "Looks.", "strict": False,
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}]
class Word(pydantic.BaseModel):
    word: str
for model in ("whole", "chat", "claude"):
    whole = client.responses.create(model=model, input="Who keeps the gate?", instructions="Be kind.", store=True,
        metadata={"run": "7"}, max_output_tokens=300)
    Response.model_validate(whole.to_dict())
    print(model, "whole:", whole.output_text, whole.status, whole.usage.input_tokens > 0, whole.usage.output_tokens > 0)
    print(model, "echo:", whole.instructions, whole.metadata, whole.max_output_tokens, whole.store, whole.id[:5], whole.output[-1].id[:4])
    with client.responses.stream(model=model, input=[{"role": "user", "content": "Who keeps the gate?"}]) as stream:
        events = list(stream)
        last = stream.get_final_response()
    raw = list(client.responses.create(model=model, input="Who?", stream=True))
    [sound(event.to_dict()) for event in raw]
    print(model, "stream:", last.output_text, [event.sequence_number for event in raw] == list(range(len(raw))),
        raw[0].type, raw[1].type, raw[-1].type)
    called = client.responses.create(model=model, input="Look.", tools=tools, tool_choice="required")
    Response.model_validate(called.to_dict())
    item = called.output[-1]
    print(model, "tool:", item.type, item.name, item.arguments, item.id[:3], called.status)
    raw = list(client.responses.create(model=model, input="Look.", tools=tools, stream=True))
    [sound(event.to_dict()) for event in raw]
    pieces = "".join(event.delta for event in raw if event.type == "response.function_call_arguments.delta")
    print(model, "tool stream:", pieces, raw[-1].response.output[-1].call_id == item.call_id)
    turns = [{"role": "user", "content": "Look."}] + [one.to_dict() for one in called.output] + [
        {"type": "function_call_output", "call_id": item.call_id, "output": "A cat."}]
    print(model, "result:", client.responses.create(model=model, input=turns, tools=tools).output_text)
    print(model, "schema:", client.responses.parse(model=model, input="Word?", text_format=Word).output_parsed)
alone = client.responses.create(model="nobody", input="Who keeps the gate?")
Response.model_validate(alone.to_dict())
print("nobody:", alone.output_text)
parts = [sound(event.to_dict()).type for event in client.responses.create(model="nobody", input="Who?", stream=True)]
print("nobody:", parts[0], parts[-1])
for kind, call in [
    (openai.BadRequestError, lambda: client.responses.create(model="whole", input="a", previous_response_id="resp_1")),
    (openai.BadRequestError, lambda: client.responses.create(model="whole", input="a", tools=[{"type": "web_search"}])),
    (openai.NotFoundError, lambda: client.responses.create(model="nothing", input="a")),
    (openai.NotFoundError, lambda: client.responses.retrieve("resp_1")),
    (openai.AuthenticationError, lambda: openai.OpenAI(base_url=sys.argv[1], api_key="wrong", max_retries=0).responses.create(model="whole", input="a")),
]:
    try:
        call()
        print("no error")
    except kind as error:
        print("error:", kind.__name__, error.code, error.param, error.body["request_id"][:4])
"#;

#[tokio::test]
async fn the_official_python_client_runs_responses_unmodified() {
    let doubles = Doubles::start().await;
    let (words, tool) = (Behaviour::Answer, call());
    doubles.script(&[
        words.clone(),
        words.clone(),
        words.clone(),
        tool.clone(),
        tool,
        words.clone(),
        json_words(),
    ]);
    let server = doubles.serve().await;
    let key = server.key().expect("a first key is printed");
    let base = format!("{}/v1", server.url());
    let Some(output) = python::openai_client(PYTHON, &[&base, &key]).await else { return };
    let model = |name: &str| {
        format!(
            "{name} whole: {SAID} completed True True\n\
             {name} echo: Be kind. {{'run': '7'}} 300 False resp_ msg_\n\
             {name} stream: {SAID} True response.created response.in_progress response.completed\n\
             {name} tool: function_call look {{\"at\":\"door\"}} fc_ completed\n\
             {name} tool stream: {{\"at\":\"door\"}} True\n{name} result: {SAID}\n{name} schema: word='gate'\n"
        )
    };
    let rest = "nobody: Who keeps the gate?\nnobody: response.created response.completed\n\
         error: BadRequestError unsupported_parameter previous_response_id req_\n\
         error: BadRequestError unsupported_parameter tools[0].type req_\n\
         error: NotFoundError model_not_found None req_\nerror: NotFoundError model_not_found None req_\n\
         error: AuthenticationError invalid_api_key None req_\n";
    assert_eq!(told(&output), model("whole") + &model("chat") + &model("claude") + rest);
    doubles.check();
    for sent in doubles.openai.received() {
        assert!(sent.target.ends_with("/responses"), "{}", sent.target);
        assert_eq!((&sent.json["store"], &sent.json["model"]), (&false.into(), &"gpt-double".into()));
    }
}

const CHAT: &str = r#"
import sys, openai, pydantic
client = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
ask = [{"role": "user", "content": [{"type": "text", "text": "Who keeps the gate?"}]}]
tools = [{"type": "function", "function": {"name": "look", "description": "Looks.",
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}}]
class Word(pydantic.BaseModel):
    word: str
for model in ("whole", "chat", "claude"):
    called = client.chat.completions.create(model=model, messages=ask, tools=tools, tool_choice="required").choices[0]
    call = called.message.tool_calls[0]
    print(model, "tool:", call.function.name, call.function.arguments, called.finish_reason)
    with client.chat.completions.stream(model=model, messages=ask, tools=tools) as stream:
        last = stream.get_final_completion().choices[0]
    print(model, "tool stream:", last.message.tool_calls[0].function.arguments, last.finish_reason)
    turns = ask + [called.message.to_dict(), {"role": "tool", "tool_call_id": call.id, "content": "A cat."}]
    print(model, "result:", client.chat.completions.create(model=model, messages=turns, tools=tools).choices[0].message.content)
    shaped = client.chat.completions.parse(model=model, messages=ask, response_format=Word)
    print(model, "schema:", shaped.choices[0].message.parsed)
"#;

#[tokio::test]
async fn the_official_python_client_runs_tools_and_schemas_in_chat() {
    let doubles = Doubles::start().await;
    doubles.script(&[call(), call(), Behaviour::Answer, json_words()]);
    let server = doubles.serve().await;
    let key = server.key().expect("a first key is printed");
    let Some(output) = python::openai_client(CHAT, &[&format!("{}/v1", server.url()), &key]).await else {
        return;
    };
    let model = |name: &str| {
        format!(
            "{name} tool: look {{\"at\":\"door\"}} tool_calls\n{name} tool stream: {{\"at\":\"door\"}} tool_calls\n\
             {name} result: {SAID}\n{name} schema: word='gate'\n"
        )
    };
    assert_eq!(told(&output), model("whole") + &model("chat") + &model("claude"));
    doubles.check();
}

const NODE: &str = r#"
import OpenAI from 'openai';
const [baseURL, apiKey] = process.argv.slice(1);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const parameters = { type: 'object', properties: { at: { type: 'string' } } };
const messages = [{ role: 'user', content: 'Who keeps the gate?' }];
for (const model of ['whole', 'chat', 'claude']) {
  const whole = await client.responses.create({ model, input: 'Who keeps the gate?' });
  console.log(model, 'whole:', whole.output_text, whole.status, whole._request_id.slice(0, 4));
  const stream = client.responses.stream({ model, input: 'Who?' });
  let pieces = '';
  stream.on('response.output_text.delta', (event) => (pieces += event.delta));
  const last = await stream.finalResponse();
  console.log(model, 'stream:', pieces === last.output_text, last.output_text);
  const tools = [{ type: 'function', name: 'look', parameters, strict: false }];
  const called = await client.responses.stream({ model, input: 'Look.', tools }).finalResponse();
  console.log(model, 'tool:', called.output.at(-1).name, called.output.at(-1).arguments);
  const spoken = await client.chat.completions.create({ model, messages });
  console.log(model, 'chat:', spoken.choices[0].message.content, spoken.choices[0].finish_reason);
  let words = '';
  for await (const chunk of await client.chat.completions.create({ model, messages, stream: true }))
    words += chunk.choices[0]?.delta?.content ?? '';
  console.log(model, 'chat stream:', words);
  const chatTools = [{ type: 'function', function: { name: 'look', parameters } }];
  const asked = await client.chat.completions.create({ model, messages, tools: chatTools });
  console.log(model, 'chat tool:', asked.choices[0].message.tool_calls[0].function.arguments);
  const running = client.chat.completions.stream({ model, messages, tools: chatTools });
  const [end] = (await running.finalChatCompletion()).choices;
  console.log(model, 'chat tool stream:', end.message.tool_calls[0].function.name,
    end.message.tool_calls[0].function.arguments, end.finish_reason);
  const schema = { type: 'object', properties: { word: { type: 'string' } }, required: ['word'], additionalProperties: false };
  const shaped = await client.chat.completions.parse({ model, messages,
    response_format: { type: 'json_schema', json_schema: { name: 'word', schema, strict: true } } });
  console.log(model, 'chat schema:', JSON.parse(shaped.choices[0].message.content).word);
}
const list = [];
for await (const one of client.models.list()) list.push(one.id);
console.log('models:', list.includes('whole'), (await client.models.retrieve('claude')).id);
const vectors = await client.embeddings.create({ model: 'builtin/embed', input: ['a gate', 'a door'] });
console.log('vectors:', vectors.data.length, vectors.data[1].embedding.length);
for (const call of [
  () => client.responses.create({ model: 'whole', input: 'a', background: true }),
  () => client.chat.completions.create({ model: 'whole', messages: [] }),
  () => client.chat.completions.create({ model: 'nothing', messages }),
  () => new OpenAI({ baseURL, apiKey: 'wrong', maxRetries: 0 }).models.list(),
]) {
  try {
    await call();
    console.log('no error');
  } catch (error) {
    console.log('error:', error.constructor.name, error.status, error.code, error.param);
  }
}
"#;

#[tokio::test]
async fn the_official_javascript_client_runs_unmodified() {
    let doubles = Doubles::start().await;
    let (words, tool) = (Behaviour::Answer, call());
    doubles.script(&[
        words.clone(),
        words.clone(),
        tool.clone(),
        words.clone(),
        words.clone(),
        tool.clone(),
        tool,
        json_words(),
    ]);
    let server = doubles.serve().await;
    let key = server.key().expect("a first key is printed");
    let Some(output) = node::run(NODE, &[&format!("{}/v1", server.url()), &key]).await else { return };
    let model = |name: &str| {
        format!(
            "{name} whole: {SAID} completed req_\n{name} stream: true {SAID}\n\
             {name} tool: look {{\"at\":\"door\"}}\n{name} chat: {SAID} stop\n{name} chat stream: {SAID}\n\
             {name} chat tool: {{\"at\":\"door\"}}\n\
             {name} chat tool stream: look {{\"at\":\"door\"}} tool_calls\n{name} chat schema: gate\n"
        )
    };
    let rest = "models: true claude\nvectors: 2 384\n\
         error: BadRequestError 400 unsupported_parameter background\n\
         error: BadRequestError 400 invalid_value messages\nerror: NotFoundError 404 model_not_found null\n\
         error: AuthenticationError 401 invalid_api_key null\n";
    assert_eq!(told(&output), model("whole") + &model("chat") + &model("claude") + rest);
    doubles.check();
}

const VECTORS_PYTHON: &str = r#"
import sys, json, base64, struct, openai
client = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
wanted = json.loads(sys.argv[3])
def same(found):
    return [max(abs(a - b) for a, b in zip(*pair, strict=True)) < 1e-6 for pair in zip(found, wanted, strict=True)]
for more in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
    answer = client.embeddings.create(model="embed-double", input=["a gate", "a door"], **more)
    found = [one.embedding for one in answer.data]
    if "base64" in more.values():
        found = [struct.unpack("<16f", base64.b64decode(text, validate=True)) for text in found]
    print(same(found), [one.index for one in answer.data], answer.model, answer.usage.total_tokens)
short = client.embeddings.create(model="embed-double", input="a gate", dimensions=8)
print(len(short.data[0].embedding))
"#;

const VECTORS_NODE: &str = r#"
import OpenAI from 'openai';
const [baseURL, apiKey, vectors] = process.argv.slice(1);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const wanted = JSON.parse(vectors);
for (const more of [{}, { encoding_format: 'float' }, { encoding_format: 'base64' }]) {
  const answer = await client.embeddings.create({ model: 'embed-double', input: ['a gate', 'a door'], ...more });
  const same = answer.data.map(({ embedding, index }) => {
    const bytes = typeof embedding === 'string' && Buffer.from(embedding, 'base64');
    const found = bytes ? wanted[index].map((_, at) => bytes.readFloatLE(at * 4)) : embedding;
    return found.length === wanted[index].length && found.every((one, at) => Math.abs(one - wanted[index][at]) < 1e-6);
  });
  console.log(same.join(), answer.data.map((one) => one.index).join(), answer.model, answer.usage.total_tokens);
}
const short = await client.embeddings.create({ model: 'embed-double', input: 'a gate', dimensions: 8 });
console.log(short.data[0].embedding.length);
"#;

#[tokio::test]
async fn the_official_clients_read_a_providers_vectors_in_both_encodings() {
    let double = OpenAi::start().await;
    let server = serve(&double, &double.base_url(), WIDE).await;
    let key = server.key().expect("a first key is printed");
    // What the provider says itself, asked without a gateway between.
    let body = json!({"model": "embed-double", "input": ["a gate", "a door"]});
    let own = post(double.address(), "/v1/embeddings", &double.key(), &body).await.json();
    let vectors = json!([own["data"][0]["embedding"], own["data"][1]["embedding"]]).to_string();
    let base = format!("{}/v1", server.url());
    let args = [base.as_str(), &key, &vectors];
    for (python, line) in
        [(true, "[True, True] [0, 1] embed-double 4\n"), (false, "true,true 0,1 embed-double 4\n")]
    {
        double.forget();
        let output = if python {
            python::openai_client(VECTORS_PYTHON, &args).await
        } else {
            node::run(VECTORS_NODE, &args).await
        };
        let Some(output) = output else { continue };
        assert_eq!(told(&output), format!("{}8\n", line.repeat(3)));
        assert!(double.violations().is_empty(), "{:?}", double.violations());
        let received = double.received();
        let asked: Vec<_> = received.iter().map(|sent| sent.json["encoding_format"].clone()).collect();
        // Without a word of the caller's these clients ask for base64 and decode it themselves.
        assert_eq!(asked, ["base64", "float", "base64", "base64"]);
    }
}

const FAULTS: &str = r#"
import sys, openai
client = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
ask = [{"role": "user", "content": "Who keeps the gate?"}]
for model in ("whole", "chat", "claude"):
    try:
        said = [event.type for event in client.responses.create(model=model, input="Who?", stream=True)]
        print("it looked finished", said)
    except openai.APIError as error:
        print(model, "broke off:", type(error).__name__, error.code)
for call in (lambda: client.responses.create(model="whole", input="a"),
        lambda: client.chat.completions.create(model="whole", messages=ask),
        lambda: client.responses.create(model="chat", input="a"),
        lambda: client.chat.completions.create(model="chat", messages=ask)):
    try:
        call()
        print("no error")
    except openai.APIStatusError as error:
        print(type(error).__name__, error.status_code, int(error.response.headers["retry-after"]) > 0)
"#;

#[tokio::test]
async fn the_official_client_knows_every_class_of_error_and_a_stream_that_broke_off() {
    let doubles = Doubles::start().await;
    for double in doubles.all() {
        double.next(Behaviour::CutAfter(6));
    }
    doubles.openai.always(Behaviour::server_error());
    // Longer than any caller waits: told at once.
    doubles.chat.always(Behaviour::rate_limited(600));
    let server = doubles.serve().await;
    let key = server.key().expect("a first key is printed");
    let base = format!("{}/v1", server.url());
    let Some(output) = python::openai_client(FAULTS, &[&base, &key]).await else { return };
    let broken = |name: &str| format!("{name} broke off: APIError upstream_interrupted\n");
    let refused = "InternalServerError 503 True\nInternalServerError 503 True\n\
         RateLimitError 429 True\nRateLimitError 429 True\n";
    assert_eq!(told(&output), broken("whole") + &broken("chat") + &broken("claude") + refused);
    doubles.check();
}

#[tokio::test]
async fn answers_are_not_stored_and_what_the_target_cannot_say_is_named() {
    let doubles = Doubles::start().await;
    let server = doubles.serve().await;
    let (address, key) = (server.address(), server.key().unwrap());
    for path in ["/v1/responses/resp_1", "/v1/responses/resp_1/input_items", "/v1/conversations"] {
        let refused = get(address, path, &key).await;
        assert_eq!(refused.status, 404, "{path}");
        assert!(refused.text().contains("not stored here"), "{refused:?}");
    }
    let mut body =
        json!({"model": "chat", "input": "a", "text": {"verbosity": "low"}, "prompt_cache_key": "k"});
    let answer = post(address, "/v1/responses", &key, &body).await;
    assert_eq!(answer.header("x-portcullis-dropped"), "text.verbosity,prompt_cache_key", "{answer:?}");
    body["model"] = "whole".into();
    let answer = post(address, "/v1/responses", &key, &body).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-portcullis-dropped")), (200, ""), "{answer:?}");
    assert_eq!(doubles.openai.received()[0].json["text"], json!({"verbosity": "low"}));
    doubles.check();
}

const ZAI: &str = r#"
import sys
from zai import ZaiClient
client = ZaiClient(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
ask = [{"role": "user", "content": "Who keeps the gate?"}]
whole = client.chat.completions.create(model="default", messages=ask, thinking=None, response_format=None)
print("whole:", whole.choices[0].message.content, whole.usage.total_tokens > 0)
chunks = client.chat.completions.create(model="default", messages=ask, stream=True, temperature=None)
print("stream:", "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices))
tools = [{"type": "function", "function": {"name": "look", "description": "Looks.",
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}}]
called = client.chat.completions.create(model="default", messages=ask, tools=tools, tool_choice="auto").choices[0]
call = called.message.tool_calls[0]
print("tool:", call.type, call.function.name, call.function.arguments, called.finish_reason)
chunks = [chunk.choices[0] for chunk in client.chat.completions.create(model="default", messages=ask, tools=tools,
    tool_choice="auto", stream=True, extra_body={"tool_stream": True}) if chunk.choices]
pieces = [piece.function for chunk in chunks for piece in chunk.delta.tool_calls or []]
print("tool stream:", pieces[0].name, "".join(piece.arguments or "" for piece in pieces), chunks[-1].finish_reason)
turns = ask + [called.message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "A cat."}]
last = client.chat.completions.create(model="default", messages=turns, tools=tools)
print("result:", last.choices[0].message.content)
vectors = client.embeddings.create(model="embed-double", input=["a gate", "a door"], dimensions=8)
print("vectors:", [len(one.embedding) for one in vectors.data], vectors.usage.total_tokens)
"#;

#[tokio::test]
async fn the_official_client_of_zai_runs_unmodified() {
    let double = OpenAi::start().await;
    let server = serve(&double, &double.base_url(), WIDE).await;
    let key = server.key().expect("a first key is printed");
    [Behaviour::Answer, Behaviour::Answer, call(), call()].into_iter().for_each(|said| double.next(said));
    let Some(output) = python::zai_client(ZAI, &[&format!("{}/v1/", server.url()), &key]).await else {
        return;
    };
    let wanted = format!(
        "whole: {SAID} True\nstream: {SAID}\ntool: function look {{\"at\":\"door\"}} tool_calls\n\
         tool stream: look {{\"at\":\"door\"}} tool_calls\nresult: {SAID}\nvectors: [8, 8] 4\n"
    );
    assert_eq!(told(&output), wanted);
    assert!(double.violations().is_empty(), "{:?}", double.violations());
}
