//! Collects the blocks of a document under its headings. Invariants: a heading is in the path of what stands under it;
//! one under which nothing stands becomes a paragraph, so that no word is lost; the text is bounded.

use super::{Block, BlockKind, Extracted, Limits, Refusal};

/// Longest heading in characters; a longer one is a paragraph.
const LONGEST_HEADING: usize = 200;
/// Longest title in characters.
const LONGEST_TITLE: usize = 300;

pub(super) struct Outline {
    out: Extracted,
    /// Open headings with their levels, outermost first.
    open: Vec<(u8, String)>,
    /// Whether something stands under the innermost heading.
    filled: bool,
    /// Bytes of text so far.
    bytes: u64,
    most: u64,
}

impl Outline {
    pub(super) fn new(limits: &Limits) -> Self {
        let out = Extracted { sections: vec![Vec::new()], ..Extracted::default() };
        Self { out, open: Vec::new(), filled: true, bytes: 0, most: limits.text_bytes }
    }

    /// A heading, 1 the outermost level.
    pub(super) fn heading(&mut self, level: u8, text: &str) -> Result<(), Refusal> {
        let text = line(text);
        if text.is_empty() {
            return Ok(());
        }
        if text.chars().nth(LONGEST_HEADING).is_some() {
            return self.add(BlockKind::Paragraph, None, &text);
        }
        self.settle(level)?;
        self.open.retain(|(open, _)| *open < level);
        if level == 1 && self.out.title.is_none() {
            self.title(&text);
        }
        self.count(&text)?;
        self.open.push((level, text));
        self.out.sections.push(self.open.iter().map(|(_, text)| text.clone()).collect());
        self.filled = false;
        Ok(())
    }

    /// Some text; of nothing but white space nothing is kept.
    pub(super) fn add(&mut self, kind: BlockKind, page: Option<u32>, text: &str) -> Result<(), Refusal> {
        let text = match kind {
            BlockKind::Code => text.trim_end().trim_start_matches(['\n', '\r']),
            BlockKind::Paragraph | BlockKind::Row => text.trim(),
        };
        if text.trim().is_empty() {
            return Ok(());
        }
        self.count(text)?;
        let section = u32::try_from(self.out.sections.len().saturating_sub(1)).unwrap_or(u32::MAX);
        self.out.blocks.push(Block { kind, section, page, text: text.to_owned() });
        self.filled = true;
        Ok(())
    }

    /// The title, unless it is known.
    pub(super) fn title(&mut self, text: &str) {
        let text = line(text);
        if self.out.title.is_none() && !text.is_empty() {
            self.out.title = Some(text.chars().take(LONGEST_TITLE).collect());
        }
    }

    pub(super) const fn out(&mut self) -> &mut Extracted {
        &mut self.out
    }

    pub(super) fn finish(mut self) -> Result<Extracted, Refusal> {
        self.settle(0)?;
        Ok(self.out)
    }

    /// Before a heading of that level: the innermost heading becomes a paragraph when nothing stands under it and the
    /// new one does not either.
    fn settle(&mut self, level: u8) -> Result<(), Refusal> {
        if self.filled {
            return Ok(());
        }
        match self.open.last() {
            Some((open, text)) if level <= *open => {
                let text = text.clone();
                self.add(BlockKind::Paragraph, None, &text)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn count(&mut self, text: &str) -> Result<(), Refusal> {
        self.bytes += text.len() as u64;
        if self.bytes > self.most {
            return Err(Refusal::TooLarge(format!("its text is longer than {} bytes", self.most)));
        }
        Ok(())
    }
}

/// On one line, white space as single spaces.
pub(super) fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}
