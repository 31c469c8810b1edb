//! The tables of `bench/results/guard.md`.

use crate::rows::{Origin, Row};
use anyhow::{Context as _, Result};
use portcullis_inspect::{InspectConfig, Inspector};
use std::{collections::BTreeMap, fmt::Write as _, path::Path};

/// The file of results and the marks between which each command writes.
const RESULTS: &str = "bench/results/guard.md";
/// The part that training writes.
pub(crate) const TRAINING: &str = "training";

/// Scores of rows, by how they were measured.
type Scored<'a> = (&'a str, Vec<(usize, f32)>);

const FLAG: f32 = 0.5;
const BLOCK: f32 = 0.9;

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    rows: usize,
    flagged: usize,
    blocked: usize,
}

impl Tally {
    fn add(&mut self, score: f32) {
        self.rows += 1;
        self.flagged += usize::from(score >= FLAG);
        self.blocked += usize::from(score >= BLOCK);
    }

    fn shares(self) -> String {
        let share = |part: usize| 100.0 * part as f64 / self.rows.max(1) as f64;
        format!("{:.1} / {:.1} ({})", share(self.flagged), share(self.blocked), self.rows)
    }
}

/// A few lines, for the screen.
pub(crate) fn brief(rows: &[Row], scored: &[Scored<'_>]) -> String {
    let mut out = String::new();
    for (name, scores) in scored {
        let tally = |wanted: &dyn Fn(&Row) -> bool| {
            let mut tally = Tally::default();
            scores.iter().filter(|(row, _)| wanted(&rows[*row])).for_each(|(_, score)| tally.add(*score));
            tally.shares()
        };
        let plain = |row: &Row| !row.transformed();
        let _ = writeln!(
            out,
            "{name}: attacks {} clean {}, honest {} clean {}, obfuscated {} honest {}, documents {} honest {}, outside English {}",
            tally(&|row| plain(row) && row.attack),
            tally(&|row| plain(row) && row.attack && !row.noisy),
            tally(&|row| plain(row) && !row.attack),
            tally(&|row| plain(row) && !row.attack && row.permitted),
            tally(&|row| row.transformed() && row.attack),
            tally(&|row| row.transformed() && !row.attack),
            tally(&|row| plain(row) && row.attack && row.document),
            tally(&|row| plain(row) && !row.attack && row.document),
            tally(&|row| plain(row) && !row.attack && row.language != "en"),
        );
        // What a threshold set on these very honest texts would give.
        let mut honest: Vec<f32> = scores
            .iter()
            .filter(|(row, _)| plain(&rows[*row]) && !rows[*row].attack)
            .map(|(_, score)| *score)
            .collect();
        honest.sort_by(|a, b| b.total_cmp(a));
        for share in [0.025, 0.01, 0.005, 0.001] {
            let at = honest.get((honest.len() as f64 * share) as usize).copied().unwrap_or(1.0);
            let attacks = scores.iter().filter(|(row, _)| plain(&rows[*row]) && rows[*row].attack);
            let attacks: Vec<(bool, f32)> = attacks.map(|(row, score)| (rows[*row].noisy, *score)).collect();
            let found =
                attacks.iter().filter(|(_, score)| *score > at).count() as f64 / attacks.len().max(1) as f64;
            let clean: Vec<f32> =
                attacks.iter().filter(|(noisy, _)| !noisy).map(|(_, score)| *score).collect();
            let sure = clean.iter().filter(|score| **score > at).count() as f64 / clean.len().max(1) as f64;
            let _ = writeln!(
                out,
                "  at {:.1} % false alarms exactly: {:.1} (clean {:.1})",
                share * 100.0,
                found * 100.0,
                sure * 100.0
            );
        }
    }
    out
}

/// Mistakes, for experiments.
pub(crate) fn show(rows: &[Row], scored: &[Scored<'_>]) {
    for (name, scores) in scored {
        for (row, score) in scores {
            let row = &rows[*row];
            if row.attack != (*score >= FLAG) {
                let text: String = row.text.chars().take(200).collect();
                println!(
                    "{name}\t{}\t{}\t{score:.2}\t{}",
                    if row.attack { "MISS" } else { "FALSE" },
                    row.source,
                    text.replace('\n', " ")
                );
            }
        }
    }
}

/// The report of a training.
pub(crate) fn write(rows: &[Row], scored: &[Scored<'_>], file: &[u8]) -> String {
    let mut out = String::new();
    let model =
        Inspector::with_model(&InspectConfig::default(), file.to_vec()).map(|made| made.model().to_owned());
    let _ = writeln!(out, "Model `{}`, {} bytes.\n", model.unwrap_or_default(), file.len());
    let count = |wanted: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| wanted(row)).count();
    let learnt = |row: &Row| row.permitted && !row.transformed();
    let _ = writeln!(
        out,
        "Learnt from {} attacks and {} honest texts of the data folder whose licence permits it ({} rows are left out \
         for their licence), and from {} attacks and {} honest texts of our own templates.\n",
        count(&|row| learnt(row) && row.attack && row.origin != Origin::Own),
        count(&|row| learnt(row) && !row.attack && row.origin != Origin::Own),
        count(&|row| !row.permitted),
        count(&|row| row.attack && row.origin == Origin::Own),
        count(&|row| !row.attack && row.origin == Origin::Own),
    );
    let _ = writeln!(
        out,
        "Every text is judged by a model that has learnt from nothing like it: no near-duplicate (known sources), or \
         nothing of its source and of related ones (unknown sources). Percent with a score of at least 0.5 / 0.9 \
         (number of texts).\n"
    );
    for (title, key) in KEYS {
        let _ = writeln!(
            out,
            "### {title}\n\n| | attacks, known | attacks, unknown | honest, known | honest, unknown |\n|---|---:|---:|---:|---:|"
        );
        let mut table: BTreeMap<String, [Tally; 4]> = BTreeMap::new();
        for (which, (_, scores)) in scored.iter().enumerate() {
            for (row, score) in scores {
                let row = &rows[*row];
                let Some(name) = key(row) else { continue };
                table.entry(name).or_default()[which + 2 * usize::from(!row.attack)].add(*score);
            }
        }
        for (name, tallies) in table {
            let cells = tallies.map(|tally| if tally.rows == 0 { String::new() } else { tally.shares() });
            let _ = writeln!(out, "| {name} | {} |", cells.join(" | "));
        }
        out.push('\n');
    }
    out
}

type Key = fn(&Row) -> Option<String>;

const KEYS: &[(&str, Key)] = &[
    ("Overall", |row| {
        let text = match (row.transformed(), row.noisy) {
            (true, _) => "obfuscated",
            (false, true) => "plain, synthetic or noisy labels",
            (false, false) => "plain, clean labels",
        };
        Some(text.to_owned())
    }),
    ("By channel", |row| {
        let channel = if row.document { "document" } else { "user" };
        (!row.transformed()).then(|| channel.to_owned())
    }),
    ("By length", |row| {
        let band = match row.text.len() {
            ..=64 => "1: up to 64 bytes",
            65..=256 => "2: up to 256",
            257..=1024 => "3: up to 1,024",
            1025.. => "4: longer",
        };
        (!row.transformed()).then(|| band.to_owned())
    }),
    ("By language", |row| (!row.transformed()).then(|| row.language.clone())),
    ("By family", |row| Some(row.family.clone())),
    ("By source", |row| Some(row.source.clone())),
];

/// Writes one part of the results; the other parts stay.
pub(crate) fn store(root: &Path, part: &str, text: &str) -> Result<()> {
    let path = root.join(RESULTS);
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let title = "# Detection benchmark\n\nWritten by `cargo xtask train-guard --data DIR` and `cargo xtask bench guard`.\n";
    let (begin, end) = (format!("<!-- {part} -->\n"), format!("<!-- end of {part} -->\n"));
    let block = format!("{begin}\n{}\n\n{end}", text.trim());
    let new = match (old.split_once(&begin), old.split_once(&end)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{block}{after}"),
        _ if old.is_empty() => format!("{title}\n{block}"),
        _ => format!("{old}\n{block}"),
    };
    std::fs::write(&path, new).with_context(|| format!("cannot write {}", path.display()))
}
