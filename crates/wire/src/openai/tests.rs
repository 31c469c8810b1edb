//! OpenAI's format, read and written.

use super::{
    Reader, Writer, read_answer, read_request, read_vectors, write_answer, write_request, write_vectors,
};
use crate::{Head, sse};
use bytes::{Bytes, BytesMut};
use portcullis_domain::{
    Choice, Completion, Conversation, Encoding, Failure, Finish, Image, Part, Role, Sampling, Shape, Step,
    Tool, ToolCall, ToolChoice, ToolResult, Turn, Usage, Vectors,
};
use proptest::prelude::*;
use serde_json::json;

fn head(include_usage: bool) -> Head {
    Head { id: "01H".into(), created: 1_700_000_000, include_usage, request: Bytes::new() }
}

fn part(role: Role) -> BoxedStrategy<Part> {
    let text = "[a-z \"\\\\\u{e9}\u{1F600}]{1,12}";
    let words = text.prop_map(Part::Text);
    let image = prop_oneof![
        "[a-z]{1,8}".prop_map(|path| Part::Image(Image::Url(format!("https://host/{path}")))),
        Just(Part::Image(Image::Data { mime: "image/png".into(), base64: "AAAA".into() })),
    ];
    match role {
        Role::System => words.boxed(),
        Role::User => prop_oneof![words, image].boxed(),
        Role::Assistant => prop_oneof![words, text.prop_map(Part::Refusal)].boxed(),
        Role::Tool => words.boxed(),
    }
}

fn turn() -> impl Strategy<Value = Turn> {
    let role = prop_oneof![Just(Role::System), Just(Role::User), Just(Role::Assistant), Just(Role::Tool)];
    let call = ("call_[a-z]{3}", "[a-z]{2,6}").prop_map(|(id, name)| {
        Part::ToolCall(ToolCall { id, name, arguments: "{\"a\":1}".into(), signature: None })
    });
    role.prop_flat_map(move |role| {
        (Just(role), prop::collection::vec(part(role), 1..4), prop::collection::vec(call.clone(), 0..3))
    })
    .prop_map(|(role, mut parts, calls)| match role {
        Role::Tool => {
            let result = ToolResult { id: "call_x".into(), name: None, parts, failed: false };
            Turn { role, parts: vec![Part::ToolResult(result)] }
        }
        Role::Assistant => {
            parts.extend(calls);
            Turn { role, parts }
        }
        Role::System | Role::User => Turn { role, parts },
    })
}

