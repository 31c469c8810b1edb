//! What holds for every provider, seen from outside: guard policies in streams and schemas, the cap of Gemini and what
//! must be said to go around its safety settings.

use crate::support::{BINARY, WIDE, get, metric, open, post, request, until};
use http::Method;
use portcullis_testkit::{
    process::{Options, Server},
    upstream::{self, Behaviour, OpenAi, Pace, Reply},
};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use tokio::task::JoinSet;

async fn serve(double: &OpenAi, more: &str) -> Server {
    let text = format!(
        "[providers.openai]\nbase_url = \"{}\"\nmodels = [\"gpt-double\", \"embed-double\"]\n\
         [routes.default]\npolicy = \"careful\"\ncache = \"off\"\ntargets = [{{ provider = \"openai\", model = \"gpt-double\" }}]\n\
         [routes.embed]\npolicy = \"careful\"\ncache = \"off\"\ntargets = [{{ provider = \"openai\", model = \"embed-double\" }}]\n\
         {more}",
        double.base_url()
    );
    let options = Options::config(text).env("OPENAI_API_KEY", double.key());
    Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("it did not start: {refused:?}"))
}

/// A guard policy for every direction.
const CAREFUL: &str = "[policies.careful]\ninput = { topics = [\"the hidden treasure\"], secrets = \"redact\" }\n\
                       output = { secrets = \"redact\", topics = [\"the drawbridge code\"] }\n";

/// A key's shape, put together so that no scanner takes this file for a leak.
fn secret() -> String {
    format!("{}{}", "ghp_", "a1B2".repeat(10))
}

