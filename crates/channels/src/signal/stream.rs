//! The stream of messages from signal-cli, kept alive: opened, watched, changed for a new one before the old one is
//! closed, opened anew when it died. Invariants: nothing is answered here, what comes is kept and the next is read;
//! whatever was read is kept before the stream counts as ended, because signal-cli does not say it again.
//!
//! Source: ask.md section 2; S2-2.5.

use super::{
    config::{ReceiveMode, SignalConfig},
    read::{Cutter, Framing, Item},
    taking::Taking,
    wire::{RpcError, Socket, Target, Wire},
};
use http_body_util::BodyExt as _;
use portcullis_resilience::{http::AnswerBody, socket::ReadHalf};
use portcullis_telemetry::{AlertCategory, Alerts, Component, HealthState, Metrics};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::AsyncReadExt as _,
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, interval_at, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Messages read and not yet kept.
const HELD: usize = 1000;
/// Silence after which nothing more is expected of a stream that is left.
const LINGER: Duration = Duration::from_millis(300);
/// Longest wait for a stream that is left to fall silent; what it brings later is taken in whatever order.
const HANDOVER: Duration = Duration::from_secs(2);
/// How often signal-cli is asked whether it still has the account.
const LINKED: Duration = Duration::from_secs(300);
/// Streaming for so long makes the next pause the shortest again.
const STEADY: Duration = Duration::from_secs(60);
/// Shortest pause before a stream is opened anew, whatever is configured.
const BREATH: Duration = Duration::from_millis(50);
/// Pause of a store that could not keep a message.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// Why a stream ended: metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It could not be opened.
    Connect,
    /// The other side closed or broke it.
    Ended,
    /// Silence.
    Idle,
    /// The daemon does not answer.
    Check,
    /// Messages cannot be kept.
    Store,
    /// A planned change.
    Rotate,
    /// We end.
    Stopped,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Ended => "ended",
            Self::Idle => "idle",
            Self::Check => "check",
            Self::Store => "store",
            Self::Rotate => "rotate",
            Self::Stopped => "stopped",
        }
    }
}

/// The times of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) first_byte: Duration,
    pub(super) idle: Duration,
    pub(super) reconnect: [Duration; 2],
    pub(super) rotate: Duration,
    pub(super) check: Duration,
    pub(super) store: Duration,
    /// Being away for so long is told.
    pub(super) told_after: Duration,
}

impl Timing {
    pub(super) const fn of(config: &SignalConfig) -> Self {
        let secs = Duration::from_secs;
        Self {
            first_byte: secs(config.first_byte_secs),
            idle: secs(config.idle_secs),
            reconnect: [secs(config.reconnect_min_secs), secs(config.reconnect_max_secs)],
            rotate: secs(config.rotate_secs),
            check: secs(config.check_secs),
            store: secs(config.store_secs),
            told_after: secs(config.alert_after_secs),
        }
    }
}

enum Source {
    Body(AnswerBody),
    Half(ReadHalf, Socket),
}

struct Reader {
    source: Source,
    cutter: Cutter,
}

impl Reader {
    /// Reads some bytes; false at the end.
    async fn read(&mut self) -> bool {
        match &mut self.source {
            Source::Body(body) => match body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.cutter.push(data);
                    }
                    true
                }
                Some(Err(_)) | None => false,
            },
            Source::Half(half, socket) => {
                let mut buffer = [0; 8192];
                match half.read(&mut buffer).await {
                    Ok(count @ 1..) => {
                        self.cutter.allow(socket.awaits_a_file());
                        self.cutter.push(&buffer[..count]);
                        true
                    }
                    Ok(0) | Err(_) => false,
                }
            }
        }
    }

    /// Whether answers are still to come through it.
    fn is_awaited(&self) -> bool {
        match &self.source {
            Source::Body(_) => false,
            Source::Half(_, socket) => socket.is_awaited(),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Source::Half(_, socket) = &self.source {
            socket.closed.cancel();
        }
    }
}

/// What a stream is kept alive with. Cheap to clone.
#[derive(Clone)]
pub(super) struct Stream {
    pub(super) wire: Wire,
    pub(super) timing: Timing,
    pub(super) receive_mode: ReceiveMode,
    pub(super) taking: Arc<Taking>,
    pub(super) metrics: Metrics,
    pub(super) health: Component,
    pub(super) alerts: Alerts,
    pub(super) tasks: TaskTracker,
}

