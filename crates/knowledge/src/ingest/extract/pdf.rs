//! PDF: the text layer, line by line from the places of its letters, then paragraphs and headings ([`layout`]). Fonts
//! and encodings are read by pdf-extract; a page on which it fails is named and the others are taken. Invariant: a
//! file without letters is refused as pictures, one behind a password as encrypted; both by name.
//! Source: ISO 32000-1 9.4 (text), 7.6 (encryption).

mod layout;

use super::{Extracted, Limits, Refusal};
use layout::Line;
use pdf_extract::{Document, MediaBox, OutputDev, OutputError, Transform};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Of the size of a letter: more room than this before the next one is a space.
const SPACE: f64 = 0.15;
/// Of the size of a letter: a letter this much higher or lower stands in another line.
const OTHER_LINE: f64 = 0.5;
/// Of the size of a letter: so far back on the same height begins another line too.
const BACK: f64 = 1.0;

pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Extracted, Refusal> {
    let damaged = || Refusal::Unreadable("a damaged PDF".to_owned());
    let mut document = match guarded(|| Document::load_mem(bytes)).ok_or_else(damaged)? {
        Ok(document) => document,
        Err(error) => return Err(if about_passwords(&error) { Refusal::Encrypted } else { damaged() }),
    };
    if document.is_encrypted() {
        // Many a PDF opens without a password and only forbids printing.
        guarded(|| document.decrypt("")).ok_or_else(damaged)?.map_err(|_| Refusal::Encrypted)?;
    }
    let pages = guarded(|| document.get_pages().len()).ok_or_else(damaged)?;
    if pages == 0 {
        return Err(damaged());
    }
    if pages as u64 > u64::from(limits.pages) {
        return Err(Refusal::TooLarge(format!("it has {pages} pages; at most {} are read", limits.pages)));
    }
    let mut read = Vec::with_capacity(pages);
    let mut lost = Vec::new();
    let mut budget = Budget { bytes: 0, most: limits.text_bytes, over: false };
    for page in 1..=u32::try_from(pages).unwrap_or(u32::MAX) {
        let mut letters = Letters { lines: Vec::new(), end: 0.0, height: 0.0, budget: &mut budget };
        let done = guarded(|| pdf_extract::output_doc_page(&document, &mut letters, page));
        let lines = std::mem::take(&mut letters.lines);
        if budget.over {
            return Err(Refusal::TooLarge(format!("its text is longer than {} bytes", limits.text_bytes)));
        }
        if !matches!(done, Some(Ok(()))) {
            lost.push(page);
        }
        read.push(lines);
    }
    if read.iter().all(Vec::is_empty) {
        return Err(if lost.len() == pages { damaged() } else { Refusal::NoText });
    }
    let mut extracted = layout::compose(read, title(&document), limits)?;
    extracted.lost_pages = lost;
    Ok(extracted)
}

/// What the library says, or nothing when it panics.
fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

fn about_passwords(error: &pdf_extract::Error) -> bool {
    matches!(
        error,
        pdf_extract::Error::Decryption(_)
            | pdf_extract::Error::InvalidPassword
            | pdf_extract::Error::UnsupportedSecurityHandler(_)
    )
}

/// The title that its maker wrote into it, unless that is the name of a file.
fn title(document: &Document) -> Option<String> {
    let info = document.trailer.get(b"Info").ok()?;
    let info = match info.as_reference() {
        Ok(id) => document.get_dictionary(id).ok()?,
        Err(_) => info.as_dict().ok()?,
    };
    let title = guarded(|| pdf_extract::decode_text_string(info.get(b"Title").ok()?).ok())??;
    let named =
        [".doc", ".docx", ".indd", ".tex", ".qxd", ".pdf"].iter().any(|end| title.trim().ends_with(end));
    (!named && !matches!(title.trim().to_ascii_lowercase().as_str(), "" | "untitled" | "(anonymous)"))
        .then_some(title)
}

struct Budget {
    bytes: u64,
    most: u64,
    over: bool,
}

/// Collects letters into lines.
struct Letters<'a> {
    lines: Vec<Line>,
    /// Where the last letter ended.
    end: f64,
    /// Height of the page: PDF counts from the bottom.
    height: f64,
    budget: &'a mut Budget,
}

impl OutputDev for Letters<'_> {
    fn begin_page(
        &mut self,
        _page: u32,
        media_box: &MediaBox,
        _art_box: Option<(f64, f64, f64, f64)>,
    ) -> Result<(), OutputError> {
        self.height = media_box.ury;
        Ok(())
    }

    fn end_page(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn output_character(
        &mut self,
        transform: &Transform,
        width: f64,
        _spacing: f64,
        font_size: f64,
        letter: &str,
    ) -> Result<(), OutputError> {
        let size = (transform.m11.hypot(transform.m12) * transform.m21.hypot(transform.m22)).sqrt()
            * font_size.abs();
        let size = if size.is_finite() && size > 0.0 { size } else { 1.0 };
        let (x, y) = (transform.m31, self.height - transform.m32);
        self.budget.bytes += letter.len() as u64 + 1;
        if self.budget.bytes > self.budget.most {
            self.budget.over = true;
            return Err(OutputError::FormatError(std::fmt::Error));
        }
        let same = self.lines.last().is_some_and(|line| {
            (y - line.y).abs() <= OTHER_LINE * size.max(line.size)
                && x >= self.end - BACK * size.max(line.size)
        });
        if !same {
            self.lines.push(Line { x, y, size, text: String::new() });
        }
        if let Some(line) = self.lines.last_mut() {
            if same && x > self.end + SPACE * size && !line.text.ends_with(' ') {
                line.text.push(' ');
            }
            if line.text.trim().is_empty() {
                line.size = size;
            }
            push(&mut line.text, letter);
        }
        self.end = x + width * size;
        Ok(())
    }

    fn begin_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), OutputError> {
        Ok(())
    }
}

/// Ligatures, which only type has, become letters; letters of no known meaning are left out.
fn push(text: &mut String, letter: &str) {
    for c in letter.chars() {
        match c {
            '\u{fb00}' => text.push_str("ff"),
            '\u{fb01}' => text.push_str("fi"),
            '\u{fb02}' => text.push_str("fl"),
            '\u{fb03}' => text.push_str("ffi"),
            '\u{fb04}' => text.push_str("ffl"),
            '\u{fb05}' | '\u{fb06}' => text.push_str("st"),
            '\u{a0}' => text.push(' '),
            '\u{fffd}' | '\u{e000}'..='\u{f8ff}' => {}
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
}
