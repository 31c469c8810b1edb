//! Pieces of words: every four neighbouring characters of the text's words with one space between, which finds other
//! endings, compounds and misspellings without knowing the language.

use super::{fold, is_dense, lower};

/// Characters of a piece; of scripts without spaces half as many.
const LENGTH: usize = 4;

/// The text that pieces are cut from: words in lower case without accents, one space before, between and after.
pub(crate) fn line(text: &str) -> String {
    let lower = lower(text);
    let mut out = String::with_capacity(lower.len() + 2);
    out.push(' ');
    for c in fold(&lower).chars() {
        if c.is_alphanumeric() {
            out.push(c);
        } else if !out.ends_with(' ') {
            out.push(' ');
        }
    }
    if !out.ends_with(' ') {
        out.push(' ');
    }
    out
}

/// The pieces of such a line.
pub(crate) fn of(line: &str) -> Vec<&str> {
    let starts: Vec<(usize, char)> = line.char_indices().chain([(line.len(), ' ')]).collect();
    let mut out = Vec::with_capacity(starts.len());
    for (n, (at, first)) in starts.iter().enumerate() {
        let length = if is_dense(*first) { LENGTH / 2 } else { LENGTH };
        if let Some((end, _)) = starts.get(n + length) {
            out.push(&line[*at..*end]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cross_words_and_ignore_case_marks_and_accents() {
        assert_eq!(of(&line("Ab, ÇD!")), [" ab ", "ab c", "b cd", " cd "]);
        assert!(of(&line("")).is_empty() && of(&line("?!")).is_empty());
        assert_eq!(of(&line("人工智能"))[1..], ["人工", "工智", "智能", "能 "]);
    }
}
