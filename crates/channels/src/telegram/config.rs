//! `[telegram]`: the door of the messenger Telegram.

use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How messages arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// We ask for them. Needs no address of ours.
    #[default]
    Poll,
    /// Telegram brings them to `telegram.webhook_url`.
    Webhook,
}

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TextFormat {
    /// Plain text, and beside it what stands out: nothing in it can be misread.
    #[default]
    Entities,
    /// Telegram's own marks inside the text.
    MarkdownV2,
    /// Nothing stands out.
    Plain,
}

/// Everybody, as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Everybody {
    /// `"all"`.
    All,
}

/// Who is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Allow {
    /// Everybody.
    Word(Everybody),
    /// These people and groups only, by their numbers; groups have negative ones.
    Ids(Vec<i64>),
}

/// `[telegram.send]`: how fast and how patiently the door sends.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SendConfig {
    /// Most messages sent in any second over all chats, edits included; Telegram refuses more than 30. Default 30.
    pub global_per_sec: u32,
    /// Those of them that scheduled digests and broadcasts may not use, so that a burst of them delays no answer.
    /// Default 10.
    pub interactive_reserve_per_sec: u32,
    /// Least time between two messages of one chat, in milliseconds. Default 1000.
    pub chat_interval_ms: u64,
    /// Most messages of one group in any minute. Default 20.
    pub group_per_min: u32,
    /// After how many seconds of work "typing" is shown. Default 3.
    pub typing_after_secs: u64,
    /// When the oldest message waits longer than this to be sent, in seconds, a line of the log says so. Default 6.
    pub warn_delay_secs: u64,
}

impl Default for SendConfig {
    fn default() -> Self {
        Self {
            global_per_sec: 30,
            interactive_reserve_per_sec: 10,
            chat_interval_ms: 1000,
            group_per_min: 20,
            typing_after_secs: 3,
            warn_delay_secs: 6,
        }
    }
}

/// `[telegram]`: the door of the messenger Telegram, through its Bot API.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelegramConfig {
    /// Whether the door is open. Default false.
    pub enabled: bool,
    /// Name of the secret that holds the token of the bot, as BotFather gave it. Default `"telegram_bot_token"`.
    pub token_secret: String,
    /// Where the Bot API is: the public one, or a server of your own. Default `"https://api.telegram.org"`.
    pub api_base: String,
    /// How messages arrive: `poll`, or `webhook` where Telegram can reach `telegram.webhook_url`. Default `"poll"`.
    pub mode: Mode,
    /// How long one call waits for messages, in seconds; Telegram waits 50 at most. Default 50.
    pub poll_timeout_secs: u64,
    /// Where Telegram brings messages: the public address of our main listener, https on port 443, 80, 88 or 8443,
    /// without a path. Default none.
    pub webhook_url: String,
    /// Name of the secret by which Telegram is recognised: 1 to 256 of `A-Z a-z 0-9 _ -`. One that nobody gives is made
    /// and kept in `data/keys`. Default `"telegram_webhook_secret"`.
    pub webhook_secret: String,
    /// Connections that Telegram opens to us at once; keep it below `connections.max_http_per_address`. Default 8.
    pub webhook_max_connections: u32,
    /// Whether a webhook that somebody else set for the bot may be removed or replaced. Default false: the door stays
    /// closed and says so.
    pub take_over: bool,
    /// Who is answered: `"all"`, or a list of numbers of people and groups. Others hear nothing. Default `"all"`.
    pub allow: Allow,
    /// Numbers of people and groups that are never answered. Default none.
    pub deny: Vec<i64>,
    /// Numbers of the people who administer. Default none.
    pub admin_ids: Vec<i64>,
    /// Messages that were sent longer ago than this when they arrive, in seconds, are not answered; their sender is
    /// asked once to send them again. Default 900.
    pub max_replay_age_secs: u64,
    /// How answers are written: `entities`, `markdown_v2` or `plain`; the words are the same. Default `"entities"`.
    pub format: TextFormat,
    /// Messages that one long answer may become; a longer one is sent as a document. Default 10.
    pub max_parts: usize,
    /// Largest file that is fetched from a message, in bytes. Default 262144.
    pub max_file_bytes: usize,
    /// How long an answer may take, in seconds; digests of news take up to `news.deadline_secs`. Default 150.
    pub answer_secs: u64,
    /// Longest time of one call to Telegram, in seconds; long polls take `telegram.poll_timeout_secs` more. Default 10.
    pub call_secs: u64,
    /// Shortest and longest pause of the door before it tries again what failed, in seconds. Default 1 and 30.
    pub backoff_secs: [u64; 2],
    /// How fast and how patiently the door sends.
    pub send: SendConfig,
}

impl Default for TelegramConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            token_secret: "telegram_bot_token".into(),
            api_base: "https://api.telegram.org".into(),
            mode: Mode::Poll,
            poll_timeout_secs: 50,
            webhook_url: String::new(),
            webhook_secret: "telegram_webhook_secret".into(),
            webhook_max_connections: 8,
            take_over: false,
            allow: Allow::Word(Everybody::All),
            deny: Vec::new(),
            admin_ids: Vec::new(),
            max_replay_age_secs: 900,
            format: TextFormat::Entities,
            max_parts: 10,
            max_file_bytes: 262_144,
            answer_secs: 150,
            call_secs: 10,
            backoff_secs: [1, 30],
            send: SendConfig::default(),
        }
    }
}

