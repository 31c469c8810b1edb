//! `/schedule`: digests at times that a person chose, built with words or buttons. Invariants: what is kept was read; a
//! place is only written to where both the person and the bot may post; the next three times are shown. Source: news.md
//! section 10.

use super::{
    People, Said, Turn, away,
    cron::{Cron, CronError, Quiet, clock},
    days,
    dialogs::Awaited,
    moment,
    words::Say,
    write::{Page, button},
};
use jiff::tz::TimeZone;
use portcullis_domain::{Button, Failure, MessageReply, Post};
use portcullis_knowledge::Language;
use portcullis_store::{FolderRow, NewSchedule, ScheduleRow};

/// Zones that are offered as buttons.
const ZONES: [&str; 8] = [
    "UTC",
    "Europe/London",
    "Europe/Amsterdam",
    "Europe/Kyiv",
    "Europe/Moscow",
    "Asia/Dubai",
    "America/New_York",
    "America/Los_Angeles",
];
/// Times of the day that are offered.
const HOURS: [u8; 8] = [6, 7, 8, 9, 12, 18, 20, 22];
/// Times that are shown.
const SHOWN: usize = 3;

/// A schedule as it is written.
struct Wish {
    cron: Cron,
    written: String,
    zone: Option<String>,
    target: Option<String>,
    stories: i64,
    layout: String,
    told_in: String,
    quiet: String,
    if_empty: String,
}

/// A schedule that can be asked for its next minute.
pub(super) struct Times {
    cron: Cron,
    zone: TimeZone,
    quiet: Option<Quiet>,
}

impl Times {
    /// Of what is kept; none where that cannot be read any more.
    pub(super) fn of(is: &NewSchedule) -> Option<Self> {
        Some(Self {
            cron: Cron::read(&is.cron).ok()?,
            zone: days::zone(&is.zone),
            quiet: Quiet::read(&is.quiet),
        })
    }

    /// The first minute after that moment, Unix milliseconds.
    pub(super) fn next(&self, after: i64) -> Option<i64> {
        self.cron.next(moment(after), &self.zone, self.quiet).map(|at| at.as_millisecond())
    }
}

impl People {
    /// `/schedule ...`.
    pub(super) async fn schedule(&self, turn: &Turn<'_>, rest: &str) -> Said {
        if rest.is_empty() {
            return self.schedules(turn).await;
        }
        if let Err(reply) = turn.may_change() {
            return Ok(reply);
        }
        let wish = match read(rest) {
            Ok(wish) => wish,
            Err(wrong) => return Ok(MessageReply::text(wrong.told(turn))),
        };
        if wish.zone.is_none() && turn.reader.zone.is_empty() {
            return self.which_zone(turn, rest).await;
        }
        self.keep_schedule(turn, wish).await
    }

    async fn which_zone(&self, turn: &Turn<'_>, wish: &str) -> Said {
        self.await_next(turn, Awaited::Zone, wish).await?;
        let mut post = Post::text(turn.talk.say(Say::WhichZone));
        let zone = |(index, zone): (usize, &&str)| button(*zone, "sz", 0, &index.to_string());
        let buttons: Vec<Button> = ZONES.iter().enumerate().map(zone).collect();
        post.choices = buttons.chunks(2).map(<[_]>::to_vec).collect();
        Ok(MessageReply::post(post))
    }

    /// The zone that was asked for.
    pub(super) async fn zone_named(&self, turn: &Turn<'_>, zone: &str, wish: &str) -> Said {
        if TimeZone::get(zone).is_err() {
            self.await_next(turn, Awaited::Zone, wish).await?;
            return Ok(turn.with(Say::NoSuchZone, &[("zone", zone)]));
        }
        Box::pin(self.schedule(turn, &format!("{wish} zone={zone}"))).await
    }