fn conversation() -> impl Strategy<Value = Conversation> {
    let shape = prop_oneof![
        Just(Shape::Text),
        Just(Shape::Json),
        Just(Shape::Schema {
            name: "s".into(),
            description: None,
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
    let sampling = (any::<Option<u32>>(), any::<Option<i64>>(), prop::collection::vec("[a-z]{1,4}", 0..4))
        .prop_map(|(max_tokens, seed, stop)| Sampling {
            max_tokens,
            seed,
            stop,
            temperature: Some(0.5),
            n: Some(2),
            logprobs: Some(true),
            user: Some("u".into()),
            ..Sampling::default()
        });
    let tool = Tool {
        name: "look".into(),
        description: Some("Looks.".into()),
        parameters: Some(json!({"type": "object", "properties": {}})),
        strict: Some(false),
    };
    (prop::collection::vec(turn(), 1..5), shape, choice, sampling, any::<bool>()).prop_map(
        move |(turns, shape, tool_choice, sampling, stream)| Conversation {
            turns,
            tools: vec![tool.clone()],
            tool_choice,
            parallel_tools: Some(true),
            shape,
            sampling,
            stream,
            unheld: vec![],
        },
    )
}

proptest! {
    #[test]
    fn a_request_written_and_read_again_is_the_same(wanted in conversation()) {
        let written = write_request(&wanted, "m");
        prop_assert_eq!(written.dropped, vec![]);
        prop_assert_eq!(read_request(&written.body).unwrap(), wanted);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(read_request(&bytes));
        drop(read_answer(&bytes));
        drop(read_vectors(&bytes));
        drop(Reader::default().event(&bytes, &mut Vec::new()));
    }

    #[test]
    fn vectors_survive_both_encodings(vectors in prop::collection::vec(prop::collection::vec(-1e3_f32..1e3, 1..5), 1..4)) {
        let vectors = Vectors { model: "m".into(), vectors, usage: Some(Usage { input: 3, ..Usage::default() }) };
        for encoding in [Encoding::Float, Encoding::Base64] {
            prop_assert_eq!(read_vectors(&write_vectors(&vectors, encoding)).unwrap(), vectors.clone());
        }
    }
}

fn answer() -> Completion {
    let call = ToolCall { id: "call_1".into(), name: "look".into(), arguments: "{}".into(), signature: None };
    Completion {
        id: "chatcmpl-1".into(),
        model: "m".into(),
        created: 5,
        choices: vec![
            Choice {
                parts: vec![
                    Part::Reasoning { text: "hm".into(), signature: None },
                    Part::Text("Hi".into()),
                    Part::ToolCall(call),
                ],
                finish: Finish::ToolCalls,
                logprobs: None,
            },
            Choice { parts: vec![Part::Refusal("No".into())], finish: Finish::ContentFilter, logprobs: None },
        ],
        usage: Some(Usage { input: 7, cached: 2, output: 5, reasoning: 1, estimated: false }),
    }
}

#[test]
fn an_answer_written_and_read_again_is_the_same() {
    let body = write_answer(&answer(), &head(false));
    assert_eq!(read_answer(&body).unwrap(), answer());
    insta::assert_snapshot!(String::from_utf8_lossy(&body));
}

#[test]
fn a_stream_written_and_read_again_says_the_same_steps() {
    let steps = vec![
        Step::Begin { id: "x".into(), model: "m".into() },
        Step::Reasoning { choice: 0, text: "hm".into(), signature: None },
        Step::Text { choice: 0, text: "Hel".into() },
        Step::Text { choice: 0, text: "lo".into() },
        Step::ToolCall { choice: 0, index: 0, id: "call_1".into(), name: "look".into(), signature: None },
        Step::Arguments { choice: 0, index: 0, fragment: "{\"a\"".into() },
        Step::Arguments { choice: 0, index: 0, fragment: ":1}".into() },
        Step::Finish { choice: 0, reason: Finish::ToolCalls },
        Step::Usage(Usage { input: 3, output: 4, ..Usage::default() }),
    ];
    let (mut writer, mut out) = (Writer::new(head(true)), BytesMut::new());
    steps.iter().for_each(|step| writer.step(step, &mut out));
    writer.finish(&mut out);
    insta::assert_snapshot!(String::from_utf8_lossy(&out));
    let (mut reader, mut read, mut rest) = (Reader::default(), Vec::new(), &out[..]);
    while let Some(end) = sse::first_end(rest) {
        reader.event(&sse::data_of(&rest[..end]).unwrap(), &mut read).unwrap();
        rest = &rest[end..];
    }
    assert_eq!(read, steps);
}

#[test]
fn what_nobody_knows_is_named_and_what_is_wrong_says_where() {
    let body = br#"{"model":"m","messages":[{"role":"user","content":"a","mood":1}],"logit_bias":{"1":2},"store":null}"#;
    assert_eq!(read_request(body).unwrap().unheld, ["messages[0].mood", "logit_bias"]);
    let param = |body: &str| match read_request(body.as_bytes()) {
        Err(Failure::InvalidInput { param, .. }) => param.unwrap().into_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        param(r#"{"messages":[{"role":"user","content":[{"type":"input_audio"}]}]}"#),
        "messages[0].content[0].type"
    );
    assert_eq!(param(r#"{"messages":[{"role":"boss","content":"a"}]}"#), "messages[0].role");
    assert_eq!(param(r#"{"messages":[],"tools":[{"type":"web_search"}]}"#), "tools[0].type");
    assert_eq!(param(r#"{"messages":[],"stop":[1]}"#), "stop");
}
