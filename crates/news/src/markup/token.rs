//! Text into tags and text. Invariant: each token is a slice of the text where nothing in it had to be decoded; an
//! unfinished tag or comment at the end is dropped, as browsers do.

use super::entities::decoded;
use std::borrow::Cow;

/// Attributes kept of one element; what is looked for stands among the first.
const MOST_ATTRIBUTES: usize = 64;

/// Whose rules are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Names without case, elements whose content is no markup.
    Html,
    /// Names with case, CDATA sections, document types with declarations.
    Xml,
}

/// A start tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag<'a> {
    /// Lower case in HTML; with its prefix in XML.
    pub(crate) name: Cow<'a, str>,
    /// Name and decoded value; the first of each name counts.
    pub(crate) attributes: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Written `<name/>`.
    pub(crate) closed: bool,
}

/// A piece of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A start tag.
    Open(Tag<'a>),
    /// An end tag, by its name.
    Close(Cow<'a, str>),
    /// Decoded text.
    Text(Cow<'a, str>),
}

/// The tokens of a text.
pub(crate) struct Tokens<'a> {
    rest: &'a str,
    dialect: Dialect,
    /// The element whose end tag ends a stretch without markup, and whether references are decoded in it.
    raw: Option<(&'static str, bool)>,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(text: &'a str, dialect: Dialect) -> Self {
        Self { rest: text, dialect, raw: None }
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let at = self.rest.floor_char_boundary(bytes.min(self.rest.len()));
        let (taken, rest) = self.rest.split_at(at);
        self.rest = rest;
        taken
    }

    fn drop_all(&mut self) {
        self.rest = "";
    }

    /// Bytes to what begins a tag or a comment; all of them where nothing does.
    fn text_length(&self) -> usize {
        let bytes = self.rest.as_bytes();
        memchr::memchr_iter(b'<', bytes)
            .find(|at| {
                bytes.get(at + 1).is_some_and(|next| {
                    next.is_ascii_alphabetic()
                        || matches!(next, b'/' | b'!' | b'?')
                        || (self.dialect == Dialect::Xml && (*next == b'_' || !next.is_ascii()))
                })
            })
            .unwrap_or(bytes.len())
    }

    /// Skips to behind `end`, or to the end of the text.
    fn skip_past(&mut self, end: &str) -> &'a str {
        match memchr::memmem::find(self.rest.as_bytes(), end.as_bytes()) {
            Some(at) => {
                let skipped = self.take(at);
                self.take(end.len());
                skipped
            }
            None => self.take(self.rest.len()),
        }
    }

    /// What begins with `<!` or `<?`. Some: the text of a CDATA section.
    fn declaration(&mut self) -> Option<Token<'a>> {
        let xml = self.dialect == Dialect::Xml;
        if self.rest.starts_with("<!--") {
            self.take(4);
            if self.rest.starts_with('>') || self.rest.starts_with("->") {
                self.skip_past(">");
            } else {
                self.comment();
            }
        } else if xml && self.rest.starts_with("<![CDATA[") {
            self.take(9);
            return Some(Token::Text(Cow::Borrowed(self.skip_past("]]>"))));
        } else if xml && self.rest.starts_with("<?") {
            self.skip_past("?>");
        } else if xml && self.rest.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("<!DOCTYPE")) {
            self.document_type();
        } else {
            self.skip_past(">");
        }
        None
    }

    /// To the end of a comment: `-->` or `--!>`; a comment without end takes the rest of the text.
    fn comment(&mut self) {
        let mut ends = memchr::memmem::find_iter(self.rest.as_bytes(), "--");
        let end = ends.find_map(|at| {
            let after = self.rest.get(at + 2..)?;
            if after.starts_with('>') { Some(at + 3) } else { after.starts_with("!>").then_some(at + 4) }
        });
        match end {
            Some(end) => {
                self.take(end);
            }
            None => self.drop_all(),
        }
    }

    /// A document type with its declarations, none of which is read.
    fn document_type(&mut self) {
        let (mut depth, mut quote) = (0_usize, None);
        for (at, byte) in self.rest.bytes().enumerate() {
            match (quote, byte) {
                (Some(open), _) => {
                    if byte == open {
                        quote = None;
                    }
                }
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, b'[') => depth += 1,
                (None, b']') => depth = depth.saturating_sub(1),
                (None, b'>') if depth == 0 => {
                    self.take(at + 1);
                    return;
                }
                (None, _) => {}
            }
        }
        self.drop_all();
    }

    fn name(&mut self) -> Cow<'a, str> {
        let bytes = self.rest.as_bytes();
        let end = bytes.iter().position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>'));
        let name = self.take(end.unwrap_or(bytes.len()));
        self.cased(name)
    }

    fn cased(&self, name: &'a str) -> Cow<'a, str> {
        if self.dialect == Dialect::Html && name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        }
    }

    /// A start tag from behind its `<`; none: the text ends in it.
    fn open(&mut self) -> Option<Tag<'a>> {
        let name = self.name();
        let mut tag = Tag { name, attributes: Vec::new(), closed: false };
        loop {
            let blank = self.rest.bytes().take_while(u8::is_ascii_whitespace).count();
            self.take(blank);
            match self.rest.as_bytes().first()? {
                b'>' => {
                    self.take(1);
                    return Some(tag);
                }
                b'/' => {
                    self.take(1);
                    tag.closed = self.rest.starts_with('>');
                }
                _ => {
                    let (name, value) = self.attribute()?;
                    let known = tag.attributes.len() >= MOST_ATTRIBUTES
                        || tag.attributes.iter().any(|(known, _)| *known == name);
                    if !known {
                        tag.attributes.push((name, value));
                    }
                }
            }
        }
    }

    fn attribute(&mut self) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
        let bytes = self.rest.as_bytes();
        // An equals sign in the first place belongs to the name.
        let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>' | b'=');
        let length = 1 + bytes.iter().skip(1).position(ends)?;
        let name = self.take(length);
        let name = self.cased(name);
        let blank = self.rest.bytes().take_while(u8::is_ascii_whitespace).count();
        if self.rest.as_bytes().get(blank) != Some(&b'=') {
            return Some((name, Cow::Borrowed("")));
        }
        self.take(blank + 1);
        let blank = self.rest.bytes().take_while(u8::is_ascii_whitespace).count();
        self.take(blank);
        let value = match self.rest.as_bytes().first()? {
            quote @ (b'"' | b'\'') => {
                self.take(1);
                let end = memchr::memchr(*quote, self.rest.as_bytes())?;
                let value = self.take(end);
                self.take(1);
                value
            }
            _ => {
                let ends = |byte: u8| byte.is_ascii_whitespace() || byte == b'>';
                let end = self.rest.bytes().position(ends)?;
                self.take(end)
            }
        };
        Some((name, decoded(value, true)))
    }

    /// The text up to the end tag of an element without markup.
    fn raw(&mut self, name: &str, decode: bool) -> Option<Token<'a>> {
        let bytes = self.rest.as_bytes();
        let end = memchr::memmem::find_iter(bytes, "</").find(|at| {
            let from = at + 2;
            bytes
                .get(from..from + name.len())
                .is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
                && bytes
                    .get(from + name.len())
                    .is_none_or(|after| after.is_ascii_whitespace() || matches!(after, b'/' | b'>'))
        });
        let text = self.take(end.unwrap_or(bytes.len()));
        let text = if decode { decoded(text, false) } else { Cow::Borrowed(text) };
        (!text.is_empty()).then_some(Token::Text(text))
    }
}

