//! How much redaction finds and what it costs: the labelled strings of other scanners' own tests, honest messages, and
//! microseconds per message. Invariants: the sample of honest messages is fixed by its rows alone; nothing of the data is
//! written, only counts.
//!
//! A string counts as found as the peers' figures were counted: with wanted values, when one of them is hidden, or of one
//! that joins a secret with what is none, a part; else when anything in it is. Secrets of gitleaks and trufflehog are
//! looked for as secrets, of detect-secrets as secrets and personal data (it counts public addresses), Presidio's as
//! personal data.

use crate::{machine, options::Options, report};
use anyhow::{Context, Result};
use portcullis_inspect::{Found, find, redact};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt::Write as _, fs::File, hint::black_box, path::Path};
use tokio::time::Instant;

#[derive(Deserialize)]
struct Row {
    text: String,
    label: u8,
    source: String,
    #[serde(default)]
    want: Option<Vec<String>>,
}

fn rows(folder: &Path, name: &str) -> Result<Vec<Row>> {
    let file = File::open(folder.join(name)).with_context(|| format!("{name} of the guard data"))?;
    let lines = std::io::read_to_string(flate2::read::GzDecoder::new(file))?;
    lines.lines().map(|line| serde_json::from_str(line).context("a row")).collect()
}

/// Found and all, of the strings to find and of those that only look like it.
#[derive(Default)]
struct Score {
    found: usize,
    strings: usize,
    mistaken: usize,
    others: usize,
}

/// Each scanner's strings: what is looked for, and what the peers find of the whole sets.
const SETS: [(&str, bool, bool, &str); 4] = [
    ("gitleaks", true, false, "gitleaks 39/41, detect-secrets 20/41"),
    ("detect-secrets", true, true, "detect-secrets 65/76, gitleaks 20/76"),
    ("trufflehog", true, false, "gitleaks 225/452, detect-secrets 139/452"),
    ("presidio", false, true, "Presidio's 14 default patterns 320/947, all 90 689/947"),
];

fn score(rows: &[Row]) -> BTreeMap<&'static str, Score> {
    let mut scores = BTreeMap::<_, Score>::new();
    for row in rows {
        let Some((name, secrets, personal, _)) = SETS.iter().find(|set| set.0 == row.source) else {
            continue;
        };
        let found = counts(row, &find(&row.text, *secrets, *personal));
        let score = scores.entry(*name).or_default();
        let (yes, all) = match row.label {
            0 => (&mut score.mistaken, &mut score.others),
            _ => (&mut score.found, &mut score.strings),
        };
        *yes += usize::from(found);
        *all += 1;
    }
    scores
}

/// Shortest hidden part of a wanted value that counts.
const LEAST: usize = 8;

fn counts(row: &Row, found: &[Found]) -> bool {
    let Some(wanted) = row.want.as_ref().filter(|wanted| !wanted.is_empty()) else {
        return !found.is_empty();
    };
    wanted.iter().any(|want| {
        let mut places = row.text.match_indices(want.as_str());
        let covers = |at: usize, found: &Found| found.range.start <= at && at + want.len() <= found.range.end;
        let part =
            |found: &Found| found.range.len() >= LEAST && want.contains(&row.text[found.range.clone()]);
        places.any(|(at, _)| found.iter().any(|found| covers(at, found))) || found.iter().any(part)
    })
}

/// Honest messages of the sample: those whose digests are the smallest.
const HONEST: usize = 2500;

fn sample(rows: &[Row]) -> Vec<&Row> {
    let digest =
        |row: &&Row| ring::digest::digest(&ring::digest::SHA256, row.text.as_bytes()).as_ref().to_vec();
    let mut all: Vec<&Row> = rows.iter().collect();
    all.sort_by_cached_key(digest);
    all.truncate(HONEST);
    all
}

/// Times each message is looked at; the shortest counts.
const ROUNDS: usize = 5;

/// Microseconds of each message, in order, and megabytes a second over all.
fn time(texts: &[&str], look: impl Fn(&str)) -> (Vec<f64>, f64) {
    let once = |text: &&str| {
        let times = (0..ROUNDS).map(|_| {
            let start = Instant::now();
            look(black_box(text));
            start.elapsed().as_secs_f64() * 1e6
        });
        times.fold(f64::MAX, f64::min)
    };
    let mut times: Vec<f64> = texts.iter().map(once).collect();
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    let speed = bytes as f64 / times.iter().sum::<f64>();
    times.sort_by(f64::total_cmp);
    (times, speed)
}

