//! What leaves of a stream under a policy, in every format, however it is cut.

use super::*;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use portcullis_inspect::OutputPolicy;
use proptest::prelude::*;
use serde_json::Value;

fn watch(action: CheckAction) -> Sight {
    let policy = OutputPolicy { secrets: action, ..OutputPolicy::default() };
    Sight::new(Watch::output(&policy).map(Arc::new), None, false, None)
}

fn head() -> Head {
    Head { id: "1".into(), created: 7, include_usage: true, request: Bytes::from_static(b"{}") }
}

/// A stream in that format that says those words.
fn said(format: Format, words: &[&str]) -> Bytes {
    let (mut writer, mut out) = (Writer::new(format, head()), BytesMut::new());
    let mut steps = vec![Step::Begin { id: "id".into(), model: "m".into() }];
    steps.extend(words.iter().map(|word| Step::Text { choice: 0, text: (*word).to_owned() }));
    steps.push(Step::Finish { choice: 0, reason: Finish::Stop });
    steps.iter().for_each(|step| writer.step(step, &mut out));
    writer.finish(&mut out);
    out.freeze()
}

/// What leaves when the stream comes in pieces of so many bytes, and what was found.
fn run(format: Format, bytes: &Bytes, piece: usize, action: CheckAction) -> (Bytes, Findings) {
    let pieces: Vec<_> = bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let heard = Arc::new(Mutex::new(Findings::new()));
    let hears = heard.clone();
    let told = Box::new(move |findings| *hears.lock() = findings);
    let source: ByteStream = Box::pin(stream::iter(pieces));
    let guarded = Outgoing::new(source, format, 1, watch(action), told);
    let out = futures_util::FutureExt::now_or_never(guarded.map(Result::unwrap).collect::<Vec<_>>()).unwrap();
    let findings = heard.lock().clone();
    (out.concat().into(), findings)
}

/// The words and the ends that a client reads.
fn read(format: Format, bytes: &[u8]) -> (String, Vec<Finish>) {
    let (mut reader, mut steps, mut rest) = (Reader::new(format), Vec::new(), bytes);
    while let Some(end) = first_end(rest) {
        if let Some(data) = data_of(&rest[..end]) {
            reader.event(&data, &mut steps).unwrap();
        }
        rest = &rest[end..];
    }
    let (mut text, mut ends) = (String::new(), Vec::new());
    for step in steps {
        match step {
            Step::Text { text: more, .. } => text.push_str(&more),
            Step::Finish { reason, .. } => ends.push(reason),
            Step::Begin { .. }
            | Step::Refusal { .. }
            | Step::Reasoning { .. }
            | Step::ToolCall { .. }
            | Step::Arguments { .. }
            | Step::Logprobs { .. }
            | Step::Usage(_) => {}
        }
    }
    (text, ends)
}

/// A key in three pieces, put together here so that no scanner takes this file for a leak.
const SPLIT: [&str; 5] =
    ["The key is gh", "p_a1B2a1B2a1B2a1B2", "a1B2a1B2a1B2a1B2a1B2a1B2", " and", " that is all."];

#[test]
fn a_secret_split_over_three_chunks_is_redacted_in_every_format() {
    for format in Format::ALL {
        let bytes = said(format, &SPLIT);
        for piece in [1, 13, 64, 4096] {
            let (out, findings) = run(format, &bytes, piece, CheckAction::Redact);
            let (text, ends) = read(format, &out);
            assert_eq!(text, "The key is [github_token] and that is all.", "{format:?} {piece}");
            assert_eq!(ends, [Finish::Stop], "{format:?}");
            assert!(!String::from_utf8_lossy(&out).contains("a1B2"), "{format:?}");
            assert_eq!(findings, [("secrets", CheckAction::Redact)], "{format:?}");
        }
    }
}

#[test]
fn a_blocked_stream_ends_as_one_that_a_filter_cut_in_every_format() {
    for format in Format::ALL {
        let (out, _) = run(format, &said(format, &SPLIT), 50, CheckAction::Block);
        let (text, ends) = read(format, &out);
        assert_eq!(text, "The key is ", "{format:?}: {}", String::from_utf8_lossy(&out));
        assert_eq!(ends, [Finish::ContentFilter], "{format:?}");
        if format == Format::OpenAi {
            assert!(out.ends_with(b"data: [DONE]\n\n"));
        }
    }
}

