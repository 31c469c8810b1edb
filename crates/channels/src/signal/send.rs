//! Sending through signal-cli, and what its answers mean. Invariants: a safety number that changed is never trusted by
//! itself; what may have left is tried once more and no oftener; a mixed result of a group is a success, because a
//! second message would reach those who have it.
//!
//! Source: ask.md section 9.

use super::{
    letter::{Letter, To},
    wire::RpcError,
};
use portcullis_engine::messages::{Delivery, Trouble};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a recipient waits when signal-cli does not say.
const WAIT: Duration = Duration::from_secs(60);
/// How long everything waits between two tries while a proof is required.
const PROOF_WAIT: Duration = Duration::from_secs(300);
/// How long everything waits while the account is unknown or the daemon too old.
const BROKEN_WAIT: Duration = Duration::from_secs(60);

/// How a send ended, and what the operator must hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) delivery: Delivery,
    pub(super) notice: Option<Notice>,
}

/// Something that only a person can mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Signal wants proof of a human; with the token of the challenge.
    Proof(String),
    /// The recipient's safety number changed.
    Identity,
    /// The daemon lacks `send`.
    TooOld,
    /// The account is not linked.
    NotLinked,
}

impl From<Delivery> for Outcome {
    fn from(delivery: Delivery) -> Self {
        Self { delivery, notice: None }
    }
}

/// The parameters of `send`.
pub(super) fn params(letter: &Letter) -> Value {
    let mut params = match &letter.to {
        To::Person(uuid) => json!({"recipient": [uuid]}),
        To::Group(id) => json!({"groupId": id}),
    };
    params["message"] = json!(letter.text);
    if !letter.styles.is_empty() {
        params["textStyle"] = json!(letter.styles);
    }
    if let Some((at, author)) = &letter.quote {
        params["quoteTimestamp"] = json!(at);
        params["quoteAuthor"] = json!(author);
    }
    if let Some(link) = &letter.preview {
        let host = link.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or(link);
        params["previewUrl"] = json!(link);
        params["previewTitle"] = json!(host);
    }
    params
}

/// What an answer to `send` means.
pub(super) fn outcome(answer: &Result<Value, RpcError>) -> Outcome {
    match answer {
        Ok(result) => of_results(result).unwrap_or_else(|| sent(result)),
        Err(RpcError::NotSent(_)) => Delivery::Failed(Trouble::Network).into(),
        Err(RpcError::Unknown) => Delivery::Unknown.into(),
        Err(RpcError::Daemon { code, message, data }) => {
            // The results of each recipient say more than the code over all of them.
            let results = &data["response"];
            of_results(results).unwrap_or_else(|| of_code(*code, message))
        }
    }
}

fn sent(result: &Value) -> Outcome {
    Delivery::Sent(result["timestamp"].as_i64().map_or_else(String::new, |at| at.to_string())).into()
}

/// What the results say; nothing where there are none or somebody was reached.
fn of_results(response: &Value) -> Option<Outcome> {
    let results = response["results"].as_array().filter(|results| !results.is_empty())?;
    let kind = |result: &Value| result["type"].as_str().unwrap_or_default().to_owned();
    if results.iter().any(|result| kind(result) == "SUCCESS") {
        return Some(sent(response));
    }
    let first = &results[0];
    Some(match kind(first).as_str() {
        "RATE_LIMIT_FAILURE" => limited(first),
        "UNREGISTERED_FAILURE" if results.len() == 1 => Delivery::Unreachable(Trouble::Unregistered).into(),
        "UNREGISTERED_FAILURE" => Delivery::Dead(Trouble::Unregistered).into(),
        "IDENTITY_FAILURE" => identity(),
        // INVALID_PRE_KEY_FAILURE, NETWORK_FAILURE and what newer daemons may say.
        _ => Delivery::Failed(Trouble::Network).into(),
    })
}

fn limited(result: &Value) -> Outcome {
    let wait = result["retryAfterSeconds"].as_u64().map(Duration::from_secs);
    match result["token"].as_str() {
        Some(token) => Outcome {
            delivery: Delivery::Pause(Trouble::ProofRequired, wait.unwrap_or(PROOF_WAIT).min(PROOF_WAIT)),
            notice: Some(Notice::Proof(token.chars().filter(|c| c.is_ascii_graphic()).take(200).collect())),
        },
        None => Delivery::Wait(Trouble::RateLimited, wait.unwrap_or(WAIT)).into(),
    }
}

fn identity() -> Outcome {
    Outcome { delivery: Delivery::Wait(Trouble::Identity, WAIT), notice: Some(Notice::Identity) }
}

