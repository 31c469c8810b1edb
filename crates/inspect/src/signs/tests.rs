//! Signs suffice for their patterns and are found wherever they stand.

use super::*;
use crate::{
    model::Model,
    rules::{parse, rules},
};
use proptest::prelude::*;
use std::sync::LazyLock;

#[test]
fn every_match_of_every_pattern_holds_a_sign_of_its_rule() {
    let unproven = rules().filter(|rule| !proof::suffice(rule.signs, &parse(rule.pattern).unwrap()));
    assert_eq!(unproven.map(|rule| rule.id).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn the_proof_does_not_prove_what_is_false() {
    for (pattern, signs, expected) in [
        ("say (?:yes|no) later", &["yes", "no"][..], true),
        ("say (?:yes|no) later", &["yes"], false),
        ("say (?:yes|no)? later", &["yes", "no"], false),
        ("(?:yes )+now", &["yes now"], true),
        ("(?:yes )*now", &["yes now"], false),
        ("a.{0,3}b", &["ab"], false),
        ("(?:x|[^ ]+y)z", &["yz", "xz"], true),
        ("[^ ]z", &["yz"], false),
    ] {
        let pattern = regex_syntax::parse(pattern).unwrap();
        assert_eq!(proof::suffice(signs, &pattern), expected, "{pattern}");
    }
}

const ROWS: [&[&str]; 4] =
    [&["window", "a longer sign"], &["window", "windows"], &["ab", "x", "root"], &["знак", "pwned"]];

static SIGNS: LazyLock<Signs> = LazyLock::new(|| Signs::new(ROWS, Model::trained().unwrap().language()));

fn naive(text: &str) -> Vec<(usize, u64)> {
    let mut found = Vec::new();
    for (row, signs) in ROWS.iter().enumerate() {
        for sign in *signs {
            let places = (0..text.len()).filter(|at| text.as_bytes()[*at..].starts_with(sign.as_bytes()));
            found.extend(places.map(|at| (at, 1_u64 << row)));
        }
    }
    found
}

/// Each row at each place, once.
fn apart(found: impl IntoIterator<Item = (usize, u64)>) -> std::collections::BTreeSet<(usize, u64)> {
    let bits = |(at, rows): (usize, u64)| (0..4).map(move |row| (at, rows & 1 << row));
    found.into_iter().flat_map(bits).filter(|(_, row)| *row != 0).collect()
}

/// What stands at a place, told once for each row.
fn found(text: &str) -> std::collections::BTreeSet<(usize, u64)> {
    let mut found = Vec::new();
    let end = SIGNS.find(text.as_bytes(), false, |at, rows| {
        found.push((at, rows));
        Continue(())
    });
    assert!(end.is_continue());
    apart(found)
}

#[test]
fn a_text_of_signs_alone_overflows_nothing_and_all_are_found() {
    for sign in ["window", "windows", "a longer sign", "root", "pwned", "знак"] {
        for shift in 0..STEP {
            let text = "-".repeat(shift) + &sign.repeat(5_000 / sign.len());
            assert_eq!(found(&text), apart(naive(&text)), "{sign}, {shift}");
        }
    }
}

#[test]
fn who_has_heard_enough_is_told_no_more() {
    let (text, mut told) = ("windows and windows ".repeat(100), 0);
    let end = SIGNS.find(text.as_bytes(), true, |_, _| {
        told += 1;
        if told == 3 { ControlFlow::Break(()) } else { Continue(()) }
    });
    assert!(end.is_break());
    assert_eq!(told, 3);
}

proptest! {
    #[test]
    fn signs_are_found_wherever_they_stand(
        text in "(window|windows|a longer sign|ab|x|знак|root|pwned|roo|wned|indow|sign|[a-zé ]{0,7}){0,40}",
    ) {
        for plain in [false, text.is_ascii()] {
            let mut found = Vec::new();
            let end = SIGNS.find(text.as_bytes(), plain, |at, rows| { found.push((at, rows)); Continue(()) });
            prop_assert!(end.is_continue());
            prop_assert_eq!(apart(found), apart(naive(&text)));
        }
    }
}
