//! What is meant and what is not: words and buttons that say that an earlier message is meant, and presses of a button
//! that are one press. Invariants: a message that waits comes in once, with its proof, whichever replica took the word
//! for it; of two presses of a button within a second one is worked on.
//!
//! Source: news.md section 2, inspect.md section 2.

use super::{
    desk::{Asked, Desk},
    update::{Incoming, Press},
};
use portcullis_domain::Button;
use portcullis_engine::{messages::Meant, words::Word};
use portcullis_store::NewOut;
use std::collections::HashMap;

/// Two presses of one button within this time are one, in milliseconds.
const TWICE: i64 = 1000;
/// Buttons remembered before old ones are forgotten.
const REMEMBERED: usize = 1000;

/// One button: chat, message, who pressed it, what it carries.
type Pressed = (i64, i64, i64, String);

/// By which press each button was pressed last, and when, Unix milliseconds. Known where presses are worked on and not
/// where they arrive, because two of them may come to two replicas.
#[derive(Default)]
pub(super) struct Presses(HashMap<Pressed, (String, i64)>);

impl Presses {
    /// Whether the same person pressed that button just before.
    pub(super) fn is_second(&mut self, it: &Incoming, press: &Press, at: i64) -> bool {
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, (_, before)| at.saturating_sub(*before) < TWICE);
        }
        let button = (it.chat, it.message, it.from, press.token.clone());
        let before = self.0.insert(button, (press.id.clone(), at));
        // The same press again is one that was begun before, and whose process or store went away.
        before.is_some_and(|(id, before)| id != press.id && at.saturating_sub(before).abs() < TWICE)
    }
}

impl Desk {
    /// Whether somebody says, by button or word, that an earlier message is meant.
    pub(super) fn confirms(&self, it: &Incoming) -> bool {
        match &it.press {
            Some(press) => press.token == Button::CONFIRM,
            None => self.words.is_said(Word::Confirm, &it.text),
        }
    }

    /// The message that waited comes in again, with its proof.
    pub(super) async fn confirmed(&self, asked: &Asked<'_>) -> Vec<NewOut> {
        let whose = (&*asked.it.conversation(), &*asked.caller);
        let waited = self.unconfirmed.take::<Incoming>(whose).await;
        let nothing = !matches!(waited, Meant::This(..));
        if let Some(press) = &asked.it.press {
            let words = if nothing { self.word(asked, Word::NothingToConfirm) } else { String::new() };
            self.answer_press(&press.id, &words, true).await;
        }
        match waited {
            Meant::This(it, proof) => {
                let caller = asked.caller.clone();
                let &Asked { key, tongue, number, admin, .. } = asked;
                self.wrote(&Asked { it: &it, caller, key, tongue, number, admin, proof: Some(proof) }).await
            }
            Meant::Nothing | Meant::Silence if asked.it.press.is_some() => Vec::new(),
            Meant::Nothing => self.say(asked, Word::NothingToConfirm),
            Meant::Silence => self.wrote(asked).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_presses_within_a_second_are_one_and_a_press_that_is_begun_anew_is_no_second() {
        let mut presses = Presses::default();
        let it = Incoming { chat: 1, message: 2, from: 3, ..Incoming::default() };
        let press = |id: &str, token: &str| Press { id: id.into(), token: token.into() };
        assert!(!presses.is_second(&it, &press("a", "go"), 5000));
        assert!(!presses.is_second(&it, &press("b", "stay"), 5000), "another button");
        assert!(!presses.is_second(&it, &press("a", "go"), 5000), "begun anew");
        assert!(presses.is_second(&it, &press("c", "go"), 5999));
        assert!(!presses.is_second(&it, &press("d", "go"), 6999), "a second later");
        let other = Incoming { from: 4, ..it };
        assert!(!presses.is_second(&other, &press("e", "go"), 7000), "somebody else");
    }
}
