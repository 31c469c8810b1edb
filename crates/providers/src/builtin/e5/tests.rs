//! A model of toy size in the package's format: turned into ours, read back, used; and everything that is damaged on
//! the way is refused.

use super::{Multilingual, convert};
use crate::builtin::{
    minilm::{ModelError, cosine},
    reading::Reading,
    unigram::{Unigram, written},
};
use std::{borrow::Cow, path::PathBuf, sync::atomic::AtomicBool};

const WIDTH: usize = 32;
const PIECES: [(&str, f32); 14] = [
    ("<s>", 0.0),
    ("<pad>", 0.0),
    ("</s>", 0.0),
    ("<unk>", 0.0),
    ("\u{2581}", -4.0),
    ("\u{2581}cat", -5.0),
    ("\u{2581}c", -6.0),
    ("at", -6.0),
    ("s", -3.0),
    ("\u{2581}query", -7.0),
    (":", -3.0),
    ("\u{2581}passage", -7.0),
    ("a", -8.0),
    ("<mask>", 0.0),
];

/// The toy in the package's format.
fn toy() -> Vec<u8> {
    let number = |value: usize| u32::try_from(value).unwrap().to_le_bytes();
    let mut head = b"E5S1".to_vec();
    for value in [1, WIDTH, 1, 2, WIDTH, PIECES.len(), 16, 1] {
        head.extend(number(value));
    }
    head.extend(1e-12_f32.to_le_bytes());
    head.extend(number(32));
    for value in [PIECES.len(), 0, 2, 1, 3] {
        head.extend(number(value));
    }
    let blob: String = PIECES.iter().map(|(piece, _)| *piece).collect();
    head.extend((blob.len() as u64).to_le_bytes());
    let mut end = 0;
    head.extend(number(0));
    for (piece, _) in PIECES {
        end += piece.len();
        head.extend(number(end));
    }
    head.extend(PIECES.iter().flat_map(|(_, score)| score.to_le_bytes()));
    head.extend(blob.bytes());
    // Two replacements: a tab is a space, ² is 2.
    head.extend(number(2));
    head.extend(number(18));
    for (from, to) in [('\t', ' '), ('²', '2')] {
        head.extend(number(from as usize));
        head.push(1);
        head.extend(number(to as usize));
    }

    let mut tensors: Vec<(String, bool, usize)> =
        vec![("emb.word".into(), true, PIECES.len() * WIDTH), ("emb.pos".into(), false, 16 * WIDTH)];
    tensors.extend(["emb.type", "emb.ln.w", "emb.ln.b"].map(|name| (name.into(), false, WIDTH)));
    for name in ["q", "k", "v", "ao", "fi", "fo"] {
        tensors.push((format!("l0.{name}.w"), true, WIDTH * WIDTH));
        tensors.push((format!("l0.{name}.b"), false, WIDTH));
    }
    tensors.extend(["l0.aln.w", "l0.aln.b", "l0.oln.w", "l0.oln.b"].map(|name| (name.into(), false, WIDTH)));

    let directory: usize = 4 + tensors.iter().map(|(name, ..)| 2 + name.len() + 1 + 4 + 16).sum::<usize>();
    let (mut offset, mut listed, mut body) =
        (head.len() + directory, number(tensors.len()).to_vec(), Vec::new());
    let mut drawn = 7_u32;
    let mut draw = || {
        drawn = drawn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (drawn >> 24) as u8
    };
    for (name, blocks, count) in tensors {
        let before = body.len();
        if blocks {
            for _ in 0..count / 32 {
                // 0.0625 as a half-precision float.
                body.extend([0x00, 0x2C]);
                body.extend((0..16).map(|_| draw()));
            }
        } else {
            let gain = name.ends_with("ln.w");
            let value = |byte: u8| if gain { 1.0 } else { (f32::from(byte) - 128.0) / 1024.0 };
            body.extend((0..count).flat_map(|_| value(draw()).to_le_bytes()));
        }
        let bytes = body.len() - before;
        listed.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        listed.extend(name.bytes());
        listed.push(u8::from(blocks));
        listed.extend(number(count));
        listed.extend((offset as u64).to_le_bytes());
        listed.extend((bytes as u64).to_le_bytes());
        offset += bytes;
    }
    [head, listed, body].concat()
}

fn packed() -> Vec<u8> {
    let mut packed = Vec::new();
    let mut told = Vec::new();
    convert(&toy(), &mut packed, &mut |done, all| told.push((done, all))).unwrap();
    assert_eq!(told.last(), Some(&(3, 3)));
    packed
}

fn kept(folder: &tempfile::TempDir, bytes: &[u8]) -> (PathBuf, Multilingual) {
    let path = folder.path().join("toy.pclmodel");
    std::fs::write(&path, bytes).unwrap();
    (path.clone(), Multilingual::new(path))
}

