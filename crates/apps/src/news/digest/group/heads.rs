//! Which posts hang together so far. Invariant: of a set's posts the lowest one is its head, whatever the order in which they
//! were joined. Pure.

/// Sets of posts, by their places.
pub(crate) struct Heads {
    /// A post nearer to the head of its set, or the head itself.
    above: Vec<u32>,
    /// How many posts a set has, by its head.
    sizes: Vec<u32>,
}

impl Heads {
    /// So many posts, each alone.
    pub(crate) fn alone(posts: usize) -> Self {
        Self { above: (0_u32..).take(posts).collect(), sizes: vec![1; posts] }
    }

    /// The head of a post's set.
    pub(crate) fn of(&mut self, post: u32) -> u32 {
        let mut at = post;
        while self.above[at as usize] != at {
            self.above[at as usize] = self.above[self.above[at as usize] as usize];
            at = self.above[at as usize];
        }
        at
    }

    /// How many posts a post's set has.
    pub(crate) fn size(&mut self, post: u32) -> u32 {
        let head = self.of(post);
        self.sizes[head as usize]
    }

    /// Makes one set of two; its head.
    pub(crate) fn join(&mut self, a: u32, b: u32) -> u32 {
        let (a, b) = (self.of(a), self.of(b));
        let (low, high) = (a.min(b), a.max(b));
        if low != high {
            self.above[high as usize] = low;
            self.sizes[low as usize] += self.sizes[high as usize];
        }
        low
    }
}
