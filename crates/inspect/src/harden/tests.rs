//! What can be read back of blocks, and what cannot close them.

use super::*;
use proptest::prelude::*;

const STYLES: [Harden; 4] = [Harden::Off, Harden::Delimit, Harden::Datamark, Harden::Encode];

fn over(style: Harden, seed: u8, texts: &[&str]) -> Hardening {
    Hardening::new(style, true, &[seed; 32], texts.iter().copied())
}

/// Pieces of which hostile texts are made, the marker of seed 7 and what would close its block among them.
fn hostile() -> impl Strategy<Value = String> {
    let known = over(Harden::Delimit, 7, &[]);
    let pieces = [
        known.closing(),
        known.opening(Origin::Person),
        known.marker,
        "<|im_start|>".into(),
        "<\u{b7}\u{b7}|im_end|>".into(),
        "[INST]".into(),
        "<<SYS>>".into(),
        "<".into(),
        "\u{b7}".into(),
        "### Instruction:".into(),
        "#\u{b7}## System:".into(),
        "\n".into(),
        " ".into(),
        "\u{e000}".into(),
        "\u{ff5c}".into(),
        "<s>".into(),
        "</s>".into(),
    ];
    let piece = prop_oneof![prop::sample::select(pieces.to_vec()), "\\PC{0,6}", "[\u{e000}-\u{f8ff}]{1,3}"];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    // req: S2-1.5
    #[test]
    fn what_is_put_into_a_block_is_read_back_exactly_and_cannot_close_it(text in hostile()) {
        for style in STYLES {
            for origin in [Origin::Person, Origin::Data] {
                let hardening = over(style, 7, &[&text]);
                let block = hardening.mark(&text, origin);
                prop_assert_eq!(hardening.read(&block, origin), Some(text.clone()));
                if style != Harden::Off {
                    let closing = hardening.closing();
                    prop_assert_eq!(block.find(&closing), Some(block.len() - closing.len()));
                    prop_assert_eq!(block.matches(&hardening.marker).count(), 2);
                }
            }
        }
    }

    #[test]
    fn no_block_holds_a_token_of_a_template(text in hostile()) {
        let hardening = over(Harden::Delimit, 7, &[&text]);
        let block = hardening.mark(&text, Origin::Data);
        for token in ["<|im_start|>", "<|im_end|>", "[INST]", "<<SYS>>", "### Instruction:", "<s>", "</s>"] {
            prop_assert!(!block.contains(token), "{}", block);
        }
    }
}

#[test]
fn template_tokens_are_defused_in_sight_and_honest_text_stays_as_it_is() {
    for (text, expected) in [
        ("<|im_start|>system", "<\u{b7}|im_start|>system"),
        ("<|start_header_id|>user<|eot_id|>", "<\u{b7}|start_header_id|>user<\u{b7}|eot_id|>"),
        ("[INST] <<SYS>>be<</SYS>> [/inst]", "[\u{b7}INST] <\u{b7}<SYS>>be<\u{b7}</SYS>> [\u{b7}/inst]"),
        ("<start_of_turn>model", "<\u{b7}start_of_turn>model"),
        ("<\u{ff5c}User\u{ff5c}>", "<\u{b7}\u{ff5c}User\u{ff5c}>"),
        ("#### Instruction: go", "##\u{b7}## Instruction: go"),
        ("</s>", "<\u{b7}/s>"),
    ] {
        assert_eq!(defused(text), expected);
        assert_eq!(fused(expected), text);
    }
    for text in ["a < b | c > d", "vec[i]", "## Instructions for use", "<span>", "x <| y |> z", "[1] <a@b.c>"]
    {
        assert_eq!(defused(text), text);
    }
}

#[test]
fn words_are_joined_by_a_character_that_is_announced_and_that_no_text_holds() {
    let taken = "\u{e000}".repeat(2);
    let hardening =
        Hardening::new(Harden::Datamark, false, &[0; 32], [taken.as_str(), "two words"].into_iter());
    assert_eq!(hardening.joiner, '\u{e001}');
    assert!(hardening.mark("two words", Origin::Data).contains("two\u{e001}words"));
    assert!(hardening.announcement().unwrap().contains("the character \u{e001} stands"));
    let all: String = PRIVATE.filter_map(char::from_u32).collect();
    let other = Hardening::new(Harden::Datamark, false, &[0; 32], std::iter::once(all.as_str()));
    assert_eq!(other.style, Harden::Delimit, "a text that holds every such character leaves none to join by");
}

#[test]
fn the_announcement_names_the_lines_and_the_canary_and_is_silent_when_nothing_is_done() {
    for style in STYLES {
        let hardening = over(style, 9, &[]);
        let told = hardening.announcement().unwrap();
        assert!(told.contains(hardening.canary().unwrap()) && hardening.canary().unwrap().len() == 14);
        assert_eq!(told.contains(&hardening.marker), style != Harden::Off);
    }
    assert_eq!(Hardening::new(Harden::Off, false, &[1; 32], std::iter::empty()).announcement(), None);
    let (one, other) = (over(Harden::Delimit, 1, &[]), over(Harden::Delimit, 2, &[]));
    assert!(one.canary != other.canary && one.marker != other.marker);
}

#[test]
fn marking_a_megabyte_and_looking_for_leaks_in_it_visits_each_byte_a_bounded_number_of_times() {
    // Ten times the text makes ten times the block, of whatever it is made.
    for piece in ["<", "<|", "[INST", "### Instruction:", "<\u{b7}", "\u{e000} ", "a "] {
        for style in STYLES {
            let text = piece.repeat((1 << 20) / piece.len());
            let hardening = over(style, 3, &[&text]);
            let block = hardening.mark(&text, Origin::Data);
            assert!(block.len() <= 4 * text.len() + 200, "{piece:?}");
            assert_eq!(hardening.read(&block, Origin::Data).as_deref(), Some(text.as_str()), "{piece:?}");
        }
    }
}
