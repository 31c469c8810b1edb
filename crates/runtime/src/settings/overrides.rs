//! `PORTCULLIS__SECTION__KEY=value` and `--set section.key=value`: one value laid over the file. The text is read as
//! the type the schema wants there, so that nobody has to quote for TOML inside a shell.

use super::{
    report::{Located, Severity},
    schema::Schema,
    source::{Origin, Tree},
};
use serde_json::Value;

/// Prefix and separator of overriding variables.
const PREFIX: &str = "PORTCULLIS__";

/// Lays the variables over the tree, in the order of their names.
pub(crate) fn environment(schema: &Schema, tree: &mut Tree, vars: &[(String, String)]) -> Vec<Located> {
    let mut problems = Vec::new();
    for (name, text) in vars {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let path: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
        apply(schema, tree, &path, text, Origin::Environment(name.clone()), &mut problems);
    }
    problems
}

/// Lays `section.key=value` flags over the tree, in the order given.
pub(crate) fn flags(schema: &Schema, tree: &mut Tree, flags: &[(String, String)]) -> Vec<Located> {
    let mut problems = Vec::new();
    for (key, text) in flags {
        let path: Vec<String> = key.split('.').map(|part| part.trim().to_owned()).collect();
        apply(schema, tree, &path, text, Origin::Flag(format!("--set {key}")), &mut problems);
    }
    problems
}

/// The sections that variables and flags speak of.
pub(crate) fn sections(
    vars: &[(String, String)],
    flags: &[(String, String)],
) -> impl Iterator<Item = String> {
    let of_vars = vars.iter().filter_map(|(name, _)| name.strip_prefix(PREFIX)?.split("__").next());
    let of_flags = flags.iter().filter_map(|(key, _)| key.split('.').next());
    of_vars.map(str::to_lowercase).chain(of_flags.map(|section| section.trim().to_owned()))
}

/// The prefix of overriding variables.
pub(crate) const fn prefix() -> &'static str {
    PREFIX
}

fn apply(
    schema: &Schema,
    tree: &mut Tree,
    path: &[String],
    text: &str,
    origin: Origin,
    problems: &mut Vec<Located>,
) {
    let mut refuse = |message: &str, mend: String| {
        problems.push(Located {
            origin: origin.clone(),
            key: path.join("."),
            message: message.to_owned(),
            mend,
            severity: Severity::Error,
        });
    };
    if path.iter().any(String::is_empty) {
        return refuse("names no key", "write it as section and key, such as `http.listen`".to_owned());
    }
    if crate::looks_like_key(text) {
        return refuse("the value looks like a key", super::load::KEY_MEND.to_owned());
    }
    // Members are looked up one by one, so that the file's own spelling of a name (`gemini-openai`) is kept.
    let mut node = schema.root();
    let mut at = Some(&tree.value);
    let mut known = Vec::with_capacity(path.len());
    for name in path {
        let Some((mut spelt, next)) = schema.member(node, name) else {
            let names = schema.member_names(node);
            let mend = match super::nearest(name, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.is_empty() => "this key has no members".to_owned(),
                None => format!("known here: {}", names.join(", ")),
            };
            return refuse("unknown key", mend);
        };
        let plain = spelt.replace('-', "_");
        if let Some(Value::Object(members)) = at
            && let Some(existing) = members.keys().find(|existing| existing.replace('-', "_") == plain)
        {
            spelt.clone_from(existing);
        }
        at = at.and_then(|value| value.get(&spelt));
        known.push(spelt);
        node = next;
    }
    let value = typed(schema, node, text);
    tree.set(&known, value, origin);
}

/// The text as the type wanted there; what does not fit stays text and is refused by the check.
fn typed(schema: &Schema, node: &Value, text: &str) -> Value {
    let alternatives = schema.alternatives(node);
    let wants = |kind: &str| alternatives.iter().any(|alternative| has_type(alternative, kind));
    let trimmed = text.trim();
    if wants("array") || wants("object") {
        let (tree, errors) = Tree::parse(&format!("v = {trimmed}"));
        if errors.is_empty() && (trimmed.starts_with('[') || trimmed.starts_with('{')) {
            return tree.value.get("v").cloned().unwrap_or(Value::Null);
        }
        if wants("array") {
            let items = trimmed.split(',').map(str::trim).filter(|item| !item.is_empty());
            return Value::Array(items.map(Value::from).collect());
        }
    }
    if wants("boolean")
        && let Ok(flag) = trimmed.parse::<bool>()
    {
        return Value::Bool(flag);
    }
    if wants("integer")
        && let Ok(number) = trimmed.replace('_', "").parse::<i64>()
    {
        return Value::from(number);
    }
    if wants("number")
        && let Ok(number) = trimmed.parse::<f64>()
    {
        return Value::from(number);
    }
    Value::from(text)
}

fn has_type(node: &Value, kind: &str) -> bool {
    match node.get("type") {
        Some(Value::String(one)) => one == kind,
        Some(Value::Array(many)) => many.iter().any(|one| one == kind),
        _ => false,
    }
}
