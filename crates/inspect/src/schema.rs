//! Whether a JSON text is what a caller's JSON Schema asks for. Schema and text are both a stranger's, so this is a
//! reader of our own instead of a whole implementation: no reference leaves the schema, patterns run in linear time,
//! and every step is counted, since a few hundred bytes of `allOf` and `$ref` can ask for more steps than a day has.
//!
//! Invariants: a schema with a rule that is not looked at here is refused when it is read, never half obeyed; a
//! judgement that costs more than its steps ends as [`Held::Unknown`]; nothing panics. `format` and the other
//! annotations are no rules. Source: JSON Schema draft 2020-12 (core sections 8 to 11, validation section 6), with
//! `items` lists and `dependencies` of draft 7; gateway.md section 11.

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// Most bytes of one pattern, compiled.
const PATTERN_BYTES: usize = 1 << 20;
/// Most patterns of one schema.
const PATTERNS: usize = 64;
/// Deepest nesting of rules and values that is followed; the parser of JSON stops at the same depth.
const DEPTH: u32 = 128;
/// Bytes of text that cost as much as one step.
const STEP_BYTES: usize = 64;

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

/// How much a judgement may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaLimits {
    /// Most bytes of a schema.
    pub bytes: usize,
    /// Most steps of one judgement; a step is a rule held against a value, or 64 bytes of text read.
    pub steps: u32,
}

/// Why a schema cannot be judged by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaProblem {
    /// Too many bytes, or nested too deeply.
    #[error("it has more than {0} bytes, or is nested too deeply")]
    TooLarge(usize),
    /// A reference leaves it, or leads nowhere.
    #[error("every $ref must be # or #/… and lead to a part of the schema itself")]
    Reference,
    /// A pattern is none, is too costly, or looks around or back.
    #[error(
        "a pattern is not a regular expression without look-around and back-references, or there are too many"
    )]
    Pattern,
    /// A rule that is not looked at here.
    #[error("{0} is not checked here")]
    Keyword(&'static str),
    /// A part is neither an object nor true or false.
    #[error("every part of a schema must be an object, true or false")]
    Form,
}

/// A judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The text is what the schema asks for.
    Yes,
    /// It is not, or it is no JSON.
    No,
    /// It would have cost more steps than allowed.
    Unknown,
}

/// A schema that can be judged by.
#[derive(Debug)]
pub struct Schema {
    root: Value,
    patterns: HashMap<String, Regex>,
    steps: u32,
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// [`SchemaProblem`].
    pub fn new(schema: &Value, limits: SchemaLimits) -> Result<Self, SchemaProblem> {
        if schema.to_string().len() > limits.bytes {
            return Err(SchemaProblem::TooLarge(limits.bytes));
        }
        let (patterns, limit) = (HashMap::new(), limits.bytes);
        let mut reading = Reading { root: schema, patterns, limit, seen: HashSet::new(), named: Vec::new() };
        reading.schema(schema, DEPTH)?;
        // What only a reference leads to may stand where no rule looks.
        while let Some(part) = reading.named.pop() {
            reading.schema(part, DEPTH - 1)?;
        }
        Ok(Self { patterns: reading.patterns, root: schema.clone(), steps: limits.steps })
    }

    /// Any JSON object.
    #[must_use]
    pub fn object(limits: SchemaLimits) -> Self {
        let root = serde_json::json!({"type": "object"});
        Self { root, patterns: HashMap::new(), steps: limits.steps }
    }

    /// Whether the text is JSON that the schema asks for.
    #[must_use]
    pub fn holds(&self, text: &str) -> Held {
        let Ok(value) = serde_json::from_str::<Value>(text) else { return Held::No };
        let mut judging = Judging { schema: self, left: self.steps };
        match judging.holds(&self.root, &value, DEPTH) {
            Ok(true) => Held::Yes,
            Ok(false) => Held::No,
            Err(TooCostly) => Held::Unknown,
        }
    }
}

struct Reading<'a> {
    root: &'a Value,
    patterns: HashMap<String, Regex>,
    limit: usize,
    /// Parts that were read, by where they lie.
    seen: HashSet<*const Value>,
    /// Parts that references lead to.
    named: Vec<&'a Value>,
}

impl<'a> Reading<'a> {
    fn schema(&mut self, schema: &'a Value, depth: u32) -> Result<(), SchemaProblem> {
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
fn target<'a>(root: &'a Value, name: &str) -> Option<&'a Value> {
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

struct TooCostly;

type Judged = Result<bool, TooCostly>;

struct Judging<'a> {
    schema: &'a Schema,
    left: u32,
}

impl<'a> Judging<'a> {
    fn spend(&mut self, bytes: usize) -> Result<(), TooCostly> {
        let steps = u32::try_from(bytes / STEP_BYTES).unwrap_or(u32::MAX).saturating_add(1);
        self.left = self.left.checked_sub(steps).ok_or(TooCostly)?;
        Ok(())
    }