#[test]
fn a_packages_model_is_turned_into_ours_and_reads_questions_and_passages() {
    let folder = tempfile::tempdir().unwrap();
    let (_, model) = kept(&folder, &packed());
    let question = model.embed("cats", Reading::Question).unwrap();
    let passage = model.embed("cats", Reading::Passage).unwrap();
    // <s> ▁query : ▁cat s </s>
    assert_eq!((question.tokens, passage.tokens), (6, 6));
    assert!((cosine(&question.vector, &question.vector) - 1.0).abs() < 1e-5);
    assert_ne!(question.vector, passage.vector, "the prefix is heard");
    let texts = vec!["cats".to_owned(), "cats ".repeat(40), String::new()];
    let many = model.embed_many(&texts, Reading::Passage, 2, &AtomicBool::new(false)).unwrap().unwrap();
    assert_eq!(many[0], passage.vector);
    assert!(many.iter().all(|vector| (cosine(vector, vector) - 1.0).abs() < 1e-5));
}

#[test]
fn a_model_is_found_when_its_file_comes_and_stays_while_its_file_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy.pclmodel");
    let model = Multilingual::new(path.clone());
    assert_eq!(model.embed("cat", Reading::Question).unwrap_err(), ModelError::Absent);
    std::fs::write(&path, packed()).unwrap();
    assert!(model.is_installed());
    let before = model.embed("cat", Reading::Question).unwrap().vector;
    std::fs::remove_file(&path).unwrap();
    assert_eq!(model.embed("cat", Reading::Question).unwrap().vector, before);
}

#[test]
fn a_changed_cut_or_lengthened_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sound = packed();
    for at in (0..sound.len()).step_by(97) {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        let told = kept(&folder, &bytes).1.load();
        assert!(matches!(told, Err(ModelError::Load(_))), "byte {at}: {told:?}");
    }
    for length in (0..sound.len()).step_by(131) {
        let told = kept(&folder, &sound[..length]).1.load();
        assert!(matches!(told, Err(ModelError::Load(_))), "length {length}: {told:?}");
    }
    assert!(kept(&folder, &[&sound[..], b"x"].concat()).1.load().is_err());
    assert!(kept(&folder, &sound).1.load().is_ok());
}

#[test]
fn a_damaged_package_gives_an_error_or_a_model_but_never_a_panic() {
    let sound = toy();
    for at in 0..sound.len().min(1200) {
        for byte in [0, 0xFF, sound[at] ^ 0x40] {
            let mut bytes = sound.clone();
            bytes[at] = byte;
            drop(convert(&bytes, &mut Vec::new(), &mut |_, _| {}));
        }
    }
    for length in (0..sound.len()).step_by(11) {
        assert!(convert(&sound[..length], &mut Vec::new(), &mut |_, _| {}).is_err(), "length {length}");
    }
}

fn pieces() -> Unigram {
    let pieces: Vec<(&[u8], f32)> = PIECES
        .iter()
        .map(|(piece, score)| (if piece.starts_with('<') { &[][..] } else { piece.as_bytes() }, *score))
        .collect();
    Unigram::new(Cow::Owned(written(&pieces, &[(9, " ".into()), (178, "2".into())]).unwrap())).unwrap()
}

#[test]
fn a_text_is_cut_where_the_pieces_are_most_likely_together() {
    let pieces = pieces();
    let ids = |text: &str| pieces.content(text, 100);
    assert_eq!(ids("cats"), [5, 8]);
    assert_eq!(ids(" cats  \t cats "), [5, 8, 5, 8, 4], "spaces are joined");
    assert_eq!(ids("cas"), [6, 12, 8]);
    assert_eq!(ids("cat²²"), [5, 3], "unknown characters in a row are one");
    assert_eq!(ids("cats").len(), 2);
    assert_eq!(pieces.content("cats cats cats", 3), [5, 8, 5]);
}

#[test]
fn a_text_cannot_spell_a_marker() {
    let pieces = pieces();
    let ids = pieces.content("<s> </s> <mask>", 100);
    assert!(ids.iter().all(|id| ![0, 1, 2, 13].contains(id)), "{ids:?}");
}

#[test]
fn a_damaged_table_of_pieces_is_refused_or_read_without_a_panic() {
    let sound = written(&[(b"", 0.0), (b"ab", -1.0), (b"c", -2.0)], &[(178, "2".into())]).unwrap();
    for at in 0..sound.len() {
        for byte in [0, 0xFF, sound[at] ^ 1] {
            let mut bytes = sound.clone();
            bytes[at] = byte;
            if let Ok(pieces) = Unigram::new(Cow::Owned(bytes)) {
                drop(pieces.content("abc ²", 10));
            }
        }
    }
    for length in 0..sound.len() {
        assert!(Unigram::new(Cow::Owned(sound[..length].to_vec())).is_err());
    }
}
