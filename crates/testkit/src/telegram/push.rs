//! What people do: write, press, edit, block, invite. Invariant: an update has everything in it that the real one has,
//! and a button can be pressed only where it is.

use super::{
    Access, Group, Incoming, Kind, Person, Pushed, Telegram,
    messages::{next_id, store},
    people::{Chat, marked},
    state::{Message, Moment, Query, Shared, State},
    webhook,
};
use serde_json::{Value, json};

impl Telegram {
    /// Somebody new, who has written to the bot before.
    #[must_use]
    pub fn person(&self, name: &str) -> Person {
        self.newcomer(name, None, Access::Open)
    }

    /// Somebody new whose app speaks that language.
    #[must_use]
    pub fn person_speaking(&self, name: &str, language: &str) -> Person {
        self.newcomer(name, Some(language), Access::Open)
    }

    /// Somebody who never wrote to the bot.
    #[must_use]
    pub fn stranger(&self, name: &str) -> Person {
        self.newcomer(name, None, Access::NotStarted)
    }

    fn newcomer(&self, name: &str, language: Option<&str>, access: Access) -> Person {
        self.shared.change(|state, _now| {
            let id = 1_000_000_001 + i64::try_from(state.people.len()).unwrap_or_default();
            let username = name.to_lowercase().replace(|one: char| !one.is_ascii_alphanumeric(), "_");
            let username = Some(format!("{username}_{}", id % 1_000_000));
            let person = Person { id, name: name.into(), username, language: language.map(str::to_owned) };
            state.people.insert(id, person.clone());
            let chat = Chat {
                id,
                kind: Kind::Private,
                title: name.into(),
                username: person.username.clone(),
                access,
                members: Vec::new(),
                admins: Vec::new(),
                topics: Vec::new(),
                last_message: 0,
            };
            state.chats.insert(id, chat);
            person
        })
    }

    /// A supergroup with the bot and these people in it.
    #[must_use]
    pub fn group(&self, title: &str, members: &[&Person]) -> Group {
        self.group_of(Kind::Supergroup, title, members)
    }

    /// A group, forum or channel with the bot and these people in it; the first of them administers it.
    #[must_use]
    pub fn group_of(&self, kind: Kind, title: &str, members: &[&Person]) -> Group {
        self.shared.change(|state, _now| {
            let number = i64::try_from(state.chats.len()).unwrap_or_default() + 1;
            let id = if kind == Kind::Group { -5_000_000 - number } else { -1_002_000_000_000 - number };
            let members: Vec<i64> = members.iter().map(|person| person.id).collect();
            let chat = Chat {
                id,
                kind,
                title: title.into(),
                username: None,
                access: Access::Open,
                admins: members.iter().take(1).copied().collect(),
                members,
                topics: Vec::new(),
                last_message: 0,
            };
            state.chats.insert(id, chat);
            Group { id, title: title.into(), kind }
        })
    }

    /// A new topic of a forum.
    ///
    /// # Panics
    /// When there is no such forum.
    #[must_use]
    pub fn topic(&self, forum: i64) -> i64 {
        self.shared.change(|state, _now| {
            let topic = next_id(state, forum);
            let chat = state.chats.get_mut(&forum).filter(|chat| chat.kind == Kind::Forum);
            chat.expect("a forum that is known").topics.push(topic);
            topic
        })
    }

    /// Gives a group or channel a public name.
    pub fn publish(&self, chat: i64, username: &str) {
        self.shared.change(|state, _now| {
            if let Some(chat) = state.chats.get_mut(&chat) {
                chat.username = Some(username.into());
            }
        });
    }

    /// Somebody says something in the private chat.
    pub fn say(&self, from: &Person, text: &str) -> Pushed {
        self.push(&Incoming::text(from, text))
    }

    /// Somebody says something in a group.
    pub fn say_in(&self, chat: i64, from: &Person, text: &str) -> Pushed {
        self.push(&Incoming::text(from, text).within(chat))
    }

