//! What a secret looks like: published prefixes of issuers first, then headers and URLs, then keyword and value.
//! Most specific first. Group 1, where there is one, is what is replaced. `\b` is an ASCII word border.
//!
//! Source: the issuers' documentation; prefixes as in the rules of gitleaks.

/// One kind of secret.
pub(super) struct Shape {
    /// What stands in its place.
    pub(super) kind: &'static str,
    /// One of these is in every match.
    pub(super) hints: &'static [&'static str],
    pub(super) pattern: &'static str,
    /// Whether what was found is one after all.
    pub(super) check: fn(&str) -> bool,
    /// Whether its last four characters may be shown when it is long.
    pub(super) tail: bool,
    /// Only where text leaves the house: inside, an operator needs it.
    pub(super) outside: bool,
}

const fn key(kind: &'static str, hints: &'static [&'static str], pattern: &'static str) -> Shape {
    Shape { kind, hints, pattern, check: |_| true, tail: true, outside: false }
}

const fn checked(shape: Shape, check: fn(&str) -> bool) -> Shape {
    Shape { check, ..shape }
}

const fn whole(shape: Shape) -> Shape {
    Shape { tail: false, ..shape }
}

const fn outside(kind: &'static str, hints: &'static [&'static str], pattern: &'static str) -> Shape {
    Shape { kind, hints, pattern, check: |_| true, tail: false, outside: true }
}

pub(super) const SHAPES: &[Shape] = &[
    whole(key(
        "private_key",
        &["-----begin"],
        r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
    )),
    key("portcullis_key", &["pcl_"], r"\bpcl_[A-Za-z0-9]{4,32}_[A-Za-z0-9_-]{20,}"),
    key("anthropic_key", &["sk-ant-"], r"\bsk-ant-[A-Za-z0-9_-]{20,}"),
    checked(
        key("openai_key", &["sk-"], r"\bsk-(?:proj-|svcacct-|admin-|or-v1-|lf-)?[A-Za-z0-9_-]{16,}"),
        mixed,
    ),
    key("google_key", &["aiza"], r"\bAIza[A-Za-z0-9_-]{35}"),
    key("google_token", &["ya29.", "gocspx-"], r"\b(?:ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{28})"),
    key(
        "github_token",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"],
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})",
    ),
    key(
        "gitlab_token",
        &[
            "glpat-",
            "gldt-",
            "glptt-",
            "glrt-",
            "glcbt-",
            "glsoat-",
            "gloas-",
            "glft-",
            "glimt-",
            "glagent-",
            "gr1348941",
        ],
        r"\b(?:gl(?:pat|dt|ptt|rt|cbt|soat|oas|ft|imt|agent)-[A-Za-z0-9_.-]{20,}|GR1348941[A-Za-z0-9_-]{20})",
    ),
    key(
        "slack_token",
        &["xox", "xapp-"],
        r"\b(?:xox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{20,})",
    ),
    key(
        "webhook",
        &[
            "hooks.slack.com/",
            "discord.com/api/webhooks/",
            "discordapp.com/api/webhooks/",
            "webhook.office.com/",
        ],
        r"(?:hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/[0-9]+/|webhook\.office\.com/webhookb2/)([A-Za-z0-9_/@-]{20,})",
    ),
    key("discord_token", &["."], r"\b[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}\b"),
    key("aws_key", &["akia", "asia", "abia", "acca"], r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    key(
        "aws_key",
        &["abskqmvkcm9ja", "bedrock-api-key-"],
        r"\b(?:ABSKQmVkcm9ja|bedrock-api-key-YmVkcm9jay)[A-Za-z0-9+/=_-]{40,}",
    ),
    key(
        "azure_key",
        &["accountkey=", "sharedaccesskey=", "sig="],
        r"(?i)\b(?:accountkey=|sharedaccesskey=|[?&]sig=)([A-Za-z0-9+/%_-]{30,}=*)",
    ),
    checked(
        key(
            "azure_secret",
            &["q~"],
            r"(?:^|[^A-Za-z0-9_~.-])([A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34})",
        ),
        mixed,
    ),
    key(
        "vault_token",
        &["hvs.", "hvb.", "hvr.", "s."],
        r"\b(?:hv[sbr]\.[A-Za-z0-9_-]{20,}|s\.[A-Za-z0-9]{24}\b)",
    ),
    key("terraform_token", &[".atlasv1."], r"\b[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,}"),
    key(
        "stripe_key",
        &["_live_", "_test_", "whsec_"],
        r"\b(?:(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{24,})",
    ),
    key("sendgrid_key", &["sg."], r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    key("twilio_key", &["sk"], r"\bSK[0-9a-f]{32}\b"),
    key("mailgun_key", &["key-"], r"\bkey-[0-9a-f]{32}\b"),
    key("mailchimp_key", &["-us"], r"\b[0-9a-f]{32}-us[0-9]{1,2}\b"),
    key("npm_token", &["npm_"], r"\bnpm_[A-Za-z0-9]{36}"),
    key("pypi_token", &["pypi-"], r"\bpypi-[A-Za-z0-9_-]{50,}"),
    key("crates_token", &["cio"], r"\bcio[A-Za-z0-9]{32}\b"),
    key("docker_token", &["dckr_"], r"\bdckr_(?:pat|oat)_[A-Za-z0-9_-]{27,}"),
    key("huggingface_token", &["hf_"], r"\bhf_[A-Za-z]{34}\b"),
    key(
        "api_key",
        &[
            "gsk_",
            "xai-",
            "pplx-",
            "r8_",
            "tvly-",
            "glc_",
            "glsa_",
            "sgp_",
            "ntn_",
            "lin_api_",
            "dop_v1_",
            "doo_v1_",
            "dor_v1_",
            "shpat_",
            "shpca_",
            "shppa_",
            "shpss_",
            "dapi",
            "pul-",
            "rubygems_",
            "age-secret-key-1",
            "atatt3",
            "bbdc-",
            "alcht_",
            "rootly_",
            "tfp_",
            "bkua_",
            "dp.pt.",
            "ops_eyj",
            "akcp",
            "cmvmd",
            "sk_",
            "bb_ma_",
            "bb_pr_",
            "api-",
        ],
        r"\b(?:gsk_[A-Za-z0-9]{40,}|xai-[A-Za-z0-9]{60,}|pplx-[A-Za-z0-9]{40,}|r8_[A-Za-z0-9]{37}|tvly-[A-Za-z0-9-]{20,}|glc_[A-Za-z0-9+/=]{32,}|glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|sgp_(?:[A-Za-z0-9]+_)?[a-fA-F0-9]{40}|ntn_[A-Za-z0-9]{43,}|lin_api_[A-Za-z0-9]{40}|do[por]_v1_[a-f0-9]{64}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|dapi[a-f0-9]{32}|pul-[a-f0-9]{40}|rubygems_[a-f0-9]{48}|AGE-SECRET-KEY-1[A-Z0-9]{58}|ATATT3[A-Za-z0-9_=-]{100,}|BBDC-[A-Za-z0-9+/=]{40,}|alcht_[A-Za-z0-9]{30}|rootly_[a-f0-9]{64}|tfp_[A-Za-z0-9_=-]{40,}|bkua_[a-f0-9]{40}|dp\.pt\.[A-Za-z0-9]{40,}|ops_eyJ[A-Za-z0-9+/=]{100,}|AKCp[A-Za-z0-9]{60,}|cmVmd[A-Za-z0-9]{55,}|sk_[a-f0-9]{48}|bb_(?:ma|pr)_[A-Za-z0-9]{20,}|API-[A-Z0-9]{26,}\b)",
    ),
    key("telegram_token", &[":aa"], r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{32,33}"),
    checked(key("zhipu_key", &["."], r"\b[0-9a-f]{32}\.[A-Za-z0-9]{16}\b"), mixed),
    key(
        "jwt",
        &["eyj"],
        r"\beyJ[A-Za-z0-9_-]{8,}\.(?:eyJ[A-Za-z0-9_-]{8,}|[A-Za-z0-9_-]{16,})(?:\.[A-Za-z0-9_-]*)?",
    ),
    whole(key(
        "password",
        &["://"],
        r"\b[A-Za-z][A-Za-z0-9+.-]{1,30}://[^\s:/@?#\x22'\[]{0,200}:([^\s/@\x22'\[]{1,200})@",
    )),
    whole(checked(
        key("basic", &["basic "], r"(?i)\bbasic\s+([A-Za-z0-9+/]{8,}={0,2})(?:[^A-Za-z0-9+/=]|$)"),
        encoded,
    )),
    key("bearer", &["bearer "], r"(?i)\bbearer\s+([A-Za-z0-9._~+/-]{8,}=*)"),
    whole(key(
        "password",
        &["passw", "pwd", "passphrase"],
        r#"(?i)(?:password|passwd|pwd|passphrase)(?:\\?["']\s*[:=]\s*\\?["']([^"'\\\s\[]{4,})|=([^\s"'\\,;&\[]{4,}))"#,
    )),
    checked(
        key(
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
            r#"(?i)(?:api[_.-]?key|access[_.-]?key|secret(?:[_.-]?key)?|private[_.-]?key|client[_.-]?secret|passw(?:or)?d|pwd|token|authorization|credentials?|auth(?:[_.-]?key)?|[a-z0-9][_.-]key)[0-9]?\\?["']?\s{0,3}(?:=>|:=|[=:])\s{0,3}\\?["']?([A-Za-z0-9._~+/:@!-]{12,}=*)"#,
        ),
        random,
    ),
    checked(
        key("secret", &["key=", "key ="], r#"(?i)\bkey\s?=\s?\\?["']?([A-Za-z0-9._~+/:@!-]{16,}=*)"#),
        random,
    ),
    whole(key(
        "email",
        &["@"],
        r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}\b",
    )),
    outside(
        "path",
        &[
            "/root/", "/home/", "/users/", "/tmp/", "/var/", "/usr/", "/etc/", "/opt/", "/srv/", "/mnt/",
            "/work/", "/proc/", "/run/", "/app/", ":\\",
        ],
        r#"(?:^|[\s"'(=:,`])((?:file://)?/(?:root|home|[Uu]sers|tmp|var|usr|etc|opt|srv|mnt|work|proc|run|app)/[^\s"'),:`]+|[A-Za-z]:\\[^\s"'),:`]+)"#,
    ),
    checked(outside("ip", &["."], r"\b([0-9]{1,3}(?:\.[0-9]{1,3}){3})(?:\b|:[0-9])"), address),
    outside(
        "sql",
        &["select ", "insert ", "update ", "delete ", "create ", "alter ", "drop "],
        r"\b(?:SELECT\s[^;]{1,200}?\sFROM\s|INSERT\s+INTO\s|UPDATE\s+[^ ]+\s+SET\s|DELETE\s+FROM\s|(?:CREATE|ALTER|DROP)\s+(?:TABLE|INDEX|VIEW|SCHEMA)\s|(?i:select\s[^;]{1,200}?\sfrom\s+[a-z_.\x22]+\s+(?:where|limit|order\s+by|join)\b|insert\s+into\s+[a-z_.\x22]+\s*\())[^;\n]*",
    ),
    outside(
        "stack",
        &[".rs:", ".py\", line", "stack backtrace", "traceback (most", "panicked at"],
        r#"(?m)(?:^\s*(?:[0-9]+: |at ).{0,200}\.rs:[0-9]+.*$|[A-Za-z0-9_./-]+\.rs:[0-9]+(?::[0-9]+)?|File "[^"]{0,200}", line [0-9]+.*$|stack backtrace:|Traceback \(most recent call last\):|panicked at .*$)"#,
    ),
];

/// Both letters and digits, or both cases, and no dictionary word written with hyphens.
fn mixed(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
    let lower = text.bytes().any(|byte| byte.is_ascii_lowercase());
    digits >= 2 || (upper && lower && digits > 0)
}

/// Base64 rather than a word.
fn encoded(text: &str) -> bool {
    text.ends_with('=')
        || text.bytes().any(|byte| byte.is_ascii_digit())
        || text.bytes().skip(1).any(|byte| byte.is_ascii_uppercase())
            && text.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// Whether a value is drawn rather than written: digits among letters and many different characters for its length.
/// Version numbers, dates, words and variables are not.
fn random(text: &str) -> bool {
    let mut seen = [0_u32; 256];
    for byte in text.bytes() {
        seen[usize::from(byte)] += 1;
    }
    let length = text.len() as f32;
    let bits: f32 = seen
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = *count as f32 / length;
            -share * share.log2()
        })
        .sum();
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let letters = text.bytes().filter(u8::is_ascii_alphabetic).count();
    digits >= 2 && letters >= 3 && bits >= 2.8 && !text.contains("://")
}

/// Whether it is an address that tells something: loopback and the addresses of documentation do not.
fn address(text: &str) -> bool {
    text.parse::<std::net::Ipv4Addr>()
        .is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified() && !ip.is_documentation())
}
