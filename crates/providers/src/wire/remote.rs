//! Out over the network: whole answers, streams and vectors, in the provider's format.
//!
//! Invariants: where caller and provider speak the same format, the request is the caller's own bytes with the model
//! spliced in and the answer is the provider's own bytes; where they do not, both go through one internal form; no
//! header of the caller goes out and no header of the provider comes back; an answer that is none is never handed on;
//! every wait and every size has a bound. Source: gateway design sections 6 to 8.

use super::{
    classify::{Said, Seen, callers_fault, class, classify, label, retry_after, sentence},
    endpoint::{Call, Endpoints, proof},
    heads::{Accept, Heads, host},
    scan::{Broken, Scanner},
    stream::{Clocks, Passing, Source},
    translate::{Dropped, Translator, head, names, strictly},
};
use crate::{
    config::UpstreamConfig,
    learn::Learner,
    presets::Dialect,
    refusal::{Refusal, SOON},
    report::Report,
    safety::Safety,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use portcullis_domain::{
    ByteStream, ChatRequest, Deadline, EmbedInput, EmbedRequest, Failure, Format, InputCode, Meter,
    RequestId, Spliced, Usage,
};
use portcullis_resilience::{
    CallPermit, Class,
    http::{Client, HttpError, collect},
};
use portcullis_telemetry::Span;
use portcullis_wire::{Head, Told, look, look::tokens_of, openai::look_vectors};
use secrecy::{ExposeSecret as _, SecretString};
use std::{collections::VecDeque, time::Duration};

/// A key, and the heads of requests with it.
struct Key {
    secret: SecretString,
    heads: Heads,
}

/// What a provider over the network is made from.
pub(crate) struct RemoteParts<'a> {
    pub(crate) client: Client,
    pub(crate) format: Format,
    /// Whether it offers OpenAI's responses beside its own format.
    pub(crate) responses: bool,
    pub(crate) base: &'a str,
    pub(crate) keys: Vec<SecretString>,
    pub(crate) dialect: Dialect,
    pub(crate) bounds: UpstreamConfig,
    /// What it filters, where it must be asked to.
    pub(crate) safety: Option<Safety>,
}

/// One provider over the network.
pub(crate) struct Remote {
    client: Client,
    format: Format,
    endpoints: Endpoints,
    responses: Option<Endpoints>,
    keys: Vec<Key>,
    /// Where there is no key.
    bare: Heads,
    dialect: Dialect,
    bounds: UpstreamConfig,
    safety: Option<Safety>,
}

/// A request in the provider's words, ready for any number of attempts.
pub(crate) struct Outgoing {
    /// In which format the provider is spoken to.
    format: Format,
    uri: Uri,
    body: Spliced,
    choices: u32,
    /// Whether the usage chunk of a stream is taken out.
    drop_usage: bool,
    /// The caller's format and what its answer says of itself, where the answer is to be translated.
    back: Option<(Format, Head)>,
    /// What the provider has no words for.
    pub(crate) dropped: Dropped,
}

/// Texts in the provider's words.
pub(crate) struct Texts {
    uri: Uri,
    body: Bytes,
    count: usize,
    back: Option<(Format, portcullis_domain::Encoding)>,
}

/// What is sent, and how it is accounted for.
pub(crate) struct Exchange<'a> {
    /// Which of the provider's keys.
    pub(crate) lane: usize,
    /// Who learns what the provider says of its limits.
    pub(crate) learner: &'a Learner<'a>,
    /// How much longer than others this model may take.
    pub(crate) patience: f64,
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

