//! Answers messages: who may be answered, what the door itself understands, and the one way in for everything else.
//! Invariants: a stranger hears nothing, not even an error; every message that an app sees went through the engine's
//! way in; what the engine refuses becomes one friendly text, and a limit is told once.
//!
//! Source: ask.md sections 2, 3 and 9, news.md section 13.

mod groups;
mod orders;

use super::{
    config::SignalConfig,
    envelope::{Message, Sender},
    letter::{Letter, To, letters},
    people::{People, Standing, caller, group_caller},
    taking::conversation,
    wire::Wire,
};
use parking_lot::Mutex;
use portcullis_domain::{
    Action, Credential, Deadline, Door, Failure, File, Hints, Inbound, LibraryRequest, MessageRequest,
    Payload, Post, ReplyBody, Vouched,
};
use portcullis_engine::{
    FindEngine,
    messages::{
        Channel, Delivery, Meant, MessagesConfig, Notices, Outbox, Sending, Unconfirmed, Work, now_ms,
    },
    words::{Tongue, Word, Words},
};
use portcullis_store::{InRow, NewOut, OutRow, Store};
use portcullis_telemetry::{Alerts, Audit, AuditEvent, Metrics};
use serde_json::json;
use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// How often recipients are told that we type; they believe it for 15 seconds.
const TYPING: Duration = Duration::from_secs(10);
/// Longest time of telling that we type.
const TYPING_CALL: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);
/// Notices, languages and counts remembered, each.
const REMEMBERED: usize = 10_000;

/// Answers messages and sends answers.
pub(super) struct Desk {
    pub(super) wire: Wire,
    pub(super) people: Arc<People>,
    pub(super) engine: FindEngine,
    pub(super) words: Words,
    pub(super) config: SignalConfig,
    pub(super) messages: MessagesConfig,
    pub(super) store: Store,
    pub(super) outbox: Outbox,
    pub(super) metrics: Metrics,
    pub(super) alerts: Alerts,
    pub(super) audit: Audit,
    pub(super) memory: Mutex<Memory>,
    pub(super) notices: Notices,
    pub(super) unconfirmed: Unconfirmed,
}

/// Small things remembered while the process runs.
#[derive(Default)]
pub(super) struct Memory {
    /// Languages that people chose.
    tongues: HashMap<String, Tongue>,
    /// Messages too old to be answered, by conversation.
    backlog: HashMap<String, u64>,
    /// Messages of groups in the last minute.
    groups: HashMap<String, VecDeque<Instant>>,
}

/// One message under way.
struct Asked<'a> {
    message: &'a Message,
    conversation: String,
    admin: bool,
    now: i64,
    /// Proof that its sender means it.
    proof: Option<Box<str>>,
}

impl Desk {
    async fn reply(&self, row: &InRow) -> Vec<NewOut> {
        let Ok(message) = serde_json::from_str::<Message>(&row.payload) else { return Vec::new() };
        let (now, conversation) = (now_ms(), conversation(&message));
        let standing = self.people.standing(&message.from, now);
        let asked =
            |admin| Asked { message: &message, conversation: conversation.clone(), admin, now, proof: None };
        if let Some(group) = &message.group {
            return self
                .in_group(&asked(standing == Standing::Active { admin: true }), group, standing)
                .await;
        }
        match standing {
            Standing::Unwanted => Vec::new(),
            Standing::Guest => self.guest(&message, now).await,
            Standing::Ended if self.people.opens(&message.from, &message.text) => {
                self.guest(&message, now).await
            }
            Standing::Ended => match self.people.end(&caller(&message.from)).await {
                Ok(_) => self.say(&message, Word::SessionEnded),
                Err(_) => self.away(&message),
            },
            Standing::Active { admin } => {
                self.people.saw(&conversation, now);
                self.active(&asked(admin), row).await
            }
        }
    }

    /// Only the passphrase is heard of a stranger.
    async fn guest(&self, message: &Message, now: i64) -> Vec<NewOut> {
        if !self.people.opens(&message.from, &message.text) {
            return Vec::new();
        }
        let whose = caller(&message.from);
        if let Err(error) = self.people.begin(&whose, &message.from, now).await {
            tracing::warn!(%error, "a session cannot begin");
            return self.away(message);
        }
        self.prove("session_begun", &whose, Vec::new());
        self.say(message, Word::Welcome)
    }

