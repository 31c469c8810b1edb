//! The provider inside the process: `extractive` and `echo` for conversations, `embed` for vectors. It needs no key,
//! no server and no network, and says openly what it is.
//!
//! Invariant: the model runs on blocking threads only, one text at a time, and stops between two texts when nobody
//! waits any more.

mod answer;
pub mod e5;
mod encoder;
mod extract;
pub mod minilm;
pub mod pack;
mod reading;
#[cfg(test)]
mod tests;
mod unigram;
mod wordpiece;

pub use extract::ExtractConfig;
pub use reading::Reading;

use crate::{
    provider::Call,
    refusal::{Refusal, incident},
};
use answer::{Head, Saying};
use bytes::Bytes;
use e5::Multilingual;
use minilm::{DIMENSIONS, Embedded, MiniLm, ModelError};
use portcullis_domain::{ChatRequest, EmbedInput, EmbedRequest, Failure, InputCode, Role, Usage};
use portcullis_wire::look::tokens_of;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// What the answerer says when nothing can answer and no provider is configured.
const NO_PROVIDER: &str = "No AI provider is configured yet, so Portcullis answers by itself: it can make embeddings and quote the \
sentences of a conversation that best answer its last question, but it cannot write. To reach a real model, name a key, such as \
OPENAI_API_KEY, in the environment and start again.";

/// What it says when providers are configured but this answer had to come from here.
const NOTHING_FITS: &str = "No AI provider could answer this, and nothing in the conversation itself answers its last question. Please \
try again shortly.";

/// What a caller hears of a model that can be added and was not.
const ABSENT: &str = "This embedding model is not installed here. Nothing else is affected; an operator adds it with \
`portcullis models add multilingual`.";

/// Longer texts are counted by their bytes instead of their pieces.
const COUNTED_BYTES: usize = 65_536;

/// The name of multilingual-e5-small here; every other name is the model in the binary.
pub const MULTILINGUAL: &str = "multilingual-e5-small";

/// The models of the process. Cheap to clone; what one of them has read is read once, whoever uses it.
#[derive(Clone)]
pub struct Embedders {
    /// English, in the binary.
    pub minilm: Arc<MiniLm>,
    /// A hundred languages, in the data folder once it was added.
    pub multilingual: Arc<Multilingual>,
}

impl Embedders {
    /// With added models kept in that folder, which need not be there.
    #[must_use]
    pub fn in_folder(models: &Path) -> Self {
        let multilingual = Multilingual::new(models.join(format!("{MULTILINGUAL}.pclmodel")));
        Self { minilm: Arc::default(), multilingual: Arc::new(multilingual) }
    }

    /// The vector of one text's first window. Who marks a text as the model's makers do (`query: `, `passage: `) is
    /// understood; other texts are read as questions, which the makers recommend for likeness.
    fn embed(&self, model: &str, text: &str) -> Result<Embedded, ModelError> {
        if model != MULTILINGUAL {
            return self.minilm.embed(text);
        }
        match (text.strip_prefix("passage: "), text.strip_prefix("query: ")) {
            (Some(passage), _) => self.multilingual.embed(passage, Reading::Passage),
            (None, question) => self.multilingual.embed(question.unwrap_or(text), Reading::Question),
        }
    }

    /// The vectors of many whole texts.
    fn embed_many(
        &self,
        model: &str,
        texts: &[String],
        reading: Reading,
        threads: usize,
        gone: &AtomicBool,
    ) -> Result<Option<Vec<Vec<f32>>>, ModelError> {
        if model == MULTILINGUAL {
            self.multilingual.embed_many(texts, reading, threads, gone)
        } else {
            self.minilm.embed_many(texts, threads, gone)
        }
    }
}

/// The provider.
pub(crate) struct Builtin {
    models: Embedders,
    extract: ExtractConfig,
    max_text_bytes: usize,
    /// Whether any other provider is there.
    others: bool,
}

/// A chat answer, whole or as events.
pub(crate) enum Spoken {
    Whole(Bytes),
    Events(Vec<Bytes>),
}

enum Stop {
    /// Nobody waits any more.
    Gone,
    Model(ModelError),
}