    fn holds(&mut self, schema: &'a Value, value: &Value, depth: u32) -> Judged {
        let depth = depth.checked_sub(1).ok_or(TooCostly)?;
        self.spend(0)?;
        let rules = match schema {
            Value::Bool(all) => return Ok(*all),
            Value::Object(rules) => rules,
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => return Ok(true),
        };
        for (name, rule) in rules {
            if !self.rule(rules, name, rule, value, depth)? {
                return Ok(false);
            }
        }
        Ok(match value {
            Value::Object(members) => self.members(rules, members, depth)?,
            Value::Array(items) => self.items(rules, items, depth)?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        })
    }

    /// One rule that holds for values of any kind, or of a simple one.
    fn rule(
        &mut self,
        rules: &'a Map<String, Value>,
        name: &str,
        rule: &'a Value,
        value: &Value,
        depth: u32,
    ) -> Judged {
        self.spend(0)?;
        let number = || Some((value.as_f64()?, rule.as_f64()?));
        let holds = match (name, rule, value) {
            ("$ref", Value::String(to), _) => match target(&self.schema.root, to) {
                Some(part) => self.holds(part, value, depth)?,
                None => true,
            },
            ("type", Value::String(kind), _) => is(kind, value),
            ("type", Value::Array(kinds), _) => {
                kinds.iter().filter_map(Value::as_str).any(|kind| is(kind, value))
            }
            ("const", wanted, _) => self.same(wanted, value)?,
            ("enum", Value::Array(all), _) => self.any(all, |this, one| this.same(one, value))?,
            ("allOf", Value::Array(all), _) => {
                !self.any(all, |this, part| Ok(!this.holds(part, value, depth)?))?
            }
            ("anyOf", Value::Array(all), _) => self.any(all, |this, part| this.holds(part, value, depth))?,
            ("oneOf", Value::Array(all), _) => {
                let mut held = 0_u32;
                let more_than_one = self.any(all, |this, part| {
                    held += u32::from(this.holds(part, value, depth)?);
                    Ok(held > 1)
                })?;
                held == 1 && !more_than_one
            }
            ("not", part, _) => !self.holds(part, value, depth)?,
            ("if", part, _) => {
                let then = if self.holds(part, value, depth)? { "then" } else { "else" };
                rules.get(then).map_or(Ok(true), |part| self.holds(part, value, depth))?
            }
            ("minimum", ..) => number().is_none_or(|(value, least)| value >= least),
            ("maximum", ..) => number().is_none_or(|(value, most)| value <= most),
            ("exclusiveMinimum", ..) => number().is_none_or(|(value, least)| value > least),
            ("exclusiveMaximum", ..) => number().is_none_or(|(value, most)| value < most),
            ("multipleOf", Value::Number(_), Value::Number(_)) => multiple(value, rule),
            ("minLength", Value::Number(_), Value::String(text)) => self.chars(text)? >= count(rule, 0),
            ("maxLength", Value::Number(_), Value::String(text)) => {
                self.chars(text)? <= count(rule, u64::MAX)
            }
            ("pattern", Value::String(pattern), Value::String(text)) => self.matches(pattern, text)?,
            _ => true,
        };
        Ok(holds)
    }

