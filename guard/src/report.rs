//! The tables of `bench/results/guard.md`.

use crate::rows::{Origin, Row};
use anyhow::{Context as _, Result};
use portcullis_inspect::{Channel, InspectConfig, Inspector};
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
pub(crate) struct Tally {
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

    pub(crate) fn shares(self) -> String {
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
        for share in [0.025, 0.01, 0.005, 0.001] {
            let _ = writeln!(
                out,
                "  at {:.1} % false alarms exactly: {:.1}",
                share * 100.0,
                exactly(rows, scores, share)
            );
        }
    }
    out
}

/// Percent of clean attacks found by the threshold that these very honest texts would set.
fn exactly(rows: &[Row], scores: &[(usize, f32)], share: f64) -> f64 {
    let of = |attack: bool| {
        let wanted = move |(row, _): &&(usize, f32)| clean(&rows[*row]) && rows[*row].attack == attack;
        scores.iter().filter(wanted).map(|(_, score)| *score).collect::<Vec<_>>()
    };
    let mut honest = of(false);
    honest.sort_by(|a, b| b.total_cmp(a));
    let at = honest.get((honest.len() as f64 * share) as usize).copied().unwrap_or(1.0);
    let attacks = of(true);
    let found = attacks.iter().filter(|score| **score > at).count();
    100.0 * found as f64 / attacks.len().max(1) as f64
}

/// Plain texts whose label is sure: what the figures to reach are about.
fn clean(row: &Row) -> bool {
    !row.transformed() && !row.noisy
}

/// Honest sentences full of the words of attacks, which nothing was learnt from: shares flagged and blocked.
pub(crate) fn written(file: &[u8], show: bool) -> Result<[Tally; 2]> {
    let inspector = Inspector::with_model(&InspectConfig::default(), file.to_vec())?;
    Ok(WRITTEN.map(|(_, sentences)| {
        let mut tally = Tally::default();
        for text in sentences.lines() {
            let verdict = inspector.inspect(text, Channel::User);
            tally.add(verdict.score);
            if show && verdict.score >= FLAG {
                let why: Vec<_> = verdict.reasons.iter().map(|reason| reason.id).collect();
                println!("written\tFALSE\t{:.2}\t{}\t{text}", verdict.score, why.join(" "));
            }
        }
        tally
    }))
}

/// Those sentences: the ones that tests of the inspector hold it against, and ones that were written before any template
/// of their kind, in the manner of public sets for this: one to three such words in a sentence of some other field.
pub(crate) const WRITTEN: [(&str, &str); 2] = [
    (
        "honest sentences full of the words of attacks, flagged / blocked (number)",
        include_str!("../../crates/inspect/src/inspector/honest.txt"),
    ),
    (
        "the same, one to three such words in everyday, technical and literary senses and in other languages",
        include_str!("../../crates/inspect/src/inspector/honest_senses.txt"),
    ),
];

/// The figures to reach, and what they are.
fn reach(rows: &[Row], scored: &[Scored<'_>], written: [Tally; 2]) -> String {
    let share = |scores: &[(usize, f32)], at: f32, wanted: &dyn Fn(&Row) -> bool| {
        let of: Vec<f32> =
            scores.iter().filter(|(row, _)| wanted(&rows[*row])).map(|(_, score)| *score).collect();
        100.0 * of.iter().filter(|score| **score >= at).count() as f64 / of.len().max(1) as f64
    };
    let attack = |row: &Row| clean(row) && row.attack;
    let honest = |row: &Row| clean(row) && !row.attack;
    let english = |row: &Row| !row.transformed() && !row.attack && row.language == "en";
    let foreign = |row: &Row| !row.transformed() && !row.attack && row.language != "en";
    let mut out = String::from(
        "### Against the figures to reach\n\n\
         Clean attacks found, and clean honest texts flagged, in percent; at an exact rate by the threshold that the \
         measured honest texts themselves would set.\n\n\
         | | must | measured | at exactly that rate |\n|---|---|---|---:|\n",
    );
    let [(_, known), (_, unknown)] = scored else { return out };
    for (name, must, scores, at, rate) in [
        ("known sources, score 0.5", "85 at 1", known, FLAG, 0.01),
        ("known sources, score 0.9", "62 at 0.1", known, BLOCK, 0.001),
        ("unknown sources, score 0.5", "52 at 2.5", unknown, FLAG, 0.025),
        ("unknown sources, score 0.9", "36 at 0.5", unknown, BLOCK, 0.005),
    ] {
        let _ = writeln!(
            out,
            "| {name} | {must} | {:.1} at {:.2} | {:.1} |",
            share(scores, at, &attack),
            share(scores, at, &honest),
            exactly(rows, scores, rate),
        );
    }
    for (name, scores) in [("known", known), ("unknown", unknown)] {
        let (outside, inside) = (share(scores, FLAG, &foreign), share(scores, FLAG, &english));
        let _ = writeln!(
            out,
            "| honest texts flagged outside English and in English, {name} sources | at most 1.5 times | {outside:.2} and \
             {inside:.2}: {:.2} times | |",
            outside / inside.max(f64::MIN_POSITIVE),
        );
    }
    for ((name, _), tally) in WRITTEN.iter().zip(written) {
        let _ = writeln!(out, "| {name} | 8 / 1 | {} | |", tally.shares());
    }
    out.push('\n');
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

/// Every score with what its row is, one JSON object a line.
pub(crate) fn dump(rows: &[Row], scored: &[Scored<'_>]) -> String {
    let mut out = String::new();
    for (name, scores) in scored {
        for (at, score) in scores {
            let row = &rows[*at];
            let line = serde_json::json!({
                "measured": name, "row": at, "score": score, "attack": row.attack, "document": row.document,
                "source": row.source, "noisy": row.noisy, "transformed": row.transformed(), "bytes": row.text.len(),
            });
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

/// The report of a training.
pub(crate) fn write(rows: &[Row], scored: &[Scored<'_>], file: &[u8], written: [Tally; 2]) -> String {
    let mut out = String::new();
    let model =
        Inspector::with_model(&InspectConfig::default(), file.to_vec()).map(|made| made.model().to_owned());
    let _ = writeln!(out, "Model `{}`, {} bytes.\n", model.unwrap_or_default(), file.len());
    let count = |wanted: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| wanted(row)).count();
    let learnt = |row: &Row| row.permitted && !row.transformed();
    let folder = |row: &Row| matches!(row.origin, Origin::Dev | Origin::Extra) && learnt(row);
    let own = |row: &Row| row.origin == Origin::Own;
    let _ = writeln!(
        out,
        "Learnt from {} attacks and {} honest texts of the data folder whose licence permits it ({} rows are left out \
         for their licence), from {} attacks and {} honest texts of our own templates, and from {} sections of the \
         documents of open packages.\n",
        count(&|row| folder(row) && row.attack),
        count(&|row| folder(row) && !row.attack),
        count(&|row| !row.permitted),
        count(&|row| own(row) && row.attack),
        count(&|row| own(row) && !row.attack),
        count(&|row| row.origin == Origin::Gathered),
    );
    let _ = writeln!(
        out,
        "Every text is judged by a model that has learnt from nothing like it: no near-duplicate (known sources), or \
         nothing of its source and of related ones (unknown sources). Percent with a score of at least 0.5 / 0.9 \
         (number of texts).\n"
    );
    out.push_str(&reach(rows, scored, written));
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
