//! `/admin/v1/usage`: what was used, grouped as asked, as JSON or as a table for spreadsheets.

use super::call::{Ctx, Done, Refused};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use portcullis_domain::Failure;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Most rows of one answer.
const MAX_ROWS: u32 = 10_000;
const DEFAULT_GROUP: &str = "key,model,day";
/// Days that are reported where nothing is said.
const DEFAULT_DAYS: i64 = 31;
/// Members of a row after its groups.
const SUMS: [&str; 7] = ["requests", "input", "cached", "output", "micros", "estimated", "unpriced"];

pub(super) async fn report(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let group = ctx.query("group_by").unwrap_or(DEFAULT_GROUP);
    let group: Vec<&str> = group.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let now = Timestamp::now();
    let to = moment(ctx, "to")?.unwrap_or_else(|| now.as_millisecond() + 1);
    let from = moment(ctx, "from")?.unwrap_or(to - DEFAULT_DAYS * 86_400_000);
    let rows = ctx.door.engine.usage(&group, from, to, MAX_ROWS).await?;
    match ctx.query("format").unwrap_or("json") {
        "json" => Ok(Done::shown(json!({"group_by": group, "data": rows}))),
        "csv" => Ok(Done::csv(csv(&group, &rows))),
        _ => Err(Failure::invalid("format", "format is json or csv.").into()),
    }
}

/// A day (its beginning, UTC) or an RFC 3339 time, in Unix milliseconds.
fn moment(ctx: &Ctx<'_>, name: &'static str) -> Result<Option<i64>, Failure> {
    let Some(text) = ctx.query(name) else { return Ok(None) };
    let day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok().map(|day| day.timestamp());
    let at = text.parse::<Timestamp>().ok().or_else(day);
    let words = format!("{name} is a day such as 2026-01-31, or an RFC 3339 time.");
    at.map(|at| Some(at.as_millisecond())).ok_or_else(|| Failure::invalid(name, words))
}

fn csv(group: &[&str], rows: &[Value]) -> String {
    let mut out = group.iter().chain(&SUMS).copied().collect::<Vec<_>>().join(",");
    out.push_str("\r\n");
    for row in rows {
        let cells = group.iter().chain(&SUMS).map(|name| cell(&row[*name]));
        // Writing to a string cannot fail.
        let _written = write!(out, "{}\r\n", cells.collect::<Vec<_>>().join(","));
    }
    out
}

/// One cell (RFC 4180). A text that a spreadsheet would take for a formula is made plain.
fn cell(value: &Value) -> String {
    let Some(text) = value.as_str() else { return value.to_string() };
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_where_it_must_be_and_never_a_formula() {
        let rows = [json!({"key": "a,\"b\"", "requests": 2, "input": 1}), json!({"key": "=cmd()"})];
        let table = csv(&["key"], &rows);
        let lines: Vec<&str> = table.split("\r\n").collect();
        assert_eq!(lines[0], "key,requests,input,cached,output,micros,estimated,unpriced");
        assert!(lines[1].starts_with("\"a,\"\"b\"\"\",2,1,"), "{table}");
        assert!(lines[2].starts_with("'=cmd(),"), "{table}");
    }
}
