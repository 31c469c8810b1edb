//! JSON-RPC of the double: what is no request, which methods there are, what they answer, which faults they have.

use super::{
    Outcome,
    send::send,
    state::{Call, Shared},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// A fault of the next calls of a method.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which method.
    pub method: &'static str,
    /// Only calls that name this recipient or group; none: all.
    pub recipient: Option<String>,
    /// How many calls it meets.
    pub times: u32,
    /// What happens.
    pub fault: Fault,
}

impl Rule {
    /// The next `times` calls of a method.
    #[must_use]
    pub const fn new(method: &'static str, times: u32, fault: Fault) -> Self {
        Self { method, recipient: None, times, fault }
    }

    /// Only calls that name this recipient or group.
    #[must_use]
    pub fn to(mut self, recipient: &str) -> Self {
        self.recipient = Some(recipient.into());
        self
    }
}

/// What may go wrong with a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Each recipient gets this result.
    Outcome(Outcome),
    /// The call fails with that code and words.
    Error(i64, &'static str),
    /// Done, and answered so much later.
    Late(Duration),
    /// Not done and never answered.
    Silent,
    /// Done and never answered.
    DoneSilent,
    /// Done, and the connection breaks instead of an answer.
    DoneBroken,
}

/// What a call comes to.
pub(super) enum Answer {
    Json(Value),
    /// A notification has no answer.
    Nothing,
    /// Never.
    Silence,
    /// The connection breaks.
    Break,
}

/// An error as signal-cli writes it.
pub(super) fn error(id: &Value, code: i64, message: &str, data: &Value) -> Value {
    json!({"jsonrpc": "2.0", "error": {"code": code, "message": message, "data": data}, "id": id})
}

/// An error of a method.
pub(super) struct Failed {
    pub(super) code: i64,
    pub(super) message: String,
    pub(super) data: Value,
}

impl Failed {
    pub(super) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: Value::Null }
    }
}

/// What a connection can beyond single calls.
pub(super) trait Connection: Sync {
    /// Whether it can be subscribed (sockets can, HTTP cannot).
    fn subscribe(&self, _account: Option<&str>) -> Option<usize> {
        None
    }

    /// Ends a subscription.
    fn unsubscribe(&self, _number: usize) -> Option<bool> {
        None
    }
}

/// HTTP: calls only.
pub(super) struct Plain;
impl Connection for Plain {}

/// Answers one request.
pub(super) async fn answer(shared: &Arc<Shared>, connection: &impl Connection, request: &Value) -> Answer {
    let id = request.get("id").cloned().unwrap_or(Value::Null);
    let refuse = |code, message: &str| Answer::Json(error(&id, code, message, &Value::Null));
    if request["jsonrpc"] != "2.0" {
        return refuse(-32600, "only jsonrpc version 2.0 is supported");
    }
    let Some(method) = request["method"].as_str() else { return refuse(-32600, "Method field must be set") };
    let params = request.get("params").cloned().unwrap_or_else(|| json!({}));
    if !params.is_object() {
        return refuse(-32600, "Cannot deserialize the parameters");
    }
    shared.calls.lock().push(Call { method: method.into(), params: params.clone(), at: Instant::now() });
    let fault = take_fault(shared, method, &params);
    match &fault {
        Some(Fault::Silent) => return Answer::Silence,
        Some(Fault::Error(code, message)) => return refuse(*code, message),
        Some(Fault::Outcome(_) | Fault::Late(_) | Fault::DoneSilent | Fault::DoneBroken) | None => {}
    }
    let outcome = match &fault {
        Some(Fault::Outcome(outcome)) => outcome.clone(),
        _ => Outcome::Success,
    };
    let done = call(shared, connection, method, &params, &outcome);
    match fault {
        Some(Fault::DoneSilent) => return Answer::Silence,
        Some(Fault::DoneBroken) => return Answer::Break,
        Some(Fault::Late(late)) => sleep(late).await,
        Some(Fault::Outcome(_) | Fault::Error(..) | Fault::Silent) | None => {}
    }
    if request.get("id").is_none_or(Value::is_null) {
        return Answer::Nothing;
    }
    Answer::Json(match done {
        Ok(result) => json!({"jsonrpc": "2.0", "result": result, "id": id}),
        Err(failed) => error(&id, failed.code, &failed.message, &failed.data),
    })
}

fn take_fault(shared: &Shared, method: &str, params: &Value) -> Option<Fault> {
    let named = |wanted: &str| names(params).iter().any(|one| one == wanted);
    let mut rules = shared.rules.lock();
    let rule = rules.iter_mut().find(|rule| {
        rule.times > 0 && rule.method == method && rule.recipient.as_deref().is_none_or(named)
    })?;
    rule.times -= 1;
    Some(rule.fault.clone())
}

