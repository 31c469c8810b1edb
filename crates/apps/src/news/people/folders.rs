//! Folders and sources: adding, removing with a way back, listing. Invariant: of several sources the good ones are kept
//! and each of the others is told what is wrong with it. Source: news.md section 3.

use super::{
    People, Said, Turn, away,
    dialogs::Awaited,
    ms,
    words::Say,
    write::{Page, button, cut, mark},
};
use crate::news::{Health, Reason};
use portcullis_domain::{Action, MessageReply, Post};
use portcullis_news::{Source, SourceError};
use portcullis_store::{Added, FolderRow, NewFolder};

/// Sources of one `/add`.
const AT_ONCE: usize = 10;
/// Characters of a folder's name.
const NAME: std::ops::RangeInclusive<usize> = 1..=32;
/// Buttons with sources.
const BUTTONS: usize = 30;
/// Feeds of a page that are named.
const FEEDS: usize = 3;
/// Names that are shown as nearest.
const NEAREST: usize = 3;

/// A pressed button of a row.
pub(super) struct Pressed<'a> {
    pub(super) action: &'a str,
    pub(super) row: i64,
    pub(super) argument: &'a str,
}

impl People {
    /// `/add X ...`; what gives nothing now is added `anyway` only when the person says so.
    pub(super) async fn add(&self, turn: &Turn<'_>, rest: &str, anyway: bool) -> Said {
        if let Err(reply) = turn.may_change() {
            return Ok(reply);
        }
        if rest.is_empty() {
            return self.ask_for(turn, Awaited::Sources, Say::AddWhat).await;
        }
        let written: Vec<&str> =
            rest.split([' ', '\n', '\t', ',', ';']).map(str::trim).filter(|one| !one.is_empty()).collect();
        let talk = &turn.talk;
        let mut lines = Vec::new();
        let mut sources: Vec<String> = Vec::new();
        for one in written.iter().take(AT_ONCE) {
            match Source::read(one) {
                Ok(source) => sources.push(source.to_string()),
                Err(error) => {
                    let shown = cut(one, 60);
                    lines.push(format!("✖️ {shown}: {}", talk.say(wrong(&error))));
                }
            }
        }
        if written.len() > AT_ONCE {
            lines.push(talk.count(Say::TooManyAtOnce, AT_ONCE as u64));
        }
        for _ in &sources {
            turn.request.quotas.spend(&turn.request.caller, Action::AddSource).await?;
        }
        let (doubtful, feeds) = if anyway { Default::default() } else { self.looked_at(&sources).await };
        sources.retain(|source| doubtful.iter().all(|(doubted, _)| doubted != source));
        // What leads to where nobody may go is not asked about: it would never give anything.
        let (refused, doubtful): (Vec<_>, Vec<_>) =
            doubtful.into_iter().partition(|(_, reason)| *reason == Reason::Refused);
        for (source, reason) in &refused {
            lines.push(format!("✖️ {source}: {}", talk.say(super::compose::reason(*reason))));
        }
        let (_, plan) = self.plan(&turn.reader.plan);
        let readers = self.store().readers();
        let most = u64::from(plan.sources);
        let added = readers
            .follow(turn.reader.id, turn.reader.folder, &sources, most, turn.now)
            .await
            .map_err(away)?;
        for (source, added) in sources.iter().zip(&added) {
            lines.push(match added {
                Added::New => format!("✅ {source}"),
                Added::Known => format!("☑️ {source}: {}", talk.say(Say::AddKnown)),
                Added::Blocked => format!("🚫 {source}: {}", talk.say(Say::OwnerBlocked)),
                Added::Full => format!("✖️ {source}: {}", talk.count(Say::AddFull, most)),
            });
        }
        if !feeds.is_empty() {
            lines.push(talk.with(Say::HasFeeds, &[("feeds", &feeds.join("\n"))]));
        }
        let mut post = Post::text(lines.join("\n"));
        if !doubtful.is_empty() {
            let lines = doubtful.iter().map(|(source, reason)| {
                format!("⚠️ {source}: {}", talk.say(super::compose::reason(*reason)))
            });
            let shown = lines.chain([talk.say(Say::AddAnyway)]).collect::<Vec<_>>().join("\n");
            post.text = [post.text, shown].join("\n").trim().to_owned();
            let sources: Vec<&str> = doubtful.iter().map(|(source, _)| source.as_str()).collect();
            self.await_next(turn, Awaited::Confirm, &sources.join("\n")).await?;
            post.choices = vec![vec![
                button(talk.say(Say::ButtonYesAdd), "af", 0, ""),
                button(talk.say(Say::ButtonNo), "m", 0, ""),
            ]];
        } else if added.contains(&Added::New) {
            post.choices = vec![vec![
                button(talk.say(Say::ButtonNews), "n", turn.reader.folder, ""),
                button(talk.say(Say::ButtonList), "ls", 0, ""),
            ]];
        }
        if doubtful.is_empty() && !feeds.is_empty() {
            self.await_next(turn, Awaited::Confirm, &feeds.join("\n")).await?;
            post.choices.push(vec![button(talk.say(Say::ButtonYesAdd), "ay", 0, "")]);
        }
        Ok(MessageReply::post(post))
    }

