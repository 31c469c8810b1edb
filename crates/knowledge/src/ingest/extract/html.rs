//! HTML: the main text with headings, tables and code. Only the tokenizer of html5ever is used: no tree is built, so
//! that no depth of elements costs more than its text. Invariant: what people do not see (scripts, styles, hidden
//! elements) and what is not the page's own text (navigation, footers) is not taken.
//! Source: HTML standard 13.2.5 (tokens), 13.2.6.4 (which tags close which), 15.3.1 (hidden elements).

use super::{
    BlockKind, Extracted, Limits, MAX_LINKS, Refusal,
    outline::{Outline, line},
};
use html5ever::{
    LocalName, TokenizerResult,
    tendril::StrTendril,
    tokenizer::{
        BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
        states::RawKind,
    },
};
use std::cell::RefCell;

/// Elements inside one another; a deeper page is refused.
const DEEPEST: usize = 10_000;
/// Open elements among which the one that an end tag closes is looked for.
const LOOKED_AT: usize = 512;
/// Bytes fed at once: a line of 100 MB must not become one token.
const FEED: usize = 64 * 1024;
/// Bytes of text that `main` or `article` must have to be taken instead of the whole page.
const ENOUGH: usize = 200;
/// Longest title that is read, in bytes.
const LONGEST_TITLE: usize = 4096;

/// A page, or a piece of HTML inside something else.
pub(super) fn read(text: &str, limits: &Limits) -> Result<Extracted, Refusal> {
    let sink = Sink { state: RefCell::new(State::new(limits)) };
    let tokenizer = Tokenizer::new(sink, TokenizerOpts::default());
    let queue = BufferQueue::default();
    let mut rest = text;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.floor_char_boundary(FEED.min(rest.len())));
        queue.push_back(StrTendril::from_slice(now));
        while let TokenizerResult::Script(()) = tokenizer.feed(&queue) {}
        if tokenizer.sink.state.borrow().failed.is_some() {
            break;
        }
        rest = later;
    }
    tokenizer.end();
    tokenizer.sink.state.into_inner().finish()
}

struct Sink {
    state: RefCell<State>,
}

impl TokenSink for Sink {
    type Handle = ();

    #[expect(clippy::wildcard_enum_match_arm, reason = "a parser's tokens: the others hold no text")]
    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut state = self.state.borrow_mut();
        if state.failed.is_some() {
            return TokenSinkResult::Continue;
        }
        let done = match token {
            Token::TagToken(tag) => match tag.kind {
                TagKind::StartTag => {
                    let raw = raw(&tag.name);
                    let done = state.start(&tag);
                    if let (Ok(()), Some(raw)) = (&done, raw) {
                        return TokenSinkResult::RawData(raw);
                    }
                    done
                }
                TagKind::EndTag => state.end(&tag.name),
            },
            Token::CharacterTokens(text) => state.characters(&text),
            _ => Ok(()),
        };
        state.failed = done.err();
        TokenSinkResult::Continue
    }
}

/// Elements whose content is no markup.
fn raw(name: &LocalName) -> Option<RawKind> {
    match &**name {
        "script" => Some(RawKind::ScriptData),
        "style" | "xmp" | "iframe" | "noembed" | "noframes" => Some(RawKind::Rawtext),
        "textarea" | "title" => Some(RawKind::Rcdata),
        _ => None,
    }
}

struct State {
    whole: Outline,
    /// What stands inside `main` or `article`.
    main: Outline,
    open: Vec<LocalName>,
    /// Position in `open` of the outermost hidden element, main part, and preformatted text.
    hidden: Option<usize>,
    inside_main: Option<usize>,
    preformatted: Option<usize>,
    text: String,
    heading: Option<u8>,
    row: bool,
    cells: usize,
    lists: usize,
    title: Option<String>,
    links: Vec<String>,
    failed: Option<Refusal>,
    most: u64,
}

impl State {
    fn new(limits: &Limits) -> Self {
        Self {
            whole: Outline::new(limits),
            main: Outline::new(limits),
            open: Vec::new(),
            hidden: None,
            inside_main: None,
            preformatted: None,
            text: String::new(),
            heading: None,
            row: false,
            cells: 0,
            lists: 0,
            title: None,
            links: Vec::new(),
            failed: None,
            most: limits.text_bytes,
        }
    }

