//! MarkdownV2: the vectors, and what holds of any text.

use super::{bad, done, double, refused};
use crate::telegram::{MARKDOWN_VECTORS, markdown_v2};
use serde_json::{Value, json};

#[test]
fn every_vector_comes_to_what_it_says() {
    let (mut taken, mut turned_away) = (0, 0);
    for line in MARKDOWN_VECTORS.lines() {
        let vector: Value = serde_json::from_str(line).unwrap();
        let raw = vector[0].as_str().unwrap();
        let got = match markdown_v2(raw) {
            Ok((text, entities)) => json!([raw, text, entities]),
            Err(why) => json!([raw, why]),
        };
        assert_eq!(got, vector);
        if vector.get(2).is_some() { taken += 1 } else { turned_away += 1 }
    }
    assert!(taken > 90 && turned_away > 60, "{taken} {turned_away}");
}

#[test]
fn what_is_escaped_is_plain() {
    for sign in (1..=126_u8).map(char::from) {
        let (text, entities) = markdown_v2(&format!("a\\{sign}b")).unwrap();
        assert_eq!((text, entities), (format!("a{sign}b"), Vec::new()));
    }
}

#[test]
fn entities_of_any_text_lie_inside_it() {
    // A small generator of our own: the same texts in each run.
    let signs: Vec<char> = "*_~|`[]()!>\\\n\r a.é😀t:/?=".chars().collect();
    let (mut seed, mut taken) = (0x2545_F491_4F6C_DD1D_u64, 0);
    for _ in 0..20_000 {
        let mut raw = String::new();
        for _ in 0..seed % 12 + 1 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            raw.push(signs[usize::try_from(seed >> 33).unwrap() % signs.len()]);
        }
        seed = seed.rotate_left(7).wrapping_add(1);
        let Ok((text, entities)) = markdown_v2(&raw) else { continue };
        taken += 1;
        let wide: Vec<u16> = text.encode_utf16().collect();
        for entity in &entities {
            let from = usize::try_from(entity["offset"].as_u64().unwrap()).unwrap();
            let to = from + usize::try_from(entity["length"].as_u64().unwrap()).unwrap();
            assert!(from < to && to <= wide.len(), "{raw:?} {entity}");
            String::from_utf16(&wide[from..to]).unwrap_or_else(|_| panic!("{raw:?}: {entity} splits a sign"));
        }
    }
    assert!(taken > 1000, "{taken}");
}

#[tokio::test]
async fn a_message_may_be_written_in_markdown_v2_and_in_no_unknown_mode() {
    let double = double().await;
    let anna = double.person("Anna");
    let say = |text: &str, mode: &str| json!({"chat_id": anna.id, "text": text, "parse_mode": mode});
    done(&double, "sendMessage", say("😀 *b*", "markdownv2")).await;
    assert_eq!(double.sent()[0].entities, [json!({"type": "bold", "offset": 3, "length": 1})]);
    let words = "can't parse entities: Can't find end of Bold entity at byte offset 5";
    assert_eq!(refused(&double, "sendMessage", say("😀 *b", "MarkdownV2")).await, bad(words));
    assert_eq!(refused(&double, "sendMessage", say("a", "rtf")).await, bad("unsupported parse_mode"));
    let link = say("[me](tg://user?id=1000000001) and [x](tg://user?id=5)", "MarkdownV2");
    done(&double, "sendMessage", link).await;
    let entities = &double.sent()[1].entities;
    assert_eq!((entities.len(), &entities[0]["user"]["first_name"]), (1, &json!("Anna")));
    assert_eq!(double.violations(), Vec::<String>::new());
    assert_eq!(refused(&double, "sendMessage", say("<b>a</b>", "HTML")).await.0, 501);
    assert_eq!(double.violations(), ["parse_mode html is not imitated"]);
}

#[tokio::test]
async fn a_parse_mode_wins_over_entities() {
    let double = double().await;
    let anna = double.person("Anna");
    let entities = json!([{"type": "italic", "offset": 0, "length": 1}]);
    let both = json!({"chat_id": anna.id, "text": "*a*", "parse_mode": "MarkdownV2", "entities": entities});
    done(&double, "sendMessage", both).await;
    assert_eq!(double.sent()[0].entities, [json!({"type": "bold", "offset": 0, "length": 1})]);
    assert_eq!(double.violations(), ["entities is ignored beside a parse_mode"]);
}
