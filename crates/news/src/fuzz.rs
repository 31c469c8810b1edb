//! Fuzzing that every test run repeats: the committed pages and feeds and hostile pieces are cut, joined, doubled and damaged
//! by chance from fixed starts, and every parser must take them: no panic, clean text, no work beyond the size. A finding is
//! kept by adding its text to `HOSTILE`.

use crate::{
    Boilerplate, Form, Post, Print, Source, alternates, article, channel, feed, form, groups, links,
    markup::Tree, normal, text::clean,
};
use url::Url;

/// 1 March 2025, noon UTC.
const NOW: i64 = 1_740_830_400_000;

/// What is damaged.
const CORPUS: [&str; 7] = [
    include_str!("../fixtures/article.html"),
    include_str!("../fixtures/channel.html"),
    include_str!("../fixtures/channel-old.html"),
    include_str!("../fixtures/channel-no-preview.html"),
    include_str!("../fixtures/feed.rss"),
    include_str!("../fixtures/feed.atom"),
    include_str!("../fixtures/feed.json"),
];

/// Pieces that have broken parsers elsewhere.
const HOSTILE: [&str; 44] = [
    "<",
    "</",
    "<!",
    "<!--",
    "--!>",
    "<![CDATA[",
    "]]>",
    "<?",
    "&",
    "&#",
    "&#x",
    "&#x110000;",
    "&#xd800;",
    "&lt",
    "&amp;amp;",
    "<!DOCTYPE a [",
    "<!ENTITY x \"&x;\">",
    "<script>",
    "</script",
    "<title>",
    "<plaintext>",
    "<svg>",
    "<math/>",
    "<template>",
    "<table><td><table>",
    "<p><div></p>",
    "<a><a>",
    "<b><p></b>",
    "</td></table>",
    "<base href=\"//\">",
    "\0",
    "\u{feff}",
    "\u{202e}",
    "\u{200d}",
    "\u{e0041}",
    "\u{1f1e6}",
    "\u{fdfa}",
    "İ",
    "ß",
    "data-post=\"a/18446744073709551616\"",
    "datetime=\"-0000-99-99\"",
    "class=\"tgme_widget_message\"",
    "hidden",
    "=\"'>",
];

/// A generator of chance that is the same everywhere (`SplitMix64`).
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((value ^ value >> 31) % most.max(1) as u64).unwrap_or(0)
    }
}

/// A document made of pieces of others, damaged.
fn document(chance: &mut Chance) -> Vec<u8> {
    let mut bytes = CORPUS[chance.below(CORPUS.len())].as_bytes().to_vec();
    for _ in 0..chance.below(12) {
        let at = chance.below(bytes.len() + 1);
        match chance.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, HOSTILE[chance.below(HOSTILE.len())].bytes())),
            2 => {
                let end = (at + chance.below(200)).min(bytes.len());
                drop(bytes.drain(at..end));
            }
            3 => {
                let end = (at + chance.below(400)).min(bytes.len());
                let again = bytes[at..end].repeat(1 + chance.below(5));
                drop(bytes.splice(at..at, again));
            }
            4 => {
                let flipped = u8::try_from(chance.below(256)).unwrap_or(0);
                bytes.get_mut(at).into_iter().for_each(|byte| *byte = flipped);
            }
            _ => {
                let other = CORPUS[chance.below(CORPUS.len())].as_bytes();
                let from = chance.below(other.len());
                drop(bytes.splice(at..at, other[from..(from + 300).min(other.len())].iter().copied()));
            }
        }
    }
    bytes
}

fn check(posts: &[Post]) {
    for post in posts {
        assert!(!post.id.is_empty() && !post.text.is_empty(), "{post:?}");
        assert_eq!(clean(&post.text), post.text, "clean text stays as it is");
        assert!(post.url.starts_with("https://") || post.url.starts_with("http://"), "{post:?}");
        assert!(post.at.is_none_or(|at| (0..=NOW).contains(&at)), "{post:?}");
    }
}

