//! What a request says of the trace it belongs to, and what we say of it to others: W3C Trace Context.
//!
//! Invariants: an id is never zero; what is not exactly in form is as good as not sent, because a caller's mistake here must
//! not cost it its answer; nothing of a caller's that is kept is longer than 512 bytes.
//! Source: W3C Recommendation "Trace Context", sections 3.2 and 3.3 (Level 1), whose cases of its test suite are tests here.

use std::{
    fmt,
    num::{NonZeroU64, NonZeroU128},
    str,
};

/// Bytes of a `traceparent` of the version that we write.
const PARENT_BYTES: usize = 55;
/// Most bytes of a `tracestate` that is passed on: what the recommendation asks for at least.
const STATE_BYTES: usize = 512;
/// Most members of a `tracestate`.
const MEMBERS: usize = 32;
/// Longest member that is kept where not all of them fit.
const MEMBER_BYTES: usize = 128;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $bits:ty, $width:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name($inner);

        impl $name {
            /// None for zero, which names nothing.
            #[must_use]
            pub const fn new(bits: $bits) -> Option<Self> {
                match <$inner>::new(bits) {
                    Some(bits) => Some(Self(bits)),
                    None => None,
                }
            }

            /// Its number.
            #[must_use]
            pub const fn bits(self) -> $bits {
                self.0.get()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{:0", $width, "x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// Names a trace: everything that is done for one request, on whatever machine. Written as 32 hexadecimal digits.
    TraceId,
    NonZeroU128,
    u128,
    "32"
);
id!(
    /// Names one piece of work within a trace. Written as 16 hexadecimal digits.
    SpanId,
    NonZeroU64,
    u64,
    "16"
);

/// The piece of work that a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The piece of work within it.
    pub span: SpanId,
    /// Whether the caller keeps what it learns of this trace.
    pub sampled: bool,
    /// What others want to be told on: `tracestate`, checked, at most 512 bytes.
    pub state: Option<Box<str>>,
}

impl TraceParent {
    /// Reads the headers `traceparent` and `tracestate`, of which the second may come more than once and means nothing without
    /// the first. None where the first is no such thing.
    #[must_use]
    pub fn read<'a>(parent: &[u8], states: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let (trace, span, sampled) = parent_of(parent)?;
        Some(Self { trace, span, sampled, state: state_of(states) })
    }

    /// The header `traceparent`.
    #[must_use]
    pub fn header(trace: TraceId, span: SpanId, sampled: bool) -> String {
        format!("00-{trace}-{span}-0{}", u8::from(sampled))
    }
}

fn parent_of(text: &[u8]) -> Option<(TraceId, SpanId, bool)> {
    let (version, rest) = (text.get(..PARENT_BYTES)?, &text[PARENT_BYTES..]);
    if [2, 35, 52].iter().any(|at| version[*at] != b'-') {
        return None;
    }
    let number = hex(&version[..2])?;
    // Later versions may say more, behind one more dash.
    if number == 0xff || (number == 0 && !rest.is_empty()) || rest.first().is_some_and(|byte| *byte != b'-') {
        return None;
    }
    let (trace, span) = (hex(&version[3..35])?, u64::try_from(hex(&version[36..52])?).ok()?);
    let flags = hex(&version[53..])?;
    Some((TraceId::new(trace)?, SpanId::new(span)?, flags & 1 == 1))
}

/// Small letters only: the recommendation knows no others.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |sum, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(sum << 4 | u128::from(value))
    })
}

/// The members in their order; none where one of them is in no form, for then nobody knows what the others mean.
fn state_of<'a>(headers: impl IntoIterator<Item = &'a [u8]>) -> Option<Box<str>> {
    let (mut members, mut bytes) = (Vec::<&str>::new(), 0);
    for header in headers {
        for member in str::from_utf8(header).ok()?.split(',') {
            let member = member.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let twice =
                members.iter().any(|other| other.split_once('=').is_some_and(|(name, _)| name == key));
            if !is_key(key) || !is_value(value) || twice || members.len() == MEMBERS {
                return None;
            }
            bytes += member.len() + usize::from(!members.is_empty());
            members.push(member);
        }
    }
    let longest = if bytes > STATE_BYTES { MEMBER_BYTES } else { usize::MAX };
    let mut kept = String::new();
    for member in members.into_iter().filter(|member| member.len() <= longest) {
        if kept.len() + 1 + member.len() > STATE_BYTES && !kept.is_empty() {
            break;
        }
        if !kept.is_empty() {
            kept.push(',');
        }
        kept.push_str(member);
    }
    (!kept.is_empty()).then(|| kept.into())
}

