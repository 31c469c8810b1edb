//! Words of a model as a post: a tolerant reading of the Markdown that models write. Pure. Invariants: whatever is
//! written, every word of it is seen; marks that do not close stay as they are.
//!
//! Source: CommonMark, a subset: bold, italic, strike, code, fences, links, quotes, lists; news.md section 8.

use portcullis_domain::{Look, Post, Style};

/// The post of a text.
pub(super) fn post(markdown: &str) -> Post {
    let mut writer = Writer::default();
    let mut lines = markdown.trim().split('\n').peekable();
    while let Some(line) = lines.next() {
        let indented = line.trim_start();
        if let Some(info) = indented.strip_prefix("```") {
            let mut code = Vec::new();
            for inner in lines.by_ref() {
                if inner.trim_start().starts_with("```") {
                    break;
                }
                code.push(inner);
            }
            let language = info.split_whitespace().next().map(Into::into);
            writer.styled(Look::Lines(language), |writer| writer.push(&code.join("\n")));
        } else if let Some(title) = heading(indented) {
            writer.styled(Look::Bold, |writer| writer.inline(title));
        } else if let Some(first) = quoted(indented) {
            writer.styled(Look::Quote, |writer| {
                writer.inline(first);
                while let Some(next) = lines.peek().and_then(|line| quoted(line.trim_start())) {
                    writer.push("\n");
                    writer.inline(next);
                    lines.next();
                }
            });
        } else if let Some(item) = ["- ", "* ", "+ "].iter().find_map(|mark| indented.strip_prefix(mark)) {
            writer.push(&line[..line.len() - indented.len()]);
            writer.push("• ");
            writer.inline(item);
        } else {
            writer.inline(line);
        }
        if lines.peek().is_some() {
            writer.push("\n");
        }
    }
    let mut styles = writer.styles;
    styles.sort_by_key(|style| (style.start, std::cmp::Reverse(style.length)));
    Post { styles, ..Post::text(writer.text) }
}

fn heading(line: &str) -> Option<&str> {
    let title = line.trim_start_matches('#');
    let marks = line.len() - title.len();
    (1..=6).contains(&marks).then(|| title.strip_prefix(' ')).flatten().map(str::trim)
}

fn quoted(line: &str) -> Option<&str> {
    line.strip_prefix('>').map(|rest| rest.strip_prefix(' ').unwrap_or(rest))
}

#[derive(Default)]
struct Writer {
    text: String,
    units: usize,
    styles: Vec<Style>,
}

/// Marks around words, longest first.
const PAIRS: [(&str, Look); 6] = [
    ("**", Look::Bold),
    ("__", Look::Bold),
    ("~~", Look::Strike),
    ("*", Look::Italic),
    ("_", Look::Italic),
    ("`", Look::Mono),
];

impl Writer {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.units += text.chars().map(char::len_utf16).sum::<usize>();
    }

    fn styled(&mut self, look: Look, write: impl FnOnce(&mut Self)) {
        let start = self.units;
        write(self);
        if self.units > start {
            self.styles.push(Style { start, length: self.units - start, look });
        }
    }

    /// Words with marks inside a line.
    fn inline(&mut self, text: &str) {
        let mut at = 0;
        'text: while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            if c == '\\' && rest[1..].starts_with(|c: char| c.is_ascii_punctuation()) {
                self.push(&rest[1..2]);
                at += 2;
                continue;
            }
            if let Some((label, url, long)) = link(rest) {
                self.styled(Look::Link(url.into()), |writer| writer.inline(label));
                at += long;
                continue;
            }
            let before = text[..at].chars().next_back();
            for (mark, look) in &PAIRS {
                if let Some(inner) = between(rest, mark, before) {
                    let code = *look == Look::Mono;
                    self.styled(
                        look.clone(),
                        |writer| if code { writer.push(inner) } else { writer.inline(inner) },
                    );
                    at += inner.len() + 2 * mark.len();
                    continue 'text;
                }
            }
            self.push(&rest[..c.len_utf8()]);
            at += c.len_utf8();
        }
    }
}