/// Prints the table and writes `redact.md`; says so where the data is not there.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = &options.data;
    if !folder.join("redact-dev.jsonl.gz").is_file() {
        println!("skipped: no guard data at {} (--data)", folder.display());
        return Ok(());
    }
    let page = page(&rows(folder, "redact-dev.jsonl.gz")?, &rows(folder, "dev-benign.jsonl.gz")?)?;
    println!("{page}");
    report::write(&options.results, "redact.md", &page)
}

fn page(labelled: &[Row], honest: &[Row]) -> Result<String> {
    let mut page = format!(
        "# Redaction benchmark\n\nWritten by `portcullis-bench redact`, over the development half of the labelled strings and \
         over honest messages.\n\n* {}; {}\n\n| strings of | found | not meant, found too | peers, of the whole set |\n\
         |---|---:|---:|---|\n",
        machine::today(),
        machine::description()
    );
    let scores = score(labelled);
    for (name, _, _, peers) in SETS {
        let Some(Score { found, strings, mistaken, others }) = scores.get(name) else { continue };
        writeln!(page, "| {name} | {found}/{strings} | {mistaken}/{others} | {peers} |")?;
    }
    let flagged = |rows: &[&Row], secrets, personal| {
        rows.iter().filter(|row| !find(&row.text, secrets, personal).is_empty()).count()
    };
    let (sample, all) = (sample(honest), honest.iter().collect::<Vec<_>>());
    writeln!(
        page,
        "\n| honest messages | secrets flagged | personal data flagged |\n|---|---:|---:|\n\
         | the {} of smallest SHA-256 | {} | {} |\n| all {} | {} | {} |\n\n\
         Personal data in honest messages is mostly real: addresses of mail that their writers put there. Peers flag \
         secrets in 0 (gitleaks) and 4 (detect-secrets) of 2,500. Every secret that is flagged was looked at on 2026-11-22: the \
         answers of a generator of passwords, `{{\"password\": \"...\"}}`, which are passwords and are hidden \
         (decision 30).\n",
        sample.len(),
        flagged(&sample, true, false),
        flagged(&sample, false, true),
        all.len(),
        flagged(&all, true, false),
        flagged(&all, false, true),
    )?;
    let texts: Vec<&str> = honest.iter().map(|row| row.text.as_str()).collect();
    writeln!(page, "| per honest message | p50 | p95 | p99 | throughput |\n|---|---:|---:|---:|---:|")?;
    let logs = time(&texts, |text| drop(black_box(redact(text))));
    let policy = time(&texts, |text| drop(black_box(find(text, true, true))));
    for (name, (times, speed)) in [("for logs and audit", logs), ("for a policy, everything", policy)] {
        let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
        let (p50, p95, p99) = (at(50), at(95), at(99));
        writeln!(page, "| {name} | {p50:.2} µs | {p95:.1} µs | {p99:.1} µs | {speed:.0} MB/s |")?;
    }
    writeln!(
        page,
        "\nPeers: gitleaks 78 µs, detect-secrets 830 µs, Presidio 218 µs (14 patterns) to 1.1 ms (90)."
    )?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str, label: u8, source: &str, want: &[&str]) -> Row {
        let want = (!want.is_empty()).then(|| want.iter().map(|want| (*want).to_owned()).collect());
        Row { text: text.into(), label, source: source.into(), want }
    }

    #[test]
    fn a_string_is_found_only_when_a_wanted_value_is_hidden() {
        let key = format!("{}{}", "ghp_", "a1B2c3D4".repeat(5));
        let text = format!("user made-up-name with {key}");
        assert!(counts(&row(&text, 1, "trufflehog", &[&key]), &find(&text, true, false)));
        assert!(!counts(&row(&text, 1, "trufflehog", &["made-up-name"]), &find(&text, true, false)));
        let joined = format!("{key}:made-up-name");
        assert!(counts(&row(&text, 1, "trufflehog", &[&joined]), &find(&text, true, false)));
        let page = page(&[row(&text, 1, "gitleaks", &[])], &[row("hello", 0, "x", &[])]).unwrap();
        assert!(page.contains("| gitleaks | 1/1 | 0/0 |") && page.contains("| all 1 | 0 | 0 |"));
    }
}
