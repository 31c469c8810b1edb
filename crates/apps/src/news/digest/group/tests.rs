//! Groups against a naive model, chains, determinism, size.

use super::*;
use portcullis_knowledge::Language;
use proptest::prelude::*;

fn angles(degrees: &[f32]) -> Likeness {
    let vector = |degree: &f32| vec![degree.to_radians().cos(), degree.to_radians().sin()];
    Likeness::by_vectors(&degrees.iter().map(vector).collect::<Vec<_>>(), 2)
}

/// Least likeness of vectors so many degrees apart, a little less for the rounding of int8.
fn apart(degrees: f32) -> f32 {
    degrees.to_radians().cos() - 0.005
}

#[test]
fn posts_that_are_like_one_another_are_one_group_and_others_stay_alone() {
    let found = groups(&angles(&[0.0, 90.0, 4.0, 180.0, 93.0, 8.0]), apart(5.0));
    assert_eq!(found, [vec![0, 2, 5], vec![1, 4], vec![3]]);
}

#[test]
fn a_chain_is_split_where_it_leaves_its_middle() {
    // Each is like its neighbour, but the ends have nothing in common.
    let chain: Vec<f32> = (0_u8..9).map(|n| f32::from(n) * 20.0).collect();
    let found = groups(&angles(&chain), apart(20.0));
    assert!(found.len() > 1, "{found:?}");
    for group in &found {
        assert!(group.len() <= 4, "{found:?}");
    }
}

#[test]
fn nothing_is_no_group_and_a_vector_of_noughts_is_like_nobody() {
    assert_eq!(groups(&Likeness::by_vectors(&[], 4), 0.5), Vec::<Vec<u32>>::new());
    let noughts = Likeness::by_vectors(&[vec![0.0; 3], vec![0.0; 3], vec![1.0; 3]], 3);
    assert_eq!(groups(&noughts, 0.5), [vec![0], vec![1], vec![2]]);
    assert_eq!(groups(&Likeness::by_words(&[("", Language::EN), ("", Language::EN)]), 0.5).len(), 2);
}

#[test]
fn words_find_the_event_in_any_script() {
    let texts = [
        ("The parliament of Zembla approved the railway budget on Monday.", Language::EN),
        ("Парламент Земблы одобрил бюджет железной дороги.", Language::RU),
        ("Railway budget: Zembla's parliament says yes, approved on Monday.", Language::EN),
        ("Бюджет железной дороги одобрен парламентом Земблы в понедельник.", Language::RU),
        ("A cat was rescued from a tree in the harbour town.", Language::EN),
    ];
    assert_eq!(groups(&Likeness::by_words(&texts), 0.3), [vec![0, 2], vec![1, 3], vec![4]]);
}

/// What hangs together by comparing each with each.
fn naive(likeness: &Likeness, among: &[u32], threshold: f32) -> Vec<Vec<u32>> {
    let mut sets: Vec<Vec<u32>> = among.iter().map(|post| vec![*post]).collect();
    for &a in among {
        for &b in among.iter().filter(|b| **b < a && likeness.of(a, **b) >= threshold) {
            let at = |sets: &[Vec<u32>], post| sets.iter().position(|set| set.contains(&post)).unwrap();
            let (one, other) = (at(&sets, a), at(&sets, b));
            if one != other {
                let moved = sets.remove(one.max(other));
                sets[one.min(other)].extend(moved);
            }
        }
    }
    sets.iter_mut().for_each(|set| set.sort_unstable());
    sets.sort_unstable();
    sets
}

/// Some of so many posts.
fn some(posts: usize, step: usize) -> Vec<u32> {
    (0..u32::try_from(posts).unwrap()).step_by(step).collect()
}

proptest! {
    #[test]
    fn by_vectors_what_hangs_together_is_what_comparing_each_with_each_finds(
        degrees in proptest::collection::vec(0_u16..360, 0..60), step in 1_usize..3,
    ) {
        let likeness = angles(&degrees.into_iter().map(f32::from).collect::<Vec<_>>());
        let among = some(likeness.len(), step);
        prop_assert_eq!(hanging(&likeness, &among, 0.995), naive(&likeness, &among, 0.995));
        let split = groups(&likeness, 0.995);
        prop_assert_eq!(split.iter().map(Vec::len).sum::<usize>(), likeness.len(), "each post once");
    }

    #[test]
    fn by_words_what_hangs_together_is_what_comparing_each_with_each_finds(
        texts in proptest::collection::vec("[a-d]{2,5}( [a-d]{2,5}){0,6}", 0..90),
        step in 1_usize..3,
        threshold in 0.05_f32..0.9,
    ) {
        let texts: Vec<(&str, Language)> = texts.iter().map(|text| (text.as_str(), Language::UNKNOWN)).collect();
        let likeness = Likeness::by_words(&texts);
        let among = some(texts.len(), step);
        prop_assert_eq!(hanging(&likeness, &among, threshold), naive(&likeness, &among, threshold));
        let all = some(texts.len(), 1);
        let like = |a: &u32| all.iter().any(|b| a != b && likeness.of(*a, *b) >= threshold);
        prop_assert_eq!(Words::of(&texts).any(threshold), all.iter().map(like).collect::<Vec<_>>());
    }
}
