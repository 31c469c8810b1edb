//! What Telegram's answers to a send mean. Pure. Invariants: only what certainly did not leave is repeated without a
//! thought; a chat that is told to wait waits alone, until three of them within five seconds say that it is all of us.
//!
//! Source: news.md section 9; Bot API, "ResponseParameters".

use super::api::ApiError;
use portcullis_engine::messages::{Delivery, Trouble};
use serde_json::Value;
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// How long a chat waits when Telegram does not say.
const WAIT: Duration = Duration::from_secs(5);
/// How long everything waits between two tries while the token is refused.
const TOKEN_WAIT: Duration = Duration::from_secs(60);
/// So many chats within that time that are told to wait are all chats.
const CROWD: (usize, Duration) = (3, Duration::from_secs(5));

/// What to do about an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This is how it ended.
    Ends(Delivery),
    /// The chat waits so long.
    Limited(Duration),
    /// Once more as plain text, cut anew.
    Plainly,
    /// As a new message: there is none to edit.
    Anew,
    /// The chat has another number.
    Moved(i64),
    /// Nothing will ever reach this chat.
    Lost,
    /// Our token is not believed.
    Token,
}

/// What an answer means.
pub(super) fn verdict(answer: &Result<Value, ApiError>) -> Verdict {
    let error = match answer {
        Ok(result) => return Verdict::Ends(sent(result)),
        Err(error) => error,
    };
    match error {
        ApiError::NotSent { wait: Some(wait), .. } => {
            Verdict::Ends(Delivery::Wait(Trouble::Network, (*wait).max(Duration::from_millis(100))))
        }
        ApiError::NotSent { wait: None, .. } => Verdict::Ends(Delivery::Failed(Trouble::Network)),
        ApiError::Unknown => Verdict::Ends(Delivery::Unknown),
        ApiError::Refused { code, words, retry_after, migrate_to } => {
            if let Some(to) = migrate_to {
                return Verdict::Moved(*to);
            }
            let words = words.to_ascii_lowercase();
            match code {
                429 => Verdict::Limited(retry_after.map_or(WAIT, Duration::from_secs)),
                401 | 404 => Verdict::Token,
                403 => Verdict::Lost,
                400 => of_words(&words),
                500.. => Verdict::Ends(Delivery::Failed(Trouble::Network)),
                _ => Verdict::Ends(Delivery::Dead(Trouble::Refused)),
            }
        }
    }
}

fn of_words(words: &str) -> Verdict {
    let says = |all: &[&str]| all.iter().any(|one| words.contains(one));
    if is_done(words) {
        return Verdict::Ends(Delivery::Sent(String::new()));
    }
    if says(&["message to edit not found", "message can't be edited"]) {
        return Verdict::Anew;
    }
    if says(&[
        "can't parse entities",
        "entities_too_long",
        "message is too long",
        "text is too long",
        "caption is too long",
    ]) {
        return Verdict::Plainly;
    }
    if says(&["chat not found", "user is deactivated", "have no rights to send", "not enough rights to send"])
    {
        return Verdict::Lost;
    }
    Verdict::Ends(Delivery::Dead(Trouble::Refused))
}

/// Whether an error says that what was asked is so already, or can never matter any more.
pub(super) fn is_done(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    ["message is not modified", "message to delete not found", "message can't be deleted", "query is too old"]
        .iter()
        .any(|one| words.contains(one))
}

fn sent(result: &Value) -> Delivery {
    Delivery::Sent(result["message_id"].as_i64().map_or_else(String::new, |id| id.to_string()))
}

/// Chats that were told to wait lately.
#[derive(Debug, Default)]
pub(super) struct Crowd(VecDeque<(i64, Instant)>);

impl Crowd {
    /// One more; how that send ends.
    pub(super) fn limited(&mut self, chat: i64, wait: Duration, now: Instant) -> Delivery {
        let (most, within) = CROWD;
        self.0.retain(|(other, at)| *other != chat && now.duration_since(*at) < within);
        self.0.push_back((chat, now));
        if self.0.len() < most {
            return Delivery::Wait(Trouble::RateLimited, wait);
        }
        self.0.clear();
        Delivery::Pause(Trouble::RateLimited, wait)
    }

