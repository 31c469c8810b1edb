//! `[signal]`: the door of the messenger Signal.

use super::wire::Target;
use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How signal-cli is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A stream of server-sent events, and calls by POST.
    #[default]
    Http,
    /// One JSON object a line over TCP.
    Tcp,
    /// One JSON object a line over a UNIX socket.
    Unix,
}

/// Who runs signal-cli.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Daemon {
    /// Somebody else.
    #[default]
    External,
    /// We start `signal.command` and start it again when it ends.
    Spawn,
}

/// When signal-cli fetches messages; must be what its `--receive-mode` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReceiveMode {
    /// Always. While we are away messages are lost.
    OnStart,
    /// While we listen.
    #[default]
    OnConnection,
    /// While we have subscribed (sockets).
    Manual,
}

/// `[signal]`: the door of the messenger Signal, through a running signal-cli.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SignalConfig {
    /// Whether the door is open. Default false.
    pub enabled: bool,
    /// How signal-cli is reached: `http`, `tcp` or `unix`. On one host prefer `unix` or `tcp`: a dead peer is noticed
    /// at once. Default `"http"`.
    pub transport: Transport,
    /// Where it is: `http://…`, `tcp://host:port` or `unix:///path`. Default `"http://127.0.0.1:8080"`.
    pub url: String,
    /// Name of the secret that holds our own number, such as +15550001111. Default `"signal_phone_number"`.
    pub account_secret: String,
    /// Who runs signal-cli: `external`, or `spawn` to start `signal.command` and start it again when it ends. Default
    /// `"external"`.
    pub daemon: Daemon,
    /// The program and its arguments for `daemon = "spawn"`.
    pub command: Vec<String>,
    /// The `--receive-mode` that signal-cli runs with. Default `"on-connection"`.
    pub receive_mode: ReceiveMode,
    /// How long the beginning of the stream may take, in seconds; old daemons are silent for 15. Default 25.
    pub first_byte_secs: u64,
    /// Silence after which an HTTP stream counts as dead, in seconds; a keep-alive comes every 15. Default 40.
    pub idle_secs: u64,
    /// Shortest pause before the stream is opened anew, in seconds. Default 1.
    pub reconnect_min_secs: u64,
    /// Longest pause before the stream is opened anew, in seconds. Default 30.
    pub reconnect_max_secs: u64,
    /// How often the stream is changed for a new one, in seconds; the new one is opened first. Default 1800.
    pub rotate_secs: u64,
    /// How often the daemon is asked whether it lives, in seconds; two failures end the stream. Default 60.
    pub check_secs: u64,
    /// Longest time of one call, in seconds. Default 60.
    pub rpc_secs: u64,
    /// Longest time that keeping a message may take before no more are fetched, in seconds. Default 10.
    pub store_secs: u64,
    /// How long no messages may arrive before an alert says so, in seconds. Default 120.
    pub alert_after_secs: u64,
    /// Messages older than this are not answered but summed up in one notice, in seconds. Default 3600.
    pub max_message_age_secs: u64,
    /// Largest file that administrators may send with `/ingest`, in bytes. Default 10485760 (10 MiB).
    pub max_file_bytes: u64,
    /// Least time between two messages of one conversation, in milliseconds. Default 1000.
    pub send_interval_ms: u64,
    /// Most messages sent in any second. Default 5.
    pub send_per_sec: u32,
    /// Messages of one group in any 60 seconds, beside the sender's own limits. Default 20.
    pub group_per_min: u32,
    /// How long an answer may take, in seconds. Default 30.
    pub answer_secs: u64,
    /// Name of the secret that holds the passphrase, at least 8 characters; an empty secret means that everybody may
    /// ask at once. Default `"activation_passphrase"`.
    pub activation_secret: String,
    /// Numbers or uuids that may activate; empty: anybody. Default none.
    pub allow: Vec<String>,
    /// Numbers or uuids that are never answered. Default none.
    pub deny: Vec<String>,
    /// Numbers or uuids of administrators; they need no passphrase. Default none.
    pub admins: Vec<String>,
    /// Silence after which a session ends, in hours. Default 24.
    pub session_idle_hours: u64,
    /// Longest session, in days. Default 30.
    pub session_max_days: u64,
    /// Whether sessions outlive a restart. Default true.
    pub persist_sessions: bool,
    /// Language of what the door itself says where a message does not tell: `en`, `ru` or `nl`. Default `"en"`.
    pub language: String,
}

