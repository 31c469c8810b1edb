//! Generated texts, in every form, against the strict double's own reading of them.

use super::house::House;
use crate::telegram::{
    TextFormat,
    letter::{Spot, letters},
    markup::markdown,
    parts::{Limits, MESSAGE, Part, split, units},
};
use portcullis_domain::{Look, Post, Style};
use portcullis_engine::messages::{Sending, now_ms};
use portcullis_testkit::telegram::markdown_v2;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.next(of.len())]
    }
}

const PIECES: [&str; 44] = [
    "word",
    "Привет",
    "мир",
    "שלום",
    "مرحبا",
    "日本語",
    "é",
    "e\u{301}",
    "👍",
    "👍🏽",
    "👨‍👩‍👧‍👦",
    "🇳🇱",
    "🏴‍☠️",
    "1️⃣",
    "\u{200d}",
    "_",
    "*",
    "[",
    "]",
    "(",
    ")",
    "~",
    "`",
    "```",
    ">",
    "#",
    "+",
    "-",
    "=",
    "|",
    "{",
    "}",
    ".",
    "!",
    "\\",
    "\n",
    "\n\n",
    "\n> ",
    "https://example.org/a_(b)?c=d",
    "@name",
    "/command",
    "#tag",
    "||",
    "__",
];

fn text(dice: &mut Dice, most: usize) -> String {
    let mut out = String::new();
    for _ in 0..=dice.next(most) {
        out.push_str(dice.one(&PIECES));
        if dice.next(2) == 0 {
            out.push(' ');
        }
    }
    out
}

fn styles(dice: &mut Dice, long: usize) -> Vec<Style> {
    let mut out = Vec::new();
    for _ in 0..dice.next(7) {
        let look = match dice.next(8) {
            0 => Look::Bold,
            1 => Look::Italic,
            2 => Look::Mono,
            3 => Look::Strike,
            4 => Look::Quote,
            5 => Look::Lines(None),
            6 => Look::Lines(Some("rust".into())),
            _ => Look::Link("https://example.org/a_(b)\\c".into()),
        };
        let start = dice.next(long.max(1));
        out.push(Style { start, length: 1 + dice.next(long.max(1)), look });
    }
    out
}

/// What a reader sees, without gaps.
fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '\u{200d}').collect()
}

// news.md, must show 10
#[test]
fn fifty_thousand_texts_are_read_back_as_they_were_written() {
    let mut dice = Dice(77);
    for round in 0..50_000 {
        let text = text(&mut dice, 24);
        let styles = styles(&mut dice, units(&text));
        let limits = Limits { units: 70 + dice.next(60), ..MESSAGE };
        let parts = split(&text, &styles, limits);
        let joined: String = parts.iter().map(|part| part.text.as_str()).collect();
        assert_eq!(bare(&joined), bare(&text), "{round}");
        for part in &parts {
            let Part { text, spans } = part;
            assert!(
                units(text) <= limits.units && spans.iter().all(|span| span.end() <= units(text)),
                "{round}"
            );
            let marked = markdown(part);
            let read =
                markdown_v2(&marked).unwrap_or_else(|why| panic!("{round}: {why}\n{marked}\n{part:?}"));
            assert_eq!(read.0, *text, "{round}: {marked}");
        }
    }
}

// news.md, must show 10
#[tokio::test]
async fn long_texts_arrive_whole_in_every_form() {
    let mut dice = Dice(5);
    for format in [TextFormat::Entities, TextFormat::MarkdownV2, TextFormat::Plain] {
        let mut house = House::new().await;
        house.close().await;
        house.config.format = format;
        house.open();
        let ann = house.double.person("Ann");
        let how = Sending { caller: "tg:1".into(), class: 0, expires_at: now_ms() + 600_000 };
        let mut expected = String::new();
        for _ in 0..40 {
            let text = text(&mut dice, 1500);
            let styles = styles(&mut dice, units(&text));
            let post = Post { styles, ..Post::text(text.clone()) };
            assert!(!letters(&post, Spot::default(), 10).is_empty());
            let rows = house.doors.compose(&format!("telegram:{}", ann.id), &[post], &how).unwrap();
            assert!(house.store.outbox().add(&rows, house.messages.rows()).await.unwrap());
            expected.push_str(&text);
        }
        house.doors.wake("telegram:1");
        house.settle().await;
        let all: String = house.double.sent_to(ann.id).into_iter().map(|sent| sent.text).collect();
        let refused: Vec<_> = house.double.calls().into_iter().filter_map(|call| call.refused).collect();
        assert_eq!((refused, house.double.calls_of("sendDocument").len()), (Vec::new(), 0));
        let (all, expected) = (bare(&all), bare(&expected));
        let same = all.bytes().zip(expected.bytes()).take_while(|(one, other)| one == other).count();
        let at = |text: &str| {
            text[text.floor_char_boundary(same.saturating_sub(40))..].chars().take(120).collect::<String>()
        };
        assert!(
            all == expected,
            "{format:?}: {} and {}:\n{}\n{}",
            all.len(),
            expected.len(),
            at(&all),
            at(&expected)
        );
        assert_eq!(
            house.double.calls_of("sendMessage").iter().filter(|call| call.refused.is_some()).count(),
            0
        );
        house.end().await;
    }
}
