//! Cleaning never fails, and cleaning what is clean changes nothing. Source: inspect.md section 1.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_inspect::{Policy, copy, sanitise};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let scored = copy(&text);
    assert!(!scored.contains("  ") && scored.trim() == scored, "single blanks");
    for policy in [Policy::PassThrough, Policy::Chat, Policy::Document] {
        let Ok(once) = sanitise(&text, policy, usize::MAX) else { panic!("only identifiers are refused") };
        let Ok(twice) = sanitise(&once.text, policy, usize::MAX) else { panic!("what is clean passes") };
        assert_eq!(once.text, twice.text);
        assert_eq!(twice.removed.total(), 0, "nothing is left to remove");
    }
    drop(sanitise(&text, Policy::Identifier, 64));
});
