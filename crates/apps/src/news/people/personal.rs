//! A person's own settings, plan and data. Invariant: what is shown and what is erased is everything that is kept.
//! Source: news.md sections 1 and 3.

use super::{
    People, Said, Turn, away, days,
    serve::{BY_HAND, SCHEDULED},
    words::Say,
    write::{Page, button},
};
use bytes::Bytes;
use portcullis_domain::{Door, File, MessageReply, Post};
use portcullis_store::Setting;
use serde_json::json;

impl People {
    /// `/time N` or `Nd`.
    pub(super) async fn window(&self, turn: &Turn<'_>, rest: &str) -> Said {
        let (_, plan) = self.plan(&turn.reader.plan);
        let most = i64::from(plan.window_hours);
        let rest = rest.trim().to_lowercase();
        if rest.is_empty() {
            let now = turn.talk.span(self.window_of(&turn.reader, plan, None));
            let mut post = Post::text(turn.talk.with(Say::WindowNow, &[("window", &now)]));
            let fits = [6, 12, 24, 48, 72, 168, 720].into_iter().filter(|hours| *hours <= most);
            let buttons: Vec<_> =
                fits.map(|hours| button(turn.talk.span(hours), "w", 0, &hours.to_string())).collect();
            post.choices = buttons.chunks(4).map(<[_]>::to_vec).collect();
            post.choices.push(vec![button(turn.talk.say(Say::ButtonMenu), "m", 0, "")]);
            return Ok(turn.shown(post));
        }
        if let Err(reply) = turn.may_change() {
            return Ok(reply);
        }
        let (number, unit) =
            rest.strip_suffix('d').map_or((rest.trim_end_matches('h'), 1), |days| (days, 24));
        let hours = number.trim().parse::<i64>().ok().and_then(|number| number.checked_mul(unit));
        let Some(hours) = hours.filter(|hours| (1..=most).contains(hours)) else {
            return Ok(turn.with(Say::WindowRange, &[("most", &turn.talk.span(most))]));
        };
        self.store().readers().set(turn.reader.id, Setting::Window(hours)).await.map_err(away)?;
        let text = turn.talk.with(Say::WindowSet, &[("window", &turn.talk.span(hours))]);
        Ok(turn.shown(Post::text(text)))
    }

    /// `/posts N`.
    pub(super) async fn stories(&self, turn: &Turn<'_>, rest: &str) -> Said {
        let (_, plan) = self.plan(&turn.reader.plan);
        if rest.trim().is_empty() {
            let now = self.stories_of(turn.reader.stories, plan);
            let mut post = Post::text(turn.talk.count(Say::StoriesNow, now as u64));
            let fits = [3, 5, 10, 15, 20, 30].into_iter().filter(|n| *n <= plan.stories);
            post.choices =
                vec![fits.map(|n| button(n.to_string(), "st", 0, &n.to_string())).collect::<Vec<_>>()];
            post.choices.push(vec![button(turn.talk.say(Say::ButtonMenu), "m", 0, "")]);
            return Ok(turn.shown(post));
        }
        if let Err(reply) = turn.may_change() {
            return Ok(reply);
        }
        let Some(n) = rest.trim().parse::<u32>().ok().filter(|n| (1..=plan.stories).contains(n)) else {
            return Ok(MessageReply::text(turn.talk.count(Say::StoriesRange, plan.stories.into())));
        };
        self.store().readers().set(turn.reader.id, Setting::Stories(n.into())).await.map_err(away)?;
        Ok(turn.shown(Post::text(turn.talk.count(Say::StoriesSet, n.into()))))
    }

    /// `/plan`.
    pub(super) fn plans(&self, turn: &Turn<'_>) -> MessageReply {
        let (own, _) = self.plan(&turn.reader.plan);
        let mut page = Page::default();
        let mut plans: Vec<_> = self.config().plans.iter().collect();
        plans.sort_by_key(|(_, plan)| (plan.digests, plan.sources));
        for (name, plan) in plans {
            if !page.is_empty() {
                page.line().line();
            }
            page.say(if name == own { "✅ " } else { "▫️ " }).bold(name).line();
            let n = |n: u32| n.to_string();
            let window = turn.talk.span(plan.window_hours.into());
            page.say(&turn.talk.with(
                Say::PlanRow,
                &[
                    ("digests", &n(plan.digests)),
                    ("scheduled", &n(plan.scheduled)),
                    ("folders", &n(plan.folders)),
                    ("sources", &n(plan.sources)),
                    ("stories", &n(plan.stories)),
                    ("window", &window),
                ],
            ));
        }
        let mut post = page.post();
        post.choices = vec![vec![
            button(turn.talk.say(Say::ButtonUsage), "us", 0, ""),
            button(turn.talk.say(Say::ButtonMenu), "m", 0, ""),
        ]];
        turn.shown(post)
    }

