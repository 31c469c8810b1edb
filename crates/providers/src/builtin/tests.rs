//! The builtin model against the reference: same ids, same vectors, sensible neighbours.

use super::minilm::{DIMENSIONS, MODEL, MiniLm, VOCABULARY, cosine};
use serde::Deserialize;

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
fn tokens_and_vectors_are_those_of_the_reference() {
    let model = MiniLm::default();
    assert!(!model.is_loaded());
    let mut worst = 1.0_f32;
    for Golden { text, ids, vector } in golden() {
        assert_eq!(model.ids(&text), ids, "{text}");
        let ours = model.embed(&text).unwrap();
        assert_eq!((ours.vector.len(), ours.tokens), (DIMENSIONS, ids.len()));
        worst = worst.min(cosine(&ours.vector, &vector));
        assert!((cosine(&ours.vector, &ours.vector) - 1.0).abs() < 1e-5, "unit length");
    }
    println!("worst cosine to the reference: {worst}");
    assert!(worst >= 0.999, "worst cosine {worst}");
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
