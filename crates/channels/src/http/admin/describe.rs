//! The OpenAPI description of the admin API, made from the table, so that no row can be missing.

use super::call::{Cost, Row};
use http::Method;
use serde_json::{Map, Value, json};

/// The document.
pub(super) fn document(rows: &[Row]) -> Value {
    let mut paths = Map::new();
    for row in rows {
        let methods = paths.entry(row.path).or_insert_with(|| json!({}));
        methods[row.method.as_str().to_ascii_lowercase()] = operation(row);
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Portcullis admin API", "version": env!("CARGO_PKG_VERSION")},
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": {
                "type": "object",
                "required": ["error", "message", "details", "status_code", "timestamp", "request_id"],
                "properties": {
                    "error": {"type": "string"}, "message": {"type": "string"}, "details": {"type": "object"},
                    "status_code": {"type": "integer"}, "timestamp": {"type": "string", "format": "date-time"},
                    "request_id": {"type": "string"}
                }
            }}
        }
    })
}

fn operation(row: &Row) -> Value {
    let names = row.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = names
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    let mut statuses = vec!["400", "401", "403", "404", "429", "500", "503"];
    if row.cost != Cost::Read {
        let words = "The ETag of what was read; when it is another by now, nothing is changed (412).";
        parameters.push(json!({"name": "If-Match", "in": "header", "description": words,
                               "schema": {"type": "string"}}));
        statuses.extend(["409", "412", "413", "415"]);
    }
    if row.cost == Cost::Read && row.method != Method::GET {
        statuses.extend(["413", "415"]);
    }
    let error = json!({"description": "Refused.", "content": {"application/json":
        {"schema": {"$ref": "#/components/schemas/Error"}}}});
    let mut responses = Map::new();
    responses.insert("2XX".into(), json!({"description": "Done.", "content": {"application/json": {}}}));
    responses.extend(statuses.into_iter().map(|status| (status.to_owned(), error.clone())));
    json!({
        "summary": row.summary,
        "description": format!("Needs the scope {}.", row.scope().as_str()),
        "parameters": parameters,
        "responses": responses,
    })
}
