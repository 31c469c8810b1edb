//! What a transformer does between its matrix products, in plain Rust that the compiler turns into wide
//! instructions: quantising, attention, GELU, layer norm. Invariant: additions run in sixteen lanes in a fixed order
//! and nothing is fused, so that every width gives the same bits.

use crate::{
    matrix::{Activations, Misfit},
    simd::Isa,
};

/// Numbers side by side in a register of any width.
const LANES: usize = 16;
/// Rows of queries that share the keys they read.
const ROWS: usize = 4;
/// Added and taken away again it rounds a float to a whole number, which then stands in its lowest bits.
const ROUNDING: f32 = 12_582_912.0;

/// Memory of [`attend`], kept from use to use.
#[derive(Clone, Debug, Default)]
pub struct Attention {
    keys: Vec<f32>,
    scores: Vec<f32>,
}

/// What attention reads: for every token its query, key and value, `3 * width` numbers, cut into `heads`.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Numbers of a token, a multiple of `heads * 16`.
    pub width: usize,
    /// Heads, at least 1.
    pub count: usize,
}

impl Heads {
    /// Numbers of one head.
    fn size(self) -> Result<usize, Misfit> {
        let fine = self.count > 0 && self.width > 0 && self.width.is_multiple_of(self.count * LANES);
        fine.then(|| self.width / self.count).ok_or(Misfit::HEADS)
    }
}

/// Attention of all tokens to all tokens: `joined` holds query, key and value of each, `out` is resized to one row of
/// `width` numbers for each.
///
/// # Errors
/// [`Misfit`] when the heads do not divide the width into multiples of sixteen.
pub fn attend(
    isa: Isa,
    joined: &[f32],
    heads: Heads,
    memory: &mut Attention,
    out: &mut Vec<f32>,
) -> Result<(), Misfit> {
    let size = heads.size()?;
    let tokens = joined.len() / (3 * heads.width);
    let padded = tokens.next_multiple_of(LANES);
    memory.keys.clear();
    memory.keys.resize(size * padded, 0.0);
    memory.scores.clear();
    memory.scores.resize(ROWS * padded, 0.0);
    out.resize(tokens * heads.width, 0.0);
    for head in 0..heads.count {
        let view = Head { joined, width: heads.width, at: head * size, size, tokens, padded };
        isa.attend(view, memory, out);
    }
    Ok(())
}

/// One head of all tokens.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    joined: &'a [f32],
    width: usize,
    at: usize,
    size: usize,
    tokens: usize,
    padded: usize,
}

impl<'a> Head<'a> {
    /// Query (0), key (1) or value (2) of a token.
    #[inline(always)]
    fn part(&self, token: usize, part: usize) -> &'a [f32] {
        &self.joined[token * 3 * self.width + part * self.width + self.at..][..self.size]
    }
}

#[inline(always)]
pub(crate) fn attend_head(head: Head<'_>, memory: &mut Attention, out: &mut [f32]) {
    for token in 0..head.tokens {
        for (number, column) in head.part(token, 1).iter().zip(memory.keys.chunks_exact_mut(head.padded)) {
            column[token] = *number;
        }
    }
    let mut first = 0;
    while first < head.tokens {
        // A last block reads its last token again and writes it once.
        let rows = std::array::from_fn::<usize, ROWS, _>(|at| (first + at).min(head.tokens - 1));
        score(head, rows, memory);
        let mut shares = [0.0; ROWS];
        for (row, share) in memory.scores.chunks_exact_mut(head.padded).zip(&mut shares) {
            *share = soften(row, head.tokens);
        }
        for from in (0..head.size).step_by(LANES) {
            let sums = weigh(head, from, &memory.scores);
            for ((row, sum), share) in rows.iter().zip(sums).zip(shares) {
                let line = &mut out[row * head.width + head.at + from..][..LANES];
                for (value, sum) in line.iter_mut().zip(sum) {
                    *value = sum * share;
                }
            }
        }
        first += ROWS;
    }
}

/// Likeness of four queries to every key.
#[inline(always)]
fn score(head: Head<'_>, rows: [usize; ROWS], memory: &mut Attention) {
    let scale = 1.0 / (head.size as f32).sqrt();
    let queries = rows.map(|row| head.part(row, 0));
    for from in (0..head.padded).step_by(LANES) {
        let mut sums = [[0.0_f32; LANES]; ROWS];
        for (at, keys) in memory.keys.chunks_exact(head.padded).enumerate() {
            let keys: &[f32; LANES] = &keys[from..].as_chunks::<LANES>().0[0];
            for (sum, query) in sums.iter_mut().zip(&queries) {
                let query = query[at];
                for (sum, key) in sum.iter_mut().zip(keys) {
                    *sum += query * key;
                }
            }
        }
        for (sum, row) in sums.iter().zip(memory.scores.chunks_exact_mut(head.padded)) {
            for (score, sum) in row[from..from + LANES].iter_mut().zip(sum) {
                *score = sum * scale;
            }
        }
    }
}

/// Scores to weights that lack a common factor, which is returned; the weights of the padding are zero.
#[inline(always)]
fn soften(scores: &mut [f32], tokens: usize) -> f32 {
    let (real, padding) = scores.split_at_mut(tokens);
    padding.fill(0.0);
    let most = fold(real, f32::MIN, |a, b| if a > b { a } else { b });
    for score in real.iter_mut() {
        *score = exp(*score - most);
    }
    1.0 / fold(real, 0.0, |a, b| a + b)
}

