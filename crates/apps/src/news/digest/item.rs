//! A post on its way through a digest. Invariant: its words are plain, and the same words have the same hash everywhere.

use portcullis_knowledge::{Language, text::of_text};
use portcullis_store::PostRow;
use ring::digest::{SHA256, digest};

/// A post.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    /// Place of its source among those asked.
    pub(crate) source: usize,
    /// Title and text, the title in a paragraph of its own.
    pub(crate) words: String,
    pub(crate) at: i64,
    pub(crate) url: String,
    pub(crate) views: Option<u64>,
    pub(crate) hash: u64,
    pub(crate) language: Language,
}

impl Item {
    pub(crate) fn of(source: usize, post: PostRow) -> Self {
        let title = post.title.trim();
        // Many feeds begin a post's text with its title.
        let words = if title.is_empty() || post.text.starts_with(title) {
            post.text
        } else {
            format!("{title}\n\n{}", post.text)
        };
        Self {
            source,
            hash: hash(&words),
            language: of_text(&words),
            words,
            at: post.at,
            url: post.url,
            views: u64::try_from(post.views).ok(),
        }
    }

    /// Its beginning, cut at a word.
    pub(crate) fn beginning(&self, chars: usize) -> &str {
        cut(&self.words, chars)
    }
}

/// The same words, the same number, on every machine and in every release: it is kept.
pub(crate) fn hash(words: &str) -> u64 {
    let sum = digest(&SHA256, words.as_bytes());
    sum.as_ref().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

/// At most so many characters, cut at the end of a word where there is one.
pub(crate) fn cut(text: &str, chars: usize) -> &str {
    let Some((end, next)) = text.char_indices().nth(chars) else { return text };
    let kept = &text[..end];
    if next.is_whitespace() {
        return kept.trim_end();
    }
    let word = kept.rfind(char::is_whitespace).filter(|at| *at * 2 > end);
    kept[..word.unwrap_or(end)].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_words() {
        assert_eq!(cut("one two three", 100), "one two three");
        assert_eq!(cut("one two three", 7), "one two");
        assert_eq!(cut("one two three", 9), "one two");
        assert_eq!(cut("Донаудампф", 4), "Дона");
    }

    #[test]
    fn the_hash_of_a_text_is_the_same_for_ever() {
        assert_eq!(hash("abc"), 0xeacf_018f_bf16_78ba);
    }
}
