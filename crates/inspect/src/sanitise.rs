//! Cleaning: what hides in text is removed from the copy that is scored, counted by kind, and, for chat doors, from
//! the text that goes on. Joiners stay where scripts and emoji need them; Cyrillic, Arabic, Indic and CJK text comes
//! through untouched. Linear in the length of the text. Source: inspect.md section 1; Unicode TR 36, TR 39, TR 51.

use std::borrow::Cow;
use unicode_normalization::UnicodeNormalization as _;

/// How many characters were removed, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// C0 and C1 controls but tab, line feed and carriage return.
    pub controls: u32,
    /// Zero-width characters, soft hyphens, stray joiners and variation selectors.
    pub invisible: u32,
    /// Bidirectional overrides and isolates.
    pub bidi: u32,
    /// Tag characters: a whole hidden alphabet.
    pub tags: u32,
}

impl Removed {
    /// The counts with their metric labels.
    #[must_use]
    pub const fn rows(self) -> [(&'static str, u32); 4] {
        [("controls", self.controls), ("invisible", self.invisible), ("bidi", self.bidi), ("tags", self.tags)]
    }

    /// All of them.
    #[must_use]
    pub const fn total(self) -> u32 {
        self.controls + self.invisible + self.bidi + self.tags
    }
}

/// A cleaned text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sanitised<'a> {
    /// The text without what hides; borrowed when nothing did.
    pub text: Cow<'a, str>,
    /// What tag characters spelled, to be scored by itself.
    pub hidden: String,
    /// What was removed.
    pub removed: Removed,
}

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SanitiseProblem {
    /// Too long.
    #[error("the text has {chars} characters; at most {most} are allowed")]
    TooLong {
        /// Its length.
        chars: usize,
        /// The limit.
        most: usize,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Keep,
    Control,
    Invisible,
    Bidi,
    Tag,
    Joiner,
    Selector,
}

fn kind(c: char) -> Kind {
    match c {
        '\t' | '\n' | '\r' | ' '..='~' => Kind::Keep,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => Kind::Control,
        '\u{200c}' | '\u{200d}' => Kind::Joiner,
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => Kind::Selector,
        '\u{ad}'
        | '\u{34f}'
        | '\u{180e}'
        | '\u{200b}'
        | '\u{2060}'..='\u{2064}'
        | '\u{206a}'..='\u{206f}'
        | '\u{feff}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{3164}'
        | '\u{ffa0}' => Kind::Invisible,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}' => Kind::Bidi,
        '\u{e0000}'..='\u{e007f}' => Kind::Tag,
        _ => Kind::Keep,
    }
}

/// Whether a joiner after this character means something: emoji sequences and scripts that shape by joining.
fn joins(c: char) -> bool {
    matches!(c,
        '\u{600}'..='\u{8ff}' | '\u{900}'..='\u{dff}' | '\u{1780}'..='\u{17ff}' | '\u{1820}'..='\u{18af}'
        | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}' | '\u{fe0f}' | '\u{20e3}' | '\u{2190}'..='\u{2bff}'
        | '\u{1f000}'..='\u{1faff}')
}

/// Removes what hides. `most` is the longest text allowed, in characters.
///
/// # Errors
/// `TooLong`.
pub fn sanitise(text: &str, most: usize) -> Result<Sanitised<'_>, SanitiseProblem> {
    if text.len() > most {
        let chars = text.chars().count();
        if chars > most {
            return Err(SanitiseProblem::TooLong { chars, most });
        }
    }
    let clean = |c: char| kind(c) == Kind::Keep;
    let Some((first, _)) = text.char_indices().find(|(_, c)| !clean(*c)) else {
        return Ok(Sanitised {
            text: Cow::Borrowed(text),
            hidden: String::new(),
            removed: Removed::default(),
        });
    };
    let mut out = String::with_capacity(text.len());
    out.push_str(&text[..first]);
    let (mut hidden, mut removed) = (String::new(), Removed::default());
    let mut last = out.chars().next_back().unwrap_or(' ');
    let mut flag = false;
    for c in text[first..].chars() {
        let keep = match kind(c) {
            Kind::Keep => true,
            Kind::Control => {
                removed.controls += 1;
                false
            }
            Kind::Bidi => {
                removed.bidi += 1;
                false
            }
            Kind::Invisible => {
                removed.invisible += 1;
                false
            }
            Kind::Joiner | Kind::Selector
                if joins(last) || (kind(c) == Kind::Selector && last.is_ascii_digit()) =>
            {
                true
            }
            Kind::Joiner | Kind::Selector => {
                removed.invisible += 1;
                false
            }
            // The flags of Scotland, Wales and England are a black flag followed by tags.
            Kind::Tag if flag => true,
            Kind::Tag => {
                removed.tags += 1;
                let plain = u32::from(c) - 0xe0000;
                hidden.extend(char::from_u32(plain).filter(|plain| !plain.is_control()));
                false
            }
        };
        if keep {
            flag = c == '\u{1f3f4}' || (flag && kind(c) == Kind::Tag);
            out.push(c);
            last = c;
        }
    }
    Ok(Sanitised { text: Cow::Owned(out), hidden, removed })
}

