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

proptest! {
    #[test]
    fn without_chains_groups_are_those_of_a_naive_search(degrees in proptest::collection::vec(0_u16..360, 0..40)) {
        let degrees: Vec<f32> = degrees.into_iter().map(f32::from).collect();
        let likeness = angles(&degrees);
        // Twice as wide as the slack can be left: nothing is split.
        let threshold = 0.995;
        let all: Vec<u32> = (0..u32::try_from(degrees.len()).unwrap()).collect();
        let mut group: Vec<usize> = (0..degrees.len()).collect();
        for _ in 0..degrees.len() {
            for &a in &all {
                for &b in &all {
                    if a != b && likeness.of(a, b) >= threshold {
                        let least = group[a as usize].min(group[b as usize]);
                        group[a as usize] = least;
                        group[b as usize] = least;
                    }
                }
            }
        }
        let found = hanging(&likeness, &all, threshold);
        for members in &found {
            prop_assert!(members.iter().all(|post| group[*post as usize] == group[members[0] as usize]));
        }
        let distinct: std::collections::BTreeSet<_> = group.iter().collect();
        prop_assert_eq!(found.len(), distinct.len());
        let split = groups(&likeness, threshold);
        prop_assert_eq!(split.iter().map(Vec::len).sum::<usize>(), degrees.len(), "each post once");
    }

    #[test]
    fn pairs_by_words_are_those_of_their_likeness(texts in proptest::collection::vec("[a-d]{2,5}( [a-d]{2,5}){0,6}", 0..30)) {
        let texts: Vec<(&str, Language)> = texts.iter().map(|text| (text.as_str(), Language::UNKNOWN)).collect();
        let likeness = Likeness::by_words(&texts);
        let all: Vec<u32> = (0..u32::try_from(texts.len()).unwrap()).collect();
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        likeness.pairs(&all, 0.4, &mut |a, b| found.push((a, b)));
        for &a in &all {
            expected.extend(all.iter().filter(|b| **b > a && likeness.of(a, **b) >= 0.4).map(|b| (a, *b)));
        }
        // Sums in another order differ in their last bits.
        let near = |(a, b): &&(u32, u32)| (likeness.of(*a, *b) - 0.4).abs() > 1e-4;
        prop_assert_eq!(found.iter().filter(near).collect::<Vec<_>>(), expected.iter().filter(near).collect::<Vec<_>>());
    }
}
