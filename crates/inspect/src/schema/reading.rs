//! A schema is read: each rule is one that can be judged by, each reference leads into the schema, and each pattern compiles
//! within its bounds; whatever is not so refuses the whole schema. Sources: see `schema.rs`.

use super::{DEPTH, SchemaProblem};
use regex::{Regex, RegexBuilder};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Most bytes of one pattern, compiled.
const PATTERN_BYTES: usize = 1 << 20;
/// Most patterns of one schema.
const PATTERNS: usize = 64;

/// Rules whose value is one schema.
const ONE: [&str; 9] = [
    "additionalProperties",
    "items",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
    "additionalItems",
];
/// Rules whose value is a list of schemas.
const LISTS: [&str; 5] = ["allOf", "anyOf", "oneOf", "prefixItems", "items"];
/// Rules whose value is an object of schemas.
const MAPS: [&str; 6] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];
/// Rules that are not looked at, so that a schema with one cannot be judged.
const BEYOND: [&str; 6] = [
    "unevaluatedProperties",
    "unevaluatedItems",
    "$dynamicRef",
    "$recursiveRef",
    "$dynamicAnchor",
    "$recursiveAnchor",
];

/// A schema being read.
pub(super) struct Reading<'a> {
    pub(super) root: &'a Value,
    pub(super) patterns: HashMap<String, Regex>,
    pub(super) limit: usize,
    /// Parts that were read, by where they lie.
    pub(super) seen: HashSet<*const Value>,
    /// Parts that references lead to.
    pub(super) named: Vec<&'a Value>,
}

impl<'a> Reading<'a> {
    pub(super) fn schema(&mut self, schema: &'a Value, depth: u32) -> Result<(), SchemaProblem> {
        if !self.seen.insert(std::ptr::from_ref(schema)) {
            return Ok(());
        }
        let Some(depth) = depth.checked_sub(1) else { return Err(SchemaProblem::TooLarge(self.limit)) };
        let rules = match schema {
            Value::Bool(_) => return Ok(()),
            Value::Object(rules) => rules,
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(SchemaProblem::Form);
            }
        };
        if let Some(beyond) = BEYOND.into_iter().find(|name| rules.contains_key(*name)) {
            return Err(SchemaProblem::Keyword(beyond));
        }
        match rules.get("$ref") {
            None => {}
            Some(Value::String(name)) => {
                self.named.push(target(self.root, name).ok_or(SchemaProblem::Reference)?);
            }
            Some(_) => return Err(SchemaProblem::Reference),
        }
        // A part with a name of its own begins a schema of its own, to which references below it belong.
        if depth + 1 < DEPTH && rules.get("$id").is_some_and(Value::is_string) {
            return Err(SchemaProblem::Reference);
        }
        if let Some(Value::String(pattern)) = rules.get("pattern") {
            self.pattern(pattern)?;
        }
        if let Some(Value::Object(patterns)) = rules.get("patternProperties") {
            patterns.keys().try_for_each(|pattern| self.pattern(pattern))?;
        }
        for (name, value) in rules {
            let among = |rules: &[&str]| rules.contains(&name.as_str());
            if let (true, Some(parts)) = (among(&LISTS), value.as_array()) {
                parts.iter().try_for_each(|part| self.schema(part, depth))?;
            } else if let (true, Some(parts)) = (among(&MAPS), value.as_object()) {
                let mut schemas = parts.values().filter(|part| !part.is_array());
                schemas.try_for_each(|part| self.schema(part, depth))?;
            } else if among(&ONE) {
                self.schema(value, depth)?;
            }
        }
        Ok(())
    }

    fn pattern(&mut self, pattern: &str) -> Result<(), SchemaProblem> {
        if !self.patterns.contains_key(pattern) {
            let bounded = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build();
            let regex = bounded.map_err(|_| SchemaProblem::Pattern)?;
            self.patterns.insert(pattern.to_owned(), regex);
        }
        if self.patterns.len() > PATTERNS { Err(SchemaProblem::Pattern) } else { Ok(()) }
    }
}

/// The part of a schema that a reference names.
pub(super) fn target<'a>(root: &'a Value, name: &str) -> Option<&'a Value> {
    let pointer = name.strip_prefix('#')?;
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return None;
    }
    let part = if pointer.contains('%') { root.pointer(&unescaped(pointer)?) } else { root.pointer(pointer) };
    part.filter(|part| part.is_object() || part.is_boolean())
}

/// A pointer in a URL, with its `%xx` read.
fn unescaped(pointer: &str) -> Option<String> {
    let mut out = Vec::with_capacity(pointer.len());
    let mut bytes = pointer.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}
