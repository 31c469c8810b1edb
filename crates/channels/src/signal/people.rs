//! Who is who at this door, and whose session runs. Invariants: the passphrase is kept and compared as a hash, in
//! constant time; who is denied, or not allowed, is told nothing; a session is believed only from this table.
//!
//! Source: ask.md section 3.

use super::{config::SignalConfig, envelope::Sender, guests::Guests};
use parking_lot::Mutex;
use portcullis_domain::Door;
use portcullis_store::{SessionRow, Store};
use portcullis_telemetry::{AlertCategory, Alerts, Metrics};
use ring::digest::{SHA256, digest};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::HashMap;
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

const DOOR: &str = Door::Signal.as_str();
const HOUR_MS: i64 = 3_600_000;

/// What somebody is at this door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not to be answered whatever they write.
    Unwanted,
    /// A stranger: only the passphrase is heard.
    Guest,
    /// A session that ended by itself; told once.
    Ended,
    /// Somebody to answer.
    Active {
        /// Named as administrator.
        admin: bool,
    },
}

/// The people of this door.
pub(super) struct People {
    allow: Vec<String>,
    deny: Vec<String>,
    admins: Vec<String>,
    /// None: everybody may ask.
    passphrase: Option<[u8; 32]>,
    idle_ms: i64,
    max_ms: i64,
    persist: bool,
    sessions: Mutex<HashMap<String, SessionRow>>,
    /// Moments of last messages that are not in the store yet.
    seen: Mutex<HashMap<String, i64>>,
    guests: Mutex<Guests>,
    store: Store,
    metrics: Metrics,
    alerts: Alerts,
}

/// `signal:<uuid>`.
pub(super) fn caller(sender: &Sender) -> String {
    format!("{DOOR}:{}", sender.uuid)
}

/// `signal-group:<id>`.
pub(super) fn group_caller(group: &str) -> String {
    format!("{DOOR}-group:{group}")
}

fn hash(text: &str) -> [u8; 32] {
    digest(&SHA256, text.trim().as_bytes()).as_ref().try_into().unwrap_or_default()
}

impl People {
    /// The people as configured, with the sessions that were kept.
    pub(super) async fn open(
        config: &SignalConfig,
        passphrase: Option<&SecretString>,
        store: Store,
        metrics: Metrics,
        alerts: Alerts,
    ) -> portcullis_store::Result<Self> {
        let rows = if config.persist_sessions { store.sessions().list(DOOR).await? } else { Vec::new() };
        let passphrase =
            passphrase.map(|secret| secret.expose_secret().trim()).filter(|secret| !secret.is_empty());
        let days = |days: u64| i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(24 * HOUR_MS);
        metrics.active_sessions(Door::Signal).set(i64::try_from(rows.len()).unwrap_or(i64::MAX));
        Ok(Self {
            allow: config.allow.clone(),
            deny: config.deny.clone(),
            admins: config.admins.clone(),
            passphrase: passphrase.map(hash),
            idle_ms: i64::try_from(config.session_idle_hours).unwrap_or(i64::MAX).saturating_mul(HOUR_MS),
            max_ms: days(config.session_max_days),
            persist: config.persist_sessions,
            sessions: Mutex::new(rows.into_iter().map(|row| (row.caller.clone(), row)).collect()),
            seen: Mutex::default(),
            guests: Mutex::default(),
            store,
            metrics,
            alerts,
        })
    }

    /// What somebody is now.
    pub(super) fn standing(&self, sender: &Sender, now: i64) -> Standing {
        let named = |list: &[String]| {
            list.iter().any(|one| *one == sender.uuid || Some(one) == sender.number.as_ref())
        };
        if sender.own {
            return Standing::Active { admin: true };
        }
        if named(&self.deny) {
            return Standing::Unwanted;
        }
        if named(&self.admins) {
            return Standing::Active { admin: true };
        }
        if !self.allow.is_empty() && !named(&self.allow) {
            return Standing::Unwanted;
        }
        if self.passphrase.is_none() {
            return Standing::Active { admin: false };
        }
        match self.sessions.lock().get(&caller(sender)) {
            None => Standing::Guest,
            Some(row) if self.has_ended(row, now) => Standing::Ended,
            Some(_) => Standing::Active { admin: false },
        }
    }

