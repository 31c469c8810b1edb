//! Asks Telegram for updates, for as long as the door is open. Invariants: what was read is durable here before the next
//! call confirms it; numbers of updates are compared for equality only, because after a week of silence they begin
//! anew; a call that hangs is ended by its own time, so no reading stands still longer than that; one replica reads.
//!
//! Source: news.md section 2; Bot API, "getUpdates".

use super::{
    api::{Api, ApiError},
    begin::Begin,
    config::Mode,
    desk::Desk,
    taking::Taking,
};
use portcullis_telemetry::{AlertCategory, Component, HealthState};
use serde_json::json;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Kinds of updates that are asked for.
pub(super) const KINDS: [&str; 4] = ["message", "edited_message", "callback_query", "my_chat_member"];
/// Most updates of one call.
const BATCH: u32 = 100;
/// How much longer than Telegram we wait.
const SLACK: Duration = Duration::from_secs(10);
/// Pause of a store that could not keep a batch.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// Conflicts within that time before they are told.
const CONFLICTS: (usize, Duration) = (3, Duration::from_secs(300));

/// Why reading stopped.
enum Stopped {
    /// Telegram must be asked anew who we are and what is set.
    Anew,
    /// We end.
    Ended,
}

/// Reads updates.
pub(super) struct Poller {
    pub(super) api: Api,
    pub(super) desk: Arc<Desk>,
    pub(super) taking: Arc<Taking>,
    pub(super) begin: Begin,
    pub(super) health: Component,
    /// The name under which it is kept how far was read.
    pub(super) mark: String,
}

