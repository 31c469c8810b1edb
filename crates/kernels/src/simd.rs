//! The one place with `unsafe`: instructions of x86-64 processors behind safe functions. Invariants: an [`Isa`] with
//! wide instructions is made only where the processor was asked and has them, which is what makes calling them sound;
//! memory is read and written through references to arrays of exactly the register's size, so that no length is
//! trusted; of a vector only what was written is counted as there; everything else is safe code. Every path gives what
//! `portable` gives, to the last bit.

use crate::{
    matrix::{Activations, Weights},
    portable,
    transformer::{self, Attention, Head},
};

/// The instructions that the kernels use. A value proves that this processor has them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl std::fmt::Debug for Isa {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name())
    }
}

/// Calls the function of the path that an [`Isa`] stands for.
macro_rules! on {
    ($isa:expr, $wide:ident, $middle:ident, $portable:path, $args:tt) => {
        match $isa.0 {
            // SAFETY: a value of this kind is made in `Isa::has` only, where the processor has every feature that
            // these functions are compiled for.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { x86::$wide $args },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { x86::$middle $args },
            Kind::Portable => $portable $args,
        }
    };
}

impl Isa {
    /// The fastest of this processor. Cheap: the standard library asks the processor once.
    #[must_use]
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        for kind in [Kind::Avx512, Kind::Avx2] {
            if Self::has(kind) {
                return Self(kind);
            }
        }
        Self(Kind::Portable)
    }

    /// Everything that this processor can run, fastest first; the portable path is last and always there.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let all = [
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2,
            Kind::Portable,
        ];
        all.into_iter().filter(|kind| Self::has(*kind)).map(Self).collect()
    }

    /// Stable name, for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            Kind::Portable => "portable",
        }
    }

    fn has(kind: Kind) -> bool {
        match kind {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => {
                use std::arch::is_x86_feature_detected as has;
                has!("avx512f")
                    && has!("avx512bw")
                    && has!("avx512vl")
                    && has!("avx512vnni")
                    && has!("avx512vpopcntdq")
                    && has!("popcnt")
            }
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => {
                std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("popcnt")
            }
            Kind::Portable => true,
        }
    }

    /// [`crate::dot_i8`] by this path.
    #[must_use]
    pub fn dot(self, a: &[i8], b: &[i8]) -> i32 {
        on!(self, dot_512, dot_256, portable::dot, (a, b))
    }

    /// [`crate::scan_i8`] by this path.
    pub fn scan(self, query: &[i8], rows: &[i8], out: &mut Vec<i32>) {
        out.clear();
        if !query.is_empty() {
            out.reserve(rows.len() / query.len());
            on!(self, scan_512, scan_256, portable::scan, (query, rows, out));
        }
    }

    /// [`crate::hamming`] by this path.
    pub fn hamming(self, query: &[u64], rows: &[u64], out: &mut Vec<u32>) {
        out.clear();
        if !query.is_empty() {
            out.reserve(rows.len() / query.len());
            on!(self, hamming_512, hamming_256, portable::hamming, (query, rows, out));
        }
    }

    /// The matrix product; sizes were checked by [`Weights::apply`].
    pub(crate) fn product(self, activations: &Activations, weights: &Weights<'_>, out: &mut [f32]) {
        on!(self, product_512, product_256, portable::product, (activations, weights, out));
    }

    /// One head of [`crate::attend`].
    pub(crate) fn attend(self, head: Head<'_>, memory: &mut Attention, out: &mut [f32]) {
        on!(self, attend_512, attend_256, transformer::attend_head, (head, memory, out));
    }

    /// Appends plain text to `out` as it is compared: ASCII in lower case, each white space as a blank. Stops before
    /// the first byte that is anything else (a control character, beyond ASCII) or white space after white space, and
    /// at a rest of less than 64 bytes. `word`: what stands before the text is no white space. How many bytes were
    /// folded.
    #[must_use = "the rest is not folded"]
    pub fn fold(self, text: &[u8], word: bool, out: &mut Vec<u8>) -> usize {
        // Room for all of it at once: asked for line by line it would cost as much as the folding.
        out.reserve(text.len());
        let room = out.spare_capacity_mut().as_chunks_mut().0;
        let done = on!(self, fold_512, fold_256, portable::fold, (text, word, room));
        // SAFETY: folding has written the first `done` bytes of the room, all of which is spare capacity.
        unsafe { out.set_len(out.len() + done) };
        done
    }

    /// GELU of every number, in place.
    pub fn gelu(self, values: &mut [f32]) {
        on!(self, gelu_512, gelu_256, transformer::gelu, (values));
    }

    /// Adds `more` to `values`, then brings every row of `gain.len()` numbers to mean 0 and variance 1, times `gain`
    /// plus `bias`, in place.
    pub fn add_norm(self, values: &mut [f32], more: &[f32], gain: &[f32], bias: &[f32], epsilon: f32) {
        on!(self, add_norm_512, add_norm_256, transformer::add_norm, (values, more, gain, bias, epsilon));
    }

    /// Every row of `width` numbers as u8, with a scale and a zero point of its own; zero stays exactly zero.
    pub fn quantise(self, values: &[f32], width: usize, out: &mut Activations) {
        on!(self, quantise_512, quantise_256, transformer::quantise, (values, width, out));
    }
}

