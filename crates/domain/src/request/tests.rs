//! Splices touch what they say and nothing else, in each format.

use super::*;

fn chat(body: &'static str, include_usage: bool) -> ChatRequest {
    let start = body.find("\"fast\"").unwrap();
    let options = body.find("{\"include_usage\":false}");
    ChatRequest {
        body: Bytes::from_static(body.as_bytes()),
        model: "fast".into(),
        format: Format::OpenAi,
        model_span: Some(start..start + 6),
        stream: true,
        include_usage,
        forced_span: options.map(|at| at..at + 23),
        max_tokens: None,
        n: 1,
        deterministic: false,
        needs: Needs::default(),
        parts: vec![],
    }
}

#[test]
fn splicing_changes_the_model_and_asks_for_usage_and_touches_nothing_else() {
    let spliced = chat(r#"{"model": "fast" , "x":[1 ,2]}"#, false).splice("a\"b");
    assert_eq!(spliced, r#"{"model": "a\"b","stream_options":{"include_usage":true} , "x":[1 ,2]}"#);
    let spliced = chat(r#"{"stream_options":{"include_usage":false},"model":"fast"}"#, false).splice("m");
    assert_eq!(spliced, r#"{"stream_options":{"include_usage":true},"model":"m"}"#);
    let spliced = chat(r#"{"model":"fast","n":1}"#, true).splice("m");
    assert_eq!(spliced, r#"{"model":"m","n":1}"#);
}

#[test]
fn a_long_body_is_spliced_in_slices_of_the_callers_bytes() {
    for members in ["", r#""stream_options":null,"#] {
        let body = format!(r#"{{{members}"x":"{}","model":"fast" ,"n":1}}"#, "y".repeat(SLICED_BYTES));
        let start = body.find("stream_options").map(|at| at + 16..at + 20);
        let request = ChatRequest { forced_span: start, ..chat(body.leak(), false) };
        let Spliced::Pieces(pieces) = request.spliced("other") else { panic!("not in pieces") };
        assert_eq!(pieces.concat(), request.splice("other"));
        assert!(
            pieces.iter().any(|piece| piece.len() > SLICED_BYTES / 2
                && request.body.as_ptr_range().contains(&piece.as_ptr()))
        );
    }
    let short = chat(r#"{"model":"fast"}"#, false);
    assert_eq!(short.spliced("m"), Spliced::Whole(short.splice("m")));
}

#[test]
fn replaced_texts_move_every_span_along() {
    let body = r#"{"messages":["one","two","three"],"model":"fast"}"#;
    let mut request = chat(body, true);
    let part = |text: &str| {
        let at = body.find(text).unwrap();
        TextPart { role: Role::User, span: at..at + text.len(), escaped: false }
    };
    request.parts = vec![part("one"), part("two"), part("three")];
    request.replace(vec![(2, "3".into()), (0, "a \"longer\" one".into()), (9, "nobody".into())]);
    assert_eq!(request.body, r#"{"messages":["a \"longer\" one","two","3"],"model":"fast"}"#);
    let texts: Vec<_> = request.texts().map(|(_, text)| text.into_owned()).collect();
    assert_eq!(texts, ["a \"longer\" one", "two", "3"]);
    assert_eq!(&request.body[request.model_span.clone().unwrap()], b"\"fast\"");
}

#[test]
fn a_bound_is_added_in_each_format_and_texts_stay_where_they_are_found() {
    let request = |format, body: &'static str| {
        let at = body.find("hello").unwrap();
        let part = TextPart { role: Role::User, span: at..at + 5, escaped: false };
        let plain = chat(r#"{"model":"fast"}"#, true);
        let model_span = body.find("\"fast\"").map(|at| at..at + 6);
        ChatRequest {
            format,
            body: Bytes::from_static(body.as_bytes()),
            model_span,
            parts: vec![part],
            ..plain
        }
    };
    for (format, body, expected) in [
        (
            Format::OpenAi,
            r#"{"model":"fast","a":"hello"} "#,
            r#"{"model":"m","a":"hello","max_completion_tokens":9} "#,
        ),
        (
            Format::Responses,
            r#"{"input":"hello","model":"fast"}"#,
            r#"{"input":"hello","model":"m","store":false,"max_output_tokens":9}"#,
        ),
        (
            Format::Gemini,
            r#"{"contents":"hello"}"#,
            r#"{"contents":"hello","generationConfig":{"maxOutputTokens":9}}"#,
        ),
        (
            Format::Gemini,
            r#"{"generationConfig": {"topK":1},"contents":"hello"}"#,
            r#"{"generationConfig": {"maxOutputTokens":9,"topK":1},"contents":"hello"}"#,
        ),
        (
            Format::Gemini,
            r#"{"generationConfig":null,"c":"hello"}"#,
            r#"{"generationConfig":{"maxOutputTokens":9},"c":"hello"}"#,
        ),
        (
            Format::Gemini,
            r#"{"c":"hello","generation_config" : null}"#,
            r#"{"c":"hello","generation_config" : {"maxOutputTokens":9}}"#,
        ),
        (
            Format::Gemini,
            r#"{"generationConfig":null,"c":"hello","generation_config":{"topK":1}}"#,
            r#"{"generationConfig":null,"c":"hello","generation_config":{"maxOutputTokens":9,"topK":1}}"#,
        ),
        (
            Format::Gemini,
            r#"{"generationConfig":{ },"c":"hello"}"#,
            r#"{"generationConfig":{"maxOutputTokens":9 },"c":"hello"}"#,
        ),
    ] {
        let bound = request(format, body).with_max_tokens(9, "max_completion_tokens");
        assert_eq!(bound.texts().map(|(_, text)| text).collect::<Vec<_>>(), ["hello"], "{body}");
        assert_eq!(bound.splice("m"), expected);
        assert_eq!(bound.max_tokens, Some(9));
        serde_json::from_slice::<serde_json::Value>(&bound.body).unwrap();
    }
}

#[test]
fn an_answer_is_never_stored_by_a_provider() {
    let mut request = chat(r#"{"model":"fast","input":"a","store":true}"#, false);
    request.format = Format::Responses;
    assert_eq!(request.splice("m"), r#"{"model":"m","store":false,"input":"a","store":true}"#);
    request.forced_span = Some(36..40);
    assert_eq!(request.splice("m"), r#"{"model":"m","input":"a","store":false}"#);
}

#[test]
fn texts_are_borrowed_unless_they_hold_escapes() {
    let body = br#"{"a":"plain","b":"two\nlines \u00e9"}"#;
    let plain = TextPart { role: Role::User, span: 6..11, escaped: false };
    let escaped = TextPart { role: Role::User, span: 18..35, escaped: true };
    assert!(matches!(plain.read(body), Cow::Borrowed("plain")));
    assert_eq!(escaped.read(body), "two\nlines é");
}