    fn has_ended(&self, row: &SessionRow, now: i64) -> bool {
        now >= row.expires_at || now.saturating_sub(row.last_seen) >= self.idle_ms
    }

    /// Whether members of a group are answered.
    pub(super) fn answers_group(&self, group: &str, now: i64) -> bool {
        self.sessions.lock().get(&group_caller(group)).is_some_and(|row| !self.has_ended(row, now))
    }

    /// Somebody active wrote, or somebody in an active group.
    pub(super) fn saw(&self, whose: &str, now: i64) {
        let mut sessions = self.sessions.lock();
        let Some(row) = sessions.get_mut(whose) else { return };
        row.last_seen = row.last_seen.max(now);
        self.seen.lock().insert(whose.to_owned(), now);
    }

    /// Keeps the moments of last messages; called now and then, and at the end.
    pub(super) async fn flush(&self) {
        if !self.persist {
            return;
        }
        let seen: Vec<_> = std::mem::take(&mut *self.seen.lock()).into_iter().collect();
        if !seen.is_empty()
            && let Err(error) = self.store.sessions().seen(&seen).await
        {
            tracing::debug!(%error, "sessions end a little early if this process ends now");
        }
    }

    /// Whether a guest writes so much that nothing of it is kept.
    pub(super) fn floods(&self, sender: &Sender) -> bool {
        self.guests.lock().floods(&sender.uuid, Instant::now())
    }

    /// Counts a message of a guest.
    pub(super) fn guest_wrote(&self, sender: &Sender) {
        if self.guests.lock().wrote(&sender.uuid, Instant::now()) {
            let told =
                "more than 100 messages of strangers within an hour; somebody may be guessing the passphrase";
            self.alerts.raise(AlertCategory::Guessing, DOOR, told);
        }
    }

    /// Whether a guest wrote the passphrase.
    pub(super) fn opens(&self, sender: &Sender, text: &str) -> bool {
        let Some(passphrase) = &self.passphrase else { return false };
        if !self.guests.lock().is_compared(&sender.uuid, Instant::now()) {
            return false;
        }
        bool::from(hash(text).ct_eq(passphrase))
    }

    /// A session begins, of a person or a group.
    ///
    /// # Errors
    /// A store that is away: nothing begins.
    pub(super) async fn begin(&self, whose: &str, by: &Sender, now: i64) -> portcullis_store::Result<()> {
        let row = SessionRow {
            caller: whose.to_owned(),
            door: DOOR.to_owned(),
            activated_at: now,
            last_seen: now,
            expires_at: now.saturating_add(self.max_ms),
            activated_by: caller(by),
        };
        if self.persist {
            self.store.sessions().begin(&row).await?;
        }
        self.guests.lock().forget(&by.uuid);
        self.sessions.lock().insert(whose.to_owned(), row);
        self.measure();
        Ok(())
    }

    /// A session ends; says whether there was one.
    ///
    /// # Errors
    /// A store that is away: it goes on.
    pub(super) async fn end(&self, whose: &str) -> portcullis_store::Result<bool> {
        if self.persist {
            self.store.sessions().end(whose).await?;
        }
        let was = self.sessions.lock().remove(whose).is_some();
        self.measure();
        Ok(was)
    }

    fn measure(&self) {
        let count = i64::try_from(self.sessions.lock().len()).unwrap_or(i64::MAX);
        self.metrics.active_sessions(Door::Signal).set(count);
    }

    /// Every session, oldest first.
    pub(super) fn list(&self) -> Vec<SessionRow> {
        let mut rows: Vec<_> = self.sessions.lock().values().cloned().collect();
        rows.sort_unstable_by(|a, b| (a.activated_at, &a.caller).cmp(&(b.activated_at, &b.caller)));
        rows
    }
}
