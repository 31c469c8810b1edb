//! The methods that are done at once: who may do what where, in the server's words. Invariant: what is refused left no
//! trace but its call.

use super::{
    keyboard, messages,
    people::{Access, Chat, Kind},
    rates::Verdict,
    records::{Action, Answered, Document, Draft, Menu, Reaction},
    state::{Moment, Outcome, Refusal, Shared, State},
    text::{self, Wanted},
    webhook,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// Units of the answer to a press.
const ANSWER_UNITS: usize = 200;
/// Bytes of a file that can be fetched.
const DOWNLOAD_BYTES: u64 = 20 << 20;
/// Refused messages to a closed chat that pass as not yet known.
const IN_VAIN: u32 = 2;

const ACTIONS: [&str; 12] = [
    "typing",
    "upload_photo",
    "record_video",
    "upload_video",
    "record_voice",
    "upload_voice",
    "upload_document",
    "choose_sticker",
    "find_location",
    "record_video_note",
    "upload_video_note",
    "cancel",
];

/// Reactions that bots may give.
const REACTIONS: &str = "👍👎❤🔥🥰👏😁🤔🤯😱🤬😢🎉🤩🤮💩🙏👌🕊🤡🥱🥴😍🐳❤‍🔥🌚🌭💯🤣⚡🍌🏆💔🤨😐🍓🍾💋🖕😈😴😭🤓👻👨‍💻👀🎃🙈😇😨🤝✍🤗🫡🎅🎄☃💅🤪🗿🆒💘🙉🦄😘💊🙊😎👾🤷‍♂🤷🤷‍♀😡";

/// A call under way.
pub(super) struct Work<'a> {
    pub(super) shared: &'a Shared,
    pub(super) state: &'a mut State,
    pub(super) now: Moment,
    pub(super) values: &'a Map<String, Value>,
    pub(super) files: &'a BTreeMap<String, Document>,
    /// Somebody else's doing, for which the bot is not to blame.
    pub(super) rival: bool,
}

/// Methods that write where people see it, and are counted.
pub(super) fn is_paced(method: &str) -> bool {
    matches!(method, "sendMessage" | "sendDocument" | "editMessageText" | "editMessageReplyMarkup")
}

/// Does a call (`getUpdates` has its own way).
pub(super) fn perform(method: &str, mut work: Work<'_>) -> Outcome {
    for (name, what) in [
        ("business_connection_id", "business accounts"),
        ("direct_messages_topic_id", "direct messages"),
        ("suggested_post_parameters", "suggested posts"),
        ("rich_message", "rich messages"),
        ("inline_message_id", "inline messages"),
    ] {
        if work.values.contains_key(name) {
            work.state.violation(format!("{method}: {what} are not imitated"));
            return Err(Refusal::new(501, format!("Not Implemented: {what} are not imitated")));
        }
    }
    match method {
        "getMe" => {
            let mut bot = work.shared.bot();
            for (name, value) in [
                ("can_join_groups", true),
                ("can_read_all_group_messages", true),
                ("supports_inline_queries", false),
                ("can_connect_to_business", false),
                ("has_main_web_app", false),
            ] {
                bot[name] = json!(value);
            }
            Ok(bot)
        }
        "setWebhook" => webhook::set(&mut work),
        "deleteWebhook" => webhook::delete(&mut work),
        "getWebhookInfo" => Ok(webhook::info(&mut work)),
        "sendMessage" => messages::send(&mut work),
        "sendDocument" => messages::send_document(&mut work),
        "editMessageText" => messages::edit_text(&mut work),
        "editMessageReplyMarkup" => messages::edit_markup(&mut work),
        "deleteMessage" => messages::delete(&mut work),
        "answerCallbackQuery" => work.answer_query(),
        "sendChatAction" => work.chat_action(),
        "getFile" => work.file(),
        "setMyCommands" => work.commands(),
        "getChat" => work.chat_info(),
        "getChatMember" => work.member(),
        "sendMessageDraft" => work.draft(),
        "setMessageReaction" => work.react(),
        "leaveChat" => work.leave(),
        other => Err(Refusal::new(404, format!("Not Found: method {other} not found"))),
    }
}

