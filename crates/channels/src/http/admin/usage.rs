//! `/admin/v1/usage`: what was used, grouped as asked, as JSON or as a table for spreadsheets. `/admin/v1/budgets`: what
//! may still be spent, redefined, or raised for the rest of a window; money computed again when a price was wrong.

use super::call::{Ctx, Done, Refused};
use crate::http::control::Call;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use portcullis_domain::{Failure, Price};
use portcullis_engine::store_failure;
use serde::Deserialize;
use serde_json::{Value, json};

/// Most rows of one answer.
const MAX_ROWS: u32 = 10_000;
const DEFAULT_GROUP: &str = "key,model,day";
/// Days that are reported where nothing is said.
const DEFAULT_DAYS: i64 = 31;
/// Most budgets of one answer.
const MAX_BUDGETS: usize = 1_000;
const MICROS: f64 = 1_000_000.0;

pub(super) async fn report(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let group = ctx.query("group_by").unwrap_or(DEFAULT_GROUP);
    let group: Vec<&str> = group.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let now = Timestamp::now();
    let to = moment(ctx, "to")?.unwrap_or_else(|| now.as_millisecond() + 1);
    let from = moment(ctx, "from")?.unwrap_or(to - DEFAULT_DAYS * 86_400_000);
    match ctx.query("format").unwrap_or("json") {
        "json" => {
            let rows = ctx.door.engine.usage(&group, from, to, MAX_ROWS).await?;
            Ok(Done::shown(json!({"group_by": group, "data": rows})))
        }
        "csv" => Ok(Done::csv(ctx.door.engine.usage_table(&group, from, to, MAX_ROWS).await?)),
        _ => Err(Failure::invalid("format", "format is json or csv.").into()),
    }
}

fn moment(ctx: &Ctx<'_>, name: &'static str) -> Result<Option<i64>, Failure> {
    ctx.query(name).map(|text| instant(text, name)).transpose()
}

/// A day (its beginning, UTC) or an RFC 3339 time, in Unix milliseconds.
fn instant(text: &str, name: &'static str) -> Result<i64, Failure> {
    let day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok().map(|day| day.timestamp());
    let at = text.parse::<Timestamp>().ok().or_else(day);
    let words = format!("{name} is a day such as 2026-01-31, or an RFC 3339 time.");
    at.map(Timestamp::as_millisecond).ok_or_else(|| Failure::invalid(name, words))
}

/// Dollars as whole micro-dollars.
fn micros(name: &'static str, usd: f64) -> Result<u64, Failure> {
    if !(0.0..=1e9).contains(&usd) {
        return Err(Failure::invalid(name, format!("{name} is a number of dollars from 0 to 1000000000.")));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "in range, as was just looked at"
    )]
    let micros = (usd * MICROS).round() as u64;
    Ok(micros)
}

pub(super) async fn budgets(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let rows = ctx.door.engine.budgets().status(ctx.query("budget"), ctx.query("subject"), MAX_BUDGETS);
    Ok(Done::shown(json!({"data": rows})))
}

pub(super) async fn budget(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let rows = ctx.door.engine.budgets().status(Some(ctx.param(0)), ctx.query("subject"), MAX_BUDGETS);
    if rows.is_empty() {
        let words = "There is no such budget; /admin/v1/budgets lists them.";
        return Err(Failure::NotFound(words.into()).into());
    }
    Ok(Done::shown(json!({"data": rows})))
}

pub(super) async fn set_budget(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    put_budget(ctx, Some(ctx.body().clone())).await
}

pub(super) async fn reset_budget(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    put_budget(ctx, None).await
}

async fn put_budget(ctx: &Ctx<'_>, definition: Option<Value>) -> Result<Done, Refused> {
    let name = ctx.param(0).to_owned();
    let one = |budgets: &Value| {
        let rows = budgets["data"].as_array().into_iter().flatten();
        rows.into_iter().find(|row| row["name"] == *name).cloned().unwrap_or_default()
    };
    let before = one(&ctx.door.control.ask(|reply| Call::Budgets { reply }).await?);
    let wanted = name.clone();
    let set = |reply| Call::SetBudget { name: wanted, definition, reply };
    let after = ctx.door.control.ask(set).await??;
    Ok(Done::changed("budget_changed", name.clone(), before, one(&after)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raise {
    /// Whose; none where all together are meant.
    #[serde(default)]
    subject: String,
    #[serde(default)]
    tokens: u64,
    #[serde(default)]
    money_usd: f64,
}

pub(super) async fn raise(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let Raise { subject, tokens, money_usd } = ctx.read()?;
    let money = micros("money_usd", money_usd)?;
    if tokens == 0 && money == 0 {
        return Err(Failure::invalid("tokens", "Name tokens, money_usd or both to raise it by.").into());
    }
    let (budgets, name) = (ctx.door.engine.budgets(), ctx.param(0));
    let narrowed = (!subject.is_empty()).then_some(subject.as_str());
    let state = || json!({"data": budgets.status(Some(name), narrowed, MAX_BUDGETS)});
    let before = state();
    if !budgets.raise(name, &subject, tokens, money).await.map_err(store_failure)? {
        let words = "There is no such budget; /admin/v1/budgets lists them.";
        return Err(Failure::NotFound(words.into()).into());
    }
    Ok(Done::changed("budget_raised", name, before, state()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reprice {
    provider: String,
    model: String,
    from: String,
    to: String,
    /// Dollars for 1,000,000 tokens, as all three.
    input_usd: f64,
    #[serde(default)]
    cached_input_usd: Option<f64>,
    output_usd: f64,
}

pub(super) async fn reprice(ctx: &Ctx<'_>) -> Result<Done, Refused> {
    let wanted: Reprice = ctx.read()?;
    let (from, to) = (instant(&wanted.from, "from")?, instant(&wanted.to, "to")?);
    let price = Price {
        input: micros("input_usd", wanted.input_usd)?,
        cached_input: micros("cached_input_usd", wanted.cached_input_usd.unwrap_or(wanted.input_usd))?,
        output: micros("output_usd", wanted.output_usd)?,
    };
    let target = (wanted.provider.as_str(), wanted.model.as_str());
    let done = ctx.door.engine.budgets().reprice(target, (from, to), price).await.map_err(store_failure)?;
    let name = format!("{}/{}", wanted.provider, wanted.model);
    let after = json!({"rows": done.rows, "micros": done.micros, "price": ctx.body()});
    Ok(Done::changed("usage_repriced", name, Value::Null, after))
}
