//! How like posts are: by vectors of a model, or by pieces of their words. Invariants: one measure for all posts of a run;
//! the same posts give the same numbers on every machine (int8 by `portcullis-kernels`). Pure. Source: news.md section 6.

use super::{Heads, Words};
use portcullis_kernels::{dot_i8, scan_i8};
use portcullis_knowledge::Language;

/// Rows that are compared with every other before the next ones: they stay in the processor's cache.
const BLOCK: usize = 256;
/// A measure over posts, by their places.
pub(crate) enum Likeness {
    /// By vectors.
    Vectors(Vectors),
    /// By words.
    Words(Words),
}

/// Unit vectors as int8 rows.
pub(crate) struct Vectors {
    width: usize,
    rows: Vec<i8>,
    /// One by the length of each row; 0 for a row of noughts.
    scales: Vec<f32>,
}

impl Likeness {
    /// By these vectors, each of that width.
    pub(crate) fn by_vectors(vectors: &[Vec<f32>], width: usize) -> Self {
        let mut rows = Vec::with_capacity(vectors.len() * width);
        let mut scales = Vec::with_capacity(vectors.len());
        for vector in vectors {
            let most = vector.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let from = rows.len();
            let part = if most > 0.0 && most.is_finite() { 127.0 / most } else { 0.0 };
            #[expect(clippy::cast_possible_truncation, reason = "between -127 and 127")]
            rows.extend((0..width).map(|at| (vector.get(at).unwrap_or(&0.0) * part).round() as i8));
            scales.push(scale(&rows[from..]));
        }
        Self::Vectors(Vectors { width, rows, scales })
    }

    /// By the words of these texts.
    pub(crate) fn by_words(texts: &[(&str, Language)]) -> Self {
        Self::Words(Words::of(texts))
    }

    /// How many posts there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Vectors(vectors) => vectors.scales.len(),
            Self::Words(words) => words.len(),
        }
    }

    /// How like two posts are, -1 to 1.
    pub(crate) fn of(&self, a: u32, b: u32) -> f32 {
        match self {
            Self::Vectors(vectors) => vectors.of(a, b),
            Self::Words(words) => words.alike(a, b),
        }
    }

    /// Joins those of these posts that are at least so like, or hang together by others that are; `heads` count places in
    /// `among`.
    pub(crate) fn join(&self, among: &[u32], least: f32, heads: &mut Heads) {
        match self {
            Self::Vectors(vectors) => vectors.join(among, least, heads),
            Self::Words(words) => words.join(among, least, heads),
        }
    }

    /// Which of these posts is most like all of them together; the first where several are.
    pub(crate) fn medoid(&self, among: &[u32]) -> Option<u32> {
        if among.len() < 3 {
            return among.first().copied();
        }
        let sums: Vec<f32> = match self {
            Self::Vectors(vectors) => vectors.sums(among),
            Self::Words(words) => words.sums(among),
        };
        let best = |best: (u32, f32), (post, sum): (u32, f32)| if sum > best.1 { (post, sum) } else { best };
        let mut all = among.iter().copied().zip(sums);
        let first = all.next()?;
        Some(all.fold(first, best).0)
    }
}

fn scale(row: &[i8]) -> f32 {
    let square = dot_i8(row, row);
    if square > 0 { 1.0 / (square as f32).sqrt() } else { 0.0 }
}

impl Vectors {
    fn row(&self, post: u32) -> &[i8] {
        let from = post as usize * self.width;
        &self.rows[from..from + self.width]
    }

    fn of(&self, a: u32, b: u32) -> f32 {
        dot_i8(self.row(a), self.row(b)) as f32 * self.scales[a as usize] * self.scales[b as usize]
    }

    fn join(&self, among: &[u32], least: f32, heads: &mut Heads) {
        let mut block = Vec::with_capacity(BLOCK * self.width);
        let mut dots = Vec::with_capacity(BLOCK);
        for (n, part) in among.chunks(BLOCK).enumerate() {
            block.clear();
            part.iter().for_each(|post| block.extend_from_slice(self.row(*post)));
            for (at, &a) in among.iter().enumerate().take(n * BLOCK + part.len()) {
                // Only pairs in order: of its own block a post meets those behind it.
                let skip = (at + 1).saturating_sub(n * BLOCK);
                scan_i8(self.row(a), &block[skip * self.width..], &mut dots);
                let own = self.scales[a as usize];
                for ((&b, dot), place) in part[skip..].iter().zip(&dots).zip(n * BLOCK + skip..) {
                    if *dot as f32 * own * self.scales[b as usize] >= least {
                        heads.join(at as u32, place as u32);
                    }
                }
            }
        }
    }

    fn sums(&self, among: &[u32]) -> Vec<f32> {
        let mut centre = vec![0.0_f32; self.width];
        for &post in among {
            let part = self.scales[post as usize];
            for (sum, value) in centre.iter_mut().zip(self.row(post)) {
                *sum += f32::from(*value) * part;
            }
        }
        let sum = |post: &u32| {
            let own = self.row(*post).iter().zip(&centre).map(|(value, sum)| f32::from(*value) * sum);
            own.sum::<f32>() * self.scales[*post as usize]
        };
        among.iter().map(sum).collect()
    }
}
