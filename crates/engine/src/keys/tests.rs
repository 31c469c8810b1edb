//! Keys over a real store: shown once, checked from memory, revoked everywhere, going on while the store is away.

use super::*;
use crate::jwt::Jwt;
use jiff::Timestamp;
use portcullis_domain::Failure;
use portcullis_resilience::shared::{RedisConfig, Surroundings};
use portcullis_store::{RevocationKind, StoreConfig, StoreParts};
use portcullis_telemetry::{Alerts, Health, Metrics};
use std::path::Path;
use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const PEPPER: &str = "a pepper for tests, of enough bytes";

pub(crate) async fn store(data_dir: &Path, config: &StoreConfig, url: Option<&str>) -> Store {
    let (metrics, health, alerts) = (Metrics::new(), Health::new(), Alerts::silent());
    let url = url.map(SecretString::from);
    let parts = StoreParts {
        config,
        data_dir,
        url: url.as_ref(),
        metrics: &metrics,
        health: &health,
        alerts: &alerts,
    };
    Store::open(parts).await.unwrap()
}

pub(crate) fn parts(store: Store) -> KeysParts {
    KeysParts {
        config: KeysConfig::default(),
        store,
        pepper: PEPPER.into(),
        admin_key: None,
        tiers: ["anonymous", "authenticated", "premium"].map(str::to_owned).into(),
        shared: None,
    }
}

async fn sqlite(folder: &TempDir) -> Keys {
    let store = store(&folder.path().join("data"), &StoreConfig::default(), None).await;
    Keys::open(parts(store)).await.unwrap()
}

