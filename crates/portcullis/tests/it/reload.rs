//! Settings read again while requests run, with the runtime inside the test and, for the signal, the real binary.

use crate::support::{Answer, BINARY, WIDE, chat, get, open, post, request, until};
use futures_util::future::join_all;
use http::Method;
use portcullis_runtime::{
    Environment, Running, read_secrets,
    settings::{Sources, load},
    start_from,
};
use portcullis_testkit::{
    process::{Options, Server},
    upstream::{Behaviour, OpenAi},
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use std::{path::PathBuf, time::Duration};
use tempfile::TempDir;

const CHAT: &str = "/v1/chat/completions";
const RELOAD: &str = "/admin/v1/config/reload";

/// A runtime whose settings stand in a file.
struct House {
    _folder: TempDir,
    file: PathBuf,
    running: Running,
    key: String,
}

impl House {
    async fn start(settings: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("portcullis.toml");
        std::fs::write(&file, settings).unwrap();
        let picked = |key: &str| (key.to_owned(), "127.0.0.1:0".to_owned());
        let data_dir = ("data_dir".to_owned(), folder.path().join("data").display().to_string());
        let sources = Sources {
            config: Some(file.clone()),
            flags: vec![data_dir, picked("http.listen"), picked("admin.listen")],
            environment: Environment::fixed(environment.iter().copied()),
            folder: None,
        };
        let examined = load(&sources).expect("the settings are right");
        let secrets = read_secrets(&examined.settings, &sources.environment).await;
        let running = Box::pin(start_from(examined, sources, secrets)).await.expect("it starts");
        let key = running.first_key().expect("the first key is made").expose_secret().to_owned();
        Self { _folder: folder, file, running, key }
    }

    fn write(&self, settings: &str) {
        std::fs::write(&self.file, settings).unwrap();
    }

    async fn reload(&self) -> Answer {
        post(self.running.admin(), RELOAD, &self.key, &Value::Null).await
    }

    async fn admin(&self, method: Method, path: &str, body: &Value) -> Answer {
        crate::support::call(self.running.admin(), request(method, path, &self.key, body)).await
    }

    async fn ask(&self) -> Answer {
        post(self.running.http(), CHAT, "", &chat(false)).await
    }
}

/// Streams that a reload must not cut.
const STREAMS: usize = 1000;

fn settings(double: &OpenAi, more: &str) -> String {
    format!(
        "[providers.openai]\nbase_url = \"{}\"\nmodels = [\"gpt-double\", \"other-double\"]\nconcurrency = 1200\n\
         queue = 1200\nrpm = 100000\ntpm = 100000000\n{more}\n{WIDE}\n[routes.default]\n\
         targets = [{{ provider = \"openai\", model = \"gpt-double\" }}]\n",
        double.base_url()
    )
}

#[tokio::test]
async fn a_reload_under_1000_streams_drops_none_and_the_next_request_sees_what_changed() {
    let double = OpenAi::start().await;
    double.change(|options| {
        options.pace.chunks = Some(40);
        options.pace.between_chunks = Duration::from_millis(50);
    });
    let room =
        format!("{}\n[connections]\nmax_http = 3000\nmax_http_per_address = 3000\n", settings(&double, ""));
    let house = House::start(&room, &[("OPENAI_API_KEY", &double.key())]).await;
    let address = house.running.http();
    let streams = join_all((0..STREAMS).map(|_| async move {
        let mut stream = open(address, request(Method::POST, CHAT, "", &chat(true))).await.unwrap();
        assert_eq!(stream.status, 200);
        stream.next().await.unwrap().unwrap();
        stream
    }))
    .await;
    let other = room.replace("\"openai\", model = \"gpt-double\"", "\"builtin\", model = \"echo\"");
    house.write(&format!("{other}\n[gateway]\nexpose_target = true\n[server]\ndrain_secs = 7\n"));
    let told = house.reload().await;
    assert_eq!(told.status, 200, "{told:?}");
    let told = told.json();
    assert_eq!(told["restart_needed"], json!(["server.drain_secs"]), "{told}");
    assert_eq!(
        told["changed"],
        json!(["gateway.expose_target", "routes.default.targets", "server.drain_secs"])
    );
    double.change(|options| options.pace.between_chunks = Duration::ZERO);
    let answer = house.ask().await;
    assert_eq!(answer.header("x-portcullis-target"), "builtin/echo", "{answer:?}");
    let ends = join_all(streams.into_iter().map(crate::support::Open::rest)).await;
    let whole = ends.iter().filter(|(text, clean)| *clean && text.trim_end().ends_with("data: [DONE]"));
    assert_eq!(whole.count(), STREAMS, "none is cut");
    Box::pin(house.running.drain()).await;
}

#[tokio::test]
async fn what_was_set_by_hand_outlives_a_reload_until_it_is_taken_back() {
    let double = OpenAi::start().await;
    let two = settings(&double, "")
        .replace("targets = [", "targets = [{ provider = \"builtin\", model = \"echo\", weight = 3 }, ");
    let house = House::start(&two, &[("OPENAI_API_KEY", &double.key())]).await;
    let target = async || {
        let shown = house.admin(Method::GET, "/admin/v1/routes", &Value::Null).await.json();
        let routes = shown["data"].as_array().unwrap().clone();
        let route = routes.into_iter().find(|route| route["name"] == "default").unwrap();
        (
            route["targets"][0]["weight"].as_u64().unwrap(),
            route["targets"][0]["off_for_secs"].as_u64().unwrap(),
        )
    };
    let change = async |body: Value| {
        let path = "/admin/v1/routes/default/targets/0";
        assert_eq!(house.admin(Method::PATCH, path, &body).await.status, 200, "{body}");
    };
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2);
    change(json!({"weight": 9, "disabled_until": until.to_string()})).await;
    house.write(&format!("{two}\n[gateway]\nexpose_target = true\n"));
    assert_eq!(house.reload().await.status, 200);
    let (weight, off) = target().await;
    assert!(weight == 9 && off > 7000, "{weight} {off}");
    change(json!({"weight": null, "disabled_until": null})).await;
    assert_eq!(target().await, (3, 0));
    assert_eq!(house.reload().await.status, 200);
    assert_eq!(target().await, (3, 0));
}

