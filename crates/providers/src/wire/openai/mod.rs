//! Out in OpenAI's wire: `POST {base}/chat/completions` (whole and streamed) and `POST {base}/embeddings`.
//!
//! Invariants: the request is the caller's own bytes with the model spliced in, and the answer is the provider's own
//! bytes; no header of the caller goes out and no header of the provider comes back; an answer that is none is never
//! handed on; every wait and every size has a bound. Source: gateway design sections 6 to 8.

mod shape;
mod sse;
mod stream;

pub(crate) use shape::{Vectors, tokens_of};

use crate::{
    config::UpstreamConfig,
    presets::Dialect,
    refusal::{Refusal, SOON},
    report::Report,
    wire::classify::{Said, Seen, callers_fault, class, classify, label, retry_after, sentence},
};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use portcullis_domain::{ByteStream, Deadline, Failure, Meter, Usage};
use portcullis_resilience::{
    CallPermit, Class,
    http::{Client, HttpError, collect},
};
use secrecy::{ExposeSecret as _, SecretString};
use shape::Whole;
use sse::{Broken, Scanner};
use std::{collections::VecDeque, time::Duration};
use stream::{Clocks, Passing, Source};

const USER_AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));

/// One provider as this wire sees it.
pub(crate) struct OpenAi {
    client: Client,
    chat: Uri,
    embeddings: Uri,
    key: Option<SecretString>,
    authorization: Option<HeaderValue>,
    dialect: Dialect,
    bounds: UpstreamConfig,
}

/// What is sent, and how it is accounted for.
pub(crate) struct Exchange<'a> {
    /// The caller's body with the target's model.
    pub(crate) body: Bytes,
    /// Until when the caller waits.
    pub(crate) deadline: Deadline,
    /// Who is told.
    pub(crate) report: &'a Report,
    /// Tokens of the prompt, estimated.
    pub(crate) input_estimate: u64,
}

/// A streamed answer that has begun.
pub(crate) struct Opened(Box<Source<Incoming>>);

impl Opened {
    /// The rest of it; the permit is held to its end.
    pub(crate) fn into_stream(self, permit: CallPermit) -> (ByteStream, Meter) {
        let meter = self.0.meter.clone();
        (Box::pin(Passing::new(*self.0, permit)), meter)
    }
}

/// An attempt that failed: how the guards see it, and what the caller may be told.
pub(crate) type Failed = (Class, Refusal);

