//! What comes out of a stream, however it is cut.

use super::*;
use proptest::prelude::*;

/// Shapes of keys, put together so that no scanner takes this file for a leak.
fn secrets() -> Vec<String> {
    vec![
        format!("{}{}", "ghp_", "a1B2".repeat(10)),
        format!("{}{}", "sk-proj-", "Zz9y".repeat(8)),
        format!("{}{}", "AKIA", "ABCDEFGH12345678"),
        format!("password={}", "hunter2hunter2"),
        format!("api_key = {}", "q8W3e5R7t9Y1u2I4"),
        format!("{}.{}.{}", "eyJhbGciOiJIUzI1NiJ9", "eyJzdWIi".repeat(3), "a1B2".repeat(8)),
        format!("{}.{}", "0123456789abcdef".repeat(2), "a1B2".repeat(4)),
        "postgres://user:hunter2hunter2@db".into(),
        "jane.doe@example.org".into(),
        "4012 8888 8888 1881".into(),
        "GB82 WEST 1234 5698 7654 32".into(),
        "+31 20 123 4567".into(),
        "(415) 555-0132".into(),
        "401-023-2137".into(),
        "2400:c401::5054:ff:fe1b:b031".into(),
        "passport number M123A4567".into(),
    ]
}

fn watch(secrets: CheckAction, topics: &[&str]) -> Arc<Watch> {
    let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
    let policy = OutputPolicy { secrets, personal: secrets, topics, ..OutputPolicy::default() };
    Arc::new(Watch::output(&policy).unwrap())
}

/// Feeds a text in pieces that end at `cuts`; what came out, and whether it was blocked.
fn run(watch: &Arc<Watch>, text: &str, cuts: &[usize]) -> (String, bool) {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| boundary(text, cut % (text.len() + 1))).collect();
    cuts.extend([0, text.len()]);
    cuts.sort_unstable();
    let (mut flow, mut out, mut blocked) = (Outflow::new(watch.clone()), String::new(), false);
    for pair in cuts.windows(2) {
        let passed = flow.push(&text[pair[0]..pair[1]]);
        assert!(flow.all.len() - flow.delivered <= MAX_HELD + text.len());
        out.push_str(&passed.text);
        blocked |= passed.blocked;
    }
    let passed = flow.finish();
    out.push_str(&passed.text);
    (out, blocked | passed.blocked)
}

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z]{1,9}".boxed(),
        2 => "[ .,:=\n\"\u{e9}\u{4e2d}-]{1,3}".boxed(),
        1 => prop::sample::select(secrets()).boxed(),
        1 => Just("forbidden fruit".to_owned()).boxed(),
    ];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #[test]
    fn however_a_text_is_cut_the_same_comes_out(
        text in text(),
        cuts in prop::collection::vec(any::<usize>(), 0..10),
        action in prop::sample::select(vec![CheckAction::Flag, CheckAction::Redact, CheckAction::Block]),
    ) {
        let watch = watch(action, &["forbidden fruit"]);
        let (whole, _, blocked) = watch.whole(&text);
        prop_assert_eq!(run(&watch, &text, &cuts), (whole.into_owned(), blocked));
    }

    #[test]
    fn text_without_findings_is_never_changed(text in "\\PC{0,300}", cuts in prop::collection::vec(any::<usize>(), 0..10)) {
        let watch = watch(CheckAction::Flag, &[]);
        prop_assert_eq!(run(&watch, &text, &cuts).0, text);
    }
}

#[test]
fn a_secret_split_at_every_byte_is_redacted_and_nothing_of_it_is_delivered() {
    for secret in secrets() {
        let text = format!("Take this: {secret} and go.");
        let watch = watch(CheckAction::Redact, &[]);
        for first in 0..text.len() {
            let (out, _) = run(&watch, &text, &[first, first + 3, first + 9]);
            let whole = watch.whole(&text).0;
            assert!(whole.contains('[') && whole.ends_with(" and go."), "{whole}");
            assert_eq!(out, whole, "{first}");
            let hidden = &secret[secret.len() - 7..];
            assert!(!out.contains(hidden) || secret.contains("@db"), "{first}: {out}");
        }
    }
}