impl Remote {
    /// # Errors
    /// When the address or a key cannot be written into a request.
    pub(crate) fn new(parts: RemoteParts<'_>) -> Result<Self, &'static str> {
        let RemoteParts { client, format, responses, base, keys, dialect, bounds, safety } = parts;
        let host = host(base)?;
        let key = |secret: SecretString| {
            Ok(Key { heads: Heads::new(format, &host, Some(&proof(format, &secret)?)), secret })
        };
        Ok(Self {
            client,
            format,
            endpoints: Endpoints::new(format, base)?,
            responses: responses.then(|| Endpoints::new(Format::Responses, base)).transpose()?,
            keys: keys.into_iter().map(key).collect::<Result<_, &'static str>>()?,
            bare: Heads::new(format, &host, None),
            dialect,
            bounds,
            safety,
        })
    }

    /// Whether a model that no list names may be asked for: not where it would become part of an address.
    pub(crate) fn takes_any_model(&self) -> bool {
        self.format != Format::Gemini
    }

    /// A conversation turn in this provider's words.
    ///
    /// # Errors
    /// What the caller's request says that cannot be said to this provider.
    pub(crate) fn chat(
        &self,
        id: RequestId,
        request: &ChatRequest,
        model: &str,
        strict: bool,
    ) -> Result<Outgoing, Refusal> {
        let call = if request.stream { Call::Stream } else { Call::Chat };
        let address = |endpoints: &Endpoints| endpoints.of(call, model).ok_or_else(no_address);
        let same = match (request.format, &self.responses) {
            (Format::Responses, Some(responses)) => Some((Format::Responses, address(responses)?)),
            (format, _) if format == self.format => Some((format, address(&self.endpoints)?)),
            (Format::OpenAi | Format::Responses | Format::Anthropic | Format::Gemini, _) => None,
        };
        if let Some((format, uri)) = same {
            return Ok(Outgoing {
                format,
                uri,
                body: self.spliced(request, model)?,
                choices: choices(format, request.n),
                drop_usage: !request.include_usage,
                back: None,
                dropped: Dropped::new(),
            });
        }
        let fault = |failure| Refusal::last(failure, "callers_fault");
        let conversation =
            portcullis_wire::read_request(request.format, &request.body, request.stream).map_err(fault)?;
        let written = portcullis_wire::write_request(self.format, &conversation, model);
        let dropped = names(request.format, &written.dropped, &conversation.unheld);
        if let Some(failure) = strictly(&dropped).filter(|_| strict) {
            return Err(Refusal::passed_on(failure, "unfit"));
        }
        Ok(Outgoing {
            format: self.format,
            uri: address(&self.endpoints)?,
            body: Spliced::Whole(self.guarded(written.body)?),
            choices: choices(self.format, request.n),
            drop_usage: false,
            back: Some((request.format, head(id, request.include_usage, &request.body))),
            dropped,
        })
    }

    /// The caller's own body for that model: in slices, unless something has to be put into it.
    fn spliced(&self, request: &ChatRequest, model: &str) -> Result<Spliced, Refusal> {
        if self.safety.is_none() {
            return Ok(request.spliced(model));
        }
        self.guarded(request.splice(model)).map(Spliced::Whole)
    }

    /// What every body of this provider must carry, whoever wrote it.
    fn guarded(&self, body: Bytes) -> Result<Bytes, Refusal> {
        let Some(safety) = &self.safety else { return Ok(body) };
        safety.guard(&body).ok_or_else(|| {
            Refusal::last(Failure::invalid("body", "The body must be a JSON object."), "callers_fault")
        })
    }

    /// What a request to embed says that this provider has no words for, in the caller's.
    pub(crate) fn unsaid(&self, request: &EmbedRequest) -> Dropped {
        if request.format == self.format { Dropped::new() } else { unsaid(request) }
    }

    /// Texts to embed in this provider's words.
    ///
    /// # Errors
    /// What cannot be said to this provider: token numbers to one that takes texts only.
    pub(crate) fn embed(&self, request: &EmbedRequest, model: &str) -> Result<Texts, Refusal> {
        let uri = self.endpoints.of(Call::Embed, model).ok_or_else(no_address)?;
        let count = match &request.input {
            EmbedInput::Texts(texts) => texts.len(),
            EmbedInput::Tokens { count } => *count,
        };
        if request.format == self.format && request.format == Format::OpenAi {
            return Ok(Texts { uri, body: request.splice(model), count, back: None });
        }
        if request.format == self.format
            && request.format == Format::Gemini
            && let Some(body) = portcullis_wire::gemini::redirect_embed(&request.body, model)
        {
            return Ok(Texts { uri, body, count, back: Some((request.format, request.encoding)) });
        }
        let texts: Vec<_> = request.texts().collect();
        let unfit = |message: &'static str| {
            let failure = Failure::InvalidInput {
                code: InputCode::UnsupportedParameter,
                message: message.into(),
                param: Some("input".into()),
            };
            Refusal::passed_on(failure, "unfit")
        };
        if texts.len() != count {
            return Err(unfit("This model reads texts, not token numbers."));
        }
        let body = portcullis_wire::write_embed(self.format, &texts, model, request.dimensions)
            .ok_or_else(|| unfit("This model makes no embeddings."))?;
        Ok(Texts { uri, body, count, back: Some((request.format, request.encoding)) })
    }

