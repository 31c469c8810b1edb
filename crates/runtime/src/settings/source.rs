//! Settings before they are typed: one tree of values and, for each dotted key, where it was said. Files are read
//! with TOML's recovering parser, so that all syntax errors are named at once, each with line and column.

use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt, path::PathBuf};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Where a value was said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In the file, at a line and column counted from 1.
    File {
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// In an environment variable of that name.
    Environment(String),
    /// On the command line.
    Flag(String),
    /// Nowhere: the default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { line, column } => write!(f, "line {line}, column {column}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A tree of settings with the origin of each key.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// Nested objects, as the file has them.
    pub(crate) value: Value,
    /// Dotted key -> where it was said.
    pub(crate) origins: BTreeMap<String, Origin>,
    /// The file, if there is one.
    pub(crate) file: Option<PathBuf>,
}

/// A syntax error of the file.
#[derive(Clone, Debug)]
pub(crate) struct SyntaxError {
    pub(crate) message: String,
    pub(crate) origin: Origin,
}

impl Tree {
    /// No settings at all.
    pub(crate) fn empty() -> Self {
        Self { value: Value::Object(Map::new()), origins: BTreeMap::new(), file: None }
    }

    /// The tree of a TOML text. Where the syntax is broken, what could still be read is returned beside the errors.
    pub(crate) fn parse(text: &str) -> (Self, Vec<SyntaxError>) {
        let (table, mut errors) = DeTable::parse_recoverable(text);
        errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
        let lines = Lines::new(text);
        let errors = errors
            .into_iter()
            .map(|error| SyntaxError {
                message: error.message().to_owned(),
                origin: lines.origin(error.span().map_or(0, |span| span.start)),
            })
            .collect();
        let mut origins = BTreeMap::new();
        let value = table_value(table.get_ref(), "", &lines, &mut origins);
        (Self { value, origins, file: None }, errors)
    }

    /// Where a key, or else its nearest table, was said.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        let mut at = key;
        loop {
            if let Some(origin) = self.origins.get(at) {
                return origin.clone();
            }
            match at.rfind(['.', '[']) {
                Some(dot) => at = &at[..dot],
                None => return Origin::Default,
            }
        }
    }

    /// Sets one value, making the tables on the way.
    pub(crate) fn set(&mut self, path: &[String], value: Value, origin: Origin) {
        let mut at = &mut self.value;
        for segment in path {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            let Value::Object(map) = at else { return };
            at = map.entry(segment.clone()).or_insert(Value::Null);
        }
        *at = value;
        self.origins.insert(path.join("."), origin);
    }

    /// Removes the value at a path of object members and array places. Returns whether there was one.
    pub(crate) fn remove(&mut self, path: &[Step]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        let mut at = &mut self.value;
        for step in parents {
            let next = match step {
                Step::Member(name) => at.get_mut(name),
                Step::Place(index) => at.get_mut(index),
            };
            let Some(next) = next else { return false };
            at = next;
        }
        match (at, last) {
            (Value::Object(map), Step::Member(name)) => map.remove(name).is_some(),
            (Value::Array(items), Step::Place(index)) if *index < items.len() => {
                items.remove(*index);
                true
            }
            _ => false,
        }
    }
}

/// One step from a value into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A member of a table.
    Member(String),
    /// A place in an array, from 0.
    Place(usize),
}

/// A path in the words of operators: `alerts.receivers[0].kind`.
pub(crate) fn dotted(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Member(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Step::Place(index) => out.push_str(&format!("[{index}]")),
        }
    }
    out
}

fn table_value(
    table: &DeTable<'_>,
    path: &str,
    lines: &Lines<'_>,
    origins: &mut BTreeMap<String, Origin>,
) -> Value {
    let members = table.iter().map(|(key, value)| {
        let name = key.get_ref().to_string();
        let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        origins.insert(at.clone(), lines.origin(key.span().start));
        let value = node_value(value, &at, lines, origins);
        (name, value)
    });
    Value::Object(members.collect())
}

fn node_value(
    node: &Spanned<DeValue<'_>>,
    path: &str,
    lines: &Lines<'_>,
    origins: &mut BTreeMap<String, Origin>,
) -> Value {
    match node.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::from)
            .unwrap_or_else(|_| Value::String(number.as_str().to_owned())),
        DeValue::Float(number) => number
            .as_str()
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map_or_else(|| Value::String(number.as_str().to_owned()), Value::Number),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(when) => Value::String(when.to_string()),
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .enumerate()
                .map(|(index, item)| {
                    let at = format!("{path}[{index}]");
                    origins.insert(at.clone(), lines.origin(item.span().start));
                    node_value(item, &at, lines, origins)
                })
                .collect(),
        ),
        DeValue::Table(table) => table_value(table, path, lines, origins),
    }
}

/// Finds line and column of a byte offset.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    pub(crate) fn origin(&self, offset: usize) -> Origin {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        Origin::File { line, column }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_knows_its_line_and_an_unset_key_its_table() {
        let (tree, errors) = Tree::parse("data_dir = \"x\"\n\n[http]\n  listen = \"a\"\nq.r = 0x10\n");
        assert!(errors.is_empty());
        assert_eq!(tree.origin("data_dir"), Origin::File { line: 1, column: 1 });
        assert_eq!(tree.origin("http.listen"), Origin::File { line: 4, column: 3 });
        assert_eq!(tree.origin("http.max_connections"), Origin::File { line: 3, column: 2 });
        assert_eq!(tree.origin("server.drain_secs"), Origin::Default);
        assert_eq!(tree.value["http"]["q"]["r"], 16);
    }

    #[test]
    fn all_syntax_errors_are_found_in_one_reading() {
        let (tree, errors) = Tree::parse("a = \nb = 1\nc = 'x\nd = 2\n");
        let lines: Vec<String> = errors.iter().map(|error| error.origin.to_string()).collect();
        assert_eq!(lines, ["line 1, column 5", "line 3, column 7"], "{errors:?}");
        assert_eq!((&tree.value["b"], &tree.value["d"]), (&Value::from(1), &Value::from(2)));
    }

    #[test]
    fn values_are_set_and_removed_by_path() {
        let (mut tree, _) = Tree::parse("a.b = [1, 2, 3]");
        tree.set(&["x".into(), "y".into()], Value::from(1), Origin::Flag("--set".into()));
        assert_eq!(tree.value["x"]["y"], 1);
        let path = [Step::Member("a".into()), Step::Member("b".into()), Step::Place(1)];
        assert_eq!(dotted(&path), "a.b[1]");
        assert!(tree.remove(&path) && tree.value["a"]["b"] == serde_json::json!([1, 3]));
        assert!(!tree.remove(&[Step::Member("nope".into()), Step::Place(0)]));
    }
}
