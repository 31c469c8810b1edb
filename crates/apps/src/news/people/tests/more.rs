//! Filters, schedules in words and buttons, documents, owners of channels, administrators.

use super::*;
use portcullis_domain::File;

#[tokio::test]
async fn filters_are_kept_tested_and_reach_the_kitchen() {
    let house = House::new().await;
    house.say("/add @alpha_one").await;
    assert!(house.say("/filter +sun rain").await.starts_with("rain is no term"));
    let set = house.say("/filter Folder 1 +sun -rain !storm \"x").await;
    assert!(set.starts_with("\"x is no term"), "{set}");
    assert!(house.say("/filter Folder 1 +sun -rain !storm").await.ends_with("+sun -rain !storm"));
    assert_eq!(house.say("/filter test sun and rain").await, "It is kept out, by -rain.");
    assert_eq!(house.say("/filter test sun, storm").await, "It passes, by +sun.\n1 watched term is in it.");
    house.say("/news").await;
    let ask = house.kitchen.last.lock().take().unwrap();
    let (keeps, watches) = (ask.keeps.unwrap(), ask.watches.unwrap());
    assert!(keeps("the sun") && !keeps("the sun and rain") && watches("a storm") == 1);
    house.say("/filter clear").await;
    house.say("/news").await;
    let ask = house.kitchen.last.lock().take().unwrap();
    assert!(ask.keeps.is_none() && ask.watches.is_none());
}

#[tokio::test]
async fn a_schedule_is_written_or_pressed_and_shows_its_next_times() {
    let house = House::new().await;
    house.say("/add @alpha_one").await;
    let wrong = house.say("/schedule 0 8,x * * *").await;
    assert!(wrong.starts_with("At character 5 there is no number"), "{wrong}");
    assert!(house.say("/schedule daily 8:00 Mars/Base").await.starts_with("There is no time zone Mars/Base"));
    assert!(house.say("/schedule */5 * * * * UTC").await.starts_with("Between two digests"));
    assert!(house.say("/schedule daily 8:00 UTC loud=yes").await.starts_with("I do not understand loud=yes"));
    let made = house.say("/schedule weekdays 07:30 Europe/Amsterdam quiet=22:00-07:00 empty=note").await;
    assert!(
        made.starts_with("It is scheduled") && made.matches("07:30 (Europe/Amsterdam)").count() == 3,
        "{made}"
    );
    let times = house.press("1:sn:0:daily").await;
    assert!(tokens(&times).contains(&"1:sb:0:daily.8".to_owned()));
    assert!(
        house.press("1:sb:0:daily.8").await.words().contains("08:00 (Europe/Amsterdam)"),
        "the zone is known"
    );
    assert!(house.say("/schedule hourly").await.starts_with("Your plan holds 2 schedules."));
    let list = house.ask(message("telegram:1", "/schedule")).await;
    assert!(list.words().contains("30 7 * * 1-5"));
    let delete = tokens(&list).into_iter().find(|token| token.starts_with("1:sd:")).unwrap();
    let rest = house.press(&delete).await.words();
    assert!(!rest.contains("30 7 * * 1-5") && rest.contains("0 8 * * *"), "{rest}");
    assert!(house.say("/schedule daily 9 to=-100123").await.starts_with("I may not post there"));
}

#[tokio::test]
async fn a_zone_that_is_asked_for_is_pressed_or_written() {
    let house = House::new().await;
    house.say("/add @alpha_one").await;
    assert!(house.say("/schedule daily 8:00").await.starts_with("In which time zone?"));
    assert!(house.say("Nowhere").await.starts_with("There is no time zone Nowhere"));
    assert!(house.say("Asia/Tokyo").await.contains("08:00 (Asia/Tokyo)"));
}

#[tokio::test]
async fn what_is_exported_is_taken_in_by_somebody_else() {
    let house = House::new().await;
    house.say("/add @alpha_one https://example.org/feed?a=1&b=2").await;
    house.say("/folder new Work").await;
    house.say("/add @beta_two").await;
    let file = house.ask(message("telegram:1", "/export")).await.posts.remove(0).file.unwrap();
    let other = |file: File| MessageRequest { file: Some(file), ..message("telegram:2", "") };
    let said = house.ask(other(file.clone())).await.words();
    assert!(said.starts_with("Taken in: 3. There already: 0."), "{said}");
    assert!(house.ask(other(file)).await.words().starts_with("Taken in: 0. There already: 3."));
    let list = house.ask(message("telegram:2", "/list")).await.words();
    assert!(list.contains("📂 Folder 1 (2/10)") && list.contains("📁 Work (1/10)"), "{list}");
    let bomb = File { name: "x.opml".into(), bytes: "<!DOCTYPE a [<!ENTITY b \"c\">]><opml/>".into() };
    assert!(house.ask(other(bomb)).await.words().starts_with("That is no OPML document"));
    let large = File { name: "x.opml".into(), bytes: vec![b' '; 262_145].into() };
    assert!(house.ask(other(large)).await.words().contains("larger than 256 KiB"));
}

