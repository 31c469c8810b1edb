//! What people type at a chat door: questions and commands. Invariants: a command is answered without an AI and without
//! the index wherever that is possible; an unknown command costs nothing; only administrators change anything.
//! Source: ask.md section 3.

use super::{
    AskApp, Asked,
    ladder::date,
    words::{Say, Tongue, tongue as spoken_in},
};
use portcullis_domain::{Failure, IngestSource, MessageReply, MessageRequest, Meter, Reply, ReplyBody};
use portcullis_engine::Inspected;
use portcullis_knowledge::{Language, Shelf, text};
use std::time::Duration;
use tokio::time::Instant;

impl AskApp {
    /// Answers a message of a chat door.
    pub(super) async fn message(
        &self,
        request: &Inspected,
        message: &MessageRequest,
    ) -> Result<Reply, Failure> {
        let text = message.text.trim();
        let wishes = self.state.memory.wishes(&message.conversation, Instant::now());
        let spoken = wishes.language.clone().or_else(|| message.language.clone());
        let Some(command) = text.strip_prefix('/') else {
            return self.question_of(request, message, text, spoken, wishes.long).await;
        };
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        // In groups messengers write whom a command is for behind an @.
        let name = name.split('@').next().unwrap_or(name).to_lowercase();
        let rest = rest.trim();
        let tongue = spoken_in(Language::from_code(spoken.as_deref().unwrap_or("en")));
        match name.as_str() {
            "ask" if !rest.is_empty() => self.question_of(request, message, rest, spoken, wishes.long).await,
            "retry" => {
                let open = self.state.memory.take_open(&message.conversation, Instant::now());
                match open {
                    Some(question) => {
                        self.question_of(request, message, &question, spoken, wishes.long).await
                    }
                    None => Ok(says(&Say::NothingToRetry.of(tongue))),
                }
            }
            _ => {
                let said = self.command(request, message, (&name, rest), tongue).await?;
                Ok(says(&request.filter.text(said)?))
            }
        }
    }

    async fn question_of(
        &self,
        request: &Inspected,
        message: &MessageRequest,
        question: &str,
        spoken: Option<String>,
        long: bool,
    ) -> Result<Reply, Failure> {
        let asked = Asked {
            question: self.question(question)?,
            collection: self.readable(None, &request.caller)?,
            conversation: Some(message.conversation.to_string()),
            language: spoken.as_deref().map(Language::from_code),
            extractive: false,
            passages: None,
            long,
            disappears: message.disappears_secs.filter(|secs| *secs > 0).map(Duration::from_secs),
            progress: message.progress.clone(),
        };
        match self.answer(request, &asked).await {
            Ok(answered) => {
                let tongue = spoken_in(Language::from_code(&answered.language));
                let mut reply = says("");
                reply.degraded = answered.degraded;
                reply.meter.set(answered.usage);
                reply.body = ReplyBody::Message(Box::new(answered.message(tongue)));
                Ok(reply)
            }
            Err(Failure::Unavailable { rate_limited: false, .. }) => {
                let now = Instant::now();
                let minutes = self.config.retry_mins;
                let until = now + Duration::from_secs(minutes * 60);
                let bounds = self.bounds(asked.disappears);
                self.state.memory.keep_open(&message.conversation, &asked.question, until, bounds, now);
                self.metrics.degraded("ask", "neither", "index");
                let language = asked.language.unwrap_or_else(|| text::of_question(&asked.question, &[]));
                let minutes = minutes.to_string();
                Ok(says(&Say::Neither.with(spoken_in(language), &[("minutes", &minutes)])))
            }
            Err(failure) => Err(failure),
        }
    }

