//! MarkdownV2 as the server reads it, written from the server library's behaviour and not from the product's. Invariant:
//! byte offsets in errors are of the raw text, offsets and lengths of entities are UTF-16 units of the result.

use serde_json::{Value, json};

const RESERVED: &[u8] = b"_*[]()~`>#+-=|{}.!\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bold,
    Italic,
    Underline,
    Strikethrough,
    Spoiler,
    Code,
    Pre,
    PreCode,
    TextUrl,
    CustomEmoji,
    BlockQuote,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Bold => "Bold",
            Self::Italic => "Italic",
            Self::Underline => "Underline",
            Self::Strikethrough => "Strikethrough",
            Self::Spoiler => "Spoiler",
            Self::Code => "Code",
            Self::Pre => "Pre",
            Self::PreCode => "PreCode",
            Self::TextUrl => "TextUrl",
            Self::CustomEmoji => "CustomEmoji",
            Self::BlockQuote => "BlockQuote",
        }
    }

    const fn verbatim(self) -> bool {
        matches!(self, Self::Code | Self::Pre | Self::PreCode)
    }
}

#[derive(Debug)]
struct Open {
    kind: Kind,
    argument: String,
    /// Where it begins, in units of the result.
    offset: usize,
    /// Where its mark stands, in bytes of the raw text.
    mark: usize,
    /// Where it begins, in bytes of the result.
    begin: usize,
}

/// An entity with what orders it among others.
struct Made {
    offset: usize,
    length: usize,
    rank: usize,
    body: Value,
}

struct Parser<'a> {
    raw: &'a [u8],
    at: usize,
    out: Vec<u8>,
    units: usize,
    open: Vec<Open>,
    made: Vec<Made>,
    quote: bool,
    may_quote: bool,
}

/// Texts with what they come to, one a line: `["raw", "text", [entity, ...]]`, or `["raw", "error"]` when refused.
pub const MARKDOWN_VECTORS: &str = include_str!("markdown_vectors.jsonl");

/// The text without marks, and its entities in the Bot API's form, outer ones first.
///
/// # Errors
/// In the server's words, without its prefix.
pub fn markdown_v2(raw: &str) -> Result<(String, Vec<Value>), String> {
    let mut parser = Parser {
        raw: raw.as_bytes(),
        at: 0,
        out: Vec::with_capacity(raw.len()),
        units: 0,
        open: Vec::new(),
        made: Vec::new(),
        quote: false,
        may_quote: true,
    };
    while parser.at < raw.len() {
        parser.step()?;
        parser.at += 1;
    }
    parser.finish()?;
    let text = String::from_utf8(parser.out).map_err(|_| "Strings must be encoded in UTF-8".to_owned())?;
    let mut made = parser.made;
    made.sort_by_key(|one| (one.offset, usize::MAX - one.length, one.rank));
    Ok((text, made.into_iter().map(|one| one.body).collect()))
}

