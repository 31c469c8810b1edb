//! Google's format from outside: its official clients against the server, in front of a double of Google, of OpenAI,
//! and of nobody; and callers of OpenAI's format in front of the double of Google.

use crate::support::{BINARY, WIDE, call, chat, get, open, post, request};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use portcullis_testkit::{
    node,
    process::{Options, Server},
    python,
    upstream::{self, Behaviour, OpenAi, Reply},
};
use serde_json::{Value, json};

const SAID: &str = "The gate is open and the guard is awake.";

/// A server with the routes `gem`, `gpt` and `nobody` (the builtin model), and vectors of each.
async fn serve(gemini: &OpenAi, openai: &OpenAi) -> Server {
    let text = format!(
        "[providers.gemini]\nbase_url = \"{}\"\nmodels = [\"gemini-3-double\", \"embed-double\"]\n\
         [providers.openai]\nbase_url = \"{}\"\nmodels = [\"gpt-double\", \"embed-double\"]\n{WIDE}\n\
         [routes.gem]\ntargets = [{{ provider = \"gemini\", model = \"gemini-3-double\" }}]\n\
         [routes.gpt]\ntargets = [{{ provider = \"openai\", model = \"gpt-double\" }}]\n\
         [routes.nobody]\ntargets = [{{ provider = \"builtin\", model = \"echo\" }}]\n\
         [routes.gem-embed]\ntargets = [{{ provider = \"gemini\", model = \"embed-double\" }}]\n\
         [routes.gpt-embed]\ntargets = [{{ provider = \"openai\", model = \"embed-double\" }}]\n\
         [routes.nobody-embed]\ntargets = [{{ provider = \"builtin\", model = \"embed\" }}]\n",
        gemini.base_url(),
        openai.base_url(),
    );
    let options =
        Options::config(text).env("GEMINI_API_KEY", gemini.key()).env("OPENAI_API_KEY", openai.key());
    Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("it did not start: {refused:?}"))
}

async fn pair() -> (OpenAi, OpenAi) {
    (OpenAi::with(upstream::Options::gemini()).await, OpenAi::start().await)
}

/// Both doubles answer, stream, call a tool, stream a call, and answer again.
async fn doubles() -> (OpenAi, OpenAi) {
    let (gemini, openai) = pair().await;
    for double in [&gemini, &openai] {
        let call = Reply::ToolCall { name: "look".into(), arguments: "{\"at\":\"door\"}".into() };
        let call = Behaviour::Say(call);
        for behaviour in [Behaviour::Answer, Behaviour::Answer, call.clone(), call, Behaviour::Answer] {
            double.next(behaviour);
        }
    }
    (gemini, openai)
}

fn told(output: &std::process::Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn honest(doubles: &[&OpenAi]) {
    for double in doubles {
        assert!(double.violations().is_empty(), "{:?}", double.violations());
    }
}

const PYTHON: &str = r#"
import sys
from google import genai
from google.genai import errors, types
def client(key):
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=sys.argv[1]))
ai = client(sys.argv[2])
ask = "Who keeps the gate?"
tool = types.Tool(function_declarations=[types.FunctionDeclaration(name="look", description="Looks.",
    parameters=types.Schema(type="OBJECT", properties={"at": types.Schema(type="STRING")}))])
offer = types.GenerateContentConfig(tools=[tool], tool_config=types.ToolConfig(
    function_calling_config=types.FunctionCallingConfig(mode="ANY")))