async fn streamed(address: SocketAddr, key: &str, path: &str, body: &Value) -> String {
    let open = open(address, request(Method::POST, path, key, body)).await.unwrap();
    assert_eq!(open.status, 200, "{path}");
    let (text, clean) = open.rest().await;
    assert!(clean, "{path}: {text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_said_is_cut_out_of_streams_in_every_format_and_the_rest_keeps_its_bytes() {
    let double = OpenAi::start().await;
    let server = serve(&double, &format!("{CAREFUL}{WIDE}")).await;
    let (address, key) = (server.address(), server.key().unwrap());
    let paths = |stream: &str| {
        let turns = json!([{"role": "user", "content": "Go on."}]);
        vec![
            (
                "/v1/chat/completions".to_owned(),
                json!({"model": "default", "stream": true, "messages": turns}),
            ),
            ("/v1/responses".to_owned(), json!({"model": "default", "stream": true, "input": "Go on."})),
            (
                "/v1/messages".to_owned(),
                json!({"model": "default", "stream": true, "max_tokens": 50, "messages": turns}),
            ),
            (
                format!("/v1beta/models/default:{stream}"),
                json!({"contents": [{"role": "user", "parts": [{"text": "Go on."}]}]}),
            ),
        ]
    };
    let secret = secret();
    for (path, body) in paths("streamGenerateContent?alt=sse") {
        // Three chunks and more: the double cuts its words into so many pieces, wherever that is.
        double.change(|options| options.pace = Pace { chunks: Some(9), ..Pace::default() });
        double.next(Behaviour::Say(Reply::Text(format!("The key is {secret} and that is all."))));
        let text = streamed(address, &key, &path, &body).await;
        assert!(text.contains("[github_token]"), "{path}: {text}");
        assert!(!text.contains("a1B2"), "{path}: {text}");

        double.next(Behaviour::Say(Reply::Text("I tell you the drawbridge code, it is four.".into())));
        let text = streamed(address, &key, &path, &body).await;
        assert!(!text.contains("drawbridge") && !text.contains("four"), "{path}: {text}");
        let ends = ["content_filter", "SAFETY", "refusal"];
        assert!(ends.iter().any(|end| text.contains(end)), "{path}: {text}");
    }
    assert!(double.violations().is_empty(), "{:?}", double.violations());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_what_its_schema_asks_for_is_asked_for_once_more_and_then_refused() {
    let double = OpenAi::start().await;
    let more = "[policies.careful.output]\nschema = \"retry\"\n\
                [routes.kept]\npolicy = \"careful\"\ntargets = [{ provider = \"openai\", model = \"gpt-double\" }]\n";
    let server = serve(&double, &format!("{more}{WIDE}")).await;
    let (address, key) = (server.address(), server.key().unwrap());
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
                        "additionalProperties": false});
    let turns = json!([{"role": "user", "content": "How many gates?"}]);
    let says = |text: &str| double.next(Behaviour::Say(Reply::Text(text.into())));
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "gates", "schema": schema, "strict": true}});
    for (path, body) in [
        ("/v1/chat/completions", json!({"model": "default", "messages": turns, "response_format": format})),
        (
            "/v1/responses",
            json!({"model": "default", "input": "How many gates?", "text": {"format":
                   {"type": "json_schema", "name": "gates", "schema": schema, "strict": true}}}),
        ),
        (
            "/v1beta/models/default:generateContent",
            json!({"contents": [{"role": "user", "parts": [{"text": "How many gates?"}]}], "generationConfig":
                   {"responseMimeType": "application/json", "responseJsonSchema": schema}}),
        ),
    ] {
        double.forget();
        says("There are three.");
        says("{\"n\":3}");
        let answer = post(address, path, &key, &body).await;
        assert_eq!((answer.status.as_u16(), double.counts().requests), (200, 2), "{path}: {answer:?}");
        assert!(answer.text().contains("{\\\"n\\\":3}"), "{path}: {answer:?}");

        double.forget();
        says("{\"n\":\"three\"}");
        says("{\"m\":3}");
        let answer = post(address, path, &key, &body).await;
        assert_eq!((answer.status.as_u16(), double.counts().requests), (400, 2), "{path}: {answer:?}");
        assert!(!answer.text().contains("three"), "{path}: {answer:?}");
    }

    double.forget();
    let far = json!({"type": "json_schema", "json_schema": {"name": "far", "schema": {"$ref": "https://example.org/a"}}});
    let body = json!({"model": "default", "messages": turns, "response_format": far});
    let answer = post(address, "/v1/chat/completions", &key, &body).await;
    assert_eq!((answer.status.as_u16(), double.counts().requests), (400, 0), "{answer:?}");
    assert_eq!(answer.json()["error"]["param"], "response_format");

    let kept = json!({"model": "kept", "temperature": 0, "messages": turns, "response_format": format});
    says("no");
    says("{\"n\":4}");
    for requests in [2, 2] {
        let answer = post(address, "/v1/chat/completions", &key, &kept).await;
        assert!(answer.text().contains("{\\\"n\\\":4}"), "{answer:?}");
        assert_eq!(double.counts().requests, requests, "what the cache keeps is the second answer");
    }

    says("a stream is gone when it can be judged");
    let body = json!({"model": "default", "stream": true, "messages": turns, "response_format": format});
    let text = streamed(address, &key, "/v1/chat/completions", &body).await;
    assert!(text.contains("judged") && text.contains("[DONE]"), "{text}");
    let metrics = get(address, "/metrics", &key).await.text().to_owned();
    for (action, times) in [("retry", 7), ("block", 3), ("flag", 1)] {
        let line = format!("guard_total{{policy=\"careful\",check=\"schema\",action=\"{action}\"}} {times}");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}

