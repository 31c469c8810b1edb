//! Messages of a chat door that inspection asked about and that wait for their senders to say that they are meant: one
//! for each sender in each conversation, the newest.
//!
//! Invariants: bounded, in memory only, and gone when its time is over, whoever asks next; what is taken is taken once.
//! After a restart a sender is told that nothing waits. Source: inspect.md section 2.

use parking_lot::Mutex;
use portcullis_domain::Failure;
use std::collections::HashMap;
use tokio::time::Instant;

/// Whoever wrote it, where.
type Whose = (String, String);

/// See the module. `T` is a message as its door keeps it.
#[derive(Debug)]
pub struct Unconfirmed<T> {
    waiting: Mutex<HashMap<Whose, Waiting<T>>>,
    most: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    message: T,
    proof: Box<str>,
    until: Instant,
}

impl<T> Unconfirmed<T> {
    /// For so many.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self { waiting: Mutex::default(), most: most.max(1) as usize }
    }

    /// Keeps a message that was refused for want of a word of its sender; says whether that was why.
    pub fn keep(
        &self,
        (conversation, caller): (&str, &str),
        failure: &Failure,
        message: impl FnOnce() -> T,
    ) -> bool {
        let Failure::Unconfirmed { proof, expires_in, .. } = failure else { return false };
        let (now, mut waiting) = (Instant::now(), self.waiting.lock());
        waiting.retain(|_, it| it.until > now);
        let whose = (conversation.to_owned(), caller.to_owned());
        if waiting.len() >= self.most && !waiting.contains_key(&whose) {
            let oldest = waiting.iter().min_by_key(|(_, it)| it.until).map(|(whose, _)| whose.clone());
            drop(oldest.and_then(|oldest| waiting.remove(&oldest)));
        }
        let kept = Waiting { message: message(), proof: proof.clone(), until: now + *expires_in };
        waiting.insert(whose, kept);
        true
    }

    /// The message of that sender that waits there, with its proof.
    pub fn take(&self, (conversation, caller): (&str, &str)) -> Option<(T, Box<str>)> {
        let (now, mut waiting) = (Instant::now(), self.waiting.lock());
        waiting.retain(|_, it| it.until > now);
        let found = waiting.remove(&(conversation.to_owned(), caller.to_owned()))?;
        Some((found.message, found.proof))
    }

    /// Whether nothing waits: then no message needs to be read for a word.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::Incident;
    use std::time::Duration;

    fn asks(proof: &str, secs: u64) -> Failure {
        let incident = Incident::from_parts(1, 2);
        Failure::Unconfirmed { incident, proof: proof.into(), expires_in: Duration::from_secs(secs) }
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_taken_once_by_its_sender_in_its_conversation_and_in_time() {
        let waiting = Unconfirmed::new(10);
        assert!(
            !waiting.keep(("c", "a"), &Failure::DeadlineExceeded, || "other"),
            "only what is asked about waits"
        );
        assert!(
            waiting.keep(("c", "a"), &asks("1", 60), || "first")
                && waiting.keep(("c", "a"), &asks("2", 60), || "second")
        );
        assert_eq!(waiting.take(("c", "b")), None, "not somebody else's");
        assert_eq!(waiting.take(("d", "a")), None, "not elsewhere");
        assert_eq!(waiting.take(("c", "a")), Some(("second", "2".into())), "the newest");
        assert_eq!(waiting.take(("c", "a")), None, "once");
        waiting.keep(("c", "a"), &asks("3", 60), || "third");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(waiting.take(("c", "a")), None, "its time is over");
        assert!(waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn of_too_many_the_oldest_is_forgotten() {
        let waiting = Unconfirmed::new(2);
        for (secs, caller) in [(20, "a"), (10, "b"), (30, "c")] {
            waiting.keep(("c", caller), &asks("p", secs), || caller);
        }
        assert_eq!(waiting.take(("c", "b")), None);
        assert!(waiting.take(("c", "a")).is_some() && waiting.take(("c", "c")).is_some());
    }
}