/// Ports to which Telegram brings messages.
const PORTS: [u16; 4] = [443, 80, 88, 8443];

impl TelegramConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        let mut wrong = |key: &str, what: String, mend: String| {
            out.push(Problem::new(format!("{prefix}.{key}"), what, mend));
        };
        let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let send = &self.send;
        let rows = [
            ("poll_timeout_secs", self.poll_timeout_secs, 0, 50),
            ("webhook_max_connections", u64::from(self.webhook_max_connections), 1, 100),
            ("max_replay_age_secs", self.max_replay_age_secs, 1, 86_400),
            ("max_parts", wide(self.max_parts), 1, 100),
            ("max_file_bytes", wide(self.max_file_bytes), 1, 20_971_520),
            ("answer_secs", self.answer_secs, 1, 3600),
            ("call_secs", self.call_secs, 1, 600),
            ("backoff_secs[0]", self.backoff_secs[0], 1, 300),
            ("backoff_secs[1]", self.backoff_secs[1], self.backoff_secs[0], 3600),
            ("send.global_per_sec", u64::from(send.global_per_sec), 1, 1000),
            (
                "send.interactive_reserve_per_sec",
                u64::from(send.interactive_reserve_per_sec),
                0,
                u64::from(send.global_per_sec.saturating_sub(1)),
            ),
            ("send.chat_interval_ms", send.chat_interval_ms, 0, 60_000),
            ("send.group_per_min", u64::from(send.group_per_min), 1, 10_000),
            ("send.typing_after_secs", send.typing_after_secs, 0, 600),
            ("send.warn_delay_secs", send.warn_delay_secs, 1, 3600),
        ];
        for (key, value, least, most) in rows {
            if !(least..=most).contains(&value) {
                wrong(key, format!("{value} is out of range"), format!("choose {least} to {most}"));
            }
        }
        if base(&self.api_base).is_none() {
            let mend = "write it as https://api.telegram.org";
            wrong("api_base", "is no http or https address".into(), mend.into());
        }
        if self.mode == Mode::Webhook && !self.enabled_webhook() {
            let mend = "write it as https://bot.example.org, with port 443, 80, 88 or 8443 if any";
            wrong("webhook_url", "is no address that Telegram can bring messages to".into(), mend.into());
        }
    }

    /// Whether the address for webhooks is one.
    fn enabled_webhook(&self) -> bool {
        let Some(address) = base(&self.webhook_url) else { return false };
        let Ok(uri) = address.parse::<http::Uri>() else { return false };
        // On loopback a double of Telegram may come without TLS, to any port.
        let near = matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]"));
        near || uri.scheme_str() == Some("https") && PORTS.contains(&uri.port_u16().unwrap_or(443))
    }

    /// Whether a chat or a person is answered, as far as the settings say.
    pub(super) fn answers(&self, person: i64, chat: i64) -> bool {
        let listed = |list: &[i64]| list.contains(&person) || list.contains(&chat);
        if listed(&self.deny) {
            return false;
        }
        match &self.allow {
            Allow::Word(Everybody::All) => true,
            Allow::Ids(ids) => listed(ids) || self.admin_ids.contains(&person),
        }
    }

    /// Longest time of one call.
    pub(super) const fn patience(&self) -> Duration {
        Duration::from_secs(self.call_secs)
    }
}

/// An address without a slash at its end, if it is one.
pub(super) fn base(address: &str) -> Option<String> {
    let whole = address.trim_end_matches('/');
    let uri: http::Uri = whole.parse().ok()?;
    let known = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    (known && matches!(uri.path(), "" | "/")).then(|| whole.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_every_mistake_is_named() {
        let mut out = Vec::new();
        TelegramConfig::default().problems("telegram", &mut out);
        assert!(out.is_empty(), "{out:?}");
        let wrong = TelegramConfig {
            api_base: "api.telegram.org".into(),
            mode: Mode::Webhook,
            webhook_url: "https://bot.example.org:4443".into(),
            poll_timeout_secs: 51,
            send: SendConfig { global_per_sec: 5, interactive_reserve_per_sec: 5, ..SendConfig::default() },
            ..TelegramConfig::default()
        };
        wrong.problems("telegram", &mut out);
        let keys: Vec<_> = out.iter().map(|problem| problem.key.as_str()).collect();
        let expected = ["poll_timeout_secs", "send.interactive_reserve_per_sec", "api_base", "webhook_url"];
        assert_eq!(keys, expected.map(|key| format!("telegram.{key}")));
    }

    #[test]
    fn who_is_denied_or_not_allowed_is_not_answered() {
        let config = TelegramConfig {
            allow: Allow::Ids(vec![1, -7]),
            deny: vec![2],
            admin_ids: vec![9, 2],
            ..TelegramConfig::default()
        };
        assert!(config.answers(1, 1) && config.answers(5, -7) && config.answers(9, 9));
        assert!(!config.answers(2, -7) && !config.answers(3, 3));
        assert!(TelegramConfig::default().answers(3, 3));
    }
}