    fn is_old(&self, asked: &Asked<'_>) -> bool {
        let age = asked.now.saturating_sub(asked.message.at);
        age > i64::try_from(self.config.max_message_age_secs).unwrap_or(i64::MAX).saturating_mul(1000)
    }

    async fn active(&self, asked: &Asked<'_>, row: &InRow) -> Vec<NewOut> {
        let message = asked.message;
        if self.is_old(asked) {
            *self.memory.lock().backlog.entry(asked.conversation.clone()).or_default() += 1;
            // Told with the last of them, so that there is one notice.
            return match self.store.inbox().newer(row.id, Door::Signal.as_str(), &asked.conversation).await {
                Ok(true) => Vec::new(),
                Ok(false) | Err(_) => self.backlog(asked),
            };
        }
        let mut out = self.backlog(asked);
        let word = message.text.trim();
        let phrase = self.words.plain(self.tongue(message), Word::Deactivate);
        out.extend(if first_word(word) == "/deactivate" || word.to_lowercase() == phrase {
            self.deactivate(asked).await
        } else if message.files && word.is_empty() {
            self.say(message, Word::Attachment)
        } else {
            self.ask(asked).await
        });
        out
    }

    /// What was too old is told once, with its number.
    fn backlog(&self, asked: &Asked<'_>) -> Vec<NewOut> {
        let count = self.memory.lock().backlog.remove(&asked.conversation);
        count.map_or_else(Vec::new, |count| {
            let tongue = self.tongue(asked.message);
            self.text(asked.message, self.words.say(tongue, Word::Backlog, count, ""))
        })
    }

    async fn deactivate(&self, asked: &Asked<'_>) -> Vec<NewOut> {
        let (whose, door) = (caller(&asked.message.from), Door::Signal.as_str());
        if self.people.end(&whose).await.is_err() {
            return self.away(asked.message);
        }
        let (waiting, answers) =
            tokio::join!(async { self.store.inbox().take_back_all(door, &whose).await }, async {
                self.store.outbox().end_caller(door, &whose, "session ended", asked.now).await
            },);
        if let Err(error) = waiting.and(answers) {
            tracing::warn!(%error, "answers to a session that ended may still be sent");
        }
        self.prove("session_ended", &whose, Vec::new());
        self.say(asked.message, Word::Deactivated)
    }

    /// A message, or the word that an earlier one is meant.
    async fn ask(&self, asked: &Asked<'_>) -> Vec<NewOut> {
        if !self.words.is_said(Word::Confirm, &asked.message.text) {
            return self.come_in(asked).await;
        }
        let whose = caller(&asked.message.from);
        match self.unconfirmed.take::<Message>((&asked.conversation, &whose)).await {
            Meant::This(message, proof) => {
                let conversation = asked.conversation.clone();
                let (admin, now, proof) = (asked.admin, asked.now, Some(proof));
                self.come_in(&Asked { message: &message, conversation, admin, now, proof }).await
            }
            Meant::Nothing => self.say(asked.message, Word::NothingToConfirm),
            Meant::Silence => self.come_in(asked).await,
        }
    }

    /// The one way in.
    async fn come_in(&self, asked: &Asked<'_>) -> Vec<NewOut> {
        let engine = (self.engine)();
        let inbound = Inbound {
            id: engine.request_id(),
            client_request_id: None,
            door: Door::Signal,
            action: Action::Message,
            // Signal tells no address.
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            credential: Credential::Vouched(Vouched {
                id: caller(&asked.message.from).into(),
                admin: asked.admin,
            }),
            deadline: Deadline::after(Duration::from_secs(self.config.answer_secs)),
            hints: Hints { confirm: asked.proof.clone(), ..Hints::default() },
        };
        let admitted = match Box::pin(engine.enter(inbound)).await {
            Ok(admitted) => admitted,
            Err(refused) => return self.refused(asked, &refused.failure).await,
        };
        if asked.admin
            && let Some(out) = self.admin_command(asked, &admitted).await
        {
            drop(admitted.done());
            return out;
        }
        self.learn_tongue(asked);
        let file = match self.file_of(asked).await {
            Ok(file) => file,
            Err(word) => {
                drop(admitted.done());
                let kib = (self.config.max_file_bytes / 1024).to_string();
                let said = self.words.say(self.tongue(asked.message), word, 0, &kib);
                return self.text(asked.message, said);
            }
        };
        let request = MessageRequest {
            text: asked.message.text.clone(),
            file,
            conversation: asked.conversation.as_str().into(),
            language: self
                .memory
                .lock()
                .tongues
                .get(&asked.conversation)
                .map(|tongue| tongue.as_str().to_owned()),
            group: asked.message.group.is_some(),
            disappears_secs: Some(asked.message.expires_secs).filter(|secs| *secs > 0),
            ..MessageRequest::default()
        };
        let payload = Payload::Library(LibraryRequest::Message(request));
        let answer = self.while_typing(asked, Box::pin(admitted.run(payload))).await;
        match answer.result.map(|reply| reply.body) {
            Ok(ReplyBody::Message(reply)) => {
                reply.posts.iter().flat_map(|post| self.letters(asked.message, post)).collect()
            }
            Ok(ReplyBody::Whole(_) | ReplyBody::Stream(_)) => {
                tracing::error!("an app answered a chat door in a form for others");
                self.away(asked.message)
            }
            Err(failure) => self.refused(asked, &failure).await,
        }
    }

