//! `portcullis signal …`: asks signal-cli itself, whether the server runs or not.

use super::{Ended, block_on, settings};
use crate::{
    cli,
    output::{BAD, GOOD, Trouble, line},
};
use portcullis_runtime::{
    read_secrets,
    settings::Sources,
    signal::{Client, Probe, ProbeError},
};
use secrecy::ExposeSecret as _;
use serde_json::json;
use std::process::ExitCode;

pub(super) fn run(sources: &Sources, command: &cli::Signal, json: bool) -> Ended {
    let settings = settings(sources)?.settings;
    let name = &settings.signal.account_secret;
    let secrets = block_on(async { Ok(read_secrets(&settings, &sources.environment).await) })?;
    let account = secrets.get(name).ok_or_else(|| {
        Trouble::usage(format!("the secret `{name}` (`signal.account_secret`) is in none of the sources"))
            .mend("give it the number that signal-cli is linked to")
    })?;
    let client = Client::new(&settings.outbound);
    let probe = Probe::new(&settings.signal, account.expose_secret(), client)
        .map_err(|error| Trouble::usage(error.to_string()).safe("signal-cli was not asked"))?;
    match command {
        cli::Signal::Status => {
            let status = block_on(async { probe.status().await.map_err(told) })?;
            let (style, word) = if status.linked { (GOOD, "linked") } else { (BAD, "not linked") };
            if json {
                line(json!(status));
            } else {
                line(format_args!("{style}{word}{style:#} signal-cli {}", status.version));
            }
            Ok(if status.linked { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        cli::Signal::Challenge { token, captcha } => {
            block_on(async { probe.challenge(token, captcha).await.map_err(told) })?;
            if json {
                line(json!({"taken": true}));
            } else {
                line(format_args!(
                    "{GOOD}done{GOOD:#} Signal took the proof; messages are sent again within five minutes"
                ));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn told(error: ProbeError) -> Trouble {
    Trouble::failed(error.to_string()).mend("see that signal-cli runs and that signal.url names it")
}
