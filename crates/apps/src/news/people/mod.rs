//! News for people: what they follow, in folders, and digests of it, asked for or on schedule. Commands, buttons and
//! dialogs of chat doors come in here; `serve` makes a digest from first to last.
//!
//! Invariants: no door is named; every change of something kept is one transaction; a digest is charged exactly when its
//! messages are in the outbox, and given once for each request; what holds for a group is changed by whoever manages it.
//! Source: news.md sections 3, 5, 10 to 13.

mod admin;
mod book;
mod compose;
mod config;
mod cron;
mod days;
mod dialogs;
mod exchange;
mod filtering;
mod filters;
mod flights;
mod folders;
mod menus;
mod opml;
mod owners;
mod personal;
mod schedules;
mod serve;
mod timer;
mod words;
mod write;

pub use admin::{Operation, Operations};
pub use book::commands;
pub use config::{PlanConfig, ScheduleConfig};
pub(super) use config::{default_plans, plan_problems, plan_tier_problems};
pub use timer::{Current, keep_schedules};

use crate::news::{Checked, Digest, DigestAsk, Health, NewsConfig, Reason};
use flights::Flights;
use jiff::Timestamp;
use portcullis_domain::{Failure, MessageReply, MessageRequest, Post, Scope, Tier};
use portcullis_engine::{
    Inspected, Quotas,
    messages::{ChatDoors, now_ms},
    words::{Catalogue, Tongue},
};
use portcullis_news::Source;
use portcullis_store::{ReaderRow, Store, StoreError};
use portcullis_telemetry::{Audit, Metrics};
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};
use words::Say;
pub(crate) use words::Talk;

/// A digest being made.
pub type Cooking = Pin<Box<dyn Future<Output = Result<Digest, Failure>> + Send>>;
/// Makes digests.
pub type Cook = Arc<dyn Fn(DigestAsk) -> Cooking + Send + Sync>;

/// Looks at a source that is added.
pub type Looker =
    Arc<dyn Fn(Source) -> Pin<Box<dyn Future<Output = Result<Checked, Reason>> + Send>> + Send + Sync>;
/// Says how a source is.
pub type Doctor = Arc<dyn Fn(Source) -> Pin<Box<dyn Future<Output = Option<Health>> + Send>> + Send + Sync>;

/// What news for people are built from.
pub struct PeopleParts {
    /// `[news]`.
    pub config: Arc<NewsConfig>,
    /// `[schedule]`.
    pub schedule: ScheduleConfig,
    /// Who makes digests.
    pub cook: Cook,
    /// Who looks at sources that are added.
    pub looker: Looker,
    /// Who says how sources are.
    pub doctor: Doctor,
    /// Where people are kept.
    pub store: Store,
    /// Where digests go.
    pub doors: ChatDoors,
    /// Room of the outbox: `messages.max_rows` and `messages.reserve_rows`.
    pub rows: [u32; 2],
    /// Conversations of administrators, who hear what owners of channels ask for.
    pub admins: Vec<String>,
    /// What the runtime does for administrators.
    pub operations: Operations,
    /// The limits that digests on schedule are held to.
    pub quotas: FindQuotas,
    /// Where what administrators do is proved.
    pub audit: Option<Audit>,
    /// Days after which no backup holds what was erased.
    pub backup_days: u32,
    /// Commands of other apps at the same doors, for the help: the name, and what it does in each language.
    pub beside: Vec<(&'static str, [&'static str; 3])>,
    /// Where it is counted.
    pub metrics: Metrics,
    /// What stays while settings change.
    pub state: PeopleState,
}

/// How the limits in force are found: reloads replace them.
pub type FindQuotas = Arc<dyn Fn() -> Quotas + Send + Sync>;

/// What stays while settings change. Cheap to clone.
#[derive(Clone, Default)]
pub struct PeopleState {
    flights: Flights,
}

/// News for people. Cheap to clone.
#[derive(Clone)]
pub struct People(Arc<Inner>);

struct Inner {
    parts: PeopleParts,
    words: Catalogue,
}

/// One message under way.
struct Turn<'a> {
    request: &'a Inspected,
    message: &'a MessageRequest,
    reader: ReaderRow,
    talk: Talk<'a>,
    now: i64,
    admin: bool,
}

type Said = Result<MessageReply, Failure>;

impl People {
    /// From these parts.
    #[must_use]
    pub fn new(parts: PeopleParts) -> Self {
        Self(Arc::new(Inner { parts, words: words::catalogue() }))
    }

    fn store(&self) -> &Store {
        &self.0.parts.store
    }

    fn config(&self) -> &NewsConfig {
        &self.0.parts.config
    }

    fn schedule_config(&self) -> &ScheduleConfig {
        &self.0.parts.schedule
    }

    /// The plan of that name, else the one of everybody.
    fn plan(&self, name: &str) -> (&str, &PlanConfig) {
        config::plan_of(self.config(), name)
    }

    /// The tier that somebody's plan gives; none: they were never here, or that is not known at the moment.
    pub async fn tier(&self, caller: &str) -> Option<Tier> {
        let reader = self.store().readers().find(caller).await.inspect_err(|error| {
            tracing::debug!(%error, "a plan cannot be read: its tier does not hold at the moment");
        });
        reader.ok().flatten().map(|reader| self.tier_of(&reader))
    }

    fn tier_of(&self, reader: &ReaderRow) -> Tier {
        Tier::from_name(&self.plan(&reader.plan).1.tier)
    }