    /// The file of an administrator's `/ingest`; nobody else's is fetched.
    async fn file_of(&self, asked: &Asked<'_>) -> Result<Option<File>, Word> {
        let wanted = asked.admin && first_word(&asked.message.text) == "/ingest";
        let Some(file) = asked.message.file.as_ref().filter(|_| wanted) else { return Ok(None) };
        let most = usize::try_from(self.config.max_file_bytes).unwrap_or(usize::MAX);
        if file.bytes > self.config.max_file_bytes {
            return Err(Word::FileTooLarge);
        }
        let chat = match to(asked.message) {
            To::Person(uuid) => json!({"recipient": uuid}),
            To::Group(id) => json!({"groupId": id}),
        };
        match self.wire.file(&file.id, chat).await {
            Ok(bytes) if bytes.len() > most => Err(Word::FileTooLarge),
            Ok(bytes) => Ok(Some(File { name: file.name.clone(), bytes: bytes.into() })),
            Err(error) => {
                tracing::warn!(%error, "a file could not be fetched");
                Err(Word::FileAway)
            }
        }
    }

    /// Shows that we type until the answer is there. Failures of it do not matter.
    async fn while_typing<T>(&self, asked: &Asked<'_>, work: impl Future<Output = T>) -> T {
        let tell = |stop: bool| {
            let mut params = match to(asked.message) {
                To::Person(uuid) => json!({"recipient": [uuid]}),
                To::Group(id) => json!({"groupId": id}),
            };
            if stop {
                params["stop"] = json!(true);
            }
            let wire = self.wire.clone();
            async move { drop(timeout(TYPING_CALL, wire.call_for_account("sendTyping", params)).await) }
        };
        let typing = async {
            loop {
                tell(false).await;
                sleep(TYPING).await;
            }
        };
        let done = tokio::select! {
            biased;
            done = work => done,
            never = typing => never,
        };
        self.wire.beside(tell(true));
        done
    }

    /// `/lang xx` is the app's; the door follows with its own words.
    fn learn_tongue(&self, asked: &Asked<'_>) {
        let mut words = asked.message.text.split_whitespace();
        if words.next() == Some("/lang")
            && let Some(tongue) = words.next().and_then(Tongue::from_code)
        {
            let mut memory = self.memory.lock();
            bound(&mut memory.tongues);
            memory.tongues.insert(asked.conversation.clone(), tongue);
        }
    }

    /// One friendly text; a limit is told once until it lets in again.
    async fn refused(&self, asked: &Asked<'_>, failure: &Failure) -> Vec<NewOut> {
        self.metrics.message_failed(Door::Signal, failure.kind());
        let whose = caller(&asked.message.from);
        self.unconfirmed.keep((&asked.conversation, &whose), failure, asked.message).await;
        if let Failure::RateLimited { scope, retry_after } = failure {
            let until = Instant::now() + *retry_after;
            if !self.tell_until(&asked.conversation, scope.as_str(), until) {
                return Vec::new();
            }
        }
        self.text(asked.message, self.words.failure(self.tongue(asked.message), failure))
    }

    /// Whether something is told now; then not again for a minute.
    pub(super) fn tell_once(&self, whom: &str, what: &'static str) -> bool {
        self.tell_until(whom, what, Instant::now() + MINUTE)
    }

