//! One file for each command.

mod check;
mod reference;

use crate::{
    cli::{Cli, Command, Common},
    output::Trouble,
};
use portcullis_runtime::{Environment, settings::Sources};
use std::{future::Future, process::ExitCode};

/// What a command comes to.
pub(crate) type Ended = Result<ExitCode, Trouble>;

/// Runs the command.
pub(crate) fn run(cli: Cli) -> Ended {
    let sources = sources(&cli.common);
    let json = cli.common.json;
    match cli.command {
        Command::Check => check::run(&sources, json),
        Command::Reference(arguments) => Ok(reference::run(&arguments)),
    }
}

/// Where this command's settings come from.
fn sources(common: &Common) -> Sources {
    let mut flags = common.set.clone();
    if let Some(folder) = &common.data_dir {
        flags.push(("data_dir".to_owned(), folder.clone()));
    }
    Sources { config: common.config.clone(), flags, environment: Environment::Process, folder: None }
}

/// Runs a short command on this thread.
fn block_on<T>(work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Trouble::failed(format!("cannot start the async runtime: {error}")))?
        .block_on(work)
}
