//! Answers messages: who is answered, what the door itself understands, and the one way in for everything else.
//! Invariants: who is denied or not allowed hears nothing; every message that an app sees went through the engine's way
//! in; what the engine refuses becomes one friendly text, and a limit is told once until it lets in again.
//!
//! Source: news.md sections 2, 3, 9 and 13.

use super::{
    api::Api,
    config::TelegramConfig,
    groups::Groups,
    letter::{Letter, Spot, letters},
    meant::Presses,
    progress::{Companion, Running, Status, Which, is_cancel},
    send::Crowd,
    sights::Sights,
    update::{Incoming, Me, place},
};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use portcullis_domain::{
    Action, Button, Credential, Deadline, Door, Failure, File, Hints, Inbound, MessageReply, MessageRequest,
    Payload, Post, ReplyBody, Vouched,
};
use portcullis_engine::{
    Admitted, FindEngine,
    messages::{
        Channel, Commands, Delivery, MessagesConfig, Notices, Outbox, Sending, Unconfirmed, Work, now_ms,
    },
    words::{Tongue, Word, Words},
};
use portcullis_store::{InRow, NewOut, OutRow, Store};
use portcullis_telemetry::{Alerts, Metrics};
use serde_json::json;
use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

const MINUTE: Duration = Duration::from_secs(60);

/// Answers messages and sends answers.
pub(super) struct Desk {
    pub(super) api: Api,
    /// Who we are; unknown until Telegram said so.
    pub(super) me: ArcSwap<Me>,
    pub(super) engine: FindEngine,
    pub(super) commands: Commands,
    pub(super) words: Words,
    pub(super) config: TelegramConfig,
    pub(super) messages: MessagesConfig,
    pub(super) store: Store,
    pub(super) outbox: Outbox,
    pub(super) metrics: Metrics,
    pub(super) alerts: Alerts,
    pub(super) tasks: TaskTracker,
    pub(super) groups: Groups,
    pub(super) running: Running,
    pub(super) crowd: Mutex<Crowd>,
    pub(super) presses: Mutex<Presses>,
    pub(super) notices: Notices,
    pub(super) unconfirmed: Unconfirmed,
}

/// One message under way.
pub(super) struct Asked<'a> {
    pub(super) it: &'a Incoming,
    pub(super) caller: String,
    pub(super) key: &'a str,
    /// The language of the door's own words.
    pub(super) tongue: Tongue,
    /// Its number among all that arrived.
    pub(super) number: i64,
    pub(super) admin: bool,
    /// Proof that its sender means it.
    pub(super) proof: Option<Box<str>>,
}

impl Desk {
    /// For messages that show how far some work is.
    pub(super) fn sights(&self) -> Sights {
        Sights { api: self.api.clone(), store: self.store.clone(), outbox: self.outbox.clone() }
    }

    async fn reply(&self, row: &InRow) -> Vec<NewOut> {
        let Ok(it) = serde_json::from_str::<Incoming>(&row.payload) else { return Vec::new() };
        if !self.config.answers(it.from, it.chat) {
            return Vec::new();
        }
        let asked = Asked {
            it: &it,
            caller: it.caller(),
            key: &row.key,
            tongue: self.tongue_of(&it).await,
            number: row.id,
            admin: !it.as_chat && self.config.admin_ids.contains(&it.from),
            proof: None,
        };
        if it.ends {
            self.running.cancel(&it.line(), &asked.caller, Which::Before(row.id));
            return Vec::new();
        }
        if let Err(error) = self.store.chats().found(&it.line()).await {
            tracing::debug!(%error, "a chat that is back counts as lost a little longer");
        }
        let sent_at = if it.at > 0 { it.at.saturating_mul(1000) } else { row.received_at };
        let age = now_ms().saturating_sub(sent_at) / 1000;
        if age > i64::try_from(self.config.max_replay_age_secs).unwrap_or(i64::MAX) {
            self.metrics.telegram_update("too_old");
            let first = it.press.is_none() && self.tell_once(&it.line(), "again");
            return if first { self.say(&asked, Word::SendAgain) } else { Vec::new() };
        }
        if let Some(press) = it.press.as_ref().filter(|press| is_cancel(&press.token)) {
            // Another replica took it in, and what it ends is here.
            self.running.cancel(&it.line(), &asked.caller, Which::Shown(it.message));
            self.answer_press(&press.id, "", false).await;
            return Vec::new();
        }
        if let Some(press) =
            it.press.as_ref().filter(|press| self.presses.lock().is_second(&it, press, row.received_at))
        {
            self.answer_press(&press.id, "", false).await;
            return Vec::new();
        }
        if self.confirms(&it) {
            return self.confirmed(&asked).await;
        }
        if it.press.is_some() { self.pressed(&asked).await } else { self.wrote(&asked).await }
    }

