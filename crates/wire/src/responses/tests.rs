//! OpenAI's responses, read and written.

use super::{Reader, Writer, look_event, look_whole, read_answer, read_request, write_answer, write_request};
use crate::{Head, Odd, sse};
use bytes::{Bytes, BytesMut};
use portcullis_domain::{
    Choice, Completion, Conversation, Failure, Finish, Image, Part, Role, Sampling, Shape, Step, Tool,
    ToolCall, ToolChoice, ToolResult, Turn, Usage,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A request with everything that is offered.
const FULL: &str = r#"{
  "model": "fast", "instructions": "Be kind.", "store": true, "stream": true, "metadata": {"run": "7"},
  "input": [
    {"role": "user", "content": "Look at this."},
    {"type": "message", "role": "user", "content": [
      {"type": "input_text", "text": "And this."},
      {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,AAAA"},
      {"type": "input_image", "detail": "high", "image_url": "https://host/cat.png"}]},
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "A cat."}], "encrypted_content": "sealed"},
    {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [
      {"type": "output_text", "text": "A cat.", "annotations": [], "logprobs": []}]},
    {"type": "function_call", "id": "fc_1", "status": "completed", "call_id": "call_1", "name": "name_of", "arguments": "{\"n\":1}"},
    {"type": "function_call_output", "call_id": "call_1", "output": "Tom"},
    {"role": "developer", "content": "Answer in JSON."}
  ],
  "tools": [{"type": "function", "name": "name_of", "description": "Names.", "parameters": {"type": "object"}, "strict": false}],
  "tool_choice": {"type": "function", "name": "name_of"}, "parallel_tool_calls": false,
  "text": {"format": {"type": "json_schema", "name": "cat", "schema": {"type": "object"}, "strict": true}, "verbosity": "low"},
  "reasoning": {"effort": "low", "summary": "auto"}, "max_output_tokens": 99, "temperature": 0.5, "top_p": 0.9,
  "top_logprobs": 2, "user": "u", "include": [], "previous_response_id": null, "background": false,
  "truncation": "disabled", "service_tier": "flex", "prompt_cache_key": "k"
}"#;

fn head(request: &'static str) -> Head {
    Head {
        id: "01H".into(),
        created: 1_700_000_000,
        include_usage: true,
        request: Bytes::from_static(request.as_bytes()),
    }
}

fn part(role: Role) -> BoxedStrategy<Part> {
    let text = "[a-z \"\\\\\u{e9}\u{1F600}]{1,12}";
    let words = text.prop_map(Part::Text);
    let image = prop_oneof![
        "[a-z]{1,8}".prop_map(|path| Part::Image(Image::Url(format!("https://host/{path}")))),
        Just(Part::Image(Image::Data { mime: "image/png".into(), base64: "AAAA".into() })),
    ];
    let call = ("call_[a-z]{3}", "[a-z]{2,6}").prop_map(|(id, name)| {
        Part::ToolCall(ToolCall { id, name, arguments: "{\"a\":1}".into(), signature: None })
    });
    let thoughts = ("[a-z ]{0,9}", prop::option::of("[a-z]{1,9}"))
        .prop_map(|(text, signature)| Part::Reasoning { text, signature });
    match role {
        Role::System => words.boxed(),
        Role::User => prop_oneof![words, image].boxed(),
        Role::Assistant => prop_oneof![words, text.prop_map(Part::Refusal), call, thoughts].boxed(),
        Role::Tool => prop::collection::vec(prop_oneof![words, image], 1..3)
            .prop_map(|parts| {
                Part::ToolResult(ToolResult { id: "call_x".into(), name: None, parts, failed: false })
            })
            .boxed(),
    }
}

fn turn() -> impl Strategy<Value = Turn> {
    let role = prop_oneof![Just(Role::System), Just(Role::User), Just(Role::Assistant), Just(Role::Tool)];
    role.prop_flat_map(|role| {
        let most = if role == Role::Tool { 2 } else { 5 };
        (Just(role), prop::collection::vec(part(role), 1..most))
    })
    .prop_map(|(role, parts)| Turn { role, parts })
}

