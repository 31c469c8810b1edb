//! Answers that were given and hold as long as their generation does. Invariants: an answer is given again only to the
//! same question of the same generation, model route, prompt and language, and to nobody who may not read its
//! collection (the caller has shown that before); at most so many answers, the oldest go first; flagged questions and
//! questions that lean on a conversation never come here. Pure: `now` is passed in. Source: ask.md section 7, "Cache".

use super::answer::Answered;
use ahash::AHashMap;
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::time::Instant;
use unicode_normalization::UnicodeNormalization as _;

/// Under what an answer is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    question: String,
    collection: String,
    generation: u64,
    route: String,
    prompt: u32,
    language: String,
    long: bool,
    passages: usize,
}

/// What makes two questions the same beside their words.
pub(crate) struct Circumstances<'a> {
    pub(crate) collection: &'a str,
    pub(crate) generation: u64,
    pub(crate) route: &'a str,
    pub(crate) prompt: u32,
    pub(crate) language: &'a str,
    pub(crate) long: bool,
    pub(crate) passages: usize,
}

impl Key {
    /// Of a question: letters in lower case, blanks as one, no marks at its end.
    pub(crate) fn new(question: &str, around: &Circumstances<'_>) -> Self {
        let lower: String = question.nfkc().flat_map(char::to_lowercase).collect();
        let words: Vec<&str> = lower.split_whitespace().collect();
        let question = words.join(" ").trim_end_matches(['?', '!', '.', ' ']).to_owned();
        Self {
            question,
            collection: around.collection.to_owned(),
            generation: around.generation,
            route: around.route.to_owned(),
            prompt: around.prompt,
            language: around.language.to_owned(),
            long: around.long,
            passages: around.passages,
        }
    }
}

#[derive(Debug, Default)]
struct Kept {
    answers: AHashMap<Key, (Arc<Answered>, Instant)>,
    /// In the order they came, for those that go first.
    order: VecDeque<Key>,
}

/// Every kept answer.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Kept>);

impl Cache {
    /// The answer, and how old it is.
    pub(crate) fn get(&self, key: &Key, life: Duration, now: Instant) -> Option<(Arc<Answered>, Duration)> {
        let kept = self.0.lock();
        let (answer, made) = kept.answers.get(key)?;
        let age = now.saturating_duration_since(*made);
        (age < life).then(|| (answer.clone(), age))
    }

    /// Keeps an answer.
    pub(crate) fn put(&self, key: Key, answer: Arc<Answered>, most: usize, now: Instant) {
        let mut kept = self.0.lock();
        if kept.answers.insert(key.clone(), (answer, now)).is_none() {
            kept.order.push_back(key);
        }
        while kept.answers.len() > most {
            let Some(oldest) = kept.order.pop_front() else { break };
            kept.answers.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AROUND: Circumstances<'static> = Circumstances {
        collection: "docs",
        generation: 1,
        route: "ask",
        prompt: 1,
        language: "en",
        long: false,
        passages: 8,
    };

    fn answer(text: &str) -> Arc<Answered> {
        Arc::new(Answered { text: text.to_owned(), ..Answered::default() })
    }

    #[test]
    fn the_same_question_is_answered_again_while_its_generation_stands() {
        let (cache, now, life) = (Cache::default(), Instant::now(), Duration::from_secs(60));
        cache.put(Key::new("What  is it?", &AROUND), answer("that"), 10, now);
        let get = |question, around: &Circumstances<'_>, at| {
            cache
                .get(&Key::new(question, around), life, now + Duration::from_secs(at))
                .map(|(answer, _)| answer.text.clone())
        };
        assert_eq!(get("what is IT", &AROUND, 59).as_deref(), Some("that"));
        assert_eq!(get("what is it", &AROUND, 60), None);
        assert_eq!(get("what was it", &AROUND, 0), None);
        for other in [
            Circumstances { generation: 2, ..AROUND },
            Circumstances { collection: "other", ..AROUND },
            Circumstances { language: "nl", ..AROUND },
            Circumstances { long: true, ..AROUND },
            Circumstances { prompt: 2, ..AROUND },
            Circumstances { route: "other", ..AROUND },
            Circumstances { passages: 2, ..AROUND },
        ] {
            assert_eq!(get("what is it", &other, 0), None);
        }
    }

    #[test]
    fn the_oldest_answer_makes_room() {
        let (cache, now, life) = (Cache::default(), Instant::now(), Duration::from_secs(60));
        for n in 0..5 {
            cache.put(Key::new(&format!("q{n}"), &AROUND), answer("a"), 3, now);
        }
        let known = |n: usize| cache.get(&Key::new(&format!("q{n}"), &AROUND), life, now).is_some();
        assert_eq!([0, 1, 2, 3, 4].map(known), [false, false, true, true, true]);
    }
}