/// Bytes read as signed numbers, in place.
#[must_use]
pub fn signed(bytes: &[u8]) -> &[i8] {
    // SAFETY: u8 and i8 have the same size and alignment, and every bit pattern is a value of both.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! Compiled for wider registers than the rest of the binary.

    use crate::{
        matrix::{Activations, BLOCK, GROUP, Weights},
        portable,
        transformer::{self, Attention, Head},
    };
    use std::arch::x86_64::*;

    /// Bytes of a 512-bit register, and of one packed group of weights.
    const WIDE: usize = 64;
    const MIDDLE: usize = 16;
    const _: () = assert!(BLOCK * GROUP == WIDE);

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load_512(bytes: &[i8; WIDE]) -> __m512i {
        // SAFETY: reads the 64 bytes of the array; the instruction wants no alignment.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn load_128(bytes: &[i8; MIDDLE]) -> __m128i {
        // SAFETY: reads the 16 bytes of the array; the instruction wants no alignment.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    /// `x` with its sign bit turned: `x + 128` as u8.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn lifted(x: __m512i) -> __m512i {
        _mm512_xor_si512(x, _mm512_set1_epi8(i8::MIN))
    }

    /// The tail of a vector in an array of its own, filled up with zeros.
    #[inline]
    fn padded<const N: usize>(tail: &[i8]) -> [i8; N] {
        let mut whole = [0; N];
        whole[..tail.len()].copy_from_slice(tail);
        whole
    }

    /// `sum of (a + 128) * b`, which the instruction can, less `128 * sum of b`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq,popcnt")]
    pub(super) fn dot_512(a: &[i8], b: &[i8]) -> i32 {
        lifted_dot(a, b).wrapping_sub(lifted_sum(b, a.len()))
    }

    /// `128 * sum of b` over at most `len` numbers, in the same 32 bits.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq,popcnt")]
    fn lifted_sum(b: &[i8], len: usize) -> i32 {
        let b = &b[..b.len().min(len)];
        b.iter().fold(0_i32, |sum, y| sum.wrapping_add(i32::from(*y))).wrapping_mul(128)
    }

    /// `sum of (a + 128) * b` over the common length.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq,popcnt")]
    fn lifted_dot(a: &[i8], b: &[i8]) -> i32 {
        let len = a.len().min(b.len());
        let (a, a_tail) = a[..len].as_chunks::<WIDE>();
        let (b, b_tail) = b[..len].as_chunks::<WIDE>();
        let mut sum = _mm512_setzero_si512();
        for (x, y) in a.iter().zip(b) {
            sum = _mm512_dpbusd_epi32(sum, lifted(load_512(x)), load_512(y));
        }
        if !a_tail.is_empty() {
            let (x, y) = (padded(a_tail), padded(b_tail));
            sum = _mm512_dpbusd_epi32(sum, lifted(load_512(&x)), load_512(&y));
        }
        _mm512_reduce_add_epi32(sum)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq,popcnt")]
    pub(super) fn scan_512(query: &[i8], rows: &[i8], out: &mut Vec<i32>) {
        // The rows are lifted, so that what is taken off again is the same for all of them.
        let lift = lifted_sum(query, query.len());
        for row in rows.chunks_exact(query.len()) {
            out.push(lifted_dot(row, query).wrapping_sub(lift));
        }
    }

    /// Sixteen numbers at a time, widened: no pair of products overflows.
    #[inline]
    #[target_feature(enable = "avx2,popcnt")]
    pub(super) fn dot_256(a: &[i8], b: &[i8]) -> i32 {
        let len = a.len().min(b.len());
        let (a, a_tail) = a[..len].as_chunks::<MIDDLE>();
        let (b, b_tail) = b[..len].as_chunks::<MIDDLE>();
        let mut sum = _mm256_setzero_si256();
        for (x, y) in a.iter().zip(b) {
            let (x, y) = (_mm256_cvtepi8_epi16(load_128(x)), _mm256_cvtepi8_epi16(load_128(y)));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, y));
        }
        add_up(sum).wrapping_add(portable::dot(a_tail, b_tail))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add_up(sum: __m256i) -> i32 {
        let four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
    }

    #[target_feature(enable = "avx2,popcnt")]
    pub(super) fn scan_256(query: &[i8], rows: &[i8], out: &mut Vec<i32>) {
        out.extend(rows.chunks_exact(query.len()).map(|row| dot_256(query, row)));
    }

    /// Plain functions compiled once more for wider registers: the compiler does as well as a hand there.
    macro_rules! widened {
        ($($wide:ident, $middle:ident: $plain:path, ($($name:ident: $kind:ty),*) $(-> $gives:ty)?;)*) => {$(
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq,popcnt")]
            pub(super) fn $wide($($name: $kind),*) $(-> $gives)? {
                $plain($($name),*)
            }

            #[target_feature(enable = "avx2,popcnt")]
            pub(super) fn $middle($($name: $kind),*) $(-> $gives)? {
                $plain($($name),*)
            }
        )*};
    }

    widened! {
        hamming_512, hamming_256: portable::hamming, (query: &[u64], rows: &[u64], out: &mut Vec<u32>);
        fold_512, fold_256: portable::fold, (text: &[u8], word: bool, room: &mut [portable::Room]) -> usize;
        attend_512, attend_256: transformer::attend_head, (head: Head<'_>, memory: &mut Attention, out: &mut [f32]);
        gelu_512, gelu_256: transformer::gelu, (values: &mut [f32]);
        add_norm_512, add_norm_256: transformer::add_norm,
            (values: &mut [f32], more: &[f32], gain: &[f32], bias: &[f32], epsilon: f32);
        quantise_512, quantise_256: transformer::quantise, (values: &[f32], width: usize, out: &mut Activations);
    }

    /// Rows of activations whose sums stay in registers, beside two blocks of columns.
    const TALL: usize = 8;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq,popcnt")]
    pub(super) fn product_512(activations: &Activations, weights: &Weights<'_>, out: &mut [f32]) {
        let inputs = weights.shape().inputs;
        // Weights outside, rows inside: two blocks of columns are read once and stay in the nearest cache.
        for (pair, packed) in weights.packed().chunks(2 * inputs * BLOCK).enumerate() {
            let from = pair * 2 * BLOCK;
            let rows = activations.len();
            let mut row = 0;
            while row + TALL <= rows {
                tile_512::<TALL>(activations, row, weights, packed, from, out);
                row += TALL;
            }
            while row + 2 <= rows {
                tile_512::<2>(activations, row, weights, packed, from, out);
                row += 2;
            }
            if row < rows {
                tile_512::<1>(activations, row, weights, packed, from, out);
            }
        }
    }

    /// `R` rows times one or two blocks of columns.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq,popcnt")]
    fn tile_512<const R: usize>(
        activations: &Activations,
        row: usize,
        weights: &Weights<'_>,
        packed: &[i8],
        from: usize,
        out: &mut [f32],
    ) {
        let shape = weights.shape();
        let (left, right) = packed.split_at(shape.inputs * BLOCK);
        // A last block without a neighbour is read twice; what comes of the second is not written.
        let pair = if right.is_empty() { 1 } else { 2 };
        let left = left.as_chunks::<WIDE>().0;
        let right = if pair == 1 { left } else { &right.as_chunks::<WIDE>().0[..left.len()] };
        let values = &activations.values[row * shape.inputs..(row + R) * shape.inputs];
        let values = values.as_chunks::<GROUP>().0;
        let groups = left.len();
        let mut lines = [&values[..groups]; R];
        for (at, line) in lines.iter_mut().enumerate() {
            *line = &values[at * groups..(at + 1) * groups];
        }
        let mut sums = [[_mm512_setzero_si512(); 2]; R];
        for group in 0..groups {
            let (a, b) = (load_512(&left[group]), load_512(&right[group]));
            for (line, sums) in lines.iter().zip(&mut sums) {
                let x = _mm512_set1_epi32(i32::from_le_bytes(line[group]));
                sums[0] = _mm512_dpbusd_epi32(sums[0], x, a);
                sums[1] = _mm512_dpbusd_epi32(sums[1], x, b);
            }
        }
        for (at, sums) in sums.iter().enumerate() {
            let row = row + at;
            for (block, sums) in sums.iter().take(pair).enumerate() {
                let from = from + block * BLOCK;
                let line = &mut out[row * shape.columns + from..][..BLOCK];
                let (scale, zero) = (activations.scales[row], activations.zeros[row]);
                portable::finish(weights, from, scale, zero, &lanes_512(*sums), line);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn lanes_512(register: __m512i) -> [i32; BLOCK] {
        let mut lanes = [0_i32; BLOCK];
        // SAFETY: writes the 64 bytes of the array; the instruction wants no alignment.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), register) };
        lanes
    }

    #[target_feature(enable = "avx2,popcnt")]
    pub(super) fn product_256(activations: &Activations, weights: &Weights<'_>, out: &mut [f32]) {
        let inputs = weights.shape().inputs;
        for (block, packed) in weights.packed().chunks_exact(inputs * BLOCK).enumerate() {
            let rows = activations.len();
            for row in (0..rows / 2).map(|pair| pair * 2) {
                tile_256::<2>(activations, row, weights, packed, block * BLOCK, out);
            }
            if rows % 2 == 1 {
                tile_256::<1>(activations, rows - 1, weights, packed, block * BLOCK, out);
            }
        }
    }

    /// `R` rows times one block of columns. Sixteen bits at a time: the eight-bit instruction would saturate.
    #[inline]
    #[target_feature(enable = "avx2,popcnt")]
    fn tile_256<const R: usize>(
        activations: &Activations,
        row: usize,
        weights: &Weights<'_>,
        packed: &[i8],
        from: usize,
        out: &mut [f32],
    ) {
        let shape = weights.shape();
        let packed = packed.as_chunks::<WIDE>().0;
        let groups = packed.len();
        let values = &activations.values[row * shape.inputs..(row + R) * shape.inputs];
        let values = values.as_chunks::<GROUP>().0;
        let mut lines = [&values[..groups]; R];
        for (at, line) in lines.iter_mut().enumerate() {
            *line = &values[at * groups..(at + 1) * groups];
        }
        // Of each register two neighbours belong to one column.
        let mut sums = [[_mm256_setzero_si256(); 4]; R];
        for (group, packed) in packed.iter().enumerate() {
            let quarters = packed.as_chunks::<MIDDLE>().0;
            for (quarter, at) in quarters.iter().zip(0..4) {
                let w = _mm256_cvtepi8_epi16(load_128(quarter));
                for (line, sums) in lines.iter().zip(&mut sums) {
                    let x = _mm256_cvtepu8_epi16(_mm_set1_epi32(i32::from_le_bytes(line[group])));
                    sums[at] = _mm256_add_epi32(sums[at], _mm256_madd_epi16(w, x));
                }
            }
        }
        for (at, sums) in sums.iter().enumerate() {
            let row = row + at;
            let mut whole = [0_i32; BLOCK];
            for (sums, four) in sums.iter().zip(whole.as_chunks_mut::<4>().0) {
                let halves = lanes_256(*sums);
                for (column, half) in four.iter_mut().zip(halves.as_chunks::<2>().0) {
                    *column = half[0].wrapping_add(half[1]);
                }
            }
            let line = &mut out[row * shape.columns + from..][..BLOCK];
            portable::finish(weights, from, activations.scales[row], activations.zeros[row], &whole, line);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn lanes_256(register: __m256i) -> [i32; 8] {
        let mut lanes = [0_i32; 8];
        // SAFETY: writes the 32 bytes of the array; the instruction wants no alignment.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), register) };
        lanes
    }
}