    async fn keep_schedule(&self, turn: &Turn<'_>, wish: Wish) -> Said {
        let zone = wish.zone.clone().unwrap_or_else(|| turn.reader.zone.clone());
        let target = wish.target.clone().unwrap_or_else(|| turn.message.conversation.to_string());
        let own = target == *turn.message.conversation;
        if !own && !self.0.parts.doors.manages(&target, &turn.request.caller.id).await {
            return Ok(turn.text(Say::TargetRefused));
        }
        let (_, plan) = self.plan(&turn.reader.plan);
        let mut new = NewSchedule {
            person: turn.reader.id,
            folder: turn.reader.folder,
            cron: wish.written,
            zone: zone.clone(),
            target,
            stories: wish.stories.min(plan.stories.into()),
            layout: wish.layout,
            told_in: wish.told_in,
            quiet: wish.quiet,
            if_empty: wish.if_empty,
            next_at: 0,
        };
        let (quiet, at_zone) = (Quiet::read(&new.quiet), days::zone(&zone));
        let hours = self.schedule_config().min_interval_hours;
        if wish.cron.densest(moment(turn.now), &at_zone, quiet) < i64::from(hours) * 3600 {
            return Ok(MessageReply::text(turn.talk.count(Say::TooDense, hours.into())));
        }
        let times = Times { cron: wish.cron, zone: at_zone, quiet };
        let Some(next) = times.next(turn.now) else { return Ok(turn.text(Say::CronNever)) };
        new.next_at = next;
        let readers = self.store().readers();
        if turn.reader.zone.is_empty() {
            readers.set(turn.reader.id, portcullis_store::Setting::Zone(&zone)).await.map_err(away)?;
        }
        let made = readers.add_schedule(&new, plan.scheduled.into(), turn.now).await.map_err(away)?;
        let Some(id) = made else {
            return Ok(MessageReply::text(turn.talk.count(Say::SchedulesFull, plan.scheduled.into())));
        };
        let mut page = Page::default();
        page.say(&turn.talk.say(Say::ScheduleMade)).line();
        coming(&mut page, &times, turn.now, &zone);
        let mut post = page.post();
        post.choices =
            vec![self.buttons(turn, id, false), vec![button(turn.talk.say(Say::ButtonMenu), "m", 0, "")]];
        Ok(turn.shown(post))
    }

    fn buttons(&self, turn: &Turn<'_>, id: i64, paused: bool) -> Vec<Button> {
        let (label, action) = if paused { (Say::ButtonResume, "sr") } else { (Say::ButtonPause, "sp") };
        vec![
            button(turn.talk.say(label), action, id, ""),
            button(turn.talk.say(Say::ButtonDelete), "sd", id, ""),
        ]
    }

    /// Somebody's schedules.
    async fn schedules(&self, turn: &Turn<'_>) -> Said {
        let readers = self.store().readers();
        let all = readers.schedules(turn.reader.id).await.map_err(away)?;
        let folders = readers.folders(turn.reader.id).await.map_err(away)?;
        let mut page = Page::default();
        if all.is_empty() {
            page.say(&turn.talk.say(Say::NoSchedules));
        } else {
            page.say(&turn.talk.say(Say::SchedulesAre));
        }
        let mut post_buttons = Vec::new();
        for (row, number) in all.iter().zip(1..) {
            page.say("\n\n").say(&format!("{number}. "));
            line(&mut page, turn, row, &folders);
            let mut row_buttons = self.buttons(turn, row.id, !row.paused.is_empty());
            for shown in &mut row_buttons {
                shown.label = format!("{number}. {}", shown.label);
            }
            post_buttons.push(row_buttons);
        }
        page.say("\n\n").say(&turn.talk.say(Say::ScheduleHow));
        let mut post = page.post();
        post.choices = post_buttons;
        post.choices.push(vec![
            button(turn.talk.say(Say::ButtonNewSchedule), "sn", 0, ""),
            button(turn.talk.say(Say::ButtonMenu), "m", 0, ""),
        ]);
        Ok(turn.shown(post))
    }

