//! The arithmetic in plain Rust: what runs where a processor has none of the wider instructions, what the tests
//! compare with, and what is compiled once more for wider registers where the compiler does as well as a hand.
//! Invariant: sums run in a fixed order of sixteen lanes, so that every width gives the same bits.

use crate::matrix::{Activations, BLOCK, GROUP, Weights};

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

/// `activations` times `weights` plus biases, row by row into `out`.
#[inline(always)]
pub(crate) fn product(activations: &Activations, weights: &Weights<'_>, out: &mut [f32]) {
    let columns = weights.shape().columns;
    for (block, packed) in weights.blocks().enumerate() {
        for (row, line) in activations.rows().zip(out.chunks_exact_mut(columns)) {
            let mut sums = [0_i32; BLOCK];
            for (group, xs) in
                packed.as_chunks::<{ BLOCK * GROUP }>().0.iter().zip(row.values.as_chunks::<GROUP>().0)
            {
                for (sum, ws) in sums.iter_mut().zip(group.as_chunks::<GROUP>().0) {
                    for (w, x) in ws.iter().zip(xs) {
                        *sum = sum.wrapping_add(i32::from(*w) * i32::from(*x));
                    }
                }
            }
            let from = block * BLOCK;
            finish(weights, from, row.scale, row.zero, &sums, &mut line[from..from + BLOCK]);
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
