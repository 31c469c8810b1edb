//! Members of a JSON object, taken one by one: what nobody has taken at the end is what this house does not know.
//!
//! Invariant: a member of the wrong type is an error that names it by its full path; `null` counts as absent (several
//! official clients send it for everything they leave out).

use portcullis_domain::Failure;
use serde_json::{Map, Value};

/// An object on its way to being read, with its path in the caller's words.
pub(crate) struct Members {
    path: String,
    map: Map<String, Value>,
}

impl Members {
    /// The whole body.
    pub(crate) fn of_body(body: &[u8]) -> Result<Self, Failure> {
        let value = serde_json::from_slice(body)
            .map_err(|_| Failure::invalid("body", "The body must be a JSON object."))?;
        Self::of(value, String::new())
    }

    /// An object found at `path`.
    pub(crate) fn of(value: Value, path: String) -> Result<Self, Failure> {
        match value {
            Value::Object(map) => Ok(Self { path, map }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(wrong(&path, "an object"))
            }
        }
    }

    /// Google's clients may write members in snake case; from here on they are in camel case.
    pub(crate) fn in_camel_case(mut self) -> Self {
        if self.map.keys().any(|name| name.contains('_')) {
            self.map = self.map.into_iter().map(|(name, value)| (camel(&name), value)).collect();
        }
        self
    }

    /// The full name of a member.
    pub(crate) fn name(&self, member: &str) -> String {
        if self.path.is_empty() { member.to_owned() } else { format!("{}.{member}", self.path) }
    }

    pub(crate) fn value(&mut self, member: &str) -> Option<Value> {
        self.map.remove(member).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&mut self, member: &str) -> Result<Option<String>, Failure> {
        match self.value(member) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(&self.name(member), "a string")),
        }
    }

    pub(crate) fn must_text(&mut self, member: &str) -> Result<String, Failure> {
        self.text(member)?.ok_or_else(|| wrong(&self.name(member), "a string"))
    }

    pub(crate) fn flag(&mut self, member: &str) -> Result<Option<bool>, Failure> {
        match self.value(member) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(wrong(&self.name(member), "true or false")),
        }
    }

    pub(crate) fn number(&mut self, member: &str) -> Result<Option<f64>, Failure> {
        let Some(value) = self.value(member) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| wrong(&self.name(member), "a number"))
    }

    pub(crate) fn whole(&mut self, member: &str) -> Result<Option<i64>, Failure> {
        let Some(value) = self.value(member) else { return Ok(None) };
        // Some clients write whole numbers with a point.
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
        let from_point =
            |number: f64| (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64);
        value
            .as_i64()
            .or_else(|| value.as_f64().and_then(from_point))
            .map(Some)
            .ok_or_else(|| wrong(&self.name(member), "a whole number"))
    }

    pub(crate) fn count(&mut self, member: &str) -> Result<Option<u32>, Failure> {
        let name = self.name(member);
        let Some(number) = self.whole(member)? else { return Ok(None) };
        u32::try_from(number).map(Some).map_err(|_| wrong(&name, "a whole number from 0 to 4294967295"))
    }

    pub(crate) fn object(&mut self, member: &str) -> Result<Option<Self>, Failure> {
        let path = self.name(member);
        self.value(member).map(|value| Self::of(value, path)).transpose()
    }

    /// The items of an array with their paths; empty when the member is absent.
    pub(crate) fn items(&mut self, member: &str) -> Result<Vec<(String, Value)>, Failure> {
        let path = self.name(member);
        match self.value(member) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(numbered(&path, items)),
            Some(_) => Err(wrong(&path, "an array")),
        }
    }

    /// Notes every member nobody took.
    pub(crate) fn rest(self, unheld: &mut Vec<String>) {
        let Self { path, map } = self;
        for (member, value) in map {
            if !value.is_null() {
                unheld.push(if path.is_empty() { member } else { format!("{path}.{member}") });
            }
        }
    }
}

/// A name of words joined by underscores as one of joined capitals: `top_p` is `topP`.
pub(crate) fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut capital = false;
    for letter in name.chars() {
        if letter == '_' {
            capital = !out.is_empty();
        } else if std::mem::take(&mut capital) {
            out.push(letter.to_ascii_uppercase());
        } else {
            out.push(letter);
        }
    }
    out
}

/// Items with their paths.
pub(crate) fn numbered(path: &str, items: Vec<Value>) -> Vec<(String, Value)> {
    items.into_iter().enumerate().map(|(index, item)| (format!("{path}[{index}]"), item)).collect()
}

/// The error for a member of the wrong type.
pub(crate) fn wrong(path: &str, wanted: &str) -> Failure {
    Failure::invalid(path.to_owned(), format!("{path} must be {wanted}."))
}

/// The error for something that is understood but not offered.
pub(crate) fn unsupported(path: &str, message: impl Into<String>) -> Failure {
    Failure::InvalidInput {
        code: portcullis_domain::InputCode::UnsupportedParameter,
        message: message.into().into(),
        param: Some(path.to_owned().into()),
    }
}
