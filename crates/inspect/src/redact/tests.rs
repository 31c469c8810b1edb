//! What must go, what must stay, and that it ends.

use super::*;
use proptest::prelude::*;

/// The text that a vector of the table stands for.
pub(super) fn expand(vector: &str) -> String {
    let (mut out, mut rest) = (String::new(), vector);
    while let Some((before, behind)) = rest.split_once('<') {
        out.push_str(before);
        let Some((inside, after)) = behind.split_once('>') else { break };
        let alphabet = match inside.as_bytes().first() {
            Some(b'h') => "0a1b2c3d4e5f6789",
            Some(b'u') => "A2B3C4D5E6F7G2H3",
            Some(b'a') => "aBcDeFgHiJkLmNoP",
            Some(b'd') => "1234567890",
            _ => "a1B2c3D4e5F6g7H8",
        };
        match inside.trim_start_matches(['h', 'u', 'a', 'd']).parse::<usize>() {
            Ok(count) => out.extend(alphabet.chars().cycle().take(count)),
            Err(_) => out.push_str(&format!("<{inside}>")),
        }
        rest = after;
    }
    out + rest
}

#[test]
fn every_row_finds_what_it_should_and_nothing_else() {
    assert!(ENGINE.rows.len() <= 128, "rows are bits of a number");
    let mut wrong = Vec::new();
    for (at, row) in ENGINE.rows.iter().enumerate() {
        let (shape, pattern) = row.ready().unwrap_or_else(|| panic!("{}", row.shape.pattern));
        assert!(shape.hints.iter().all(|hint| hint.to_lowercase() == *hint), "{}", shape.kind);
        let found = |text: &str, by_scan: bool| {
            let wanted = ENGINE.scan.wanted(text, Look::at(text), u128::MAX) >> at & 1 == 1;
            let mut all = pattern.captures_iter(text).filter_map(|found| {
                let secret = found.iter().skip(1).flatten().next().unwrap_or_else(|| found.get_match());
                (shape.check)(secret.as_str()).then_some(())
            });
            all.next().is_some() && (wanted || !by_scan)
        };
        let kind = shape.kind;
        let unfound = shape.hits.iter().filter(|hit| !found(&expand(hit), true));
        wrong.extend(unfound.map(|hit| format!("{kind} should be in {hit}")));
        let unmissed = shape.misses.iter().filter(|miss| found(&expand(miss), false));
        wrong.extend(unmissed.map(|miss| format!("{kind} should not be in {miss}")));
    }
    assert_eq!(wrong, [""; 0]);
}

