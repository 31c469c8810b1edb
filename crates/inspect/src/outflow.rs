//! Looking for what must not be said, in texts that are whole or still being written. A stream holds back only its last
//! unfinished word (and as much as the longest topic, or numbers that more may follow), at most 256 bytes, so that a
//! secret split over any number of chunks is found and nothing of it is delivered.
//!
//! Invariants: for every way of cutting a text into chunks the same text comes out (property test); nothing that
//! follows a blocking finding comes out; work is linear in the text, memory is bounded. Source: gateway.md sections 7.8
//! and 11, inspect.md section 4.

mod flow;

use crate::{
    leak::Leak,
    placeholders::Placeholders,
    policy::{CheckAction, InputPolicy, OutputPolicy, RedactPrompts},
    redact,
};
pub use flow::Outflow;
use regex::Regex;
use std::{
    borrow::Cow,
    collections::BTreeSet,
    ops::{Bound, Range},
    sync::{Arc, LazyLock},
};

/// Most bytes that are held back.
const MAX_HELD: usize = 256;
/// Bytes already delivered that are looked at again, because what comes may belong to them (`password = …`).
const CONTEXT: usize = 256;
/// What is redacted as long as its end has not come.
const OPEN_ENDED: &str = "private_key";
const END_OF_OPEN: &str = "-----END";
/// What may hold what ends other words.
const PASSWORD: &str = "password";
const LINKED: &str = "link";

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    secrets: CheckAction,
    personal: CheckAction,
    topics: Option<(CheckAction, Arc<Regex>, usize)>,
    links: Option<(CheckAction, Arc<Regex>, Arc<[String]>)>,
    leak: Option<(CheckAction, Arc<Leak>)>,
    /// Personal data that its reader wrote or sent, in lower case: no finding.
    said: Option<Arc<BTreeSet<String>>>,
    /// Whether what is redacted is put back into the answer.
    reversible: bool,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    check: &'static str,
    kind: &'static str,
    action: CheckAction,
    range: Range<usize>,
}

/// What may be delivered.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// The text; empty while all of it is held back.
    pub text: String,
    /// Bytes as they were written that are now settled: delivered, replaced or swallowed.
    pub settled: usize,
    /// Check and action of each finding.
    pub findings: Vec<(&'static str, CheckAction)>,
    /// Whether nothing more may be delivered.
    pub blocked: bool,
}

impl Watch {
    /// For what goes out; none when nothing is looked for.
    #[must_use]
    pub fn output(policy: &OutputPolicy) -> Option<Self> {
        let links = (policy.links != CheckAction::Off).then(|| Regex::new(LINK).ok()).flatten().map(|link| {
            let hosts = policy.link_hosts.iter().map(|host| host.to_lowercase()).collect();
            (policy.links, Arc::new(link), hosts)
        });
        Self {
            secrets: policy.secrets,
            personal: policy.personal,
            topics: topics(&policy.topics, policy.topics_action),
            links,
            leak: None,
            said: None,
            reversible: false,
        }
        .some()
    }

    /// For what comes in, beside the scores of the inspector; none when nothing is looked for.
    #[must_use]
    pub fn input(policy: &InputPolicy) -> Option<Self> {
        let topics = topics(&policy.topics, policy.topics_action);
        let reversible = policy.redact_prompts == RedactPrompts::Reversible;
        let least = if reversible { CheckAction::Redact } else { CheckAction::Off };
        let action = |action| if action == CheckAction::Off { least } else { action };
        let (secrets, personal) = (action(policy.secrets), action(policy.personal));
        Self { secrets, personal, topics, links: None, leak: None, said: None, reversible }.some()
    }

    /// The same, without consequences.
    #[must_use]
    pub fn shadow(self) -> Self {
        let flag = |action: CheckAction| action.min(CheckAction::Flag);
        Self {
            secrets: flag(self.secrets),
            personal: flag(self.personal),
            topics: self.topics.map(|(action, topics, longest)| (flag(action), topics, longest)),
            links: self.links.map(|(action, links, hosts)| (flag(action), links, hosts)),
            leak: self.leak.map(|(action, leak)| (flag(action), leak)),
            said: self.said,
            reversible: false,
        }
    }

    /// The same, and looking for what one prompt's system part says. A leak cannot be cut out of an answer, so that
    /// `redact` is as good as `block`.
    #[must_use]
    pub fn and_leak(mut self, action: CheckAction, leak: Leak) -> Self {
        let action = if action == CheckAction::Redact { CheckAction::Block } else { action };
        self.leak = (action != CheckAction::Off).then(|| (action, Arc::new(leak)));
        self
    }

