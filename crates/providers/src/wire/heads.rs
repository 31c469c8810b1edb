//! The headers of requests to a provider, made once and copied for each request. Invariant: nothing in them is the
//! caller's.

use super::endpoint::version;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use portcullis_domain::Format;

const USER_AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));

/// What a request asks to be answered with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Accept {
    Json,
    Events,
}

/// The headers of every request, made once: for each `Accept`, with room for the length of the body.
pub(super) struct Heads([HeaderMap; 2]);

impl Heads {
    pub(super) fn new(format: Format, host: &HeaderValue, proof: Option<&(HeaderName, HeaderValue)>) -> Self {
        Self(["application/json", "text/event-stream"].map(|accept| {
            let mut head = HeaderMap::with_capacity(8);
            head.insert(header::HOST, host.clone());
            head.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            head.insert(header::ACCEPT, HeaderValue::from_static(accept));
            head.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
            head.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            head.extend(proof.cloned().into_iter().chain(version(format)));
            head
        }))
    }

    pub(super) fn of(&self, accept: Accept, bytes: usize) -> HeaderMap {
        let [json, events] = &self.0;
        let mut head = match accept {
            Accept::Json => json.clone(),
            Accept::Events => events.clone(),
        };
        head.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
        head
    }
}

/// The host that a request is for: with its port, unless that is what the scheme means anyway.
pub(super) fn host(base: &str) -> Result<HeaderValue, &'static str> {
    let uri: Uri = base.parse().map_err(|_| "the address is none")?;
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let name = uri.host().ok_or("the address has no host")?;
    let host = match uri.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    };
    HeaderValue::try_from(host).map_err(|_| "the host holds characters that no header may hold")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_whom_it_is_for_as_it_is_usual() {
        for (base, expected) in [
            ("https://api.test/v1", Ok("api.test")),
            ("https://api.test:443/v1", Ok("api.test")),
            ("http://api.test:443/v1", Ok("api.test:443")),
            ("http://127.0.0.1:8080", Ok("127.0.0.1:8080")),
            ("http://[::1]:80/v1", Ok("[::1]")),
            ("/v1", Err("the address has no host")),
        ] {
            assert_eq!(host(base), expected.map(HeaderValue::from_static), "{base}");
        }
        let heads = Heads::new(Format::Anthropic, &HeaderValue::from_static("h"), None);
        let head = heads.of(Accept::Events, 12);
        assert_eq!(
            (&head["content-length"], &head["accept"]),
            (&"12".parse().unwrap(), &"text/event-stream".parse().unwrap())
        );
        assert_eq!(head["anthropic-version"], "2023-06-01");
    }
}