    /// A button of schedules; none: it is out of date.
    pub(super) async fn pressed_schedule(
        &self,
        turn: &Turn<'_>,
        (action, id, argument): (&str, i64, &str),
    ) -> Result<Option<MessageReply>, Failure> {
        if action != "sc"
            && let Err(reply) = turn.may_change()
        {
            return Ok(Some(reply));
        }
        let readers = self.store().readers();
        Ok(Some(match action {
            "sc" => self.schedules(turn).await?,
            "sn" => Self::which_preset(turn, argument),
            "sb" => {
                let preset = argument.replace('.', " ");
                self.schedule(turn, &preset).await?
            }
            "sz" => {
                let Some(zone) = argument.parse().ok().and_then(|index: usize| ZONES.get(index)) else {
                    return Ok(None);
                };
                let Some(wish) = self.wished(turn).await? else { return Ok(None) };
                self.zone_named(turn, zone, &wish).await?
            }
            "sp" | "sr" => {
                let Some(row) = readers.schedule(id).await.map_err(away)? else { return Ok(None) };
                let next = Times::of(&row.is).and_then(|times| times.next(turn.now));
                let (Some(next), true) = (next, row.is.person == turn.reader.id) else { return Ok(None) };
                let reason = if action == "sp" { "asked" } else { "" };
                readers.pause_schedule(id, reason, next).await.map_err(away)?;
                self.schedules(turn).await?
            }
            "sd" => {
                if !readers.delete_schedule(turn.reader.id, id).await.map_err(away)? {
                    return Ok(None);
                }
                self.schedules(turn).await?
            }
            _ => return Ok(None),
        }))
    }

    /// Presets as buttons, then the time of the day.
    fn which_preset(turn: &Turn<'_>, chosen: &str) -> MessageReply {
        let mut post;
        if chosen.is_empty() {
            post = Post::text(turn.talk.say(Say::WhichPreset));
            let preset = |say, name: &str| button(turn.talk.say(say), "sn", 0, name);
            post.choices = vec![
                vec![button(turn.talk.say(Say::PresetHourly), "sb", 0, "hourly")],
                vec![preset(Say::PresetDaily, "daily")],
                vec![preset(Say::PresetWeekdays, "weekdays"), preset(Say::PresetWeekly, "weekly")],
            ];
        } else {
            post = Post::text(turn.talk.say(Say::WhichTime));
            let name = if ["daily", "weekdays", "weekly"].contains(&chosen) { chosen } else { "daily" };
            let hour = |hour: &u8| button(format!("{hour:02}:00"), "sb", 0, &format!("{name}.{hour}"));
            let buttons: Vec<Button> = HOURS.iter().map(hour).collect();
            post.choices = buttons.chunks(4).map(<[_]>::to_vec).collect();
        }
        post.choices.push(vec![button(turn.talk.say(Say::ButtonMenu), "m", 0, "")]);
        turn.shown(post)
    }
}

fn line(page: &mut Page, turn: &Turn<'_>, row: &ScheduleRow, folders: &[FolderRow]) {
    let is = &row.is;
    let folder = folders.iter().find(|folder| folder.id == is.folder).map_or("", |folder| &folder.name);
    page.bold(folder).say(" · ").mono(&is.cron).say(&format!(" · {}", is.zone));
    if is.target != *turn.message.conversation {
        page.say(&format!(" → {}", is.target));
    }
    match row.paused.as_str() {
        "" => match Times::of(is) {
            Some(times) => {
                page.line();
                coming(page, &times, turn.now, &is.zone);
            }
            None => drop(page.say("\n⚠️")),
        },
        "asked" => drop(page.line().say(&turn.talk.say(Say::PausedAsked))),
        "failed" => drop(page.line().say(&turn.talk.say(Say::PausedFailed))),
        _ => drop(page.line().say(&turn.talk.say(Say::PausedUnreachable))),
    }
}

/// The next times, a line each.
fn coming(page: &mut Page, times: &Times, now: i64, zone: &str) {
    let mut at = now;
    for _ in 0..SHOWN {
        let Some(next) = times.next(at) else { return };
        page.say(&format!("\n• {}", days::clock(next, zone)));
        at = next;
    }
}

