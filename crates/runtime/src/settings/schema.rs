//! The schema of the settings, as `schemars` derives it from the crates' `Config` structs: what the loader checks
//! against, what the reference is printed from. Nothing here is written by hand per key.
//!
//! Invariant: a value that passes `check` has only known keys and right types; ranges are `Config::problems`.

use super::{
    sections,
    source::{Origin, Step, Tree, dotted},
};
use crate::settings::{Located, Settings, nearest};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The schema of [`Settings`] with its definitions.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    root: Value,
}

impl Schema {
    pub(crate) fn of_settings() -> Self {
        Self { root: schemars::schema_for!(Settings).to_value() }
    }

    /// The schema of these sections only: a start reads few of them, and deriving all takes longer than the rest of
    /// reading the settings. Where one is not known the whole schema answers, so that its message can name its like.
    pub(crate) fn of_sections(names: &BTreeSet<String>) -> Self {
        sections::schema(names).map_or_else(Self::of_settings, |root| Self { root })
    }

    #[cfg(test)]
    fn from_value(root: Value) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Value {
        &self.root
    }

    /// What a schema may stand for, references followed and choices spread out; `null` left out.
    pub(crate) fn alternatives<'a>(&'a self, node: &'a Value) -> Vec<&'a Value> {
        let mut out = Vec::new();
        self.collect(node, &mut out, 0);
        out
    }

    fn collect<'a>(&'a self, node: &'a Value, out: &mut Vec<&'a Value>, depth: usize) {
        if depth > 16 {
            return;
        }
        if let Some(target) = node.get("$ref").and_then(Value::as_str) {
            let name = target.rsplit('/').next().unwrap_or_default();
            if let Some(found) = self.root.get("$defs").and_then(|defs| defs.get(name)) {
                self.collect(found, out, depth + 1);
            }
            return;
        }
        for choice in ["anyOf", "oneOf", "allOf"] {
            if let Some(Value::Array(items)) = node.get(choice) {
                items.iter().for_each(|item| self.collect(item, out, depth + 1));
                return;
            }
        }
        if node.get("type").and_then(Value::as_str) != Some("null") {
            out.push(node);
        }
    }

    /// The schema of a member, and the name it is really known by: `-` and `_` are one, because a variable name
    /// cannot hold a dash.
    pub(crate) fn member<'a>(&'a self, node: &'a Value, name: &str) -> Option<(String, &'a Value)> {
        let alternatives = self.alternatives(node);
        let known = alternatives.iter().filter_map(|alternative| alternative.get("properties")?.as_object());
        let plain = name.replace('-', "_");
        for members in known {
            let found = members.iter().find(|(known, _)| known.replace('-', "_") == plain);
            if let Some((known, schema)) = found {
                return Some((known.clone(), schema));
            }
        }
        let open = alternatives.iter().find_map(|alternative| open_members(alternative))?;
        Some((name.to_owned(), open))
    }

    /// The names of the members of a table.
    pub(crate) fn member_names(&self, node: &Value) -> Vec<String> {
        let alternatives = self.alternatives(node);
        let known = alternatives.iter().filter_map(|alternative| alternative.get("properties")?.as_object());
        known.flat_map(Map::keys).cloned().collect()
    }

    /// Removes from the tree what the schema does not allow, with one problem for each.
    pub(crate) fn check(&self, tree: &mut Tree, problems: &mut Vec<Located>) {
        let mut found = Vec::new();
        self.walk(&self.root, &tree.value, &mut Vec::new(), &mut found);
        // Places in an array shift when an earlier one goes: remove from the back.
        for (path, _, _) in found.iter().rev() {
            tree.remove(path);
        }
        for (path, message, mend) in found {
            let key = dotted(&path);
            problems.push(Located::error(tree.origin(&key), key, message, mend));
        }
    }

    fn walk(&self, node: &Value, value: &Value, path: &mut Vec<Step>, out: &mut Vec<Finding>) {
        let alternatives = self.alternatives(node);
        match value {
            Value::Object(members) => self.walk_object(&alternatives, members, path, out),
            Value::Array(items) => {
                let inner = alternatives.iter().find_map(|alternative| alternative.get("items"));
                let Some(inner) = inner else {
                    out.push(mismatch(path, &alternatives, value));
                    return;
                };
                for (index, item) in items.iter().enumerate() {
                    path.push(Step::Place(index));
                    self.walk(inner, item, path, out);
                    path.pop();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                if !alternatives.iter().any(|alternative| fits(alternative, value)) {
                    out.push(mismatch(path, &alternatives, value));
                }
            }
        }
    }

    fn walk_object(
        &self,
        alternatives: &[&Value],
        members: &Map<String, Value>,
        path: &mut Vec<Step>,
        out: &mut Vec<Finding>,
    ) {
        let tables: Vec<&Value> =
            alternatives.iter().copied().filter(|alternative| is_table(alternative)).collect();
        let chosen = tables.iter().copied().find(|table| tag_fits(table, members)).or(match tables[..] {
            [only] => Some(only),
            _ => None,
        });
        let Some(table) = chosen else {
            out.push(match tables.first() {
                Some(first) => wrong_tag(path, first, &tables, members),
                None => mismatch(path, alternatives, &Value::Object(Map::new())),
            });
            return;
        };
        let known = table.get("properties").and_then(Value::as_object);
        for (name, value) in members {
            let schema = known.and_then(|known| known.get(name)).or_else(|| open_members(table));
            path.push(Step::Member(name.clone()));
            match schema {
                Some(schema) => self.walk(schema, value, path, out),
                None => out.push(unknown_key(path, name, known)),
            }
            path.pop();
        }
    }

    /// What may stand there, in the words of operators.
    pub(crate) fn type_words(&self, node: &Value) -> String {
        words(&self.alternatives(node))
    }
}

