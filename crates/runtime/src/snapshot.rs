//! What of the running process changes with its settings, built from them and from what stays: at the start once, at
//! each reload again. Invariant: building changes nothing that is in force; only `Staged::commit` and the swap of the
//! doors' pointer do, and neither can fail.

use crate::{Secrets, Settings, asking, news, people::Readers};
use portcullis_apps::{
    ask::{AskApp, AskState},
    chat::{ByHand, ChatApp, Spending, cache::Answers},
    news::{NewsApp, NewsParts, NewsState},
};
use portcullis_channels::http::Live;
use portcullis_domain::{Action, SafetyView};
use portcullis_engine::{
    App, Engine, Policies, Remembered, Screening, ShapeLimits, budgets::Budgets, exceptions::Granted,
    messages::ChatDoors,
};
use portcullis_inspect::{Exceptions, Inspector, Mode};
use portcullis_pages::Pages;
use portcullis_providers::{Embedders, Parts as ProviderParts, Providers, ProvidersError, Staged};
use portcullis_resilience::{Registry, http::Client};
use portcullis_store::Store;
use portcullis_telemetry::{Alerts, Metrics};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// What stays while settings change.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) client: Client,
    pub(crate) registry: Registry,
    pub(crate) metrics: Metrics,
    pub(crate) alerts: Alerts,
    pub(crate) overrides: SafetyView,
    pub(crate) answers: Answers,
    pub(crate) budgets: Budgets,
    pub(crate) by_hand: ByHand,
    pub(crate) embedders: Embedders,
    pub(crate) asking: AskState,
    pub(crate) chat_doors: ChatDoors,
    pub(crate) pages: Pages,
    pub(crate) store: Store,
    pub(crate) news: NewsState,
    pub(crate) readers: Readers,
}

/// Which app answers which action.
pub(crate) type Apps = Vec<(Action, Arc<dyn App>)>;

impl Ground {
    /// The providers of these settings, over those that are in force.
    pub(crate) fn providers(
        &self,
        settings: &Settings,
        secrets: &Secrets,
        before: Option<&Providers>,
    ) -> Result<Staged, ProvidersError> {
        let parts = ProviderParts {
            providers: &settings.providers,
            models: &settings.models,
            embed: &settings.embed,
            extract: &settings.extract,
            upstream: &settings.upstream,
            client: self.client.clone(),
            registry: &self.registry,
            metrics: self.metrics.clone(),
            alerts: self.alerts.clone(),
            paces: paces(settings),
            overrides: self.overrides.clone(),
            embedders: self.embedders.clone(),
        };
        Providers::stage(&parts, before, |name| secrets.get(name))
    }

    /// The apps over these providers.
    pub(crate) fn apps(&self, settings: &Settings, providers: &Providers, inspector: &Inspector) -> Apps {
        let answers = self.answers.changed(&settings.cache);
        let stream = Duration::from_secs(settings.upstream.stream_timeout_secs);
        let chat = ChatApp::new(providers.clone(), &settings.routes, self.metrics.clone(), answers)
            .under(Spending { budgets: self.budgets.clone(), stream })
            .remembering(self.by_hand.clone());
        self.asking.desk.embed_with(asking::embedder(settings, providers));
        let ask = AskApp::new(chat.clone(), self.asking.clone(), &settings.ask, self.metrics.clone());
        let news = NewsApp::new(NewsParts {
            pages: self.pages.clone(),
            store: Some(self.store.clone()),
            chat: chat.clone(),
            embedders: news::embedders(settings, providers),
            inspector: Arc::new(inspector.clone()),
            config: Arc::new(settings.news.clone()),
            metrics: self.metrics.clone(),
            alerts: self.alerts.clone(),
            state: self.news.clone(),
        });
        let news = self.readers.serve(self, settings, news);
        let (chat, ask, news): (Arc<dyn App>, Arc<dyn App>, Arc<dyn App>) =
            (Arc::new(chat), Arc::new(ask), Arc::new(news));
        let chats = ChatApp::ACTIONS.map(|action| (action, chat.clone()));
        let asks = AskApp::ACTIONS.map(|action| (action, ask.clone()));
        let digests = NewsApp::ACTIONS.map(|action| (action, news.clone()));
        chats.into_iter().chain(asks).chain(digests).collect()
    }
}

/// Calls to providers a minute, by action.
fn paces(settings: &Settings) -> BTreeMap<Action, u32> {
    let rpm = |action: Action| Some((action, settings.actions.get(action.as_str())?.rpm?));
    Action::ALL.into_iter().filter_map(rpm).filter(|(_, rpm)| *rpm > 0).collect()
}

/// What is looked for in texts.
pub(crate) fn screening(settings: &Settings, inspector: Inspector) -> Screening {
    Screening {
        inspector: Arc::new(inspector),
        remembered: Arc::new(Remembered::new(settings.inspect.remembered_texts)),
        max_chars: settings.inspect.max_chars,
        chat_chars: settings.inspect.chat_chars,
        offload_bytes: settings.inspect.offload_bytes,
        shape: ShapeLimits::new(&settings.inspect),
        shadow: settings.inspect.mode == Mode::Shadow,
        exceptions: Arc::new(Exceptions::new(&settings.inspect.exceptions)),
        granted: Granted::default(),
        confirm_secs: settings.inspect.confirm_secs,
        excerpt_chars: if settings.audit.excerpts { settings.audit.excerpt_chars } else { 0 },
        policies: Policies::new(
            &settings.policies,
            settings.routes.iter().map(|(route, config)| (route.as_str(), config.policy.as_str())),
        ),
    }
}

/// What the doors see from now on.
pub(crate) fn live(settings: &Settings, secrets: &Secrets, engine: Engine) -> Live {
    Live {
        engine,
        gateway: settings.gateway.clone(),
        body_timeout_secs: settings.http.body_timeout_secs,
        metrics_access: settings.metrics.clone(),
        metrics_token: secrets.get(&settings.metrics.token_secret),
    }
}
