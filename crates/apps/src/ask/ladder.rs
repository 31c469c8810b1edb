//! The way to an answer, best step first: an AI's words that the passages support, an answer given before, the passages
//! themselves, an AI's words without documents, an honest word. Each step down is counted and said. Invariant: the
//! steps are tried in this order, and none is left out silently. Source: ask.md sections 7 and 8.

use super::{
    AskApp, Asked,
    answer::{Answered, Mode, Source, found},
    cache::{Circumstances, Key},
    check,
    desk::{Nothing, Search, Searched},
    extract,
    memory::By,
    no_collection,
    passages::Room,
    prompt::{self, Ask, NO_ANSWER, Passage, Sending},
    unreadable,
    words::{Say, Tongue, tongue as spoken_in},
};
use portcullis_domain::{
    Deadline, Degraded, Failure, Format, Hints, Incident, Part, Payload, ReplyBody, Usage,
};
use portcullis_engine::{App as _, Inspected};
use portcullis_inspect::{CheckAction, Watch};
use portcullis_knowledge::{Language, Purpose, follow_up, text};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// What is kept of the time for the passages themselves, when the AI takes all there is.
const FOR_PASSAGES: Duration = Duration::from_secs(2);
/// Most sources shown.
const MOST_SOURCES: usize = 5;
/// Nearest titles that are named where nothing was found.
const NEAREST: usize = 3;

/// What an AI said.
struct Said {
    text: String,
    usage: Usage,
}

/// What is known of a question once it was looked up.
struct Looked<'a> {
    asked: &'a Asked,
    searched: Searched,
    sources: Vec<Source>,
    said: Vec<(By, String)>,
    tongue: Tongue,
    /// Code of the language to answer in; empty: as the question is.
    language: String,
    deadline: Deadline,
}

impl AskApp {
    /// Answers a question.
    ///
    /// # Errors
    /// `NotFound` for a collection that is not there; `Unavailable` where neither documents nor AI are; `Blocked` by the
    /// output filter; `Internal` for an answer that leaked its instructions.
    pub(crate) async fn answer(&self, request: &Inspected, asked: &Asked) -> Result<Answered, Failure> {
        let mut answered = self.steps(request, asked).await?;
        answered.text = request.filter.text(answered.text)?;
        for source in &mut answered.sources {
            source.text = request.filter.text(std::mem::take(&mut source.text))?;
        }
        self.metrics.answer(answered.mode.as_str(), answered.degraded.is_some());
        if let Some(conversation) = &asked.conversation {
            let tongue = spoken_in(Language::from_code(&answered.language));
            let listed = answered.passages_listed(tongue);
            let words = (asked.question.as_str(), answered.text.as_str(), listed);
            self.state.memory.remember(conversation, words, self.bounds(asked.disappears), Instant::now());
        }
        Ok(answered)
    }

    async fn steps(&self, request: &Inspected, asked: &Asked) -> Result<Answered, Failure> {
        let deadline = request.deadline.within(Duration::from_secs(self.config.deadline_secs));
        let refresh = Duration::from_secs(self.config.refresh_secs);
        let collection = match self.state.desk.collection(&asked.collection, refresh).await {
            Ok(collection) => collection,
            Err(Nothing::Unknown) if asked.collection != self.config.collection => {
                return Err(no_collection());
            }
            Err(Nothing::Unknown | Nothing::Empty) => return Ok(self.no_documents(asked)),
            Err(Nothing::Unreadable) => return self.without_documents(request, asked, deadline).await,
        };
        let now = Instant::now();
        let conversation = asked.conversation.as_deref();
        let before = conversation.and_then(|name| self.state.memory.last_question(name, now));
        let asked_in = asked.language.unwrap_or(Language::UNKNOWN);
        let joined = follow_up(&asked.question, before.as_deref(), asked_in);
        let search = Search {
            text: &joined,
            language: Language::UNKNOWN,
            k: asked.passages.unwrap_or(self.config.k_max),
            per_document: self.config.per_document,
            join: true,
            patience: Duration::from_millis(self.config.search_ms).min(deadline.remaining()),
        };
        let room = Room {
            chars: self.config.context_chars,
            passages: asked.passages.unwrap_or(self.config.k_max),
            flagged: self.config.allow_flagged,
        };
        let (searched, taken) = match self.state.desk.passages(&collection, &search, room).await {
            Ok(found) => found,
            Err(Nothing::Unknown | Nothing::Empty) => return Ok(self.no_documents(asked)),
            Err(Nothing::Unreadable) => return self.without_documents(request, asked, deadline).await,
        };
        if let Some(reason) = searched.without_vector {
            self.metrics.degraded("ask", "lexical", reason);
        }
        let language = asked.language.unwrap_or(searched.found.language);
        let looked = Looked {
            asked,
            sources: taken.sources,
            said: conversation.map(|name| self.state.memory.said(name, now)).unwrap_or_default(),
            tongue: spoken_in(language),
            language: asked.language.map_or_else(String::new, |language| language.code().to_owned()),
            searched,
            deadline,
        };
        let mut answered = self.by_passages(request, &looked).await?;
        let state = collection.state();
        if state.is_behind() {
            let date = state.created_at.map(date).unwrap_or_default();
            let said = Say::FromIndexOf.with(looked.tongue, &[("date", &date)]);
            answered.note = Some(answered.note.map_or_else(|| said.clone(), |note| format!("{note} {said}")));
        }
        Ok(answered)
    }

