//! The table of methods and types, and the check of values against it. Invariant: a value that passes has the type of
//! the table; what the table does not know is named.

use super::state::Refusal;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::LazyLock};

const TABLE: &str = include_str!("table.txt");

/// A field of a method or type.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) kinds: Vec<&'static str>,
    pub(super) required: bool,
}

type Fields = BTreeMap<&'static str, Field>;

#[derive(Debug, Default)]
struct Table {
    methods: BTreeMap<String, (&'static str, Fields)>,
    types: BTreeMap<&'static str, Fields>,
}

static PARSED: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::default();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let (head, fields) = line.split_once(':').expect("a line of the table has a colon");
        let fields: Fields = fields
            .split_whitespace()
            .map(|field| {
                let (name, kinds) = field.split_once('=').expect("a field of the table has a type");
                let required = kinds.ends_with('!');
                (name, Field { kinds: kinds.trim_end_matches('!').split('|').collect(), required })
            })
            .collect();
        match head.split_once(' ').expect("a line of the table says of what") {
            ("method", name) => drop(table.methods.insert(name.to_lowercase(), (name, fields))),
            (_, name) => drop(table.types.insert(name, fields)),
        }
    }
    table
});

/// A method by its name in any case: as the table writes it, with its fields.
pub(super) fn method(name: &str) -> Option<(&'static str, &'static Fields)> {
    PARSED.methods.get(&name.to_lowercase()).map(|(name, fields)| (*name, fields))
}

/// What is wrong with a value.
pub(super) struct Wrong(pub(super) String);

/// Brings a value into the form of one of the types; strings are read as forms send them.
fn typed(value: &Value, kinds: &[&str], unknown: &mut Vec<String>) -> Result<Value, Wrong> {
    let mut last = Wrong("has no type".into());
    for kind in kinds {
        match one(value, kind, unknown) {
            Ok(value) => return Ok(value),
            Err(wrong) => last = wrong,
        }
    }
    Err(last)
}

fn one(value: &Value, kind: &str, unknown: &mut Vec<String>) -> Result<Value, Wrong> {
    let refuse = || Err(Wrong(format!("is no {kind}")));
    match (kind, value) {
        ("Integer", Value::Number(number)) if number.is_i64() => Ok(value.clone()),
        ("Integer", Value::String(text)) => {
            text.trim().parse::<i64>().map_or_else(|_| refuse(), |number| Ok(number.into()))
        }
        ("Float", Value::Number(_)) => Ok(value.clone()),
        ("Float", Value::String(text)) => {
            text.parse::<f64>().map_or_else(|_| refuse(), |number| Ok(number.into()))
        }
        ("Boolean", Value::Bool(_)) => Ok(value.clone()),
        ("Boolean", Value::String(text)) => match text.to_lowercase().as_str() {
            "true" | "1" | "yes" => Ok(true.into()),
            "false" | "0" | "no" | "" => Ok(false.into()),
            _ => refuse(),
        },
        ("String" | "InputFile", Value::String(_)) => Ok(value.clone()),
        // The server reads a bare number where a text is due.
        ("String", Value::Number(number)) => Ok(number.to_string().into()),
        ("Integer" | "Float" | "Boolean" | "String" | "InputFile", _) => refuse(),
        // In forms and query strings every object and list is a text.
        (_, Value::String(text)) if text.starts_with(['[', '{', ' ']) => {
            let inner = serde_json::from_str(text).map_err(|_| Wrong("is no JSON".into()))?;
            if matches!(inner, Value::String(_)) { refuse() } else { one(&inner, kind, unknown) }
        }
        (_, value) => match kind.strip_suffix("[]") {
            Some(inner) => {
                let items = value.as_array().ok_or_else(|| Wrong(format!("is no list of {inner}")))?;
                items
                    .iter()
                    .map(|item| one(item, inner, unknown))
                    .collect::<Result<Vec<_>, _>>()
                    .map(Value::Array)
            }
            None => object(value, kind, unknown),
        },
    }
}

fn object(value: &Value, kind: &str, unknown: &mut Vec<String>) -> Result<Value, Wrong> {
    let given = value.as_object().ok_or_else(|| Wrong(format!("is no {kind}")))?;
    let Some(fields) = PARSED.types.get(kind) else {
        return Err(Wrong(format!("is a {kind}, which the double does not imitate")));
    };
    if let Some((missing, _)) =
        fields.iter().find(|(name, field)| field.required && !given.contains_key(**name))
    {
        return Err(Wrong(format!("is no {kind}: it has no `{missing}`")));
    }
    let mut checked = Map::new();
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        match fields.get(name.as_str()) {
            Some(field) => {
                let value = typed(value, &field.kinds, unknown)
                    .map_err(|Wrong(why)| Wrong(format!("has a `{name}` that {why}")))?;
                checked.insert(name.clone(), value);
            }
            None => unknown.push(format!("{kind} has no field `{name}`")),
        }
    }
    Ok(Value::Object(checked))
}

/// Parameters after the check, and what is no parameter.
pub(super) struct Checked {
    pub(super) values: Map<String, Value>,
    pub(super) unknown: Vec<String>,
}

/// Checks the parameters of a method. Whether required ones are there is the method's own business: the server has its
/// own words for each.
pub(super) fn check(name: &str, fields: &Fields, given: &Map<String, Value>) -> Result<Checked, Refusal> {
    let (mut values, mut unknown) = (Map::new(), Vec::new());
    for (key, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        let Some(field) = fields.get(key.as_str()) else {
            unknown.push(format!("{name} has no parameter `{key}`"));
            continue;
        };
        let mut inner = Vec::new();
        let value = typed(value, &field.kinds, &mut inner)
            .map_err(|Wrong(why)| Refusal::bad(&format!("can't parse `{key}`: it {why}")))?;
        unknown.extend(inner);
        values.insert(key.clone(), value);
    }
    Ok(Checked { values, unknown })
}
