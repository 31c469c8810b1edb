//! Folders and what is followed in them. Invariants: names are unique for a person whatever their case; the last folder
//! stays; what is taken out can be put back for a while.

use super::{Readers, change, count, folded, lock, row, rows};
use crate::{db::on, error::Result};

/// A folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderRow {
    /// Its number.
    pub id: i64,
    /// Its name, as it was written.
    pub name: String,
    /// Its filters, in the app's own form; empty: none.
    pub filters: String,
    /// How many sources are in it.
    pub sources: u64,
}

/// What became of a folder that was to be made or renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewFolder {
    /// It is there, with that number.
    Made(i64),
    /// There is one of that name.
    Taken,
    /// There are as many as there may be.
    Full,
    /// There is no such folder, or no such person.
    Unknown,
}

/// What became of a source that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is followed now.
    New,
    /// It was followed already.
    Known,
    /// The folder holds as many as it may.
    Full,
    /// Its owner asked that it is not shown.
    Blocked,
}

/// Something that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// In which folder.
    pub folder: i64,
    /// What, in its one spelling.
    pub source: String,
    /// Since when, Unix milliseconds.
    pub added_at: i64,
}

/// What was taken out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Under which number it can be put back.
    pub undo: i64,
    /// What it was.
    pub sources: Vec<String>,
}

/// What was put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undone {
    /// Into which folder.
    pub folder: i64,
    /// How many; fewer than were taken out where there is no room for all.
    pub sources: u64,
}

const FOLLOW: &str = "INSERT INTO news_follows (folder, source, added_at) SELECT $1, $2, $3 \
                      WHERE (SELECT COUNT(*) FROM news_follows WHERE folder = $1) < $4 \
                      AND NOT EXISTS (SELECT 1 FROM news_blocked WHERE source = $2) \
                      AND EXISTS (SELECT 1 FROM news_folders WHERE id = $1 AND person = $5) \
                      ON CONFLICT (folder, source) DO NOTHING";

/// The sealed field, see [`crate::Seal`].
pub(crate) const FILTERS: &str = "news_folders.filters";

