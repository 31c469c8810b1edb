//! How well and how fast posts are read and compared: the text of articles against what people marked as it, planted
//! near-duplicates, and the time of both. Invariants: articles are scored as their benchmark does (multisets of four words,
//! precision and recall of each page averaged); nothing of the data is written, only figures.

use crate::{machine, options::Options, report};
use anyhow::{Context, Result};
use portcullis_news::{Print, article, groups, pairs};
use serde_json::Value;
use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
    fs,
    io::Read as _,
    path::Path,
};
use tokio::time::Instant;

/// What F1 the peers have on the whole benchmark, as published with it.
const PEERS: &str = "rs_trafilatura .970, go_trafilatura .960, trafilatura .958, newspaper4k .949, readability_js .947, \
    dom_smoothie .865, plain html2text .44";
/// Where time does not matter: no article of the data is from later, in Unix milliseconds.
const NOW: i64 = 1_800_000_000_000;
/// Times each measurement is made; the shortest counts.
const ROUNDS: usize = 5;

/// Prints the tables and writes `news.md`; says so where the data is not there.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = if options.data.join("articles").is_dir() {
        options.data.clone()
    } else {
        options.data.with_file_name("news")
    };
    if !folder.join("articles").is_dir() {
        println!("skipped: no news data at {} (--data)", folder.display());
        return Ok(());
    }
    let mut page = format!(
        "# News benchmark\n\nWritten by `portcullis-bench news`.\n\n* {}; {}\n",
        machine::today(),
        machine::description()
    );
    articles(&folder.join("articles"), &mut page)?;
    duplicates(&folder.join("near-duplicates"), &mut page)?;
    hostile(&mut page)?;
    println!("{page}");
    report::write(&options.results, "news.md", &page)
}

fn articles(folder: &Path, page: &mut String) -> Result<()> {
    let truth: Value = serde_json::from_slice(&fs::read(folder.join("ground-truth.json"))?)?;
    let truth = truth.as_object().context("ground-truth.json is an object")?;
    let (mut scores, mut bytes, mut seconds) = (Vec::new(), 0, 0.0);
    let (mut titles, mut dates) = (0, 0);
    for (name, told) in truth {
        let mut html = Vec::new();
        let file = fs::File::open(folder.join(format!("html/{name}.html.gz")))?;
        flate2::read::GzDecoder::new(file).read_to_end(&mut html)?;
        let url = told["url"].as_str().and_then(|url| url.parse().ok());
        let read = || article(&html, "", url.as_ref(), NOW);
        bytes += html.len();
        seconds += shortest(read);
        let read = read();
        titles += usize::from(read.title.is_some());
        dates += usize::from(read.published_at.is_some());
        scores.push(score(told["articleBody"].as_str().unwrap_or_default(), &read.text));
    }
    let (precision, recall, f1) = averages(&scores);
    let n = scores.len();
    let exact =
        scores.iter().filter(|score| score.precision == Some(1.0) && score.recall == Some(1.0)).count();
    writeln!(
        page,
        "\n## Text of articles\n\nThe {n} pages of the open half of scrapinghub's article-extraction-benchmark. Goal: F1 \
         at least .960.\n\n| F1 | precision | recall | without any difference | with a title | with a date | per page | |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|\n\
         | {f1:.4} | {precision:.4} | {recall:.4} | {exact}/{n} | {titles}/{n} | {dates}/{n} | {:.2} ms | {:.0} MB/s |\n\n\
         Peers, of both halves: {PEERS}.",
        seconds * 1e3 / n.max(1) as f64,
        bytes as f64 / seconds / 1e6,
    )?;
    Ok(())
}

/// Of one page; none where there is nothing to divide by.
struct Score {
    precision: Option<f64>,
    recall: Option<f64>,
}

fn score(truth: &str, read: &str) -> Score {
    let (truth, read) = (shingles(truth), shingles(read));
    let both: usize = truth.iter().map(|(shingle, count)| count.min(read.get(shingle).unwrap_or(&0))).sum();
    let part = |all: usize| (all > 0).then(|| both as f64 / all as f64);
    Score { precision: part(read.values().sum()), recall: part(truth.values().sum()) }
}

/// Runs of four words with how often they occur; of a shorter text the whole.
fn shingles(text: &str) -> HashMap<Vec<&str>, usize> {
    let words: Vec<&str> =
        text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect();
    let mut counts = HashMap::new();
    for shingle in words.windows(4.min(words.len()).max(1)) {
        *counts.entry(shingle.to_vec()).or_default() += 1;
    }
    counts
}