impl Default for SignalConfig {
    fn default() -> Self {
        let command = [
            "signal-cli",
            "daemon",
            "--http",
            "127.0.0.1:8080",
            "--receive-mode=on-connection",
            "--no-receive-stdout",
        ];
        Self {
            enabled: false,
            transport: Transport::Http,
            url: "http://127.0.0.1:8080".into(),
            account_secret: "signal_phone_number".into(),
            daemon: Daemon::External,
            command: command.map(Into::into).into(),
            receive_mode: ReceiveMode::OnConnection,
            first_byte_secs: 25,
            idle_secs: 40,
            reconnect_min_secs: 1,
            reconnect_max_secs: 30,
            rotate_secs: 1800,
            check_secs: 60,
            rpc_secs: 60,
            store_secs: 10,
            alert_after_secs: 120,
            max_message_age_secs: 3600,
            max_file_bytes: 10 << 20,
            send_interval_ms: 1000,
            send_per_sec: 5,
            group_per_min: 20,
            answer_secs: 30,
            activation_secret: "activation_passphrase".into(),
            allow: Vec::new(),
            deny: Vec::new(),
            admins: Vec::new(),
            session_idle_hours: 24,
            session_max_days: 30,
            persist_sessions: true,
            language: "en".into(),
        }
    }
}

impl SignalConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        let mut wrong = |key: &str, what: String, mend: String| {
            out.push(Problem::new(format!("{prefix}.{key}"), what, mend));
        };
        let rows = [
            ("first_byte_secs", self.first_byte_secs, 1, 300),
            ("idle_secs", self.idle_secs, 1, 3600),
            ("reconnect_min_secs", self.reconnect_min_secs, 1, 300),
            ("reconnect_max_secs", self.reconnect_max_secs, self.reconnect_min_secs, 3600),
            ("rotate_secs", self.rotate_secs, 1, 86_400),
            ("check_secs", self.check_secs, 1, 3600),
            ("rpc_secs", self.rpc_secs, 1, 600),
            ("store_secs", self.store_secs, 1, 600),
            ("alert_after_secs", self.alert_after_secs, 1, 86_400),
            ("max_message_age_secs", self.max_message_age_secs, 1, 2_592_000),
            // An answer of signal-cli holds it in letters, a third longer.
            ("max_file_bytes", self.max_file_bytes, 1, 11 << 20),
            ("send_interval_ms", self.send_interval_ms, 0, 60_000),
            ("send_per_sec", u64::from(self.send_per_sec), 1, 1000),
            ("group_per_min", u64::from(self.group_per_min), 1, 10_000),
            ("answer_secs", self.answer_secs, 1, 600),
            ("session_idle_hours", self.session_idle_hours, 1, 8760),
            ("session_max_days", self.session_max_days, 1, 3650),
        ];
        for (key, value, least, most) in rows {
            if !(least..=most).contains(&value) {
                wrong(key, format!("{value} is out of range"), format!("choose {least} to {most}"));
            }
        }
        if Target::parse(self.transport, &self.url).is_none() {
            let mend = match self.transport {
                Transport::Http => "write it as http://127.0.0.1:8080",
                Transport::Tcp => "write it as tcp://127.0.0.1:7583",
                Transport::Unix => "write it as unix:///run/signal-cli/socket",
            };
            wrong("url", "does not fit signal.transport".into(), mend.into());
        }
        if self.receive_mode == ReceiveMode::Manual && self.transport == Transport::Http {
            let mend = "use on-connection, or transport tcp or unix";
            wrong("receive_mode", "manual needs a socket".into(), mend.into());
        }
        if self.daemon == Daemon::Spawn && self.command.is_empty() {
            wrong("command", "is empty".into(), "name the program and its arguments".into());
        }
        if portcullis_engine::words::Tongue::from_code(&self.language).is_none() {
            wrong("language", format!("{} is not spoken here", self.language), "choose en, ru or nl".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_every_mistake_is_named() {
        let mut out = Vec::new();
        SignalConfig::default().problems("signal", &mut out);
        assert!(out.is_empty(), "{out:?}");
        let wrong = SignalConfig {
            transport: Transport::Unix,
            receive_mode: ReceiveMode::Manual,
            idle_secs: 0,
            language: "xx".into(),
            ..SignalConfig::default()
        };
        wrong.problems("signal", &mut out);
        let keys: Vec<_> = out.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["signal.idle_secs", "signal.url", "signal.language"]);
    }
}
