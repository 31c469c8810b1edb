//! What every source file must have and must not have: a header that says what it is, a readable size, no
//! unfinished work, nothing that only exists on one machine.

use super::{Finding, Ground};
use crate::sys;
use crate::tree::{File, Tree};

const WARN_LINES: usize = 500;
const MOST_LINES: usize = 800;
/// A header line that gives the reason for a long file.
const REASON: &str = "//! Size:";

/// Every Rust file begins with `//!`: what it is, its invariant, its source.
pub(crate) fn headers(ground: &Ground) -> Vec<Finding> {
    ground
        .tree
        .rust()
        .filter(|file| !file.text.trim_start_matches("#!").starts_with("//!"))
        .map(|file| Finding::new(&file.path, 1, "begins without `//!`: say what it is and its invariant"))
        .collect()
}

/// Files above 500 lines need a reason, above 800 a split.
pub(crate) fn sizes(ground: &Ground) -> Vec<Finding> {
    ground.tree.rust().filter(|file| !may_be_long(file)).filter_map(too_long).collect()
}

fn too_long(file: &File) -> Option<Finding> {
    let lines = file.text.lines().count();
    if lines > MOST_LINES {
        return Some(Finding::new(&file.path, 0, format!("{lines} lines: split it (at most {MOST_LINES})")));
    }
    (lines > WARN_LINES && !file.text.contains(REASON)).then(|| {
        let message = format!("{lines} lines: split it, or give the reason in a header line `{REASON} ...`");
        Finding::warning(&file.path, 0, message)
    })
}

/// Tables, generated files and tests read from top to bottom whatever their length.
fn may_be_long(file: &File) -> bool {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    file.path.contains("/tests/")
        || file.path.contains("/benches/")
        || name == "tests.rs"
        || name.ends_with("_tests.rs")
        || name.ends_with("table.rs")
        || name.ends_with("tables.rs")
        || file.text.starts_with("//! Generated")
}

/// Words that mean "not done". Split here so that this file does not find itself.
const UNFINISHED: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const UNFINISHED_CODE: [&str; 3] =
    [concat!("todo", "!("), concat!("unimple", "mented!("), concat!("#[ign", "ore")];

/// Work that was put off is an issue, not a comment.
pub(crate) fn unfinished(ground: &Ground) -> Vec<Finding> {
    readable(&ground.tree)
        .flat_map(|file| lines_where(file, |line| unfinished_word(line).map(|w| format!("`{w}`: finish it"))))
        .collect()
}

fn unfinished_word(line: &str) -> Option<&'static str> {
    // A test that takes minutes is finished: it names the command that runs it.
    let soak = line.contains("cargo xtask soak ");
    let code = UNFINISHED_CODE.iter().find(|word| line.contains(**word) && !soak);
    code.or_else(|| UNFINISHED.iter().find(|word| has_word(line, word))).copied()
}

/// Whether `word` stands in `line` with no letter, digit or underscore on either side.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|s| s.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|s| s.chars().next());
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

/// Hosts and folders that mean something on one machine only.
const PLACES: [&str; 9] = [
    concat!("/work/", "main"),
    concat!("/work/", "shared"),
    concat!("/tmp/", "wt/"),
    concat!("--index", "-url"),
    concat!("pypi.org/", "simple"),
    concat!("registry.npm", "js.org"),
    concat!("static.crates", ".io"),
    concat!("index.crates", ".io"),
    concat!("replace-", "with = "),
];

/// No absolute path of this machine, no registry host: a fresh clone elsewhere must work the same.
pub(crate) fn places(ground: &Ground) -> Vec<Finding> {
    let here = sys::root().to_string_lossy().into_owned();
    let home = sys::env("HOME").filter(|h| h.matches('/').count() >= 2).map(|h| h + "/");
    let mut words: Vec<String> = PLACES.iter().map(|p| (*p).to_owned()).collect();
    words.push(here);
    words.extend(home);
    let find = |line: &str| {
        words.iter().find(|w| line.contains(w.as_str())).map(|w| format!("`{w}` exists on one machine only"))
    };
    ground.tree.files.iter().filter(|f| f.path != "Cargo.lock").flat_map(|f| lines_where(f, find)).collect()
}

fn readable(tree: &Tree) -> impl Iterator<Item = &File> {
    const ENDINGS: [&str; 9] = [".rs", ".sh", ".toml", ".yml", ".yaml", ".py", ".md", ".sql", ".ci/run"];
    tree.files.iter().filter(|file| ENDINGS.iter().any(|ending| file.path.ends_with(ending)))
}

/// One finding for each line that `find` has something to say about.
pub(crate) fn lines_where(file: &File, find: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    file.text
        .lines()
        .enumerate()
        .filter_map(|(index, line)| Some(Finding::new(&file.path, index + 1, find(line)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground(path: &str, text: &str) -> Ground {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        Ground { tree: Tree { files: vec![file] }, packages: Vec::new(), resolved: Vec::new() }
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        assert_eq!(headers(&ground("a.rs", "//! What it is.\n")), vec![]);
        assert_eq!(headers(&ground("a.rs", "fn main() {}\n")).len(), 1);
        assert_eq!(headers(&ground("a.md", "text\n")), vec![]);
    }

    #[test]
    fn long_files_warn_then_fail_unless_they_are_tests_or_tables() {
        let lines = |n: usize| format!("//! It.\n{}", "x\n".repeat(n - 1));
        assert_eq!(sizes(&ground("a.rs", &lines(500))), vec![]);
        assert!(sizes(&ground("a.rs", &lines(501))).iter().all(|f| !f.fatal));
        assert_eq!(sizes(&ground("a.rs", &lines(501))).len(), 1);
        assert!(sizes(&ground("a.rs", &lines(801))).iter().all(|f| f.fatal));
        assert_eq!(sizes(&ground("src/tests.rs", &lines(2000))), vec![]);
        assert_eq!(sizes(&ground("a.rs", &format!("//! Size: one state machine.\n{}", lines(600)))), vec![]);
    }

    #[test]
    fn unfinished_work_is_found_as_a_word_only() {
        let text = format!("// {}: later\n", UNFINISHED[0]);
        assert_eq!(unfinished(&ground("a.rs", &text)).len(), 1);
        assert_eq!(unfinished(&ground("a.rs", "// sk-XXXXXX is masked, TODOS is no word\n")), vec![]);
        assert_eq!(unfinished(&ground("a.rs", &format!("{})]\n", UNFINISHED_CODE[2]))).len(), 1);
        assert_eq!(unfinished(&ground("data.json", &text)), vec![]);
    }

    #[test]
    fn a_path_of_this_machine_is_found() {
        let text = format!("let a = \"{}/x\";\nlet b = 1;\n", sys::root().display());
        let found = places(&ground("a.rs", &text));
        assert_eq!(found.iter().map(|f| f.line).collect::<Vec<_>>(), vec![1]);
        assert_eq!(places(&ground("Cargo.lock", PLACES[7])), vec![]);
    }
}
