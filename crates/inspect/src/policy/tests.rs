//! What two policies come to together.

use super::*;
use CheckAction::{Block, Flag, Off, Redact};
use proptest::prelude::*;

fn list(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn of_two_policies_the_stricter_wins_check_by_check_and_topics_unite() {
    let output = OutputPolicy { secrets: Redact, topics: list(&["dragons"]), ..OutputPolicy::default() };
    let one = PolicyConfig { output, ..PolicyConfig::default() };
    let input = InputPolicy { injection: Flag, personal: Redact, ..InputPolicy::default() };
    let output = OutputPolicy {
        secrets: Block,
        topics: list(&["elves", "dragons"]),
        topics_action: Flag,
        ..OutputPolicy::default()
    };
    let other = PolicyConfig { input, output, ..PolicyConfig::default() };
    let both = one.with(&other);
    assert_eq!((both.input.injection, both.input.personal, both.output.secrets), (Block, Redact, Block));
    assert_eq!((both.output.topics, both.output.topics_action), (list(&["dragons", "elves"]), Block));
    assert_eq!(both.input.topics_action, Off, "nobody names a topic");
}

#[test]
fn an_empty_list_of_topics_makes_no_other_list_stricter() {
    let told = InputPolicy { topics: list(&["elves"]), topics_action: Flag, ..InputPolicy::default() };
    let (one, other) = (PolicyConfig { input: told, ..PolicyConfig::default() }, PolicyConfig::default());
    assert_eq!(other.input.topics_action, Block);
    assert_eq!(one.with(&other).input.topics_action, Flag);
}

#[test]
fn links_must_be_allowed_by_each_policy_that_looks_for_them() {
    let policy = |links, hosts: &[&str]| PolicyConfig {
        output: OutputPolicy { links, link_hosts: list(hosts), ..OutputPolicy::default() },
        ..PolicyConfig::default()
    };
    let one = policy(Block, &["Example.org", "a.test"]);
    let other = policy(Flag, &["docs.example.org", "b.test", "a.test"]);
    let both = one.with(&other).output;
    assert_eq!((both.links, both.link_hosts), (Block, list(&["a.test", "docs.example.org"])));
    let idle = policy(Off, &["b.test"]);
    assert_eq!(one.with(&idle).output.link_hosts, one.output.link_hosts);
    assert_eq!(idle.with(&one).output.link_hosts, one.output.link_hosts);
}

#[test]
fn a_policy_in_shadow_stays_without_consequences_beside_one_that_is_not() {
    let output = OutputPolicy { secrets: Block, ..OutputPolicy::default() };
    let shadow = PolicyConfig { mode: Mode::Shadow, output, ..PolicyConfig::default() };
    let output = OutputPolicy { personal: Redact, ..OutputPolicy::default() };
    let input = InputPolicy { injection: Off, ..InputPolicy::default() };
    let real = PolicyConfig { mode: Mode::Enforce, output, input, ..PolicyConfig::default() };
    let both = shadow.with(&real);
    assert_eq!((both.mode, both.output.secrets, both.output.personal), (Mode::Enforce, Flag, Redact));
    assert_eq!(both.input.injection, Flag);
    assert_eq!(shadow.with(&shadow).mode, Mode::Shadow);
}

fn any_policy() -> impl Strategy<Value = PolicyConfig> {
    let action = || prop::sample::select(vec![Off, Flag, Redact, Block]);
    let words = || prop::collection::vec("[a-c]", 0..3);
    let mode = prop::sample::select(vec![Mode::Enforce, Mode::Shadow]);
    let harden = prop::sample::select(vec![Harden::Off, Harden::Delimit, Harden::Encode]);
    let flagged =
        prop::sample::select(vec![Flagged::Record, Flagged::Harden, Flagged::Confirm, Flagged::Block]);
    let new = (harden, flagged, any::<Option<bool>>(), any::<bool>(), prop::option::of(words()));
    (mode, [action(), action(), action(), action(), action(), action()], words(), words(), new).prop_map(
        |(mode, actions, topics, link_hosts, (harden, flagged, canary, link_cited, tools))| {
            let [injection, secrets, personal, topics_action, links, leak] = actions;
            let input = InputPolicy {
                injection,
                secrets,
                personal,
                topics: topics.clone(),
                topics_action,
                ..InputPolicy::default()
            };
            let output = OutputPolicy {
                secrets: leak,
                personal,
                topics,
                topics_action,
                links,
                link_cited,
                leak: canary.map(|_| leak),
                flagged_tools: link_hosts.clone(),
                link_hosts,
                untrusted_tools: tools.clone(),
                tools,
                ..OutputPolicy::default()
            };
            PolicyConfig { mode, harden, flagged, canary, input, output }
        },
    )
}

proptest! {
    #[test]
    fn which_of_the_two_is_the_keys_and_which_the_routes_makes_no_difference(
        one in any_policy(), other in any_policy(),
    ) {
        prop_assert_eq!(one.with(&other), other.with(&one));
    }
}

#[test]
fn what_hardens_of_two_policies_is_the_stricter_and_tools_are_those_of_both() {
    let one = PolicyConfig { harden: Harden::Delimit, ..PolicyConfig::default() };
    let output = OutputPolicy {
        leak: Some(Flag),
        tools: Some(list(&["mail", "search"])),
        flagged_tools: list(&["search"]),
        ..OutputPolicy::default()
    };
    let other =
        PolicyConfig { canary: Some(false), flagged: Flagged::Harden, output, ..PolicyConfig::default() };
    let both = one.with(&other);
    assert_eq!((both.harden, both.canary, both.flagged), (Harden::Delimit, None, Flagged::Harden));
    assert_eq!((both.output.leak, both.output.tools), (Some(Block), Some(list(&["mail", "search"]))));
    assert_eq!(
        both.output.flagged_tools,
        list(&["search"]),
        "only one of them says anything of such messages"
    );
    let shadow = PolicyConfig { mode: Mode::Shadow, ..one };
    assert_eq!(shadow.with(&PolicyConfig::default()).harden, Harden::Off);
}
