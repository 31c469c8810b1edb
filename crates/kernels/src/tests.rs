//! Every path of this machine against arithmetic so plain that it cannot be wrong.

use crate::{
    Activations, Attention, Heads, Isa, Shape, Weights, attend, dot_i8, hamming, pack, scan_i8, signed,
};
use proptest::prelude::*;
use std::borrow::Cow;

fn naive_dot(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(x, y)| i32::from(*x) * i32::from(*y)).sum()
}

fn naive_fold(text: &[u8], word: bool) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    for line in text.chunks_exact(64) {
        let mut white = if out.is_empty() { !word } else { out.last() == Some(&b' ') };
        for byte in line {
            let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c);
            if (blank && white) || !(blank || byte.is_ascii_graphic()) {
                let done = out.len();
                return (out, done);
            }
            out.push(if blank { b' ' } else { byte.to_ascii_lowercase() });
            white = blank;
        }
    }
    let done = out.len();
    (out, done)
}

/// Numbers of any length, the extremes among them, that begin anywhere in memory.
fn numbers(most: usize) -> impl Strategy<Value = Vec<i8>> {
    let number = prop_oneof![4 => any::<i8>(), 1 => Just(i8::MIN), 1 => Just(i8::MAX)];
    prop::collection::vec(number, 0..most)
}

proptest! {
    #[test]
    fn every_path_multiplies_as_the_plain_one(a in numbers(300), b in numbers(300), skip in 0_usize..5) {
        let a = a.get(skip..).unwrap_or_default();
        let naive = naive_dot(a, &b);
        prop_assert_eq!(dot_i8(a, &b), naive);
        for isa in Isa::available() {
            prop_assert_eq!(isa.dot(a, &b), naive, "{:?}", isa);
        }
    }

    #[test]
    fn every_path_folds_text_as_the_plain_one(
        text in "[ -~]{0,200}|([a-zA-Z,]{1,9}[ \n\t]{1,2}){0,60}|[a-z ]{60,90}[\u{0}-\u{20}\u{7f}-\u{bf}][a-z ]{0,90}",
        word in any::<bool>(),
    ) {
        let (naive, done) = naive_fold(text.as_bytes(), word);
        for isa in Isa::available() {
            let mut out = b"before".to_vec();
            prop_assert_eq!(isa.fold(text.as_bytes(), word, &mut out), done, "{:?}", isa);
            prop_assert_eq!(out.strip_prefix(b"before"), Some(&naive[..]), "{:?}", isa);
        }
    }

    #[test]
    fn every_path_scans_as_the_plain_one(rows in numbers(2000), dims in 0_usize..200, skip in 0_usize..5) {
        let rows = rows.get(skip..).unwrap_or_default();
        let query: Vec<i8> = rows.iter().rev().copied().cycle().take(if rows.is_empty() { 0 } else { dims }).collect();
        let naive: Vec<i32> = match query.len() {
            0 => Vec::new(),
            len => rows.chunks_exact(len).map(|row| naive_dot(&query, row)).collect(),
        };
        let mut out = vec![7];
        scan_i8(&query, rows, &mut out);
        prop_assert_eq!(&out, &naive);
        for isa in Isa::available() {
            isa.scan(&query, rows, &mut out);
            prop_assert_eq!(&out, &naive, "{:?}", isa);
        }
    }

    #[test]
    fn every_path_counts_differing_bits_as_the_plain_one(
        rows in prop::collection::vec(any::<u64>(), 0..200),
        query in prop::collection::vec(any::<u64>(), 0..20),
    ) {
        let naive: Vec<u32> = match query.len() {
            0 => Vec::new(),
            len => rows
                .chunks_exact(len)
                .map(|row| row.iter().zip(&query).map(|(a, b)| (a ^ b).count_ones()).sum())
                .collect(),
        };
        let mut out = vec![7];
        hamming(&query, &rows, &mut out);
        prop_assert_eq!(&out, &naive);
        for isa in Isa::available() {
            isa.hamming(&query, &rows, &mut out);
            prop_assert_eq!(&out, &naive, "{:?}", isa);
        }
    }

    #[test]
    fn every_path_gives_the_same_bits_of_a_matrix_product(
        rows in 0_usize..20,
        groups in 1_usize..20,
        blocks in 1_usize..5,
        seed in any::<u64>(),
    ) {
        let (inputs, columns) = (groups * 4, blocks * 16);
        let mut drawn = draw(seed);
        let weights: Vec<i8> = (0..inputs * columns).map(|_| drawn() as i8).collect();
        let values: Vec<u8> = (0..rows * inputs).map(|_| drawn() as u8).collect();
        let zeros: Vec<u8> = (0..rows).map(|_| drawn() as u8).collect();
        let mut small = |count: usize| (0..count).map(|_| f32::from(drawn() as i8) / 64.0).collect::<Vec<_>>();
        let (scales, row_scales, biases) = (small(columns), small(rows), small(columns));

        let mut naive = Vec::new();
        for row in 0..rows {
            for column in 0..columns {
                let sum: i32 = (0..inputs)
                    .map(|at| {
                        let x = i32::from(values[row * inputs + at]) - i32::from(zeros[row]);
                        x * i32::from(weights[column * inputs + at])
                    })
                    .sum();
                naive.push(sum as f32 * (scales[column] * row_scales[row]) + biases[column]);
            }
        }

        let shape = Shape { inputs, columns };
        let (packed, sums) = pack(shape, &weights).unwrap();
        let layer = Weights::new(shape, Cow::Owned(packed), scales, biases, sums).unwrap();
        let activations = Activations::new(inputs, values, row_scales, zeros).unwrap();
        let mut out = vec![1.0; 3];
        for isa in Isa::available() {
            layer.apply(isa, &activations, &mut out).unwrap();
            prop_assert_eq!(bits(&out), bits(&naive), "{:?}", isa);
        }
    }
}

