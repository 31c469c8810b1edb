//! `send` of the double: who it reaches, what text it takes, how each recipient fares.

use super::{
    Person,
    rpc::{Failed, list},
    state::Shared,
};
use serde_json::{Value, json};
use tokio::time::Instant;

/// How a recipient fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived.
    Success,
    /// Too many; with a token: a proof is required.
    RateLimited {
        /// Seconds to wait.
        retry_after: Option<u64>,
        /// What a captcha is solved for.
        token: Option<String>,
    },
    /// No account.
    Unregistered,
    /// The safety number changed.
    Identity,
    /// The recipient's keys are unusable.
    InvalidPreKey,
    /// Signal's servers are not reached.
    Network,
}

impl Outcome {
    const fn word(&self) -> &'static str {
        match self {
            Self::Success => "SUCCESS",
            Self::RateLimited { .. } => "RATE_LIMIT_FAILURE",
            Self::Unregistered => "UNREGISTERED_FAILURE",
            Self::Identity => "IDENTITY_FAILURE",
            Self::InvalidPreKey => "INVALID_PRE_KEY_FAILURE",
            Self::Network => "NETWORK_FAILURE",
        }
    }
}

/// A message that left.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Recipients as named, or none for a group.
    pub recipients: Vec<String>,
    /// The group.
    pub group: Option<String>,
    /// Its text.
    pub text: String,
    /// Whether it went as an attachment of long text.
    pub long_text: bool,
    /// Styles, as given.
    pub styles: Vec<String>,
    /// Timestamp and author of the quoted message.
    pub quote: Option<(i64, String)>,
    /// Link of its preview.
    pub preview: Option<String>,
    /// Its timestamp.
    pub timestamp: i64,
    /// When it was taken.
    pub at: Instant,
}

/// Longest text that goes without an attachment, in bytes.
const LONG_TEXT: usize = 2_000;
const STYLES: [&str; 5] = ["BOLD", "ITALIC", "SPOILER", "STRIKETHROUGH", "MONOSPACE"];

pub(super) fn send(shared: &Shared, params: &Value, outcome: &Outcome) -> Result<Value, Failed> {
    let text = params["message"].as_str().unwrap_or_default();
    let (recipients, groups) = (list(&params["recipient"]), list(&params["groupId"]));
    if text.is_empty() && list(&params["attachment"]).is_empty() {
        return Err(Failed::new(-1, "No message body or attachment given"));
    }
    if recipients.is_empty() && groups.is_empty() && params["noteToSelf"] != true {
        return Err(Failed::new(-1, "No recipients given"));
    }
    let people = reached(shared, &recipients, &groups)?;
    let styles = list(&params["textStyle"]);
    check_ranges(text, &styles)?;
    let quote = match (params["quoteTimestamp"].as_i64(), params["quoteAuthor"].as_str()) {
        (Some(at), Some(author)) => Some((at, author.to_owned())),
        (Some(_), None) => return Err(Failed::new(-1, "A quote needs its author")),
        (None, _) => None,
    };
    let preview = params["previewUrl"].as_str().map(str::to_owned);
    if preview.as_ref().is_some_and(|url| !text.contains(url.as_str())) {
        shared.violation("a preview of a link that is not in the text is shown nowhere");
    }
    let timestamp = shared.now();
    // Of several recipients only the first meets a fault: mixed results are what groups have.
    let results: Vec<_> = people
        .iter()
        .enumerate()
        .map(|(index, person)| {
            result(person, groups.first(), if index == 0 { outcome } else { &Outcome::Success })
        })
        .collect();
    let reached_somebody = *outcome == Outcome::Success || people.len() > 1;
    let response = json!({"timestamp": timestamp, "results": results});
    if !reached_somebody {
        return Err(failed(outcome, &response));
    }
    shared.sent.lock().push(Sent {
        recipients,
        group: groups.into_iter().next(),
        text: text.to_owned(),
        long_text: text.len() > LONG_TEXT,
        styles,
        quote,
        preview,
        timestamp,
        at: Instant::now(),
    });
    for name in super::rpc::names(params) {
        shared.set_typing(&name, false);
    }
    Ok(response)
}

fn reached(shared: &Shared, recipients: &[String], groups: &[String]) -> Result<Vec<Person>, Failed> {
    let people = shared.people.lock();
    let mut all = Vec::new();
    for name in recipients {
        let known = people.iter().find(|one| one.uuid == *name || one.number.as_ref() == Some(name));
        all.push(
            known
                .ok_or_else(|| Failed::new(-1, format!("Failed to send message: unknown recipient {name}")))?
                .clone(),
        );
    }
    for id in groups {
        let groups = shared.groups.lock();
        let members = groups.get(id).ok_or_else(|| Failed::new(-1, format!("Invalid group id: {id}")))?;
        all.extend(members.iter().cloned());
    }
    Ok(all)
}

fn result(person: &Person, group: Option<&String>, outcome: &Outcome) -> Value {
    let mut row = json!({
        "recipientAddress": {"uuid": person.uuid, "number": person.number, "username": null},
        "type": outcome.word(),
    });
    if let Some(group) = group {
        row["groupId"] = json!(group);
    }
    if let Outcome::RateLimited { retry_after, token } = outcome {
        if let Some(secs) = retry_after {
            row["retryAfterSeconds"] = json!(secs);
        }
        if let Some(token) = token {
            row["token"] = json!(token);
        }
    }
    row
}

fn failed(outcome: &Outcome, response: &Value) -> Failed {
    let (code, message) = match outcome {
        Outcome::RateLimited { .. } => (-5, "Failed to send message due to rate limiting"),
        Outcome::Identity => (-4, "Failed to send message due to untrusted identities"),
        Outcome::Network => (-3, "Failed to send message: no connection to the server"),
        Outcome::Success | Outcome::Unregistered | Outcome::InvalidPreKey => (-1, "Failed to send message"),
    };
    Failed { code, message: message.into(), data: json!({"response": response}) }
}

/// Ranges are in UTF-16 units and lie inside the text.
fn check_ranges(text: &str, styles: &[String]) -> Result<(), Failed> {
    let length = text.encode_utf16().count();
    for style in styles {
        let mut parts = style.splitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok());
        let (start, count) = (number(), number());
        let known = parts.next().is_some_and(|name| STYLES.contains(&name));
        let inside =
            matches!((start, count), (Some(start), Some(count)) if count > 0 && start + count <= length);
        if !known || !inside {
            return Err(Failed::new(-1, format!("Invalid text style '{style}'")));
        }
    }
    Ok(())
}