/// A name, or a tenant's at a system.
fn is_key(key: &str) -> bool {
    let sound = |part: &str, most: usize, first: fn(u8) -> bool| {
        part.len() <= most
            && part.bytes().next().is_some_and(first)
            && part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'))
    };
    match key.split_once('@') {
        Some((tenant, system)) => {
            sound(tenant, 241, |b| b.is_ascii_lowercase() || b.is_ascii_digit())
                && sound(system, 14, |b| b.is_ascii_lowercase())
        }
        None => sound(key, 256, |b| b.is_ascii_lowercase()),
    }
}

fn is_value(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && !value.ends_with(' ')
        && value.bytes().all(|byte| (0x20..=0x7e).contains(&byte) && byte != b'=' && byte != b',')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(parent: &str, states: &[&str]) -> Option<TraceParent> {
        TraceParent::read(parent.as_bytes(), states.iter().map(|state| state.as_bytes()))
    }

    fn state(states: &[&str]) -> Option<String> {
        read(PARENT, states).unwrap().state.map(String::from)
    }

    #[test]
    fn the_example_of_the_recommendation_reads_and_is_written_as_it_came() {
        let read = read(PARENT, &["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"]).unwrap();
        assert!(read.sampled);
        assert_eq!(read.state.as_deref(), Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"));
        assert_eq!(TraceParent::header(read.trace, read.span, read.sampled), PARENT);
    }

    #[test]
    fn a_header_that_is_not_exactly_in_form_counts_as_not_sent() {
        let good = |text: &str| read(text, &[]).is_some();
        for wrong in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
            "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(!good(wrong), "{wrong}");
        }
        // What a later version says beyond that is not ours to judge.
        for right in [
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-will-be-like",
        ] {
            assert!(good(right), "{right}");
        }
        for (flags, sampled) in [("00", false), ("01", true), ("02", false), ("ff", true)] {
            let text = format!("{}{flags}", &PARENT[..53]);
            assert_eq!(read(&text, &[]).unwrap().sampled, sampled, "{flags}");
        }
    }

    #[test]
    fn members_for_others_are_kept_in_their_order_or_left_out_together() {
        assert_eq!(state(&["foo=1 ,\tbar=2", "", " ,baz=3"]).as_deref(), Some("foo=1,bar=2,baz=3"));
        assert_eq!(state(&["0tenant@system=a b"]).as_deref(), Some("0tenant@system=a b"));
        for wrong in [
            "foo",
            "foo=",
            "Foo=1",
            "foo=1,foo=2",
            "foo =1",
            "foo=a=b",
            "a@=1",
            "@b=1",
            "a@b@c=1",
            "foo=\u{e9}",
            "foo=\x7f",
        ] {
            assert_eq!(state(&["ok=1", wrong]), None, "{wrong}");
        }
        let many = |count: usize| (0..count).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
        assert_eq!(state(&[&many(32)]), Some(many(32)));
        assert_eq!(state(&[&many(33)]), None);
        // Too much for all of it: long members go first, then those at the end.
        let (long, short) = (format!("long={}", "x".repeat(200)), format!("s={}", "y".repeat(100)));
        assert_eq!(state(&[&long]), Some(long.clone()));
        let other = |name: &str| format!("{name}={}", "z".repeat(120));
        let sent = [long, short.clone(), other("a"), other("b"), other("c"), other("d")].join(",");
        assert_eq!(state(&[&sent]), Some([short, other("a"), other("b"), other("c")].join(",")));
    }

    proptest! {
        #[test]
        fn whatever_is_sent_nothing_panics_and_nothing_long_is_kept(
            parent in proptest::collection::vec(any::<u8>(), 0..80),
            states in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..700), 0..4),
            plain in "[a-z]{1,3}=[a-z]{1,256}(,[a-z]{1,3}=[a-z]{1,250}){0,8}",
        ) {
            let _none = TraceParent::read(&parent, states.iter().map(Vec::as_slice));
            let kept = state(&[&plain]).unwrap_or_default();
            prop_assert!(kept.len() <= STATE_BYTES);
        }

        #[test]
        fn what_is_written_reads_as_the_same(trace in 1_u128.., span in 1_u64.., sampled: bool) {
            let (trace, span) = (TraceId::new(trace).unwrap(), SpanId::new(span).unwrap());
            let text = TraceParent::header(trace, span, sampled);
            prop_assert_eq!(text.len(), PARENT_BYTES);
            let state = None;
            prop_assert_eq!(read(&text, &[]), Some(TraceParent { trace, span, sampled, state }));
        }
    }
}