/// Numbers about zero, some large, from a seed.
fn floats(seed: u64, count: usize) -> Vec<f32> {
    let mut drawn = draw(seed);
    let mut number = move || (drawn() >> 40) as f32 / 16_777_216.0 - 0.5;
    (0..count).map(|at| number() * if at % 7 == 0 { 30.0 } else { 4.0 }).collect()
}

proptest! {
    #[test]
    fn attention_is_that_of_the_textbook_and_has_the_same_bits_on_every_path(
        tokens in 0_usize..40,
        count in 1_usize..4,
        seed in any::<u64>(),
    ) {
        let heads = Heads { width: 32 * count, count };
        let joined = floats(seed, tokens * 3 * heads.width);
        let naive = naive_attention(&joined, heads);
        let (mut memory, mut first, mut out) = (Attention::default(), None, Vec::new());
        for isa in Isa::available() {
            attend(isa, &joined, heads, &mut memory, &mut out).unwrap();
            prop_assert_eq!(out.len(), naive.len());
            for (ours, theirs) in out.iter().zip(&naive) {
                // A score is a sum of 32 products of up to 225: in f32 its weight is off by some 1e-4 of itself.
                prop_assert!((f64::from(*ours) - theirs).abs() < 2e-3, "{} {}", ours, theirs);
            }
            prop_assert_eq!(first.get_or_insert_with(|| bits(&out)), &bits(&out), "{:?}", isa);
        }
    }

    #[test]
    fn gelu_norm_and_small_numbers_have_the_same_bits_on_every_path(
        rows in 0_usize..5,
        width in 1_usize..70,
        seed in any::<u64>(),
    ) {
        let values = floats(seed, rows * width);
        let (more, gain, bias) = (floats(seed ^ 1, rows * width), floats(seed ^ 2, width), floats(seed ^ 3, width));
        let mut first = None;
        for isa in Isa::available() {
            let (mut bent, mut normed, mut small) = (values.clone(), values.clone(), Activations::default());
            isa.gelu(&mut bent);
            isa.add_norm(&mut normed, &more, &gain, &bias, 1e-12);
            isa.quantise(&values, width, &mut small);
            for (at, x) in values.iter().enumerate() {
                prop_assert!((bent[at] - naive_gelu(*x)).abs() < 1e-5, "{} {}", x, bent[at]);
                let (row, scale) = (at / width, small.scales[at / width]);
                let back = (f32::from(small.values[at]) - small.zeros[row] as f32) * scale;
                prop_assert!((back - x).abs() <= scale * 1.01, "{} {}", x, back);
            }
            let all = (bits(&bent), bits(&normed), small.values, bits(&small.scales), small.zeros);
            prop_assert_eq!(first.get_or_insert_with(|| all.clone()), &all, "{:?}", isa);
        }
    }
}

