//! `portcullis ingest …`: documents into a collection of the data folder, with a bar, a report and an exit code that
//! scripts can use. Invariant: whatever happens, what was published before goes on answering.

mod told;

use super::{Ended, block_on, settings};
use crate::{
    cli,
    output::{Trouble, line},
};
use portcullis_runtime::{
    Secrets, Settings, StartError,
    ingestion::{self, serve_reader},
    knowledge::{
        IndexError,
        collection::Held,
        ingest::{
            find,
            job::{self, Options, Place, Tools},
            report::{IngestError, Report},
        },
    },
    read_secrets,
    settings::Sources,
};
use std::{future::Future, path::PathBuf, pin::pin, process::ExitCode, sync::Arc, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use told::Bar;

/// Some files were refused.
const REFUSED: u8 = 3;
/// Interrupted, as shells say it.
const INTERRUPTED: u8 = 130;
/// How often a watched folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The hidden command: reads files until standard input ends.
pub(super) fn read_files() -> Ended {
    serve_reader().map_err(|error| Trouble::failed(format!("cannot read files: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn run(sources: &Sources, arguments: &cli::Ingest, json: bool) -> Ended {
    let settings = settings(sources)?.settings;
    block_on(async {
        let secrets = read_secrets(&settings, &sources.environment).await;
        Box::pin(ingest(&settings, &secrets, arguments, json)).await
    })
}

async fn ingest(settings: &Settings, secrets: &Secrets, arguments: &cli::Ingest, json: bool) -> Ended {
    let places: Vec<Place> = arguments.places.iter().map(|place| self::place(place)).collect();
    let mut options = Options {
        prune: arguments.prune,
        force: arguments.force,
        dry_run: arguments.dry_run,
        depth: arguments.depth,
    };
    let library = ingestion::library(settings, secrets).await.map_err(unopened)?;
    let opened = library.collection(&arguments.collection, true).await.map_err(|error| index(&error))?;
    let collection = opened.ok_or_else(|| index(&IndexError::Missing))?;
    let mut interrupt = Interrupt::new()?;
    let (bar, cancel) = (Arc::new(Bar::new(json)), CancellationToken::new());
    let told = Arc::clone(&bar);
    let pages = places.iter().any(|place| matches!(place, Place::Page(_)));
    let tools =
        ingestion::alone(settings, secrets, pages, Arc::new(move |progress| told.tell(progress)), cancel);
    let tools = tools.map_err(|error| {
        Trouble::failed(error.to_string()).safe("nothing was changed").mend("portcullis check")
    })?;
    let mut wanted = places.clone();
    loop {
        let before = fingerprint(&places, settings);
        let now = jiff::Timestamp::now().as_second();
        let work = Box::pin(job::run(&tools, &collection, &wanted, options, now));
        let outcome = interrupt.or_cancel(work, &tools).await;
        bar.clear();
        let code = match outcome {
            None => return Ok(ExitCode::from(INTERRUPTED)),
            Some(Ok(report)) => {
                tell(&report, options, json);
                if report.refused.is_empty() { 0 } else { REFUSED }
            }
            Some(Err(IngestError::Cancelled)) => {
                Trouble::failed("interrupted")
                    .safe("what was published before answers; what was embedded is kept")
                    .tell(json);
                return Ok(ExitCode::from(INTERRUPTED));
            }
            Some(Err(error)) if arguments.watch => {
                trouble(&error).tell(json);
                1
            }
            Some(Err(error)) => return Err(trouble(&error)),
        };
        if !arguments.watch {
            return Ok(ExitCode::from(code));
        }
        // What goes from a watched folder goes from the collection; more than half of it still needs to be said.
        options = Options { prune: true, force: false, ..options };
        wanted.retain(|place| !matches!(place, Place::Page(_)));
        if wanted.is_empty() || !interrupt.or_end(changed(&places, settings, before)).await {
            return Ok(ExitCode::from(code));
        }
    }
}

fn place(text: &str) -> Place {
    if text.starts_with("http://") || text.starts_with("https://") {
        Place::Page(text.to_owned())
    } else {
        Place::Path(PathBuf::from(text))
    }
}

/// What the folders hold, as far as that can be seen from outside.
fn fingerprint(places: &[Place], settings: &Settings) -> Vec<String> {
    let of = |place: &Place| match place {
        Place::Path(path) => find::find(path, settings.knowledge.max_files).map_or_else(
            |error| error.to_string(),
            |(finds, _)| find::fingerprint(&finds).to_hex().to_string(),
        ),
        Place::Page(_) | Place::Upload { .. } => String::new(),
    };
    places.iter().map(of).collect()
}

/// Waits until the folders are other than before, and quiet again.
async fn changed(places: &[Place], settings: &Settings, before: Vec<String>) {
    let mut last = before.clone();
    loop {
        sleep(LOOK_EVERY).await;
        let now = fingerprint(places, settings);
        if now != before && now == last {
            return;
        }
        last = now;
    }
}

fn tell(report: &Report, options: Options, json: bool) {
    if json {
        line(serde_json::to_string(report).unwrap_or_default());
    } else {
        line(told::report(report, options));
    }
}

fn unopened(error: StartError) -> Trouble {
    Trouble::failed(error.to_string()).safe("the documents themselves").mend("portcullis check")
}

fn index(error: &IndexError) -> Trouble {
    Trouble::failed(error.to_string()).safe("the documents themselves").mend("portcullis index verify")
}

fn trouble(error: &IngestError) -> Trouble {
    let safe = "what was published before goes on answering";
    let mend = match error {
        IngestError::Find(_) => "name files and folders that are there, or raise knowledge.max_files",
        IngestError::Held(Held::By(_) | Held::Elsewhere) => "wait until it is done",
        IngestError::Held(Held::Trouble(_)) | IngestError::Index(_) => "portcullis index verify",
        IngestError::Reader(_) => "install the binary again",
        IngestError::Embedder(_) => "portcullis check",
        IngestError::TooManyGone { .. } => {
            "look whether the folder is there as it should be; then --prune --force"
        }
        IngestError::Sources { .. } => "mend that file: [urls] with \"beginning/\" = \"https://…/{path}\"",
        IngestError::NoPages => "name files or folders",
        IngestError::Cancelled => "ingest again: what was embedded is kept",
        IngestError::Broken(_) => "ingest again; if it comes back, report it",
    };
    Trouble::failed(error.to_string()).safe(safe).mend(mend)
}

/// Ctrl-C and SIGTERM.
struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    fn new() -> Result<Self, Trouble> {
        let catch =
            |kind| signal(kind).map_err(|error| Trouble::failed(format!("cannot catch signals: {error}")));
        Ok(Self { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
        }
    }

    /// Does the work to its end; the first signal asks it to end, the second does not wait: nothing then.
    async fn or_cancel<T>(&mut self, work: impl Future<Output = T>, tools: &Tools) -> Option<T> {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            () = self.next() => tools.cancel.cancel(),
            done = &mut work => return Some(done),
        }
        tokio::select! {
            biased;
            () = self.next() => None,
            done = &mut work => Some(done),
        }
    }

    /// Waits; whether it was for what was waited for and not for a signal.
    async fn or_end(&mut self, waited: impl Future<Output = ()>) -> bool {
        tokio::select! {
            biased;
            () = self.next() => false,
            () = waited => true,
        }
    }
}