    /// A whole chat answer.
    pub(crate) async fn whole(
        &self,
        outgoing: &Outgoing,
        exchange: Exchange<'_>,
    ) -> Result<(Bytes, Usage), Failed> {
        let (estimate, report) = (exchange.input_estimate, exchange.report);
        let body = self.fetch(&outgoing.uri, outgoing.body.clone(), exchange).await?;
        let Some(glance) = look::whole(outgoing.format, &body) else { return Err(wrong_schema(report)) };
        let usage = glance.usage.unwrap_or(Usage {
            input: estimate,
            output: tokens_of(glance.text_bytes),
            estimated: true,
            ..Usage::default()
        });
        if report.is_traced() {
            let mut told = Told::default();
            told.add(outgoing.format, &body);
            report.says(Some(&told));
        }
        let Some((format, head)) = &outgoing.back else { return Ok((body, usage)) };
        if glance.blocked {
            return Err(self.conclude(Seen::Filtered, "blocked", None, Said::default(), report));
        }
        let Some(answer) = portcullis_wire::read_answer(outgoing.format, &body) else {
            return Err(wrong_schema(report));
        };
        Ok((portcullis_wire::write_answer(*format, &answer, head), usage))
    }

    /// Vectors, one for each text.
    pub(crate) async fn vectors(
        &self,
        texts: &Texts,
        exchange: Exchange<'_>,
    ) -> Result<(Bytes, Usage), Failed> {
        let (estimate, report) = (exchange.input_estimate, exchange.report);
        let body = self.fetch(&texts.uri, Spliced::Whole(texts.body.clone()), exchange).await?;
        let estimated = Usage { input: estimate, estimated: true, ..Usage::default() };
        let Some((format, encoding)) = texts.back else {
            let Some(usage) = look_vectors(&body, texts.count) else { return Err(wrong_schema(report)) };
            return Ok((body, usage.unwrap_or(estimated)));
        };
        let read = portcullis_wire::read_vectors(self.format, &body);
        let Some(mut read) = read.filter(|read| read.vectors.len() == texts.count) else {
            return Err(wrong_schema(report));
        };
        let usage = *read.usage.get_or_insert(estimated);
        Ok((portcullis_wire::write_vectors(format, &read, encoding), usage))
    }

