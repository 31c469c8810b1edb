//! What the door makes of good, odd and hostile bodies in Google's format. // req: S2-1.2

use super::*;
use proptest::prelude::*;

fn limits() -> DecodeLimits {
    DecodeLimits::default()
}

fn read(body: &str) -> Result<ChatRequest, Failure> {
    generate(Bytes::copy_from_slice(body.as_bytes()), Some("fast".into()), true, &limits())
}

fn many(body: &str) -> Result<EmbedRequest, Failure> {
    embed_many(Bytes::copy_from_slice(body.as_bytes()), Some("embed".into()), &limits())
}

fn param_of(failure: Failure) -> String {
    let Failure::InvalidInput { param, .. } = failure else { panic!("not an input failure: {failure:?}") };
    param.unwrap_or_default().into_owned()
}

#[test]
fn every_text_is_found_with_its_author_in_either_spelling() {
    let request = read(
        r#" {"system_instruction":{"parts":[{"text":"Be kind."}]},
            "contents":[{"parts":[{"text":"a\nb"},{"inline_data":{"mime_type":"image/png","data":"AA"}}]},
            {"role":"model","parts":[{"text":"hm","thought":true},{"functionCall":{"name":"f","args":{"x":"mine"}}}]},
            {"role":"user","parts":[{"function_response":{"name":"f","response":{"out":["one",{"k":"\ud83d\ude00"}]}}},
            {"codeExecutionResult":{"output":"ran"}}]}],
            "tools":[{"functionDeclarations":[{"name":"f"}]}],
            "generationConfig":{"maxOutputTokens":9,"candidate_count":2,"temperature":0,
            "responseSchema":{"type":"OBJECT"},"responseLogprobs":true},"extra":{"a":[1]}} "#,
    )
    .unwrap();
    let texts: Vec<_> = request.texts().map(|(role, text)| (role, text.into_owned())).collect();
    let tool = |text: &str| (Role::Tool, text.to_owned());
    let mut expected = vec![
        (Role::System, "Be kind.".to_owned()),
        (Role::User, "a\nb".to_owned()),
        (Role::Assistant, "hm".to_owned()),
    ];
    expected.extend(["out", "one", "k", "😀", "output", "ran"].map(tool));
    assert_eq!(texts, expected);
    assert_eq!(request.needs, Needs { tools: true, images: true, json: true, logprobs: true });
    assert_eq!((request.max_tokens, request.n, request.deterministic), (Some(9), 2, true));
    assert_eq!((request.model.as_str(), request.stream), ("fast", true));
}

