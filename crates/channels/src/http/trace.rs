//! The trace of a request at the door: what its caller says of it, and the facts that only the door knows. Invariant: a request
//! that is not traced costs one look for a header. Sources: W3C Trace Context; OpenTelemetry's conventions of HTTP servers.

use http::{HeaderMap, HeaderName, Method, StatusCode};
use portcullis_domain::{CacheNote, TraceParent};
use portcullis_telemetry::{Span, Traces};

static PARENT: HeaderName = HeaderName::from_static("traceparent");
static STATE: HeaderName = HeaderName::from_static("tracestate");

/// Begins the span of a request to that row of a table of routes.
pub(super) fn begin(
    traces: &Traces,
    headers: &HeaderMap,
    method: &Method,
    path: &'static str,
) -> Option<Span> {
    let span = traces.begin(parent(headers), || format!("{method} {path}").into())?;
    span.tell(|about| {
        about.text("http.request.method", method.to_string());
        about.text("http.route", path);
    });
    Some(span)
}

/// Where its caller says that it comes from. Said twice it is not said.
fn parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut said = headers.get_all(&PARENT).iter();
    let parent = said.next().filter(|_| said.next().is_none())?;
    let states = headers.get_all(&STATE).iter().map(http::HeaderValue::as_bytes);
    TraceParent::read(parent.as_bytes(), states)
}

/// What it was answered with.
pub(super) fn answered(span: Option<&Span>, status: StatusCode) {
    if let Some(span) = span {
        span.tell(|about| about.count("http.response.status_code", u64::from(status.as_u16())));
    }
}

/// Whether a cache had to do with it.
pub(super) fn cached(span: Option<&Span>, note: Option<CacheNote>) {
    if let (Some(span), Some(note)) = (span, note) {
        span.tell(|about| about.text("portcullis.cache", note.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(rows: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_parent_that_is_said_twice_or_wrongly_is_not_said() {
        let read = |rows: &[(&'static str, &str)]| parent(&headers(rows));
        let two = read(&[("traceparent", ONE), ("tracestate", "a=1"), ("tracestate", "b=2")]).unwrap();
        assert_eq!(two.state.as_deref(), Some("a=1,b=2"));
        assert_eq!(read(&[("traceparent", ONE), ("traceparent", ONE)]), None);
        assert_eq!(read(&[("tracestate", "a=1")]), None);
        assert_eq!(read(&[("traceparent", "00-not-a-parent")]), None);
        assert_eq!(read(&[("traceparent", ONE), ("tracestate", "\u{fc}=1")]).unwrap().state, None);
        // What hides a line in itself never gets this far; what is odd but plain is no parent.
        assert_eq!(read(&[("traceparent", &"0".repeat(8192))]), None);
    }
}
