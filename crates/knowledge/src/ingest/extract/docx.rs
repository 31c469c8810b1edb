//! Word documents: a ZIP of XML. Headings by style, tables row by row, footnotes at the end; deleted and hidden text
//! is not taken. Invariant: what is unpacked is counted while it is unpacked, so that a bomb costs its bound and no
//! more. Source: ECMA-376 part 1, 17 (WordprocessingML).

use super::{
    BlockKind, Extracted, Limits, Refusal,
    outline::{Outline, line},
};
use quick_xml::{
    Reader,
    escape::resolve_predefined_entity,
    events::{BytesStart, Event},
};
use std::{
    collections::HashMap,
    io::{self, BufReader, Cursor, Read},
};
use zip::{ZipArchive, result::ZipError};

/// Elements inside one another; a deeper document is refused.
const DEEPEST: usize = 1000;
/// Styles that are remembered.
const MOST_STYLES: usize = 10_000;

pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Extracted, Refusal> {
    let mut package = Package {
        archive: ZipArchive::new(Cursor::new(bytes)).map_err(|_| damaged())?,
        left: limits.unpacked_bytes,
        most: limits.unpacked_bytes,
    };
    let mut styles = Styles::default();
    package.walk("word/styles.xml", |node| {
        styles.node(&node);
        Ok(())
    })?;
    let mut body = Body::new(limits, styles.levels);
    let mut title = Title::default();
    package.walk("docProps/core.xml", |node| {
        title.node(&node);
        Ok(())
    })?;
    body.outline.title(&title.text);
    if !package.walk("word/document.xml", |node| body.node(&node))? {
        return Err(damaged());
    }
    package.walk("word/footnotes.xml", |node| body.node(&node))?;
    body.outline.finish()
}

fn damaged() -> Refusal {
    Refusal::Unreadable("a damaged Word document".to_owned())
}

struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    /// Bytes that may still be unpacked.
    left: u64,
    most: u64,
}