    /// The same where keys, tokens and passwords are never let through.
    #[must_use]
    pub fn and_no_secrets(mut self) -> Self {
        self.secrets = CheckAction::Block;
        self
    }

    /// The same where hosts that these texts name may be linked to as well.
    #[must_use]
    pub fn and_cited<'a>(mut self, texts: impl IntoIterator<Item = &'a str>) -> Self {
        if let Some((_, link, hosts)) = &mut self.links {
            let mut all = hosts.to_vec();
            for text in texts {
                all.extend(links(link, text).map(|(host, _)| host));
            }
            *hosts = all.into();
        }
        self
    }

    /// The same where personal data that these texts hold is no finding: whoever asked knows it already.
    #[must_use]
    pub fn and_said<'a>(mut self, texts: impl IntoIterator<Item = &'a str>) -> Self {
        if self.personal != CheckAction::Off {
            let of = |text: &'a str| {
                redact::find(text, false, true).into_iter().map(|found| text[found.range].to_lowercase())
            };
            let said: BTreeSet<String> = texts.into_iter().flat_map(of).collect();
            self.said = (!said.is_empty()).then(|| Arc::new(said));
        }
        self
    }

    /// Whether that piece of a text was said before. At its end a piece may still become what was.
    fn was_said(&self, text: &str, range: &Range<usize>) -> bool {
        let Some(said) = &self.said else { return false };
        let piece = text[range.clone()].to_lowercase();
        let from = (Bound::Included(piece.as_str()), Bound::Unbounded);
        let next = said.range::<str, _>(from).next();
        next.is_some_and(|known| *known == piece || range.end == text.len() && known.starts_with(&piece))
    }

    fn some(self) -> Option<Self> {
        let idle = self.secrets == CheckAction::Off
            && self.personal == CheckAction::Off
            && self.topics.is_none()
            && self.links.is_none();
        (!idle).then_some(self)
    }

    /// The whole text as it may pass.
    #[must_use]
    pub fn whole<'a>(&self, text: &'a str) -> (Cow<'a, str>, Vec<(&'static str, CheckAction)>, bool) {
        let findings = self.find(text);
        if findings.is_empty() {
            return (Cow::Borrowed(text), Vec::new(), false);
        }
        let mut passed = Passed::default();
        deliver(text, 0..text.len(), &findings, &mut passed);
        (Cow::Owned(passed.text), passed.findings, passed.blocked)
    }

    /// Whether secrets and personal data are to be put back into the answer.
    #[must_use]
    pub const fn reversible(&self) -> bool {
        self.reversible
    }

    /// The text with names in the place of secrets and personal data that are redacted; `taken` says whether a name
    /// stands in the prompt already.
    pub fn named<'a>(
        &self,
        text: &'a str,
        names: &mut Placeholders,
        taken: impl Fn(&str) -> bool + Copy,
    ) -> Cow<'a, str> {
        let redacted =
            |personal| (if personal { self.personal } else { self.secrets }) == CheckAction::Redact;
        let found = redact::find(text, redacted(false), redacted(true));
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        let (mut out, mut at) = (String::with_capacity(text.len()), 0);
        for found in found {
            out.push_str(&text[at..found.range.start]);
            out.push_str(&names.name(found.kind, &text[found.range.clone()], taken));
            at = found.range.end;
        }
        out.push_str(&text[at..]);
        Cow::Owned(out)
    }

    /// Findings by place, none overlapping another: the stricter, then the earlier, wins.
    fn find(&self, text: &str) -> Vec<Finding> {
        let mut all = Vec::new();
        if self.looks() {
            let (secrets, personal) = (self.secrets != CheckAction::Off, self.personal != CheckAction::Off);
            let found = redact::find(text, secrets, personal).into_iter();
            let found = found.filter(|found| !found.personal() || !self.was_said(text, &found.range));
            all.extend(found.map(|found| {
                let (check, action) =
                    if found.personal() { ("personal", self.personal) } else { ("secrets", self.secrets) };
                Finding { check, kind: found.kind, action, range: found.range }
            }));
        }
        if let Some((action, topics, _)) = &self.topics {
            let found = topics.find_iter(text).map(|found| found.range());
            all.extend(found.map(|range| Finding { check: "topics", kind: "topic", action: *action, range }));
        }
        if let Some((action, link, hosts)) = &self.links {
            let below = |host: &str, known: &String| {
                host.strip_suffix(known.as_str()).is_some_and(|rest| rest.ends_with('.'))
            };
            let strange = |host: &str| !hosts.iter().any(|known| *known == host || below(host, known));
            let found = links(link, text).filter(|(host, _)| strange(host));
            all.extend(found.map(|(_, range)| Finding {
                check: "links",
                kind: LINKED,
                action: *action,
                range,
            }));
        }
        if let Some((action, leak)) = &self.leak {
            let found = leak.find(text).into_iter();
            all.extend(found.map(|range| Finding {
                check: "leak",
                kind: "instructions",
                action: *action,
                range,
            }));
        }
        all.sort_by_key(|finding| (finding.range.start, std::cmp::Reverse(finding.action)));
        let mut kept: Vec<Finding> = Vec::new();
        for finding in all {
            match kept.last_mut() {
                Some(last) if finding.range.start < last.range.end => {
                    last.range.end = last.range.end.max(finding.range.end);
                    if finding.action > last.action {
                        (last.check, last.kind, last.action) = (finding.check, finding.kind, finding.action);
                    }
                }
                Some(_) | None => kept.push(finding),
            }
        }
        kept
    }

    /// Whether it looks for secrets or personal data.
    fn looks(&self) -> bool {
        self.secrets != CheckAction::Off || self.personal != CheckAction::Off
    }

    /// Bytes at the end of a text that may belong to a topic.
    fn longest_topic(&self) -> usize {
        self.topics.as_ref().map_or(0, |(_, _, longest)| *longest)
    }
}

