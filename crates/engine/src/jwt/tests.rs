//! The table of review.md section 10, row by row, in its order; published vectors; and whatever bytes come.

use super::algorithm::tests::{ed_pem, p256_pem, rsa_pem};
use super::*;
use proptest::prelude::*;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use serde_json::json;
use std::collections::HashMap;

const SECRET: &str = "a secret of at least thirty-two bytes, for tests";
const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn hs256(config: JwtConfig) -> Jwt {
    let keys = vec![JwtKeyConfig { key_secret: Some("jwt_secret".into()), ..JwtKeyConfig::default() }];
    Jwt::new(&JwtConfig { keys, ..config }, "auth.jwt", |_| Some(SECRET.into())).ok().unwrap()
}

fn strict() -> JwtConfig {
    JwtConfig { issuer: Some("us".into()), audience: Some("portcullis".into()), ..JwtConfig::default() }
}

fn public(alg: JwtAlg, pem: &str) -> Jwt {
    let key = JwtKeyConfig { alg, key_secret: Some("public".into()), ..JwtKeyConfig::default() };
    let config = JwtConfig { keys: vec![key], ..JwtConfig::default() };
    Jwt::new(&config, "auth.jwt", |_| Some(pem.into())).ok().unwrap()
}

fn text(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signed(header: &Value, claims: &Value, key: &str) -> String {
    let message = format!("{}.{}", text(header), text(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), message.as_bytes());
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
}

fn good() -> Value {
    json!({"sub": "ann", "iss": "us", "aud": "portcullis", "iat": NOW - 10, "exp": NOW + 60, "jti": "j1"})
}

/// The good claims with one changed; `null` takes it out.
fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

fn check(jwt: &Jwt, token: &str) -> Result<Claims, AuthProblem> {
    jwt.check(token, now(), &|kind, value| (kind.as_str(), value) == ("jti", "gone") || value == "eve")
}

// req: S3-BUG-5
#[test]
fn every_row_of_the_table_is_refused_with_its_reason() {
    use AuthProblem as P;
    let jwt = hs256(strict());
    let hs = json!({"alg": "HS256", "typ": "JWT"});
    let claims = |name: &str, value: Value| signed(&hs, &with(name, value), SECRET);
    let header = |header: Value| signed(&header, &good(), SECRET);
    let fine = signed(&hs, &good(), SECRET);
    let [head, body, tag] = fine.split('.').collect::<Vec<_>>()[..] else { unreachable!() };
    let rows: Vec<(&str, P, String)> = vec![
        ("nothing", P::Malformed, String::new()),
        ("over 8 KiB", P::Malformed, claims("pad", "x".repeat(8192).into())),
        ("two parts", P::Malformed, format!("{head}.{body}")),
        ("four parts", P::Malformed, format!("{fine}.{tag}")),
        ("bad base64 in the header", P::Malformed, format!("{head}*.{body}.{tag}")),
        ("padded base64", P::Malformed, format!("{head}.{body}.{tag}=")),
        ("standard base64", P::Malformed, format!("{head}.{body}.{}", "+/".repeat(21))),
        ("header is no object", P::Malformed, signed(&json!([1]), &good(), SECRET)),
        ("claims are no object", P::Malformed, signed(&hs, &json!("x"), SECRET)),
        ("claims are no JSON", P::Malformed, format!("{head}.{}.{tag}", BASE64_URL_SAFE_NO_PAD.encode("{"))),
        ("alg none, unsigned", P::Algorithm, format!("{}.{body}.", text(&json!({"alg": "none"})))),
        ("alg none, signed", P::Algorithm, header(json!({"alg": "none"}))),
        ("alg None", P::Algorithm, header(json!({"alg": "None"}))),
        ("alg missing", P::Algorithm, header(json!({}))),
        ("alg is a number", P::Algorithm, header(json!({"alg": 256}))),
        ("alg in lower case", P::Algorithm, header(json!({"alg": "hs256"}))),
        ("HS384", P::Algorithm, header(json!({"alg": "HS384"}))),
        ("RS256 where HS256 is meant", P::Algorithm, header(json!({"alg": "RS256"}))),
        ("unknown kid", P::Algorithm, header(json!({"alg": "HS256", "kid": "other"}))),
        ("kid is a number", P::Algorithm, header(json!({"alg": "HS256", "kid": 1}))),
        ("crit", P::Algorithm, header(json!({"alg": "HS256", "crit": ["exp"]}))),
        ("crit of nothing", P::Algorithm, header(json!({"alg": "HS256", "crit": null}))),
        ("another secret", P::Signature, signed(&hs, &good(), "another secret of enough bytes, thirty-two")),
        ("changed claims", P::Signature, format!("{head}.{}.{tag}", text(&with("sub", "eve".into())))),
        ("no signature", P::Signature, format!("{head}.{body}.")),
        ("cut signature", P::Signature, format!("{head}.{body}.{}", &tag[..40])),
        ("no exp", P::NoExpiry, claims("exp", Value::Null)),
        ("exp is text", P::NoExpiry, claims("exp", (NOW + 60).to_string().into())),
        ("expired", P::Expired, claims("exp", (NOW - 1).into())),
        ("expires now", P::Expired, claims("exp", NOW.into())),
        ("expired a tenth of a second ago", P::Expired, claims("exp", json!(1_799_999_999.9))),
        ("no iat", P::NotYet, claims("iat", Value::Null)),
        ("iat is text", P::NotYet, claims("iat", "now".into())),
        ("iat in the future", P::NotYet, claims("iat", (NOW + 1).into())),
        ("nbf in the future", P::NotYet, claims("nbf", (NOW + 1).into())),
        ("nbf is text", P::NotYet, claims("nbf", "now".into())),
        ("lives too long", P::TooLong, claims("exp", (NOW - 10 + 86_401).into())),
        ("lives for ever", P::TooLong, claims("exp", json!(1e300))),
        ("no iss", P::Issuer, claims("iss", Value::Null)),
        ("another iss", P::Issuer, claims("iss", "them".into())),
        ("iss is a list", P::Issuer, claims("iss", json!(["us"]))),
        ("no aud", P::Audience, claims("aud", Value::Null)),
        ("another aud", P::Audience, claims("aud", "else".into())),
        ("aud of others", P::Audience, claims("aud", json!(["a", "b"]))),
        ("no sub", P::Subject, claims("sub", Value::Null)),
        ("empty sub", P::Subject, claims("sub", "".into())),
        ("sub over 128", P::Subject, claims("sub", "x".repeat(129).into())),
        ("sub with a line break", P::Subject, claims("sub", "ann\nadmin".into())),
        ("revoked jti", P::Revoked, claims("jti", "gone".into())),
        ("revoked sub", P::Revoked, claims("sub", "eve".into())),
        ("jti is a number", P::CheckFailed, claims("jti", 5.into())),
    ];
    for (what, reason, token) in rows {
        assert_eq!(check(&jwt, &token), Err(reason), "{what}");
    }
    assert!(check(&jwt, &fine).is_ok());
}

// req: S3-BUG-5
#[test]
fn what_breaks_several_rules_is_refused_for_the_first_of_the_table() {
    let jwt = hs256(strict());
    let mut claims = json!({"sub": "eve", "iss": "them", "aud": "else", "iat": NOW + 9, "exp": NOW - 1});
    let hs = json!({"alg": "HS256"});
    let reason = |claims: &Value, key: &str| check(&jwt, &signed(&hs, claims, key)).unwrap_err();
    assert_eq!(reason(&claims, "wrong secret, wrong secret, wrong"), AuthProblem::Signature);
    for (name, mended, now_refused_for) in [
        ("", json!(0), AuthProblem::Expired),
        ("exp", json!(NOW + 99_999), AuthProblem::NotYet),
        ("iat", json!(NOW), AuthProblem::TooLong),
        ("exp", json!(NOW + 60), AuthProblem::Issuer),
        ("iss", json!("us"), AuthProblem::Audience),
        ("aud", json!(["portcullis"]), AuthProblem::Revoked),
    ] {
        claims[name] = mended;
        assert_eq!(reason(&claims, SECRET), now_refused_for);
    }
}

// req: S3-BUG-5
#[test]
fn a_token_signed_with_the_public_key_as_secret_is_refused() {
    let pair = ed25519();
    let pem = ed_pem(pair.public_key().as_ref());
    let jwt = public(JwtAlg::EdDSA, &pem);
    for key in [pem.as_str(), pem.trim()] {
        for alg in ["HS256", "EdDSA", "none"] {
            let refused = check(&jwt, &signed(&json!({"alg": alg}), &good(), key)).unwrap_err();
            let wanted = if alg == "EdDSA" { AuthProblem::Signature } else { AuthProblem::Algorithm };
            assert_eq!(refused, wanted, "{alg}");
        }
    }
}

fn ed25519() -> Ed25519KeyPair {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()
}

#[test]
fn tokens_of_the_two_curves_are_accepted_with_their_own_key_only() {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let p256 = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
    let (ed, stranger) = (ed25519(), ed25519());
    let message = |alg: &str| format!("{}.{}", text(&json!({"alg": alg})), text(&good()));
    let token =
        |message: &str, signature: &[u8]| format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
    let (es, eddsa) = (message("ES256"), message("EdDSA"));
    let es_token = token(&es, p256.sign(&random, es.as_bytes()).unwrap().as_ref());
    let ed_token = token(&eddsa, ed.sign(eddsa.as_bytes()).as_ref());
    let by_p256 = public(JwtAlg::ES256, &p256_pem(p256.public_key().as_ref()));
    let by_ed = public(JwtAlg::EdDSA, &ed_pem(ed.public_key().as_ref()));
    let by_stranger = public(JwtAlg::EdDSA, &ed_pem(stranger.public_key().as_ref()));
    assert_eq!(check(&by_p256, &es_token).unwrap().sub, "ann");
    assert_eq!(check(&by_ed, &ed_token).unwrap().sub, "ann");
    assert_eq!(check(&by_p256, &ed_token), Err(AuthProblem::Algorithm));
    assert_eq!(check(&by_stranger, &ed_token), Err(AuthProblem::Signature));
}

/// RFC 7515 appendix A: the signature passes, so the claims' own rule (no `iat`) is what refuses.
#[test]
fn the_published_vectors_of_rfc_7515_pass_the_signature_and_a_changed_bit_does_not() {
    const CLAIMS: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let bytes = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
    // A.3: ECDSA P-256 SHA-256.
    let point = [
        vec![4],
        bytes("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
        bytes("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
    ]
    .concat();
    let es = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    // A.2: RSASSA-PKCS1-v1_5 SHA-256.
    let modulus = bytes(concat!(
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR",
        "T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXB",
        "dQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia",
        "GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    ));
    let rs = concat!(
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9",
        "uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB",
        "_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rq",
        "Vt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    );
    let before = Timestamp::from_second(1_300_819_000).unwrap();
    for (jwt, head, signature) in [
        (public(JwtAlg::ES256, &p256_pem(&point)), "eyJhbGciOiJFUzI1NiJ9", es),
        (public(JwtAlg::RS256, &rsa_pem(&modulus, &[1, 0, 1])), "eyJhbGciOiJSUzI1NiJ9", rs),
    ] {
        let check = |claims: &str| {
            jwt.check(&format!("{head}.{claims}.{signature}"), before, &|_, _| false).unwrap_err()
        };
        assert_eq!(check(CLAIMS), AuthProblem::NotYet, "{head}");
        let changed = BASE64_URL_SAFE_NO_PAD.encode("{\"iss\":\"joe\"}");
        assert_eq!(check(&changed), AuthProblem::Signature, "{head}");
    }
}

#[test]
fn leeway_is_what_was_configured_and_no_more() {
    let jwt = hs256(JwtConfig { leeway_secs: 30, ..JwtConfig::default() });
    let token = |name: &str, at: i64| signed(&json!({"alg": "HS256"}), &with(name, at.into()), SECRET);
    assert!(check(&jwt, &token("exp", NOW - 29)).is_ok());
    assert_eq!(check(&jwt, &token("exp", NOW - 30)), Err(AuthProblem::Expired));
    assert!(check(&jwt, &token("iat", NOW + 30)).is_ok());
    assert_eq!(check(&jwt, &token("iat", NOW + 31)), Err(AuthProblem::NotYet));
}

#[test]
fn tier_and_scopes_come_from_the_claims_and_foreign_scopes_allow_nothing() {
    let jwt = hs256(JwtConfig::default());
    let scopes = |name: &str, value: Value| {
        let token = signed(&json!({"alg": "HS256"}), &with(name, value), SECRET);
        format!("{:?}", check(&jwt, &token).unwrap().scopes)
    };
    assert_eq!(scopes("x", Value::Null), r#"{"chat"}"#);
    assert_eq!(
        scopes("scopes", json!(["pin", "openid", "admin:*"])),
        r#"{"pin", "admin:read", "admin:write"}"#
    );
    assert_eq!(scopes("scope", json!("chat email debug")), r#"{"chat", "debug"}"#);
    assert_eq!(scopes("scopes", json!([])), "{}");
    assert_eq!(scopes("scopes", json!(5)), "{}");
    let token = signed(&json!({"alg": "HS256"}), &with("tier", json!("premium")), SECRET);
    assert_eq!(check(&jwt, &token).unwrap().tier.as_deref(), Some("premium"));
}

#[test]
fn with_several_keys_the_kid_decides_and_each_knows_its_own_algorithm() {
    let pair = ed25519();
    let pem = ed_pem(pair.public_key().as_ref());
    let secrets = HashMap::from([("one", SECRET.to_owned()), ("two", pem)]);
    let key = |kid: &str, alg, name: &str| JwtKeyConfig {
        kid: Some(kid.into()),
        alg,
        key_secret: Some(name.into()),
        key_file: None,
    };
    let keys = vec![key("a", JwtAlg::HS256, "one"), key("b", JwtAlg::EdDSA, "two")];
    let config = JwtConfig { keys, ..JwtConfig::default() };
    let jwt =
        Jwt::new(&config, "auth.jwt", |name| secrets.get(name).map(|s| s.as_str().into())).ok().unwrap();
    let token = |header: Value| check(&jwt, &signed(&header, &good(), SECRET)).map(|claims| claims.sub);
    assert_eq!(token(json!({"alg": "HS256", "kid": "a"})), Ok("ann".into()));
    for header in
        [json!({"alg": "HS256", "kid": "b"}), json!({"alg": "HS256"}), json!({"alg": "EdDSA", "kid": "a"})]
    {
        assert_eq!(token(header.clone()), Err(AuthProblem::Algorithm), "{header}");
    }
}

#[test]
fn a_token_of_our_own_is_accepted_revocable_and_read_by_inspect() {
    let jwt = hs256(strict());
    let wish = NewToken {
        sub: "ann".into(),
        tier: portcullis_domain::Tier::Premium,
        scopes: Scopes::NONE.with(Scope::Chat),
        life_secs: 60,
        policy: Some("careful".into()),
        kid: None,
    };
    let issued = jwt.issue(&wish, now()).unwrap();
    let token = issued.token.expose_secret();
    let claims = check(&jwt, token).unwrap();
    assert_eq!((claims.sub.as_str(), claims.tier.as_deref()), ("ann", Some("premium")));
    assert_eq!(claims.policy.as_deref(), Some("careful"));
    let gone = |kind: RevocationKind, value: &str| kind == RevocationKind::Jti && value == issued.jti;
    assert_eq!(jwt.check(token, now(), &gone), Err(AuthProblem::Revoked));
    let seen = jwt.inspect(token, now(), &gone).unwrap();
    assert_eq!((seen.verdict, &seen.claims["sub"]), ("revoked", &json!("ann")));
    assert!(!serde_json::to_string(&seen).unwrap().contains(token.rsplit('.').next().unwrap()));
    for (life_secs, sub) in [(0, "ann"), (86_401, "ann"), (60, "")] {
        assert!(jwt.issue(&NewToken { life_secs, sub: sub.into(), ..wish.clone() }, now()).is_err());
    }
    let without = Jwt::new(&JwtConfig::default(), "auth.jwt", |_| None).ok().unwrap();
    assert!(without.issue(&wish, now()).unwrap_err().contains("auth.jwt.keys"));
    assert_eq!(check(&without, token), Err(AuthProblem::Algorithm), "without keys no token is believed");
}

// req: S3-BUG-5
#[test]
fn keys_that_are_missing_or_unfit_stop_the_start_and_are_all_named() {
    let key = |alg, secret: Option<&str>, file: Option<&str>| JwtKeyConfig {
        kid: None,
        alg,
        key_secret: secret.map(str::to_owned),
        key_file: file.map(Into::into),
    };
    let keys = vec![
        key(JwtAlg::HS256, Some("short"), None),
        key(JwtAlg::HS256, Some("absent"), None),
        key(JwtAlg::RS256, None, Some("/nowhere/key.pem")),
    ];
    let config = JwtConfig { keys, leeway_secs: 61, ..JwtConfig::default() };
    let found = Jwt::new(&config, "auth.jwt", |name| {
        (name == "short").then(|| "thirty-one bytes are not enough".into())
    });
    let problems = found.err().unwrap();
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        ["auth.jwt.keys[0].key_secret", "auth.jwt.keys[1].key_secret", "auth.jwt.keys[2].key_file"]
    );
    let mut out = Vec::new();
    config.problems("auth.jwt", &mut out);
    let keys: Vec<_> = out.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        ["auth.jwt.leeway_secs", "auth.jwt.keys[0].kid", "auth.jwt.keys[1].kid", "auth.jwt.keys[2].kid"]
    );
}

proptest! {
    // req: S3-BUG-5
    #[test]
    fn no_text_makes_the_reader_of_tokens_panic_and_none_is_accepted(
        token in prop_oneof![".*", "[A-Za-z0-9_.-]{0,200}", r"\PC{0,40}\.\PC{0,40}\.\PC{0,40}"],
    ) {
        prop_assert!(check(&hs256(JwtConfig::default()), &token).is_err());
    }

    #[test]
    fn no_json_in_header_or_claims_makes_it_panic_or_passes_without_our_secret(
        header in json_value(), claims in json_value(), ours in any::<bool>(),
    ) {
        let key = if ours { SECRET } else { "not our secret, but long enough for it" };
        let result = check(&hs256(JwtConfig::default()), &signed(&header, &claims, key));
        prop_assert!(ours || result.is_err());
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("alg"),
        Just("kid"),
        Just("crit"),
        Just("exp"),
        Just("iat"),
        Just("nbf"),
        Just("sub"),
        Just("jti"),
        Just("tier"),
        Just("scopes"),
    ];
    let value = prop_oneof![
        Just(json!(null)),
        Just(json!("HS256")),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|f| json!(f)),
        ".{0,20}".prop_map(Value::from),
        Just(json!([1, {"a": "b"}])),
        Just(json!(NOW + 5)),
        Just(json!(NOW - 5)),
    ];
    proptest::collection::hash_map(name, value, 0..8)
        .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
