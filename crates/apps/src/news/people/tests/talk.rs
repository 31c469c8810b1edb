//! What is said to commands, buttons and words.

use super::*;

#[tokio::test]
async fn from_the_first_word_to_a_digest_that_stands_in_the_outbox_once() {
    let house = House::new().await;
    assert!(house.say("/start").await.contains("Folder 1, 0 sources"));
    assert!(house.say("/news").await.contains("no sources in Folder 1 yet"));
    assert!(
        house
            .say("/add @Durov_News, nonsense https://t.me/durov/1")
            .await
            .starts_with("✖️ nonsense: write a channel")
    );
    assert!(house.say("/list").await.contains("📂 Folder 1 (1/10)\n• @durov_news"));
    let asked = message("telegram:1", "/news");
    let reply = house.ask(asked.clone()).await;
    assert_eq!(reply, MessageReply::default(), "it is in the outbox");
    let posts = house.outbox().await;
    assert_eq!(posts[0], "📰 Folder 1\n1 story · 24 hours");
    assert_eq!(posts[1], "🔥 1. It rains\n• First.\n• Second.\n\nSources (2): @chan0, @chan1");
    assert_eq!(posts.len(), 2);
    assert_eq!(house.ask(asked).await, MessageReply::default(), "asked again by a restart");
    assert_eq!(house.outbox().await.len(), 2);
    assert_eq!(house.kitchen.asked.load(Ordering::Relaxed), 1);
    assert!(house.say("/usage").await.contains("2 of 3 digests are left"));
}

// req: S0-10
#[tokio::test]
async fn what_is_used_up_says_when_it_renews_and_what_failed_costs_nothing() {
    let house = House::new().await;
    house.say("/add @durov_news").await;
    let less = Digest { less: vec![Less::Extractive], ..house.kitchen.serves.lock().clone() };
    let good = std::mem::replace(&mut *house.kitchen.serves.lock(), less);
    assert_eq!(house.say("/news").await, "");
    let posts = house.outbox().await;
    assert!(posts[2].contains("AI was not available") && posts[2].contains("does not count"), "{posts:?}");
    *house.kitchen.serves.lock() = Digest::default();
    assert!(house.say("/news").await.starts_with("Nothing new in 24 hours from 1 source."));
    let failed = vec![Failed { source: Source::Channel("durov_news".into()), reason: Reason::NoPreview }];
    *house.kitchen.serves.lock() = Digest { failed, ..Digest::default() };
    assert!(house.say("/news").await.contains("@durov_news: shows nothing to those who are not in it"));
    assert!(house.say("/usage").await.contains("3 of 3 digests are left"), "nothing was charged");
    *house.kitchen.serves.lock() = good;
    for _ in 0..3 {
        assert_eq!(house.say("/news all").await, "");
    }
    let refused = house.say("/news").await;
    assert!(refused.starts_with("You have used 3 of 3 digests today. New ones from 20"), "{refused}");
    assert!(house.say("/usage").await.contains("0 of 3"));
}

#[tokio::test]
async fn a_cancelled_digest_is_not_given_and_not_charged() {
    let house = House::new().await;
    house.say("/add @durov_news").await;
    let unwanted = MessageRequest { progress: Progress::new(|_| false), ..message("telegram:1", "/news") };
    assert_eq!(house.ask(unwanted).await.words(), "Cancelled. It cost nothing.");
    assert!(house.outbox().await.is_empty());
    assert!(house.say("/usage").await.contains("3 of 3"));
}

#[tokio::test]
async fn cancel_says_what_it_ended() {
    let house = House::new().await;
    assert_eq!(house.say("/cancel").await, "Nothing is under way.");
    house.press("1:fn:0").await;
    let dialog = house.store.readers().dialog("telegram:1", "telegram:1", now_ms()).await.unwrap();
    assert_eq!(dialog.map(|dialog| dialog.state).as_deref(), Some("new_folder"));
    assert_eq!(house.say("/cancel").await, "Cancelled. It cost nothing.");
    house.say("/add @durov_news").await;
    *house.kitchen.takes.lock() = Duration::from_millis(500);
    let both = async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        house.say("/cancel").await
    };
    let (_digest, said) = tokio::join!(house.say("/news"), both());
    assert_eq!(said, "", "the digest says it itself");
}

#[tokio::test]
async fn what_was_shown_and_how_the_person_wants_it_reaches_the_kitchen() {
    let house = House::new().await;
    house.say("/add @durov_news").await;
    assert_eq!(house.say("/time 2d").await, "Digests look back 48 hours now.");
    assert_eq!(
        house.say("/time 99d").await,
        "Your plan allows 1 hour to 3 days; write /time 12 or /time 2d."
    );
    assert_eq!(house.say("/posts 3").await, "Digests have at most 3 stories now.");
    house.say("/lang digest ru").await;
    house.say("/news").await;
    house.say("/news").await;
    let ask = house.kitchen.last.lock().take().unwrap();
    assert_eq!((ask.stories, ask.language.unwrap().code()), (3, "ru"));
    assert_eq!(ask.shown, [(u64::MAX - 2, 2)].into());
    assert!((now_ms() - ask.since - 48 * 3_600_000).abs() < 60_000);
    house.say("/news all").await;
    assert!(house.kitchen.last.lock().take().unwrap().shown.is_empty());
}

