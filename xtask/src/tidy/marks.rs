//! Requirements and what proves them. A test carries `// req: ID, ID` above itself or in the header of its file, a
//! script `# req: ID`, a checked document `<!-- req: ID -->`. `docs/requirements.md` lists every id with its state; a `built` one has
//! at least one mark, and its last column names the files, written by `cargo xtask codegen`.

use super::{Finding, Ground};
use crate::tree::{File, Tree};
use std::collections::BTreeSet;

/// The table.
pub(crate) const REQUIREMENTS: &str = "docs/requirements.md";
const NOBODY: &str = "-";

/// One mark in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    path: String,
    line: usize,
    id: String,
    /// Whether a test function follows (always true outside Rust).
    on_test: bool,
}

/// One row of the table: `| ids | must | place | state | proved by |`.
struct Row<'a> {
    line: usize,
    ids: Vec<&'a str>,
    state: &'a str,
}

pub(crate) fn check(ground: &Ground) -> Vec<Finding> {
    let Some(table) = ground.tree.get(REQUIREMENTS) else {
        return vec![Finding::new(REQUIREMENTS, 0, "missing: it lists what must be proved")];
    };
    let marks = marks(&ground.tree);
    let mut found = pairs(&table.text, &marks);
    if with_proofs(&table.text, &marks) != table.text {
        found.push(Finding::new(
            REQUIREMENTS,
            0,
            "the last column is out of date: run `cargo xtask codegen`",
        ));
    }
    found
}

/// The table with its last column written anew.
pub(crate) fn filled(tree: &Tree) -> Option<String> {
    Some(with_proofs(&tree.get(REQUIREMENTS)?.text, &marks(tree)))
}

fn pairs(table: &str, marks: &[Mark]) -> Vec<Finding> {
    let rows: Vec<Row> = table.lines().enumerate().filter_map(|(i, line)| row(i + 1, line)).collect();
    let mut found = Vec::new();
    for mark in marks {
        if !rows.iter().any(|row| row.proved_by(&mark.id)) {
            let message = format!("`{}` is not in {REQUIREMENTS}", mark.id);
            found.push(Finding::new(&mark.path, mark.line, message));
        }
        if !mark.on_test {
            let message = format!("the mark `{}` stands on no test: what proves it?", mark.id);
            found.push(Finding::new(&mark.path, mark.line, message));
        }
    }
    for row in &rows {
        match row.state {
            "built" if !marks.iter().any(|mark| row.proved_by(&mark.id)) => {
                let message = format!("{} is called built and no test is marked with it", row.ids.join(", "));
                found.push(Finding::new(REQUIREMENTS, row.line, message));
            }
            "built" | "part" | "planned" => {}
            other => {
                let message = format!("state `{other}`: say built, part or planned");
                found.push(Finding::new(REQUIREMENTS, row.line, message));
            }
        }
    }
    found
}

impl Row<'_> {
    /// A family such as `S2-4.x` is proved by any of its members.
    fn proved_by(&self, mark: &str) -> bool {
        self.ids.iter().any(|id| {
            *id == mark || id.strip_suffix('x').is_some_and(|f| f.ends_with('.') && mark.starts_with(f))
        })
    }
}

fn row(line: usize, text: &str) -> Option<Row<'_>> {
    let cells: Vec<&str> =
        text.trim().strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
    let ids: Vec<&str> = cells.first()?.split(',').map(str::trim).collect();
    (cells.len() == 5 && ids.iter().all(is_id)).then(|| Row { line, ids, state: cells[3] })
}

fn is_id(word: &&str) -> bool {
    word.strip_prefix('S').is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()) && r.contains('-'))
}

/// The ids of a list with commas or spaces between them.
fn listed(ids: &str) -> impl Iterator<Item = &str> {
    ids.trim_end_matches("-->").split([',', ' ']).map(str::trim).filter(|id| !id.is_empty())
}

