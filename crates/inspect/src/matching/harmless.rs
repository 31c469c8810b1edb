//! Where a rule of attacks hits words that are no attack: a question about third things, its writer's own words taken
//! back, the mode of a named device. Pure, linear in a sentence around the hit.
//! Invariant: what speaks to the reader, or stands behind a comma as an order may, is never called harmless.

use super::Hit;
use crate::rules::Family;
use std::ops::Range;

/// Whether a hit is none of an attack, by the words around it.
pub(super) fn harmless(copy: &str, hit: &Hit) -> bool {
    asked(copy, hit) || taken_back(copy, hit) || mode_of_a_thing(copy, hit)
}

/// How a question begins whose subject is not its reader: whoever asks "Should we ignore the previous notice?" gives no
/// order.
const ASKING: &[&str] = &[
    "can a ",
    "can an ",
    "can i ",
    "can my ",
    "can our ",
    "can the ",
    "can we ",
    "could i ",
    "could the ",
    "could we ",
    "did ",
    "do i ",
    "do we ",
    "does ",
    "how can i ",
    "how can we ",
    "how do i ",
    "how do we ",
    "how does ",
    "how would a ",
    "how would the ",
    "is it ",
    "is there ",
    "may a ",
    "may i ",
    "may my ",
    "may our ",
    "may the ",
    "may we ",
    "must i ",
    "must we ",
    "must the ",
    "should a ",
    "should i ",
    "should my ",
    "should the ",
    "should we ",
    "when ",
    "where ",
    "which ",
    "who ",
    "why ",
    "will the ",
    "would it ",
    "would the ",
    "darf ich ",
    "darf man ",
    "kann ich ",
    "kann man ",
    "muss ich ",
    "soll ich ",
    "warum ",
    "wann ",
    "wer ",
    "ai-je ",
    "dois-je ",
    "doit-on ",
    "faut-il ",
    "peut-on ",
    "pourquoi ",
    "puis-je ",
    "quand ",
    "qui ",
    "¿cuándo ",
    "¿debo ",
    "¿hay que ",
    "¿por qué ",
    "¿puedo ",
    "¿quién ",
    "¿se debe ",
    "¿se puede ",
    "devo ",
    "posso ",
    "por que ",
    "quando ",
    "quem ",
    "chi ",
    "perché ",
    "si deve ",
    "si può ",
    "kan ik ",
    "mag ik ",
    "moet ik ",
    "waarom ",
    "wanneer ",
    "зачем ",
    "когда ",
    "кто ",
    "можно ли ",
    "могу ли ",
    "нужно ли ",
    "почему ",
    "стоит ли ",
    "czy mogę ",
    "czy można ",
    "dlaczego ",
    "apakah saya ",
    "bolehkah ",
    "mengapa ",
    "có nên ",
    "có được ",
    "tại sao ",
];

/// Words that speak to the reader: a question about what is theirs is no question about third things.
const ADDRESSED: &[&str] = &[
    "you",
    " dein",
    " ihre",
    " tes ",
    " ton ",
    " vos ",
    " votre",
    " tus ",
    " seus ",
    " suas ",
    " tuoi ",
    " tue ",
    " jouw",
    " uw ",
    " тво",
    " ваш",
    "twoj",
    " anda",
    " của bạn",
];

/// How far the sentence around a hit is looked at, in bytes to each side.
const SENTENCE: usize = 200;

/// Whether a hit is about setting something aside, in a question whose subject is not its reader. What follows a comma may
/// be an order again, and "why not" is one.
fn asked(copy: &str, hit: &Hit) -> bool {
    let Range { start, end } = hit.span;
    if hit.rule.family != Family::Override {
        return false;
    }
    let before = &copy[copy.floor_char_boundary(start.saturating_sub(SENTENCE))..start];
    let after = &copy[end..copy.ceil_char_boundary(copy.len().min(end + SENTENCE))];
    let ends = ['.', '!', '?', ';', ':'];
    let from = before.rfind(ends).map_or(0, |at| at + 1);
    let begin = before[from..].trim_start();
    let Some(to) = after.find(ends) else { return false };
    after[to..].starts_with('?')
        && !begin.contains(',')
        && !["why not ", "why do"].iter().any(|opening| begin.starts_with(opening))
        && ASKING.iter().any(|opening| begin.starts_with(opening))
        && ![begin, &copy[start..end], &after[..to]]
            .iter()
            .any(|part| ADDRESSED.iter().any(|word| part.contains(word)))
}

/// What a writer takes back of their own, at the end of what is set aside.
const OWN_WORDS: &[&str] =
    &[" my previous ", " my earlier ", " my prior ", " my past ", " my former ", " my original "];
/// What it is: never instructions, rules or prompts.
const SAID: &[&str] = &["message", "messages", "text", "conversation"];
/// Why: words that leave the order no other purpose.
const MISTAKES: &[&str] = &[
    "by mistake",
    "meant for",
    "mistyped",
    "my mistake",
    "oops",
    "sorry",
    "typo",
    "wrong channel",
    "wrong chat",
    "wrong file",
    "wrong group",
    "wrong person",
    "wrong thread",
    "wrong window",
];

/// Whether a hit sets aside only what its writer said themselves, in a short text that calls it a mistake. The assistant's
/// instructions are nobody's own message, and they are no mistake.
fn taken_back(copy: &str, hit: &Hit) -> bool {
    let Range { start, end } = hit.span;
    let said = &copy[start..end];
    let own = OWN_WORDS.iter().find_map(|own| said.split_once(own));
    hit.rule.family == Family::Override
        && own.is_some_and(|(_, what)| SAID.contains(&what))
        && [&copy[..start], &copy[end..]].iter().all(|part| part.len() <= SENTENCE)
        && MISTAKES.iter().any(|mistake| copy[..start].contains(mistake) || copy[end..].contains(mistake))
}

/// Modes that devices and programs have.
const MODES: &[&str] = &["admin", "administrator", "debug", "developer", "diagnostic", "maintenance", "test"];
/// Words of a sentence that turns a mode on in its reader.
const READERS: &[&str] = &[
    "agent",
    "ai",
    "all",
    "and",
    "answer",
    "any",
    "assistant",
    "bard",
    "bing",
    "bot",
    "chat",
    "chatbot",
    "chatgpt",
    "claude",
    "conversation",
    "copilot",
    "gemini",
    "gpt",
    "grok",
    "here",
    "llama",
    "llm",
    "me",
    "mistral",
    "mode",
    "model",
    "now",
    "openai",
    "order",
    "output",
    "response",
    "session",
    "siri",
    "that",
    "this",
    "to",
    "you",
    "your",
    "yourself",
];
/// Most words of the name of a device.
const NAME: usize = 4;

/// Whether a hit is a mode of a named device or program, with which its sentence and the text end: "enable developer
/// mode on a tablet".
fn mode_of_a_thing(copy: &str, hit: &Hit) -> bool {
    let after = copy[hit.span.end..].trim_end_matches(['.', '!', '?', ' ']);
    let Some(name) = [" on ", " in ", " of "].iter().find_map(|of| after.strip_prefix(of)) else {
        return false;
    };
    let said = &copy[hit.span.clone()];
    hit.rule.id == "role-mode"
        && !said.contains("you")
        && MODES.iter().any(|mode| said.trim_end_matches(" mode").ends_with(mode))
        && name.split(' ').count() <= NAME
        && name.chars().all(|c| c.is_alphanumeric() || c == ' ')
        && !name.split(' ').any(|word| READERS.contains(&word.trim_end_matches(char::is_numeric)))
}
