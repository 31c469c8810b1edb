//! `/import` and `/export`: what somebody follows, from and to other readers of feeds. Source: news.md section 3.

use super::{People, Said, Turn, away, dialogs::Awaited, opml, words::Say};
use bytes::Bytes;
use portcullis_domain::{Action, File, MessageReply, Post};
use portcullis_store::{Added, NewFolder};
use std::collections::BTreeMap;

impl People {
    /// `/import` without a document asks for one.
    pub(super) async fn import(&self, turn: &Turn<'_>) -> Said {
        if let Err(reply) = turn.may_change() {
            return Ok(reply);
        }
        match &turn.message.file {
            Some(file) => self.take_in(turn, file).await,
            None => self.ask_for(turn, Awaited::Document, Say::ImportHow).await,
        }
    }

    /// Takes a document in.
    pub(super) async fn take_in(&self, turn: &Turn<'_>, file: &File) -> Said {
        let most = self.config().max_opml_bytes;
        if file.bytes.len() > most {
            return Ok(MessageReply::text(turn.talk.count(Say::ImportLarge, (most / 1024) as u64)));
        }
        let Some(outlines) = opml::read(&file.bytes) else { return Ok(turn.text(Say::ImportUnreadable)) };
        turn.request.quotas.spend(&turn.request.caller, Action::AddSource).await?;
        let (_, plan) = self.plan(&turn.reader.plan);
        let readers = self.store().readers();
        let mut by_folder: BTreeMap<Option<String>, Vec<String>> = BTreeMap::new();
        for (folder, source) in outlines.sources {
            by_folder.entry(folder).or_default().push(source.to_string());
        }
        let (mut taken, mut known, mut refused) = (0_u64, 0_u64, outlines.refused as u64);
        for (name, sources) in by_folder {
            let folder = match name {
                None => turn.reader.folder,
                Some(name) => {
                    let made = readers.add_folder(turn.reader.id, &name, plan.folders.into(), turn.now).await;
                    match made.map_err(away)? {
                        NewFolder::Made(id) => id,
                        NewFolder::Taken => {
                            let folders = readers.folders(turn.reader.id).await.map_err(away)?;
                            let lower = name.to_lowercase();
                            let found = folders.iter().find(|folder| folder.name.to_lowercase() == lower);
                            found.map_or(turn.reader.folder, |folder| folder.id)
                        }
                        // Where there is no room for another folder, the sources are not lost.
                        NewFolder::Full | NewFolder::Unknown => turn.reader.folder,
                    }
                }
            };
            let most = u64::from(plan.sources);
            let added =
                readers.follow(turn.reader.id, folder, &sources, most, turn.now).await.map_err(away)?;
            for added in added {
                match added {
                    Added::New => taken += 1,
                    Added::Known => known += 1,
                    Added::Full | Added::Blocked => refused += 1,
                }
            }
        }
        readers.use_folder(turn.reader.id, turn.reader.folder).await.map_err(away)?;
        let n = |n: u64| n.to_string();
        let values = [("taken", n(taken)), ("known", n(known)), ("refused", n(refused))];
        let values: Vec<(&str, &str)> = values.iter().map(|(key, value)| (*key, value.as_str())).collect();
        Ok(turn.with(Say::Imported, &values))
    }

    /// `/export`.
    pub(super) async fn export(&self, turn: &Turn<'_>) -> Said {
        let readers = self.store().readers();
        let folders = readers.folders(turn.reader.id).await.map_err(away)?;
        let follows = readers.follows(turn.reader.id).await.map_err(away)?;
        let of = |id: i64| {
            let own = follows.iter().filter(move |follow| follow.folder == id);
            own.map(|follow| follow.source.as_str()).collect::<Vec<_>>()
        };
        let written = opml::write(folders.iter().map(|folder| (folder.name.as_str(), of(folder.id))));
        let mut post = Post::text(turn.talk.say(Say::Exported));
        post.file = Some(File { name: "news.opml".into(), bytes: Bytes::from(written) });
        Ok(MessageReply::post(post))
    }
}
