//! Who turns the texts of documents and questions into vectors, as the settings say: a model in this process or one of
//! a provider. Knowledge knows no provider and providers know no documents; they meet here. Invariants: every call
//! passes the process's one gate for embeddings (`[embed]`); taking in documents never holds more of its places than
//! `embed.ingest_concurrency`, and where questions wait beside it, they come first.

use crate::{Secrets, Settings};
use portcullis_domain::{Failure, RequestId, SafetyView};
use portcullis_knowledge::{EmbedFailure, Embedder, Language, Purpose, Space};
use portcullis_providers::{
    BUILTIN, Call, EmbedConfig, Embedders, MULTILINGUAL, Model, ModelKind, Parts, Provider, Providers,
    ProvidersConfig, ProvidersError, Reading, minilm,
};
use portcullis_resilience::{Registry, http::Client};
use portcullis_telemetry::{Alerts, Metrics};
use secrecy::SecretString;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// Raised when weights or the way texts are read change: vectors of another version are not compared.
const VERSION: u32 = 1;
/// Places that a question gets in the queue for each one of documents that are taken in.
const QUESTIONS_FIRST: u32 = 64;
/// When to come back where nobody says.
const SOON: Duration = Duration::from_secs(5);

/// Why the settings name nobody who could embed. The words are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum NoEmbedder {
    /// The name is none.
    #[error("`{0}` is not `builtin`, `builtin-multilingual` or `provider/model`")]
    Name(String),
    /// The provider has no key, or no such row.
    #[error("the provider `{0}` is not in use: it is unknown or its key is missing")]
    Provider(String),
    /// The model makes no vectors that could be kept.
    #[error("the length of the vectors of `{0}` is not known; name it: [models.\"{0}\"] dimensions = ...")]
    Dimensions(String),
    /// The pack was not added.
    #[error("the multilingual model is not installed; add it: portcullis models add multilingual")]
    Absent,
    /// A provider cannot be used as it is configured.
    #[error(transparent)]
    Providers(#[from] ProvidersError),
}

/// Where models that were added lie.
#[must_use]
pub fn models_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("models")
}

/// The model that a setting such as `knowledge.embedder` names: provider and model.
fn named(name: &str) -> Option<(&str, &str)> {
    match name {
        "builtin" => Some((BUILTIN, "embed")),
        "builtin-multilingual" => Some((BUILTIN, MULTILINGUAL)),
        other => other.split_once('/').filter(|(provider, model)| !provider.is_empty() && !model.is_empty()),
    }
}

/// Whether a setting such as `knowledge.embedder` can be meant; whether it is there is another question.
#[must_use]
pub fn is_embedder(name: &str) -> bool {
    named(name).is_some()
}

/// The embedder that a setting names, over the providers that are in force: for the running server.
///
/// # Errors
/// [`NoEmbedder`], in the operator's words.
pub fn embedder(name: &str, config: &EmbedConfig, providers: &Providers) -> Result<Embedder, NoEmbedder> {
    let (provider_name, model) = named(name).ok_or_else(|| NoEmbedder::Name(name.to_owned()))?;
    let provider =
        providers.get(provider_name).ok_or_else(|| NoEmbedder::Provider(provider_name.to_owned()))?.clone();
    let listed = provider.models().iter().any(|known| &*known.name == model);
    if provider_name == BUILTIN && model == MULTILINGUAL && !listed {
        return Err(NoEmbedder::Absent);
    }
    let model = provider.model(model);
    let full = format!("{provider_name}/{}", model.name);
    let dimensions = model.dimensions.filter(|length| *length > 0 && model.kind == ModelKind::Embed);
    let Some(dimensions) = dimensions.and_then(|length| usize::try_from(length).ok()) else {
        return Err(NoEmbedder::Dimensions(full));
    };
    let builtin = provider_name == BUILTIN;
    let (id, languages) = match (builtin, &*model.name) {
        (true, MULTILINGUAL) => (full, Vec::new()),
        (true, _) => ("builtin/minilm-l6-v2".to_owned(), vec![Language::EN]),
        (false, _) => (full, Vec::new()),
    };
    let space = Space { id, version: VERSION, dimensions, languages };
    let batch = config.batch.min(model.batch.unwrap_or(u32::MAX)) as usize;
    let desk = Arc::new(Desk {
        provider,
        model,
        ingestion: Semaphore::new(config.ingest_concurrency as usize),
        question_time: Duration::from_secs(config.wait_secs),
        passage_time: Duration::from_secs(config.ingest_wait_secs),
        threads: match config.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads as usize,
        },
        dimensions,
    });
    let ready = desk.clone();
    let evidence = (builtin && !space.languages.is_empty()).then_some(minilm::EVIDENCE);
    let mut embedder = Embedder::new(space, batch, move |texts, purpose| {
        let desk = desk.clone();
        Box::pin(async move { desk.embed(texts, purpose).await })
    });
    embedder.evidence = evidence;
    embedder.ready = Arc::new(move || ready.provider.readiness(ModelKind::Embed, Instant::now()).is_zero());
    Ok(embedder)
}

/// The same without a running server: for commands that work on the data folder.
///
/// # Errors
/// [`NoEmbedder`], in the operator's words.
pub fn standalone(name: &str, settings: &Settings, secrets: &Secrets) -> Result<Embedder, NoEmbedder> {
    let secret = |name: &str| secrets.get(name);
    let providers = providers_alone(settings, &settings.providers, Metrics::new(), secret)?;
    embedder(name, &settings.embed, &providers)
}

