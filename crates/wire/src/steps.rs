//! Between the two shapes of an answer: a whole one as the steps of a streamed one, and back. Invariant: taking an
//! answer apart and putting it together again changes nothing but where one text ends and the next begins.

use portcullis_domain::{Choice, Completion, Finish, Part, Step, ToolCall};
use serde_json::Value;
use std::collections::BTreeMap;

/// The steps of a whole answer.
#[must_use]
pub fn of_answer(answer: &Completion) -> Vec<Step> {
    let mut out = vec![Step::Begin { id: answer.id.clone(), model: answer.model.clone() }];
    for (choice, said) in (0..).zip(&answer.choices) {
        let mut index = 0;
        for part in &said.parts {
            match part {
                Part::Text(text) => out.push(Step::Text { choice, text: text.clone() }),
                Part::Refusal(text) => out.push(Step::Refusal { choice, text: text.clone() }),
                Part::Reasoning { text, signature } => {
                    let (text, signature) = (text.clone(), signature.clone());
                    out.push(Step::Reasoning { choice, text, signature });
                }
                Part::ToolCall(call) => {
                    let (id, name, signature) = (call.id.clone(), call.name.clone(), call.signature.clone());
                    out.push(Step::ToolCall { choice, index, id, name, signature });
                    out.push(Step::Arguments { choice, index, fragment: call.arguments.clone() });
                    index += 1;
                }
                // Answers hold none that a stream could carry.
                Part::Image(_) | Part::ToolResult(_) => {}
            }
        }
        out.extend(said.logprobs.clone().map(|logprobs| Step::Logprobs { choice, logprobs }));
        out.push(Step::Finish { choice, reason: said.finish.clone() });
    }
    out.extend(answer.usage.map(Step::Usage));
    out
}

/// A choice being put together.
#[derive(Default)]
struct Growing {
    parts: Vec<Part>,
    /// Where the call of an index stands.
    calls: BTreeMap<u32, usize>,
    logprobs: Option<Value>,
    finish: Option<Finish>,
}

impl Growing {
    fn text(&mut self, more: String) {
        match self.parts.last_mut() {
            Some(Part::Text(text)) => text.push_str(&more),
            Some(_) | None => self.parts.push(Part::Text(more)),
        }
    }

    fn refusal(&mut self, more: String) {
        match self.parts.last_mut() {
            Some(Part::Refusal(text)) => text.push_str(&more),
            Some(_) | None => self.parts.push(Part::Refusal(more)),
        }
    }

    fn reasoning(&mut self, more: String, signed: Option<String>) {
        match self.parts.last_mut() {
            // A signature ends a thought.
            Some(Part::Reasoning { text, signature }) if signature.is_none() => {
                text.push_str(&more);
                *signature = signed;
            }
            Some(_) | None => self.parts.push(Part::Reasoning { text: more, signature: signed }),
        }
    }

    fn arguments(&mut self, index: u32, fragment: &str) {
        let part = self.calls.get(&index).and_then(|at| self.parts.get_mut(*at));
        if let Some(Part::ToolCall(call)) = part {
            call.arguments.push_str(fragment);
        }
    }

    /// Lists of the same name are put one behind the other.
    fn logprobs(&mut self, more: Value) {
        match (&mut self.logprobs, more) {
            (Some(Value::Object(known)), Value::Object(more)) => {
                for (name, value) in more {
                    match (known.get_mut(&name), value) {
                        (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
                        (_, value) => drop(known.insert(name, value)),
                    }
                }
            }
            (_, more) => self.logprobs = Some(more),
        }
    }
}

/// The whole answer of a stream; none unless it began and every choice of it ended.
#[must_use]
pub fn into_answer(steps: impl IntoIterator<Item = Step>) -> Option<Completion> {
    let (mut answer, mut begun) = (Completion::default(), false);
    let mut choices = BTreeMap::<u32, Growing>::new();
    for step in steps {
        match step {
            Step::Begin { id, model } => {
                begun = true;
                (answer.id, answer.model) = (id, model);
            }
            Step::Text { choice, text } => choices.entry(choice).or_default().text(text),
            Step::Refusal { choice, text } => choices.entry(choice).or_default().refusal(text),
            Step::Reasoning { choice, text, signature } => {
                choices.entry(choice).or_default().reasoning(text, signature);
            }
            Step::ToolCall { choice, index, id, name, signature } => {
                let growing = choices.entry(choice).or_default();
                growing.calls.insert(index, growing.parts.len());
                growing.parts.push(Part::ToolCall(ToolCall {
                    id,
                    name,
                    arguments: String::new(),
                    signature,
                }));
            }
            Step::Arguments { choice, index, fragment } => {
                choices.entry(choice).or_default().arguments(index, &fragment);
            }
            Step::Logprobs { choice, logprobs } => choices.entry(choice).or_default().logprobs(logprobs),
            Step::Finish { choice, reason } => choices.entry(choice).or_default().finish = Some(reason),
            Step::Usage(usage) => answer.usage = Some(usage),
        }
    }
    let whole = |growing: Growing| {
        Some(Choice { parts: growing.parts, finish: growing.finish?, logprobs: growing.logprobs })
    };
    answer.choices = choices.into_values().map(whole).collect::<Option<_>>()?;
    (begun && !answer.choices.is_empty()).then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::Usage;
    use serde_json::json;

    fn answer() -> Completion {
        let call = |id: &str, arguments: &str| {
            Part::ToolCall(ToolCall {
                id: id.into(),
                name: "look".into(),
                arguments: arguments.into(),
                signature: None,
            })
        };
        Completion {
            id: "a".into(),
            model: "m".into(),
            created: 0,
            choices: vec![
                Choice {
                    parts: vec![
                        Part::Reasoning { text: "hm".into(), signature: Some("s".into()) },
                        Part::Text("Well.".into()),
                        call("1", "{\"x\":1}"),
                        call("2", ""),
                    ],
                    finish: Finish::ToolCalls,
                    logprobs: Some(json!({ "content": [1, 2], "refusal": null })),
                },
                Choice { parts: vec![Part::Refusal("No.".into())], finish: Finish::Stop, logprobs: None },
            ],
            usage: Some(Usage { input: 3, output: 4, ..Usage::default() }),
        }
    }

    #[test]
    fn an_answer_taken_apart_and_put_together_is_the_same() {
        assert_eq!(into_answer(of_answer(&answer())), Some(answer()));
    }

    #[test]
    fn pieces_are_joined_and_interleaved_choices_kept_apart() {
        let text = |choice, text: &str| Step::Text { choice, text: text.into() };
        let finish = |choice| Step::Finish { choice, reason: Finish::Stop };
        let probs = |number: u32| Step::Logprobs { choice: 0, logprobs: json!({ "content": [number] }) };
        let begin = Step::Begin { id: "a".into(), model: "m".into() };
        let steps = [
            begin.clone(),
            text(0, "a"),
            probs(1),
            text(1, "x"),
            text(0, "b"),
            probs(2),
            finish(1),
            text(0, "c"),
            finish(0),
        ];
        let whole = into_answer(steps).unwrap();
        assert_eq!(whole.choices[0].parts, [Part::Text("abc".into())]);
        assert_eq!(whole.choices[0].logprobs, Some(json!({ "content": [1, 2] })));
        assert_eq!(whole.choices[1].parts, [Part::Text("x".into())]);
        assert_eq!(into_answer([begin.clone(), text(0, "a")]), None, "no end");
        assert_eq!(into_answer([text(0, "a"), finish(0)]), None, "no beginning");
        assert_eq!(into_answer([begin]), None, "nothing");
    }
}
