//! Anthropic's format, read and written: golden bytes per kind and direction, and properties.

use super::{Reader, Writer, look_event, look_whole, read_answer, read_request, write_answer, write_request};
use crate::{Head, Odd, look::later, sse};
use bytes::{Bytes, BytesMut};
use portcullis_domain::{
    Choice, Completion, Conversation, Failure, Finish, Image, InputCode, Member, Part, Role, Sampling, Shape,
    Step, Tool, ToolCall, ToolChoice, ToolResult, Turn, Usage,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const MODEL: &str = "claude-sonnet-4-5";

fn head() -> Head {
    Head { id: "01H".into(), created: 1_700_000_000, include_usage: true, request: Bytes::new() }
}

fn pretty(body: &[u8]) -> String {
    serde_json::to_string_pretty(&serde_json::from_slice::<Value>(body).unwrap()).unwrap()
}

fn text(text: &str) -> Part {
    Part::Text(text.into())
}

fn turn(role: Role, parts: Vec<Part>) -> Turn {
    Turn { role, parts }
}

fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), signature: None }
}

fn result(id: &str, parts: Vec<Part>, failed: bool) -> Part {
    Part::ToolResult(ToolResult { id: id.into(), name: None, parts, failed })
}

fn look_tool() -> Tool {
    Tool {
        name: "look".into(),
        description: Some("Looks.".into()),
        parameters: Some(json!({"properties": {"at": {"type": "string"}}})),
        strict: None,
    }
}

/// Requests as others say them, by kind.
fn requests() -> Vec<(&'static str, Conversation)> {
    let plain = Conversation {
        turns: vec![
            turn(Role::System, vec![text("Be kind.")]),
            turn(Role::User, vec![text("Hello")]),
            turn(Role::User, vec![text("Are you there?"), text("")]),
            turn(Role::System, vec![text("Be brief.")]),
            turn(Role::Assistant, vec![Part::Reasoning { text: "hm".into(), signature: None }]),
        ],
        sampling: Sampling {
            temperature: Some(1.7),
            top_p: Some(0.5),
            stop: vec!["END".into(), "\n".into()],
            seed: Some(1),
            n: Some(2),
            presence_penalty: Some(0.0),
            user: Some("u-1".into()),
            ..Sampling::default()
        },
        stream: true,
        ..Conversation::default()
    };
    let tools = Conversation {
        turns: vec![
            turn(Role::User, vec![text("What is there?")]),
            turn(
                Role::Assistant,
                vec![
                    Part::ToolCall(call("functions.look:0", "look", "{\"at\":\"door\"}")),
                    Part::ToolCall(call("call_2", "look", "{broken")),
                ],
            ),
            turn(Role::Tool, vec![result("functions.look:0", vec![text("A cat.")], false)]),
            turn(Role::Tool, vec![result("call_2", vec![], true)]),
            turn(Role::User, vec![text("Go on.")]),
        ],
        tools: vec![look_tool()],
        tool_choice: Some(ToolChoice::Required),
        parallel_tools: Some(false),
        ..Conversation::default()
    };
    let images = Conversation {
        turns: vec![turn(
            Role::User,
            vec![
                text("Which?"),
                Part::Image(Image::Url("https://host/a.png".into())),
                Part::Image(Image::Data { mime: "image/png".into(), base64: "AAAA".into() }),
            ],
        )],
        ..Conversation::default()
    };
    let schema = Conversation {
        turns: vec![turn(Role::User, vec![text("A name.")])],
        shape: Shape::Schema {
            name: "person".into(),
            description: None,
            schema: json!({"type": "object", "properties": {"name": {"type": "string"},
                "home": {"type": "object", "properties": {}}}}),
            strict: None,
        },
        ..Conversation::default()
    };
    let thinking = Conversation {
        turns: vec![turn(Role::User, vec![text("Think.")])],
        sampling: Sampling {
            reasoning_effort: Some("medium".into()),
            temperature: Some(0.2),
            ..Sampling::default()
        },
        ..Conversation::default()
    };
    vec![("plain", plain), ("tools", tools), ("images", images), ("schema", schema), ("thinking", thinking)]
}

#[test]
fn requests_of_every_kind_go_out_as_anthropic_wants_them() {
    for (kind, request) in requests() {
        let written = write_request(&request, MODEL);
        let shown = format!("{}\ndropped: {:?}", pretty(&written.body), written.dropped);
        insta::assert_snapshot!(format!("request_out_{kind}"), shown);
    }
}

