//! Out over the network: whole answers, streams and vectors, in the provider's format.
//!
//! Invariants: where caller and provider speak the same format, the request is the caller's own bytes with the model
//! spliced in and the answer is the provider's own bytes; where they do not, both go through one internal form; no
//! header of the caller goes out and no header of the provider comes back; an answer that is none is never handed on;
//! every wait and every size has a bound. Source: gateway design sections 6 to 8.

mod send;

use super::{
    classify::{Said, Seen},
    endpoint::{Call, Endpoints, proof},
    heads::{Accept, Heads, host},
    scan::Scanner,
    stream::{Clocks, Passing, Source},
    translate::{Dropped, Translator, head, names, strictly},
};
use crate::{
    config::UpstreamConfig, learn::Learner, presets::Dialect, refusal::Refusal, report::Report,
    safety::Safety,
};
use bytes::Bytes;
use http::{Response, Uri, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use portcullis_domain::{
    ByteStream, ChatRequest, Deadline, EmbedInput, EmbedRequest, Failure, Format, InputCode, Meter,
    RequestId, Spliced, Usage,
};
use portcullis_resilience::{
    CallPermit, Class,
    http::{AnswerBody, Client},
};
use portcullis_wire::{Head, Told, look, look::tokens_of, openai::look_vectors};
use secrecy::SecretString;
use send::{Sent, hard, late, wrong_schema};
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
pub(crate) struct Opened(Box<Source<AnswerBody>>);

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

fn is_event_stream(response: &Response<AnswerBody>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    // Some servers leave it out; the first event then shows what it is.
    kind.is_none_or(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
        && !response.body().is_end_stream()
}
