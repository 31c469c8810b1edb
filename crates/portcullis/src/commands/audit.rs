//! `portcullis audit …`: the trail proves itself, is looked into, and says who was meant to whoever has the key. All of
//! it reads files, without a running server or beside one.

use super::{Ended, block_on, settings};
use crate::{
    cli::{Audit, AuditExport, AuditShow, AuditVerify, AuditWho, Filter},
    output::{BOLD, DIM, GOOD, Trouble, WARN, line},
};
use portcullis_runtime::{
    Secrets, Settings,
    audit::{AuditError, AuditReport, Fault, Pseudonyms, Scope, Wanted, check, export, show},
    read_secrets,
    settings::Sources,
    trail,
};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::time::Instant;

/// From then on a check says how far it is.
const QUIET: Duration = Duration::from_secs(2);

pub(super) fn run(sources: &Sources, command: &Audit, json: bool) -> Ended {
    let settings = settings(sources)?.settings;
    let secrets = block_on(async { Ok(read_secrets(&settings, &sources.environment).await) })?;
    let house = House { folder: trail::folder(&settings), settings, secrets, json };
    match command {
        Audit::Verify(wanted) => house.verify(wanted),
        Audit::Show(wanted) => house.show(wanted),
        Audit::Export(wanted) => house.export(wanted),
        Audit::Who(wanted) => house.who(wanted),
    }
}

/// What every command here works with.
struct House {
    settings: Settings,
    secrets: Secrets,
    folder: PathBuf,
    json: bool,
}

fn unreadable(error: impl std::fmt::Display) -> Trouble {
    Trouble::usage(error.to_string()).mend("run it as the user that owns the data folder")
}

impl House {
    fn folder(&self) -> Result<&Path, Trouble> {
        if self.folder.is_dir() {
            return Ok(&self.folder);
        }
        Err(Trouble::usage(format!("there is no audit trail at {}", self.folder.display()))
            .mend("name the data folder with --data-dir or the settings file with --config"))
    }

    fn verify(&self, wanted: &AuditVerify) -> Ended {
        let folder = self.folder()?;
        let scope = trail::scope(&self.settings, &self.secrets, &wanted.public_key, &wanted.anchors)
            .map_err(unreadable)?;
        let scope = Scope { from: wanted.span.from, to: wanted.span.to, ..scope };
        match check(folder, &scope, &mut progress()) {
            Ok(report) if self.json => {
                let mut value = serde_json::to_value(&report).unwrap_or_default();
                value["ok"] = true.into();
                line(value);
                Ok(ExitCode::SUCCESS)
            }
            Ok(report) => {
                tell(&report, folder);
                Ok(ExitCode::SUCCESS)
            }
            Err(AuditError::Broken(fault)) => self.broken(&fault),
            Err(error @ (AuditError::Locked | AuditError::Io(_) | AuditError::SignKey)) => {
                Err(unreadable(error))
            }
        }
    }

    fn broken(&self, fault: &Fault) -> Ended {
        if self.json {
            line(json!({"ok": false, "first_bad": fault}));
            return Ok(ExitCode::FAILURE);
        }
        Err(Trouble::failed(format!("the audit trail does not hold: {fault}"))
            .safe("the lines before it hold; nothing was changed by this check")
            .mend(
                "keep the folder as it is and compare it with a backup; the line named is the first bad one",
            ))
    }