#[test]
fn newer_models_are_told_an_effort_and_no_sampling() {
    let (_, request) = requests().pop().unwrap();
    let written = write_request(&request, "claude-opus-5");
    let body: Value = serde_json::from_slice(&written.body).unwrap();
    assert_eq!(body["thinking"], json!({"type": "adaptive"}));
    assert_eq!(body["output_config"], json!({"effort": "medium"}));
    assert!(body["temperature"].is_null());
    assert_eq!(written.dropped, [Member::Temperature]);
}

#[test]
fn thinking_never_takes_the_whole_answer_and_gives_way_to_a_tool_that_must_be_called() {
    let (_, mut request) = requests().pop().unwrap();
    let body = |request: &Conversation| -> Value {
        serde_json::from_slice(&write_request(request, MODEL).body).unwrap()
    };
    request.sampling.max_tokens = Some(3000);
    assert_eq!(body(&request)["thinking"]["budget_tokens"], 2999);
    request.sampling.max_tokens = Some(1024);
    assert!(body(&request)["thinking"].is_null());
    request.sampling.max_tokens = None;
    request.tools = vec![look_tool()];
    request.tool_choice = Some(ToolChoice::Named("look".into()));
    assert!(body(&request)["thinking"].is_null());
    assert!(write_request(&request, MODEL).dropped.contains(&Member::Effort));
}

const MESSAGES: &[(&str, &str)] = &[
    (
        "plain",
        r#"{"model":"m","max_tokens":100,"system":[{"type":"text","text":"Be kind.","cache_control":{"type":"ephemeral"}}],
        "messages":[{"role":"user","content":"Hello"},{"role":"assistant","content":[{"type":"text","text":"Hi","cache_control":{"type":"ephemeral"}}]},
        {"role":"user","content":[{"type":"text","text":"Go on","citations":null}]}],"temperature":1,"top_k":5,
        "stop_sequences":["END"],"metadata":{"user_id":"u-1"},"service_tier":"auto","stream":true}"#,
    ),
    (
        "tools",
        r#"{"model":"m","max_tokens":100,"messages":[{"role":"user","content":"Look"},
        {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"sig"},{"type":"redacted_thinking","data":"xx"},
            {"type":"tool_use","id":"toolu_1","name":"look","input":{"at":"door"}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"text","text":"A cat."},
            {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]},
            {"type":"tool_result","tool_use_id":"toolu_2","content":"gone","is_error":true},{"type":"text","text":"Go on"}]}],
        "tools":[{"name":"look","description":"Looks.","input_schema":{"type":"object"},"strict":true,"defer_loading":true}],
        "tool_choice":{"type":"tool","name":"look","disable_parallel_tool_use":true},
        "thinking":{"type":"enabled","budget_tokens":2048}}"#,
    ),
    (
        "images",
        r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[
        {"type":"image","source":{"type":"url","url":"https://host/a.png"}},
        {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}]}"#,
    ),
    (
        "schema",
        r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}],"thinking":{"type":"adaptive"},
        "output_config":{"effort":"max","format":{"type":"json_schema","schema":{"type":"object"}}}}"#,
    ),
];

#[test]
fn requests_of_every_kind_are_read() {
    for (kind, body) in MESSAGES {
        insta::assert_debug_snapshot!(format!("request_in_{kind}"), read_request(body.as_bytes()).unwrap());
    }
}