    /// Somebody sends a message.
    ///
    /// # Panics
    /// When the chat is not known.
    pub fn push(&self, incoming: &Incoming) -> Pushed {
        let (id, update) = self.shared.change(|state, now| {
            if let Some(chat) = state.chats.get_mut(&incoming.chat)
                && matches!(chat.access, Access::NotStarted | Access::Blocked)
            {
                chat.access = Access::Open;
                state.in_vain.remove(&incoming.chat);
            }
            let id = next_id(state, incoming.chat);
            let body = incoming_body(&self.shared, state, now, incoming, id);
            let message = Message { own: false, at: now, body: body.clone() };
            state.messages.insert((incoming.chat, id), message);
            let kind = if body["chat"]["type"] == "channel" { "channel_post" } else { "message" };
            (id, state.queue.push(kind, &body, incoming.chat, now))
        });
        Pushed { chat: incoming.chat, id, update }
    }

    /// Somebody changes the text of their message.
    ///
    /// # Panics
    /// When there is no such message.
    pub fn edit(&self, pushed: &Pushed, text: &str) -> Option<i64> {
        self.shared.change(|state, now| {
            let message =
                state.messages.get_mut(&(pushed.chat, pushed.id)).expect("a message that was pushed");
            message.body["text"] = json!(text);
            message.body["entities"] = json!(marked(text));
            message.body["edit_date"] = json!(self.shared.unix(now));
            let body = message.body.clone();
            state.queue.push("edited_message", &body, pushed.chat, now)
        })
    }

    /// Somebody presses the button with that data under a message; gives the number of the press.
    ///
    /// # Panics
    /// When the message has no such button now.
    pub fn press(&self, who: &Person, chat: i64, message: i64, data: &str) -> String {
        if let Err(why) = self.pressable(chat, message, data) {
            panic!("{why}");
        }
        self.press_stale(who, chat, message, data)
    }

    /// Whether a message has a button with that data now.
    pub(super) fn pressable(&self, chat: i64, message: i64, data: &str) -> Result<(), String> {
        let body =
            self.read(|state| state.messages.get(&(chat, message)).map(|message| message.body.clone()));
        let body = body.ok_or_else(|| format!("no message {message} in chat {chat}"))?;
        let rows = body["reply_markup"]["inline_keyboard"].as_array().cloned().unwrap_or_default();
        let there =
            rows.iter().filter_map(Value::as_array).flatten().any(|button| button["callback_data"] == data);
        if there { Ok(()) } else { Err(format!("message {message} has no button {data:?}, but {rows:?}")) }
    }

    /// The same without a look at the message: an app may show a keyboard that is gone.
    pub fn press_stale(&self, who: &Person, chat: i64, message: i64, data: &str) -> String {
        self.shared.change(|state, now| {
            let id = format!("{}", 4_300_000_000_000_000_000_u64 + state.number());
            state.queries.insert(id.clone(), Query { at: now, answered: false });
            let kept = state.messages.get(&(chat, message)).map(|message| message.body.clone());
            let gone = || {
                let chat = state.chats.get(&chat).map(Chat::json);
                json!({"chat": chat, "message_id": message, "date": 0})
            };
            let body = json!({
                "id": id, "from": who.json(), "message": kept.unwrap_or_else(gone),
                "chat_instance": format!("{}", chat.unsigned_abs() * 31), "data": data,
            });
            let _update = state.queue.push("callback_query", &body, chat, now);
            id
        })
    }

    /// Somebody blocks the bot.
    pub fn block(&self, who: &Person) -> Option<i64> {
        self.access(who.id, who, Access::Blocked, "kicked")
    }

    /// Somebody unblocks the bot.
    pub fn unblock(&self, who: &Person) -> Option<i64> {
        self.access(who.id, who, Access::Open, "member")
    }

    /// Somebody throws the bot out of a group.
    pub fn kick(&self, chat: i64, by: &Person) -> Option<i64> {
        self.access(chat, by, Access::Kicked, "kicked")
    }

    /// Somebody takes the bot into a group (again).
    pub fn invite(&self, chat: i64, by: &Person) -> Option<i64> {
        self.access(chat, by, Access::Open, "member")
    }

    /// Whether the bot may write somewhere, without an update that says so.
    pub fn set_access(&self, chat: i64, access: Access) {
        self.shared.change(|state, _now| {
            state.in_vain.remove(&chat);
            if let Some(chat) = state.chats.get_mut(&chat) {
                chat.access = access;
            }
        });
    }

