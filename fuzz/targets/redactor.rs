//! Redacting twice changes nothing; what is found lies in order within the text; a stream says the same however it was
//! cut; what was hidden comes back. Source: inspect.md sections 4 and 5.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_inspect::{CheckAction, Outflow, OutputPolicy, Watch, find, redact, redact_outside};
use std::sync::{Arc, LazyLock};

static WATCH: LazyLock<Arc<Watch>> = LazyLock::new(|| {
    let policy = OutputPolicy {
        secrets: CheckAction::Redact,
        personal: CheckAction::Redact,
        links: CheckAction::Redact,
        ..OutputPolicy::default()
    };
    Arc::new(Watch::output(&policy).expect("there is something to look for"))
});

fuzz_target!(|data: &[u8]| {
    let (cuts, text) = data.split_at(data.len().min(4));
    let text = String::from_utf8_lossy(text);
    for rule in [redact, redact_outside] {
        let once = rule(&text);
        assert_eq!(rule(&once), once, "redacting twice changes nothing");
    }
    let mut end = 0;
    for found in find(&text, true, true) {
        assert!(found.range.start >= end && found.range.end <= text.len());
        assert!(text.get(found.range.clone()).is_some(), "whole characters");
        end = found.range.end;
    }
    let (said, ..) = WATCH.whole(&text);
    let mut flow = Outflow::new(WATCH.clone());
    let (mut streamed, mut rest) = (String::new(), &*text);
    for step in cuts.iter().cycle().take(text.len()).map(|cut| usize::from(*cut) + 1) {
        let at = (0..=step.min(rest.len())).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(0);
        let (piece, later) = rest.split_at(at);
        streamed.push_str(&flow.push(piece).text);
        rest = later;
    }
    streamed.push_str(&flow.push(rest).text);
    streamed.push_str(&flow.finish().text);
    assert_eq!(streamed, said, "however it is cut");
});
