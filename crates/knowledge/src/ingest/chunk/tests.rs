//! Chunks against what they must be, on written examples and on random documents.

use super::*;
use proptest::prelude::*;

const SMALL: Bounds = Bounds { chunk: 40, block: 60, overlap: 1 };

fn block(kind: BlockKind, section: u32, text: &str) -> Block {
    Block { kind, section, page: None, text: text.to_owned() }
}

fn document(blocks: Vec<Block>) -> Extracted {
    let sections = blocks.iter().map(|block| block.section).max().map_or(0, |last| last + 1);
    let sections = (0..sections).map(|n| vec![format!("Part {n}")]).collect();
    Extracted { sections, blocks, ..Extracted::default() }
}

fn texts(blocks: Vec<Block>, bounds: Bounds) -> Vec<String> {
    chunk(&document(blocks), bounds).0.into_iter().map(|chunk| chunk.text).collect()
}

use BlockKind::{Code, Paragraph, Row};

#[test]
fn paragraphs_are_packed_and_never_across_a_heading() {
    let blocks = vec![
        block(Paragraph, 0, "One is short."),
        block(Paragraph, 0, "Two is short too."),
        block(Paragraph, 0, "Three does not fit."),
        block(Paragraph, 1, "Four."),
    ];
    let (chunks, _) = chunk(&document(blocks), SMALL);
    let texts: Vec<&str> = chunks.iter().map(|chunk| chunk.text.as_str()).collect();
    assert_eq!(texts, ["One is short.\n\nTwo is short too.", "Three does not fit.", "Four."]);
    assert_eq!(chunks[2].heading, ["Part 1"]);
    assert_eq!(chunks.iter().map(|chunk| chunk.ordinal).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_long_paragraph_is_cut_at_sentence_ends_and_its_pieces_share_a_sentence() {
    let long = "First one here. Second one here. Third one here. Fourth one here.";
    let cut = texts(vec![block(Paragraph, 0, long)], SMALL);
    assert_eq!(
        cut,
        [
            "First one here. Second one here.",
            "Second one here. Third one here.",
            "Third one here. Fourth one here."
        ]
    );
    let apart = texts(vec![block(Paragraph, 0, long)], Bounds { overlap: 0, ..SMALL });
    assert_eq!(apart, ["First one here. Second one here.", "Third one here. Fourth one here."]);
}

#[test]
fn rows_and_code_stay_whole_up_to_their_own_bound() {
    let code = "let first = 1;\nlet second = 2;\nlet third = 3;";
    let row = "a cell | another cell | a third cell | 12.5";
    let whole = texts(vec![block(Row, 0, row), block(Code, 0, code)], SMALL);
    assert_eq!(whole, [row, code]);
    let cut = texts(vec![block(Code, 0, code)], Bounds { block: 24, chunk: 24, overlap: 1 });
    assert_eq!(cut, ["let first = 1;", "let second = 2;", "let third = 3;"]);
}

#[test]
fn a_word_longer_than_a_chunk_is_cut_anywhere() {
    let cut = texts(vec![block(Paragraph, 0, &"ü".repeat(90))], SMALL);
    assert_eq!(cut.iter().map(|text| text.chars().count()).collect::<Vec<_>>(), [40, 40, 10]);
}

#[test]
fn pages_go_from_the_first_to_the_last() {
    let mut blocks = vec![block(Paragraph, 0, "On one."), block(Paragraph, 0, "On two.")];
    blocks[0].page = Some(1);
    blocks[1].page = Some(2);
    let (chunks, _) = chunk(&document(blocks), SMALL);
    assert_eq!((chunks.len(), chunks[0].pages), (1, Some((1, 2))));
}

#[test]
fn a_short_chunk_has_the_language_of_the_document() {
    let blocks = vec![
        block(
            Paragraph,
            0,
            "Die Kündigungsfrist beträgt zwei Monate und beginnt immer am Ende eines Monats.",
        ),
        block(Paragraph, 1, "Na ja."),
    ];
    let (chunks, main) = chunk(&document(blocks), Bounds { chunk: 200, block: 200, overlap: 1 });
    assert_eq!(main, Language::DE);
    assert!(chunks.iter().all(|chunk| chunk.language == Language::DE));
}

fn blocks() -> impl Strategy<Value = Vec<Block>> {
    let text = prop_oneof![
        4 => "([a-zäю]{1,9}[ .!?\n]{1,2}){1,30}",
        1 => "[a-z]{80,200}",
        1 => "\\PC{0,120}",
        1 => "[ \n\t]{1,5}",
    ];
    let kind = prop_oneof![4 => Just(Paragraph), 1 => Just(Row), 1 => Just(Code)];
    let one = (kind, 0..3_u32, 0..2_u32, text);
    proptest::collection::vec(one, 0..12).prop_map(|parts| {
        let mut section = 0;
        let mut out = Vec::new();
        for (kind, step, page, text) in parts {
            section += u32::from(step == 0);
            out.push(Block { kind, section, page: Some(page + section + 1), text });
        }
        out
    })
}

proptest! {
    #[test]
    fn nothing_is_lost_nothing_is_invented_and_bounds_hold(
        blocks in blocks(), most in 20..120_usize, wide in 20..200_usize, overlap in 0..4_usize,
    ) {
        let document = document(blocks);
        let bounds = Bounds { chunk: most, block: wide, overlap };
        let text: Vec<char> = document.text().chars().collect();
        let (chunks, _) = chunk(&document, bounds);
        let mut covered = vec![false; text.len()];
        let mut begun = 0;
        for (ordinal, chunk) in chunks.iter().enumerate() {
            let range = chunk.chars.start as usize..chunk.chars.end as usize;
            prop_assert_eq!(chunk.ordinal as usize, ordinal);
            prop_assert_eq!(text[range.clone()].iter().collect::<String>(), chunk.text.clone());
            prop_assert!(!chunk.text.trim().is_empty() && chunk.text.trim() == chunk.text);
            prop_assert!(range.len() <= most.max(wide));
            prop_assert!(range.start >= begun, "in the order of the text");
            begun = range.start;
            covered[range].fill(true);
        }
        for (n, c) in text.iter().enumerate() {
            prop_assert!(covered[n] || c.is_whitespace(), "{c:?} at {n} is in no chunk");
        }
    }

    #[test]
    fn a_chunk_lies_in_one_section_and_overlaps_only_inside_a_paragraph(blocks in blocks(), overlap in 0..4_usize) {
        let document = document(blocks);
        let (chunks, _) = chunk(&document, Bounds { overlap, ..SMALL });
        let mut begin = 0;
        let mut before = None;
        let places: Vec<(std::ops::Range<usize>, u32, BlockKind)> = document.blocks.iter().map(|block| {
            begin += before.map_or(0, |kind| separator(kind, block.kind).len());
            let place = begin..begin + block.text.chars().count();
            begin = place.end;
            before = Some(block.kind);
            (place, block.section, block.kind)
        }).collect();
        let owners = |at: usize| places.iter().position(|(place, ..)| place.contains(&at));
        for chunk in &chunks {
            let first = owners(chunk.chars.start as usize).unwrap();
            let last = owners(chunk.chars.end as usize - 1).unwrap();
            prop_assert_eq!(places[first].1, places[last].1);
        }
        for pair in chunks.windows(2) {
            if pair[1].chars.start < pair[0].chars.end {
                let owner = owners(pair[1].chars.start as usize).unwrap();
                prop_assert_eq!(owner, owners(pair[0].chars.end as usize - 1).unwrap());
                prop_assert_eq!(places[owner].2, Paragraph);
            }
        }
    }
}
