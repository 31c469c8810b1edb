//! A text is judged by a schema that was read: every step is counted, and one too many ends the judgement. Sources: see
//! `schema.rs`.

use super::{Schema, reading::target};
use serde_json::{Map, Value};

/// Bytes of text that cost as much as one step.
const STEP_BYTES: usize = 64;

/// The judgement would take more steps than allowed.
pub(super) struct TooCostly;

type Judged = Result<bool, TooCostly>;

/// A judgement under way.
pub(super) struct Judging<'a> {
    pub(super) schema: &'a Schema,
    pub(super) left: u32,
}

impl<'a> Judging<'a> {
    fn spend(&mut self, bytes: usize) -> Result<(), TooCostly> {
        let steps = u32::try_from(bytes / STEP_BYTES).unwrap_or(u32::MAX).saturating_add(1);
        self.left = self.left.checked_sub(steps).ok_or(TooCostly)?;
        Ok(())
    }

    pub(super) fn holds(&mut self, schema: &'a Value, value: &Value, depth: u32) -> Judged {
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
