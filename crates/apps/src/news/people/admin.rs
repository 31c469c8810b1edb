//! For administrators, in private: who uses this and how much, messages to all, people, blocked sources, and what the
//! runtime offers beside. Invariants: to others these commands do not exist; every use is proved in the audit trail.
//! Source: news.md section 12.

use super::{
    People, Said, Turn, away, days,
    dialogs::Awaited,
    words::Say,
    write::{Page, button, cut},
};
use portcullis_domain::{Door, Failure, MessageReply, Post};
use portcullis_engine::messages::now_ms;
use portcullis_news::Source;
use portcullis_store::{OutState, ReaderRow, Setting};
use portcullis_telemetry::AuditEvent;
use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc};

/// What the runtime does for administrators: takes what was written behind the command, and says what came of it.
pub type Operation = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = String> + Send>> + Send + Sync>;
/// By the name of its command: `stats`, `backup`, `restore_backup`, `incident`, `safety`.
pub type Operations = HashMap<&'static str, Operation>;

/// People of one page when all are told something.
const PAGE: u32 = 200;
const WEEK: i64 = 7 * 86_400_000;
/// Dead messages that are looked at.
const DEAD: u32 = 1000;

impl People {
    /// A command for administrators; none: there is no such.
    pub(super) async fn admin(
        &self,
        turn: &Turn<'_>,
        name: &str,
        rest: &str,
    ) -> Result<Option<MessageReply>, Failure> {
        if !turn.admin {
            return Ok(None);
        }
        let name = if name == "log" { "stats" } else { name };
        let known =
            ["stats", "backup", "restore_backup", "incident", "safety", "broadcast", "block", "unblock"];
        if !known.contains(&name) && !["user", "plan_set", "ban", "unban"].contains(&name) {
            return Ok(None);
        }
        self.prove(turn, "admin_command", vec![("command", name.to_owned())]);
        Ok(Some(match name {
            "stats" => self.stats(turn, rest).await?,
            "broadcast" => self.broadcast(turn, rest).await?,
            "block" | "unblock" => self.block(turn, rest, name == "block").await?,
            "user" => self.user(turn, rest).await?,
            "plan_set" => self.plan_set(turn, rest).await?,
            "ban" | "unban" => self.ban(turn, rest, name == "ban").await?,
            other => match self.0.parts.operations.get(other) {
                Some(operation) => MessageReply::text(operation(rest.to_owned()).await),
                None => turn.text(Say::NotOfferedHere),
            },
        }))
    }

    /// Proof of what an administrator did.
    pub(super) fn prove(&self, turn: &Turn<'_>, kind: &'static str, details: Vec<(&'static str, String)>) {
        let Some(audit) = &self.0.parts.audit else { return };
        let name = turn.message.conversation.split([':', '-']).next().unwrap_or_default();
        let door = Door::ALL.into_iter().find(|door| door.as_str() == name).unwrap_or(Door::Admin);
        audit.record(AuditEvent {
            caller: Some(turn.request.caller.id.clone()),
            tier: Some(turn.request.caller.tier.clone()),
            request_id: Some(turn.request.id),
            details,
            ..AuditEvent::new(kind, door, "ok")
        });
    }

    async fn stats(&self, turn: &Turn<'_>, rest: &str) -> Said {
        let (readers, outbox) = (self.store().readers(), self.store().outbox());
        let since = turn.now - WEEK;
        let traffic = readers.traffic(&days::day(since, ""), since).await.map_err(away)?;
        let mut page = Page::default();
        page.bold(&turn.talk.say(Say::StatsWeek)).line();
        for (name, n) in [
            ("people", traffic.people),
            ("active", traffic.active),
            ("folders", traffic.folders),
            ("sources", traffic.sources),
            ("schedules", traffic.schedules),
        ] {
            page.say(&format!("{name}: {n}\n"));
        }
        for (kind, n) in traffic.asked {
            page.say(&format!("{kind}: {n}\n"));
        }
        for door in Door::ALL {
            let depth = outbox.depth(door.as_str()).await.map_err(away)?;
            if depth.rows > 0 {
                let oldest = depth.oldest.map_or(0, |oldest| (turn.now - oldest) / 1000);
                page.say(&format!("outbox {}: {} ({oldest} s)\n", door.as_str(), depth.rows));
            }
        }
        let dead = outbox.list(Some(OutState::Dead), None, DEAD).await.map_err(away)?;
        page.say(&format!("dead: {}", dead.len()));
        for row in dead.iter().take(5) {
            page.say(&format!("\n• {} {} {}", row.id, row.door, cut(&row.reason, 80)));
        }
        if let Some(machine) = self.0.parts.operations.get("stats") {
            page.say("\n\n").say(&machine(rest.to_owned()).await);
        }
        Ok(MessageReply::post(page.post()))
    }

    /// `/broadcast TEXT`: shown first, sent after a second press.
    async fn broadcast(&self, turn: &Turn<'_>, text: &str) -> Said {
        if text.is_empty() {
            return Ok(turn.text(Say::BroadcastHow));
        }
        let traffic = self.store().readers().traffic(&days::day(turn.now, ""), 0).await.map_err(away)?;
        self.await_next(turn, Awaited::Broadcast, text).await?;
        let mut page = Page::default();
        page.say(&turn.talk.count(Say::BroadcastSure, traffic.people)).say("\n\n").say(text);
        let mut post = page.post();
        post.choices = vec![vec![
            button(turn.talk.say(Say::ButtonSend), "bc", 0, ""),
            button(turn.talk.say(Say::ButtonCancel), "m", 0, ""),
        ]];
        Ok(MessageReply::post(post))
    }

    /// The second press.
    pub(super) async fn broadcast_now(&self, turn: &Turn<'_>) -> Result<Option<MessageReply>, Failure> {
        if !turn.admin {
            return Ok(None);
        }
        let Some(text) = self.data_of(turn, Awaited::Broadcast).await? else { return Ok(None) };
        self.end_dialog(turn).await?;
        self.prove(turn, "broadcast", vec![("chars", text.chars().count().to_string())]);
        let (mut after, mut sent) = (0, 0_u64);
        'pages: loop {
            let page = self.store().readers().page(after, PAGE).await.map_err(away)?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for reader in &page {
                if !self.tell(reader, &reader.conversation, Post::text(text.clone()), 3).await {
                    break 'pages;
                }
                sent += 1;
            }
            let shown = Post::text(turn.talk.count(Say::BroadcastSent, sent));
            if !turn.message.progress.show(Post { silent: true, ..shown }) {
                break;
            }
        }
        Ok(Some(turn.shown(Post::text(turn.talk.count(Say::BroadcastSent, sent)))))
    }

