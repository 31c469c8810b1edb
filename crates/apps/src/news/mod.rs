//! News: what people's sources published lately, without doubles, the same event told once, in short summaries with
//! links. `digest` makes one for anybody; the rest knows people, their folders and their schedules.
//!
//! Invariant: what was fetched is data and never instruction; a digest that could not be made costs nothing.
//! Source: news.md.

mod api;
mod config;
mod digest;
mod people;

pub use config::{LONGEST_WINDOW, MOST_STORIES, NewsConfig, ScrapeConfig, SummaryConfig};
pub(crate) use digest::GONE;
pub use digest::{
    BY_WORDS, Checked, Digest, DigestAsk, Failed, Health, Keeps, Less, NewsParts, NewsState, Newsroom, Phase,
    Phases, Reason, Shown, Story, Watches, calibrated, measure, scales,
};

pub use people::{
    Cook, Cooking, Current, Doctor, FindQuotas, Looker, Operation, Operations, People, PeopleParts,
    PeopleState, PlanConfig, ScheduleConfig, commands, keep_schedules,
};

use portcullis_domain::{Action, Failure, Meter, NewsRequest, Payload, Reply, ReplyBody};
use portcullis_engine::{App, Inspected, Run};
use std::sync::Arc;

/// The app. Cheap to clone.
#[derive(Clone)]
pub struct NewsApp {
    room: Newsroom,
    people: Option<People>,
}

impl NewsApp {
    /// What this app answers.
    pub const ACTIONS: [Action; 1] = [Action::News];

    /// Over these parts.
    #[must_use]
    pub fn new(parts: NewsParts) -> Self {
        Self { room: Newsroom::new(parts), people: None }
    }

    /// Who makes its digests.
    #[must_use]
    pub fn cook(&self) -> Cook {
        let room = self.room.clone();
        Arc::new(move |ask| {
            let room = room.clone();
            Box::pin(async move { room.digest(ask).await })
        })
    }

    /// Who looks at sources that are added.
    #[must_use]
    pub fn looker(&self) -> Looker {
        let room = self.room.clone();
        Arc::new(move |source| {
            let room = room.clone();
            Box::pin(async move { room.check(&source).await })
        })
    }

    /// Who says how a source is.
    #[must_use]
    pub fn doctor(&self) -> Doctor {
        let room = self.room.clone();
        Arc::new(move |source| {
            let room = room.clone();
            Box::pin(async move { room.health(&source).await })
        })
    }

    /// The same, for people at chat doors too.
    #[must_use]
    pub fn serving(self, people: People) -> Self {
        Self { people: Some(people), ..self }
    }

    /// A digest of named sources as JSON, with somebody who hears how far it is.
    ///
    /// # Errors
    /// As the app.
    pub async fn told(&self, request: &Inspected, progress: Phases) -> Result<serde_json::Value, Failure> {
        match &request.payload {
            Payload::News(NewsRequest::Digest(asked)) => {
                api::told(&self.room, request, asked, progress).await
            }
            Payload::News(NewsRequest::Message(_))
            | Payload::Chat(_)
            | Payload::Count(_)
            | Payload::Embed(_)
            | Payload::Models(_)
            | Payload::Library(_) => Err(elsewhere()),
        }
    }
}

impl App for NewsApp {
    fn name(&self) -> &'static str {
        "news"
    }

    fn run(&self, request: Inspected) -> Run<'_> {
        Box::pin(async move {
            match &request.payload {
                Payload::News(NewsRequest::Digest(asked)) => api::digest(&self.room, &request, asked).await,
                Payload::News(NewsRequest::Message(message)) => match &self.people {
                    Some(people) => {
                        let said = people.message(&request, message).await?;
                        Ok(Reply::new(ReplyBody::Message(Box::new(said)), Meter::default()))
                    }
                    None => Err(elsewhere()),
                },
                Payload::Chat(_)
                | Payload::Count(_)
                | Payload::Embed(_)
                | Payload::Models(_)
                | Payload::Library(_) => Err(elsewhere()),
            }
        })
    }
}

/// What is no news is answered by other apps; the wiring sends it there.
const fn elsewhere() -> Failure {
    Failure::NotFound(std::borrow::Cow::Borrowed("This is not offered here."))
}
