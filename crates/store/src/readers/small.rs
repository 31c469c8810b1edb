//! Dialogs that go on over several messages, what owners of channels ask for, how much is asked.

use super::{Readers, change, count, returning, row, rows};
use crate::{db::on, error::Result};

/// Where a dialog stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialogRow {
    /// What is awaited, in the app's own words.
    pub state: String,
    /// What is known so far.
    pub data: String,
}

/// What the owner of a channel asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerRequest {
    /// Its number.
    pub id: i64,
    /// Who asks.
    pub caller: String,
    /// What for, in the app's own words.
    pub kind: String,
    /// Which source.
    pub source: String,
    /// What it is about.
    pub topic: String,
    /// In their own words.
    pub about: String,
    /// `open`, `accepted` or `declined`.
    pub state: String,
}

/// How much was asked in a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Everybody who is known.
    pub people: u64,
    /// Those who wrote or pressed something.
    pub active: u64,
    /// Folders there are.
    pub folders: u64,
    /// Sources that somebody follows.
    pub sources: u64,
    /// Schedules that are not paused.
    pub schedules: u64,
    /// What was asked, by kind.
    pub asked: Vec<(String, u64)>,
}

/// The sealed fields, see [`crate::Seal`].
pub(crate) const DIALOG: &str = "news_dialogs.data";
pub(crate) const ABOUT: &str = "news_requests.about";

impl Readers<'_> {
    /// What is awaited of somebody in a conversation.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn dialog(&self, conversation: &str, caller: &str, now: i64) -> Result<Option<DialogRow>> {
        let sql = "SELECT state, data FROM news_dialogs WHERE conversation = $1 AND caller = $2 AND expires_at > $3";
        let found: Option<(String, String)> = row!(self.0, sql, conversation, caller, now)?;
        let opened =
            found.map(|(state, data)| Ok(DialogRow { state, data: self.0.seal.open(DIALOG, data)? }));
        opened.transpose()
    }

    /// Awaits something of somebody in a conversation, instead of what was awaited.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn await_next(
        &self,
        conversation: &str,
        caller: &str,
        dialog: &DialogRow,
        expires_at: i64,
    ) -> Result<()> {
        let sql = "INSERT INTO news_dialogs (conversation, caller, state, data, expires_at) \
                   VALUES ($1, $2, $3, $4, $5) ON CONFLICT (conversation, caller) DO UPDATE SET \
                   state = excluded.state, data = excluded.data, expires_at = excluded.expires_at";
        let data = self.0.seal.seal(DIALOG, &dialog.data);
        change!(self.0, sql, conversation, caller, &dialog.state, &data, expires_at).map(drop)
    }

    /// Ends what was awaited; says whether anything was.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn end_dialog(&self, conversation: &str, caller: &str) -> Result<bool> {
        let sql = "DELETE FROM news_dialogs WHERE conversation = $1 AND caller = $2";
        Ok(change!(self.0, sql, conversation, caller)? == 1)
    }

    /// Keeps what an owner asks for; its number.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn ask_as_owner(&self, it: &OwnerRequest, now: i64) -> Result<i64> {
        let sql = "INSERT INTO news_requests (caller, kind, source, topic, about, at) VALUES ($1, $2, $3, $4, $5, $6) \
                   RETURNING id";
        let about = self.0.seal.seal(ABOUT, &it.about);
        let made: Vec<(i64,)> =
            returning!(self.0, sql, &it.caller, &it.kind, &it.source, &it.topic, &about, now)?;
        Ok(made.first().map_or(0, |(id,)| *id))
    }

    /// Decides on what an owner asked for; the request, if it was open.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn decide(&self, id: i64, accepted: bool) -> Result<Option<OwnerRequest>> {
        let sql = "UPDATE news_requests SET state = $2 WHERE id = $1 AND state = 'open' \
                   RETURNING id, caller, kind, source, topic, about, state";
        let state = if accepted { "accepted" } else { "declined" };
        type Row = (i64, String, String, String, String, String, String);
        let found: Vec<Row> = returning!(self.0, sql, id, state)?;
        let read = |(id, caller, kind, source, topic, about, state): Row| {
            let about = self.0.seal.open(ABOUT, about)?;
            Ok(OwnerRequest { id, caller, kind, source, topic, about, state })
        };
        found.into_iter().next().map(read).transpose()
    }

    /// Notes that something of that kind was asked.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn note_use(&self, day: &str, kind: &str, n: u64) -> Result<()> {
        let sql = "INSERT INTO news_use (day, kind, count) VALUES ($1, $2, $3) \
                   ON CONFLICT (day, kind) DO UPDATE SET count = news_use.count + excluded.count";
        change!(self.0, sql, day, kind, i64::try_from(n).unwrap_or(i64::MAX)).map(drop)
    }

    /// How much was asked since that day, which began at `since`.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn traffic(&self, day: &str, since: i64) -> Result<Traffic> {
        let sql = "SELECT (SELECT COUNT(*) FROM news_people), (SELECT COUNT(*) FROM news_people WHERE seen_at >= $1), \
                   (SELECT COUNT(*) FROM news_folders), (SELECT COUNT(DISTINCT source) FROM news_follows), \
                   (SELECT COUNT(*) FROM news_schedules WHERE paused = '')";
        let found: Option<(i64, i64, i64, i64, i64)> = row!(self.0, sql, since)?;
        let by_kind = "SELECT kind, CAST(SUM(count) AS BIGINT) FROM news_use WHERE day >= $1 GROUP BY kind ORDER BY kind";
        let asked: Vec<(String, i64)> = rows!(self.0, by_kind, day)?;
        let (people, active, folders, sources, schedules) = found.unwrap_or_default();
        Ok(Traffic {
            people: count(people),
            active: count(active),
            folders: count(folders),
            sources: count(sources),
            schedules: count(schedules),
            asked: asked.into_iter().map(|(kind, n)| (kind, count(n))).collect(),
        })
    }
}
