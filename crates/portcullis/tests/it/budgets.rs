//! Budgets from outside: what may be spent is never exceeded, by one server or by two over one Redis, with kill -9 in
//! between; and every call that was paid is in the ledger.

use crate::support::{Answer, BINARY, WIDE, call, get, open, post, request, serve, until};
use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use http::Method;
use portcullis_testkit::{
    postgres,
    process::{Options, Server},
    redis,
    upstream::{Behaviour, OpenAi},
};
use serde_json::{Value, json};
use std::time::Duration;

const CHAT: &str = "/v1/chat/completions";
const ADMIN_KEY: &str = "pcl_admin0000000_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

fn body() -> Value {
    json!({"model": "default", "max_tokens": 50, "messages": [{"role": "user", "content": "Who keeps the gate?"}]})
}

/// Tokens that one such request reserves: a quarter of its bytes, and all it may write.
fn reserved() -> u64 {
    (body().to_string().len() as u64).div_ceil(4) + 50
}

fn ten() -> String {
    format!("[budgets.ten]\nscope = \"global\"\nwindow = \"total\"\ntokens = {}\n{WIDE}", 10 * reserved())
}

/// The answers to so many requests at once, over these servers in turn; one that breaks off or hangs has none.
async fn flood(servers: &[&Server], count: usize, key: &str) -> Vec<Option<(u16, String)>> {
    join_all((0..count).map(async |n| {
        let address = servers[n % servers.len()].address();
        let answer = async {
            let answer = open(address, request(Method::POST, CHAT, key, &body())).await.ok()?;
            let status = answer.status.as_u16();
            Some((status, answer.rest().await.0))
        };
        tokio::time::timeout(Duration::from_secs(8), answer).await.ok().flatten()
    }))
    .await
}

fn count(answers: &[Option<(u16, String)>], status: u16) -> usize {
    answers.iter().flatten().filter(|(found, _)| *found == status).count()
}

/// What the admin API shows. A server that has just lost its Redis for a moment may refuse even this: then once more, as
/// what is not told must not be taken for nothing.
async fn shown(server: &Server, path: &str, key: &str) -> Vec<Value> {
    for _ in 0..100 {
        let answer = get(server.admin().unwrap(), path, key).await;
        if answer.status == 200 {
            return answer.json()["data"].as_array().unwrap().clone();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path} is not shown");
}

/// Tokens spent and reserved, as the server's counters say.
async fn counters(server: &Server, key: &str) -> (u64, u64) {
    let row = &shown(server, "/admin/v1/budgets?budget=ten", key).await[0];
    (row["spent_tokens"].as_u64().unwrap(), row["reserved_tokens"].as_u64().unwrap())
}

/// Tokens in the ledger, and its rows.
async fn ledger(server: &Server, key: &str) -> (u64, u64) {
    let rows = shown(server, "/admin/v1/usage?group_by=route", key).await;
    let sum = |name: &str| rows.iter().filter_map(|row| row[name].as_u64()).sum::<u64>();
    (sum("input") + sum("output"), sum("requests"))
}

// req: S4-RATE
#[tokio::test]
async fn of_200_at_once_never_more_is_spent_than_the_budget_and_the_refused_never_reach_the_provider() {
    let double = OpenAi::start().await;
    double.always(Behaviour::Held);
    let config = format!("concurrency = 100\nqueue = 200\nrpm = 100000\ntpm = 100000000\n{}", ten());
    let mut server = serve(&double, &double.base_url(), &config).await;
    let key = server.key().unwrap();
    let (address, body) = (server.address(), body());
    // None is answered before all the others are refused: what an answered one left over would pay for an eleventh.
    let mut asking: FuturesUnordered<_> = (0..200).map(|_| post(address, CHAT, "", &body)).collect();
    let refused: Vec<Answer> = asking.by_ref().take(190).collect().await;
    assert!(refused.iter().all(|answer| answer.status == 429), "{refused:?}");
    double.release();
    let passed: Vec<Answer> = asking.collect().await;
    assert!(passed.iter().all(|answer| answer.status == 200), "{passed:?}");
    assert_eq!((passed.len(), double.counts().requests), (10, 10));
    let error = refused[0].json();
    assert_eq!(
        (&error["error"]["type"], &error["error"]["code"]),
        (&json!("insufficient_quota"), &json!("insufficient_quota"))
    );
    assert!(error["error"]["message"].as_str().is_some_and(|text| text.contains("ten")), "{error}");
    let spent = counters(&server, &key).await;
    assert_eq!(ledger(&server, &key).await, (spent.0, 10));
    assert!(spent.0 <= 10 * reserved() && spent.1 == 0, "{spent:?}");
    // Killed right after an answer: it costs what it came to or, where that was not yet written, what it had reserved.
    assert_eq!(post(address, CHAT, "", &body).await.status, 200);
    let before = counters(&server, &key).await;
    server.kill();
    let server = server.restart(|_| {}).await.unwrap_or_else(|refused| panic!("{refused:?}"));
    let after = counters(&server, &key).await;
    assert!(after.0 >= before.0 && after.0 <= 10 * reserved() && after.1 == 0, "{before:?} {after:?}");
    assert_eq!(ledger(&server, &key).await, (after.0, 11), "the counters are those of the ledger");
}

// req: S4-RATE
#[tokio::test]
async fn a_server_killed_while_200_ask_has_charged_what_ran_and_its_ledger_says_the_same() {
    let double = OpenAi::start().await;
    double.always(Behaviour::Hang);
    let config = format!("concurrency = 100\nqueue = 200\nrpm = 100000\ntpm = 100000000\n{}", ten());
    let mut server = serve(&double, &double.base_url(), &config).await;
    let (key, address) = (server.key().unwrap(), server.address());
    #[expect(clippy::disallowed_methods, reason = "a test's task ends with the test")]
    let asking: Vec<_> = (0..200)
        .map(|_| {
            tokio::spawn(async move {
                let answer = open(address, request(Method::POST, CHAT, "", &body())).await.ok()?;
                Some(answer.status.as_u16())
            })
        })
        .collect();
    // All ten that the budget can pay run when it dies; of the others some are refused by then and some are not.
    double.wait_for_requests(10).await;
    server.kill();
    let answers = join_all(asking).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(None | Some(429)))), "{answers:?}");
    double.always(Behaviour::Answer);
    let server = server.restart(|_| {}).await.unwrap_or_else(|refused| panic!("{refused:?}"));
    until("what was cut off is charged", async || counters(&server, &key).await.1 == 0).await;
    assert_eq!(counters(&server, &key).await, (10 * reserved(), 0), "as much as each had reserved");
    assert_eq!(ledger(&server, &key).await, (10 * reserved(), 10));
    let answers = flood(&[&server], 100, "").await;
    assert_eq!((count(&answers, 429), double.counts().requests), (100, 10));
}