/// Path, what is wrong, the mend.
type Finding = (Vec<Step>, String, String);

fn open_members(node: &Value) -> Option<&Value> {
    node.get("additionalProperties").filter(|open| open.is_object())
}

fn is_table(node: &Value) -> bool {
    node.get("type").and_then(Value::as_str) == Some("object")
}

/// Whether every constant member (the tag of an enum) has its value here.
fn tag_fits(table: &Value, members: &Map<String, Value>) -> bool {
    let Some(known) = table.get("properties").and_then(Value::as_object) else { return true };
    known
        .iter()
        .filter_map(|(name, schema)| Some((name, schema.get("const")?)))
        .all(|(name, constant)| members.get(name) == Some(constant))
}

fn wrong_tag(path: &[Step], first: &Value, tables: &[&Value], members: &Map<String, Value>) -> Finding {
    let tag = first
        .get("properties")
        .and_then(Value::as_object)
        .and_then(|known| known.iter().find(|(_, schema)| schema.get("const").is_some()))
        .map_or("kind", |(name, _)| name.as_str());
    let allowed: Vec<String> = tables
        .iter()
        .filter_map(|table| Some(table.get("properties")?.get(tag)?.get("const")?.to_string()))
        .collect();
    let message = match members.get(tag) {
        Some(value) => format!("`{tag}` is {}, which is none of those known", shown(value)),
        None => format!("`{tag}` is missing"),
    };
    (path.to_vec(), message, format!("set `{tag}` to one of {}", allowed.join(", ")))
}

fn unknown_key(path: &[Step], name: &str, known: Option<&Map<String, Value>>) -> Finding {
    let names: Vec<&str> = known.into_iter().flat_map(Map::keys).map(String::as_str).collect();
    let mend = match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "remove it".to_owned(),
        None => format!("known here: {}", names.join(", ")),
    };
    (path.to_vec(), "unknown key".to_owned(), mend)
}

fn mismatch(path: &[Step], alternatives: &[&Value], value: &Value) -> Finding {
    let choices = choices(alternatives);
    let mend = match value.as_str().and_then(|text| nearest(text, choices.iter().map(String::as_str))) {
        Some(near) => format!("did you mean \"{near}\"? Allowed: {}", words(alternatives)),
        None => format!("give {}", words(alternatives)),
    };
    (path.to_vec(), format!("{} does not fit here", shown(value)), mend)
}

/// The value as an operator wrote it, shortened, and redacted in case it is a secret in the wrong place.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.chars().count() > 40 || crate::looks_like_key(text) => {
            "this text".to_owned()
        }
        Value::String(text) => format!("\"{}\"", crate::redact(text)),
        Value::Object(_) => "a table".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn types_of(node: &Value) -> Vec<&str> {
    match node.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).filter(|t| *t != "null").collect(),
        _ => vec![],
    }
}

fn choices(alternatives: &[&Value]) -> Vec<String> {
    let mut out = Vec::new();
    for alternative in alternatives {
        if let Some(Value::String(constant)) = alternative.get("const") {
            out.push(constant.clone());
        }
        if let Some(Value::Array(values)) = alternative.get("enum") {
            out.extend(values.iter().filter_map(Value::as_str).map(str::to_owned));
        }
    }
    out
}