fn conversation() -> impl Strategy<Value = Conversation> {
    let shape = prop_oneof![
        Just(Shape::Text),
        Just(Shape::Json),
        Just(Shape::Schema {
            name: "s".into(),
            description: Some("It.".into()),
            schema: json!({"type": "object"}),
            strict: Some(true),
        }),
    ];
    let choice = prop_oneof![
        Just(None),
        Just(Some(ToolChoice::Auto)),
        Just(Some(ToolChoice::None)),
        Just(Some(ToolChoice::Required)),
        Just(Some(ToolChoice::Named("look".into()))),
    ];
    let sampling = (any::<Option<u32>>(), prop::option::of(0_u32..20), prop::option::of("[a-z]{1,4}"))
        .prop_map(|(max_tokens, top_logprobs, effort)| Sampling {
            max_tokens,
            temperature: Some(0.5),
            top_p: Some(0.25),
            logprobs: top_logprobs.map(|_| true),
            top_logprobs,
            reasoning_effort: effort,
            user: Some("u".into()),
            ..Sampling::default()
        });
    let tool = Tool {
        name: "look".into(),
        description: Some("Looks.".into()),
        parameters: Some(json!({"type": "object", "properties": {}})),
        strict: Some(false),
    };
    (prop::collection::vec(turn(), 1..6), shape, choice, sampling, any::<bool>()).prop_map(
        move |(mut turns, shape, tool_choice, sampling, stream)| {
            // What the model says is one turn until somebody else speaks.
            turns.dedup_by(|a, b| a.role == Role::Assistant && b.role == Role::Assistant);
            Conversation {
                turns,
                tools: vec![tool.clone()],
                tool_choice,
                parallel_tools: Some(true),
                shape,
                sampling,
                stream,
                unheld: vec![],
            }
        },
    )
}

/// Pieces of an answer as a provider could send them.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let choice = 0;
    let text = || "[a-z\"\\\\\n\u{e9}\u{1F600}]{1,9}";
    let said = prop_oneof![
        prop::collection::vec(text(), 1..4)
            .prop_map(move |texts| texts.into_iter().map(|text| Step::Text { choice, text }).collect()),
        text().prop_map(move |text| vec![Step::Refusal { choice, text }]),
        (text(), prop::option::of(text())).prop_map(move |(text, signature)| {
            let mut steps = vec![Step::Reasoning { choice, text, signature: None }];
            let text = String::new();
            steps.extend(signature.map(|sealed| Step::Reasoning { choice, text, signature: Some(sealed) }));
            steps
        }),
        prop::collection::vec(text(), 0..3).prop_map(move |pieces| {
            let (id, name) = ("call_1".into(), "look".into());
            let mut steps = vec![Step::ToolCall { choice, index: 0, id, name, signature: None }];
            let more = |fragment| Step::Arguments { choice, index: 0, fragment };
            steps.extend(pieces.into_iter().map(more));
            steps
        }),
    ];
    (prop::collection::vec(said, 0..6), any::<bool>(), any::<bool>()).prop_map(move |(said, cut, counted)| {
        let mut calls = 0;
        let mut steps = vec![Step::Begin { id: "resp_1".into(), model: "m".into() }];
        for mut step in said.into_iter().flatten() {
            match &mut step {
                Step::ToolCall { index, .. } => {
                    *index = calls;
                    calls += 1;
                }
                Step::Arguments { index, .. } => *index = calls - 1,
                Step::Begin { .. }
                | Step::Text { .. }
                | Step::Refusal { .. }
                | Step::Reasoning { .. }
                | Step::Logprobs { .. }
                | Step::Finish { .. }
                | Step::Usage(_) => {}
            }
            steps.push(step);
        }
        let reason = match (cut, calls) {
            (true, _) => Finish::Length,
            (false, 0) => Finish::Stop,
            (false, _) => Finish::ToolCalls,
        };
        steps.push(Step::Finish { choice, reason });
        let usage = Usage { input: 9, cached: 2, output: 7, reasoning: 3, estimated: false };
        steps.extend(counted.then_some(Step::Usage(usage)));
        steps
    })
}