    /// A streamed chat answer: returns when its first chunk is there.
    pub(crate) async fn open(&self, outgoing: &Outgoing, exchange: Exchange<'_>) -> Result<Opened, Failed> {
        let Exchange { lane, learner, patience, deadline, report, input_estimate } = exchange;
        let first = deadline.within(Duration::from_secs(self.bounds.ttft_timeout_secs).mul_f64(patience));
        let sent =
            Sent { uri: &outgoing.uri, accept: Accept::Events, body: outgoing.body.clone(), lane, learner };
        let response = self.send(sent, deadline, first, report).await?;
        if !is_event_stream(&response) {
            return Err(wrong_schema(report));
        }
        let clocks = Clocks {
            idle: Duration::from_secs(self.bounds.idle_timeout_secs),
            ends: report.started + Duration::from_secs(self.bounds.stream_timeout_secs),
        };
        let format = outgoing.format;
        let most = self.bounds.max_event_bytes;
        let mut source = Source {
            body: response.into_body(),
            scanner: Scanner::new(format, outgoing.choices, outgoing.drop_usage, most)
                .telling(report.is_traced()),
            back: outgoing.back.as_ref().map(|(to, head)| Translator::new(format, *to, head.clone())),
            ready: VecDeque::new(),
            fault: None,
            clocks,
            came: None,
            input_estimate,
            meter: Meter::default(),
            report: report.clone(),
        };
        while !source.scanner.begun() {
            let frame = tokio::time::timeout_at(first.instant(), source.body.frame())
                .await
                .map_err(|_| late(deadline, report, "no first event in time"))?;
            match frame {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    match source.take(data) {
                        // What is sound goes out first; the fault then shows in the stream.
                        Err(broken) if source.scanner.begun() => source.fault = Some(broken),
                        Err(broken) => return Err(self.refused_in_stream(&broken, learner, report)),
                        Ok(()) => {}
                    }
                }
                Some(Err(error)) => return Err(hard(report, "reset", &error.to_string())),
                None => match source.end() {
                    Err(broken) if !source.scanner.begun() => {
                        return Err(self.refused_in_stream(&broken, learner, report));
                    }
                    // A last event without its blank line; the end is seen again by whoever reads on.
                    Ok(()) | Err(_) => break,
                },
            }
        }
        if source.scanner.blocked() && source.back.is_some() {
            return Err(self.conclude(Seen::Filtered, "blocked", None, Said::default(), report));
        }
        Ok(Opened(Box::new(source)))
    }

    /// Sends, and reads a whole body of a good answer.
    async fn fetch(&self, uri: &Uri, body: Spliced, exchange: Exchange<'_>) -> Result<Bytes, Failed> {
        let Exchange { lane, learner, patience, deadline, report, .. } = exchange;
        let until = deadline.within(Duration::from_secs(self.bounds.attempt_timeout_secs).mul_f64(patience));
        let sent = Sent { uri, accept: Accept::Json, body, lane, learner };
        let response = self.send(sent, deadline, until, report).await?;
        collect(response.into_body(), self.bounds.max_answer_bytes, until)
            .await
            .map_err(|error| transport(&error, deadline, report))
    }

    /// Sends; anything but a 2xx is a failed attempt.
    async fn send(
        &self,
        sent: Sent<'_>,
        deadline: Deadline,
        until: Deadline,
        report: &Report,
    ) -> Result<Response<Incoming>, Failed> {
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
        response: Response<Incoming>,
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
    fn refused_in_stream(&self, broken: &Broken, learner: &Learner<'_>, report: &Report) -> Failed {
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

    fn conclude(
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

/// What a request to embed says that no other format has words for.
pub(crate) fn unsaid(request: &EmbedRequest) -> Dropped {
    match request.format {
        Format::Gemini => {
            names(request.format, &[], &portcullis_wire::gemini::unheld_of_embed(&request.body))
        }
        Format::OpenAi | Format::Responses | Format::Anthropic => Dropped::new(),
    }
}

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
struct Sent<'a> {
    uri: &'a Uri,
    accept: Accept,
    body: Spliced,
    lane: usize,
    learner: &'a Learner<'a>,
}

/// Shorter texts are no keys; taking them out would only garble the sentence.
const LEAST_KEY: usize = 4;

/// Answers that a format gives for a wish of `n`.
const fn choices(format: Format, n: u32) -> u32 {
    match format {
        Format::OpenAi | Format::Gemini => n,
        Format::Responses | Format::Anthropic => 1,
    }
}

fn no_address() -> Refusal {
    Refusal::passed_on(Failure::NotFound("The provider of this model does not offer it.".into()), "no_model")
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
        HttpError::Connect(_) | HttpError::Refused(_) => hard(report, "connect", &detail),
        HttpError::Broken(_) => hard(report, "reset", &detail),
        HttpError::TooLarge(_) => hard(report, "too_large", &detail),
        HttpError::Timeout => late(deadline, report, &detail),
    }
}