    /// Answers a message of a chat door.
    pub(crate) async fn message(&self, request: &Inspected, message: &MessageRequest) -> Said {
        let now = now_ms();
        // A group has one set of folders, whichever of its topics something is written in.
        let group = message.conversation.split('/').next().unwrap_or_default();
        let whose = if message.group { group } else { &request.caller.id };
        let door = Talk { words: &self.0.words, tongue: tongue(message.language.as_deref()) };
        let first = door.with(Say::FirstFolder, &[]);
        let reader =
            self.store().readers().enter(whose, &message.conversation, &first, now).await.map_err(away)?;
        if reader.banned {
            return Ok(MessageReply::default());
        }
        let spoken = if reader.lang.is_empty() { message.language.as_deref() } else { Some(&*reader.lang) };
        let talk = Talk { words: &self.0.words, tongue: tongue(spoken) };
        let admin = request.caller.scopes.has(Scope::AdminWrite) && !message.group;
        let turn = Turn { request, message, reader, talk, now, admin };
        Box::pin(self.answer(&turn)).await
    }

    async fn answer(&self, turn: &Turn<'_>) -> Said {
        let text = turn.message.text.trim();
        if let Some(token) = &turn.message.pressed {
            self.note(turn, "button").await;
            return self.pressed(turn, token).await;
        }
        if let Some(command) = text.strip_prefix('/') {
            self.note(turn, "command").await;
            let ended = self.end_dialog(turn).await?;
            let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
            let name = name.split('@').next().unwrap_or(name).to_lowercase();
            if name == "cancel" {
                return Ok(self.cancelled(turn, ended));
            }
            return self.command(turn, &name, rest.trim()).await;
        }
        self.note(turn, "other").await;
        if let Some(file) = &turn.message.file {
            return match turn.may_change() {
                Ok(()) => self.take_in(turn, file).await,
                Err(reply) => Ok(reply),
            };
        }
        if let Some(said) = self.continued(turn, text).await? {
            return Ok(said);
        }
        if turn.message.group {
            return self.menu(turn, Say::Menu).await;
        }
        self.offered(turn, text).await
    }

    /// Counts for administrators; that nothing can be counted is nobody's trouble.
    async fn note(&self, turn: &Turn<'_>, kind: &str) {
        let day = days::day(turn.now, "");
        if let Err(error) = self.store().readers().note_use(&day, kind, 1).await {
            tracing::debug!(%error, "use is not counted");
        }
    }

    /// A digest under way is ended by its door, and says so itself.
    fn cancelled(&self, turn: &Turn<'_>, dialog: bool) -> MessageReply {
        if self.0.parts.state.flights.any_of(turn.reader.id) {
            return MessageReply::default();
        }
        turn.text(if dialog { Say::Cancelled } else { Say::NothingToCancel })
    }

    async fn command(&self, turn: &Turn<'_>, name: &str, rest: &str) -> Said {
        match name {
            "start" => self.menu(turn, Say::Welcome).await,
            "help" => Ok(self.help(turn)),
            "menu" => self.menu(turn, Say::Menu).await,
            "lang" => self.lang(turn, rest).await,
            "news" => self.news(turn, rest, serve::Trigger::Command).await,
            "add" => self.add(turn, rest, false).await,
            "remove" => self.remove(turn, rest).await,
            "remove_all" => self.remove_all(turn).await,
            "list" => self.list(turn).await,
            "folder" => self.folder(turn, rest).await,
            "time" => self.window(turn, rest).await,
            "posts" => self.stories(turn, rest).await,
            "plan" => Ok(self.plans(turn)),
            "usage" => self.usage(turn).await,
            "filter" => self.filter(turn, rest).await,
            "schedule" => self.schedule(turn, rest).await,
            "import" => self.import(turn).await,
            "export" => self.export(turn).await,
            "mydata" => self.mydata(turn).await,
            "forget" => Ok(Self::forget_ask(turn)),
            other => {
                if let Some(reply) = self.admin(turn, other, rest).await? {
                    return Ok(reply);
                }
                let shown: String = other.chars().filter(|c| c.is_alphanumeric()).take(20).collect();
                Ok(turn.with(Say::UnknownCommand, &[("command", &format!("/{shown}"))]))
            }
        }
    }
}

impl Turn<'_> {
    fn text(&self, say: Say) -> MessageReply {
        MessageReply::text(self.talk.say(say))
    }

    fn with(&self, say: Say, values: &[(&str, &str)]) -> MessageReply {
        MessageReply::text(self.talk.with(say, values))
    }

    /// An answer where a button was pressed stands in the place of what had it.
    fn shown(&self, post: Post) -> MessageReply {
        let in_place = self.message.pressed.is_some();
        MessageReply { in_place, ..MessageReply::post(post) }
    }

    /// Whether what is kept may be changed; where not, what is said.
    fn may_change(&self) -> Result<(), MessageReply> {
        if self.message.group && !self.message.manages {
            return Err(self.text(Say::OnlyManagers));
        }
        Ok(())
    }
}

/// The language of that code, English where we do not speak it.
fn tongue(code: Option<&str>) -> Tongue {
    code.and_then(|code| Tongue::from_code(code.get(..2).unwrap_or(code))).unwrap_or_default()
}

/// A store that does not answer, told to people as that.
fn away(error: StoreError) -> Failure {
    tracing::warn!(%error, "what people follow cannot be read or kept");
    let retry_after = if let StoreError::Away { retry_after, .. } = error { retry_after } else { RETRY };
    Failure::Unavailable { retry_after, rate_limited: false }
}

/// When something that failed is worth trying again.
const RETRY: Duration = Duration::from_secs(30);

fn ms(secs: u64) -> i64 {
    i64::try_from(secs.saturating_mul(1000)).unwrap_or(i64::MAX / 4)
}

fn moment(at: i64) -> Timestamp {
    Timestamp::from_millisecond(at).unwrap_or_default()
}

#[cfg(test)]
mod tests;
