//! Posts that say the same in almost the same words. Invariant: of doubles the earliest stays, and a post is a double of one that
//! stays. Pure; the measure is `portcullis_news::groups`. Source: news.md section 6.

use super::item::Item;
use portcullis_news::{Print, groups};

/// For each post the place of the one it repeats, or its own.
pub(crate) fn doubles(items: &[Item]) -> Vec<u32> {
    let mut order: Vec<u32> = (0_u32..).take(items.len()).collect();
    order.sort_by_key(|at| (items[*at as usize].at, *at));
    let prints: Vec<Print> = order.iter().map(|at| Print::of(&items[*at as usize].words)).collect();
    let mut firsts = order.clone();
    for group in groups(&prints) {
        let Some((first, others)) = group.split_first() else { continue };
        for at in std::iter::once(first).chain(others) {
            firsts[order[*at] as usize] = order[*first];
        }
    }
    firsts
}

/// Places of the posts that repeat no other.
pub(super) fn firsts(doubles: &[u32]) -> Vec<u32> {
    (0_u32..).zip(doubles).filter(|(at, first)| at == *first).map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_store::PostRow;

    fn item(at: i64, text: &str) -> Item {
        Item::of(0, PostRow { at, text: text.to_owned(), ..PostRow::default() })
    }

    #[test]
    fn of_posts_that_say_the_same_the_earliest_stays() {
        let items = [
            item(
                30,
                "Zembla opens its first railway on Monday, from Onhava to the coast, the ministry says!",
            ),
            item(
                10,
                "Zembla opens its first railway on Monday, from Onhava to the coast, the ministry says.",
            ),
            item(20, "A lighthouse keeper in the far north found a chest of old coins below the stairs."),
            item(10, "zembla opens its first railway on monday from onhava to the coast, the ministry says"),
        ];
        assert_eq!(doubles(&items), [1, 1, 2, 1]);
        assert_eq!(doubles(&[]), Vec::<u32>::new());
    }
}
