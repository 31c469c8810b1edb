//! Admission, from outside: exactly the permitted number passes, whoever counts and however many servers there are.

use crate::support::{BINARY, PATIENCE, chat, get, metric, post, serve, until};
use futures_util::future::join_all;
use portcullis_testkit::{
    process::{Options, Server},
    redis,
    upstream::OpenAi,
};

/// Five levels of which the tier's window is the narrowest: 37 requests a minute.
const FIVE: &str = "
[limits.global]
capacity = 500
refill_per_sec = 1
[limits.ip]
capacity = 400
refill_per_sec = 1
[tiers.authenticated]
per_min = 37
user = { capacity = 300, refill_per_sec = 1 }
[actions.chat]
per_user_per_min = 200
";

// req: S4-RATE
// req: S3-PERF-7
#[tokio::test]
async fn of_200_callers_at_once_exactly_the_permitted_number_passes_in_memory() {
    let double = OpenAi::start().await;
    let server = serve(&double, &double.base_url(), FIVE).await;
    let body = chat(false);
    let answers = join_all((0..200).map(|_| post(server.address(), "/v1/chat/completions", "", &body))).await;
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    let refused = answers.iter().filter(|answer| answer.status == 429).count();
    assert_eq!((passed, refused), (37, 163));
    assert_eq!(double.counts().requests, 37, "a refused request never reaches the provider");
    for answer in &answers {
        assert!(answer.header("ratelimit").contains("\"tier\";r="), "{:?}", answer.headers);
        assert!(!answer.header("x-ratelimit-remaining").is_empty());
        assert!(answer.header("x-request-id").starts_with("req_"));
        if answer.status == 429 {
            assert_eq!(answer.code(), "rate_limit_exceeded");
            assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
        }
    }
    let breaches = "rate_limit_breaches{scope=\"tier\",tier=\"authenticated\",action=\"chat\"}";
    until("the breaches are counted", async || {
        let text = get(server.address(), "/metrics", "").await.text();
        text.lines().any(|line| line.starts_with("rate_limit_breaches{") && line.ends_with(" 163"))
    })
    .await;
    let _ = breaches;
}

// req: S4-RATE
#[tokio::test]
async fn two_servers_over_one_redis_admit_exactly_the_permitted_number_together() {
    let Some(store) = redis::start().await else { return };
    let double = OpenAi::start().await;
    let config = format!("[redis]\nurl_secret = \"redis_url\"\n{FIVE}");
    let (one, two) = (pair(&double, &config, &store.url()).await, pair(&double, &config, &store.url()).await);
    let body = chat(false);
    let answers = join_all((0..200).map(|index| {
        let address = if index % 2 == 0 { one.address() } else { two.address() };
        post(address, "/v1/chat/completions", "", &body)
    }))
    .await;
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(passed, 37);
    assert_eq!(double.counts().requests, 37);
}

async fn pair(double: &OpenAi, config: &str, redis_url: &str) -> Server {
    let text = format!(
        "[providers.openai]\nbase_url = \"{}\"\nmodels = [\"gpt-double\"]\n{config}\n[routes.default]\n\
         targets = [{{ provider = \"openai\", model = \"gpt-double\" }}]\n",
        double.base_url()
    );
    let options = Options::config(text).env("OPENAI_API_KEY", double.key()).env("REDIS_URL", redis_url);
    Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("it did not start: {refused:?}"))
}

// req: S3-PERF-7
#[tokio::test]
async fn when_redis_dies_under_load_requests_go_on_and_shared_limits_resume_when_it_is_back() {
    let Some(mut store) = redis::start().await else { return };
    let double = OpenAi::start().await;
    let config = format!("concurrency = 200\n[redis]\nurl_secret = \"redis_url\"\n{}", crate::support::WIDE);
    let server = pair(&double, &config, &store.url()).await;
    let body = chat(false);
    let ask = async || post(server.address(), "/v1/chat/completions", "", &body).await.status.as_u16();
    assert_eq!(ask().await, 200);
    until("limits are shared", async || metric(server.address(), "limits_fallback_active").await == 0.0)
        .await;
    store.kill();
    let statuses = join_all((0..100).map(|_| ask())).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    until("health says so", async || {
        ask().await;
        let key = server.key().unwrap_or_default();
        let health = get(server.address(), "/health", &key).await;
        health.status == 200 && health.json()["status"] == "degraded" && health.text().contains("redis")
    })
    .await;
    let _store = store.restart().await;
    let back = async {
        until("shared limits resume", async || {
            ask().await;
            metric(server.address(), "limits_fallback_active").await == 0.0
        })
        .await;
    };
    tokio::time::timeout(PATIENCE, back).await.expect("without a restart");
}
