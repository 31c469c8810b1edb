//! Admission, from outside: exactly the permitted number passes, whoever counts and however many servers there are.

use crate::support::{BINARY, PATIENCE, WIDE, chat, get, metric, post, serve, until};
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

/// One member of a list of strings with whole numbers as parameters.
type Policy = (String, Vec<(String, u64)>);

/// A list of structured fields as RFC 9651 section 4.2 reads it, of the kinds that the rate headers may hold: strings
/// with parameters that are integers. Strict: what another parser might refuse is none here either.
fn structured(text: &str) -> Option<Vec<Policy>> {
    let mut rest = text.trim_matches(' ');
    let mut list = Vec::new();
    loop {
        let mut name = String::new();
        let mut chars = rest.strip_prefix('"')?.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => name.push(chars.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
                plain @ ' '..='~' => name.push(plain),
                _ => return None,
            }
        }
        rest = chars.as_str();
        let mut parameters: Vec<(String, u64)> = Vec::new();
        while let Some(after) = rest.strip_prefix(';') {
            let after = after.trim_start_matches(' ');
            let (key, value) = after.split_once('=')?;
            let rules = |(at, c): (usize, char)| match c {
                'a'..='z' | '*' => true,
                '0'..='9' | '_' | '-' | '.' => at > 0,
                _ => false,
            };
            if key.is_empty() || !key.chars().enumerate().all(rules) {
                return None;
            }
            let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
            // No more than fifteen digits; a sign would be one of a wait in the past.
            let digits = Some(&value[..end]).filter(|digits| (1..=15).contains(&digits.len()))?;
            if parameters.iter().any(|(known, _)| known == key) {
                return None;
            }
            parameters.push((key.to_owned(), digits.parse().ok()?));
            rest = &value[end..];
        }
        list.push((name, parameters));
        rest = rest.trim_start_matches([' ', '\t']);
        if rest.is_empty() {
            return Some(list);
        }
        rest = rest.strip_prefix(',')?.trim_start_matches([' ', '\t']);
    }
}

#[test]
fn the_parser_of_structured_fields_refuses_what_is_none() {
    let one = vec![("tier".to_owned(), vec![("q".to_owned(), 100), ("w".to_owned(), 60)])];
    assert_eq!(structured("\"tier\";q=100;w=60"), Some(one.clone()));
    assert_eq!(structured(" \"tier\"; q=100;  w=60 "), Some(one));
    assert_eq!(structured("\"a\\\"b\";q=1 ,\t\"c\"").map(|list| list.len()), Some(2));
    for wrong in [
        "",
        "tier;q=1",
        "'tier';q=1",
        "\"tier",
        "\"tier\";q",
        "\"tier\";Q=1",
        "\"tier\";q=-1",
        "\"tier\";q=1.5",
        "\"tier\" ;q=1",
        "\"tier\";q=1,",
        "\"tier\";q=1 \"user\";q=1",
        "\"tier\";q=1234567890123456",
        "\"t\u{e9}\";q=1",
        "\"tier\";q=1;q=2",
        "\"a\\b\";q=1",
    ] {
        assert_eq!(structured(wrong), None, "{wrong}");
    }
}

// req: S4-RATE
#[tokio::test]
async fn rate_headers_are_structured_fields_and_who_waits_as_told_is_served() {
    let double = OpenAi::start().await;
    // A place comes back every two seconds, for the caller or for the address.
    let bucket = "{ capacity = 1, refill_per_sec = 0.5 }";
    for (slow, user, ip) in [("user", bucket, ""), ("ip", "{ capacity = 50, refill_per_sec = 50 }", bucket)] {
        let ip = if ip.is_empty() { String::new() } else { format!("ip = {ip}\n") };
        let config = WIDE.replacen(
            "user = { capacity = 1000000, refill_per_sec = 1000000 }\n",
            &format!("user = {user}\n{ip}[actions.chat]\nper_user_per_min = 1000\n"),
            1,
        );
        let server = serve(&double, &double.base_url(), &config).await;
        let body = chat(false);
        let ask = async || post(server.address(), "/v1/chat/completions", "", &body).await;
        for _ in 0..2 {
            // As fast as they go: the second is refused unless this machine slept in between.
            let mut answers = Vec::new();
            while answers.last().is_none_or(|last: &crate::support::Answer| last.status == 200) {
                answers.push(ask().await);
            }
            let wait = answers.last().unwrap().header("retry-after").parse::<u64>().unwrap();
            for answer in &answers {
                let read = |name: &str| {
                    let text = answer.header(name);
                    structured(text).unwrap_or_else(|| panic!("{name} is no list: {text}"))
                };
                let (policies, states) = (read("ratelimit-policy"), read("ratelimit"));
                let names = |list: &[Policy]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
                assert_eq!(names(&policies), names(&states));
                assert_eq!(names(&policies), ["ip", "user", "tier", "action"], "never that of everybody");
                for ((name, policy), (_, state)) in policies.iter().zip(&states) {
                    let [(q, quota), (w, window)] = &policy[..] else { panic!("{name}: {policy:?}") };
                    let [(r, left), (t, until)] = &state[..] else { panic!("{name}: {state:?}") };
                    assert_eq!([q, w, r, t].map(String::as_str), ["q", "w", "r", "t"]);
                    assert!(left <= quota && *window >= 1, "{name}: {policy:?} {state:?}");
                    let refuses = answer.status == 429 && name == slow;
                    assert_eq!(*left == 0, name == slow, "{name}: {state:?}");
                    assert!(!refuses || wait >= *until, "{name}: {wait} is earlier than {until}");
                }
            }
            assert!((1..=2).contains(&wait), "{wait}");
            tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
            assert_eq!(ask().await.status, 200, "who waits as told is served: {slow}");
        }
    }
}