fn written(steps: &[Step], request: &'static str) -> BytesMut {
    let (mut writer, mut out) = (Writer::new(head(request)), BytesMut::new());
    steps.iter().for_each(|step| writer.step(step, &mut out));
    writer.finish(&mut out);
    out
}

/// The data of every event, in order.
fn events(stream: &[u8]) -> Vec<Vec<u8>> {
    let (mut out, mut rest) = (Vec::new(), stream);
    while let Some(end) = sse::first_end(rest) {
        out.push(sse::data_of(&rest[..end]).unwrap().into_owned());
        rest = &rest[end..];
    }
    out
}

fn read(events: &[Vec<u8>]) -> Vec<Step> {
    let (mut reader, mut out) = (Reader::default(), Vec::new());
    events.iter().for_each(|data| reader.event(data, &mut out).unwrap());
    out
}

/// What a whole answer holds of these steps.
fn gathered(steps: &[Step]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for step in steps {
        match (step, parts.last_mut()) {
            (Step::Text { text, .. }, Some(Part::Text(before))) => before.push_str(text),
            (Step::Refusal { text, .. }, Some(Part::Refusal(before))) => before.push_str(text),
            (
                Step::Reasoning { text, signature, .. },
                Some(Part::Reasoning { text: before, signature: open @ None }),
            ) => {
                before.push_str(text);
                open.clone_from(signature);
            }
            (Step::Text { text, .. }, _) => parts.push(Part::Text(text.clone())),
            (Step::Refusal { text, .. }, _) => parts.push(Part::Refusal(text.clone())),
            (Step::Reasoning { text, signature, .. }, _) => {
                parts.push(Part::Reasoning { text: text.clone(), signature: signature.clone() });
            }
            (Step::ToolCall { id, name, .. }, _) => parts.push(Part::ToolCall(ToolCall {
                id: id.clone(),
                name: name.clone(),
                arguments: String::new(),
                signature: None,
            })),
            (Step::Arguments { fragment, .. }, Some(Part::ToolCall(call))) => {
                call.arguments.push_str(fragment);
            }
            (
                Step::Arguments { .. }
                | Step::Begin { .. }
                | Step::Logprobs { .. }
                | Step::Finish { .. }
                | Step::Usage(_),
                _,
            ) => {}
        }
    }
    parts
}

