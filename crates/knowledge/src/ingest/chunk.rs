//! Cutting a document into passages. Paragraphs are packed up to a length, never across a heading; a longer one is cut
//! at sentence ends, and its pieces share sentences; table rows and code stay whole up to a length of their own.
//! Pure. Invariants: every chunk's text is exactly the characters of the document's text that its range names; every
//! character but white space is in some chunk; no chunk is longer than its bound. Source: ask design section 4.5
//! (measured on XQuAD: packed paragraphs find the answer more often than windows of any length).

use super::extract::{Block, BlockKind, Extracted, separator};
use crate::{
    config::KnowledgeConfig,
    language,
    model::{Chunk, Language},
};
use std::ops::Range;
use unicode_segmentation::UnicodeSegmentation as _;

/// Of the chunker: another version cuts otherwise, so that every document is taken in anew.
pub const VERSION: u32 = 1;

/// How long chunks may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Characters of a chunk of paragraphs.
    pub chunk: usize,
    /// Characters up to which a row or a block of code stays whole.
    pub block: usize,
    /// Sentences that two pieces of one paragraph share.
    pub overlap: usize,
}

impl From<&KnowledgeConfig> for Bounds {
    fn from(config: &KnowledgeConfig) -> Self {
        Self { chunk: config.chunk_chars, block: config.block_chars, overlap: config.overlap_sentences }
    }
}

/// A document in chunks, and the language of most of it. The chunks name document 0 and carry no flag.
#[must_use]
pub fn chunk(extracted: &Extracted, bounds: Bounds) -> (Vec<Chunk>, Language) {
    let text = extracted.text();
    let mut packer = Packer { text: &text, bounds, pieces: Vec::new(), open: None };
    let mut at = 0;
    let mut before: Option<&Block> = None;
    for block in &extracted.blocks {
        if let Some(before) = before {
            at += separator(before.kind, block.kind).len();
            if before.section != block.section {
                packer.close();
            }
        }
        packer.block(block, at..at + block.text.len());
        at += block.text.len();
        before = Some(block);
    }
    packer.close();
    let (languages, main) = languages(&packer.pieces, &text);
    let mut counter = Counter { text: &text, bytes: 0, chars: 0 };
    let chunks = packer
        .pieces
        .into_iter()
        .zip(languages)
        .enumerate()
        .map(|(ordinal, (piece, language))| Chunk {
            document: 0,
            ordinal: u32::try_from(ordinal).unwrap_or(u32::MAX),
            text: text.get(piece.bytes.clone()).unwrap_or_default().to_owned(),
            chars: counter.chars(&piece.bytes),
            pages: piece.pages,
            heading: extracted.sections.get(piece.section as usize).cloned().unwrap_or_default(),
            language,
            flagged: false,
        })
        .collect();
    (chunks, main)
}

/// A chunk to be: bytes of the document's text.
struct Piece {
    bytes: Range<usize>,
    chars: usize,
    section: u32,
    pages: Option<(u32, u32)>,
}

struct Packer<'a> {
    text: &'a str,
    bounds: Bounds,
    pieces: Vec<Piece>,
    /// The piece that still takes more, not longer than a chunk.
    open: Option<Piece>,
}

impl Packer<'_> {
    fn block(&mut self, block: &Block, bytes: Range<usize>) {
        let Some(bytes) = trimmed(self.text, bytes) else { return };
        let chars = chars(self.text, &bytes);
        let whole = match block.kind {
            BlockKind::Paragraph => self.bounds.chunk,
            BlockKind::Row | BlockKind::Code => self.bounds.block.max(self.bounds.chunk),
        };
        let pages = block.page.map(|page| (page, page));
        if chars <= whole {
            return self.add(Piece { bytes, chars, section: block.section, pages });
        }
        self.close();
        let units = match block.kind {
            BlockKind::Paragraph | BlockKind::Row => sentences(self.text, &bytes, self.bounds.chunk),
            BlockKind::Code => lines(self.text, &bytes, whole),
        };
        let (most, overlap) = match block.kind {
            BlockKind::Paragraph => (self.bounds.chunk, self.bounds.overlap),
            BlockKind::Row | BlockKind::Code => (whole, 0),
        };
        for range in packed(self.text, &units, most, overlap) {
            let Some(bytes) = trimmed(self.text, range) else { continue };
            let chars = self::chars(self.text, &bytes);
            self.close();
            self.open = Some(Piece { bytes, chars, section: block.section, pages });
        }
    }

    /// Adds a whole block: to the open piece where it fits, else as a new one.
    fn add(&mut self, piece: Piece) {
        if let Some(open) = &mut self.open {
            let between = chars(self.text, &(open.bytes.end..piece.bytes.start));
            let together = open.chars + between + piece.chars;
            if together <= self.bounds.chunk {
                open.bytes.end = piece.bytes.end;
                open.chars = together;
                open.pages = match (open.pages, piece.pages) {
                    (Some((first, _)), Some((_, last))) => Some((first, last.max(first))),
                    (known, None) | (None, known) => known,
                };
                return;
            }
        }
        self.close();
        self.open = Some(piece);
    }

    fn close(&mut self) {
        self.pieces.extend(self.open.take());
    }
}