#[test]
fn what_cannot_be_said_elsewhere_is_refused_by_name() {
    let fault = |body: &str| match read_request(body.as_bytes()) {
        Err(Failure::InvalidInput { code, param, .. }) => (code, param.unwrap_or_default().into_owned()),
        other => panic!("{other:?}"),
    };
    let unsupported = |param: &str| (InputCode::UnsupportedParameter, param.to_owned());
    assert_eq!(
        fault(r#"{"messages":[],"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#),
        unsupported("tools[0].type")
    );
    assert_eq!(
        fault(r#"{"messages":[{"role":"user","content":[{"type":"document","source":{}}]}]}"#),
        unsupported("messages[0].content[0].type")
    );
    assert_eq!(
        fault(
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"file","file_id":"f"}}]}]}"#
        ),
        unsupported("messages[0].content[0].source.type")
    );
    assert_eq!(fault(r#"{"messages":[{"role":"boss","content":"a"}]}"#).1, "messages[0].role");
    assert_eq!(fault(r#"{"messages":[],"tool_choice":{"type":"maybe"}}"#).1, "tool_choice.type");
    assert_eq!(fault(r#"{"messages":[],"stop_sequences":[1]}"#).1, "stop_sequences");
}

fn answer() -> Completion {
    Completion {
        id: "msg_1".into(),
        model: "m".into(),
        created: 0,
        choices: vec![Choice {
            parts: vec![
                Part::Reasoning { text: "hm".into(), signature: Some("sig".into()) },
                Part::Reasoning { text: String::new(), signature: Some("redacted_thinking:xx".into()) },
                text("Hi"),
                Part::ToolCall(call("toolu_1", "look", "{\"at\":\"door\"}")),
            ],
            finish: Finish::ToolCalls,
            logprobs: None,
        }],
        usage: Some(Usage { input: 9, cached: 2, output: 5, reasoning: 1, estimated: false }),
    }
}

#[test]
fn an_answer_written_and_read_again_is_the_same() {
    let body = write_answer(&answer(), &head());
    assert_eq!(read_answer(&body).unwrap(), answer());
    let glance = look_whole(&body).unwrap();
    assert_eq!((glance.usage, glance.blocked), (answer().usage, false));
    insta::assert_snapshot!(pretty(&body));
}

#[test]
fn why_an_answer_ended_is_said_in_both_tongues() {
    let written = |finish: Finish, parts: Vec<Part>| {
        let choices = vec![Choice { parts, finish, logprobs: None }];
        let body = write_answer(&Completion { choices, ..Completion::default() }, &head());
        let value: Value = serde_json::from_slice(&body).unwrap();
        (value["stop_reason"].as_str().unwrap().to_owned(), value["stop_sequence"].clone())
    };
    for (finish, reason) in [
        (Finish::Stop, "end_turn"),
        (Finish::Length, "max_tokens"),
        (Finish::ToolCalls, "tool_use"),
        (Finish::ContentFilter, "refusal"),
    ] {
        assert_eq!(written(finish.clone(), vec![]), (reason.into(), Value::Null));
        assert_eq!(super::finish(reason, None), finish);
    }
    assert_eq!(written(Finish::StopText("END".into()), vec![]), ("stop_sequence".into(), json!("END")));
    assert_eq!(super::finish("stop_sequence", Some("END".into())), Finish::StopText("END".into()));
    assert_eq!(super::finish("pause_turn", None), Finish::Stop);
    assert_eq!(super::finish("model_context_window_exceeded", None), Finish::Length);
    assert_eq!(written(Finish::Stop, vec![Part::Refusal("No".into())]).0, "refusal");
    assert_eq!(written(Finish::Stop, vec![Part::ToolCall(call("a", "b", ""))]).0, "tool_use");
}

#[test]
fn an_answer_counts_what_was_cached_as_read() {
    let body = br#"{"type":"message","content":[{"type":"server_tool_use","id":"x"},{"type":"text","text":"Hi"}],"stop_reason":"end_turn",
        "usage":{"input_tokens":3,"cache_creation_input_tokens":4,"cache_read_input_tokens":5,"output_tokens":7,"output_tokens_details":{"thinking_tokens":2}}}"#;
    let usage = Some(Usage { input: 12, cached: 5, output: 7, reasoning: 2, estimated: false });
    assert_eq!(look_whole(body).unwrap().usage, usage);
    let read = read_answer(body).unwrap();
    assert_eq!((read.usage, &read.choices[0].parts), (usage, &vec![text("Hi")]));
    for senseless in [
        r#"{"input_tokens":-1}"#,
        r#"{"input_tokens":"7"}"#,
        "{}",
        "null",
        "[]",
        r#"{"input_tokens":99999999999}"#,
    ] {
        let body = format!(r#"{{"content":[],"usage":{senseless}}}"#);
        assert_eq!(look_whole(body.as_bytes()).unwrap().usage, None, "{senseless}");
    }
    for other in [
        "",
        "<html>",
        "{}",
        r#"{"type":"error","error":{}}"#,
        r#"{"type":"error","content":[]}"#,
        r#"{"content":"x"}"#,
    ] {
        assert!(look_whole(other.as_bytes()).is_none() && read_answer(other.as_bytes()).is_none(), "{other}");
    }
}

/// As Anthropic streams it.
const STREAM: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":20,"cache_creation_input_tokens":0,"cache_read_input_tokens":5,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Let me "}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"look."}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"look","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"at\":"}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":" \"door\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_2","name":"wait","input":{}}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":15}}

event: message_stop
data: {"type":"message_stop"}

"#;

/// The steps of a stream that comes in pieces that end at `cuts`.
fn steps(stream: &[u8], cuts: &[usize]) -> Vec<Step> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    let (mut reader, mut held, mut out) = (Reader::default(), BytesMut::new(), Vec::new());
    for pair in cuts.windows(2) {
        held.extend_from_slice(&stream[pair[0]..pair[1]]);
        while let Some(end) = sse::first_end(&held) {
            let event = held.split_to(end);
            if let Some(data) = sse::data_of(&event) {
                reader.event(&data, &mut out).unwrap();
            }
        }
    }
    out
}

