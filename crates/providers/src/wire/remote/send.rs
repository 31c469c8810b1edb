//! One attempt over the network: the request with its headers, and what an answer that is none means. Invariant: whatever goes
//! wrong is told once, with a code of ours, and never in the provider's words but for a sentence that is redacted.

use super::{Exchange, Failed, Remote};
use crate::{
    learn::Learner,
    refusal::{Refusal, SOON},
    report::Report,
    wire::{
        classify::{Said, Seen, callers_fault, class, classify, label, retry_after, sentence},
        heads::Accept,
        scan::Broken,
    },
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use portcullis_domain::{Deadline, Failure, Spliced};
use portcullis_resilience::{
    Class,
    http::{AnswerBody, HttpError, collect},
};
use portcullis_telemetry::Span;
use secrecy::ExposeSecret as _;
use std::time::Duration;

/// Tells the provider, where it is to hear of it, which trace this call belongs to; and the trace, whom was called.
#[cold]
fn trace(span: &Span, uri: &Uri, headers: &mut HeaderMap) {
    span.tell(|about| {
        about.text("server.address", uri.host().unwrap_or_default().to_owned());
        if let Some(port) = uri.port_u16() {
            about.count("server.port", u64::from(port));
        }
    });
    for (name, value) in [
        ("traceparent", span.traceparent().and_then(|text| HeaderValue::try_from(text).ok())),
        ("tracestate", span.tracestate().and_then(|text| HeaderValue::from_str(text).ok())),
    ] {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
}

/// What goes out.
pub(super) struct Sent<'a> {
    pub(super) uri: &'a Uri,
    pub(super) accept: Accept,
    pub(super) body: Spliced,
    pub(super) lane: usize,
    pub(super) learner: &'a Learner<'a>,
}

/// Shorter texts are no keys; taking them out would only garble the sentence.
const LEAST_KEY: usize = 4;

impl Remote {
    /// Sends, and reads a whole body of a good answer.
    pub(super) async fn fetch(
        &self,
        uri: &Uri,
        body: Spliced,
        exchange: Exchange<'_>,
    ) -> Result<Bytes, Failed> {
        let Exchange { lane, learner, patience, deadline, report, .. } = exchange;
        let until = deadline.within(Duration::from_secs(self.bounds.attempt_timeout_secs).mul_f64(patience));
        let sent = Sent { uri, accept: Accept::Json, body, lane, learner };
        let response = self.send(sent, deadline, until, report).await?;
        collect(response.into_body(), self.bounds.max_answer_bytes, until)
            .await
            .map_err(|error| transport(&error, deadline, report))
    }

    /// Sends; anything but a 2xx is a failed attempt.
    pub(super) async fn send(
        &self,
        sent: Sent<'_>,
        deadline: Deadline,
        until: Deadline,
        report: &Report,
    ) -> Result<Response<AnswerBody>, Failed> {
        let Sent { uri, accept, body, lane, learner } = sent;
        let bytes = match &body {
            Spliced::Whole(body) => body.len(),
            Spliced::Pieces(pieces) => pieces.iter().map(Bytes::len).sum(),
        };
        // During a reload there may be fewer keys than lanes.
        let heads = self.keys.get(lane).or_else(|| self.keys.first()).map_or(&self.bare, |key| &key.heads);
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = heads.of(accept, bytes);
        if let Some(span) = &report.attempt {
            trace(span, uri, request.headers_mut());
        }
        let sending = async {
            match body {
                Spliced::Whole(body) => self.client.send(request.map(|()| Full::new(body))).await,
                Spliced::Pieces(pieces) => self.client.send_pieces(request.map(|()| pieces.into())).await,
            }
        };
        let response = tokio::time::timeout_at(until.instant(), sending)
            .await
            .map_err(|_| late(deadline, report, "no answer in time"))?
            .map_err(|error| transport(&error, deadline, report))?;
        learner.headers(response.headers());
        report.traced(|about| {
            about.count("http.response.status_code", u64::from(response.status().as_u16()));
        });
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.refused(response, until, learner, report).await)
        }
    }

    /// An answer with an error status.
    async fn refused(
        &self,
        response: Response<AnswerBody>,
        until: Deadline,
        learner: &Learner<'_>,
        report: &Report,
    ) -> Failed {
        let (head, body) = response.into_parts();
        let status = head.status;
        let wait = retry_after(&head.headers, jiff::Timestamp::now().as_second());
        // An error whose body does not come is still that error.
        let body = collect(body, self.bounds.max_error_bytes, until.within(Duration::from_secs(5))).await;
        let said = Said::read(&body.unwrap_or_default());
        learner.details(&said);
        let seen = classify(self.dialect, status.as_u16(), &said);
        self.conclude(seen, label(status.as_u16()), wait, said, report)
    }

    /// An error instead of the first chunk of a stream.
    pub(super) fn refused_in_stream(
        &self,
        broken: &Broken,
        learner: &Learner<'_>,
        report: &Report,
    ) -> Failed {
        match broken {
            Broken::Error(body) => {
                let said = Said::read(body);
                learner.details(&said);
                // Streams that have begun carry no status; a code that is a number is one.
                let status = said.code.parse().ok().filter(|code| (400..600).contains(code)).unwrap_or(500);
                let seen = classify(self.dialect, status, &said);
                self.conclude(seen, "error_event", None, said, report)
            }
            Broken::TooLong => hard(report, "too_large", "an event is longer than upstream.max_event_bytes"),
            Broken::WrongSchema => wrong_schema(report),
            Broken::Truncated => hard(report, "truncated", "the stream ended before its first chunk"),
        }
    }

    pub(super) fn conclude(
        &self,
        seen: Seen,
        code: &'static str,
        wait: Option<Duration>,
        mut said: Said,
        report: &Report,
    ) -> Failed {
        let wait = said.wait(wait);
        // A provider that repeats our key must not tell it to others, whatever its shape.
        for key in &self.keys {
            let key = key.secret.expose_secret().trim();
            if key.len() >= LEAST_KEY {
                said.message = said.message.replace(key, "[removed]");
            }
        }
        report.failed(code, &format!("{seen:?}: {}", sentence(&said.message, None)));
        let refusal = Refusal::of(seen, wait, || callers_fault(&said, None));
        (class(seen, wait), refusal)
    }
}

pub(super) fn hard(report: &Report, code: &'static str, detail: &str) -> Failed {
    report.failed(code, detail);
    (Class::HardFailure, Refusal::unavailable(SOON, "failure"))
}

pub(super) fn wrong_schema(report: &Report) -> Failed {
    hard(report, "schema", "a 2xx whose body is no answer")
}

/// A wait that ended: the provider's fault, unless it was the caller who waited no longer.
pub(super) fn late(deadline: Deadline, report: &Report, detail: &str) -> Failed {
    if deadline.passed() {
        return (Class::Cancelled, Refusal::last(Failure::DeadlineExceeded, "deadline"));
    }
    hard(report, "timeout", detail)
}

fn transport(error: &HttpError, deadline: Deadline, report: &Report) -> Failed {
    let detail = error.to_string();
    match error {
        HttpError::Connect(_) | HttpError::Refused(_) => hard(report, "connect", &detail),
        HttpError::Broken(_) => hard(report, "reset", &detail),
        HttpError::TooLarge(_) => hard(report, "too_large", &detail),
        HttpError::Timeout => late(deadline, report, &detail),
    }
}
