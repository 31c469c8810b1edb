//! What the door makes of good, odd and hostile bodies. // req: S2-1.2

use super::*;
use proptest::prelude::*;

/// Both ways read the same, where the quick one does not leave it to the other.
fn read_chat(body: &str) -> Result<ChatRequest, Failure> {
    let (body, limits) = (Bytes::copy_from_slice(body.as_bytes()), DecodeLimits::default());
    let read = general(&body, &limits);
    if let Some(plain) = plain::chat(&body, &limits) {
        assert_eq!(format!("{plain:?}"), format!("{:?}", read.as_ref().unwrap()));
    }
    assert_eq!(chat(body, &limits).is_ok(), read.is_ok());
    read
}

fn read_embed(body: &str) -> Result<EmbedRequest, Failure> {
    embed(Bytes::copy_from_slice(body.as_bytes()), &DecodeLimits::default())
}

fn param_of(failure: Failure) -> String {
    let Failure::InvalidInput { param, .. } = failure else { panic!("not an input failure: {failure:?}") };
    param.unwrap_or_default().into_owned()
}

#[test]
fn a_request_of_every_shape_of_content_gives_its_texts_in_order() {
    let request = read_chat(
        r#" {"messages":[{"role":"system","content":"Be kind."},
            {"role":"user","content":[{"type":"text","text":"a\nb"},{"type":"image_url","image_url":{"url":"x"}}]},
            {"role":"assistant","content":null,"tool_calls":[{"id":"1"}]},
            {"role":"tool","tool_call_id":"1","content":"\ud83d\ude00"}],
            "model" : "fast", "stream":true,"stream_options":{"include_usage":true},
            "tools":[{"type":"function"}],"response_format":{"type":"json_object"},"temperature":null,"extra":{"a":[1]}} "#,
    )
    .unwrap();
    let texts: Vec<_> = request.texts().map(|(role, text)| (role, text.into_owned())).collect();
    assert_eq!(
        texts,
        [
            (Role::System, "Be kind.".to_owned()),
            (Role::User, "a\nb".to_owned()),
            (Role::Tool, "😀".to_owned())
        ]
    );
    assert!(request.stream && request.include_usage);
    assert_eq!(request.needs, Needs { tools: true, images: true, json: true, logprobs: false });
    assert_eq!(&request.body[request.model_span.clone().unwrap()], b"\"fast\"");
    assert_eq!(&request.body[request.forced_span.unwrap()], b"{\"include_usage\":true}");
}

#[test]
fn what_clients_usually_send_is_read_on_one_walk() {
    for body in [
        r#"{"model":"m","messages":[{"role":"user","content":"a\nb","name":"x"}],"temperature":0.0,"max_tokens":64,"n":2}"#,
        r#"{"messages":[{"content":"","role":"developer"}],"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"model":"m","messages":[{"role":"tool","content":"x"}],"tools":[{"a":[{}]}],"seed":3,"user":{"b":null},"top_p":1}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":7,"max_completion_tokens":9,"tools":null,"n":null}"#,
    ] {
        let (bytes, limits) = (Bytes::copy_from_slice(body.as_bytes()), DecodeLimits::default());
        assert!(plain::chat(&bytes, &limits).is_some(), "{body}");
        assert!(read_chat(body).is_ok(), "{body}");
    }
}

