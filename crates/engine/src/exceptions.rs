//! Exceptions from inspection that operators grant while it runs: suspicious messages of one caller, or exactly one text,
//! pass until a moment that is named. Beside those of the settings.
//!
//! Invariants: none is without an end or lasts longer than the settings allow; a restart neither ends nor prolongs one;
//! each leaves one audit record at its start and one at its end, whichever replica ends it, and each use leaves one;
//! a text is never kept, only its SHA-256. What counts is decided by the time in the list itself, not by the task
//! being on time. Source: inspect.md section 2.

use crate::keys::store_failure as failure;
use portcullis_domain::{Door, EndClock, Failure};
use portcullis_inspect::{Exceptions, InspectConfig, named_by, names_text};
pub use portcullis_store::ExceptionRow;
use portcullis_store::{Result, Store};
use portcullis_telemetry::{Audit, AuditEvent};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Mutex, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Longest reason, in characters.
const MAX_REASON_CHARS: usize = 500;
/// Longest name of a caller, in bytes.
const MAX_CALLER: usize = 256;
/// How often it is seen what other replicas did.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// When a trail that takes nothing may be written again.
const UNPROVED_RETRY: Duration = Duration::from_secs(10);

/// What an operator wants: a caller, a text, or both; then both must fit.
#[derive(Clone, Debug, Default)]
pub struct NewException {
    /// Whose messages: the caller's id as logs tell it.
    pub caller: Option<String>,
    /// Which text, word for word; only its hash is kept.
    pub text: Option<String>,
    /// The same as SHA-256, in 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// For how long.
    pub time: Duration,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
}

/// What granted exceptions hold, for whoever asks of a suspicious text.
#[derive(Clone, Debug, Default)]
pub struct Granted(Option<watch::Receiver<Arc<Exceptions>>>);

impl Granted {
    /// The name of the exception by which this text of that caller passes at that second of the epoch.
    pub(crate) fn holds(&self, caller: &str, text: &str, now: i64) -> Option<Arc<str>> {
        let list = self.0.as_ref()?.borrow().clone();
        list.holds(caller, text, now)
    }
}

struct Inner {
    store: Store,
    audit: Audit,
    clock: EndClock,
    most: usize,
    longest: Duration,
    rows: watch::Sender<Arc<[ExceptionRow]>>,
    ready: watch::Sender<Arc<Exceptions>>,
    /// One change at a time.
    turn: Mutex<()>,
}

/// The one place where exceptions are granted and ended. Cheap to clone.
#[derive(Clone)]
pub struct ExceptionDesk(Arc<Inner>);

impl ExceptionDesk {
    /// With what is kept. What ended while nobody ran is ended now, with its record.
    ///
    /// # Errors
    /// A store that is away.
    pub async fn open(config: &InspectConfig, store: Store, audit: Audit) -> Result<Self> {
        let desk = Self(Arc::new(Inner {
            store,
            audit,
            clock: EndClock::new(),
            most: config.max_granted,
            longest: Duration::from_secs(u64::from(config.granted_days) * 86_400),
            rows: watch::channel(Arc::from([])).0,
            ready: watch::channel(Arc::default()).0,
            turn: Mutex::new(()),
        }));
        desk.refresh().await?;
        Ok(desk)
    }

    /// For those who ask of suspicious texts.
    #[must_use]
    pub(crate) fn granted(&self) -> Granted {
        Granted(Some(self.0.ready.subscribe()))
    }

    /// Those that count now, the oldest first.
    #[must_use]
    pub fn active(&self) -> Vec<ExceptionRow> {
        let now = self.0.clock.now_ms();
        self.0.rows.borrow().iter().filter(|row| now < row.until_ms).cloned().collect()
    }

    /// Grants one; it counts from the next message on, on other replicas within seconds.
    ///
    /// # Errors
    /// `InvalidInput` naming what is wrong, `Conflict` when there are too many; `Unavailable` while the store or the audit
    /// trail is away: nothing changed.
    pub async fn grant(&self, new: NewException) -> std::result::Result<ExceptionRow, Failure> {
        let digest = self.check(&new)?;
        let inner = &*self.0;
        if !inner.audit.accepts() {
            return Err(Failure::Unavailable { retry_after: UNPROVED_RETRY, rate_limited: false });
        }
        let _turn = inner.turn.lock().await;
        let mut rows = self.active();
        if rows.len() >= inner.most {
            let words = "There are as many exceptions as are allowed; end one first. Nothing was changed.";
            return Err(Failure::Conflict(words.into()));
        }
        let now = inner.clock.now_ms();
        let row = ExceptionRow {
            id: format!("x-{:016x}", rand::random::<u64>()),
            caller: new.caller,
            digest,
            since_ms: now,
            until_ms: now.saturating_add(i64::try_from(new.time.as_millis()).unwrap_or(0)),
            reason: new.reason.trim().to_owned(),
            by: new.by,
        };
        inner.store.guard_exceptions().add(&row).await.map_err(failure)?;
        rows.push(row.clone());
        tracing::warn!(id = row.id, secs = new.time.as_secs(), "an exception from inspection was granted");
        self.write("exception_granted", &row, ("reason", row.reason.clone()));
        self.publish(rows);
        Ok(row)
    }