/// Decision 30: a label of harmlessness makes no password public, and gitleaks' alphabet has no signs.
#[test]
fn a_password_in_json_goes_alone_in_a_line_of_a_log_and_escaped() {
    for (line, secret) in [
        (r#"{"password": "4&7j#L9@1*6K"}"#, "4&7j#L9@1*6K"),
        (r#"{"password": "4&7j6#L9@1$2"}"#, "4&7j6#L9@1$2"),
        (r#"{"level":"info","msg":"login","user":"anna","password":"4&7j#L9@1*6K"}"#, "4&7j#L9@1*6K"),
        (r#"{"level":"info","msg":"login","user":"anna","password":"correcthorse"}"#, "correcthorse"),
        (r#"{"level":"info","msg":"login","user":"anna","password":"Summer2024!"}"#, "Summer2024!"),
        (r#"{"level":"debug","body":"{\"password\": \"4&7j#L9@1*6K\"}"}"#, "4&7j#L9@1*6K"),
        (r#"{"user":"bob","passwd":"hunter2hunter2"}"#, "hunter2hunter2"),
        (r#"db password="q8Zr-kT3v_Lm""#, "q8Zr-kT3v_Lm"),
    ] {
        let hidden = redact(line);
        assert!(!hidden.contains(secret), "{line}: {hidden}");
    }
}

/// Made-up values in the published forms. They are put together here so that scanners of the repository see none.
fn planted() -> Vec<(String, &'static str)> {
    let long = "a1B2c3D4e5F6g7H8".repeat(8);
    let hex = "0123456789abcdef".repeat(8);
    vec![
        (format!("sk-{}", &long[..48]), "openai_key"),
        (format!("sk-proj-{long}"), "openai_key"),
        (format!("sk-svcacct-{}", &long[..60]), "openai_key"),
        (format!("sk-ant-api03-{}", &long[..90]), "anthropic_key"),
        (format!("AIza{}", &long[..35]), "google_key"),
        (format!("ghp_{}", &long[..36]), "github_token"),
        (format!("github_pat_{}", &long[..82]), "github_token"),
        (format!("glpat-{}", &long[..20]), "gitlab_token"),
        (format!("xoxb-{}-{}", "123456789012", &long[..24]), "slack_token"),
        (format!("https://hooks.slack.com/services/T0000/B0000/{}", &long[..24]), "webhook"),
        (format!("AKIA{}", "ABCDEFGH23456789"), "aws_key"),
        (format!("AccountKey={}==", &long[..86]), "azure_key"),
        (format!("abc8Q~{}", &long[..34]), "azure_secret"),
        (format!("hvs.{}", &long[..90]), "vault_token"),
        (format!("sk_live_{}", &long[..24]), "stripe_key"),
        (format!("SG.{}.{}", &long[..22], &long[..43]), "sendgrid_key"),
        (format!("SK{}", &hex[..32]), "twilio_key"),
        (format!("{}-us12", &hex[..32]), "mailchimp_key"),
        (format!("npm_{}", &long[..36]), "npm_token"),
        (format!("pypi-{}", &long[..100]), "pypi_token"),
        (format!("gsk_{}", &long[..52]), "api_key"),
        (format!("123456789:AA{}", &long[..33]), "telegram_token"),
        (format!("{}.{}", &hex[..32], &long[..16]), "zhipu_key"),
        (format!("eyJhbGciOiJIUzI1NiJ9.eyJ{}.{}", &long[..30], &long[..43]), "jwt"),
        (format!("pcl_abcd1234efgh_{}", &long[..43]), "portcullis_key"),
        (format!("-----BEGIN RSA PRIVATE KEY-----\n{long}\n-----END RSA PRIVATE KEY-----"), "private_key"),
        (format!("Authorization: Bearer {}", &long[..30]), "bearer"),
        (format!("Authorization: Basic {}==", &long[..20]), "basic"),
        ("postgres://user:hunter2@db/x".into(), "password"),
        ("redis://:hunter2@cache:6379".into(), "password"),
        ("PGPASSWORD=hunter2 psql".into(), "password"),
        ("{\"password\":\"correcthorse\"}".into(), "password"),
        (format!("MY_SERVICE_API_KEY={}", &long[..32]), "secret"),
        (format!("client_secret: '{}'", &long[..32]), "secret"),
        (format!("DEBUG Using Key={}", &long[..32]), "secret"),
        ("ann.smith+x@example.org".into(), "email"),
    ]
}

// req: S2-2.7
// req: S2-3.3
#[test]
fn keys_of_every_kind_go_wherever_they_stand() {
    for (text, kind) in planted() {
        for (before, after) in
            [("", ""), ("got '", "' from it"), ("line one\n", "\nline three"), ("(", ")"), ("é", "é")]
        {
            let found = redact(&format!("{before}{text}{after}")).into_owned();
            assert!(found.contains(&format!("[{kind}")), "{kind}: {found}");
            for piece in ["hunter2", "correcthorse", "c3D4e5F6", "cdef0123", "CDEFGH23", "ann.smith"] {
                assert!(!found.contains(piece), "{kind} shows {piece}: {found}");
            }
        }
    }
}

#[test]
fn a_long_secret_keeps_its_kind_and_last_four_and_a_short_one_nothing() {
    let long = "a1B2".repeat(12);
    assert_eq!(redact(&format!("key sk-proj-{long}.")), "key [openai_key …a1B2].");
    assert_eq!(redact("Authorization: Bearer abcdefghijk"), "Authorization: Bearer [bearer]");
    assert_eq!(redact("postgres://user:hunter2@db/x"), "postgres://user:[password]@db/x");
}

#[test]
fn ordinary_text_and_our_own_ids_are_left_alone() {
    for text in [
        "GET /v1/chat/completions took 12 ms for req_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "the token bucket refills at 10/s; tokens_in=12",
        "see https://example.org/a/b?c=d and mask-shaped skeletons",
        "{\"caller\":\"key:ab12cd34ef56\",\"tier\":\"premium\",\"outcome\":\"ok\"}",
        "password: must have at least twelve characters",
        "the secret: always be kind; token = authentication",
        "a risk-averse desk-mounted task-management-system",
        "api_key: ${OPENAI_API_KEY}",
        "basic understanding of the bearer of news",
        "s.th. like that; v1.2.3-rc.4; 2026-11-21T06:00:00.123456Z",
        "cargo build --release at crates/inspect/src/redact.rs:12",
        "cannot open /etc/portcullis/portcullis.toml: permission denied",
        "author=Mustermann; keyboard=qwertz12345",
    ] {
        assert_eq!(redact(text), text);
        assert!(matches!(redact(text), Cow::Borrowed(_)), "{text} was copied");
    }
}

// req: S3-BUG-9
#[test]
fn outside_nobody_learns_paths_addresses_statements_or_stacks() {
    for (text, expected) in [
        ("at /home/ann/x.rs:5", "at [path]:5"),
        ("cannot open /etc/portcullis/keys: denied", "cannot open [path]: denied"),
        ("connect to 10.1.2.3:5432 failed", "connect to [ip]:5432 failed"),
        ("listening on 127.0.0.1:8700", "listening on 127.0.0.1:8700"),
        ("error in SELECT id, name FROM keys WHERE id = 1; done", "error in [sql]; done"),
        ("thread panicked at src/main.rs:10:5", "thread [stack]"),
        ("C:\\Users\\ann\\x.txt is missing", "[path] is missing"),
        ("Select a model from the list.", "Select a model from the list."),
        ("version 1.2.3 of 2026", "version 1.2.3 of 2026"),
    ] {
        assert_eq!(redact_outside(text), expected);
    }
}

#[test]
fn a_value_shaped_like_a_key_is_known_as_one() {
    assert!(looks_like_secret(&format!("sk-{}", "x1".repeat(12))));
    assert!(looks_like_secret(&planted()[4].0) && looks_like_secret(&planted()[20].0));
    for value in [
        "openai_api_key",
        "http://127.0.0.1:8080/v1",
        "sk-example-keys-are-named-here",
        "info,portcullis=debug",
    ] {
        assert!(!looks_like_secret(value), "{value}");
    }
}

#[test]
fn crafted_megabytes_end() {
    for piece in [
        "a@",
        "a.",
        "sk-",
        "://a:",
        "key=",
        "-----BEGIN PRIVATE KEY-----", // fake: no key follows
        "eyJaaaaaaaa.",
        "select a from ",
        "1.1.1.1.",
    ] {
        let text = piece.repeat(1_000_000 / piece.len());
        assert!(redact_outside(&text).len() <= text.len() * 4);
    }
}

proptest! {
    #[test]
    fn redacting_twice_changes_nothing(
        text in "(sk-|ghp_|://a:|bearer |basic |token=|key=|password=|a@b.co|/tmp/|10.0.0.1|select a from b|eyJ|[a-zA-Z0-9 .:/@_-]){0,30}",
    ) {
        for engine in [redact, redact_outside] {
            let once = engine(&text).into_owned();
            prop_assert_eq!(engine(&once), once.as_str());
        }
    }

    // Log lines are written without redaction where a value is such a word; see `telemetry::logs`.
    #[test]
    fn a_short_word_with_few_digits_is_never_changed(text in "[A-Za-z_]{0,4}[A-Za-z0-9_]{0,4}[A-Za-z_]{0,4}|[a-z]{0,20}") {
        let few = text.bytes().filter(u8::is_ascii_digit).count() < 5;
        prop_assert!(!few || redact(&text) == text);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        prop_assert!(redact_outside(&text).len() <= text.len() * 4 + 64);
    }
}
