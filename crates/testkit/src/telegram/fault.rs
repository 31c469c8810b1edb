//! Faults as rules: which calls, how often, what goes wrong. Invariant: the first rule that matches is taken, once per
//! call; a rule that never met its calls is a violation.

use serde_json::Value;
use std::time::Duration;

/// When a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Before the body was read.
    BeforeReading,
    /// After the call was read; nothing was done.
    AfterReading,
    /// The call took effect, and its answer is lost.
    AfterDoing,
}

/// What goes wrong. Several things can at once: a wait before a status, a slow body that is cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    pub(super) status: Option<u16>,
    pub(super) body: Option<String>,
    pub(super) retry_after: Option<u64>,
    pub(super) delay: Option<Duration>,
    pub(super) hang: bool,
    pub(super) reset: Option<Reset>,
    pub(super) truncate: Option<usize>,
    pub(super) slow: Option<usize>,
    pub(super) garbage: bool,
}

impl Fault {
    /// Not done; this status with the server's usual envelope.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// Not done; this error of the server, with its whole text (`Forbidden: ...`).
    #[must_use]
    pub fn refused(status: u16, description: &str) -> Self {
        let body =
            serde_json::json!({"ok": false, "error_code": status, "description": description}).to_string();
        Self { body: Some(body), ..Self::status(status) }
    }

    /// Not done: 429, and calling again earlier begins the wait anew.
    #[must_use]
    pub fn retry_after(secs: u64) -> Self {
        Self { retry_after: Some(secs), ..Self::default() }
    }

    /// So much later.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self { delay: Some(delay), ..Self::default() }
    }

    /// Read, not done, never answered.
    #[must_use]
    pub fn hang() -> Self {
        Self { hang: true, ..Self::default() }
    }

    /// The connection breaks.
    #[must_use]
    pub fn reset(when: Reset) -> Self {
        Self { reset: Some(when), ..Self::default() }
    }

    /// Done; of the answer only so many bytes come, and the connection breaks.
    #[must_use]
    pub fn truncate(bytes: usize) -> Self {
        Self { truncate: Some(bytes), ..Self::default() }
    }

    /// Done; the answer trickles.
    #[must_use]
    pub fn slow(bytes_per_sec: usize) -> Self {
        Self { slow: Some(bytes_per_sec.max(1)), ..Self::default() }
    }

    /// Not done; 200 with a body that is no JSON, as a proxy on the way answers.
    #[must_use]
    pub fn garbage() -> Self {
        Self { garbage: true, ..Self::default() }
    }

    /// The same after a wait.
    #[must_use]
    pub const fn after(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// With this body instead of the usual envelope.
    #[must_use]
    pub fn with_body(mut self, body: &str) -> Self {
        self.body = Some(body.to_owned());
        self
    }
}

/// A fault of the next calls that match.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(super) method: String,
    pub(super) chat: Option<i64>,
    pub(super) times: u32,
    pub(super) fault: Fault,
}

impl Rule {
    /// The next `times` calls of a method; `*` is any. `webhook` are the deliveries to one: they can be late, and with
    /// any reset the bot's answer is lost, so that the update comes again.
    #[must_use]
    pub fn new(method: &str, times: u32, fault: Fault) -> Self {
        Self { method: method.to_owned(), chat: None, times, fault }
    }

    /// All calls of a method from now on; a violation only when none came.
    #[must_use]
    pub fn always(method: &str, fault: Fault) -> Self {
        Self::new(method, u32::MAX, fault)
    }

    /// Only calls that name this chat.
    #[must_use]
    pub const fn to(mut self, chat: i64) -> Self {
        self.chat = Some(chat);
        self
    }

    /// A rule in the form of the control API.
    pub(super) fn from_json(rule: &Value) -> Result<Self, String> {
        let (matches, todo) = (&rule["match"], &rule["do"]);
        let known = [
            "status",
            "body",
            "retry_after",
            "delay_ms",
            "hang",
            "reset",
            "truncate_body",
            "slow_body_bytes_per_sec",
            "garbage",
        ];
        let object = todo.as_object().ok_or("`do` is an object")?;
        if let Some(unknown) = object.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(format!("`do` knows no `{unknown}`"));
        }
        let number = |key: &str| todo[key].as_u64();
        let reset = match todo["reset"].as_str() {
            None => None,
            Some("before reading") => Some(Reset::BeforeReading),
            Some("after reading") => Some(Reset::AfterReading),
            Some("after doing") => Some(Reset::AfterDoing),
            Some(other) => return Err(format!("`reset` knows no `{other}`")),
        };
        let body = Some(&todo["body"]).filter(|body| !body.is_null());
        let body = body.map(|body| body.as_str().map_or_else(|| body.to_string(), str::to_owned));
        let fault = Fault {
            status: number("status").and_then(|status| u16::try_from(status).ok()),
            body,
            retry_after: number("retry_after"),
            delay: number("delay_ms").map(Duration::from_millis),
            hang: todo["hang"] == true,
            reset,
            truncate: number("truncate_body").and_then(|bytes| usize::try_from(bytes).ok()),
            slow: number("slow_body_bytes_per_sec").and_then(|rate| usize::try_from(rate.max(1)).ok()),
            garbage: todo["garbage"] == true,
        };
        if fault == Fault::default() {
            return Err("`do` says nothing".into());
        }
        let times = rule["times"].as_u64().unwrap_or(1).try_into().map_err(|_| "`times` is too big")?;
        let method = matches["method"].as_str().unwrap_or("*").to_owned();
        Ok(Self { method, chat: matches["chat_id"].as_i64(), times, fault })
    }
}

/// What a delivery to a webhook is called in a rule: it can be late, and its answer can be lost (any reset).
pub(super) const DELIVERY: &str = "webhook";

/// A rule and how many calls it still meets.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) rule: Rule,
    pub(super) left: u32,
}

impl Live {
    /// Whether calls that it waits for did not come.
    pub(super) const fn unmet(&self) -> bool {
        self.left > 0 && (self.rule.times < u32::MAX || self.left == u32::MAX)
    }

    fn matches(&self, method: &str, chat: Option<i64>) -> bool {
        self.left > 0
            && ((self.rule.method == "*" && method != DELIVERY)
                || self.rule.method.eq_ignore_ascii_case(method))
            && (self.rule.chat.is_none() || self.rule.chat == chat)
    }
}

/// The fault of a call whose head alone was read: only one that breaks off before the body, and names no chat.
pub(super) fn before_reading(rules: &mut [Live], method: &str) -> bool {
    let first = rules.iter_mut().find(|live| live.matches(method, live.rule.chat));
    let Some(live) = first else { return false };
    if live.rule.chat.is_none() && live.rule.fault.reset == Some(Reset::BeforeReading) {
        live.left -= 1;
        return true;
    }
    false
}

/// The fault of a call.
pub(super) fn take(rules: &mut [Live], method: &str, chat: Option<i64>) -> Option<Fault> {
    let live = rules.iter_mut().find(|live| live.matches(method, chat))?;
    live.left -= 1;
    Some(live.rule.fault.clone())
}
