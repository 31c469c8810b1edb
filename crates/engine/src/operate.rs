//! What operators look at and change while it runs, for doors that serve them: limits of one caller, routes, usage, the
//! last records of the trail. Invariant: looking charges nothing.
//!
//! Source: gateway.md section 13, the admin API.

use crate::{
    App, Engine, budgets::usage_csv, ids, keys::store_failure, messages::now_ms, pipeline::Admitted,
};
use jiff::Timestamp;
use portcullis_domain::{Action, Failure, LimitScope, LimitView, Tier};
use portcullis_inspect::Channel;
use portcullis_resilience::limits::{Charge, Quota};
use portcullis_store::{BackupDesk, GroupBy, OutRow, OutState, UsageQuery, UsageSum};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How long a message that is sent again is worth sending, in milliseconds.
const DAY_MS: i64 = 86_400_000;
const MINUTE: Duration = Duration::from_secs(60);
/// Longest subject that is looked up, in bytes.
const MAX_SUBJECT: usize = 256;

/// One limit of one caller or address.
#[derive(Clone, Debug)]
pub struct NamedLimit {
    /// The level, and for actions which one.
    pub name: String,
    /// Its state.
    pub view: LimitView,
}

impl Admitted {
    /// Charges this caller for work that the door does itself, at most `per_min` in any 60 seconds.
    ///
    /// # Errors
    /// `RateLimited`; then nothing was charged.
    pub async fn charge(&self, what: &str, per_min: u32) -> Result<(), Failure> {
        let subject = format!("{what}/{}", self.caller().id);
        let quota = Quota::window(per_min, MINUTE);
        let charge = Charge { scope: LimitScope::Action, subject: &subject, quota, cost: 1 };
        match self.limits().decide(&[charge]).await.refused {
            None => Ok(()),
            Some(refusal) => {
                Err(Failure::RateLimited { scope: LimitScope::Action, retry_after: refusal.retry_after })
            }
        }
    }
}

/// A limit of somebody: its name, and what to charge.
type Row = (String, String, Quota);

