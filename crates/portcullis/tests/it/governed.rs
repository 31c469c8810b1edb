//! Every governed path, as a table: each limit, budget and guard policy bites on each of them as far as it concerns it,
//! and what is refused has cost nothing. Invariant: the table has the paths of the served description, so that a new
//! one without a row fails.

use crate::support::{Answer, BINARY, call, get, metric, post, request, until};
use http::Method;
use portcullis_testkit::{
    process::{Options, Server},
    upstream::{Behaviour, OpenAi, Reply},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Which budgets concern an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spends {
    /// It calls a model: what is too little for the call refuses it.
    Tokens,
    /// This request costs nothing itself; who has nothing left is refused at the door.
    Little,
    /// It never costs anything.
    Nothing,
}

/// One request of a governed endpoint.
#[derive(Debug)]
struct Row {
    method: Method,
    /// As the description has it.
    path: String,
    action: &'static str,
    spends: Spends,
    body: Value,
}

impl Row {
    async fn send(&self, server: &Server, key: &str) -> Answer {
        self.send_with(server, key, &self.body).await
    }

    async fn send_with(&self, server: &Server, key: &str, body: &Value) -> Answer {
        let model = if self.action == "embed" { "embed" } else { "default" };
        let path = self.path.replace("{model}", model).replace("{id}", "default").replace("{job}", "job_1");
        call(server.address(), request(self.method.clone(), &path, key, body)).await
    }

    /// Whether the request names a model and so has a route.
    fn has_route(&self) -> bool {
        self.spends == Spends::Tokens || self.path.to_lowercase().contains("count")
    }

    /// Whether what was asked is looked through.
    fn has_text(&self) -> bool {
        self.has_route() || ["/v1/ask", "/v1/search"].contains(&self.path.as_str())
    }
}

/// Every governed endpoint with a request that says `text`, streamed too where there are streams.
fn rows(text: &str) -> Vec<Row> {
    use Spends::{Little, Nothing, Tokens};
    let turns = json!([{"role": "user", "content": text}]);
    let content = json!({"role": "user", "parts": [{"text": text}]});
    let mut rows = Vec::new();
    let mut row = |method: Method, path: &str, action, spends, body| {
        rows.push(Row { method, path: path.to_owned(), action, spends, body });
    };
    for stream in [false, true] {
        let chat = json!({"model": "default", "stream": stream, "messages": turns});
        row(Method::POST, "/v1/chat/completions", "chat", Tokens, chat);
        let responses = json!({"model": "default", "stream": stream, "input": text});
        row(Method::POST, "/v1/responses", "chat", Tokens, responses);
        let messages = json!({"model": "default", "stream": stream, "max_tokens": 50, "messages": turns});
        row(Method::POST, "/v1/messages", "chat", Tokens, messages);
        row(Method::POST, "/v1/ask", "ask", Little, json!({"question": text, "stream": stream}));
    }
    let counted = json!({"model": "default", "messages": turns});
    row(Method::POST, "/v1/messages/count_tokens", "chat", Little, counted);
    row(Method::POST, "/v1/embeddings", "embed", Tokens, json!({"model": "embed", "input": text}));
    for version in ["/v1beta", "/v1"] {
        let path = |verb: &str| format!("{version}/models/{{model}}:{verb}");
        let contents = || json!({"contents": [content]});
        row(Method::POST, &path("generateContent"), "chat", Tokens, contents());
        row(Method::POST, &path("streamGenerateContent"), "chat", Tokens, contents());
        row(Method::POST, &path("countTokens"), "chat", Little, contents());
        row(Method::POST, &path("embedContent"), "embed", Tokens, json!({"content": content}));
        let many = json!({"requests": [{"model": "models/embed", "content": content}]});
        row(Method::POST, &path("batchEmbedContents"), "embed", Tokens, many);
        row(Method::GET, &format!("{version}/models"), "models", Nothing, Value::Null);
        row(Method::GET, &format!("{version}/models/{{id}}"), "models", Nothing, Value::Null);
    }
    row(Method::POST, "/v1/search", "search", Nothing, json!({"query": text}));
    row(Method::GET, "/v1/collections", "search", Nothing, Value::Null);
    row(Method::GET, "/v1/documents", "search", Nothing, Value::Null);
    row(Method::DELETE, "/v1/documents/{id}", "ingest", Nothing, Value::Null);
    // Nothing that would be fetched: where these two are let through, their bodies are refused.
    row(Method::POST, "/v1/ingest", "ingest", Nothing, json!({}));
    row(Method::POST, "/v1/news/digest", "news", Little, json!({}));
    row(Method::GET, "/v1/ingest/{job}", "ingest", Nothing, Value::Null);
    row(Method::DELETE, "/v1/ingest/{job}", "ingest", Nothing, Value::Null);
    rows
}

async fn serve(double: &OpenAi, route: &str, more: &str) -> Server {
    let text = format!(
        "[providers.openai]\nbase_url = \"{}\"\nmodels = [\"gpt-double\", \"embed-double\"]\n\
         [models.\"openai/gpt-double\"]\nprice = {{ input = 1000000, output = 1000000 }}\n\
         [models.\"openai/embed-double\"]\nprice = {{ input = 1000000 }}\n\
         [routes.default]\n{route}\ncache = \"off\"\ntargets = [{{ provider = \"openai\", model = \"gpt-double\" }}]\n\
         [routes.embed]\n{route}\ncache = \"off\"\ntargets = [{{ provider = \"openai\", model = \"embed-double\" }}]\n\
         {more}",
        double.base_url()
    );
    let options = Options::config(text).env("OPENAI_API_KEY", double.key());
    Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("it did not start: {refused:?}"))
}

