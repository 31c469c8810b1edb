//! Overrides of a provider's safety settings for the time of an incident (S0-04): set by an operator with a reason,
//! kept with their end, ended by the clock.
//!
//! Invariants: none lasts longer than a day; a restart neither ends nor prolongs one; each leaves one audit record at its
//! start and one at its end, whichever replica ends it; while one counts, an alert stands. What counts is decided by the
//! time in the list itself (`SafetyView`), not by this task being on time.

use crate::store_failure as failure;
use portcullis_domain::{Door, EndClock, Failure, HarmCategory, HarmThreshold, SafetyOverride, SafetyView};
use portcullis_store::{Result, Store};
use portcullis_telemetry::{AlertCategory, Alerts, Audit, AuditEvent, Metrics};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Mutex, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Longest time of an override.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Longest reason, in characters.
const MAX_REASON_CHARS: usize = 500;
/// How often it is seen what other replicas did, and the standing alert is told again.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What an operator wants.
#[derive(Clone, Debug)]
pub struct NewOverride {
    /// At which provider.
    pub provider: String,
    /// Of what.
    pub category: HarmCategory,
    /// From where on.
    pub threshold: HarmThreshold,
    /// For how long; at most a day.
    pub time: Duration,
    /// Why.
    pub reason: String,
    /// Whether the operator said to understand that a threshold without any filter filters nothing.
    pub i_understand: bool,
    /// Who.
    pub by: String,
}

/// What the desk is made of.
pub struct SafetyParts {
    /// Where they are kept.
    pub store: Store,
    /// Where their start and end are written.
    pub audit: Audit,
    /// Who hears of them while they count.
    pub alerts: Alerts,
    /// Where they are counted.
    pub metrics: Metrics,
    /// The providers whose settings can be overridden.
    pub providers: Vec<String>,
    /// What time it is.
    pub clock: EndClock,
}

struct Inner {
    parts: SafetyParts,
    book: watch::Sender<Arc<[SafetyOverride]>>,
    /// One change at a time.
    turn: Mutex<()>,
}

/// The one place where overrides are set and ended. Cheap to clone.
#[derive(Clone)]
pub struct SafetyDesk(Arc<Inner>);

/// Why an override ended.
#[derive(Clone, Copy)]
enum End {
    Time,
    Replaced,
    Operator,
}

impl End {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Time => "time is over",
            Self::Replaced => "replaced",
            Self::Operator => "ended by an operator",
        }
    }
}

impl SafetyDesk {
    /// With what is kept. What ended while nobody ran is ended now, with its record.
    ///
    /// # Errors
    /// A store that is away.
    pub async fn open(parts: SafetyParts) -> Result<Self> {
        let (book, _) = watch::channel(Arc::from([]));
        let desk = Self(Arc::new(Inner { parts, book, turn: Mutex::new(()) }));
        desk.refresh().await?;
        Ok(desk)
    }

    /// For those who must obey.
    #[must_use]
    pub fn view(&self) -> SafetyView {
        SafetyView::new(self.0.book.subscribe(), self.0.parts.clock)
    }

    /// Those that count now.
    #[must_use]
    pub fn active(&self) -> Vec<SafetyOverride> {
        let now = self.0.parts.clock.now_ms();
        self.0.book.borrow().iter().filter(|it| it.holds_at(now)).cloned().collect()
    }

    /// Sets one, over an earlier one of the same provider and category; it counts from the next call on.
    ///
    /// # Errors
    /// `InvalidInput` naming what is wrong; `Unavailable` while the store or the audit trail is away: nothing changed.
    pub async fn set(&self, new: NewOverride) -> std::result::Result<SafetyOverride, Failure> {
        self.check(&new)?;
        let parts = &self.0.parts;
        if !parts.audit.accepts() {
            return Err(Failure::Unavailable { retry_after: LOOK_EVERY, rate_limited: false });
        }
        let _turn = self.0.turn.lock().await;
        let now = parts.clock.now_ms();
        let time = i64::try_from(new.time.as_millis()).unwrap_or(0);
        let it = SafetyOverride {
            provider: new.provider,
            category: new.category,
            threshold: new.threshold,
            since_ms: now,
            until_ms: now.saturating_add(time),
            reason: new.reason.trim().to_owned(),
            by: new.by,
        };
        parts.store.safety_overrides().set(&it).await.map_err(failure)?;
        let mut book: Vec<SafetyOverride> = self.0.book.borrow().to_vec();
        let same = |other: &SafetyOverride| other.provider == it.provider && other.category == it.category;
        if let Some(before) = book.iter().position(same) {
            self.ended(&book.swap_remove(before), End::Replaced);
        }
        book.push(it.clone());
        tracing::warn!(
            provider = it.provider,
            category = it.category.as_str(),
            threshold = it.threshold.as_str(),
            secs = new.time.as_secs(),
            "safety settings overridden"
        );
        self.write("safety_override_set", &it, vec![("reason", it.reason.clone())]);
        self.publish(book);
        Ok(it)
    }