    fn start(&mut self, tag: &Tag) -> Result<(), Refusal> {
        let name = &*tag.name;
        self.closed_by(name);
        if name == "a" && self.links.len() < MAX_LINKS {
            self.links.extend(attribute(tag, "href").map(str::to_owned));
        }
        if void(name) {
            return if self.hidden.is_none() { self.void(name) } else { Ok(()) };
        }
        if tag.self_closing
            && (matches!(name, "svg" | "math") || self.open.iter().rev().take(8).any(|n| &**n == "svg"))
        {
            return Ok(());
        }
        if self.open.len() >= DEEPEST {
            return Err(Refusal::Unreadable(format!("its elements are nested deeper than {DEEPEST}")));
        }
        let at = self.open.len();
        if self.hidden.is_none() {
            if unseen(tag) {
                self.break_line()?;
                self.hidden = Some(at);
            } else {
                self.seen(name)?;
                let main = matches!(name, "main" | "article") || attribute(tag, "role") == Some("main");
                if main && self.inside_main.is_none() {
                    self.flush()?;
                    self.inside_main = Some(at);
                }
                if name == "pre" && self.preformatted.is_none() {
                    self.preformatted = Some(at);
                }
            }
        }
        self.open.push(tag.name.clone());
        Ok(())
    }