/// What stands between two marks: not nothing, no space at its ends; underscores only around whole words.
fn between<'a>(rest: &'a str, mark: &str, before: Option<char>) -> Option<&'a str> {
    let inner = rest.strip_prefix(mark)?;
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    if mark.starts_with('_') && is_word(before) {
        return None;
    }
    let mut from = 0;
    loop {
        let end = from + inner.get(from..)?.find(mark)?;
        let words = &inner[..end];
        let after = inner[end + mark.len()..].chars().next();
        // The longer mark of the same sign is another mark.
        let longer =
            mark.len() == 1 && mark != "`" && (after == mark.chars().next() || words.ends_with(mark));
        let fits = !words.is_empty() && (mark == "`" || words.trim() == words) && !longer;
        if fits && !(mark.starts_with('_') && is_word(after)) {
            return Some(words);
        }
        from = end + mark.len() + usize::from(longer && after == mark.chars().next());
    }
}

/// Label, address and length of a link at the beginning of a text.
fn link(rest: &str) -> Option<(&str, &str, usize)> {
    let inner = rest.strip_prefix('[')?;
    let label = &inner[..inner.find("](")?];
    let tail = &inner[label.len() + 2..];
    let url = &tail[..tail.find(')')?];
    let known = ["https://", "http://", "tg://", "mailto:"].iter().any(|scheme| url.starts_with(scheme));
    let plain = !label.is_empty() && !label.contains(['[', ']', '\n']) && !url.contains(char::is_whitespace);
    (known && plain).then_some((label, url, label.len() + url.len() + 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(markdown: &str) -> (String, Vec<(usize, usize, Look)>) {
        let post = post(markdown);
        (post.text, post.styles.into_iter().map(|style| (style.start, style.length, style.look)).collect())
    }

    #[test]
    fn marks_become_looks_and_odd_marks_stay() {
        let link = Look::Link("https://example.org/a".into());
        let rows = [
            ("**bold** and *it*", "bold and it", vec![(0, 4, Look::Bold), (9, 2, Look::Italic)]),
            (
                "👍 __b__ ~~s~~ `a*b*`",
                "👍 b s a*b*",
                vec![(3, 1, Look::Bold), (5, 1, Look::Strike), (7, 4, Look::Mono)],
            ),
            ("**a *b* c**", "a b c", vec![(0, 5, Look::Bold), (2, 1, Look::Italic)]),
            ("[see **this**](https://example.org/a)!", "see this!", vec![(0, 8, link), (4, 4, Look::Bold)]),
            ("snake_case_name and 2 * 3 * 4", "snake_case_name and 2 * 3 * 4", vec![]),
            ("a ** b, *open", "a ** b, *open", vec![]),
            (r"\*not\* it", "*not* it", vec![]),
            ("# Title\n- one\n- two", "Title\n• one\n• two", vec![(0, 5, Look::Bold)]),
            ("> said\n> so\nme", "said\nso\nme", vec![(0, 7, Look::Quote)]),
            (
                "```rust\nlet a = 1;\n```\nend",
                "let a = 1;\nend",
                vec![(0, 10, Look::Lines(Some("rust".into())))],
            ),
            ("[x](javascript:1)", "[x](javascript:1)", vec![]),
        ];
        for (markdown, text, styles) in rows {
            assert_eq!(told(markdown), (text.to_owned(), styles), "{markdown}");
        }
    }

    proptest! {
        #[test]
        fn no_word_is_lost(text in "[a-z*_`~\\[\\]()>#\n \\\\👍-]{0,80}") {
            let post = post(&text);
            let words = |text: &str| text.chars().filter(|c| c.is_alphabetic()).collect::<String>();
            if !text.contains("```") {
                prop_assert_eq!(words(&post.text), words(&text));
            }
            let units: usize = post.text.chars().map(char::len_utf16).sum();
            for style in &post.styles {
                prop_assert!(style.length > 0 && style.start + style.length <= units);
            }
        }
    }
}
