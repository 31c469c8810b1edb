//! An AI's summary held against the posts it sums up. Invariants: whatever passes has only numbers of the posts, no address, is
//! short, and is in the language asked for where that can be told. Pure. Source: news.md section 7.

use super::{Told, is_address};
use portcullis_inspect::{Policy, sanitise};
use portcullis_knowledge::{Language, text::of_question};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Words of a headline; a little more than is asked for.
const HEADLINE_WORDS: usize = 18;
/// Characters of a headline.
const HEADLINE_CHARS: usize = 160;
/// Characters of a bullet.
const BULLET_CHARS: usize = 500;
/// Bullets that are shown.
const BULLETS: usize = 3;

/// What is wrong with a summary as a whole. The words are for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It is not what was asked for.
    Shape,
    /// It is in another language.
    Language,
    /// Its headline says what no post says, or holds an address.
    Headline,
    /// No bullet is left.
    Bullets,
}

impl Wrong {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Shape => "wrong_schema",
            Self::Language => "wrong_language",
            Self::Headline => "unsupported_headline",
            Self::Bullets => "unsupported",
        }
    }
}

#[derive(Deserialize)]
struct Said {
    headline: String,
    bullets: Vec<String>,
}

/// Reads what an AI said of these posts.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn checked(said: &str, posts: &[&str], asked: Language) -> Result<Told, Wrong> {
    let said: Said = serde_json::from_str(unfenced(said)).map_err(|_| Wrong::Shape)?;
    let known: BTreeSet<String> = posts.iter().flat_map(|post| numbers(post)).collect();
    let holds = |text: &String| {
        !text.is_empty()
            && !text.split_whitespace().any(is_address)
            && numbers(text).iter().all(|number| known.contains(number))
    };
    let headline = plain(&said.headline);
    let short =
        headline.split_whitespace().count() <= HEADLINE_WORDS && headline.chars().count() <= HEADLINE_CHARS;
    if !short {
        return Err(Wrong::Shape);
    }
    let all: Vec<String> = said.bullets.iter().map(|bullet| plain(bullet)).collect();
    if all.iter().any(|bullet| bullet.chars().count() > BULLET_CHARS) {
        return Err(Wrong::Shape);
    }
    let whole = format!("{headline} {}", all.join(" "));
    // What cannot be told counts as the language asked for, unless its letters are of another script.
    if asked != Language::UNKNOWN && of_question(&whole, &[asked]) != asked {
        return Err(Wrong::Language);
    }
    if !holds(&headline) {
        return Err(Wrong::Headline);
    }
    let bullets: Vec<String> = all.into_iter().filter(holds).take(BULLETS).collect();
    if bullets.is_empty() { Err(Wrong::Bullets) } else { Ok(Told { headline, bullets }) }
}

/// Without the fence that many models put around JSON.
fn unfenced(said: &str) -> &str {
    let said = said.trim();
    let Some(inside) = said.strip_prefix("```") else { return said };
    let inside = inside.strip_prefix("json").unwrap_or(inside);
    inside.strip_suffix("```").unwrap_or(inside).trim()
}

/// One line of plain text, without marks of lists and emphasis.
fn plain(text: &str) -> String {
    let clean = sanitise(text, Policy::Document, usize::MAX);
    let text = clean.as_ref().map_or("", |clean| &clean.text);
    let line: Vec<&str> = text.split_whitespace().collect();
    let line = line.join(" ").replace("**", "").replace("__", "");
    line.trim_start_matches(['-', '*', '•', '#', ' ']).trim().to_owned()
}