for model in ("gem", "gpt"):
    whole = ai.models.generate_content(model=model, contents=ask, config=types.GenerateContentConfig(
        system_instruction="Be kind.", temperature=0.5, max_output_tokens=200))
    used = whole.usage_metadata
    print(model, "whole:", whole.text, whole.candidates[0].finish_reason.value, used.prompt_token_count > 0,
        used.candidates_token_count > 0, bool(whole.response_id))
    chunks = list(ai.models.generate_content_stream(model=model, contents=ask))
    print(model, "stream:", "".join(c.text or "" for c in chunks), chunks[-1].candidates[0].finish_reason.value,
        chunks[-1].usage_metadata.total_token_count > 0, len(chunks) > 2)
    called = ai.models.generate_content(model=model, contents=ask, config=offer)
    print(model, "tool:", called.function_calls[0].name, called.function_calls[0].args)
    calls = [call for c in ai.models.generate_content_stream(model=model, contents=ask, config=offer)
        for call in c.function_calls or []]
    print(model, "tool stream:", [(call.name, call.args) for call in calls])
    turns = [types.Content(role="user", parts=[types.Part(text=ask)]), called.candidates[0].content,
        types.Content(role="user", parts=[types.Part.from_function_response(name="look", response={"result": "A cat."})])]
    print(model, "result:", ai.models.generate_content(model=model, contents=turns,
        config=types.GenerateContentConfig(tools=[tool])).text)
    vectors = ai.models.embed_content(model=model + "-embed", contents=["a gate", "a door"],
        config=types.EmbedContentConfig(output_dimensionality=8, task_type="RETRIEVAL_QUERY"))
    print(model, "vectors:", [len(v.values) for v in vectors.embeddings])
alone = ai.models.generate_content(model="nobody", contents=ask)
print("nobody:", alone.text, alone.candidates[0].content.role)
print("nobody vectors:", [len(v.values) for v in ai.models.embed_content(model="nobody-embed", contents="a gate").embeddings])
print("count:", ai.models.count_tokens(model="gem", contents=ask).total_tokens > 0)
names = {m.name: m for m in ai.models.list()}
print("models:", "models/gem" in names, names["models/gem"].supported_actions, names["models/gem-embed"].supported_actions)
print("model:", ai.models.get(model="gem").display_name)
stranger = client("pcl_wrong")
for call in (
    lambda: ai.models.generate_content(model="nothing", contents=ask),
    lambda: ai.models.generate_content(model="gem", contents=ask, config={"temperature": 3}),
    lambda: stranger.models.generate_content(model="gem", contents=ask),
):
    try:
        call()
        print("no error")
    except errors.APIError as error:
        print("error:", type(error).__name__, error.code, error.status)
"#;

#[tokio::test]
async fn the_official_python_client_of_google_runs_unmodified() {
    let (gemini, openai) = doubles().await;
    let server = serve(&gemini, &openai).await;
    let key = server.key().expect("a first key is printed");
    let Some(output) = python::google_client(PYTHON, &[&server.url(), &key]).await else { return };
    let model = |name: &str| {
        format!(
            "{name} whole: {SAID} STOP True True True\n{name} stream: {SAID} STOP True True\n\
             {name} tool: look {{'at': 'door'}}\n{name} tool stream: [('look', {{'at': 'door'}})]\n\
             {name} result: {SAID}\n{name} vectors: [8, 8]\n"
        )
    };
    let rest = "nobody: Who keeps the gate? model\nnobody vectors: [384]\ncount: True\n\
         models: True ['generateContent', 'streamGenerateContent', 'countTokens'] ['embedContent', 'batchEmbedContents']\n\
         model: gem\nerror: ClientError 404 NOT_FOUND\nerror: ClientError 400 INVALID_ARGUMENT\n\
         error: ClientError 401 UNAUTHENTICATED\n";
    assert_eq!(told(&output), model("gem") + &model("gpt") + rest);
    honest(&[&gemini, &openai]);
    let embeds = gemini.received().into_iter().find(|seen| seen.target.contains("batchEmbed")).unwrap();
    assert_eq!(embeds.json["requests"][0]["taskType"], "RETRIEVAL_QUERY", "kept where it is understood");
}

const NODE: &str = r#"
import { GoogleGenAI } from '@google/genai';
const client = (apiKey) => new GoogleGenAI({ apiKey, httpOptions: { baseUrl: process.argv[1] } });
const ai = client(process.argv[2]);
const contents = 'Who keeps the gate?';
const config = { tools: [{ functionDeclarations: [{ name: 'look', description: 'Looks.',
  parametersJsonSchema: { type: 'object', properties: { at: { type: 'string' } } } }] }] };
