//! Cleaning: what hides in text. Two texts come of one: what is passed on, changed only as the policy of the door
//! says, and the copy that is scored (`scored`), from which everything invisible is removed. Joiners stay where
//! scripts and emoji need them; Cyrillic, Arabic, Indic and CJK text comes through untouched. Whatever is removed is
//! counted by kind. Linear in the length of the text.
//!
//! Source: inspect.md section 1; Unicode TR 36, TR 39, TR 51 (emoji tag sequences), StandardizedVariants.

use std::borrow::Cow;
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

/// What may be changed in the text that is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// A gateway: the caller's own bytes go on; only the scored copy is cleaned.
    PassThrough,
    /// A conversation with a person: controls go, CRLF becomes LF, composed form (NFC).
    Chat,
    /// A document that is taken in: everything invisible that has no meaning where it stands goes, and what hid in it;
    /// CRLF becomes LF, composed form (NFC).
    Document,
    /// A name or id: a control character is an error.
    Identifier,
}

/// How many characters were removed, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// C0 and C1 controls but tab, line feed and carriage return.
    pub controls: u32,
    /// Zero-width characters, soft hyphens, stray joiners and variation selectors.
    pub invisible: u32,
    /// Bidirectional marks, overrides and isolates.
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
        self.controls.saturating_add(self.invisible).saturating_add(self.bidi).saturating_add(self.tags)
    }

    /// Adds those of another text.
    pub const fn add(&mut self, other: Self) {
        self.controls = self.controls.saturating_add(other.controls);
        self.invisible = self.invisible.saturating_add(other.invisible);
        self.bidi = self.bidi.saturating_add(other.bidi);
        self.tags = self.tags.saturating_add(other.tags);
    }
}

/// A text as it may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sanitised<'a> {
    /// Borrowed when nothing was changed.
    pub text: Cow<'a, str>,
    /// What was removed from it.
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
    /// A control or invisible character where none may be.
    #[error("character {at} is a control or invisible character (U+{code:04X}); remove it")]
    Hidden {
        /// Which one, from 1.
        at: usize,
        /// Its code point.
        code: u32,
    },
}

/// Makes a text fit to go on. `most` is the longest text allowed, in characters.
///
/// # Errors
/// `TooLong`; `Hidden` for identifiers.
pub fn sanitise(text: &str, policy: Policy, most: usize) -> Result<Sanitised<'_>, SanitiseProblem> {
    // A character has at least one byte: most texts need not be counted.
    if text.len() > most {
        let chars = text.chars().count();
        if chars > most {
            return Err(SanitiseProblem::TooLong { chars, most });
        }
    }
    match policy {
        Policy::PassThrough => Ok(Sanitised { text: text.into(), removed: Removed::default() }),
        Policy::Identifier => match text.chars().enumerate().find(|(_, c)| is_hidden(*c)) {
            Some((index, c)) => Err(SanitiseProblem::Hidden { at: index + 1, code: c.into() }),
            None => Ok(Sanitised { text: text.into(), removed: Removed::default() }),
        },
        Policy::Chat => Ok(chat(text)),
        Policy::Document => Ok(document(text)),
    }
}

fn is_hidden(c: char) -> bool {
    c.is_control() || !matches!(kind(c), Kind::Keep)
}

fn chat(text: &str) -> Sanitised<'_> {
    let plain = |c: char| c != '\r' && kind(c) != Kind::Control;
    if text.chars().all(plain) && is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return Sanitised { text: text.into(), removed: Removed::default() };
    }
    let mut removed = Removed::default();
    let mut chars = text.chars().peekable();
    let mut out = String::with_capacity(text.len());
    while let Some(c) = chars.next() {
        match kind(c) {
            Kind::Control => removed.controls = removed.controls.saturating_add(1),
            Kind::Keep | Kind::Invisible | Kind::Bidi | Kind::Tag | Kind::Joiner | Kind::Selector => {
                // CRLF is a line end, and so is a lone CR.
                if c == '\r' {
                    if chars.peek() != Some(&'\n') {
                        out.push('\n');
                    }
                } else {
                    out.push(c);
                }
            }
        }
    }
    let text = match is_nfc_quick(out.chars()) {
        IsNormalized::Yes => out,
        IsNormalized::No | IsNormalized::Maybe => out.nfc().collect(),
    };
    Sanitised { text: text.into(), removed }
}