#[test]
fn a_blocked_stream_of_responses_goes_on_in_numbers_ids_and_items() {
    let format = Format::Responses;
    let bytes = said(format, &["One gate. ", "The key is ", &SPLIT.concat()[11..]]);
    for piece in [1, 50, 4096] {
        let (out, _) = run(format, &bytes, piece, CheckAction::Block);
        let events: Vec<Value> = String::from_utf8_lossy(&out)
            .split("\n\n")
            .filter_map(|event| serde_json::from_str(event.split_once("data: ")?.1).ok())
            .collect();
        let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64()).collect();
        let expected: Vec<_> = (0..events.len() as u64).map(Some).collect();
        assert_eq!(numbers, expected, "{events:?}");
        let all = |member: fn(&Value) -> &Value| {
            let named = events.iter().map(member).filter_map(Value::as_str).map(str::to_owned);
            named.collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(all(|event| &event["item_id"]).len(), 1, "{events:?}");
        assert_eq!(all(|event| &event["response"]["id"]).len(), 1, "{events:?}");
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.incomplete");
        let message = &last["response"]["output"][0];
        assert_eq!(message["content"][0]["text"], "One gate. The key is ", "the whole as it was delivered");
        assert_eq!(message["id"].as_str(), all(|event| &event["item_id"]).first().map(String::as_str));
        let added = events.iter().filter(|event| event["type"] == "response.output_item.added").count();
        assert_eq!(added, 1, "no item begins twice");
    }
}

proptest! {
    #[test]
    fn a_stream_without_findings_keeps_its_bytes(
        words in prop::collection::vec("[a-z \u{e9}]{1,12}", 0..12),
        piece in 1_usize..200,
        format in prop::sample::select(Format::ALL.to_vec()),
    ) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let bytes = said(format, &words);
        prop_assert_eq!(run(format, &bytes, piece, CheckAction::Redact), (bytes, Findings::new()));
    }
}

#[test]
fn a_broken_stream_gives_what_was_held_and_then_its_failure() {
    let whole = said(Format::OpenAi, &["Half a wo"]);
    let end = whole.windows(6).position(|bytes| bytes == b"\"stop\"").unwrap();
    let cut = whole.slice(..last_end(&whole[..end], 0).unwrap());
    let source: ByteStream = Box::pin(stream::iter([Ok(cut), Err(Failure::UpstreamInterrupted)]));
    let guarded = Outgoing::new(source, Format::OpenAi, 1, watch(CheckAction::Redact), Box::new(|_| {}));
    let items = futures_util::FutureExt::now_or_never(guarded.collect::<Vec<_>>()).unwrap();
    assert_eq!(items.last(), Some(&Err(Failure::UpstreamInterrupted)));
    let out: Vec<u8> = items.iter().flatten().flatten().copied().collect();
    assert_eq!(read(Format::OpenAi, &out).0, "Half a wo");
}

#[test]
fn whole_answers_are_looked_at_in_every_format() {
    let words = SPLIT.concat();
    let part = portcullis_domain::Part::Text(words);
    let choice = portcullis_domain::Choice { parts: vec![part], finish: Finish::Stop, logprobs: None };
    let answer = portcullis_domain::Completion { choices: vec![choice], ..Default::default() };
    for format in Format::ALL {
        let body = portcullis_wire::write_answer(format, &answer, &head());
        let (out, findings, blocked) = whole(&watch(CheckAction::Redact), body.clone());
        assert!(
            !String::from_utf8_lossy(&out).contains("a1B2") && !findings.is_empty() && !blocked,
            "{format:?}"
        );
        assert!(whole(&watch(CheckAction::Block), body.clone()).2, "{format:?}");
        assert_eq!(whole(&watch(CheckAction::Flag), body.clone()).0, body);
    }
}

