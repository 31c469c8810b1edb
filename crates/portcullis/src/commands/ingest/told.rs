//! How an ingestion is told: a bar on a terminal, a line every five seconds elsewhere, a report at the end. Progress
//! goes to standard error, the report to standard output.

use crate::output::{BAD, DIM, GOOD, WARN};
use parking_lot::Mutex;
use portcullis_runtime::knowledge::ingest::{
    job::Options,
    report::{Phase, Progress, Report},
};
use std::{
    fmt::Write as _,
    io::{IsTerminal as _, Write as _},
    time::Duration,
};
use tokio::time::Instant;

/// Characters of the bar.
const WIDTH: usize = 20;
/// Nothing is told of what is done sooner.
const QUIET: Duration = Duration::from_secs(1);
/// Between two drawings of the bar.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Between two lines where nobody watches.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Names of one kind that a report lists.
const MOST_NAMES: usize = 100;

/// See the module.
pub(super) struct Bar {
    json: bool,
    live: bool,
    state: Mutex<State>,
}

struct State {
    begun: Instant,
    told: Option<Instant>,
    drawn: bool,
}

impl Bar {
    pub(super) fn new(json: bool) -> Self {
        let state = State { begun: Instant::now(), told: None, drawn: false };
        Self { json, live: !json && std::io::stderr().is_terminal(), state: Mutex::new(state) }
    }

    pub(super) fn tell(&self, progress: &Progress) {
        let mut state = self.state.lock();
        let now = Instant::now();
        if progress.phase == Phase::Finding {
            (state.begun, state.told) = (now, None);
        }
        let (first, every) = if self.live { (QUIET, DRAW_EVERY) } else { (LINE_EVERY, LINE_EVERY) };
        let passed = now - state.begun;
        if passed < first || state.told.is_some_and(|told| now - told < every) {
            return;
        }
        state.told = Some(now);
        let mut out = anstream::stderr();
        let _gone = if self.json {
            writeln!(out, "{}", serde_json::to_string(progress).unwrap_or_default())
        } else if self.live {
            state.drawn = true;
            write!(out, "\r\x1b[K{}", row(progress, passed)).and_then(|()| out.flush())
        } else {
            writeln!(out, "{}", row(progress, passed))
        };
    }

    /// Takes the bar away, so that the report stands alone.
    pub(super) fn clear(&self) {
        if std::mem::take(&mut self.state.lock().drawn) {
            let mut out = anstream::stderr();
            let _gone = write!(out, "\r\x1b[K").and_then(|()| out.flush());
        }
    }
}

