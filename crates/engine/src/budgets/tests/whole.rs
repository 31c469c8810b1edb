//! The whole in one process, over a real SQLite: what was spent is what the ledger says, whatever happens between.

use super::super::{Ask, BudgetStatus, Budgets, BudgetsConfig, BudgetsParts, Reservation, now_ms};
use crate::{TierConfig, default_tiers};
use bytes::Bytes;
use futures_util::{StreamExt as _, future::join_all, stream};
use portcullis_domain::{
    BudgetWindow, Caller, Failure, KeyBudget, KeyLimits, Meter, Price, Reply, ReplyBody, RequestId, Scopes,
    Tier, Usage,
};
use portcullis_resilience::shared::Shared;
use portcullis_store::{GroupBy, Store, StoreConfig, StoreParts, UsageQuery};
use portcullis_telemetry::{Alert, Alerts, AlertsConfig, Health, Metrics};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc::Receiver, time::Instant};

/// A micro-dollar for every token.
pub(super) const PRICE: Price = Price { input: 1_000_000, cached_input: 500_000, output: 1_000_000 };

pub(super) struct House {
    pub(super) budgets: Budgets,
    pub(super) store: Store,
    pub(super) metrics: Metrics,
    pub(super) told: Receiver<Alert>,
}

/// Budgets over a data folder, as a start finds it.
pub(super) async fn house(folder: &Path, config: &str, shared: Option<Shared>) -> House {
    let (metrics, health) = (Metrics::new(), Health::new());
    let (alerts, told) = Alerts::new(&AlertsConfig::default(), metrics.clone());
    let store_config = StoreConfig::default();
    let parts = StoreParts {
        config: &store_config,
        data_dir: &folder.join("data"),
        url: None,
        metrics: &metrics,
        health: &health,
        alerts: &alerts,
    };
    let store = Store::open(parts).await.unwrap();
    let budgets = Budgets::open(BudgetsParts {
        config: &budgets_config(config),
        tiers: &tiers(),
        default_max_tokens: 4096,
        store: store.clone(),
        shared,
        fallback_share: 0.5,
        metrics: metrics.clone(),
        alerts,
    })
    .await
    .unwrap();
    House { budgets, store, metrics, told }
}

fn budgets_config(text: &str) -> BudgetsConfig {
    serde_json::from_str(text).unwrap()
}

/// The shipped tiers without their daily shares, which would bound everything here.
fn tiers() -> BTreeMap<String, TierConfig> {
    let free = |tier: TierConfig| TierConfig { daily_tokens: Some(0), daily_usd: Some(0.0), ..tier };
    default_tiers().into_iter().map(|(name, tier)| (name, free(tier))).collect()
}

pub(super) fn caller(key: &str) -> Caller {
    let id = format!("key:{key}").into();
    let nowhere = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Caller { key_id: Some(key.into()), ..Caller::new(id, Tier::Authenticated, Scopes::NONE, nowhere) }
}

pub(super) fn ask(caller: &Caller, price: Option<Price>, input: u64, output: u64) -> Ask<'_> {
    Ask {
        request: RequestId::from_parts(1, 2),
        caller,
        route: "fast".into(),
        provider: "openai".into(),
        model: "gpt-double".into(),
        price,
        input,
        output,
        expires: Instant::now() + Duration::from_secs(60),
    }
}

pub(super) async fn reserve(budgets: &Budgets, key: &str, tokens: u64) -> Option<Reservation> {
    budgets.reserve(ask(&caller(key), Some(PRICE), tokens, 0)).await.ok()
}

