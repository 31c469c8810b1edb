//! Near-duplicates against comparing all with all.

use super::*;
use proptest::prelude::*;

const STORY: &str = "The council said on Monday that the old bridge will reopen to trams and cars after eleven months of \
    work, and that night buses keep their detour until April because the last of the scaffolds is still there, while \
    the market on the square moves to the other side of the river for the whole of the spring, as it did last year";

fn near(one: &str, other: &str) -> bool {
    Print::of(one).is_near(&Print::of(other))
}

#[test]
fn what_changes_no_word_changes_nothing() {
    let told = format!("🔥 {} 👉 https://news.example/bridge @city_desk", STORY.to_uppercase());
    assert_eq!(Print::of(&told), Print::of(STORY));
    assert_eq!(normal("Ｆｕｌｌ ﬁne\u{200b} (@me) t.me/x/1 www.a.example 1️⃣ Straße"), "full fine 1 straße");
}

#[test]
fn a_long_text_with_a_small_change_is_the_same_and_another_is_not() {
    assert!(near(STORY, &STORY.replace("on Monday", "")));
    let other = "Engineers replaced hundreds of steel beams and raised the deck by almost twenty centimetres, which cost more \
        than was planned, and the mayor has to explain that to everybody before the vote in the summer of next year";
    assert!(!near(STORY, other));
}

#[test]
fn short_texts_are_the_same_when_four_of_five_words_are() {
    assert!(near("Breaking: the old bridge reopens on Monday", "BREAKING - the old bridge reopens Monday!"));
    assert!(!near("Dollar up 3% today", "Dollar down 4% today"));
    assert!(
        !near("", "") && !near("🔥", "🔥") && !near("@a https://b.example", "@a https://b.example"),
        "no words, no likeness"
    );
    assert!(near("日本銀行は金利を引き上げた", "日本銀行は金利を引き上げた!"));
    assert!(!near("日本銀行は金利を引き上げた", "東京で大きな祭りが開かれた"));
}

#[test]
fn the_earliest_stays_and_the_others_go_to_it() {
    let changed = STORY.replace("on Monday", "");
    let texts = [
        STORY,
        "A dog was found after eleven years",
        &changed,
        "A dog was found after eleven years alive",
        STORY,
    ];
    let prints: Vec<Print> = texts.iter().map(|text| Print::of(text)).collect();
    assert_eq!(groups(&prints), [vec![0, 2, 4], vec![1, 3]]);
    assert_eq!(pairs(&prints, 100), [(0, 2), (0, 4), (1, 3), (2, 4)]);
    assert_eq!(pairs(&prints, 2).len(), 2);
}

#[test]
fn the_work_does_not_grow_with_the_square() {
    let text = |seed: u64| -> String {
        (0..60).map(|word| format!("w{} ", finished(seed * 1000 + word) % 5000)).collect()
    };
    let work = |n: u64| grouped(&(0..n).map(|seed| Print::of(&text(seed))).collect::<Vec<_>>()).1;
    assert!(work(1000) < 1000, "texts that share no sequence are not compared");
    let same = vec![Print::of(STORY); 2000];
    assert!(grouped(&same).1 <= 2000 * 60, "copies of one text are compared with it alone");
    let short =
        |n: u64| -> String { (0..9).map(|word| format!("w{} ", finished(n * 100 + word) % 3000)).collect() };
    let short: Vec<Print> = (0..1000).map(|n| Print::of(&short(n))).collect();
    assert!(grouped(&short).1 < 1000 * 10);
}

/// Texts of few words, so that many are alike.
fn texts() -> impl Strategy<Value = Vec<String>> {
    let word = prop::sample::select(vec![
        "one", "two", "three", "four", "five", "six", "seven", "eight", "нет", "да",
    ]);
    let text = prop::collection::vec(word, 0..40).prop_map(|words| words.join(" "));
    let twice = (text, any::<bool>())
        .prop_map(|(text, again)| if again { vec![text.clone(), text + " end"] } else { vec![text] });
    prop::collection::vec(twice, 0..12).prop_map(|texts| texts.concat())
}

proptest! {
    #[test]
    fn the_index_finds_exactly_what_comparing_all_finds(texts in texts()) {
        let prints: Vec<Print> = texts.iter().map(|text| Print::of(text)).collect();
        let mut all = Vec::new();
        for (other, print) in prints.iter().enumerate() {
            all.extend((0..other).filter(|one| prints[*one].is_near(print)).map(|one| (one, other)));
        }
        all.sort_unstable();
        prop_assert_eq!(pairs(&prints, usize::MAX), all);
        let mut groups: Vec<usize> = groups(&prints).concat();
        groups.sort_unstable();
        prop_assert_eq!(groups, (0..prints.len()).collect::<Vec<_>>());
    }
}
