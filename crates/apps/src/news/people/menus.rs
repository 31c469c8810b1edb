//! Menus, help, languages, and what a press of a button asks for. Invariant: a button that is out of date says so and
//! gives a fresh menu; nothing is done for a row that is not the person's. Source: news.md section 3.

use super::{
    People, Said, Turn, away, book,
    folders::Pressed,
    serve::{Trigger, Wanted},
    words::Say,
    write::{Page, Token, button},
};
use portcullis_domain::{MessageReply, Post};
use portcullis_engine::words::Tongue;
use portcullis_store::Setting;

impl People {
    /// The main menu below those words.
    pub(super) async fn menu(&self, turn: &Turn<'_>, say: Say) -> Said {
        let folders = self.store().readers().folders(turn.reader.id).await.map_err(away)?;
        let active = folders.iter().find(|folder| folder.id == turn.reader.folder);
        let (name, sources) = active.map_or(("", 0), |folder| (&*folder.name, folder.sources));
        let count = turn.talk.count(Say::CountSources, sources);
        let mut post = Post::text(turn.talk.with(say, &[("folder", name), ("sources", &count)]));
        let b = |say, action: &str| button(turn.talk.say(say), action, 0, "");
        post.choices = vec![
            vec![
                button(turn.talk.say(Say::ButtonNews), "n", turn.reader.folder, ""),
                b(Say::ButtonList, "ls"),
            ],
            vec![b(Say::ButtonAdd, "ad"), b(Say::ButtonRemove, "rm")],
            vec![b(Say::ButtonFolders, "fl"), b(Say::ButtonFilters, "fi")],
            vec![b(Say::ButtonWindow, "w"), b(Say::ButtonStories, "st")],
            vec![b(Say::ButtonSchedule, "sc"), b(Say::ButtonPlan, "pl")],
            vec![b(Say::ButtonOwners, "ow"), b(Say::ButtonLanguage, "lg")],
        ];
        Ok(turn.shown(post))
    }

    pub(super) fn help(&self, turn: &Turn<'_>) -> MessageReply {
        let mut page = Page::default();
        page.say(&turn.talk.say(Say::Help)).line();
        let tongue = turn.talk.tongue as usize;
        let beside = self.0.parts.beside.iter().map(|(name, about)| (*name, about[tongue]));
        for (name, about) in book::help(tongue).chain(beside) {
            page.say(&format!("\n/{name}: {about}"));
        }
        if turn.admin {
            page.say("\n\n").say(&turn.talk.say(Say::HelpAdmin));
        }
        MessageReply::post(page.post())
    }