/// The copy that rules look at: cleaned, compatibility-folded, confusables folded in tokens that then are wholly
/// ASCII, lower case, white space folded to single blanks.
#[must_use]
pub fn scored_copy(text: &str) -> String {
    if text.is_ascii() {
        return squeeze(text.chars().map(|c| c.to_ascii_lowercase()), text.len());
    }
    let clean = match sanitise(text, usize::MAX) {
        Ok(clean) => clean,
        Err(SanitiseProblem::TooLong { .. }) => return String::new(),
    };
    let mut copy: String = clean.text.nfkc().collect();
    if !clean.hidden.is_empty() {
        copy.push(' ');
        copy.push_str(&clean.hidden);
    }
    let folded: Vec<Cow<'_, str>> = copy.split(' ').map(fold_token).collect();
    let folded = folded.join(" ");
    squeeze(folded.chars().flat_map(char::to_lowercase), folded.len())
}

fn squeeze(chars: impl Iterator<Item = char>, capacity: usize) -> String {
    let mut out = String::with_capacity(capacity);
    let mut blank = true;
    for c in chars {
        if c.is_whitespace() || c.is_ascii_control() {
            if !blank {
                out.push(' ');
            }
            blank = true;
        } else {
            out.push(c);
            blank = false;
        }
    }
    out
}

/// Letters of other scripts that look Latin (from Unicode's confusables, the common ones).
const CONFUSABLES: &[(char, char)] = &[
    ('а', 'a'),
    ('е', 'e'),
    ('о', 'o'),
    ('р', 'p'),
    ('с', 'c'),
    ('у', 'y'),
    ('х', 'x'),
    ('і', 'i'),
    ('ј', 'j'),
    ('ѕ', 's'),
    ('ԁ', 'd'),
    ('ɡ', 'g'),
    ('һ', 'h'),
    ('ո', 'n'),
    ('ѵ', 'v'),
    ('ԝ', 'w'),
    ('А', 'A'),
    ('В', 'B'),
    ('Е', 'E'),
    ('К', 'K'),
    ('М', 'M'),
    ('Н', 'H'),
    ('О', 'O'),
    ('Р', 'P'),
    ('С', 'C'),
    ('Т', 'T'),
    ('Х', 'X'),
    ('І', 'I'),
    ('Ѕ', 'S'),
    ('α', 'a'),
    ('ο', 'o'),
    ('ρ', 'p'),
    ('ν', 'v'),
    ('ι', 'i'),
    ('κ', 'k'),
    ('υ', 'u'),
    ('Α', 'A'),
    ('Β', 'B'),
    ('Ε', 'E'),
    ('Η', 'H'),
    ('Ι', 'I'),
    ('Κ', 'K'),
    ('Μ', 'M'),
    ('Ν', 'N'),
    ('Ο', 'O'),
    ('Ρ', 'P'),
    ('Τ', 'T'),
    ('Χ', 'X'),
    ('ı', 'i'),
    ('ꓲ', 'I'),
];

fn fold_token(token: &str) -> Cow<'_, str> {
    if token.is_ascii() {
        return Cow::Borrowed(token);
    }
    let fold = |c: char| CONFUSABLES.iter().find(|(from, _)| *from == c).map_or(c, |(_, to)| *to);
    // A token must have a Latin letter already: a wholly Cyrillic word is a word.
    let mixed = token.chars().any(|c| c.is_ascii_alphabetic());
    let folded: String = token.chars().map(fold).collect();
    if mixed && folded.is_ascii() { Cow::Owned(folded) } else { Cow::Borrowed(token) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // req: S2-1.2
    #[test]
    fn what_hides_is_removed_and_counted_by_kind() {
        let clean = sanitise("a\u{200b}b\u{202e}c\u{0}d\u{e0068}\u{e0069}e", 100).unwrap();
        assert_eq!(clean.text, "abcde");
        assert_eq!(clean.hidden, "hi");
        assert_eq!(clean.removed, Removed { controls: 1, invisible: 1, bidi: 1, tags: 2 });
    }

    #[test]
    fn honest_text_of_all_scripts_and_emoji_passes_unchanged() {
        for text in
            ["Привет, мир", "नमस्ते क्‍ष", "می‌خواهم", "你好，世界", "👨‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿 1️⃣ ❤️", "naïve café", "line\r\n\ttab"]
        {
            assert_eq!(sanitise(text, 1000).unwrap().text, text);
        }
    }

    #[test]
    fn confusables_fold_only_in_mixed_tokens() {
        assert_eq!(scored_copy("ignоre  Ｔhis"), "ignore this");
        assert_eq!(scored_copy("Привет"), "привет");
    }

    #[test]
    fn a_text_too_long_is_refused_with_both_numbers() {
        assert_eq!(sanitise("ééé", 2), Err(SanitiseProblem::TooLong { chars: 3, most: 2 }));
        assert!(sanitise("ééé", 3).is_ok());
    }

    proptest! {
        #[test]
        fn cleaning_twice_changes_nothing(text in "\\PC{0,60}|[\u{200b}-\u{2069}a\u{e0000}-\u{e007f}]{0,40}") {
            let once = sanitise(&text, 10_000).unwrap().text.into_owned();
            prop_assert_eq!(sanitise(&once, 10_000).unwrap().text, once.as_str());
            prop_assert!(once.len() <= text.len());
        }
    }
}
