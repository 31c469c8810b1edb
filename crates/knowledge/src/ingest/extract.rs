//! What a file says: title, headings, paragraphs, table rows, code, pages. Read by content, not by name. Invariant: a
//! document's text is its blocks one after the other with [`separator`]s between; chunks are pieces of that text.

use serde::{Deserialize, Serialize};

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
}

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
