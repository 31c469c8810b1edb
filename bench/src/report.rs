//! Figures into a table and into JSON. Invariant: a figure is the median of its rounds, shown with its spread, and a
//! ratio is between medians of the same run.

use crate::options::Kind;
use serde_json::{Value, json};
use std::{fmt::Write as _, path::Path};

/// One line of the table: what was measured, and each target's rounds.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) rounds: Vec<(Kind, Vec<f64>)>,
    /// The most the product may cost, as a multiple of the floor.
    pub(crate) most_ratio: Option<f64>,
}

/// The middle value; zero of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (Some(value), 1) => *value,
        (Some(value), _) => f64::midpoint(sorted[middle - 1], *value),
        (None, _) => 0.0,
    }
}

impl Row {
    fn median_of(&self, kind: Kind) -> Option<f64> {
        self.rounds.iter().find(|(one, _)| *one == kind).map(|(_, values)| median(values))
    }

    /// How many floors the product costs.
    fn ratio(&self) -> Option<f64> {
        let floor = self.median_of(Kind::Floor).filter(|floor| *floor > 0.0)?;
        Some(self.median_of(Kind::Portcullis)? / floor)
    }

    fn cell(&self, kind: Kind) -> String {
        let Some((_, values)) = self.rounds.iter().find(|(one, _)| *one == kind) else { return "-".into() };
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        match values.len() {
            0 => "-".into(),
            1 => format!("{:.1}", median(values)),
            _ => format!("{:.1} ({low:.1}-{high:.1})", median(values)),
        }
    }

    fn verdict(&self) -> String {
        match (self.ratio(), self.most_ratio) {
            (Some(ratio), Some(most)) if ratio <= most => format!("{ratio:.2} (at most {most}: met)"),
            (Some(ratio), Some(most)) => format!("{ratio:.2} (at most {most}: NOT met)"),
            (Some(ratio), None) => format!("{ratio:.2}"),
            (None, _) => "-".into(),
        }
    }
}

/// The whole page.
pub(crate) fn markdown(rows: &[Row], notes: &[String], profile: &str) -> String {
    let mut page = String::from("# Gateway benchmark\n\nWritten by `cargo xtask bench gateway`.\n\n");
    for note in notes {
        let _ = writeln!(page, "* {note}");
    }
    page.push('\n');
    page.push_str(&table(rows));
    let _ = write!(page, "\nThe product's configuration (`bench/profile.toml`):\n\n```toml\n{profile}```\n");
    page
}

/// The table alone.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = String::from("| measure |");
    for kind in Kind::ALL {
        let _ = write!(table, " {} |", kind.as_str());
    }
    table.push_str(" portcullis / floor |\n|---|");
    table.push_str(&"---:|".repeat(Kind::ALL.len() + 1));
    table.push('\n');
    for row in rows {
        let _ = write!(table, "| {}, {} |", row.name, row.unit);
        for kind in Kind::ALL {
            let _ = write!(table, " {} |", row.cell(kind));
        }
        let _ = writeln!(table, " {} |", row.verdict());
    }
    table
}

/// The same for programs.
pub(crate) fn json(rows: &[Row], notes: &[String]) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let targets: serde_json::Map<String, Value> = row
                .rounds
                .iter()
                .map(|(kind, values)| {
                    (kind.as_str().to_owned(), json!({ "median": median(values), "rounds": values }))
                })
                .collect();
            json!({ "measure": row.name, "unit": row.unit, "targets": targets, "ratio": row.ratio() })
        })
        .collect();
    json!({ "notes": notes, "rows": rows })
}

/// Writes a result file, making its folder.
pub(crate) fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join(name), text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn the_table_shows_medians_spread_and_whether_the_bound_holds() {
        let row = |product: f64| Row {
            name: "small request",
            unit: "CPU µs",
            rounds: vec![(Kind::Floor, vec![9.0, 10.0, 11.0]), (Kind::Portcullis, vec![product])],
            most_ratio: Some(2.5),
        };
        let table = table(&[row(20.0), row(30.0)]);
        assert!(table.contains("| 10.0 (9.0-11.0) | - | - | 20.0 | 2.00 (at most 2.5: met) |"), "{table}");
        assert!(table.contains("3.00 (at most 2.5: NOT met)"), "{table}");
        assert_eq!(json(&[row(20.0)], &[])["rows"][0]["ratio"], 2.0);
    }
}
