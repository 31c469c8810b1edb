//! Arithmetic on vectors and small matrices: likeness of int8 vectors, distance of sign bits, and what a small
//! transformer needs. Invariants: integers are exact, and every path (AVX-512 VNNI, AVX2, portable; chosen at run
//! time) gives the same numbers to the last bit, floats too, so that a vector does not depend on the machine it was
//! made on; `unsafe` stands in the modules `simd` and `pages` (what the kernel is asked about our memory) and nowhere else
//! in the product.

mod matrix;
#[expect(unsafe_code, reason = "one question to the kernel about our own memory, with its reason")]
mod pages;
mod portable;
#[expect(unsafe_code, reason = "processor instructions: the one audited place, each use with its reason")]
mod simd;
#[cfg(test)]
mod tests;
mod transformer;

pub use matrix::{Activations, BLOCK, GROUP, Misfit, Shape, Weights, pack};
pub use pages::{give_back, share_heap_of_c};
pub use simd::{Isa, signed};
pub use transformer::{Attention, Heads, attend};

/// Dot product of two vectors; of the common length where they differ. Exact up to 131,071 numbers, beyond that
/// modulo 2^32.
#[must_use]
pub fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    Isa::best().dot(a, b)
}

/// Dot products of `query` with every row of `rows` (rows one after the other, each as long as the query), in order.
/// `out` is cleared first; a rest shorter than a row is not looked at; an empty query has no rows.
pub fn scan_i8(query: &[i8], rows: &[i8], out: &mut Vec<i32>) {
    Isa::best().scan(query, rows, out);
}

/// Bits that differ between `query` and every row of `rows` (rows one after the other, each as long as the query), in
/// order. `out` is cleared first; a rest shorter than a row is not looked at; an empty query has no rows.
pub fn hamming(query: &[u64], rows: &[u64], out: &mut Vec<u32>) {
    Isa::best().hamming(query, rows, out);
}