fn document(text: &str) -> Sanitised<'_> {
    let Some(seen) = visible(text) else { return chat(text) };
    let clean = chat(&seen.text);
    Sanitised { text: clean.text.into_owned().into(), removed: seen.removed }
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

const fn kind(c: char) -> Kind {
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
        | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}' => Kind::Invisible,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}' => Kind::Bidi,
        '\u{e0000}'..='\u{e007f}' => Kind::Tag,
        _ => Kind::Keep,
    }
}

/// Whether a joiner after this character means something: emoji sequences and scripts that shape by joining.
const fn joins(c: char) -> bool {
    matches!(c,
        '\u{600}'..='\u{8ff}' | '\u{900}'..='\u{dff}' | '\u{1780}'..='\u{17ff}' | '\u{1820}'..='\u{18af}'
        | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}' | '\u{fe0f}' | '\u{20e3}' | '\u{2190}'..='\u{2bff}'
        | '\u{1f000}'..='\u{1faff}')
}

/// Whether a variation selector after this character means something: emoji and their keycaps, Han ideographs
/// (names are written with particular forms), mathematical signs, Mongolian and Myanmar letters.
const fn varies(c: char) -> bool {
    matches!(c,
        '#' | '*' | '0'..='9' | '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}'
        | '\u{1000}'..='\u{109f}' | '\u{1820}'..='\u{18af}' | '\u{2190}'..='\u{2bff}' | '\u{3000}'..='\u{303f}'
        | '\u{3297}' | '\u{3299}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{1f000}'..='\u{1faff}'
        | '\u{20000}'..='\u{323af}')
}

/// What a run of hidden characters spells: tags are an alphabet of their own; runs of variation selectors carry
/// bytes.
fn spells(c: char) -> Option<char> {
    let code = u32::from(c);
    let plain = match c {
        '\u{e0020}'..='\u{e007e}' => code - 0xe0000,
        '\u{fe00}'..='\u{fe0f}' => code - 0xfe00,
        '\u{e0100}'..='\u{e01ef}' => code - 0xe0100 + 16,
        _ => return None,
    };
    char::from_u32(plain).filter(|c| matches!(c, ' '..='~'))
}

/// Most tags that follow a black flag: the flags of Scotland, Wales and England have five and an end.
const FLAG_TAGS: u8 = 6;

/// A text without what hides, and what that spelled.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Visible {
    pub(crate) text: String,
    pub(crate) hidden: String,
    pub(crate) removed: Removed,
}

