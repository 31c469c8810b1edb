//! Members that need not be there and need not make sense: counts, usage, lengths of words. Read in one pass while the
//! answer is parsed, without keeping anything. Invariant: what is of another shape than expected is as good as absent and
//! breaks nothing but broken JSON.

use crate::walk::Walk;
use portcullis_domain::Usage;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// More tokens than a sane provider could count in one answer.
const MOST_TOKENS: u64 = 1_000_000_000;

/// What a format calls the parts of its usage.
#[derive(Debug)]
pub(crate) struct UsageNames {
    /// Tokens read.
    pub(crate) input: &'static str,
    /// Object that holds `cached_tokens`, where they do not stand beside the others.
    pub(crate) input_details: &'static str,
    /// Tokens written.
    pub(crate) output: &'static str,
    /// Object that holds `reasoning_tokens`.
    pub(crate) output_details: &'static str,
}

/// Usage that was set aside as it came.
pub(crate) fn usage_of(raw: &RawValue, names: &'static UsageNames) -> Option<Usage> {
    usage(&mut serde_json::Deserializer::from_str(raw.get()), names).ok().flatten()
}

/// Usage, where it is one: without a count of tokens read it is none.
pub(crate) fn usage<'de, D: Deserializer<'de>>(
    deserializer: D,
    names: &'static UsageNames,
) -> Result<Option<Usage>, D::Error> {
    deserializer.deserialize_any(Told(names))
}

/// The same on a walk, which is over where it is not usage as it should be.
pub(crate) fn walked(walk: &mut Walk<'_>, names: &'static UsageNames) -> Option<Option<Usage>> {
    if walk.null()? {
        return Some(None);
    }
    let [mut read, mut cached, mut written, mut reasoning, mut beside] = [None; 5];
    walk.object(|walk, name| {
        let inside = |walk: &mut Walk<'_>, wanted: &str, found: &mut Option<u64>| {
            *found = None;
            if walk.null()? {
                return Some(());
            }
            walk.object(|walk, name| match name == wanted {
                true => walk.count().map(|count| *found = sane(count)),
                false => walk.value().map(drop),
            })
        };
        if name == names.input {
            walk.count().map(|count| read = sane(count))
        } else if name == names.output {
            walk.count().map(|count| written = sane(count))
        } else if name == names.input_details {
            inside(walk, "cached_tokens", &mut cached)
        } else if name == names.output_details {
            inside(walk, "reasoning_tokens", &mut reasoning)
        } else if name == "cached_tokens" {
            walk.count().map(|count| beside = sane(count))
        } else {
            walk.value().map(drop)
        }
    })?;
    Some(told(read, written, cached.or(beside), reasoning))
}

fn sane(count: u64) -> Option<u64> {
    (count <= MOST_TOKENS).then_some(count)
}

fn told(
    read: Option<u64>,
    written: Option<u64>,
    cached: Option<u64>,
    reasoning: Option<u64>,
) -> Option<Usage> {
    read.map(|input| Usage {
        input,
        cached: cached.unwrap_or(0).min(input),
        output: written.unwrap_or(0),
        reasoning: reasoning.unwrap_or(0),
        estimated: false,
    })
}

/// A count that a sane provider could send; anything else is none.
pub(crate) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserializer.deserialize_any(Count)
}

/// Bytes of the words in a value, however deep, names of members included: enough to estimate tokens by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Length(pub(crate) u64);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Measure).map(Self)
    }
}

/// The methods of a visitor for whatever is as good as absent.
macro_rules! otherwise {
    ($value:expr; $($visit:ident: $type:ty),*) => {
        $(fn $visit<E: Error>(self, _: $type) -> Result<Self::Value, E> {
            Ok($value)
        })*

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
    (list $value:expr) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
    (object $value:expr) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
}

struct Count;

impl<'de> Visitor<'de> for Count {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(sane(value))
    }

    otherwise!(None; visit_i64: i64, visit_f64: f64, visit_bool: bool, visit_str: &str);
    otherwise!(list None);
    otherwise!(object None);
}

