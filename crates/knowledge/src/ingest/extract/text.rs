//! Plain text: paragraphs apart by empty lines; lines that are wrapped stay as they are.

use super::{BlockKind, Extracted, Limits, Refusal, outline::Outline};

pub(super) fn read(text: &str, limits: &Limits) -> Result<Extracted, Refusal> {
    let mut outline = Outline::new(limits);
    let text = text.replace("\r\n", "\n").replace(['\r', '\u{c}'], "\n");
    let mut begin = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim().is_empty() {
            outline.add(BlockKind::Paragraph, None, text.get(begin..at).unwrap_or_default())?;
            begin = at + line.len();
        }
        at += line.len();
    }
    outline.add(BlockKind::Paragraph, None, text.get(begin..).unwrap_or_default())?;
    outline.finish()
}
