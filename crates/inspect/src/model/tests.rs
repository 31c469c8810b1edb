//! The file and its reading.

use super::*;
use crate::scored::scored;
use proptest::prelude::*;
use std::sync::LazyLock;

static MODEL: LazyLock<Model> = LazyLock::new(|| Model::trained().unwrap());

// req: S2-1.6
#[test]
fn a_changed_file_is_refused_with_the_reason() {
    assert_eq!(TRAINED.len(), LENGTH);
    assert!(TRAINED.len() <= 1_000_000, "the model has its place in the binary");
    assert!(MODEL.name().starts_with("g1-") && MODEL.name().len() == 11);
    for at in [HEAD, HEAD + 5, LENGTH / 2, LENGTH - 1] {
        let mut changed = TRAINED.to_vec();
        changed[at] ^= 1;
        assert!(matches!(Model::read(Cow::Owned(changed)), Err(ModelProblem::Changed { .. })), "{at}");
    }
    let problem = |bytes: &[u8]| Model::read(Cow::Owned(bytes.to_vec())).unwrap_err();
    assert_eq!(problem(&TRAINED[..LENGTH - 1]), ModelProblem::Length { found: LENGTH - 1, expected: LENGTH });
    assert_eq!((problem(b""), problem(b"PCG0")), (ModelProblem::Unknown, ModelProblem::Unknown));
}

#[test]
fn scores_are_a_half_and_nine_tenths_at_their_points() {
    let points = Calibration { flag: 1.0, block: 2.0 };
    assert!((points.score(1.0) - 0.5).abs() < 1e-6 && (points.score(2.0) - 0.9).abs() < 1e-6);
    assert!(points.score(-50.0) < 1e-6 && points.score(50.0) > 1.0 - 1e-6);
}

#[test]
fn windows_cover_a_long_text_without_a_gap() {
    for text in ["word ".repeat(3000), "x".repeat(9000), "слово, ".repeat(900), "词".repeat(3000)] {
        let reading = MODEL.look(&text, Channel::Document, Depth::FULL, |_| false);
        let mut end = 0;
        for (_, place) in &reading.windows {
            assert!(place.start <= end && text.is_char_boundary(place.end), "{place:?}");
            end = place.end;
        }
        assert_eq!(end, text.len());
    }
    assert!(
        MODEL.look("short", Channel::Document, Depth { fully: 0, words: true }, |_| false).windows.is_empty()
    );
}

proptest! {
    #[test]
    fn the_sum_of_a_short_text_is_that_of_its_features_each_once(text in "\\PC{0,120}|[ -~]{0,300}") {
        let copy = scored(&text).text;
        let learnt = learnt(&copy);
        let weight: i32 = learnt.iter().map(|place| weight(MODEL.weights(Channel::User), *place)).sum();
        // What was read before leaves nothing behind.
        let mut seen = Seen::default();
        for room in [3 * copy.len(), copy.len(), 1 + copy.len()] {
            seen.make_room(room);
            let sum = seen.sum(&copy, MODEL.weights(Channel::User));
            prop_assert_eq!((sum.weight, sum.features as usize), (weight, learnt.len()));
        }
    }
}