    /// Looks at sources, all together: those that give nothing now, and why; feeds that pages among them name.
    async fn looked_at(&self, sources: &[String]) -> (Vec<(String, Reason)>, Vec<String>) {
        let looks = sources
            .iter()
            .filter_map(|name| Some((name, Source::read(name).ok()?)))
            .map(|(name, source)| async move { (name.clone(), (self.0.parts.looker)(source).await) });
        let (mut doubtful, mut feeds) = (Vec::new(), Vec::new());
        for (name, looked) in futures_util::future::join_all(looks).await {
            match looked {
                Ok(checked) if checked.is_page => {
                    feeds.extend(checked.feeds.into_iter().take(FEEDS).map(|(_, address)| address));
                }
                Ok(_) => {}
                Err(reason) => doubtful.push((name, reason)),
            }
        }
        (doubtful, feeds)
    }

    /// Words that are no command: a source is offered to be added, for anything else there is the menu.
    pub(super) async fn offered(&self, turn: &Turn<'_>, text: &str) -> Said {
        let sources: Vec<String> = text
            .split_whitespace()
            .take(AT_ONCE)
            .filter_map(|one| Source::read(one).ok())
            .map(|source| source.to_string())
            .collect();
        if sources.is_empty() {
            return self.menu(turn, Say::Menu).await;
        }
        let shown = sources.join("\n");
        self.await_next(turn, Awaited::Confirm, &shown).await?;
        let mut post = Post::text(turn.talk.with(Say::AddThese, &[("sources", &shown)]));
        post.choices = vec![vec![
            button(turn.talk.say(Say::ButtonYesAdd), "ay", 0, ""),
            button(turn.talk.say(Say::ButtonNo), "m", 0, ""),
        ]];
        Ok(MessageReply::post(post))
    }

    /// `/remove X`.
    pub(super) async fn remove(&self, turn: &Turn<'_>, rest: &str) -> Said {
        if let Err(reply) = turn.may_change() {
            return Ok(reply);
        }
        let follows = self.store().readers().sources(turn.reader.folder).await.map_err(away)?;
        if rest.is_empty() {
            return Ok(self.which_to_remove(turn, &follows));
        }
        let wanted = Source::read(rest).map_or_else(|_| rest.to_owned(), |source| source.to_string());
        if let Some(source) = follows.iter().find(|source| **source == wanted) {
            return self.take_out(turn, turn.reader.folder, Some(std::slice::from_ref(source))).await;
        }
        let near = nearest(&wanted, &follows);
        let mut post = Post::text(turn.talk.with(Say::NotFollowed, &[("source", &cut(rest, 60))]));
        post.choices = near.iter().map(|source| vec![Self::remover(turn, source)]).collect();
        Ok(MessageReply::post(post))
    }

    fn remover(turn: &Turn<'_>, source: &str) -> portcullis_domain::Button {
        button(format!("🗑 {}", cut(source, 40)), "rx", turn.reader.folder, &mark(source))
    }

    fn which_to_remove(&self, turn: &Turn<'_>, follows: &[String]) -> MessageReply {
        if follows.is_empty() {
            return turn.text(Say::NothingToRemove);
        }
        let mut post = Post::text(turn.talk.say(Say::RemoveWhich));
        post.choices = follows.iter().take(BUTTONS).map(|source| vec![Self::remover(turn, source)]).collect();
        post.choices.push(vec![button(turn.talk.say(Say::ButtonMenu), "m", 0, "")]);
        turn.shown(post)
    }

