//! Google's format, read and written.

use super::{
    Reader, Writer, look_event, look_whole, read_answer, read_request, read_vectors, redirect_embed,
    unheld_of_embed, write_answer, write_embed, write_request, write_vectors,
};
use crate::{Head, Odd, sse};
use bytes::{Bytes, BytesMut};
use portcullis_domain::{
    Choice, Completion, Conversation, Failure, Finish, Format, Image, Member, Part, Role, Sampling, Shape,
    Step, Tool, ToolCall, ToolChoice, ToolResult, Turn, Usage, Vectors,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Members in alphabetical order, whichever features other crates switch on.
macro_rules! golden {
    ($value:expr) => {
        insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!($value) })
    };
}

fn head() -> Head {
    Head { id: "01H".into(), created: 1_700_000_000, include_usage: false, request: Bytes::new() }
}

fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), signature: None }
}

fn result(id: &str, name: &str, text: &str) -> Part {
    let parts = vec![Part::Text(text.into())];
    Part::ToolResult(ToolResult { id: id.into(), name: Some(name.into()), parts, failed: false })
}

fn text() -> impl Strategy<Value = String> {
    "[a-z \"\\\\\u{e9}\u{1F600}]{1,12}"
}

/// Someone says something, a tool is called and answers, in that order: what this format can say of a conversation.
fn exchange() -> impl Strategy<Value = Vec<Turn>> {
    let image = prop_oneof![
        "[a-z]{1,8}".prop_map(|path| Part::Image(Image::Url(format!("https://host/{path}.png")))),
        Just(Part::Image(Image::Data { mime: "image/png".into(), base64: "AAAA".into() })),
    ];
    let said = prop_oneof![text().prop_map(Part::Text), image];
    let answer = prop_oneof![
        text(),
        Just("{\"a\":1}".to_owned()),
        Just("{\"output\":\"x\"}".to_owned()),
        Just("5".to_owned())
    ];
    let calls = prop::collection::vec(("[a-z]{2,6}", answer, any::<bool>(), any::<bool>()), 0..3);
    (prop::collection::vec(said, 1..3), text(), calls, 0..1_000_000_u32).prop_map(
        |(said, answer, calls, seed)| {
            let mut model = vec![Part::Text(answer)];
            let mut results = Vec::new();
            for (at, (name, answer, failed, signed)) in calls.into_iter().enumerate() {
                let mut called = call(&format!("toolu_{seed}_{at}"), &name, "{\"a\":1}");
                called.signature = signed.then(|| "c2ln".to_owned());
                let parts = vec![Part::Text(answer)];
                results.push(Part::ToolResult(ToolResult {
                    id: called.id.clone(),
                    name: Some(name),
                    parts,
                    failed,
                }));
                model.push(Part::ToolCall(called));
            }
            let mut turns =
                vec![Turn { role: Role::User, parts: said }, Turn { role: Role::Assistant, parts: model }];
            if !results.is_empty() {
                turns.push(Turn { role: Role::Tool, parts: results });
            }
            turns
        },
    )
}