/// Precision, recall and the harmonic mean of both.
fn averages(scores: &[Score]) -> (f64, f64, f64) {
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let precision = mean(scores.iter().filter_map(|score| score.precision).collect());
    let recall = mean(scores.iter().filter_map(|score| score.recall).collect());
    (precision, recall, 2.0 * precision * recall / (precision + recall).max(f64::MIN_POSITIVE))
}

fn duplicates(folder: &Path, page: &mut String) -> Result<()> {
    writeln!(
        page,
        "\n## Near-duplicates\n\nMixed-up articles with planted pairs. Goal: all of them and no other.\n\n\
         | articles | planted | found | others found | prints | comparing | 10,000 posts grouped |\n\
         |---:|---:|---:|---:|---:|---:|---:|"
    )?;
    for size in [1000, 2500] {
        let rows = fs::read_to_string(folder.join(format!("articles_{size}.train")))?;
        let rows: Vec<(&str, &str)> = rows.lines().filter_map(|row| row.split_once(' ')).collect();
        let truth = fs::read_to_string(folder.join(format!("articles_{size}.truth")))?;
        let truth: BTreeSet<_> = truth.lines().filter_map(|row| row.split_once(' ')).map(ordered).collect();
        let print = || rows.iter().map(|(_, text)| Print::of(text)).collect::<Vec<_>>();
        let prints = print();
        let found: BTreeSet<_> = pairs(&prints, usize::MAX)
            .iter()
            .map(|(one, other)| ordered((rows[*one].0, rows[*other].0)))
            .collect();
        let right = found.intersection(&truth).count();
        // Posts are shorter than articles: each tenth of the words of one, so that many are alike to none.
        let posts: Vec<Print> =
            (0..10_000).map(|n| Print::of(&piece(rows[n % rows.len()].1, n / rows.len()))).collect();
        writeln!(
            page,
            "| {} | {} | {right} | {} | {:.0} ms | {:.0} ms | {:.0} ms |",
            rows.len(),
            truth.len(),
            found.len() - right,
            shortest(print) * 1e3,
            shortest(|| pairs(&prints, usize::MAX)) * 1e3,
            shortest(|| groups(&posts)) * 1e3,
        )?;
    }
    Ok(())
}

fn ordered<'a>((one, other): (&'a str, &'a str)) -> (&'a str, &'a str) {
    (one.min(other), one.max(other))
}

fn piece(text: &str, n: usize) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    words.chunks(words.len().div_ceil(10).max(1)).nth(n % 10).unwrap_or_default().join(" ")
}

/// Two MiB, which is the most that is fetched, of what was made to cost.
fn hostile(page: &mut String) -> Result<()> {
    const SIZE: usize = 2 * 1024 * 1024;
    let rows = [
        ("`<div>` inside `<div>`", "<div>"),
        ("`<p>` without end", "<p>a, b."),
        ("links without end", "<a href=x>"),
        ("end tags without beginning", "<b><p></b></i>"),
        ("attributes of one element", " a=b"),
        ("references", "&amp;&x;&#1;"),
        ("tables inside tables", "<table><tr><td>"),
    ];
    writeln!(page, "\n## Hostile pages of 2 MiB\n\n| of | time |\n|---|---:|")?;
    for (name, unit) in rows {
        let start = if unit.starts_with(' ') { "<p" } else { "" };
        let html = format!("{start}{}", unit.repeat(SIZE / unit.len()));
        let time = shortest(|| article(html.as_bytes(), "text/html", None, NOW));
        writeln!(page, "| {name} | {:.0} ms |", time * 1e3)?;
    }
    Ok(())
}

/// Seconds of the fastest of some runs.
fn shortest<T>(run: impl Fn() -> T) -> f64 {
    let once = |_| {
        let start = Instant::now();
        std::hint::black_box(run());
        start.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(once).fold(f64::MAX, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_scored_by_its_runs_of_four_words() {
        let half = score("a b c d e f g h", "a b c d e");
        assert_eq!((half.precision, half.recall), (Some(1.0), Some(0.4)));
        let none = score("a b c d", "");
        assert_eq!((none.precision, none.recall), (None, Some(0.0)));
        let twice = score("a b c d", "a b c d a b c d");
        assert_eq!((twice.precision, twice.recall), (Some(0.2), Some(1.0)));
        let short = score("a_b, c", "a_b c!");
        assert_eq!((short.precision, short.recall), (Some(1.0), Some(1.0)));
        let (precision, recall, f1) = averages(&[half, none]);
        assert_eq!((precision, recall), (1.0, 0.2));
        assert!((f1 - 1.0 / 3.0).abs() < 1e-9);
    }
}