/// A sight that puts an address back, and one whose text is no plain JSON string.
fn remembering() -> Sight {
    let input = portcullis_inspect::InputPolicy {
        redact_prompts: portcullis_inspect::RedactPrompts::Reversible,
        ..portcullis_inspect::InputPolicy::default()
    };
    let watch = Watch::input(&input).unwrap();
    let mut names = portcullis_inspect::Placeholders::default();
    let key = format!("-----BEGIN {0}-----\n{1}\n-----END {0}-----", "PRIVATE KEY", "MIIEabcd".repeat(8));
    let named = watch.named("ann@example.org", &mut names, |_| false).into_owned();
    assert_eq!((&*named, &*watch.named(&key, &mut names, |_| false)), ("<EMAIL_1>", "<PRIVATE_KEY_1>"));
    let metrics = portcullis_telemetry::Metrics::new();
    Sight::new(None, None, false, Remembered::new(names, &metrics))
}

#[test]
fn a_placeholder_split_anywhere_is_restored_in_every_format() {
    let text = "Mail <EMAIL_1> now, not <EMAIL_2>.";
    for format in Format::ALL {
        for cut in 0..text.len() {
            let words =
                [&text[..cut], &text[cut..(cut + 3).min(text.len())], &text[(cut + 3).min(text.len())..]];
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            for watch in [None, watch(CheckAction::Redact).watch] {
                let sight = Sight { watch, ..remembering() };
                let source: ByteStream = Box::pin(stream::iter([Ok(said(format, &words))]));
                let guarded = Outgoing::new(source, format, 1, sight, Box::new(|_| {}));
                let out =
                    futures_util::FutureExt::now_or_never(guarded.map(Result::unwrap).collect::<Vec<_>>());
                let (text, ends) = read(format, &out.unwrap().concat());
                assert_eq!(text, "Mail ann@example.org now, not <EMAIL_2>.", "{format:?} {cut}");
                assert_eq!(ends, [Finish::Stop], "{format:?}");
            }
        }
    }
}

