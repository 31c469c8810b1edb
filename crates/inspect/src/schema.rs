//! Whether a JSON text is what a caller's JSON Schema asks for. Schema and text are both a stranger's, so this is a
//! reader of our own instead of a whole implementation: no reference leaves the schema, patterns run in linear time,
//! and every step is counted, since a few hundred bytes of `allOf` and `$ref` can ask for more steps than a day has.
//!
//! Invariants: a schema with a rule that is not looked at here is refused when it is read, never half obeyed; a
//! judgement that costs more than its steps ends as [`Held::Unknown`]; nothing panics. `format` and the other
//! annotations are no rules. Source: JSON Schema draft 2020-12 (core sections 8 to 11, validation section 6), with
//! `items` lists and `dependencies` of draft 7; gateway.md section 11.

mod judging;
mod reading;

use judging::{Judging, TooCostly};
use reading::Reading;
use regex::Regex;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Deepest nesting of rules and values that is followed; the parser of JSON stops at the same depth.
const DEPTH: u32 = 128;

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

#[cfg(test)]
mod tests;
