//! What the door makes of good, odd and hostile bodies of this format. // req: S2-1.2

use super::*;
use portcullis_domain::InputCode;
use proptest::prelude::*;

fn read_body(body: &str) -> Result<ChatRequest, Failure> {
    responses(Bytes::copy_from_slice(body.as_bytes()), &DecodeLimits::default())
}

#[test]
fn every_text_a_model_would_read_is_found_with_its_author() {
    let request = read_body(
        r#"{"store":true,"stream":true,"max_output_tokens":9,"instructions":"Be kind.","input":[
            {"role":"user","content":"a\nb"},
            {"type":"message","role":"developer","content":[{"type":"input_text","text":"Short."}]},
            {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"content":null},
            {"type":"message","role":"assistant","id":"m","content":[{"type":"output_text","text":"Hi"},{"type":"refusal","refusal":"No"}]},
            {"type":"function_call","call_id":"c","name":"look","arguments":"{}"},
            {"type":"function_call_output","call_id":"c","output":"found"},
            {"type":"function_call_output","call_id":"d","output":[{"type":"input_text","text":"more"},
                {"type":"input_image","detail":"auto","image_url":"https://host/a.png"}]}],
            "model":"fast","tools":[{"type":"function","name":"look"}],"top_logprobs":1,"include":[],"background":false,
            "previous_response_id":null,"text":{"format":{"type":"json_object"}}}"#,
    )
    .unwrap();
    let texts: Vec<_> = request.texts().map(|(role, text)| (role, text.into_owned())).collect();
    assert_eq!(
        texts,
        [
            (Role::System, "Be kind."),
            (Role::User, "a\nb"),
            (Role::System, "Short."),
            (Role::Assistant, "hm"),
            (Role::Assistant, "Hi"),
            (Role::Assistant, "No"),
            (Role::Tool, "found"),
            (Role::Tool, "more"),
        ]
        .map(|(role, text)| (role, text.to_owned()))
    );
    assert_eq!(request.needs, Needs { tools: true, images: true, json: true, logprobs: true });
    assert_eq!((request.max_tokens, request.stream, request.format), (Some(9), true, Format::Responses));
    assert_eq!(&request.body[request.model_span.clone().unwrap()], b"\"fast\"");
    assert_eq!(&request.body[request.forced_span.clone().unwrap()], b"true");
    let short = read_body(r#"{"model":"m","input":"Hi","temperature":0}"#).unwrap();
    assert_eq!(short.texts().collect::<Vec<_>>(), [(Role::User, "Hi".into())]);
    assert!(short.deterministic && short.needs == Needs::default());
}

#[test]
fn what_the_door_takes_the_translation_takes_too() {
    let body = r#"{"model":"m","instructions":null,"tools":[],"text":null,"reasoning":null,"input":[
        {"role":"user","content":"a"},{"type":"function_call","call_id":"c","name":"f","arguments":""},
        {"type":"function_call_output","call_id":"c","output":""},{"type":"reasoning","summary":[]}]}"#;
    read_body(body).unwrap();
    portcullis_wire::responses::read_request(body.as_bytes()).unwrap();
}

#[test]
fn every_wrong_member_is_named() {
    let with = |members: &str| format!(r#"{{"model":"m","input":"a",{members}}}"#);
    let input = |input: &str| format!(r#"{{"model":"m","input":{input}}}"#);
    for (body, expected) in [
        ("{}".to_owned(), "model"),
        (r#"{"model":"m"}"#.to_owned(), "input"),
        (input("null"), "input"),
        (input("7"), "input"),
        (input("[]"), "input"),
        (input(r#""\ud800""#), "input"),
        (input(r#"["a"]"#), "input"),
        (input(r#"[{"role":"boss","content":"a"}]"#), "input[0].role"),
        (input(r#"[{"role":"user"}]"#), "input[0].content"),
        (input(r#"[{"role":"user","content":[{"type":"input_text"}]}]"#), "input[0].content[0]"),
        (input(r#"[{"role":"user","content":[{"text":"a"}]}]"#), "input[0].content"),
        (input(r#"[{"type":"function_call_output","call_id":"c"}]"#), "input[0].output"),
        (input(r#"[{"type":"reasoning","summary":"a"}]"#), "input[0].summary"),
        (with(r#""instructions":["a"]"#), "instructions"),
        (with(r#""stream":1"#), "stream"),
        (with(r#""store":"yes""#), "store"),
        (with(r#""max_output_tokens":0"#), "max_output_tokens"),
        (with(r#""temperature":3"#), "temperature"),
        (with(r#""top_p":2"#), "top_p"),
        (with(r#""top_logprobs":21"#), "top_logprobs"),
        (with(r#""metadata":[]"#), "metadata"),
        (with(r#""tools":{}"#), "tools"),
        (with(r#""text":"json""#), "text"),
    ] {
        match read_body(&body) {
            Err(Failure::InvalidInput { param, .. }) => {
                assert_eq!(param.as_deref(), Some(expected), "{body}")
            }
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn what_needs_something_stored_or_built_in_is_refused_by_name() {
    let with = |members: &str| format!(r#"{{"model":"m","input":"a",{members}}}"#);
    for (body, expected) in [
        (with(r#""previous_response_id":"resp_1""#), "previous_response_id"),
        (with(r#""conversation":{"id":"conv_1"}"#), "conversation"),
        (with(r#""prompt":{"id":"pmpt_1"}"#), "prompt"),
        (with(r#""background":true"#), "background"),
        (with(r#""include":["message.output_text.logprobs"]"#), "include"),
        (with(r#""tools":[{"type":"function","name":"f"},{"type":"web_search"}]"#), "tools[1].type"),
        (r#"{"model":"m","input":[{"type":"item_reference","id":"i"}]}"#.into(), "input[0].type"),
        (
            r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_file","file_data":"d"}]}]}"#
                .into(),
            "input[0].content[0].type",
        ),
    ] {
        match read_body(&body) {
            Err(Failure::InvalidInput { code: InputCode::UnsupportedParameter, param, .. }) => {
                assert_eq!(param.as_deref(), Some(expected), "{body}");
            }
            other => panic!("{body}: {other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(responses(bytes.into(), &DecodeLimits::default()));
    }

    #[test]
    fn whatever_the_words_are_they_are_found_and_can_be_spliced_around(
        words in prop::collection::vec("\\PC{0,20}", 1..6),
        store in prop::option::of(any::<bool>()),
    ) {
        let items: Vec<_> = words.iter().map(|word| serde_json::json!({"role": "user", "content": word})).collect();
        let mut body = serde_json::json!({"input": items, "model": "fast"});
        if let Some(store) = store {
            body["store"] = store.into();
        }
        let request = read_body(&body.to_string()).unwrap();
        let found: Vec<_> = request.texts().map(|(_, text)| text.into_owned()).collect();
        prop_assert_eq!(&found, &words);
        let spliced: serde_json::Value = serde_json::from_slice(&request.splice("m")).unwrap();
        body["model"] = "m".into();
        body["store"] = false.into();
        prop_assert_eq!(spliced, body);
    }
}
