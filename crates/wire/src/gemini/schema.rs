//! Google's own words for schemas (a subset of OpenAPI 3.0) as JSON Schema. Invariant: names of properties are never
//! touched; what JSON Schema also knows stays as it is. Source: the API reference, "Schema".

use crate::members::camel;
use serde_json::{Map, Value};

/// The schema in the words of JSON Schema. Depth is that of the JSON itself.
pub(super) fn to_json_schema(schema: Value) -> Value {
    let Value::Object(members) = schema else { return schema };
    let mut nullable = false;
    let mut out = Map::new();
    for (name, value) in members {
        let name = if name.contains('_') { camel(&name) } else { name };
        let value = match (name.as_str(), value) {
            ("type", Value::String(kind)) if kind == "TYPE_UNSPECIFIED" => continue,
            ("type", Value::String(kind)) => kind.to_ascii_lowercase().into(),
            ("nullable", value) => {
                nullable = value == Value::Bool(true);
                continue;
            }
            // An order is no rule.
            ("propertyOrdering", _) => continue,
            ("properties" | "defs" | "$defs", Value::Object(inside)) => {
                inside.into_iter().map(|(name, schema)| (name, to_json_schema(schema))).collect()
            }
            ("items" | "additionalProperties" | "not", inside) => to_json_schema(inside),
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(all)) => {
                all.into_iter().map(to_json_schema).collect()
            }
            // Google's JSON writes 64-bit numbers as strings.
            (
                "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties",
                Value::String(text),
            ) => text.parse::<u64>().map_or(Value::String(text), Value::from),
            (_, value) => value,
        };
        out.insert(name, value);
    }
    if nullable && let Some(Value::String(kind)) = out.get("type").cloned() {
        out.insert("type".into(), vec![Value::String(kind), "null".into()].into());
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn googles_words_become_those_of_json_schema_and_names_of_properties_stay() {
        let google = json!({
            "type": "OBJECT",
            "properties": {
                "any_of": {"type": "STRING", "nullable": true, "maxLength": "5"},
                "list": {"type": "ARRAY", "items": {"type": "INTEGER"}, "min_items": "1"},
                "type": {"anyOf": [{"type": "NUMBER"}, {"type": "BOOLEAN"}]},
            },
            "required": ["any_of"],
            "property_ordering": ["list", "any_of"],
        });
        let schema = json!({
            "type": "object",
            "properties": {
                "any_of": {"type": ["string", "null"], "maxLength": 5},
                "list": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
                "type": {"anyOf": [{"type": "number"}, {"type": "boolean"}]},
            },
            "required": ["any_of"],
        });
        assert_eq!(to_json_schema(google), schema);
        assert_eq!(to_json_schema(schema.clone()), schema);
    }
}
