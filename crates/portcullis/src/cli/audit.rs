//! The words of `portcullis audit`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `audit …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Check every line of the trail and name the first bad one: file, line, record, and what was done to it.
    #[command(after_help = "\
Needs no running server and works beside one. What it is held against: the hashes in the trail, the public key of \
audit_sign_key (and audit.retired_sign_keys), the anchor files of the settings. Without them it finds less, and says so.

Examples:
  portcullis audit verify
  portcullis audit verify --from 2026-01-01 --to 2026-02-01
  portcullis audit verify --anchors /mnt/elsewhere/anchors.jsonl --public-key M-iW99…
Exit codes: 0 unbroken, 1 a line is bad, 2 the trail cannot be read.")]
    Verify(AuditVerify),
    /// Show records, the newest last.
    #[command(after_help = "\
Examples:
  portcullis audit show --last 20
  portcullis audit show --kind auth_failure --from 2h
  portcullis audit show --id inc_example
  portcullis audit show --caller key:example00001 --json
Exit codes: 0 shown, 2 the trail cannot be read.")]
    Show(AuditShow),
    /// Print records as they stand in the trail, one JSON object a line, oldest first.
    #[command(after_help = "\
Every line is byte for byte that of the trail, so that its hash still fits.

Examples:
  portcullis audit export --jsonl > trail.jsonl
  portcullis audit export --jsonl --kind inspection --from 2026-01-01 --output january.jsonl
Exit codes: 0 printed, 2 the trail cannot be read or the file cannot be written.")]
    Export(AuditExport),
    /// Say who a name of the trail is, or what somebody is called in it. Needs the key `audit_id_key`.
    #[command(after_help = "\
A name is a keyed hash: it is found by trying who is known, that is every API key, everybody in the ledger, and whom \
--try names.

Examples:
  portcullis audit who h:AbCd.0123456789abcdefghijkl
  portcullis audit who h:AbCd.0123456789abcdefghijkl --try jwt:alice --try ip:203.0.113.9
  portcullis audit who key:example00001
Exit codes: 0 found, 1 nobody known is called so, 2 wrong use or the key cannot be read.")]
    Who(AuditWho),
}

/// From when to when.
#[derive(Debug, Args)]
pub(crate) struct Span {
    /// From then on: a day (UTC), a time such as 2026-01-01T12:00:00Z, or so long ago: 90m, 2h, 7d.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) from: Option<jiff::Timestamp>,
    /// Before then; written as `--from`.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) to: Option<jiff::Timestamp>,
}

/// `audit verify`.
#[derive(Debug, Args)]
pub(crate) struct AuditVerify {
    #[command(flatten)]
    pub(crate) span: Span,
    /// A file of checkpoints kept elsewhere, one a line; may be repeated. Those of the settings count too.
    #[arg(long, value_name = "FILE")]
    pub(crate) anchors: Vec<PathBuf>,
    /// A public key that may have signed; may be repeated. Our own and retired ones count too.
    #[arg(long, value_name = "KEY")]
    pub(crate) public_key: Vec<String>,
}

/// Which records.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    #[command(flatten)]
    pub(crate) span: Span,
    /// Of this kind; may be repeated. Without it every kind but checkpoints.
    #[arg(long)]
    pub(crate) kind: Vec<String>,
    /// Of this caller: a name of the trail (`h:…`), or `key:<id>`, `jwt:<subject>`, `ip:<address>`, `local`.
    #[arg(long)]
    pub(crate) caller: Option<String>,
    /// With this outcome.
    #[arg(long)]
    pub(crate) outcome: Option<String>,
    /// Under this incident or in this request.
    #[arg(long)]
    pub(crate) id: Option<String>,
}

/// `audit show`.
#[derive(Debug, Args)]
pub(crate) struct AuditShow {
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// At most so many, the newest.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) last: u32,
}

/// `audit export`.
#[derive(Debug, Args)]
pub(crate) struct AuditExport {
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// As JSON Lines, the only form there is.
    #[arg(long)]
    pub(crate) jsonl: bool,
    /// Into this file instead of standard output; it must not be there yet.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// `audit who`.
#[derive(Debug, Args)]
pub(crate) struct AuditWho {
    /// A name of the trail (`h:…`), or a caller.
    pub(crate) name: String,
    /// Somebody to try; may be repeated.
    #[arg(long = "try", value_name = "CALLER")]
    pub(crate) tried: Vec<String>,
}

/// A day, a moment, or so long ago.
fn moment(text: &str) -> Result<jiff::Timestamp, String> {
    let words = || "write it as 2026-01-01, 2026-01-01T12:00:00Z, 90m, 2h or 7d".to_owned();
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at);
    }
    if let Ok(day) = text.parse::<jiff::civil::Date>() {
        return day.to_zoned(jiff::tz::TimeZone::UTC).map(|day| day.timestamp()).map_err(|_| words());
    }
    let seconds = match text.strip_suffix('d') {
        Some(days) => days.parse::<u64>().ok().and_then(|days| days.checked_mul(86_400)).ok_or_else(words)?,
        None => super::time(text).map_err(|_| words())?,
    };
    jiff::Timestamp::now().checked_sub(std::time::Duration::from_secs(seconds)).map_err(|_| words())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_day_a_time_or_so_long_ago() {
        assert_eq!(moment("2026-01-02").unwrap(), moment("2026-01-02T00:00:00Z").unwrap());
        let day = moment("1d").unwrap();
        assert!(day > moment("25h").unwrap() && day < moment("90m").unwrap());
        for wrong in ["", "yesterday", "2026-13-01", "1y", "-1d", "99999999999999999d"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
