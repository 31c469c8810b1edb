//! `getUpdates`: waiting, and what happens to those who poll in twos or beside a webhook. Invariant: one poll waits at
//! a time; the newest ends the one before it.

use super::{
    methods::Work,
    state::{Moment, Outcome, Poll, Refusal, Shared, State},
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// The longest wait, in seconds.
const LONGEST: i64 = 50;
/// Conflicts are answered this far apart.
const CONFLICTS: Duration = Duration::from_secs(3);
/// Who asks the same again so soon waits at least so long.
const AGAIN: Duration = Duration::from_secs(3);
/// Who asks the same again so soon gets one update.
const AT_ONCE: Duration = Duration::from_millis(500);

/// What ends a poll when another begins.
pub(super) const OTHER: &str =
    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
/// What ends a poll when a webhook is set.
pub(super) const WEBHOOK_SET: &str = "Conflict: terminated by setWebhook request";
const WEBHOOK: &str = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first";

/// What a call is told, late if it is not the first.
async fn conflict(shared: &Shared, message: &str) -> Refusal {
    let late = shared.change(|state, now| {
        let late = now < state.next_conflict;
        if !late {
            state.next_conflict = now + CONFLICTS;
        }
        late
    });
    if late {
        tokio::time::sleep(CONFLICTS).await;
    }
    Refusal::new(409, message)
}

enum Begun {
    Answer(Vec<Value>),
    Conflict,
    Wait(Waiting, oneshot::Receiver<&'static str>),
}

struct Waiting {
    shared: Arc<Shared>,
    number: u64,
    offset: i64,
    limit: usize,
    until: Moment,
}

/// A poll whose client went away waits no more.
impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.poll.as_ref().is_some_and(|poll| poll.number == self.number) {
            state.poll = None;
        }
    }
}

fn begin(shared: &Arc<Shared>, work: &mut Work<'_>) -> Begun {
    if work.state.webhook.is_some() {
        return Begun::Conflict;
    }
    let now = work.now;
    let offset = work.number("offset").unwrap_or(0);
    let mut limit = work.number("limit").unwrap_or(100).clamp(1, 100);
    let mut timeout = work.number("timeout").unwrap_or(0).clamp(0, LONGEST);
    remember(work);
    let last = work.state.last_poll;
    let since = last.at.filter(|_| last.offset == offset).map(|at| now.saturating_sub(at));
    if since.is_some_and(|since| since < AGAIN) && timeout < 3 {
        timeout = 3;
    }
    if since.is_some_and(|since| since < AT_ONCE) {
        limit = 1;
    }
    work.state.last_poll.offset = offset;
    work.state.last_poll.at = Some(now);
    let limit = usize::try_from(limit).unwrap_or(100);
    let updates = work.state.queue.get(offset, limit, now);
    if !updates.is_empty() || timeout == 0 {
        return Begun::Answer(updates);
    }
    if end(work.state, OTHER) {
        work.state.violation("two connections poll");
    }
    let (end, ended) = oneshot::channel();
    let number = work.state.number();
    work.state.poll = Some(Poll { number, end });
    let until = now + Duration::from_secs(timeout.unsigned_abs());
    // What waits has confirmed by now; a smaller offset is the head of the queue.
    let waiting = Waiting { shared: Arc::clone(shared), number, offset: offset.max(0), limit, until };
    Begun::Wait(waiting, ended)
}

/// Keeps which kinds of updates are wanted.
pub(super) fn remember(work: &mut Work<'_>) {
    if let Some(kinds) = work.values.get("allowed_updates").and_then(Value::as_array) {
        work.state.queue.allow(kinds.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    }
}

/// Ends the poll that waits, if one does.
pub(super) fn end(state: &mut State, why: &'static str) -> bool {
    state.poll.take().is_some_and(|poll| poll.end.send(why).is_ok())
}

pub(super) async fn get_updates(shared: &Arc<Shared>, values: &serde_json::Map<String, Value>) -> Outcome {
    let begun = shared.change(|state, now| {
        let files = std::collections::BTreeMap::new();
        begin(shared, &mut Work { shared, state, now, values, files: &files, rival: false })
    });
    let (waiting, mut ended) = match begun {
        Begun::Answer(updates) => return Ok(updates.into()),
        Begun::Conflict => return Err(conflict(shared, WEBHOOK).await),
        Begun::Wait(waiting, ended) => (waiting, ended),
    };
    loop {
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let now = shared.now();
        let left = waiting.until.saturating_sub(now);
        let updates = shared.lock().queue.get(waiting.offset, waiting.limit, now);
        if !updates.is_empty() || left.is_zero() {
            return Ok(updates.into());
        }
        tokio::select! {
            why = &mut ended => return Err(conflict(shared, why.unwrap_or(OTHER)).await),
            () = changed => {}
            () = tokio::time::sleep(left) => {}
        }
    }
}
