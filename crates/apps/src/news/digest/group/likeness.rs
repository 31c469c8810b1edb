//! How like posts are: by vectors of a model, or by pieces of their words. Invariants: one measure for all posts of a run;
//! the same posts give the same numbers on every machine (int8 by `portcullis-kernels`). Pure.
//!
//! Words: 4-grams of characters of stems that say something, weighted by how rare they are, compared by cosine.
//! Source: news.md section 6.

use ahash::AHashMap;
use portcullis_kernels::{dot_i8, scan_i8};
use portcullis_knowledge::{Language, text::content_stems};

/// Rows that are compared with every other before the next ones: they stay in the processor's cache.
const BLOCK: usize = 256;
/// Rarest pieces of one post that count.
const MOST_PIECES: usize = 96;
/// A piece that more posts have than this, and than one in ten, tells nothing apart.
const COMMON: usize = 200;
/// Characters of a piece.
const PIECE: usize = 4;

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

/// Rare pieces of each post with their weights, in order of the pieces; each post has length 1 or no piece.
pub(crate) struct Words {
    posts: Vec<Vec<(u32, f32)>>,
    /// Posts that have a piece, by the piece.
    holders: Vec<Vec<(u32, f32)>>,
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
        let mut numbers = AHashMap::<[char; PIECE], u32>::new();
        let mut counts: Vec<usize> = Vec::new();
        let mut posts: Vec<Vec<u32>> = Vec::with_capacity(texts.len());
        for (text, language) in texts {
            let mut own: Vec<u32> = Vec::new();
            for piece in pieces(text, *language) {
                let next = u32::try_from(counts.len()).unwrap_or(u32::MAX);
                let number = *numbers.entry(piece).or_insert(next);
                if number == next {
                    counts.push(0);
                }
                own.push(number);
            }
            own.sort_unstable();
            own.dedup();
            for number in &own {
                counts[*number as usize] += 1;
            }
            posts.push(own);
        }
        let most = COMMON.max(texts.len() / 10);
        let rarity = |number: u32| (1.0 + texts.len() as f32 / counts[number as usize] as f32).ln();
        let weigh = |own: Vec<u32>| {
            let mut own: Vec<(u32, f32)> = own
                .into_iter()
                .filter(|number| counts[*number as usize] <= most)
                .map(|number| (number, rarity(number)))
                .collect();
            own.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            own.truncate(MOST_PIECES);
            own.sort_unstable_by_key(|(number, _)| *number);
            let length = own.iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
            own.into_iter().map(|(number, weight)| (number, weight / length)).collect()
        };
        let posts: Vec<Vec<(u32, f32)>> = posts.into_iter().map(weigh).collect();
        let mut holders = vec![Vec::new(); counts.len()];
        for (post, own) in (0_u32..).zip(&posts) {
            for (number, weight) in own {
                holders[*number as usize].push((post, *weight));
            }
        }
        Self::Words(Words { posts, holders })
    }

    /// How many posts there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Vectors(vectors) => vectors.scales.len(),
            Self::Words(words) => words.posts.len(),
        }
    }

    /// How like two posts are, -1 to 1.
    pub(crate) fn of(&self, a: u32, b: u32) -> f32 {
        match self {
            Self::Vectors(vectors) => vectors.of(a, b),
            Self::Words(words) => dot(&words.posts[a as usize], &words.posts[b as usize]),
        }
    }

    /// Names each pair of these posts (in rising order) that is at least so like.
    pub(crate) fn pairs(&self, among: &[u32], least: f32, found: &mut dyn FnMut(u32, u32)) {
        match self {
            Self::Vectors(vectors) => vectors.pairs(among, least, found),
            Self::Words(words) => words.pairs(among, least, found),
        }
    }

    /// Which of these posts is most like all of them together; the first where several are.
    pub(crate) fn medoid(&self, among: &[u32]) -> Option<u32> {
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

    fn pairs(&self, among: &[u32], least: f32, found: &mut dyn FnMut(u32, u32)) {
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
                for (&b, dot) in part[skip..].iter().zip(&dots) {
                    if *dot as f32 * own * self.scales[b as usize] >= least {
                        found(a, b);
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

impl Words {
    fn pairs(&self, among: &[u32], least: f32, found: &mut dyn FnMut(u32, u32)) {
        let mut inside = vec![false; self.posts.len()];
        among.iter().for_each(|post| inside[*post as usize] = true);
        let mut sums = vec![0.0_f32; self.posts.len()];
        let mut touched: Vec<u32> = Vec::new();
        for &a in among {
            for (number, weight) in &self.posts[a as usize] {
                let holders = &self.holders[*number as usize];
                let behind = holders.partition_point(|(post, _)| *post <= a);
                for (b, other) in &holders[behind..] {
                    let sum = &mut sums[*b as usize];
                    if *sum == 0.0 {
                        touched.push(*b);
                    }
                    *sum += weight * other;
                }
            }
            touched.sort_unstable();
            for b in touched.drain(..) {
                let sum = std::mem::take(&mut sums[b as usize]);
                if sum >= least && inside[b as usize] {
                    found(a, b);
                }
            }
        }
    }

    fn sums(&self, among: &[u32]) -> Vec<f32> {
        let mut centre = AHashMap::<u32, f32>::new();
        for (number, weight) in among.iter().flat_map(|post| &self.posts[*post as usize]) {
            *centre.entry(*number).or_default() += weight;
        }
        let sum = |post: &u32| {
            let own = self.posts[*post as usize].iter();
            own.map(|(number, weight)| weight * centre.get(number).copied().unwrap_or_default()).sum()
        };
        among.iter().map(sum).collect()
    }
}

/// Of two posts whose pieces are in order.
fn dot(a: &[(u32, f32)], b: &[(u32, f32)]) -> f32 {
    let (mut i, mut j, mut sum) = (0, 0, 0.0);
    while let (Some((left, x)), Some((right, y))) = (a.get(i), b.get(j)) {
        match left.cmp(right) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                sum += x * y;
                i += 1;
                j += 1;
            }
        }
    }
    sum
}

/// The pieces of a text: of each stem with a blank before and behind it, every four characters in a row.
fn pieces(text: &str, language: Language) -> Vec<[char; PIECE]> {
    let mut out: Vec<[char; PIECE]> = Vec::new();
    let mut stems: Vec<String> = content_stems(text, language).into_iter().collect();
    // A set has no order, and the order of pieces decides between equal weights.
    stems.sort_unstable();
    for stem in stems {
        let padded: Vec<char> =
            std::iter::once(' ').chain(stem.chars()).chain(std::iter::repeat_n(' ', 1)).collect();
        if padded.len() <= PIECE {
            let mut piece = [' '; PIECE];
            piece.iter_mut().zip(&padded).for_each(|(to, from)| *to = *from);
            out.push(piece);
        }
        out.extend(padded.windows(PIECE).filter_map(|window| <[char; PIECE]>::try_from(window).ok()));
    }
    out
}
