//! People who read news: who they are, their folders and what they follow, what was promised and given to them. One
//! part a file: people here, then folders, the ledger, schedules, and small things.
//!
//! Invariants: every change is one transaction of guarded statements, and one that counts before it inserts first locks
//! the person's row; at least one folder each; what is charged is what was committed; a request is answered once.
//!
//! Source: news.md section 11.

mod folders;
mod gone;
mod ledger;
mod schedules;
mod small;

pub(crate) use folders::FILTERS;
pub use folders::{Added, FolderRow, Follow, NewFolder, Removed, Undone};
pub use ledger::{Deliver, Delivered, Fire, Reserve, Reserved};
pub use schedules::{FireRow, NewSchedule, ScheduleRow};
pub(crate) use small::{ABOUT, DIALOG};
pub use small::{DialogRow, OwnerRequest, Traffic};

use crate::{
    db::{Db, on},
    error::{Result, StoreError},
};

/// People who read news.
pub struct Readers<'a>(pub(crate) &'a Db);

/// One statement that changes rows; how many.
macro_rules! change {
    ($db:expr, $sql:expr $(, $bind:expr)* $(,)?) => {{
        let (db, sql) = ($db, $sql);
        db.call(async {
            on!(db, write pool => {
                sqlx::query(sql)$(.bind($bind))*.execute(pool).await.map(|done| done.rows_affected())
            })
        })
        .await
    }};
}
pub(crate) use change;

/// One statement that reads rows.
macro_rules! rows {
    ($db:expr, $sql:expr $(, $bind:expr)* $(,)?) => {{
        let (db, sql) = ($db, $sql);
        db.call(async { on!(db, read pool => sqlx::query_as(sql)$(.bind($bind))*.fetch_all(pool).await) }).await
    }};
}
pub(crate) use rows;

/// One statement that reads at most one row.
macro_rules! row {
    ($db:expr, $sql:expr $(, $bind:expr)* $(,)?) => {{
        let (db, sql) = ($db, $sql);
        db.call(async { on!(db, read pool => sqlx::query_as(sql)$(.bind($bind))*.fetch_optional(pool).await) }).await
    }};
}
pub(crate) use row;

/// One statement that changes rows and tells of them.
macro_rules! returning {
    ($db:expr, $sql:expr $(, $bind:expr)* $(,)?) => {{
        let (db, sql) = ($db, $sql);
        db.call(async { on!(db, write pool => sqlx::query_as(sql)$(.bind($bind))*.fetch_all(pool).await) }).await
    }};
}
pub(crate) use returning;

/// Locks the person's row for the rest of the transaction `$tx`: what is counted from here on stays so.
macro_rules! lock {
    ($tx:expr, $person:expr, $now:expr) => {
        sqlx::query("UPDATE news_people SET seen_at = $2 WHERE id = $1")
            .bind($person)
            .bind($now)
            .execute(&mut *$tx)
            .await?
            .rows_affected()
            == 1
    };
}
pub(crate) use lock;

/// Somebody who reads news: a person, or a group as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderRow {
    /// Its number.
    pub id: i64,
    /// Who, as the door vouches for it; of a group its conversation.
    pub caller: String,
    /// Where it is reached.
    pub conversation: String,
    /// Language of the interface, two letters; empty: as the door says.
    pub lang: String,
    /// Language of digests, two letters; empty: that of the posts.
    pub told_in: String,
    /// IANA zone; empty: UTC.
    pub zone: String,
    /// Its plan; empty: the one of everybody.
    pub plan: String,
    /// The active folder.
    pub folder: i64,
    /// How far back, in hours; 0: the default.
    pub window_hours: i64,
    /// Most stories; 0: the default.
    pub stories: i64,
    /// Whether it is not answered any more.
    pub banned: bool,
    /// Since when, Unix milliseconds.
    pub created_at: i64,
}