/// Addresses, also where a browser takes them for one: behind an image's or a link's mark the scheme may be missing, and
/// any slashes do.
const LINK: &str = concat!(
    r"(?i)(?:\bhttps?:[/\\]+|(?:[(=\x22'<]|\]:\s?)(?P<bare>[/\\]{2}))",
    r"(?P<host>[^\s/\\?#:\x22'<>()\[\]`]+)[^\s\x22'<>()\[\]`]*",
);

/// Such a link without a scheme whose host is not whole yet, at the end of a text: its letters may be of any script.
const BARE_END: &str = r"(?:[(=\x22'<]|\]:\s?)([/\\]{2}[^\s/\\?#:\x22'<>()\[\]`]*)$";

/// Where at the end of a text such a link begins.
fn link_begun(text: &str) -> usize {
    static END: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(BARE_END).ok());
    let near = boundary(text, text.len().saturating_sub(MAX_HELD));
    let found = END.as_ref().and_then(|end| end.captures(&text[near..])?.get(1).map(|link| link.start()));
    found.map_or(text.len(), |at| near + at)
}

/// The links of a text: whose, in lower case, and where.
fn links<'a>(link: &'a Regex, text: &'a str) -> impl Iterator<Item = (String, Range<usize>)> + 'a {
    link.captures_iter(text).filter_map(|found| {
        let host = found.name("host")?;
        // What has no scheme is no link unless it names a host: comments of programs begin so.
        let (start, name) = match found.name("bare") {
            Some(_) if !host.as_str().trim_end_matches('.').contains('.') => return None,
            Some(bare) => (bare.start(), host),
            None => (found.get(0)?.start(), host),
        };
        let host = name.as_str().rsplit('@').next().unwrap_or_default();
        // The end of a sentence, or of a full name.
        let host = host.trim_end_matches(['.', ',', ';', '!', '*', '_']).to_lowercase();
        Some((host, start..found.get(0)?.end()))
    })
}

fn topics(words: &[String], action: CheckAction) -> Option<(CheckAction, Arc<Regex>, usize)> {
    if words.is_empty() || action == CheckAction::Off {
        return None;
    }
    let escaped: Vec<String> = words.iter().map(|word| regex::escape(word.trim())).collect();
    let pattern = format!(r"(?i)(?:^|\b)(?:{})(?:\b|$)", escaped.join("|"));
    // The longest form of a phrase in any case is at most three times as long.
    let longest = words.iter().map(|word| word.len() * 3).max().unwrap_or(0).min(MAX_HELD);
    Regex::new(&pattern).ok().map(|regex| (action, Arc::new(regex), longest))
}

/// Appends `range` of `all` to what passes, with what was found in it replaced.
fn deliver(all: &str, range: Range<usize>, findings: &[Finding], passed: &mut Passed) {
    let mut at = range.start;
    for finding in findings.iter().filter(|finding| finding.range.end > range.start) {
        if finding.range.start >= range.end {
            break;
        }
        let start = finding.range.start.max(at);
        passed.findings.push((finding.check, finding.action));
        match finding.action {
            CheckAction::Off | CheckAction::Flag => {}
            CheckAction::Redact => {
                passed.text.push_str(&all[at..start]);
                passed.text.push('[');
                passed.text.push_str(finding.kind);
                passed.text.push(']');
                at = finding.range.end.min(range.end);
            }
            CheckAction::Block => {
                passed.text.push_str(&all[at..start]);
                passed.blocked = true;
                return;
            }
        }
    }
    passed.text.push_str(&all[at..range.end]);
}

/// The nearest border of a character at or before `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