fn with_proofs(table: &str, marks: &[Mark]) -> String {
    let mut text = String::with_capacity(table.len());
    for (index, line) in table.lines().enumerate() {
        match row(index + 1, line).zip(line.trim_end().trim_end_matches('|').rsplit_once('|')) {
            Some((row, (kept, _))) => {
                let files: BTreeSet<&str> =
                    marks.iter().filter(|m| row.proved_by(&m.id)).map(|m| m.path.as_str()).collect();
                let cell = files.iter().map(|f| format!("`{f}`")).collect::<Vec<_>>().join(", ");
                let cell = if cell.is_empty() { NOBODY } else { &cell };
                text.push_str(&format!("{kept}| {cell} |\n"));
            }
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

fn marks(tree: &Tree) -> Vec<Mark> {
    tree.files.iter().filter(|file| file.path != REQUIREMENTS).flat_map(marks_of).collect()
}

fn marks_of(file: &File) -> Vec<Mark> {
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    let ending = file.path.rsplit('.').next().unwrap_or_default();
    let opening = match ending {
        "rs" => "// req:",
        "md" => "<!-- req:",
        _ => "# req:",
    };
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let header = line.starts_with("//!") && ending == "rs";
        let ids = match header {
            // A header that speaks about marks is none.
            true => {
                line.split_once("// req:").map(|(_, ids)| ids).filter(|ids| listed(ids).all(|id| is_id(&id)))
            }
            false => line.strip_prefix(opening),
        };
        let Some(ids) = ids else { continue };
        let on_test = ending != "rs" || above_test(&lines, index) || (header && lines.iter().any(is_test));
        for id in listed(ids) {
            found.push(Mark { path: file.path.clone(), line: index + 1, id: id.to_owned(), on_test });
        }
    }
    found
}

/// A mark proves something when it stands among the attributes and comments of a test function.
fn above_test(lines: &[&str], at: usize) -> bool {
    let dressing =
        |line: &&&str| line.starts_with('#') || line.starts_with("//") || line.starts_with("proptest!");
    let (before, after) = lines.split_at(at);
    before.iter().rev().take_while(dressing).any(is_test) || after.iter().take_while(dressing).any(is_test)
}

fn is_test(line: &&str) -> bool {
    line.starts_with("#[") && line.contains("test") && !line.contains("cfg(test)")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "| id | must | P | state | proved by |\n|---|---|---|---|---|\n\
        | S0-01 | say quotas | docs | built | old |\n| S1-01, S1-02 | own state | store | planned | - |\n\
        | S2-4.x | be tested | all | part | - |\n";

    fn tree(path: &str, text: &str) -> Tree {
        Tree { files: vec![File { path: path.to_owned(), text: text.to_owned() }] }
    }

    fn on_test(ids: &str) -> String {
        format!("    // req: {ids}\n    #[test]\n    fn it_is_so() {{}}\n")
    }

    #[test]
    fn a_marked_test_proves_its_requirement_and_fills_the_column() {
        let marks = marks(&tree("crates/a/src/lib.rs", &on_test("S0-01, S2-4.2")));
        assert_eq!(pairs(TABLE, &marks), vec![]);
        let filled = with_proofs(TABLE, &marks);
        assert!(filled.contains("| S0-01 | say quotas | docs | built | `crates/a/src/lib.rs` |\n"));
        assert!(filled.contains("| S2-4.x | be tested | all | part | `crates/a/src/lib.rs` |\n"));
        assert!(filled.contains("| S1-01, S1-02 | own state | store | planned | - |\n"));
        assert_eq!(with_proofs(&filled, &marks), filled);
    }

    #[test]
    fn an_unknown_id_and_a_built_row_without_a_mark_are_found() {
        let found = pairs(TABLE, &marks(&tree("run.sh", "# req: S9-01\n")));
        assert_eq!(found.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["run.sh", REQUIREMENTS]);
    }

    #[test]
    fn a_mark_that_stands_on_no_test_is_found() {
        let found = pairs(TABLE, &marks(&tree("a.rs", "// req: S0-01\nfn helper() {}\n")));
        assert_eq!(found.len(), 1);
        let after = "#[tokio::test(start_paused = true)]\n// req: S0-01\nasync fn it_is_so() {}\n";
        assert_eq!(pairs(TABLE, &marks(&tree("a.rs", after))), vec![]);
        assert_eq!(pairs(TABLE, &marks(&tree("a.md", "<!-- req: S0-01 -->\n"))), vec![]);
    }

    #[test]
    fn the_header_of_a_file_with_tests_marks_them_all() {
        let text = |tests: &str| format!("//! Every failure, rendered. // req: S0-01\n{tests}");
        let marked = marks(&tree("tests.rs", &text("#[test]\nfn it_is_so() {}\n")));
        assert_eq!(pairs(TABLE, &marked), vec![]);
        assert_eq!(pairs(TABLE, &marks(&tree("lib.rs", &text("fn it() {}\n")))).len(), 1);
    }

    #[test]
    fn a_state_must_be_one_of_three() {
        let table = "| S0-01 | x | docs | done | - |\n";
        assert_eq!(pairs(table, &[]).len(), 1);
    }
}
