//! Several keys of one provider, its own word on its limits, and two rows behind one quota, over real sockets.

use super::{World, call, hello, model};
use crate::{
    EmbedConfig, ExtractConfig, LearnConfig, ModelsConfig, Parts, ProviderConfig, Providers, ProvidersConfig,
    UpstreamConfig, WhenFull,
};
use portcullis_domain::{Action, SafetyView};
use portcullis_resilience::{
    Registry,
    http::{Client, HttpConfig},
};
use portcullis_telemetry::{AlertCategory, Alerts, Metrics};
use portcullis_testkit::upstream::{Behaviour, OpenAi};

const BOTH: [&str; 2] = ["double_key", "other_key"];

async fn two_keys(change: impl FnOnce(&mut ProviderConfig)) -> World {
    World::with(OpenAi::start().await, |provider, _| {
        provider.key_secret = None;
        provider.key_secrets = BOTH.map(str::to_owned).into();
        change(provider);
    })
}

async fn asks(world: &World) -> Result<(), &'static str> {
    let answer = world.provider().chat(&call(), &hello(false), &model("gpt-double")).await;
    answer.map(drop).map_err(|refusal| refusal.reason)
}

// req: S2-3.7
#[tokio::test]
async fn calls_take_turns_with_the_keys_and_one_that_is_refused_is_left_alone_by_itself() {
    let mut world = two_keys(|_| {}).await;
    let mut seen = Vec::new();
    for _ in 0..8 {
        seen.push(asks(&world).await);
    }
    let refused = seen.iter().filter(|answer| **answer == Err("bad_key")).count();
    assert_eq!(refused, 2, "the second refusal holds that key: {seen:?}");
    assert!(seen[4..].iter().all(Result::is_ok), "{seen:?}");
    assert_eq!(world.alerts.try_recv().unwrap().category, AlertCategory::KeyInvalid);
    let keys: Vec<String> =
        world.double.received().iter().map(|request| request.header("authorization").to_owned()).collect();
    assert_eq!(keys.iter().filter(|key| key.contains("other")).count(), 2, "{keys:?}");
    let status = world.registry.get("double").unwrap().status();
    assert_eq!((status.lanes, status.lanes_held, status.held), (2, 1, false));
}

// req: S0-03
#[tokio::test]
async fn a_limit_that_the_answers_tell_counts_from_the_next_call_on() {
    for (learn, most) in [(None, 3), (Some(LearnConfig::Switch(false)), 8)] {
        let world = World::with(OpenAi::start().await, |provider, _| {
            (provider.rpm, provider.learn) = (Some(100), learn);
        });
        let tell = |limit: &str| vec![("x-ratelimit-limit-requests".to_owned(), limit.to_owned())];
        world.double.change(|options| options.headers = tell("-7"));
        assert_eq!(asks(&world).await, Ok(()));
        world.double.change(|options| options.headers = tell("4"));
        let mut answered = 1;
        for _ in 0..7 {
            answered += usize::from(asks(&world).await.is_ok());
        }
        assert_eq!(answered, most);
        let metrics = world.metrics.render();
        assert!(metrics.contains("learned_header_rejected_total{provider=\"double\"} 1"), "{metrics}");
        assert_eq!(metrics.contains("learned_rpm{provider=\"double\"} 4"), learn.is_none());
    }
}

// req: S0-02
#[tokio::test]
async fn a_provider_that_rejects_when_full_lets_nobody_wait() {
    let world = World::with(OpenAi::start().await, |provider, _| {
        (provider.concurrency, provider.when_full) = (Some(1), WhenFull::Reject);
    });
    world.double.always(Behaviour::Hang);
    let (first, second) = tokio::join!(asks(&world), asks(&world));
    assert_eq!((first, second), (Err("failure"), Err("queue_full")));
}

