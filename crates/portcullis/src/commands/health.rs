//! `portcullis health`: for container health checks and supervisors.

use super::{Ended, block_on, server, settings, trouble};
use crate::{
    cli,
    output::{BAD, GOOD, line},
};
use portcullis_runtime::{
    remote::{Listener, RemoteError},
    settings::Sources,
};
use std::{process::ExitCode, time::Duration};

pub(super) fn run(sources: &Sources, arguments: &cli::Health, json: bool) -> Ended {
    let settings = settings(sources)?.settings;
    let server = server(&settings, sources, Listener::Main)?;
    let within = Duration::from_secs(arguments.timeout_secs);
    let ready = block_on(async {
        match server.call(http::Method::GET, "/health/ready", None, within).await {
            Ok(_) => Ok(true),
            Err(RemoteError::Refused { status, .. }) if status == http::StatusCode::SERVICE_UNAVAILABLE => {
                Ok(false)
            }
            Err(error) => Err(trouble(&server, error)),
        }
    })?;
    if json {
        line(serde_json::json!({"ready": ready, "url": server.base()}));
    } else {
        let (style, word) = if ready { (GOOD, "ready") } else { (BAD, "not ready") };
        line(format_args!("{style}{word}{style:#} {}", server.base()));
    }
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