/// Parameters each method has; the real daemon ignores others, and a client that sends them is mistaken.
const METHODS: [(&str, bool, &[&str]); 15] = [
    ("version", false, &[]),
    ("listAccounts", false, &[]),
    ("listGroups", true, &["detailed", "groupId"]),
    (
        "send",
        true,
        &[
            "recipient",
            "groupId",
            "noteToSelf",
            "message",
            "attachment",
            "mention",
            "textStyle",
            "quoteTimestamp",
            "quoteAuthor",
            "quoteMessage",
            "previewUrl",
            "previewTitle",
            "previewDescription",
            "editTimestamp",
            "notifySelf",
            "endSession",
            "viewOnce",
        ],
    ),
    ("sendTyping", true, &["recipient", "groupId", "stop"]),
    ("sendReceipt", true, &["recipient", "targetTimestamp", "type"]),
    ("sendReaction", true, &["recipient", "groupId", "emoji", "targetAuthor", "targetTimestamp", "remove"]),
    ("remoteDelete", true, &["recipient", "groupId", "targetTimestamp"]),
    ("subscribeReceive", false, &["account"]),
    ("unsubscribeReceive", false, &["subscription"]),
    ("submitRateLimitChallenge", true, &["challenge", "captcha"]),
    ("trust", true, &["recipient", "trustAllKnownKeys", "verifiedSafetyNumber"]),
    ("getAttachment", true, &["id", "recipient", "groupId"]),
    ("startLink", false, &[]),
    ("finishLink", false, &["deviceLinkUri", "deviceName"]),
];

fn call(
    shared: &Arc<Shared>,
    connection: &impl Connection,
    method: &str,
    params: &Value,
    outcome: &Outcome,
) -> Result<Value, Failed> {
    let Some((_, needs_account, known)) = METHODS.iter().find(|row| row.0 == method) else {
        shared.violation(format!("no such method: {method}"));
        return Err(Failed::new(-32601, "Method not implemented"));
    };
    for key in params.as_object().into_iter().flatten().map(|(key, _)| key) {
        if key != "account" && !known.contains(&key.as_str()) {
            shared.violation(format!("{method} has no parameter {key}"));
        }
    }
    if *needs_account {
        check_account(shared, params)?;
    }
    match method {
        "version" => Ok(json!({"version": shared.options.version})),
        "listAccounts" => {
            let number = |person: &super::Person| json!({"number": person.number});
            Ok(shared.options.accounts.iter().map(number).collect())
        }
        "listGroups" => Ok(shared.groups.lock().keys().map(|id| json!({"id": id})).collect()),
        "send" => send(shared, params, outcome),
        "sendTyping" => {
            let stop = params["stop"] == true;
            for recipient in names(params) {
                shared.set_typing(&recipient, !stop);
            }
            Ok(json!({"timestamp": shared.now(), "results": []}))
        }
        "getAttachment" => {
            use base64::Engine as _;
            if names(params).is_empty() {
                return Err(Failed::new(-1, "Attachment requires either a recipient or a group"));
            }
            let files = shared.files.lock();
            let found = params["id"].as_str().and_then(|id| files.get(id));
            let bytes = found.ok_or_else(|| Failed::new(-1, "Could not find attachment with ID"))?;
            Ok(json!({"data": base64::engine::general_purpose::STANDARD.encode(bytes)}))
        }
        "subscribeReceive" => {
            let account = params["account"].as_str();
            if account.is_some() {
                check_account(shared, params)?;
            }
            let number = connection.subscribe(account);
            number.map(Into::into).ok_or_else(|| Failed::new(-32601, "Method not implemented"))
        }
        "unsubscribeReceive" => {
            let number = params["subscription"].as_u64().and_then(|number| usize::try_from(number).ok());
            let number = number.ok_or_else(|| Failed::new(-32602, "Missing subscription id"))?;
            match connection.unsubscribe(number) {
                Some(true) => Ok(json!({})),
                Some(false) => Err(Failed::new(-1, "Unknown subscription id")),
                None => Err(Failed::new(-32601, "Method not implemented")),
            }
        }
        "submitRateLimitChallenge" => {
            let captcha = params["captcha"].as_str().unwrap_or_default();
            if captcha.starts_with("signalcaptcha://") {
                return Ok(json!({}));
            }
            Err(Failed::new(
                -6,
                "Captcha rejected, it may be outdated, already used or solved from a different IP address.",
            ))
        }
        "startLink" => Ok(json!({"deviceLinkUri": "sgnl://linkdevice?uuid=made-up&pub_key=made-up"})),
        _ => Ok(json!({"timestamp": shared.now(), "results": []})),
    }
}

fn check_account(shared: &Shared, params: &Value) -> Result<(), Failed> {
    let Some(account) = params["account"].as_str() else {
        return Err(Failed::new(-32602, "Method requires valid account parameter"));
    };
    let known = shared.options.accounts.iter().any(|own| own.number.as_deref() == Some(account));
    if known { Ok(()) } else { Err(Failed::new(-32602, "Specified account does not exist")) }
}

/// Recipients and groups that a call names; one or a list.
pub(super) fn names(params: &Value) -> Vec<String> {
    ["recipient", "groupId"].iter().flat_map(|key| list(&params[*key])).collect()
}

/// One text or a list of them.
pub(super) fn list(value: &Value) -> Vec<String> {
    match value {
        Value::Array(all) => all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
        Value::String(one) => vec![one.clone()],
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}