async fn replica(double: &OpenAi, redis_url: &str, store_url: &str) -> Server {
    let text = format!(
        "[providers.openai]\nbase_url = \"{}\"\nmodels = [\"gpt-double\"]\nconcurrency = 100\nrpm = 100000\n\
         tpm = 100000000\n[redis]\nurl_secret = \"redis_url\"\ntimeout_ms = 5000\n[store]\nurl_secret = \"store_url\"\n{}\n\
         [routes.default]\ntargets = [{{ provider = \"openai\", model = \"gpt-double\" }}]\n",
        double.base_url(),
        ten()
    );
    let options = Options::config(text)
        .env("OPENAI_API_KEY", double.key())
        .env("REDIS_URL", redis_url)
        .env("STORE_URL", store_url)
        .env("ADMIN_KEY", ADMIN_KEY)
        .env("DATA_KEY", "one key for all replicas of this test, made up")
        .env("API_KEY_PEPPER", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("it did not start: {refused:?}"))
}

// req: S4-RATE
#[tokio::test]
async fn two_servers_over_one_redis_never_spend_more_than_the_budget_with_kill_9_in_between() {
    let (Some(shared), Some(rows)) = (redis::start().await, postgres::start().await) else { return };
    let double = OpenAi::start().await;
    let one = replica(&double, &shared.url(), &rows.url()).await;
    let mut two = replica(&double, &shared.url(), &rows.url()).await;
    double.always(Behaviour::Hang);
    let servers = [&one, &two];
    let flooding = flood(&servers, 200, ADMIN_KEY);
    let answers = flooding.await;
    // Ten hung at the provider until the callers went away; all others were refused at once.
    assert_eq!((count(&answers, 429), double.counts().requests), (190, 10), "{answers:?}");
    let budget = 10 * reserved();
    // Each server shows what it saw at its own last settlement: who settled last has seen everything.
    let seen = async || (counters(&one, ADMIN_KEY).await, counters(&two, ADMIN_KEY).await);
    until("what was given up is settled", async || {
        let (one, two) = seen().await;
        one.1 == 0 || two.1 == 0
    })
    .await;
    double.forget();
    // Some run at the second server when it dies.
    let (first, second) = seen().await;
    let left = budget - first.0.max(second.0);
    let fits = left / reserved();
    assert!(fits >= 3, "{left}");
    let address = two.address();
    #[expect(clippy::disallowed_methods, reason = "a test's task ends with the test")]
    let running: Vec<_> = (0..fits)
        .map(|_| {
            tokio::spawn(async move {
                open(address, request(Method::POST, CHAT, ADMIN_KEY, &body())).await.is_ok()
            })
        })
        .collect();
    double.wait_for_requests(usize::try_from(fits).unwrap()).await;
    two.kill();
    for run in running {
        assert!(!run.await.unwrap(), "it died with its server");
    }
    assert_eq!(
        post(one.address(), CHAT, ADMIN_KEY, &body()).await.status,
        429,
        "the dead one's part is not free"
    );
    let two = two.restart(|_| {}).await.unwrap_or_else(|refused| panic!("{refused:?}"));
    let settled = async |server: &Server| counters(server, ADMIN_KEY).await;
    // A request that is refused shows each server what all have spent.
    let look = async || {
        for server in [&one, &two] {
            call(server.address(), request(Method::POST, CHAT, ADMIN_KEY, &body())).await;
        }
        (settled(&one).await, settled(&two).await)
    };
    double.always(Behaviour::Answer);
    until("what was cut off is charged", async || {
        let ((spent, held), other) = look().await;
        held == 0 && other == (spent, 0)
    })
    .await;
    let answers = flood(&[&one, &two], 100, ADMIN_KEY).await;
    assert_eq!(answers.iter().flatten().count(), 100);
    until("all is settled", async || {
        let ((spent, held), other) = (settled(&one).await, settled(&two).await);
        held == 0 && other.1 == 0 && spent.max(other.0) <= budget
    })
    .await;
    look().await;
    // Each server adds what it still holds to the one ledger.
    ledger(&one, ADMIN_KEY).await;
    ledger(&two, ADMIN_KEY).await;
    let spent = settled(&one).await.0.max(settled(&two).await.0);
    let (tokens, rows) = ledger(&one, ADMIN_KEY).await;
    assert!(tokens <= budget, "{tokens} of {budget} in {rows} rows");
    assert_eq!(tokens, spent, "the ledger says what the counters say");
}