#[test]
fn a_stream_of_anthropic_is_read_step_by_step() {
    insta::assert_debug_snapshot!(steps(STREAM.as_bytes(), &[]));
    let (mut usage, mut finished, mut done, mut text) = (None, 0, false, 0);
    for event in STREAM.split_inclusive("\n\n") {
        assert!(!done, "nothing follows the end");
        let seen = look_event(&sse::data_of(event.as_bytes()).unwrap()).unwrap();
        assert_eq!(seen.begins, !event.contains("message_start") && !event.contains("ping"), "{event}");
        usage = later(usage, seen.usage);
        (finished, done, text) = (finished + seen.finished, seen.done, text + seen.text_bytes);
    }
    assert_eq!((finished, done), (1, true));
    assert_eq!(usage, Some(Usage { input: 25, cached: 5, output: 15, reasoning: 0, estimated: false }));
    assert!(text > 30, "{text}");
}

#[test]
fn an_error_in_a_stream_is_told_as_the_provider_said_it() {
    let event = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let expected = Odd::Error(Bytes::from_static(br#"{"type":"overloaded_error","message":"Overloaded"}"#));
    assert_eq!(look_event(event), Err(expected.clone()));
    assert_eq!(Reader::default().event(event, &mut Vec::new()), Err(expected));
    for other in ["[DONE]", "{}", r#"{"choices":[]}"#, r#"{"type":"message_start"}"#] {
        assert_eq!(look_event(other.as_bytes()), Err(Odd::WrongSchema), "{other}");
    }
    assert_eq!(look_event(br#"{"type":"brand_new"}"#), Ok(crate::look::Seen::default()));
}

fn write(steps: &[Step]) -> BytesMut {
    let (mut writer, mut out) = (Writer::new(head()), BytesMut::new());
    steps.iter().for_each(|step| writer.step(step, &mut out));
    writer.finish(&mut out);
    out
}

fn arguments(index: u32, fragment: &str) -> Step {
    Step::Arguments { choice: 0, index, fragment: fragment.into() }
}

fn begun(index: u32, id: &str) -> Step {
    Step::ToolCall { choice: 0, index, id: id.into(), name: "look".into(), signature: None }
}

#[test]
fn a_stream_is_written_in_the_events_of_this_format() {
    let steps = [
        Step::Begin { id: "chatcmpl-1".into(), model: "gpt".into() },
        Step::Reasoning { choice: 0, text: "hm".into(), signature: None },
        Step::Text { choice: 0, text: "Hel".into() },
        Step::Text { choice: 0, text: "lo".into() },
        Step::Text { choice: 1, text: "second answers have no place".into() },
        begun(0, "call_1"),
        arguments(0, "{\"at\""),
        arguments(0, ":1}"),
        Step::Finish { choice: 0, reason: Finish::ToolCalls },
        Step::Usage(Usage { input: 7, cached: 2, output: 4, ..Usage::default() }),
    ];
    insta::assert_snapshot!(String::from_utf8_lossy(&write(&steps)));
}

#[test]
fn calls_told_at_the_same_time_become_blocks_that_never_overlap() {
    let written = write(&[
        begun(0, "a"),
        begun(1, "b"),
        arguments(1, "{\"x\":"),
        arguments(0, "{\"y\":\"}\\\"\"}"),
        arguments(1, "2}"),
        begun(2, "c"),
        arguments(2, "{}"),
    ]);
    let written = String::from_utf8(written.to_vec()).unwrap();
    let mut open = None;
    for event in written.split_inclusive("\n\n") {
        let event: Value = serde_json::from_slice(&sse::data_of(event.as_bytes()).unwrap()).unwrap();
        match event["type"].as_str().unwrap() {
            "content_block_start" => assert_eq!(open.replace(event["index"].clone()), None),
            "content_block_delta" => assert_eq!(open.as_ref(), Some(&event["index"])),
            "content_block_stop" => assert_eq!(open.take().as_ref(), Some(&event["index"])),
            _ => assert_eq!(open, None),
        }
    }
    let whole = fold(&steps(written.as_bytes(), &[]));
    let mut calls: Vec<_> = whole
        .iter()
        .filter_map(|part| if let Part::ToolCall(call) = part { Some(call.clone()) } else { None })
        .collect();
    calls.sort_by(|a, b| a.id.cmp(&b.id));
    let expected =
        [call("a", "look", "{\"y\":\"}\\\"\"}"), call("b", "look", "{\"x\":2}"), call("c", "look", "{}")];
    assert_eq!(calls, expected);
}

/// The parts that steps make.
fn fold(steps: &[Step]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for step in steps {
        match (step, parts.last_mut()) {
            (Step::Text { text, .. }, Some(Part::Text(last))) => last.push_str(text),
            (Step::Text { text, .. }, _) => parts.push(Part::Text(text.clone())),
            (
                Step::Reasoning { text, signature, .. },
                Some(Part::Reasoning { text: last, signature: signed @ None }),
            ) => {
                last.push_str(text);
                *signed = signature.clone();
            }
            (Step::Reasoning { text, signature, .. }, _) => {
                parts.push(Part::Reasoning { text: text.clone(), signature: signature.clone() });
            }
            (Step::ToolCall { id, name, .. }, _) => parts.push(Part::ToolCall(call(id, name, ""))),
            (Step::Arguments { fragment, .. }, Some(Part::ToolCall(last))) => {
                last.arguments.push_str(fragment);
            }
            (
                Step::Begin { .. }
                | Step::Refusal { .. }
                | Step::Arguments { .. }
                | Step::Logprobs { .. }
                | Step::Finish { .. }
                | Step::Usage(_),
                _,
            ) => {}
        }
    }
    parts
}

fn said() -> impl Strategy<Value = Vec<Step>> {
    let words = "[a-z \"\\\\\u{e9}\u{1F600}]{1,9}";
    let piece = prop_oneof![
        words.prop_map(|text| vec![Step::Text { choice: 0, text }]),
        (words, words).prop_map(|(text, signature)| vec![
            Step::Reasoning { choice: 0, text, signature: None },
            Step::Reasoning { choice: 0, text: String::new(), signature: Some(signature) },
        ]),
        words.prop_map(|data| vec![Step::Reasoning {
            choice: 0,
            text: String::new(),
            signature: Some(format!("redacted_thinking:{data}")),
        }]),
        words.prop_map(|value| {
            let object = json!({"v": value, "w": [1, {}]}).to_string();
            let (a, b) = object.split_at(4);
            vec![begun(0, "toolu_1"), arguments(0, a), arguments(0, b)]
        }),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| {
        let mut index = 0;
        pieces
            .into_iter()
            .flatten()
            .map(|mut step| {
                index += u32::from(matches!(step, Step::ToolCall { .. }));
                if let Step::ToolCall { index: at, .. } | Step::Arguments { index: at, .. } = &mut step {
                    *at = index;
                }
                step
            })
            .collect()
    })
}

fn conversation() -> impl Strategy<Value = Conversation> {
    let words = || "[a-z \"\\\\\u{e9}\u{1F600}]{1,12}".prop_map(Part::Text);
    let asked = prop_oneof![
        words(),
        "[a-z]{1,8}".prop_map(|path| Part::Image(Image::Url(format!("https://host/{path}")))),
        Just(Part::Image(Image::Data { mime: "image/png".into(), base64: "AAAA".into() })),
    ];
    let answered = prop_oneof![
        words(),
        ("[a-z]{1,5}", "[a-z]{1,5}")
            .prop_map(|(text, signature)| Part::Reasoning { text, signature: Some(signature) }),
        "[a-z]{1,5}".prop_map(|data| Part::Reasoning {
            text: String::new(),
            signature: Some(format!("redacted_thinking:{data}"))
        }),
    ];
    let results = prop::collection::vec((prop::collection::vec(words(), 0..3), any::<bool>()), 0..3);
    let round = (prop::collection::vec(asked, 1..4), prop::collection::vec(answered, 1..4), results)
        .prop_map(|(asked, mut answered, results)| {
            let called = |n| format!("toolu_{n}");
            answered
                .extend((0..results.len()).map(|n| Part::ToolCall(call(&called(n), "look", "{\"a\":1}"))));
            let results: Vec<_> = results
                .into_iter()
                .enumerate()
                .map(|(n, (parts, failed))| result(&called(n), parts, failed))
                .collect();
            let mut turns = vec![turn(Role::User, asked), turn(Role::Assistant, answered)];
            if !results.is_empty() {
                turns.push(turn(Role::Tool, results));
            }
            turns
        });
    let choice = prop_oneof![
        Just((None, None)),
        Just((Some(ToolChoice::Auto), Some(false))),
        Just((Some(ToolChoice::None), None)),
        Just((Some(ToolChoice::Required), Some(true))),
        Just((Some(ToolChoice::Named("look".into())), None)),
    ];
    let shape = prop_oneof![
        Just(Shape::Text),
        Just(Shape::Schema {
            name: "answer".into(),
            description: None,
            schema: json!({"type": "object", "properties": {}, "additionalProperties": false}),
            strict: Some(true),
        }),
    ];
    let sampling = (
        1..9000_u32,
        prop::option::of(prop::sample::select(vec![0.0, 0.25, 1.0])),
        any::<Option<u32>>(),
        "[a-z]{1,4}",
    )
        .prop_map(|(max_tokens, temperature, top_k, stop)| Sampling {
            max_tokens: Some(max_tokens),
            temperature,
            top_k,
            stop: vec![stop],
            user: Some("u".into()),
            ..Sampling::default()
        });
    let tool = Tool { parameters: Some(json!({"type": "object"})), strict: Some(true), ..look_tool() };
    let system = prop::collection::vec(words(), 0..3);
    (system, prop::collection::vec(round, 1..4), choice, shape, sampling, any::<bool>()).prop_map(
        move |(system, rounds, (tool_choice, parallel_tools), shape, sampling, stream)| {
            let system = (!system.is_empty()).then(|| turn(Role::System, system));
            Conversation {
                turns: system.into_iter().chain(rounds.into_iter().flatten()).collect(),
                tools: vec![tool.clone()],
                tool_choice,
                parallel_tools,
                shape,
                sampling,
                stream,
                unheld: vec![],
            }
        },
    )
}

proptest! {
    #[test]
    fn a_request_written_and_read_again_is_the_same(wanted in conversation()) {
        let written = write_request(&wanted, MODEL);
        prop_assert_eq!(written.dropped, vec![]);
        prop_assert_eq!(read_request(&written.body).unwrap(), wanted);
    }

    #[test]
    fn messages_always_take_turns(mut wanted in conversation(), order in any::<prop::sample::Index>()) {
        let at = order.index(wanted.turns.len());
        wanted.turns.rotate_left(at);
        let body: Value = serde_json::from_slice(&write_request(&wanted, MODEL).body).unwrap();
        let roles: Vec<_> = body["messages"].as_array().unwrap().iter().map(|m| m["role"].clone()).collect();
        prop_assert!(roles.windows(2).all(|pair| pair[0] != pair[1]), "{:?}", roles);
    }

    #[test]
    fn a_stream_cut_anywhere_says_the_same(said in said(), cuts in prop::collection::vec(any::<usize>(), 0..12)) {
        let written = write(&said);
        prop_assert_eq!(steps(&written, &cuts), steps(&written, &[]));
        prop_assert_eq!(steps(STREAM.as_bytes(), &cuts), steps(STREAM.as_bytes(), &[]));
    }

    #[test]
    fn a_stream_written_and_read_again_makes_the_same_parts(said in said()) {
        prop_assert_eq!(fold(&steps(&write(&said), &[])), fold(&said));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(read_request(&bytes));
        drop(read_answer(&bytes));
        let _seen = look_whole(&bytes);
        drop(look_event(&bytes));
        drop(Reader::default().event(&bytes, &mut Vec::new()));
    }
}
