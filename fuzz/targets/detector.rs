//! Every text has a verdict, the same each time, whose score is one and whose reasons lie within the copy that was
//! judged. Source: inspect.md section 2.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_inspect::{Channel, InspectConfig, Inspector, VerdictKind};
use std::sync::LazyLock;

static INSPECTOR: LazyLock<Inspector> = LazyLock::new(|| {
    Inspector::new(&InspectConfig::default()).expect("the weights are as they were trained")
});

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    for channel in Channel::ALL {
        let found = INSPECTOR.inspect(&text, channel);
        assert!((0.0..=1.0).contains(&found.score));
        assert_eq!(found.verdict == VerdictKind::Allow, found.reasons.is_empty());
        assert!(found.reasons.iter().all(|reason| reason.span.start <= reason.span.end));
        assert_eq!(INSPECTOR.inspect(&text, channel), found, "the same twice");
        if found.verdict != VerdictKind::Allow {
            drop(INSPECTOR.words(&found, &text));
        }
    }
});
