//! Search against naive models, and what is shown.

use super::*;
use crate::{
    Contents, Grams,
    collection::tests::{contents, space},
    text::words::Stems,
};
use proptest::prelude::*;

fn index(contents: &Contents) -> Index {
    Index::in_memory(contents, Some(&space()), Grams::Auto).unwrap()
}

fn texts(words: &[Vec<usize>]) -> Contents {
    const WORDS: [&str; 8] = ["gate", "tower", "river", "bridge", "keeper", "moat", "wall", "road"];
    let mut contents = contents(words.len() as u32, 1);
    for (chunk, words) in contents.chunks.iter_mut().zip(words) {
        chunk.text = words.iter().map(|word| WORDS[*word]).collect::<Vec<_>>().join(" ");
        chunk.heading = Vec::new();
    }
    contents.documents.iter_mut().for_each(|document| document.title = String::new());
    contents
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn words_are_ranked_as_a_naive_bm25_ranks_them(
        words in prop::collection::vec(prop::collection::vec(0_usize..8, 1..12), 1..20),
        asked in prop::collection::vec(0_usize..8, 1..5),
    ) {
        let mut contents = texts(&words);
        contents.vectors = None;
        let index = Index::in_memory(&contents, None, Grams::Never).unwrap();
        let question = texts(&[asked]).chunks[0].text.clone();
        let stems = Stems::of(Language::EN);
        let asked = stems.terms(&question);
        let split: Vec<Vec<String>> = contents.chunks.iter().map(|chunk| stems.terms(&chunk.text)).collect();
        let mean = split.iter().map(Vec::len).sum::<usize>() as f32 / split.len() as f32;
        let naive: Vec<f32> = split.iter().map(|text| asked.iter().map(|term| {
            let times = text.iter().filter(|word| *word == term).count() as f32;
            let holders = split.iter().filter(|text| text.contains(term)).count() as f32;
            let rarity = (1.0 + (split.len() as f32 - holders + 0.5) / (holders + 0.5)).ln();
            rarity * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * text.len() as f32 / mean))
        }).sum()).collect();
        let terms = lists::terms(&index, &question, Language::EN);
        let list = lists::by_words(&index, &terms, 100, &|_| true);
        prop_assert_eq!(list.len(), naive.iter().filter(|score| **score > 0.0).count());
        for (n, score) in &list {
            prop_assert!((naive[*n as usize] - score).abs() < 1e-4, "{n}: {score} {}", naive[*n as usize]);
        }
        prop_assert!(list.is_sorted_by(|a, b| a.1 > b.1 || (a.1 == b.1 && a.0 < b.0)));
    }

    #[test]
    fn cosines_are_those_of_the_vectors_and_signs_alone_find_what_is_near(question in prop::collection::vec(-1.0_f32..1.0, 8)) {
        let contents = contents(20, 3);
        let index = index(&contents);
        let length = question.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-3);
        let question: Vec<f32> = question.iter().map(|value| value / length).collect();
        let vectors = contents.vectors.as_ref().unwrap();
        let list = lists::by_meaning(&index, &question, 100, &|_| true).unwrap();
        prop_assert_eq!(list.len(), 60);
        for (n, cosine) in &list {
            let row = &vectors[*n as usize * 8..*n as usize * 8 + 8];
            let exact: f32 = row.iter().zip(&question).map(|(a, b)| a * b).sum();
            prop_assert!((exact - cosine).abs() < 0.03);
        }
        let (mut by_sign, mut all) = (Vec::new(), Vec::new());
        let rows = index.vectors().unwrap();
        rows.scan_from(10, &question, |n| n % 2 == 0, |n, cosine| by_sign.push((n, cosine)));
        rows.scan(&question, |n| n % 2 == 0, |n, cosine| all.push((n, cosine)));
        prop_assert_eq!(by_sign, all, "fewer than it would compare anyway");
    }
}

fn ask<'a>(text: &'a str) -> Query<'a> {
    Query { text, ..Query::default() }
}

