//! What the door makes of good, odd and hostile bodies of this format. // req: S2-1.2

use super::*;
use portcullis_domain::InputCode;
use proptest::prelude::*;

fn read_body(body: &str) -> Result<ChatRequest, Failure> {
    messages(Bytes::copy_from_slice(body.as_bytes()), &DecodeLimits::default())
}

#[test]
fn every_text_a_model_would_read_is_found_with_its_author() {
    let request = read_body(
        r#"{"max_tokens":9,"stream":true,"system":[{"type":"text","text":"Be kind."}],"messages":[
            {"role":"user","content":"a\nb"},
            {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"Hi"},
                {"type":"tool_use","id":"t1","name":"look","input":{"q":"x"}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"found"},
                {"type":"tool_result","tool_use_id":"t2","content":[{"type":"text","text":"more"},
                    {"type":"image","source":{"type":"url","url":"u"}}]},
                {"type":"document","title":"T","context":"C","source":{"type":"text","media_type":"text/plain","data":"D"}},
                {"type":"document","source":{"type":"content","content":[{"type":"text","text":"E"}]}},
                {"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AA=="}},
                {"type":"search_result","source":"s","title":"F","content":[{"type":"text","text":"G"}]}]},
            {"role":"system","content":"Later."}],
            "model":"claude","tools":[{"name":"look","input_schema":{}}],
            "output_config":{"format":{"type":"json_schema","schema":{}}}}"#,
    )
    .unwrap();
    let texts: Vec<_> = request.texts().map(|(role, text)| (role, text.into_owned())).collect();
    let tool = |text: &str| (Role::Tool, text.to_owned());
    assert_eq!(
        texts,
        [
            (Role::System, "Be kind.".to_owned()),
            (Role::User, "a\nb".to_owned()),
            (Role::Assistant, "Hi".to_owned()),
            tool("found"),
            tool("more"),
            tool("T"),
            tool("C"),
            tool("D"),
            tool("E"),
            tool("F"),
            tool("G"),
            (Role::System, "Later.".to_owned()),
        ]
    );
    assert_eq!(request.needs, Needs { tools: true, images: true, json: true, logprobs: false });
    assert_eq!((request.max_tokens, request.stream, request.format), (Some(9), true, Format::Anthropic));
    assert_eq!(&request.body[request.model_span.clone().unwrap()], b"\"claude\"");
}

#[test]
fn every_wrong_member_is_named() {
    let user = r#""messages":[{"role":"user","content":"x"}]"#;
    for (body, expected) in [
        ("{}".to_owned(), "model"),
        (format!(r#"{{"model":"m",{user}}}"#), "max_tokens"),
        (format!(r#"{{"model":"m",{user},"max_tokens":0}}"#), "max_tokens"),
        (r#"{"model":"m","max_tokens":1}"#.to_owned(), "messages"),
        (r#"{"model":"m","max_tokens":1,"messages":[]}"#.to_owned(), "messages"),
        (
            r#"{"model":"m","max_tokens":1,"messages":[{"role":"tool","content":"x"}]}"#.to_owned(),
            "messages[0].role",
        ),
        (r#"{"model":"m","max_tokens":1,"messages":[{"role":"user"}]}"#.to_owned(), "messages[0].content"),
        (
            r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{"text":"x"}]}]}"#
                .to_owned(),
            "messages[0].content",
        ),
        (
            r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{"type":"text"}]}]}"#
                .to_owned(),
            "messages[0].content",
        ),
        (
            r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"\ud800"}]}"#.to_owned(),
            "messages[0].content",
        ),
        (format!(r#"{{"model":"m","max_tokens":1,{user},"temperature":1.5}}"#), "temperature"),
        (format!(r#"{{"model":"m","max_tokens":1,{user},"top_k":-1}}"#), "top_k"),
        (format!(r#"{{"model":"m","max_tokens":1,{user},"stream":"yes"}}"#), "stream"),
        (format!(r#"{{"model":"m","max_tokens":1,{user},"tools":{{}}}}"#), "tools"),
        (format!(r#"{{"model":"m","max_tokens":1,{user},"system":7}}"#), "system"),
    ] {
        let Err(Failure::InvalidInput { param, .. }) = read_body(&body) else { panic!("{body}") };
        assert_eq!(param.as_deref(), Some(expected), "{body}");
    }
    let counted = count(Bytes::from(format!(r#"{{"model":"m",{user}}}"#)), &DecodeLimits::default());
    assert_eq!(counted.unwrap().max_tokens, None, "a count needs no bound for the answer");
}

#[test]
fn bounds_hold_and_broken_json_is_told_by_place() {
    let many = vec![r#"{"role":"user","content":"x"}"#; 2049].join(",");
    assert!(read_body(&format!(r#"{{"model":"m","max_tokens":1,"messages":[{many}]}}"#)).is_err());
    let deep = "[".repeat(70);
    let Err(Failure::InvalidInput { code, message, .. }) = read_body(&deep) else { panic!() };
    assert_eq!(code, InputCode::InvalidValue);
    assert!(message.contains("64 levels"), "{message}");
    assert!(read_body("{\"model\":").is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_without_panic(body in any::<Vec<u8>>()) {
        let _verdict = messages(Bytes::from(body), &DecodeLimits::default());
    }

    #[test]
    fn a_text_is_found_as_it_was_meant_and_splicing_keeps_the_rest(text in any::<String>()) {
        let value = serde_json::json!({"max_tokens": 1, "model": "m",
            "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]});
        let request = read_body(&value.to_string()).unwrap();
        prop_assert_eq!(request.texts().next().unwrap().1.into_owned(), text);
        let mut spliced: serde_json::Value = serde_json::from_slice(&request.splice("other")).unwrap();
        prop_assert_eq!(spliced["model"].take(), "other");
        spliced["model"] = "m".into();
        prop_assert_eq!(spliced, value);
    }
}