#[tokio::test]
async fn folders_are_made_named_used_and_deleted_with_each_rule_told() {
    let house = House::new().await;
    house.say("/start").await;
    assert_eq!(house.say("/folder new Work").await, "The folder Work is made and active.");
    assert!(house.say("/folder new wORK").await.starts_with("There is a folder wORK already"));
    assert!(house.say("/folder new Third").await.starts_with("Your plan holds 2 folders."));
    assert!(house.say("/folder rename folder 1").await.contains("already"));
    assert!(house.say(&format!("/folder rename {}", "x".repeat(33))).await.contains("1 to 32"));
    assert_eq!(house.say("/folder use FOLDER 1").await, "Folder 1 is the active folder now.");
    assert_eq!(house.say("/folder delete work").await, "The folder Work is deleted.");
    assert!(house.say("/folder delete Folder 1").await.starts_with("The last folder cannot"));
    assert!(house.say("/news nowhere").await.starts_with("There is no folder nowhere."));
}

#[tokio::test]
async fn removed_sources_come_back_and_out_of_date_buttons_say_so() {
    let house = House::new().await;
    house.say("/add @alpha_one @beta_two").await;
    assert!(house.say("/remove @alpha_on").await.starts_with("@alpha_on is not in the active folder"));
    let reply = house.ask(message("telegram:1", "/remove t.me/alpha_one")).await;
    assert!(house.say("/list").await.contains("(1/10)"));
    let undo = tokens(&reply)[0].clone();
    assert_eq!(house.press(&undo).await.words(), "1 source is back.");
    assert_eq!(house.press(&undo).await.words(), "That can no longer be undone.");
    let all = house.ask(message("telegram:1", "/remove_all")).await;
    assert_eq!(
        house.press(&tokens(&all)[0]).await.words(),
        "2 sources removed. It can be undone for a while."
    );
    for token in ["0:x", "1:nothing:1", "1:n:zz", "", "1:rx:1:abc"] {
        let reply = house.press(token).await;
        assert!(reply.words().starts_with("This menu was out of date") && reply.toast.is_some(), "{token}");
    }
}

#[tokio::test]
async fn a_dialog_goes_on_over_messages_and_any_command_ends_it() {
    let house = House::new().await;
    house.say("/start").await;
    assert!(house.say("/add").await.starts_with("Send me up to 10 sources"));
    assert_eq!(house.say("@alpha_one").await, "✅ @alpha_one");
    house.press("1:fn:0").await;
    house.say("/list").await;
    assert!(house.say("Work").await.contains("What shall I do?"), "the dialog ended");
    house.press("1:fn:0").await;
    assert_eq!(house.say("Work").await, "The folder Work is made and active.");
    let offer = house.ask(message("telegram:1", "t.me/beta_two")).await;
    assert!(offer.words().starts_with("Add to the active folder?\n@beta_two"));
    assert_eq!(house.press(&tokens(&offer)[0]).await.words(), "✅ @beta_two");
}

#[tokio::test]
async fn everything_is_said_in_the_chosen_language() {
    let house = House::new().await;
    let german = MessageRequest { language: Some("ru-RU".into()), ..message("telegram:1", "/start") };
    assert!(house.ask(german).await.words().contains("Папка 1, 0 источников"));
    assert_eq!(house.say("/lang nl").await, "Ik gebruik Nederlands.");
    assert!(house.say("/nothing").await.contains("ken ik niet"));
    assert!(house.say("/lang xx").await.starts_with("💬 is de taal"));
    let help = house.say("/help").await;
    assert!(help.contains("/news: een overzicht") && !help.contains("/stats"));
    assert!(help.contains("\n/ask: Vraag het de documenten"), "commands of other apps: {help}");
}

#[tokio::test]
async fn a_group_has_its_own_folders_which_only_its_managers_change() {
    let house = House::new().await;
    let group =
        |text: &str, manages| MessageRequest { group: true, manages, ..message("telegram-group:5", text) };
    assert!(house.ask(group("/add @alpha_one", false)).await.words().starts_with("Only administrators"));
    assert_eq!(house.ask(group("/add @alpha_one", true)).await.words(), "✅ @alpha_one");
    assert!(house.ask(group("/list", false)).await.words().contains("@alpha_one"));
    assert_eq!(house.ask(group("/news", false)).await, MessageReply::default());
    let posts = house.outbox().await;
    assert_eq!(posts.len(), 1, "one post where many read");
    assert!(posts[0].contains("It rains"));
    assert!(!house.say("/list").await.contains("@alpha_one"), "a person has others");
}

#[tokio::test]
async fn all_that_is_kept_is_shown_and_forgotten() {
    let house = House::new().await;
    house.say("/add @alpha_one").await;
    house.say("/news").await;
    let file = house.ask(message("telegram:1", "/mydata")).await.posts.remove(0).file.unwrap();
    let data: serde_json::Value = serde_json::from_slice(&file.bytes).unwrap();
    assert_eq!(data["folders"][0]["sources"][0], "@alpha_one");
    assert_eq!(data["digests_charged"], 1);
    let sure = house.ask(message("telegram:1", "/forget")).await;
    assert!(house.press(&tokens(&sure)[0]).await.words().starts_with("Everything about you is deleted."));
    assert!(house.say("/list").await.contains("(0/10)"));
    let waiting = house.store.outbox().depth("telegram").await.unwrap();
    assert_eq!(waiting.rows, 0, "what was on its way is not sent");
}