proptest! {
    #[test]
    fn both_ways_of_reading_agree_on_any_members(
        members in proptest::collection::vec(
            (
                "model|messages|stream|stream_options|max_tokens|max_completion_tokens|n|tools|seed|temperature|top_p|logprobs|response_format|x",
                "null|true|false|0|1|0.0|2|-1|9|1e0|64|4294967296|\"m\"|\"\"|\"\\\\ud800\"|\"\\\\u0041\"|\\[\\]|\\{\\}|\\[1,2\\]|\\{\"include_usage\":(true|1|null)\\}                 |\\[\\{\"role\":\"(user|king)\",\"content\":(\"x\"|\"\\\\n\"|\"\\\\ud800\"|null|\\[\\])\\}\\]",
            ),
            0..5,
        ),
        sound in any::<bool>(),
    ) {
        let mut text: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        if sound {
            text.retain(|member| !member.starts_with("\"m"));
            text.push(r#""model":"m","messages":[{"role":"user","content":"x"}]"#.into());
        }
        let _either = read_chat(&format!("{{{}}}", text.join(",")));
    }
}

#[test]
fn null_options_count_as_absent_because_official_clients_send_them() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"stream":null,"n":null,"tools":null,
        "response_format":null,"stream_options":null,"max_tokens":null,"temperature":null}"#;
    let request = read_chat(body).unwrap();
    assert!(!request.stream && request.n == 1 && request.max_tokens.is_none());
    // The null still has a place, so that splicing replaces it instead of adding a second member.
    let streamed = body.replace("\"stream\":null", "\"stream\":true");
    let spliced = read_chat(&streamed).unwrap().splice("z");
    let value: serde_json::Value = serde_json::from_slice(&spliced).unwrap();
    assert_eq!(value["stream_options"]["include_usage"], true);
    assert_eq!(spliced.windows(16).filter(|part| part == b"\"stream_options\"").count(), 1);
}

