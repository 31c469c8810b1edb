//! The walk agrees with the general parser wherever it does not give up.

use super::*;
use proptest::prelude::*;

fn whole(text: &str, depth: usize) -> Option<&str> {
    let mut walk = Walk::over(text.as_bytes(), depth)?;
    let value = walk.value()?;
    walk.end().map(|()| value)
}

/// Some JSON, as text; `odd` stands in places where it may break it.
fn json() -> impl Strategy<Value = String> {
    let string = "\"([ -!#-\\[\\]-~àж漢😀]|\\\\[\"\\\\/bfnrt]|\\\\u00e9|\\\\ud83d\\\\ude00){0,90}\"";
    let number = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?";
    let leaf = prop_oneof![string, number, "true|false|null"];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5)
                .prop_map(|items| format!("[{} ]", items.join(" ,"))),
            proptest::collection::vec((string, inner), 0..5).prop_map(|items| {
                let members: Vec<_> =
                    items.iter().map(|(name, value)| format!("{name} :\n{value}")).collect();
                format!("{{ {}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_json_is_walked_and_what_is_none_is_not(
        text in json(), at in 0_usize..400, odd in "[\u{0}-\u{1f}]|[\"\\\\,:{}\\[\\]0a-]|\\\\u[0-9a-f]{3}", put in any::<bool>(),
    ) {
        // Names with escapes are left to the general parser.
        if let Some(walked) = whole(&text, 64) {
            prop_assert_eq!(walked, text.trim());
        }
        let mut broken = text;
        let at = (0..=at.min(broken.len())).rev().find(|at| broken.is_char_boundary(*at)).unwrap();
        if put { broken.insert_str(at, &odd) } else { broken.truncate(at) }
        if whole(&broken, 64).is_some() {
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&broken).is_ok(), "{}", broken);
        }
    }

    #[test]
    fn strings_are_found_and_measured_as_the_parser_reads_them(
        inside in "([ -!#-\\[\\]-~àж漢😀]|\\\\[\"\\\\/bfnrt]|\\\\u00e9|\\\\u20ac|\\\\ud83d\\\\ude00){0,200}",
    ) {
        let quoted = format!(" \"{inside}\"");
        let mut walk = Walk::over(quoted.as_bytes(), 0).unwrap();
        let text = walk.string().unwrap();
        let read: String = serde_json::from_str(&quoted).unwrap();
        prop_assert_eq!(text, Text { inside: &inside, escaped: inside.contains('\\') });
        prop_assert_eq!(text.said(), Some(read.len() as u64));
        prop_assert!(walk.end().is_some());
    }
}

#[test]
fn members_and_items_are_handed_on_in_order() {
    let body = br#" {"a" : [1, 2 ,33], "b":null,"c":{"d":"x"} } "#;
    let mut walk = Walk::over(body, 2).unwrap();
    let (mut names, mut counts, mut null) = (Vec::new(), Vec::new(), false);
    walk.object(|walk, name| {
        names.push(name);
        match name {
            "a" => walk.list(|walk| walk.count().map(|count| counts.push(count))),
            "b" => walk.null().map(|found| null = found),
            _ => walk.value().map(|value| assert_eq!(value, r#"{"d":"x"}"#)),
        }
    })
    .unwrap();
    assert!(walk.end().is_some());
    assert_eq!((names, counts, null), (vec!["a", "b", "c"], vec![1, 2, 33], true));
}

#[test]
fn the_walk_gives_up_where_it_was_told_to() {
    assert!(whole("[[1]]", 2).is_some() && whole("[[1]]", 1).is_none());
    // As deep as before, again and again.
    assert!(whole("[[1],[2],[3]]", 2).is_some());
    for odd in [
        "",
        " ",
        "[1,]",
        "{\"a\":1,}",
        "[1",
        "\"a",
        "\"\u{1}\"",
        "01",
        "1.",
        "-",
        "1e",
        "+1",
        "nul",
        "tru",
        "{a:1}",
        "{\"a\" 1}",
        "[1 2]",
        "1 2",
        "\"\\x\"",
        "\"\\u12\"",
        "{\"a\\n\":1}",
    ] {
        assert_eq!(whole(odd, 9), None, "{odd}");
    }
    assert_eq!(Walk::over(b"\"\xff\"", 9).map(drop), None);
    assert_eq!(Walk::over(b"-1", 9).unwrap().count(), None);
    assert_eq!(Walk::over(b"99999999999999999999", 9).unwrap().count(), None);
    let lone = Text { inside: "\\ud800x", escaped: true };
    assert_eq!(lone.said(), None);
}