    /// Ends one before its time; whether there was one.
    ///
    /// # Errors
    /// `Unavailable` while the store is away: nothing changed.
    pub async fn end(&self, provider: &str, category: HarmCategory) -> std::result::Result<bool, Failure> {
        let _turn = self.0.turn.lock().await;
        let mut book: Vec<SafetyOverride> = self.0.book.borrow().to_vec();
        let same = |it: &SafetyOverride| it.provider == provider && it.category == category;
        let Some(found) = book.iter().position(same) else { return Ok(false) };
        let it = book.swap_remove(found);
        if self.0.parts.store.safety_overrides().remove(&it).await.map_err(failure)? {
            self.ended(&it, End::Operator);
        }
        self.publish(book);
        Ok(true)
    }

    /// Ends what is over, on time, and hears of what other replicas did, until `stop`.
    pub fn run(&self, tasks: &TaskTracker, stop: CancellationToken) {
        let desk = self.clone();
        drop(tasks.spawn(async move {
            stop.run_until_cancelled(desk.look_on()).await;
        }));
    }

    async fn look_on(self) {
        let mut away = false;
        loop {
            tokio::time::sleep(self.next_look()).await;
            match self.refresh().await {
                Ok(()) => away = false,
                Err(error) if !away => {
                    tracing::warn!(%error, "overrides of safety settings cannot be read; known ones end on time");
                    away = true;
                }
                Err(_) => {}
            }
        }
    }

    fn next_look(&self) -> Duration {
        let now = self.0.parts.clock.now_ms();
        let ends = self.0.book.borrow().iter().map(|it| it.until_ms).filter(|until| *until > now).min();
        let left = ends.map(|until| u64::try_from(until - now).unwrap_or(0));
        left.map_or(LOOK_EVERY, |left| LOOK_EVERY.min(Duration::from_millis(left + 1)))
    }

    /// What is kept, less what is over: exactly one replica takes that out and records its end.
    ///
    /// # Errors
    /// A store that is away. What is over counts no more all the same.
    pub async fn refresh(&self) -> Result<()> {
        let _turn = self.0.turn.lock().await;
        let now = self.0.parts.clock.now_ms();
        let kept = match self.0.parts.store.safety_overrides().list().await {
            Ok(kept) => kept,
            Err(error) => {
                let known = self.0.book.borrow().iter().filter(|it| it.holds_at(now)).cloned().collect();
                self.publish(known);
                return Err(error);
            }
        };
        let (active, over): (Vec<_>, Vec<_>) = kept.into_iter().partition(|it| it.holds_at(now));
        self.publish(active);
        for it in over {
            if self.0.parts.store.safety_overrides().remove(&it).await? {
                self.ended(&it, End::Time);
            }
        }
        Ok(())
    }

    fn check(&self, new: &NewOverride) -> std::result::Result<(), Failure> {
        if !self.0.parts.providers.contains(&new.provider) {
            let known = self.0.parts.providers.join(", ");
            return Err(Failure::invalid(
                "provider",
                format!("No provider of that name has safety settings. Those that have: {known}."),
            ));
        }
        if new.time.is_zero() || new.time > LONGEST {
            return Err(Failure::invalid("for", "An override lasts at least a second and at most 24 hours."));
        }
        let reason = new.reason.trim();
        if reason.is_empty()
            || reason.chars().count() > MAX_REASON_CHARS
            || reason.chars().any(char::is_control)
        {
            let rule = format!("Say why, in 1 to {MAX_REASON_CHARS} characters on one line.");
            return Err(Failure::invalid("reason", rule));
        }
        if new.threshold.filters_nothing() && !new.i_understand {
            let rule = "This threshold filters nothing at all; say i_understand if you mean it.";
            return Err(Failure::invalid("i_understand", rule));
        }
        Ok(())
    }

    fn ended(&self, it: &SafetyOverride, end: End) {
        let (provider, category) = (it.provider.as_str(), it.category.as_str());
        tracing::info!(provider, category, why = end.as_str(), "safety settings hold again");
        self.write("safety_override_ended", it, vec![("why", end.as_str().to_owned())]);
        if !matches!(end, End::Replaced) {
            let message = format!("safety settings of {provider} for {category} hold again");
            self.0.parts.alerts.resolve(AlertCategory::SafetyOverride, &subject(it), message);
        }
    }

    fn write(&self, kind: &'static str, it: &SafetyOverride, more: Vec<(&'static str, String)>) {
        let mut details = vec![
            ("provider", it.provider.clone()),
            ("category", it.category.as_str().to_owned()),
            ("threshold", it.threshold.as_str().to_owned()),
            ("since", moment(it.since_ms)),
            ("until", moment(it.until_ms)),
            ("by", it.by.clone()),
        ];
        details.extend(more);
        self.0.parts.audit.record(AuditEvent { details, ..AuditEvent::new(kind, Door::Admin, "ok") });
    }

    /// The list that counts from now on, its gauges, and the alert that stands while anything is on it.
    fn publish(&self, book: Vec<SafetyOverride>) {
        for category in HarmCategory::ALL {
            let count = book.iter().filter(|it| it.category == category).count();
            self.0.parts.metrics.safety_overrides(category).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for it in &book {
            let (provider, category, threshold) = (&it.provider, it.category.as_str(), it.threshold.as_str());
            let until = moment(it.until_ms);
            let message = format!("{provider} filters {category} at {threshold} until {until}");
            self.0.parts.alerts.raise(AlertCategory::SafetyOverride, &subject(it), message);
        }
        self.0.book.send_replace(book.into());
    }
}

fn subject(it: &SafetyOverride) -> String {
    format!("{}/{}", it.provider, it.category.as_str())
}

fn moment(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(|_| unix_ms.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests;