/// The numbers of a text, each in one spelling: `1,200`, `1 200` and `1200` are one, `3,5` and `3.5` too.
fn numbers(text: &str) -> Vec<String> {
    let all: Vec<char> = text.chars().collect();
    let digit = |at: usize| all.get(at).is_some_and(|c| c.is_numeric());
    let (mut out, mut at) = (Vec::new(), 0);
    while at < all.len() {
        if !digit(at) {
            at += 1;
            continue;
        }
        let mut groups = vec![String::new()];
        let mut point = false;
        loop {
            while digit(at) {
                if let Some(last) = groups.last_mut() {
                    last.push(all[at]);
                }
                at += 1;
            }
            let joins = all
                .get(at)
                .is_some_and(|c| matches!(c, '.' | ',' | '\'' | '’' | ' ' | '\u{a0}' | '\u{202f}'));
            let thousands = (1..=3).all(|ahead| digit(at + ahead)) && !digit(at + 4) && groups[0].len() <= 3;
            let fraction = matches!(all.get(at), Some('.' | ',')) && digit(at + 1);
            if joins && thousands && !point {
                groups.push(String::new());
            } else if fraction && !point {
                point = true;
                groups.push(".".to_owned());
            } else {
                break;
            }
            at += 1;
        }
        out.push(groups.concat());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POSTS: [&str; 2] = [
        "Zembla opens its first railway. The line of 1,200 metres cost 3.5 million crowns and opens at 09:30 on 4 May.",
        "The king rode the first train with 50 guests.",
    ];

    fn say(headline: &str, bullets: &[&str]) -> String {
        serde_json::json!({"headline": headline, "bullets": bullets}).to_string()
    }

    fn read(said: &str) -> Result<Told, Wrong> {
        checked(said, &POSTS, Language::EN)
    }

    #[test]
    fn numbers_are_the_same_in_every_spelling() {
        for (text, expected) in [
            ("1,200 metres", vec!["1200"]),
            ("1 200 metres, 1.200 m, 1’200", vec!["1200", "1200", "1200"]),
            ("3.5 or 3,5", vec!["3.5", "3.5"]),
            ("at 09:30 on 4 May 2026", vec!["09", "30", "4", "2026"]),
            ("1,234,567.89", vec!["1234567.89"]),
            ("no number. 7. And", vec!["7"]),
            ("", vec![]),
        ] {
            assert_eq!(numbers(text), expected, "{text}");
        }
    }

    #[test]
    fn a_summary_of_what_the_posts_say_passes() {
        let told = read(&say(
            "Zembla opens its first railway",
            &["The line of 1200 metres cost 3,5 million crowns.", "- **50** guests rode with the king."],
        ))
        .unwrap();
        assert_eq!(told.headline, "Zembla opens its first railway");
        assert_eq!(told.bullets[1], "50 guests rode with the king.");
        let fenced = format!("```json\n{}\n```", say("A railway opens", &["The king rode the first train."]));
        assert!(read(&fenced).is_ok());
    }

    #[test]
    fn invented_numbers_and_addresses_never_pass() {
        let told = read(&say("A railway opens", &["It cost 7 million.", "The king rode it."])).unwrap();
        assert_eq!(told.bullets, ["The king rode it."], "the bullet with the invented number is gone");
        for (said, wrong) in [
            (say("A railway for 999 crowns", &["The king rode it."]), Wrong::Headline),
            (say("A railway opens", &["It cost 7 million."]), Wrong::Bullets),
            (say("A railway opens", &["Read more at https://evil.example/x"]), Wrong::Bullets),
            (say("Visit evil.example/win now", &["The king rode it."]), Wrong::Headline),
            (say("Join @evil_channel today", &["The king rode it."]), Wrong::Headline),
            (say("", &["The king rode it."]), Wrong::Headline),
            (say("A railway opens", &[]), Wrong::Bullets),
            ("I will not do that.".to_owned(), Wrong::Shape),
            ("{\"headline\":\"x\"}".to_owned(), Wrong::Shape),
            (say(&"word ".repeat(40), &["The king rode it."]), Wrong::Shape),
            (
                say("Железная дорога открылась", &["Король проехал на первом поезде вместе с гостями."]),
                Wrong::Language,
            ),
        ] {
            assert_eq!(read(&said), Err(wrong), "{said}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_said_only_numbers_of_the_posts_are_told(headline in ".{0,60}", bullets in proptest::collection::vec("[a-z0-9 .,:]{0,40}", 0..4)) {
            let bullets: Vec<&str> = bullets.iter().map(String::as_str).collect();
            if let Ok(told) = checked(&say(&headline, &bullets), &POSTS, Language::UNKNOWN) {
                let known: Vec<String> = POSTS.iter().flat_map(|post| numbers(post)).collect();
                for number in std::iter::once(&told.headline).chain(&told.bullets).flat_map(|text| numbers(text)) {
                    prop_assert!(known.contains(&number));
                }
            }
        }
    }
}