// req: S0-03
#[tokio::test]
async fn an_actions_own_limit_a_minute_is_one_for_all_providers() {
    let doubles = [OpenAi::start().await, OpenAi::start().await];
    let provider = |double: &OpenAi| ProviderConfig {
        base_url: Some(double.base_url()),
        key_secret: Some("double_key".into()),
        ..ProviderConfig::default()
    };
    let parts = Parts {
        providers: &["a", "b"]
            .into_iter()
            .zip(&doubles)
            .map(|(name, it)| (name.into(), provider(it)))
            .collect(),
        models: &ModelsConfig::default(),
        embed: &EmbedConfig::default(),
        extract: &ExtractConfig::default(),
        upstream: &UpstreamConfig::default(),
        client: Client::new(&HttpConfig::default()),
        registry: &Registry::new(),
        metrics: Metrics::new(),
        alerts: Alerts::silent(),
        paces: [(Action::Chat, 3), (Action::Summarise, 1)].into(),
        overrides: SafetyView::none(),
        embedders: crate::Embedders::in_folder(std::path::Path::new("no-such-folder")),
    };
    let key = |name: &str| (name == "double_key").then(|| doubles[0].key().into());
    let providers = Providers::new(&parts, key).unwrap();
    let mut answers = Vec::new();
    for name in ["a", "b", "a", "b", "a"] {
        let answer = providers.get(name).unwrap().chat(&call(), &hello(false), &model("gpt-double")).await;
        answers.push(answer.map(drop).map_err(|refusal| refusal.reason));
    }
    assert_eq!(answers, [Ok(()), Ok(()), Ok(()), Err("paced"), Err("paced")]);
    // What an app asks for another purpose counts under that, and not as a conversation.
    let summary = crate::Call { purpose: Some(Action::Summarise), ..call() };
    for (name, expected) in [("a", Ok(())), ("b", Err("paced"))] {
        let answer = providers.get(name).unwrap().chat(&summary, &hello(false), &model("gpt-double")).await;
        assert_eq!(answer.map(drop).map_err(|refusal| refusal.reason), expected);
    }
}

// req: S0-02
#[tokio::test]
async fn two_ways_to_one_quota_share_its_guards_and_the_one_without_safety_must_be_meant() {
    let built = |configs: ProvidersConfig| {
        let registry = Registry::new();
        let parts = Parts {
            providers: &configs,
            models: &ModelsConfig::default(),
            embed: &EmbedConfig::default(),
            extract: &ExtractConfig::default(),
            upstream: &UpstreamConfig::default(),
            client: Client::new(&HttpConfig::default()),
            registry: &registry,
            metrics: Metrics::new(),
            alerts: Alerts::silent(),
            paces: std::collections::BTreeMap::new(),
            overrides: SafetyView::none(),
            embedders: crate::Embedders::in_folder(std::path::Path::new("no-such-folder")),
        };
        let key = |name: &str| (name == "gemini_api_key").then(|| "double-key".to_owned().into());
        let providers = Providers::new(&parts, key).unwrap();
        let names: Vec<String> = providers.iter().map(|provider| provider.name().to_owned()).collect();
        let guards: Vec<String> = registry.all().iter().map(|guard| guard.name().to_owned()).collect();
        (names, guards)
    };
    let meant = || ProviderConfig { allow_without_safety: true, ..ProviderConfig::default() };
    let off = || ProviderConfig { enabled: Some(false), ..ProviderConfig::default() };
    let (names, _) = built(ProvidersConfig::new());
    assert_eq!(names, ["gemini", "builtin"], "a key alone does not open the way around");
    let (names, guards) = built(ProvidersConfig::from([("gemini-openai".into(), meant())]));
    assert_eq!(names, ["gemini", "gemini-openai", "builtin"]);
    assert!(!guards.iter().any(|name| name.starts_with("gemini-openai")), "{guards:?}");
    assert!(guards.contains(&"gemini".to_owned()) && guards.contains(&"gemini-embed".to_owned()));
    let alone = [("gemini-openai".to_owned(), meant()), ("gemini".to_owned(), off())];
    let (names, guards) = built(ProvidersConfig::from(alone));
    assert_eq!(names, ["gemini-openai", "builtin"]);
    assert!(guards.contains(&"gemini-openai".to_owned()));
}