    pub(super) async fn wrote(&self, asked: &Asked<'_>) -> Vec<NewOut> {
        let it = asked.it;
        if it.text.trim().is_empty() && it.file.is_none() {
            return if it.is_group() { Vec::new() } else { self.say(asked, Word::Attachment) };
        }
        let command = self.command(asked);
        let (action, payload) = match command {
            Some(command) => (command.action, command.payload),
            None => (Action::Message, self.commands.other),
        };
        if command.is_some_and(|command| command.name == CHAT) && super::stream::rest(&it.text).is_empty() {
            return self.say(asked, Word::HowToChat);
        }
        let admitted = match self.enter(asked, action).await {
            Ok(admitted) => admitted,
            Err(failure) => return self.refused(asked, &failure).await,
        };
        let file = match self.file_of(asked).await {
            Ok(file) => file,
            Err(word) => {
                drop(admitted.done());
                return self.say(asked, word);
            }
        };
        let request = MessageRequest { text: it.text.clone(), file, ..self.request(asked).await };
        match self.run(asked, admitted, payload(request)).await {
            Ok(answer) => self.posts(asked, &answer, None),
            Err(failure) => self.refused(asked, &failure).await,
        }
    }

    /// The command that was typed, if whoever typed it may know of it.
    fn command(&self, asked: &Asked<'_>) -> Option<&portcullis_engine::messages::Command> {
        let found = self.commands.find(&asked.it.text, &self.me.load().name)?;
        (!found.admin || asked.admin && !asked.it.is_group()).then_some(found)
    }

    /// A press is answered before its work is: at once, or within moments with the few words that the work said.
    async fn pressed(&self, asked: &Asked<'_>) -> Vec<NewOut> {
        let Some(press) = &asked.it.press else { return Vec::new() };
        if asked.it.is_group() && !self.is_opener(asked).await {
            self.answer_press(&press.id, &self.word(asked, Word::NotYourMenu), true).await;
            return Vec::new();
        }
        let admitted = match self.enter(asked, Action::Menu).await {
            Ok(admitted) => admitted,
            Err(failure) => {
                self.metrics.message_failed(Door::Telegram, failure.kind());
                self.answer_press(&press.id, &self.words.failure(asked.tongue, &failure), true).await;
                return Vec::new();
            }
        };
        let request = MessageRequest { pressed: Some(press.token.clone()), ..self.request(asked).await };
        let work = self.run(asked, admitted, (self.commands.other)(request));
        tokio::pin!(work);
        let early = tokio::time::timeout(PRESS_PATIENCE, &mut work).await;
        let toast = match &early {
            Ok(Ok(reply)) => reply.toast.clone().unwrap_or_default(),
            Ok(Err(_)) | Err(_) => String::new(),
        };
        self.answer_press(&press.id, &toast, false).await;
        let answer = match early {
            Ok(answer) => answer,
            Err(_) => work.await,
        };
        match answer {
            Ok(answer) => self.posts(asked, &answer, Some(asked.it.message)),
            Err(failure) => self.refused(asked, &failure).await,
        }
    }

