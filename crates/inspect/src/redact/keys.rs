//! Keys that show by themselves what they are: prefixes and forms that their issuers publish. Most specific first.
//!
//! Source: the issuers' documentation of their keys' forms.

use super::{
    checks::{any, jwt, mixed, pem, wordless},
    shapes::{Shape, row},
};

pub(super) const KEYS: &[Shape] = &[
    row(
        "private_key",
        &["-----begin"],
        r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
        &["-----BEGIN RSA PRIVATE KEY-----\n<64>\n<32>\n-----END RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\\n<64>"],
        &[
            "-----BEGIN CERTIFICATE-----\n<64>\n-----END CERTIFICATE-----",
            "-----BEGIN PRIVATE KEY-----\nMIIE...\n-----END PRIVATE KEY-----", // fake: nothing in it
        ],
    )
    .checked(pem)
    .whole(),
    row(
        "portcullis_key",
        &["pcl_"],
        r"\bpcl_[A-Za-z0-9]{4,32}_[A-Za-z0-9_-]{20,}",
        &["pcl_<12>_<43>"],
        &["pcl_example"],
    ),
    row("anthropic_key", &["sk-ant-"], r"\bsk-ant-[A-Za-z0-9_-]{20,}", &["sk-ant-api03-<93>"], &["sk-ant-api03"]),
    row(
        "openai_key",
        &["sk-"],
        r"\bsk-(?:proj-|svcacct-|admin-|or-v1-|lf-)?[A-Za-z0-9_-]{16,}",
        &["sk-<48>", "sk-proj-<64>", "sk-svcacct-<60>", "sk-admin-<60>", "sk-or-v1-<h64>"],
        &["a desk-mounted task-management-system", "sk-example-keys-are-named-here"],
    )
    .run(19)
    .checked(mixed),
    row("google_key", &["aiza"], r"\bAIza[A-Za-z0-9_-]{35}", &["AIza<35>"], &["AIza<20> "]),
    row(
        "google_token",
        &["ya29.", "gocspx-", "1//0"],
        r"\b(?:ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{28}|1//0[A-Za-z0-9_-]{40,})",
        &["ya29.<60>", "GOCSPX-<28>"],
        &["ya29.x"],
    ),
    row(
        "github_token",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"],
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})",
        &["ghp_<36>", "gho_<36>", "ghu_<36>", "ghs_<36>", "ghr_<36>", "github_pat_<82>"],
        &["ghp_<20>", "github_pat_xxxxxxxxxxxxxxxxxxxxxx"],
    ),
    row(
        "gitlab_token",
        &[
            "glpat-", "gldt-", "glptt-", "glrt-", "glrtr-", "glcbt-", "glsoat-", "gloas-", "glft-", "glimt-",
            "glagent-", "glffct-", "gr1348941",
        ],
        r"\b(?:gl(?:pat|dt|ptt|rtr?|cbt|soat|oas|ft|imt|agent|ffct)-[A-Za-z0-9_.-]{17,}|GR1348941[A-Za-z0-9_-]{20})",
        &["glpat-<20>", "glptt-<40>", "GR1348941<20>"],
        &["glpat-XXXXXXXXXXXXXXXXXXXX", "glpat-short"],
    ),
    row(
        "slack_token",
        &["xox", "xapp-"],
        r"\b(?:xox[abcdeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{20,})",
        &["xoxb-<d12>-<24>", "xapp-1-<u11>-<d13>-<h64>"],
        &["xoxb-my-bot-token", "xoxo, yours"],
    )
    .run(13)
    .checked(mixed),
    row(
        "webhook",
        &[
            "hooks.slack.com/",
            "discord.com/api/webhooks/",
            "discordapp.com/api/webhooks/",
            "webhook.office.com/",
        ],
        r"(?:hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/[0-9]+/|webhook\.office\.com/webhookb2/)([A-Za-z0-9_/@-]{20,})",
        &["https://hooks.slack.com/services/T<u8>/B<u8>/<24>", "https://discord.com/api/webhooks/<d18>/<68>"],
        &["https://hooks.slack.com/services/"],
    ),
    row(
        "discord_token",
        &["."],
        r"\b[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}",
        &["M<25>.G<5>.<38>"],
        &["M<25>.G<5>.<10>", "Not.a.token"],
    )
    .run(23),
    row(
        "aws_key",
        &["akia", "asia", "abia", "acca", "a3t"],
        r"\b(?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z0-9]{16}\b",
        &["AKIA<u16>", "ASIA<u16>"],
        &["AKIA<u8> ", "the akia<u16> of old"],
    )
    .run(20)
    .checked(any),
    row(
        "aws_key",
        &["abskqmvkcm9ja", "bedrock-api-key-"],
        r"\b(?:ABSKQmVkcm9ja|bedrock-api-key-YmVkcm9jay)[A-Za-z0-9+/=_-]{40,}",
        &["ABSKQmVkcm9ja<110>", "bedrock-api-key-YmVkcm9jay<60>"],
        &["bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29x"],
    ),
    row(
        "azure_key",
        &["accountkey=", "sharedaccesskey=", "sig="],
        r"(?i)(?:\b(?:accountkey=|sharedaccesskey=)|[?&]sig=)([A-Za-z0-9+/%_-]{30,}=*)",
        &["AccountKey=<86>==", "?sv=2024&sig=<43>%3D"],
        &["AccountKey=short"],
    ),
    // Keys that name the service they open in the middle, and end like 64 bytes of Base64.
    row(
        "azure_key",
        &["azfu", "azse", "azca", "acdb", "apim", "aiot", "+ast", "+amc", "+aba", "+acr", "aeh", "asb", "arm", "jqqj99"],
        r"(?:\b|[+/])[A-Za-z0-9+/]{32,76}(?:AzFu|AzSe|AzCa|ACDb|APIM|AIoT|\+ASt|\+AMC|\+ABa|\+ACR|\+AEh|\+ASb|\+ARm|JQQJ99)[A-Za-z0-9+/]{5,50}={0,2}",
        &["<43>AzSeA<4>", "<42>+ACR<6>", "<52>JQQJ99<26>"],
        &["<20>+ACR<6> "],
    )
    .run(40)
    .checked(mixed),
    row(
        "azure_secret",
        &["q~"],
        r"(?:^|[^A-Za-z0-9_~.-])([A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34})",
        &["abc8Q~<34>"],
        &["abc8Q~xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "a Q~value"],
    )
    .checked(mixed),
    row(
        "vault_token",
        &["hvs.", "hvb.", "hvr.", "s."],
        r"\b(?:hv[sbr]\.[A-Za-z0-9_-]{20,}|s\.[A-Za-z0-9]{24}\b)",
        &["hvs.<90>", "hvb.<120>", "s.<24>"],
        &["hvs.short", "s.thisisoneverylongwordofit", "s.<20> "],
    )
    .run(20)
    .checked(mixed),
    row(
        "terraform_token",
        &[".atlasv1."],
        r"\b[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,}",
        &["<14>.atlasv1.<67>"],
        &["x.atlasv1.y"],
    ),
    row(
        "stripe_key",
        &["_live_", "_test_", "whsec_"],
        r"\b(?:(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{24,})",
        &["sk_live_<24>", "rk_test_<24>", "whsec_<32>"],
        &["sk_live_short", "a_test_name"],
    ),
    row(
        "sendgrid_key",
        &["sg."],
        r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
        &["SG.<22>.<43>"],
        &["SG.x.y"],
    ),
    row(
        "twilio_key",
        &["sk", "ac"],
        r"\b(?:SK|AC)[0-9a-f]{32}\b",
        &["SK<h32>", "AC<h32>"],
        &["SK<h20> "],
    )
    .run(34),
    row(
        "mailgun_key",
        &["key-", "-"],
        r"\b(?:key-[0-9a-f]{32}|[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8})\b",
        &["key-<h32>", "<h32>-<h8>-<h8>"],
        &["key-value"],
    )
    .run(32),
    row("mailchimp_key", &["-us"], r"\b[0-9a-f]{32}-us[0-9]{1,2}\b", &["<h32>-us12"], &["<h20>-us12"]),
    row("npm_token", &["npm_"], r"\bnpm_[A-Za-z0-9]{36}", &["npm_<36>"], &["npm_config_registry"])
    .run(36),
    row("pypi_token", &["pypi-"], r"\bpypi-[A-Za-z0-9_-]{50,}", &["pypi-AgE<100>"], &["pypi-proxy"]),
    row("crates_token", &["cio"], r"\bcio[A-Za-z0-9]{32}\b", &["cio<32>"], &["cio<20> "])
    .run(35).checked(mixed),
    row("docker_token", &["dckr_"], r"\bdckr_(?:pat|oat)_[A-Za-z0-9_-]{27,}", &["dckr_pat_<27>"], &["dckr_pat_x"]),
    row(
        "huggingface_token",
        &["hf_", "api_org_"],
        r"\b(?:hf_|api_org_)[A-Za-z]{34}\b",
        &["hf_<a34>"],
        &["hf_xxxxx"],
    )
    .run(34),
    row(
        "artifactory_key",
        &["akc", "ap0", "ap1", "ap2", "ap3", "ap4", "ap5", "ap6", "ap7", "ap8", "ap9", "apa", "apb", "apc", "apd", "ape", "apf", "cmvmd"],
        r"\b(?:AKC[A-Za-z0-9]{10,}|AP[0-9A-F][A-Za-z0-9]{10,}|cmVmd[A-Za-z0-9]{55,})\b",
        &["AKCp<60>", "AP6<10>", "cmVmd<59>"],
        &["AKC registered", "APArtmentBuilding", "APClassification"],
    )
    .run(13)
    .checked(wordless),
    row(
        "api_key",
        &[
            "gsk_", "xai-", "pplx-", "r8_", "tvly-", "glc_", "glsa_", "sgp_", "slk_", "ntn_", "secret_", "lin_api_",
            "dop_v1_", "doo_v1_", "dor_v1_", "shpat_", "shpca_", "shppa_", "shpss_", "dapi", "pul-", "rubygems_",
        ],
        r"\b(?:gsk_[A-Za-z0-9]{40,}|xai-[A-Za-z0-9]{60,}|pplx-[A-Za-z0-9]{40,}|r8_[A-Za-z0-9]{37}|tvly-[A-Za-z0-9-]{20,}|glc_[A-Za-z0-9+/=]{32,}|glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|(?:sgp|slk)_(?:[A-Za-z0-9]+_)?[a-fA-F0-9]{40}|(?:ntn|secret)_[A-Za-z0-9]{43,}|lin_api_[A-Za-z0-9]{40}|do[por]_v1_[a-f0-9]{64}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|dapi[a-f0-9]{32}|pul-[a-f0-9]{40}|rubygems_[a-f0-9]{48})",
        &[
            "gsk_<52>", "xai-<80>", "pplx-<48>", "r8_<37>", "tvly-<32>", "glc_<40>", "sgp_<h40>", "ntn_<46>",
            "lin_api_<40>", "dop_v1_<h64>", "shpat_<h32>", "dapi<h32>", "pul-<h40>", "rubygems_<h48>",
        ],
        &["gsk_short", "pplx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "secret_name"],
    )
    .run(24),
    row(
        "api_key",
        &[
            "age-secret-key-1", "atatt3", "atctt3", "atbb", "bbdc-", "alcht_", "rootly_", "tfp_", "bkua_", "dp.pt.",
            "ops_eyj", "sk_", "bb_ma_", "bb_pr_", "api-", "lsv2_", "fm2_", "aio_", "apify_api_", "pat",
            "duffel_", "shippo_", "spu-", "figd_", "nfp_", "sbp_", "sntrys_", "dt0c01.", "nrak-", "eaaa",
        ],
        r"\b(?:AGE-SECRET-KEY-1[A-Z0-9]{58}|AT[AC]TT3[A-Za-z0-9_=-]{24,}|ATBB[A-Za-z0-9_-]{20,}|BBDC-[A-Za-z0-9+/=]{40,}|alcht_[A-Za-z0-9]{30}|rootly_[a-f0-9]{64}|tfp_[A-Za-z0-9_=-]{40,}|bkua_[a-z0-9]{40}|dp\.pt\.[A-Za-z0-9]{40,}|ops_eyJ[A-Za-z0-9+/=]{100,}|sk_(?:[a-z]{2,6}_)?[A-Za-z0-9_]{40,}|bb_(?:ma|pr)_[A-Za-z0-9]{20,}|API-[A-Z0-9]{26,}\b|lsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}|fm2_[A-Za-z0-9+/=_]{80,}|aio_[A-Za-z0-9]{28}\b|apify_api_[A-Za-z0-9-]{36,}|pat[A-Za-z0-9]{14}\.[a-f0-9]{64}|duffel_(?:test|live)_[A-Za-z0-9_-]{43}|shippo_(?:live|test)_[a-f0-9]{40}|spu-[a-z0-9]{32}|figd_[A-Za-z0-9_-]{36,}|nfp_[A-Za-z0-9]{36}|sbp_[a-f0-9]{40}|sntrys_[A-Za-z0-9+/=_]{40,}|dt0c01\.[A-Z0-9]{24}\.[A-Z0-9]{64}|NRAK-[A-Z0-9]{27}|EAAA[A-Za-z0-9]{40,})",
        &[
            "AGE-SECRET-KEY-1<u58>", "ATATT3<100>", "ATBB<32>", "alcht_<30>", "bkua_<h40>", "dp.pt.<43>", "lsv2_pt_<h32>_<h10>",
            "aio_<28>", "apify_api_<36>", "pat<14>.<h64>", "duffel_live_<43>", "shippo_live_<h40>", "spu-<h32>", "figd_<40>",
        ],
        &["a task_name", "api-version", "sk_snake_case_names_are_long_and_honest_words"],
    )
    .run(24)
    .checked(mixed),
    row(
        "telegram_token",
        &[":aa"],
        r"(?:\b|\bbot)[0-9]{6,12}:AA[A-Za-z0-9_-]{28,}",
        &["123456789:AA<33>", "/bot123456789:AA<33>/getMe"],
        &["foo:AA<33>", "12:AA<33>"],
    )
    .run(32),
    // Thirty-two hexadecimal digits, a dot, sixteen more of any kind.
    row(
        "zhipu_key",
        &["."],
        r"\b[0-9a-f]{32}\.[A-Za-z0-9]{16}\b",
        &["<h32>.<16>"],
        &["<h32>.png", "<h20>.<16>"],
    )
    .run(32)
    .checked(mixed),
    row(
        "jwt",
        &["eyj", "ewog"],
        r"\be(?:yJ|wog)[A-Za-z0-9_-]{8,}\.(?:eyJ[A-Za-z0-9_-]{8,}|[A-Za-z0-9_-]{16,})(?:\.[A-Za-z0-9_-]*)*",
        &["eyJhbGciOiJIUzI1NiJ9.eyJ<30>.<43>", "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJ<30>"],
        &["eyJhbasdGciOiJIUaddasdasfsasdasdzI1NiI.eyJ<30>.<43>", "eyJAAAAAAAAA.eyJBBBBBBBBB"],
    )
    .checked(jwt),
];
