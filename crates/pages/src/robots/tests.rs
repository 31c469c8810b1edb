//! The rules of RFC 9309 one by one, a naive matcher to compare with, and a corpus of hostile files.

use super::*;
use proptest::prelude::*;

fn robots(text: &str) -> Robots {
    Robots::parse(text.as_bytes())
}

#[test]
fn our_name_counts_before_everybodys_and_groups_that_name_us_count_together() {
    let file = "User-Agent: *\nDisallow: /\n\nuser-agent: PortCullis/2.0\nDisallow: /a\n\nUser-agent: other\n\
                User-agent: portcullis\nDisallow: /b # why not\n";
    let found = robots(file);
    assert!(found.allows("/") && found.allows("/c"));
    assert!(!found.allows("/a/x") && !found.allows("/b"));
    assert!(!robots("User-agent: *\nDisallow: /x").allows("/x"));
    // A name that only begins like ours is somebody else's.
    assert!(robots("User-agent: portcullis-news\nDisallow: /").allows("/"));
    assert!(robots("User-agent: someone\nDisallow: /").allows("/"));
    // We are named, and nothing is forbidden: what is said to everybody does not count.
    assert!(robots("User-agent: *\nDisallow: /\n\nUser-agent: portcullis\nDisallow:\n").allows("/x"));
    assert!(robots("User-agent: *\nDisallow: /\n\nUser-agent: portcullis\n").allows("/x"));
}

#[test]
fn the_longest_rule_decides_and_of_two_as_long_the_one_that_allows() {
    let file = "User-agent: *\nDisallow: /private\nAllow: /private/open\nDisallow: /same\nAllow: /same\n";
    let found = robots(file);
    assert!(!found.allows("/private/x") && found.allows("/private/open/x") && found.allows("/same"));
}

#[test]
fn stars_dollars_and_encodings_mean_what_the_standard_says() {
    for (pattern, path, hit) in [
        ("/fish", "/fish.html", true),
        ("/fish", "/Fish", false),
        ("/fish*", "/fishheads/yummy", true),
        ("/*.php", "/folder/filename.php?parameters", true),
        ("/*.php$", "/filename.php?parameters", false),
        ("/*.php$", "/folder/filename.php", true),
        ("/fish*.php", "/fishheads/catfish.php", true),
        ("/a*b*c$", "/a1b2b3c", true),
        ("/a*b*c$", "/a1b2b3cd", false),
        ("/a**b", "/axxb", true),
        ("*x", "/anything/x", true),
        ("/$", "/", true),
        ("/$", "/a", false),
        ("/~joe", "/%7Ejoe", true),
        ("/%7ejoe", "/~joe", true),
        ("/ä", "/%c3%a4", true),
        ("/a%2fb", "/a/b", false),
        ("/a%2fb", "/a%2Fb", true),
        ("/q?x=*&y", "/q?x=1&y=2", true),
        ("/ab*ba$", "/aba", false),
        ("/100%", "/100%25", true),
        ("/100%2", "/100%", false),
    ] {
        let found = robots(&format!("User-agent: *\nDisallow: {pattern}"));
        assert_eq!(!found.allows(path), hit, "{pattern} on {path}");
    }
}

#[test]
fn lines_are_read_leniently_and_nothing_unknown_disturbs_a_group() {
    for file in [
        "\u{feff}USER-AGENT : *\r\nDISALLOW : /x\r\n",
        "User-agent: *\rDisallow: /x\r",
        "User-agent: *\nSitemap: https://a.example/s.xml\nDisallow: /x",
        "Disallow: /y\nUser-agent: *\nnonsense\nDisallow: /x",
        "User-agent: other\nCrawl-delay: 9\nUser-agent: *\nDisallow: /x",
    ] {
        let found = robots(file);
        assert!(!found.allows("/x") && found.allows("/y"), "{file:?}");
    }
    assert!(robots("").allows("/") && robots("<html>not found</html>").allows("/"));
    assert!(Robots::allowing().allows("/x"));
    assert!(robots("User-agent: *\nDisallow: /").allows("/robots.txt"));
    assert_eq!(
        robots("User-agent: *\nCrawl-delay: 2.5\nCrawl-delay: x").delay(),
        Some(Duration::from_millis(2500))
    );
    assert_eq!(robots("User-agent: *\nCrawl-delay: -1\nCrawl-delay: 1e300").delay(), None);
    assert_eq!(robots("User-agent: other\nCrawl-delay: 5").delay(), None);
}