fn conversation() -> impl Strategy<Value = Conversation> {
    let schema =
        Shape::Schema { name: "answer".into(), description: None, schema: json!({"a": 1}), strict: None };
    let shape = prop_oneof![Just(Shape::Text), Just(Shape::Json), Just(schema)];
    let choice = prop_oneof![
        Just(None),
        Just(Some(ToolChoice::Auto)),
        Just(Some(ToolChoice::None)),
        Just(Some(ToolChoice::Required)),
        Just(Some(ToolChoice::Named("look".into()))),
    ];
    let sampling = (any::<Option<u32>>(), any::<Option<i32>>(), prop::collection::vec("[a-z]{1,4}", 0..5))
        .prop_map(|(number, seed, stop)| Sampling {
            max_tokens: number,
            top_k: number,
            seed: seed.map(i64::from),
            stop,
            temperature: Some(0.5),
            top_p: Some(0.25),
            presence_penalty: Some(-1.5),
            n: Some(2),
            logprobs: Some(true),
            top_logprobs: Some(3),
            reasoning_tokens: number,
            ..Sampling::default()
        });
    let tool = Tool {
        name: "look".into(),
        description: Some("Looks.".into()),
        parameters: Some(json!({"type": "object", "properties": {}})),
        strict: None,
    };
    let exchanges = prop::collection::vec(exchange(), 1..4);
    (prop::option::of(text()), exchanges, shape, choice, sampling, any::<bool>()).prop_map(
        move |(system, exchanges, shape, tool_choice, sampling, stream)| {
            let system = system.map(|text| Turn { role: Role::System, parts: vec![Part::Text(text)] });
            Conversation {
                turns: system.into_iter().chain(exchanges.into_iter().flatten()).collect(),
                tools: vec![tool.clone()],
                tool_choice,
                parallel_tools: None,
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
        let written = write_request(&wanted, "gemini-2.5-flash");
        prop_assert_eq!(written.dropped, vec![]);
        prop_assert_eq!(read_request(&written.body, wanted.stream).unwrap(), wanted);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(read_request(&bytes, false));
        drop(read_answer(&bytes));
        drop(read_vectors(&bytes));
        drop(look_event(&bytes));
        let _glance = look_whole(&bytes);
        drop(Reader::default().event(&bytes, &mut Vec::new()));
    }

    #[test]
    fn a_body_cut_anywhere_or_with_a_changed_byte_never_panics(cut in 0..2000_usize, at in 0..2000_usize, byte: u8) {
        for body in [&WHOLE.to_string(), &REQUEST.to_string()] {
            let mut bytes = body.as_bytes()[..cut % body.len()].to_vec();
            drop(read_request(&bytes, true));
            drop(read_answer(&bytes));
            let _glance = look_whole(&bytes);
            bytes = body.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            drop(read_request(&bytes, true));
            drop(read_answer(&bytes));
            drop(Reader::default().event(&bytes, &mut Vec::new()));
        }
    }

    #[test]
    fn vectors_survive(vectors in prop::collection::vec(prop::collection::vec(-1e3_f32..1e3, 1..5), 1..4)) {
        let vectors = Vectors { model: String::new(), vectors, usage: None };
        prop_assert_eq!(read_vectors(&write_vectors(&vectors)).unwrap(), vectors.clone());
    }
}

/// A request as Google's clients write it, snake case here and there.
static REQUEST: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| {
    json!({
        "system_instruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [
                {"text": "Weather in A and B?"},
                {"inline_data": {"mime_type": "image/png", "data": "AAAA"}},
                {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://host/a.jpg"}},
            ]},
            {"role": "model", "parts": [
                {"text": "Let me think.", "thought": true, "thoughtSignature": "dGhv"},
                {"functionCall": {"name": "weather", "args": {"city": "A"}}, "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "weather", "args": {"city": "B"}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "weather", "response": {"result": "sun"}}},
                {"functionResponse": {"name": "weather", "response": {"error": "no such city"}}},
                {"text": "Well?"},
            ]},
        ],
        "tools": [{"function_declarations": [
            {"name": "weather", "description": "Tells it.",
             "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}},
            {"name": "time", "parametersJsonSchema": {"type": "object"}},
        ]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_LOW_AND_ABOVE"}],
        "generationConfig": {
            "temperature": 0.5, "top_p": 0.9, "topK": 40.0, "maxOutputTokens": 100, "stopSequences": ["END"],
            "seed": 7, "candidateCount": 2, "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER", "nullable": true}}},
            "thinkingConfig": {"thinkingBudget": 512, "includeThoughts": true},
            "speechConfig": {},
        },
        "cachedContent": "cachedContents/1",
    })
});