    async fn by_passages(&self, request: &Inspected, looked: &Looked<'_>) -> Result<Answered, Failure> {
        let measured = self.state.desk.embedder().and_then(|embedder| embedder.evidence);
        // Of a model that nobody has measured any likeness counts: an AI may still say that there is no answer.
        let floor = self.config.evidence_cosine.or(measured).unwrap_or(-1.0);
        // Only a search by meaning and words can say that there is nothing: without the one, other words for the same thing
        // are not found.
        let evidence =
            looked.searched.without_vector.is_some() || looked.searched.found.evidence.is_there(floor);
        let nothing = looked.sources.is_empty() || (!evidence && self.config.refuse_without_evidence);
        if nothing && !self.config.allow_general {
            return Ok(self.refused(looked));
        }
        if looked.asked.extractive {
            return Ok(Answered { degraded: None, ..self.extractive(looked, Say::Passages).await });
        }
        let key = self.key(request, looked);
        let life = Duration::from_secs(self.config.cache_hours * 3600);
        if let Some((kept, _)) = key.as_ref().and_then(|key| self.state.cache.get(key, life, Instant::now()))
        {
            return Ok(Answered { mode: Mode::Cached, usage: Usage::default(), ..(*kept).clone() });
        }
        if !self.chat.has_ai(&self.config.route) {
            self.metrics.degraded("ask", "extractive", "no_provider");
            return Ok(self.extractive(looked, Say::AiAway).await);
        }
        if !looked.sources.is_empty() {
            let shown = &looked.sources[..looked.sources.len().min(MOST_SOURCES)];
            if !looked.asked.progress.show(found(shown, looked.tongue)) {
                // Taken back: what was found is all there is, and no AI is paid for more.
                return Ok(Answered { degraded: None, ..self.extractive(looked, Say::Passages).await });
            }
        }
        let said = match self.worded(request, looked).await? {
            Ok(said) => said,
            Err(reason) => {
                self.metrics.degraded("ask", "extractive", reason);
                return Ok(self.extractive(looked, Say::AiAway).await);
            }
        };
        let answered = self.held(looked, said).await;
        if let Some(key) = key.filter(|_| answered.keeps) {
            let most = self.config.cache_answers;
            self.state.cache.put(key, Arc::new(answered.clone()), most, Instant::now());
        }
        Ok(answered)
    }

    /// Under what the answer may be kept; none for questions that lean on a conversation or are suspicious.
    fn key(&self, request: &Inspected, looked: &Looked<'_>) -> Option<Key> {
        let alone = looked.said.is_empty() && !request.flagged && self.config.cache_hours > 0;
        alone.then(|| {
            Key::new(
                &looked.asked.question,
                &Circumstances {
                    collection: &looked.asked.collection,
                    generation: looked.searched.index.generation(),
                    route: &self.config.route,
                    prompt: prompt::VERSION,
                    language: &looked.language,
                    long: looked.asked.long,
                    passages: looked.asked.passages.unwrap_or(self.config.k_max),
                },
            )
        })
    }