/// A key for chat and documents.
async fn make(server: &Server, mut definition: Value) -> String {
    definition["name"] = json!("robot");
    definition["scopes"] = json!(["chat", "admin:write"]);
    let first = server.key().unwrap();
    let made = post(server.admin().unwrap(), "/admin/v1/keys", &first, &definition).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["key"].as_str().unwrap().to_owned()
}

/// What `RateLimit` says is left of a policy; the least, where it has a window of a minute and one of an hour.
fn left(answer: &Answer, policy: &str) -> u64 {
    let header = answer.header("ratelimit");
    let name = format!("\"{policy}\";r=");
    let figures =
        header.split(", ").filter_map(|member| member.strip_prefix(&name)?.split(';').next()?.parse().ok());
    figures.min().unwrap_or_else(|| panic!("no {policy} in {header}"))
}

/// Every endpoint is refused by that limit, and no other limit is charged for it.
async fn all_refused(server: &Server, key: &str, limit: &str, tier: &str) {
    let (rows, mut others) = (rows("Who keeps the gate?"), BTreeSet::new());
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    for row in &rows {
        let answer = row.send(server, key).await;
        let place = format!("{limit}: {} {}: {answer:?}", row.method, row.path);
        assert_eq!(answer.status, 429, "{place}");
        assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|wait| wait >= 1), "{place}");
        // The limit of everybody is told to nobody.
        assert!(limit == "global" || left(&answer, limit) == 0, "{place}");
        others.insert(left(&answer, if limit == "tier" { "key" } else { "tier" }));
        *times.entry(row.action).or_default() += 1;
    }
    assert_eq!(others.len(), 1, "{limit}: a refused request is charged to no other limit: {others:?}");
    for (action, times) in times {
        let line = format!("rate_limit_breaches{{scope=\"{limit}\",tier=\"{tier}\",action=\"{action}\"}}");
        until(&line, async || metric(server.address(), &line).await == f64::from(times)).await;
    }
}

const WIDE: &str = "[limits.global]\ncapacity = 1000000\nrefill_per_sec = 1000000\n\
                    [limits.ip]\ncapacity = 1000000\nrefill_per_sec = 1000000\n\
                    [limits.user]\ncapacity = 1000000\nrefill_per_sec = 1000000\n";

