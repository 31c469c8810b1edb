//! Sources that are not asked any more, and who followed them. Invariant: followers are told by one process, once; of a source that
//! came back they are told again when it goes again. Source: news.md section 4.

use super::{Readers, Row, change, columns, read, rows};
use crate::{db::on, error::Result};

impl Readers<'_> {
    /// Sources in that state whose followers were not told yet, at most so many. What is in another one again counts as not told.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn untold(&self, state: &str, limit: u32) -> Result<Vec<String>> {
        const BACK: &str = "DELETE FROM news_gone WHERE EXISTS (SELECT 1 FROM news_sources s \
                            WHERE s.source = news_gone.source AND s.state <> $1)";
        const SQL: &str = "SELECT s.source FROM news_sources s WHERE s.state = $1 \
                           AND NOT EXISTS (SELECT 1 FROM news_gone g WHERE g.source = s.source) ORDER BY s.id LIMIT $2";
        change!(self.0, BACK, state)?;
        let found: Vec<(String,)> = rows!(self.0, SQL, state, i64::from(limit))?;
        Ok(found.into_iter().map(|(source,)| source).collect())
    }

    /// Notes that its followers are told now; false: they were before.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn tell_gone(&self, source: &str, now: i64) -> Result<bool> {
        let sql = "INSERT INTO news_gone (source, at) VALUES ($1, $2) ON CONFLICT (source) DO NOTHING";
        Ok(change!(self.0, sql, source, now)? == 1)
    }

    /// Everybody who follows a source.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn following(&self, source: &str) -> Result<Vec<super::ReaderRow>> {
        const SQL: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM news_people WHERE banned = 0 AND id IN (SELECT f.person FROM news_folders f \
             JOIN news_follows w ON w.folder = f.id WHERE w.source = $1) ORDER BY id"
        );
        let found: Vec<Row> = rows!(self.0, SQL, source)?;
        Ok(found.into_iter().map(read).collect())
    }
}