    /// A visible element begins.
    fn seen(&mut self, name: &str) -> Result<(), Refusal> {
        match name {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.flush()?;
                self.heading = name.as_bytes().get(1).map(|digit| digit - b'0');
                Ok(())
            }
            "table" | "thead" | "tbody" => self.flush(),
            "tr" => {
                self.flush()?;
                (self.row, self.cells) = (true, 0);
                Ok(())
            }
            "td" | "th" => {
                if self.row && self.cells > 0 {
                    self.text.truncate(self.text.trim_end().len());
                    self.text.push_str(" | ");
                }
                self.cells += 1;
                Ok(())
            }
            "ul" | "ol" => {
                if self.lists == 0 {
                    self.flush_paragraph()?;
                }
                self.lists += 1;
                Ok(())
            }
            "li" => {
                self.break_line()?;
                if !self.row {
                    self.text.push_str("- ");
                }
                Ok(())
            }
            _ if block(name) => self.break_line(),
            _ => Ok(()),
        }
    }

    fn void(&mut self, name: &str) -> Result<(), Refusal> {
        match name {
            "br" if self.row || self.heading.is_some() => self.text.push(' '),
            "br" => self.text.push('\n'),
            "hr" => return self.flush_paragraph(),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, name: &LocalName) -> Result<(), Refusal> {
        let Some(back) = self.open.iter().rev().take(LOOKED_AT).position(|open| open == name) else {
            return Ok(());
        };
        let seen = self.hidden.is_none();
        let at = self.open.len() - 1 - back;
        if seen {
            match &**name {
                "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "tr" | "table" | "pre" | "main" | "article"
                | "body" => {
                    self.flush()?;
                }
                "ul" | "ol" => {
                    self.lists = self.lists.saturating_sub(1);
                    if self.lists == 0 {
                        self.flush_paragraph()?;
                    }
                }
                name if block(name) => self.break_line()?,
                _ => {}
            }
        }
        self.close(at);
        Ok(())
    }

    /// An element that begins closes some that have no end tag of their own.
    fn closed_by(&mut self, name: &str) {
        let closes: &[&str] = match name {
            "li" => &["li"],
            "dt" | "dd" => &["dt", "dd"],
            "td" | "th" => &["td", "th"],
            "tr" => &["tr"],
            "option" => &["option"],
            _ if block(name) => &["p"],
            _ => return,
        };
        for (back, open) in self.open.iter().rev().take(LOOKED_AT).enumerate() {
            if closes.contains(&&**open) {
                return self.close(self.open.len() - 1 - back);
            }
            if matches!(
                &**open,
                "ul" | "ol" | "dl" | "table" | "div" | "section" | "article" | "main" | "body"
            ) {
                return;
            }
        }
    }

    fn close(&mut self, at: usize) {
        self.open.truncate(at);
        for place in [&mut self.hidden, &mut self.inside_main, &mut self.preformatted] {
            if place.is_some_and(|place| place >= at) {
                *place = None;
            }
        }
    }

    fn characters(&mut self, text: &str) -> Result<(), Refusal> {
        if self.open.last().is_some_and(|open| &**open == "title")
            && !self.open.iter().any(|open| &**open == "svg")
        {
            let title = self.title.get_or_insert_default();
            if title.len() < LONGEST_TITLE {
                title.push_str(text);
            }
            return Ok(());
        }
        if self.hidden.is_some() {
            return Ok(());
        }
        if self.preformatted.is_some() && !self.row {
            self.text.push_str(text);
        } else {
            for c in text.chars() {
                if !c.is_whitespace() || c == '\u{a0}' {
                    self.text.push(if c == '\u{a0}' { ' ' } else { c });
                } else if !self.text.is_empty() && !self.text.ends_with([' ', '\n']) {
                    self.text.push(' ');
                }
            }
        }
        if self.text.len() as u64 > self.most {
            return Err(Refusal::TooLarge(format!("its text is longer than {} bytes", self.most)));
        }
        Ok(())
    }

    /// Between two blocks: a new paragraph, or where none may begin, a line or a space.
    fn break_line(&mut self) -> Result<(), Refusal> {
        if self.preformatted.is_some() {
            return Ok(());
        }
        if self.row || self.heading.is_some() {
            if !self.text.is_empty() && !self.text.ends_with(' ') {
                self.text.push(' ');
            }
            return Ok(());
        }
        if self.lists == 0 {
            return self.flush();
        }
        if !self.text.is_empty() && !self.text.ends_with("- ") {
            self.text.truncate(self.text.trim_end().len());
            self.text.push('\n');
        }
        Ok(())
    }

    fn flush_paragraph(&mut self) -> Result<(), Refusal> {
        if self.row || self.heading.is_some() { self.break_line() } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), Refusal> {
        let text = std::mem::take(&mut self.text);
        let (heading, row) = (self.heading.take(), std::mem::take(&mut self.row));
        let preformatted = self.preformatted.is_some();
        let inside = self.inside_main.is_some();
        let text = if row { line(&text) } else { text };
        for outline in std::iter::once(&mut self.whole).chain(inside.then_some(&mut self.main)) {
            match heading {
                Some(level) => outline.heading(level, &text)?,
                None if row => outline.add(BlockKind::Row, None, &text)?,
                None if preformatted => outline.add(BlockKind::Code, None, &text)?,
                None => outline.add(BlockKind::Paragraph, None, &text)?,
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Extracted, Refusal> {
        if let Some(refusal) = self.failed {
            return Err(refusal);
        }
        self.flush()?;
        let main = self.main.finish()?;
        let bytes: usize = main.blocks.iter().map(|block| block.text.len()).sum();
        let mut extracted = if bytes >= ENOUGH { main } else { self.whole.finish()? };
        let title = self.title.map(|title| line(&title)).filter(|title| !title.is_empty());
        extracted.title = title.map(|title| title.chars().take(300).collect()).or(extracted.title);
        extracted.links = self.links;
        Ok(extracted)
    }
}

fn attribute<'a>(tag: &'a Tag, name: &str) -> Option<&'a str> {
    tag.attrs.iter().find(|attribute| &*attribute.name.local == name).map(|attribute| &*attribute.value)
}

/// Whether people do not see it, or it is not the page's own text.
fn unseen(tag: &Tag) -> bool {
    let kind = matches!(
        &*tag.name,
        "script"
            | "style"
            | "noscript"
            | "template"
            | "svg"
            | "iframe"
            | "object"
            | "audio"
            | "video"
            | "canvas"
            | "select"
            | "datalist"
            | "button"
            | "textarea"
            | "nav"
            | "footer"
            | "aside"
            | "title"
            | "xmp"
            | "noembed"
            | "noframes"
    ) || (&*tag.name == "dialog" && attribute(tag, "open").is_none());
    let role = attribute(tag, "role").is_some_and(|role| {
        matches!(role, "navigation" | "banner" | "contentinfo" | "search" | "dialog" | "alert" | "menu")
    });
    let style = attribute(tag, "style").is_some_and(|style| {
        let style: String =
            style.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
        ["display:none", "visibility:hidden", "font-size:0", "opacity:0"].iter().any(|hidden| {
            let rest = style.split(hidden).nth(1);
            // `opacity:0.9` is seen.
            rest.is_some_and(|rest| {
                !hidden.ends_with('0')
                    || !rest.starts_with(['.', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
            })
        })
    });
    kind || role
        || style
        || attribute(tag, "hidden").is_some()
        || attribute(tag, "aria-hidden") == Some("true")
}

fn void(name: &str) -> bool {
    matches!(
        name,
        "br" | "hr"
            | "img"
            | "input"
            | "meta"
            | "link"
            | "area"
            | "base"
            | "col"
            | "embed"
            | "source"
            | "track"
            | "wbr"
            | "param"
    )
}

fn block(name: &str) -> bool {
    matches!(
        name,
        "p" | "div"
            | "section"
            | "article"
            | "main"
            | "header"
            | "footer"
            | "aside"
            | "nav"
            | "blockquote"
            | "pre"
            | "figure"
            | "figcaption"
            | "dl"
            | "dt"
            | "dd"
            | "details"
            | "summary"
            | "fieldset"
            | "form"
            | "address"
            | "center"
            | "hgroup"
            | "ul"
            | "ol"
            | "table"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "hr"
            | "caption"
            | "body"
            | "legend"
            | "search"
            | "menu"
    )
}