fn of_code(code: i64, message: &str) -> Outcome {
    match code {
        -5 => Delivery::Wait(Trouble::RateLimited, WAIT).into(),
        -4 => identity(),
        -3 | -32603 => Delivery::Failed(Trouble::Network).into(),
        -32601 => {
            Outcome { delivery: Delivery::Pause(Trouble::TooOld, BROKEN_WAIT), notice: Some(Notice::TooOld) }
        }
        -32602 if message.contains("account") => Outcome {
            delivery: Delivery::Pause(Trouble::NotLinked, BROKEN_WAIT),
            notice: Some(Notice::NotLinked),
        },
        // -1, -32602 and what we do not know: sending the same again cannot help.
        _ => Delivery::Dead(Trouble::Refused).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(kind: &str, more: &Value) -> Value {
        let mut row = json!({"recipientAddress": {"uuid": "ann"}, "type": kind});
        if let (Some(row), Some(more)) = (row.as_object_mut(), more.as_object()) {
            row.extend(more.clone());
        }
        row
    }

    fn refused(code: i64, message: &str, results: Option<Value>) -> Result<Value, RpcError> {
        let data = results
            .map_or(Value::Null, |results| json!({"response": {"timestamp": 7, "results": [results]}}));
        Err(RpcError::Daemon { code, message: message.into(), data })
    }

    #[test]
    fn every_row_of_the_table_of_errors_ends_as_it_says() {
        let wait = |trouble, secs| Delivery::Wait(trouble, Duration::from_secs(secs));
        let pause = |trouble, secs| Delivery::Pause(trouble, Duration::from_secs(secs));
        let retry = json!({"retryAfterSeconds": 30});
        let proof = json!({"retryAfterSeconds": 86_400, "token": "tok-1"});
        let none = json!({});
        let rows = [
            (
                refused(-5, "", Some(result("RATE_LIMIT_FAILURE", &retry))),
                wait(Trouble::RateLimited, 30),
                None,
            ),
            (refused(-5, "", None), wait(Trouble::RateLimited, 60), None),
            (
                refused(-5, "", Some(result("RATE_LIMIT_FAILURE", &proof))),
                pause(Trouble::ProofRequired, 300),
                Some(Notice::Proof("tok-1".into())),
            ),
            (
                refused(-1, "", Some(result("UNREGISTERED_FAILURE", &none))),
                Delivery::Unreachable(Trouble::Unregistered),
                None,
            ),
            (
                refused(-4, "", Some(result("IDENTITY_FAILURE", &none))),
                wait(Trouble::Identity, 60),
                Some(Notice::Identity),
            ),
            (refused(-4, "", None), wait(Trouble::Identity, 60), Some(Notice::Identity)),
            (
                refused(-1, "", Some(result("INVALID_PRE_KEY_FAILURE", &none))),
                Delivery::Failed(Trouble::Network),
                None,
            ),
            (
                refused(-3, "", Some(result("NETWORK_FAILURE", &none))),
                Delivery::Failed(Trouble::Network),
                None,
            ),
            (refused(-3, "", None), Delivery::Failed(Trouble::Network), None),
            (refused(-32603, "", None), Delivery::Failed(Trouble::Network), None),
            (refused(-1, "user error", None), Delivery::Dead(Trouble::Refused), None),
            (refused(-32602, "wrong", None), Delivery::Dead(Trouble::Refused), None),
            (
                refused(-32602, "Specified account does not exist", None),
                pause(Trouble::NotLinked, 60),
                Some(Notice::NotLinked),
            ),
            (refused(-32601, "", None), pause(Trouble::TooOld, 60), Some(Notice::TooOld)),
            (Err(RpcError::NotSent("x".into())), Delivery::Failed(Trouble::Network), None),
            (Err(RpcError::Unknown), Delivery::Unknown, None),
        ];
        for (answer, delivery, notice) in rows {
            assert_eq!(outcome(&answer), Outcome { delivery, notice }, "{answer:?}");
        }
    }

    #[test]
    fn a_group_that_was_partly_reached_gets_no_second_message() {
        let mixed = json!({"timestamp": 7, "results": [result("IDENTITY_FAILURE", &json!({})), result("SUCCESS", &json!({}))]});
        assert_eq!(outcome(&Ok(mixed)), Delivery::Sent("7".into()).into());
        let nobody = json!({"timestamp": 7, "results": []});
        assert_eq!(outcome(&Ok(nobody)), Delivery::Sent("7".into()).into(), "a group of our own");
    }

    #[test]
    fn a_letter_names_its_recipient_style_quote_and_preview() {
        let letter = Letter {
            to: To::Group("team".into()),
            text: "see https://example.org/a".into(),
            styles: vec!["0:3:BOLD".into()],
            preview: Some("https://example.org/a".into()),
            quote: Some((5, "ann".into())),
        };
        let expected = json!({"groupId": "team", "message": "see https://example.org/a", "textStyle": ["0:3:BOLD"],
            "quoteTimestamp": 5, "quoteAuthor": "ann", "previewUrl": "https://example.org/a", "previewTitle": "example.org"});
        assert_eq!(params(&letter), expected);
    }
}