/// Sixteen numbers of the values, summed by the weights of four rows.
#[inline(always)]
fn weigh(head: Head<'_>, from: usize, weights: &[f32]) -> [[f32; LANES]; ROWS] {
    let mut sums = [[0.0_f32; LANES]; ROWS];
    let (a, rest) = weights.split_at(head.padded);
    let (b, rest) = rest.split_at(head.padded);
    let (c, d) = rest.split_at(head.padded);
    let lines = [a, b, c, d].map(|line| &line[..head.tokens]);
    for token in 0..head.tokens {
        let values: &[f32; LANES] = &head.part(token, 2)[from..].as_chunks::<LANES>().0[0];
        for (sum, line) in sums.iter_mut().zip(&lines) {
            let weight = line[token];
            for (sum, value) in sum.iter_mut().zip(values) {
                *sum += weight * value;
            }
        }
    }
    sums
}

/// Folds in sixteen lanes, then over the lanes.
#[inline(always)]
fn fold(values: &[f32], start: f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut lanes = [start; LANES];
    for values in whole {
        for (lane, value) in lanes.iter_mut().zip(values) {
            *lane = join(*lane, *value);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = join(*lane, *value);
    }
    lanes.into_iter().fold(start, join)
}

/// `e^x` for `x` of at most 0, to a relative error of 3e-7; below -87 the smallest number.
#[inline(always)]
fn exp(x: f32) -> f32 {
    let doublings = (x * std::f32::consts::LOG2_E).max(-126.0);
    let rounded = doublings + ROUNDING;
    let rest = doublings - (rounded - ROUNDING);
    // Taylor's series of 2^x about 0, for x between -0.5 and 0.5.
    let series =
        [0.000_154_035_3, 0.001_333_355_8, 0.009_618_129, 0.055_504_11, 0.240_226_5, std::f32::consts::LN_2]
            .into_iter()
            .fold(0.0, |sum: f32, term| (sum + term) * rest)
            + 1.0;
    let whole = rounded.to_bits().wrapping_sub(ROUNDING.to_bits());
    f32::from_bits(whole.wrapping_add(127) << 23) * series
}

/// GELU with the error function of Abramowitz and Stegun 7.1.26 (error below 2e-7), in place.
#[inline(always)]
pub(crate) fn gelu(values: &mut [f32]) {
    for x in values {
        let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
        let t = 1.0 / (1.0 + 0.327_591_1 * z);
        let series = t
            * (0.254_829_6 + t * (-0.284_496_72 + t * (1.421_413_8 + t * (-1.453_152_1 + t * 1.061_405_4))));
        let erf = (1.0 - series * exp(-z * z)).copysign(*x);
        *x *= 0.5 * (1.0 + erf);
    }
}

/// Adds `more` to `values`, then brings every row of `gain.len()` numbers to mean 0 and variance 1, times `gain` plus
/// `bias`, in place.
#[inline(always)]
pub(crate) fn add_norm(values: &mut [f32], more: &[f32], gain: &[f32], bias: &[f32], epsilon: f32) {
    let width = gain.len().max(1);
    for (row, more) in values.chunks_exact_mut(width).zip(more.chunks_exact(width)) {
        for (value, more) in row.iter_mut().zip(more) {
            *value += more;
        }
        let mean = fold(row, 0.0, |a, b| a + b) / width as f32;
        for value in row.iter_mut() {
            *value -= mean;
        }
        let scale = 1.0 / (squares(row) / width as f32 + epsilon).sqrt();
        for ((value, gain), bias) in row.iter_mut().zip(gain).zip(bias) {
            *value = *value * scale * gain + bias;
        }
    }
}

/// Sum of squares, in sixteen lanes.
#[inline(always)]
fn squares(values: &[f32]) -> f32 {
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for values in whole {
        for (lane, value) in lanes.iter_mut().zip(values) {
            *lane += value * value;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value * value;
    }
    lanes.into_iter().sum()
}

/// Every row of `width` numbers as u8, with a scale and a zero point of its own; zero stays exactly zero.
#[inline(always)]
pub(crate) fn quantise(values: &[f32], width: usize, out: &mut Activations) {
    out.width = width;
    out.values.resize(values.len(), 0);
    out.scales.clear();
    out.zeros.clear();
    for (row, small) in values.chunks_exact(width.max(1)).zip(out.values.chunks_exact_mut(width.max(1))) {
        let most = fold(row, 0.0, |a, b| if a > b { a } else { b });
        let least = fold(row, 0.0, |a, b| if a < b { a } else { b });
        let scale = ((most - least) / 255.0).max(f32::MIN_POSITIVE);
        let turns = 1.0 / scale;
        let zero = (-least * turns).round().clamp(0.0, 255.0);
        for (small, value) in small.iter_mut().zip(row) {
            let number = (value * turns + zero).clamp(0.0, 255.0) + ROUNDING;
            *small = number.to_bits() as u8;
        }
        out.scales.push(scale);
        out.zeros.push(zero as i32);
    }
    out.values.truncate(out.scales.len() * width);
}
