//! Cleaning of what was read: composed form (NFC), one kind of line end, nothing invisible that has no meaning where it
//! stands. Pure. Invariant: what people would see of the document is what is indexed; a text hidden in zero-width,
//! bidi or tag characters is in no chunk, title or heading. Source: ask design section 4.3.

use super::extract::Extracted;
use portcullis_inspect::{Policy, sanitise};

/// Cleans every text of the document in place; how many characters were removed.
pub fn clean(extracted: &mut Extracted) -> u64 {
    let mut removed = 0;
    for text in [&mut extracted.title, &mut extracted.category, &mut extracted.url].into_iter().flatten() {
        removed += text_of(text);
    }
    for heading in extracted.sections.iter_mut().flatten() {
        removed += text_of(heading);
    }
    for block in &mut extracted.blocks {
        removed += text_of(&mut block.text);
    }
    extracted.blocks.retain(|block| !block.text.trim().is_empty());
    let title = extracted.title.take();
    extracted.title = title.filter(|title| !title.trim().is_empty());
    removed
}

fn text_of(text: &mut String) -> u64 {
    let Ok(clean) = sanitise(text, Policy::Document, usize::MAX) else { return 0 };
    let removed = u64::from(clean.removed.total());
    if let std::borrow::Cow::Owned(clean) = clean.text {
        *text = clean;
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::extract::{Block, BlockKind};

    #[test]
    fn nothing_hides_in_titles_headings_and_text() {
        let block =
            |text: &str| Block { kind: BlockKind::Paragraph, section: 0, page: None, text: text.to_owned() };
        let mut extracted = Extracted {
            title: Some("Hand\u{200b}book".to_owned()),
            sections: vec![vec!["No\u{202e}tice".to_owned()]],
            blocks: vec![block("cafe\u{301}\u{e0068}\u{e0069}"), block("\u{200b}\u{feff}")],
            ..Extracted::default()
        };
        assert_eq!(clean(&mut extracted), 6);
        assert_eq!(extracted.title.as_deref(), Some("Handbook"));
        assert_eq!(extracted.sections[0], ["Notice"]);
        assert_eq!(extracted.text(), "caf\u{e9}");
    }
}