    /// The AI's words, or why there are none.
    async fn worded(
        &self,
        request: &Inspected,
        looked: &Looked<'_>,
    ) -> Result<Result<Said, &'static str>, Failure> {
        let passages: Vec<Passage<'_>> = looked
            .sources
            .iter()
            .map(|source| Passage {
                n: source.n,
                title: &source.title,
                place: source.place(Tongue::En).unwrap_or_default(),
                text: &source.text,
            })
            .collect();
        let ask = Ask {
            question: &looked.asked.question,
            passages: &passages,
            said: &looked.said,
            language: &looked.language,
            long: looked.asked.long,
            general: self.config.allow_general,
            style: self.config.spotlight,
        };
        self.spoken(request, &ask, looked.deadline).await
    }

    /// Asks an AI. Most failures only mean that the next step is taken.
    async fn spoken(
        &self,
        request: &Inspected,
        ask: &Ask<'_>,
        deadline: Deadline,
    ) -> Result<Result<Said, &'static str>, Failure> {
        let longer = if ask.long { 3 } else { 1 };
        let sending = Sending {
            route: &self.config.route,
            max_tokens: self.config.max_tokens.saturating_mul(longer),
            temperature: self.config.temperature,
        };
        let prompt = prompt::prompt(ask, &sending, &rand::random());
        let until = deadline.remaining().saturating_sub(FOR_PASSAGES);
        let inner = Inspected {
            id: request.id,
            span: request.span.clone(),
            caller: request.caller.clone(),
            weight: request.weight,
            deadline: Deadline::after(until),
            hints: Hints::default(),
            payload: Payload::Chat(prompt.request),
            score: request.score,
            shape: None,
            flagged: request.flagged,
            filter: portcullis_engine::Filter::OPEN,
            quotas: request.quotas.clone(),
        };
        let reply = match tokio::time::timeout(until, self.chat.run(inner)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(failure)) => return Ok(Err(failure.kind())),
            Err(_) => return Ok(Err("deadline_exceeded")),
        };
        if reply.target.as_deref().is_none_or(|target| target.starts_with("builtin/")) {
            return Ok(Err("no_provider"));
        }
        let usage = reply.meter.get();
        let ReplyBody::Whole(body) = reply.body else { return Ok(Err("wrong_schema")) };
        let Some(text) = text_of(&body) else { return Ok(Err("wrong_schema")) };
        let watch = Watch::default().and_leak(CheckAction::Block, prompt.leak);
        if watch.whole(&text).2 {
            let incident = Incident::from_parts(now_ms(), rand::random());
            tracing::error!(request_id = %request.id, %incident, "an answer repeated its instructions; it was thrown away");
            self.metrics.guard("ask", "leak", "block");
            return Err(Failure::Internal { incident });
        }
        Ok(Ok(Said { text, usage }))
    }

    /// The AI's words held against the passages.
    async fn held(&self, looked: &Looked<'_>, said: Said) -> Answered {
        let general = self.config.allow_general;
        if said.text.contains(NO_ANSWER) {
            return Answered { usage: said.usage, ..self.refused(looked) };
        }
        let language = looked.searched.found.language;
        let texts: Vec<&str> = looked.sources.iter().map(|source| source.text.as_str()).collect();
        let stems = |text: &str| text::content_stems(text, language);
        let examined = check::examine(&said.text, &texts, &stems);
        let pairs: Vec<(String, usize)> = examined.doubtful().collect();
        let likeness = self.likeness(looked, &pairs).await;
        let checked = examined.settle(&likeness, MOST_SOURCES);
        self.metrics.answer_support(checked.support);
        if checked.support < self.config.min_support {
            if general {
                let note = Some(Say::General.of(looked.tongue));
                return Answered {
                    text: checked.text,
                    note,
                    usage: said.usage,
                    ..self.blank(looked, Mode::Full)
                };
            }
            self.metrics.degraded("ask", "extractive", "unsupported");
            return Answered { usage: said.usage, ..self.extractive(looked, Say::Unsupported).await };
        }
        let cited = |source: &&Source| checked.cited.contains(&source.n);
        Answered {
            sources: looked.sources.iter().filter(cited).cloned().collect(),
            text: checked.text,
            usage: said.usage,
            keeps: true,
            ..self.blank(looked, Mode::Full)
        }
    }

    /// How like sentences and passages are, where somebody can tell.
    async fn likeness(&self, looked: &Looked<'_>, pairs: &[(String, usize)]) -> Vec<f32> {
        /// Most pairs of one answer that are compared: each costs two runs of the model.
        const MOST: usize = 8;
        let Some(embedder) = self.state.desk.embedder().filter(|_| looked.searched.found.by_meaning) else {
            return Vec::new();
        };
        let pairs = &pairs[..pairs.len().min(MOST).min(embedder.batch / 2)];
        if pairs.is_empty() {
            return Vec::new();
        }
        let text =
            |n: usize| looked.sources.get(n - 1).map_or_else(String::new, |source| source.text.clone());
        let texts: Vec<String> = pairs.iter().flat_map(|(said, n)| [said.clone(), text(*n)]).collect();
        let patience = Duration::from_millis(self.config.search_ms).min(looked.deadline.remaining());
        match tokio::time::timeout(patience, embedder.embed(texts, Purpose::Question)).await {
            Ok(Ok(vectors)) => vectors
                .chunks_exact(2)
                .map(|pair| pair[0].iter().zip(&pair[1]).map(|(a, b)| a * b).sum())
                .collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }

    /// The best sentences of the passages, word for word.
    async fn extractive(&self, looked: &Looked<'_>, header: Say) -> Answered {
        let patience = Duration::from_millis(self.config.search_ms).min(looked.deadline.remaining());
        let embedder = self.state.desk.embedder().filter(|_| looked.searched.vector.is_some());
        let chosen = extract::best(
            &looked.asked.question,
            looked.searched.found.language,
            &looked.sources,
            embedder.as_ref(),
            patience,
        )
        .await;
        let mut text = String::new();
        for (sentence, n) in &chosen {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&format!("{sentence} [{n}]"));
        }
        let shown = |source: &&Source| chosen.iter().any(|(_, n)| *n == source.n);
        Answered {
            text,
            note: Some(header.of(looked.tongue)),
            degraded: Some(Degraded::Extractive),
            sources: looked.sources.iter().filter(shown).cloned().collect(),
            ..self.blank(looked, Mode::Extractive)
        }
    }

    /// The documents hold no answer; what lies nearest is named.
    fn refused(&self, looked: &Looked<'_>) -> Answered {
        let mut titles: Vec<&str> = Vec::new();
        for source in &looked.sources {
            if titles.len() < NEAREST && !source.title.is_empty() && !titles.contains(&source.title.as_str())
            {
                titles.push(&source.title);
            }
        }
        let mut text = Say::NothingFound.of(looked.tongue);
        if !titles.is_empty() {
            let nearest = Say::Nearest.with(looked.tongue, &[("titles", &titles.join("; "))]);
            text = format!("{text} {nearest}");
        }
        Answered { text, ..self.blank(looked, Mode::Refused) }
    }

    fn blank(&self, looked: &Looked<'_>, mode: Mode) -> Answered {
        Answered {
            mode,
            collection: looked.asked.collection.clone(),
            generation: Some(looked.searched.index.generation()),
            language: looked.tongue.as_str().to_owned(),
            ..Answered::default()
        }
    }

    fn no_documents(&self, asked: &Asked) -> Answered {
        let language = asked.language.unwrap_or_else(|| text::of_question(&asked.question, &[]));
        let tongue = spoken_in(language);
        Answered {
            text: Say::NoDocuments.of(tongue),
            mode: Mode::Refused,
            collection: asked.collection.clone(),
            language: tongue.as_str().to_owned(),
            ..Answered::default()
        }
    }

    /// The documents cannot be read: an AI's words marked as such, or an honest refusal.
    async fn without_documents(
        &self,
        request: &Inspected,
        asked: &Asked,
        deadline: Deadline,
    ) -> Result<Answered, Failure> {
        self.metrics.degraded("ask", "without_documents", "index");
        let language = asked.language.unwrap_or_else(|| text::of_question(&asked.question, &[]));
        let tongue = spoken_in(language);
        if !self.config.answer_without_index || asked.extractive || !self.chat.has_ai(&self.config.route) {
            return Err(unreadable());
        }
        let ask = Ask {
            question: &asked.question,
            passages: &[],
            said: &[],
            language: asked.language.as_ref().map_or("", |language| language.code()),
            long: asked.long,
            general: false,
            style: self.config.spotlight,
        };
        let Ok(said) = self.spoken(request, &ask, deadline).await? else { return Err(unreadable()) };
        Ok(Answered {
            text: said.text,
            mode: Mode::NoDocuments,
            note: Some(Say::WithoutDocuments.of(tongue)),
            degraded: Some(Degraded::WithoutDocuments),
            collection: asked.collection.clone(),
            usage: said.usage,
            language: tongue.as_str().to_owned(),
            ..Answered::default()
        })
    }
}

/// The words of a whole answer.
pub(crate) fn text_of(body: &[u8]) -> Option<String> {
    let answer = portcullis_wire::read_answer(Format::OpenAi, body)?;
    let parts = answer.choices.first()?.parts.iter();
    let text: String = parts
        .filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Refusal(_)
            | Part::Reasoning { .. }
            | Part::Image(_)
            | Part::ToolCall(_)
            | Part::ToolResult(_) => None,
        })
        .collect();
    (!text.trim().is_empty()).then(|| text.trim().to_owned())
}

fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// A day such as 2026-03-12.
pub(crate) fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| String::new(), |at| at.strftime("%Y-%m-%d").to_string())
}
