//! The words of `portcullis ingest`.

use clap::Args;

pub(super) const AFTER: &str = "\
Works on the data folder, beside a running server or without one; a running server answers from the new documents as \
soon as they are published. What did not change costs one sum; a bad file is named and stops nothing. Files are read \
by a process of their own with bounded memory, time and no network. Hidden files and what .portcullisignore names \
(gitignore syntax) are skipped; sources.toml in a folder says where people read its files.

Examples:
  portcullis ingest docs/
  portcullis ingest handbook.pdf rules.docx --collection work
  portcullis ingest docs/ --prune               what is gone from the folder goes from the collection
  portcullis ingest https://example.org/manual/ --depth 2
Exit codes: 0 everything was taken in, 1 failed and nothing was published, 2 wrong use, 3 some files were refused (each \
is named), 130 interrupted (what was embedded is kept).";

/// `ingest`.
#[derive(Debug, Args)]
pub(crate) struct Ingest {
    /// Files, folders and addresses.
    #[arg(required = true, value_name = "PATH|URL")]
    pub(crate) places: Vec<String>,
    /// Which collection.
    #[arg(long, default_value = "default", value_parser = collection)]
    pub(crate) collection: String,
    /// Remove documents whose files are gone from the places named.
    #[arg(long)]
    pub(crate) prune: bool,
    /// Prune even when that removes more than half of the collection.
    #[arg(long)]
    pub(crate) force: bool,
    /// Stay, and take in what changes; files that go are removed. Pages are fetched once.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) watch: bool,
    /// How many links away from a named page are followed, on the same host.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=3))]
    pub(crate) depth: u8,
    /// Read everything and say what would happen; embed and publish nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// A name of a collection, which is also the name of a folder.
fn collection(name: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if (1..=64).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('-') {
        Ok(name.to_owned())
    } else {
        Err("use up to 64 small letters, digits, - and _".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_collection_leads_to_no_other_folder() {
        assert_eq!(collection("team_2-a"), Ok("team_2-a".to_owned()));
        for wrong in ["", "..", "a/b", "A", "-x", "ü"] {
            assert!(collection(wrong).is_err(), "{wrong}");
        }
    }
}