// req: S4-RATE
#[tokio::test(flavor = "multi_thread")]
async fn every_limit_bites_on_every_governed_endpoint_and_a_refusal_is_charged_to_no_other() {
    let double = OpenAi::start().await;
    let narrow = "{ capacity = 1, refill_per_sec = 0.001 }";
    let tiers = format!(
        "{WIDE}[tiers.of_ip]\nper_min = 1000\nip = {narrow}\n[tiers.of_user]\nper_min = 1000\nuser = {narrow}\n\
         [tiers.of_tier]\nper_min = 1\n[tiers.of_key]\nper_min = 1000\n"
    );
    let server = serve(&double, "", &tiers).await;
    let described = get(server.address(), "/openapi.json", "").await.json();
    let described: BTreeSet<String> = described["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(path, _)| path.starts_with("/v1"))
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let listed: BTreeSet<String> =
        rows("").iter().map(|row| format!("{} {}", row.method, row.path)).collect();
    assert_eq!(listed, described, "the table has every governed path");

    for (limit, rpm) in [("ip", 1_000), ("user", 1_000), ("tier", 1_000), ("key", 1)] {
        let tier = format!("of_{limit}");
        let key = make(&server, json!({"tier": tier, "rpm": rpm})).await;
        assert_eq!(get(server.address(), "/v1/models", &key).await.status, 200, "{limit}: the only one");
        all_refused(&server, &key, limit, &tier).await;
    }

    // Tokens of a minute: a request larger than all of them passes alone.
    let key = make(&server, json!({"tier": "of_key", "tpm": 1})).await;
    assert_eq!(rows("Who keeps the gate?")[0].send(&server, &key).await.status, 200);
    for row in rows("Who keeps the gate?").iter().filter(|row| row.spends == Spends::Tokens) {
        let answer = row.send(&server, &key).await;
        let place = format!("tokens a minute: {}: {answer:?}", row.path);
        assert_eq!(answer.status, 429, "{place}");
        assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|wait| wait >= 1), "{place}");
    }
    assert_eq!(double.counts().requests, 1, "nothing but that one went out");
    double.forget();

    let actions = ["chat", "embed", "models", "ask", "search", "ingest", "news"];
    for window in ["per_user_per_min = 1\n", "per_user_per_min = 1000\nper_user_per_hour = 1\n"] {
        let each = actions.map(|action| format!("[actions.{action}]\n{window}")).concat();
        let server = serve(&double, "", &format!("{WIDE}[tiers.of_action]\nper_min = 1000\n{each}")).await;
        let key = make(&server, json!({"tier": "of_action"})).await;
        for action in actions {
            // One of which nothing goes out: what its sender did wrong is not given back.
            let all = rows("");
            let row = all.iter().find(|row| row.action == action).unwrap();
            let body = if row.method == Method::POST { json!({}) } else { Value::Null };
            let answer = row.send_with(&server, &key, &body).await;
            assert!(matches!(answer.status.as_u16(), 200 | 400 | 404), "{action}: {answer:?}");
        }
        all_refused(&server, &key, "action", "of_action").await;
    }

    let one =
        "[limits]\nglobal = { capacity = 1, refill_per_sec = 0.001 }\n[tiers.premium]\nper_min = 1000\n";
    let server = serve(&double, "", one).await;
    let key = server.key().unwrap();
    assert_eq!(get(server.address(), "/v1/models", &key).await.status, 200, "global: the only one");
    all_refused(&server, &key, "global", "premium").await;
    assert_eq!(double.counts().requests, 0, "nothing of it went out");
}

/// A right answer that cost far more than could be expected: so a budget is used up by one call.
fn dear() -> Behaviour {
    let body = json!({
        "id": "chatcmpl-dear", "object": "chat.completion", "created": 1, "model": "gpt-double",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Gold."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 60_000, "completion_tokens": 40_000, "total_tokens": 100_000},
    });
    Behaviour::Status { status: 200, headers: Vec::new(), body: body.to_string() }
}

/// Requests and tokens in the ledger.
async fn ledger(server: &Server) -> (u64, u64) {
    let first = server.key().unwrap();
    let shown = get(server.admin().unwrap(), "/admin/v1/usage?group_by=key", &first).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    let rows = shown.json()["data"].as_array().unwrap().clone();
    let sum = |name: &str| rows.iter().filter_map(|row| row[name].as_u64()).sum::<u64>();
    (sum("requests"), sum("input") + sum("output"))
}

// req: S4-RATE
#[tokio::test(flavor = "multi_thread")]
async fn every_budget_bites_on_every_endpoint_that_spends_and_a_refusal_costs_nothing() {
    let budget = |scope: &str, most: &str| {
        format!("[budgets.purse]\nscope = \"{scope}\"\nwindow = \"day\"\n{most}\naction = \"refuse\"\n")
    };
    let (tokens, money) = ("tokens = 5000", "money_usd = 0.05");
    let own = json!([{"window": "day", "tokens": 5_000}]);
    // What bounds, what the key itself says, the tier's shares, whether it is money, whether others are bound too.
    for (config, own, shares, is_money, all) in [
        (budget("global", tokens), json!([]), "", false, true),
        (budget("key", tokens), json!([]), "", false, false),
        (budget("user", tokens), json!([]), "", false, false),
        (budget("team", tokens), json!([]), "", false, false),
        (budget("tier:authenticated", tokens), json!([]), "", false, false),
        (String::new(), own, "", false, false),
        (String::new(), json!([]), "daily_tokens = 5000", false, false),
        (budget("global", money), json!([]), "", true, true),
        (budget("key", money), json!([]), "", true, false),
        (budget("team", money), json!([]), "", true, false),
        (String::new(), json!([]), "daily_usd = 0.05", true, false),
    ] {
        let double = OpenAi::start().await;
        let tiers = format!(
            "{WIDE}[tiers.authenticated]\nper_min = 1000\n{shares}\n[tiers.premium]\nper_min = 1000\n"
        );
        let server = serve(&double, "", &format!("{config}{tiers}")).await;
        let poor = json!({"tier": "authenticated", "team": "red", "user": "ann", "budgets": own});
        let poor = make(&server, poor).await;
        let other = make(&server, json!({"tier": "premium", "team": "blue", "user": "bob"})).await;
        let what = format!("{config}{own}{shares}");

        double.next(dear());
        let asked =
            json!({"model": "default", "max_tokens": 50, "messages": [{"role": "user", "content": "Gold?"}]});
        let answer = post(server.address(), "/v1/chat/completions", &poor, &asked).await;
        assert_eq!(answer.status, 200, "{what}: it has enough: {answer:?}");
        until("it is in the ledger", async || ledger(&server).await == (1, 100_000)).await;
        for row in rows("Who keeps the gate?") {
            let answer = row.send(&server, &poor).await;
            let place = format!("{what}: {} {}: {answer:?}", row.method, row.path);
            let bites = match row.spends {
                Spends::Tokens => true,
                Spends::Little => !is_money,
                Spends::Nothing => false,
            };
            assert_eq!(answer.status == 429, bites, "{place}");
            assert!(
                !bites || answer.header("retry-after").parse::<u64>().is_ok_and(|wait| wait >= 1),
                "{place}"
            );
            assert!(!bites || answer.text().contains("budget"), "{place}");
            assert!(answer.status.as_u16() < 500, "{place}");
        }
        assert_eq!(ledger(&server).await, (1, 100_000), "{what}: nothing more was spent");
        assert_eq!(double.counts().requests, 1, "{what}: nothing more went out");
        let answer = post(server.address(), "/v1/chat/completions", &other, &asked).await;
        assert_eq!(answer.status, if all { 429 } else { 200 }, "{what}: {answer:?}");
    }
}

