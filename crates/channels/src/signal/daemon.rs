//! Runs signal-cli and starts it again when it ends: after 1, 2, 4 … 60 seconds. Invariant: it does not outlive us, and
//! of our environment it sees what it is given.

use portcullis_telemetry::{AlertCategory, Alerts};
use std::{process::Stdio, time::Duration};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// Running for so long makes the next pause the shortest again.
const STEADY: Duration = Duration::from_secs(60);
/// Ends in a row before it is told.
const TOLD_AFTER: u32 = 3;

/// Keeps the program running until `stop`.
pub(super) async fn supervise(
    command: Vec<String>,
    environment: Vec<(String, String)>,
    alerts: Alerts,
    stop: CancellationToken,
) {
    let Some((program, arguments)) = command.split_first() else { return };
    let (mut pause, mut ends) = (FIRST, 0);
    loop {
        let began = Instant::now();
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        match command.spawn() {
            Ok(mut child) => {
                tracing::info!(pid = child.id(), "signal-cli is started");
                tokio::select! {
                    ended = child.wait() => {
                        let code = ended.ok().and_then(|status| status.code());
                        tracing::warn!(code, "signal-cli ended");
                    }
                    () = stop.cancelled() => {
                        drop(child.kill().await);
                        return;
                    }
                }
            }
            Err(error) => tracing::error!(kind = %error.kind(), "signal-cli cannot be started"),
        }
        if began.elapsed() >= STEADY {
            (pause, ends) = (FIRST, 0);
        }
        ends += 1;
        if ends >= TOLD_AFTER {
            alerts.raise(
                AlertCategory::Signal,
                "daemon",
                "signal-cli ends again and again, or cannot be started",
            );
        }
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
        pause = (pause * 2).min(LONGEST);
    }
}
