//! `portcullis rules`: the alert rules for Prometheus, with the thresholds of the settings. Invariant: standard output
//! holds the file and nothing else, so that it can be written where Prometheus reads it.

use super::{Ended, settings};
use crate::output::{line, piece};
use portcullis_runtime::{prometheus_rules, settings::Sources};
use serde_json::json;
use std::process::ExitCode;

pub(super) fn run(sources: &Sources, as_json: bool) -> Ended {
    let alerts = settings(sources)?.settings.alerts;
    let rules = prometheus_rules(&alerts);
    if as_json {
        let thresholds = json!({
            "ai_failure_ratio": alerts.ai_failure_ratio, "queue_depth": alerts.queue_depth,
            "worst_delay_secs": alerts.worst_delay_secs, "breaches_per_min": alerts.breaches_per_min,
        });
        line(json!({"thresholds": thresholds, "rules": rules}));
    } else {
        piece(&rules);
    }
    Ok(ExitCode::SUCCESS)
}
