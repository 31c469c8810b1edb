//! Chats that are open or closed, groups, topics, presses, actions, drafts, reactions, commands.

use super::{bad, direct, done, double, refused, words};
use crate::telegram::{Access, Incoming, Kind};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn closed_chats_have_their_own_words() {
    let double = double().await;
    let anna = double.person("Anna");
    let team = double.group("Team", &[&anna]);
    let old = double.group_of(Kind::Group, "Old", &[&anna]);
    let channel = double.group_of(Kind::Channel, "Channel", &[&anna]);
    let forbidden = |words: &str| (403, format!("Forbidden: {words}"));
    for (chat, access, words) in [
        (anna.id, Access::Blocked, forbidden("bot was blocked by the user")),
        (anna.id, Access::NotStarted, forbidden("bot can't initiate conversation with a user")),
        (anna.id, Access::Deactivated, forbidden("user is deactivated")),
        (team.id, Access::Kicked, forbidden("bot was kicked from the supergroup chat")),
        (team.id, Access::NotMember, forbidden("bot is not a member of the supergroup chat")),
        (old.id, Access::Kicked, forbidden("bot was kicked from the group chat")),
        (old.id, Access::Deleted, forbidden("the group chat was deleted")),
        (channel.id, Access::NotMember, forbidden("bot is not a member of the channel chat")),
    ] {
        double.set_access(chat, access);
        assert_eq!(refused(&double, "sendMessage", json!({"chat_id": chat, "text": "a"})).await, words);
        double.set_access(chat, Access::Open);
        done(&double, "sendMessage", json!({"chat_id": chat, "text": "a"})).await;
    }
    assert_eq!(
        refused(&double, "sendMessage", json!({"chat_id": 5, "text": "a"})).await,
        bad("chat not found")
    );
    assert_eq!(refused(&double, "sendMessage", json!({"text": "a"})).await, bad("chat_id is empty"));
    assert_eq!(double.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn writing_to_a_blocked_chat_again_and_again_is_noted() {
    let double = double().await;
    let anna = double.person("Anna");
    double.say(&anna, "hello");
    double.block(&anna);
    let say = || refused(&double, "sendMessage", json!({"chat_id": anna.id, "text": "a"}));
    say().await;
    say().await;
    assert_eq!(double.violations(), Vec::<String>::new());
    say().await;
    let noted = format!("chat {} was written to again and again: bot was blocked by the user", anna.id);
    assert_eq!(double.violations(), [noted]);
    // A word from them opens the chat.
    double.say(&anna, "/start");
    done(&double, "sendMessage", json!({"chat_id": anna.id, "text": "a"})).await;
    let updates = done(&double, "getUpdates", json!({})).await;
    assert_eq!(updates[1]["my_chat_member"]["new_chat_member"]["status"], "kicked");
}

#[tokio::test]
async fn an_upgraded_group_names_its_new_number() {
    let double = double().await;
    let anna = double.person("Anna");
    let old = double.group_of(Kind::Group, "Team", &[&anna]);
    let new = double.upgrade(&old);
    let (status, body) = super::call(&double, "sendMessage", json!({"chat_id": old.id, "text": "a"})).await;
    assert_eq!(status, 400);
    assert_eq!(body["description"], "Bad Request: group chat was upgraded to a supergroup chat");
    assert_eq!(body["parameters"]["migrate_to_chat_id"], new.id);
    done(&double, "sendMessage", json!({"chat_id": new.id, "text": "a"})).await;
    let updates = done(&double, "getUpdates", json!({})).await;
    assert_eq!(updates[0]["message"]["migrate_to_chat_id"], new.id);
    assert_eq!(updates[1]["message"]["migrate_from_chat_id"], old.id);
}

#[tokio::test]
async fn a_topic_has_to_be_there() {
    let double = double().await;
    let anna = double.person("Anna");
    let forum = double.group_of(Kind::Forum, "Forum", &[&anna]);
    let topic = double.topic(forum.id);
    let say = |chat: i64, thread: i64| json!({"chat_id": chat, "message_thread_id": thread, "text": "a"});
    let message = done(&double, "sendMessage", say(forum.id, topic)).await;
    assert_eq!((&message["message_thread_id"], double.sent()[0].thread), (&json!(topic), Some(topic)));
    assert_eq!(refused(&double, "sendMessage", say(forum.id, 77)).await, bad("message thread not found"));
    assert_eq!(refused(&double, "sendMessage", say(anna.id, 77)).await, bad("message thread not found"));
    assert_eq!(double.violations(), Vec::<String>::new());
    done(&double, "sendMessage", say(double.group("Team", &[&anna]).id, 77)).await;
    assert_eq!(double.violations().len(), 1);
    let said = double.push(&Incoming::text(&anna, "hi").within(forum.id).thread(topic));
    let updates = done(&double, "getUpdates", json!({})).await;
    assert_eq!(updates[0]["update_id"], said.update.unwrap());
    assert_eq!(updates[0]["message"]["message_thread_id"], topic);
}

#[tokio::test(start_paused = true)]
async fn a_press_is_answered_once_and_soon() {
    let double = double().await;
    let anna = double.person("Anna");
    let markup = json!({"inline_keyboard": [[{"text": "b", "callback_data": "x"}]]});
    let sent =
        direct(&double, "sendMessage", json!({"chat_id": anna.id, "text": "a", "reply_markup": markup}))
            .await;
    let id = sent.unwrap()["message_id"].as_i64().unwrap();
    let answer = |query: &str, text: &str| {
        direct(&double, "answerCallbackQuery", json!({"callback_query_id": query, "text": text}))
    };
    let stale = bad("query is too old and response timeout expired or query ID is invalid");
    let query = double.press(&anna, anna.id, id, "x");
    assert_eq!(words(answer(&query, &"a".repeat(201)).await), bad("MESSAGE_TOO_LONG"));
    assert!(answer(&query, &"a".repeat(200)).await.is_ok());
    assert_eq!(words(answer(&query, "").await), stale);
    assert_eq!(words(answer("77", "").await), stale);
    let late = double.press(&anna, anna.id, id, "x");
    double.advance(Duration::from_secs(16));
    assert_eq!(words(answer(&late, "").await), stale);
    assert_eq!(double.answers().len(), 1);
}

#[tokio::test]
async fn chat_actions_drafts_and_reactions_are_kept_and_wrong_ones_refused() {
    let double = double().await;
    let anna = double.person("Anna");
    let said = double.say(&anna, "hello");
    done(&double, "sendChatAction", json!({"chat_id": anna.id, "action": "typing"})).await;
    let wrong = refused(&double, "sendChatAction", json!({"chat_id": anna.id, "action": "sleeping"})).await;
    assert_eq!(wrong, bad("wrong parameter action in request"));
    done(&double, "sendMessageDraft", json!({"chat_id": anna.id, "draft_id": 7, "text": "so far"})).await;
    let zero = json!({"chat_id": anna.id, "draft_id": 0, "text": "so far"});
    assert_eq!(refused(&double, "sendMessageDraft", zero).await.0, 400);
    let react = |emoji: &str| json!({"chat_id": anna.id, "message_id": said.id, "reaction": [{"type": "emoji", "emoji": emoji}]});
    done(&double, "setMessageReaction", react("👀")).await;
    assert_eq!(refused(&double, "setMessageReaction", react("🦀")).await, bad("REACTION_INVALID"));
    let nowhere = json!({"chat_id": anna.id, "message_id": 99, "reaction": []});
    assert_eq!(refused(&double, "setMessageReaction", nowhere).await, bad("message to react not found"));
    assert_eq!((double.actions().len(), double.drafts().len(), double.reactions().len()), (1, 1, 1));
}

#[tokio::test]
async fn commands_have_names_and_descriptions() {
    let double = double().await;
    let set = |name: &str, description: &str, language: &str| json!({"commands": [{"command": name, "description": description}], "language_code": language});
    done(&double, "setMyCommands", set("news", "What is new", "de")).await;
    assert_eq!(double.menus()[0].commands, [("news".into(), "What is new".into())]);
    for (name, description, language, why) in [
        ("News", "a", "", "BOT_COMMAND_INVALID"),
        ("", "a", "", "command must be non-empty"),
        (&"n".repeat(33) as &str, "a", "", "command length must not exceed 32"),
        ("news", " ", "", "command description must be non-empty"),
        ("news", &"d".repeat(257), "", "command description length must not exceed 256"),
        ("news", "a", "german", "invalid language code specified"),
    ] {
        assert_eq!(refused(&double, "setMyCommands", set(name, description, language)).await, bad(why));
    }
    let many: Vec<Value> =
        (0..101).map(|n| json!({"command": format!("c{n}"), "description": "d"})).collect();
    assert_eq!(
        refused(&double, "setMyCommands", json!({"commands": many})).await,
        bad("BOT_COMMANDS_TOO_MUCH")
    );
    assert_eq!(double.menus().len(), 1);
}

#[tokio::test]
async fn chats_and_members_can_be_looked_up() {
    let double = double().await;
    let (anna, ben) = (double.person("Anna"), double.person("Ben"));
    let team = double.group("Team", &[&anna]);
    double.publish(team.id, "team_room");
    assert_eq!(done(&double, "getChat", json!({"chat_id": "@Team_Room"})).await["id"], team.id);
    assert_eq!(refused(&double, "getChat", json!({"chat_id": "@nobody"})).await, bad("chat not found"));
    let member = |user: i64| json!({"chat_id": team.id, "user_id": user});
    assert_eq!(done(&double, "getChatMember", member(anna.id)).await["status"], "administrator");
    assert_eq!(done(&double, "getChatMember", member(ben.id)).await["status"], "left");
    assert_eq!(done(&double, "getChatMember", member(double.options().bot_id)).await["status"], "member");
    assert_eq!(refused(&double, "getChatMember", member(5)).await, bad("user not found"));
    done(&double, "leaveChat", json!({"chat_id": team.id})).await;
    assert_eq!(refused(&double, "sendMessage", json!({"chat_id": team.id, "text": "a"})).await.0, 403);
    assert_eq!(refused(&double, "leaveChat", json!({"chat_id": anna.id})).await.0, 400);
}
