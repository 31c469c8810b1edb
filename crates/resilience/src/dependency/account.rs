//! Our account at a dependency: held when its credit is gone or its key was refused twice, so that hopeless calls are
//! not made. Pure, with `now` passed in. Invariant: where no other target is left, one real call in a while still
//! tries it; one refused key is never an outage. Source: gateway.md section 6, "No outage from one error".

use std::time::Duration;
use tokio::time::Instant;

/// Two refused keys within this time hold the account.
const BAD_KEY_WINDOW: Duration = Duration::from_secs(60);

/// Held or not.
#[derive(Debug, Default)]
pub(super) struct Account {
    held_until: Option<Instant>,
    probed: Option<Instant>,
    bad_key: Option<Instant>,
    /// Whether it is held because the key was refused, not because the credit is gone.
    for_key: bool,
    /// Whether somebody was told of trouble, and not yet that it is over.
    told: bool,
}

impl Account {
    /// Whether it is held now.
    pub(super) fn held(&self, now: Instant) -> Option<Duration> {
        self.held_until.filter(|until| *until > now).map(|until| until - now)
    }

    /// Whether a call may be made; true when it would be a try of a held account (then say so with `tried`).
    ///
    /// # Errors
    /// How long not.
    pub(super) fn check(&self, others: bool, every: Duration, now: Instant) -> Result<bool, Duration> {
        let Some(held) = self.held(now) else { return Ok(false) };
        let since = self.probed.map_or(Duration::MAX, |last| now.saturating_duration_since(last));
        if others {
            Err(held)
        } else if since < every {
            Err(held.min(every - since))
        } else {
            Ok(true)
        }
    }

    /// A held account is tried now.
    pub(super) const fn tried(&mut self, now: Instant) {
        self.probed = Some(now);
    }

    /// Our key was refused; true when it is time to hold the account.
    pub(super) fn key_refused(&mut self, now: Instant) -> bool {
        self.told = true;
        let last = self.bad_key.replace(now);
        last.is_some_and(|last| now.saturating_duration_since(last) < BAD_KEY_WINDOW)
    }

    /// Leaves it alone for so long; true when it was not held before.
    pub(super) fn hold(&mut self, time: Duration, now: Instant) -> bool {
        let fresh = self.held(now).is_none();
        (self.for_key, self.told) = (self.bad_key == Some(now), true);
        self.held_until = Some(now + time);
        self.probed = Some(now);
        fresh
    }

    /// How long it is held because its credit is gone.
    pub(super) fn held_for_credit(&self, now: Instant) -> Option<Duration> {
        self.held(now).filter(|_| !self.for_key)
    }

    /// An operator knows better.
    pub(super) const fn release(&mut self) {
        (self.held_until, self.bad_key, self.for_key) = (None, None, false);
    }

    /// The keys were read again: what was held for a refused key is tried anew.
    pub(super) const fn new_keys(&mut self) {
        self.bad_key = None;
        if self.for_key {
            (self.held_until, self.for_key) = (None, false);
        }
    }

    /// A call worked, so the key is good; a try of a held account releases it. True when trouble that was told is over
    /// by that: calls that were under way before the account was held say nothing about it.
    pub(super) fn worked(&mut self, tried: bool, now: Instant) -> bool {
        self.bad_key = None;
        if !self.told || !(tried || self.held(now).is_none()) {
            return false;
        }
        (self.held_until, self.told) = (None, false);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::tests::an_instant;

    const SECOND: Duration = Duration::from_secs(1);
    const EVERY: Duration = Duration::from_secs(30);

    // req: S2-3.7
    #[test]
    fn a_held_account_is_tried_once_in_a_while_and_never_while_another_target_is_left() {
        let now = an_instant();
        let mut account = Account::default();
        assert_eq!(account.check(false, EVERY, now), Ok(false));
        assert!(account.hold(SECOND * 900, now));
        assert_eq!(account.check(false, EVERY, now + SECOND), Err(SECOND * 29));
        assert_eq!(account.check(true, EVERY, now + EVERY), Err(SECOND * 870));
        assert_eq!(account.check(false, EVERY, now + EVERY), Ok(true));
        account.tried(now + EVERY);
        assert_eq!(account.check(false, EVERY, now + EVERY), Err(EVERY), "one at a time");
        assert_eq!(account.check(false, EVERY, now + SECOND * 900), Ok(false), "the time is over");
    }

    #[test]
    fn the_second_refused_key_within_a_minute_counts_and_a_call_that_worked_forgets_the_first() {
        let now = an_instant();
        let mut account = Account::default();
        assert!(!account.key_refused(now));
        assert!(!account.key_refused(now + SECOND * 60));
        assert!(account.key_refused(now + SECOND * 61));
        let mut account = Account::default();
        assert!(!account.key_refused(now));
        assert!(account.worked(false, now), "the refusal was told, and is over");
        assert!(!account.worked(false, now));
        assert!(!account.key_refused(now + SECOND));
    }

    #[test]
    fn keys_read_again_release_what_a_refused_key_held_and_nothing_else() {
        let now = an_instant();
        let mut account = Account::default();
        account.hold(SECOND * 900, now);
        account.new_keys();
        assert!(account.held(now).is_some(), "no key brings credit");
        let mut account = Account::default();
        account.key_refused(now);
        assert!(account.key_refused(now + SECOND));
        account.hold(SECOND * 900, now + SECOND);
        account.new_keys();
        assert_eq!(account.held(now + SECOND), None);
    }

    #[test]
    fn only_a_try_releases_a_held_account() {
        let now = an_instant();
        let mut account = Account::default();
        account.hold(SECOND * 900, now);
        assert!(!account.worked(false, now), "it was under way before");
        assert_eq!(account.held(now), Some(SECOND * 900));
        assert!(account.worked(true, now));
        assert_eq!(account.held(now), None);
        account.hold(SECOND, now);
        assert!(account.worked(false, now + SECOND * 2), "its time is over, and a call works");
    }
}
