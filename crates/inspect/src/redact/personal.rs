//! Personal data that is not a number: addresses of mail, of purses, names in messengers. Numbers are in `numbers`.
//!
//! Sources: RFC 5321; BIP 173 and 350; EIP-55 (only its form: the checksum is optional); t.me and signal.me links as
//! Telegram and Signal document them.

use super::{
    checks::{bech32, drawn},
    shapes::{Class, Shape, loose},
};

pub(super) const PERSONAL: &[Shape] = &[
    loose(
        Class::Person,
        "email",
        &["@"],
        r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}\b",
        &["write to ann.smith+x@example.org.", "user@xn--80ak6aa92e.com"],
        &["@handle", "user@host", "a@1.2"],
    )
    .checked(|text| !text.starts_with("git@") && !text.starts_with("noreply@")),
    loose(
        Class::Person,
        "crypto_address",
        &["bc1", "tb1", "ltc1"],
        r"\b(?:bc1|tb1|ltc1)[02-9ac-hj-np-z]{11,87}\b|\b(?:BC1|TB1|LTC1)[02-9AC-HJ-NP-Z]{11,87}\b",
        &["pay to bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"],
        &["bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5"],
    )
    .checked(bech32),
    loose(
        Class::Person,
        "crypto_address",
        &["0x"],
        r"\b0x[0-9a-fA-F]{40}\b",
        &["0x<h40>"],
        &["0x<h16>", "0x<h64>", "0x0000000000000000000000000000000000000000"],
    )
    .checked(drawn),
    loose(
        Class::Person,
        "telegram_id",
        &["://t.me/", "://telegram.me/", "tg://"],
        r"(?i)(?:://(?:t|telegram)\.me/|tg://(?:user\?id=|resolve\?domain=))(\+?[A-Za-z0-9_]{5,32})",
        &["https://t.me/made_up_name", "tg://user?id=<d9>"],
        &["https://t.me/", "https://test.me/somebody"],
    )
    .of(Class::Trace),
    loose(
        Class::Person,
        "telegram_id",
        &["telegram", "chat_id", "chat id"],
        r#"(?i)\b(?:telegram[ _-]?(?:user|chat|account|handle|contact)?[ _-]?(?:id|name)?|chat[ _]id)["']?\s{0,2}[:=]\s{0,2}["']?(@[A-Za-z][A-Za-z0-9_]{4,31}|-?[0-9]{6,14}\b)"#,
        &["Telegram: @made_up_name", "chat_id=<d9>", "\"telegram_id\": <d10>"],
        &["telegram is a messenger", "chat_id=5"],
    ),
    loose(
        Class::Person,
        "signal_id",
        &["signal"],
        r#"(?i)(?:signal\.me/#(?:p/|eu/)|sgnl://signal\.me/#(?:p/|eu/))(\+?[A-Za-z0-9_-]{7,64})|\bsignal[ _-]?(?:user|account|contact)?[ _-]?(?:id|name)?["']?\s{0,2}[:=]\s{0,2}["']?([a-z_][a-z0-9_]{2,31}\.[0-9]{2,9})\b"#,
        &["https://signal.me/#p/+<d11>", "Signal: made_up.42", "signal_username=made_up_name.07"],
        &["the signal: noise ratio", "signal: sig.c"],
    ),
];
