//! Lines that a source puts below its posts ("subscribe to ..."). Invariant: only whole lines at the end are cut, and
//! never the first line of a post. Source: news.md section 4.

use crate::duplicates::normal;
use std::collections::{HashMap, HashSet};

/// Posts that are looked at.
const LAST: usize = 20;
/// Part of them that a line must end: 3 of 5.
const PART: (usize, usize) = (3, 5);
/// Posts that a line must end at least, so that two posts alike are no custom.
const LEAST: usize = 3;
/// Lines of one ending.
const MOST_LINES: usize = 6;

/// The endings of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boilerplate {
    lines: HashSet<String>,
}

impl Boilerplate {
    /// What the newest posts of a source end with; `texts` comes newest first.
    #[must_use]
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut posts: Vec<Vec<&str>> = texts.into_iter().take(LAST).map(lines).collect();
        let mut found = Self::default();
        for _ in 0..MOST_LINES {
            let mut counts: HashMap<String, usize> = HashMap::new();
            for last in posts.iter().filter(|lines| lines.len() > 1).filter_map(|lines| lines.last()) {
                *counts.entry(key(last)).or_default() += 1;
            }
            counts.retain(|_, count| *count >= LEAST && *count * PART.1 >= posts.len() * PART.0);
            if counts.is_empty() {
                break;
            }
            found.lines.extend(counts.into_keys());
            for lines in &mut posts {
                found.shorten(lines);
            }
        }
        found
    }

    /// The text without these endings.
    #[must_use]
    pub fn cut<'a>(&self, text: &'a str) -> &'a str {
        if self.lines.is_empty() {
            return text;
        }
        let mut kept = lines(text);
        let whole = kept.len();
        self.shorten(&mut kept);
        let mut rest = text;
        for _ in kept.len()..whole {
            let line = rest.trim_end();
            rest = line.get(..line.rfind('\n').unwrap_or(0)).unwrap_or_default();
        }
        if kept.len() == whole { text } else { rest.trim_end() }
    }

    fn shorten(&self, lines: &mut Vec<&str>) {
        while lines.len() > 1 && lines.pop_if(|last| self.lines.contains(&key(last))).is_some() {}
    }
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()).collect()
}

/// What a line is known by: its words, or where it has none, itself.
fn key(line: &str) -> String {
    let normal = normal(line);
    let words: String = normal
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    if words.is_empty() { line.trim().to_owned() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_most_posts_is_cut_from_all() {
        let mut posts: Vec<String> = (0..14)
            .map(|n| format!("News {n}\n\nMore words {n}\n\n👉 Subscribe to City Desk!\n———"))
            .collect();
        posts.extend((14..20).map(|n| format!("Bare news {n}\nNothing below")));
        let found = Boilerplate::of(posts.iter().map(String::as_str));
        assert_eq!(found.cut(&posts[3]), "News 3\n\nMore words 3");
        assert_eq!(found.cut("New words\nSUBSCRIBE to city desk\n———"), "New words");
        assert_eq!(found.cut(&posts[19]), posts[19], "what ends few posts stays");
        assert_eq!(found.cut("Subscribe to City Desk"), "Subscribe to City Desk", "a post is never cut away");
    }

    #[test]
    fn few_posts_and_different_endings_have_no_boilerplate() {
        assert_eq!(Boilerplate::of(["a\nend", "b\nend"]), Boilerplate::default());
        let posts: Vec<String> = (0..20).map(|n| format!("words\nend {n}")).collect();
        assert_eq!(Boilerplate::of(posts.iter().map(String::as_str)), Boilerplate::default());
        let half: Vec<String> =
            (0..20).map(|n| if n % 2 == 0 { "words\nend".into() } else { format!("words\n{n}") }).collect();
        assert_eq!(Boilerplate::of(half.iter().map(String::as_str)), Boilerplate::default());
    }

    #[test]
    fn only_the_last_twenty_count() {
        let posts = (0..20).map(|_| "new\nwords").chain((0..100).map(|_| "old\nfooter"));
        let found = Boilerplate::of(posts);
        assert_eq!(found.cut("x\nfooter"), "x\nfooter");
    }
}