    /// Menus in groups answer only to who opened them.
    async fn is_opener(&self, asked: &Asked<'_>) -> bool {
        let message = asked.it.message.to_string();
        let opener = self.store.outbox().sent_for(Door::Telegram.as_str(), &asked.it.line(), &message).await;
        match opener {
            Ok(Some(opener)) => opener == asked.caller,
            // Long ago: whoever manages the group may go on with it.
            Ok(None) | Err(_) => self.groups.manages(&self.api, asked.it.chat, asked.it.from).await,
        }
    }

    /// The first stages of the one way in.
    async fn enter(&self, asked: &Asked<'_>, action: Action) -> Result<Admitted, Failure> {
        let engine = (self.engine)();
        let inbound = Inbound {
            id: engine.request_id(),
            client_request_id: None,
            door: Door::Telegram,
            action,
            // Telegram tells no address of people.
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            credential: Credential::Vouched(Vouched { id: asked.caller.as_str().into(), admin: asked.admin }),
            deadline: Deadline::after(Duration::from_secs(self.config.answer_secs)),
            hints: Hints { confirm: asked.proof.clone(), ..Hints::default() },
        };
        Box::pin(engine.enter(inbound)).await.map_err(|refused| refused.failure)
    }

    /// What every request of this door says.
    async fn request(&self, asked: &Asked<'_>) -> MessageRequest {
        let it = asked.it;
        let manages = !it.is_group() || it.as_chat || self.groups.manages(&self.api, it.chat, it.from).await;
        MessageRequest {
            conversation: it.conversation().into(),
            key: format!("telegram/{}", asked.key).into(),
            language: it.language.clone(),
            group: it.is_group(),
            manages,
            ..MessageRequest::default()
        }
    }

    /// The last stages of the way in, with what is shown meanwhile.
    async fn run(
        &self,
        asked: &Asked<'_>,
        admitted: Admitted,
        mut payload: Payload,
    ) -> Result<Box<MessageReply>, Failure> {
        let status = self.running.begin(&asked.it.line(), &asked.caller, asked.number);
        let companion = Companion::accompany(self, asked.it, &status);
        if let Some(message) = message_of(&mut payload) {
            message.progress = Status::progress(&status);
        }
        let answer = Box::pin(admitted.run(payload)).await;
        let told = match answer.result.map(|reply| reply.body) {
            Ok(ReplyBody::Message(reply)) => Ok(reply),
            Ok(ReplyBody::Stream(body)) => {
                super::stream::follow(body, &status, &self.words, asked.tongue).await.map(Box::new)
            }
            Ok(ReplyBody::Whole(_)) => {
                tracing::error!("an app answered a chat door in a form for others");
                Err(Failure::Unavailable { retry_after: MINUTE, rate_limited: false })
            }
            Err(failure) => Err(failure),
        };
        companion.end();
        told
    }

    async fn file_of(&self, asked: &Asked<'_>) -> Result<Option<File>, Word> {
        let Some(file) = &asked.it.file else { return Ok(None) };
        let most = self.config.max_file_bytes;
        if usize::try_from(file.bytes).unwrap_or(usize::MAX) > most {
            return Err(Word::FileTooLarge);
        }
        let found = self.api.call("getFile", &json!({"file_id": file.id})).await;
        let path = found.as_ref().ok().and_then(|found| found["file_path"].as_str());
        // The path goes into an address that holds the token: nothing but a path may stand there.
        let plain = |path: &&str| path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        let Some(path) = path.filter(plain) else { return Err(Word::FileAway) };
        match self.api.file(path, most).await {
            Ok(bytes) => Ok(Some(File { name: file.name.clone(), bytes })),
            Err(error) => {
                tracing::warn!(%error, "a file could not be fetched");
                Err(Word::FileAway)
            }
        }
    }

