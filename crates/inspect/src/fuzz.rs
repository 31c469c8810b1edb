//! Fuzzing that every test run repeats: texts of the committed corpus (rule vectors, honest sentences, hostile pieces) are
//! cut, joined, doubled and damaged by chance from fixed starts, and must leave every stage standing: normalise, decode,
//! detect, redact. So must every input that the fuzzer kept (`fuzz/corpus`). A finding is kept by adding its text to
//! `HOSTILE`.

use crate::{
    Channel, CheckAction, InspectConfig, Inspector, Outflow, OutputPolicy, Policy, Watch, copy, decode, find,
    model::Model,
    redact, redact_outside,
    rules::rules,
    sanitise::{sanitise, visible},
};
use std::sync::{Arc, LazyLock};

/// Pieces that have broken scanners elsewhere.
const HOSTILE: &[&str] = &[
    "\u{200b}",
    "\u{202e}",
    "\u{feff}",
    "\u{e0041}",
    "\u{fe0f}",
    "\u{301}\u{302}",
    "\u{fdfa}",
    "🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    "\0",
    "%4",
    "%41%",
    "&#;",
    "&#x110000;",
    "\\u{",
    "\\ud800",
    "\\x4",
    "0x",
    "====",
    "SWdub3Jl",
    "SWdub3Jl====",
    ". - / ",
    "-----",
    "01000001",
    "101 ",
    "41 ",
    "\u{2801}",
    "🇮🇬",
    "ǝɹouƃᴉ",
    "alpha bravo ",
    "x-ray",
    "i-g-n-o-r-e",
    "1gn0r3",
    "<|im_start|>",
    "](http",
    "İ",
    "ß",
    "ﬃ",
    "\r\n",
    "词",
    "ก็",
];

/// Longest text that is streamed piece by piece, in bytes.
const LONGEST_STREAMED: usize = 256;

/// Rounds of each start; more are a matter of time only.
const ROUNDS: usize = 1500;

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap()
    }
}

fn corpus() -> Vec<&'static str> {
    let vectors = rules().flat_map(|rule| rule.hits.iter().chain(rule.misses).copied());
    vectors.chain(include_str!("inspector/honest.txt").lines()).chain(HOSTILE.iter().copied()).collect()
}

fn text(chance: &mut Chance, corpus: &[&str]) -> String {
    let mut text = String::new();
    for _ in 0..=chance.below(8) {
        let piece = corpus[chance.below(corpus.len())];
        match chance.below(6) {
            0 => text.push_str(&piece.repeat(1 + chance.below(40))),
            1 => text.extend(piece.chars().rev()),
            2 => text.extend(piece.bytes().map(|byte| format!("{byte:02x}"))),
            3 => text.extend(piece.bytes().map(|byte| format!("%{byte:02X}"))),
            _ => text.push_str(piece),
        }
        let at = chance.below(text.len() + 1);
        let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        match chance.below(5) {
            0 => text.truncate(at),
            1 => text.insert_str(at, HOSTILE[chance.below(HOSTILE.len())]),
            2 => text
                .insert(at, char::from_u32(u32::try_from(chance.below(0x11_0000)).unwrap()).unwrap_or(' ')),
            _ => {}
        }
    }
    text
}

fn each(start: u64, kept: &str, check: impl Fn(&str)) {
    let (corpus, mut chance) = (corpus(), Chance(start));
    for _ in 0..ROUNDS {
        check(&text(&mut chance, &corpus));
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(kept);
    for entry in std::fs::read_dir(folder).unwrap() {
        check(&String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()));
    }
}

// req: S2-1.2
#[test]
fn normalising_stands_whatever_comes() {
    each(0x0001_9E37_79B9, "normalise", |text| {
        let once = copy(text);
        assert!(!once.contains("  ") && once.trim() == once, "{text:?}");
        assert!(visible(text).is_none_or(|seen| seen.text.len() <= text.len()), "{text:?}");
        for policy in [Policy::Chat, Policy::Document] {
            let clean = sanitise(text, policy, usize::MAX).unwrap().text.into_owned();
            assert_eq!(sanitise(&clean, policy, usize::MAX).unwrap().text, clean.as_str(), "{text:?}");
        }
    });
}

// req: S2-1.6
#[test]
fn decoding_stands_and_keeps_its_budget_whatever_comes() {
    static MODEL: LazyLock<Model> = LazyLock::new(|| Model::trained().unwrap());
    each(0x0002_7F4A_7C15, "decode", |text| {
        let made: usize =
            decode::layers(text, MODEL.language(), 4096).iter().map(|layer| layer.text.len()).sum();
        assert!(made <= 4096, "{text:?}");
    });
}

// req: S2-1.6
#[test]
fn detecting_stands_and_says_the_same_twice_whatever_comes() {
    let inspector = Inspector::new(&InspectConfig::default()).unwrap();
    each(0x0003_85EB_CA6B, "detector", |text| {
        let found = inspector.inspect(text, Channel::Document);
        assert!((0.0..=1.0).contains(&found.score), "{text:?}");
        assert_eq!(found, inspector.inspect(text, Channel::Document), "{text:?}");
    });
}

// req: S2-3.3
#[test]
fn redacting_stands_and_a_second_time_changes_nothing_whatever_comes() {
    let action = CheckAction::Redact;
    let policy = OutputPolicy { secrets: action, personal: action, links: action, ..OutputPolicy::default() };
    let watch = Arc::new(Watch::output(&policy).unwrap());
    each(0x0004_C2B2_AE3D, "redactor", |text| {
        for rule in [redact, redact_outside] {
            let once = rule(text);
            assert_eq!(rule(&once), once, "{text:?}");
        }
        let ends = find(text, true, true).iter().fold(0, |end, found| {
            assert!(found.range.start >= end && text.get(found.range.clone()).is_some(), "{text:?}");
            found.range.end
        });
        assert!(ends <= text.len());
        // Each piece is looked at with what stands before it: long texts would take long and say no more.
        if text.len() > LONGEST_STREAMED {
            return;
        }
        let (mut flow, mut said) = (Outflow::new(watch.clone()), String::new());
        let letters: Vec<char> = text.chars().collect();
        for piece in letters.chunks(3) {
            said.push_str(&flow.push(&piece.iter().collect::<String>()).text);
        }
        said.push_str(&flow.finish().text);
        assert_eq!(said, watch.whole(text).0, "{text:?}");
    });
}
