//! Documents that cannot lie about the tree: every relative link and every named file exists, pages of evidence name
//! tests that there are, and the architecture answers a newcomer's questions with a place.

use super::{Finding, Ground};
use crate::sys;

const HOUSE: &str = "ARCHITECTURE.md";
const SECTION: &str = "## Where do I change X?";
/// What a newcomer asks first; each is a row whose first cell says exactly this.
const QUESTIONS: [&str; 5] = ["a provider", "a limit", "a metric", "a failure kind", "a setting"];
/// Pages that name what proves a promise end so.
const EVIDENCE: &str = "-evidence.md";
/// Backticked words that begin so are files of this repository.
const FOLDERS: [&str; 6] = ["crates/", "xtask/", "docs/", "bench/", "deploy/", ".ci/"];

/// Links and backticked paths of every Markdown file.
pub(crate) fn names(ground: &Ground) -> Vec<Finding> {
    let root = sys::root();
    let exists = |path: &str| root.join(path).exists();
    let documents = ground.tree.files.iter().filter(|file| file.path.ends_with(".md"));
    documents.flat_map(|file| dangling(&file.path, &file.text, &exists)).collect()
}

fn dangling(path: &str, text: &str, exists: &impl Fn(&str) -> bool) -> Vec<Finding> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        let links = line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
            .map(|l| (l, joined(folder, l)));
        let links =
            links.filter(|(l, _)| !l.contains("://") && !l.starts_with('#') && !l.starts_with("mailto:"));
        let quoted = code_spans(line).filter(|word| is_path(word)).map(|word| (word, word.to_owned()));
        for (shown, target) in links.chain(quoted) {
            if !exists(target.split('#').next().unwrap_or_default()) {
                found.push(Finding::new(path, index + 1, format!("`{shown}` does not exist")));
            }
        }
    }
    found
}

/// The text between backticks.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn is_path(word: &str) -> bool {
    FOLDERS.iter().any(|folder| word.starts_with(folder)) && !word.contains(['<', '*', '{', ' ', '…', '$'])
}

fn joined(folder: &str, link: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// Tests and sources that pages of evidence name.
pub(crate) fn proofs(ground: &Ground) -> Vec<Finding> {
    let sources: Vec<_> = ground.tree.rust().collect();
    let has_test = |name: &str| {
        let head = format!("fn {name}(");
        sources.iter().any(|file| file.text.contains(&head))
    };
    let has_file = |name: &str| {
        let end = format!("/{name}");
        sources.iter().any(|file| file.path.ends_with(&end))
    };
    let pages = ground.tree.files.iter().filter(|file| file.path.ends_with(EVIDENCE));
    pages.flat_map(|page| unproved(&page.path, &page.text, &has_test, &has_file)).collect()
}

fn unproved(
    path: &str,
    text: &str,
    has_test: &impl Fn(&str) -> bool,
    has_file: &impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for word in code_spans(line) {
            if is_test(word) && !has_test(word) {
                found.push(Finding::new(path, index + 1, format!("there is no test `{word}`")));
            }
            if word.ends_with(".rs") && !word.contains(' ') && !has_file(word) {
                found.push(Finding::new(path, index + 1, format!("there is no source `{word}`")));
            }
        }
    }
    found
}

/// Names of tests are sentences.
fn is_test(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    word.bytes().all(plain) && word.matches('_').count() >= 3
}

/// The rows that a newcomer looks for, each with at least one file.
pub(crate) fn questions(ground: &Ground) -> Vec<Finding> {
    let text = ground.tree.get(HOUSE).map_or("", |file| file.text.as_str());
    unanswered(text)
}

fn unanswered(text: &str) -> Vec<Finding> {
    let section = text.split(SECTION).nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let answered = |question: &str| {
        section.lines().any(|line| {
            let mut cells = line.trim().trim_start_matches('|').splitn(2, '|').map(str::trim);
            cells.next() == Some(question) && cells.next().is_some_and(|rest| code_spans(rest).any(is_path))
        })
    };
    QUESTIONS
        .iter()
        .filter(|question| !answered(question))
        .map(|question| Finding::new(HOUSE, 0, format!("no row says which file to change for {question}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_named_files_must_exist() {
        let exists = |path: &str| matches!(path, "docs/a.md" | "crates/domain/src/lib.rs" | "README.md");
        let good = "[a](a.md#top) [r](../README.md) [w](https://example.org) `crates/domain/src/lib.rs` `crates/<x>`";
        assert_eq!(dangling("docs/b.md", good, &exists), vec![]);
        assert_eq!(dangling("docs/b.md", "[a](gone.md) and `crates/gone.rs`", &exists).len(), 2);
        assert_eq!(dangling("docs/b.md", "```\n[a](gone.md)\n```\n", &exists), vec![]);
    }

    #[test]
    fn pages_of_evidence_name_tests_and_sources_that_there_are() {
        let has_test = |name: &str| name == "an_open_breaker_admits_one_probe";
        let has_file = |name: &str| name == "it/replicas.rs";
        let look = |text| unproved("docs/evidence.md", text, &has_test, &has_file);
        assert_eq!(
            look("`an_open_breaker_admits_one_probe`, `it/replicas.rs`, `bench crowd`, `queue_depth`"),
            vec![]
        );
        assert_eq!(look("one\n`a_test_that_went_away` and `it/gone.rs`").len(), 2);
        assert_eq!(look("one\n`a_test_that_went_away`")[0].line, 2);
    }

    #[test]
    fn each_question_needs_a_row_with_a_file() {
        let rows: String = QUESTIONS.iter().map(|q| format!("| {q} | `crates/x.rs` | test |\n")).collect();
        assert_eq!(unanswered(&format!("{SECTION}\n{rows}## Next\n")), vec![]);
        assert_eq!(unanswered(&format!("{SECTION}\n## Next\n{rows}")).len(), 5);
        assert_eq!(unanswered(&format!("{SECTION}\n| a metric | one line | test |\n{rows}")), vec![]);
    }
}
