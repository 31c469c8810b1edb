//! What administrators say to this door. Invariant: each change they make leaves an audit record.

use super::{Asked, Desk};
use crate::signal::envelope::Message;
use portcullis_domain::Door;
use portcullis_engine::{Admitted, words::Word};
use portcullis_store::NewOut;
use portcullis_telemetry::AlertCategory;
use serde_json::json;

impl Desk {
    /// What administrators can do at this door.
    pub(super) async fn admin_command(&self, asked: &Asked<'_>, admitted: &Admitted) -> Option<Vec<NewOut>> {
        let message = asked.message;
        let mut words = message.text.split_whitespace();
        let (command, id) = (words.next().unwrap_or_default(), words.next());
        match (command, id) {
            ("/sessions", _) => Some(self.sessions(message)),
            ("/revoke", Some(id)) => {
                let whose = if id.starts_with(Door::Signal.as_str()) {
                    id.to_owned()
                } else {
                    format!("signal:{id}")
                };
                let word = match self.people.end(&whose).await {
                    Ok(true) => Word::Revoked,
                    Ok(false) => Word::NoSession,
                    Err(_) => return Some(self.away(message)),
                };
                admitted.audit("session_revoked", vec![("session", whose)]).await;
                Some(self.say(message, word))
            }
            ("/trust", Some(id)) => {
                let recipient = id.strip_prefix("signal:").unwrap_or(id);
                let params = json!({"recipient": recipient, "trustAllKnownKeys": true});
                let trusted = self.wire.call_for_account("trust", params).await;
                admitted.audit("identity_trusted", vec![("ok", trusted.is_ok().to_string())]).await;
                if let Err(error) = trusted {
                    tracing::warn!(%error, "a safety number could not be trusted");
                    let why = "signal-cli refused; is the id right?";
                    return Some(
                        self.text(message, self.words.say(self.tongue(message), Word::NotTrusted, 0, why)),
                    );
                }
                self.alerts.resolve(AlertCategory::Signal, "identity", "a changed safety number is trusted");
                Some(self.say(message, Word::Trusted))
            }
            ("/revoke" | "/trust", None) => Some(self.say(message, Word::AdminCommands)),
            _ => None,
        }
    }

    fn sessions(&self, message: &Message) -> Vec<NewOut> {
        let rows = self.people.list();
        let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let mut text = self.words.say(self.tongue(message), Word::Sessions, count, "");
        for row in rows.iter().take(50) {
            let since = jiff::Timestamp::from_millisecond(row.activated_at).map(|at| at.to_string());
            text.push_str(&format!("\n{} {}", row.caller, since.unwrap_or_default()));
        }
        self.text(message, text)
    }
}
