//! The texts that are learnt from and measured on: the rows of the data folder and those of our own writing.
//! Invariant: a row whose licence does not allow weights under Apache-2.0 is measured on, never learnt from.

use crate::{
    grammar::{Dice, Grown, grow},
    report::WRITTEN,
};
use anyhow::{Context as _, Result};
use flate2::read::GzDecoder;
use serde_json::Value;
use std::{collections::BTreeSet, fs::File, io::Read as _, path::Path};

/// Where a row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The measured set.
    Dev,
    /// More honest texts, for learning only.
    Extra,
    /// Our own templates.
    Own,
    /// Documents of open packages, which the repository holds.
    Gathered,
}

/// One text.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) text: String,
    pub(crate) attack: bool,
    pub(crate) document: bool,
    pub(crate) source: String,
    pub(crate) family: String,
    pub(crate) language: String,
    /// Near-duplicates and texts of one template share it.
    pub(crate) cluster: u64,
    /// Synthetic, or labelled with less care.
    pub(crate) noisy: bool,
    /// Whether its licence permits learning from it.
    pub(crate) permitted: bool,
    pub(crate) origin: Origin,
}

impl Row {
    /// A plain text behind a transform; what it says is among the other rows already.
    pub(crate) fn transformed(&self) -> bool {
        self.source.starts_with("obf_")
    }

    pub(crate) fn measured(&self) -> bool {
        self.origin == Origin::Dev
    }
}

/// Start of every choice of chance; the weights depend on it.
pub(crate) const START: u64 = 20_260_101;

/// Every row of the folder, then those of our own.
pub(crate) fn read(folder: &Path, root: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (file, origin) in [
        ("dev-attack.jsonl.gz", Origin::Dev),
        ("dev-benign.jsonl.gz", Origin::Dev),
        ("dev-extra_benign_train.jsonl.gz", Origin::Extra),
    ] {
        rows.extend(lines(&folder.join(file), origin)?);
    }
    let own = grow(START)?;
    let planted = planted(&own, &rows);
    let sentences = Runs::of(WRITTEN.iter().flat_map(|(_, sentences)| sentences.lines()));
    // Attacks say what all attacks say; an honest text that says what a written one says would teach its verdict.
    let own = own.into_iter().filter(|grown| grown.attack || !sentences.hold(&grown.text));
    rows.extend(own.map(own_row).chain(planted));
    let known = Runs::of(rows.iter().filter(|row| row.measured()).map(|row| row.text.as_str()));
    for file in GATHERED {
        let gathered = lines(&root.join(file), Origin::Gathered)?;
        rows.extend(gathered.into_iter().filter(|row| !known.hold(&row.text) && !sentences.hold(&row.text)));
    }
    Ok(rows)
}

/// Documents of open packages, and what a dictionary says of the words of attacks; from the root of the repository.
const GATHERED: [&str; 2] = ["guard/documents/packages.jsonl.gz", "guard/documents/senses.jsonl.gz"];

/// The rows of a file.
fn lines(path: &Path, origin: Origin) -> Result<Vec<Row>> {
    let mut text = String::new();
    let opened = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let place = |line: usize| format!("{}, line {line}", path.display());
    GzDecoder::new(opened).read_to_string(&mut text).with_context(|| place(1))?;
    let each =
        |(index, line)| Ok(row(&serde_json::from_str(line).with_context(|| place(index + 1))?, origin));
    text.lines().enumerate().map(each).collect()
}

/// Runs of six words of the measured texts: what is learnt besides must not be one of them again.
struct Runs(BTreeSet<u64>);

impl Runs {
    fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        Self(texts.flat_map(Self::each).collect())
    }

    fn each(text: &str) -> Vec<u64> {
        let lower = text.to_lowercase();
        let words: Vec<&str> =
            lower.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
        words.windows(6).map(|run| hash(&run.join(" "))).collect()
    }

    /// Whether a tenth of a text stands in them.
    fn hold(&self, text: &str) -> bool {
        let runs = Self::each(text);
        runs.iter().filter(|run| self.0.contains(run)).count() * 10 > runs.len()
    }
}

