//! A post on its way through a digest, and which posts go that way. Invariant: its words are plain, and the same words have the
//! same hash everywhere.

use super::{model::Keeps, sources::Got};
use crate::news::NewsConfig;
use ahash::AHashMap;
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

/// The posts that are looked at: long enough, wanted, the newest.
pub(super) fn items(got: Vec<Got>, keeps: Option<&Keeps>, config: &NewsConfig) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for (source, got) in got.into_iter().enumerate() {
        let posts = got.posts.into_iter().map(|post| Item::of(source, post));
        let long =
            |item: &Item| config.min_chars == 0 || item.words.chars().nth(config.min_chars - 1).is_some();
        items.extend(posts.filter(|item| long(item) && keeps.is_none_or(|keeps| keeps(&item.words))));
    }
    items.sort_by(|a, b| b.at.cmp(&a.at).then(a.hash.cmp(&b.hash)).then(a.source.cmp(&b.source)));
    items.truncate(config.max_posts);
    let usual = usual_language(&items);
    for item in items.iter_mut().filter(|item| item.language == Language::UNKNOWN) {
        // A few words tell no language; letters of another script do, and then it stays unknown.
        item.language = portcullis_knowledge::text::of_question(&item.words, &[usual]);
    }
    items
}

/// The language of most posts.
pub(super) fn usual_language(items: &[Item]) -> Language {
    let mut counts = AHashMap::<Language, usize>::new();
    for item in items.iter().filter(|item| item.language != Language::UNKNOWN) {
        *counts.entry(item.language).or_default() += 1;
    }
    let most = counts.into_iter().max_by(|(a, left), (b, right)| left.cmp(right).then(b.cmp(a)));
    most.map_or(Language::UNKNOWN, |(language, _)| language)
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
