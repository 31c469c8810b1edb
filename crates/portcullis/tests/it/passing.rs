//! What reaches callers, to the byte: streams as the provider sent them, answers from the cache with their age, and
//! vectors of one space only.

use crate::support::{Answer, BINARY, WIDE, call, open, post, request};
use http::{Method, Request};
use http_body_util::Full;
use portcullis_testkit::{
    process::{Options, Server},
    upstream::{self, Behaviour, OpenAi, Pace, Received, Reply},
};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

async fn start(text: String, key: (&str, String)) -> Server {
    let options = Options::config(format!("{text}{WIDE}")).env(key.0, key.1);
    Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("it did not start: {refused:?}"))
}

/// The same request once more, sent to the double itself.
async fn replay(double: &OpenAi, sent: &Received) -> Answer {
    let mut again = Request::builder().method(sent.method.clone()).uri(&sent.target);
    for (name, value) in sent.headers.iter().filter(|(name, _)| *name != "content-length") {
        again = again.header(name, value);
    }
    call(double.address(), again.body(Full::new(sent.body.clone())).unwrap()).await
}

/// The events of a stream, each with its blank line.
fn events(stream: &str) -> Vec<&str> {
    stream.split_inclusive("\n\n").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_nothing_to_hide_reaches_the_caller_byte_for_byte_but_for_the_usage_nobody_asked_for() {
    let turns = json!([{"role": "user", "content": "Who keeps the gate?"}]);
    let chat = |asked: Value| json!({"model": "default", "stream": true, "messages": turns, "stream_options": asked});
    let plain = json!({"model": "default", "stream": true, "messages": turns});
    let responses = json!({"model": "default", "stream": true, "input": "Who keeps the gate?"});
    let messages = json!({"model": "default", "stream": true, "max_tokens": 50, "messages": turns});
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "Who keeps the gate?"}]}]});
    let google = "/v1beta/models/default:streamGenerateContent?alt=sse";
    // Preset, path, body, and whether an event of usage is asked for by us alone.
    let asked = [
        (
            "openai",
            upstream::Options::default(),
            vec![
                (CHAT, plain, true),
                (CHAT, chat(json!({"include_usage": false})), true),
                (CHAT, chat(json!({"include_usage": true})), false),
                ("/v1/responses", responses, false),
            ],
        ),
        ("anthropic", upstream::Options::anthropic(), vec![("/v1/messages", messages, false)]),
        ("gemini", upstream::Options::gemini(), vec![(google, contents, false)]),
    ];
    for (preset, options, requests) in asked {
        let double = OpenAi::with(upstream::Options { models: vec!["double".into()], ..options }).await;
        let text = "Die Wächter wachen: 門は開いている, and 🏰 stands. None of it is a secret.";
        double.change(|options| {
            options.reply = Reply::Text(text.into());
            options.pace = Pace { chunks: Some(23), ..Pace::default() };
        });
        // With rules for what is said, and without.
        for policy in [
            "",
            "[policies.careful]\noutput = { secrets = \"redact\", topics = [\"the drawbridge code\"] }\n",
        ] {
            let chosen = if policy.is_empty() { "" } else { "policy = \"careful\"\n" };
            let config = format!(
                "[providers.{preset}]\nbase_url = \"{}\"\nmodels = [\"double\"]\n\
                 [routes.default]\n{chosen}cache = \"off\"\n\
                 targets = [{{ provider = \"{preset}\", model = \"double\" }}]\n{policy}",
                double.base_url()
            );
            let name = format!("{}_API_KEY", preset.to_uppercase());
            let server = start(config, (&name, double.key())).await;
            for (path, body, dropped) in &requests {
                double.forget();
                let stream = open(server.address(), request(Method::POST, path, "", body)).await.unwrap();
                assert_eq!(stream.status, 200, "{path}");
                assert_eq!(stream.headers["content-type"], "text/event-stream");
                let (got, clean) = stream.rest().await;
                assert!(clean, "{path}: {got}");
                let sent = double.received().remove(0);
                // Answers of the double are numbered from the first one it remembers.
                double.forget();
                let said = replay(&double, &sent).await.text();
                let is_usage =
                    |event: &str| event.contains("\"choices\":[]") && event.contains("\"usage\":{");
                let usage = events(&said).into_iter().filter(|event| is_usage(event)).count();
                assert_eq!(
                    usage,
                    usize::from(path == &CHAT),
                    "{path}: our question for usage is answered: {said}"
                );
                let kept: String =
                    events(&said).into_iter().filter(|event| !(*dropped && is_usage(event))).collect();
                assert_eq!(got.as_bytes(), kept.as_bytes(), "{preset} {path} {policy}");
                assert!(got.matches("data: {").count() > 20, "{path}: {got}");
            }
        }
        assert!(double.violations().is_empty(), "{:?}", double.violations());
    }
}