    fn access(&self, chat: i64, by: &Person, access: Access, status: &str) -> Option<i64> {
        self.set_access(chat, access);
        self.shared.change(|state, now| {
            let bot = self.shared.bot();
            let member = |status: &str| match status {
                "kicked" => json!({"status": "kicked", "user": bot, "until_date": 0}),
                status => json!({"status": status, "user": bot}),
            };
            let before = if status == "member" { "kicked" } else { "member" };
            let body = json!({
                "chat": state.chats.get(&chat).map(Chat::json), "from": by.json(), "date": self.shared.unix(now),
                "old_chat_member": member(before), "new_chat_member": member(status),
            });
            state.queue.push("my_chat_member", &body, chat, now)
        })
    }

    /// A group of the old kind becomes a supergroup: it has a new number, and both chats say so.
    ///
    /// # Panics
    /// When there is no such group.
    pub fn upgrade(&self, group: &Group) -> Group {
        let members = self.read(|state| state.chats.get(&group.id).map(|chat| chat.members.clone()));
        let members = members.expect("a group that is known");
        let people: Vec<Person> =
            self.read(|state| members.iter().filter_map(|id| state.people.get(id).cloned()).collect());
        let new = self.group_of(Kind::Supergroup, &group.title, &people.iter().collect::<Vec<_>>());
        self.set_access(group.id, Access::Upgraded(new.id));
        for (chat, field, other) in
            [(group.id, "migrate_to_chat_id", new.id), (new.id, "migrate_from_chat_id", group.id)]
        {
            self.shared.change(|state, now| {
                let id = next_id(state, chat);
                let body = json!({
                    "message_id": id, "date": self.shared.unix(now), "chat": state.chats.get(&chat).map(Chat::json),
                    "from": people.first().map(Person::json), field: other,
                });
                state.queue.push("message", &body, chat, now);
            });
        }
        new
    }

    /// Somebody who is not Telegram posts a body to the webhook, with that secret or none: the status of the answer;
    /// none: there is no webhook, or nobody answers.
    pub async fn knock(&self, secret: Option<&str>, body: &str) -> Option<u16> {
        webhook::knock(&self.shared, secret, body).await
    }

    /// An update as it is, for kinds that have no builder; none: the bot asked for no such kind.
    pub fn raw_update(&self, kind: &str, payload: &Value) -> Option<i64> {
        let chat = payload["chat"]["id"].as_i64().unwrap_or_default();
        self.shared.change(|state, now| state.queue.push(kind, payload, chat, now))
    }
}

fn incoming_body(shared: &Shared, state: &mut State, now: Moment, incoming: &Incoming, id: i64) -> Value {
    let chat = state.chats.get(&incoming.chat).expect("a chat that is known").json();
    let mut body = json!({"message_id": id, "chat": chat, "date": shared.unix(now)});
    if chat["type"] == "channel" {
        body["sender_chat"] = chat;
    } else {
        body["from"] = incoming.from.json();
    }
    let (name, marks) =
        if incoming.document.is_some() { ("caption", "caption_entities") } else { ("text", "entities") };
    if !incoming.text.is_empty() {
        body[name] = json!(incoming.text);
        let found = marked(&incoming.text);
        if !found.is_empty() {
            body[marks] = json!(found);
        }
    }
    if let Some((document, size)) = &incoming.document {
        body["document"] = store(state, document, *size);
    }
    if let Some(thread) = incoming.thread {
        body["message_thread_id"] = json!(thread);
        body["is_topic_message"] = json!(true);
    }
    if let Some(reply) = incoming.reply_to {
        let replied =
            state.messages.get(&(incoming.chat, reply)).expect("a reply to a message that is there");
        let mut replied = replied.body.clone();
        if let Some(fields) = replied.as_object_mut() {
            fields.remove("reply_to_message");
        }
        body["reply_to_message"] = replied;
    }
    if let (Some(fields), Some(extra)) = (body.as_object_mut(), incoming.extra.as_object()) {
        fields.extend(extra.clone());
    }
    body
}