fn row(value: &Value, origin: Origin) -> Row {
    let member = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let text = member("text");
    let cluster = ["cluster", "from"].into_iter().find(|name| !value[*name].is_null());
    let cluster = cluster.map_or_else(|| hash(&text), |name| hash(&value[name].to_string()));
    Row {
        attack: value["label"].as_i64() == Some(1),
        document: value["channel"] == "document",
        source: member("source"),
        family: member("family"),
        language: member("lang"),
        cluster,
        noisy: value["tier"] == "B",
        permitted: permits(&member("lic")),
        origin,
        text,
    }
}

/// Whether a licence allows weights under Apache-2.0.
fn permits(licence: &str) -> bool {
    let barred = ["NC", "GPL", "no licence", "unknown", "none stated", "PyPI package summaries"];
    !barred.iter().any(|word| licence.contains(word))
}

fn own_row(grown: Grown) -> Row {
    Row {
        attack: grown.attack,
        document: grown.document,
        source: format!("own-{}-{}", if grown.attack { "attack" } else { "honest" }, grown.family),
        family: grown.family,
        language: grown.language,
        cluster: hash(&format!("template {}", grown.template)),
        noisy: false,
        permitted: true,
        origin: Origin::Own,
        text: grown.text,
    }
}

/// Bytes of honest text around a planted attack.
const AROUND: usize = 600;
/// Every so many honest documents one is used as ground.
const GROUND: usize = 3;

/// Attacks of our own for documents, planted in honest documents, which are never measured on.
fn planted(own: &[Grown], rows: &[Row]) -> Vec<Row> {
    let mut dice = Dice::new(START ^ 0x9A17);
    let ground =
        |row: &&Row| row.origin == Origin::Extra && row.document && row.permitted && row.text.len() > 200;
    let ground: Vec<&Row> = rows.iter().filter(ground).step_by(GROUND).collect();
    if ground.is_empty() {
        return Vec::new();
    }
    let attacks = own.iter().filter(|grown| grown.attack && grown.document && grown.family == "indirect");
    attacks
        .map(|grown| {
            let words: Vec<&str> = ground[dice.below(ground.len())].text.split(' ').collect();
            let from = dice.below(words.len());
            let mut text = String::new();
            let mut said = false;
            let at = dice.below(AROUND);
            for word in words.iter().cycle().skip(from).take(words.len().min(AROUND / 6)) {
                if !said && text.len() >= at {
                    said = true;
                    text.push_str(&grown.text);
                    text.push(' ');
                }
                text.push_str(word);
                text.push(' ');
            }
            if !said {
                text.push_str(&grown.text);
            }
            let mut row = own_row(Grown { text, ..grown.clone() });
            row.source = "own-attack-planted".to_owned();
            row
        })
        .collect()
}

/// FNV-1a.
pub(crate) fn hash(text: &str) -> u64 {
    let sum = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    sum ^ (sum >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_measured_is_known_again_in_another_form_and_others_are_not() {
        let text = "One two three four five six seven eight nine ten eleven twelve.";
        let known = Runs::of(std::iter::once(text));
        assert!(known.hold("ONE two three, four five six seven! And then what nobody has said before"));
        assert!(
            !known.hold("One two three four five: what nobody has said before comes after the fifth word")
        );
        assert!(!known.hold("short"));
    }

    #[test]
    fn licences_that_bar_shipping_are_left_out() {
        for barred in [
            "GPL-3.0 (x)",
            "CC BY-NC-SA",
            "no licence stated",
            "unknown (x)",
            "AGPL-3.0",
            "Apache-2.0 repo / CC BY-NC x",
        ] {
            assert!(!permits(barred), "{barred}");
        }
        for open in ["MIT (x)", "Apache-2.0", "CC BY 4.0 (x)", "CC0", "ODC-BY"] {
            assert!(permits(open), "{open}");
        }
    }
}