    async fn block(&self, turn: &Turn<'_>, rest: &str, block: bool) -> Said {
        let (written, reason) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let Ok(source) = Source::read(written) else { return Ok(turn.text(Say::SourceUnknown)) };
        let (source, readers) = (source.to_string(), self.store().readers());
        let reason = block.then_some(if reason.is_empty() { "by an administrator" } else { reason });
        let changed = readers.block(&source, reason, turn.now).await.map_err(away)?;
        let followers = readers.followers(&source).await.map_err(away)?;
        let word = if block { "blocked" } else { "unblocked" };
        Ok(MessageReply::text(format!(
            "{source}: {word}{} ({followers})",
            if changed { "" } else { " before" }
        )))
    }

    /// Somebody, by what the door calls them or by number.
    async fn somebody(&self, written: &str) -> Result<Option<ReaderRow>, Failure> {
        let readers = self.store().readers();
        let named = readers.find(written).await.map_err(away)?;
        let Ok(id) = written.parse::<i64>() else { return Ok(named) };
        match readers.find(&format!("tg:{id}")).await.map_err(away)? {
            Some(found) => Ok(Some(found)),
            None => readers.get(id).await.map_err(away),
        }
    }

    async fn user(&self, turn: &Turn<'_>, rest: &str) -> Said {
        let Some(reader) = self.somebody(rest).await? else { return Ok(turn.text(Say::NoSuchPerson)) };
        let readers = self.store().readers();
        let folders = readers.folders(reader.id).await.map_err(away)?;
        let (given, charged) = readers.given(reader.id).await.map_err(away)?;
        let (plan, _) = self.plan(&reader.plan);
        let sources: u64 = folders.iter().map(|folder| folder.sources).sum();
        Ok(MessageReply::text(format!(
            "{} · {}\nplan: {plan}{}\nfolders: {} · sources: {sources}\ndigests: {given} · charged: {charged}\nsince: {}",
            reader.id,
            reader.caller,
            if reader.banned { " · banned" } else { "" },
            folders.len(),
            days::clock(reader.created_at, ""),
        )))
    }

    async fn plan_set(&self, turn: &Turn<'_>, rest: &str) -> Said {
        let Some((who, plan)) = rest.rsplit_once(char::is_whitespace) else {
            return Ok(turn.text(Say::NoSuchPerson));
        };
        if !self.config().plans.contains_key(plan) {
            return Ok(self.plans(turn));
        }
        let Some(reader) = self.somebody(who.trim()).await? else { return Ok(turn.text(Say::NoSuchPerson)) };
        self.store().readers().set(reader.id, Setting::Plan(plan)).await.map_err(away)?;
        self.prove(turn, "plan_set", vec![("person", reader.caller.clone()), ("plan", plan.to_owned())]);
        Ok(MessageReply::text(format!("{}: {plan}", reader.caller)))
    }

    async fn ban(&self, turn: &Turn<'_>, rest: &str, ban: bool) -> Said {
        let Some(reader) = self.somebody(rest).await? else { return Ok(turn.text(Say::NoSuchPerson)) };
        self.store().readers().set(reader.id, Setting::Banned(ban)).await.map_err(away)?;
        if ban {
            let door = reader.conversation.split([':', '-']).next().unwrap_or_default().to_owned();
            let outbox = self.store().outbox();
            outbox.end_caller(&door, &reader.caller, "banned", now_ms()).await.map_err(away)?;
        }
        let kind = if ban { "banned" } else { "unbanned" };
        self.prove(turn, kind, vec![("person", reader.caller.clone())]);
        Ok(MessageReply::text(format!("{}: {kind}", reader.caller)))
    }
}