/// Packs neighbouring units into ranges of at most `most` characters; a range begins with the last `overlap` units of
/// the one before where they fit beside something new.
fn packed(text: &str, units: &[Range<usize>], most: usize, overlap: usize) -> Vec<Range<usize>> {
    let lengths: Vec<usize> = units.iter().map(|unit| chars(text, unit)).collect();
    let mut out: Vec<Range<usize>> = Vec::new();
    let (mut first, mut next) = (0, 0);
    while next < units.len() {
        let fresh = next;
        let mut sum: usize = lengths[first..fresh].iter().sum();
        while first < fresh && sum + lengths[fresh] > most {
            sum -= lengths[first];
            first += 1;
        }
        while next < units.len() && (next == fresh || sum + lengths[next] <= most) {
            sum += lengths[next];
            next += 1;
        }
        out.push(units[first].start..units[next - 1].end);
        first = next.saturating_sub(overlap).max(first);
    }
    out
}

/// Sentences, each at most `most` characters: a longer one is cut between words, a longer word anywhere.
fn sentences(text: &str, bytes: &Range<usize>, most: usize) -> Vec<Range<usize>> {
    let within = &text[bytes.clone()];
    let mut out = Vec::new();
    for (at, sentence) in within.split_sentence_bound_indices() {
        let range = bytes.start + at..bytes.start + at + sentence.len();
        if chars(text, &range) <= most {
            out.push(range);
        } else {
            let words = sentence
                .split_word_bound_indices()
                .flat_map(|(at, word)| slices(word, range.start + at, most))
                .collect::<Vec<_>>();
            out.extend(packed(text, &words, most, 0));
        }
    }
    out
}

/// Lines with their ends, each at most `most` characters.
fn lines(text: &str, bytes: &Range<usize>, most: usize) -> Vec<Range<usize>> {
    let mut at = bytes.start;
    let mut out = Vec::new();
    for line in text[bytes.clone()].split_inclusive('\n') {
        out.extend(slices(line, at, most));
        at += line.len();
    }
    out
}

/// A text that begins at byte `at`, in slices of at most `most` characters.
fn slices(text: &str, at: usize, most: usize) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut begin = 0;
    for (count, (byte, _)) in text.char_indices().enumerate() {
        if count > 0 && count % most == 0 {
            out.push(at + begin..at + byte);
            begin = byte;
        }
    }
    out.push(at + begin..at + text.len());
    out
}

/// Without white space at its ends; nothing when there is nothing else.
fn trimmed(text: &str, bytes: Range<usize>) -> Option<Range<usize>> {
    let within = text.get(bytes.clone())?;
    let start = bytes.start + (within.len() - within.trim_start().len());
    let end = bytes.start + within.trim_end().len();
    (start < end).then_some(start..end)
}

fn chars(text: &str, bytes: &Range<usize>) -> usize {
    text.get(bytes.clone()).map_or(0, |within| within.chars().count())
}

/// Bytes into characters. Ranges come in order of their beginnings, so that the text is counted about once.
struct Counter<'a> {
    text: &'a str,
    bytes: usize,
    chars: usize,
}

impl Counter<'_> {
    fn chars(&mut self, bytes: &Range<usize>) -> Range<u32> {
        self.chars += chars(self.text, &(self.bytes..bytes.start));
        self.bytes = bytes.start;
        let end = self.chars + chars(self.text, bytes);
        let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        narrow(self.chars)..narrow(end)
    }
}

/// The language of each piece and that of most of the text; a piece too short or mixed to tell has that of the whole.
fn languages(pieces: &[Piece], text: &str) -> (Vec<Language>, Language) {
    let own: Vec<Option<Language>> = pieces
        .iter()
        .map(|piece| language::sure(text.get(piece.bytes.clone()).unwrap_or_default()))
        .collect();
    let mut weights: Vec<(Language, usize)> = Vec::new();
    for (piece, language) in pieces.iter().zip(&own) {
        let Some(language) = *language else { continue };
        match weights.iter_mut().find(|(known, _)| *known == language) {
            Some((_, weight)) => *weight += piece.chars,
            None => weights.push((language, piece.chars)),
        }
    }
    let main = match weights.into_iter().max_by_key(|(_, weight)| *weight) {
        Some((language, _)) => language,
        None => language::guess(text),
    };
    (own.into_iter().map(|language| language.unwrap_or(main)).collect(), main)
}

#[cfg(test)]
mod tests;