impl Work<'_> {
    pub(super) fn text(&self, name: &str) -> &str {
        self.values.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.values.get(name).and_then(Value::as_i64)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.values.get(name) == Some(&Value::Bool(true))
    }

    /// The chat that is named.
    pub(super) fn chat(&self) -> Result<&Chat, Refusal> {
        let id = match self.values.get("chat_id") {
            Some(Value::String(name)) if name.starts_with('@') => {
                let own = |chat: &&Chat| {
                    chat.username.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(&name[1..]))
                        && chat.kind != Kind::Private
                };
                return self.state.chats.values().find(own).ok_or_else(|| Refusal::bad("chat not found"));
            }
            Some(value) => value.as_i64().unwrap_or_default(),
            None => return Err(Refusal::bad("chat_id is empty")),
        };
        self.state.chats.get(&id).ok_or_else(|| Refusal::bad("chat not found"))
    }

    /// The chat that is named, if the bot may write there.
    pub(super) fn writable(&mut self) -> Result<Chat, Refusal> {
        let chat = self.chat()?.clone();
        let Some((code, words)) = chat.closed() else { return Ok(chat) };
        let vain = self.state.in_vain.entry(chat.id).or_default();
        *vain += 1;
        if *vain > IN_VAIN {
            let what = format!("chat {} was written to again and again: {words}", chat.id);
            self.state.violation_once(what);
        }
        let mut refusal = if code == 400 { Refusal::bad(&words) } else { Refusal::forbidden(&words) };
        if let Access::Upgraded(to) = chat.access {
            refusal.parameters = Some(json!({ "migrate_to_chat_id": to }));
        }
        Err(refusal)
    }

    /// Counts what people are about to see.
    pub(super) fn pace(&mut self, chat: i64) -> Result<(), Refusal> {
        if let Some((refusal, what)) = self.state.counters.waiting(chat, self.now) {
            self.state.violation(what);
            return Err(refusal);
        }
        let options = &self.shared.options;
        match self.state.counters.count(chat, &options.limits, options.rates, self.now) {
            Verdict::Fine => Ok(()),
            Verdict::Refused(refusal, what) => {
                self.state.violation(what);
                Err(refusal)
            }
        }
    }

    fn answer_query(&mut self) -> Outcome {
        let stale = || Refusal::bad("query is too old and response timeout expired or query ID is invalid");
        if text::units(self.text("text")) > ANSWER_UNITS {
            return Err(Refusal::bad("MESSAGE_TOO_LONG"));
        }
        let id = self.text("callback_query_id").to_owned();
        let (life, now) = (self.shared.options.answer_within, self.now);
        let query = self.state.queries.get_mut(&id).ok_or_else(stale)?;
        if query.answered || now.saturating_sub(query.at) > life {
            return Err(stale());
        }
        query.answered = true;
        let shown = Some(self.text("text").to_owned()).filter(|text| !text.is_empty());
        let answer = Answered { query: id, text: shown, alert: self.flag("show_alert"), at: Instant::now() };
        self.state.answers.push(answer);
        Ok(true.into())
    }

    fn chat_action(&mut self) -> Outcome {
        let action = self.text("action").to_owned();
        if !ACTIONS.contains(&action.as_str()) {
            return Err(Refusal::bad("wrong parameter action in request"));
        }
        let chat = self.writable()?.id;
        let thread = self.number("message_thread_id");
        self.state.actions.push(Action { chat, thread, action, at: Instant::now() });
        Ok(true.into())
    }

    fn file(&mut self) -> Outcome {
        let id = self.text("file_id").to_owned();
        let file = self.state.files.get(&id).ok_or_else(|| Refusal::bad("invalid file_id"))?;
        if file.size > DOWNLOAD_BYTES {
            return Err(Refusal::bad("file is too big"));
        }
        Ok(json!({
            "file_id": id, "file_unique_id": format!("u{id}"), "file_size": file.size, "file_path": file.path,
        }))
    }

    fn commands(&mut self) -> Outcome {
        let list = self.values.get("commands").and_then(Value::as_array).cloned();
        let list = list.ok_or_else(|| Refusal::bad("can't parse commands JSON object"))?;
        if list.len() > 100 {
            return Err(Refusal::bad("BOT_COMMANDS_TOO_MUCH"));
        }
        let mut commands = Vec::new();
        for one in &list {
            let part = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
            let (command, description) =
                (part("command").trim_start_matches('/').to_owned(), part("description"));
            let refusal = match (command.len(), text::units(description.trim())) {
                (0, _) => Some("command must be non-empty"),
                (33.., _) => Some("command length must not exceed 32"),
                (_, 0) => Some("command description must be non-empty"),
                (_, 257..) => Some("command description length must not exceed 256"),
                _ if !command.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')) => {
                    Some("BOT_COMMAND_INVALID")
                }
                _ => None,
            };
            if let Some(refusal) = refusal {
                return Err(Refusal::bad(refusal));
            }
            commands.push((command, description));
        }
        let language = self.text("language_code").to_owned();
        if !matches!(language.as_bytes(), [] | [b'a'..=b'z', b'a'..=b'z']) {
            return Err(Refusal::bad("invalid language code specified"));
        }
        let scope = self.values.get("scope").cloned();
        self.state.menus.push(Menu { commands, scope, language, at: Instant::now() });
        Ok(true.into())
    }

    fn chat_info(&mut self) -> Outcome {
        let chat = self.chat()?;
        if let (Kind::Supergroup | Kind::Forum | Kind::Channel, Some((code, words))) =
            (chat.kind, chat.closed())
        {
            return Err(Refusal::new(code, format!("Forbidden: {words}")));
        }
        let mut info = chat.json();
        info["accent_color_id"] = json!(0);
        info["max_reaction_count"] = json!(11);
        info["accepted_gift_types"] = json!({
            "unlimited_gifts": false, "limited_gifts": false, "unique_gifts": false,
            "premium_subscription": false, "gifts_from_channels": false,
        });
        Ok(info)
    }

    fn member(&mut self) -> Outcome {
        let user = self.number("user_id").ok_or_else(|| Refusal::bad("invalid user_id specified"))?;
        let chat = self.chat()?.clone();
        if let Some((code, words)) = chat.closed().filter(|_| chat.kind != Kind::Private) {
            return Err(if code == 400 { Refusal::bad(&words) } else { Refusal::forbidden(&words) });
        }
        if user == self.shared.options.bot_id {
            return Ok(json!({"status": "member", "user": self.shared.bot()}));
        }
        let person = self.state.people.get(&user).ok_or_else(|| Refusal::bad("user not found"))?;
        if chat.admins.contains(&user) {
            return Ok(administrator(&person.json()));
        }
        let inside = chat.members.contains(&user) || chat.id == user;
        Ok(json!({"status": if inside { "member" } else { "left" }, "user": person.json()}))
    }

    fn draft(&mut self) -> Outcome {
        let raw = self.text("text").to_owned();
        let wanted =
            Wanted { most: messages::TEXT_UNITS, too_long: "message is too long", entities: "entities" };
        let text = if raw.is_empty() {
            String::new()
        } else {
            text::formatted(self.state, &raw, self.values, &wanted)?.text
        };
        let chat = self.writable()?;
        let id = self.number("draft_id").filter(|id| *id != 0);
        let id = id.ok_or_else(|| Refusal::bad("draft_id must be non-zero"))?;
        if chat.kind != Kind::Private {
            return Err(Refusal::bad("message drafts are for private chats only"));
        }
        self.state.drafts.push(Draft { chat: chat.id, id, text, at: Instant::now() });
        Ok(true.into())
    }

    fn react(&mut self) -> Outcome {
        let chat = self.writable()?.id;
        let id = self.number("message_id").unwrap_or_default();
        if !self.state.messages.contains_key(&(chat, id)) {
            return Err(Refusal::bad("message to react not found"));
        }
        let reaction = self.values.get("reaction").cloned().unwrap_or_else(|| json!([]));
        let list = reaction.as_array().cloned().unwrap_or_default();
        if list.len() > 1 {
            return Err(Refusal::bad("REACTIONS_TOO_MANY"));
        }
        for one in &list {
            let known =
                one["emoji"].as_str().is_some_and(|emoji| !emoji.is_empty() && REACTIONS.contains(emoji));
            if !known {
                return Err(Refusal::bad("REACTION_INVALID"));
            }
        }
        self.state.reactions.push(Reaction { chat, id, reaction, at: Instant::now() });
        Ok(true.into())
    }

    fn leave(&mut self) -> Outcome {
        let chat = self.chat()?;
        if chat.kind == Kind::Private {
            return Err(Refusal::bad("chat member status can't be changed in private chats"));
        }
        let id = chat.id;
        if let Some(chat) = self.state.chats.get_mut(&id) {
            chat.access = Access::NotMember;
        }
        Ok(true.into())
    }

    /// The keyboard that is given.
    pub(super) fn markup(&mut self) -> Result<Option<Value>, Refusal> {
        keyboard::check(self.state, self.values.get("reply_markup"))
    }
}

fn administrator(user: &Value) -> Value {
    let mut member =
        json!({"status": "administrator", "user": user, "can_be_edited": false, "is_anonymous": false});
    for right in [
        "can_manage_chat",
        "can_delete_messages",
        "can_manage_video_chats",
        "can_restrict_members",
        "can_promote_members",
        "can_change_info",
        "can_invite_users",
        "can_post_stories",
        "can_edit_stories",
        "can_delete_stories",
    ] {
        member[right] = json!(true);
    }
    member
}

/// How long a message can be deleted.
pub(super) const DELETABLE: Duration = Duration::from_secs(48 * 3600);