    pub(super) async fn answer_press(&self, id: &str, words: &str, alert: bool) {
        let mut params = json!({"callback_query_id": id});
        if !words.is_empty() {
            params["text"] = json!(words.chars().take(PRESS_CHARS).collect::<String>());
            params["show_alert"] = json!(alert);
        }
        if let Err(error) = self.api.call("answerCallbackQuery", &params).await {
            tracing::debug!(%error, "a press is not answered");
        }
    }

    /// One friendly text; a limit is told once until it lets in again.
    async fn refused(&self, asked: &Asked<'_>, failure: &Failure) -> Vec<NewOut> {
        self.metrics.message_failed(Door::Telegram, failure.kind());
        if let Failure::RateLimited { scope, retry_after } = failure
            && !self.tell_until(&asked.caller, scope.as_str(), Instant::now() + *retry_after)
        {
            return Vec::new();
        }
        let words = self.words.failure(asked.tongue, failure);
        let place = asked.it.conversation();
        if self.unconfirmed.keep((&place, &asked.caller), failure, asked.it).await {
            let button = Button::new(self.word(asked, Word::ConfirmButton), Button::CONFIRM);
            let post = Post { choices: vec![vec![button]], ..Post::text(words) };
            return self.posts(asked, &MessageReply::post(post), None);
        }
        self.text(asked, words)
    }

    /// Whether something is told now; then not again for a minute.
    pub(super) fn tell_once(&self, whom: &str, what: &'static str) -> bool {
        self.tell_until(whom, what, Instant::now() + MINUTE)
    }

    fn tell_until(&self, whom: &str, what: &'static str, until: Instant) -> bool {
        self.notices.tell(whom, what, until)
    }

    /// The language that somebody chose, wherever that was; else that of their Telegram.
    async fn tongue_of(&self, it: &Incoming) -> Tongue {
        let chosen = match self.store.readers().find(&it.caller()).await {
            Ok(reader) => reader.and_then(|reader| Tongue::from_code(&reader.lang)),
            Err(error) => {
                tracing::debug!(%error, "nobody knows which language somebody chose");
                None
            }
        };
        chosen.unwrap_or_else(|| spoken(it))
    }

    pub(super) fn word(&self, asked: &Asked<'_>, word: Word) -> String {
        let kib = (self.config.max_file_bytes / 1024).to_string();
        self.words.say(asked.tongue, word, 0, &kib)
    }

    pub(super) fn say(&self, asked: &Asked<'_>, word: Word) -> Vec<NewOut> {
        self.text(asked, self.word(asked, word))
    }

    fn text(&self, asked: &Asked<'_>, text: String) -> Vec<NewOut> {
        self.posts(asked, &MessageReply::text(text), None)
    }

    /// Somebody wrote more than may wait: told once a minute.
    pub(super) async fn line_is_full(&self, it: &Incoming) {
        self.metrics.telegram_update("refused");
        let asked = Asked {
            it,
            caller: it.caller(),
            key: "",
            tongue: spoken(it),
            number: 0,
            admin: false,
            proof: None,
        };
        if !self.tell_once(&it.line(), "line") {
            return;
        }
        if let Err(error) = self.outbox.add(&self.say(&asked, Word::LineFull)).await {
            tracing::warn!(%error, "somebody is not told that too much waits");
        }
    }

    /// Rows of the outbox for an answer. In groups it is a reply to the question.
    fn posts(&self, asked: &Asked<'_>, reply: &MessageReply, pressed: Option<i64>) -> Vec<NewOut> {
        let it = asked.it;
        let life = i64::try_from(self.messages.expire_hours).unwrap_or(i64::MAX).saturating_mul(3_600_000);
        let how =
            Sending { caller: asked.caller.clone(), class: 0, expires_at: now_ms().saturating_add(life) };
        let reply_to = (it.is_group() && it.press.is_none()).then_some(it.message);
        let mut spot = Spot { thread: it.thread, reply_to, edit: pressed.filter(|_| reply.in_place) };
        let mut out = Vec::new();
        for post in &reply.posts {
            out.extend(rows(&it.line(), letters(post, spot, self.config.max_parts), &how));
            spot = Spot { thread: it.thread, ..Spot::default() };
        }
        out
    }
}