    /// `/remove_all`, which needs a second press.
    pub(super) async fn remove_all(&self, turn: &Turn<'_>) -> Said {
        if let Err(reply) = turn.may_change() {
            return Ok(reply);
        }
        let n = self.store().readers().sources(turn.reader.folder).await.map_err(away)?.len();
        if n == 0 {
            return Ok(turn.text(Say::NothingToRemove));
        }
        let mut post = Post::text(turn.talk.count(Say::RemoveAllSure, n as u64));
        post.choices = vec![vec![
            button(turn.talk.say(Say::ButtonYesRemove), "ray", turn.reader.folder, ""),
            button(turn.talk.say(Say::ButtonNo), "m", 0, ""),
        ]];
        Ok(MessageReply::post(post))
    }

    async fn take_out(&self, turn: &Turn<'_>, folder: i64, sources: Option<&[String]>) -> Said {
        let until = turn.now + ms(u64::from(self.config().patience_mins) * 60);
        let removed = self.store().readers().unfollow(turn.reader.id, folder, sources, turn.now, until).await;
        let removed = removed.map_err(away)?;
        if removed.sources.is_empty() {
            return self.out_of_date(turn).await;
        }
        let n = removed.sources.len() as u64;
        let mut post = Post::text(turn.talk.count(Say::Removed, n));
        if let [one] = removed.sources.as_slice() {
            post = Post::text(turn.talk.with(Say::RemovedOne, &[("source", one)]));
        }
        post.choices = vec![vec![
            button(turn.talk.say(Say::ButtonUndo), "un", removed.undo, ""),
            button(turn.talk.say(Say::ButtonMenu), "m", 0, ""),
        ]];
        Ok(turn.shown(post))
    }

    /// `/list`.
    pub(super) async fn list(&self, turn: &Turn<'_>) -> Said {
        let readers = self.store().readers();
        let folders = readers.folders(turn.reader.id).await.map_err(away)?;
        let follows = readers.follows(turn.reader.id).await.map_err(away)?;
        let (_, plan) = self.plan(&turn.reader.plan);
        let mut page = Page::default();
        for folder in &folders {
            if !page.is_empty() {
                page.say("\n\n");
            }
            let mark = if folder.id == turn.reader.folder { "📂" } else { "📁" };
            page.say(mark)
                .say(" ")
                .bold(&folder.name)
                .say(&format!(" ({}/{})", folder.sources, plan.sources));
            for follow in follows.iter().filter(|follow| follow.folder == folder.id) {
                page.say("\n• ").say(&follow.source);
                if let Some(health) = self.health(turn, &follow.source).await {
                    page.say(" ").say(&health);
                }
            }
        }
        let mut post = page.post();
        post.choices = vec![vec![
            button(turn.talk.say(Say::ButtonAdd), "ad", 0, ""),
            button(turn.talk.say(Say::ButtonFolders), "fl", 0, ""),
            button(turn.talk.say(Say::ButtonMenu), "m", 0, ""),
        ]];
        Ok(turn.shown(post))
    }

    /// How a source is, where there is something to say.
    async fn health(&self, turn: &Turn<'_>, source: &str) -> Option<String> {
        let health = (self.0.parts.doctor)(Source::read(source).ok()?).await?;
        Some(match health {
            Health::Ok => turn.talk.say(Say::HealthOk),
            Health::Quiet { .. } => turn.talk.say(Say::HealthQuiet),
            Health::Failing { since: 0, .. } => return None,
            Health::Failing { since, .. } => {
                let since = super::days::clock(since, &turn.reader.zone);
                turn.talk.with(Say::HealthFailing, &[("since", &since)])
            }
            Health::NoPreview => turn.talk.say(Say::HealthNoPreview),
            Health::Gone => turn.talk.say(Say::HealthOff),
        })
    }