impl Engine {
    /// Messages to chats, newest first, without their words: whom they were for, how far they are and why.
    ///
    /// # Errors
    /// `Unavailable` while the store is away.
    pub async fn outbox(&self, state: Option<OutState>, limit: u32) -> Result<Value, Failure> {
        let rows = self.store().outbox().list(state, None, limit).await.map_err(store_failure)?;
        let row = |row: OutRow| {
            let at = |ms| Timestamp::from_millisecond(ms).ok();
            json!({
                "id": row.id, "door": row.door, "chat": row.chat, "class": row.class, "state": row.state.as_str(),
                "created_at": at(row.created_at), "expires_at": at(row.expires_at), "attempts": row.attempts,
                "uncertain": row.uncertain, "reason": row.reason,
            })
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Queues a message that could not be delivered again, for a day; false when there is none, or its words are gone.
    ///
    /// # Errors
    /// `Unavailable` while the store is away.
    pub async fn send_again(&self, id: i64) -> Result<bool, Failure> {
        let now = now_ms();
        let again = self.store().outbox().retry(id, now, now.saturating_add(DAY_MS)).await;
        again.map_err(store_failure)
    }
}

impl Engine {
    /// Backups of the state, where this server keeps it in a file of its own.
    #[must_use]
    pub fn backups(&self) -> Option<BackupDesk> {
        self.store().backups()
    }

    /// What inspection says of a text, as `portcullis inspect` says it; nothing of it is recorded.
    ///
    /// # Errors
    /// `InvalidInput` for a text longer than inspection takes.
    pub async fn inspect(&self, text: String, channel: Channel) -> Result<Value, Failure> {
        let screening = self.screening();
        if text.chars().count() > screening.max_chars {
            let words = format!("text may be {} characters long.", screening.max_chars);
            return Err(Failure::invalid("text", words));
        }
        let inspector = Arc::clone(&screening.inspector);
        if text.len() <= screening.offload_bytes {
            return Ok(inspector.told(&text, channel));
        }
        tokio::task::spawn_blocking(move || inspector.told(&text, channel)).await.map_err(|error| {
            let incident = ids::incident();
            tracing::error!(%incident, %error, "inspection failed");
            Failure::Internal { incident }
        })
    }

    /// What a caller (`key:<id>`, `jwt:<subject>`) or an address has left at one level. A key's tier is looked up;
    /// of others it is `tier`, else the ordinary one.
    ///
    /// # Errors
    /// `InvalidInput` for an impossible subject, `NotFound` where there is no such limit.
    pub async fn limits_of(
        &self,
        scope: LimitScope,
        subject: &str,
        tier: Option<&str>,
    ) -> Result<Vec<NamedLimit>, Failure> {
        let rows = self.rows(scope, subject, tier).await?;
        let charges: Vec<Charge<'_>> = rows.iter().map(|row| charge(scope, row)).collect();
        let decision = self.limits().decide(&charges).await;
        let named = rows.into_iter().zip(decision.views);
        Ok(named.map(|((name, ..), view)| NamedLimit { name, view }).collect())
    }

    /// Forgets what was used of those.
    ///
    /// # Errors
    /// As `limits_of`; `Unavailable` when Redis cannot be told.
    pub async fn clear_limits(
        &self,
        scope: LimitScope,
        subject: &str,
        tier: Option<&str>,
    ) -> Result<(), Failure> {
        let rows = self.rows(scope, subject, tier).await?;
        let charges: Vec<Charge<'_>> = rows.iter().map(|row| charge(scope, row)).collect();
        let away = |_| Failure::Unavailable { retry_after: Duration::from_secs(1), rate_limited: false };
        self.limits().clear(&charges).await.map_err(away)
    }

    async fn rows(&self, scope: LimitScope, subject: &str, tier: Option<&str>) -> Result<Vec<Row>, Failure> {
        if subject.is_empty() || subject.len() > MAX_SUBJECT || subject.chars().any(char::is_control) {
            return Err(Failure::invalid("key", "A caller or address has 1 to 256 visible characters."));
        }
        let record = match subject.strip_prefix("key:") {
            Some(id) if tier.is_none() => Some(self.keys().record(id).await?),
            Some(_) | None => None,
        };
        let tier = record.as_ref().map(|record| record.definition.tier.as_str()).or(tier);
        let tier = tier.map_or(Tier::Authenticated, Tier::from_name);
        let own = record.map_or((None, None), |it| (it.definition.bounds.rpm, it.definition.bounds.tpm));
        let rows = self.admission().rows_of(scope, subject, &tier, own);
        if rows.is_empty() {
            return Err(Failure::NotFound("There is no limit at this level for this subject.".into()));
        }
        Ok(rows)
    }

    /// Whether a guard policy of that name is configured.
    #[must_use]
    pub fn has_policy(&self, name: &str) -> bool {
        self.policies().has(name)
    }

    /// Every route, as the app tells it.
    #[must_use]
    pub fn routes(&self) -> Vec<Value> {
        self.router().map(|app| app.routes()).unwrap_or_default()
    }

    /// Changes the weight of a route's target. False when there is none such, or it cannot have that weight.
    #[must_use]
    pub fn set_target_weight(&self, route: &str, number: usize, weight: Option<u32>) -> bool {
        self.router().is_some_and(|app| app.set_target_weight(route, number, weight))
    }

    /// Switches a route's target off for so long, or on. False when there is none such.
    #[must_use]
    pub fn switch_target_off(&self, route: &str, number: usize, time: Option<Duration>) -> bool {
        self.router().is_some_and(|app| app.switch_target_off(route, number, time))
    }

    fn router(&self) -> Option<&Arc<dyn App>> {
        self.app(Action::Chat)
    }

    /// What was used from one moment to another (Unix milliseconds), by the names of `group`, each row with its
    /// groups by name.
    ///
    /// # Errors
    /// `InvalidInput` for a name nobody can group by; `Unavailable` or `Internal` when the store does not answer.
    pub async fn usage(&self, group: &[&str], from: i64, to: i64, limit: u32) -> Result<Vec<Value>, Failure> {
        let sums = self.sums(group, from, to, limit).await?.1;
        let row = |sum: &UsageSum| {
            let mut row = json!({
                "requests": sum.requests, "input": sum.input, "cached": sum.cached, "output": sum.output,
                "micros": sum.micros, "estimated": sum.estimated, "unpriced": sum.unpriced,
            });
            for (name, value) in group.iter().zip(&sum.group) {
                row[*name] = value.as_str().into();
            }
            row
        };
        Ok(sums.iter().map(row).collect())
    }

    /// The same as a table for spreadsheets (CSV).
    ///
    /// # Errors
    /// As `usage`.
    pub async fn usage_table(
        &self,
        group: &[&str],
        from: i64,
        to: i64,
        limit: u32,
    ) -> Result<String, Failure> {
        let (query, sums) = self.sums(group, from, to, limit).await?;
        Ok(usage_csv(&query, &sums))
    }

    async fn sums(
        &self,
        group: &[&str],
        from: i64,
        to: i64,
        limit: u32,
    ) -> Result<(UsageQuery, Vec<UsageSum>), Failure> {
        let by = group.iter().map(|name| GroupBy::from_name(name)).collect::<Option<Vec<_>>>();
        let by = by.ok_or_else(|| {
            let known = GroupBy::ALL.map(GroupBy::as_str).join(", ");
            Failure::invalid("group_by", format!("group_by names one or more of {known}."))
        })?;
        let query = UsageQuery { by, from, to, limit };
        let sums = self.budgets().usage(&query).await.map_err(store_failure)?;
        Ok((query, sums))
    }

    /// The last records of the audit trail, newest first.
    ///
    /// # Errors
    /// `Internal` when the trail cannot be read.
    pub async fn last_audit(&self, count: usize) -> Result<Vec<Value>, Failure> {
        let audit = self.audit().clone();
        let read = tokio::task::spawn_blocking(move || audit.last(count)).await;
        read.map_err(std::io::Error::other).and_then(|read| read).map_err(|error| {
            let incident = crate::ids::incident();
            tracing::error!(%incident, %error, "the audit trail cannot be read");
            Failure::Internal { incident }
        })
    }
}

fn charge(scope: LimitScope, (_, subject, quota): &Row) -> Charge<'_> {
    Charge { scope, subject, quota: *quota, cost: 0 }
}