proptest! {
    #[test]
    fn a_request_written_and_read_again_is_the_same(wanted in conversation()) {
        let written = write_request(&wanted, "m");
        prop_assert_eq!(written.dropped, vec![]);
        prop_assert_eq!(read_request(&written.body).unwrap(), wanted);
    }

    #[test]
    fn a_stream_written_and_read_again_says_the_same_steps(steps in steps()) {
        prop_assert_eq!(read(&events(&written(&steps, "{}"))), steps);
    }

    #[test]
    fn a_stream_cut_anywhere_says_the_same_steps(steps in steps(), cuts in prop::collection::vec(any::<usize>(), 0..9)) {
        let whole = written(&steps, "{}");
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (whole.len() + 1)).chain([0, whole.len()]).collect();
        cuts.sort_unstable();
        let (mut held, mut reader, mut said) = (BytesMut::new(), Reader::default(), Vec::new());
        for pair in cuts.windows(2) {
            held.extend_from_slice(&whole[pair[0]..pair[1]]);
            while let Some(end) = sse::first_end(&held) {
                reader.event(&sse::data_of(&held.split_to(end)).unwrap(), &mut said).unwrap();
            }
        }
        prop_assert_eq!(said, steps);
    }

    #[test]
    fn the_last_event_of_a_stream_holds_the_answer_that_its_pieces_said(steps in steps()) {
        let events = events(&written(&steps, "{}"));
        for (number, event) in events.iter().enumerate() {
            let event: Value = serde_json::from_slice(event).unwrap();
            prop_assert_eq!(event["sequence_number"].as_u64(), Some(number as u64));
        }
        let last: Value = serde_json::from_slice(events.last().unwrap()).unwrap();
        let answer = read_answer(last["response"].to_string().as_bytes()).unwrap();
        prop_assert_eq!(&answer.choices[0].parts, &gathered(&steps));
        let end = Step::Finish { choice: 0, reason: answer.choices[0].finish.clone() };
        prop_assert!(steps.contains(&end));
    }

    #[test]
    fn a_look_sees_the_end_the_usage_and_some_text(steps in steps()) {
        let events = events(&written(&steps, "{}"));
        let seen: Vec<_> = events.iter().map(|data| look_event(data).unwrap()).collect();
        let (last, rest) = seen.split_last().unwrap();
        prop_assert!(last.done && last.finished == 1);
        let under_way = rest.iter().all(|seen| seen.begins && !seen.done && seen.finished == 0);
        prop_assert!(under_way);
        let usage = steps.iter().find_map(|step| if let Step::Usage(usage) = step { Some(*usage) } else { None });
        prop_assert_eq!(last.usage, usage);
        let said = steps.iter().any(|step| matches!(step, Step::Text { .. } | Step::Refusal { .. }));
        let counted = rest.iter().any(|seen| seen.text_bytes > 0);
        prop_assert!(!said || counted);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(read_request(&bytes));
        drop(read_answer(&bytes));
        drop(look_event(&bytes));
        let _seen = look_whole(&bytes);
        drop(Reader::default().event(&bytes, &mut Vec::new()));
    }

    #[test]
    fn a_request_cut_or_changed_anywhere_never_panics(at in 0..FULL.len(), byte: u8) {
        drop(read_request(&FULL.as_bytes()[..at]));
        let mut changed = FULL.as_bytes().to_vec();
        changed[at] = byte;
        drop(read_request(&changed));
        let steps = [Step::Begin { id: String::new(), model: "m".into() }];
        let (mut writer, mut out) = (Writer::new(Head { request: changed.into(), ..head("") }), BytesMut::new());
        writer.step(&steps[0], &mut out);
    }
}

fn answer() -> Completion {
    let call = ToolCall { id: "call_1".into(), name: "look".into(), arguments: "{}".into(), signature: None };
    let token = json!({"token": "Hi", "bytes": [72, 105], "logprob": -0.5, "top_logprobs": []});
    Completion {
        id: "resp_1".into(),
        model: "m".into(),
        created: 5,
        choices: vec![Choice {
            parts: vec![
                Part::Reasoning { text: "hm".into(), signature: Some("sealed".into()) },
                Part::Text("Hi".into()),
                Part::Refusal("No".into()),
                Part::ToolCall(call),
            ],
            finish: Finish::ToolCalls,
            logprobs: Some(json!({"content": [token], "refusal": null})),
        }],
        usage: Some(Usage { input: 7, cached: 2, output: 5, reasoning: 1, estimated: false }),
    }
}

#[test]
fn an_answer_written_and_read_again_is_the_same() {
    let body = write_answer(&answer(), &head(FULL));
    assert_eq!(read_answer(&body).unwrap(), answer());
    let glance = look_whole(&body).unwrap();
    assert_eq!(glance.usage, answer().usage);
    assert!(glance.text_bytes > 0);
    insta::assert_json_snapshot!(serde_json::from_slice::<Value>(&body).unwrap());
}

