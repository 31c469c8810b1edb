//! The uncased WordPiece tokenizer of BERT: clean, split, fold, longest match first. Gives the ids that Hugging
//! Face's `BertWordPieceTokenizer` gives (golden test), except that markers such as `[SEP]` in a text are plain
//! words: a caller cannot write control tokens. Invariant: work is bounded by the wanted number of tokens, not by
//! the length of the text.

use ahash::AHashMap;
use unicode_general_category::{GeneralCategory as Category, get_general_category};
use unicode_normalization::UnicodeNormalization as _;

const UNKNOWN: u32 = 100;
/// Longer words are unknown by definition of the model's tokenizer.
const MAX_WORD_CHARS: usize = 100;

/// The vocabulary, keyed by piece; pieces inside a word begin with `##`.
pub(crate) struct WordPiece {
    ids: AHashMap<&'static str, u32>,
}

impl WordPiece {
    /// From the lines of `vocab.txt`, whose numbers are the ids.
    pub(crate) fn new(vocabulary: &'static str) -> Self {
        Self { ids: vocabulary.lines().zip(0..).collect() }
    }

    /// Marker before a text.
    pub(crate) const FIRST: u32 = 101;
    /// Marker after a text.
    pub(crate) const LAST: u32 = 102;

    /// The ids of a text between its two markers, at most `max_tokens` in all; the rest of the text is left out.
    #[cfg(test)]
    pub(crate) fn encode(&self, text: &str, max_tokens: usize) -> Vec<u32> {
        [vec![Self::FIRST], self.content(text, max_tokens.saturating_sub(2)), vec![Self::LAST]].concat()
    }

    /// The ids of a text without markers, at most `most`; the rest of the text is left out.
    pub(crate) fn content(&self, text: &str, most: usize) -> Vec<u32> {
        let mut ids = Vec::with_capacity(most.min(text.len() / 3) + 2);
        let mut word = String::new();
        let folded =
            text.chars().filter_map(cleaned).nfd().filter(|c| !is_accent(*c)).flat_map(char::to_lowercase);
        for c in folded {
            if c == ' ' || is_alone(c) {
                self.flush(&mut word, &mut ids);
                if c != ' ' {
                    word.push(c);
                    self.flush(&mut word, &mut ids);
                }
                if ids.len() >= most {
                    break;
                }
            } else if word.len() <= MAX_WORD_CHARS * 4 {
                // A longer word is unknown however it goes on.
                word.push(c);
            }
        }
        self.flush(&mut word, &mut ids);
        ids.truncate(most);
        ids
    }

    /// Tokens of a text without its markers, counting at most `most`.
    pub(crate) fn count(&self, text: &str, most: usize) -> usize {
        self.content(text, most).len()
    }

    fn flush(&self, word: &mut String, ids: &mut Vec<u32>) {
        if word.is_empty() {
            return;
        }
        let before = ids.len();
        if word.chars().count() > MAX_WORD_CHARS || !self.pieces(word, ids) {
            ids.truncate(before);
            ids.push(UNKNOWN);
        }
        word.clear();
    }

    /// Longest match first; false when some part has no piece.
    fn pieces(&self, word: &str, ids: &mut Vec<u32>) -> bool {
        let mut piece = String::with_capacity(word.len() + 2);
        let mut rest = word;
        while !rest.is_empty() {
            piece.clear();
            if rest.len() < word.len() {
                piece.push_str("##");
            }
            let prefix = piece.len();
            piece.push_str(rest);
            let found = loop {
                if let Some(id) = self.ids.get(piece.as_str()) {
                    break *id;
                }
                piece.pop();
                if piece.len() <= prefix {
                    return false;
                }
            };
            ids.push(found);
            rest = &rest[piece.len() - prefix..];
        }
        true
    }
}

/// White space becomes a space, control characters vanish, the rest stays.
fn cleaned(c: char) -> Option<char> {
    match c {
        '\0' | '\u{fffd}' => None,
        _ if c.is_whitespace() => Some(' '),
        _ if is_control(c) => None,
        _ => Some(c),
    }
}

fn is_control(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    matches!(
        get_general_category(c),
        Category::Control
            | Category::Format
            | Category::Unassigned
            | Category::PrivateUse
            | Category::Surrogate
    )
}

fn is_accent(c: char) -> bool {
    !c.is_ascii() && get_general_category(c) == Category::NonspacingMark
}

/// Punctuation and Chinese characters are words of their own.
fn is_alone(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_punctuation();
    }
    let chinese = matches!(c as u32, 0x4E00..=0x9FFF | 0x3400..=0x4DBF | 0x2_0000..=0x2_A6DF | 0x2_A700..=0x2_B73F | 0x2_B740..=0x2_B81F | 0x2_B920..=0x2_CEAF | 0xF900..=0xFAFF | 0x2_F800..=0x2_FA1F);
    chinese
        || matches!(
            get_general_category(c),
            Category::ConnectorPunctuation
                | Category::DashPunctuation
                | Category::OpenPunctuation
                | Category::ClosePunctuation
                | Category::InitialPunctuation
                | Category::FinalPunctuation
                | Category::OtherPunctuation
        )
}
