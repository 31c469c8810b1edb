//! `portcullis serve`: start, say so, wait for a signal, drain; and start again where the database is to be replaced.
//! Standard output is for people and their clipboards, standard error for logs.

use super::{
    Ended, settings,
    welcome::{Facts, welcome},
};
use crate::{
    cli,
    output::{Trouble, piece},
};
use portcullis_runtime::{
    Environment, Running, Settings, read_secrets,
    secrets::LOCAL_KEY,
    settings::{Examined, Sources},
    start_from,
};
use secrecy::ExposeSecret as _;
use std::{
    convert::Infallible,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(super) fn run(mut sources: Sources, arguments: &cli::Serve) -> Ended {
    for (key, value) in [("http.listen", &arguments.listen), ("admin.listen", &arguments.admin_listen)] {
        if let Some(address) = value {
            sources.flags.push((key.to_owned(), address.clone()));
        }
    }
    let examined = settings(&sources)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(examined.settings.server.threads())
        .thread_name("portcullis")
        .enable_all()
        .build()
        .map_err(|error| Trouble::failed(format!("cannot start the async runtime: {error}")))?;
    let ended = runtime.block_on(serve(examined, sources));
    // Blocking work that outlives the drain must not hold the process.
    runtime.shutdown_timeout(Duration::from_millis(200));
    match ended? {
        End::Done(code) => Ok(code),
        End::Again => Err(again()),
    }
}

async fn serve(examined: Examined, sources: Sources) -> Result<End, Trouble> {
    let mut signals =
        Signals::new().map_err(|error| Trouble::failed(format!("cannot catch signals: {error}")))?;
    let secrets = read_secrets(&examined.settings, &sources.environment).await;
    panics_are_logged();
    let running =
        Box::pin(start_from(examined.clone(), sources.clone(), secrets)).await.map_err(|error| {
            Trouble::failed(format!("it cannot start: {error}"))
                .safe("nothing was served and no data was changed")
        })?;
    tell(&running, &examined, &sources);
    let by_signal = tokio::select! {
        by_signal = serve_until_asked(&running, &mut signals) => by_signal,
        never = give_back() => match never {},
    };
    let end = if !by_signal && running.begins_again() { End::Again } else { End::Done(ExitCode::SUCCESS) };
    tokio::select! {
        () = running.drain() => Ok(end),
        () = signals.end() => {
            tracing::warn!("second signal: ended without waiting for running answers");
            Ok(End::Done(ExitCode::from(1)))
        }
    }
}

/// How a server ended.
enum End {
    /// For good.
    Done(ExitCode),
    /// To be started again: its database is to be replaced.
    Again,
}

/// Starts this program anew in its own place: same process id, same arguments, nothing left of what was in memory.
fn again() -> Trouble {
    let here = std::env::current_exe().ok().filter(|path| path.is_file());
    // A program that was replaced on the disk meanwhile is still there under this name.
    let program = here.unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).exec();
    Trouble::failed(format!("it ended to replace its database and could not start again: {error}"))
        .mend("start it; the start replaces the database")
}

/// After so long a start has used all code that only a start uses, a second later the first backup is made, and after ten
/// more the threads that a start needed have ended.
const SETTLES: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_millis(1500), Duration::from_millis(10_500)];
/// How often the memory that rare work left behind (backups, reloads, reports) is given back later.
const RARELY: Duration = Duration::from_secs(60);

/// Gives back memory that only the start or rare work needed, for as long as the server runs.
async fn give_back() -> Infallible {
    let mut pauses = SETTLES.into_iter();
    loop {
        tokio::time::sleep(pauses.next().unwrap_or(RARELY)).await;
        let bytes = portcullis_kernels::give_back();
        tracing::debug!(bytes, "code and constants that were mapped were given back");
    }
}

/// Until the end is asked for; whether by a signal.
async fn serve_until_asked(running: &Running, signals: &mut Signals) -> bool {
    loop {
        tokio::select! {
            wish = signals.next() => match wish {
                Wish::End => return true,
                // The outcome is in the log.
                Wish::Reload => drop(running.reload("signal").await),
            },
            () = running.asked_to_end() => return false,
        }
    }
}

/// Panics become log lines, redacted like all others, instead of raw text on standard error.
fn panics_are_logged() {
    std::panic::set_hook(Box::new(|panic| {
        let place =
            panic.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
        let words = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(event = "panic", place, words, "a task panicked; only its own request is affected");
    }));
}

/// Prints addresses, the first key and the lines to copy, in one piece.
fn tell(running: &Running, examined: &Examined, sources: &Sources) {
    let settings = &examined.settings;
    let key_file = settings.data_dir.join("keys").join(LOCAL_KEY);
    let program = program(&sources.environment);
    let facts = Facts {
        http: running.http(),
        http_tls: settings.http.tls.is_some(),
        admin: running.admin(),
        admin_tls: settings.admin.tls.is_some(),
        first_key: running.first_key().map(|key| key.expose_secret()),
        key_file: key_file.is_file().then_some(key_file.as_path()),
        program: &program,
        found_by_default: sources.config.is_none() && sources.flags.is_empty() && found(settings, running),
    };
    piece(&welcome(&facts));
}

/// Whether the settings alone lead a client to the listener.
fn found(settings: &Settings, running: &Running) -> bool {
    settings
        .http
        .listen
        .parse::<std::net::SocketAddr>()
        .is_ok_and(|said| said.port() == running.http().port())
}

/// How to call this program again: its name where it is in `PATH`, else its path, short where it lies below the
/// working folder.
fn program(environment: &Environment) -> String {
    let Ok(path) = std::env::current_exe() else { return "portcullis".to_owned() };
    let folders = environment.get("PATH").unwrap_or_default();
    let in_path =
        path.parent().is_some_and(|folder| std::env::split_paths(&folders).any(|known| known == folder));
    if let (true, Some(name)) = (in_path, path.file_name()) {
        return Path::new(name).display().to_string();
    }
    let here = std::env::current_dir().unwrap_or_default();
    match path.strip_prefix(&here) {
        Ok(below) => PathBuf::from(".").join(below).display().to_string(),
        Err(_) => path.display().to_string(),
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    End,
    Reload,
}

/// SIGTERM and Ctrl-C end, SIGHUP reloads.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End,
            _ = self.interrupt.recv() => Wish::End,
            _ = self.reload.recv() => Wish::Reload,
        }
    }

    async fn end(&mut self) {
        while self.next().await == Wish::Reload {}
    }
}