impl Poller {
    /// Reads until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut pause = Pause::new(self.desk.config.backoff_secs);
        while !stop.is_cancelled() {
            let begun = match stop.run_until_cancelled(self.begin.run()).await {
                None => return,
                Some(begun) => begun,
            };
            let stopped = match begun {
                Ok(()) => {
                    pause.reset();
                    match self.desk.config.mode {
                        Mode::Poll => Box::pin(self.poll(&stop)).await,
                        Mode::Webhook => self.watch(&stop).await,
                    }
                }
                Err(trouble) => {
                    self.health.set(trouble.state, trouble.told);
                    let wait = trouble.wait.unwrap_or_else(|| pause.next());
                    match stop.run_until_cancelled(sleep(wait)).await {
                        Some(()) => Stopped::Anew,
                        None => Stopped::Ended,
                    }
                }
            };
            if matches!(stopped, Stopped::Ended) {
                break;
            }
        }
    }

    async fn poll(&self, stop: &CancellationToken) -> Stopped {
        self.health.set(HealthState::Healthy, "polling");
        let [least, most] = self.desk.config.backoff_secs;
        let (mut pause, mut quarrel) = (Pause::new([least, most]), Pause::new([least * 5, most * 2]));
        let (mut conflicts, mut next) = (VecDeque::new(), None::<i64>);
        let turn = self.desk.outbox.turn();
        loop {
            if !turn.is_ours() {
                self.health.set(HealthState::Healthy, "another replica works for this door");
                // Whoever reads next begins where that one stopped.
                next = None;
            }
            if turn.ours(stop).await.is_none() {
                return Stopped::Ended;
            }
            let round = async {
                if next.is_none() {
                    let kept = self.desk.store.note(&self.mark).await.map_err(|_| Round::Store)?;
                    next = Some(kept.map_or(0, |(at, _)| at));
                }
                tokio::select! {
                    read = self.round(&mut next) => read,
                    () = turn.lost() => Ok(0),
                }
            };
            let ended = match stop.run_until_cancelled(Box::pin(round)).await {
                None => return Stopped::Ended,
                Some(ended) => ended,
            };
            let wait = match ended {
                Ok(_) => {
                    pause.reset();
                    quarrel.reset();
                    continue;
                }
                Err(Round::Store) => {
                    self.health.set(HealthState::Degraded, "messages cannot be kept; none are fetched");
                    STORE_PAUSE
                }
                Err(Round::Api(error)) if is_about_webhook(&error) || error.is_token() => {
                    return Stopped::Anew;
                }
                Err(Round::Api(ApiError::Refused { code: 409, .. })) => {
                    self.conflict(&mut conflicts);
                    quarrel.next()
                }
                Err(Round::Api(ApiError::Refused { code: 429, retry_after, .. })) => {
                    self.health.set(HealthState::Degraded, "Telegram asks for a pause");
                    retry_after.map_or_else(|| pause.next(), Duration::from_secs)
                }
                Err(Round::Api(error)) => {
                    tracing::warn!(%error, "no messages of Telegram arrive");
                    self.health.set(HealthState::Degraded, format!("no messages arrive: {error}"));
                    pause.next()
                }
            };
            self.desk.metrics.telegram_backoff();
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                return Stopped::Ended;
            }
        }
    }

    /// One call, and what it brought is kept; how much that was.
    async fn round(&self, next: &mut Option<i64>) -> Result<usize, Round> {
        let offset = next.unwrap_or_default();
        let wait = self.desk.config.poll_timeout_secs;
        let params = json!({"offset": offset, "limit": BATCH, "timeout": wait, "allowed_updates": KINDS});
        let patience = Duration::from_secs(wait) + SLACK;
        let updates = self.api.long("getUpdates", &params, patience).await.map_err(Round::Api)?;
        let updates = updates.as_array().map_or(&[][..], Vec::as_slice);
        let last = updates.last().and_then(|update| update["update_id"].as_i64());
        if let Some(last) = last {
            let after = last.saturating_add(1);
            self.taking.take(updates, Some((&self.mark, after))).await.map_err(|error| {
                tracing::warn!(%error, "messages of Telegram cannot be kept");
                Round::Store
            })?;
            *next = Some(after);
        }
        self.health.set(HealthState::Healthy, "polling");
        self.desk.alerts.resolve(AlertCategory::Telegram, "conflict", "messages of Telegram arrive again");
        Ok(updates.len())
    }

    fn conflict(&self, conflicts: &mut VecDeque<Instant>) {
        let (most, within) = CONFLICTS;
        let (now, told) = (Instant::now(), "somebody else reads the messages of this bot");
        self.health.set(HealthState::Degraded, told);
        tracing::warn!("{told}");
        conflicts.retain(|at: &Instant| now.duration_since(*at) < within);
        conflicts.push_back(now);
        if conflicts.len() >= most {
            let told = format!("{told}: end the other program, or ask BotFather for a new token");
            self.desk.alerts.raise(AlertCategory::Telegram, "conflict", told);
        }
    }

    /// Telegram brings updates; what it says of that is looked at now and then.
    async fn watch(&self, stop: &CancellationToken) -> Stopped {
        self.health.set(HealthState::Healthy, "webhook");
        loop {
            if stop.run_until_cancelled(sleep(super::begin::LOOK)).await.is_none() {
                return Stopped::Ended;
            }
            if let Err(trouble) = self.begin.look().await {
                self.health.set(trouble.state, trouble.told);
                return Stopped::Anew;
            }
            self.health.set(HealthState::Healthy, "webhook");
        }
    }
}

/// Why a round failed.
enum Round {
    Api(ApiError),
    Store,
}

fn is_about_webhook(error: &ApiError) -> bool {
    matches!(error, ApiError::Refused { code: 409, words, .. } if words.to_ascii_lowercase().contains("webhook"))
}

/// Pauses that double, up to the longest, less up to a quarter.
struct Pause {
    least: Duration,
    most: Duration,
    next: Duration,
}

impl Pause {
    fn new([least, most]: [u64; 2]) -> Self {
        let (least, most) = (Duration::from_secs(least).max(BREATH), Duration::from_secs(most).max(BREATH));
        Self { least, most, next: least }
    }

    fn reset(&mut self) {
        self.next = self.least;
    }

    fn next(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.most);
        now.mul_f64(1.0 - 0.25 * rand::random::<f64>())
    }
}

/// Shortest pause, whatever is configured.
const BREATH: Duration = Duration::from_millis(50);
