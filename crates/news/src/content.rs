//! Pieces of a tree as text. Invariant: what people do not see (scripts, templates, hidden elements) is never taken.
//! Source: HTML standard 15.3.1 (hidden elements).

use crate::{
    markup::{Element, Kind, Tree, is_block},
    text::clean,
};
use std::ops::Range;

/// Whether people do not see it.
pub(crate) fn is_hidden(element: Element<'_, '_>) -> bool {
    is_never_text(element) || is_made_invisible(element)
}

/// Whether what stands inside is no text of the page.
pub(crate) fn is_never_text(element: Element<'_, '_>) -> bool {
    const NEVER: [&str; 21] = [
        "script", "style", "noscript", "template", "svg", "rt", "rp", "iframe", "object", "audio", "video",
        "canvas", "select", "datalist", "textarea", "title", "head", "xmp", "noembed", "noframes", "button",
    ];
    let name = element.name();
    NEVER.contains(&name) || (name == "dialog" && element.attribute("open").is_none())
}

/// Whether attributes of the element hide it.
pub(crate) fn is_made_invisible(element: Element<'_, '_>) -> bool {
    element.attribute("hidden").is_some_and(|value| value != "false")
        || element.attribute("aria-hidden").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || element.attribute("style").is_some_and(hides)
}

/// Whether a style makes an element invisible.
fn hides(style: &str) -> bool {
    if !style.contains([':']) {
        return false;
    }
    style.split(';').any(|declaration| {
        let Some((property, value)) = declaration.split_once(':') else { return false };
        let value = value.trim().trim_end_matches("!important").trim();
        let is = |wanted: &str| value.eq_ignore_ascii_case(wanted);
        let nought =
            || value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%').parse() == Ok(0.0_f32);
        match property.trim().to_ascii_lowercase().as_str() {
            "display" => is("none"),
            "visibility" => is("hidden") || is("collapse"),
            "opacity" | "font-size" => nought(),
            _ => false,
        }
    })
}

/// The text of a stretch of nodes without what is hidden and what `skip` names.
pub(crate) fn text(
    tree: &Tree<'_>,
    range: Range<usize>,
    mut skip: impl FnMut(Element<'_, '_>) -> bool,
) -> String {
    without(tree, range, |element| is_hidden(element) || skip(element))
}

/// The text of a stretch of nodes without what `skip` names.
pub(crate) fn without(
    tree: &Tree<'_>,
    range: Range<usize>,
    mut skip: impl FnMut(Element<'_, '_>) -> bool,
) -> String {
    let mut out = Writer::default();
    let mut at = range.start;
    while at < range.end {
        out.leave(at);
        match tree.kind(at) {
            Some(Kind::Text(text)) => out.text(text),
            Some(Kind::Element(tag)) => {
                let element = Element { tree, at, tag };
                let end = tree.inside(at).end;
                if skip(element) {
                    // Two words with something between them are two words.
                    out.gap(element.name());
                    at = end;
                    continue;
                }
                out.enter(element.name(), end);
            }
            None => break,
        }
        at += 1;
    }
    out.done()
}

/// All text that is seen inside an element.
pub(crate) fn whole(element: Element<'_, '_>) -> String {
    text(element.tree, element.tree.inside(element.at), |_| false)
}

/// Text with the lines that elements make.
#[derive(Default)]
struct Writer {
    out: String,
    /// Where the open blocks end, and how many line ends follow each.
    ends: Vec<(usize, usize)>,
    /// Where the outermost preformatted element ends.
    preformatted: usize,
    at: usize,
}

impl Writer {
    fn leave(&mut self, at: usize) {
        self.at = at;
        while let Some((_, lines)) = self.ends.pop_if(|(end, _)| *end <= at) {
            self.lines(lines);
        }
    }

    /// At least so many line ends before what follows.
    fn lines(&mut self, wanted: usize) {
        self.out.truncate(self.out.trim_end_matches([' ', '\t']).len());
        let there = self.out.bytes().rev().take(wanted).take_while(|byte| *byte == b'\n').count();
        self.out.extend(std::iter::repeat_n('\n', wanted - there));
    }

    fn enter(&mut self, name: &str, end: usize) {
        let lines = match name {
            "br" => return self.out.push('\n'),
            "td" | "th" => return self.out.push(' '),
            "li" | "tr" | "dt" | "dd" | "option" | "summary" | "figcaption" | "caption" | "legend"
            | "div" | "section" | "article" | "main" | "header" | "footer" | "aside" | "nav" | "form"
            | "center" | "address" => 1,
            _ if is_block(name) => 2,
            _ => return,
        };
        if name == "pre" {
            self.preformatted = self.preformatted.max(end);
        }
        self.lines(lines);
        self.ends.push((end, lines));
    }

    /// Something that is not read stood here.
    fn gap(&mut self, name: &str) {
        if is_block(name) {
            self.lines(1);
        }
    }

    fn text(&mut self, text: &str) {
        if self.at < self.preformatted {
            self.out.push_str(text);
        } else {
            self.out.extend(text.chars().map(|c| if matches!(c, '\n' | '\r' | '\u{c}') { ' ' } else { c }));
        }
    }

    fn done(mut self) -> String {
        self.leave(usize::MAX);
        clean(&self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(html: &str) -> String {
        let tree = Tree::html(html);
        text(&tree, 0..tree.len(), |_| false)
    }

    #[test]
    fn what_is_hidden_is_not_read() {
        let rows = [
            ("a<span style='DISPLAY : none !important'>b</span>c", "ac"),
            ("a<span style='opacity:0.5'>b</span>c", "abc"),
            ("a<p hidden>b</p>c", "a\nc"),
            ("<p aria-hidden=true>x</p>y<script>var a = '<p>no</p>'</script>", "y"),
            ("<template><p>no</p></template><noscript>no</noscript>yes", "yes"),
            ("<span style='font-size:0px'>no</span><b style='visibility:hidden'>no</b>yes", "yes"),
        ];
        for (html, text) in rows {
            assert_eq!(seen(html), text, "{html}");
        }
    }

    #[test]
    fn blocks_make_lines_and_preformatted_text_keeps_its_own() {
        assert_eq!(seen("<p>one\n two<br>three</p><p>four</p>five"), "one two\nthree\n\nfour\n\nfive");
        assert_eq!(seen("<ul><li>a<li>b</ul><pre>x\ny</pre>z"), "a\nb\n\nx\ny\n\nz");
        assert_eq!(seen("<table><tr><td>a<td>b<tr><td>c</table>"), "a b\nc");
    }
}