    /// `/folder ...`.
    pub(super) async fn folder(&self, turn: &Turn<'_>, rest: &str) -> Said {
        let (verb, name) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let name = name.trim();
        if verb.is_empty() {
            return self.which_folder(turn).await;
        }
        if let Err(reply) = turn.may_change() {
            return Ok(reply);
        }
        let folders = self.store().readers().folders(turn.reader.id).await.map_err(away)?;
        let found =
            |name: &str| folders.iter().find(|folder| folder.name.to_lowercase() == name.to_lowercase());
        match verb.to_lowercase().as_str() {
            "new" => self.new_folder(turn, name).await,
            "rename" => self.rename(turn, turn.reader.folder, name).await,
            "use" => match found(name) {
                Some(folder) => self.use_folder(turn, folder).await,
                None => self.which_folder(turn).await,
            },
            "delete" => match found(name) {
                Some(folder) => self.delete_folder(turn, folder).await,
                None => self.which_folder(turn).await,
            },
            _ => Ok(turn.text(Say::FolderHow)),
        }
    }

    async fn which_folder(&self, turn: &Turn<'_>) -> Said {
        let folders = self.store().readers().folders(turn.reader.id).await.map_err(away)?;
        let mut post = Post::text(turn.talk.say(Say::FoldersAre));
        for folder in &folders {
            let mark = if folder.id == turn.reader.folder { "📂" } else { "📁" };
            let mut row =
                vec![button(format!("{mark} {} ({})", folder.name, folder.sources), "fu", folder.id, "")];
            row.push(button("✏️", "fr", folder.id, ""));
            if folders.len() > 1 {
                row.push(button("🗑", "fd", folder.id, ""));
            }
            post.choices.push(row);
        }
        let b = |say, action: &str| button(turn.talk.say(say), action, 0, "");
        post.choices.push(vec![b(Say::ButtonNewFolder, "fn"), b(Say::ButtonMenu, "m")]);
        Ok(turn.shown(post))
    }

    /// A name that a folder may have; where not, what is said.
    fn name<'a>(turn: &Turn<'_>, name: &'a str) -> Result<&'a str, MessageReply> {
        let length = name.chars().count();
        if NAME.contains(&length) && !name.chars().any(char::is_control) {
            Ok(name)
        } else {
            Err(turn.text(Say::FolderNameRule))
        }
    }

    pub(super) async fn new_folder(&self, turn: &Turn<'_>, name: &str) -> Said {
        if name.is_empty() {
            return self.ask_for(turn, Awaited::NewFolder, Say::FolderNameWhich).await;
        }
        let name = match Self::name(turn, name) {
            Ok(name) => name,
            Err(reply) => return Ok(reply),
        };
        let (_, plan) = self.plan(&turn.reader.plan);
        let made =
            self.store().readers().add_folder(turn.reader.id, name, plan.folders.into(), turn.now).await;
        Ok(match made.map_err(away)? {
            NewFolder::Made(_) => turn.with(Say::FolderMade, &[("name", name)]),
            NewFolder::Taken => turn.with(Say::FolderTaken, &[("name", name)]),
            NewFolder::Full => MessageReply::text(turn.talk.count(Say::FoldersFull, plan.folders.into())),
            NewFolder::Unknown => turn.text(Say::Gone),
        })
    }

    pub(super) async fn rename(&self, turn: &Turn<'_>, folder: i64, name: &str) -> Said {
        if name.is_empty() {
            let data = folder.to_string();
            return self.ask_with(turn, Awaited::Rename, &data, Say::FolderNameWhich).await;
        }
        let name = match Self::name(turn, name) {
            Ok(name) => name,
            Err(reply) => return Ok(reply),
        };
        let done = self.store().readers().rename_folder(turn.reader.id, folder, name).await.map_err(away)?;
        Ok(match done {
            NewFolder::Made(_) => turn.with(Say::FolderRenamed, &[("name", name)]),
            NewFolder::Taken => turn.with(Say::FolderTaken, &[("name", name)]),
            NewFolder::Full | NewFolder::Unknown => turn.text(Say::Gone),
        })
    }

    async fn use_folder(&self, turn: &Turn<'_>, folder: &FolderRow) -> Said {
        if !self.store().readers().use_folder(turn.reader.id, folder.id).await.map_err(away)? {
            return self.out_of_date(turn).await;
        }
        let mut post = Post::text(turn.talk.with(Say::FolderUsed, &[("name", &folder.name)]));
        post.choices = vec![vec![
            button(turn.talk.say(Say::ButtonNews), "n", folder.id, ""),
            button(turn.talk.say(Say::ButtonMenu), "m", 0, ""),
        ]];
        Ok(turn.shown(post))
    }

