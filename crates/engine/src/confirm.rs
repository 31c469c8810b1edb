//! Asking a sender whether a suspicious message is meant. The refusal carries a proof; the same message sent again with it
//! passes once.
//!
//! Invariants: a proof is a keyed hash over caller, action and the very bytes of the message, so that it is good for
//! nothing else and cannot be made outside; it ends by itself; it is used once, on every replica together; neither proof
//! nor text is logged. Source: inspect.md section 2, issue 4.

use crate::{
    keys::store_failure,
    pipeline::Inner,
    policy::Policy,
    screening::{Screened, Who, conclude},
};
use portcullis_domain::{Action, Failure, Incident, Payload};
use std::{borrow::Cow, time::Duration};
use subtle::ConstantTimeEq as _;

/// What a proof is derived for: with the pepper nothing else gives the same.
const PURPOSE: &str = "portcullis: this message is meant";
/// Hexadecimal digits of each part: when it ends, chance, keyed hash.
const PARTS: [usize; 3] = [12, 16, 64];

/// One message of one caller.
pub(crate) struct Meant<'a> {
    pub(crate) who: &'a Who,
    pub(crate) action: Action,
    pub(crate) payload: &'a Payload,
}

impl Meant<'_> {
    /// Everything that a proof is bound to; lengths keep the parts apart.
    fn bound(&self, head: &str) -> Vec<u8> {
        let text = match self.payload {
            Payload::Chat(request) | Payload::Count(request) => Cow::Borrowed(&request.body[..]),
            Payload::Embed(request) => Cow::Borrowed(&request.body[..]),
            Payload::Library(request) => Cow::Borrowed(request.text().unwrap_or_default().as_bytes()),
            Payload::News(request) => Cow::Borrowed(request.text().unwrap_or_default().as_bytes()),
            Payload::Models(_) => Cow::Borrowed(&[][..]),
        };
        let mut out = Vec::with_capacity(text.len() + 128);
        for part in [head.as_bytes(), self.who.caller.as_bytes(), self.action.as_str().as_bytes(), &text] {
            out.extend_from_slice(&(part.len() as u64).to_le_bytes());
            out.extend_from_slice(part);
        }
        out
    }
}

/// What follows from how suspicious a message is: it goes on, is refused, or is asked about.
pub(crate) async fn judge(
    engine: &Inner,
    policy: &Policy,
    screened: &mut Screened,
    meant: &Meant<'_>,
    proof: Option<Box<str>>,
) -> Result<(), Failure> {
    let confirmed = match proof.filter(|_| screened.flagged) {
        // The database's future is large, and every request would carry the room for it.
        Some(proof) => Box::pin(engine.confirmed(meant, &proof)).await?,
        None => false,
    };
    match conclude(engine, policy, screened, meant.who, confirmed)? {
        Some(incident) => Err(engine.unconfirmed(meant, incident)),
        None => Ok(()),
    }
}

impl Inner {
    /// The refusal that asks.
    fn unconfirmed(&self, meant: &Meant<'_>, incident: Incident) -> Failure {
        let expires_in = Duration::from_secs(u64::from(self.screening.confirm_secs));
        let until = now_ms().saturating_add(i64::try_from(expires_in.as_millis()).unwrap_or(0));
        let head = format!("{:012x}.{:016x}", until.unsigned_abs(), rand::random::<u64>());
        let proof = format!("{head}.{}", hex(&self.proof(meant, &head)));
        Failure::Unconfirmed { incident, proof: proof.into(), expires_in }
    }

    /// Whether that is a proof of this message, good now and never used before; from here on it is used.
    ///
    /// # Errors
    /// `Unavailable` while the store is away: then it is not used.
    async fn confirmed(&self, meant: &Meant<'_>, proof: &str) -> Result<bool, Failure> {
        let Some((head, until)) = read(proof) else { return Ok(false) };
        let made = hex(&self.proof(meant, head));
        let given = &proof.as_bytes()[head.len() + 1..];
        let now = now_ms();
        if !bool::from(made.as_bytes().ct_eq(given)) || until < now {
            return Ok(false);
        }
        self.store.confirmations().spend(head, until, now).await.map_err(store_failure)
    }

    fn proof(&self, meant: &Meant<'_>, head: &str) -> [u8; 32] {
        self.keys().derive(PURPOSE, &meant.bound(head))
    }
}

/// The part of a proof that its hash covers, and when it ends, Unix milliseconds.
fn read(proof: &str) -> Option<(&str, i64)> {
    let mut parts = proof.split('.');
    for length in PARTS {
        let part = parts.next()?;
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if part.len() != length || !part.bytes().all(hexadecimal) {
            return None;
        }
    }
    let head = &proof[..PARTS[0] + 1 + PARTS[1]];
    parts.next().is_none().then_some((head, i64::from_str_radix(&proof[..PARTS[0]], 16).ok()?))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_that_is_not_one_is_known_by_its_form() {
        let good = format!("{:012x}.{:016x}.{}", 1_700_000_000_000_u64, 7, "ab".repeat(32));
        assert_eq!(read(&good), Some((&good[..29], 1_700_000_000_000)));
        for wrong in ["", ".", "..", &good[1..], &format!("{good}.00"), &good.to_uppercase(), &good[..93]] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_a_proof_is_bound_to_cannot_be_moved_from_one_part_to_the_next() {
        let payload = Payload::Chat(crate::pipeline::tests::chat("hello"));
        let bound = |caller: &str, action| {
            let who = Who {
                caller: caller.into(),
                tier: portcullis_domain::Tier::Authenticated,
                id: crate::ids::request(),
                trace: None,
                door: portcullis_domain::Door::Http,
            };
            Meant { who: &who, action, payload: &payload }.bound("head")
        };
        assert_eq!(bound("key:a", Action::Chat), bound("key:a", Action::Chat));
        assert_ne!(bound("key:a", Action::Chat), bound("key:ac", Action::Chat));
        assert_ne!(bound("key:a", Action::Chat), bound("key:a", Action::Embed));
    }
}