    fn members(&mut self, rules: &'a Map<String, Value>, members: &Map<String, Value>, depth: u32) -> Judged {
        let schemas = |name: &str| rules.get(name).and_then(Value::as_object);
        let size = members.len() as u64;
        if rules.get("minProperties").is_some_and(|least| size < count(least, 0))
            || rules.get("maxProperties").is_some_and(|most| size > count(most, u64::MAX))
        {
            return Ok(false);
        }
        let required = rules.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            self.spend(name.len())?;
            if !members.contains_key(name) {
                return Ok(false);
            }
        }
        let (properties, patterns) = (schemas("properties"), schemas("patternProperties"));
        let (rest, names) = (rules.get("additionalProperties"), rules.get("propertyNames"));
        for (name, value) in members {
            self.spend(name.len())?;
            if let Some(schema) = names
                && !self.holds(schema, &Value::from(name.as_str()), depth)?
            {
                return Ok(false);
            }
            let known = properties.and_then(|properties| properties.get(name));
            let mut judged = known.is_some();
            if let Some(schema) = known
                && !self.holds(schema, value, depth)?
            {
                return Ok(false);
            }
            for (pattern, schema) in patterns.into_iter().flatten() {
                if self.matches(pattern, name)? {
                    judged = true;
                    if !self.holds(schema, value, depth)? {
                        return Ok(false);
                    }
                }
            }
            if let (false, Some(schema)) = (judged, rest)
                && !self.holds(schema, value, depth)?
            {
                return Ok(false);
            }
        }
        for of in ["dependentRequired", "dependentSchemas", "dependencies"] {
            for (_, needs) in
                schemas(of).into_iter().flatten().filter(|(name, _)| members.contains_key(*name))
            {
                self.spend(0)?;
                let met = if let Some(names) = needs.as_array() {
                    self.spend(names.len() * STEP_BYTES)?;
                    names.iter().filter_map(Value::as_str).all(|name| members.contains_key(name))
                } else {
                    self.dependent(needs, members, depth)?
                };
                if !met {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// A schema for the whole object, because of a member that is there.
    fn dependent(&mut self, schema: &'a Value, members: &Map<String, Value>, depth: u32) -> Judged {
        let whole = Value::Object(members.clone());
        self.spend(members.len() * STEP_BYTES)?;
        self.holds(schema, &whole, depth)
    }

    fn items(&mut self, rules: &'a Map<String, Value>, items: &[Value], depth: u32) -> Judged {
        let size = items.len() as u64;
        if rules.get("minItems").is_some_and(|least| size < count(least, 0))
            || rules.get("maxItems").is_some_and(|most| size > count(most, u64::MAX))
        {
            return Ok(false);
        }
        let (first, rest) = match (rules.get("prefixItems"), rules.get("items")) {
            (Some(Value::Array(first)), rest) => (first.as_slice(), rest),
            (_, Some(Value::Array(first))) => (first.as_slice(), rules.get("additionalItems")),
            (_, rest) => (&[][..], rest),
        };
        for (index, item) in items.iter().enumerate() {
            self.spend(0)?;
            if let Some(schema) = first.get(index).or(rest)
                && !self.holds(schema, item, depth)?
            {
                return Ok(false);
            }
        }
        if let Some(schema) = rules.get("contains") {
            let mut held = 0_u64;
            for item in items {
                held += u64::from(self.holds(schema, item, depth)?);
            }
            let least = rules.get("minContains").map_or(1, |least| count(least, 0));
            let most = rules.get("maxContains").map_or(u64::MAX, |most| count(most, u64::MAX));
            if held < least || held > most {
                return Ok(false);
            }
        }
        if rules.get("uniqueItems") == Some(&Value::Bool(true)) {
            for (index, one) in items.iter().enumerate() {
                for other in &items[..index] {
                    if self.same(one, other)? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Whether one of them does; the rest is not looked at then.
    fn any(&mut self, all: &'a [Value], mut does: impl FnMut(&mut Self, &'a Value) -> Judged) -> Judged {
        for one in all {
            if does(self, one)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether two values are one: numbers by their worth, objects whatever the order.
    fn same(&mut self, one: &Value, other: &Value) -> Judged {
        self.spend(0)?;
        match (one, other) {
            (Value::Number(a), Value::Number(b)) => {
                Ok(a == b || (a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64())
            }
            (Value::String(a), Value::String(b)) => {
                self.spend(a.len().min(b.len()))?;
                Ok(a == b)
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (one, other) in a.iter().zip(b) {
                    if !self.same(one, other)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Object(a), Value::Object(b)) if a.len() == b.len() => {
                for (name, one) in a {
                    let Some(other) = b.get(name) else { return Ok(false) };
                    if !self.same(one, other)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Null, Value::Null) => Ok(true),
            (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
            (_, _) => Ok(false),
        }
    }

    fn chars(&mut self, text: &str) -> Result<u64, TooCostly> {
        self.spend(text.len())?;
        Ok(text.chars().count() as u64)
    }

    fn matches(&mut self, pattern: &str, text: &str) -> Judged {
        // Patterns are dearer than reading.
        self.spend(text.len().saturating_mul(8))?;
        Ok(self.schema.patterns.get(pattern).is_none_or(|regex| regex.is_match(text)))
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        _ => false,
    }
}

/// Whether the one is a multiple of the other, as near as the numbers can tell.
fn multiple(value: &Value, of: &Value) -> bool {
    if let (Some(value), Some(of)) = (value.as_i64(), of.as_i64()) {
        return of == 0 || value.checked_rem(of).is_none_or(|rest| rest == 0);
    }
    let (Some(value), Some(of)) = (value.as_f64(), of.as_f64()) else { return true };
    let times = value / of;
    times.is_finite() && (times - times.round()).abs() <= 1e-9 * times.abs().max(1.0)
}

/// A count of a schema; some write whole numbers with a point.
fn count(rule: &Value, otherwise: u64) -> u64 {
    let from_point = || {
        let number = rule.as_f64().filter(|number| (0.0..1e15).contains(number))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
        Some(number as u64)
    };
    rule.as_u64().or_else(from_point).unwrap_or(otherwise)
}

#[cfg(test)]
mod tests;