#[test]
fn every_wrong_member_is_named() {
    let said = r#""contents":[{"parts":[{"text":"x"}]}]"#;
    let table = [
        ("{}".to_owned(), "contents"),
        (r#"{"contents":[]}"#.into(), "contents"),
        (r#"{"contents":"hi"}"#.into(), "contents"),
        (r#"{"contents":[{"role":"king","parts":[]}]}"#.into(), "contents[0].role"),
        (r#"{"contents":[{"role":"user"}]}"#.into(), "contents[0].parts"),
        (r#"{"contents":[{"parts":[{"text":"\ud800"}]}]}"#.into(), "contents[0].parts"),
        (r#"{"contents":[{"parts":[{"text":"a","text":"b"}]}]}"#.into(), "contents[0].parts"),
        (
            r#"{"contents":[{"parts":[{"functionResponse":{"response":{"a":"\udc00"}}}]}]}"#.into(),
            "contents[0].parts",
        ),
        (format!(r#"{{{said},"systemInstruction":"hi"}}"#), "systemInstruction"),
        (format!(r#"{{{said},"tools":{{}}}}"#), "tools"),
        (format!(r#"{{{said},"generationConfig":"hot"}}"#), "generationConfig"),
        (format!(r#"{{{said},"generationConfig":{{"topP":0,"top_p":1}}}}"#), "generationConfig"),
        (
            format!(r#"{{{said},"generationConfig":{{"candidateCount":9}}}}"#),
            "generationConfig.candidateCount",
        ),
        (
            format!(r#"{{{said},"generationConfig":{{"maxOutputTokens":0}}}}"#),
            "generationConfig.maxOutputTokens",
        ),
        (format!(r#"{{{said},"generationConfig":{{"temperature":3}}}}"#), "generationConfig.temperature"),
    ];
    for (body, param) in table {
        assert_eq!(param_of(read(&body).expect_err(&body)), param, "{body}");
    }
    for both in [
        r#"{"contents":[{"parts":[]}],"systemInstruction":{"parts":[]},"system_instruction":{"parts":[]}}"#,
        r#"{"contents":[{"parts":[]}],"contents":[{"parts":[]}]}"#,
        "",
        "[]",
        "\u{0}",
    ] {
        assert!(read(both).is_err(), "{both}");
    }
    let body = Bytes::from(format!("{{{said}}}"));
    for model in [None, Some(String::new()), Some("m".repeat(129)), Some("a\nb".into())] {
        assert_eq!(param_of(generate(body.clone(), model, false, &limits()).unwrap_err()), "model");
    }
}

#[test]
fn a_count_takes_contents_or_a_whole_request() {
    let texts = |body: &'static str| {
        let request = count(Bytes::from(body), Some("fast".into()), &limits()).unwrap();
        request.texts().map(|(_, text)| text.into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(texts(r#"{"contents":[{"parts":[{"text":"a"}]}]}"#), ["a"]);
    let whole = r#"{"generateContentRequest":{"model":"models/x","contents":[{"parts":[{"text":"a"}]}],
        "systemInstruction":{"parts":[{"text":"s"}]}}}"#;
    assert_eq!(texts(whole), ["s", "a"]);
}

#[test]
fn texts_to_embed_are_read_one_of_each_request_and_what_is_wrong_says_where() {
    let body = r#"{"requests":[{"model":"models/m","content":{"parts":[{"text":"a"}]},"outputDimensionality":8},
        {"content":{"parts":[{"text":"b\u0041"}]},"output_dimensionality":8}]}"#;
    let request = many(body).unwrap();
    assert_eq!(request.texts().collect::<Vec<_>>(), ["a", "bA"]);
    assert_eq!((request.dimensions, request.format), (Some(8), Format::Gemini));
    let one = Bytes::from(r#"{"content":{"parts":[{"text":"a"}]}}"#);
    let one = embed_one(one, Some("embed".into()), &limits()).unwrap();
    assert_eq!(one.texts().collect::<Vec<_>>(), ["a"]);
    for (body, param) in [
        ("{}", "requests"),
        (r#"{"requests":[]}"#, "requests"),
        (r#"{"requests":[{}]}"#, "requests[0].content.parts"),
        (
            r#"{"requests":[{"content":{"parts":[{"text":"a"}]}},{"content":{"parts":[{"text":""}]}}]}"#,
            "requests[1].content.parts",
        ),
        (r#"{"requests":[{"content":{"parts":[{"text":"a"},{"text":"b"}]}}]}"#, "requests[0].content.parts"),
        (
            r#"{"requests":[{"content":{"parts":[{"text":"a"}]},"outputDimensionality":8},
                {"content":{"parts":[{"text":"b"}]}}]}"#,
            "outputDimensionality",
        ),
    ] {
        assert_eq!(param_of(many(body).expect_err(body)), param, "{body}");
    }
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer_and_never_a_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        let body = Bytes::from(body);
        drop(generate(body.clone(), Some("m".into()), false, &limits()));
        drop(count(body.clone(), Some("m".into()), &limits()));
        drop(embed_many(body.clone(), Some("m".into()), &limits()));
        drop(embed_one(body, Some("m".into()), &limits()));
    }

    #[test]
    fn any_text_survives_the_door_whole(text in "\\PC{0,80}", result in "\\PC{1,40}", pretty in any::<bool>()) {
        let value = serde_json::json!({"contents": [
            {"parts": [{"text": text}]},
            {"parts": [{"functionResponse": {"name": "f", "response": {"": [1, {"": result}]}}}]},
        ]});
        let body = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let request = read(&body).unwrap();
        let read: Vec<_> = request.texts().map(|(_, text)| text.into_owned()).collect();
        prop_assert_eq!(read, [text, result]);
    }
}