    /// A command's answer.
    async fn command(
        &self,
        request: &Inspected,
        message: &MessageRequest,
        (name, rest): (&str, &str),
        tongue: Tongue,
    ) -> Result<String, Failure> {
        let (memory, conversation, now) = (&self.state.memory, &*message.conversation, Instant::now());
        let bounds = self.bounds(message.disappears_secs.filter(|secs| *secs > 0).map(Duration::from_secs));
        let admin = Self::is_admin(&request.caller);
        Ok(match name {
            "help" | "start" => {
                let all = Say::Help.of(tongue);
                if admin { format!("{all}\n{}", Say::HelpAdmin.of(tongue)) } else { all }
            }
            "info" => self.info(request, tongue).await?,
            "reset" => Say::Forgot.count(tongue, memory.forget(conversation, now)),
            "sources" => memory.sources(conversation, now).unwrap_or_else(|| Say::NoSources.of(tongue)),
            "long" | "short" => {
                let long = name == "long";
                memory.wish(conversation, bounds, now, |wishes| wishes.long = long);
                if long { Say::Long } else { Say::Short }.of(tongue)
            }
            "lang" => match Tongue::from_code(rest) {
                Some(wished) => {
                    let code = wished.as_str().to_owned();
                    memory.wish(conversation, bounds, now, |wishes| wishes.language = Some(code));
                    Say::LanguageNow.of(wished)
                }
                None => Say::LanguageWhich.of(tongue),
            },
            "ingest" | "verify" | "stats" if !admin => Say::AdminsOnly.of(tongue),
            "ingest" => {
                if let Some(file) = &message.file {
                    let collection = self.readable(None, &request.caller)?;
                    let source = IngestSource::Files(vec![(file.name.clone(), file.bytes.clone())]);
                    let job = self.state.jobs.begin(&collection, source)?;
                    return Ok(Say::Begun.with(tongue, &[("job", &job)]));
                }
                let web = rest.starts_with("https://") || rest.starts_with("http://");
                if !web || rest.contains(char::is_whitespace) {
                    return Ok(Say::IngestHow.of(tongue));
                }
                let collection = self.readable(None, &request.caller)?;
                let source = IngestSource::Url { url: rest.to_owned(), depth: 0 };
                let job = self.state.jobs.begin(&collection, source)?;
                Say::Begun.with(tongue, &[("job", &job)])
            }
            "verify" => self.verified(request, tongue).await?,
            "stats" => self.info(request, tongue).await?,
            other => {
                let shown: String = other.chars().filter(|c| c.is_alphanumeric()).take(20).collect();
                Say::Unknown.with(tongue, &[("command", &format!("/{shown}"))])
            }
        })
    }

    /// What there is to ask, and how well it can be answered.
    async fn info(&self, request: &Inspected, tongue: Tongue) -> Result<String, Failure> {
        let name = self.readable(None, &request.caller)?;
        let refresh = Duration::from_secs(self.config.refresh_secs);
        let collection = self.state.desk.collection(&name, refresh).await.ok();
        let Some(index) = collection.as_ref().and_then(Shelf::current) else {
            let unreadable = self.state.desk.state(&name).is_some_and(|state| state.trouble.is_some());
            let say = if unreadable { Say::DocumentsAway } else { Say::NoDocuments };
            return Ok(say.of(tongue));
        };
        let behind = collection.is_some_and(|collection| collection.state().is_behind());
        let embedder = self.state.desk.embedder();
        let by_meaning = embedder.is_some_and(|embedder| index.space() == Some(&embedder.space));
        let mode = if !self.chat.has_ai(&self.config.route) {
            Say::ModeExtractive
        } else if behind {
            Say::ModeOlder
        } else if !by_meaning {
            Say::ModeWords
        } else {
            Say::ModeFull
        };
        let languages: Vec<&str> = index.languages().iter().map(|language| language.code()).collect();
        Ok(Say::Info.with(
            tongue,
            &[
                ("collection", name.as_str()),
                ("documents", &index.documents().len().to_string()),
                ("passages", &index.len().to_string()),
                ("languages", &languages.join(", ")),
                ("date", &date(index.created_at())),
                ("mode", &mode.of(tongue)),
            ],
        ))
    }

    /// Whether every byte of the index is as it was written.
    async fn verified(&self, request: &Inspected, tongue: Tongue) -> Result<String, Failure> {
        let name = self.readable(None, &request.caller)?;
        let refresh = Duration::from_secs(self.config.refresh_secs);
        let Ok(collection) = self.state.desk.collection(&name, refresh).await else {
            return Ok(Say::NoDocuments.of(tongue));
        };
        Ok(match collection.scrub().await {
            Ok(damage) if damage.is_empty() => Say::Sound.of(tongue),
            Ok(damage) => {
                let what = damage.iter().take(3).map(ToString::to_string).collect::<Vec<_>>().join("; ");
                Say::Damaged.with(tongue, &[("what", &what)])
            }
            Err(_) => Say::DocumentsAway.of(tongue),
        })
    }
}

fn says(text: &str) -> Reply {
    Reply::new(ReplyBody::Message(Box::new(MessageReply::text(text))), Meter::default())
}
