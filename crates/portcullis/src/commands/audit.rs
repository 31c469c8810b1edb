//! `portcullis audit …`: the trail proves itself; no key is needed to check it.

use super::{Ended, settings};
use crate::{
    cli::Audit,
    output::{GOOD, Trouble, line},
};
use portcullis_runtime::{
    audit::{AuditError, verify},
    settings::Sources,
};
use std::process::ExitCode;

pub(super) fn run(sources: &Sources, command: &Audit, json: bool) -> Ended {
    let Audit::Verify = command;
    let folder = settings(sources)?.settings.data_dir.join("audit");
    if !folder.is_dir() {
        return Err(Trouble::usage(format!("there is no audit trail at {}", folder.display()))
            .mend("name the data folder with --data-dir or the settings file with --config"));
    }
    let report = verify(&folder).map_err(|error| match error {
        AuditError::Broken { .. } => Trouble::failed(format!("the audit trail does not hold: {error}"))
            .safe("the lines before it are proved; nothing was changed by this check")
            .mend(
                "keep the folder as it is and compare it with a backup; the line named is the first bad one",
            ),
        AuditError::Locked | AuditError::Io(_) => {
            Trouble::usage(error.to_string()).mend("run it as the user that owns the data folder")
        }
    })?;
    if json {
        line(serde_json::json!({"ok": true, "files": report.files, "records": report.records}));
    } else {
        line(format_args!(
            "{GOOD}unbroken{GOOD:#}: {} records in {} files ({})",
            report.records,
            report.files,
            folder.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}