pub(super) fn used(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

/// Tokens spent and reserved of one budget.
pub(super) fn status(budgets: &Budgets, budget: &str, subject: &str) -> (u64, u64) {
    let rows = budgets.status(Some(budget), Some(subject), 10);
    rows.first().map_or((0, 0), |row| (row.spent_tokens, row.reserved_tokens))
}

pub(super) async fn ledger_sum(house: &House) -> (i64, i64) {
    let query = UsageQuery { by: vec![], from: 0, to: i64::MAX, limit: 1 };
    let sum = house.budgets.usage(&query).await.unwrap().remove(0);
    (sum.input + sum.output, sum.micros)
}

const TEN: &str = r#"{"ten":{"scope":"key","tokens":1000}}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_200_at_once_exactly_those_pass_that_the_budget_can_pay() {
    let folder = tempfile::tempdir().unwrap();
    let house = house(folder.path(), TEN, None).await;
    let tasks = (0..200).map(|n| {
        let budgets = house.budgets.clone();
        #[expect(clippy::disallowed_methods, reason = "a test's task ends with the test")]
        tokio::spawn(async move {
            let Some(reserved) = reserve(&budgets, "a", 100).await else { return 0 };
            tokio::task::yield_now().await;
            // Every other one costs half of what it might have.
            reserved.settle(used(50, if n % 2 == 0 { 50 } else { 0 }));
            1
        })
    });
    let passed: usize = join_all(tasks).await.into_iter().map(Result::unwrap).sum();
    assert!((10..=20).contains(&passed), "{passed}");
    // How many were refused while cheap ones still held their whole share is up to the scheduler; what they left is
    // there for whoever asks next, to the last call it can pay.
    while let Some(reserved) = reserve(&house.budgets, "a", 100).await {
        reserved.settle(used(100, 0));
    }
    let (spent, reserved) = status(&house.budgets, "ten", "a");
    assert!(spent <= 1000 && spent > 900 && reserved == 0, "{spent}");
    assert_eq!(ledger_sum(&house).await, (i64::try_from(spent).unwrap(), i64::try_from(spent).unwrap()));
    assert_eq!(status(&house.budgets, "ten", "b"), (0, 0), "another key has its own");
}

#[tokio::test]
async fn after_kill_9_the_counters_equal_the_ledger_and_what_ran_is_charged_as_reserved() {
    let folder = tempfile::tempdir().unwrap();
    {
        let house = house(folder.path(), TEN, None).await;
        reserve(&house.budgets, "a", 100).await.unwrap().settle(used(60, 10));
        house.store.ledger().flush().await.unwrap();
        reserve(&house.budgets, "a", 200).await.unwrap().settle(used(150, 0));
        let running = reserve(&house.budgets, "a", 300).await.unwrap();
        reserve(&house.budgets, "a", 40).await.unwrap().release();
        house.store.ledger().secure_all().await;
        // Killed: nothing is dropped, nothing is flushed; only the lock on the folder is let go, as the kernel does.
        std::mem::forget(running);
        house.store.forget();
    }
    let house = house(folder.path(), TEN, None).await;
    assert_eq!(status(&house.budgets, "ten", "a"), (70 + 150 + 300, 0));
    assert_eq!(ledger_sum(&house).await, (520, 520));
    assert!(reserve(&house.budgets, "a", 481).await.is_none());
    reserve(&house.budgets, "a", 480).await.unwrap().release();
    let query = UsageQuery { by: vec![GroupBy::Key], from: 0, to: i64::MAX, limit: 9 };
    let rows = house.budgets.usage(&query).await.unwrap();
    assert_eq!((rows[0].requests, rows[0].estimated), (3, 1));
}

#[tokio::test]
async fn a_stream_is_settled_at_its_end_and_at_a_hang_up_with_what_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let house = house(folder.path(), TEN, None).await;
    for hang_up in [false, true] {
        let before = status(&house.budgets, "ten", "a").0;
        let reserved = reserve(&house.budgets, "a", 300).await.unwrap();
        let meter = Meter::default();
        let chunks = stream::iter(["a", "b", "c"].map(|text| Ok(Bytes::from(text))));
        let reply = reserved.carry(Reply::new(ReplyBody::Stream(Box::pin(chunks)), meter.clone()));
        let ReplyBody::Stream(mut body) = reply.body else { panic!("a stream") };
        meter.set(Usage { estimated: hang_up, ..used(100, 1) });
        assert_eq!(body.next().await, Some(Ok(Bytes::from("a"))));
        assert_eq!(status(&house.budgets, "ten", "a"), (before, 300));
        if hang_up {
            drop(body);
            // Our own count and a tenth, rounded up.
            assert_eq!(status(&house.budgets, "ten", "a"), (before + 110 + 2, 0));
        } else {
            assert_eq!(body.collect::<Vec<_>>().await.len(), 2);
            assert_eq!(status(&house.budgets, "ten", "a"), (before + 101, 0));
        }
    }
    // Given up before the first byte: what was sent is paid.
    drop(reserve(&house.budgets, "b", 100).await);
    assert_eq!(status(&house.budgets, "ten", "b"), (110, 0));
}