/// Removes everything invisible that has no meaning where it stands. Nothing when there was nothing to remove.
pub(crate) fn visible(text: &str) -> Option<Visible> {
    let (first, _) = text.char_indices().find(|(_, c)| kind(*c) != Kind::Keep)?;
    let mut out = Visible { text: String::with_capacity(text.len()), ..Visible::default() };
    out.text.push_str(&text[..first]);
    let mut last = out.text.chars().next_back().unwrap_or(' ');
    let mut tags_left = if last == '\u{1f3f4}' { FLAG_TAGS } else { 0 };
    for c in text[first..].chars() {
        let removed = match kind(c) {
            Kind::Keep => None,
            Kind::Joiner if joins(last) => None,
            Kind::Selector if varies(last) => None,
            Kind::Tag if tags_left > 0 => None,
            Kind::Control => Some(&mut out.removed.controls),
            Kind::Bidi => Some(&mut out.removed.bidi),
            Kind::Invisible | Kind::Joiner | Kind::Selector => Some(&mut out.removed.invisible),
            Kind::Tag => Some(&mut out.removed.tags),
        };
        if let Some(count) = removed {
            *count = count.saturating_add(1);
            out.hidden.extend(spells(c));
            continue;
        }
        tags_left = match (c, kind(c)) {
            ('\u{1f3f4}', _) => FLAG_TAGS,
            (_, Kind::Tag) => tags_left - 1,
            (
                _,
                Kind::Keep | Kind::Control | Kind::Invisible | Kind::Bidi | Kind::Joiner | Kind::Selector,
            ) => 0,
        };
        out.text.push(c);
        last = c;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(text: &str) -> Visible {
        visible(text).unwrap_or_else(|| Visible { text: text.into(), ..Visible::default() })
    }

    // req: S2-1.2
    #[test]
    fn what_hides_is_removed_and_counted_by_kind() {
        let clean = seen("a\u{200b}b\u{202e}c\u{0}d\u{e0068}\u{e0069}e");
        assert_eq!(clean.text, "abcde");
        assert_eq!(clean.hidden, "hi");
        assert_eq!(clean.removed, Removed { controls: 1, invisible: 1, bidi: 1, tags: 2 });
        assert_eq!(clean.removed.total(), 5);
    }

    // req: S2-1.2
    #[test]
    fn honest_text_of_all_scripts_and_emoji_passes_unchanged() {
        for text in [
            "Привет, мир",
            "नमस्ते क्‍ष",
            "می‌خواهم",
            "你好，世界",
            "葛\u{e0100}城",
            "👨‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿 1️⃣ ❤️ 🏳️‍🌈 ©️",
            "naïve café",
            "ᠭᠠᠩ᠋",
        ] {
            assert_eq!(seen(text), Visible { text: text.into(), ..Visible::default() }, "{text}");
            for policy in [Policy::PassThrough, Policy::Chat] {
                assert_eq!(sanitise(text, policy, 1000).unwrap().text, text);
            }
        }
    }

    #[test]
    fn a_message_behind_an_emoji_or_a_flag_is_found_and_spelled_out() {
        let selectors: String =
            "attack".bytes().map(|byte| char::from_u32(0xe0100 + u32::from(byte) - 16).unwrap()).collect();
        assert_eq!(seen(&format!("😀\u{fe0f}{selectors}")).hidden, "attack");
        let tags: String =
            "secretmessage".bytes().filter_map(|b| char::from_u32(0xe0000 + u32::from(b))).collect();
        assert_eq!(seen(&format!("🏴{tags}")).hidden, "message");
        assert_eq!(seen("a\u{200d}\u{200d}\u{200c}b").text, "ab");
        assert_eq!(seen("😀\u{200d}\u{200d}\u{200d}😀").removed.invisible, 2);
    }

    // req: S2-1.2
    #[test]
    fn chat_loses_controls_and_keeps_one_kind_of_line_end_in_composed_form() {
        let clean = sanitise("a\r\nb\rc\u{7}\td\u{1b}[0m e\u{301}", Policy::Chat, 100).unwrap();
        assert_eq!((&*clean.text, clean.removed.controls), ("a\nb\nc\td[0m \u{e9}", 2));
        let same = "a\r\nb\u{7}\u{200b}";
        assert_eq!(sanitise(same, Policy::PassThrough, 100).unwrap().text, same, "a gateway changes nothing");
    }

    #[test]
    fn a_document_loses_what_hides_in_it_and_nothing_else() {
        let clean = sanitise(
            "a\u{200b}b\r\nc\u{202e}d\u{0}e\u{301}\u{e0068}\u{e0069} \u{1f468}\u{200d}\u{1f469}",
            Policy::Document,
            100,
        );
        let clean = clean.unwrap();
        assert_eq!((&*clean.text, clean.removed.total()), ("ab\ncd\u{e9} \u{1f468}\u{200d}\u{1f469}", 5));
        assert!(matches!(sanitise("plain", Policy::Document, 100).unwrap().text, Cow::Borrowed("plain")));
    }

    // req: S2-1.2
    #[test]
    fn a_refusal_says_what_is_wrong() {
        let long = sanitise("ééé", Policy::Chat, 2).unwrap_err();
        assert_eq!(long.to_string(), "the text has 3 characters; at most 2 are allowed");
        assert!(sanitise("ééé", Policy::Chat, 3).is_ok());
        let hidden = sanitise("na\u{202e}me", Policy::Identifier, 100).unwrap_err();
        assert_eq!(hidden.to_string(), "character 3 is a control or invisible character (U+202E); remove it");
        assert!(sanitise("name\n", Policy::Identifier, 100).is_err());
        assert!(sanitise("Имя_1", Policy::Identifier, 100).is_ok());
    }

    proptest! {
        #[test]
        fn cleaning_twice_changes_nothing_and_never_adds(
            text in "\\PC{0,60}|[\u{200b}-\u{2069}a😀🏴क\u{fe00}-\u{fe0f}\u{e0000}-\u{e007f}\u{e0100}-\u{e0110}\r\n\u{301}é]{0,40}",
        ) {
            let once = seen(&text);
            prop_assert_eq!(visible(&once.text).map(|again| again.removed.total()).unwrap_or(0), 0);
            prop_assert!(once.text.len() <= text.len());
            let chat = sanitise(&text, Policy::Chat, 10_000).unwrap().text.into_owned();
            prop_assert_eq!(sanitise(&chat, Policy::Chat, 10_000).unwrap().text, chat.as_str());
        }
    }
}
