//! Text as people see it. Invariant: what leaves here holds no control, zero-width, bidi, tag or other invisible
//! character except where it has a meaning between its neighbours, no run of spaces, no blank line twice in a row.
//! Source: news.md section 4 (untrusted text), Unicode 16 (Default_Ignorable_Code_Point, UTS 51 for joined emoji).

use std::borrow::Cow;

/// What a character is to a reader.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Letters of scripts in which the joiners change what is read (Arabic and its kin, Indic scripts).
fn joins(c: char) -> bool {
    matches!(c, '\u{600}'..='\u{8ff}' | '\u{900}'..='\u{dff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
}

pub(crate) fn is_emoji(c: char) -> bool {
    matches!(c, '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2194}'..='\u{21aa}'
        | '\u{231a}'..='\u{23ff}' | '\u{24c2}' | '\u{25aa}'..='\u{25fe}' | '\u{2600}'..='\u{27bf}'
        | '\u{2934}'..='\u{2935}' | '\u{2b05}'..='\u{2b55}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}'
        | '\u{1f000}'..='\u{1faff}')
}

/// Whether an invisible character has a meaning between what was written last and what follows.
fn means(c: char, last: Option<char>, next: Option<char>) -> bool {
    let emoji = |c: char| is_emoji(c) || c == '\u{fe0f}';
    match c {
        '\u{fe0e}' | '\u{fe0f}' => {
            last.is_some_and(|last| is_emoji(last) || last.is_ascii_digit() || matches!(last, '#' | '*'))
        }
        '\u{200d}' if last.is_some_and(emoji) => next.is_some_and(is_emoji),
        '\u{200c}' | '\u{200d}' => last.is_some_and(joins) && next.is_some_and(joins),
        _ => false,
    }
}

/// The text with lines kept: one space between words, at most one blank line between lines, nothing invisible.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    // What stands between the last word and the next: line ends, else a space.
    let (mut lines, mut space) = (0_usize, false);
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\u{85}' | '\u{2028}' => lines += 1,
            '\u{2029}' => lines += 2,
            '\u{2800}' => space = true,
            _ if c.is_whitespace() => space = true,
            _ if c.is_control() => {}
            _ if is_invisible(c) => {
                let last = out.chars().next_back().filter(|_| lines == 0 && !space);
                if means(c, last, chars.peek().copied()) {
                    out.push(c);
                }
            }
            _ => {
                if !out.is_empty() {
                    match lines {
                        0 if space => out.push(' '),
                        0 => {}
                        1 => out.push('\n'),
                        _ => out.push_str("\n\n"),
                    }
                }
                (lines, space) = (0, false);
                out.push(c);
            }
        }
    }
    out
}

/// The text on one line.
pub(crate) fn line(text: &str) -> String {
    clean(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The cleaned text without the addresses that stand in it: a post has one link, its own.
pub(crate) fn without_links(text: &str) -> String {
    if !text.contains("://") && !text.contains("www.") {
        return text.to_owned();
    }
    let kept = text.split_inclusive(char::is_whitespace).map(|word| {
        let bare = word.trim_start_matches(['(', '[', '<', '"', '«', '“']);
        if is_address(bare) {
            Cow::Owned(word.chars().filter(|c| c.is_whitespace()).collect::<String>())
        } else {
            Cow::Borrowed(word)
        }
    });
    clean(&kept.collect::<String>())
}

pub(crate) fn is_address(word: &str) -> bool {
    let starts = |with: &str| word.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    starts("http://") || starts("https://") || starts("www.") || starts("tg://")
}

/// The first `most` characters, cut at a word.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let Some((end, _)) = text.char_indices().nth(most) else { return text };
    let head = text.get(..end).unwrap_or_default();
    let word = head.rfind(char::is_whitespace).filter(|at| *at * 2 > end).unwrap_or(end);
    head.get(..word).unwrap_or(head).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_reader_sees_is_taken_out_and_what_has_a_meaning_stays() {
        let rows = [
            ("a\u{200b}b\u{202e}c\u{feff}", "abc"),
            (
                "👨\u{200d}👩\u{200d}👧 ❤\u{fe0f} 1\u{fe0f}\u{20e3}",
                "👨\u{200d}👩\u{200d}👧 ❤\u{fe0f} 1\u{fe0f}\u{20e3}",
            ),
            ("می\u{200c}خواهم", "می\u{200c}خواهم"),
            ("ab\u{200d}cd", "abcd"),
            ("x\u{e0041}\u{e0042}y", "xy"),
            ("  a \t b \r\n\r\n\r\n c\u{a0}d ", "a b\n\nc d"),
            ("a\u{0}\u{7}b", "ab"),
        ];
        for (text, clean_text) in rows {
            assert_eq!(clean(text), clean_text);
            assert_eq!(clean(clean_text), clean_text);
        }
    }

    #[test]
    fn addresses_leave_a_post_and_its_words_stay() {
        assert_eq!(
            without_links("Read https://a.example/x?y=1 now\n(http://b.example) end"),
            "Read now\nend"
        );
        assert_eq!(without_links("no links here"), "no links here");
    }

    #[test]
    fn a_cut_ends_at_a_word() {
        assert_eq!(cut("one two three", 9), "one two");
        assert_eq!(cut("короткий", 100), "короткий");
        assert_eq!(cut("безпробелов", 4), "безп");
    }
}
