//! The builtin model against the reference: same ids, same vectors, sensible neighbours.

use super::{
    encoder::{Encoder, Memory},
    minilm::{DIMENSIONS, MAX_TOKENS, MODEL, MiniLm, VOCABULARY, cosine},
    pack::Source,
};
use portcullis_kernels::Isa;
use serde::Deserialize;
use std::sync::atomic::AtomicBool;

#[derive(Deserialize)]
struct Golden {
    text: String,
    ids: Vec<u32>,
    vector: Vec<f32>,
}

fn golden() -> Vec<Golden> {
    serde_json::from_str(include_str!("../../models/minilm-l6-v2-int8/golden.json")).unwrap()
}

#[test]
fn the_model_in_the_binary_is_the_one_its_readme_names() {
    let readme = include_str!("../../models/minilm-l6-v2-int8/README.md");
    for bytes in [MODEL, VOCABULARY.as_bytes()] {
        let sum = ring::digest::digest(&ring::digest::SHA256, bytes);
        let hex = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert!(readme.contains(&hex), "the README does not name {hex}");
    }
}

#[test]
fn tokens_are_those_of_the_reference_and_vectors_nearly_its_own() {
    let model = MiniLm::default();
    assert!(!model.is_loaded());
    let (mut worst, mut sum, golden) = (1.0_f32, 0.0, golden());
    for Golden { text, ids, vector } in &golden {
        assert_eq!(&model.ids(text), ids, "{text}");
        let ours = model.embed(text).unwrap();
        assert_eq!((ours.vector.len(), ours.tokens), (DIMENSIONS, ids.len()));
        let near = cosine(&ours.vector, vector);
        (worst, sum) = (worst.min(near), sum + near);
        assert!((cosine(&ours.vector, &ours.vector) - 1.0).abs() < 1e-5, "unit length");
    }
    let mean = sum / golden.len() as f32;
    println!("cosine to fp32: mean {mean}, worst {worst}");
    assert!(mean >= 0.998 && worst >= 0.99, "mean {mean}, worst {worst}");
}

#[test]
fn every_processor_gives_the_same_bits() {
    let model = MiniLm::default();
    let ids = model.ids("Whisk eggs into the flour to make the dough.");
    let mut first = None;
    for isa in Isa::available() {
        let encoder = Encoder::read(Source::Static(MODEL)).unwrap().0.on(isa);
        let vector = encoder.vector(&ids, &mut Memory::default()).unwrap();
        let bits: Vec<u32> = vector.iter().map(|value| value.to_bits()).collect();
        assert_eq!(first.get_or_insert_with(|| bits.clone()), &bits, "{isa:?}");
    }
}

#[test]
fn a_long_text_is_the_mean_of_its_windows_and_a_short_one_itself() {
    let model = MiniLm::default();
    let short = "Whisk eggs into the flour to make the dough.";
    assert_eq!(model.embed_long(short).unwrap().vector, model.embed(short).unwrap().vector);
    let half = "The quick brown fox jumps over the lazy dog. ".repeat(20);
    let other = "Quarterly revenue grew in every region but one. ".repeat(25);
    let whole = model.embed_long(&format!("{half}{other}")).unwrap();
    assert!(whole.tokens > MAX_TOKENS, "{}", whole.tokens);
    for part in [&half, &other] {
        let near = cosine(&whole.vector, &model.embed(part).unwrap().vector);
        assert!(near > 0.6, "both halves are heard: {near}");
    }
    assert!((cosine(&whole.vector, &whole.vector) - 1.0).abs() < 1e-5, "unit length");
}

#[test]
fn many_texts_keep_their_order_on_any_number_of_threads_and_end_when_nobody_waits() {
    let model = MiniLm::default();
    let texts: Vec<String> = golden().into_iter().take(9).map(|line| line.text).collect();
    let one_by_one: Vec<_> = texts.iter().map(|text| model.embed_long(text).unwrap().vector).collect();
    for threads in [0, 1, 2, 20] {
        let many = model.embed_many(&texts, threads, &AtomicBool::new(false)).unwrap().unwrap();
        assert_eq!(many, one_by_one);
    }
    assert_eq!(model.embed_many(&texts, 2, &AtomicBool::new(true)).unwrap(), None);
    assert_eq!(model.embed_many(&[], 2, &AtomicBool::new(false)).unwrap(), Some(Vec::new()));
}

#[test]
fn a_paraphrase_lies_nearer_than_anything_else() {
    let model = MiniLm::default();
    let vectors: Vec<_> =
        golden().iter().take(10).map(|line| model.embed(&line.text).unwrap().vector).collect();
    for (at, vector) in vectors.iter().enumerate() {
        let nearest = (0..vectors.len())
            .filter(|other| *other != at)
            .max_by(|a, b| cosine(vector, &vectors[*a]).total_cmp(&cosine(vector, &vectors[*b])));
        assert_eq!(nearest, Some(at ^ 1), "sentences come in pairs");
    }
}
