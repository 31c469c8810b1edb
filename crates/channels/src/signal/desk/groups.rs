//! What is answered in groups. Invariant: only who means us is, and only where somebody we know said so.

use super::{Asked, Desk, MINUTE, bound, first_word};
use crate::signal::people::{Standing, caller, group_caller};
use portcullis_domain::Failure;
use portcullis_engine::words::Word;
use portcullis_store::NewOut;
use std::time::Duration;
use tokio::time::Instant;

impl Desk {
    /// In groups we answer only who means us, and only where somebody we know said so.
    pub(super) async fn in_group(&self, asked: &Asked<'_>, group: &str, standing: Standing) -> Vec<NewOut> {
        let (message, active) = (asked.message, matches!(standing, Standing::Active { .. }));
        if standing == Standing::Unwanted {
            return Vec::new();
        }
        let command = first_word(&message.text);
        if active && command == "/activate" {
            let whose = group_caller(group);
            if self.people.begin(&whose, &message.from, asked.now).await.is_err() {
                return self.away(message);
            }
            self.prove("group_activated", &caller(&message.from), vec![("group", whose)]);
            return self.say(message, Word::GroupActivated);
        }
        if !self.people.answers_group(group, asked.now) || !message.to_us && command != "/ask" {
            return Vec::new();
        }
        if active && command == "/deactivate" {
            return match self.people.end(&asked.conversation).await {
                Ok(_) => self.say(message, Word::GroupDeactivated),
                Err(_) => self.away(message),
            };
        }
        self.people.saw(&asked.conversation, asked.now);
        if self.is_old(asked) {
            return Vec::new();
        }
        if let Some(wait) = self.group_waits(group) {
            let failure =
                Failure::RateLimited { scope: portcullis_domain::LimitScope::Action, retry_after: wait };
            return self.refused(asked, &failure).await;
        }
        self.ask(asked).await
    }

    /// How long a group waits that wrote too much.
    fn group_waits(&self, group: &str) -> Option<Duration> {
        let (now, mut memory) = (Instant::now(), self.memory.lock());
        bound(&mut memory.groups);
        let recent = memory.groups.entry(group.to_owned()).or_default();
        while recent.front().is_some_and(|at| now.duration_since(*at) >= MINUTE) {
            recent.pop_front();
        }
        if recent.len() >= self.config.group_per_min as usize {
            return recent.front().map(|oldest| (*oldest + MINUTE).duration_since(now));
        }
        recent.push_back(now);
        None
    }
}
