//! Stores what criterion printed for one admission decision. Invariant: a figure is copied, never computed here.

use crate::{machine, options::Options, report};
use anyhow::{Result, ensure};
use std::{fmt::Write as _, io::Read};

/// Reads criterion's output from standard input, prints it as a table and writes `admission.md`.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text)?;
    let rows = rows(&text);
    ensure!(!rows.is_empty(), "criterion printed no figures");
    let mut page = format!(
        "# Admission benchmark\n\nWritten by `cargo xtask bench admission` (criterion, `portcullis-resilience`).\n\n\
         * {}; {}\n\n| benchmark | low | estimate | high |\n|---|---:|---:|---:|\n",
        machine::today(),
        machine::description()
    );
    for (name, [low, middle, high]) in rows {
        let _ = writeln!(page, "| {name} | {low} | {middle} | {high} |");
    }
    println!("{page}");
    report::write(&options.results, "admission.md", &page)
}

/// `name  time:   [1.0 µs 1.1 µs 1.2 µs]`, where a long name stands on the line before.
fn rows(text: &str) -> Vec<(String, [String; 3])> {
    let mut rows = Vec::new();
    let mut before = "";
    for line in text.lines() {
        if let Some((name, rest)) = line.split_once("time:")
            && let Some(inside) = rest.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
        {
            let words: Vec<&str> = inside.split_whitespace().collect();
            if let [low, low_unit, middle, middle_unit, high, high_unit] = words[..] {
                let name = if name.trim().is_empty() { before } else { name.trim() };
                let figures = [(low, low_unit), (middle, middle_unit), (high, high_unit)];
                rows.push((name.to_owned(), figures.map(|(number, unit)| format!("{number} {unit}"))));
            }
        }
        before = line.trim();
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_names_are_both_found() {
        let text = "Benchmarking five\nfive keys               time:   [700.1 ns 710.2 ns 720.3 ns]\n\
                    a very long name of a benchmark\n                        time:   [1.0 µs 1.1 µs 1.2 µs]\n\
                    change: [-1% 0% 1%]\n";
        let rows = rows(text);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].1[1], "710.2 ns");
        assert_eq!(rows[1].0, "a very long name of a benchmark");
    }
}