fn words(alternatives: &[&Value]) -> String {
    let mut parts: Vec<String> =
        choices(alternatives).iter().map(|choice| format!("`\"{choice}\"`")).collect();
    for alternative in alternatives {
        if alternative.get("const").is_some() || alternative.get("enum").is_some() {
            continue;
        }
        for kind in types_of(alternative) {
            let (low, high) = bounds(alternative);
            let part = match kind {
                "integer" if low == Some(0.0) && high.is_none() => "a whole number ≥ 0".to_owned(),
                "integer" => match (low, high) {
                    (Some(low), Some(high)) => format!("a whole number {low} to {high}"),
                    _ => "a whole number".to_owned(),
                },
                "number" => "a number".to_owned(),
                "boolean" => "`true` or `false`".to_owned(),
                "string" => "text".to_owned(),
                "array" => "a list".to_owned(),
                "object" => "a table".to_owned(),
                other => other.to_owned(),
            };
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
    }
    if parts.is_empty() { "any value".to_owned() } else { parts.join(" or ") }
}

/// Range of a number, from the schema or from the width of its type.
fn bounds(node: &Value) -> (Option<f64>, Option<f64>) {
    let number = |name: &str| node.get(name).and_then(Value::as_f64);
    let width = match node.get("format").and_then(Value::as_str) {
        Some("uint8") => Some(f64::from(u8::MAX)),
        Some("uint16") => Some(f64::from(u16::MAX)),
        Some("uint32") => Some(f64::from(u32::MAX)),
        _ => None,
    };
    (number("minimum"), number("maximum").or(width))
}

fn fits(node: &Value, value: &Value) -> bool {
    if let Some(constant) = node.get("const") {
        return constant == value;
    }
    if let Some(Value::Array(values)) = node.get("enum") {
        return values.contains(value);
    }
    let types = types_of(node);
    if types.is_empty() {
        return true;
    }
    types.iter().any(|kind| match (*kind, value) {
        ("string", Value::String(_)) | ("boolean", Value::Bool(_)) => true,
        ("integer", Value::Number(number)) => {
            (number.is_i64() || number.is_u64()) && within(node, number.as_f64())
        }
        ("number", Value::Number(number)) => within(node, number.as_f64()),
        _ => false,
    })
}

fn within(node: &Value, number: Option<f64>) -> bool {
    let (low, high) = bounds(node);
    number.is_some_and(|n| low.is_none_or(|low| n >= low) && high.is_none_or(|high| n <= high))
}

impl Located {
    fn error(origin: Origin, key: String, message: String, mend: String) -> Self {
        Self { origin, key, message, mend, severity: super::Severity::Error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use std::collections::BTreeMap;

    #[derive(Serialize, Deserialize, JsonSchema, Default)]
    #[serde(default, deny_unknown_fields)]
    struct House {
        rooms: u8,
        height: f32,
        name: Option<String>,
        colour: Colour,
        doors: BTreeMap<String, Door>,
        bells: Vec<Bell>,
    }
    #[derive(Serialize, Deserialize, JsonSchema, Default)]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        #[default]
        Red,
        /// Like the sky.
        Blue,
    }
    #[derive(Serialize, Deserialize, JsonSchema, Default)]
    #[serde(default, deny_unknown_fields)]
    struct Door {
        locked: Option<bool>,
    }
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
    enum Bell {
        Plain,
        Loud { decibel: u32 },
    }

    fn problems(text: &str) -> Vec<String> {
        let schema = Schema::from_value(schemars::schema_for!(House).to_value());
        let (mut tree, errors) = Tree::parse(text);
        assert!(errors.is_empty(), "{errors:?}");
        let mut problems = Vec::new();
        schema.check(&mut tree, &mut problems);
        serde_json::from_value::<House>(tree.value).expect("what is left always fits");
        problems.iter().map(|p| format!("{} | {} | {} | {}", p.origin, p.key, p.message, p.mend)).collect()
    }

    #[test]
    fn right_values_pass_and_a_whole_number_is_a_number() {
        let text = "rooms = 3\nheight = 4\nname = \"x\"\ncolour = \"blue\"\ndoors.front-door.locked = true\n\
                    bells = [{ kind = \"plain\" }, { kind = \"loud\", decibel = 90 }]";
        assert_eq!(problems(text), Vec::<String>::new());
    }

    #[test]
    fn every_wrong_key_and_value_is_named_at_once_with_line_and_mend() {
        let text = "romms = 3\nrooms = 300\nheight = \"tall\"\ncolour = \"bleu\"\ndoors.front.lokced = true\n\
                    bells = [{ kind = \"plian\" }, { decibel = 1 }, 7]\nname = [1]\n";
        let mut found = problems(text);
        found.sort();
        let expected = [
            "line 1, column 1 | romms | unknown key | did you mean `rooms`?",
            "line 2, column 1 | rooms | 300 does not fit here | give a whole number 0 to 255",
            "line 3, column 1 | height | \"tall\" does not fit here | give a number",
            "line 4, column 1 | colour | \"bleu\" does not fit here | did you mean \"blue\"? \
             Allowed: `\"red\"` or `\"blue\"`",
            "line 5, column 13 | doors.front.lokced | unknown key | did you mean `locked`?",
            "line 6, column 10 | bells[0] | `kind` is \"plian\", which is none of those known | \
             set `kind` to one of \"plain\", \"loud\"",
            "line 6, column 30 | bells[1] | `kind` is missing | set `kind` to one of \"plain\", \"loud\"",
            "line 6, column 47 | bells[2] | 7 does not fit here | give a table",
            "line 7, column 1 | name | a list does not fit here | give text",
        ];
        assert_eq!(found, expected);
    }
}
