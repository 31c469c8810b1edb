//! What Google's paths say beside the model: the verb behind the last colon, how the answer is laid out, and the key.
//! Invariant: a key in the address is read here and nowhere else, and no log line holds an address. Source: Google's API
//! reference; settings.md "Errors on HTTP".

use bytes::Bytes;
use http::{HeaderMap, Uri};
use portcullis_domain::Credential;
use serde_json::value::RawValue;

/// The verbs that are offered.
const VERBS: [&str; 5] =
    ["generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"];

/// Model and verb of what stands behind `/models/`; none when no verb of ours ends it.
pub(in crate::http) fn split(segment: &str) -> Option<(&str, &'static str)> {
    let (model, said) = segment.rsplit_once(':')?;
    VERBS.into_iter().find(|verb| *verb == said).map(|verb| (model, verb))
}

/// Whether a path is one of Google's by its verb alone: the beginning it shares with OpenAI's.
pub(in crate::http) fn of_path(path: &str) -> bool {
    path.strip_prefix("/v1/models/").is_some_and(|rest| split(rest).is_some())
}

/// How an answer is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Layout {
    /// As the format writes it: events for streams.
    Plain,
    /// A stream as one JSON array, which is what Google sends without `alt=sse`.
    Array,
    /// One vector instead of a list.
    OneVector,
}

impl Layout {
    /// What a route's path and the address ask for.
    pub(in crate::http) fn of(path: &str, uri: &Uri) -> Self {
        match path.rsplit_once(':') {
            Some((_, "streamGenerateContent")) if member(uri, "alt").as_deref() != Some("sse") => Self::Array,
            Some((_, "embedContent")) => Self::OneVector,
            Some(_) | None => Self::Plain,
        }
    }
}

/// The key as Google's clients send it: `x-goog-api-key`, or `key` in the address.
pub(in crate::http) fn credential(headers: &HeaderMap, uri: &Uri) -> Credential {
    match headers.get("x-goog-api-key").map(|value| value.to_str().unwrap_or_default()) {
        Some(key) => Credential::Token(key.into()),
        None => member(uri, "key").map_or(Credential::None, |key| Credential::Token(key.as_str().into())),
    }
}

/// Whether a request for a path that Google shares with OpenAI is one of Google's clients: they prove themselves so.
pub(in crate::http) fn asks(headers: &HeaderMap, uri: &Uri) -> bool {
    !matches!(credential(headers, uri), Credential::None)
}

/// A member of the address's query. Keys and words have no escapes; one that has is no key of ours.
fn member(uri: &Uri, name: &str) -> Option<String> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
}

/// The answer of `embedContent` from that of `batchEmbedContents`.
pub(in crate::http) fn one_vector(body: Bytes) -> Bytes {
    #[derive(serde::Deserialize)]
    struct Many<'a> {
        #[serde(borrow)]
        embeddings: Vec<&'a RawValue>,
    }
    match serde_json::from_slice(&body) {
        Ok(Many { embeddings }) if embeddings.len() == 1 => {
            format!("{{\"embedding\":{}}}", embeddings[0].get()).into()
        }
        Ok(_) | Err(_) => body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_and_verb_are_told_apart_by_the_last_colon() {
        assert_eq!(split("fast:generateContent"), Some(("fast", "generateContent")));
        assert_eq!(split("openai/ft:x:embedContent"), Some(("openai/ft:x", "embedContent")));
        assert_eq!((split("fast"), split("ft:gpt"), split("a:predict")), (None, None, None));
        assert!(
            of_path("/v1/models/a:countTokens")
                && !of_path("/v1/models/ft:a")
                && !of_path("/v1/x:countTokens")
        );
    }

    #[test]
    fn the_address_says_key_and_layout() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        let header = |key: &'static str| {
            HeaderMap::from_iter([("x-goog-api-key".parse().unwrap(), key.parse().unwrap())])
        };
        let token = |credential| match credential {
            Credential::Token(token) => Some(token.to_string()),
            Credential::Vouched(_) | Credential::None => None,
        };
        let both = credential(&header("from-header"), &uri("/x?key=from-query"));
        assert_eq!(token(both).as_deref(), Some("from-header"));
        let query = credential(&HeaderMap::new(), &uri("/x?alt=sse&key=from-query"));
        assert_eq!(token(query).as_deref(), Some("from-query"));
        assert_eq!(token(credential(&HeaderMap::new(), &uri("/x"))), None);
        assert!(asks(&HeaderMap::new(), &uri("/x?key=a")) && !asks(&HeaderMap::new(), &uri("/x?keys=a")));
        let path = "/v1beta/models/{model}:streamGenerateContent";
        assert_eq!(Layout::of(path, &uri("/x?alt=sse")), Layout::Plain);
        assert_eq!(Layout::of(path, &uri("/x?alt=json")), Layout::Array);
        assert_eq!(Layout::of("/v1beta/models/{model}:embedContent", &uri("/x")), Layout::OneVector);
        assert_eq!(Layout::of("/v1beta/models", &uri("/x")), Layout::Plain);
        assert_eq!(
            one_vector(r#"{"embeddings":[{"values":[1]}]}"#.into()),
            r#"{"embedding":{"values":[1]}}"#
        );
    }
}