    /// Everything is refused for another reason.
    pub(super) const fn token() -> Delivery {
        Delivery::Pause(Trouble::Token, TOKEN_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(code: u16, words: &str) -> Result<Value, ApiError> {
        Err(ApiError::Refused { code, words: words.into(), retry_after: None, migrate_to: None })
    }

    #[test]
    fn every_answer_has_its_meaning() {
        let ends = Verdict::Ends;
        let done = || ends(Delivery::Sent(String::new()));
        let limited =
            ApiError::Refused { code: 429, words: String::new(), retry_after: Some(7), migrate_to: None };
        let moved =
            ApiError::Refused { code: 400, words: String::new(), retry_after: None, migrate_to: Some(-1005) };
        let held = ApiError::NotSent { why: "x".into(), wait: Some(Duration::from_secs(2)) };
        let rows = [
            (Ok(json!({"message_id": 9})), ends(Delivery::Sent("9".into()))),
            (Ok(json!(true)), done()),
            (Err(limited), Verdict::Limited(Duration::from_secs(7))),
            (refused(429, ""), Verdict::Limited(WAIT)),
            (Err(moved), Verdict::Moved(-1005)),
            (refused(400, "Bad Request: message is not modified: specified new message"), done()),
            (refused(400, "Bad Request: message to delete not found"), done()),
            (refused(400, "Bad Request: message can't be deleted"), done()),
            (refused(400, "Bad Request: query is too old and response timeout expired"), done()),
            (refused(400, "Bad Request: message to edit not found"), Verdict::Anew),
            (refused(400, "Bad Request: message can't be edited"), Verdict::Anew),
            (refused(400, "Bad Request: can't parse entities: Can't find end"), Verdict::Plainly),
            (refused(400, "Bad Request: ENTITIES_TOO_LONG"), Verdict::Plainly),
            (refused(400, "Bad Request: message is too long"), Verdict::Plainly),
            (refused(400, "Bad Request: chat not found"), Verdict::Lost),
            (refused(400, "Bad Request: BUTTON_DATA_INVALID"), ends(Delivery::Dead(Trouble::Refused))),
            (refused(403, "Forbidden: bot was blocked by the user"), Verdict::Lost),
            (refused(401, "Unauthorized"), Verdict::Token),
            (refused(404, "Not Found"), Verdict::Token),
            (refused(413, "Request Entity Too Large"), ends(Delivery::Dead(Trouble::Refused))),
            (refused(502, "Bad Gateway"), ends(Delivery::Failed(Trouble::Network))),
            (Err(ApiError::Unknown), ends(Delivery::Unknown)),
            (Err(held), ends(Delivery::Wait(Trouble::Network, Duration::from_secs(2)))),
            (
                Err(ApiError::NotSent { why: "x".into(), wait: None }),
                ends(Delivery::Failed(Trouble::Network)),
            ),
        ];
        for (answer, expected) in rows {
            assert_eq!(verdict(&answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn three_chats_within_five_seconds_are_everybody() {
        let (mut crowd, now, wait) = (Crowd::default(), Instant::now(), Duration::from_secs(7));
        let one = Delivery::Wait(Trouble::RateLimited, wait);
        assert_eq!(crowd.limited(1, wait, now), one);
        assert_eq!(crowd.limited(1, wait, now), one, "the same chat");
        assert_eq!(crowd.limited(2, wait, now + Duration::from_secs(4)), one);
        assert_eq!(crowd.limited(3, wait, now + Duration::from_secs(6)), one, "the first is long ago");
        assert_eq!(
            crowd.limited(1, wait, now + Duration::from_secs(7)),
            Delivery::Pause(Trouble::RateLimited, wait)
        );
    }
}