#[tokio::test]
async fn a_refusal_names_the_budget_and_its_renewal_and_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"{"ever":{"scope":"team","window":"total","money_usd":0.001},"day":{"scope":"user","tokens":100},
                   "watch":{"scope":"global","tokens":1,"action":"alert"}}"#;
    let house = house(folder.path(), text, None).await;
    let member = Caller { team: Some("blue".into()), user: Some("ann".into()), ..caller("a") };
    let refused = house.budgets.reserve(ask(&member, Some(PRICE), 101, 0)).await.err().unwrap();
    assert_eq!(&*refused.budget, "day");
    assert!(refused.resets_in.is_some_and(|left| left <= Duration::from_secs(86_400)));
    let other = Caller { user: None, ..member.clone() };
    house.budgets.reserve(ask(&other, Some(PRICE), 99, 0)).await.unwrap().settle(used(99, 0));
    let dear = Price { input: 100_000_000, ..PRICE };
    let refused = house.budgets.reserve(ask(&member, Some(dear), 10, 0)).await.err().unwrap();
    assert_eq!((&*refused.budget, refused.resets_in), ("ever", None), "the team's money, for ever");
    assert_eq!(status(&house.budgets, "day", "ann"), (0, 0));
    assert_eq!(status(&house.budgets, "ever", "blue"), (99, 0));
    assert_eq!(status(&house.budgets, "watch", ""), (99, 0), "a budget that only watches refuses nothing");
    // Nothing left at all is told before the body is read.
    house.budgets.reserve(ask(&member, Some(PRICE), 100, 0)).await.unwrap().settle(used(100, 0));
    let Err(Failure::BudgetExceeded { budget, resets_in }) = house.budgets.precheck(&member) else {
        panic!("nothing is left");
    };
    assert_eq!((&*budget, resets_in.is_some()), ("day", true));
    house.budgets.precheck(&other).unwrap();
}

#[tokio::test]
async fn a_key_bounds_itself_and_targets_without_a_price_count_tokens_only() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"{"price_unknown":"refuse","money":{"scope":"key","window":"month","money_usd":1}}"#;
    let strict = house(folder.path(), text, None).await;
    let refused = strict.budgets.reserve(ask(&caller("a"), None, 1, 0)).await.err().unwrap();
    assert_eq!(&*refused.budget, "money");
    assert!(
        strict.budgets.reserve(ask(&caller("a"), Some(Price::default()), 1, 0)).await.is_ok(),
        "free is a price"
    );

    let other = tempfile::tempdir().unwrap();
    let text = r#"{"money":{"scope":"key","window":"month","money_usd":0.0001}}"#;
    let house = house(other.path(), text, None).await;
    house.budgets.reserve(ask(&caller("a"), None, 500, 0)).await.unwrap().settle(used(500, 0));
    assert_eq!(ledger_sum(&house).await, (500, 0));
    let own = |tokens| KeyBudget { window: BudgetWindow::Day, tokens: Some(tokens), micro_usd: None };
    let limits = KeyLimits { budgets: vec![own(900), own(550)], ..KeyLimits::default() };
    let bound = Caller { limits: Some(Arc::new(limits)), ..caller("a") };
    // Budgets of a key begin with what it has spent today already: 500.
    house.store.ledger().flush().await.unwrap();
    let refused = house.budgets.reserve(ask(&bound, None, 51, 0)).await.err().unwrap();
    assert_eq!(&*refused.budget, "key.day");
    assert!(house.budgets.reserve(ask(&bound, None, 50, 0)).await.is_ok());
    assert_eq!(house.budgets.output_cap(&bound), Some(4096));
}

#[tokio::test]
async fn each_threshold_is_told_once_and_the_gauge_shows_who_has_least() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = house(folder.path(), TEN, None).await;
    for (key, tokens) in [("a", 400), ("a", 100), ("a", 10), ("b", 100), ("a", 290), ("a", 200)] {
        reserve(&house.budgets, key, tokens).await.unwrap().settle(used(tokens, 0));
    }
    let mut said = Vec::new();
    while let Ok(alert) = house.told.try_recv() {
        said.push(alert.message);
    }
    let expected = [50, 80, 100].map(|percent| format!("the budget ten of key a is used to {percent} %"));
    assert_eq!(said, expected);
    house.budgets.show();
    let text = house.metrics.render();
    assert!(text.contains("budget_remaining_ratio{budget=\"ten\"} 0\n"), "{text}");
    assert!(text.contains("budget_remaining_ratio{budget=\"key.day\"} 1\n"));
    assert!(text.contains("ai_cost_microusd_total{provider=\"openai\",route=\"fast\"} 1100\n"));
    let rows: Vec<BudgetStatus> = house.budgets.status(Some("ten"), None, 1);
    assert_eq!((rows[0].subject.as_str(), rows[0].left, rows[0].tokens), ("a", 0.0, Some(1000)));
}