/// Asks with a `Cache-Control` of the caller, if any; several are several headers.
async fn wish(server: &Server, path: &str, body: &Value, wishes: &[&'static str]) -> Answer {
    let mut request = request(Method::POST, path, "", body);
    for wish in wishes {
        request.headers_mut().append("cache-control", http::HeaderValue::from_static(wish));
    }
    call(server.address(), request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_control_is_obeyed_at_the_door_and_a_hit_tells_its_age() {
    let double = OpenAi::start().await;
    let config = format!(
        "[providers.openai]\nbase_url = \"{}\"\nmodels = [\"gpt-double\"]\n\
         [routes.default]\ntargets = [{{ provider = \"openai\", model = \"gpt-double\" }}]\n",
        double.base_url()
    );
    let server = start(config, ("OPENAI_API_KEY", double.key())).await;
    let turns = json!([{"role": "user", "content": "Who keeps the gate?"}]);
    let chat = |stream| json!({"model": "default", "temperature": 0, "stream": stream, "messages": turns});
    let messages = json!({"model": "default", "temperature": 0, "max_tokens": 50, "messages": turns});
    for (path, body) in [(CHAT, chat(false)), (CHAT, chat(true)), ("/v1/messages", messages)] {
        double.forget();
        // Another question for each, as an answer is kept for whole requests and streams alike.
        let mut body = body;
        body["messages"][0]["content"] = json!(format!("Who keeps the gate? {path} {}", body["stream"]));
        let state = |answer: &Answer| {
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            answer.header("x-portcullis-cache").to_owned()
        };
        let age = |answer: &Answer| answer.header("age").parse::<u64>().ok();
        let said = |text: &str| double.next(Behaviour::Say(Reply::Text(text.into())));
        for wishes in [&["no-store"][..], &["max-age=0, No-Store"], &["no-cache", "no-store"]] {
            said("Nobody may keep this.");
            let answer = wish(&server, path, &body, wishes).await;
            assert_eq!((state(&answer).as_str(), age(&answer)), ("bypass", None), "{path} {wishes:?}");
        }
        assert_eq!(double.counts().requests, 3, "{path}: each is asked anew");

        said("The first guard.");
        let first = wish(&server, path, &body, &[]).await;
        assert_eq!((state(&first).as_str(), age(&first)), ("miss", None), "{path}: nothing was kept");
        let hit = wish(&server, path, &body, &[]).await;
        assert_eq!(state(&hit), "hit", "{path}");
        assert!(age(&hit).is_some(), "{path}: {hit:?}");
        assert_eq!(hit.body, first.body, "{path}: a hit is the same to the byte");
        assert_eq!(double.counts().requests, 4, "{path}: a hit asks nobody");

        said("Nobody may keep this.");
        let aside = wish(&server, path, &body, &["no-store"]).await;
        assert_eq!(state(&aside), "bypass", "{path}: what is kept is not given to who wants none of it");
        assert_ne!(aside.body, first.body, "{path}");
        assert_eq!(
            wish(&server, path, &body, &[]).await.body,
            first.body,
            "{path}: and it did not replace it"
        );

        said("The second guard.");
        let fresh = wish(&server, path, &body, &["no-cache"]).await;
        assert_eq!((state(&fresh).as_str(), age(&fresh)), ("bypass", None), "{path}");
        assert_ne!(fresh.body, first.body, "{path}: asked anew");
        let hit = wish(&server, path, &body, &[]).await;
        assert_eq!(
            (state(&hit).as_str(), &hit.body),
            ("hit", &fresh.body),
            "{path}: the fresh answer took its place"
        );
        assert_eq!(double.counts().requests, 6, "{path}");
    }
    assert!(double.violations().is_empty(), "{:?}", double.violations());
}

/// Targets whose vectors cannot be compared.
const TWO_SPACES: &str = "targets = [{ provider = \"openai\", model = \"embed-double\" }, \
                          { provider = \"builtin\", model = \"embed\", rank = 1 }]\n";

/// How long the vectors of an answer in either format are.
fn lengths(answer: &Answer) -> Vec<usize> {
    let told = answer.json();
    let (list, name) = if told["data"].is_array() { ("data", "embedding") } else { ("embeddings", "values") };
    let vectors = told[list].as_array().into_iter().flatten();
    vectors.map(|vector| vector[name].as_array().map_or(0, Vec::len)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_whose_provider_fails_in_the_middle_are_refused_or_redone_whole_and_never_mix_spaces() {
    let double = OpenAi::start().await;
    let config = format!(
        "[providers.openai]\nbase_url = \"{}\"\nattempts = 1\nbreaker_failures = 1000\n\
         models = [{{ name = \"embed-double\", kind = \"embed\", batch = 2 }}]\n\
         [routes.strict]\ncache = \"off\"\n{TWO_SPACES}\
         [routes.lenient]\ncache = \"off\"\nfallback_space_change = true\n{TWO_SPACES}",
        double.base_url()
    );
    let server = start(config, ("OPENAI_API_KEY", double.key())).await;
    let texts = ["one", "two", "three", "four", "five"];
    let openai = |route: &str| ("/v1/embeddings".to_owned(), json!({"model": route, "input": texts}));
    let google = |route: &str| {
        let one = |text| json!({"model": format!("models/{route}"), "content": {"parts": [{"text": text}]}});
        let body = json!({"requests": texts.iter().map(one).collect::<Vec<_>>()});
        (format!("/v1beta/models/{route}:batchEmbedContents"), body)
    };
    for of in [&openai as &dyn Fn(&str) -> (String, Value), &google] {
        for route in ["strict", "lenient"] {
            let (path, body) = of(route);
            double.forget();
            let whole = post(server.address(), &path, "", &body).await;
            assert_eq!((whole.status.as_u16(), lengths(&whole)), (200, vec![16; 5]), "{path}: {whole:?}");
            assert_eq!(double.counts().requests, 3, "{path}: five texts in batches of two");
            assert_eq!(whole.header("x-portcullis-degraded"), "", "{path}");

            for sound in [1, 2] {
                double.forget();
                double.next_times(sound, &Behaviour::Answer);
                double.next(Behaviour::error(502, "", "", ""));
                let answer = post(server.address(), &path, "", &body).await;
                assert_eq!(double.counts().requests, sound + 1, "{path}: it failed after {sound}");
                if route == "strict" {
                    assert_eq!(
                        (answer.status.as_u16(), lengths(&answer)),
                        (503, vec![]),
                        "{path}: {answer:?}"
                    );
                    assert!(answer.header("retry-after").parse::<u64>().is_ok(), "{path}: {answer:?}");
                } else {
                    assert_eq!(
                        (answer.status.as_u16(), lengths(&answer)),
                        (200, vec![384; 5]),
                        "{path}: {answer:?}"
                    );
                    assert_eq!(answer.header("x-portcullis-degraded"), "embedding-space", "{path}");
                }
            }
        }
    }
    assert!(double.violations().is_empty(), "{:?}", double.violations());
}
