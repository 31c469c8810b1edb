//! The words that ingestion, index and search share. Pure data. Invariant: chunks of [`Contents`] are ordered by
//! document and then by place in it, and name documents by their position.

use serde::{Deserialize, Serialize};
use std::{fmt, ops::Range};

/// A language by its two-letter code (ISO 639-1), or none that could be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Language(Option<[u8; 2]>);

impl Language {
    /// None that could be told.
    pub const UNKNOWN: Self = Self(None);
    /// English.
    pub const EN: Self = Self(Some(*b"en"));
    /// German.
    pub const DE: Self = Self(Some(*b"de"));
    /// Russian.
    pub const RU: Self = Self(Some(*b"ru"));
    /// Dutch.
    pub const NL: Self = Self(Some(*b"nl"));
    /// Spanish.
    pub const ES: Self = Self(Some(*b"es"));

    /// The language of that code, two lower-case letters; anything else is unknown.
    #[must_use]
    pub fn from_code(code: &str) -> Self {
        match code.as_bytes() {
            &[a, b] if a.is_ascii_lowercase() && b.is_ascii_lowercase() => Self(Some([a, b])),
            _ => Self::UNKNOWN,
        }
    }

    /// The two letters; empty when unknown.
    #[must_use]
    pub fn code(&self) -> &str {
        self.0.as_ref().map_or("", |code| std::str::from_utf8(code).unwrap_or_default())
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Language {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Language {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Ok(Self::from_code(&code))
    }
}

/// One document of a collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// `d_` and 16 hex digits of the sum over collection and source: stable over re-ingestion.
    pub id: String,
    /// Canonical source: a path relative to its root with `/`, or a URL. Shown to operators only.
    pub source: String,
    /// Folder or URL under which it was found; tells what `--prune` may remove.
    pub root: String,
    /// What people are shown.
    pub title: String,
    /// Where people can read it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The operator's word for its kind, from front matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Language of most of it.
    pub language: Language,
    /// Sum over the file's bytes (of a page: over its text), extractor, chunker, screen and space, in hex: equal sums need
    /// no work.
    pub hash: String,
    /// Bytes of the source.
    pub bytes: u64,
    /// Unix seconds of the ingestion that last changed it.
    pub ingested_at: i64,
}

/// One passage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Position of its document in [`Contents::documents`].
    pub document: u32,
    /// Its place in the document, from 0.
    pub ordinal: u32,
    /// What is shown: a piece of the document's text.
    pub text: String,
    /// Which characters of the document's text it is.
    pub chars: Range<u32>,
    /// First and last page, from 1, where the document has pages.
    pub pages: Option<(u32, u32)>,
    /// Headings above it, outermost first.
    pub heading: Vec<String>,
    /// Its language.
    pub language: Language,
    /// Whether inspection suspects instructions in it: ranked last and never put into a prompt.
    pub flagged: bool,
}

impl Chunk {
    /// What is indexed and embedded: title and headings before the text, a line each. Shown text goes without them.
    #[must_use]
    pub fn indexed(&self, title: &str) -> String {
        let mut out = String::with_capacity(title.len() + self.text.len() + 64);
        for line in std::iter::once(title).chain(self.heading.iter().map(String::as_str)) {
            if !line.is_empty() {
                out.push_str(line);
                out.push('\n');
            }
        }
        out.push_str(&self.text);
        out
    }
}

/// Everything a generation is made from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// The documents.
    pub documents: Vec<Document>,
    /// Their passages, by document, then by place.
    pub chunks: Vec<Chunk>,
    /// Unit vectors of all chunks one after the other, each as long as the space says; none: search by words alone.
    pub vectors: Option<Vec<f32>>,
}