fn naive_attention(joined: &[f32], heads: Heads) -> Vec<f64> {
    let tokens = joined.len() / (3 * heads.width);
    let size = heads.width / heads.count;
    let part = |token: usize, part: usize, at: usize| {
        f64::from(joined[token * 3 * heads.width + part * heads.width + at])
    };
    let mut out = vec![0.0; tokens * heads.width];
    for (row, at) in (0..tokens).flat_map(|row| (0..heads.width).map(move |at| (row, at))) {
        let head = at / size * size;
        let score = |other: usize| {
            (head..head + size).map(|at| part(row, 0, at) * part(other, 1, at)).sum::<f64>()
                / (size as f64).sqrt()
        };
        let scores: Vec<f64> = (0..tokens).map(score).collect();
        let most = scores.iter().copied().fold(f64::MIN, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
        let sum: f64 = weights.iter().sum();
        out[row * heads.width + at] =
            weights.iter().enumerate().map(|(other, weight)| weight / sum * part(other, 2, at)).sum();
    }
    out
}

/// With the error function as a sum of small steps.
fn naive_gelu(x: f32) -> f32 {
    let z = f64::from(x) / std::f64::consts::SQRT_2;
    let steps = 4000;
    let step = z / f64::from(steps);
    let at = |i: i32| (-(step * f64::from(i)).powi(2)).exp();
    let simpson: f64 =
        (0..steps / 2).map(|i| at(2 * i) + 4.0 * at(2 * i + 1) + at(2 * i + 2)).sum::<f64>() * step / 3.0;
    (0.5 * f64::from(x) * (1.0 + simpson * std::f64::consts::FRAC_2_SQRT_PI)) as f32
}

#[test]
fn rows_of_one_number_or_of_zeros_stay_finite() {
    for isa in Isa::available() {
        let mut zeros = [0.0; 16];
        isa.add_norm(&mut zeros, &[0.0; 16], &[1.0; 16], &[0.5; 16], 1e-12);
        assert_eq!(zeros, [0.5; 16]);
        let mut small = Activations::default();
        isa.quantise(&[0.0; 16], 16, &mut small);
        assert_eq!((small.values, small.zeros), (vec![0; 16], vec![0]));
    }
    let wrong = Heads { width: 40, count: 2 };
    assert!(attend(Isa::best(), &[], wrong, &mut Attention::default(), &mut Vec::new()).is_err());
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Drawn numbers, by SplitMix64.
fn draw(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[test]
fn the_portable_path_is_always_there_and_the_best_is_the_first() {
    let all = Isa::available();
    assert_eq!(all.last().map(|isa| isa.name()), Some("portable"));
    assert_eq!(all.first(), Some(&Isa::best()));
}

#[test]
fn bytes_read_as_signed_numbers_keep_their_bits() {
    assert_eq!(signed(&[0, 1, 127, 128, 255]), [0, 1, 127, -128, -1]);
    assert!(signed(&[]).is_empty());
}

#[test]
fn numbers_that_do_not_fit_together_are_refused() {
    let shape = Shape { inputs: 4, columns: 16 };
    assert!(pack(shape, &[0; 63]).is_err());
    assert!(pack(Shape { inputs: 5, columns: 16 }, &[0; 80]).is_err());
    assert!(pack(Shape { inputs: 0, columns: 0 }, &[]).is_err());
    let (packed, sums) = pack(shape, &[1; 64]).unwrap();
    let made = |scales: usize| {
        Weights::new(shape, Cow::Borrowed(&packed[..]), vec![1.0; scales], vec![0.0; 16], sums.clone())
    };
    assert!(made(15).is_err());
    let layer = made(16).unwrap();
    let narrow = Activations::new(2, vec![0; 2], vec![1.0], vec![0]).unwrap();
    assert!(layer.apply(Isa::best(), &narrow, &mut Vec::new()).is_err());
    assert!(Activations::new(2, vec![0; 3], vec![1.0], vec![0]).is_err());
}
