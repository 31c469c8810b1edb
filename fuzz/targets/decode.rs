//! What decoders make of a text stays within their budget, whatever the text. Source: inspect.md section 2.1.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_inspect::{InspectConfig, Inspector};
use std::sync::LazyLock;

const BUDGET: usize = 4096;

static INSPECTOR: LazyLock<Inspector> = LazyLock::new(|| {
    let config = InspectConfig { decode_budget: BUDGET, ..InspectConfig::default() };
    Inspector::new(&config).expect("the weights are as they were trained")
});

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let layers = INSPECTOR.undone(&text);
    assert!(layers.len() <= 3, "three layers at most");
    assert!(layers.iter().map(|(_, layer)| layer.len()).sum::<usize>() <= BUDGET);
});
