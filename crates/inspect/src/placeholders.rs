//! Reversible redaction: what was hidden in a prompt is remembered under a name such as `<EMAIL_1>` and put back into the
//! answer, whole or streamed. A stream holds back only the beginning of a name at its end.
//!
//! Invariants: the same text gets the same name; no name stands in a prompt before; what is remembered is wiped when it
//! is dropped and never printed; for every way of cutting an answer the same comes out (property test). Source:
//! inspect.md section 5.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};
use zeroize::Zeroizing;

/// What stands behind the names in one request.
#[derive(Default)]
pub struct Placeholders {
    /// By name.
    texts: BTreeMap<String, Zeroizing<String>>,
    /// By SHA-256 of the text.
    names: BTreeMap<Vec<u8>, String>,
    /// Numbers given, by kind.
    given: BTreeMap<&'static str, usize>,
}

/// Most letters of a name: the beginning of one is never longer.
const MAX_NAME: usize = 48;

impl Placeholders {
    /// The name of a text that was found in a prompt. `taken` says whether a name already stands in the prompt.
    pub(crate) fn name(&mut self, kind: &'static str, text: &str, taken: impl Fn(&str) -> bool) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        if let Some(name) = self.names.get(digest.as_ref()) {
            return name.clone();
        }
        let given = self.given.entry(kind).or_default();
        let name = loop {
            *given += 1;
            let name = format!("<{}_{given}>", kind.to_ascii_uppercase());
            if !taken(&name) {
                break name;
            }
        };
        self.texts.insert(name.clone(), Zeroizing::new(text.to_owned()));
        self.names.insert(digest.as_ref().to_vec(), name.clone());
        name
    }

    /// Whether nothing was hidden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// An answer with what was hidden in its place; in a text that is JSON itself, as a part of a string there.
    #[must_use]
    pub fn restore<'a>(&self, text: &'a str, json: bool) -> Cow<'a, str> {
        let mut out = String::new();
        let mut from = 0;
        for (at, _) in text.match_indices('<') {
            let near = &text[at..text.floor_char_boundary(at + MAX_NAME)];
            let name = near.find('>').map(|end| &near[..=end]);
            let Some((name, hidden)) = name.and_then(|name| Some((name, self.texts.get(name)?))) else {
                continue;
            };
            out.push_str(&text[from..at]);
            if json {
                escape(&mut out, hidden)
            } else {
                out.push_str(hidden)
            }
            from = at + name.len();
        }
        if from == 0 {
            return Cow::Borrowed(text);
        }
        out.push_str(&text[from..]);
        Cow::Owned(out)
    }

    /// Where at the end of a text a name may have begun.
    fn begun(&self, text: &str) -> usize {
        let near = text.floor_char_boundary(text.len().saturating_sub(MAX_NAME));
        let begins = |at: &usize| {
            let begun = &text[*at..];
            self.texts
                .range(begun.to_owned()..)
                .next()
                .is_some_and(|(name, _)| name.starts_with(begun) && name != begun)
        };
        text[near..].rfind('<').map(|at| near + at).filter(begins).unwrap_or(text.len())
    }
}

/// As part of a JSON string.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
}

impl fmt::Debug for Placeholders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Placeholders({})", self.texts.len())
    }
}

/// One text of an answer that is still being written, with what was hidden put back.
#[derive(Debug)]
pub struct Restoring {
    placeholders: Arc<Placeholders>,
    json: bool,
    held: String,
}

impl Restoring {
    /// A text of which nothing has been written yet, which is JSON itself or not.
    #[must_use]
    pub const fn new(placeholders: Arc<Placeholders>, json: bool) -> Self {
        Self { placeholders, json, held: String::new() }
    }

    /// Takes what was written; gives what may be delivered and how many bytes are held back.
    pub fn push(&mut self, text: &str) -> (String, usize) {
        self.held.push_str(text);
        let begun = self.placeholders.begun(&self.held);
        let rest = self.held.split_off(begun);
        let whole = std::mem::replace(&mut self.held, rest);
        (self.placeholders.restore(&whole, self.json).into_owned(), self.held.len())
    }

    /// The text has ended: gives what was held back.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn placeholders() -> Arc<Placeholders> {
        let mut all = Placeholders::default();
        for text in ["ann@example.org", "bob@example.org", "ann@example.org"] {
            all.name("email", text, |name| name == "<EMAIL_1>");
        }
        all.name("private_key", "a \"key\"\n\\", |_| false);
        Arc::new(all)
    }

    #[test]
    fn a_text_keeps_its_name_and_no_name_of_the_prompt_is_given() {
        let mut all = Placeholders::default();
        let mut name = |text| all.name("email", text, |name| name == "<EMAIL_1>");
        assert_eq!([name("a@b.co"), name("c@d.co"), name("a@b.co")], ["<EMAIL_2>", "<EMAIL_3>", "<EMAIL_2>"]);
        assert_eq!(format!("{all:?}"), "Placeholders(2)");
    }

    #[test]
    fn what_was_hidden_comes_back_exactly() {
        let all = placeholders();
        let back = all.restore("To <EMAIL_2> and <EMAIL_3>, not <EMAIL_9> or <b>.", false);
        assert_eq!(back, "To ann@example.org and bob@example.org, not <EMAIL_9> or <b>.");
        assert_eq!(all.restore("{\"k\":\"<PRIVATE_KEY_1>\"}", true), "{\"k\":\"a \\\"key\\\"\\n\\\\\"}");
        assert!(matches!(all.restore("1 < 2", false), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn however_an_answer_is_cut_the_same_comes_back(
            pieces in prop::collection::vec("(<EMAIL_[0-9]{1,2}>|<EM|<|>|<PRIVATE_KEY_1>|[a-z ]{0,5})", 0..12),
            cuts in prop::collection::vec(any::<usize>(), 0..8),
        ) {
            let (all, text) = (placeholders(), pieces.concat());
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let (mut flow, mut out) = (Restoring::new(all.clone(), false), String::new());
            for pair in cuts.windows(2) {
                let (passed, held) = flow.push(&text[pair[0]..pair[1]]);
                out.push_str(&passed);
                prop_assert!(held < MAX_NAME);
            }
            out.push_str(&flow.finish());
            prop_assert_eq!(out, all.restore(&text, false));
        }
    }
}
