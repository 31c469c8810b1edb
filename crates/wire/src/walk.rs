//! A walk over JSON text for the plain cases: it reads what is usual several times faster than a general parser, above all
//! the long strings of prompts, and gives up on whatever is not. Whoever walks asks the general parser then, so what is
//! odd or broken is judged in one place.
//!
//! Invariants: it takes nothing that the general parser refuses; nothing is copied and nothing is kept; it goes no deeper
//! than it was told. Source: RFC 8259.

use portcullis_domain::utf16_unit;

/// A place in a JSON text. Every step gives none where the text is not plain, and then the walk is over.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    text: &'a str,
    at: usize,
    /// How many lists and objects may still be entered.
    left: usize,
}

/// A string where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// What stands between the quotes.
    pub inside: &'a str,
    /// Whether there are escapes in it. Unpaired surrogates are not looked for.
    pub escaped: bool,
}

/// Bytes of a string that are looked at word by word: most strings end before.
const SHORT: usize = 64;

impl<'a> Walk<'a> {
    /// Over a text that nests no deeper than `depth`.
    #[must_use]
    pub fn over(body: &'a [u8], depth: usize) -> Option<Self> {
        Some(Self { text: simdutf8::basic::from_utf8(body).ok()?, at: 0, left: depth })
    }

    /// The byte that the next token begins with.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.as_bytes().get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    /// Nothing but white space is left.
    pub fn end(mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    fn pass(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// An object: `each` is called with the name of every member and must pass its value. No name has escapes.
    pub fn object(&mut self, mut each: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.enter(b'{', b'}', |walk| {
            let Text { inside, escaped: false } = walk.string()? else { return None };
            walk.pass(b':')?;
            each(walk, inside)
        })
    }

    /// A list: `each` is called for every item and must pass it.
    pub fn list(&mut self, each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.enter(b'[', b']', each)
    }

    fn enter(&mut self, open: u8, close: u8, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.pass(open)?;
        self.left = self.left.checked_sub(1)?;
        if self.peek()? != close {
            loop {
                each(self)?;
                match self.peek()? {
                    b',' => self.at += 1,
                    byte if byte == close => break,
                    _ => return None,
                }
            }
        }
        self.at += 1;
        self.left += 1;
        Some(())
    }

    /// A string.
    pub fn string(&mut self) -> Option<Text<'a>> {
        self.pass(b'"')?;
        let (start, mut escaped) = (self.at, false);
        loop {
            self.at += ordinary(&self.text.as_bytes()[self.at..]);
            match *self.text.as_bytes().get(self.at)? {
                b'"' => break,
                b'\\' => {
                    self.at += escape(&self.text.as_bytes()[self.at..])?;
                    escaped = true;
                }
                // A control character.
                _ => return None,
            }
        }
        let inside = self.text.get(start..self.at)?;
        self.at += 1;
        Some(Text { inside, escaped })
    }

    /// Any value, as it is written.
    pub fn value(&mut self) -> Option<&'a str> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => drop(self.string()?),
            b'{' => self.object(|walk, _| walk.value().map(drop))?,
            b'[' => self.list(|walk| walk.value().map(drop))?,
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            _ => self.number()?,
        }
        self.text.get(start..self.at)
    }

    /// `null`, if it is next.
    pub fn null(&mut self) -> Option<bool> {
        let null = self.peek()? == b'n';
        if null {
            self.word("null")?;
        }
        Some(null)
    }

    /// A whole number without a sign.
    pub fn count(&mut self) -> Option<u64> {
        self.peek()?;
        let start = self.at;
        self.number()?;
        // Forms that are read otherwise, and numbers that do not fit.
        self.text.get(start..self.at)?.parse().ok()
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }

    fn number(&mut self) -> Option<()> {
        let byte = |walk: &Self| walk.text.as_bytes().get(walk.at).copied();
        if byte(self) == Some(b'-') {
            self.at += 1;
        }
        if byte(self)? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if byte(self) == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(byte(self), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(byte(self), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Option<()> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(())
    }
}

impl Text<'_> {
    /// Bytes of what it says; none where a surrogate is alone.
    #[must_use]
    pub fn said(self) -> Option<u64> {
        let bytes = self.inside.as_bytes();
        let mut said = bytes.len() as u64;
        if !self.escaped {
            return Some(said);
        }
        let mut at = 0;
        while let Some(found) = memchr::memchr(b'\\', &bytes[at..]) {
            at += found;
            let (long, short) = match utf16_unit(&bytes[at..]) {
                None => (2, 1),
                Some(0xD800..=0xDBFF) if matches!(utf16_unit(&bytes[at + 6..]), Some(0xDC00..=0xDFFF)) => {
                    (12, 4)
                }
                Some(unit) => (6, char::from_u32(unit.into())?.len_utf8()),
            };
            said -= long as u64 - short as u64;
            at += long;
        }
        Some(said)
    }
}

/// How many bytes go before the next quote, escape or control character.
fn ordinary(bytes: &[u8]) -> usize {
    let mut at = 0;
    // Most strings are short, names and words: eight bytes a step, and the place is known at once.
    for word in bytes.as_chunks::<8>().0.iter().take(SHORT / 8) {
        let found = specials(u64::from_le_bytes(*word));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    // A long text: looked for its end, and for what may not stand in it without an early end inside; both are vector code.
    let end = memchr::memchr2(b'"', b'\\', &bytes[at..]).map_or(bytes.len(), |found| at + found);
    let control = |byte: &u8| *byte < b' ';
    if !bytes[at..end].iter().fold(false, |any, byte| any | control(byte)) {
        return end;
    }
    bytes[at..end].iter().position(control).map_or(end, |found| at + found)
}

/// The highest bit of each byte that is special; the lowest of these bits is right. Source: Anderson, "Bit Twiddling Hacks".
const fn specials(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word
    }
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (controls | zeros(word ^ (ONES * 0x22)) | zeros(word ^ (ONES * 0x5c))) & (ONES * 0x80)
}

/// Length of the escape that the bytes begin with.
fn escape(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => utf16_unit(bytes).map(|_| 6),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
