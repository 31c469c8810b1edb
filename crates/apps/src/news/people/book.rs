//! The commands that chat doors list and route by, with what each does in every language. Invariant: a row without its
//! three languages does not compile. Source: news.md sections 3 and 12.

use portcullis_domain::{Action, MessageRequest, NewsRequest, Payload};
use portcullis_engine::messages::{Command, Commands};

/// Name, whether it works beside others, English, Russian, Dutch.
type Row = (&'static str, bool, [&'static str; 3]);

const LISTED: &[Row] = &[
    (
        "news",
        true,
        [
            "a digest of the active folder",
            "сводка новостей активной папки",
            "een overzicht van de actieve map",
        ],
    ),
    (
        "add",
        false,
        [
            "add sources: @channel or an address",
            "добавить источники: @канал или адрес",
            "bronnen toevoegen: @kanaal of een adres",
        ],
    ),
    ("remove", false, ["remove a source", "убрать источник", "een bron verwijderen"]),
    (
        "remove_all",
        false,
        [
            "remove every source of the folder",
            "убрать все источники папки",
            "alle bronnen van de map verwijderen",
        ],
    ),
    ("list", false, ["folders and sources", "папки и источники", "mappen en bronnen"]),
    (
        "folder",
        false,
        [
            "make, rename, use or delete a folder",
            "создать, переименовать, выбрать или удалить папку",
            "een map maken, hernoemen, kiezen of verwijderen",
        ],
    ),
    (
        "time",
        false,
        [
            "how far back a digest looks",
            "за какое время собирать новости",
            "hoe ver een overzicht terugkijkt",
        ],
    ),
    (
        "posts",
        false,
        ["how many stories a digest has", "сколько сюжетов в сводке", "hoeveel verhalen een overzicht heeft"],
    ),
    (
        "filter",
        false,
        [
            "which words let a post through",
            "какие слова пропускают или отсекают записи",
            "welke woorden een bericht doorlaten",
        ],
    ),
    ("schedule", false, ["digests on schedule", "сводки по расписанию", "overzichten volgens schema"]),
    (
        "plan",
        false,
        ["plans and what they hold", "тарифы и что в них входит", "abonnementen en wat erin zit"],
    ),
    ("usage", false, ["what is left today", "сколько осталось сегодня", "wat er vandaag over is"]),
    (
        "import",
        false,
        [
            "take in sources from an OPML document",
            "загрузить источники из документа OPML",
            "bronnen uit een OPML-document overnemen",
        ],
    ),
    (
        "export",
        false,
        [
            "your sources as an OPML document",
            "ваши источники документом OPML",
            "uw bronnen als OPML-document",
        ],
    ),
    (
        "lang",
        false,
        ["the language of menus and of digests", "язык меню и сводок", "de taal van menu's en overzichten"],
    ),
    (
        "mydata",
        false,
        ["everything that is kept about you", "всё, что о вас хранится", "alles wat over u bewaard wordt"],
    ),
    (
        "forget",
        false,
        [
            "delete everything that is kept about you",
            "удалить всё, что о вас хранится",
            "alles wissen wat over u bewaard wordt",
        ],
    ),
    ("menu", false, ["the menu", "меню", "het menu"]),
    ("cancel", false, ["end what is under way", "прервать начатое", "stoppen waar u mee bezig bent"]),
    ("help", false, ["what there is", "что здесь есть", "wat er is"]),
];

/// Understood and not listed.
const UNLISTED: &[&str] = &["start"];

/// For administrators: understood, not listed.
const ADMIN: &[&str] = &[
    "stats",
    "log",
    "backup",
    "restore_backup",
    "broadcast",
    "block",
    "unblock",
    "user",
    "plan_set",
    "ban",
    "unban",
    "incident",
    "safety",
];

/// What this app understands at a chat door.
#[must_use]
pub fn commands() -> Commands {
    let command = |name, about, beside, admin| Command {
        name,
        about,
        admin,
        beside,
        action: Action::Message,
        payload: asked,
    };
    let listed = LISTED.iter().map(|(name, beside, about)| command(name, *about, *beside, false));
    let unlisted = UNLISTED.iter().map(|name| command(name, [""; 3], false, false));
    let admin = ADMIN.iter().map(|name| command(name, [""; 3], false, true));
    Commands { listed: listed.chain(unlisted).chain(admin).collect(), other: asked }
}

fn asked(message: MessageRequest) -> Payload {
    Payload::News(NewsRequest::Message(message))
}

/// Names and what they do, in that language, for the help.
pub(super) fn help(tongue: usize) -> impl Iterator<Item = (&'static str, &'static str)> {
    LISTED.iter().map(move |(name, _, about)| (*name, about[tongue]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_command_says_what_it_does_within_what_doors_take() {
        let commands = commands();
        for command in commands.listed.iter().filter(|command| !command.about[0].is_empty()) {
            assert!(
                command.about.iter().all(|about| (1..=256).contains(&about.chars().count())),
                "{command:?}"
            );
            assert!(command.name.len() <= 32);
        }
        assert!(commands.find("/news@our_bot all", "our_bot").is_some_and(|command| command.beside));
        assert!(commands.find("/news@another_bot", "our_bot").is_none());
        assert!(commands.find("/stats", "our_bot").is_some_and(|command| command.admin));
    }
}