#[tokio::test]
async fn an_owner_asks_in_steps_and_an_administrator_decides_once() {
    let house = House::new().await;
    house.say("/add @alpha_one").await;
    assert!(house.press("1:ow:0:remove").await.words().starts_with("Which channel?"));
    let topics = house.ask(message("telegram:1", "@alpha_one")).await;
    assert_eq!(tokens(&topics).len(), 11);
    assert!(house.press(&tokens(&topics)[2]).await.words().starts_with("Describe it"));
    assert!(house.say("no").await.starts_with("Describe it"), "too short");
    assert!(house.say("It is ours and private.").await.starts_with("Your request is with"));
    let note = house.outbox().await.remove(0);
    assert!(note.contains("remove: @alpha_one") && note.contains("telegram:1"));
    assert!(house.press("1:oa:1").await.words().starts_with("This menu was out of date"), "no administrator");
    let press = || MessageRequest { pressed: Some("1:oa:1".into()), ..message("telegram:99", "") };
    assert_eq!(house.ask_as(Scopes::ALL, press()).await.unwrap().words(), "remove @alpha_one: accepted");
    assert!(house.ask_as(Scopes::ALL, press()).await.unwrap().words().contains("decided before"));
    assert!(house.outbox().await.last().unwrap().contains("@alpha_one was accepted"));
    assert!(house.say("/add @alpha_one").await.contains("already"));
    assert!(house.say("/news").await.contains("no sources in Folder 1"), "it is not fetched any more");
    let bob = house.ask(message("telegram:2", "/add @alpha_one")).await.words();
    assert!(bob.contains("its owner asked us not to show it"));
}

#[tokio::test]
async fn administrators_have_commands_that_do_not_exist_for_others() {
    let house = House::new().await;
    house.say("/add @alpha_one").await;
    assert!(house.say("/stats").await.starts_with("I do not know /stats"));
    let admin =
        async |text: &str| house.ask_as(Scopes::ALL, message("telegram:99", text)).await.unwrap().words();
    let stats = admin("/log").await;
    assert!(stats.contains("people: 2") && stats.contains("command: "), "{stats}");
    assert!(admin("/user telegram:1").await.contains("plan: free"));
    assert_eq!(admin("/plan_set telegram:1 pro").await, "telegram:1: pro");
    let usage = house.say("/usage").await;
    assert!(usage.starts_with("Plan pro: 30 of 30"), "{usage}");
    assert!(usage.ends_with("Folders: 1/15\n• Folder 1: 1/60"), "{usage}");
    assert_eq!(house.people.tier("telegram:1").await, Some(Tier::Premium), "its limits follow the plan");
    assert_eq!(house.people.tier("telegram:99").await, Some(Tier::Authenticated));
    assert_eq!(house.people.tier("telegram:404").await, None);
    assert_eq!(admin("/block @alpha_one its owner wrote").await, "@alpha_one: blocked (1)");
    assert_eq!(admin("/unblock @alpha_one").await, "@alpha_one: unblocked (1)");
    assert!(admin("/backup").await.contains("not offered here"));
    assert_eq!(admin("/ban telegram:1").await, "telegram:1: banned");
    assert_eq!(house.say("/help").await, "", "silence");
    assert_eq!(admin("/unban telegram:1").await, "telegram:1: unbanned");
    let sure = house.ask_as(Scopes::ALL, message("telegram:99", "/broadcast Hello all")).await.unwrap();
    assert!(sure.words().starts_with("Send this to 2 people?"));
    let press = MessageRequest { pressed: Some(tokens(&sure)[0].clone()), ..message("telegram:99", "") };
    assert_eq!(house.ask_as(Scopes::ALL, press).await.unwrap().words(), "On its way to 2 people.");
    let rows = house.store.outbox().list(None, None, 99).await.unwrap();
    assert_eq!(rows.iter().filter(|row| row.payload == "Hello all" && row.class == 3).count(), 2);
}

#[tokio::test]
async fn a_source_that_gives_nothing_now_is_added_only_when_the_person_says_so() {
    let house = House::new().await;
    let doubt = house.ask(message("telegram:1", "/add @alpha_one @far_away")).await;
    assert!(doubt.words().starts_with("✅ @alpha_one\n⚠️ @far_away: did not answer"), "{}", doubt.words());
    assert!(house.say("/list").await.contains("(1/10)"));
    assert!(
        house.press(&tokens(&doubt)[0]).await.words().starts_with("This menu was out of date"),
        "a command ended it"
    );
    let doubt = house.ask(message("telegram:1", "/add @far_away")).await;
    assert_eq!(house.press(&tokens(&doubt)[0]).await.words(), "✅ @far_away");
    let page = house.say("/add https://example.org/page @quiet_one").await;
    assert!(page.ends_with("Feeds of it can be followed instead:\nhttps://example.org/feed"), "{page}");
    let added = house.press("1:ay:0").await.words();
    assert_eq!(added, "✅ https://example.org/feed", "by the button below it");
    assert!(house.say("/list").await.contains("@quiet_one 💤 quiet"));
}