/// What the walk meets. Names are without their prefix.
enum Node<'a> {
    Start(&'a str, &'a BytesStart<'a>),
    End(&'a str),
    Text(&'a str),
}

impl Package<'_> {
    /// Walks through one part; whether there is one.
    fn walk(
        &mut self,
        name: &str,
        mut on: impl FnMut(Node<'_>) -> Result<(), Refusal>,
    ) -> Result<bool, Refusal> {
        let most = self.most;
        let file = match self.archive.by_name(name) {
            Ok(file) => file,
            Err(ZipError::FileNotFound) => return Ok(false),
            Err(_) => return Err(damaged()),
        };
        if file.encrypted() {
            return Err(Refusal::Encrypted);
        }
        let mut counted = Counted { inner: file, left: &mut self.left };
        let mut reader = Reader::from_reader(BufReader::new(&mut counted));
        reader.config_mut().expand_empty_elements = true;
        let outcome = walk(&mut reader, &mut on);
        drop(reader);
        if *counted.left == 0 {
            return Err(Refusal::TooLarge(format!("it unpacks to more than {most} bytes")));
        }
        outcome.map(|()| true)
    }
}

/// Counts what is unpacked and ends at the bound.
struct Counted<'a, R> {
    inner: R,
    left: &'a mut u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if *self.left == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let read = self.inner.read(buffer)?;
        *self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a parser's events: the others hold no text")]
fn walk<R: io::BufRead>(
    reader: &mut Reader<R>,
    on: &mut impl FnMut(Node<'_>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut buffer = Vec::new();
    let mut depth = 0_usize;
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer).map_err(|_| damaged())? {
            Event::Start(tag) => {
                depth += 1;
                if depth > DEEPEST {
                    return Err(Refusal::Unreadable(format!(
                        "its elements are nested deeper than {DEEPEST}"
                    )));
                }
                on(Node::Start(tag.local_name().as_ref(), &tag))?;
            }
            Event::End(tag) => {
                depth = depth.saturating_sub(1);
                on(Node::End(tag.local_name().as_ref()))?;
            }
            Event::Text(text) => on(Node::Text(&text.xml10_content()))?,
            Event::CData(text) => on(Node::Text(&text.xml10_content()))?,
            // Entities that a document declares itself are not resolved: nothing can multiply.
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(c)) => on(Node::Text(c.encode_utf8(&mut [0; 4])))?,
                Ok(None) => on(Node::Text(resolve_predefined_entity(&reference).unwrap_or_default()))?,
                Err(_) => {}
            },
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    tag.attributes()
        .flatten()
        .find(|attribute| attribute.key.local_name().as_ref() == name)
        .map(|attribute| attribute.value.into_owned())
}

/// Whether a switch such as `<w:vanish/>` is on.
fn on(tag: &BytesStart<'_>) -> bool {
    !matches!(attribute(tag, "val").as_deref(), Some("0" | "false" | "off"))
}

#[derive(Default)]
struct Title {
    inside: bool,
    text: String,
}

impl Title {
    fn node(&mut self, node: &Node<'_>) {
        match node {
            Node::Start(name, _) => self.inside = *name == "title",
            Node::End(_) => self.inside = false,
            Node::Text(text) if self.inside && self.text.len() < 1000 => self.text.push_str(text),
            Node::Text(_) => {}
        }
    }
}

/// Level of heading for each style: by its outline level, or by its English name, which Word writes in every language.
#[derive(Default)]
struct Styles {
    style: String,
    levels: HashMap<String, u8>,
}

impl Styles {
    fn node(&mut self, node: &Node<'_>) {
        let Node::Start(name, tag) = node else { return };
        if self.levels.len() >= MOST_STYLES {
            return;
        }
        match *name {
            "style" => self.style = attribute(tag, "styleId").unwrap_or_default(),
            "name" => {
                let name = attribute(tag, "val").unwrap_or_default().to_ascii_lowercase();
                let level = match name.strip_prefix("heading ") {
                    Some(digit) => digit.parse().ok(),
                    None => (name == "title").then_some(1),
                };
                self.levels.extend(level.map(|level| (self.style.clone(), level)));
            }
            "outlineLvl" => {
                let level = outline_level(tag);
                self.levels.extend(level.map(|level| (self.style.clone(), level)));
            }
            _ => {}
        }
    }
}

/// Levels count from 0; 9 is body text.
fn outline_level(tag: &BytesStart<'_>) -> Option<u8> {
    attribute(tag, "val")?.parse::<u8>().ok().filter(|level| *level < 9).map(|level| level + 1)
}

struct Body {
    outline: Outline,
    levels: HashMap<String, u8>,
    text: String,
    level: Option<u8>,
    /// Depths of what is not taken (deleted, moved away, repeated for old programs), of hidden runs, and of tables.
    unseen: usize,
    vanished: bool,
    tables: usize,
    row: String,
    in_text: bool,
    most: u64,
}

impl Body {
    fn new(limits: &Limits, levels: HashMap<String, u8>) -> Self {
        Self {
            outline: Outline::new(limits),
            levels,
            text: String::new(),
            level: None,
            unseen: 0,
            vanished: false,
            tables: 0,
            row: String::new(),
            in_text: false,
            most: limits.text_bytes,
        }
    }

    fn node(&mut self, node: &Node<'_>) -> Result<(), Refusal> {
        match node {
            Node::Start(name, _) if self.unseen > 0 => {
                self.unseen += usize::from(unseen(name));
                Ok(())
            }
            Node::Start(name, tag) => self.start(name, tag),
            Node::End(name) if self.unseen > 0 => {
                self.unseen -= usize::from(unseen(name));
                Ok(())
            }
            Node::End(name) => self.end(name),
            Node::Text(text) => {
                if self.in_text && self.unseen == 0 && !self.vanished {
                    self.text.push_str(text);
                    if self.text.len() as u64 > self.most {
                        return Err(Refusal::TooLarge(format!(
                            "its text is longer than {} bytes",
                            self.most
                        )));
                    }
                }
                Ok(())
            }
        }
    }

    fn start(&mut self, name: &str, tag: &BytesStart<'_>) -> Result<(), Refusal> {
        match name {
            _ if unseen(name) => self.unseen += 1,
            "p" if self.tables == 0 => {
                self.paragraph()?;
                self.level = None;
            }
            "pStyle" => {
                let style = attribute(tag, "val").unwrap_or_default();
                self.level = self.levels.get(&style).copied();
            }
            "outlineLvl" => self.level = outline_level(tag).or(self.level),
            "r" => self.vanished = false,
            "vanish" | "webHidden" => self.vanished = on(tag),
            "t" => self.in_text = true,
            "tab" | "ptab" => self.text.push('\t'),
            "br" | "cr" => self.text.push('\n'),
            "noBreakHyphen" => self.text.push('-'),
            "tbl" => {
                if self.tables == 0 {
                    self.paragraph()?;
                }
                self.tables += 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, name: &str) -> Result<(), Refusal> {
        match name {
            "t" => self.in_text = false,
            "p" if self.tables == 0 => self.paragraph()?,
            "p" => self.text.push(' '),
            "tc" => {
                let cell = line(&std::mem::take(&mut self.text));
                if !self.row.is_empty() {
                    self.row.push_str(" | ");
                }
                self.row.push_str(&cell);
            }
            "tr" => {
                let row = std::mem::take(&mut self.row);
                self.outline.add(BlockKind::Row, None, &row)?;
            }
            "tbl" => self.tables = self.tables.saturating_sub(1),
            _ => {}
        }
        Ok(())
    }

    fn paragraph(&mut self) -> Result<(), Refusal> {
        let text = std::mem::take(&mut self.text);
        self.vanished = false;
        match self.level.take() {
            Some(level) => self.outline.heading(level, &text),
            None => self.outline.add(BlockKind::Paragraph, None, &text),
        }
    }
}

/// Deleted, moved away, or said twice.
fn unseen(name: &str) -> bool {
    matches!(name, "del" | "moveFrom" | "Fallback")
}