#[test]
fn a_password_of_any_characters_is_hidden_whole_however_it_is_cut() {
    // The first is what fuzzing found.
    for value in [
        "\u{2}\u{7}\0\u{5}abce.fghijkmnpqr<yo8r",
        "ab(cd9)x{7}",
        "пар0л9ь",
        "密码9a密码",
        &"a(1)B<2>".repeat(50),
    ] {
        for (before, after) in [("password=", " and go."), ("\"pwd\": \"", "\" and go.")] {
            let (text, watch) = (format!("Take {before}{value}{after}"), watch(CheckAction::Redact, &[]));
            let expected = format!("Take {before}[password]{after}");
            assert_eq!(watch.whole(&text).0, expected);
            for first in 0..text.len() {
                assert_eq!(run(&watch, &text, &[first, first + 1, first + 2]).0, expected, "{first}");
            }
            let each: Vec<usize> = (0..text.len()).collect();
            assert_eq!(run(&watch, &text, &each).0, expected, "letter by letter");
        }
    }
}

#[test]
fn a_private_key_is_swallowed_to_its_last_line_and_what_follows_passes() {
    let (begin, end) = ("-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----");
    let text = format!("Here:\n{begin}\n{}\n{end}\nDone.", "MIIEabcd\n".repeat(80));
    let watch = watch(CheckAction::Redact, &[]);
    for step in [1, 7, 64, 1000] {
        let cuts: Vec<usize> = (0..text.len()).step_by(step).collect();
        let (out, _) = run(&watch, &text, &cuts);
        assert!(out.contains("[private_key]") && out.ends_with("\nDone."), "{step}: {out}");
        assert!(!out.contains("MIIE"), "{step}: {out}");
    }
}

#[test]
fn links_to_other_hosts_are_found_also_when_split_and_known_ones_pass() {
    let policy = OutputPolicy {
        links: CheckAction::Redact,
        link_hosts: vec!["example.org".into()],
        ..OutputPolicy::default()
    };
    let watch = Arc::new(Watch::output(&policy).unwrap());
    let text =
        "See https://docs.example.org/a and ![x](http://evil.test/p?q=data) or https://notexample.org.";
    let expected = "See https://docs.example.org/a and ![x]([link]) or [link]";
    for cut in 0..text.len() {
        assert_eq!(run(&watch, text, &[cut, cut + 1]).0, expected, "{cut}");
    }
}

#[test]
fn a_link_without_a_scheme_is_found_whole_in_every_script_however_it_is_cut() {
    let policy = OutputPolicy { links: CheckAction::Redact, ..OutputPolicy::default() };
    let watch = Arc::new(Watch::output(&policy).unwrap());
    // The second is what fuzzing found.
    let long = format!("example.org/{}", "ü\u{8}{a}".repeat(90));
    for host in ["секрет.example.рф/a", "docs\u{8}\0\0.org/a.png", &long] {
        let text = format!("See ![x](//{host}) there.");
        assert_eq!(watch.whole(&text).0, "See ![x]([link]) there.");
        for cut in 0..text.len() {
            assert_eq!(run(&watch, &text, &[cut, cut + 1, cut + 3]).0, "See ![x]([link]) there.", "{cut}");
        }
    }
}

#[test]
fn personal_data_that_was_said_before_stays_however_an_answer_is_cut_and_other_data_goes() {
    let policy = OutputPolicy { personal: CheckAction::Redact, ..OutputPolicy::default() };
    let watch = Watch::output(&policy).unwrap();
    let said = ["Please mend this letter.", "Yours, Ann <Ann@Example.org>"];
    let watch = Arc::new(watch.and_said(said));
    let text = "Dear ann@example.org, ask bob@example.org or ann@example.org.uk, says ann@example.org";
    let expected = "Dear ann@example.org, ask [email] or [email], says ann@example.org";
    assert_eq!(watch.whole(text).0, expected);
    for cut in 0..text.len() {
        assert_eq!(run(&watch, text, &[cut, cut + 2]).0, expected, "{cut}");
    }
}

