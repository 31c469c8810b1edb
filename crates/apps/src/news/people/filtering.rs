//! `/filter`: which posts of a folder are let through, and which are looked for. Source: news.md section 10.

use super::{
    People, Said, Turn, away,
    dialogs::Awaited,
    filters::{Decision, FilterError, Filters},
    words::Say,
    write::button,
};
use portcullis_domain::{MessageReply, Post};
use portcullis_store::FolderRow;

impl People {
    /// `/filter [folder] terms`, `/filter test TEXT`, `/filter clear`.
    pub(super) async fn filter(&self, turn: &Turn<'_>, rest: &str) -> Said {
        let folders = self.store().readers().folders(turn.reader.id).await.map_err(away)?;
        let lower = rest.to_lowercase();
        // A folder may be named first, by its whole name.
        let named = folders.iter().filter(|folder| {
            let name = folder.name.to_lowercase();
            lower.strip_prefix(&name).is_some_and(|after| after.is_empty() || after.starts_with(' '))
        });
        let named = named.max_by_key(|folder| folder.name.chars().count());
        let active = folders.iter().find(|folder| folder.id == turn.reader.folder).or(folders.first());
        let (Some(folder), rest) = (match named {
            Some(folder) => {
                let skipped: String = rest.chars().skip(folder.name.chars().count()).collect();
                (Some(folder), skipped.trim().to_owned())
            }
            None => (active, rest.trim().to_owned()),
        }) else {
            return Ok(turn.text(Say::Gone));
        };
        if rest.is_empty() {
            return Ok(self.filters_are(turn, folder));
        }
        if let Some(post) = rest.strip_prefix("test ") {
            return Ok(tested(turn, folder, post));
        }
        if let Err(reply) = turn.may_change() {
            return Ok(reply);
        }
        self.set_filters(turn, folder, &rest).await
    }

    fn filters_are(&self, turn: &Turn<'_>, folder: &FolderRow) -> MessageReply {
        let shown = if folder.filters.is_empty() { "—" } else { &folder.filters };
        let values = [("folder", folder.name.as_str()), ("filters", shown)];
        let mut post = Post::text(turn.talk.with(Say::FiltersAre, &values));
        let b = |say, action: &str| button(turn.talk.say(say), action, folder.id, "");
        post.choices =
            vec![vec![b(Say::ButtonChange, "fe"), b(Say::ButtonClear, "fc"), b(Say::ButtonMenu, "m")]];
        turn.shown(post)
    }

    async fn set_filters(&self, turn: &Turn<'_>, folder: &FolderRow, written: &str) -> Said {
        let read = if written.eq_ignore_ascii_case("clear") {
            Ok(Filters::default())
        } else {
            Filters::read(written)
        };
        let filters = match read {
            Ok(filters) => filters,
            Err(error) => return Ok(MessageReply::text(told(turn, &error))),
        };
        let kept = filters.to_string();
        self.store().readers().set_filters(turn.reader.id, folder.id, &kept).await.map_err(away)?;
        let say = if filters.is_empty() { Say::FiltersCleared } else { Say::FiltersSet };
        Ok(turn.shown(Post::text(turn.talk.with(say, &[("folder", &folder.name), ("filters", &kept)]))))
    }

    /// A button of filters; none: it is out of date.
    pub(super) async fn pressed_filter(
        &self,
        turn: &Turn<'_>,
        (action, row): (&str, i64),
    ) -> Result<Option<MessageReply>, portcullis_domain::Failure> {
        if action == "fi" {
            return self.filter(turn, "").await.map(Some);
        }
        if let Err(reply) = turn.may_change() {
            return Ok(Some(reply));
        }
        let folders = self.store().readers().folders(turn.reader.id).await.map_err(away)?;
        let Some(folder) = folders.iter().find(|folder| folder.id == row) else { return Ok(None) };
        Ok(Some(match action {
            "fe" => self.ask_with(turn, Awaited::Filters, &row.to_string(), Say::FiltersHow).await?,
            "fc" => self.set_filters(turn, folder, "clear").await?,
            _ => return Ok(None),
        }))
    }

    /// The filters that were asked for.
    pub(super) async fn filters_named(&self, turn: &Turn<'_>, folder: &str, written: &str) -> Said {
        let folders = self.store().readers().folders(turn.reader.id).await.map_err(away)?;
        match folders.iter().find(|known| known.id.to_string() == folder) {
            Some(folder) => self.set_filters(turn, folder, written).await,
            None => Ok(turn.text(Say::Gone)),
        }
    }
}

/// Which term decides on a text.
fn tested(turn: &Turn<'_>, folder: &FolderRow, post: &str) -> MessageReply {
    let filters = Filters::read(&folder.filters).unwrap_or_default();
    let mut text = match filters.decide(post) {
        Decision::Passes(None) => turn.talk.say(Say::TestPasses),
        Decision::Passes(Some(term)) => turn.talk.with(Say::TestPassesBy, &[("term", &term)]),
        Decision::Excluded(term) => turn.talk.with(Say::TestExcluded, &[("term", &term)]),
        Decision::NotIncluded => turn.talk.say(Say::TestNotIncluded),
        Decision::Language(code) => turn.talk.with(Say::TestLanguage, &[("code", &code)]),
    };
    let hits = filters.hits(post);
    if hits > 0 {
        text.push('\n');
        text.push_str(&turn.talk.count(Say::TestWatched, hits as u64));
    }
    MessageReply::text(text)
}

fn told(turn: &Turn<'_>, error: &FilterError) -> String {
    let with = |say, term: &str| turn.talk.with(say, &[("term", term)]);
    let what = match error {
        FilterError::Form(term) => with(Say::FilterForm, term),
        FilterError::Long(term) => with(Say::FilterLong, term),
        FilterError::Expression(term) => with(Say::FilterExpression, term),
        FilterError::Language(code) => with(Say::FilterLanguage, code),
        FilterError::Many => turn.talk.say(Say::FilterMany),
    };
    format!("{what}\n\n{}", turn.talk.say(Say::FiltersHow))
}