for (const model of ['gem', 'gpt']) {
  const whole = await ai.models.generateContent({ model, contents });
  console.log(model, 'whole:', whole.text, whole.candidates[0].finishReason);
  let text = '', last;
  for await (const chunk of await ai.models.generateContentStream({ model, contents })) {
    text += chunk.text ?? '';
    last = chunk;
  }
  console.log(model, 'stream:', text, last.candidates[0].finishReason, last.usageMetadata.totalTokenCount > 0);
  const called = await ai.models.generateContent({ model, contents, config });
  console.log(model, 'tool:', JSON.stringify(called.functionCalls[0].args));
  const calls = [];
  for await (const chunk of await ai.models.generateContentStream({ model, contents, config })) {
    calls.push(...(chunk.functionCalls ?? []));
  }
  console.log(model, 'tool stream:', calls.length, JSON.stringify(calls[0].args));
  const { embeddings } = await ai.models.embedContent({ model: `${model}-embed`, contents: ['a gate', 'a door'],
    config: { outputDimensionality: 8 } });
  console.log(model, 'vectors:', embeddings.map((one) => one.values.length).join(),
    embeddings[0].values.some((number, at) => number !== embeddings[1].values[at]));
}
try {
  await ai.models.generateContent({ model: 'nothing', contents });
} catch (error) {
  console.log('error:', error.constructor.name, error.status);
}
try {
  await client('pcl_wrong').models.generateContent({ model: 'gem', contents });
} catch (error) {
  console.log('error:', error.constructor.name, error.status);
}
"#;

#[tokio::test]
async fn the_official_javascript_client_of_google_runs_unmodified() {
    let (gemini, openai) = doubles().await;
    let server = serve(&gemini, &openai).await;
    let key = server.key().expect("a first key is printed");
    let Some(output) = node::run(NODE, &[&server.url(), &key]).await else { return };
    let model = |name: &str| {
        format!(
            "{name} whole: {SAID} STOP\n{name} stream: {SAID} STOP true\n{name} tool: {{\"at\":\"door\"}}\n\
             {name} tool stream: 1 {{\"at\":\"door\"}}\n{name} vectors: 8,8 true\n"
        )
    };
    let errors = "error: ApiError 404\nerror: ApiError 401\n";
    assert_eq!(told(&output), model("gem") + &model("gpt") + errors);
    honest(&[&gemini, &openai]);
}

fn ask() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "Who?"}]}]})
}

/// A request as Google's clients send it, its key where the test says.
fn google(path: &str, header: Option<&str>, body: &Value) -> Request<Full<Bytes>> {
    let mut builder = Request::post(path).header("host", "test").header("content-type", "application/json");
    if let Some(key) = header {
        builder = builder.header("x-goog-api-key", key);
    }
    builder.body(Full::new(body.to_string().into())).expect("a request")
}

