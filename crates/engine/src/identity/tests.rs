//! Who is let in and who is not, at every door, and what is told about it.

use super::*;
use crate::{
    jwt::{JwtConfig, JwtKeyConfig, NewToken},
    keys::{
        AdminKey, NewKey,
        tests::{parts, store},
    },
};
use parking_lot::Mutex;
use portcullis_store::StoreConfig;
use portcullis_telemetry::{Alerts, AuditConfig, AuditParts};
use secrecy::ExposeSecret as _;
use std::{io, net::Ipv4Addr, time::Duration};
use tempfile::TempDir;
use tracing_subscriber::fmt::MakeWriter;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
const SECRET: &str = "a secret of at least thirty-two bytes, for tests";

struct House {
    folder: TempDir,
    identity: Identity,
    keys: Keys,
    jwt: Arc<Jwt>,
    metrics: Metrics,
    audit: Audit,
}

struct Wish {
    anonymous: bool,
    tokens: bool,
    failures: u32,
}

const PLAIN: Wish = Wish { anonymous: false, tokens: false, failures: 10 };

async fn house(wish: Wish) -> House {
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("data"), &StoreConfig::default(), None).await;
    let keys = Keys::open(parts(store)).await.unwrap();
    let key = JwtKeyConfig { key_secret: Some("jwt_secret".into()), ..JwtKeyConfig::default() };
    let config = JwtConfig { keys: if wish.tokens { vec![key] } else { vec![] }, ..JwtConfig::default() };
    let jwt = Arc::new(Jwt::new(&config, "auth.jwt", |_| Some(SECRET.into())).ok().unwrap());
    let metrics = Metrics::new();
    let trail = folder.path().join("audit");
    let audit = Audit::start(AuditParts {
        config: &AuditConfig::default(),
        folder: &trail,
        id_key: b"key",
        sign_key: b"sign key",
        redact: |text| text.into(),
        metrics: metrics.clone(),
        alerts: Alerts::silent(),
    })
    .unwrap();
    let identity = Identity::new(IdentityParts {
        config: AuthConfig { failures: wish.failures, ..AuthConfig::default() },
        anonymous: wish.anonymous,
        keys: keys.clone(),
        jwt: jwt.clone(),
        metrics: metrics.clone(),
        audit: audit.clone(),
    });
    House { folder, identity, keys, jwt, metrics, audit }
}

impl House {
    async fn ask(&self, token: Option<&str>, address: IpAddr) -> Result<Caller, Failure> {
        let credential = token.map_or(Credential::None, |token| Credential::Token(token.into()));
        self.identity.identify(&credential, address, Door::Http).await
    }

    async fn key(&self) -> String {
        let wish = NewKey {
            name: "robot".into(),
            tier: Tier::Premium,
            scopes: Scopes::NONE.with(Scope::Chat),
            expires_at: None,
        };
        self.keys.issue(wish).await.unwrap().key.expose_secret().to_owned()
    }

    fn token(&self, sub: &str, tier: &str) -> String {
        let wish = NewToken {
            sub: sub.into(),
            tier: Tier::from_name(tier),
            scopes: Scopes::NONE.with(Scope::Chat).with(Scope::AdminRead),
            life_secs: 60,
            policy: None,
            kid: None,
        };
        self.jwt.issue(&wish, Timestamp::now()).unwrap().token.expose_secret().to_owned()
    }
}

fn refused(problem: AuthProblem) -> Result<Caller, Failure> {
    Err(Failure::Unauthenticated(problem))
}

// req: S3-BUG-5
#[tokio::test]
async fn without_any_key_the_door_is_open_on_loopback_only_and_the_first_key_does_not_close_it() {
    let house = house(PLAIN).await;
    let made = house.keys.ensure_admin_key(&house.folder.path().join("data")).await.unwrap();
    let caller = house.ask(None, LOOPBACK).await.unwrap();
    assert_eq!((&*caller.id, &caller.tier), ("local", &Tier::Authenticated));
    assert!(caller.scopes.has(Scope::Chat) && !caller.scopes.has(Scope::AdminRead));
    assert!(house.ask(None, "::ffff:127.0.0.1".parse().unwrap()).await.is_ok());
    assert!(house.ask(None, "::1".parse().unwrap()).await.is_ok());
    assert_eq!(house.ask(None, ELSEWHERE).await, refused(AuthProblem::Missing));
    assert_eq!(house.ask(Some("wrong"), LOOPBACK).await, refused(AuthProblem::Malformed));
    let AdminKey::Made(first) = made else { panic!("the first key was not made") };
    let admin = house.ask(Some(first.expose_secret()), ELSEWHERE).await.unwrap();
    assert!(admin.scopes.has(Scope::AdminWrite) && admin.key_id.is_some());
    let key = house.key().await;
    assert_eq!(house.ask(None, LOOPBACK).await, refused(AuthProblem::Missing));
    let caller = house.ask(Some(&key), ELSEWHERE).await.unwrap();
    let id = caller.key_id.unwrap();
    house.keys.revoke(&id).await.unwrap();
    assert_eq!(house.ask(Some(&key), LOOPBACK).await, refused(AuthProblem::Revoked));
    assert_eq!(
        house.ask(None, LOOPBACK).await,
        refused(AuthProblem::Missing),
        "revoking does not open the door"
    );
}

#[tokio::test]
async fn anonymous_callers_exist_only_by_configuration_and_are_told_apart_by_network() {
    let house = house(Wish { anonymous: true, ..PLAIN }).await;
    let caller = house.ask(None, ELSEWHERE).await.unwrap();
    assert_eq!((&*caller.id, caller.tier), ("ip:203.0.113.9", Tier::Anonymous));
    let six = house.ask(None, "2001:db8:1:2:3:4:5:6".parse().unwrap()).await.unwrap();
    assert_eq!(&*six.id, "ip:2001:db8:1:2::");
    assert_eq!(house.ask(Some("wrong"), ELSEWHERE).await, refused(AuthProblem::Malformed));
}