/// What is wrong with a schedule as it was written.
enum Wrong {
    Cron(CronError),
    Zone(String),
    Option(String),
}

impl Wrong {
    fn told(&self, turn: &Turn<'_>) -> String {
        let at = |at: usize| at.to_string();
        let how = turn.talk.say(Say::ScheduleHow);
        let what = match self {
            Self::Cron(CronError::Fields(n)) => turn.talk.with(Say::CronFields, &[("at", &at(*n))]),
            Self::Cron(CronError::Form(n)) => turn.talk.with(Say::CronForm, &[("at", &at(*n))]),
            Self::Cron(CronError::Range(n, least, most)) => {
                let values = [("at", at(*n)), ("least", least.to_string()), ("most", most.to_string())];
                let values: Vec<(&str, &str)> =
                    values.iter().map(|(key, value)| (*key, value.as_str())).collect();
                turn.talk.with(Say::CronRange, &values)
            }
            Self::Cron(CronError::Never) => turn.talk.say(Say::CronNever),
            Self::Zone(zone) => turn.talk.with(Say::NoSuchZone, &[("zone", zone)]),
            Self::Option(word) => turn.talk.with(Say::ScheduleOption, &[("word", word)]),
        };
        format!("{what}\n\n{how}")
    }
}

/// Reads a preset with a time, or five fields; then options.
fn read(written: &str) -> Result<Wish, Wrong> {
    let words: Vec<&str> = written.split_whitespace().collect();
    let first = words.first().map(|word| word.to_lowercase()).unwrap_or_default();
    let time = || words.get(1).and_then(|word| clock(word));
    let at = |days: &str| {
        let time = time();
        let (hour, minute) = time.map_or((8, 0), |time| (time.hour(), time.minute()));
        (format!("{minute} {hour} * * {days}"), 1 + usize::from(time.is_some()))
    };
    let (cron, taken) = match first.as_str() {
        "hourly" => ("0 * * * *".to_owned(), 1),
        "daily" => at("*"),
        "weekdays" => at("1-5"),
        "weekly" => at("1"),
        _ => {
            let fields = words.iter().take(5).take_while(|word| !word.contains('='));
            let fields: Vec<&str> = fields.copied().collect();
            let taken = fields.len();
            (fields.join(" "), taken)
        }
    };
    let mut wish = Wish {
        cron: Cron::read(&cron).map_err(Wrong::Cron)?,
        written: cron,
        zone: None,
        target: None,
        stories: 0,
        layout: String::new(),
        told_in: String::new(),
        quiet: String::new(),
        if_empty: "skip".to_owned(),
    };
    for word in &words[taken.min(words.len())..] {
        option(&mut wish, word)?;
    }
    Ok(wish)
}

fn option(wish: &mut Wish, word: &str) -> Result<(), Wrong> {
    let wrong = || Wrong::Option(word.chars().take(60).collect());
    let (key, value) = word.split_once('=').unwrap_or(("zone", word));
    match key {
        "zone" => {
            TimeZone::get(value).map_err(|_| Wrong::Zone(value.chars().take(60).collect()))?;
            wish.zone = Some(value.to_owned());
        }
        "to" => {
            let chat = value.split('/').all(|part| part.parse::<i64>().is_ok());
            wish.target = Some(if chat { format!("telegram:{value}") } else { value.to_owned() });
        }
        "stories" => {
            wish.stories = value.parse().ok().filter(|n: &i64| (1..=100).contains(n)).ok_or_else(wrong)?;
        }
        "layout" if ["stories", "compact"].contains(&value) => wish.layout = value.to_owned(),
        "lang" if Language::from_code(value) != Language::UNKNOWN => wish.told_in = value.to_owned(),
        "quiet" if Quiet::read(value).is_some() => wish.quiet = value.to_owned(),
        "empty" if ["skip", "note"].contains(&value) => wish.if_empty = value.to_owned(),
        _ => return Err(wrong()),
    }
    Ok(())
}