impl Builtin {
    pub(crate) fn new(
        models: Embedders,
        extract: ExtractConfig,
        max_text_bytes: usize,
        others: bool,
    ) -> Self {
        Self { models, extract, max_text_bytes, others }
    }

    /// A chat answer.
    pub(crate) async fn chat(
        &self,
        model: &str,
        call: &Call,
        request: &ChatRequest,
    ) -> Result<(Spoken, Usage), Refusal> {
        let saying = if model == "echo" { echo(request) } else { self.extractive(call, request).await? };
        let name = format!("{}/{model}", crate::presets::BUILTIN);
        let created = jiff::Timestamp::now().as_second();
        let head = Head { id: &call.id, created, model: &name, n: request.n.max(1) };
        let usage = Usage { output: saying.usage.output * u64::from(head.n), ..saying.usage };
        let saying = Saying { usage, ..saying };
        let spoken = if request.stream {
            Spoken::Events(answer::events(head, &saying, request.include_usage))
        } else {
            Spoken::Whole(answer::whole(head, &saying))
        };
        Ok((spoken, usage))
    }

    async fn extractive(&self, call: &Call, request: &ChatRequest) -> Result<Saying, Refusal> {
        let (models, config, request) = (self.models.clone(), self.extract.clone(), request.clone());
        let nothing = if self.others { NOTHING_FITS } else { NO_PROVIDER };
        blocking(call, move |gone| {
            let framed = extract::frame(&request, &config);
            let model = &models.minilm;
            let vector = |text: &str| vector(&models, "", text, gone).map(|embedded| embedded.vector);
            let chosen = extract::choose(&framed, &config, vector)?;
            let text = if chosen.is_empty() { nothing.to_owned() } else { chosen.join(" ") };
            let input = request.texts().map(|(_, text)| count(model, &text)).sum();
            Ok(limited(text, request.max_tokens, input, |text| count(model, text)))
        })
        .await
    }

    /// Vectors for every text, in order, and the tokens read.
    pub(crate) async fn embed(
        &self,
        call: &Call,
        model_name: &str,
        request: &EmbedRequest,
    ) -> Result<(Bytes, Usage), Refusal> {
        self.check(request)?;
        let (models, texts, encoding) = (self.models.clone(), request.clone(), request.encoding);
        let wanted = model_name.to_owned();
        let (vectors, input) = blocking(call, move |gone| {
            let mut tokens = 0;
            let vectors = texts
                .texts()
                .map(|text| {
                    let embedded = vector(&models, &wanted, &text, gone)?;
                    tokens += embedded.tokens as u64;
                    Ok(embedded.vector)
                })
                .collect::<Result<Vec<_>, Stop>>()?;
            Ok((vectors, tokens))
        })
        .await?;
        let name = format!("{}/{model_name}", crate::presets::BUILTIN);
        let body = answer::vectors(&vectors, &name, input, encoding);
        Ok((body, Usage { input, output: 0, estimated: false, ..Usage::default() }))
    }

    /// The vector of one text by the model in the binary.
    pub(crate) async fn vector(&self, call: &Call, text: &str) -> Result<Vec<f32>, Refusal> {
        let (models, text) = (self.models.clone(), text.to_owned());
        blocking(call, move |gone| vector(&models, "", &text, gone).map(|embedded| embedded.vector)).await
    }

    /// The vectors of many whole texts, in order, on at most `threads` threads.
    pub(crate) async fn vectors(
        &self,
        call: &Call,
        model: &str,
        texts: Vec<String>,
        reading: Reading,
        threads: usize,
    ) -> Result<Vec<Vec<f32>>, Refusal> {
        let (models, model) = (self.models.clone(), model.to_owned());
        blocking(call, move |gone| {
            let vectors = models.embed_many(&model, &texts, reading, threads, gone).map_err(Stop::Model)?;
            vectors.ok_or(Stop::Gone)
        })
        .await
    }