#[tokio::test]
async fn a_raise_holds_at_once_and_after_a_restart_and_a_reload_keeps_what_was_spent() {
    let folder = tempfile::tempdir().unwrap();
    {
        let house = house(folder.path(), TEN, None).await;
        reserve(&house.budgets, "a", 1000).await.unwrap().settle(used(1000, 0));
        assert!(house.budgets.precheck(&caller("a")).is_err());
        assert!(!house.budgets.raise("nobody", "a", 1, 0).await.unwrap());
        assert!(house.budgets.raise("ten", "a", 500, 0).await.unwrap());
        house.budgets.precheck(&caller("a")).unwrap();
        reserve(&house.budgets, "a", 400).await.unwrap().settle(used(400, 0));
        house.store.close().await;
    }
    let house = house(folder.path(), TEN, None).await;
    assert_eq!(status(&house.budgets, "ten", "a"), (1400, 0));
    assert!(reserve(&house.budgets, "a", 101).await.is_none());
    // A wider budget, and a new one that finds what was spent before it was there.
    let text =
        r#"{"ten":{"scope":"key","tokens":1600},"all":{"scope":"global","window":"month","tokens":1500}}"#;
    house.budgets.apply(&budgets_config(text), &tiers(), 9);
    house.budgets.read_new().await;
    assert_eq!(status(&house.budgets, "ten", "a"), (1400, 0));
    assert_eq!(status(&house.budgets, "all", ""), (1400, 0));
    assert!(reserve(&house.budgets, "a", 101).await.is_none(), "1500 in all");
    assert!(reserve(&house.budgets, "a", 100).await.is_some());
    assert_eq!(house.budgets.default_max_tokens(), 9);
}

#[tokio::test]
async fn a_corrected_price_corrects_counters_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let house = house(folder.path(), r#"{"money":{"scope":"key","money_usd":0.001}}"#, None).await;
    reserve(&house.budgets, "a", 900).await.unwrap().settle(Usage { cached: 100, ..used(900, 0) });
    assert!(reserve(&house.budgets, "a", 200).await.is_none());
    let right = Price { input: 100_000, cached_input: 0, output: 0 };
    let target = ("openai", "gpt-double");
    let repriced = house.budgets.reprice(target, (0, now_ms() + 1), right).await.unwrap();
    assert_eq!((repriced.rows, repriced.micros), (1, 80 - 850));
    assert_eq!(ledger_sum(&house).await, (900, 80));
    reserve(&house.budgets, "a", 900).await.unwrap().release();
    assert_eq!(house.budgets.status(Some("money"), Some("a"), 1)[0].spent_micros, 80);
}

#[tokio::test]
async fn estimates_learn_what_a_provider_counts() {
    let folder = tempfile::tempdir().unwrap();
    let house = house(folder.path(), "{}", None).await;
    let (provider, model): (Arc<str>, Arc<str>) = ("openai".into(), "gpt-double".into());
    assert_eq!(house.budgets.tokens_of(401, &provider, &model), 101);
    for _ in 0..60 {
        let input = house.budgets.tokens_of(4000, &provider, &model);
        let member = caller("a");
        let reserved = house.budgets.reserve(ask(&member, None, input, 0)).await.unwrap();
        reserved.settle(used(1500, 0));
    }
    let learned = house.budgets.tokens_of(4000, &provider, &model);
    assert!((1480..=1510).contains(&learned), "{learned}");
    assert_eq!(house.budgets.tokens_of(4000, &provider, &"other".into()), 1000);
}

#[tokio::test]
async fn daily_shares_of_tiers_refuse_but_bound_no_answer_upstream() {
    let folder = tempfile::tempdir().unwrap();
    let house = house(folder.path(), "{}", None).await;
    house.budgets.apply(&BudgetsConfig::default(), &default_tiers(), 4096);
    let nowhere = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let stranger = Caller::new("ip:1".into(), Tier::Anonymous, Scopes::NONE, nowhere);
    assert_eq!(house.budgets.output_cap(&stranger), None);
    let refused = house.budgets.reserve(ask(&stranger, None, 20_001, 0)).await.err().unwrap();
    assert_eq!(&*refused.budget, "tiers.anonymous");
    assert!(house.budgets.reserve(ask(&stranger, None, 20_000, 0)).await.is_ok());
    let dear = Price { input: 1_000_000_000, ..PRICE };
    let refused = house.budgets.reserve(ask(&caller("a"), Some(dear), 5_001, 0)).await.err().unwrap();
    assert_eq!(&*refused.budget, "tiers.authenticated");
}