fn wish(name: &str) -> NewKey {
    NewKey { name: name.into(), tier: Tier::Premium, scopes: Scopes::ALL, expires_at: None }
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

async fn problem(keys: &Keys, key: &str) -> Option<AuthProblem> {
    match keys.check(key, HERE, now_ms()).await {
        Ok(_) => None,
        Err(Refusal::Problem(problem, _)) => Some(problem),
        Err(Refusal::Away(_)) => panic!("the store is there"),
    }
}

// req: S4-KEYS
#[tokio::test]
async fn a_key_is_shown_once_kept_as_a_keyed_hash_and_nowhere_else() {
    let folder = TempDir::new().unwrap();
    let keys = sqlite(&folder).await;
    let issued = keys.issue(wish("robot")).await.unwrap();
    let plain = issued.key.expose_secret();
    assert_eq!(keys.check(plain, HERE, now_ms()).await.unwrap().tier, Tier::Premium);
    assert!(!format!("{issued:?}").contains(plain));
    let secret = plain.rsplit_once(&format!("{}_", issued.record.id)).unwrap().1;
    let listed = serde_json::to_string(&keys.list().await.unwrap()).unwrap();
    assert!(listed.contains("robot") && !listed.contains(secret), "{listed}");
    let unkeyed = ring::digest::digest(&ring::digest::SHA256, plain.as_bytes());
    for entry in std::fs::read_dir(folder.path().join("data")).unwrap() {
        let path = entry.unwrap().path();
        let Ok(content) = std::fs::read(&path) else { continue };
        for leak in [secret.as_bytes(), unkeyed.as_ref(), PEPPER.as_bytes()] {
            assert!(!content.windows(leak.len()).any(|window| window == leak), "{}", path.display());
        }
    }
}

// req: S3-BUG-5, S4-KEYS
#[tokio::test]
async fn unknown_altered_expired_and_revoked_keys_are_told_apart_in_the_log_only_to_who_has_the_secret() {
    let folder = TempDir::new().unwrap();
    let keys = sqlite(&folder).await;
    let issued = keys.issue(wish("robot")).await.unwrap();
    let plain = issued.key.expose_secret().to_owned();
    let (_, stranger) = text::fresh();
    assert_eq!(problem(&keys, stranger.expose_secret()).await, Some(AuthProblem::UnknownKey));
    let altered = format!("{}{}", &plain[..59], if plain.ends_with('A') { 'B' } else { 'A' });
    assert_eq!(problem(&keys, &altered).await, Some(AuthProblem::UnknownKey));
    for malformed in
        ["", "pcl_", "pcl_x_y", "sk-123", &plain[..59], &format!("{plain}A"), &plain.to_uppercase()]
    {
        assert_eq!(problem(&keys, malformed).await, Some(AuthProblem::Malformed), "{malformed}");
    }
    let in_a_minute = Timestamp::now() + Duration::from_secs(60);
    let short = keys.issue(NewKey { expires_at: Some(in_a_minute), ..wish("short") }).await.unwrap();
    let short = short.key.expose_secret();
    assert_eq!(problem(&keys, short).await, None);
    let later = in_a_minute.as_millisecond();
    assert!(matches!(
        keys.check(short, HERE, later).await,
        Err(Refusal::Problem(AuthProblem::Expired, Some(_)))
    ));
    assert!(keys.revoke(&issued.record.id).await.unwrap());
    assert!(!keys.revoke(&issued.record.id).await.unwrap());
    assert_eq!(problem(&keys, &plain).await, Some(AuthProblem::Revoked));
    assert_eq!(
        problem(&keys, &altered).await,
        Some(AuthProblem::UnknownKey),
        "without the secret nothing is told"
    );
}

#[tokio::test]
async fn a_key_of_an_unconfigured_tier_is_not_made_and_an_old_one_gets_the_ordinary_tier() {
    let folder = TempDir::new().unwrap();
    let keys = sqlite(&folder).await;
    let gold = NewKey { tier: Tier::from_name("gold"), ..wish("gold") };
    assert!(matches!(keys.issue(gold).await, Err(portcullis_domain::Failure::InvalidInput { .. })));
    let issued = keys.issue(wish("robot")).await.unwrap();
    let without_premium =
        KeysParts { tiers: ["authenticated".to_owned()].into(), ..parts(keys.0.store.clone()) };
    let keys = Keys::open(without_premium).await.unwrap();
    assert_eq!(keys.check(issued.key.expose_secret(), HERE, 0).await.unwrap().tier, Tier::Authenticated);
}

#[tokio::test]
async fn another_pepper_is_refused_at_the_start_with_the_mend() {
    let folder = TempDir::new().unwrap();
    let keys = sqlite(&folder).await;
    let other = KeysParts { pepper: "another pepper, long enough too".into(), ..parts(keys.0.store.clone()) };
    let said = Keys::open(other).await.err().unwrap().to_string();
    assert!(said.contains("api_key_pepper"), "{said}");
}

// req: S4-KEYS
#[tokio::test]
async fn the_first_start_makes_one_key_keeps_it_for_the_command_line_and_never_again() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let keys = sqlite(&folder).await;
    let AdminKey::Made(key) = keys.ensure_admin_key(&data).await.unwrap() else { panic!("not made") };
    let known = keys.check(key.expose_secret(), HERE, now_ms()).await.unwrap();
    assert_eq!(known.scopes, Scopes::ALL);
    assert!(!keys.is_closed(), "the key of the first start does not close the door");
    let file = data.join("keys").join(LOCAL_KEY);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), key.expose_secret());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(keys.ensure_admin_key(&data).await.unwrap(), AdminKey::Present));
    keys.revoke(&known.id).await.unwrap();
    assert!(
        matches!(keys.ensure_admin_key(&data).await.unwrap(), AdminKey::Present),
        "a revoked one stays so"
    );
    assert!(!keys.is_closed());
    keys.issue(wish("robot")).await.unwrap();
    assert!(keys.is_closed());
}

#[tokio::test]
async fn a_first_start_that_was_cut_off_is_finished_by_the_next_with_the_same_key() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let keys = sqlite(&folder).await;
    let (_, left) = text::fresh();
    portcullis_store::files::private_dir(&data.join("keys")).unwrap();
    portcullis_store::files::write_private(&data.join("keys/local.key"), left.expose_secret().as_bytes())
        .unwrap();
    let AdminKey::Made(key) = keys.ensure_admin_key(&data).await.unwrap() else { panic!("not made") };
    assert_eq!(key.expose_secret(), left.expose_secret());
}

