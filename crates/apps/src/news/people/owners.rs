//! For owners of channels: a form in steps, kept, and sent to the administrators, who accept or decline it. Invariant: a
//! request is decided once; what an owner asked not to be shown is not fetched any more. Source: news.md section 3.

use super::{
    People, Said, Turn, away,
    dialogs::Awaited,
    words::Say,
    write::{Page, button, cut},
};
use portcullis_domain::{Failure, MessageReply, Post};
use portcullis_news::Source;
use portcullis_store::OwnerRequest;
use serde::{Deserialize, Serialize};

/// What a channel may be about.
const TOPICS: [Say; 10] = [
    Say::TopicNews,
    Say::TopicPolitics,
    Say::TopicEconomy,
    Say::TopicScience,
    Say::TopicTechnology,
    Say::TopicCulture,
    Say::TopicSport,
    Say::TopicHealth,
    Say::TopicLocal,
    Say::TopicOther,
];
/// Characters of what an owner says.
const ABOUT: std::ops::RangeInclusive<usize> = 5..=200;

/// What is known so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Form {
    kind: String,
    source: String,
    topic: String,
}

impl Form {
    fn read(data: &str) -> Self {
        serde_json::from_str(data).unwrap_or_default()
    }

    fn written(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl People {
    /// A button of the form; none: it is out of date.
    pub(super) async fn pressed_owner(
        &self,
        turn: &Turn<'_>,
        (action, row, argument): (&str, i64, &str),
    ) -> Result<Option<MessageReply>, Failure> {
        Ok(Some(match (action, argument) {
            ("ow", kind @ ("add" | "remove" | "restrict")) => {
                let form = Form { kind: kind.to_owned(), ..Form::default() };
                self.ask_with(turn, Awaited::OwnerChannel, &form.written(), Say::OwnerChannel).await?
            }
            ("ow", _) => Self::owners(turn),
            ("ot", topic) => {
                let known = self.form(turn).await?;
                let (Some(mut form), Some(topic)) =
                    (known, topic.parse().ok().and_then(|index: usize| TOPICS.get(index)))
                else {
                    return Ok(None);
                };
                // Kept in one language, so that administrators read it.
                form.topic = topic.as_str().to_owned();
                self.ask_with(turn, Awaited::OwnerAbout, &form.written(), Say::OwnerAbout).await?
            }
            ("oa" | "od", _) if turn.admin => return self.decide(turn, row, action == "oa").await.map(Some),
            _ => return Ok(None),
        }))
    }

    fn owners(turn: &Turn<'_>) -> MessageReply {
        let mut post = Post::text(turn.talk.say(Say::Owners));
        let b = |say, kind: &str| vec![button(turn.talk.say(say), "ow", 0, kind)];
        post.choices = vec![
            b(Say::OwnerAdd, "add"),
            b(Say::OwnerRemove, "remove"),
            b(Say::OwnerRestrict, "restrict"),
            vec![button(turn.talk.say(Say::ButtonMenu), "m", 0, "")],
        ];
        turn.shown(post)
    }

    async fn form(&self, turn: &Turn<'_>) -> Result<Option<Form>, Failure> {
        Ok(self.data_of(turn, Awaited::OwnerTopic).await?.map(|data| Form::read(&data)))
    }

    /// The channel was written.
    pub(super) async fn owner_channel(&self, turn: &Turn<'_>, data: &str, text: &str) -> Said {
        let Ok(source) = Source::read(text) else {
            return self.ask_with(turn, Awaited::OwnerChannel, data, Say::OwnerChannel).await;
        };
        let form = Form { source: source.to_string(), ..Form::read(data) };
        self.await_next(turn, Awaited::OwnerTopic, &form.written()).await?;
        let mut post = Post::text(turn.talk.say(Say::OwnerTopic));
        let topic = |(index, say): (usize, &Say)| button(turn.talk.say(*say), "ot", 0, &index.to_string());
        let buttons: Vec<_> = TOPICS.iter().enumerate().map(topic).collect();
        post.choices = buttons.chunks(2).map(<[_]>::to_vec).collect();
        post.choices.push(vec![button(turn.talk.say(Say::ButtonCancel), "m", 0, "")]);
        Ok(MessageReply::post(post))
    }

    /// What it is about, or why, was written: the form is whole.
    pub(super) async fn owner_about(&self, turn: &Turn<'_>, data: &str, text: &str) -> Said {
        if !ABOUT.contains(&text.chars().count()) {
            return self.ask_with(turn, Awaited::OwnerAbout, data, Say::OwnerAbout).await;
        }
        let form = Form::read(data);
        let request = OwnerRequest {
            id: 0,
            caller: turn.request.caller.id.to_string(),
            kind: form.kind,
            source: form.source,
            topic: form.topic,
            about: text.to_owned(),
            state: String::new(),
        };
        let id = self.store().readers().ask_as_owner(&request, turn.now).await.map_err(away)?;
        let mut page = Page::default();
        page.say("📣 ").bold(&format!("{}: {}", request.kind, request.source)).line();
        page.say(&format!("{} · {}\n{}", request.caller, request.topic, cut(&request.about, 200)));
        let mut post = page.post();
        post.choices = vec![vec![
            button(turn.talk.say(Say::ButtonAccept), "oa", id, ""),
            button(turn.talk.say(Say::ButtonDecline), "od", id, ""),
        ]];
        for admin in &self.0.parts.admins {
            self.tell(&turn.reader, admin, post.clone(), 2).await;
        }
        Ok(turn.text(Say::OwnerSent))
    }

    async fn decide(&self, turn: &Turn<'_>, id: i64, accepted: bool) -> Said {
        let readers = self.store().readers();
        let Some(request) = readers.decide(id, accepted).await.map_err(away)? else {
            return Ok(turn.text(Say::OwnerDecided));
        };
        if accepted && request.kind != "add" {
            readers.block(&request.source, Some(&request.about), turn.now).await.map_err(away)?;
        }
        self.prove(
            turn,
            "news_owner_request",
            vec![("id", id.to_string()), ("state", request.state.clone())],
        );
        if let Some(reader) = readers.find(&request.caller).await.map_err(away)? {
            let talk = super::Talk { tongue: super::tongue(Some(&reader.lang)), ..turn.talk };
            let say = if accepted { Say::OwnerAccepted } else { Say::OwnerDeclined };
            let text = talk.with(say, &[("source", &request.source)]);
            self.tell(&reader, &reader.conversation, Post::text(text), 2).await;
        }
        Ok(turn.shown(Post::text(format!("{} {}: {}", request.kind, request.source, request.state))))
    }
}
