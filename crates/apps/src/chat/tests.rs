//! The gateway over real sockets: who answers to which name, who takes over, what the caller is told.

use super::{
    ChatApp,
    cache::{Answers, CacheConfig},
};
use super::{RouteConfig, RoutesConfig, Sticky, TargetConfig};
use bytes::Bytes;
use futures_util::StreamExt as _;
use portcullis_domain::{
    Caller, ChatRequest, Deadline, Degraded, EmbedInput, EmbedRequest, Encoding, Failure, Format, Hints,
    InputCode, ModelsRequest, Needs, Payload, Reply, ReplyBody, RequestId, Role, Scope, Scopes, TextPart,
    Tier,
};
use portcullis_engine::{App as _, Filter, Inspected, Quotas};
use portcullis_providers::{
    EmbedConfig, ExtractConfig, ModelsConfig, Parts, ProviderConfig, Providers, ProvidersConfig,
    UpstreamConfig,
};
use portcullis_resilience::{
    Registry,
    http::{Client, HttpConfig},
};
use portcullis_telemetry::{Alerts, Metrics};
use portcullis_testkit::upstream::{Behaviour, OpenAi};
use serde_json::Value;
use std::{net::Ipv4Addr, time::Duration};
use tokio_util::task::TaskTracker;

/// Routes: name, and targets as provider, model and rank.
pub(crate) type Routed<'a> = &'a [(&'a str, &'a [(&'a str, &'a str, u32)])];

/// An app over these doubles, each a provider of its own.
pub(crate) fn app(doubles: &[(&str, &OpenAi)], routes: Routed<'_>) -> (ChatApp, Metrics) {
    app_with(doubles, routes, |_, _| {})
}

/// The same, with every provider changed.
pub(crate) fn app_with(
    doubles: &[(&str, &OpenAi)],
    routes: Routed<'_>,
    change: impl Fn(&str, &mut ProviderConfig),
) -> (ChatApp, Metrics) {
    built(doubles, routes, change, |_| {}, &CacheConfig::default())
}

/// The same, with every route changed.
fn app_routed(
    doubles: &[(&str, &OpenAi)],
    routes: Routed<'_>,
    change: impl Fn(&mut RouteConfig),
) -> (ChatApp, Metrics) {
    built(doubles, routes, |_, _| {}, change, &CacheConfig::default())
}

pub(super) fn built(
    doubles: &[(&str, &OpenAi)],
    routes: Routed<'_>,
    provider_change: impl Fn(&str, &mut ProviderConfig),
    route_change: impl Fn(&mut RouteConfig),
    cache: &CacheConfig,
) -> (ChatApp, Metrics) {
    let metrics = Metrics::new();
    let providers = providers(doubles, provider_change, &EmbedConfig::default(), &metrics);
    let target = |(provider, model, rank): &(&str, &str, u32)| TargetConfig {
        provider: (*provider).into(),
        model: (*model).into(),
        rank: *rank,
        weight: 1,
    };
    let routes: RoutesConfig = routes
        .iter()
        .map(|(name, targets)| {
            let targets = targets.iter().map(target).collect();
            let mut config = RouteConfig { targets, ..RouteConfig::default() };
            route_change(&mut config);
            ((*name).to_owned(), config)
        })
        .collect();
    let answers = Answers::new(cache, None, TaskTracker::new());
    (ChatApp::new(providers, &routes, metrics.clone(), answers), metrics)
}