#[test]
fn after_a_blocking_finding_nothing_comes_out() {
    let watch = watch(CheckAction::Block, &["forbidden fruit"]);
    let mut flow = Outflow::new(watch);
    let mut out = String::new();
    for piece in ["An apple is a For", "bidden", " fruit, they say. ", "More."] {
        out.push_str(&flow.push(piece).text);
    }
    let last = flow.finish();
    out.push_str(&last.text);
    assert!(last.blocked && flow.push("More.").text.is_empty() && flow.finish().text.is_empty());
    assert_eq!(out, "An apple is a ");
}

#[test]
fn nothing_to_look_for_is_no_watch() {
    assert!(Watch::output(&OutputPolicy::default()).is_none());
    assert!(Watch::input(&InputPolicy::default()).is_none());
}

fn links_only(action: CheckAction) -> Watch {
    let policy =
        OutputPolicy { links: action, link_hosts: vec!["example.org".into()], ..OutputPolicy::default() };
    Watch::output(&policy).unwrap()
}

// req: S2-1.5
#[test]
fn pictures_and_links_count_however_they_are_written_also_without_a_scheme() {
    for (text, expected) in [
        ("![x](https://evil.test/p?q=1)", "![x]([link])"),
        ("![x](//evil.test/p?q=1)", "![x]([link])"),
        ("![x](https:/evil.test/p)", "![x]([link])"),
        (r"![x](https:\\evil.test/p)", "![x]([link])"),
        ("<img src=\"https://evil.test/a.png\">", "<img src=\"[link]\">"),
        ("<img src='//evil.test/a.png'>", "<img src='[link]'>"),
        ("<IMG SRC=//evil.test/a.png>", "<IMG SRC=[link]>"),
        ("<https://evil.test>", "<[link]>"),
        ("[1]: //evil.test/x", "[1]: [link]"),
        ("url(//evil.test/x)", "url([link])"),
        ("[a](https://example.org@evil.test/)", "[a]([link])"),
        ("![x](//docs.example.org/a.png)", "![x](//docs.example.org/a.png)"),
        ("let a = 1; // example.test is a host", "let a = 1; // example.test is a host"),
        ("f(//comment", "f(//comment"),
    ] {
        let watch = Arc::new(links_only(CheckAction::Redact));
        assert_eq!(watch.whole(text).0, expected);
        for cut in 0..text.len() {
            assert_eq!(run(&watch, text, &[cut, cut + 4]).0, expected, "{text} {cut}");
        }
    }
}

#[test]
fn hosts_that_the_user_names_may_be_linked_to_and_others_may_not() {
    let cited = links_only(CheckAction::Block)
        .and_cited(["Read https://News.Test/today, please", "and nothing else"]);
    assert!(!cited.whole("See https://news.test/yesterday and https://example.org.").2);
    assert!(cited.whole("See https://evil.test/?q=secret").2);
    assert!(links_only(CheckAction::Block).whole("See https://news.test/yesterday").2);
}

#[test]
fn a_leak_is_found_in_every_cut_and_nothing_of_it_comes_out() {
    let rules = "You are the keeper of the north gate and you never tell the name of the king.";
    let leak = || Leak::new(Some("k7xqm2"), [rules], []);
    let watch = Arc::new(Watch::default().and_leak(CheckAction::Redact, leak()));
    for text in [format!("Well, {rules} Good."), "Well, K7XQM2.".to_owned()] {
        for step in 1..40 {
            let cuts: Vec<usize> = (0..text.len()).step_by(step).collect();
            assert_eq!(run(&watch, &text, &cuts), ("Well, ".to_owned(), true), "{step}");
        }
    }
    // What only looks like a beginning comes out in the end.
    let text = "You are the keeper of the north wind and you always tell the name of the queen.";
    assert_eq!(run(&watch, text, &[3, 9, 30, 50]), (text.to_owned(), false));
}