/// A guard policy for every direction.
const CAREFUL: &str = "[policies.careful]\ninput = { topics = [\"the hidden treasure\"], secrets = \"redact\" }\n\
                       output = { secrets = \"redact\", topics = [\"the drawbridge code\"] }\n";

/// A key's shape, put together so that no scanner takes this file for a leak.
fn secret() -> String {
    format!("{}{}", "ghp_", "a1B2".repeat(10))
}

// req: S2-1.6
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_a_route_a_tier_or_a_key_bites_on_every_endpoint_and_what_it_blocks_costs_nothing() {
    let double = OpenAi::start().await;
    let tiers = "[tiers.guarded]\nper_min = 1000\npolicy = \"careful\"\n[tiers.plain]\nper_min = 1000\n\
                 [tiers.premium]\nper_min = 1000\n";
    let by_route = serve(&double, "policy = \"careful\"", &format!("{CAREFUL}{WIDE}{tiers}")).await;
    let by_caller = serve(&double, "", &format!("{CAREFUL}{WIDE}{tiers}")).await;
    let whose = [
        ("route", &by_route, make(&by_route, json!({"tier": "plain"})).await),
        ("tier", &by_caller, make(&by_caller, json!({"tier": "guarded"})).await),
        ("key", &by_caller, make(&by_caller, json!({"tier": "plain", "policy": "careful"})).await),
    ];
    for (what, server, key) in &whose {
        double.forget();
        // Documents have no route.
        let concerned = |row: &Row| if *what == "route" { row.has_route() } else { row.has_text() };
        for row in rows("Where is the hidden treasure?").into_iter().filter(concerned) {
            let answer = row.send(server, key).await;
            let place = format!("{what}: {}: {answer:?}", row.path);
            assert_eq!(answer.status, 400, "{place}");
            assert!(answer.text().contains("I cannot process this message"), "{place}");
        }
        assert_eq!(double.counts().requests, 0, "{what}: nothing of it went out");
        assert_eq!(ledger(server).await, (0, 0), "{what}: nothing of it was spent");
    }
    let free = make(&by_caller, json!({"tier": "plain"})).await;
    let answer = rows("Where is the hidden treasure?")[0].send(&by_caller, &free).await;
    assert_eq!(answer.status, 200, "it is these policies that refuse: {answer:?}");

    for (what, server, key) in &whose {
        let said = format!("My key is {} now.", secret());
        for row in rows(&said).into_iter().filter(|row| row.spends == Spends::Tokens) {
            double.forget();
            if row.action == "chat" {
                double
                    .next(Behaviour::Say(Reply::Text("I tell you the drawbridge code, it is four.".into())));
            }
            let answer = row.send(server, key).await;
            let place = format!("{what}: {}: {answer:?}", row.path);
            let sent = String::from_utf8_lossy(&double.received()[0].body).into_owned();
            assert!(sent.contains("My key is [github_token] now."), "{place}: {sent}");
            assert!(!answer.text().contains("drawbridge"), "{place}");
            assert!(row.action == "embed" || !answer.text().contains("four"), "{place}");
        }
    }
    assert!(double.violations().is_empty(), "{:?}", double.violations());
}