#[test]
fn a_request_of_googles_own_clients_is_read_whole() {
    let read = read_request(REQUEST.to_string().as_bytes(), true).unwrap();
    assert_eq!(read.turns.len(), 5);
    let [system, user, model, tools, again] = read.turns.as_slice() else { panic!("{:?}", read.turns) };
    assert_eq!(system, &Turn { role: Role::System, parts: vec![Part::Text("Be brief.".into())] });
    assert_eq!(user.parts[1], Part::Image(Image::Data { mime: "image/png".into(), base64: "AAAA".into() }));
    assert_eq!(user.parts[2], Part::Image(Image::Url("https://host/a.jpg".into())));
    let [Part::Reasoning { signature, .. }, Part::ToolCall(a), Part::ToolCall(b)] = model.parts.as_slice()
    else {
        panic!("{model:?}")
    };
    assert_eq!((signature.as_deref(), a.signature.as_deref()), (Some("dGhv"), Some("c2ln")));
    assert!(a.id.starts_with("call_0_") && b.id.starts_with("call_1_"), "{} {}", a.id, b.id);
    let failed = Part::ToolResult(ToolResult {
        id: b.id.clone(),
        name: Some("weather".into()),
        parts: vec![Part::Text("no such city".into())],
        failed: true,
    });
    assert_eq!(tools, &Turn { role: Role::Tool, parts: vec![result(&a.id, "weather", "sun"), failed] });
    assert_eq!(again, &Turn { role: Role::User, parts: vec![Part::Text("Well?".into())] });
    assert_eq!(
        read.tools[0].parameters,
        Some(json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}))
    );
    assert_eq!(read.tool_choice, Some(ToolChoice::Named("weather".into())));
    let Shape::Schema { schema, .. } = &read.shape else { panic!("{:?}", read.shape) };
    assert_eq!(schema["properties"]["n"]["type"], json!(["integer", "null"]));
    assert_eq!((read.sampling.top_k, read.sampling.reasoning_tokens), (Some(40), Some(512)));
    let mut unheld = read.unheld.clone();
    unheld.sort_unstable();
    assert_eq!(unheld, ["cachedContent", "generationConfig.speechConfig", "safetySettings"]);
    assert_eq!(read_request(REQUEST.to_string().as_bytes(), true).unwrap(), read, "the same ids each time");
}

fn openai(body: Value) -> Conversation {
    crate::read_request(Format::OpenAi, body.to_string().as_bytes(), false).unwrap()
}

fn body(written: &crate::Written) -> Value {
    serde_json::from_slice(&written.body).unwrap()
}

#[test]
fn a_conversation_with_tools_and_pictures_is_written_in_googles_words() {
    let wanted = openai(json!({
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Look."},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "https://host/b.webp?x=1"}}]},
            {"role": "assistant", "content": "I call.", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"A\"}"}},
                {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": "broken"}}]},
            {"role": "tool", "tool_call_id": "call_2", "content": "noon"},
            {"role": "tool", "tool_call_id": "call_1", "content": "{\"sky\":\"clear\"}"},
            {"role": "developer", "content": "Answer in JSON."},
            {"role": "user", "content": "Well?"},
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "strict": true,
            "parameters": {"type": "object", "properties": {}}}}],
        "tool_choice": "required",
        "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
        "max_tokens": 50, "temperature": 0, "stop": ["1", "2"], "n": 1, "seed": 9_000_000_000_i64,
        "reasoning_effort": "low", "user": "u",
    }));
    let written = write_request(&wanted, "gemini-3-flash");
    assert_eq!(written.dropped, [Member::ParallelTools, Member::Strict, Member::Seed, Member::User]);
    golden!(body(&written));
    let older = write_request(&wanted, "gemini-2.5-flash");
    assert!(!older.body.windows(10).any(|part| part == b"skip_thoug"), "older models want no signature");
}

#[test]
fn instructions_alone_become_what_the_user_says() {
    let written =
        write_request(&openai(json!({"messages": [{"role": "system", "content": "Tell a joke."}]})), "m");
    assert_eq!(body(&written), json!({"contents": [{"role": "user", "parts": [{"text": "Tell a joke."}]}]}));
}

#[test]
fn thoughts_of_elsewhere_are_dropped_and_named() {
    let wanted = openai(json!({"messages": [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning_content": "hm"},
    ]}));
    assert_eq!(write_request(&wanted, "m").dropped, [Member::Reasoning]);
}