/// Characters one by one, every choice tried.
fn naive(pattern: &[u8], path: &[u8]) -> bool {
    match pattern {
        [] => true,
        b"$" => path.is_empty(),
        [b'*', rest @ ..] => (0..=path.len()).any(|skip| naive(rest, &path[skip..])),
        [byte, rest @ ..] => path.first() == Some(byte) && naive(rest, &path[1..]),
    }
}

proptest! {
    #[test]
    fn the_quick_matcher_agrees_with_one_that_tries_everything(
        pattern in "[/*][ab*/]{0,8}[$]?", path in "/[ab/]{0,12}",
    ) {
        prop_assert_eq!(matches(&pattern, &path), naive(pattern.as_bytes(), path.as_bytes()));
    }

    #[test]
    fn any_bytes_are_a_file(bytes in prop::collection::vec(any::<u8>(), 0..400), path in "/\\PC{0,40}") {
        let found = Robots::parse(&bytes);
        let _either = found.allows(&path);
        prop_assert!(found.memory() < 64 * 1024);
    }
}

/// Pieces that real and hostile files are made of; files are put together from them by a counter, always the same ones.
const CORPUS: &[&[u8]] = &[
    b"User-agent: *\n",
    b"user-agent:portcullis\r\n",
    b"Disallow: /\n",
    b"Allow: /*$\n",
    b"Disallow: /****************************************a\n",
    b"Crawl-delay: 99999999999999999999\n",
    b"Disallow: /%\nDisallow: /%z1\nDisallow: /%C3\n",
    b"\xff\xfe\x00U\x00s\x00e\x00r\x00\n",
    b"\xc3\n#\n:\n::\n : \n\r\r\n",
    b"Disallow: \xf0\x9f\x98\x80*$*$\n",
    b"Sitemap: x\nHost: y\nUser-agent\nUser-agent:\n",
    b"Disallow:/a#b\nDisallow:\t/tab\tx\n",
];

#[test]
fn every_file_made_of_hostile_pieces_is_read_and_judged() {
    let paths = ["/", "/a", "/%C3", "/\u{1f600}", "/robots.txt", "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"];
    let mut state = 7_u64;
    for _ in 0..20_000 {
        let mut file = Vec::new();
        for _ in 0..state % 9 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let piece = CORPUS[usize::try_from(state >> 33).unwrap() % CORPUS.len()];
            let cut = if state & 15 == 0 { piece.len() / 2 } else { piece.len() };
            file.extend_from_slice(&piece[..cut]);
        }
        state = state.wrapping_add(1).rotate_left(7) | 1;
        let found = Robots::parse(&file);
        for path in paths {
            let told = found.allows(path);
            assert!(told || path != "/robots.txt");
            assert_eq!(told, found.allows(path));
        }
    }
}

#[test]
fn half_a_megabyte_of_stars_is_judged_in_linear_time() {
    let rule = format!("User-agent: *\nDisallow: /{}b\n", "a*".repeat(250_000));
    let found = robots(&rule);
    assert!(found.allows(&format!("/{}", "a".repeat(100_000))));
    let many = robots(&format!("User-agent: *\n{}", "Disallow: /*x\n".repeat(30_000)));
    assert!(many.allows(&format!("/{}", "y".repeat(8_000))));
}
