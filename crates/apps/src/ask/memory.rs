//! What a conversation said last, so that a follow-up is understood. Invariants: at most so many conversations, messages
//! and characters; an idle conversation is gone; one conversation never sees another's words; what stands here enters a
//! prompt only as untrusted text. Pure: `now` is passed in. Source: ask.md section 7, "Memory".

use ahash::AHashMap;
use parking_lot::Mutex;
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// Bounds of the memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    pub(crate) chars: usize,
    pub(crate) idle: Duration,
    pub(crate) conversations: usize,
}

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The person.
    Person,
    /// Us.
    Us,
}

/// How a person wants answers, until they say otherwise or fall silent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// Longer answers.
    pub(crate) long: bool,
    /// Two letters.
    pub(crate) language: Option<String>,
}

#[derive(Debug)]
struct Conversation {
    said: VecDeque<(By, String)>,
    /// Sources of the last answer, as they were shown.
    sources: Option<String>,
    /// A question that could not be answered, and until when it is kept.
    open: Option<(String, Instant)>,
    wishes: Wishes,
    last: Instant,
    /// Shorter than the common one where messages disappear.
    idle: Duration,
}

/// Every conversation.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<AHashMap<Box<str>, Conversation>>);

impl Memory {
    /// What was said, oldest first.
    pub(crate) fn said(&self, name: &str, now: Instant) -> Vec<(By, String)> {
        self.look(name, now, |conversation| conversation.said.iter().cloned().collect()).unwrap_or_default()
    }

    /// The last question of the person.
    pub(crate) fn last_question(&self, name: &str, now: Instant) -> Option<String> {
        self.look(name, now, |conversation| {
            let mut theirs = conversation.said.iter().rev().filter(|(by, _)| *by == By::Person);
            theirs.next().map(|(_, text)| text.clone())
        })?
    }

    /// The sources of the last answer.
    pub(crate) fn sources(&self, name: &str, now: Instant) -> Option<String> {
        self.look(name, now, |conversation| conversation.sources.clone())?
    }

    /// How answers are wanted.
    pub(crate) fn wishes(&self, name: &str, now: Instant) -> Wishes {
        self.look(name, now, |conversation| conversation.wishes.clone()).unwrap_or_default()
    }

    /// The question that could not be answered; then it is no longer open.
    pub(crate) fn take_open(&self, name: &str, now: Instant) -> Option<String> {
        let mut all = self.0.lock();
        let (question, until) = all.get_mut(name)?.open.take()?;
        (now < until).then_some(question)
    }

    /// Changes a conversation; it is made where there is none.
    fn change(&self, name: &str, bounds: Bounds, now: Instant, change: impl FnOnce(&mut Conversation)) {
        let mut all = self.0.lock();
        if !all.contains_key(name) && all.len() >= bounds.conversations {
            all.retain(|_, conversation| !conversation.is_over(now));
            if all.len() >= bounds.conversations
                && let Some(oldest) = all.iter().min_by_key(|(_, conversation)| conversation.last)
            {
                let oldest = oldest.0.clone();
                all.remove(&oldest);
            }
        }
        let fresh = || Conversation {
            said: VecDeque::new(),
            sources: None,
            open: None,
            wishes: Wishes::default(),
            last: now,
            idle: bounds.idle,
        };
        let conversation = all.entry(name.into()).or_insert_with(fresh);
        if conversation.is_over(now) {
            *conversation = fresh();
        }
        conversation.last = now;
        change(conversation);
    }

    /// Remembers a question and its answer. `idle` is shorter than the common bound where messages disappear.
    pub(crate) fn remember(
        &self,
        name: &str,
        (question, answer, sources): (&str, &str, Option<String>),
        bounds: Bounds,
        now: Instant,
    ) {
        if bounds.messages == 0 {
            return;
        }
        self.change(name, bounds, now, |conversation| {
            conversation.idle = bounds.idle;
            conversation.sources = sources;
            for (by, text) in [(By::Person, question), (By::Us, answer)] {
                conversation.said.push_back((by, text.to_owned()));
            }
            let chars = |said: &VecDeque<(By, String)>| {
                said.iter().map(|(_, text)| text.chars().count()).sum::<usize>()
            };
            while conversation.said.len() > bounds.messages || chars(&conversation.said) > bounds.chars {
                conversation.said.pop_front();
            }
        });
    }

    /// Keeps a question that could not be answered.
    pub(crate) fn keep_open(&self, name: &str, question: &str, until: Instant, bounds: Bounds, now: Instant) {
        self.change(name, bounds, now, |conversation| conversation.open = Some((question.to_owned(), until)));
    }