// req: S0-04
#[tokio::test]
async fn every_request_to_google_says_its_safety_settings_whoever_wrote_it_and_callers_only_tighten() {
    let (gemini, openai) = pair().await;
    let server = serve(&gemini, &openai).await;
    let (address, key) = (server.address(), server.key().unwrap());
    let mut body = chat(false);
    body["model"] = "gem".into();
    assert_eq!(post(address, "/v1/chat/completions", &key, &body).await.status, 200);
    let mut own = ask();
    own["safetySettings"] = json!([
        {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"},
        {"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_LOW_AND_ABOVE"},
    ]);
    assert_eq!(post(address, "/v1beta/models/gem:generateContent", &key, &own).await.status, 200);
    honest(&[&gemini]);
    let sent = gemini.received();
    let threshold = |index: usize, category: &str| {
        let settings = sent[index].json["safetySettings"].as_array().unwrap().clone();
        let found = settings.iter().find(|it| it["category"] == format!("HARM_CATEGORY_{category}")).unwrap();
        found["threshold"].as_str().unwrap().to_owned()
    };
    assert_eq!(threshold(0, "HARASSMENT"), "BLOCK_MEDIUM_AND_ABOVE");
    assert_eq!(threshold(1, "HARASSMENT"), "BLOCK_MEDIUM_AND_ABOVE", "never loosened");
    assert_eq!(threshold(1, "HATE_SPEECH"), "BLOCK_LOW_AND_ABOVE", "tightened");
}

#[tokio::test]
async fn callers_of_openai_are_served_by_google_and_told_what_was_dropped() {
    let (gemini, openai) = pair().await;
    let server = serve(&gemini, &openai).await;
    let (address, key) = (server.address(), server.key().unwrap());
    let mut body = chat(false);
    body["model"] = "gem".into();
    body["user"] = "u".into();
    body["logit_bias"] = json!({"1": 2});
    let answer = post(address, "/v1/chat/completions", &key, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-portcullis-dropped"), "user,logit_bias");
    assert_eq!(answer.json()["choices"][0]["message"]["content"], SAID);
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    let stream = open(address, request(Method::POST, "/v1/chat/completions", &key, &body)).await.unwrap();
    let (text, clean) = stream.rest().await;
    assert!(clean && text.contains("chat.completion.chunk") && text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(text.contains("\"completion_tokens\":9"), "{text}");
    // A tool's result goes back although OpenAI's clients keep no signature.
    let call = Reply::ToolCall { name: "look".into(), arguments: "{\"at\":\"door\"}".into() };
    gemini.next(Behaviour::Say(call));
    let mut body = chat(false);
    body["model"] = "gem".into();
    body["tools"] =
        json!([{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]);
    let answer = post(address, "/v1/chat/completions", &key, &body).await.json();
    let message = &answer["choices"][0]["message"];
    let id = message["tool_calls"][0]["id"].as_str().unwrap();
    assert!(id.starts_with("call_0_"), "{message}");
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    let call = json!({"id": id, "type": "function", "function": message["tool_calls"][0]["function"]});
    let turns = body["messages"].as_array_mut().unwrap();
    turns.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
    turns.push(json!({"role": "tool", "tool_call_id": id, "content": "A cat."}));
    let answer = post(address, "/v1/chat/completions", &key, &body).await;
    assert_eq!((answer.status.as_u16(), gemini.violations()), (200, vec![]));
    let vectors = json!({"model": "gem-embed", "input": ["a gate", "a door"], "dimensions": 4});
    let vectors = post(address, "/v1/embeddings", &key, &vectors).await.json();
    assert_eq!(vectors["data"][1]["embedding"].as_array().map(Vec::len), Some(4), "{vectors}");
    honest(&[&gemini]);
}

#[tokio::test]
async fn a_refused_prompt_is_told_in_each_callers_own_words() {
    let (gemini, openai) = pair().await;
    let server = serve(&gemini, &openai).await;
    let (address, key) = (server.address(), server.key().unwrap());
    gemini.next(Behaviour::gemini_blocked(false));
    let own = post(address, "/v1beta/models/gem:generateContent", &key, &ask()).await;
    assert_eq!(
        (own.status.as_u16(), own.json()["promptFeedback"]["blockReason"].clone()),
        (200, "PROHIBITED_CONTENT".into())
    );
    gemini.next(Behaviour::gemini_blocked(true));
    let own = post(address, "/v1beta/models/gem:streamGenerateContent?alt=sse", &key, &ask()).await;
    assert!(own.status == 200 && own.text().contains("PROHIBITED_CONTENT"), "{own:?}");
    for stream in [false, true] {
        gemini.next(Behaviour::gemini_blocked(stream));
        let mut body = chat(stream);
        body["model"] = "gem".into();
        let answer = post(address, "/v1/chat/completions", &key, &body).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "content_filter".into()), "{answer:?}");
    }
    honest(&[&gemini]);
}

#[tokio::test]
async fn errors_of_google_reach_callers_in_their_own_format() {
    let (gemini, openai) = pair().await;
    let server = serve(&gemini, &openai).await;
    let (address, key) = (server.address(), server.key().unwrap());
    let path = "/v1beta/models/gem:generateContent";
    let wrong = "contents: a part must not be empty";
    gemini.always(Behaviour::gemini_error(400, "INVALID_ARGUMENT", wrong, vec![]));
    let answer = post(address, path, &key, &ask()).await;
    let error = answer.json()["error"].clone();
    assert_eq!(
        (&error["code"], &error["status"], &error["message"]),
        (&400.into(), &"INVALID_ARGUMENT".into(), &wrong.into())
    );
    gemini.always(Behaviour::gemini_quota(false, 2));
    let answer = post(address, path, &key, &ask()).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]["status"]),
        (429, &"RESOURCE_EXHAUSTED".into())
    );
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=2).contains(&wait), "{answer:?}");
    let details = answer.json()["error"]["details"].to_string();
    assert!(details.contains("google.rpc.RetryInfo"), "{details}");
    let body = answer.text();
    assert!(!body.contains("FreeTier") && !body.contains("127.0.0.1"), "{body}");
}

