//! Reply markup as the server checks it. Invariant: a keyboard that passes would be shown as given.

use super::state::{Refusal, State};
use serde_json::Value;

/// Bytes a button may carry.
const DATA_BYTES: usize = 64;
/// Buttons of one keyboard.
const BUTTONS: usize = 100;
/// Its size.
const MARKUP_BYTES: usize = 10_000;
/// Buttons that clients show beside each other.
const ROW: usize = 8;
/// What makes a button do something.
const ACTIONS: [&str; 10] = [
    "url",
    "callback_data",
    "web_app",
    "login_url",
    "switch_inline_query",
    "switch_inline_query_current_chat",
    "switch_inline_query_chosen_chat",
    "copy_text",
    "callback_game",
    "pay",
];

/// The inline keyboard of a message, if it has one after this; other keyboards are checked and not kept.
pub(super) fn check(state: &mut State, markup: Option<&Value>) -> Result<Option<Value>, Refusal> {
    let Some(markup) = markup else { return Ok(None) };
    let Some(rows) = markup["inline_keyboard"].as_array() else { return Ok(None) };
    let rows: Vec<&Vec<Value>> =
        rows.iter().filter_map(Value::as_array).filter(|row| !row.is_empty()).collect();
    for button in rows.iter().copied().flatten() {
        self::button(button)?;
    }
    if rows.iter().any(|row| row.len() > ROW) {
        state.violation(format!("a row of more than {ROW} buttons"));
    }
    let buttons: usize = rows.iter().map(|row| row.len()).sum();
    if buttons > BUTTONS || markup.to_string().len() > MARKUP_BYTES {
        return Err(Refusal::bad("reply markup is too long"));
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let rows: Vec<Value> = rows.into_iter().cloned().map(Value::Array).collect();
    Ok(Some(serde_json::json!({ "inline_keyboard": rows })))
}

fn button(button: &Value) -> Result<(), Refusal> {
    let does = ACTIONS.iter().filter(|action| !button[**action].is_null()).count();
    if does == 0 {
        return Err(Refusal::bad(
            "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard",
        ));
    }
    if does > 1 {
        return Err(Refusal::bad("can't parse inline keyboard button: it does more than one thing"));
    }
    if button["text"].as_str().unwrap_or_default().trim().is_empty() {
        return Err(Refusal::bad("BUTTON_TEXT_EMPTY"));
    }
    if let Some(data) = button["callback_data"].as_str()
        && !(1..=DATA_BYTES).contains(&data.len())
    {
        return Err(Refusal::bad("BUTTON_DATA_INVALID"));
    }
    if let Some(url) = button["url"].as_str()
        && super::markdown::checked(url).is_none()
    {
        return Err(Refusal::bad("BUTTON_URL_INVALID"));
    }
    if let Some(style) = button["style"].as_str()
        && !matches!(style, "danger" | "success" | "primary")
    {
        return Err(Refusal::bad("can't parse inline keyboard button: invalid button style specified"));
    }
    Ok(())
}