/// Every parser over the same bytes, whatever they are.
fn all(bytes: &[u8]) {
    let base = Url::parse("https://paper.example/news/").unwrap();
    let content_type =
        ["", "text/html; charset=utf-16", "application/rss+xml", "application/json"][bytes.len() % 4];
    let form = form(content_type, bytes);
    assert!(matches!(form, None | Some(Form::Feed | Form::Page)));
    if let Ok(page) = channel(bytes, "city_desk", NOW) {
        check(&page.posts);
        assert!(page.posts.windows(2).all(|two| two[0].id != two[1].id));
    }
    if let Ok(page) = feed(bytes, content_type, &base, NOW) {
        check(&page.posts);
    }
    let read = article(bytes, content_type, Some(&base), NOW);
    assert!(read.published_at.is_none_or(|at| (0..=NOW).contains(&at)));
    for link in alternates(bytes, content_type, &base).iter().chain(&links(bytes, content_type, &base)) {
        assert!(matches!(link.url.scheme(), "http" | "https"));
    }
    let text = String::from_utf8_lossy(bytes);
    assert_eq!(normal(&normal(&text)), normal(&text));
    let print = Print::of(&text);
    assert_eq!(groups(&[print.clone(), print]).concat(), [0, 1]);
    assert!(text.starts_with(Boilerplate::of([&*text, &*text, &*text]).cut(&text)));
    if let Ok(source) = Source::read(&text) {
        assert_eq!(Source::read(&source.to_string()), Ok(source));
    }
}

#[test]
fn damaged_pages_and_feeds_are_read_without_harm() {
    let mut chance = Chance(20_250_301);
    for piece in CORPUS.iter().chain(&HOSTILE) {
        all(piece.as_bytes());
    }
    for _ in 0..250 {
        all(&document(&mut chance));
    }
}

#[test]
fn bytes_of_chance_are_read_without_harm() {
    let mut chance = Chance(7);
    for _ in 0..150 {
        let length = chance.below(400);
        let bytes: Vec<u8> = (0..length).map(|_| u8::try_from(chance.below(256)).unwrap_or(0)).collect();
        all(&bytes);
        let pieces: String = (0..chance.below(60)).map(|_| HOSTILE[chance.below(HOSTILE.len())]).collect();
        all(pieces.as_bytes());
    }
}

/// Pages that cost the square of their size where open elements or attributes are searched from the start.
const COSTLY: [&str; 12] = [
    "<div>",
    "<p>",
    "<b>",
    "<a>",
    "<li>",
    "<b><p></b>",
    "<div></span>",
    "<table><td>",
    "<td>",
    "</p>",
    "<i><div></i></b>",
    "<dl><dt><dd>",
];

#[test]
fn the_work_on_a_page_grows_with_its_size() {
    for unit in COSTLY {
        let work = |times: usize| {
            let html = unit.repeat(times) + &"</div></b></a></p>".repeat(times);
            (Tree::html(&html).work, html.len())
        };
        let ((small, _), (large, bytes)) = (work(2000), work(8000));
        assert!(large <= small * 5 + 100_000, "{unit}: {small} steps, of four times the size {large}");
        assert!(large <= bytes * 256, "{unit}");
    }
}

#[test]
fn a_hundred_thousand_levels_and_attributes_are_read() {
    for (open, close) in
        [("<div>", "</div>"), ("<b>", "</b>"), ("<table><tr><td>", ""), ("<ul><li>", "</ul>")]
    {
        let deep = open.repeat(100_000)
            + "<p>The old bridge reopens on Monday, the council said.</p>"
            + &close.repeat(100_000);
        let read = article(deep.as_bytes(), "text/html", None, NOW);
        assert!(read.text.contains("old bridge"), "{open}");
    }
    let deep = "<item><rss>".repeat(100_000);
    assert!(channel(deep.as_bytes(), "city_desk", NOW).is_err());
    assert!(
        feed(deep.as_bytes(), "application/xml", &Url::parse("https://a.example/").unwrap(), NOW).is_err()
    );
    let wide = format!("<p {}>words of a page</p>", "a=b c d='e' ".repeat(100_000));
    assert_eq!(article(wide.as_bytes(), "", None, NOW).text, "words of a page");
    let json = format!("{{\"items\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(feed(json.as_bytes(), "", &Url::parse("https://a.example/").unwrap(), NOW).is_err());
}