#[tokio::test]
async fn a_declared_admin_key_of_any_form_works_without_being_stored() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("data"), &StoreConfig::default(), None).await;
    let words = "any thirty-two characters will do here";
    let declared = KeysParts { admin_key: Some(words.into()), ..parts(store.clone()) };
    let keys = Keys::open(declared).await.unwrap();
    assert_eq!(&*keys.check(words, HERE, 0).await.unwrap().caller, "key:admin");
    assert!(keys.is_closed() && keys.list().await.unwrap().is_empty());
    assert!(matches!(keys.ensure_admin_key(folder.path()).await.unwrap(), AdminKey::Declared));
    let weak = KeysParts { admin_key: Some("hunter2".into()), ..parts(store) };
    assert!(matches!(Keys::open(weak).await, Err(KeysError::WeakAdminKey)));
}

/// Until the other replica refuses; how long that may take is said by the caller's patience, not by the clock.
async fn until_refused(keys: &Keys, key: &str, tries: u32) -> bool {
    for _ in 0..tries {
        if problem(keys, key).await == Some(AuthProblem::Revoked) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

// req: S4-KEYS
#[tokio::test]
async fn a_key_revoked_on_one_replica_is_refused_by_the_other_after_a_poll() {
    let folder = TempDir::new().unwrap();
    let one = sqlite(&folder).await;
    let two = Keys::open(KeysParts {
        config: KeysConfig { poll_secs: 1, ..KeysConfig::default() },
        ..parts(store(&folder.path().join("data"), &StoreConfig::default(), None).await)
    })
    .await
    .unwrap();
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    two.follow(&tracker, stop.clone());
    let issued = one.issue(wish("robot")).await.unwrap();
    let key = issued.key.expose_secret();
    assert_eq!(problem(&two, key).await, None, "a new key works on the other replica at its first use");
    one.revoke(&issued.record.id).await.unwrap();
    assert!(until_refused(&two, key, 500).await);
    // The same poll asks the store once more before it closes the door.
    tokio::time::timeout(Duration::from_secs(60), async {
        while !two.is_closed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("closed in time");
    stop.cancel();
    tracker.close();
    tracker.wait().await;
}

// req: S4-KEYS
#[tokio::test]
async fn with_redis_and_postgres_a_revocation_reaches_the_other_replica_at_once() {
    let Some(redis) = portcullis_testkit::redis::start().await else { return };
    let Some(postgres) = portcullis_testkit::postgres::start().await else { return };
    let folder = TempDir::new().unwrap();
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let around = Surroundings {
        metrics: Metrics::new(),
        health: Health::new(),
        alerts: Alerts::silent(),
        tasks: tracker.clone(),
        stop: stop.clone(),
    };
    let mut replicas = Vec::new();
    for name in ["a", "b"] {
        let store = store(&folder.path().join(name), &StoreConfig::default(), Some(&postgres.url())).await;
        let shared = Shared::new(&redis.url(), &RedisConfig::default(), &around).unwrap();
        // A poll would come too late to make this test pass.
        let config = KeysConfig { poll_secs: 3600, ..KeysConfig::default() };
        let keys = Keys::open(KeysParts { config, shared: Some(shared), ..parts(store) }).await.unwrap();
        keys.follow(&tracker, stop.clone());
        replicas.push(keys);
    }
    for round in 0..5 {
        let issued = replicas[0].issue(wish("robot")).await.unwrap();
        let key = issued.key.expose_secret();
        assert_eq!(problem(&replicas[1], key).await, None);
        // Until the listener is known to listen, one revocation may have to wait for its greeting.
        replicas[0].revoke(&issued.record.id).await.unwrap();
        assert!(until_refused(&replicas[1], key, 500).await, "round {round}");
    }
    stop.cancel();
}

#[tokio::test]
async fn revoked_tokens_are_known_on_every_replica_and_bounded() {
    let folder = TempDir::new().unwrap();
    let (one, two) = (sqlite(&folder).await, sqlite(&folder).await);
    let jwt = Jwt::new(&crate::jwt::JwtConfig::default(), "auth.jwt", |_| None).ok().unwrap();
    one.revoke_tokens(RevocationKind::Jti, "j1", &jwt).await.unwrap();
    two.refresh().await.unwrap();
    for keys in [&one, &two] {
        assert!(keys.known().is_revoked(RevocationKind::Jti, "j1", now_ms()));
        assert!(!keys.known().is_revoked(RevocationKind::Sub, "j1", now_ms()));
        assert!(!keys.known().is_revoked(RevocationKind::Jti, "j1", now_ms() + 86_401_000));
    }
    assert!(one.revoke_tokens(RevocationKind::Jti, "", &jwt).await.is_err());
    let config = KeysConfig { revocations: 1, ..KeysConfig::default() };
    let full = Keys::open(KeysParts { config, ..parts(one.0.store.clone()) }).await.unwrap();
    assert!(matches!(
        full.revoke_tokens(RevocationKind::Jti, "j2", &jwt).await,
        Err(portcullis_domain::Failure::Conflict(_))
    ));
}

// req: S4-KEYS
#[tokio::test]
async fn while_postgres_is_away_known_keys_go_on_for_their_time_and_unknown_ones_are_told_to_wait() {
    let Some(mut server) = portcullis_testkit::postgres::start().await else { return };
    let folder = TempDir::new().unwrap();
    let config = StoreConfig {
        stale_secs: 0,
        connect_timeout_ms: 300,
        statement_timeout_ms: 300,
        ..StoreConfig::default()
    };
    let url = server.url();
    let patient =
        store(&folder.path().join("a"), &StoreConfig { stale_secs: 300, ..config.clone() }, Some(&url)).await;
    let hasty = store(&folder.path().join("b"), &config, Some(&url)).await;
    let patient = Keys::open(parts(patient)).await.unwrap();
    let issued = patient.issue(wish("robot")).await.unwrap();
    let key = issued.key.expose_secret();
    let poll = KeysConfig { poll_secs: 0, ..KeysConfig::default() };
    let hasty = Keys::open(KeysParts { config: poll, ..parts(hasty) }).await.unwrap();
    server.kill();
    assert_eq!(problem(&patient, key).await, None);
    assert!(patient.refresh().await.is_err());
    let (_, stranger) = text::fresh();
    assert!(matches!(patient.check(stranger.expose_secret(), HERE, 0).await, Err(Refusal::Away(_))));
    assert!(patient.revoke(&issued.record.id).await.is_err(), "what was not stored is not acknowledged");
    assert!(
        matches!(hasty.check(key, HERE, 0).await, Err(Refusal::Away(_))),
        "no longer believed without the store"
    );
}

#[tokio::test]
async fn memory_is_bounded_and_a_key_that_was_pushed_out_still_works() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("data"), &StoreConfig::default(), None).await;
    let config = KeysConfig { cached_keys: 3, unknown_keys: 2, ..KeysConfig::default() };
    let keys = Keys::open(KeysParts { config, ..parts(store) }).await.unwrap();
    let mut made = Vec::new();
    for n in 0..10 {
        made.push(keys.issue(wish(&n.to_string())).await.unwrap());
    }
    for issued in &made {
        assert_eq!(problem(&keys, issued.key.expose_secret()).await, None);
    }
    for _ in 0..10 {
        let (_, stranger) = text::fresh();
        assert_eq!(problem(&keys, stranger.expose_secret()).await, Some(AuthProblem::UnknownKey));
    }
    assert!(keys.known().sizes().0 <= 3 && keys.known().sizes().1 <= 2);
}

#[test]
fn what_was_seen_revoked_stays_revoked_whatever_arrives_late() {
    let known = Known::new(&KeysConfig::default(), ["premium".to_owned()].into());
    let key = |changed_seq, revoked| KnownKey {
        caller: "key:a".into(),
        id: "a".into(),
        digest: [0; 32],
        tier: Tier::Premium,
        scopes: Scopes::NONE,
        expires_at: i64::MAX,
        revoked,
        changed_seq,
        named_tier: Tier::Premium,
        old: None,
        networks: Box::default(),
        team: None,
        user: None,
        routes: None,
        limits: None,
        policy: None,
    };
    known.insert(key(1, false));
    known.revoke("a");
    assert!(known.insert(key(1, false)).revoked, "a look-up that was under way");
    assert!(known.insert(key(0, false)).revoked);
    assert!(known.insert(key(5, false)).revoked);
}

fn definition(text: &str) -> Definition {
    serde_json::from_str(text).unwrap()
}

// req: S4-KEYS
#[tokio::test]
async fn a_rotated_key_works_beside_the_old_one_until_the_overlap_is_over() {
    let folder = TempDir::new().unwrap();
    let keys = sqlite(&folder).await;
    let first = keys.issue(wish("robot")).await.unwrap();
    let id = first.record.id.clone();
    let second = keys.rotate(&id, Duration::from_secs(60)).await.unwrap();
    assert_eq!(second.record.id, id, "its limits, budgets and usage go on");
    let (old, new) = (first.key.expose_secret(), second.key.expose_secret());
    assert_ne!(old, new);
    for key in [old, new] {
        assert_eq!(problem(&keys, key).await, None);
    }
    let later = now_ms() + 61_000;
    assert!(keys.check(new, HERE, later).await.is_ok());
    let refused = keys.check(old, HERE, later).await;
    assert!(matches!(refused, Err(Refusal::Problem(AuthProblem::UnknownKey, Some(_)))));
    let third = keys.rotate(&id, Duration::ZERO).await.unwrap();
    assert_eq!(problem(&keys, new).await, Some(AuthProblem::UnknownKey), "no overlap was wanted");
    keys.revoke(&id).await.unwrap();
    assert_eq!(problem(&keys, third.key.expose_secret()).await, Some(AuthProblem::Revoked));
    assert!(matches!(keys.rotate(&id, Duration::ZERO).await, Err(Failure::Conflict(_))));
}

#[tokio::test]
async fn what_binds_a_key_can_be_changed_and_is_in_force_at_once() {
    let folder = TempDir::new().unwrap();
    let keys = sqlite(&folder).await;
    let made =
        keys.make(definition(r#"{"name":"robot","team":"blue","addresses":["10.0.0.0/8"]}"#)).await.unwrap();
    let (id, key) = (made.record.id.as_str(), made.key.expose_secret());
    assert_eq!(problem(&keys, key).await, Some(AuthProblem::Address));
    let inside = "10.1.2.3".parse().unwrap();
    assert_eq!(keys.check(key, inside, now_ms()).await.unwrap().team.as_deref(), Some("blue"));
    let changed = definition(r#"{"name":"robot","tier":"premium","routes":["fast"],"rpm":7,"user":"ann"}"#);
    let record = keys.redefine(id, changed).await.unwrap();
    assert_eq!(record.definition.tier, "premium");
    let known = keys.check(key, HERE, now_ms()).await.unwrap();
    assert_eq!((&known.tier, &known.team, known.user.as_deref()), (&Tier::Premium, &None, Some("ann")));
    assert_eq!(known.limits.as_ref().unwrap().rpm, Some(7));
    assert_eq!(known.routes.as_ref().unwrap().len(), 1);
    let shown = serde_json::to_value(keys.record(id).await.unwrap()).unwrap();
    assert_eq!((&shown["rpm"], &shown["routes"][0]), (&7.into(), &"fast".into()), "{shown}");
    assert!(matches!(keys.record("nobody").await, Err(Failure::NotFound(_))));
    let past = definition(r#"{"name":"robot","expires_at":"2020-01-01T00:00:00Z"}"#);
    assert!(matches!(keys.redefine(id, past).await, Err(Failure::InvalidInput { .. })));
}
