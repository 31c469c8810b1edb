//! The Unigram tokenizer of XLM-RoBERTa: characters by the model's own table of replacements, spaces as `▁`, then the
//! most likely cut into pieces. Invariants: work is bounded by the wanted number of tokens; markers such as `</s>` in
//! a text are plain characters, so that a caller cannot write control tokens; nothing read from a file is trusted.

use super::minilm::ModelError;
use hashbrown::HashTable;
use std::{borrow::Cow, ops::Range};
use unicode_normalization::UnicodeNormalization as _;

/// Space, as the pieces write it.
const SPACE: char = '\u{2581}';
/// Longest piece, in bytes; lengths are kept in a byte.
const LONGEST: usize = u8::MAX as usize;
/// How much less likely an unknown character is than the least likely piece.
const UNKNOWN_PENALTY: f32 = 10.0;

/// The pieces, their scores and the replacements.
pub(crate) struct Unigram {
    data: Cow<'static, [u8]>,
    /// Where each piece ends; it begins where the one before it ends.
    ends: Vec<u32>,
    scores: Vec<f32>,
    pieces: Range<usize>,
    ids: HashTable<u32>,
    hasher: ahash::RandomState,
    unknown: f32,
    longest: usize,
    /// Characters in order, with what stands for them.
    rules: Vec<(u32, Range<u32>)>,
    replacements: String,
}

impl Unigram {
    /// Marker before a text.
    pub(crate) const FIRST: u32 = 0;
    /// Marker after a text.
    pub(crate) const LAST: u32 = 2;
    /// A character without a piece.
    pub(crate) const UNKNOWN: u32 = 3;

    /// The data of a model's file: `pieces, bytes, rules, bytes | scores | lengths | pieces | characters | lengths |
    /// replacements`. A piece of length 0 is a marker, which no text matches.
    pub(crate) fn new(data: Cow<'static, [u8]>) -> Result<Self, ModelError> {
        let broken = || ModelError::Load("the tokenizer's data is damaged".to_owned());
        let mut at = 0;
        let mut part = |len: usize| {
            let end = at + len;
            let range = at..end;
            at = end;
            (end <= data.len()).then_some(range).ok_or_else(broken)
        };
        let four = |range: Range<usize>| data[range].as_chunks::<4>().0.iter();
        let head: Vec<usize> = four(part(16)?).map(|four| u32::from_le_bytes(*four) as usize).collect();
        let [count, bytes, rules, replaced] = head[..] else { return Err(broken()) };
        if [count, bytes, rules, replaced].iter().any(|size| *size > data.len()) {
            return Err(broken());
        }
        let scores: Vec<f32> = four(part(count * 4)?).map(|four| f32::from_le_bytes(*four)).collect();
        let lengths = part(count)?;
        let pieces = part(bytes)?;
        let characters: Vec<u32> = four(part(rules * 4)?).map(|four| u32::from_le_bytes(*four)).collect();
        let rule_lengths = part(rules)?;
        let replacements = std::str::from_utf8(&data[part(replaced)?]).map_err(|_| broken())?.to_owned();

        let ends: Vec<u32> = running(&data[lengths.clone()]).collect();
        let rule_ends: Vec<u32> = running(&data[rule_lengths]).collect();
        let fits = |ends: &[u32], len: usize| ends.last().is_none_or(|end| *end as usize == len);
        let starts = std::iter::once(0).chain(rule_ends.iter().copied());
        let rules: Vec<_> =
            characters.into_iter().zip(starts.zip(rule_ends.iter().copied()).map(|(a, b)| a..b)).collect();
        let whole = rules
            .iter()
            .all(|(_, range)| replacements.get(range.start as usize..range.end as usize).is_some());
        if !(fits(&ends, bytes)
            && fits(&rule_ends, replacements.len())
            && whole
            && rules.is_sorted_by_key(|r| r.0))
        {
            return Err(broken());
        }
        let least = scores.iter().copied().fold(0.0, f32::min);
        let longest = data[lengths].iter().copied().max().map_or(0, usize::from);
        // Fixed seeds: nothing a caller chooses becomes a key of this table.
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let mut made = Self {
            ids: HashTable::with_capacity(count),
            unknown: least - UNKNOWN_PENALTY,
            data,
            ends,
            scores,
            pieces,
            hasher,
            longest,
            rules,
            replacements,
        };
        made.index();
        Ok(made)
    }

    fn index(&mut self) {
        let mut ids = std::mem::take(&mut self.ids);
        for id in 0..u32::try_from(self.ends.len()).unwrap_or(u32::MAX) {
            let piece = self.piece(id);
            if !piece.is_empty() {
                ids.insert_unique(self.hasher.hash_one(piece), id, |id| {
                    self.hasher.hash_one(self.piece(*id))
                });
            }
        }
        self.ids = ids;
    }

