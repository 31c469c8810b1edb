//! Markdown (CommonMark with tables) with front matter: `title`, `url` and `category` between two lines of `---`.
//! Links give their words, pictures their descriptions; HTML in it is read as HTML.

use super::{
    BlockKind, Extracted, Limits, Refusal, html,
    outline::{Outline, line},
};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

pub(super) fn read(text: &str, limits: &Limits) -> Result<Extracted, Refusal> {
    let text = text.replace("\r\n", "\n");
    let mut reader = Reader {
        outline: Outline::new(limits),
        text: String::new(),
        kind: BlockKind::Paragraph,
        depth: 0,
        numbers: Vec::new(),
        html: String::new(),
        limits: *limits,
    };
    let body = match front_matter(&text) {
        Some((matter, body)) => {
            reader.front_matter(matter);
            body
        }
        None => text.as_str(),
    };
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS;
    for event in Parser::new_ext(body, options) {
        reader.event(event)?;
    }
    reader.flush()?;
    reader.outline.finish()
}

/// What stands between `---` at the very beginning and the next `---` or `...`, and what follows.
fn front_matter(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("---\n")?;
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if matches!(line.trim_end(), "---" | "...") {
            return Some((rest.get(..at)?, rest.get(at + line.len()..)?));
        }
        at += line.len();
    }
    None
}

struct Reader {
    outline: Outline,
    /// The block that is being read.
    text: String,
    kind: BlockKind,
    /// Lists, quotes and items around.
    depth: usize,
    /// Next number of each list around; none: bullets.
    numbers: Vec<Option<u64>>,
    html: String,
    limits: Limits,
}

impl Reader {
    fn front_matter(&mut self, matter: &str) {
        for row in matter.lines() {
            let Some((key, value)) = row.split_once(':') else { continue };
            let value = line(value.trim().trim_matches(['"', '\'']));
            if value.is_empty() {
                continue;
            }
            match key.trim().to_ascii_lowercase().as_str() {
                "title" => self.outline.title(&value),
                "url" if value.starts_with("https://") || value.starts_with("http://") => {
                    self.outline.out().url = Some(value);
                }
                "category" => self.outline.out().category = Some(value.chars().take(100).collect()),
                _ => {}
            }
        }
    }

    fn event(&mut self, event: Event<'_>) -> Result<(), Refusal> {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Code(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                self.text.push_str(&text);
                Ok(())
            }
            Event::Html(html) => {
                self.html.push_str(&html);
                Ok(())
            }
            Event::InlineHtml(html) => {
                if html.to_ascii_lowercase().starts_with("<br") {
                    self.text.push('\n');
                }
                Ok(())
            }
            Event::SoftBreak => {
                self.text.push(' ');
                Ok(())
            }
            Event::HardBreak => {
                self.text.push('\n');
                Ok(())
            }
            Event::Rule => self.flush(),
            Event::FootnoteReference(_) => Ok(()),
            Event::TaskListMarker(done) => {
                self.text.push_str(if done { "[x] " } else { "[ ] " });
                Ok(())
            }
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a parser's words: what is not named adds no text of its own"
    )]
    fn start(&mut self, tag: &Tag<'_>) -> Result<(), Refusal> {
        match tag {
            Tag::Heading { .. } | Tag::Table(_) | Tag::TableRow | Tag::TableHead => self.flush(),
            Tag::CodeBlock(_) if self.depth == 0 => {
                self.flush()?;
                self.kind = BlockKind::Code;
                Ok(())
            }
            Tag::Paragraph | Tag::CodeBlock(_) => {
                if self.depth == 0 {
                    return self.flush();
                }
                // The second paragraph of an item stays with it, on a line of its own.
                if !self.text.is_empty() && !self.text.ends_with([' ', '\n']) {
                    self.text.push('\n');
                }
                Ok(())
            }
            Tag::List(first) => {
                if self.depth == 0 {
                    self.flush()?;
                }
                self.numbers.push(*first);
                self.depth += 1;
                Ok(())
            }
            Tag::Item => {
                if !self.text.is_empty() && !self.text.ends_with('\n') {
                    self.text.push('\n');
                }
                for _ in 1..self.numbers.len().min(8) {
                    self.text.push_str("  ");
                }
                match self.numbers.last_mut() {
                    Some(Some(number)) => {
                        self.text.push_str(&format!("{number}. "));
                        *number = number.saturating_add(1);
                    }
                    Some(None) | None => self.text.push_str("- "),
                }
                Ok(())
            }
            Tag::BlockQuote(_) | Tag::FootnoteDefinition(_) => {
                if self.depth == 0 {
                    self.flush()?;
                }
                self.depth += 1;
                Ok(())
            }
            Tag::HtmlBlock => {
                self.html.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a parser's words: what is not named adds no text of its own"
    )]
    fn end(&mut self, tag: TagEnd) -> Result<(), Refusal> {
        match tag {
            TagEnd::Heading(level) => {
                let text = std::mem::take(&mut self.text);
                self.outline.heading(depth(level), &text)
            }
            TagEnd::Paragraph | TagEnd::CodeBlock if self.depth == 0 => self.flush(),
            TagEnd::List(_) => {
                self.numbers.pop();
                self.leave()
            }
            TagEnd::BlockQuote(_) | TagEnd::FootnoteDefinition => self.leave(),
            TagEnd::TableCell => {
                self.text.push_str(" | ");
                Ok(())
            }
            TagEnd::TableRow | TagEnd::TableHead => {
                let row = line(self.text.trim_end_matches([' ', '|']));
                self.text.clear();
                self.outline.add(BlockKind::Row, None, &row)
            }
            TagEnd::HtmlBlock => self.html(),
            _ => Ok(()),
        }
    }

    fn leave(&mut self) -> Result<(), Refusal> {
        self.depth = self.depth.saturating_sub(1);
        if self.depth == 0 { self.flush() } else { Ok(()) }
    }

    /// HTML between paragraphs: its words.
    fn html(&mut self) -> Result<(), Refusal> {
        let html = std::mem::take(&mut self.html);
        self.flush()?;
        for block in html::read(&html, &self.limits)?.blocks {
            self.outline.add(block.kind, None, &block.text)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Refusal> {
        let text = std::mem::take(&mut self.text);
        let kind = std::mem::replace(&mut self.kind, BlockKind::Paragraph);
        self.outline.add(kind, None, &text)
    }
}

const fn depth(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}