    async fn delete_folder(&self, turn: &Turn<'_>, folder: &FolderRow) -> Said {
        let gone = self.store().readers().delete_folder(turn.reader.id, folder.id, turn.now).await;
        Ok(if gone.map_err(away)? {
            turn.shown(Post::text(turn.talk.with(Say::FolderDeleted, &[("name", &folder.name)])))
        } else {
            turn.text(Say::FolderLast)
        })
    }

    /// A button of folders and sources; none: it is out of date.
    pub(super) async fn pressed_folder(
        &self,
        turn: &Turn<'_>,
        pressed: &Pressed<'_>,
    ) -> Result<Option<MessageReply>, portcullis_domain::Failure> {
        let readers = self.store().readers();
        let folders = readers.folders(turn.reader.id).await.map_err(away)?;
        let folder = folders.iter().find(|folder| folder.id == pressed.row);
        Ok(Some(match (pressed.action, folder) {
            ("ad", _) => self.add(turn, "", false).await?,
            ("ay" | "af", _) => match self.confirmed(turn).await? {
                Some(sources) => self.add(turn, &sources, pressed.action == "af").await?,
                None => return Ok(None),
            },
            ("rm", _) => self.remove(turn, "").await?,
            ("rx", Some(folder)) => {
                let sources = readers.sources(folder.id).await.map_err(away)?;
                let Some(source) = sources.iter().find(|source| mark(source) == pressed.argument) else {
                    return Ok(None);
                };
                self.take_out(turn, folder.id, Some(std::slice::from_ref(source))).await?
            }
            ("ray", Some(folder)) => self.take_out(turn, folder.id, None).await?,
            ("un", _) => {
                let (_, plan) = self.plan(&turn.reader.plan);
                let undone = readers.undo(turn.reader.id, pressed.row, plan.sources.into(), turn.now).await;
                let Some(undone) = undone.map_err(away)? else {
                    return Ok(Some(turn.shown(Post::text(turn.talk.say(Say::UndoLate)))));
                };
                turn.shown(Post::text(turn.talk.count(Say::Undone, undone.sources)))
            }
            ("fl", _) => self.which_folder(turn).await?,
            ("fn", _) => match turn.may_change() {
                Ok(()) => self.new_folder(turn, "").await?,
                Err(reply) => reply,
            },
            ("fu", Some(folder)) => self.use_folder(turn, folder).await?,
            ("fr", Some(folder)) => match turn.may_change() {
                Ok(()) => self.rename(turn, folder.id, "").await?,
                Err(reply) => reply,
            },
            ("fd", Some(folder)) => {
                let count = turn.talk.count(Say::CountSources, folder.sources);
                let values = [("name", folder.name.as_str()), ("sources", &count)];
                let mut post = Post::text(turn.talk.with(Say::FolderDeleteSure, &values));
                post.choices = vec![vec![
                    button(turn.talk.say(Say::ButtonYesRemove), "fdy", folder.id, ""),
                    button(turn.talk.say(Say::ButtonNo), "fl", 0, ""),
                ]];
                turn.shown(post)
            }
            ("fdy", Some(folder)) => self.delete_folder(turn, folder).await?,
            _ => return Ok(None),
        }))
    }
}

/// What is wrong with a source.
const fn wrong(error: &SourceError) -> Say {
    match error {
        SourceError::Unknown => Say::SourceUnknown,
        SourceError::OnePost => Say::SourceOnePost,
        SourceError::Extra => Say::SourceExtra,
        SourceError::Name => Say::SourceName,
    }
}

/// The sources whose spelling is nearest to a text.
fn nearest<'a>(text: &str, all: &'a [String]) -> Vec<&'a str> {
    let pairs = |text: &str| {
        let letters: Vec<char> = text.to_lowercase().chars().collect();
        letters.windows(2).map(|pair| (pair[0], pair[1])).collect::<std::collections::HashSet<_>>()
    };
    let wanted = pairs(text);
    let mut near: Vec<(usize, &str)> =
        all.iter().map(|source| (pairs(source).intersection(&wanted).count(), source.as_str())).collect();
    near.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    near.into_iter().filter(|(common, _)| *common > 1).take(NEAREST).map(|(_, source)| source).collect()
}