/// Providers for a command that runs alone: nobody is alerted, and nothing was overridden.
pub(crate) fn providers_alone(
    settings: &Settings,
    providers: &ProvidersConfig,
    metrics: Metrics,
    secret: impl Fn(&str) -> Option<SecretString>,
) -> Result<Providers, ProvidersError> {
    let parts = Parts {
        providers,
        models: &settings.models,
        embed: &settings.embed,
        extract: &settings.extract,
        upstream: &settings.upstream,
        client: Client::new(&settings.outbound),
        registry: &Registry::new(),
        metrics,
        alerts: Alerts::silent(),
        paces: BTreeMap::new(),
        overrides: SafetyView::none(),
        embedders: Embedders::in_folder(&models_folder(&settings.data_dir)),
    };
    Providers::new(&parts, secret)
}

/// One model, and how it is asked.
struct Desk {
    provider: Arc<Provider>,
    model: Model,
    /// Places for taking in documents.
    ingestion: Semaphore,
    question_time: Duration,
    passage_time: Duration,
    threads: usize,
    dimensions: usize,
}

impl Desk {
    async fn embed(&self, texts: Vec<String>, purpose: Purpose) -> Result<Vec<Vec<f32>>, EmbedFailure> {
        let away = EmbedFailure::Away { retry_after: SOON };
        // A place of ingestion first, so that what waits in the gate's queue are questions.
        let place = match purpose {
            Purpose::Question => None,
            Purpose::Passage => Some(self.ingestion.acquire().await.map_err(|_| away.clone())?),
        };
        let (caller, weight, time, reading, threads) = match purpose {
            Purpose::Question => ("questions", QUESTIONS_FIRST, self.question_time, Reading::Question, 1),
            Purpose::Passage => ("documents", 1, self.passage_time, Reading::Passage, self.threads),
        };
        let now = jiff::Timestamp::now().as_millisecond();
        let call = Call {
            span: None,
            id: RequestId::from_parts(now.unsigned_abs(), rand::random()),
            route: "knowledge".into(),
            caller: caller.into(),
            weight,
            deadline: portcullis_domain::Deadline::after(time),
            tried: 0,
            others: false,
            strict: false,
            purpose: None,
        };
        let asked = self.provider.vectors(&call, &self.model, texts, reading, threads).await;
        drop(place);
        let vectors = asked.map_err(|refusal| failure(&refusal.failure))?;
        if vectors.iter().any(|vector| vector.len() != self.dimensions) {
            return Err(EmbedFailure::Refused("its vectors have another length than its row says".into()));
        }
        Ok(vectors)
    }
}

/// What a refusal means to documents. Nothing of a provider's own words is passed on.
fn failure(failure: &Failure) -> EmbedFailure {
    match failure {
        Failure::RateLimited { retry_after, .. }
        | Failure::Overloaded { retry_after, .. }
        | Failure::Unavailable { retry_after, .. } => EmbedFailure::Away { retry_after: *retry_after },
        Failure::DeadlineExceeded | Failure::UpstreamInterrupted | Failure::Internal { .. } => {
            EmbedFailure::Away { retry_after: SOON }
        }
        Failure::BudgetExceeded { .. } => EmbedFailure::Refused("its budget is spent".into()),
        Failure::NotFound(_) | Failure::ModelNotAllowed(_) => {
            EmbedFailure::Refused("the model is not there".into())
        }
        Failure::Unauthenticated(_) | Failure::Forbidden(_) => {
            EmbedFailure::Refused("its key is refused".into())
        }
        Failure::InvalidInput { .. }
        | Failure::Conflict(_)
        | Failure::Blocked { .. }
        | Failure::Unconfirmed { .. } => EmbedFailure::Refused("it does not take these texts".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path) -> Settings {
        Settings { data_dir: folder.to_owned(), ..Settings::default() }
    }

    fn embedder_of(name: &str) -> Result<Embedder, NoEmbedder> {
        let folder = tempfile::tempdir().unwrap();
        standalone(name, &settings(folder.path()), &Secrets::default())
    }

    // req: S0-07
    #[tokio::test]
    async fn the_builtin_embedder_reads_questions_and_passages_into_one_space() {
        let embedder = embedder_of("builtin").unwrap();
        assert_eq!((embedder.space.id.as_str(), embedder.space.dimensions), ("builtin/minilm-l6-v2", 384));
        assert!(embedder.space.understands(Language::EN) && !embedder.space.understands(Language::DE));
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let passages = texts(&["The cat sleeps on the windowsill.", "Revenue grew by a tenth."]);
        let passages = embedder.embed(passages, Purpose::Passage).await.unwrap();
        let question =
            embedder.embed(texts(&["Where does the cat sleep?"]), Purpose::Question).await.unwrap();
        let near = |at: usize| passages[at].iter().zip(&question[0]).map(|(a, b)| a * b).sum::<f32>();
        assert!(near(0) > 0.5 && near(0) > near(1) + 0.3, "{} {}", near(0), near(1));
        assert_eq!(embedder.embed(Vec::new(), Purpose::Passage).await.unwrap(), Vec::<Vec<f32>>::new());
    }

    #[test]
    fn who_cannot_embed_is_named_with_what_to_do() {
        for (name, words) in [
            ("built-in", "is not `builtin`"),
            ("builtin-multilingual", "portcullis models add multilingual"),
            ("openai/text-embedding-3-small", "its key is missing"),
            ("builtin/extractive", "length of the vectors"),
        ] {
            let error = embedder_of(name).map(|embedder| embedder.space).unwrap_err().to_string();
            assert!(error.contains(words), "{name}: {error}");
        }
        assert!(is_embedder("builtin-multilingual") && !is_embedder("builtin_multilingual"));
    }
}