/// Elements of HTML whose content is no markup, and whether references count in them.
fn raw(name: &str) -> Option<(&'static str, bool)> {
    const RAW: [(&str, bool); 8] = [
        ("script", false),
        ("style", false),
        ("xmp", false),
        ("iframe", false),
        ("noembed", false),
        ("noframes", false),
        ("textarea", true),
        ("title", true),
    ];
    RAW.into_iter().find(|(raw, _)| *raw == name)
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        if let Some((name, decode)) = self.raw.take()
            && let Some(text) = self.raw(name, decode)
        {
            return Some(text);
        }
        loop {
            let text = match self.text_length() {
                0 => "",
                length => self.take(length),
            };
            if !text.is_empty() {
                return Some(Token::Text(decoded(text, false)));
            }
            match self.rest.as_bytes().get(1)? {
                b'!' | b'?' => {
                    if let Some(text) = self.declaration() {
                        return Some(text);
                    }
                }
                b'/' => {
                    self.take(2);
                    let named = self.rest.as_bytes().first().is_some_and(|byte| {
                        byte.is_ascii_alphabetic() || (self.dialect == Dialect::Xml && *byte != b'>')
                    });
                    let name = self.name();
                    self.skip_past(">");
                    if named {
                        return Some(Token::Close(name));
                    }
                }
                _ => {
                    self.take(1);
                    let Some(tag) = self.open() else {
                        self.drop_all();
                        return None;
                    };
                    if self.dialect == Dialect::Html {
                        self.raw = raw(&tag.name);
                    }
                    return Some(Token::Open(tag));
                }
            }
        }
    }
}
