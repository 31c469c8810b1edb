//! Lines of pages into paragraphs and headings. Headers and footers that most pages repeat go; words divided at line
//! ends are joined; larger type is a heading. Pure. Invariant: but for headers, footers and joined hyphens every letter
//! of every line is in the result, in the order of the file.

use super::super::{
    BlockKind, Extracted, Limits, Refusal,
    outline::{Outline, line},
};
use std::collections::HashMap;

/// A line as it stands on the page; `y` counts from the top, in points.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) size: f64,
    pub(super) text: String,
}

/// Of the size of type: so near its neighbour a line at the edge of a page is of the same header or footer.
const CLOSE: f64 = 2.0;
/// Dots in a row that lead from a title to its page.
const LEADER: usize = 5;
/// Of the pages: what so many repeat is a header or a footer.
const REPEATED: f64 = 0.6;
/// Pages under which nothing counts as repeated.
const FEW_PAGES: usize = 3;
/// Of the size of most text: type from this size on is a heading.
const HEADING: f64 = 1.15;
/// Longest heading in characters.
const LONGEST_HEADING: usize = 150;
/// Of the usual distance of lines: more is a new paragraph.
const GAP: f64 = 1.35;

/// The document of these pages.
pub(super) fn compose(
    mut pages: Vec<Vec<Line>>,
    title: Option<String>,
    limits: &Limits,
) -> Result<Extracted, Refusal> {
    for page in &mut pages {
        for line in page.iter_mut() {
            line.text = without_leader(&self::line(&line.text));
        }
        page.retain(|line| !line.text.is_empty());
    }
    let body = body_size(&pages);
    drop_repeated(&mut pages, body);
    let leading = leading(&pages, body);
    let levels = heading_sizes(&pages, body);
    let mut outline = Outline::new(limits);
    outline.title(title.as_deref().unwrap_or_default());
    for (number, page) in (1..).zip(&pages) {
        let mut at = 0;
        while let Some(first) = page.get(at) {
            let level = level(first, &levels);
            let more = page[at + 1..].iter().zip(&page[at..]).take_while(|(next, before)| {
                self::level(next, &levels) == level && !begins(before, next, leading, level.is_some())
            });
            let count = 1 + more.count();
            let text = joined(&page[at..at + count]);
            match level {
                Some(level) if text.chars().count() <= LONGEST_HEADING => outline.heading(level, &text)?,
                Some(_) | None => outline.add(BlockKind::Paragraph, Some(number), &text)?,
            }
            at += count;
        }
    }
    outline.finish()
}

/// Whether a new paragraph begins between the two lines.
fn begins(before: &Line, next: &Line, leading: f64, heading: bool) -> bool {
    let down = next.y - before.y;
    if heading {
        return down < 0.0 || down > before.size * 2.0;
    }
    let ended = before.text.ends_with(['.', '!', '?', ':', '"', '\u{201d}', '\u{bb}']);
    let bullet = next.text.starts_with(['\u{2022}', '\u{25aa}', '\u{25cf}', '\u{2023}', '\u{25e6}']);
    if down <= 0.0 {
        // Up again: the next column, in which a sentence may go on; or another cell of the same row.
        return ended || bullet || down > -before.size;
    }
    let indented = next.x > before.x + before.size * 0.8;
    bullet || down > leading * GAP || (ended && indented)
}

/// Lines as running text; a word divided at the end of a line is joined.
fn joined(lines: &[Line]) -> String {
    let mut out = String::new();
    for line in lines {
        let mut letters = out.chars().rev();
        let last = letters.next();
        let word = letters.next().is_some_and(char::is_alphabetic);
        let next = line.text.chars().next();
        match last {
            None => {}
            Some('-' | '\u{2010}' | '\u{ad}') if word && next.is_some_and(char::is_lowercase) => {
                out.pop();
            }
            Some('-' | '\u{2010}') if word => {}
            Some(_) => out.push(' '),
        }
        out.push_str(&line.text);
    }
    out
}

/// Drops lines near the edges that most pages repeat; numbers count as equal, but not in larger type: "Chapter 3" is
/// no header.
fn drop_repeated(pages: &mut [Vec<Line>], body: f64) {
    if pages.len() < FEW_PAGES {
        return;
    }
    let shape = |line: &Line| if line.size >= body * HEADING { line.text.clone() } else { shape(&line.text) };
    let mut seen: HashMap<String, usize> = HashMap::new();
    for page in pages.iter() {
        let mut here: Vec<String> = edges(page).into_iter().map(|at| shape(&page[at])).collect();
        here.sort_unstable();
        here.dedup();
        for shape in here {
            *seen.entry(shape).or_default() += 1;
        }
    }
    let written = pages.iter().filter(|page| !page.is_empty()).count();
    #[expect(clippy::cast_precision_loss, reason = "pages are few")]
    let repeated = |line: &Line| {
        seen.get(&shape(line)).is_some_and(|count| *count as f64 >= REPEATED * written as f64 && *count > 1)
    };
    for page in pages.iter_mut() {
        let mut drop = edges(page);
        drop.retain(|at| repeated(&page[*at]));
        let mut at = 0;
        page.retain(|_| {
            at += 1;
            !drop.contains(&(at - 1))
        });
    }
}