    fn tell_until(&self, whom: &str, what: &'static str, until: Instant) -> bool {
        self.notices.tell(whom, what, until)
    }

    /// The language of the door's own words: as chosen, else as a message looks, else as configured.
    fn tongue(&self, message: &Message) -> Tongue {
        let chosen = self.memory.lock().tongues.get(&conversation(message)).copied();
        let cyrillic = |c: char| ('а'..='я').contains(&c) || ('А'..='Я').contains(&c);
        let shown = || message.text.chars().any(cyrillic).then_some(Tongue::Ru);
        chosen.or_else(shown).or_else(|| Tongue::from_code(&self.config.language)).unwrap_or_default()
    }

    pub(super) fn say(&self, message: &Message, word: Word) -> Vec<NewOut> {
        self.text(message, self.words.plain(self.tongue(message), word))
    }

    fn away(&self, message: &Message) -> Vec<NewOut> {
        self.text(message, self.words.say(self.tongue(message), Word::Unavailable, 60, ""))
    }

    fn text(&self, message: &Message, text: String) -> Vec<NewOut> {
        self.letters(message, &Post::text(text))
    }

    /// Rows of the outbox for an answer. In groups it quotes the question.
    fn letters(&self, message: &Message, post: &Post) -> Vec<NewOut> {
        let quote = message.group.is_some().then(|| (message.at, message.from.uuid.clone()));
        let life = i64::try_from(self.messages.expire_hours).unwrap_or(i64::MAX).saturating_mul(3_600_000);
        let expires_at = now_ms().saturating_add(life);
        let how = Sending { caller: caller(&message.from), class: 0, expires_at };
        rows(&conversation(message), letters(post, &to(message), quote.as_ref()), &how)
    }

    fn prove(&self, kind: &'static str, whose: &str, details: Vec<(&'static str, String)>) {
        let event = AuditEvent::new(kind, Door::Signal, "ok");
        self.audit.record(AuditEvent { caller: Some(whose.into()), details, ..event });
    }
}

fn to(message: &Message) -> To {
    match &message.group {
        Some(group) => To::Group(group.clone()),
        None => To::Person(message.from.uuid.clone()),
    }
}

/// Where a conversation is.
fn place(conversation: &str) -> Option<To> {
    let person = caller(&Sender::default());
    let group = group_caller("");
    conversation
        .strip_prefix(&person)
        .map(|uuid| To::Person(uuid.to_owned()))
        .or_else(|| conversation.strip_prefix(&group).map(|id| To::Group(id.to_owned())))
}

fn rows(chat: &str, letters: Vec<Letter>, how: &Sending) -> Vec<NewOut> {
    let payload = |letter: Letter| serde_json::to_string(&letter).unwrap_or_default();
    letters.into_iter().map(|letter| how.row(Door::Signal, chat, payload(letter))).collect()
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

/// Forgets everything where too much is remembered: these are conveniences.
fn bound<T>(map: &mut HashMap<String, T>) {
    if map.len() >= REMEMBERED {
        map.clear();
    }
}

impl Channel for Desk {
    fn door(&self) -> Door {
        Door::Signal
    }

    fn answer<'a>(&'a self, row: &'a InRow) -> Work<'a, Vec<NewOut>> {
        Box::pin(self.reply(row))
    }

    fn give_up(&self, row: &InRow) -> Vec<NewOut> {
        let Ok(message) = serde_json::from_str::<Message>(&row.payload) else { return Vec::new() };
        let active = matches!(self.people.standing(&message.from, now_ms()), Standing::Active { .. });
        if active && message.group.is_none() { self.away(&message) } else { Vec::new() }
    }

    fn compose(&self, conversation: &str, posts: &[Post], how: &Sending) -> Vec<NewOut> {
        let Some(to) = place(conversation) else { return Vec::new() };
        posts.iter().flat_map(|post| rows(conversation, letters(post, &to, None), how)).collect()
    }

    /// Of a group nobody but an administrator of ours: Signal does not say who leads it.
    fn manages<'a>(&'a self, conversation: &'a str, caller: &'a str) -> Work<'a, bool> {
        Box::pin(async move { conversation == caller })
    }

    fn deliver<'a>(&'a self, row: &'a OutRow) -> Work<'a, Delivery> {
        Box::pin(self.send(row))
    }
}
