//! Where a format's calls go and what proves who we are. Invariant: a model's name becomes part of an address only when
//! it holds nothing but letters, digits, `.`, `_` and `-`; keys are headers, never part of an address. Source: the
//! providers' API references.

use http::{HeaderName, HeaderValue, Uri, header};
use portcullis_domain::Format;
use secrecy::{ExposeSecret as _, SecretString};

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// A whole conversation turn.
    Chat,
    /// A streamed one.
    Stream,
    /// Vectors.
    Embed,
}

/// Addresses of one provider.
pub(crate) struct Endpoints {
    format: Format,
    base: String,
    chat: Uri,
    embed: Uri,
}

impl Endpoints {
    /// # Errors
    /// An address that is none.
    pub(crate) fn new(format: Format, base: &str) -> Result<Self, &'static str> {
        let (chat, embed) = match format {
            Format::OpenAi => ("chat/completions", "embeddings"),
            Format::Responses => ("responses", "embeddings"),
            Format::Anthropic => ("messages", "messages"),
            // These name the model.
            Format::Gemini => ("models", "models"),
        };
        let uri = |path: &str| format!("{base}/{path}").parse().map_err(|_| "the address is not usable");
        Ok(Self { format, base: base.to_owned(), chat: uri(chat)?, embed: uri(embed)? })
    }

    /// The address of a call; none when the model's name cannot be part of one.
    pub(crate) fn of(&self, call: Call, model: &str) -> Option<Uri> {
        match (self.format, call) {
            (Format::OpenAi | Format::Responses | Format::Anthropic, Call::Chat | Call::Stream) => {
                Some(self.chat.clone())
            }
            (Format::OpenAi | Format::Responses | Format::Anthropic, Call::Embed) => Some(self.embed.clone()),
            (Format::Gemini, call) => {
                if !plain(model) {
                    return None;
                }
                let verb = match call {
                    Call::Chat => "generateContent",
                    Call::Stream => "streamGenerateContent?alt=sse",
                    Call::Embed => "batchEmbedContents",
                };
                format!("{}/models/{model}:{verb}", self.base).parse().ok()
            }
        }
    }
}

/// Whether a model's name may be part of an address.
pub(crate) fn plain(model: &str) -> bool {
    !model.is_empty() && model.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// The header that proves who we are.
///
/// # Errors
/// A key that no header can hold.
pub(crate) fn proof(format: Format, key: &SecretString) -> Result<(HeaderName, HeaderValue), &'static str> {
    let key = key.expose_secret().trim();
    let (name, text) = match format {
        Format::OpenAi | Format::Responses => (header::AUTHORIZATION, format!("Bearer {key}")),
        Format::Anthropic => (HeaderName::from_static("x-api-key"), key.to_owned()),
        Format::Gemini => (HeaderName::from_static("x-goog-api-key"), key.to_owned()),
    };
    let mut value =
        HeaderValue::try_from(text).map_err(|_| "the key holds characters that no header may hold")?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// What a format wants beside.
pub(crate) const fn version(format: Format) -> Option<(HeaderName, HeaderValue)> {
    match format {
        Format::Anthropic => {
            Some((HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01")))
        }
        Format::OpenAi | Format::Responses | Format::Gemini => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_plain_word_never_becomes_part_of_an_address() {
        let endpoints = Endpoints::new(Format::Gemini, "https://host/v1beta").unwrap();
        let uri = endpoints.of(Call::Stream, "gemini-2.5-flash").unwrap();
        assert_eq!(
            uri.to_string(),
            "https://host/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
        );
        for name in ["", "a/b", "a?b", "../x", "a b", "a%2e", "a:b", "\u{e9}"] {
            assert_eq!(endpoints.of(Call::Chat, name), None, "{name}");
        }
    }
}