/// `Preface . . . . . . 7` as `Preface … 7`.
fn without_leader(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut run = String::new();
    for c in text.chars().chain(['\0']) {
        if c == '.' || c == ' ' {
            run.push(c);
            continue;
        }
        if run.matches('.').count() >= LEADER {
            out.push_str(" \u{2026} ");
        } else {
            out.push_str(&run);
        }
        run.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

/// Positions of the highest and the lowest lines.
fn edges(page: &[Line]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..page.len()).collect();
    order.sort_by(|a, b| page[*a].y.total_cmp(&page[*b].y));
    let mut heights: Vec<f64> = Vec::new();
    for at in &order {
        if heights.last().is_none_or(|last| (page[*at].y - last).abs() > 1.0) {
            heights.push(page[*at].y);
        }
    }
    let near =
        |outer: f64, inner: Option<&f64>, reach: f64| inner.copied().filter(|y| (y - outer).abs() <= reach);
    let (Some(first), Some(last)) = (heights.first().copied(), heights.last().copied()) else { return order };
    let size = |y: f64| {
        page.iter().filter(|line| (line.y - y).abs() <= 1.0).map(|line| line.size).fold(0.0, f64::max)
    };
    // A second line belongs to the header when it stands close under the first; the last row of a table does not.
    let few = heights.len() < 4;
    let second = near(first, heights.get(1).filter(|_| !few), size(first) * CLOSE).unwrap_or(first);
    let second_last =
        near(last, heights.iter().rev().nth(1).filter(|_| !few), size(last) * CLOSE).unwrap_or(last);
    let (top, bottom) = (second + 1.0, second_last - 1.0);
    order.retain(|at| page[*at].y <= top || page[*at].y >= bottom);
    order
}

/// A text with every number as one sign.
fn shape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let c = if c.is_numeric() { '#' } else { c };
        if c != '#' || !out.ends_with('#') {
            out.push(c);
        }
    }
    out
}

/// The size of most letters, in half points.
fn body_size(pages: &[Vec<Line>]) -> f64 {
    let mut letters: HashMap<i64, usize> = HashMap::new();
    for line in pages.iter().flatten() {
        *letters.entry(halves(line.size)).or_default() += line.text.len();
    }
    letters.into_iter().max_by_key(|(size, count)| (*count, *size)).map_or(10.0, |(size, _)| of_halves(size))
}

#[expect(clippy::cast_possible_truncation, reason = "sizes of type are small; a cast saturates")]
fn halves(size: f64) -> i64 {
    (size * 2.0).round() as i64
}

#[expect(clippy::cast_precision_loss, reason = "sizes of type are small")]
fn of_halves(halves: i64) -> f64 {
    halves as f64 / 2.0
}

/// The usual distance from one line of text to the next: the median.
fn leading(pages: &[Vec<Line>], body: f64) -> f64 {
    let mut steps: Vec<f64> = pages
        .iter()
        .flat_map(|page| page.windows(2))
        .filter(|pair| halves(pair[0].size) == halves(body) && halves(pair[1].size) == halves(body))
        .map(|pair| pair[1].y - pair[0].y)
        .filter(|step| *step > body * 0.5 && *step < body * 3.0)
        .collect();
    steps.sort_by(f64::total_cmp);
    // The lower quartile: in a page of short paragraphs most distances are those between paragraphs.
    steps.get(steps.len() / 4).copied().unwrap_or(body * 1.2)
}

/// Sizes of headings, largest first.
fn heading_sizes(pages: &[Vec<Line>], body: f64) -> Vec<i64> {
    let mut sizes: Vec<i64> = pages
        .iter()
        .flatten()
        .filter(|line| line.size >= body * HEADING)
        .map(|line| halves(line.size))
        .collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes.dedup();
    sizes
}

fn level(line: &Line, sizes: &[i64]) -> Option<u8> {
    if line.text.contains(" \u{2026} ") {
        return None;
    }
    let at = sizes.iter().position(|size| *size == halves(line.size))?;
    Some(u8::try_from(at + 1).unwrap_or(6).min(6))
}