#[test]
fn every_wrong_member_is_named() {
    let message = r#"[{"role":"user","content":"x"}]"#;
    let table = [
        (format!(r#"{{"messages":{message}}}"#), "model"),
        (format!(r#"{{"model":7,"messages":{message}}}"#), "model"),
        (format!(r#"{{"model":"{}","messages":{message}}}"#, "m".repeat(129)), "model"),
        (format!(r#"{{"model":"a\u0000b","messages":{message}}}"#), "model"),
        (r#"{"model":"m"}"#.into(), "messages"),
        (r#"{"model":"m","messages":[]}"#.into(), "messages"),
        (r#"{"model":"m","messages":"hi"}"#.into(), "messages"),
        (r#"{"model":"m","messages":[{"role":"king","content":"x"}]}"#.into(), "messages[0].role"),
        (r#"{"model":"m","messages":[{"content":"x"}]}"#.into(), "messages[0].role"),
        (r#"{"model":"m","messages":[{"role":"user"}]}"#.into(), "messages[0].content"),
        (r#"{"model":"m","messages":[{"role":"user","content":5}]}"#.into(), "messages[0].content"),
        (
            r#"{"model":"m","messages":[{"role":"user","content":[{"text":"x"}]}]}"#.into(),
            "messages[0].content",
        ),
        (r#"{"model":"m","messages":[{"role":"user","content":"\ud800"}]}"#.into(), "messages[0].content"),
        (r#"{"model":"m","messages":[{"role":"user","content":"\ud800\n"}]}"#.into(), "messages[0].content"),
        (r#"{"model":"m","messages":[{"role":"user","content":"\udc00"}]}"#.into(), "messages[0].content"),
        (format!(r#"{{"model":"m","messages":{message},"stream":"yes"}}"#), "stream"),
        (format!(r#"{{"model":"m","messages":{message},"n":9}}"#), "n"),
        (format!(r#"{{"model":"m","messages":{message},"n":-1}}"#), "n"),
        (format!(r#"{{"model":"m","messages":{message},"max_tokens":-5}}"#), "max_tokens"),
        (format!(r#"{{"model":"m","messages":{message},"max_tokens":1e99}}"#), "max_tokens"),
        (format!(r#"{{"model":"m","messages":{message},"max_tokens":99999999999999999999}}"#), "max_tokens"),
        (format!(r#"{{"model":"m","messages":{message},"temperature":1e400}}"#), "temperature"),
        (format!(r#"{{"model":"m","messages":{message},"temperature":3}}"#), "temperature"),
        (format!(r#"{{"model":"m","messages":{message},"top_p":"1"}}"#), "top_p"),
        (format!(r#"{{"model":"m","messages":{message},"tools":{{}}}}"#), "tools"),
    ];
    for (body, param) in table {
        assert_eq!(param_of(read_chat(&body).expect_err(&body)), param, "{body}");
    }
}

#[test]
fn broken_deep_and_doubled_json_is_refused_without_quoting_it() {
    let deep = format!("{{\"model\":\"m\",\"x\":{}{}}}", "[".repeat(64), "]".repeat(64));
    let bodies: [&[u8]; 9] = [
        b"",
        b"null",
        b"[]",
        b"{",
        b"{\"model\":\"secret\",}",
        b"{\"model\":\"a\",\"model\":\"b\"}",
        b"\xff\xfe",
        b"{\"model\":\"\xff\"}",
        deep.as_bytes(),
    ];
    for body in bodies {
        let failure = chat(Bytes::copy_from_slice(body), &DecodeLimits::default()).expect_err("refused");
        let Failure::InvalidInput { message, .. } = failure else { panic!("{failure:?}") };
        assert!(!message.contains("secret"), "{message}");
    }
    let brackets_in_text = format!(
        "{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}]}}",
        "[".repeat(500)
    );
    assert!(read_chat(&brackets_in_text).is_ok(), "brackets inside a string are no nesting");
}

#[test]
fn a_million_opening_brackets_do_not_overflow_the_stack() {
    let body = Bytes::from(vec![b'['; 1_000_000]);
    assert!(chat(body, &DecodeLimits::default()).is_err());
}

#[test]
fn embeddings_take_a_text_texts_or_tokens_and_name_the_empty_one() {
    let texts = |body: &str| read_embed(body).unwrap().texts().map(|t| t.into_owned()).collect::<Vec<_>>();
    assert_eq!(texts(r#"{"model":"m","input":"one"}"#), ["one"]);
    assert_eq!(texts(r#"{"model":"m","input":["a","b\u0041"],"encoding_format":"base64"}"#), ["a", "bA"]);
    for (body, count) in [(r#"{"model":"m","input":[1,2]}"#, 1), (r#"{"model":"m","input":[[1],[2,3]]}"#, 2)]
    {
        let EmbedInput::Tokens { count: found } = read_embed(body).unwrap().input else { panic!("{body}") };
        assert_eq!(found, count);
    }
    for (body, param) in [
        (r#"{"model":"m"}"#, "input"),
        (r#"{"model":"m","input":[]}"#, "input"),
        (r#"{"model":"m","input":["a",""]}"#, "input[1]"),
        (r#"{"model":"m","input":["a",7]}"#, "input"),
        (r#"{"model":"m","input":[[]]}"#, "input"),
        (r#"{"model":"m","input":"x","encoding_format":"hex"}"#, "encoding_format"),
        (r#"{"model":"m","input":"x","dimensions":0}"#, "dimensions"),
    ] {
        assert_eq!(param_of(read_embed(body).expect_err(body)), param, "{body}");
    }
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer_and_never_a_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        drop(chat(Bytes::from(body.clone()), &DecodeLimits::default()));
        drop(embed(Bytes::from(body), &DecodeLimits::default()));
    }

    #[test]
    fn any_text_survives_the_door_whole(text in "\\PC{0,80}", pretty in any::<bool>()) {
        let value = serde_json::json!({"messages": [{"role": "user", "content": text}], "model": "m"});
        let body = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let request = read_chat(&body).unwrap();
        let read: Vec<_> = request.texts().map(|(_, text)| text.into_owned()).collect();
        prop_assert_eq!(read, [text]);
        let spliced: serde_json::Value = serde_json::from_slice(&request.splice("other")).unwrap();
        prop_assert_eq!(&spliced["messages"], &value["messages"]);
        prop_assert_eq!(&spliced["model"], "other");
    }
}

#[test]
fn of_two_faults_the_first_is_told_whichever_way_the_body_was_read() {
    for (body, expected) in [
        (r#"{"messages":[{"role":1}]}"#, "model"),
        (r#"{"model":"m","n":99,"messages":[{"role":1}]}"#, "n"),
        (r#"{"model":"m","n":1,"messages":[{"role":1}]}"#, "messages"),
        (r#"{"model":"m","n":1,"messages":{}}"#, "messages"),
        (r#"{"model":"m","messages":null}"#, "messages"),
        (r#"{"model":"m","n":99,"messages":[{"role":"nobody"}]}"#, "n"),
        (r#"{"model":"m","messages":[{"role":"nobody"}]}"#, "messages[0].role"),
    ] {
        assert_eq!(param_of(read_chat(body).unwrap_err()), expected, "{body}");
    }
}