#[test]
fn what_is_wrong_says_where_and_what_is_not_understood_is_refused() {
    let of = |body: Value| match read_request(body.to_string().as_bytes(), false) {
        Err(Failure::InvalidInput { param, .. }) => param.unwrap().into_owned(),
        other => panic!("{other:?}"),
    };
    let part = |part: Value| of(json!({"contents": [{"parts": [part]}]}));
    assert_eq!(of(json!({"contents": "hi"})), "contents");
    assert_eq!(of(json!({"contents": [{"role": "boss", "parts": []}]})), "contents[0].role");
    assert_eq!(part(json!({"text": 5})), "contents[0].parts[0].text");
    assert_eq!(part(json!({})), "contents[0].parts[0]");
    assert_eq!(part(json!({"executableCode": {}})), "contents[0].parts[0]");
    assert_eq!(
        part(json!({"inlineData": {"mimeType": "audio/wav", "data": "AA"}})),
        "contents[0].parts[0].inlineData.mimeType"
    );
    assert_eq!(
        part(json!({"fileData": {"fileUri": "gs://bucket/x"}})),
        "contents[0].parts[0].fileData.fileUri"
    );
    assert_eq!(
        part(json!({"functionResponse": {"name": "nobody", "response": {}}})),
        "contents[0].parts[0].functionResponse.name"
    );
    assert_eq!(
        part(json!({"functionCall": {"name": "a", "args": []}})),
        "contents[0].parts[0].functionCall.args"
    );
    assert_eq!(of(json!({"tools": [{"googleSearch": {}}]})), "tools[0]");
    assert_eq!(
        of(json!({"toolConfig": {"functionCallingConfig": {"mode": "MAYBE"}}})),
        "toolConfig.functionCallingConfig.mode"
    );
    assert_eq!(
        of(json!({"generationConfig": {"responseMimeType": "text/x.enum"}})),
        "generationConfig.responseMimeType"
    );
    assert_eq!(
        of(json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": -2}}})),
        "generationConfig.thinkingConfig.thinkingBudget"
    );
}

#[test]
fn of_several_allowed_functions_only_those_are_offered() {
    let tools: Vec<Value> = ["a", "b", "c"].iter().map(|name| json!({"name": name})).collect();
    let read = read_request(
        json!({"tools": [{"functionDeclarations": tools}], "toolConfig":
            {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["a", "c"]}}})
        .to_string()
        .as_bytes(),
        false,
    )
    .unwrap();
    let names: Vec<_> = read.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!((names.as_slice(), read.tool_choice), (&["a", "c"][..], Some(ToolChoice::Required)));
}

/// An answer as Google gives it.
static WHOLE: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| {
    json!({
        "candidates": [
            {"content": {"role": "model", "parts": [
                {"text": "Let me see.", "thought": true},
                {"text": "Hel"}, {"text": "lo"},
                {"functionCall": {"name": "look", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
                {"functionCall": {"id": "fc_1", "name": "look"}},
            ]}, "finishReason": "STOP", "index": 0,
             "logprobsResult": {"chosenCandidates": [{"token": "Hello", "tokenId": 5, "logProbability": -0.25}],
                "topCandidates": [{"candidates": [{"token": "Hi", "logProbability": -1.5}]}]}},
            {"finishReason": "SAFETY", "index": 1, "safetyRatings": []},
        ],
        "usageMetadata": {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 5,
            "thoughtsTokenCount": 3, "toolUsePromptTokenCount": 2, "totalTokenCount": 20},
        "modelVersion": "gemini-x", "responseId": "resp1",
    })
});

#[test]
fn an_answer_of_google_is_read_whole() {
    let read = read_answer(WHOLE.to_string().as_bytes()).unwrap();
    assert_eq!((read.id.as_str(), read.model.as_str()), ("resp1", "gemini-x"));
    let usage = Usage { input: 12, cached: 4, output: 8, reasoning: 3, estimated: false };
    assert_eq!(read.usage, Some(usage));
    let [first, second] = read.choices.as_slice() else { panic!("{read:?}") };
    assert_eq!((&first.finish, &second.finish), (&Finish::ToolCalls, &Finish::ContentFilter));
    assert_eq!(first.parts[1], Part::Text("Hello".into()));
    let [Part::ToolCall(made), Part::ToolCall(given)] = &first.parts[2..] else { panic!("{first:?}") };
    assert!(made.id.starts_with("call_0_") && made.signature.as_deref() == Some("c2ln"), "{made:?}");
    assert_eq!((given.id.as_str(), given.arguments.as_str()), ("fc_1", "{}"));
    let logprobs = first.logprobs.as_ref().unwrap();
    assert_eq!(logprobs["content"][0]["logprob"], -0.25);
    assert_eq!(logprobs["content"][0]["top_logprobs"][0]["token"], "Hi");
    let glance = look_whole(WHOLE.to_string().as_bytes()).unwrap();
    assert_eq!((glance.usage, glance.blocked), (Some(usage), false));
    assert!(glance.text_bytes >= 50, "{glance:?}");
}

fn answer() -> Completion {
    let signed = ToolCall { signature: Some("c2ln".into()), ..call("toolu_1", "look", "{\"a\":1}") };
    let logprobs = json!({"content": [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105],
        "top_logprobs": [{"token": "Ho", "logprob": -1.0, "bytes": [72, 111]}]}], "refusal": null});
    Completion {
        id: "resp".into(),
        model: "m".into(),
        created: 0,
        choices: vec![
            Choice {
                parts: vec![
                    Part::Reasoning { text: "hm".into(), signature: Some("c2ln".into()) },
                    Part::Text("Hi".into()),
                    Part::ToolCall(signed),
                ],
                finish: Finish::ToolCalls,
                logprobs: Some(logprobs),
            },
            Choice { parts: vec![Part::Text("half".into())], finish: Finish::Length, logprobs: None },
            Choice { parts: vec![], finish: Finish::ContentFilter, logprobs: None },
        ],
        usage: Some(Usage { input: 7, cached: 2, output: 5, reasoning: 1, estimated: false }),
    }
}

