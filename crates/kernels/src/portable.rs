//! The arithmetic in plain Rust: what runs where a processor has none of the wider instructions, what the tests
//! compare with, and what is compiled once more for wider registers where the compiler does as well as a hand.
//! Invariant: sums run in a fixed order of sixteen lanes, so that every width gives the same bits.

use crate::matrix::{Activations, BLOCK, GROUP, Weights};
use std::mem::MaybeUninit;

/// Dot product of the common length.
#[inline(always)]
pub(crate) fn dot(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).fold(0_i32, |sum, (x, y)| sum.wrapping_add(i32::from(*x) * i32::from(*y)))
}

/// Dot products with every row.
#[inline(always)]
pub(crate) fn scan(query: &[i8], rows: &[i8], out: &mut Vec<i32>) {
    out.extend(rows.chunks_exact(query.len()).map(|row| dot(query, row)));
}

/// Bits that differ.
#[inline(always)]
pub(crate) fn hamming(query: &[u64], rows: &[u64], out: &mut Vec<u32>) {
    out.extend(
        rows.chunks_exact(query.len())
            .map(|row| query.iter().zip(row).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>()),
    );
}

/// Products of a u8 and an i8 that a float adds up exactly: `512 * 255 * 128 < 2^24`.
const EXACT: usize = 512;

/// `activations` times `weights` plus biases, row by row into `out`. Plain processors multiply floats faster than
/// small integers, and as long as sums stay below 2^24 just as exactly.
#[inline(always)]
pub(crate) fn product(activations: &Activations, weights: &Weights<'_>, out: &mut [f32]) {
    let columns = weights.shape().columns;
    let values: Vec<f32> = activations.values.iter().map(|value| f32::from(*value)).collect();
    // One block at a time, the sixteen columns of a number together.
    let mut lines = vec![[0.0_f32; BLOCK]; weights.shape().inputs];
    for (block, packed) in weights.blocks().enumerate() {
        let groups = packed.as_chunks::<{ BLOCK * GROUP }>().0;
        for (group, lines) in groups.iter().zip(lines.as_chunks_mut::<GROUP>().0) {
            for (column, numbers) in group.as_chunks::<GROUP>().0.iter().enumerate() {
                for (line, number) in lines.iter_mut().zip(numbers) {
                    line[column] = f32::from(*number);
                }
            }
        }
        let rows = activations.scales.iter().zip(&activations.zeros).zip(values.chunks_exact(lines.len()));
        for (((scale, zero), values), line) in rows.zip(out.chunks_exact_mut(columns)) {
            let mut sums = [0_i32; BLOCK];
            for (lines, values) in lines.chunks(EXACT).zip(values.chunks(EXACT)) {
                let mut exact = [0.0_f32; BLOCK];
                for (weights, x) in lines.iter().zip(values) {
                    for (sum, w) in exact.iter_mut().zip(weights) {
                        *sum += w * x;
                    }
                }
                for (sum, exact) in sums.iter_mut().zip(exact) {
                    *sum = sum.wrapping_add(exact as i32);
                }
            }
            let from = block * BLOCK;
            finish(weights, from, *scale, *zero, &sums, &mut line[from..from + BLOCK]);
        }
    }
}

/// Exact sums of one block of columns to floats: the zero point taken out, scaled, the bias added.
#[inline(always)]
pub(crate) fn finish(
    weights: &Weights<'_>,
    from: usize,
    scale: f32,
    zero: i32,
    sums: &[i32; BLOCK],
    out: &mut [f32],
) {
    let to = from + BLOCK;
    let columns =
        weights.scales()[from..to].iter().zip(&weights.biases()[from..to]).zip(&weights.sums()[from..to]);
    for (((scale_of, bias), of_weights), (sum, value)) in columns.zip(sums.iter().zip(out)) {
        let whole = sum.wrapping_sub(of_weights.wrapping_mul(zero));
        *value = whole as f32 * (scale_of * scale) + bias;
    }
}

/// Bytes that are folded together.
const LINE: usize = 64;
/// Where a folded line goes.
pub(crate) type Room = [MaybeUninit<u8>; LINE];

/// See [`crate::Isa::fold`]; into the lines of `room`, as many as there are. Several plain loops: each becomes vector code,
/// one for all of it does not.
#[inline(always)]
pub(crate) fn fold(text: &[u8], word: bool, room: &mut [Room]) -> usize {
    let mut first = [if word { b'x' } else { b' ' }; LINE + 1];
    let mut done = 0_usize;
    for (line, room) in text.as_chunks::<LINE>().0.iter().zip(room) {
        // The line and the byte before it.
        let window = match done.checked_sub(1).and_then(|before| text[before..].first_chunk()) {
            Some(window) => window,
            None => {
                first[1..].copy_from_slice(line);
                &first
            }
        };
        let (folded, odd) = fold_line(window);
        *room = folded.map(MaybeUninit::new);
        if odd {
            return done + first_odd(window);
        }
        done += LINE;
    }
    done
}

/// A line folded, and whether there is something in it that stops the folding.
#[inline(always)]
fn fold_line(window: &[u8; LINE + 1]) -> ([u8; LINE], bool) {
    let (mut least, mut most, mut runs) = (u8::MAX, 0, 0);
    let mut out = [0; LINE];
    for byte in &window[1..] {
        least = least.min(*byte);
        most = most.max(*byte);
    }
    for at in 0..LINE {
        let byte = window[at + 1];
        let lower = byte | (u8::from(byte.wrapping_sub(b'A') < 26) << 5);
        // Of plain text only white space is below a blank.
        out[at] = lower.max(b' ');
    }
    // As signed numbers, which compare faster; bytes beyond ASCII, which are negative then, are odd anyway.
    let white = |byte: u8| u8::from(byte.cast_signed() <= b' '.cast_signed());
    for at in 0..LINE {
        runs |= white(window[at]) & white(window[at + 1]);
    }
    let odd = most > b'~' || (least < b' ' && controls(window));
    (out, odd || runs != 0)
}

/// Where in an odd line the first byte stands that is odd.
#[inline(always)]
fn first_odd(window: &[u8; LINE + 1]) -> usize {
    let mut odd = [0; LINE];
    let white = |byte: u8| u8::from(byte <= b' ');
    for at in 0..LINE {
        let byte = window[at + 1];
        odd[at] = u8::from(byte > b'~') | control(byte) | (white(window[at]) & white(byte));
    }
    let (words, _) = odd.as_chunks();
    let found = words.iter().position(|word: &[u8; 8]| u64::from_le_bytes(*word) != 0);
    found.map_or(LINE, |word| word * 8 + u64::from_le_bytes(words[word]).trailing_zeros() as usize / 8)
}

/// Whether a line has controls that are no white space.
#[inline(always)]
fn controls(window: &[u8; LINE + 1]) -> bool {
    let mut odd = 0;
    for byte in &window[1..] {
        odd |= control(*byte);
    }
    odd != 0
}

/// 1 for a control that is no white space, else 0; without branches. Vertical tab is a control character here.
#[inline(always)]
const fn control(byte: u8) -> u8 {
    (byte < b' ') as u8 & (byte.wrapping_sub(b'\t') >= 5) as u8 | (byte == 0x0b) as u8
}
