//! Search: up to three lists of passages (by words, by pieces of words, by meaning) become one. Pure: the same question
//! to the same generation gives the same answer. Invariants: a list that cannot be trusted for the question's language is
//! not used; flagged passages come last; every list and question is bounded. Source: ask design section 6.

mod follow_up;
mod fuse;
mod lists;

pub use follow_up::follow_up;
pub(crate) use lists::List;

use crate::{Document, Index, Language, Space, text};
use std::ops::Range;

/// Longest question that is looked at, in bytes.
pub const MAX_QUESTION: usize = 16_384;

/// What is looked for.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// The question, follow-ups already joined ([`follow_up`]).
    pub text: &'a str,
    /// Its language; unknown: told from the text.
    pub language: Language,
    /// The question's vector and its space; used where it is the space of the index and understands the language.
    pub meaning: Option<(&'a Space, &'a [f32])>,
    /// Most hits.
    pub k: usize,
    /// Most hits of one document while others are left; 0: any number.
    pub per_document: usize,
    /// Whether hits that are neighbours in a document become one.
    pub join: bool,
    /// Length of each list.
    pub depth: usize,
    /// Which documents; none: all.
    pub only: Option<&'a (dyn Fn(&Document) -> bool + Sync)>,
}

impl Default for Query<'_> {
    fn default() -> Self {
        Self {
            text: "",
            language: Language::UNKNOWN,
            meaning: None,
            k: 8,
            per_document: 2,
            join: true,
            depth: 100,
            only: None,
        }
    }
}

/// A question that owns what it asks with, so that it can be asked on another thread.
#[derive(Clone, Debug)]
pub struct Question {
    /// As [`Query::text`].
    pub text: String,
    /// As [`Query::language`].
    pub language: Language,
    /// As [`Query::meaning`].
    pub meaning: Option<(Space, Vec<f32>)>,
    /// As [`Query::k`].
    pub k: usize,
    /// As [`Query::per_document`].
    pub per_document: usize,
    /// As [`Query::join`].
    pub join: bool,
}

impl Question {
    pub(crate) fn query(&self) -> Query<'_> {
        Query {
            text: &self.text,
            language: self.language,
            meaning: self.meaning.as_ref().map(|(space, vector)| (space, vector.as_slice())),
            k: self.k,
            per_document: self.per_document,
            join: self.join,
            ..Query::default()
        }
    }
}

/// A passage found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The passage.
    pub chunk: u32,
    /// It and its neighbours that were found too.
    pub chunks: Range<u32>,
    /// Position of its document.
    pub document: u32,
    /// Sum over the lists; comparable within one answer.
    pub score: f32,
    /// Place in the list by words, from 1.
    pub words: Option<u32>,
    /// Place in the list by pieces of words, from 1.
    pub grams: Option<u32>,
    /// Place in the list by meaning, from 1.
    pub meaning: Option<u32>,
    /// Likeness to the question, -1 to 1, where vectors were compared.
    pub cosine: Option<f32>,
    /// Whether inspection suspects instructions in it.
    pub flagged: bool,
}

/// How much speaks for an answer being in the passages found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Best likeness of any passage, where vectors were compared.
    pub cosine: Option<f32>,
    /// Words of the question that say something.
    pub asked: usize,
    /// How many of them the best passage has.
    pub shared: usize,
}

impl Evidence {
    /// Whether anything speaks for it: a likeness of `floor`, or two words of the question in the best passage (all, of a
    /// question with fewer). Where likeness is known, those must be a third of its words, and half the floor must be
    /// reached: two words of a long question stand together in many a passage.
    #[must_use]
    pub fn is_there(&self, floor: f32) -> bool {
        let words = self.shared > 0 && self.shared >= self.asked.min(2);
        match self.cosine {
            None => words,
            Some(cosine) => {
                cosine >= floor || (words && self.shared * 3 >= self.asked && cosine * 2.0 >= floor)
            }
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Best first.
    pub hits: Vec<Hit>,
    /// Language of the question.
    pub language: Language,
    /// Whether meaning was compared.
    pub by_meaning: bool,
    /// What speaks for an answer.
    pub evidence: Evidence,
}

/// A question as one index understands it.
pub(crate) struct Asked<'a> {
    text: &'a str,
    language: Language,
    /// Of each document, whether it is looked at; none: all are.
    pub(crate) allowed: Option<Vec<bool>>,
    /// The question's vector, where vectors may be compared.
    pub(crate) vector: Option<&'a [f32]>,
    /// Whether it is a check at load.
    canary: bool,
}

impl Index {
    /// Finds passages. Some milliseconds of work at 100,000 passages; no reading of files.
    #[must_use]
    pub fn search(&self, query: &Query<'_>) -> Found {
        self.search_as(query, self.asked(query))
    }

    /// As [`Self::search`]; a canary's vector is used whatever its language, and to it flagged passages are as others.
    pub(crate) fn search_for_canary(&self, query: &Query<'_>) -> Found {
        let vector = query.meaning.map(|(_, vector)| vector);
        self.search_as(query, Asked { vector, canary: true, ..self.asked(query) })
    }

    fn search_as(&self, query: &Query<'_>, asked: Asked<'_>) -> Found {
        let meaning = asked
            .vector
            .and_then(|vector| lists::by_meaning(self, vector, query.depth, &|n| self.allows(&asked, n)));
        self.answered(query, &asked, meaning)
    }

    /// What a question comes to at this index, before any list is made.
    pub(crate) fn asked<'a>(&self, query: &Query<'a>) -> Asked<'a> {
        let text = &query.text[..query.text.floor_char_boundary(MAX_QUESTION)];
        let language = match query.language {
            Language::UNKNOWN => text::of_question(text, self.languages()),
            told => told,
        };
        let allowed = query.only.map(|only| self.documents().iter().map(only).collect());
        let usable = |space: &Space| self.space() == Some(space) && space.understands(language);
        let vector = query.meaning.filter(|(space, _)| usable(space)).map(|(_, vector)| vector);
        Asked { text, language, allowed, vector, canary: false }
    }

    fn allows(&self, asked: &Asked<'_>, n: u32) -> bool {
        match (&asked.allowed, self.mark(n)) {
            (None, _) => true,
            (Some(allowed), Some(mark)) => allowed.get(mark.document as usize).copied().unwrap_or_default(),
            (Some(_), None) => false,
        }
    }

    /// The answer, with the list by meaning that was made here or elsewhere.
    pub(crate) fn answered(&self, query: &Query<'_>, asked: &Asked<'_>, meaning: Option<List>) -> Found {
        let language = asked.language;
        let allows = |n: u32| self.allows(asked, n);
        let terms = lists::terms(self, asked.text, language);
        let words = lists::by_words(self, &terms, query.depth, &allows);
        let grams = lists::by_grams(self, asked.text, query.depth, &allows);
        let by_meaning = meaning.is_some();
        let fused = fuse::fuse(&words, grams.as_deref(), meaning.as_deref(), self.len());
        let cosine = meaning.as_ref().and_then(|list| list.first()).map(|(_, cosine)| *cosine);
        let hits = fuse::arrange(self, query, fused, asked.canary);
        let shared = hits.first().map_or(0, |best| terms.shared(self, best.chunk));
        let evidence = Evidence { cosine, asked: terms.asked(), shared };
        Found { hits, language, by_meaning, evidence }
    }
}

#[cfg(test)]
mod tests;