#[test]
fn an_answer_written_and_read_again_is_the_same() {
    let body = write_answer(&answer(), &head());
    assert_eq!(read_answer(&body).unwrap(), answer());
    golden!(serde_json::from_slice::<Value>(&body).unwrap());
}

#[test]
fn a_refused_prompt_is_an_answer_without_candidates() {
    let body =
        br#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":4}}"#;
    let glance = look_whole(body).unwrap();
    assert!(glance.blocked && glance.usage.is_some());
    assert_eq!(read_answer(body).unwrap().choices, []);
    let seen = look_event(body).unwrap();
    assert!(seen.blocked && seen.done && seen.begins);
    let mut steps = Vec::new();
    Reader::default().event(body, &mut steps).unwrap();
    assert_eq!(steps[1], Step::Finish { choice: 0, reason: Finish::ContentFilter });
    let written = write_answer(&read_answer(body).unwrap(), &head());
    assert!(look_whole(&written).unwrap().blocked);
    for none in ["{}", "[]", r#"{"candidates":[]}"#, r#"{"promptFeedback":{}}"#, "<html>"] {
        assert_eq!((look_whole(none.as_bytes()), read_answer(none.as_bytes())), (None, None), "{none}");
    }
}

fn steps() -> Vec<Step> {
    vec![
        Step::Begin { id: "x".into(), model: "m".into() },
        Step::Reasoning { choice: 0, text: "hm".into(), signature: Some("c2ln".into()) },
        Step::Text { choice: 0, text: "Hel".into() },
        Step::Text { choice: 1, text: "Oh".into() },
        Step::Text { choice: 0, text: "lo".into() },
        Step::ToolCall { choice: 0, index: 0, id: "toolu_1".into(), name: "look".into(), signature: None },
        Step::Arguments { choice: 0, index: 0, fragment: "{\"a\"".into() },
        Step::ToolCall { choice: 0, index: 1, id: "toolu_2".into(), name: "hear".into(), signature: None },
        Step::Arguments { choice: 0, index: 0, fragment: ":1}".into() },
        Step::Finish { choice: 1, reason: Finish::Length },
        Step::Finish { choice: 0, reason: Finish::ToolCalls },
        Step::Usage(Usage { input: 3, output: 4, ..Usage::default() }),
    ]
}

fn written(steps: &[Step]) -> BytesMut {
    let (mut writer, mut out) = (Writer::new(head()), BytesMut::new());
    steps.iter().for_each(|step| writer.step(step, &mut out));
    writer.finish(&mut out);
    out
}

fn events(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(end) = sse::first_end(bytes) {
        all.push(sse::data_of(&bytes[..end]).unwrap().into_owned());
        bytes = &bytes[end..];
    }
    assert!(bytes.is_empty());
    all
}