    /// Changes how answers are wanted.
    pub(crate) fn wish(&self, name: &str, bounds: Bounds, now: Instant, wish: impl FnOnce(&mut Wishes)) {
        self.change(name, bounds, now, |conversation| wish(&mut conversation.wishes));
    }

    /// Forgets what was said; says how many messages. Wishes stay.
    pub(crate) fn forget(&self, name: &str, now: Instant) -> usize {
        let mut all = self.0.lock();
        let Some(conversation) = all.get_mut(name) else { return 0 };
        if conversation.is_over(now) {
            all.remove(name);
            return 0;
        }
        conversation.sources = None;
        conversation.open = None;
        std::mem::take(&mut conversation.said).len()
    }

    fn look<T>(&self, name: &str, now: Instant, look: impl FnOnce(&Conversation) -> T) -> Option<T> {
        let mut all = self.0.lock();
        if all.get(name)?.is_over(now) {
            all.remove(name);
            return None;
        }
        all.get(name).map(look)
    }
}

impl Conversation {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= self.idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::iter::zip;

    const BOUNDS: Bounds =
        Bounds { messages: 5, chars: 100, idle: Duration::from_secs(3600), conversations: 3 };

    fn later(now: Instant, secs: u64) -> Instant {
        now + Duration::from_secs(secs)
    }

    #[test]
    fn the_last_five_messages_are_known_until_the_conversation_falls_silent() {
        let (memory, now) = (Memory::default(), Instant::now());
        for n in 0..4 {
            memory.remember("a", (&format!("q{n}"), &format!("a{n}"), None), BOUNDS, now);
        }
        let said: Vec<String> = memory.said("a", now).into_iter().map(|(_, text)| text).collect();
        assert_eq!(said, ["a1", "q2", "a2", "q3", "a3"]);
        assert_eq!(memory.last_question("a", now).as_deref(), Some("q3"));
        assert_eq!(memory.said("a", later(now, 3599)).len(), 5);
        assert_eq!(memory.said("a", later(now, 3600)), []);
    }

    #[test]
    fn one_conversation_never_sees_anothers_words() {
        let (memory, now) = (Memory::default(), Instant::now());
        for name in ["signal:1", "signal:group", "key:1"] {
            memory.remember(name, (name, "yes", Some(format!("{name} sources"))), BOUNDS, now);
        }
        for name in ["signal:1", "signal:group", "key:1"] {
            assert_eq!(memory.last_question(name, now).as_deref(), Some(name));
            assert_eq!(memory.sources(name, now), Some(format!("{name} sources")));
        }
        assert_eq!(memory.said("signal:2", now), []);
    }

    #[test]
    fn characters_are_bounded_and_the_oldest_go_first() {
        let (memory, now) = (Memory::default(), Instant::now());
        memory.remember("a", ("short", &"x".repeat(60), None), BOUNDS, now);
        memory.remember("a", ("more", &"y".repeat(60), None), BOUNDS, now);
        let said: Vec<usize> = memory.said("a", now).iter().map(|(_, text)| text.len()).collect();
        assert_eq!(said, [4, 60]);
    }

    #[test]
    fn the_longest_silent_conversation_makes_room() {
        let (memory, now) = (Memory::default(), Instant::now());
        for (name, at) in zip(["a", "b", "c"], 0..) {
            memory.remember(name, ("q", "a", None), BOUNDS, later(now, at));
        }
        memory.remember("a", ("again", "a", None), BOUNDS, later(now, 10));
        memory.remember("d", ("q", "a", None), BOUNDS, later(now, 11));
        let known = |name| !memory.said(name, later(now, 12)).is_empty();
        assert_eq!(["a", "b", "c", "d"].map(known), [true, false, true, true]);
    }

    #[test]
    fn forgetting_says_how_much_and_leaves_wishes() {
        let (memory, now) = (Memory::default(), Instant::now());
        memory.remember("a", ("q", "a", Some("s".into())), BOUNDS, now);
        memory.wish("a", BOUNDS, now, |wishes| wishes.long = true);
        assert_eq!((memory.forget("a", now), memory.forget("a", now), memory.forget("b", now)), (2, 0, 0));
        assert!(memory.wishes("a", now).long && memory.sources("a", now).is_none());
    }

    #[test]
    fn an_unanswered_question_is_kept_for_a_while_and_given_once() {
        let (memory, now) = (Memory::default(), Instant::now());
        memory.keep_open("a", "why?", later(now, 600), BOUNDS, now);
        assert_eq!(memory.take_open("a", later(now, 599)).as_deref(), Some("why?"));
        assert_eq!(memory.take_open("a", now), None);
        memory.keep_open("a", "why?", later(now, 600), BOUNDS, now);
        assert_eq!(memory.take_open("a", later(now, 600)), None);
    }
}
