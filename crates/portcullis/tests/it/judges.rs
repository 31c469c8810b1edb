//! Independent judges: the official OpenAI client unmodified, schemathesis on the published description, and a real
//! small language model behind the gateway.

use crate::support::{BINARY, WIDE, chat, open, post, request, serve};
use http::Method;
use portcullis_testkit::{
    llm,
    process::{Options, Server},
    python,
    upstream::{Behaviour, OpenAi},
};

const CLIENT: &str = r#"
import sys, openai
base, key = sys.argv[1], sys.argv[2]
client = openai.OpenAI(base_url=base, api_key=key, max_retries=0)
ask = [{"role": "user", "content": "Who keeps the gate?"}]
whole = client.chat.completions.create(model="default", messages=ask)
print("whole:", whole.choices[0].message.content, whole.usage.total_tokens > 0)
chunks = [c for c in client.chat.completions.create(model="default", messages=ask, stream=True)]
print("stream:", "".join(c.choices[0].delta.content or "" for c in chunks if c.choices))
assert all(c.usage is None for c in chunks), "usage was not asked for"
usage = [c for c in client.chat.completions.create(model="default", messages=ask, stream=True,
    stream_options={"include_usage": True})][-1].usage
print("usage:", usage.total_tokens > 0)
raw = client.chat.completions.with_raw_response.create(model="default", messages=ask)
print("headers:", raw.headers["x-request-id"].startswith("req_"), int(raw.headers["x-ratelimit-remaining-requests"]) > 0)
print("models:", any(m.id == "default" for m in client.models.list()), client.models.retrieve("default").id)
vectors = client.embeddings.create(model="builtin/embed", input=["a gate", "a door"])
print("vectors:", len(vectors.data), len(vectors.data[1].embedding))
floats = client.embeddings.create(model="builtin/embed", input="a gate", encoding_format="float")
print("same:", max(abs(a - b) for a, b in zip(floats.data[0].embedding, vectors.data[0].embedding)) < 1e-6)
for call, kind in [
    (lambda: client.chat.completions.create(model="no-such", messages=ask), openai.NotFoundError),
    (lambda: client.chat.completions.create(model="default", messages=[]), openai.BadRequestError),
    (lambda: openai.OpenAI(base_url=base, api_key="pcl_wrong", max_retries=0).models.list(), openai.AuthenticationError),
]:
    try:
        call()
        print("no error")
    except kind as error:
        print("error:", kind.__name__, error.body["request_id"].startswith("req_"))
"#;

#[tokio::test]
async fn the_official_client_runs_unmodified() {
    let double = OpenAi::start().await;
    let server = serve(&double, &double.base_url(), WIDE).await;
    let key = server.key().expect("a first key is printed");
    let base = format!("{}/v1", server.url());
    let Some(output) = python::openai_client(CLIENT, &[&base, &key]).await else { return };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        said,
        "whole: The gate is open and the guard is awake. True\nstream: The gate is open and the guard is awake.\n\
         usage: True\nheaders: True True\nmodels: True default\nvectors: 2 384\nsame: True\n\
         error: NotFoundError True\nerror: BadRequestError True\nerror: AuthenticationError True\n"
    );
    assert!(double.violations().is_empty(), "{:?}", double.violations());
}

const LATE: &str = r#"
import sys, openai
client = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
try:
    for chunk in client.chat.completions.create(model="default", stream=True,
            messages=[{"role": "user", "content": "Who keeps the gate?"}]):
        pass
    print("it looked finished")
except openai.APIError as error:
    print("told:", type(error).__name__)
"#;

#[tokio::test]
async fn the_official_client_sees_a_broken_stream_as_an_error() {
    let double = OpenAi::start().await;
    let server = serve(&double, &double.base_url(), WIDE).await;
    double.next(Behaviour::EndAfter(3));
    let base = format!("{}/v1", server.url());
    let Some(output) = python::openai_client(LATE, &[&base, &server.key().unwrap()]).await else { return };
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("told: "), "{output:?}");
}

// req: S3-DOC-5
#[tokio::test]
async fn schemathesis_finds_no_500_and_no_undocumented_answer() {
    let Some(venv) = python::venv("schemathesis", &[python::SCHEMATHESIS]).await else { return };
    let double = OpenAi::start().await;
    let server = serve(&double, &double.base_url(), WIDE).await;
    let (url, key) = (server.url(), server.key().expect("a first key is printed"));
    let folder = server.folder().to_owned();
    let run = tokio::task::spawn_blocking(move || {
        std::process::Command::new(venv.join("bin/st"))
            .args(["run", &format!("{url}/openapi.json"), "--url", &url])
            .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"])
            .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "40", "--seed", "1"])
            .args(["--header", &format!("Authorization: Bearer {key}"), "--no-color"])
            .current_dir(folder)
            .stdin(std::process::Stdio::null())
            .output()
    });
    let output = run.await.unwrap().expect("schemathesis runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_real_model_answers_through_the_gateway_whole_and_streamed() {
    let Some(model) = llm::start().await else { return };
    let config = format!(
        "[providers.small]\nbase_url = \"{}\"\nkey_secret = \"small_key\"\nmodels = [\"{name}\"]\n[upstream]\nttft_timeout_secs = 300\n\
         attempt_timeout_secs = 300\n[gateway]\ntimeout_secs = 600\n{WIDE}\n\
         [routes.default]\ntargets = [{{ provider = \"small\", model = \"{name}\" }}]\n",
        model.base_url(),
        name = llm::NAME,
    );
    let options = Options::config(config).env("SMALL_KEY", llm::KEY);
    let server = Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("{refused:?}"));
    let mut ask = chat(false);
    ask["max_tokens"] = 8.into();
    let whole = post(server.address(), "/v1/chat/completions", "", &ask).await;
    assert_eq!(whole.status, 200, "{whole:?}\n{}", server.stderr());
    assert!(whole.json()["choices"][0]["message"]["content"].as_str().is_some_and(|text| !text.is_empty()));
    ask["stream"] = true.into();
    let stream =
        open(server.address(), request(Method::POST, "/v1/chat/completions", "", &ask)).await.unwrap();
    assert_eq!(stream.status, 200);
    let (text, clean) = stream.rest().await;
    assert!(
        clean && text.matches("data: {").count() > 3 && text.trim_end().ends_with("data: [DONE]"),
        "{text}"
    );
}
