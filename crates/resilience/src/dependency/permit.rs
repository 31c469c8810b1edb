//! What a call under way holds: its place, its room under the limits a minute, and its say in the breaker. Invariant:
//! whatever way it ends (finished, dropped, panicked over), all of it is given back exactly once.

use super::{
    Class, Dependency, Guards,
    lanes::{Room, Sent},
};
use crate::{breaker::Pass, bulkhead::Place};
use portcullis_telemetry::AlertCategory;
use std::time::Duration;
use tokio::time::Instant;

/// A value with the place it still holds.
#[derive(Debug)]
pub struct Guarded<T> {
    /// What came.
    pub value: T,
    /// Held to the end of a streamed value.
    pub permit: CallPermit,
}

/// The place of a call under way. `finish` says how it went; dropping it unfinished counts as cancelled.
pub struct CallPermit {
    pub(super) dependency: Dependency,
    pub(super) pass: Option<Pass>,
    /// Until it is sent.
    pub(super) room: Option<Room>,
    pub(super) place: Option<Place>,
    /// Once it is sent.
    pub(super) sent: Option<Sent>,
    /// Whether it tries a held lane.
    pub(super) trial: bool,
}

impl CallPermit {
    /// Ends the call.
    pub fn finish(mut self, class: Class) {
        self.conclude(class);
    }

    /// Replaces the estimate of tokens by what it really took.
    pub fn settle(&mut self, tokens: u32) {
        if let Some(sent) = &mut self.sent
            && let Some(lane) = self.dependency.0.guards.lock().lanes.get(sent.lane)
        {
            lane.pacer.settle(&mut sent.ticket, tokens);
        }
    }

    pub(super) const fn is_sent(&self) -> bool {
        self.sent.is_some()
    }

    /// Which key it goes with.
    pub(super) fn lane(&self) -> usize {
        self.sent.as_ref().map_or(0, |sent| sent.lane)
    }

    /// A value came. A probe has thereby done its work, even if its stream goes on for minutes.
    pub(super) fn begun(&mut self) {
        if let Some(pass) = &mut self.pass
            && pass.probe
        {
            let transition = self.dependency.0.guards.lock().breaker.begun(pass, Instant::now());
            self.dependency.tell(transition, true);
        }
    }

    fn conclude(&mut self, class: Class) {
        let (pass, room) = (self.pass.take(), self.room.take());
        if pass.is_some() || room.is_some() {
            self.dependency.record(pass, room, self.sent.as_mut(), self.trial, class);
        }
        // Last, so that whoever is served next finds the breaker as this call left it.
        self.place = None;
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        self.conclude(Class::Cancelled);
    }
}

impl std::fmt::Debug for CallPermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallPermit").field("dependency", &self.dependency.name()).finish_non_exhaustive()
    }
}

/// An alert's category and words.
type Told = (AlertCategory, &'static str);

const NO_CREDIT: Told = (AlertCategory::QuotaExhausted, "the account has no credit or quota left");
const KEY_REFUSED: Told = (AlertCategory::KeyInvalid, "our key is refused");

/// What follows from an outcome for the account; told after the lock is released.
enum Consequence {
    None,
    Alert(Told),
    Held { told: Told, time: Duration, fresh: bool, lane: usize },
    Released,
}

impl Dependency {
    fn record(
        &self,
        pass: Option<Pass>,
        room: Option<Room>,
        sent: Option<&mut Sent>,
        trial: bool,
        class: Class,
    ) {
        let now = Instant::now();
        let mut guards = self.0.guards.lock();
        if let Some(room) = room {
            guards.lanes.give_back(room);
        }
        let transition = pass.and_then(|pass| guards.breaker.record(pass, class.count(), now));
        let consequence = match sent {
            Some(sent) => self.judge(&mut guards, sent, trial, class, now),
            None => Consequence::None,
        };
        let all_held = guards.lanes.held(now).is_some();
        drop(guards);
        self.tell(transition, true);
        self.follow(consequence, all_held);
    }

    /// What the outcome means for the lane it came from.
    fn judge(
        &self,
        guards: &mut Guards,
        sent: &mut Sent,
        trial: bool,
        class: Class,
        now: Instant,
    ) -> Consequence {
        let Some(lane) = guards.lanes.get(sent.lane) else { return Consequence::None };
        if class.is_refusal() {
            // It was a call, and counts as one, but no model read it: its tokens are free again.
            lane.pacer.settle(&mut sent.ticket, 0);
        }
        let hold = || self.rules().policy.hold;
        match class {
            Class::Ok => {
                lane.pacer.worked(&sent.ticket);
                if lane.account.worked(trial, now) { Consequence::Released } else { Consequence::None }
            }
            Class::RateLimited { retry_after } => {
                lane.pacer.slow_down(retry_after, now);
                Consequence::None
            }
            Class::Exhausted { until } => {
                let time = until.unwrap_or_else(hold);
                let fresh = lane.account.hold(time, now);
                Consequence::Held { told: NO_CREDIT, time, fresh, lane: sent.lane }
            }
            Class::BadKey if lane.account.key_refused(now) => {
                let time = hold();
                let fresh = lane.account.hold(time, now);
                Consequence::Held { told: KEY_REFUSED, time, fresh, lane: sent.lane }
            }
            Class::BadKey => Consequence::Alert(KEY_REFUSED),
            Class::HardFailure
            | Class::Overloaded { .. }
            | Class::TargetUnfit
            | Class::CallerFault
            | Class::Blocked
            | Class::Cancelled => Consequence::None,
        }
    }

    fn follow(&self, consequence: Consequence, all_held: bool) {
        let name = self.name();
        match consequence {
            Consequence::None => {}
            Consequence::Alert((category, message)) => self.0.alerts.raise(category, name, message),
            Consequence::Held { told: (category, message), time, fresh, lane } => {
                self.0.alerts.raise(category, name, message);
                self.0.held.set(i64::from(all_held));
                if fresh {
                    tracing::warn!(dependency = name, lane, secs = time.as_secs(), "account held: {message}");
                }
            }
            Consequence::Released => {
                self.0.held.set(0);
                tracing::info!(dependency = name, "account released: a call worked");
                for (category, _) in [NO_CREDIT, KEY_REFUSED] {
                    self.0.alerts.resolve(category, name, "its calls work again");
                }
            }
        }
    }
}