    fn piece(&self, id: u32) -> &[u8] {
        let end = self.ends[id as usize];
        let start = if id == 0 { 0 } else { self.ends[id as usize - 1] };
        &self.data[self.pieces.clone()][start as usize..end as usize]
    }

    fn find(&self, piece: &[u8]) -> Option<u32> {
        self.ids.find(self.hasher.hash_one(piece), |id| self.piece(*id) == piece).copied()
    }

    /// Tokens of a text without markers, at most `most`; the rest of the text is left out.
    pub(crate) fn content(&self, text: &str, most: usize) -> Vec<u32> {
        let clean = self.cleaned(text, most.saturating_mul(LONGEST));
        let mut ids = self.cut(&clean);
        ids.truncate(most);
        ids
    }

    /// Replaced characters, spaces joined and written as the pieces write them, at most about `most` bytes.
    fn cleaned(&self, text: &str, most: usize) -> String {
        let mut clean = String::with_capacity(text.len().min(most) + 8);
        clean.push(SPACE);
        for c in text.nfc() {
            if clean.len() > most {
                break;
            }
            if c.is_ascii_alphanumeric() {
                clean.push(c);
                continue;
            }
            let mut own = [0; 4];
            let replaced = match self.rules.binary_search_by_key(&u32::from(c), |rule| rule.0) {
                Ok(at) => {
                    let range = &self.rules[at].1;
                    &self.replacements[range.start as usize..range.end as usize]
                }
                Err(_) => c.encode_utf8(&mut own),
            };
            for c in replaced.chars() {
                match c {
                    ' ' if clean.ends_with(SPACE) => {}
                    ' ' => clean.push(SPACE),
                    _ => clean.push(c),
                }
            }
        }
        clean
    }

    /// The cut with the highest sum of scores (Viterbi); of unknown characters in a row only one is told.
    fn cut(&self, text: &str) -> Vec<u32> {
        #[derive(Clone, Copy)]
        struct Best {
            score: f32,
            id: u32,
            from: usize,
        }
        let nothing = Best { score: f32::NEG_INFINITY, id: Self::UNKNOWN, from: 0 };
        let mut best = vec![nothing; text.len() + 1];
        best[0].score = 0.0;
        for (from, c) in text.char_indices() {
            let before = best[from].score;
            let rest = &text.as_bytes()[from..];
            let mut end = from;
            for c in text[from..].chars() {
                end += c.len_utf8();
                if end - from > self.longest {
                    break;
                }
                if let Some(id) = self.find(&rest[..end - from]) {
                    let score = before + self.scores[id as usize];
                    if score > best[end].score {
                        best[end] = Best { score, id, from };
                    }
                }
            }
            let (end, score) = (from + c.len_utf8(), before + self.unknown);
            if score > best[end].score {
                best[end] = Best { score, id: Self::UNKNOWN, from };
            }
        }
        let mut ids = Vec::new();
        let mut at = text.len();
        while at > 0 {
            let Best { id, from, .. } = best[at];
            if id != Self::UNKNOWN || ids.last() != Some(&Self::UNKNOWN) {
                ids.push(id);
            }
            at = from;
        }
        ids.reverse();
        ids
    }
}

/// Sums of lengths so far.
fn running(lengths: &[u8]) -> impl Iterator<Item = u32> {
    lengths.iter().scan(0_u32, |end, length| {
        *end = end.saturating_add(u32::from(*length));
        Some(*end)
    })
}

/// The data that [`Unigram::new`] reads. Pieces with no bytes are markers.
pub(crate) fn written(pieces: &[(&[u8], f32)], rules: &[(u32, String)]) -> Option<Vec<u8>> {
    let size = |len: usize| u32::try_from(len).ok();
    let length = |len: usize| u8::try_from(len).ok();
    let bytes: usize = pieces.iter().map(|(piece, _)| piece.len()).sum();
    let replaced: usize = rules.iter().map(|(_, text)| text.len()).sum();
    let mut data = Vec::with_capacity(bytes + pieces.len() * 5 + rules.len() * 12);
    for number in [size(pieces.len())?, size(bytes)?, size(rules.len())?, size(replaced)?] {
        data.extend(number.to_le_bytes());
    }
    data.extend(pieces.iter().flat_map(|(_, score)| score.to_le_bytes()));
    data.extend(pieces.iter().map(|(piece, _)| length(piece.len())).collect::<Option<Vec<_>>>()?);
    data.extend(pieces.iter().flat_map(|(piece, _)| piece.iter().copied()));
    data.extend(rules.iter().flat_map(|(character, _)| character.to_le_bytes()));
    data.extend(rules.iter().map(|(_, text)| length(text.len())).collect::<Option<Vec<_>>>()?);
    data.extend(rules.iter().flat_map(|(_, text)| text.bytes()));
    Some(data)
}