impl Readers<'_> {
    /// Somebody's folders, the oldest first.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn folders(&self, person: i64) -> Result<Vec<FolderRow>> {
        let sql = "SELECT id, name, filters, (SELECT COUNT(*) FROM news_follows WHERE folder = news_folders.id) \
                   FROM news_folders WHERE person = $1 ORDER BY id";
        let found: Vec<(i64, String, String, i64)> = rows!(self.0, sql, person)?;
        let read = |(id, name, filters, sources)| {
            let filters = self.0.seal.open(FILTERS, filters)?;
            Ok(FolderRow { id, name, filters, sources: count(sources) })
        };
        found.into_iter().map(read).collect()
    }

    /// What somebody follows, by folder and the order of adding.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn follows(&self, person: i64) -> Result<Vec<Follow>> {
        let sql = "SELECT folder, source, added_at FROM news_follows JOIN news_folders ON id = folder \
                   WHERE person = $1 ORDER BY folder, added_at, source";
        let found: Vec<(i64, String, i64)> = rows!(self.0, sql, person)?;
        Ok(found.into_iter().map(|(folder, source, added_at)| Follow { folder, source, added_at }).collect())
    }

    /// What is followed in a folder, in the order of adding, but for what its owner asked not to be shown.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn sources(&self, folder: i64) -> Result<Vec<String>> {
        let sql = "SELECT source FROM news_follows WHERE folder = $1 AND NOT EXISTS \
                   (SELECT 1 FROM news_blocked WHERE news_blocked.source = news_follows.source) \
                   ORDER BY added_at, source";
        let found: Vec<(String,)> = rows!(self.0, sql, folder)?;
        Ok(found.into_iter().map(|(source,)| source).collect())
    }

    /// Makes a folder and the active one, unless somebody has `most` already.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn add_folder(&self, person: i64, name: &str, most: u64, now: i64) -> Result<NewFolder> {
        const MAKE: &str = "INSERT INTO news_folders (person, name, folded, created_at) SELECT $1, $2, $3, $4 \
                            WHERE (SELECT COUNT(*) FROM news_folders WHERE person = $1) < $5 \
                            ON CONFLICT (person, folded) DO NOTHING RETURNING id";
        const TAKEN: &str = "SELECT id FROM news_folders WHERE person = $1 AND folded = $2";
        const USE: &str = "UPDATE news_people SET folder = $2 WHERE id = $1";
        let (db, most) = (self.0, i64::try_from(most).unwrap_or(i64::MAX));
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                if !lock!(tx, person, now) {
                    return Ok(NewFolder::Unknown);
                }
                let made: Option<(i64,)> = sqlx::query_as(MAKE).bind(person).bind(name).bind(folded(name))
                    .bind(now).bind(most).fetch_optional(&mut *tx).await?;
                let Some((id,)) = made else {
                    let taken: Option<(i64,)> =
                        sqlx::query_as(TAKEN).bind(person).bind(folded(name)).fetch_optional(&mut *tx).await?;
                    return Ok(if taken.is_some() { NewFolder::Taken } else { NewFolder::Full });
                };
                sqlx::query(USE).bind(person).bind(id).execute(&mut *tx).await?;
                tx.commit().await.map(|()| NewFolder::Made(id))
            })
        })
        .await
    }

    /// Gives a folder another name.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn rename_folder(&self, person: i64, folder: i64, name: &str) -> Result<NewFolder> {
        let sql = "UPDATE news_folders SET name = $3, folded = $4 WHERE id = $1 AND person = $2";
        match change!(self.0, sql, folder, person, name, folded(name)) {
            Ok(1) => Ok(NewFolder::Made(folder)),
            Ok(_) => Ok(NewFolder::Unknown),
            Err(crate::StoreError::Exists) => Ok(NewFolder::Taken),
            Err(error) => Err(error),
        }
    }

    /// Makes a folder the active one; says whether it is theirs.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn use_folder(&self, person: i64, folder: i64) -> Result<bool> {
        let sql = "UPDATE news_people SET folder = $2 WHERE id = $1 \
                   AND EXISTS (SELECT 1 FROM news_folders WHERE id = $2 AND person = $1)";
        Ok(change!(self.0, sql, person, folder)? == 1)
    }

    /// Deletes a folder unless it is the last; the oldest is active then where that one was. Says whether it is gone.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn delete_folder(&self, person: i64, folder: i64, now: i64) -> Result<bool> {
        const DELETE: &str = "DELETE FROM news_folders WHERE id = $2 AND person = $1 \
                              AND (SELECT COUNT(*) FROM news_folders WHERE person = $1) > 1";
        const ACTIVE: &str = "UPDATE news_people SET folder = (SELECT MIN(id) FROM news_folders WHERE person = $1) \
                              WHERE id = $1 AND folder = $2";
        let db = self.0;
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                if !lock!(tx, person, now) {
                    return Ok(false);
                }
                let done = sqlx::query(DELETE).bind(person).bind(folder).execute(&mut *tx).await?;
                if done.rows_affected() != 1 {
                    return Ok(false);
                }
                sqlx::query(ACTIVE).bind(person).bind(folder).execute(&mut *tx).await?;
                tx.commit().await.map(|()| true)
            })
        })
        .await
    }

    /// Keeps a folder's filters; says whether it is theirs.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn set_filters(&self, person: i64, folder: i64, filters: &str) -> Result<bool> {
        let sql = "UPDATE news_folders SET filters = $3 WHERE id = $2 AND person = $1";
        let filters = self.0.seal.seal(FILTERS, filters);
        Ok(change!(self.0, sql, person, folder, &filters)? == 1)
    }

    /// Follows sources, as many as `most` in that folder; one answer for each, in their order.
    ///
    /// # Errors
    /// A database that is away: none was added.
    pub async fn follow(
        &self,
        person: i64,
        folder: i64,
        sources: &[String],
        most: u64,
        now: i64,
    ) -> Result<Vec<Added>> {
        const WHY: &str = "SELECT (SELECT COUNT(*) FROM news_follows WHERE folder = $1 AND source = $2), \
                           (SELECT COUNT(*) FROM news_blocked WHERE source = $2)";
        let (db, most) = (self.0, i64::try_from(most).unwrap_or(i64::MAX));
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let mut out = Vec::with_capacity(sources.len());
                let _known = lock!(tx, person, now);
                for source in sources {
                    let done = sqlx::query(FOLLOW).bind(folder).bind(source).bind(now).bind(most).bind(person)
                        .execute(&mut *tx).await?;
                    out.push(if done.rows_affected() == 1 {
                        Added::New
                    } else {
                        let (known, blocked): (i64, i64) =
                            sqlx::query_as(WHY).bind(folder).bind(source).fetch_one(&mut *tx).await?;
                        match (known, blocked) {
                            (0, 0) => Added::Full,
                            (0, _) => Added::Blocked,
                            (_, _) => Added::Known,
                        }
                    });
                }
                tx.commit().await.map(|()| out)
            })
        })
        .await
    }

    /// Takes sources out of a folder, all of them where none is named; they can be put back until `undo_until`.
    ///
    /// # Errors
    /// A database that is away: none was taken out.
    pub async fn unfollow(
        &self,
        person: i64,
        folder: i64,
        sources: Option<&[String]>,
        now: i64,
        undo_until: i64,
    ) -> Result<Removed> {
        const ONE: &str = "DELETE FROM news_follows WHERE folder = $1 AND source = $3 \
                           AND EXISTS (SELECT 1 FROM news_folders WHERE id = $1 AND person = $2) RETURNING source";
        const ALL: &str = "DELETE FROM news_follows WHERE folder = $1 \
                           AND EXISTS (SELECT 1 FROM news_folders WHERE id = $1 AND person = $2) RETURNING source";
        const OLD: &str = "DELETE FROM news_undo WHERE expires_at < $1";
        const UNDO: &str = "INSERT INTO news_undo (person, folder, sources, expires_at) VALUES ($1, $2, $3, $4) \
                            RETURNING id";
        let db = self.0;
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let _known = lock!(tx, person, now);
                let mut out: Vec<(String,)> = Vec::new();
                match sources {
                    None => out = sqlx::query_as(ALL).bind(folder).bind(person).fetch_all(&mut *tx).await?,
                    Some(sources) => for source in sources {
                        out.extend(sqlx::query_as::<_, (String,)>(ONE).bind(folder).bind(person).bind(source)
                            .fetch_optional(&mut *tx).await?);
                    },
                }
                if out.is_empty() {
                    return Ok(Removed::default());
                }
                let sources: Vec<String> = out.into_iter().map(|(source,)| source).collect();
                sqlx::query(OLD).bind(now).execute(&mut *tx).await?;
                let (undo,): (i64,) = sqlx::query_as(UNDO).bind(person).bind(folder).bind(sources.join("\n"))
                    .bind(undo_until).fetch_one(&mut *tx).await?;
                tx.commit().await.map(|()| Removed { undo, sources })
            })
        })
        .await
    }

    /// Puts back what was taken out, while it can be.
    ///
    /// # Errors
    /// A database that is away: nothing was put back.
    pub async fn undo(&self, person: i64, undo: i64, most: u64, now: i64) -> Result<Option<Undone>> {
        const TAKE: &str = "DELETE FROM news_undo WHERE id = $1 AND person = $2 AND expires_at > $3 \
                            RETURNING folder, sources";
        let (db, most) = (self.0, i64::try_from(most).unwrap_or(i64::MAX));
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let _known = lock!(tx, person, now);
                let found: Option<(i64, String)> =
                    sqlx::query_as(TAKE).bind(undo).bind(person).bind(now).fetch_optional(&mut *tx).await?;
                let Some((folder, sources)) = found else { return Ok(None) };
                let mut back = 0;
                for source in sources.split('\n') {
                    back += sqlx::query(FOLLOW).bind(folder).bind(source).bind(now).bind(most).bind(person)
                        .execute(&mut *tx).await?.rows_affected();
                }
                tx.commit().await.map(|()| Some(Undone { folder, sources: back }))
            })
        })
        .await
    }

    /// Puts a source under its owner's wish not to be shown, or takes it out; says whether that changed anything.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn block(&self, source: &str, reason: Option<&str>, now: i64) -> Result<bool> {
        let done = match reason {
            Some(reason) => {
                let sql = "INSERT INTO news_blocked (source, reason, at) VALUES ($1, $2, $3) \
                           ON CONFLICT (source) DO NOTHING";
                change!(self.0, sql, source, reason, now)
            }
            None => change!(self.0, "DELETE FROM news_blocked WHERE source = $1", source),
        };
        Ok(done? == 1)
    }

    /// How many follow a source.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn followers(&self, source: &str) -> Result<u64> {
        let sql = "SELECT COUNT(*) FROM news_follows WHERE source = $1";
        let found: Option<(i64,)> = row!(self.0, sql, source)?;
        Ok(found.map_or(0, |(n,)| count(n)))
    }
}