/// Something of a person that changes.
#[derive(Clone, Copy, Debug)]
pub enum Setting<'a> {
    /// Language of the interface.
    Lang(&'a str),
    /// Language of digests.
    ToldIn(&'a str),
    /// IANA zone.
    Zone(&'a str),
    /// Plan.
    Plan(&'a str),
    /// How far back, in hours.
    Window(i64),
    /// Most stories.
    Stories(i64),
    /// Whether it is not answered any more.
    Banned(bool),
}

type Row = (i64, String, String, String, String, String, String, i64, i64, i64, i64, i64);

macro_rules! columns {
    () => {
        "id, caller, conversation, lang, told_in, zone, plan, folder, window_hours, stories, banned, created_at"
    };
}
pub(crate) use columns;

fn read(row: Row) -> ReaderRow {
    let (
        id,
        caller,
        conversation,
        lang,
        told_in,
        zone,
        plan,
        folder,
        window_hours,
        stories,
        banned,
        created_at,
    ) = row;
    let banned = banned != 0;
    ReaderRow {
        id,
        caller,
        conversation,
        lang,
        told_in,
        zone,
        plan,
        folder,
        window_hours,
        stories,
        banned,
        created_at,
    }
}

/// A name as it is compared.
pub(crate) fn folded(name: &str) -> String {
    name.to_lowercase()
}

impl Readers<'_> {
    /// Somebody who writes, made with one folder of that name where unknown.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn enter(&self, caller: &str, conversation: &str, folder: &str, now: i64) -> Result<ReaderRow> {
        const ENTER: &str = "INSERT INTO news_people (caller, conversation, created_at, seen_at) \
                             VALUES ($1, $2, $3, $3) ON CONFLICT (caller) DO UPDATE SET \
                             conversation = excluded.conversation, seen_at = excluded.seen_at RETURNING id";
        const FIRST: &str = "INSERT INTO news_folders (person, name, folded, created_at) SELECT $1, $2, $3, $4 \
                             WHERE NOT EXISTS (SELECT 1 FROM news_folders WHERE person = $1)";
        const ACTIVE: &str = "UPDATE news_people SET folder = (SELECT MIN(id) FROM news_folders WHERE person = $1) \
                              WHERE id = $1 AND folder = 0";
        const READ: &str = concat!("SELECT ", columns!(), " FROM news_people WHERE id = $1");
        let db = self.0;
        let row: Row = db
            .call(async {
                on!(db, write pool => {
                    let mut tx = pool.begin().await?;
                    let (id,): (i64,) = sqlx::query_as(ENTER).bind(caller).bind(conversation).bind(now)
                        .fetch_one(&mut *tx).await?;
                    sqlx::query(FIRST).bind(id).bind(folder).bind(folded(folder)).bind(now)
                        .execute(&mut *tx).await?;
                    sqlx::query(ACTIVE).bind(id).execute(&mut *tx).await?;
                    let row: Row = sqlx::query_as(READ).bind(id).fetch_one(&mut *tx).await?;
                    tx.commit().await.map(|()| row)
                })
            })
            .await?;
        Ok(read(row))
    }

    /// Somebody who is known.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn find(&self, caller: &str) -> Result<Option<ReaderRow>> {
        const SQL: &str = concat!("SELECT ", columns!(), " FROM news_people WHERE caller = $1");
        let found: Option<Row> = row!(self.0, SQL, caller)?;
        Ok(found.map(read))
    }

    /// Somebody, by number.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn get(&self, id: i64) -> Result<Option<ReaderRow>> {
        const SQL: &str = concat!("SELECT ", columns!(), " FROM news_people WHERE id = $1");
        let found: Option<Row> = row!(self.0, SQL, id)?;
        Ok(found.map(read))
    }

    /// Changes something of a person; says whether there is one.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn set(&self, id: i64, what: Setting<'_>) -> Result<bool> {
        let db = self.0;
        let done = match what {
            Setting::Lang(to) => change!(db, "UPDATE news_people SET lang = $2 WHERE id = $1", id, to),
            Setting::ToldIn(to) => change!(db, "UPDATE news_people SET told_in = $2 WHERE id = $1", id, to),
            Setting::Zone(to) => change!(db, "UPDATE news_people SET zone = $2 WHERE id = $1", id, to),
            Setting::Plan(to) => change!(db, "UPDATE news_people SET plan = $2 WHERE id = $1", id, to),
            Setting::Window(to) => {
                change!(db, "UPDATE news_people SET window_hours = $2 WHERE id = $1", id, to)
            }
            Setting::Stories(to) => change!(db, "UPDATE news_people SET stories = $2 WHERE id = $1", id, to),
            Setting::Banned(to) => {
                change!(db, "UPDATE news_people SET banned = $2 WHERE id = $1", id, i64::from(to))
            }
        };
        Ok(done? == 1)
    }

    /// Everybody, after that number, at most `limit`: for messages to all.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn page(&self, after: i64, limit: u32) -> Result<Vec<ReaderRow>> {
        const SQL: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM news_people WHERE id > $1 AND banned = 0 ORDER BY id LIMIT $2"
        );
        let found: Vec<Row> = rows!(self.0, SQL, after, i64::from(limit))?;
        Ok(found.into_iter().map(read).collect())
    }

    /// Forgets somebody with everything that is theirs; says whether there was one.
    ///
    /// # Errors
    /// A database that is away: nothing was forgotten.
    pub async fn forget(&self, caller: &str) -> Result<bool> {
        const ALL: [&str; 3] = [
            "DELETE FROM news_dialogs WHERE caller = $1",
            "DELETE FROM news_requests WHERE caller = $1",
            "DELETE FROM news_people WHERE caller = $1",
        ];
        let db = self.0;
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let mut gone = 0;
                for sql in ALL {
                    gone = sqlx::query(sql).bind(caller).execute(&mut *tx).await?.rows_affected();
                }
                tx.commit().await.map(|()| gone == 1)
            })
        })
        .await
    }
}

/// A number that is a count.
fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
}

/// A row that says what this program never wrote.
const fn damaged() -> StoreError {
    StoreError::Damaged("news")
}