    /// Ends one before its time; the one that ended.
    ///
    /// # Errors
    /// `Unavailable` while the store is away: nothing changed.
    pub async fn end(&self, id: &str) -> std::result::Result<Option<ExceptionRow>, Failure> {
        let _turn = self.0.turn.lock().await;
        let mut rows = self.active();
        let Some(found) = rows.iter().position(|row| row.id == id) else { return Ok(None) };
        let row = rows.remove(found);
        if self.0.store.guard_exceptions().remove(id).await.map_err(failure)? {
            self.ended(&row, "ended by an operator");
        }
        self.publish(rows);
        Ok(Some(row))
    }

    /// Ends what is over, and hears of what other replicas did, until `stop`.
    pub fn run(&self, tasks: &TaskTracker, stop: CancellationToken) {
        let desk = self.clone();
        drop(tasks.spawn(async move {
            stop.run_until_cancelled(desk.look_on()).await;
        }));
    }

    async fn look_on(self) {
        let mut away = false;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.refresh().await {
                Ok(()) => away = false,
                Err(error) if !away => {
                    tracing::warn!(%error, "exceptions from inspection cannot be read; known ones end on time");
                    away = true;
                }
                Err(_) => {}
            }
        }
    }

    /// What is kept, less what is over: exactly one replica takes that out and records its end.
    ///
    /// # Errors
    /// A store that is away. What is over counts no more all the same.
    pub async fn refresh(&self) -> Result<()> {
        let _turn = self.0.turn.lock().await;
        let kept = self.0.store.guard_exceptions().list().await?;
        let now = self.0.clock.now_ms();
        let (active, over): (Vec<_>, Vec<_>) = kept.into_iter().partition(|row| now < row.until_ms);
        self.publish(active);
        for row in over {
            if self.0.store.guard_exceptions().remove(&row.id).await? {
                self.ended(&row, "time is over");
            }
        }
        Ok(())
    }

    /// The hash of the text that is meant, if one is.
    fn check(&self, new: &NewException) -> std::result::Result<Option<String>, Failure> {
        let digest = match (&new.text, &new.sha256) {
            (Some(_), Some(_)) => {
                return Err(Failure::invalid("text", "Say the text or its SHA-256, not both."));
            }
            (Some(text), None) => Some(named_by(text)),
            (None, Some(digest)) if names_text(digest) => Some(digest.to_ascii_lowercase()),
            (None, Some(_)) => {
                let words = "sha256 is 64 hexadecimal digits: `sha256sum` prints them.";
                return Err(Failure::invalid("sha256", words));
            }
            (None, None) => None,
        };
        let plain = |caller: &String| {
            (1..=MAX_CALLER).contains(&caller.len()) && !caller.chars().any(char::is_control)
        };
        if !new.caller.as_ref().is_none_or(plain) {
            return Err(Failure::invalid("caller", "A caller has 1 to 256 visible characters."));
        }
        if new.caller.is_none() && digest.is_none() {
            let words =
                "Say whose messages or which text: caller, text or sha256. It would hold for everybody.";
            return Err(Failure::invalid("caller", words));
        }
        if new.time.is_zero() || new.time > self.0.longest {
            let days = self.0.longest.as_secs() / 86_400;
            let words = format!("An exception lasts at least a second and at most {days} days.");
            return Err(Failure::invalid("for_secs", words));
        }
        let reason = new.reason.trim();
        let chars = reason.chars().count();
        if !(1..=MAX_REASON_CHARS).contains(&chars) || reason.chars().any(char::is_control) {
            let words = format!("Say why, in 1 to {MAX_REASON_CHARS} characters on one line.");
            return Err(Failure::invalid("reason", words));
        }
        Ok(digest)
    }

    fn ended(&self, row: &ExceptionRow, why: &'static str) {
        tracing::info!(id = row.id, why, "an exception from inspection is over");
        self.write("exception_ended", row, ("why", why.to_owned()));
    }

    /// Whose messages pass is told as every caller is: by a keyed hash.
    fn write(&self, kind: &'static str, row: &ExceptionRow, more: (&'static str, String)) {
        let at =
            |ms| jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |at| at.to_string());
        let mut details = vec![
            ("id", row.id.clone()),
            ("since", at(row.since_ms)),
            ("until", at(row.until_ms)),
            ("by", row.by.clone()),
            more,
        ];
        details.extend(row.digest.clone().map(|digest| ("sha256", digest)));
        let caller = row.caller.as_deref().map(Into::into);
        self.0.audit.record(AuditEvent { caller, details, ..AuditEvent::new(kind, Door::Admin, "ok") });
    }

    fn publish(&self, rows: Vec<ExceptionRow>) {
        let mut ready = Exceptions::default();
        for row in &rows {
            ready.add(&row.id, row.caller.as_deref(), row.digest.as_deref(), row.until_ms / 1000);
        }
        self.0.ready.send_replace(Arc::new(ready));
        self.0.rows.send_replace(rows.into());
    }
}

#[cfg(test)]
mod tests;