/// `[=====>    ] 412/980 files  61 %  3.1 MB/s  ETA 0:42`.
#[expect(clippy::cast_precision_loss, reason = "for the eye")]
fn row(progress: &Progress, passed: Duration) -> String {
    let seconds = passed.as_secs_f64().max(0.001);
    let (done, all) = if progress.of_bytes > 0 {
        (progress.bytes as f64, progress.of_bytes as f64)
    } else {
        (progress.files as f64, progress.of_files.max(1) as f64)
    };
    let share = (done / all).clamp(0.0, 1.0);
    let rate = progress.bytes as f64 / seconds / 1e6;
    let mut out = format!(
        "[{}] {}/{} files  {:.0} %  {rate:.1} MB/s",
        drawn(share),
        progress.files,
        progress.of_files,
        (share * 100.0).floor()
    );
    let _fits = match progress.phase {
        Phase::Finding => write!(out, "  looking"),
        Phase::Waiting => write!(out, "  waiting for the embedding model"),
        Phase::Publishing => write!(out, "  publishing"),
        Phase::Reading if share > 0.0 => {
            let left = whole(seconds / share * (1.0 - share));
            write!(out, "  ETA {}:{:02}", left / 60, left % 60)
        }
        Phase::Reading => Ok(()),
    };
    out
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
fn whole(number: f64) -> u64 {
    number.ceil() as u64
}

#[expect(clippy::cast_precision_loss, reason = "twenty characters")]
fn drawn(share: f64) -> String {
    let filled = usize::try_from(whole(share * WIDTH as f64)).unwrap_or(WIDTH).min(WIDTH);
    let head = if filled < WIDTH { ">" } else { "" };
    format!("{:<WIDTH$}", "=".repeat(filled) + head).chars().take(WIDTH).collect()
}

/// The end, for people.
pub(super) fn report(report: &Report, options: Options) -> String {
    let mut out = String::new();
    let plain = [
        (report.added, "added"),
        (report.updated, "updated"),
        (report.unchanged, "unchanged"),
        (report.removed, "removed"),
        (report.refused.len(), "refused"),
    ];
    let counts: Vec<String> = plain.iter().map(|(count, word)| format!("{count} {word}")).collect();
    let style = if report.refused.is_empty() { GOOD } else { WARN };
    let _fits = writeln!(out, "{style}{}{style:#}", counts.join(", "));
    for (n, refused) in report.refused.iter().enumerate() {
        if n == MOST_NAMES {
            let _fits = writeln!(out, "  and {} more: see --json", report.refused.len() - MOST_NAMES);
            break;
        }
        let kept = if refused.kept { " (its last version still answers)" } else { "" };
        let _fits = writeln!(out, "  {BAD}{}{BAD:#}: {}{kept}", refused.source, refused.detail);
    }
    for partial in report.partial.iter().take(MOST_NAMES) {
        let pages: Vec<String> = partial.pages.iter().map(u32::to_string).collect();
        let _fits = writeln!(out, "  {WARN}{}{WARN:#}: without page {}", partial.source, pages.join(", "));
    }
    for flagged in report.flagged.iter().take(MOST_NAMES) {
        let (source, chunks) = (&flagged.source, flagged.chunks);
        let noun = if chunks == 1 { "passage looks" } else { "passages look" };
        let _fits = writeln!(
            out,
            "  {WARN}{source}{WARN:#}: {chunks} {noun} like instructions; ranked last and kept out of prompts"
        );
    }
    if report.gone > 0 {
        let (gone, verb) = (report.gone, if report.gone == 1 { "is" } else { "are" });
        let _fits = writeln!(out, "  {gone} whose files are gone {verb} kept; --prune removes them");
    }
    let verb = if options.dry_run { "would hold" } else { "holds" };
    let _fits = write!(
        out,
        "collection {} {verb} {} documents in {} passages",
        report.collection, report.documents, report.chunks
    );
    if let Some(generation) = report.generation.filter(|_| !options.dry_run) {
        let fresh = if report.published { "" } else { ", nothing changed" };
        let _fits = write!(out, " {DIM}(generation {generation}{fresh}){DIM:#}");
    }
    let (embedded, calls, seconds) = (report.embedded, report.embedding_calls, report.seconds);
    let _fits = write!(out, "\n{DIM}{embedded} passages embedded in {calls} calls, {seconds:.1} s{DIM:#}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_runtime::knowledge::ingest::{extract::Refusal, report::Refused};

    #[test]
    fn the_bar_says_files_share_rate_and_what_is_left() {
        let progress = Progress {
            files: 412,
            of_files: 980,
            bytes: 6_100_000,
            of_bytes: 10_000_000,
            chunks: 0,
            phase: Phase::Reading,
        };
        let told = row(&progress, Duration::from_secs(2));
        assert_eq!(told, "[=============>      ] 412/980 files  61 %  3.0 MB/s  ETA 0:02");
        let waiting = row(&Progress { phase: Phase::Waiting, ..progress }, Duration::from_secs(2));
        assert!(waiting.ends_with("waiting for the embedding model"));
        assert_eq!((drawn(0.0).len(), drawn(0.0).trim(), drawn(1.0)), (WIDTH, ">", "=".repeat(WIDTH)));
    }

    #[test]
    fn the_report_names_every_refusal_and_what_stays() {
        let refused = Refused::new("x.pdf".to_owned(), &Refusal::Encrypted, true);
        let told = report(
            &Report {
                collection: "default".to_owned(),
                added: 2,
                refused: vec![refused],
                gone: 1,
                ..Report::default()
            },
            Options::default(),
        );
        assert!(told.contains("2 added, 0 updated, 0 unchanged, 0 removed, 1 refused"), "{told}");
        assert!(
            told.contains("x.pdf") && told.contains("password") && told.contains("still answers"),
            "{told}"
        );
        assert!(told.contains("1 whose files are gone is kept"), "{told}");
    }
}
