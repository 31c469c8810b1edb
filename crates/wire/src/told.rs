//! What an answer says of itself, for traces: which model gave it, and why it ended, in the provider's own words. Read only of
//! requests that are traced. Invariant: a word that is none of a provider's short names is left out, so that nothing that people
//! or a hostile provider wrote stands in a trace.

use portcullis_domain::Format;
use serde_json::Value;

/// Longest name of a model, and of a reason.
const LONGEST: [usize; 2] = [128, 48];
/// Most answers of one request whose end is told.
const MOST: usize = 8;

/// What is known so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The model, as the provider names it.
    pub model: Option<String>,
    /// Why each of the answers ended, in the order in which they did.
    pub reasons: Vec<String>,
}

impl Told {
    /// Adds what a whole answer, or one event of a stream, says.
    pub fn add(&mut self, format: Format, data: &[u8]) {
        let Ok(said) = serde_json::from_slice::<Value>(data) else { return };
        let each = |list: &Value, name: &str| -> Vec<Value> {
            list.as_array().into_iter().flatten().map(|item| item[name].clone()).collect()
        };
        let (model, reasons) = match format {
            Format::OpenAi => (&said["model"], each(&said["choices"], "finish_reason")),
            Format::Responses => {
                let whole = if said["response"].is_object() { &said["response"] } else { &said };
                let ended = matches!(whole["status"].as_str(), Some("completed" | "incomplete" | "failed"));
                let why = &whole["incomplete_details"]["reason"];
                let why = if why.is_string() { why } else { &whole["status"] };
                (&whole["model"], if ended { vec![why.clone()] } else { Vec::new() })
            }
            Format::Anthropic => {
                let whole = if said["message"].is_object() { &said["message"] } else { &said };
                (&whole["model"], vec![whole["stop_reason"].clone(), said["delta"]["stop_reason"].clone()])
            }
            Format::Gemini => (&said["modelVersion"], each(&said["candidates"], "finishReason")),
        };
        let [longest_model, longest_reason] = LONGEST;
        if let Some(model) = model.as_str().filter(|model| is_name(model, longest_model)) {
            self.model = Some(model.to_owned());
        }
        let reasons =
            reasons.iter().filter_map(Value::as_str).filter(|reason| is_name(reason, longest_reason));
        self.reasons.extend(reasons.map(str::to_owned));
        self.reasons.truncate(MOST);
    }
}

/// Letters, digits and what joins them in names of models.
fn is_name(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(format: Format, texts: &[&str]) -> (String, String) {
        let mut told = Told::default();
        texts.iter().for_each(|text| told.add(format, text.as_bytes()));
        (told.model.unwrap_or_default(), told.reasons.join(","))
    }

    #[test]
    fn each_format_says_in_its_own_place_who_answered_and_why_it_ended() {
        let expect = |format, texts: &[&str], model: &str, reasons: &str| {
            assert_eq!(told(format, texts), (model.to_owned(), reasons.to_owned()), "{format:?}");
        };
        let whole = r#"{"model":"gpt-x-1","choices":[{"finish_reason":"stop"},{"finish_reason":"length"}]}"#;
        expect(Format::OpenAi, &[whole], "gpt-x-1", "stop,length");
        let begin = r#"{"model":"gpt-x-1","choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#;
        let end = r#"{"model":"gpt-x-1","choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#;
        expect(Format::OpenAi, &[begin, end], "gpt-x-1", "tool_calls");
        let event = r#"{"type":"response.completed","response":{"model":"gpt-x","status":"completed"}}"#;
        expect(Format::Responses, &[event], "gpt-x", "completed");
        let cut =
            r#"{"model":"m","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}"#;
        expect(Format::Responses, &[cut], "m", "max_output_tokens");
        let start = r#"{"type":"message_start","message":{"model":"claude-x","stop_reason":null}}"#;
        let delta = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
        expect(Format::Anthropic, &[start, delta], "claude-x", "end_turn");
        expect(
            Format::Anthropic,
            &[r#"{"model":"claude-x","stop_reason":"max_tokens"}"#],
            "claude-x",
            "max_tokens",
        );
        let gemini = r#"{"modelVersion":"gemini-x","candidates":[{"finishReason":"STOP"}]}"#;
        expect(Format::Gemini, &[gemini], "gemini-x", "STOP");
    }

    #[test]
    fn what_is_no_name_is_left_out_and_many_are_cut() {
        let words = r#"{"model":"my secret diary","choices":[{"finish_reason":"because I say so"}]}"#;
        assert_eq!(told(Format::OpenAi, &[words, "no json", "[1]", "7"]), Default::default());
        let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(129));
        assert_eq!(told(Format::OpenAi, &[&long]), Default::default());
        let one = r#"{"choices":[{"finish_reason":"stop"}]}"#;
        assert_eq!(told(Format::OpenAi, &[one; 20]).1, ["stop"; 8].join(","));
    }
}
