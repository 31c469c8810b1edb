//! What is awaited of somebody: the next words they write are the answer. Invariants: what is awaited is a row, so it
//! survives a restart; any command ends it; after a while nothing is awaited any more. Source: news.md section 3.

use super::{People, Said, Turn, away, ms, words::Say, write::button};
use portcullis_domain::{Failure, MessageReply, Post};
use portcullis_store::DialogRow;

/// What is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// Sources to add.
    Sources,
    /// A yes to sources that were written.
    Confirm,
    /// A folder's name.
    NewFolder,
    /// A folder's new name.
    Rename,
    /// Filters of a folder.
    Filters,
    /// A time zone for a schedule.
    Zone,
    /// An OPML document.
    Document,
    /// The channel that its owner speaks of.
    OwnerChannel,
    /// What that channel is about.
    OwnerTopic,
    /// What its owner says.
    OwnerAbout,
    /// A second press to tell everybody.
    Broadcast,
}

impl Awaited {
    const ALL: [Self; 11] = [
        Self::Sources,
        Self::Confirm,
        Self::NewFolder,
        Self::Rename,
        Self::Filters,
        Self::Zone,
        Self::Document,
        Self::OwnerChannel,
        Self::OwnerTopic,
        Self::OwnerAbout,
        Self::Broadcast,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Confirm => "confirm",
            Self::NewFolder => "new_folder",
            Self::Rename => "rename",
            Self::Filters => "filters",
            Self::Zone => "zone",
            Self::Document => "document",
            Self::OwnerChannel => "owner_channel",
            Self::OwnerTopic => "owner_topic",
            Self::OwnerAbout => "owner_about",
            Self::Broadcast => "broadcast",
        }
    }
}

impl People {
    /// Awaits something.
    pub(super) async fn await_next(&self, turn: &Turn<'_>, what: Awaited, data: &str) -> Result<(), Failure> {
        let dialog = DialogRow { state: what.as_str().to_owned(), data: data.to_owned() };
        let until = turn.now + ms(u64::from(self.config().patience_mins) * 60);
        let (conversation, caller) = (&*turn.message.conversation, &*turn.request.caller.id);
        self.store().readers().await_next(conversation, caller, &dialog, until).await.map_err(away)
    }

    /// Asks for something and awaits it.
    pub(super) async fn ask_for(&self, turn: &Turn<'_>, what: Awaited, say: Say) -> Said {
        self.ask_with(turn, what, "", say).await
    }

    /// The same, with what is known so far.
    pub(super) async fn ask_with(&self, turn: &Turn<'_>, what: Awaited, data: &str, say: Say) -> Said {
        self.await_next(turn, what, data).await?;
        let mut post = Post::text(turn.talk.say(say));
        post.choices = vec![vec![button(turn.talk.say(Say::ButtonCancel), "m", 0, "")]];
        Ok(MessageReply::post(post))
    }

    /// Ends what is awaited; says whether something was.
    pub(super) async fn end_dialog(&self, turn: &Turn<'_>) -> Result<bool, Failure> {
        let (conversation, caller) = (&*turn.message.conversation, &*turn.request.caller.id);
        self.store().readers().end_dialog(conversation, caller).await.map_err(away)
    }

    async fn awaited(&self, turn: &Turn<'_>) -> Result<Option<(Awaited, String)>, Failure> {
        let (conversation, caller) = (&*turn.message.conversation, &*turn.request.caller.id);
        let dialog = self.store().readers().dialog(conversation, caller, turn.now).await.map_err(away)?;
        Ok(dialog.and_then(|dialog| {
            let what = Awaited::ALL.into_iter().find(|what| what.as_str() == dialog.state)?;
            Some((what, dialog.data))
        }))
    }

    /// What somebody writes is the answer to what was awaited, if anything was.
    pub(super) async fn continued(
        &self,
        turn: &Turn<'_>,
        text: &str,
    ) -> Result<Option<MessageReply>, Failure> {
        let Some((what, data)) = self.awaited(turn).await? else { return Ok(None) };
        self.end_dialog(turn).await?;
        if turn.may_change().is_err() {
            return Ok(None);
        }
        Ok(Some(match what {
            Awaited::Sources => self.add(turn, text, false).await?,
            // These wait for a press or a document.
            Awaited::Confirm | Awaited::OwnerTopic | Awaited::Broadcast | Awaited::Document => {
                return Ok(None);
            }
            Awaited::Filters => self.filters_named(turn, &data, text).await?,
            Awaited::Zone => self.zone_named(turn, text, &data).await?,
            Awaited::OwnerChannel => self.owner_channel(turn, &data, text).await?,
            Awaited::OwnerAbout => self.owner_about(turn, &data, text).await?,
            Awaited::NewFolder => self.new_folder(turn, text).await?,
            Awaited::Rename => self.rename(turn, data.parse().unwrap_or_default(), text).await?,
        }))
    }

    /// What is known so far, where that is awaited.
    pub(super) async fn data_of(&self, turn: &Turn<'_>, what: Awaited) -> Result<Option<String>, Failure> {
        let awaited = self.awaited(turn).await?;
        Ok(awaited.filter(|(awaited, _)| *awaited == what).map(|(_, data)| data))
    }

    /// The sources that were written and are to be added now.
    pub(super) async fn confirmed(&self, turn: &Turn<'_>) -> Result<Option<String>, Failure> {
        let sources = self.data_of(turn, Awaited::Confirm).await?;
        self.end_dialog(turn).await?;
        Ok(sources)
    }

    /// The schedule that a zone was asked for.
    pub(super) async fn wished(&self, turn: &Turn<'_>) -> Result<Option<String>, Failure> {
        let wish = self.data_of(turn, Awaited::Zone).await?;
        self.end_dialog(turn).await?;
        Ok(wish)
    }
}