impl Parser<'_> {
    /// The byte so far ahead; 0 behind the end.
    fn peek(&self, ahead: usize) -> u8 {
        self.raw.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn reserved(&self) -> String {
        let sign = char::from(self.peek(0));
        format!("Character '{sign}' is reserved and must be escaped with the preceding '\\'")
    }

    fn unclosed(open: &Open) -> String {
        format!("Can't find end of {} entity at byte offset {}", open.kind.name(), open.mark)
    }

    fn step(&mut self) -> Result<(), String> {
        let byte = self.peek(0);
        if byte == b'\\' && (1..=126).contains(&self.peek(1)) {
            self.at += 1;
            let literal = self.peek(0);
            self.units += 1;
            self.out.push(literal);
            if literal != b'\r' {
                self.may_quote = literal == b'\n';
            }
            return Ok(());
        }
        let verbatim = self.open.last().is_some_and(|open| open.kind.verbatim());
        let special = if verbatim { byte == b'`' } else { RESERVED.contains(&byte) };
        if !special {
            if byte & 0xC0 != 0x80 {
                self.units += 1 + usize::from(byte >= 0xF0);
                if byte != b'\r' {
                    self.may_quote = false;
                }
            }
            self.out.push(byte);
            return Ok(());
        }
        if self.ends(byte) { self.close(byte) } else { self.begin(byte) }
    }

    /// Whether the innermost entity ends here.
    fn ends(&self, byte: u8) -> bool {
        let Some(open) = self.open.last() else { return false };
        if self.quote && byte == b'\n' && self.peek(1) != b'>' {
            return true;
        }
        match open.kind {
            Kind::Bold => byte == b'*',
            Kind::Italic => byte == b'_' && self.peek(1) != b'_',
            Kind::Underline => byte == b'_' && self.peek(1) == b'_',
            Kind::Strikethrough => byte == b'~',
            Kind::Spoiler => byte == b'|' && self.peek(1) == b'|',
            Kind::Code => byte == b'`',
            Kind::Pre | Kind::PreCode => byte == b'`' && self.peek(1) == b'`' && self.peek(2) == b'`',
            Kind::TextUrl | Kind::CustomEmoji => byte == b']',
            Kind::BlockQuote => false,
        }
    }

    fn begin(&mut self, byte: u8) -> Result<(), String> {
        let (mark, mut argument) = (self.at, String::new());
        let doubled = self.peek(1) == byte;
        let kind = match byte {
            b'\n' => {
                self.units += 1;
                self.out.push(b'\n');
                self.may_quote = true;
                return Ok(());
            }
            b'_' if doubled => self.two(Kind::Underline),
            b'_' => Kind::Italic,
            b'*' => Kind::Bold,
            b'~' => Kind::Strikethrough,
            b'|' if doubled => self.two(Kind::Spoiler),
            b'[' => Kind::TextUrl,
            b'!' if self.peek(1) == b'[' => self.two(Kind::CustomEmoji),
            b'`' if doubled && self.peek(2) == b'`' => self.fence(&mut argument),
            b'`' => Kind::Code,
            b'>' if self.may_quote && self.quote => return Ok(()),
            b'>' if self.may_quote => {
                self.quote = true;
                Kind::BlockQuote
            }
            _ => return Err(self.reserved()),
        };
        self.open.push(Open { kind, argument, offset: self.units, mark, begin: self.out.len() });
        Ok(())
    }

    const fn two(&mut self, kind: Kind) -> Kind {
        self.at += 1;
        kind
    }

    /// The opening of a block: its language and one line break are swallowed.
    fn fence(&mut self, argument: &mut String) -> Kind {
        self.at += 3;
        let rest = &self.raw[self.at..];
        let stop = rest.iter().position(|byte| is_space(*byte) || *byte == b'`').unwrap_or(rest.len());
        let mut kind = Kind::Pre;
        if stop > 0 && rest.get(stop).is_some_and(|byte| *byte != b'`') {
            kind = Kind::PreCode;
            *argument = String::from_utf8_lossy(&rest[..stop]).into_owned();
            self.at += stop;
        }
        let (first, second) = (self.peek(0), self.peek(1));
        if is_break(first) {
            self.at += if is_break(second) && first != second { 2 } else { 1 };
        }
        self.at -= 1;
        kind
    }

    fn close(&mut self, byte: u8) -> Result<(), String> {
        let mut open = self.open.pop().expect("an entity ends only when one is open");
        let mut expandable = false;
        if byte == b'\n' && open.kind != Kind::BlockQuote {
            let after_mark = self.at - open.mark;
            let last = after_mark == 2 || (after_mark == 3 && self.out.last() == Some(&b'\r'));
            if open.kind != Kind::Spoiler || !last {
                return Err(Self::unclosed(&open));
            }
            open = self.open.pop().expect("a quote is open around it");
            if open.kind != Kind::BlockQuote {
                return Err(Self::unclosed(&open));
            }
            expandable = true;
        }
        let empty = self.units == open.offset;
        let body = match open.kind {
            Kind::Bold => json!({"type": "bold"}),
            Kind::Italic => json!({"type": "italic"}),
            Kind::Strikethrough => json!({"type": "strikethrough"}),
            Kind::Code => json!({"type": "code"}),
            Kind::Underline | Kind::Spoiler => {
                self.at += 1;
                json!({"type": if open.kind == Kind::Underline { "underline" } else { "spoiler" }})
            }
            Kind::Pre => {
                self.at += 2;
                json!({"type": "pre"})
            }
            Kind::PreCode => {
                self.at += 2;
                json!({"type": "pre", "language": open.argument})
            }
            Kind::TextUrl => {
                let target = if self.peek(1) == b'(' {
                    self.target()?
                } else {
                    String::from_utf8_lossy(&self.out[open.begin..]).into_owned()
                };
                let Some(body) = link(&target) else { return Ok(()) };
                body
            }
            Kind::CustomEmoji => {
                if self.peek(1) != b'(' {
                    return Err("The entity must contain a tg://emoji or tg://time URL".into());
                }
                let target = self.target()?;
                emoji_or_time(&target).ok_or("Invalid tg://emoji or tg://time URL specified")?
            }
            Kind::BlockQuote => {
                self.quote = false;
                self.out.push(b'\n');
                self.may_quote = true;
                self.units += 1;
                self.made(&open, quote(expandable));
                return Ok(());
            }
        };
        if !empty {
            self.made(&open, body);
        }
        Ok(())
    }

    /// The target in brackets behind a text; stops on its closing bracket.
    fn target(&mut self) -> Result<String, String> {
        self.at += 2;
        let (begin, mut target) = (self.at, Vec::new());
        while self.at < self.raw.len() && self.peek(0) != b')' {
            if self.peek(0) == b'\\' && (1..=126).contains(&self.peek(1)) {
                self.at += 1;
            }
            target.push(self.peek(0));
            self.at += 1;
        }
        if self.peek(0) != b')' {
            return Err(format!("Can't find end of a URL at byte offset {begin}"));
        }
        Ok(String::from_utf8_lossy(&target).into_owned())
    }

    fn made(&mut self, open: &Open, mut body: Value) {
        let length = self.units - open.offset;
        body["offset"] = json!(open.offset);
        body["length"] = json!(length);
        let rank = super::text::rank(body["type"].as_str().unwrap_or_default());
        self.made.push(Made { offset: open.offset, length, rank, body });
    }

    /// What the end of the text closes: only a quote.
    fn finish(&mut self) -> Result<(), String> {
        if self.quote {
            let marks = self.raw.len().saturating_sub(2);
            let expandable =
                self.open.last().is_some_and(|open| open.kind == Kind::Spoiler && open.mark == marks);
            if expandable {
                self.open.pop();
            }
            if self.open.last().is_some_and(|open| open.kind == Kind::BlockQuote) {
                let open = self.open.pop().expect("it was there a moment ago");
                if self.units > open.offset {
                    self.made(&open, quote(expandable));
                }
            }
        }
        self.open.last().map_or(Ok(()), |open| Err(Self::unclosed(open)))
    }
}

