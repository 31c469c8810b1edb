//! robots.txt as RFC 9309 has it: groups, the longest match, `*` and `$`, percent-encoding. Pure. Invariant: any bytes
//! are read in time linear to their length, and a path is judged in time linear to the rules and the path.

use std::time::Duration;

/// The name by which a robots.txt may address us.
pub(crate) const TOKEN: &str = "portcullis";

/// What a site's robots.txt says to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Robots {
    rules: Vec<Rule>,
    delay: Option<Duration>,
}

/// One line of it that concerns us.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    allow: bool,
    /// In the form that paths are compared in.
    pattern: String,
}

/// One group while it is read: whom it addresses, and what it says.
#[derive(Default)]
struct Group {
    ours: bool,
    anybody: bool,
    has_rules: bool,
}

impl Robots {
    /// Nothing is forbidden: there is no robots.txt.
    #[must_use]
    pub const fn allowing() -> Self {
        Self { rules: Vec::new(), delay: None }
    }

    /// Reads a file. The groups that name us count, all together; without any, those for `*`. What cannot be
    /// understood is passed over.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let (mut ours, mut anybody) = (None::<Self>, None::<Self>);
        let mut group = Group::default();
        for line in text.split(['\r', '\n']) {
            let line = line.split('#').next().unwrap_or_default();
            let Some((field, value)) = line.split_once(':') else { continue };
            let (field, value) = (field.trim().to_ascii_lowercase(), value.trim());
            match field.as_str() {
                "user-agent" => {
                    if group.has_rules {
                        group = Group::default();
                    }
                    let named = token(value);
                    if named.eq_ignore_ascii_case(TOKEN) {
                        group.ours = true;
                        ours.get_or_insert_default();
                    } else if value.starts_with('*') {
                        group.anybody = true;
                        anybody.get_or_insert_default();
                    }
                }
                "allow" | "disallow" | "crawl-delay" => {
                    // A delay does not end the list of names: RFC 9309 section 2.2.4 lets it not touch the groups.
                    group.has_rules |= field != "crawl-delay";
                    let heard = [(group.ours, &mut ours), (group.anybody, &mut anybody)];
                    for (_, said) in heard.into_iter().filter(|(meant, _)| *meant) {
                        said.get_or_insert_default().hear(&field, value);
                    }
                }
                _ => {}
            }
        }
        ours.or(anybody).unwrap_or_default()
    }

    fn hear(&mut self, field: &str, value: &str) {
        match field {
            "crawl-delay" => {
                let secs = value.parse::<f64>().ok().filter(|secs| (0.0..=86_400.0).contains(secs));
                self.delay = self.delay.max(secs.map(Duration::from_secs_f64));
            }
            // An empty rule forbids nothing; a pattern begins with a slash, or with anything.
            _ if value.starts_with(['/', '*']) => {
                self.rules.push(Rule { allow: field == "allow", pattern: comparable(value) });
            }
            _ => {}
        }
    }

    /// Whether a path (with its query) may be fetched. The longest rule that matches decides; of two as long, the one
    /// that allows.
    #[must_use]
    pub fn allows(&self, path: &str) -> bool {
        let path = comparable(path);
        if path == "/robots.txt" {
            return true;
        }
        let matching = self.rules.iter().filter(|rule| matches(&rule.pattern, &path));
        matching.max_by_key(|rule| (rule.pattern.len(), rule.allow)).is_none_or(|rule| rule.allow)
    }

    /// The pause between two requests that it asks for.
    #[must_use]
    pub const fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// About how much memory it takes, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + self.rules.iter().map(|rule| size_of::<Rule>() + rule.pattern.len()).sum::<usize>()
    }
}

/// A product token without what follows it, such as a version.
fn token(value: &str) -> &str {
    let end = value.find(|c: char| !(c.is_ascii_alphabetic() || c == '-' || c == '_'));
    &value[..end.unwrap_or(value.len())]
}

/// The form that paths and patterns are compared in: unreserved characters plain, all others as they came, bytes beyond
/// ASCII percent-encoded, digits of encodings in capitals. So `/%7Ea`, `/~a`; `/ä`, `/%c3%a4` are each one.
fn comparable(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let encoded = bytes.get(at + 1..at + 3).filter(|_| byte == b'%').and_then(hex);
        at += if encoded.is_some() { 3 } else { 1 };
        let plain = encoded.unwrap_or(byte);
        let unreserved = plain.is_ascii_alphanumeric() || matches!(plain, b'-' | b'.' | b'_' | b'~');
        if unreserved || (encoded.is_none() && plain.is_ascii()) {
            out.push(char::from(plain));
        } else {
            let digit = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
            out.extend(['%', digit(plain >> 4), digit(plain & 15)]);
        }
    }
    out
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some(digit(*digits.first()?)? << 4 | digit(*digits.get(1)?)?)
}

/// Whether a pattern matches the beginning of a path, or with `$` all of it. Each piece between stars is searched for
/// once, from left to right: the first place it fits leaves most room for the others.
fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, whole) = match pattern.strip_suffix('$') {
        Some(rest) => (rest, true),
        None => (pattern, false),
    };
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = path.strip_prefix(first) else { return false };
    let mut last = None;
    for piece in pieces {
        if let Some(skipped) = last.replace(piece) {
            let Some(at) = rest.find(skipped) else { return false };
            rest = &rest[at + skipped.len()..];
        }
    }
    match (last, whole) {
        (None, whole) => !whole || rest.is_empty(),
        (Some(piece), true) => rest.ends_with(piece),
        (Some(piece), false) => rest.contains(piece),
    }
}

#[cfg(test)]
mod tests;