    /// `/usage`.
    pub(super) async fn usage(&self, turn: &Turn<'_>) -> Said {
        let (name, plan) = self.plan(&turn.reader.plan);
        let (day, renewed) = self.quota_day(&turn.reader.zone, turn.now);
        let readers = self.store().readers();
        let used = readers.used(turn.reader.id, BY_HAND, &day, turn.now).await.map_err(away)?;
        let scheduled = readers.used(turn.reader.id, SCHEDULED, &day, turn.now).await.map_err(away)?;
        let left = |most: u32, used: u64| u64::from(most).saturating_sub(used).to_string();
        let values = [
            ("plan", name),
            ("left", &left(plan.digests, used)),
            ("limit", &plan.digests.to_string()),
            ("scheduled_left", &left(plan.scheduled, scheduled)),
            ("scheduled_limit", &plan.scheduled.to_string()),
            ("when", &days::clock(renewed, &turn.reader.zone)),
        ];
        let folders = readers.folders(turn.reader.id).await.map_err(away)?;
        let mut page = Page::default();
        page.say(&turn.talk.with(Say::Usage, &values)).say("\n\n");
        page.say(&format!("{}: {}/{}", turn.talk.say(Say::ButtonFolders), folders.len(), plan.folders));
        for folder in &folders {
            page.say("\n• ").say(&folder.name).say(&format!(": {}/{}", folder.sources, plan.sources));
        }
        Ok(turn.shown(page.post()))
    }

    /// `/mydata`.
    pub(super) async fn mydata(&self, turn: &Turn<'_>) -> Said {
        let (readers, reader) = (self.store().readers(), &turn.reader);
        let folders = readers.folders(reader.id).await.map_err(away)?;
        let follows = readers.follows(reader.id).await.map_err(away)?;
        let schedules = readers.schedules(reader.id).await.map_err(away)?;
        let (given, charged) = readers.given(reader.id).await.map_err(away)?;
        let shown = readers.shown(reader.id, 0).await.map_err(away)?.len();
        let folder = |folder: &portcullis_store::FolderRow| {
            let sources: Vec<&str> = follows
                .iter()
                .filter(|follow| follow.folder == folder.id)
                .map(|follow| follow.source.as_str())
                .collect();
            json!({ "name": folder.name, "filters": folder.filters, "sources": sources })
        };
        let schedule = |row: &portcullis_store::ScheduleRow| {
            let is = &row.is;
            json!({ "cron": is.cron, "zone": is.zone, "target": is.target, "quiet": is.quiet, "paused": row.paused })
        };
        let data = json!({
            "caller": reader.caller,
            "conversation": reader.conversation,
            "since": super::moment(reader.created_at).to_string(),
            "language": reader.lang,
            "digest_language": reader.told_in,
            "zone": reader.zone,
            "plan": reader.plan,
            "window_hours": reader.window_hours,
            "stories": reader.stories,
            "folders": folders.iter().map(folder).collect::<Vec<_>>(),
            "schedules": schedules.iter().map(schedule).collect::<Vec<_>>(),
            "digests_given": given,
            "digests_charged": charged,
            "posts_shown": shown,
        });
        let bytes = serde_json::to_vec_pretty(&data).unwrap_or_default();
        let mut post = Post::text(turn.talk.say(Say::MyData));
        post.file = Some(File { name: "news.json".into(), bytes: Bytes::from(bytes) });
        Ok(MessageReply::post(post))
    }

    /// `/forget`, which needs a second press.
    pub(super) fn forget_ask(turn: &Turn<'_>) -> MessageReply {
        if let Err(reply) = turn.may_change() {
            return reply;
        }
        let mut post = Post::text(turn.talk.say(Say::ForgetSure));
        post.choices = vec![vec![
            button(turn.talk.say(Say::ButtonYesForget), "fy", turn.reader.id, ""),
            button(turn.talk.say(Say::ButtonNo), "m", 0, ""),
        ]];
        MessageReply::post(post)
    }

    pub(super) async fn forget(&self, turn: &Turn<'_>) -> Said {
        self.store().readers().forget(&turn.reader.caller).await.map_err(away)?;
        let door = turn.reader.conversation.split([':', '-']).next().unwrap_or_default();
        if let Some(door) = Door::ALL.into_iter().find(|known| known.as_str() == door) {
            let outbox = self.store().outbox();
            let ended = outbox.end_caller(door.as_str(), &turn.reader.caller, "forgotten", turn.now).await;
            ended.map_err(away)?;
        }
        let backups = turn.now.saturating_add(i64::from(self.0.parts.backup_days) * 86_400_000);
        let date = days::day(backups, &turn.reader.zone);
        Ok(turn.shown(Post::text(turn.talk.with(Say::Forgotten, &[("date", &date)]))))
    }
}