#[tokio::test]
async fn a_stream_that_breaks_off_never_looks_finished_in_this_format() {
    let (gemini, openai) = pair().await;
    let server = serve(&gemini, &openai).await;
    let (address, key) = (server.address(), server.key().unwrap());
    for (double, model, behaviour) in [
        (&gemini, "gem", Behaviour::EndAfter(3)),
        (&gemini, "gem", Behaviour::ErrorEventAfter(3)),
        (&openai, "gpt", Behaviour::EndAfter(3)),
    ] {
        for query in ["?alt=sse", ""] {
            double.next(behaviour.clone());
            let path = format!("/v1beta/models/{model}:streamGenerateContent{query}");
            let stream = open(address, request(Method::POST, &path, &key, &ask())).await.unwrap();
            assert_eq!(stream.status, 200);
            let (text, _) = stream.rest().await;
            assert!(text.contains("{\"error\":{\"code\":502"), "{behaviour:?} {query}: {text}");
            assert!(!text.contains("finishReason") && !text.contains("DONE"), "{behaviour:?}: {text}");
        }
    }
}

#[tokio::test]
async fn keys_in_the_header_or_the_address_open_the_door_and_no_log_holds_an_address() {
    let (gemini, openai) = pair().await;
    let server = serve(&gemini, &openai).await;
    let (address, key) = (server.address(), server.key().unwrap());
    let path = "/v1beta/models/gem:generateContent";
    assert_eq!(call(address, google(path, Some(&key), &ask())).await.status, 200);
    assert_eq!(call(address, google(&format!("{path}?key={key}"), None, &ask())).await.status, 200);
    let stable = format!("/v1/models/gem:streamGenerateContent?key={key}");
    let array = call(address, google(&stable, None, &ask())).await;
    assert_eq!(array.header("content-type"), "application/json");
    let chunks = array.json();
    let said = chunks
        .as_array()
        .unwrap()
        .iter()
        .map(|chunk| chunk["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap());
    assert_eq!(said.collect::<String>(), SAID);
    let one = json!({"content": {"parts": [{"text": "a gate"}]}});
    let one =
        call(address, google(&format!("/v1beta/models/gem-embed:embedContent?key={key}"), None, &one)).await;
    assert!(one.json()["embedding"]["values"].is_array(), "{one:?}");
    let wrong = call(address, google(&format!("{path}?key=pcl_told_nobody"), None, &ask())).await;
    assert_eq!((wrong.status.as_u16(), &wrong.json()["error"]["status"]), (401, &"UNAUTHENTICATED".into()));
    // Google's clients ask for the list below `/v1` too, and are told apart by how they prove themselves.
    let list = get(address, &format!("/v1/models?key={key}"), "").await.json();
    assert!(list["models"].is_array(), "{list}");
    assert!(get(address, "/v1/models", &key).await.json()["data"].is_array());
    // Other paths read no key from the address.
    assert_eq!(post(address, "/v1/chat/completions?key=pcl_told_nobody", "", &chat(false)).await.status, 200);
    let unknown = call(address, google(&format!("/v1beta/models/gem:predict?key={key}"), None, &ask())).await;
    assert_eq!((unknown.status.as_u16(), &unknown.json()["error"]["status"]), (404, &"NOT_FOUND".into()));
    let list = get(address, "/v1beta/models", &key).await.json();
    assert!(list["models"].as_array().unwrap().iter().any(|model| model["name"] == "models/gem"), "{list}");
    honest(&[&gemini]);
    let said = server.stdout() + &server.stderr();
    assert!(!said.contains("pcl_told_nobody") && !said.contains("?key="), "{said}");
}
