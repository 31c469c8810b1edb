//! Schemas and answers to them, bounds, and that nothing panics.

use super::*;
use proptest::prelude::*;
use serde_json::{Map, json};

const LIMITS: SchemaLimits = SchemaLimits { bytes: 65_536, steps: 200_000 };

fn judge(schema: &Value, value: &Value) -> Held {
    Schema::new(schema, LIMITS).unwrap().holds(&value.to_string())
}

#[test]
fn every_rule_holds_what_it_says() {
    let object = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
                        "additionalProperties": false});
    let cases = [
        (object.clone(), json!({"n": 1}), true),
        (object.clone(), json!({"n": 1.0}), true),
        (object.clone(), json!({"n": 1.5}), false),
        (object.clone(), json!({"n": 1, "m": 2}), false),
        (object, json!({}), false),
        (json!({"type": ["string", "null"]}), json!(null), true),
        (json!({"enum": ["a", {"b": [1, 2]}]}), json!({"b": [1.0, 2]}), true),
        (json!({"const": 0}), json!(false), false),
        (json!({"anyOf": [{"type": "string"}, {"minimum": 3}]}), json!(2), false),
        (json!({"oneOf": [{"minimum": 1}, {"minimum": 2}]}), json!(2), false),
        (json!({"oneOf": [{"minimum": 1}, {"minimum": 2}]}), json!(1), true),
        (json!({"not": {"type": "string"}}), json!("a"), false),
        (json!({"if": {"minimum": 5}, "then": {"multipleOf": 5}, "else": {"const": 1}}), json!(10), true),
        (json!({"if": {"minimum": 5}, "then": {"multipleOf": 5}, "else": {"const": 1}}), json!(2), false),
        (json!({"multipleOf": 0.0001}), json!(0.0075), true),
        (json!({"maxLength": 2}), json!("äöü"), false),
        (json!({"maxLength": 3}), json!("äöü"), true),
        (json!({"pattern": "^[a-z]+$"}), json!("abc1"), false),
        (json!({"prefixItems": [{"type": "string"}], "items": {"type": "number"}}), json!(["a", 1]), true),
        (json!({"prefixItems": [{"type": "string"}], "items": {"type": "number"}}), json!(["a", "b"]), false),
        (json!({"uniqueItems": true}), json!([1, 1.0]), false),
        (json!({"contains": {"const": 1}, "maxContains": 1}), json!([1, 1]), false),
        (json!({"patternProperties": {"^x": {"type": "number"}}}), json!({"xa": "b"}), false),
        (json!({"propertyNames": {"maxLength": 2}}), json!({"abc": 1}), false),
        (json!({"dependentRequired": {"a": ["b"]}}), json!({"a": 1}), false),
        (json!({"dependentSchemas": {"a": {"minProperties": 2}}}), json!({"a": 1}), false),
        (json!({"$defs": {"a%b": {"type": "string"}}, "$ref": "#/$defs/a%25b"}), json!(1), false),
        (
            json!({"properties": {"next": {"$ref": "#"}, "v": {"type": "number"}}}),
            json!({"next": {"next": {"v": "a"}}}),
            false,
        ),
        (json!({"format": "email"}), json!("no address"), true),
        (json!(false), json!(1), false),
    ];
    for (schema, value, held) in cases {
        let expected = if held { Held::Yes } else { Held::No };
        assert_eq!(judge(&schema, &value), expected, "{schema} {value}");
    }
    assert_eq!(Schema::object(LIMITS).holds("{\"a\":1}"), Held::Yes);
    for text in ["[1]", "Here you are: {}", "{", ""] {
        assert_eq!(Schema::object(LIMITS).holds(text), Held::No, "{text}");
    }
}

#[test]
fn a_schema_that_cannot_be_judged_by_is_refused_when_it_is_read() {
    let deep = (0..200).fold(json!({}), |inside, _| json!({"not": inside}));
    for (schema, problem) in [
        (json!({"$ref": "https://example.org/schema"}), SchemaProblem::Reference),
        (json!({"$ref": "file:///etc/passwd"}), SchemaProblem::Reference),
        (json!({"$ref": "#/$defs/nowhere"}), SchemaProblem::Reference),
        (json!({"properties": {"a": {"$ref": "other.json"}}}), SchemaProblem::Reference),
        (json!({"pattern": "(?=a)b"}), SchemaProblem::Pattern),
        (json!({"pattern": "((a{999}){999}){999}"}), SchemaProblem::Pattern),
        (
            json!({"allOf": [{"unevaluatedProperties": false}]}),
            SchemaProblem::Keyword("unevaluatedProperties"),
        ),
        (json!({"$ref": "#/else/where", "else": {"where": {"pattern": "("}}}), SchemaProblem::Pattern),
        (json!({"items": 7}), SchemaProblem::Form),
        (json!("string"), SchemaProblem::Form),
        (json!({"title": "x".repeat(65_536)}), SchemaProblem::TooLarge(65_536)),
        (deep, SchemaProblem::TooLarge(65_536)),
    ] {
        assert_eq!(Schema::new(&schema, LIMITS).err(), Some(problem), "{schema}");
    }
    let named = json!({"properties": {"$ref": {"type": "string"}, "pattern": {"type": "number"}}});
    assert_eq!(judge(&named, &json!({"pattern": 1, "$ref": "a"})), Held::Yes, "names are no rules");
}

#[test]
fn a_schema_that_asks_for_more_steps_than_a_day_has_ends_undecided() {
    let mut parts = Map::new();
    for level in 0..40 {
        let next = json!({"$ref": format!("#/$defs/l{}", level + 1)});
        parts.insert(format!("l{level}"), json!({"allOf": [next, next]}));
    }
    parts.insert("l40".into(), json!({"type": "number"}));
    assert_eq!(judge(&json!({"$defs": parts, "$ref": "#/$defs/l0"}), &json!(1)), Held::Unknown);
    assert_eq!(judge(&json!({"$ref": "#"}), &json!(1)), Held::Unknown, "a circle");
    let many: Vec<u32> = (0..5_000).collect();
    assert_eq!(judge(&json!({"uniqueItems": true}), &json!(many)), Held::Unknown);
}

/// Any JSON of a few levels, with the words of schemas among its names.
fn any_json() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "type",
        "properties",
        "items",
        "$ref",
        "anyOf",
        "not",
        "required",
        "enum",
        "pattern",
        "a",
        "minItems",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        prop::sample::select(vec!["string", "object", "#", "#/items", "[", "a"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..4)
                .prop_map(|pairs| pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_schema_and_no_answer_panics(schema in any_json(), value in any_json()) {
        if let Ok(schema) = Schema::new(&schema, LIMITS) {
            let _held = schema.holds(&value.to_string());
        }
    }
}