impl Stream {
    /// Streams until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let [least, most] = self.timing.reconnect;
        let least = least.max(BREATH);
        let (mut pause, mut down_since) = (least, Instant::now());
        loop {
            let opened = stop.run_until_cancelled(self.open()).await;
            let reason = match opened {
                None => return,
                Some(Err(error)) => {
                    self.down(&error.to_string(), down_since);
                    Reason::Connect
                }
                Some(Ok(reader)) => {
                    self.up();
                    let began = Instant::now();
                    let reason = self.stream(reader, &stop).await;
                    if began.elapsed() >= STEADY {
                        pause = least;
                    }
                    down_since = Instant::now();
                    reason
                }
            };
            if stop.is_cancelled() {
                return;
            }
            self.metrics.signal_reconnect(reason.as_str());
            tracing::warn!(
                reason = reason.as_str(),
                pause_ms = pause.as_millis(),
                "the stream of Signal messages is opened anew"
            );
            let jitter = 0.75 + 0.25 * jitter();
            if stop.run_until_cancelled(sleep(pause.mul_f64(jitter))).await.is_none() {
                return;
            }
            pause = (pause * 2).min(most.max(least));
        }
    }

    fn up(&self) {
        self.health.set(HealthState::Healthy, "");
        self.alerts.resolve(AlertCategory::Signal, "stream", "messages of Signal arrive again");
    }

    fn down(&self, why: &str, since: Instant) {
        self.health.set(HealthState::Degraded, format!("no messages arrive: {why}"));
        if since.elapsed() >= self.timing.told_after {
            self.alerts.raise(
                AlertCategory::Signal,
                "stream",
                format!("no messages of Signal arrive: {why}"),
            );
        }
    }

    async fn open(&self) -> Result<Reader, RpcError> {
        let opening = async {
            match self.wire.target() {
                Target::Http(base) => {
                    let body = self.wire.open_events(base).await?;
                    Ok(Reader { source: Source::Body(body), cutter: Cutter::new(Framing::Events) })
                }
                Target::Socket(place) => {
                    let (socket, half) = self.wire.open_socket(place).await?;
                    Ok(Reader { source: Source::Half(half, socket), cutter: Cutter::new(Framing::Lines) })
                }
            }
        };
        let late = || RpcError::NotSent("the stream does not begin".into());
        timeout(self.timing.first_byte, opening).await.unwrap_or_else(|_| Err(late()))
    }

    /// One stream after another, without a gap, until one ends against our will.
    async fn stream(&self, reader: Reader, stop: &CancellationToken) -> Reason {
        let (mut pump, mut quit) = self.pump(reader, stop);
        let now = Instant::now();
        let mut rotate = interval_at(now + self.timing.rotate, self.timing.rotate);
        let mut check = interval_at(now + self.timing.check, self.timing.check);
        let mut linked = interval_at(now, LINKED);
        let mut failures = 0;
        if !self.subscribe().await {
            quit.cancel();
            drop(pump.await);
            return Reason::Check;
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    quit.cancel();
                    return pump.await.unwrap_or(Reason::Stopped);
                }
                ended = &mut pump => return ended.unwrap_or(Reason::Ended),
                _tick = rotate.tick() => match stop.run_until_cancelled(self.open()).await {
                    Some(Ok(reader)) => {
                        // The new one listens. What the old one still holds came before what only the new one has, so
                        // it is read to its end first.
                        self.metrics.signal_reconnect(Reason::Rotate.as_str());
                        quit.cancel();
                        drop(timeout(HANDOVER, &mut pump).await);
                        (pump, quit) = self.pump(reader, stop);
                        self.subscribe().await;
                    }
                    Some(Err(error)) => tracing::info!(%error, "the stream of Signal messages could not be changed"),
                    None => {}
                },
                _tick = check.tick() => match timeout(self.timing.first_byte, self.wire.check()).await {
                    Ok(Ok(())) => failures = 0,
                    Ok(Err(_)) | Err(_) => {
                        failures += 1;
                        if failures >= 2 {
                            quit.cancel();
                            drop(pump.await);
                            return Reason::Check;
                        }
                    }
                },
                _tick = linked.tick() => self.linked().await,
            }
        }
    }

    /// In manual mode messages come only to who asked for them.
    async fn subscribe(&self) -> bool {
        if self.receive_mode != ReceiveMode::Manual || matches!(self.wire.target(), Target::Http(_)) {
            return true;
        }
        let asked = self.wire.call_for_account("subscribeReceive", json!({})).await;
        if let Err(error) = &asked {
            tracing::warn!(%error, "messages of Signal cannot be subscribed to");
        }
        asked.is_ok()
    }

    async fn linked(&self) {
        let Ok(accounts) = self.wire.call("listAccounts", json!({})).await else { return };
        let own = self.wire.account();
        let there = accounts
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["number"] == own || one["uuid"] == own));
        if there {
            self.health.set(HealthState::Healthy, "");
            self.alerts.resolve(AlertCategory::Signal, "account", "the account is linked again");
        } else {
            let detail = "account not linked; link it with: signal-cli link -n Portcullis";
            self.health.set(HealthState::Unhealthy, detail);
            self.alerts.raise(AlertCategory::Signal, "account", detail);
        }
    }

    fn pump(&self, reader: Reader, stop: &CancellationToken) -> (JoinHandle<Reason>, CancellationToken) {
        let (quit, this, stop) = (CancellationToken::new(), self.clone(), stop.clone());
        let (messages, waiting) = mpsc::channel(HELD);
        let (stuck, also) = (CancellationToken::new(), quit.clone());
        let handle = self.tasks.spawn(async move {
            let keeping = this.keep_all(waiting, stuck.clone(), stop);
            let reading = this.read_all(reader, messages, also, stuck.clone());
            tokio::join!(reading, keeping).0
        });
        (handle, quit)
    }

    /// Reads until the end, silence, or `quit`; then on for as long as something is under way.
    async fn read_all(
        &self,
        mut reader: Reader,
        messages: mpsc::Sender<Value>,
        quit: CancellationToken,
        stuck: CancellationToken,
    ) -> Reason {
        let idle = match &reader.source {
            Source::Body(_) => self.timing.idle,
            // A socket has no keep-alive; its peer's end is noticed at once, and the check does the rest.
            Source::Half(..) => Duration::from_secs(86_400),
        };
        let mut leaving = None;
        let mut until = Instant::now() + idle;
        loop {
            while let Some(item) = reader.cutter.next() {
                if leaving.is_some() {
                    // Keep-alives hold up no leave; what comes does.
                    until = Instant::now() + LINGER;
                }
                if let Some(message) = self.sort(item, &reader.source)
                    && messages.send(message).await.is_err()
                {
                    return Reason::Stopped;
                }
            }
            tokio::select! {
                more = reader.read() => {
                    if !more {
                        return leaving.unwrap_or(Reason::Ended);
                    }
                    if leaving.is_none() {
                        until = Instant::now() + idle;
                    }
                }
                () = tokio::time::sleep_until(until) => match leaving {
                    None => return Reason::Idle,
                    Some(_) if reader.is_awaited() => until = Instant::now() + LINGER,
                    Some(reason) => return reason,
                },
                () = quit.cancelled(), if leaving.is_none() => {
                    leaving = Some(Reason::Rotate);
                    until = Instant::now() + LINGER;
                }
                () = stuck.cancelled(), if leaving.is_none() => {
                    leaving = Some(Reason::Store);
                    until = Instant::now() + LINGER;
                }
            }
        }
    }

    /// Answers go to who waits for them; messages come back.
    fn sort(&self, item: Item, source: &Source) -> Option<Value> {
        let text = match item {
            Item::Text(text) => text,
            Item::Other => {
                self.metrics.signal_event("unknown");
                return None;
            }
            Item::TooLong => {
                self.metrics.signal_event("too_long");
                tracing::warn!("an event of signal-cli was longer than a mebibyte and dropped");
                return None;
            }
        };
        let Ok(mut value) = serde_json::from_slice::<Value>(&text) else {
            self.metrics.signal_event("unreadable");
            tracing::warn!(bytes = text.len(), "an event of signal-cli is not readable");
            return None;
        };
        let Source::Half(_, socket) = source else { return Some(value) };
        if value["method"] == "receive" {
            return Some(value["params"].take());
        }
        if !socket.answered(value) {
            self.metrics.signal_event("unasked");
        }
        None
    }

    /// Keeps what was read, one after another. What cannot be kept is tried until it can.
    async fn keep_all(
        &self,
        mut waiting: mpsc::Receiver<Value>,
        stuck: CancellationToken,
        stop: CancellationToken,
    ) {
        while let Some(message) = waiting.recv().await {
            let began = Instant::now();
            while let Err(error) = self.taking.take(&message).await {
                tracing::warn!(%error, "a message of Signal cannot be kept yet");
                if began.elapsed() >= self.timing.store {
                    stuck.cancel();
                    if stop.is_cancelled() {
                        tracing::error!("a message of Signal was lost: it could not be kept before the end");
                        break;
                    }
                }
                sleep(STORE_PAUSE).await;
            }
        }
    }
}

/// From 0 to 1; so that many clients of a daemon do not come back at once.
fn jitter() -> f64 {
    let nanos = jiff::Timestamp::now().subsec_nanosecond().unsigned_abs();
    f64::from(nanos % 1000) / 1000.0
}