    fn show(&self, wanted: &AuditShow) -> Ended {
        let count = usize::try_from(wanted.last).unwrap_or(usize::MAX);
        let records = show(self.folder()?, &self.wanted(&wanted.filter)?, count).map_err(unreadable)?;
        if self.json {
            line(json!({"data": records}));
        } else if records.is_empty() {
            anstream::eprintln!("{DIM}no record fits{DIM:#}");
        } else {
            records.iter().for_each(print);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn export(&self, wanted: &AuditExport) -> Ended {
        let filter = self.wanted(&wanted.filter)?;
        let folder = self.folder()?;
        let Some(path) = &wanted.output else {
            let mut out = io::BufWriter::new(io::stdout().lock());
            let done = export(folder, &filter, &mut out).and_then(|_| out.flush());
            return match done {
                // A reader that has gone away (`| head`) is no error.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
                done => done.map(|()| ExitCode::SUCCESS).map_err(unreadable),
            };
        };
        let file = File::create_new(path).map_err(|error| {
            Trouble::usage(format!("{} cannot be made: {error}", path.display()))
                .safe("nothing was written over")
                .mend("name a file that is not there yet")
        })?;
        let mut out = io::BufWriter::new(file);
        let count = export(folder, &filter, &mut out).and_then(|count| out.flush().map(|()| count));
        let count = count.map_err(unreadable)?;
        anstream::eprintln!("{GOOD}exported{GOOD:#} {count} records to {}", path.display());
        Ok(ExitCode::SUCCESS)
    }

    fn who(&self, wanted: &AuditWho) -> Ended {
        let keys = self.keys()?;
        let Some((_, tag)) = wanted.name.strip_prefix("h:").and_then(|rest| rest.split_once('.')) else {
            let names: Vec<String> = keys.iter().map(|key| key.of(&wanted.name)).collect();
            if self.json {
                line(json!({"caller": wanted.name, "names": names}));
            } else {
                names.iter().for_each(line);
            }
            return Ok(ExitCode::SUCCESS);
        };
        let key = keys.iter().find(|key| wanted.name[2..].starts_with(key.key_id())).ok_or_else(|| {
            Trouble::failed(format!("{} was made with a key that is not here", wanted.name))
                .mend("name the secret that holds that key in audit.retired_id_key_secrets")
        })?;
        let fits = |caller: &&String| key.of(caller).ends_with(tag);
        let known = || {
            block_on(async { trail::known_callers(&self.settings, &self.secrets).await.map_err(unreadable) })
        };
        let found = match wanted.tried.iter().find(fits) {
            Some(caller) => Some(caller.clone()),
            None => known()?.iter().find(fits).cloned(),
        };
        let Some(caller) = found else {
            return Err(Trouble::failed("nobody known here is called so").mend(
                "a token's subject or an address that never paid for a call has to be named: --try jwt:alice",
            ));
        };
        if self.json {
            line(json!({"name": wanted.name, "caller": caller}));
        } else {
            line(caller);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn keys(&self) -> Result<Vec<Pseudonyms>, Trouble> {
        let keys = trail::pseudonyms(&self.settings, &self.secrets).map_err(unreadable)?;
        if keys.is_empty() {
            return Err(Trouble::usage("the key `audit_id_key` is not here, so no name can be read")
                .mend("run it where the server runs, or give the secret `audit_id_key`"));
        }
        Ok(keys)
    }

    fn wanted(&self, filter: &Filter) -> Result<Wanted, Trouble> {
        let callers = match &filter.caller {
            None => Vec::new(),
            Some(name) if name.starts_with("h:") => vec![name.clone()],
            Some(caller) => self.keys()?.iter().map(|key| key.of(caller)).collect(),
        };
        Ok(Wanted {
            from: filter.span.from,
            to: filter.span.to,
            kinds: filter.kind.clone(),
            callers,
            outcome: filter.outcome.clone(),
            id: filter.id.clone(),
        })
    }
}

/// Says on a terminal how far it is, once it takes long.
fn progress() -> impl FnMut(u64, u64) {
    let (begun, terminal) = (Instant::now(), io::stderr().is_terminal());
    let mut told = 0;
    move |read, total| {
        let percent = read * 100 / total.max(1);
        if terminal && percent > told && begun.elapsed() > QUIET {
            told = percent;
            anstream::eprint!("\r{DIM}{percent} %{DIM:#}");
        }
    }
}

fn tell(report: &AuditReport, folder: &Path) {
    let AuditReport { files, records, first, last, .. } = report;
    let place = folder.display();
    line(format_args!(
        "{GOOD}unbroken{GOOD:#}: {records} records, {first} to {last}, in {files} files ({place})"
    ));
    if report.format_1 > 0 {
        let count = report.format_1;
        line(format_args!(
            "  {count} of them in format 1, of an earlier version: chained, not signed by themselves"
        ));
    }
    if report.older_removed {
        line("  older records are gone; format 1 does not tell whether their time was over");
    }
    match (report.checkpoints, report.trusted) {
        (0, _) => line(format_args!("  {WARN}no checkpoint{WARN:#}: nothing here is signed")),
        (count, true) => {
            line(format_args!("  {count} checkpoints, signed with our key up to record {}", report.signed_to))
        }
        (count, false) => line(format_args!(
            "  {count} checkpoints up to record {}; {WARN}no key to hold them against{WARN:#}: give --public-key",
            report.signed_to
        )),
    }
    if last > &report.signed_to {
        line(format_args!("  {} records since then are chained, not yet signed", last - report.signed_to));
    }
    match report.anchors {
        0 => line(format_args!(
            "  {WARN}no anchor{WARN:#}: an end that was cut off would not show: keep checkpoints elsewhere, audit.anchors"
        )),
        count => line(format_args!("  {count} anchors fit, the newest at record {}", report.anchored_to)),
    }
    if report.live {
        line("  the last line was being written just then");
    }
    for key in &report.keys {
        line(format_args!("  public key {key}"));
    }
}

/// One record on one line.
fn print(record: &Value) {
    let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
    let at = text("at");
    let at = at.split('.').next().unwrap_or_default().trim_end_matches('Z');
    let mut more = Vec::new();
    for name in ["door", "action", "tier", "caller", "verdict", "incident", "request_id"] {
        if let Some(value) = record[name].as_str() {
            more.push(format!("{name}={value}"));
        }
    }
    if let Some(score) = record["score"].as_f64() {
        more.push(format!("score={score}"));
    }
    for (name, value) in record["details"].as_object().into_iter().flatten() {
        more.push(format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    }
    line(format_args!(
        "{DIM}{} {at}{DIM:#} {BOLD}{}{BOLD:#} {} {}",
        record["seq"],
        text("kind"),
        text("outcome"),
        more.join(" ").replace(char::is_control, " ")
    ));
}
