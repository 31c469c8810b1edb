//! How like posts are by their words: 4-grams of characters of stems that say something, weighted by how rare they are, compared
//! by cosine. Invariants: the same posts give the same numbers whatever the order in which they are compared; what hangs together
//! is found exactly, however much is left out on the way. Pure. Source: news.md section 6.

use super::Heads;
use ahash::AHashMap;
use portcullis_knowledge::{Language, text::content_stems};

/// Rarest pieces of one post that count.
const MOST_PIECES: usize = 96;
/// A piece that more posts have than this, and than one in ten, tells nothing apart.
const COMMON: usize = 200;
/// Characters of a piece.
const PIECE: usize = 4;
/// Posts up to which each is compared with each: lists by piece would cost more.
const FEW: usize = 24;

/// A piece by its number, and what it weighs in a post.
type Weighed = (u32, f32);

/// Rare pieces of each post with their weights, in order of the pieces; each post has length 1 or no piece.
pub(crate) struct Words {
    posts: Vec<Vec<Weighed>>,
    /// How many pieces there are.
    pieces: usize,
}

impl Words {
    /// Of these texts.
    pub(crate) fn of(texts: &[(&str, Language)]) -> Self {
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
            let mut own: Vec<Weighed> = own
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
        Self { posts: posts.into_iter().map(weigh).collect(), pieces: counts.len() }
    }

    /// How many posts there are.
    pub(crate) fn len(&self) -> usize {
        self.posts.len()
    }

    /// How like two posts are.
    pub(crate) fn alike(&self, a: u32, b: u32) -> f32 {
        dot(&self.posts[a as usize], &self.posts[b as usize])
    }

    /// Which posts are at least so like another one.
    pub(crate) fn any(&self, least: f32) -> Vec<bool> {
        let all: Vec<u32> = (0_u32..).take(self.len()).collect();
        let lists = Lists::of(self, &all);
        let mut any = vec![false; all.len()];
        let mut sums = vec![0.0; all.len()];
        for at in 0..all.len() {
            // What was found from the other side need not be looked for again.
            if !any[at] {
                lists.sum(&self.posts[at], &mut sums);
                for (other, sum) in sums.iter().enumerate() {
                    if *sum >= least && other != at {
                        any[at] = true;
                        any[other] = true;
                    }
                }
            }
        }
        any
    }

    /// Joins those of these posts that hang together by pairs at least so like. Only posts outside the largest set are compared
    /// with all others: what two posts of one set have in common changes nothing, and a pair of two sets has an end that was
    /// compared.
    pub(crate) fn join(&self, among: &[u32], least: f32, heads: &mut Heads) {
        if among.len() <= FEW {
            for (at, a) in (0_u32..).zip(among) {
                for (other, b) in (0..at).zip(among) {
                    if self.alike(*a, *b) >= least {
                        heads.join(at, other);
                    }
                }
            }
            return;
        }
        let lists = Lists::of(self, among);
        let mut sums = vec![0.0; among.len()];
        let mut largest = 0;
        let mut open: Vec<u32> = (0_u32..).take(among.len()).collect();
        loop {
            let before = open.len();
            open.retain(|&at| {
                if heads.of(at) == heads.of(largest) && heads.size(at) > 1 {
                    return true;
                }
                lists.sum(&self.posts[among[at as usize] as usize], &mut sums);
                let mut own = heads.of(at);
                for (other, sum) in (0_u32..).zip(&sums) {
                    if *sum >= least && other != at {
                        own = heads.join(at, other);
                    }
                }
                if heads.size(own) > heads.size(largest) {
                    largest = own;
                }
                false
            });
            if open.len() == before {
                return;
            }
        }
    }

    /// How like each of these posts is all of them together.
    pub(crate) fn sums(&self, among: &[u32]) -> Vec<f32> {
        let mut centre = vec![0.0_f32; self.pieces];
        for (number, weight) in among.iter().flat_map(|post| &self.posts[*post as usize]) {
            centre[*number as usize] += weight;
        }
        let sum = |post: &u32| {
            let own = self.posts[*post as usize].iter();
            own.map(|(number, weight)| weight * centre[*number as usize]).sum()
        };
        among.iter().map(sum).collect()
    }
}

/// Posts that have a piece, by the piece: places among those that are compared, with the weights.
struct Lists {
    /// Where the list of each piece begins, and where the last one ends.
    begins: Vec<usize>,
    all: Vec<Weighed>,
}

impl Lists {
    fn of(words: &Words, among: &[u32]) -> Self {
        let mut begins = vec![0; words.pieces + 1];
        for (number, _) in among.iter().flat_map(|post| &words.posts[*post as usize]) {
            begins[*number as usize + 1] += 1;
        }
        for number in 0..words.pieces {
            begins[number + 1] += begins[number];
        }
        let mut all = vec![(0, 0.0); begins[words.pieces]];
        let mut next = begins.clone();
        for (at, post) in (0_u32..).zip(among) {
            for (number, weight) in &words.posts[*post as usize] {
                all[next[*number as usize]] = (at, *weight);
                next[*number as usize] += 1;
            }
        }
        Self { begins, all }
    }

    /// How like a post of these pieces is each; the order of adding is that of [`dot`], and so are the sums to the last bit.
    fn sum(&self, own: &[Weighed], sums: &mut [f32]) {
        sums.fill(0.0);
        for (number, weight) in own {
            let number = *number as usize;
            for (at, other) in &self.all[self.begins[number]..self.begins[number + 1]] {
                sums[*at as usize] += weight * other;
            }
        }
    }
}

/// Of two posts whose pieces are in order.
fn dot(a: &[Weighed], b: &[Weighed]) -> f32 {
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
