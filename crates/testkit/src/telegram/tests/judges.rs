//! Independent judges: three Telegram clients, unmodified, each as an echo bot on the double, by polling and by
//! webhook. What they cannot read, or take for something else, shows in what the bot then says.

use crate::{
    child::Owned,
    free_port, node, python,
    telegram::{Fault, Incoming, Options, Person, Rates, Rule, Sent, Telegram},
};
use serde_json::json;
use std::{
    process::{Command, Stdio},
    time::Duration,
};

const PTB: &str = include_str!("../../../clients/telegram/ptb_bot.py");
const AIOGRAM: &str = include_str!("../../../clients/telegram/aiogram_bot.py");
const GRAMMY: &str = include_str!("../../../clients/telegram/grammy_bot.mjs");
const COMPARE: &str = include_str!("../../../clients/telegram/compare.mjs");

/// Where the npm `telegram-test-api` answers differently, and that is all: it knows fewer fields, forgets updates that
/// nobody confirmed, gives nothing back for what it did, and checks nothing.
const KNOWN: &str = "\
who am I: .can_connect_to_business only ours, .can_join_groups only ours, .can_read_all_group_messages only ours, \
.has_main_web_app only ours, .is_bot only ours, .supports_inline_queries only ours
nothing to tell: same
a word: .message.botToken only theirs, .message.chat.title only theirs, .message.from.language_code only ours
the same again, unconfirmed: result 1 of | 0 of
send: .chat.username only ours, .chat_id only theirs, .from only ours
edit: result object | null
edit to the same: refused 400 | done
delete: result boolean | null
delete again: refused 400 | refused 200
nobody pressed: refused 400 | done
an empty text: refused 400 | done
a long text: refused 400 | done
broken marks: refused 400 | done
a chat of nobody: refused 400 | done
a method of nobody: refused 404 | refused 500
no webhook: same
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    PythonTelegramBot,
    Aiogram,
    Grammy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Poll,
    Webhook,
}

/// The bot's process; nothing where its client cannot be had.
async fn bot(double: &Telegram, client: Client, way: Way) -> Option<Owned> {
    let (base, token, port) = (double.base_url(), double.token(), free_port().to_string());
    let args = [base.as_str(), &token, if way == Way::Poll { "poll" } else { "webhook" }, &port];
    let python = |venv: std::path::PathBuf, script: &str| {
        let mut command = Command::new(venv.join("bin/python"));
        command.args(["-c", script]).args(args).stdin(Stdio::null());
        command
    };
    let mut command = match client {
        Client::PythonTelegramBot => python(python::venv("ptb", &[python::PYTHON_TELEGRAM_BOT]).await?, PTB),
        Client::Aiogram => python(python::venv("aiogram", &[python::AIOGRAM]).await?, AIOGRAM),
        Client::Grammy => node::telegram(GRAMMY, &args).await?,
    };
    Some(Owned::spawn(command.stdout(Stdio::null()), None).expect("the bot starts"))
}

/// Says something and gives the bot's next message.
async fn asked(double: &Telegram, anna: &Person, text: &str) -> Sent {
    let before = double.sent_to(anna.id).len();
    double.say(anna, text);
    double.sent_count(anna.id, before + 1).await.remove(before)
}

async fn judge(client: Client, way: Way) {
    // A client takes its time to start on a busy machine.
    let patience = Duration::from_secs(90);
    let double = Telegram::with(Options { rates: Rates::Off, patience, ..Options::default() }).await;
    let (anna, ben) = (double.person("Anna"), double.person("Ben"));
    let Some(_bot) = bot(&double, client, way).await else { return };
    let up = |double: &Telegram| if way == Way::Poll { double.polled() } else { double.webhook().is_some() };
    double.until("the bot is up", up).await;

    let hello = asked(&double, &anna, "/start").await;
    assert_eq!((hello.text.as_str(), hello.button("Press").as_deref()), ("Hello Anna", Some("press:1")));
    assert_eq!(double.actions()[0].action, "typing");
    let query = double.press(&anna, anna.id, hello.id, "press:1");
    double.until("the edit", |double| !double.edits().is_empty()).await;
    let answer = double.answers().remove(0);
    assert_eq!((answer.query, answer.text.as_deref(), answer.alert), (query, Some("Pressed"), true));
    assert_eq!(double.sent()[0].shown(), "You pressed press:1");

    let echo = asked(&double, &anna, "café 😀 日本").await;
    assert_eq!((echo.text.as_str(), echo.reply_to.is_some()), ("café 😀 日本", true));
    assert_eq!(echo.entities, [json!({"type": "bold", "offset": 0, "length": 10})]);
    let words = "refused: Can't parse entities: character '.' is reserved";
    let bad = asked(&double, &anna, "/bad").await.text;
    assert!(bad.to_lowercase().starts_with(&words.to_lowercase()), "{bad}");
    assert_eq!(asked(&double, &anna, "/who").await.text, "member in private, member");
    assert_eq!(double.reactions().len(), 1);
    assert_eq!(double.menus()[0].language, "en");

    double.push(&Incoming::document(&anna, "list.opml", b"<opml/>", ""));
    let back = double.sent_count(anna.id, 5).await.remove(4);
    let document = back.document.expect("a document");
    assert_eq!((document.name.as_str(), &document.bytes[..]), ("back-list.opml", &b"<opml/>"[..]));
    assert!(back.silent && back.text == "7 bytes");

    double.fault(Rule::new("sendMessage", 1, Fault::retry_after(1)).to(anna.id));
    assert_eq!(asked(&double, &anna, "patience").await.text, "patience");
    double.block(&ben);
    let blocked = asked(&double, &anna, &format!("/blocked {}", ben.id)).await.text;
    assert_eq!(blocked, "forbidden: Forbidden: bot was blocked by the user");
    if way == Way::Webhook {
        let conflict = asked(&double, &anna, "/conflict").await.text;
        assert!(conflict.starts_with("conflict: Conflict: can't use getUpdates method"), "{conflict}");
    } else {
        double.until("a poll", Telegram::polled).await;
        assert!(double.rival_polls());
        assert_eq!(asked(&double, &anna, "after").await.text, "after");
    }
    let said = double.say(&anna, "/delete");
    double.until("both are gone", |double| double.deletions().len() == 2).await;
    assert_eq!(double.deletions()[1].id, said.id);
    assert_eq!(double.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn python_telegram_bot_polls() {
    judge(Client::PythonTelegramBot, Way::Poll).await;
}

#[tokio::test]
async fn python_telegram_bot_takes_webhooks() {
    judge(Client::PythonTelegramBot, Way::Webhook).await;
}

#[tokio::test]
async fn aiogram_polls() {
    judge(Client::Aiogram, Way::Poll).await;
}

#[tokio::test]
async fn aiogram_takes_webhooks() {
    judge(Client::Aiogram, Way::Webhook).await;
}

#[tokio::test]
async fn grammy_polls() {
    judge(Client::Grammy, Way::Poll).await;
}

#[tokio::test]
async fn grammy_takes_webhooks() {
    judge(Client::Grammy, Way::Webhook).await;
}

#[tokio::test]
async fn a_more_lenient_double_differs_only_where_it_is_known_to() {
    let double = Telegram::with(Options { rates: Rates::Off, ..Options::default() }).await;
    let (base, token, port) = (double.base_url(), double.token(), free_port().to_string());
    let Some(mut command) = node::telegram(COMPARE, &[&base, &token, &port]).await else { return };
    let output = crate::blocking(move || command.output().expect("node starts")).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, KNOWN, "{}", String::from_utf8_lossy(&output.stderr));
}
