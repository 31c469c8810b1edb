//! Secrets that show by where they stand: in headers, URLs, after a keyword. The value decides: a gate of entropy keeps
//! words, versions and variables out.
//!
//! Sources: RFC 3986 (user information), RFC 7617 and 6750 (headers), the command lines and files in which people
//! keep passwords.

use super::{
    checks::{drawn, encoded, random, very_random},
    shapes::{Shape, row},
};

/// Values that stand for one: variables, templates, what documentation writes.
fn written(text: &str) -> bool {
    text.len() >= 4 && !text.starts_with(['$', '{', '<', '%', '*', '[']) && drawn_or_short(text)
}

fn drawn_or_short(text: &str) -> bool {
    text.len() < 8 || drawn(text)
}

pub(super) const VALUES: &[Shape] = &[
    row(
        "password",
        &["://"],
        r"\b[A-Za-z][A-Za-z0-9+.-]{1,30}://[^\s:/@?#\x22'\[]{0,200}:([^\s/@\x22'\[]{1,200})@",
        &["postgres://user:hunter2@db/x", "redis://:hunter2@cache:6379"],
        &["https://url:8000 @something", "http://localhost:5000/@x", "https://u:${PASS}@host/"],
    )
    .checked(|text| !text.starts_with(['$', '{', '<', '%', '*']))
    .whole(),
    row(
        "basic",
        &["basic "],
        r#"(?i)\bauthorization["']?\s{0,2}[:=,]\s{0,2}["']?basic\s+([A-Za-z0-9+/]{4,}={0,2})|\bbasic\s+([A-Za-z0-9+/]{13,}={0,2})(?:[^A-Za-z0-9+/=]|$)"#,
        &["Authorization: Basic YTpi", "with basic <20>=="],
        &["basic understanding", "a basic introductionary"],
    )
    .checked(encoded)
    .whole(),
    row(
        "bearer",
        &["bearer "],
        r#"(?i)\bauthorization["']?\s{0,2}[:=,]\s{0,2}["']?bearer\s+([A-Za-z0-9._~+/-]{8,}=*)"#,
        &["Authorization: Bearer abcdefghijk", "\"authorization\": \"Bearer <30>\""],
        &["Authorization: Bearer XXXXXXXXXXXX", "Authorization: Bearer <Openverse API token>"],
    ),
    row(
        "bearer",
        &["bearer "],
        r"(?i)\bbearer\s+([A-Za-z0-9_+/-]{13,}[A-Za-z0-9._~+/-]*=*)",
        &["it sent bearer <30> on"],
        &["the bearer of news", "bearer authorization-code exfiltration"],
    )
    .digits(2)
    .checked(random),
    row(
        "password",
        &["passw", "pwd", "passphrase"],
        r#"(?i)(?:password|passwd|passwort|pwd|passphrase)(?:\\?["']\s*[:=]\s*\\?["']([^"'\\\s\[]{4,})|=([^\s"'\\,;&\[]{4,}))"#,
        &["PGPASSWORD=hunter2 psql", "{\"password\":\"correcthorse\"}", "'passphrase': 'correcthorse'"],
        &["PASSWORD=$SECRET", "password: must have twelve characters", "password=<your password>", "password=********"],
    )
    .checked(written)
    .whole(),
    // The credentials of a Jenkins, and other XML.
    row(
        "secret",
        &["secret>", "password>", "token>", "apikey>", "passphrase>"],
        r"(?i)<(?:[a-z]{0,20}secret|[a-z]{0,20}password|[a-z]{0,20}token|apikey|passphrase)>\{?(?:[A-Za-z0-9_./-]{1,40} ){0,3}([A-Za-z0-9_+/-]{13,}[A-Za-z0-9_+/=:.~%-]*)",
        &["<secret>{made up AQAAABAAA <32>}</secret>", "<apiToken><24></apiToken>"],
        &["<token>identifier</token>", "<secret>thisisoneverylongword</secret>"],
    )
    .run(13)
    .digits(2)
    .checked(|text| random(text) && text.bytes().filter(|byte| byte.is_ascii_alphanumeric()).count() >= 13),
    row(
        "password",
        &[" -p ", "--password"],
        r#"(?:\s-p |--password[ =])\s?["']?([A-Za-z0-9+/_-]{13,}[^\s"']*)"#,
        &["docker login -u made-up -p <30>", "tool --password <20>"],
        &["mkdir -p documentation/of/things", "tool --password \"$PASSWORD\""],
    )
    .run(13)
    .digits(3)
    .checked(very_random)
    .whole(),
    // What docker keeps of a registry: user and password in Base64.
    row(
        "secret",
        &["\"auth"],
        r#"\\?"auth\\?"\s?:\s?\\?"([A-Za-z0-9+/]{8,}={0,2})\\?""#,
        &["{\"auths\":{\"reg.example\":{\"auth\":\"<14>==\"}}}"],
        &["\"auth\": \"required\"", "\"auth\": true"],
    )
    .checked(|text| encoded(text) && text.len() % 4 == 0),
    row(
        "secret",
        &[
            "key",
            "secret",
            "passw",
            "pwd",
            "token",
            "authorization",
            "auth_",
            "auth-",
            "auth.",
            "auth=",
            "auth:",
            "auth ",
            "auth\"",
            "auth'",
            "authkey",
            "credential",
        ],
        r#"(?i)(?:api[_.-]?key|access[_.-]?key|secret(?:[_.-]?key)?|private[_.-]?key|client[_.-]?secret|passw(?:or)?d|pwd|token|authorization|credentials?|auth(?:[_.-]?key)?|[a-z0-9][_.-]key|azurekey)[0-9]?\\?["']?\s{0,3}(?:=>|:=|[=:,])\s{0,3}\\?["']?([A-Za-z0-9._~+/:@!-]{12,}(?:=[A-Za-z0-9._~+/:@!=-]*)?)"#,
        &["MY_SERVICE_API_KEY=<32>", "client_secret: '<32>'", "aws_secret_access_key = <40>", "Set(\"Authorization\", \"<24>\""],
        &[
            "token = authentication", "api_key: ${OPENAI_API_KEY}", "the secret: always be kind",
            "author=Mustermann; keyboard=qwertz12345", "api_key: https://example.org/v1/keys",
        ],
    )
    .digits(2)
    .checked(random),
    row(
        "secret",
        &["key=", "key =", "key is", "token is", "secret is", "key:"],
        r#"(?i)\b(?:key\s?=|[a-z0-9]{2,20}key\s?:?=|(?:key|token|secret) is:?|[a-z0-9]{1,20}key:)\s?\\?["'`]?([A-Za-z0-9+/_-]{16,}[A-Za-z0-9._~+/:@!-]*=*)"#,
        &["DEBUG Using Key=<32>", "your key is <h32>, keep it", "appKey: <32>"],
        &["the key is understanding", "key=value"],
    )
    .digits(2)
    .checked(random),
    // A literal that nobody wrote by hand, whatever its name says.
    row(
        "secret",
        &["= \"", "=\"", "= '", "='", ": \"", ":\"", "(\"", "('"],
        r#"[A-Za-z0-9_]\\?["']?\s{0,2}(?:=|:=|:|\()\s{0,2}\\?["']([A-Za-z0-9]{30,80})\\?["']"#,
        &["client := \"<32>\"", "new Api('<40>')"],
        &["integrity: \"sha512-<64>\"", "name = \"AbstractSingletonProxyFactoryBean\"", "id: \"<h40>\""],
    )
    .run(30)
    .digits(3)
    .checked(very_random),
];