    /// What this model cannot do is refused, not rounded.
    fn check(&self, request: &EmbedRequest) -> Result<(), Refusal> {
        let refuse = |code, param: String, message: String| {
            let failure = Failure::InvalidInput { code, message: message.into(), param: Some(param.into()) };
            Err(Refusal::last(failure, "callers_fault"))
        };
        if let Some(wanted) = request.dimensions.filter(|wanted| *wanted as usize != DIMENSIONS) {
            let message = format!("This model makes vectors of {DIMENSIONS} numbers, not {wanted}.");
            return refuse(InputCode::UnsupportedParameter, "dimensions".into(), message);
        }
        let parts = match &request.input {
            EmbedInput::Texts(parts) => parts,
            EmbedInput::Tokens { .. } => {
                let message = "This model reads texts, not token numbers.".into();
                return refuse(InputCode::UnsupportedParameter, "input".into(), message);
            }
        };
        match parts.iter().position(|part| part.span.len() > self.max_text_bytes) {
            Some(at) => {
                let message = format!("A text may have at most {} bytes here.", self.max_text_bytes);
                refuse(InputCode::ContextTooLong, format!("input[{at}]"), message)
            }
            None => Ok(()),
        }
    }
}

/// Says what the caller said last.
fn echo(request: &ChatRequest) -> Saying {
    let last = request.texts().filter(|(role, _)| *role == Role::User).last();
    let text = last.map(|(_, text)| text.into_owned()).unwrap_or_default();
    let input = request.parts.iter().map(|part| tokens_of(part.span.len() as u64)).sum();
    limited(text, request.max_tokens, input, |text| tokens_of(text.len() as u64))
}

/// Cuts a text between words so that it has at most `max_tokens`.
fn limited(text: String, max_tokens: Option<u32>, input: u64, count: impl Fn(&str) -> u64) -> Saying {
    let all = count(&text);
    let most = max_tokens.map_or(u64::MAX, u64::from);
    if all <= most {
        let usage = Usage { input, output: all, estimated: false, ..Usage::default() };
        return Saying { text, finish: "stop", usage };
    }
    let (mut end, mut output) = (0, 0);
    for word in text.split_inclusive(' ') {
        let tokens = count(word);
        if output + tokens > most {
            break;
        }
        output += tokens;
        end += word.len();
    }
    let text = text[..end].trim_end().to_owned();
    Saying { text, finish: "length", usage: Usage { input, output, estimated: false, ..Usage::default() } }
}

fn count(model: &MiniLm, text: &str) -> u64 {
    if text.len() > COUNTED_BYTES {
        tokens_of(text.len() as u64)
    } else {
        model.count_tokens(text, usize::MAX) as u64
    }
}

fn vector(models: &Embedders, model: &str, text: &str, gone: &AtomicBool) -> Result<Embedded, Stop> {
    if gone.load(Ordering::Relaxed) {
        return Err(Stop::Gone);
    }
    models.embed(model, text).map_err(Stop::Model)
}

/// Runs work off the async workers until it is done, the deadline passes or nobody waits any more.
async fn blocking<T: Send + 'static>(
    call: &Call,
    work: impl FnOnce(&AtomicBool) -> Result<T, Stop> + Send + 'static,
) -> Result<T, Refusal> {
    struct Leave(Arc<AtomicBool>);
    impl Drop for Leave {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let leave = Leave(Arc::default());
    let gone = leave.0.clone();
    let running = tokio::task::spawn_blocking(move || work(&gone));
    let late = || Refusal::last(Failure::DeadlineExceeded, "deadline");
    match tokio::time::timeout_at(call.deadline.instant(), running).await {
        Err(_) | Ok(Ok(Err(Stop::Gone))) => Err(late()),
        Ok(Ok(Ok(done))) => Ok(done),
        Ok(Ok(Err(Stop::Model(ModelError::Absent)))) => {
            Err(Refusal::last(Failure::NotFound(ABSENT.into()), "no_model"))
        }
        Ok(Ok(Err(Stop::Model(error)))) => Err(internal(&error.to_string())),
        Ok(Err(error)) => Err(internal(&error.to_string())),
    }
}

fn internal(detail: &str) -> Refusal {
    let incident = incident();
    tracing::error!(%incident, detail, "the builtin model failed");
    Refusal::passed_on(Failure::Internal { incident }, "failure")
}
