//! Posts as they are written: words with what stands out in them, and the short tokens of buttons. Invariant: styles are
//! counted in UTF-16 units while the words are put down, so they always fit; a token holds nothing that a person typed.
//! Source: news.md sections 3, 7 and 8.

use portcullis_domain::{Button, Look, Post, Style};

/// A post being written.
#[derive(Default)]
pub(super) struct Page {
    text: String,
    units: usize,
    styles: Vec<Style>,
}

impl Page {
    pub(super) fn say(&mut self, words: &str) -> &mut Self {
        self.text.push_str(words);
        self.units += words.encode_utf16().count();
        self
    }

    fn look(&mut self, words: &str, look: Look) -> &mut Self {
        let start = self.units;
        self.say(words);
        if self.units > start {
            self.styles.push(Style { start, length: self.units - start, look });
        }
        self
    }

    pub(super) fn bold(&mut self, words: &str) -> &mut Self {
        self.look(words, Look::Bold)
    }

    pub(super) fn link(&mut self, words: &str, address: &str) -> &mut Self {
        self.look(words, Look::Link(address.into()))
    }

    pub(super) fn mono(&mut self, words: &str) -> &mut Self {
        self.look(words, Look::Mono)
    }

    pub(super) fn line(&mut self) -> &mut Self {
        self.say("\n")
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Adds another post's words behind these.
    pub(super) fn add(&mut self, post: &Post) -> &mut Self {
        let from = self.units;
        self.say(&post.text);
        self.styles
            .extend(post.styles.iter().map(|style| Style { start: style.start + from, ..style.clone() }));
        self
    }

    pub(super) fn post(self) -> Post {
        let end = self.text.trim_end();
        let cut = self.text[end.len()..].encode_utf16().count();
        let units = self.units - cut;
        let within =
            |style: Style| Style { length: style.length.min(units.saturating_sub(style.start)), ..style };
        let styles = self.styles.into_iter().map(within).filter(|style| style.length > 0).collect();
        Post { text: end.to_owned(), styles, ..Post::default() }
    }
}

/// What pressing a button asks for: `1:<action>:<row in base 36>[:argument]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) action: &'a str,
    pub(super) row: i64,
    pub(super) argument: &'a str,
}

/// Tokens of this form; of another they are out of date.
const FORM: &str = "1";

/// The token of an action on a row.
pub(super) fn token(action: &str, row: i64, argument: &str) -> String {
    let row = base36(u64::try_from(row).unwrap_or_default());
    if argument.is_empty() {
        format!("{FORM}:{action}:{row}")
    } else {
        format!("{FORM}:{action}:{row}:{argument}")
    }
}

/// A button of an action on a row.
pub(super) fn button(label: impl Into<String>, action: &str, row: i64, argument: &str) -> Button {
    Button::new(label, token(action, row, argument))
}

impl<'a> Token<'a> {
    /// Reads one; none: it is out of date.
    pub(super) fn read(written: &'a str) -> Option<Self> {
        let mut parts = written.splitn(4, ':');
        if parts.next()? != FORM {
            return None;
        }
        let (action, row) = (parts.next()?, i64::from_str_radix(parts.next()?, 36).ok()?);
        (row >= 0).then(|| Self { action, row, argument: parts.next().unwrap_or_default() })
    }
}

/// A number in base 36.
pub(super) fn base36(mut n: u64) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut out = Vec::with_capacity(13);
    loop {
        let digit = usize::try_from(n % 36).unwrap_or_default();
        out.push(DIGITS[digit]);
        n /= 36;
        if n == 0 {
            break;
        }
    }
    out.reverse();
    String::from_utf8(out).unwrap_or_default()
}

/// What stands for a source in a token: FNV-1a over its spelling, which does not change from start to start.
pub(super) fn mark(source: &str) -> String {
    let hash = source.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    base36(hash)
}

/// At most so many characters, cut at a word where one ends near.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    let end = kept.rfind(char::is_whitespace).filter(|at| *at > kept.len() / 2).unwrap_or(kept.len());
    format!("{}…", kept[..end].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(post: &Post) -> Vec<(String, Look)> {
        let units: Vec<u16> = post.text.encode_utf16().collect();
        let piece =
            |style: &Style| String::from_utf16(&units[style.start..style.start + style.length]).unwrap();
        post.styles.iter().map(|style| (piece(style), style.look.clone())).collect()
    }

    #[test]
    fn what_stands_out_is_found_again_behind_emoji_and_in_joined_posts() {
        let mut page = Page::default();
        page.say("🔥 1. ").bold("Заголовок 👩‍👩‍👧").line().link("@a", "https://t.me/a/1").say("  \n");
        let post = page.post();
        let expected = [
            ("Заголовок 👩‍👩‍👧".to_owned(), Look::Bold),
            ("@a".to_owned(), Look::Link("https://t.me/a/1".into())),
        ];
        assert_eq!(shown(&post), expected);
        let mut both = Page::default();
        both.say("😀\n").add(&post);
        assert_eq!(shown(&both.post()), expected);
    }

    proptest! {
        #[test]
        fn tokens_are_read_back_and_never_longer_than_a_button_takes(row in 0..i64::MAX, hash in any::<String>()) {
            let written = token("rx", row, &mark(&hash));
            prop_assert!(written.len() <= 64);
            prop_assert_eq!(Token::read(&written).unwrap(), Token { action: "rx", row, argument: &mark(&hash) });
        }

        #[test]
        fn no_text_breaks_the_reader_of_tokens_or_the_cut(text in ".{0,80}", most in 1..40_usize) {
            let _read = Token::read(&text);
            prop_assert!(cut(&text, most).chars().count() <= most);
        }
    }
}