#[test]
fn flagged_passages_come_last_and_one_document_does_not_fill_the_answer() {
    let mut contents = contents(3, 6);
    contents.chunks[0].flagged = true;
    let index = index(&contents);
    let found = index.search(&Query { join: false, k: 18, ..ask("keeper of gate number0") });
    assert_eq!((found.hits.len(), found.hits.last().unwrap().chunk), (18, 0));
    let best: Vec<u32> = found.hits.iter().take(6).map(|hit| hit.document).collect();
    assert!((0..3).all(|document| best.iter().filter(|other| **other == document).count() == 2), "{best:?}");
}

#[test]
fn neighbours_become_one_hit_of_at_most_three_and_filters_leave_documents_out() {
    let index = index(&contents(3, 6));
    let found = index.search(&Query { per_document: 0, k: 18, ..ask("keeper") });
    assert!(found.hits.iter().all(|hit| hit.chunks.contains(&hit.chunk) && hit.chunks.len() <= 3));
    let shown: usize = found.hits.iter().map(|hit| hit.chunks.len()).sum();
    assert_eq!(shown, 18, "each passage is shown once");
    let even = |document: &Document| document.category.as_deref() == Some("even");
    let found = index.search(&Query { only: Some(&even), ..ask("keeper of word8") });
    assert!(!found.hits.is_empty() && found.hits.iter().all(|hit| hit.document != 1));
}

// req: S2-2.4
#[test]
fn vectors_of_another_space_or_a_language_they_do_not_understand_are_not_compared() {
    let index = index(&contents(3, 3));
    let (axes, vector) = (space(), [0.35_f32; 8]);
    let question = Query { meaning: Some((&axes, &vector)), ..ask("who watches the river at the gate?") };
    assert!(index.search(&question).by_meaning);
    let other = Space { version: 2, ..space() };
    assert!(!index.search(&Query { meaning: Some((&other, &vector)), ..question }).by_meaning);
    let russian = index
        .search(&Query { text: "Кто смотрит на реку у этих ворот?", ..question });
    assert_eq!((russian.language, russian.by_meaning), (Language::RU, false));
    let short = [0.5_f32; 3];
    assert!(!index.search(&Query { meaning: Some((&axes, &short)), ..question }).by_meaning);
}

#[test]
fn what_speaks_for_an_answer_are_likeness_or_two_words_of_the_question() {
    let index = index(&contents(3, 3));
    let found = index.search(&ask("who watches the river"));
    assert_eq!((found.evidence.shared, found.evidence.is_there(0.3)), (2, true));
    let nothing = index.search(&ask("quantum chromodynamics lagrangian"));
    assert!(!nothing.evidence.is_there(0.3), "{:?}", nothing.evidence);
    let evidence = |cosine, asked, shared| Evidence { cosine, asked, shared };
    for (evidence, there) in [
        (evidence(Some(0.5), 6, 0), true),
        (evidence(Some(0.3), 6, 2), true),
        (evidence(Some(0.3), 7, 2), false),
        (evidence(Some(0.1), 2, 2), false),
        (evidence(None, 7, 2), true),
        (evidence(None, 7, 1), false),
        (evidence(None, 1, 1), true),
        (evidence(None, 0, 0), false),
    ] {
        assert_eq!(evidence.is_there(0.4), there, "{evidence:?}");
    }
    assert!(index.search(&ask("")).hits.is_empty());
    assert!(!index.search(&ask(&"river ".repeat(20_000))).hits.is_empty());
}

#[test]
fn a_question_that_leans_on_the_one_before_gets_its_words() {
    let before = Some("How long is the notice period?");
    assert_eq!(follow_up("And for managers?", before, Language::EN), "And for managers? long notice period");
    let own = "Which documents must new colleagues bring on the first day?";
    assert_eq!(follow_up(own, before, Language::EN), own);
    assert_eq!(follow_up("Why?", None, Language::EN), "Why?");
}