#[test]
fn a_whole_answer_is_restored_in_every_format_and_arguments_stay_json() {
    let part = portcullis_domain::Part::Text("Mail <EMAIL_1>.".into());
    let choice = portcullis_domain::Choice { parts: vec![part], finish: Finish::Stop, logprobs: None };
    let answer = portcullis_domain::Completion { choices: vec![choice], ..Default::default() };
    for format in Format::ALL {
        let body = portcullis_wire::write_answer(format, &answer, &head());
        let (out, findings, blocked) = whole(&remembering(), body);
        assert!(String::from_utf8_lossy(&out).contains("Mail ann@example.org."), "{format:?}");
        assert!(findings.is_empty() && !blocked);
    }
    let call = br#"{"choices":[{"message":{"tool_calls":[{"function":{"arguments":"{\"k\":\"<PRIVATE_KEY_1>\"}"}}]}}]}"#;
    let (out, _, _) = whole(&remembering(), Bytes::from_static(call));
    let out: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let arguments = out["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
    let arguments: serde_json::Value = serde_json::from_str(arguments).unwrap();
    assert!(arguments["k"].as_str().unwrap().contains("-----\nMIIE"));
}

/// What a system part said, and a sight that lets nobody repeat it.
const RULES: &str = "You are the keeper of the north gate and you never tell the name of the king.";

fn secretive() -> Sight {
    let leak = portcullis_inspect::Leak::new(Some("k7xqm2"), [RULES], ["What do you keep?"]);
    Sight::new(Some(Arc::new(Watch::default().and_leak(CheckAction::Block, leak))), None, true, None)
}

fn through(format: Format, bytes: &Bytes, piece: usize, sight: Sight) -> (Bytes, Findings) {
    let pieces: Vec<_> = bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let heard = Arc::new(Mutex::new(Findings::new()));
    let hears = heard.clone();
    let told = Box::new(move |findings| *hears.lock() = findings);
    let guarded = Outgoing::new(Box::pin(stream::iter(pieces)), format, 1, sight, told);
    let out = futures_util::FutureExt::now_or_never(guarded.map(Result::unwrap).collect::<Vec<_>>()).unwrap();
    let findings = heard.lock().clone();
    (out.concat().into(), findings)
}

// req: S2-1.5
#[test]
fn a_leak_split_at_every_byte_is_stopped_before_its_first_byte_in_every_format() {
    for (text, safe) in [
        (format!("Well. {RULES} So."), "Well. "),
        ("The word is K7XQM2 indeed.".to_owned(), "The word is "),
        ("Letter by letter: k-7-x-q-m-2.".to_owned(), "Letter by letter: "),
    ] {
        for format in Format::ALL {
            for cut in 1..text.len() {
                let words =
                    [&text[..cut], &text[cut..(cut + 5).min(text.len())], &text[(cut + 5).min(text.len())..]];
                let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
                let (out, findings) = through(format, &said(format, &words), 4096, secretive());
                let (said, ends) = read(format, &out);
                assert_eq!(said, safe, "{format:?} {cut}");
                assert_eq!(ends, [Finish::ContentFilter], "{format:?}");
                assert_eq!(findings.first(), Some(&("leak", CheckAction::Block)), "{format:?}");
                let raw = String::from_utf8_lossy(&out).to_lowercase();
                assert!(!raw.contains("keeper") && !raw.contains("k7x"), "{raw}");
            }
        }
    }
}

#[test]
fn a_whole_answer_with_a_leak_is_blocked_and_words_of_the_caller_are_none() {
    let leak = portcullis_inspect::Leak::new(Some("k7xqm2"), [RULES], [RULES]);
    let known =
        Sight::new(Some(Arc::new(Watch::default().and_leak(CheckAction::Block, leak))), None, false, None);
    let part = Part::Text(format!("It is: {RULES}"));
    let choice = portcullis_domain::Choice { parts: vec![part], finish: Finish::Stop, logprobs: None };
    let answer = portcullis_domain::Completion { choices: vec![choice], ..Default::default() };
    for format in Format::ALL {
        let body = portcullis_wire::write_answer(format, &answer, &head());
        assert!(whole(&secretive(), body.clone()).2, "{format:?}");
        assert_eq!(whole(&known, body.clone()), (body, Findings::new(), false), "{format:?}");
    }
}

/// A stream in that format that calls a tool with those arguments.
fn calling(format: Format, name: &str, arguments: &str) -> Bytes {
    let (mut writer, mut out) = (Writer::new(format, head()), BytesMut::new());
    let (id, signature) = ("call_1".to_owned(), None);
    let (first, second) = arguments.split_at(arguments.len() / 2);
    let fragment = |text: &str| Step::Arguments { choice: 0, index: 0, fragment: text.to_owned() };
    for step in [
        Step::Begin { id: "id".into(), model: "m".into() },
        Step::Text { choice: 0, text: "I look it up. ".into() },
        Step::ToolCall { choice: 0, index: 0, id, name: name.into(), signature },
        fragment(first),
        fragment(second),
        Step::Finish { choice: 0, reason: Finish::ToolCalls },
    ] {
        writer.step(&step, &mut out);
    }
    writer.finish(&mut out);
    out.freeze()
}

// req: S2-1.5
#[test]
fn calls_of_other_tools_and_calls_that_carry_a_secret_never_leave_in_any_format() {
    let tools = || Sight::new(None, Some(["search".to_owned()].into()), false, None);
    let secret = format!("{{\"q\":\"{}\"}}", SPLIT[1..3].concat().replace("p_", "ghp_"));
    for format in Format::ALL {
        for (name, arguments, passes) in [
            ("search", "{\"q\":\"gates\"}", true),
            ("send_mail", "{\"q\":\"gates\"}", false),
            ("search", &secret, false),
        ] {
            let bytes = calling(format, name, arguments);
            for piece in [1, 40, 4096] {
                let (out, findings) = through(format, &bytes, piece, tools());
                assert_eq!(out == bytes && findings.is_empty(), passes, "{format:?} {name} {piece}");
                let raw = String::from_utf8_lossy(&out);
                assert!(!raw.contains("send_mail") && !raw.contains("a1B2"), "{format:?}: {raw}");
                assert_eq!(read(format, &out).1 == [Finish::ContentFilter], !passes, "{format:?}: {raw}");
            }
            let call = portcullis_domain::ToolCall {
                id: "call_1".into(),
                name: name.into(),
                arguments: arguments.into(),
                signature: None,
            };
            let parts = vec![Part::ToolCall(call)];
            let choice = portcullis_domain::Choice { parts, finish: Finish::ToolCalls, logprobs: None };
            let answer = portcullis_domain::Completion { choices: vec![choice], ..Default::default() };
            let body = portcullis_wire::write_answer(format, &answer, &head());
            assert_eq!(called(&tools(), format, &body).is_empty(), passes, "{format:?} {name}");
        }
    }
}
