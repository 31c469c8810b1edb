//! The sending half of the desk: one message to signal-cli, and what the operator hears of its end.

use super::{
    desk::Desk,
    letter::Letter,
    send::{self, Notice},
};
use portcullis_engine::messages::{Delivery, Trouble};
use portcullis_store::OutRow;
use portcullis_telemetry::AlertCategory;

impl Desk {
    pub(super) async fn send(&self, row: &OutRow) -> Delivery {
        let Ok(letter) = serde_json::from_str::<Letter>(&row.payload) else {
            return Delivery::Dead(Trouble::Refused);
        };
        let answer = self.wire.call_for_account("send", send::params(&letter)).await;
        let send::Outcome { delivery, notice } = send::outcome(&answer);
        if let Err(error) = &answer {
            tracing::warn!(id = row.id, %error, "an answer did not leave");
        }
        match &delivery {
            Delivery::Sent(_) => {
                for subject in ["proof", "daemon"] {
                    self.alerts.resolve(AlertCategory::Signal, subject, "messages of Signal leave again");
                }
            }
            Delivery::Unreachable(_) => {
                if let Err(error) = self.people.end(&row.chat).await {
                    tracing::warn!(%error, "the session of somebody without an account goes on");
                }
            }
            Delivery::Failed(_)
            | Delivery::Wait(..)
            | Delivery::Pause(..)
            | Delivery::Unknown
            | Delivery::Dead(_) => {}
        }
        if let Some(notice) = notice {
            let (subject, told) = words_of(&notice);
            self.alerts.raise(AlertCategory::Signal, subject, told);
        }
        delivery
    }
}

/// What the operator is told.
fn words_of(notice: &Notice) -> (&'static str, String) {
    match notice {
        Notice::Proof(token) => {
            let told = format!(
                "Signal wants proof of a human before anything more is sent: solve the captcha at \
                 https://signalcaptchas.org/challenge/generate, then: portcullis signal challenge {token} <captcha>"
            );
            ("proof", told)
        }
        Notice::Identity => {
            let told = "the safety number of a recipient changed and messages to them wait: compare it with them, then \
                        send /trust and their id; portcullis outbox list shows whom";
            ("identity", told.to_owned())
        }
        Notice::TooOld => {
            ("daemon", "signal-cli does not know the method send; 0.13 or newer is needed".to_owned())
        }
        Notice::NotLinked => (
            "account",
            "signal-cli does not have the account; link it with: signal-cli link -n Portcullis".to_owned(),
        ),
    }
}