#[tokio::test]
async fn a_file_with_problems_changes_nothing_and_every_problem_is_told() {
    let double = OpenAi::start().await;
    let house = House::start(&settings(&double, ""), &[("OPENAI_API_KEY", &double.key())]).await;
    let wrong = settings(&double, "key_secret = \"nowhere_to_be_found\"\nbreaker_failurs = 3\n")
        .replace("gpt-double\" }", "other-double\" }");
    house.write(&format!("{wrong}\n[gateway]\nexpose_target = true\ntimeout_secs = 0\n"));
    let refused = house.reload().await;
    assert_eq!(refused.status, 400, "{refused:?}");
    let value = refused.json();
    let problems = value["details"]["problems"].as_array().expect("problems").clone();
    let text = Value::from(problems.clone()).to_string();
    for part in ["breaker_failurs", "gateway.timeout_secs", "nowhere_to_be_found"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert_eq!(problems.len(), 3, "{text}");
    let answer = house.ask().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-portcullis-target"), "", "the old settings hold");
    let checked = json!({"toml": std::fs::read_to_string(&house.file).unwrap()});
    let report = post(house.running.admin(), "/admin/v1/config/validate", &house.key, &checked).await;
    assert_eq!(report.json()["errors"], 3, "{report:?}");
}

#[tokio::test]
async fn a_limit_a_tier_and_a_providers_key_bite_on_the_next_request_and_counters_go_on() {
    let double = OpenAi::start().await;
    let good = double.key();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("openai_api_key"), "made-up-wrong-key").unwrap();
    let secrets = format!("[secrets]\nsources = [\"file\"]\ndir = \"{}\"\n", folder.path().display());
    let base = format!("{}{secrets}", settings(&double, ""));
    let house = House::start(&base, &[]).await;
    assert_eq!(house.ask().await.status, 503, "the provider refuses our key");
    std::fs::write(folder.path().join("openai_api_key"), &good).unwrap();
    assert_eq!(house.reload().await.status, 200);
    for _ in 0..3 {
        assert_eq!(house.ask().await.status, 200, "secrets are read again");
    }
    house.write(
        &base.replace("[tiers.authenticated]\nper_min = 1000000", "[tiers.authenticated]\nper_min = 4"),
    );
    assert_eq!(house.reload().await.status, 200);
    let limited = house.ask().await;
    assert_eq!(limited.status, 200, "three were counted before: {limited:?}");
    assert_eq!(house.ask().await.status, 429, "what was counted before the reload counts on");
}

#[tokio::test]
async fn a_breaker_stays_open_over_a_reload_and_starts_anew_before_another_address() {
    let (double, other) = (OpenAi::start().await, OpenAi::start().await);
    double.always(Behaviour::server_error());
    let more = "breaker_failures = 2\nbreaker_reset_secs = 600\nattempts = 1\n";
    let file = settings(&double, more);
    let house = House::start(&file, &[("OPENAI_API_KEY", &double.key())]).await;
    for _ in 0..3 {
        assert_eq!(house.ask().await.status, 503);
    }
    let state = || house.running.registry().get("openai").unwrap().status();
    assert_eq!(state().breaker.as_str(), "open");
    house.write(&file.replace("breaker_reset_secs = 600", "breaker_reset_secs = 500"));
    assert_eq!(house.reload().await.status, 200);
    let status = state();
    assert!(status.breaker.as_str() == "open" && status.resumes_in_secs <= 500, "{status:?}");
    house.write(&file.replace(&double.base_url(), &other.base_url()));
    assert_eq!(house.reload().await.status, 200);
    assert_eq!(state().breaker.as_str(), "closed");
}

#[tokio::test]
async fn a_watched_file_is_read_again_by_itself() {
    let double = OpenAi::start().await;
    let file = format!("{}\n[config]\nwatch = true\n", settings(&double, ""));
    let house = House::start(&file, &[("OPENAI_API_KEY", &double.key())]).await;
    house.write(&format!("{file}\n[gateway]\nexpose_target = true\n"));
    until("the new settings are in force", async || {
        house.ask().await.header("x-portcullis-target") == "openai/gpt-double"
    })
    .await;
}

#[tokio::test]
async fn sighup_reloads_sigterm_after_it_still_lets_streams_finish() {
    let double = OpenAi::start().await;
    double.change(|options| {
        options.pace.chunks = Some(40);
        options.pace.between_chunks = Duration::from_millis(50);
    });
    let options = Options::config(settings(&double, "")).env("OPENAI_API_KEY", double.key());
    let mut server = Server::start(BINARY, options)
        .await
        .unwrap_or_else(|refused| panic!("it did not start: {refused:?}"));
    let mut stream = open(server.address(), request(Method::POST, CHAT, "", &chat(true))).await.unwrap();
    stream.next().await.unwrap().unwrap();
    server.hang_up();
    until("it reloads", async || server.stderr().contains("settings reloaded")).await;
    assert_eq!(get(server.address(), "/health/ready", "").await.status, 200);
    server.terminate();
    let (text, clean) = stream.rest().await;
    assert!(clean && text.trim_end().ends_with("data: [DONE]"), "{text}");
    assert_eq!(server.wait(40).await, Some(0), "{}", server.stderr());
}