impl OpenAi {
    /// # Errors
    /// When the address or the key cannot be written into a request.
    pub(crate) fn new(
        client: Client,
        base: &str,
        key: Option<SecretString>,
        dialect: Dialect,
        bounds: UpstreamConfig,
    ) -> Result<Self, &'static str> {
        let uri = |path: &str| format!("{base}/{path}").parse().map_err(|_| "the address is not usable");
        let authorization = key
            .as_ref()
            .map(|key| {
                let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret().trim()))
                    .map_err(|_| "the key holds characters that no header may hold")?;
                value.set_sensitive(true);
                Ok::<_, &'static str>(value)
            })
            .transpose()?;
        let (chat, embeddings) = (uri("chat/completions")?, uri("embeddings")?);
        Ok(Self { client, chat, embeddings, key, authorization, dialect, bounds })
    }

    /// A whole chat answer.
    pub(crate) async fn whole(&self, exchange: Exchange<'_>) -> Result<(Bytes, Usage), Failed> {
        let estimate = exchange.input_estimate;
        let report = exchange.report;
        let body = self.fetch(&self.chat, exchange).await?;
        let Some(answer) = Whole::read(&body) else { return Err(wrong_schema(report)) };
        let usage = answer.usage().unwrap_or(Usage {
            input: estimate,
            output: tokens_of(answer.choices.counts.text_bytes),
            estimated: true,
            ..Usage::default()
        });
        Ok((body, usage))
    }

    /// Vectors for `count` texts.
    pub(crate) async fn vectors(
        &self,
        count: usize,
        exchange: Exchange<'_>,
    ) -> Result<(Bytes, Usage), Failed> {
        let estimate = exchange.input_estimate;
        let report = exchange.report;
        let body = self.fetch(&self.embeddings, exchange).await?;
        let Some(answer) = Vectors::read(&body, count) else { return Err(wrong_schema(report)) };
        let usage = answer.usage().unwrap_or(Usage {
            input: estimate,
            output: 0,
            estimated: true,
            ..Usage::default()
        });
        Ok((body, usage))
    }

    /// A streamed chat answer with `choices` choices: returns when its first chunk is there.
    pub(crate) async fn open(
        &self,
        choices: u32,
        drop_usage: bool,
        exchange: Exchange<'_>,
    ) -> Result<Opened, Failed> {
        let Exchange { body, deadline, report, input_estimate } = exchange;
        let first = deadline.within(Duration::from_secs(self.bounds.ttft_timeout_secs));
        let response = self.send(&self.chat, "text/event-stream", body, deadline, first, report).await?;
        if !is_event_stream(&response) {
            return Err(wrong_schema(report));
        }
        let mut body = response.into_body();
        let mut scanner = Scanner::new(choices, drop_usage, self.bounds.max_event_bytes);
        let (mut ready, mut fault) = (VecDeque::new(), None);
        while !scanner.begun() {
            let frame = tokio::time::timeout_at(first.instant(), body.frame())
                .await
                .map_err(|_| late(deadline, report, "no first event in time"))?;
            match frame {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    match scanner.push(data, &mut ready) {
                        // What is sound goes out first; the fault then shows in the stream.
                        Err(broken) if scanner.begun() => fault = Some(broken),
                        Err(broken) => return Err(self.refused_in_stream(&broken, report)),
                        Ok(()) => {}
                    }
                }
                Some(Err(error)) => return Err(hard(report, "reset", &error.to_string())),
                None => match scanner.finish(&mut ready) {
                    Err(broken) if !scanner.begun() => return Err(self.refused_in_stream(&broken, report)),
                    // A last event without its blank line; the end is seen again by whoever reads on.
                    Ok(()) | Err(_) => break,
                },
            }
        }
        let clocks = Clocks {
            idle: Duration::from_secs(self.bounds.idle_timeout_secs),
            ends: report.started + Duration::from_secs(self.bounds.stream_timeout_secs),
        };
        let (meter, report) = (Meter::default(), report.clone());
        Ok(Opened(Box::new(Source { body, scanner, ready, fault, clocks, input_estimate, meter, report })))
    }

    /// Sends, and reads a whole body of a good answer.
    async fn fetch(&self, uri: &Uri, exchange: Exchange<'_>) -> Result<Bytes, Failed> {
        let Exchange { body, deadline, report, .. } = exchange;
        let until = deadline.within(Duration::from_secs(self.bounds.attempt_timeout_secs));
        let response = self.send(uri, "application/json", body, deadline, until, report).await?;
        collect(response.into_body(), self.bounds.max_answer_bytes, until)
            .await
            .map_err(|error| transport(&error, deadline, report))
    }

    /// Sends; anything but a 2xx is a failed attempt.
    async fn send(
        &self,
        uri: &Uri,
        accept: &'static str,
        body: Bytes,
        deadline: Deadline,
        until: Deadline,
        report: &Report,
    ) -> Result<Response<Incoming>, Failed> {
        let mut request = Request::post(uri.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, accept)
            .header(header::USER_AGENT, USER_AGENT);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        let request =
            request.body(Full::new(body)).map_err(|error| hard(report, "request", &error.to_string()))?;
        let response = tokio::time::timeout_at(until.instant(), self.client.send(request))
            .await
            .map_err(|_| late(deadline, report, "no answer in time"))?
            .map_err(|error| transport(&error, deadline, report))?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.refused(response, until, report).await)
        }
    }

    /// An answer with an error status.
    async fn refused(&self, response: Response<Incoming>, until: Deadline, report: &Report) -> Failed {
        let (head, body) = response.into_parts();
        let status = head.status;
        let wait = retry_after(&head.headers, jiff::Timestamp::now().as_second());
        // An error whose body does not come is still that error.
        let body = collect(body, self.bounds.max_error_bytes, until.within(Duration::from_secs(5))).await;
        let said = Said::read(&body.unwrap_or_default());
        let seen = classify(self.dialect, status.as_u16(), &said);
        self.conclude(seen, label(status.as_u16()), wait, &said, report)
    }

    /// An error instead of the first chunk of a stream.
    fn refused_in_stream(&self, broken: &Broken, report: &Report) -> Failed {
        match broken {
            Broken::Error(body) => {
                let said = Said::read(body);
                // Streams that have begun carry no status; a code that is a number is one.
                let status = said.code.parse().ok().filter(|code| (400..600).contains(code)).unwrap_or(500);
                let seen = classify(self.dialect, status, &said);
                self.conclude(seen, "error_event", None, &said, report)
            }
            Broken::TooLong => hard(report, "too_large", "an event is longer than upstream.max_event_bytes"),
            Broken::WrongSchema => wrong_schema(report),
            Broken::Truncated => hard(report, "truncated", "the stream ended before its first chunk"),
        }
    }

    fn conclude(
        &self,
        seen: Seen,
        code: &'static str,
        wait: Option<Duration>,
        said: &Said,
        report: &Report,
    ) -> Failed {
        let wait = said.wait(wait);
        let key = self.key.as_ref().map(|key| key.expose_secret());
        report.failed(code, &format!("{seen:?}: {}", sentence(&said.message, key)));
        let refusal = Refusal::of(seen, wait, || callers_fault(said, key));
        (class(seen, wait), refusal)
    }
}

fn is_event_stream(response: &Response<Incoming>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    // Some servers leave it out; the first event then shows what it is.
    kind.is_none_or(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
        && !response.body().is_end_stream()
}

fn hard(report: &Report, code: &'static str, detail: &str) -> Failed {
    report.failed(code, detail);
    (Class::HardFailure, Refusal::unavailable(SOON, "failure"))
}

fn wrong_schema(report: &Report) -> Failed {
    hard(report, "schema", "a 2xx whose body is no answer")
}

/// A wait that ended: the provider's fault, unless it was the caller who waited no longer.
fn late(deadline: Deadline, report: &Report, detail: &str) -> Failed {
    if deadline.passed() {
        return (Class::Cancelled, Refusal::last(Failure::DeadlineExceeded, "deadline"));
    }
    hard(report, "timeout", detail)
}

fn transport(error: &HttpError, deadline: Deadline, report: &Report) -> Failed {
    let detail = error.to_string();
    match error {
        HttpError::Connect(_) | HttpError::NotPublic => hard(report, "connect", &detail),
        HttpError::Broken(_) => hard(report, "reset", &detail),
        HttpError::TooLarge(_) => hard(report, "too_large", &detail),
        HttpError::Timeout => late(deadline, report, &detail),
    }
}
