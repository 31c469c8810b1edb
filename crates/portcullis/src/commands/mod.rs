//! One file for each command.

mod answer;
mod ask;
mod audit;
mod backups;
mod chat;
mod check;
mod evaluate;
mod health;
mod index;
mod ingest;
mod inspect;
mod models;
mod news;
mod operate;
mod reference;
mod rules;
mod serve;
mod signal;
mod token;
mod welcome;

use crate::{
    cli::{Cli, Command, Common},
    output::{Trouble, line},
};
use operate::Ask;
use portcullis_runtime::{
    Environment, Settings,
    remote::{Listener, RemoteError, Server},
    settings::{Examined, LoadError, Sources, load},
};
use std::{future::Future, io::Read as _, process::ExitCode};

/// What a command comes to.
pub(crate) type Ended = Result<ExitCode, Trouble>;

/// Longest text read from standard input, in bytes.
const MAX_STDIN_BYTES: u64 = 32 * 1024 * 1024;

/// Runs the command.
pub(crate) fn run(cli: Cli) -> Ended {
    let sources = sources(&cli.common);
    let json = cli.common.json;
    match cli.command {
        Command::Serve(arguments) => serve::run(sources, &arguments),
        Command::Token(command) => token::run(&sources, &command, json),
        Command::Check => check::run(&sources, json),
        Command::Ask(arguments) => ask::run(&sources, &arguments, json),
        Command::News(arguments) => news::run(&sources, &arguments, json),
        Command::Chat(arguments) => chat::run(&sources, &arguments, json),
        Command::Health(arguments) => health::run(&sources, &arguments, json),
        Command::Keys(command) => Ask::keys(&command)?.run(&sources, json),
        Command::Limits(command) => Ask::limits(&command).run(&sources, json),
        Command::Breaker(command) => Ask::breaker(&command).run(&sources, json),
        Command::Providers => Ask::providers().run(&sources, json),
        Command::Routes => Ask::routes().run(&sources, json),
        Command::Budgets(command) => Ask::budgets(&command)?.run(&sources, json),
        Command::Usage(wanted) => Ask::usage(&wanted).run(&sources, json),
        Command::Safety(command) => Ask::safety(&command).run(&sources, json),
        Command::Exceptions(command) => Ask::exceptions(&command)?.run(&sources, json),
        Command::Outbox(command) => Ask::outbox(&command).run(&sources, json),
        Command::Send { silent, to, text } => Ask::send(&to, &text, silent)?.run(&sources, json),
        Command::Signal(command) => signal::run(&sources, &command, json),
        Command::Anomalies => Ask::anomalies().run(&sources, json),
        Command::Reload => Ask::reload().run(&sources, json),
        Command::Drain => Ask::drain().run(&sources, json),
        Command::Backup(arguments) => backups::backup(&sources, &arguments, json),
        Command::Restore(arguments) => backups::restore(&sources, &arguments, json),
        Command::Inspect(arguments) => inspect::run(&sources, &arguments, json),
        Command::Models(command) => models::run(&sources, &command, json),
        Command::Rules => rules::run(&sources, json),
        Command::Ingest(arguments) => ingest::run(&sources, &arguments, json),
        Command::Extract => ingest::read_files(),
        Command::Openapi => {
            line(portcullis_runtime::openapi_document());
            Ok(ExitCode::SUCCESS)
        }
        Command::Audit(command) => audit::run(&sources, &command, json),
        Command::Index(command) => index::run(&sources, &command, json),
        Command::Answer(command) => answer::run(&sources, &command, json),
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

/// The settings, or why they cannot be used.
fn settings(sources: &Sources) -> Result<Examined, Trouble> {
    load(sources).map_err(|error| match error {
        LoadError::Unreadable { .. } => Trouble::usage(error.to_string())
            .safe("nothing was started or changed")
            .mend("name a readable file with --config, or none"),
        LoadError::Refused(report) => {
            let (errors, _) = report.counts();
            let noun = if errors == 1 { "error" } else { "errors" };
            Trouble::usage(format!("the settings have {errors} {noun}:\n{}", report.to_string().trim_end()))
                .safe("nothing was started or changed")
                .mend("mend what is named above, then `portcullis check`")
        }
    })
}

/// The running server that a command talks to.
fn server(settings: &Settings, sources: &Sources, listener: Listener) -> Result<Server, Trouble> {
    Server::find(settings, &sources.environment, listener).map_err(|error| {
        Trouble::failed(error.to_string())
            .mend("set PORTCULLIS_KEY, or run it as the user that started the server")
    })
}

/// What the server said, in the words of the person at the keyboard.
fn trouble(server: &Server, error: RemoteError) -> Trouble {
    match error {
        RemoteError::Unreachable { .. } => Trouble::failed(error.to_string())
            .safe("nothing was sent to any provider and nothing was charged")
            .mend("start one with `portcullis serve`, or name a running one in PORTCULLIS_URL"),
        RemoteError::Refused { status, ref retry_after, ref request_id, .. } => {
            let mend = match (status.as_u16(), retry_after) {
                (401, _) => {
                    "set PORTCULLIS_KEY to a key the server knows (`portcullis keys list` on its machine)"
                        .into()
                }
                (403, _) => "use a key with the scope that is named above".into(),
                (_, Some(seconds)) => format!("try again in {seconds} s"),
                _ => String::new(),
            };
            let told = request_id.as_ref().map_or_else(String::new, |id| format!(" [{id}]"));
            Trouble::failed(format!("{error}{told}")).mend(mend)
        }
        RemoteError::Interrupted(_) => Trouble::failed(error.to_string()).mend("ask again"),
        RemoteError::Unreadable(_) => Trouble::failed(error.to_string())
            .mend(format!("make sure that {} is a Portcullis of this version", server.base())),
        RemoteError::Setup(_) => Trouble::usage(error.to_string()),
    }
}

/// The argument itself, or standard input where it is `-`.
fn stdin_or(text: &str) -> Result<String, Trouble> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut read = String::new();
    std::io::stdin()
        .take(MAX_STDIN_BYTES)
        .read_to_string(&mut read)
        .map_err(|error| Trouble::usage(format!("standard input cannot be read: {error}")))?;
    Ok(read)
}

/// Runs a short command on this thread.
fn block_on<T>(work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Trouble::failed(format!("cannot start the async runtime: {error}")))?
        .block_on(work)
}