    /// `/lang [code]`, or `/lang digest [code]`.
    pub(super) async fn lang(&self, turn: &Turn<'_>, rest: &str) -> Said {
        if let Err(reply) = turn.may_change() {
            return Ok(reply);
        }
        let lower = rest.to_lowercase();
        let (what, code) = match lower.split_once(char::is_whitespace) {
            Some(("digest", code)) => ("d", code.trim()),
            _ if lower == "digest" => ("d", ""),
            _ => ("i", lower.as_str()),
        };
        let own = what == "d" && code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_lowercase());
        if Tongue::from_code(code).is_some() || own || what == "d" && code == "auto" {
            return self.set_lang(turn, what, code).await;
        }
        Ok(self.languages(turn))
    }

    fn languages(&self, turn: &Turn<'_>) -> MessageReply {
        const NAMES: [(&str, &str); 3] = [("en", "English"), ("ru", "Русский"), ("nl", "Nederlands")];
        let mut post = Post::text(turn.talk.say(Say::WhichLanguage));
        let row = |what: &'static str, mark: &str| {
            let one = |(code, name): &(&str, &str)| {
                button(format!("{mark} {name}"), "lg", 0, &format!("{what}{code}"))
            };
            NAMES.iter().map(one).collect::<Vec<_>>()
        };
        post.choices = vec![
            row("i", "💬"),
            row("d", "📰"),
            vec![button(turn.talk.say(Say::ButtonAsPosts), "lg", 0, "dauto")],
            vec![button(turn.talk.say(Say::ButtonMenu), "m", 0, "")],
        ];
        turn.shown(post)
    }

    async fn set_lang(&self, turn: &Turn<'_>, what: &str, code: &str) -> Said {
        let readers = self.store().readers();
        let kept = if code == "auto" { "" } else { code };
        if what == "d" {
            readers.set(turn.reader.id, Setting::ToldIn(kept)).await.map_err(away)?;
            let say = if kept.is_empty() { Say::DigestsAsPosts } else { Say::DigestLanguageNow };
            return Ok(turn.with(say, &[("code", code)]));
        }
        readers.set(turn.reader.id, Setting::Lang(kept)).await.map_err(away)?;
        let talk = super::Talk { tongue: super::tongue(Some(kept)), ..turn.talk };
        Ok(turn.shown(Post::text(talk.say(Say::LanguageNow))))
    }

    /// A button was pressed.
    pub(super) async fn pressed(&self, turn: &Turn<'_>, token: &str) -> Said {
        let Some(token) = Token::read(token) else { return self.out_of_date(turn).await };
        let Token { action, row, argument } = token;
        let changes = ["w", "st", "rx", "un", "fu", "fdy", "ray", "ay", "af", "fy"];
        if changes.contains(&action)
            && (action != "w" && action != "st" || !argument.is_empty())
            && let Err(reply) = turn.may_change()
        {
            return Ok(reply);
        }
        match action {
            "m" => {
                self.end_dialog(turn).await?;
                self.menu(turn, Say::Menu).await
            }
            "n" | "na" => self.pressed_news(turn, row, action == "na", argument).await,
            "ls" => self.list(turn).await,
            "pl" => Ok(self.plans(turn)),
            "us" => self.usage(turn).await,
            "lg" => match argument.split_at_checked(1) {
                Some((what @ ("i" | "d"), code)) => {
                    if let Err(reply) = turn.may_change() {
                        return Ok(reply);
                    }
                    self.set_lang(turn, what, code).await
                }
                Some(_) | None => Ok(self.languages(turn)),
            },
            "w" => self.window(turn, argument).await,
            "st" => self.stories(turn, argument).await,
            "fy" => self.forget(turn).await,
            "fi" | "fe" | "fc" => match self.pressed_filter(turn, (action, row)).await? {
                Some(reply) => Ok(reply),
                None => self.out_of_date(turn).await,
            },
            "sc" | "sn" | "sb" | "sz" | "sp" | "sr" | "sd" => {
                match self.pressed_schedule(turn, (action, row, argument)).await? {
                    Some(reply) => Ok(reply),
                    None => self.out_of_date(turn).await,
                }
            }
            "ow" | "ot" | "oa" | "od" => match self.pressed_owner(turn, (action, row, argument)).await? {
                Some(reply) => Ok(reply),
                None => self.out_of_date(turn).await,
            },
            "bc" => match self.broadcast_now(turn).await? {
                Some(reply) => Ok(reply),
                None => self.out_of_date(turn).await,
            },
            other => match self.pressed_folder(turn, &Pressed { action: other, row, argument }).await? {
                Some(reply) => Ok(reply),
                None => self.out_of_date(turn).await,
            },
        }
    }

    async fn pressed_news(&self, turn: &Turn<'_>, row: i64, all: bool, argument: &str) -> Said {
        let folders = self.store().readers().folders(turn.reader.id).await.map_err(away)?;
        let Some(folder) = folders.into_iter().find(|folder| folder.id == row) else {
            return self.out_of_date(turn).await;
        };
        let wanted = Wanted { folder, all, window: argument.parse().ok() };
        self.digest(turn, wanted, Trigger::Button).await
    }

    /// The menu of a button is older than what it is about.
    pub(super) async fn out_of_date(&self, turn: &Turn<'_>) -> Said {
        let mut reply = self.menu(turn, Say::OutOfDate).await?;
        reply.toast = Some(turn.talk.say(Say::OutOfDateToast));
        Ok(reply)
    }
}