impl<'de> DeserializeSeed<'de> for Count {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        count(deserializer)
    }
}

struct Measure;

impl<'de> Visitor<'de> for Measure {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("words")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        Ok(text.len() as u64)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<u64, A::Error> {
        let mut sum = 0;
        while let Some(Length(bytes)) = list.next_element()? {
            sum += bytes;
        }
        Ok(sum)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u64, A::Error> {
        let mut sum = 0;
        while let Some((Length(name), Length(value))) = map.next_entry()? {
            sum += name + value;
        }
        Ok(sum)
    }

    otherwise!(0; visit_u64: u64, visit_i64: i64, visit_f64: f64, visit_bool: bool);
}

/// One count inside an object, by its name.
struct Inside(&'static str);

impl<'de> DeserializeSeed<'de> for Inside {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inside {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("details")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(place) = map.next_key_seed(OneOf([self.0]))? {
            match place {
                Some(_) => found = map.next_value_seed(Count)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    otherwise!(None; visit_u64: u64, visit_i64: i64, visit_f64: f64, visit_bool: bool, visit_str: &str);
    otherwise!(list None);
}

/// Which of these names a member has.
struct OneOf<const N: usize>([&'static str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for OneOf<N> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<const N: usize> Visitor<'_> for OneOf<N> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }
}

struct Told(&'static UsageNames);

impl<'de> Visitor<'de> for Told {
    type Value = Option<Usage>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("usage")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let UsageNames { input, input_details, output, output_details } = *self.0;
        let names = || OneOf([input, input_details, output, output_details, "cached_tokens"]);
        let [mut read, mut cached, mut written, mut reasoning, mut beside] = [None; 5];
        while let Some(place) = map.next_key_seed(names())? {
            match place {
                Some(0) => read = map.next_value_seed(Count)?,
                Some(1) => cached = map.next_value_seed(Inside("cached_tokens"))?,
                Some(2) => written = map.next_value_seed(Count)?,
                Some(3) => reasoning = map.next_value_seed(Inside("reasoning_tokens"))?,
                Some(_) => beside = map.next_value_seed(Count)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(told(read, written, cached.or(beside), reasoning))
    }

    otherwise!(None; visit_u64: u64, visit_i64: i64, visit_f64: f64, visit_bool: bool, visit_str: &str);
    otherwise!(list None);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: UsageNames =
        UsageNames { input: "in", input_details: "in_more", output: "out", output_details: "out_more" };

    #[test]
    fn usage_is_read_past_whatever_makes_no_sense() {
        let read = |text: &str| {
            static STATIC: UsageNames = NAMES;
            let usage = usage(&mut serde_json::Deserializer::from_str(text), &STATIC).unwrap();
            let on_a_walk = Walk::over(text.as_bytes(), 9).and_then(|mut walk| walked(&mut walk, &STATIC));
            assert!(on_a_walk.is_none_or(|walked| walked == usage), "{text}");
            usage
        };
        let whole = r#"{"x":[{}],"in":9,"in_more":{"y":{},"cached_tokens":4},"out":3,"out_more":{"reasoning_tokens":2}}"#;
        let found = Usage { input: 9, cached: 4, output: 3, reasoning: 2, estimated: false };
        assert_eq!(read(whole), Some(found));
        let odd = r#"{"in":9,"cached_tokens":99,"in_more":"?","out":{"n":1},"out_more":[1]}"#;
        assert_eq!(read(odd), Some(Usage { input: 9, cached: 9, ..Usage::default() }));
        for none in ["null", "7", "-7", "1.5", "\"x\"", "[{}]", "{}", r#"{"in":-1}"#, r#"{"in":1000000001}"#]
        {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn words_are_measured_however_deep_they_stand() {
        let length = |text: &str| serde_json::from_str::<Length>(text).unwrap().0;
        assert_eq!(length(r#""a\nb""#), 3);
        assert_eq!(length(r#"[{"type":"text","text":"hi"}, null, 7, true]"#), 4 + 4 + 4 + 2);
    }
}