// req: S0-02
#[tokio::test(flavor = "multi_thread")]
async fn sixteen_calls_reach_gemini_at_once_sixty_four_wait_and_the_next_is_refused() {
    let gemini = OpenAi::with(upstream::Options::gemini()).await;
    gemini.always(Behaviour::Paced(Pace { first_byte: Duration::from_secs(1), ..Pace::default() }));
    let text = format!(
        "[providers.gemini]\nbase_url = \"{}\"\nmodels = [\"gemini-3-double\"]\nrpm = 0\ntpm = 0\n{WIDE}\
         [limits.user]\ncapacity = 1000\nrefill_per_sec = 1000\n\
         [routes.default]\ncache = \"off\"\nmax_hops = 1\ntargets = [{{ provider = \"gemini\", model = \"gemini-3-double\" }}]\n",
        gemini.base_url()
    );
    let options = Options::config(text).env("GEMINI_API_KEY", gemini.key());
    let server = Server::start(BINARY, options).await.unwrap();
    let (address, key) = (server.address(), server.key().unwrap());
    let mut calls = JoinSet::new();
    let ask = |index: usize| json!({"model": "default", "messages": [{"role": "user", "content": format!("Gate {index}?")}]});
    for index in 0..81 {
        let (key, body) = (key.clone(), ask(index));
        calls.spawn(async move { post(address, "/v1/chat/completions", &key, &body).await });
    }
    let (mut answered, mut refused) = (0, Vec::new());
    while let Some(call) = calls.join_next().await {
        let answer = call.unwrap();
        match answer.status.as_u16() {
            200 => answered += 1,
            _ => refused.push(answer),
        }
    }
    assert_eq!((answered, refused.len()), (80, 1), "{refused:?}");
    assert_eq!(refused[0].status, 503, "{refused:?}");
    assert!(refused[0].header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(gemini.counts().max_in_flight, 16);
}

// req: S0-02
#[tokio::test(flavor = "multi_thread")]
async fn a_premium_key_has_four_places_in_a_providers_queue_to_one_of_a_caller_without_a_key() {
    const EACH: usize = 20;
    let double = OpenAi::start().await;
    let text = format!(
        "[http]\nanonymous = true\n[tiers.anonymous]\nper_min = 1000000\ndaily_tokens = 0\ndaily_usd = 0\n{WIDE}\
         [providers.openai]\nbase_url = \"{}\"\nmodels = [\"gpt-double\"]\nconcurrency = 1\nqueue = 200\nrpm = 0\ntpm = 0\n\
         [routes.default]\ncache = \"off\"\nmax_hops = 1\ntargets = [{{ provider = \"openai\", model = \"gpt-double\" }}]\n",
        double.base_url()
    );
    let options = Options::config(text).env("OPENAI_API_KEY", double.key());
    let server = Server::start(BINARY, options).await.unwrap();
    let (address, first) = (server.address(), server.key().unwrap());
    let wanted = json!({"name": "paying", "tier": "premium", "scopes": ["chat"]});
    let made = post(server.admin().unwrap(), "/admin/v1/keys", &first, &wanted).await;
    let paying = made.json()["key"].as_str().unwrap().to_owned();
    let path = "/v1/chat/completions";
    let ask = |text: &str| json!({"model": "default", "messages": [{"role": "user", "content": text}]});
    // Somebody has the one place until everybody waits for it.
    double.next(Behaviour::Hang);
    let holder = open(address, request(Method::POST, path, &first, &ask("The first.")));
    let queued = async {
        double.wait_for_requests(1).await;
        let mut waiting = JoinSet::new();
        for index in 0..EACH {
            for (key, who) in [("", "free"), (&*paying, "paid")] {
                let (key, body) = (key.to_owned(), ask(&format!("{who} {index}")));
                waiting.spawn(async move { post(address, path, &key, &body).await.status });
            }
        }
        let all = f64::from(u32::try_from(2 * EACH).unwrap());
        until("all wait", async || metric(address, "queue_depth{queue=\"openai\"}").await == all).await;
        waiting
    };
    let mut waiting = tokio::select! {
        waiting = queued => waiting,
        _ = holder => panic!("it was answered"),
    };
    while let Some(status) = waiting.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    let order: Vec<bool> = double
        .received()
        .iter()
        .skip(1)
        .map(|asked| asked.json["messages"][0]["content"].as_str().unwrap().starts_with("paid"))
        .collect();
    let paid = order[..EACH].iter().filter(|paid| **paid).count();
    assert!((15..=17).contains(&paid), "16 of the first 20: {order:?}");
    assert_eq!(order.len(), 2 * EACH);
}

#[tokio::test]
async fn the_way_around_googles_safety_settings_must_be_meant_or_the_process_ends_at_its_start() {
    let double = OpenAi::start().await;
    let start = async |meant: &str| {
        let text = format!("[providers.gemini-openai]\nbase_url = \"{}\"\n{meant}", double.base_url());
        Server::start(BINARY, Options::config(text).env("GEMINI_API_KEY", double.key())).await
    };
    for not_meant in ["", "allow_without_safety = false\n", "enabled = true\n"] {
        let refused = start(not_meant).await.expect_err("it must not start");
        assert_eq!(refused.code, Some(2), "{not_meant}: {refused:?}");
        let told = &refused.stderr;
        assert!(told.contains("providers.gemini-openai.allow_without_safety"), "{not_meant}: {told}");
        assert!(told.contains("the provider filters nothing"), "{not_meant}: {told}");
        assert!(told.contains("set allow_without_safety = true if you mean it"), "{not_meant}: {told}");
        assert!(!told.contains(&double.key()), "{told}");
    }
    for meant in ["allow_without_safety = true\n", "enabled = false\n"] {
        start(meant).await.unwrap_or_else(|refused| panic!("{meant}: {refused:?}"));
    }
}