/// Each double as a provider of its own.
pub(crate) fn providers(
    doubles: &[(&str, &OpenAi)],
    change: impl Fn(&str, &mut ProviderConfig),
    embed: &EmbedConfig,
    metrics: &Metrics,
) -> Providers {
    let provider = |double: &OpenAi| ProviderConfig {
        base_url: Some(double.base_url()),
        key_secret: Some("double".into()),
        models: Some(serde_json::from_str(r#"["gpt-double", "embed-double"]"#).unwrap()),
        breaker_failures: Some(3),
        ..ProviderConfig::default()
    };
    let configs: ProvidersConfig = doubles
        .iter()
        .map(|(name, double)| {
            let mut config = provider(double);
            change(name, &mut config);
            ((*name).to_owned(), config)
        })
        .collect();
    let parts = Parts {
        providers: &configs,
        models: &ModelsConfig::default(),
        embed,
        extract: &ExtractConfig::default(),
        upstream: &UpstreamConfig {
            ttft_timeout_secs: 1,
            attempt_timeout_secs: 1,
            ..UpstreamConfig::default()
        },
        client: Client::new(&HttpConfig::default()),
        registry: &Registry::new(),
        metrics: metrics.clone(),
        alerts: Alerts::silent(),
        paces: std::collections::BTreeMap::new(),
        overrides: portcullis_domain::SafetyView::none(),
        embedders: portcullis_providers::Embedders::in_folder("models".as_ref()),
    };
    let key = |name: &str| (name == "double").then(|| "sk-double-key".to_owned().into());
    Providers::new(&parts, key).unwrap()
}

pub(super) const TWO: Routed = &[("pair", &[("b", "gpt-double", 1), ("a", "gpt-double", 0)])];

pub(crate) fn inspected(scopes: Scopes, payload: Payload) -> Inspected {
    Inspected {
        id: RequestId::from_parts(1_700_000_000_000, 7),
        caller: Caller::new("key:test".into(), Tier::Authenticated, scopes, Ipv4Addr::LOCALHOST.into()),
        weight: 2,
        deadline: Deadline::after(Duration::from_secs(20)),
        hints: Hints::default(),
        span: None,
        payload,
        score: 0.0,
        shape: None,
        flagged: false,
        filter: Filter::OPEN,
        quotas: Quotas::OPEN,
    }
}

pub(crate) const PLAIN: Scopes = Scopes::NONE.with(Scope::Chat);
const PIN: Scopes = PLAIN.with(Scope::Pin);

pub(super) fn chat(model: &str, stream: bool, needs: Needs) -> Payload {
    let name = Value::from(model).to_string();
    let flag = if stream { ",\"stream\":true" } else { "" };
    let body =
        format!("{{\"model\":{name}{flag},\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}");
    let at = body.find("\"hello\"").unwrap() + 1;
    Payload::Chat(ChatRequest {
        model: model.into(),
        format: Format::OpenAi,
        model_span: Some(9..9 + name.len()),
        stream,
        include_usage: false,
        forced_span: None,
        max_tokens: None,
        n: 1,
        deterministic: false,
        needs,
        parts: vec![TextPart { role: Role::User, span: at..at + 5, escaped: false }],
        body: body.into(),
    })
}

pub(super) fn embed(model: &str) -> Payload {
    let body = format!("{{\"model\":\"{model}\",\"input\":\"hello\"}}");
    let at = body.find("\"hello\"").unwrap() + 1;
    Payload::Embed(EmbedRequest {
        model: model.into(),
        format: Format::OpenAi,
        model_span: Some(9..11 + model.len()),
        input: EmbedInput::Texts(vec![TextPart { role: Role::User, span: at..at + 5, escaped: false }]),
        encoding: Encoding::Float,
        dimensions: None,
        body: body.into(),
    })
}

pub(super) async fn ask(app: &ChatApp, scopes: Scopes, model: &str) -> Result<Reply, Failure> {
    app.run(inspected(scopes, chat(model, false, Needs::default()))).await
}

pub(crate) async fn bytes(reply: Reply) -> Result<Bytes, Failure> {
    match reply.body {
        ReplyBody::Message(message) => Ok(message.words().into()),
        ReplyBody::Whole(bytes) => Ok(bytes),
        ReplyBody::Stream(stream) => {
            let items: Vec<_> = stream.collect().await;
            let parts: Result<Vec<Bytes>, Failure> = items.into_iter().collect();
            Ok(parts?.concat().into())
        }
    }
}

// req: S2-2.3
#[tokio::test]
async fn the_next_target_takes_over_before_the_first_byte_and_the_answer_says_so() {
    let (a, b) = (OpenAi::start().await, OpenAi::start().await);
    for stream in [false, true] {
        for behaviour in [
            Behaviour::server_error(),
            Behaviour::rate_limited(3),
            Behaviour::Close,
            Behaviour::Hang,
            Behaviour::Garbage,
            Behaviour::bad_key(),
            Behaviour::quota_exhausted(),
            Behaviour::model_gone(),
            Behaviour::context_too_long(),
        ] {
            let (app, metrics) = app(&[("a", &a), ("b", &b)], TWO);
            a.forget();
            b.forget();
            a.next(behaviour.clone());
            let reply = app.run(inspected(PLAIN, chat("pair", stream, Needs::default()))).await.unwrap();
            assert_eq!(reply.degraded, Some(Degraded::Fallback), "{behaviour:?}");
            assert_eq!(reply.target.as_deref(), Some("b/gpt-double"));
            assert!(!bytes(reply).await.unwrap().is_empty());
            assert_eq!((a.counts().requests, b.counts().requests), (1, 1), "{behaviour:?}");
            assert!(metrics.render().contains("ai_fallbacks_total{route=\"pair\",reason="));
        }
    }
}

// req: S2-2.3
#[tokio::test]
async fn an_open_breaker_is_passed_by_and_its_provider_left_alone() {
    let (a, b) = (OpenAi::start().await, OpenAi::start().await);
    let (app, _) = app(&[("a", &a), ("b", &b)], TWO);
    a.always(Behaviour::server_error());
    for _ in 0..6 {
        assert_eq!(ask(&app, PLAIN, "pair").await.unwrap().degraded, Some(Degraded::Fallback));
    }
    assert_eq!((a.counts().requests, b.counts().requests), (3, 6));
}

#[tokio::test]
async fn the_first_choice_answers_undegraded_and_ranks_come_before_order() {
    let (a, b) = (OpenAi::start().await, OpenAi::start().await);
    let (app, _) = app(&[("a", &a), ("b", &b)], TWO);
    let reply = ask(&app, PLAIN, "pair").await.unwrap();
    assert_eq!((reply.degraded, reply.target.as_deref()), (None, Some("a/gpt-double")));
    assert_eq!(b.counts().requests, 0);
    assert_eq!(a.received()[0].json["model"], "gpt-double");
}

#[tokio::test]
async fn nothing_is_tried_elsewhere_after_the_first_byte_or_when_the_request_is_wrong() {
    let (a, b) = (OpenAi::start().await, OpenAi::start().await);
    let (app, _) = app(&[("a", &a), ("b", &b)], TWO);
    a.next(Behaviour::CutAfter(2));
    let reply = app.run(inspected(PLAIN, chat("pair", true, Needs::default()))).await.unwrap();
    assert_eq!(bytes(reply).await, Err(Failure::UpstreamInterrupted));
    a.next(Behaviour::error(400, "invalid_request_error", "invalid_value", "That is wrong."));
    let failure = ask(&app, PLAIN, "pair").await.map(|_| ()).unwrap_err();
    assert!(matches!(failure, Failure::InvalidInput { code: InputCode::InvalidValue, .. }), "{failure}");
    a.next(Behaviour::content_filter());
    let failure = ask(&app, PLAIN, "pair").await.map(|_| ()).unwrap_err();
    assert!(matches!(failure, Failure::Blocked { .. }), "{failure}");
    assert_eq!(b.counts().requests, 0);
}

#[tokio::test]
async fn when_nobody_answers_the_caller_hears_what_all_have_in_common() {
    let (a, b) = (OpenAi::start().await, OpenAi::start().await);
    let both = |first: Behaviour, second: Behaviour| {
        let (app, _) = app(&[("a", &a), ("b", &b)], TWO);
        a.next(first);
        // The last target is tried again; the same happens each time.
        b.next_times(3, &second);
        async move {
            let mut request = inspected(PLAIN, chat("pair", false, Needs::default()));
            request.deadline = Deadline::after(Duration::from_secs(5));
            app.run(request).await.map(|_| ()).unwrap_err()
        }
    };
    let failure = both(Behaviour::rate_limited(9), Behaviour::rate_limited(7)).await;
    assert_eq!(failure, Failure::Unavailable { retry_after: Duration::from_secs(7), rate_limited: true });
    b.stop().await;
    let failure = both(Behaviour::rate_limited(2), Behaviour::server_error()).await;
    assert_eq!(failure, Failure::Unavailable { retry_after: Duration::from_secs(2), rate_limited: false });
}

#[tokio::test]
async fn names_resolve_in_order_and_a_stranger_to_a_name_is_told_so_briefly() {
    let (a, b) = (OpenAi::start().await, OpenAi::start().await);
    let (one, _) = app(&[("a", &a)], &[]);
    for (scopes, name, target) in [
        (PLAIN, "default", "a/gpt-double"),
        (PLAIN, "fast", "a/gpt-double"),
        (PLAIN, "gpt-double", "a/gpt-double"),
        (PIN, "a/gpt-double", "a/gpt-double"),
        (PIN, "a/gpt-double-mini", "a/gpt-double-mini"),
        (PIN, "builtin/echo", "builtin/echo"),
    ] {
        let reply = ask(&one, scopes, name).await.unwrap();
        assert_eq!((reply.target.as_deref(), reply.degraded), (Some(target), None), "{name}");
    }
    let (two, _) = app(&[("a", &a), ("b", &b)], &[]);
    let long = "x\n".repeat(500);
    for (app, scopes, name) in [
        (&one, PLAIN, "a/gpt-double"),
        (&one, PLAIN, "nonsense"),
        (&one, PIN, "nobody/gpt-double"),
        (&one, PIN, "a/"),
        (&two, PLAIN, "gpt-double"),
        (&one, PIN, long.as_str()),
    ] {
        let failure = ask(app, scopes, name).await.map(|_| ()).unwrap_err();
        let Failure::NotFound(words) = failure else { panic!("{failure}") };
        assert!(words.len() < 160 && !words.contains('\n'), "{words}");
    }
}

#[tokio::test]
async fn work_of_the_wrong_kind_and_missing_capabilities_are_named() {
    let (app, _) = app(&[], &[]);
    for (payload, code, param) in [
        (chat("embed", false, Needs::default()), InputCode::InvalidValue, "model"),
        (embed("default"), InputCode::InvalidValue, "model"),
        (
            chat("default", false, Needs { tools: true, ..Needs::default() }),
            InputCode::UnsupportedParameter,
            "tools",
        ),
        (
            chat("default", false, Needs { json: true, ..Needs::default() }),
            InputCode::UnsupportedParameter,
            "response_format",
        ),
    ] {
        let failure = app.run(inspected(PLAIN, payload)).await.map(|_| ()).unwrap_err();
        let Failure::InvalidInput { code: found, param: Some(named), .. } = failure else {
            panic!("{failure}")
        };
        assert_eq!((found, named.as_ref()), (code, param));
    }
}

#[tokio::test]
async fn without_any_provider_everything_answers_and_says_that_it_is_degraded() {
    let (app, _) = app(&[], &[("mine", &[("openai", "gpt-4o", 0)])]);
    for name in ["default", "fast", "ask", "summarise", "review", "tools", "mine"] {
        let reply = ask(&app, PLAIN, name).await.unwrap();
        assert_eq!(reply.degraded, Some(Degraded::NoProvider), "{name}");
        assert!(reply.meter.get().output > 0);
    }
    let reply = app.run(inspected(PLAIN, embed("embed"))).await.unwrap();
    assert_eq!(reply.degraded, Some(Degraded::NoProvider));
    let answer: Value = serde_json::from_slice(&bytes(reply).await.unwrap()).unwrap();
    assert_eq!(answer["data"][0]["embedding"].as_array().unwrap().len(), 384);
}

#[tokio::test]
async fn embeddings_never_fall_back_to_another_space() {
    let (a, b) = (OpenAi::start().await, OpenAi::start().await);
    let routes: Routed = &[
        ("mixed", &[("a", "embed-double", 0), ("builtin", "embed", 1)]),
        ("same", &[("a", "embed-double", 0), ("b", "embed-double", 1)]),
    ];
    let (app, _) = app(&[("a", &a), ("b", &b)], routes);
    a.next_times(3, &Behaviour::error(502, "", "", ""));
    let failure = app.run(inspected(PLAIN, embed("mixed"))).await.map(|_| ()).unwrap_err();
    assert!(matches!(failure, Failure::Unavailable { .. }), "{failure}");
    let reply = app.run(inspected(PLAIN, embed("same"))).await.unwrap();
    assert_eq!(reply.target.as_deref(), Some("b/embed-double"));
}

#[tokio::test]
async fn the_model_list_shows_what_this_key_may_use() {
    let a = OpenAi::start().await;
    let (app, _) = app(&[("a", &a)], &[("pair", &[("a", "gpt-double", 0)])]);
    let list = |scopes, id: Option<&str>| {
        let payload = Payload::Models(ModelsRequest { format: Format::OpenAi, id: id.map(str::to_owned) });
        let running = app.run(inspected(scopes, payload));
        async move {
            let reply = running.await?;
            Ok::<Value, Failure>(serde_json::from_slice(&bytes(reply).await?).unwrap())
        }
    };
    let plain = list(PLAIN, None).await.unwrap();
    insta::assert_snapshot!("models", serde_json::to_string_pretty(&plain).unwrap());
    let ids = |list: &Value| -> Vec<String> {
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let pinned = list(PIN, None).await.unwrap();
    assert!(!ids(&plain).iter().any(|id| id.contains('/')));
    assert!(ids(&pinned).contains(&"a/gpt-double".to_owned()));
    for id in ids(&pinned) {
        assert_eq!(list(PIN, Some(&id)).await.unwrap()["id"], id.as_str());
    }
    assert!(matches!(list(PLAIN, Some("a/gpt-double")).await, Err(Failure::NotFound(_))));
}

/// `pair` with two targets of equal rank.
const EVEN: Routed = &[("pair", &[("a", "gpt-double", 0), ("b", "gpt-double", 0)])];

#[tokio::test]
async fn targets_of_one_rank_take_turns_and_neither_is_a_fallback() {
    let (a, b) = (OpenAi::start().await, OpenAi::start().await);
    let (app, _) = app(&[("a", &a), ("b", &b)], EVEN);
    for _ in 0..6 {
        assert_eq!(ask(&app, PLAIN, "pair").await.unwrap().degraded, None);
    }
    assert_eq!((a.counts().requests, b.counts().requests), (3, 3));
    assert!(
        app.set_weight("pair", 1, Some(5))
            && !app.set_weight("pair", 2, Some(5))
            && !app.set_weight("pair", 0, Some(1001))
    );
    for _ in 0..6 {
        drop(ask(&app, PLAIN, "pair").await.unwrap());
    }
    assert_eq!((a.counts().requests, b.counts().requests), (4, 8));
    assert!(app.switch_off("pair", 1, Some(Duration::from_secs(600))));
    for _ in 0..6 {
        drop(ask(&app, PLAIN, "pair").await.unwrap());
    }
    assert_eq!((a.counts().requests, b.counts().requests), (10, 8));
    let view = app.routes().into_iter().find(|route| route.name == "pair").unwrap();
    assert_eq!((view.targets[1].weight, view.targets[1].off_for_secs), (5, 600));
}

#[tokio::test]
async fn a_target_that_is_not_well_is_passed_by_and_the_only_one_left_is_asked_all_the_same() {
    let (a, b) = (OpenAi::start().await, OpenAi::start().await);
    let (app, metrics) = app(&[("a", &a), ("b", &b)], TWO);
    a.next(Behaviour::rate_limited(300));
    assert_eq!(ask(&app, PLAIN, "pair").await.unwrap().degraded, Some(Degraded::Fallback));
    // Paused for five minutes: not asked while the other is well.
    assert_eq!(ask(&app, PLAIN, "pair").await.unwrap().degraded, Some(Degraded::Fallback));
    assert_eq!((a.counts().requests, b.counts().requests), (1, 2));
    assert!(metrics.render().contains("ai_fallbacks_total{route=\"pair\",reason=\"not_ready\"} 1"));
    // Nobody is well: the soonest first, and the other after it.
    b.next(Behaviour::rate_limited(900));
    let reply = ask(&app, PLAIN, "pair").await.unwrap();
    assert_eq!(reply.target.as_deref(), Some("a/gpt-double"), "a pause is only an opinion");
    assert_eq!((a.counts().requests, b.counts().requests), (2, 3));
}

#[tokio::test]
async fn a_conversation_too_long_for_one_target_goes_to_one_that_takes_it() {
    let (a, b) = (OpenAi::start().await, OpenAi::start().await);
    let small = |config: &mut ProviderConfig| {
        config.models = Some(serde_json::from_str(r#"[{"name":"gpt-double","context":50}]"#).unwrap());
    };
    let (app, _) = app_with(&[("a", &a), ("b", &b)], TWO, |name, config| {
        if name == "a" {
            small(config);
        }
    });
    let long = |model: &str| {
        let Payload::Chat(mut chat) = chat(model, false, Needs::default()) else { panic!() };
        chat.max_tokens = Some(60);
        Payload::Chat(chat)
    };
    let reply = app.run(inspected(PLAIN, long("pair"))).await.unwrap();
    assert_eq!(
        (reply.target.as_deref(), reply.degraded),
        (Some("b/gpt-double"), None),
        "it never was its choice"
    );
    let failure = app.run(inspected(PIN, long("a/gpt-double"))).await.map(|_| ()).unwrap_err();
    assert!(matches!(failure, Failure::InvalidInput { code: InputCode::ContextTooLong, .. }), "{failure}");
    assert_eq!(a.counts().requests, 0);
}

#[tokio::test]
async fn a_key_that_may_use_some_routes_is_told_of_others_that_they_are_not_for_it() {
    let a = OpenAi::start().await;
    let (app, _) = app(&[("a", &a)], &[("mine", &[("a", "gpt-double", 0)])]);
    let as_guest = |payload| {
        let mut request = inspected(PIN, payload);
        request.caller.routes = Some(["mine".into()].into());
        app.run(request)
    };
    assert!(as_guest(chat("mine", false, Needs::default())).await.is_ok());
    for name in ["default", "gpt-double", "a/gpt-double"] {
        let failure = as_guest(chat(name, false, Needs::default())).await.map(|_| ()).unwrap_err();
        assert!(matches!(failure, Failure::ModelNotAllowed(_)), "{name}: {failure}");
        let one = ModelsRequest { id: Some(name.into()), format: Format::OpenAi };
        let failure = as_guest(Payload::Models(one)).await.map(|_| ()).unwrap_err();
        assert!(matches!(failure, Failure::ModelNotAllowed(_)), "{name} in the list: {failure}");
    }
    for name in ["nothing", "nobody/gpt-double"] {
        let failure = as_guest(chat(name, false, Needs::default())).await.map(|_| ()).unwrap_err();
        assert!(matches!(failure, Failure::NotFound(_)), "what nobody has stays unknown: {name}: {failure}");
    }
    assert_eq!(a.counts().requests, 1, "only what was allowed went out");
    let list =
        bytes(as_guest(Payload::Models(ModelsRequest { id: None, format: Format::OpenAi })).await.unwrap())
            .await
            .unwrap();
    let list: Value = serde_json::from_slice(&list).unwrap();
    assert_eq!((list["data"].as_array().unwrap().len(), &list["data"][0]["id"]), (1, &Value::from("mine")));
}

#[tokio::test]
async fn the_same_system_prompt_stays_with_one_target_until_that_one_is_ill() {
    let (a, b) = (OpenAi::start().await, OpenAi::start().await);
    let (app, _) = app_routed(&[("a", &a), ("b", &b)], EVEN, |route| route.sticky = Sticky::Prefix);
    let with_system = |system: &str| {
        let Payload::Chat(mut chat) = chat("pair", false, Needs::default()) else { panic!() };
        let body = String::from_utf8(chat.body.to_vec()).unwrap();
        let message = format!("[{{\"role\":\"system\",\"content\":\"{system}\"}},");
        let body = body.replacen('[', &message, 1);
        let at = body.find(system).unwrap();
        chat.parts = vec![TextPart { role: Role::System, span: at..at + system.len(), escaped: false }];
        chat.body = body.into();
        app.run(inspected(PLAIN, Payload::Chat(chat)))
    };
    let mut homes = std::collections::BTreeSet::new();
    for system in ["one", "two", "three", "four", "five", "six", "seven", "eight"] {
        let home = with_system(system).await.unwrap().target;
        for _ in 0..3 {
            assert_eq!(with_system(system).await.unwrap().target, home);
        }
        homes.insert(home);
    }
    assert_eq!(homes.len(), 2, "both have something to do");
    a.always(Behaviour::server_error());
    for system in ["one", "two", "three", "four", "five", "six", "seven", "eight"] {
        assert_eq!(with_system(system).await.unwrap().target.as_deref(), Some("b/gpt-double"));
    }
}

#[tokio::test]
async fn a_route_that_allows_it_redoes_embeddings_in_another_space_and_says_so() {
    let a = OpenAi::start().await;
    let routes: Routed = &[("mixed", &[("a", "embed-double", 0), ("builtin", "embed", 0)])];
    let (app, _) = app_routed(&[("a", &a)], routes, |route| route.fallback_space_change = true);
    for _ in 0..3 {
        let reply = app.run(inspected(PLAIN, embed("mixed"))).await.unwrap();
        assert_eq!(
            (reply.target.as_deref(), reply.degraded),
            (Some("a/embed-double"), None),
            "no turns across spaces"
        );
    }
    a.next(Behaviour::error(502, "", "", ""));
    let reply = app.run(inspected(PLAIN, embed("mixed"))).await.unwrap();
    assert_eq!(reply.degraded, Some(Degraded::EmbeddingSpace));
    let answer: Value = serde_json::from_slice(&bytes(reply).await.unwrap()).unwrap();
    assert_eq!(answer["model"], "builtin/embed");
}

#[tokio::test]
async fn a_header_keeps_its_senders_at_one_target_and_without_it_turns_are_taken() {
    let (a, b) = (OpenAi::start().await, OpenAi::start().await);
    let (app, _) = app_routed(&[("a", &a), ("b", &b)], EVEN, |route| {
        route.sticky = Sticky::try_from("header:X-Session".to_owned()).unwrap();
    });
    assert_eq!(app.affinity_headers().concat(), "x-session");
    let with = |session: Option<&str>| {
        let mut request = inspected(PLAIN, chat("pair", false, Needs::default()));
        request.hints.affinity.extend(session.map(|session| ("x-session".into(), session.into())));
        let running = app.run(request);
        async { running.await.unwrap().target }
    };
    for session in ["one", "two", "three"] {
        let home = with(Some(session)).await;
        assert_eq!((with(Some(session)).await, with(Some(session)).await), (home.clone(), home));
    }
    assert_ne!(with(None).await, with(None).await);
}

#[tokio::test]
async fn more_texts_than_a_model_takes_go_in_batches_and_come_back_in_order() {
    let a = OpenAi::start().await;
    let models = |batch: &str| {
        let models = format!(r#"[{{"name":"embed-double","kind":"embed"{batch}}}]"#);
        move |_: &str, config: &mut ProviderConfig| {
            config.models = Some(serde_json::from_str(&models).unwrap())
        }
    };
    let many = || {
        let texts = ["one", "two", "three", "four", "five"];
        let mut body = String::from("{\"model\":\"embed-double\",\"input\":[");
        let mut parts = Vec::new();
        for text in texts {
            body.push_str(if parts.is_empty() { "\"" } else { ",\"" });
            parts.push(TextPart {
                role: Role::User,
                span: body.len()..body.len() + text.len(),
                escaped: false,
            });
            body.push_str(text);
            body.push('"');
        }
        body.push_str("]}");
        let Payload::Embed(embed) = embed("embed-double") else { panic!() };
        Payload::Embed(EmbedRequest { input: EmbedInput::Texts(parts), body: body.into(), ..embed })
    };
    let (whole, _) = app_with(&[("a", &a)], &[], models(""));
    let expected = app_answer(&whole, many()).await;
    assert_eq!((a.counts().requests, expected["data"].as_array().unwrap().len()), (1, 5));
    let (batched, _) = app_with(&[("a", &a)], &[], models(",\"batch\":2"));
    let answer = app_answer(&batched, many()).await;
    assert_eq!(a.counts().requests, 4);
    for (index, vector) in answer["data"].as_array().unwrap().iter().enumerate() {
        assert_eq!(
            (vector["index"].as_u64(), &vector["embedding"]),
            (Some(index as u64), &expected["data"][index]["embedding"])
        );
    }
    assert_eq!(answer["model"], expected["model"]);
}

async fn app_answer(app: &ChatApp, payload: Payload) -> Value {
    let reply = app.run(inspected(PLAIN, payload)).await.unwrap();
    serde_json::from_slice(&bytes(reply).await.unwrap()).unwrap()
}