/// The language in which somebody has Telegram; English where we do not speak it.
fn spoken(it: &Incoming) -> Tongue {
    it.language.as_deref().and_then(Tongue::from_code).unwrap_or_default()
}

/// The command that is answered by a stream.
const CHAT: &str = "chat";
/// How long a press waits for words of its work.
const PRESS_PATIENCE: Duration = Duration::from_millis(500);
/// Longest words for a press, in characters.
const PRESS_CHARS: usize = 200;

/// The message in what is asked, where there is one.
fn message_of(payload: &mut Payload) -> Option<&mut MessageRequest> {
    use portcullis_domain::{LibraryRequest, NewsRequest};
    match payload {
        Payload::Library(LibraryRequest::Message(message)) | Payload::News(NewsRequest::Message(message)) => {
            Some(message)
        }
        Payload::Library(
            LibraryRequest::Ask(_)
            | LibraryRequest::Search(_)
            | LibraryRequest::Collections
            | LibraryRequest::Documents(_)
            | LibraryRequest::Remove { .. }
            | LibraryRequest::Ingest(_)
            | LibraryRequest::Job { .. },
        )
        | Payload::News(NewsRequest::Digest(_))
        | Payload::Chat(_)
        | Payload::Count(_)
        | Payload::Embed(_)
        | Payload::Models(_) => None,
    }
}

fn rows(chat: &str, letters: Vec<Letter>, how: &Sending) -> Vec<NewOut> {
    let payload = |letter: Letter| serde_json::to_string(&letter).unwrap_or_default();
    letters.into_iter().map(|letter| how.row(Door::Telegram, chat, payload(letter))).collect()
}

impl Channel for Desk {
    fn door(&self) -> Door {
        Door::Telegram
    }

    fn answer<'a>(&'a self, row: &'a InRow) -> Work<'a, Vec<NewOut>> {
        Box::pin(self.reply(row))
    }

    fn give_up(&self, row: &InRow) -> Vec<NewOut> {
        let Ok(it) = serde_json::from_str::<Incoming>(&row.payload) else { return Vec::new() };
        if it.is_group() || !self.config.answers(it.from, it.chat) {
            return Vec::new();
        }
        let asked = Asked {
            it: &it,
            caller: it.caller(),
            key: "",
            tongue: spoken(&it),
            number: 0,
            admin: false,
            proof: None,
        };
        self.text(&asked, self.words.say(asked.tongue, Word::Unavailable, 60, ""))
    }

    fn compose(&self, conversation: &str, posts: &[Post], how: &Sending) -> Vec<NewOut> {
        let Some((chat, thread)) = place(conversation) else { return Vec::new() };
        let (line, spot) = (super::update::line(chat), Spot { thread, ..Spot::default() });
        posts.iter().flat_map(|post| rows(&line, letters(post, spot, self.config.max_parts), how)).collect()
    }

    fn manages<'a>(&'a self, conversation: &'a str, caller: &'a str) -> Work<'a, bool> {
        Box::pin(async move {
            let Some((chat, _)) = place(conversation) else { return false };
            if caller == format!("tg:chat:{chat}") {
                return true;
            }
            let Some(person) = caller.strip_prefix("tg:").and_then(|id| id.parse::<i64>().ok()) else {
                return false;
            };
            if person == chat {
                return true;
            }
            self.groups.manages(&self.api, chat, person).await
                && self.groups.may_post(&self.api, chat, self.me.load().id).await
        })
    }

    fn deliver<'a>(&'a self, row: &'a OutRow) -> Work<'a, Delivery> {
        Box::pin(self.send(row))
    }
}