fn quote(expandable: bool) -> Value {
    json!({"type": if expandable { "expandable_blockquote" } else { "blockquote" }})
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0 | 0x0B)
}

const fn is_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// The parameter of a `tg:` link of that kind.
fn tg<'a>(target: &'a str, kinds: &[&str], name: &str) -> Option<&'a str> {
    let (scheme, rest) = target.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("tg") {
        return None;
    }
    let rest = rest.trim_start_matches('/').split('#').next()?;
    let (path, query) = rest.split_once('?')?;
    if !kinds.iter().any(|kind| path.trim_end_matches('/').eq_ignore_ascii_case(kind)) {
        return None;
    }
    query
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
        .map(|(_, value)| value)
}

/// A number as the server writes it: no sign, no leading zero.
fn number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number: &i64| *number > 0 && number.to_string() == text)
}

fn emoji_or_time(target: &str) -> Option<Value> {
    if let Some(id) = tg(target, &["emoji"], "id").and_then(number) {
        return Some(json!({"type": "custom_emoji", "custom_emoji_id": id.to_string()}));
    }
    let time = tg(target, &["time"], "unix").and_then(number)?;
    let mut body = json!({"type": "date_time", "unix_time": time});
    if let Some(format) = tg(target, &["time"], "format") {
        body["date_time_format"] = json!(format);
    }
    Some(body)
}

/// What a link's target makes: a mention, a link, or nothing when it is no address.
pub(super) fn link(target: &str) -> Option<Value> {
    if let Some(id) = tg(target, &["user"], "id").and_then(number) {
        return Some(json!({"type": "text_mention", "user": {"id": id}}));
    }
    checked(target).map(|url| json!({"type": "text_link", "url": url}))
}

/// An address in the server's spelling; none: it is no address.
pub(super) fn checked(target: &str) -> Option<String> {
    let target = target.trim();
    let (scheme, rest) = target.split_once("://").unwrap_or(("http", target));
    let scheme = scheme.to_lowercase();
    if matches!(scheme.as_str(), "tg" | "ton" | "tonsite") {
        return Some(format!("{scheme}://{rest}"));
    }
    let (tail, https) = (rest.find(['/', '?', '#']).unwrap_or(rest.len()), scheme == "https");
    let (host, path) = rest.split_at(tail);
    let name = host.rsplit('@').next().unwrap_or_default();
    let name = name.split(':').next().unwrap_or_default();
    let sound = !name.starts_with('.')
        && name.contains('.')
        && !name
            .chars()
            .any(|one| one.is_whitespace() || one.is_control() || "<>\"'()[]{}|\\^`%,;!*=+&$".contains(one));
    if !sound
        || !(https || scheme == "http")
        || path.chars().any(|one| one.is_whitespace() || one.is_control())
    {
        return None;
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Some(format!("{scheme}://{}{slash}{path}", host.to_lowercase()))
}
