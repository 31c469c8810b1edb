//! What a file says: title, headings, paragraphs, table rows, code, pages. Read by content, not by name. Invariants: a
//! document's text is its blocks one after the other with [`separator`]s between, and chunks are pieces of that text;
//! what is taken of one file is bounded ([`Limits`]). Nothing here is trusted to end or not to panic: the product runs
//! it in a process of its own ([`super::reader`]).

pub mod charset;
mod docx;
mod html;
mod kind;
mod markdown;
mod outline;
mod pdf;
mod text;

pub use kind::Kind;

use crate::config::KnowledgeConfig;
use serde::{Deserialize, Serialize};

/// Of the readers: another version reads otherwise, so that every document is taken in anew.
pub const VERSION: u32 = 1;

/// What kind of text a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockKind {
    /// Running text.
    Paragraph,
    /// One row of a table, cells apart by ` | `.
    Row,
    /// Code or other text whose lines matter.
    Code,
}

/// A piece of a document that belongs together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What kind of text.
    pub kind: BlockKind,
    /// Position in [`Extracted::sections`].
    pub section: u32,
    /// Page, from 1, where the document has pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// The text, not empty.
    pub text: String,
}

/// What a document says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extracted {
    /// Its own title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where people read it, from its front matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The operator's word for its kind, from its front matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// For each section its headings, outermost first. A heading begins a section, so two sections may read alike.
    pub sections: Vec<Vec<String>>,
    /// The text.
    pub blocks: Vec<Block>,
    /// Where a page leads, as written there; at most [`MAX_LINKS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// Pages, from 1, that could not be read although the others could.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_pages: Vec<u32>,
}

/// Most links that are noted of one page.
pub const MAX_LINKS: usize = 2000;

/// What stands between two blocks in a document's text.
#[must_use]
pub const fn separator(before: BlockKind, after: BlockKind) -> &'static str {
    match (before, after) {
        (BlockKind::Row, BlockKind::Row) => "\n",
        (BlockKind::Paragraph | BlockKind::Row | BlockKind::Code, _) => "\n\n",
    }
}

impl Extracted {
    /// The document's text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(self.blocks.iter().map(|block| block.text.len() + 2).sum());
        let mut before = None;
        for block in &self.blocks {
            if let Some(before) = before {
                text.push_str(separator(before, block.kind));
            }
            text.push_str(&block.text);
            before = Some(block.kind);
        }
        text
    }
}

/// How much of one file is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of text.
    pub text_bytes: u64,
    /// Bytes that a packed file may unpack to.
    pub unpacked_bytes: u64,
    /// Pages of a PDF.
    pub pages: u32,
}

impl From<&KnowledgeConfig> for Limits {
    fn from(config: &KnowledgeConfig) -> Self {
        Self {
            text_bytes: config.max_text_bytes,
            unpacked_bytes: config.max_unpacked_bytes,
            pages: config.max_pdf_pages,
        }
    }
}

/// What is known of a file beside its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// End of its name, lower case, without the dot: tells Markdown from plain text, which no byte does.
    #[serde(default)]
    pub extension: String,
    /// Charset that its server or its operator names.
    #[serde(default)]
    pub charset: Option<String>,
}

/// Why a file is not taken in. The words are for operators.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason", content = "detail")]
pub enum Refusal {
    /// Its own size, or that of what is in it.
    #[error("too large: {0}")]
    TooLarge(String),
    /// A password is needed.
    #[error("encrypted: it opens with a password only")]
    Encrypted,
    /// A PDF of pictures.
    #[error("no text layer: its pages are pictures; run text recognition (OCR) over it first")]
    NoText,
    /// Nothing in it.
    #[error("empty: there is no text in it")]
    Empty,
    /// Not what it says it is, or damaged.
    #[error("unreadable: {0}")]
    Unreadable(String),
    /// Reading it took too long.
    #[error("time-out: reading it took longer than {0} s")]
    TimeOut(u64),
    /// It ended the process that read it.
    #[error("it broke the process that read it: more memory or depth than reading may take, or damage")]
    Broke,
    /// No kind that is read here.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// Somebody writes to it.
    #[error("changed while it was read: ingest again when it is finished")]
    Changed,
    /// A link that leads out of the folder.
    #[error("outside: the link leads out of the folder")]
    Outside,
    /// A page that may not be fetched or could not be.
    #[error("not fetched: {0}")]
    NotFetched(String),
}

impl Refusal {
    /// The reason in one word that does not change, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too_large",
            Self::Encrypted => "encrypted",
            Self::NoText => "no_text",
            Self::Empty => "empty",
            Self::Unreadable(_) => "unreadable",
            Self::TimeOut(_) => "time_out",
            Self::Broke => "broke",
            Self::Unsupported(_) => "unsupported",
            Self::Changed => "changed",
            Self::Outside => "outside",
            Self::NotFetched(_) => "not_fetched",
        }
    }
}

/// Reads a file.
///
/// # Errors
/// Why it cannot be taken in.
pub fn extract(bytes: &[u8], hint: &Hint, limits: &Limits) -> Result<Extracted, Refusal> {
    let extracted = match kind::of(bytes, hint) {
        Kind::Empty => return Err(Refusal::Empty),
        Kind::Pdf => pdf::read(bytes, limits)?,
        Kind::Docx => docx::read(bytes, limits)?,
        Kind::Html => html::read(&charset::html(bytes, hint)?, limits)?,
        Kind::Markdown => markdown::read(&charset::plain(bytes, hint)?, limits)?,
        Kind::Text => text::read(&charset::plain(bytes, hint)?, limits)?,
        Kind::Encrypted => return Err(Refusal::Encrypted),
        Kind::Other(name) => return Err(Refusal::Unsupported(name.to_owned())),
    };
    if extracted.blocks.is_empty() {
        return Err(Refusal::Empty);
    }
    Ok(extracted)
}

#[cfg(test)]
pub(crate) mod tests;
