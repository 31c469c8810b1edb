//! Every row's vectors, and that the walk ends.

use super::{super::tests::expand, *};

fn all(text: &str) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    find(text, |_| true, &mut out);
    out.into_iter().map(|found| (found.kind, text[found.range].to_owned())).collect()
}

#[test]
fn every_number_is_found_where_it_should_be_and_nowhere_else() {
    assert!(numbers().count() <= 128, "rows are bits of a number");
    let mut wrong = Vec::new();
    for row in numbers() {
        let found = |text: &str| {
            let (text, mut at) = (expand(text), 0);
            let of_row = |with: &&Try| std::ptr::eq(with.number, row);
            std::iter::from_fn(|| {
                let word = next(text.as_bytes(), at)?;
                at = word.end;
                let mut tries =
                    WALK.tries[(word.end - word.start).min(LONGEST_WORD + 1)].iter().filter(of_row);
                Some(tries.any(|with| read(&text, with, word, || true).is_some()))
            })
            .any(|found| found)
        };
        let mut all = row.hits.iter().map(|hit| expand(hit));
        assert!(all.all(|hit| row.near.is_empty() || WALK.labels.rows(&hit) != 0), "{:?}", row.near);
        let unfound = row.hits.iter().filter(|hit| !found(hit));
        wrong.extend(unfound.map(|hit| format!("{} should be in {hit}", row.kind)));
        let unmissed = row.misses.iter().filter(|miss| found(miss));
        wrong.extend(unmissed.map(|miss| format!("{} should not be in {miss}", row.kind)));
        assert!(row.near.iter().all(|word| word.len() < BEFORE), "{:?}", row.near);
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn what_was_found_is_all_of_the_number_and_nothing_more() {
    for (text, kind, found) in [
        ("pay 4012 8888 8888 1881 now", "card", "4012 8888 8888 1881"),
        ("IBAN: GB82 WEST 1234 5698 7654 32.", "iban", "GB82 WEST 1234 5698 7654 32"),
        ("call (415) 555-0132, or not", "phone", "(415) 555-0132"),
        ("call +31 20 123 4567.", "phone", "+31 20 123 4567"),
        ("from 203.0.114.7:8080 on", "ip", "203.0.114.7"),
        ("[2400:c401::5054:ff:fe1b:b031]:443", "ip", "2400:c401::5054:ff:fe1b:b031"),
    ] {
        assert_eq!(all(text), [(kind, found.to_owned())]);
    }
}

#[test]
fn ordinary_numbers_are_left_alone() {
    for text in [
        "In 2024 there were 1,234,567 of 10,000,000.",
        "2026-11-21T06:00:00.123456Z",
        "took 1234567890 ns, 17 %, v1.2.3-rc.4",
        "req_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "the years 1914-1918 and 1939-1945",
        "pi is 3.14159265358979323846",
        "1 + 2 = 3; 10 * 10 = 100",
    ] {
        assert_eq!(all(text), [], "{text}");
    }
}

#[test]
fn crafted_megabytes_end() {
    for piece in ["1", "1 ", "+1", "(1", "1.", "1:", "a1", "phone 1234567 ", "4012 "] {
        let text = piece.repeat(300_000 / piece.len());
        let mut out = Vec::new();
        find(&text, |_| true, &mut out);
        assert!(out.len() < text.len());
    }
}