#[test]
fn an_answer_that_says_little_has_every_member_that_clients_need() {
    let choices =
        vec![Choice { parts: vec![Part::Text("Hi".into())], finish: Finish::Length, logprobs: None }];
    let said = Completion { id: "chatcmpl-1".into(), model: "m".into(), choices, ..Completion::default() };
    let body = write_answer(&said, &head(r#"{"model":"fast","input":"Hi","tools":null,"temperature":null}"#));
    insta::assert_json_snapshot!(serde_json::from_slice::<Value>(&body).unwrap());
}

#[test]
fn a_request_is_read_whole_and_what_nobody_knows_is_named() {
    let read = read_request(FULL.as_bytes()).unwrap();
    assert_eq!(
        read.unheld,
        [
            "input[1].content[2].detail",
            "text.verbosity",
            "reasoning.summary",
            "service_tier",
            "prompt_cache_key"
        ]
    );
    insta::assert_debug_snapshot!(read);
    let written = write_request(&read, "m");
    assert_eq!(written.dropped, vec![]);
    insta::assert_json_snapshot!(serde_json::from_slice::<Value>(&written.body).unwrap());
}

#[test]
fn a_stream_of_thoughts_words_and_calls_is_told_in_every_event() {
    let (choice, signature) = (0, None);
    let steps = vec![
        Step::Begin { id: String::new(), model: "m".into() },
        Step::Reasoning { choice, text: "hm".into(), signature: Some("sealed".into()) },
        Step::Text { choice, text: "Hel".into() },
        Step::Text { choice, text: "lo".into() },
        Step::Logprobs { choice, logprobs: json!({"content": [{"token": "lo", "logprob": -1.0}]}) },
        Step::Refusal { choice, text: "No".into() },
        Step::ToolCall {
            choice,
            index: 0,
            id: "call_1".into(),
            name: "look".into(),
            signature: signature.clone(),
        },
        Step::ToolCall { choice, index: 1, id: "call_2".into(), name: "see".into(), signature },
        Step::Arguments { choice, index: 1, fragment: "{\"b\":2}".into() },
        Step::Arguments { choice, index: 0, fragment: "{\"a\"".into() },
        Step::Arguments { choice, index: 0, fragment: ":1}".into() },
        Step::Text { choice: 1, text: "of another answer".into() },
        Step::Finish { choice, reason: Finish::ToolCalls },
        Step::Usage(Usage { input: 3, output: 4, ..Usage::default() }),
    ];
    insta::assert_snapshot!(String::from_utf8_lossy(&written(&steps, r#"{"metadata":{"run":"7"}}"#)));
}

#[test]
fn a_stream_that_reached_its_length_or_a_filter_is_told_incomplete() {
    for (reason, told) in [(Finish::Length, "max_output_tokens"), (Finish::ContentFilter, "content_filter")] {
        let steps = [
            Step::Begin { id: String::new(), model: "m".into() },
            Step::Text { choice: 0, text: "Hel".into() },
            Step::Finish { choice: 0, reason: reason.clone() },
        ];
        let events = events(&written(&steps, "{}"));
        let last: Value = serde_json::from_slice(events.last().unwrap()).unwrap();
        assert_eq!(last["type"], "response.incomplete");
        assert_eq!(last["response"]["incomplete_details"]["reason"], told);
        assert_eq!(last["response"]["output"][0]["status"], "incomplete");
        assert_eq!(read(&events)[2], Step::Finish { choice: 0, reason });
    }
}

#[test]
fn a_stream_of_a_server_that_tells_only_the_ends_says_the_same() {
    let told = [
        json!({"type": "response.created", "response": {"id": "resp_1", "model": "m", "status": "in_progress", "output": []}}),
        json!({"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "Hi"}),
        json!({"type": "response.output_item.done", "output_index": 1, "item":
            {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"}}),
        json!({"type": "response.web_search_call.completed", "output_index": 2}),
        json!({"type": "keepalive"}),
        json!({"type": "response.completed", "response": {"id": "resp_1", "model": "m", "status": "completed",
            "output": [{"type": "function_call"}], "usage": {"input_tokens": 1, "output_tokens": 2}}}),
    ];
    let mut events: Vec<Vec<u8>> = told.iter().map(|event| event.to_string().into_bytes()).collect();
    events.push(b"[DONE]".to_vec());
    let (choice, signature) = (0, None);
    assert_eq!(
        read(&events),
        [
            Step::Begin { id: "resp_1".into(), model: "m".into() },
            Step::Text { choice, text: "Hi".into() },
            Step::ToolCall { choice, index: 0, id: "call_1".into(), name: "look".into(), signature },
            Step::Arguments { choice, index: 0, fragment: "{}".into() },
            Step::Finish { choice, reason: Finish::ToolCalls },
            Step::Usage(Usage { input: 1, output: 2, ..Usage::default() }),
        ]
    );
}

#[test]
fn errors_and_what_is_no_event_are_told_apart() {
    for (event, error) in [
        (
            r#"{"type":"response.failed","response":{"error":{"code":"server_error"}}}"#,
            r#"{"code":"server_error"}"#,
        ),
        (r#"{"type":"error","error":{"code":"x"}}"#, r#"{"code":"x"}"#),
        (r#"{"type":"error","code":"x"}"#, r#"{"type":"error","code":"x"}"#),
        (r#"{"error":{"code":"x"}}"#, r#"{"code":"x"}"#),
    ] {
        let wanted = Odd::Error(Bytes::copy_from_slice(error.as_bytes()));
        assert_eq!(look_event(event.as_bytes()), Err(wanted.clone()), "{event}");
        assert_eq!(Reader::default().event(event.as_bytes(), &mut Vec::new()), Err(wanted), "{event}");
    }
    for wrong in ["{}", "[]", "nonsense", r#"{"type":"response.completed"}"#, r#"{"choices":[]}"#] {
        assert_eq!(look_event(wrong.as_bytes()), Err(Odd::WrongSchema), "{wrong}");
    }
    for wrong in
        ["{}", r#"{"output":{}}"#, r#"{"output":[],"status":"failed"}"#, r#"{"choices":[]}"#, "<html>"]
    {
        assert!(look_whole(wrong.as_bytes()).is_none(), "{wrong}");
        assert!(read_answer(wrong.as_bytes()).is_none(), "{wrong}");
    }
}

#[test]
fn what_needs_something_stored_or_built_in_is_refused_by_name() {
    let param = |members: &str| {
        let body = format!(r#"{{"model":"m","input":"a",{members}}}"#);
        match read_request(body.as_bytes()) {
            Err(Failure::InvalidInput { param, .. }) => param.unwrap().into_owned(),
            other => panic!("{members}: {other:?}"),
        }
    };
    assert_eq!(param(r#""previous_response_id":"resp_1""#), "previous_response_id");
    assert_eq!(param(r#""conversation":"conv_1""#), "conversation");
    assert_eq!(param(r#""conversation":{"id":"conv_1"}"#), "conversation");
    assert_eq!(param(r#""background":true"#), "background");
    assert_eq!(param(r#""prompt":{"id":"p"}"#), "prompt");
    assert_eq!(param(r#""include":["reasoning.encrypted_content"]"#), "include");
    assert_eq!(param(r#""tools":[{"type":"web_search"}]"#), "tools[0].type");
    assert_eq!(param(r#""tool_choice":{"type":"file_search"}"#), "tool_choice.type");
    assert_eq!(param(r#""tool_choice":"always""#), "tool_choice");
    assert_eq!(param(r#""text":{"format":{"type":"xml"}}"#), "text.format.type");
    let input = |items: &str| match read_request(format!(r#"{{"input":{items}}}"#).as_bytes()) {
        Err(Failure::InvalidInput { param, .. }) => param.unwrap().into_owned(),
        other => panic!("{items}: {other:?}"),
    };
    assert_eq!(input("7"), "input");
    assert_eq!(input(r#"[{"type":"item_reference","id":"msg_1"}]"#), "input[0].type");
    assert_eq!(input(r#"[{"role":"boss","content":"a"}]"#), "input[0].role");
    assert_eq!(input(r#"[{"role":"user","content":[{"type":"input_file"}]}]"#), "input[0].content[0].type");
    assert_eq!(
        input(r#"[{"role":"user","content":[{"type":"input_image","detail":"auto","file_id":"f"}]}]"#),
        "input[0].content[0].image_url"
    );
    assert_eq!(input(r#"[{"type":"function_call","name":"f"}]"#), "input[0].call_id");
}