// req: S3-BUG-5
#[tokio::test]
async fn a_token_names_the_person_and_an_unconfigured_tier_becomes_the_ordinary_one() {
    let house = house(Wish { tokens: true, ..PLAIN }).await;
    assert_eq!(
        house.ask(None, LOOPBACK).await,
        refused(AuthProblem::Missing),
        "an issuer closes the door too"
    );
    let caller = house.ask(Some(&house.token("ann", "premium")), ELSEWHERE).await.unwrap();
    assert_eq!((&*caller.id, caller.tier, caller.key_id), ("jwt:ann", Tier::Premium, None));
    assert!(caller.scopes.has(Scope::AdminRead));
    let caller = house.ask(Some(&house.token("ann", "no-limits-at-all")), ELSEWHERE).await.unwrap();
    assert_eq!(caller.tier, Tier::Authenticated);
    let token = house.token("eve", "premium");
    house.keys.revoke_tokens(portcullis_store::RevocationKind::Sub, "eve", &house.jwt).await.unwrap();
    assert_eq!(house.ask(Some(&token), ELSEWHERE).await, refused(AuthProblem::Revoked));
}

// req: S2-1.6
#[tokio::test]
async fn people_whom_a_door_knows_have_the_tier_that_is_found_for_them() {
    let house = house(PLAIN).await;
    let tier = async |identity: &Identity, id: &str| {
        let known = Credential::Vouched(Vouched { id: id.into(), admin: false });
        identity.identify(&known, LOOPBACK, Door::Telegram).await.unwrap().tier
    };
    assert_eq!(tier(&house.identity, "tg:1").await, Tier::Authenticated);
    house
        .identity
        .ask_standing(Arc::new(|id| Box::pin(async move { (&*id == "tg:1").then_some(Tier::Premium) })));
    assert_eq!(tier(&house.identity, "tg:1").await, Tier::Premium);
    assert_eq!(tier(&house.identity, "tg:2").await, Tier::Authenticated);
    let changed = house.identity.changed(true, house.jwt.clone());
    assert_eq!(tier(&changed, "tg:1").await, Tier::Premium, "other rules change nothing of it");
}

// req: S3-BUG-5, S3-BUG-9
#[tokio::test]
async fn after_ten_failures_everything_from_an_address_is_told_to_wait_and_others_go_on() {
    let house = house(PLAIN).await;
    let key = house.key().await;
    for _ in 0..11 {
        assert!(matches!(house.ask(Some("pcl_wrong"), ELSEWHERE).await, Err(Failure::Unauthenticated(_))));
    }
    // Only now: the threads of the store and of the trail run in real time.
    tokio::time::pause();
    let Err(Failure::RateLimited { scope: LimitScope::Ip, retry_after }) =
        house.ask(Some(&key), ELSEWHERE).await
    else {
        panic!("a good key from a blocked address waits, too");
    };
    assert!(retry_after > Duration::from_secs(250), "{retry_after:?}");
    assert!(house.ask(Some(&key), LOOPBACK).await.is_ok());
    tokio::time::advance(retry_after).await;
    assert!(house.ask(Some(&key), ELSEWHERE).await.is_ok(), "waiting as told succeeds");
    let text = house.metrics.render();
    assert!(text.contains("auth_failures_total{door=\"http\",reason=\"malformed\"} 11"), "{text}");
    assert!(text.contains("auth_failures_total{door=\"http\",reason=\"address_blocked\"} 1"), "{text}");
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

// req: S4-KEYS, S3-BUG-5, S3-BUG-9
#[tokio::test]
async fn a_failure_is_one_log_line_and_one_audit_record_with_address_and_key_id_and_no_byte_of_the_token() {
    let house = house(Wish { tokens: true, failures: 0, ..PLAIN }).await;
    let key = house.key().await;
    let id = house.ask(Some(&key), LOOPBACK).await.unwrap().key_id.unwrap();
    house.keys.revoke(&id).await.unwrap();
    let token = house.token("ann", "premium");
    let forged = format!("{}x", &token[..token.len() - 1]);
    let strange = format!("pcl_{}_{}", "0".repeat(12), "SECRETSECRET".repeat(4)[..43].to_owned());
    let lines = Lines::default();
    let logger = tracing_subscriber::fmt().json().with_writer(lines.clone()).finish();
    let guard = tracing::subscriber::set_default(logger);
    for presented in [&key, &forged, &strange, "no key at all, just words"] {
        assert!(house.ask(Some(presented), ELSEWHERE).await.is_err());
    }
    drop(guard);
    house.audit.flush(Duration::from_secs(10));
    let log = String::from_utf8(lines.0.lock().clone()).unwrap();
    let mut trail = String::new();
    for entry in std::fs::read_dir(house.folder.path().join("audit")).unwrap() {
        trail.push_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default());
    }
    for (name, told) in [("log", &log), ("trail", &trail)] {
        assert_eq!(told.matches("auth_failure").count(), 4, "{name}: {told}");
        assert!(
            told.contains(&*id) && told.contains("203.0.113.9") && told.contains("revoked"),
            "{name}: {told}"
        );
        for secret in
            [&key[17..], &forged[..20], &forged[forged.len() - 20..], "SECRET", "000000000000", "just words"]
        {
            assert!(!told.contains(secret), "{name}: {secret} in {told}");
        }
    }
}
