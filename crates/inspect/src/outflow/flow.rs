//! One text while it is being written: what may go out of it already, and what is held back until more has come.

use super::{
    CONTEXT, END_OF_OPEN, Finding, LINKED, MAX_HELD, OPEN_ENDED, PASSWORD, Passed, Watch, boundary, deliver,
    link_begun,
};
use crate::{policy::CheckAction, redact};
use std::sync::Arc;

/// One text that is still being written.
#[derive(Debug)]
pub struct Outflow {
    watch: Arc<Watch>,
    /// What was delivered last, as it was written, then what is held back.
    pub(super) all: String,
    /// Bytes of `all` that were delivered.
    pub(super) delivered: usize,
    /// What was found is still going on.
    swallowing: Option<Swallow>,
    blocked: bool,
}

#[derive(Debug)]
enum Swallow {
    /// To the end of the word, which is there.
    Word(fn(char) -> bool),
    /// To the line that ends a key; the end of what was swallowed.
    Key(String),
}

impl Outflow {
    /// A text of which nothing has been written yet.
    #[must_use]
    pub fn new(watch: Arc<Watch>) -> Self {
        Self { watch, all: String::new(), delivered: 0, swallowing: None, blocked: false }
    }

    /// Takes what was written; gives what may be delivered.
    pub fn push(&mut self, text: &str) -> Passed {
        if self.blocked {
            return Passed { blocked: true, ..Passed::default() };
        }
        let Some(rest) = self.swallow(text) else {
            return Passed { settled: text.len(), ..Passed::default() };
        };
        self.all.push_str(rest);
        let passed = self.pass(false);
        Passed { settled: passed.settled + (text.len() - rest.len()), ..passed }
    }

    /// The text has ended: gives what was held back.
    pub fn finish(&mut self) -> Passed {
        if self.blocked {
            return Passed { blocked: true, ..Passed::default() };
        }
        self.pass(true)
    }

    /// What is left of `text` behind something that is still going on; none when all of it belongs to that.
    fn swallow<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        match &mut self.swallowing {
            None => Some(text),
            Some(Swallow::Word(ends)) => {
                let end = text.find(*ends)?;
                self.swallowing = None;
                Some(&text[end..])
            }
            Some(Swallow::Key(seen)) => {
                let before = seen.len();
                seen.push_str(text);
                let closing = seen.find(END_OF_OPEN).and_then(|at| {
                    let from = at + END_OF_OPEN.len();
                    seen[from..].find("-----").map(|close| from + close + "-----".len())
                });
                match closing {
                    Some(end) => {
                        let rest = &text[end.saturating_sub(before).min(text.len())..];
                        self.swallowing = None;
                        Some(rest)
                    }
                    None => {
                        if !seen.contains(END_OF_OPEN) {
                            keep_end(seen, END_OF_OPEN.len());
                        }
                        keep_end(seen, MAX_HELD);
                        None
                    }
                }
            }
        }
    }

    fn pass(&mut self, last: bool) -> Passed {
        let findings = self.watch.find(&self.all);
        let end = self.all.len();
        let mut until = if last { end } else { self.harmless() };
        let open =
            findings.last().filter(|finding| finding.range.end == end && finding.range.end > self.delivered);
        let mut swallow = None;
        if let Some(open) = open.filter(|_| !last) {
            let from = open.range.start.max(self.delivered);
            if open.kind == OPEN_ENDED {
                (until, swallow) = (end, Some(Swallow::Key(String::new())));
            } else if end - from > MAX_HELD {
                let ends = match open.kind {
                    PASSWORD => ends_password,
                    LINKED => ends_link,
                    _ => is_break,
                };
                (until, swallow) = (end, Some(Swallow::Word(ends)));
            } else {
                until = until.min(from);
            }
        }
        // What was found goes out whole or not at all.
        let split = |finding: &&Finding| (finding.range.start + 1..finding.range.end).contains(&until);
        if let Some(finding) = findings.iter().find(split) {
            until = finding.range.start.max(self.delivered);
        }
        let mut passed = Passed::default();
        let news: Vec<Finding> = findings.into_iter().filter(|finding| finding.range.start < until).collect();
        deliver(&self.all, self.delivered..until, &news, &mut passed);
        if passed.blocked {
            // What follows a finding is never settled: its events do not leave, nor do those behind them.
            let stop = news.iter().find(|finding| finding.action == CheckAction::Block);
            until = stop.map_or(until, |finding| finding.range.start.max(self.delivered));
        }
        passed.settled = until - self.delivered;
        self.blocked = passed.blocked;
        // What is swallowed is never seen here, so its beginning must not be taken for an open end again.
        let kept = if swallow.is_some() { 0 } else { CONTEXT };
        self.swallowing = swallow;
        let forget = boundary(&self.all, until.saturating_sub(kept));
        self.all.drain(..forget);
        self.delivered = until - forget;
        passed
    }

    /// Up to where nothing that comes can change what was written.
    fn harmless(&self) -> usize {
        let (all, end) = (&self.all, self.all.len());
        let word =
            all.char_indices().rev().find(|(_, c)| is_break(*c)).map_or(0, |(at, c)| at + c.len_utf8());
        let topic = boundary(all, end.saturating_sub(self.watch.longest_topic()));
        let least = boundary(all, end.saturating_sub(MAX_HELD));
        let undecided = if self.watch.looks() { redact::undecided(all) } else { end };
        let leak = self.watch.leak.as_ref().map_or(end, |(_, leak)| boundary(all, leak.undecided(all)));
        let link = if self.watch.links.is_some() { link_begun(all) } else { end };
        word.min(topic).min(undecided).min(leak).min(link).max(least).max(self.delivered)
    }
}

/// What no password holds that stands behind its name.
const fn ends_password(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | ',' | ';' | '&' | '[')
}

/// What no link holds.
const fn ends_link(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '(' | ')' | '[' | ']')
}

/// What no secret holds but a password.
const fn is_break(c: char) -> bool {
    !c.is_ascii_graphic() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '(' | ')' | '{' | '}' | ',' | ';')
}

fn keep_end(text: &mut String, most: usize) {
    let from = boundary(text, text.len().saturating_sub(most));
    text.drain(..from);
}