#[test]
fn a_stream_written_and_read_again_says_the_same_with_whole_calls_and_ends_last() {
    let out = written(&steps());
    let all = events(&out);
    let values: Vec<Value> = all.iter().map(|data| serde_json::from_slice(data).unwrap()).collect();
    golden!(values);
    let (mut reader, mut read) = (Reader::default(), Vec::new());
    let mut finished = 0;
    for data in &all {
        reader.event(data, &mut read).unwrap();
        let seen = look_event(data).unwrap();
        assert!(seen.begins && !seen.done && !seen.usage_only);
        finished += seen.finished;
    }
    assert_eq!(finished, 2);
    let whole = |index: u32, id: &str, name: &str, arguments: &str| {
        [
            Step::ToolCall { choice: 0, index, id: id.into(), name: name.into(), signature: None },
            Step::Arguments { choice: 0, index, fragment: arguments.into() },
        ]
    };
    let mut expected = steps()[..5].to_vec();
    expected.extend(whole(0, "toolu_1", "look", "{\"a\":1}"));
    expected.extend(whole(1, "toolu_2", "hear", "{}"));
    expected.push(Step::Finish { choice: 0, reason: Finish::ToolCalls });
    expected.push(Step::Finish { choice: 1, reason: Finish::Length });
    expected.push(steps().pop().unwrap());
    assert_eq!(read, expected);
}

#[test]
fn a_stream_that_breaks_off_never_looks_ended() {
    let (mut writer, mut out) = (Writer::new(head()), BytesMut::new());
    steps().iter().for_each(|step| writer.step(step, &mut out));
    let finished: u32 = events(&out).iter().map(|data| look_event(data).unwrap().finished).sum();
    assert_eq!(finished, 0);
}

#[test]
fn the_error_of_a_stream_is_told_as_one() {
    let data = br#"{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}"#;
    let inside = Odd::Error(Bytes::from_static(br#"{"code":503,"message":"busy","status":"UNAVAILABLE"}"#));
    assert_eq!(look_event(data), Err(inside.clone()));
    assert_eq!(Reader::default().event(data, &mut Vec::new()), Err(inside));
    assert_eq!(look_event(b"{}"), Err(Odd::WrongSchema));
    assert_eq!(look_event(br#"{"candidates":{}}"#), Err(Odd::WrongSchema));
}

#[test]
fn senseless_usage_is_as_good_as_none_and_breaks_nothing() {
    for usage in ["null", "{}", "[]", "7", r#"{"promptTokenCount":-1}"#, r#"{"promptTokenCount":"7"}"#] {
        let body = format!(r#"{{"candidates":[{{"finishReason":"STOP"}}],"usageMetadata":{usage}}}"#);
        assert_eq!(look_whole(body.as_bytes()).unwrap().usage, None, "{usage}");
        assert_eq!(read_answer(body.as_bytes()).unwrap().usage, None, "{usage}");
    }
}

#[test]
fn texts_to_embed_are_written_one_request_each() {
    let written = write_embed(&["a", "b"], "gemini-embedding-001", Some(256));
    golden!(serde_json::from_slice::<Value>(&written).unwrap());
}

#[test]
fn requests_to_embed_keep_what_they_are_for_at_another_model() {
    let content = json!({"parts": [{"text": "a"}]});
    let one = json!({"content": content, "taskType": "RETRIEVAL_QUERY", "title": "t"});
    let expected = json!({"requests": [
        {"model": "models/m", "content": content, "taskType": "RETRIEVAL_QUERY", "title": "t"},
    ]});
    let many = json!({"requests": [{"model": "models/x", "content": content, "taskType": "RETRIEVAL_QUERY", "title": "t"}]});
    for body in [&one, &many] {
        let body = body.to_string();
        let redirected = redirect_embed(body.as_bytes(), "m").unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&redirected).unwrap(), expected);
        assert_eq!(unheld_of_embed(body.as_bytes()), ["requests.taskType", "requests.title"]);
    }
    assert_eq!(unheld_of_embed(br#"{"content":{}}"#), [""; 0]);
    for none in ["[]", "5", r#"{"requests":5}"#, r#"{"requests":[5]}"#] {
        assert_eq!(redirect_embed(none.as_bytes(), "m"), None);
    }
}
