//! Who leads a group, and whether we may write there: asked of Telegram, remembered for a while. Invariant: who cannot be
//! asked about leads nothing.
//!
//! Source: news.md section 2; Bot API, "ChatMember".

use super::api::Api;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// How long an answer is believed.
const BELIEVED: Duration = Duration::from_secs(300);
/// Answers remembered.
const REMEMBERED: usize = 10_000;

/// What is known of somebody in a chat.
#[derive(Clone, Copy, Debug, Default)]
struct Member {
    leads: bool,
    posts: bool,
}

/// Members of groups and channels.
#[derive(Default)]
pub(super) struct Groups(Mutex<HashMap<(i64, i64), (Instant, Member)>>);

impl Groups {
    /// Whether that person leads that chat.
    pub(super) async fn manages(&self, api: &Api, chat: i64, person: i64) -> bool {
        self.member(api, chat, person).await.leads
    }

    /// Whether that member may write there.
    pub(super) async fn may_post(&self, api: &Api, chat: i64, member: i64) -> bool {
        self.member(api, chat, member).await.posts
    }

    async fn member(&self, api: &Api, chat: i64, person: i64) -> Member {
        let now = Instant::now();
        if let Some((until, member)) = self.0.lock().get(&(chat, person))
            && *until > now
        {
            return *member;
        }
        let params = json!({"chat_id": chat, "user_id": person});
        let Ok(told) = api.call("getChatMember", &params).await else { return Member::default() };
        let member = read(&told);
        let mut known = self.0.lock();
        if known.len() >= REMEMBERED {
            known.retain(|_, (until, _)| *until > now);
        }
        known.insert((chat, person), (now + BELIEVED, member));
        member
    }

    /// What is known of a chat is asked anew: something changed there.
    pub(super) fn forget(&self, chat: i64) {
        self.0.lock().retain(|(known, _), _| *known != chat);
    }
}

fn read(told: &Value) -> Member {
    let status = told["status"].as_str().unwrap_or_default();
    let leads = matches!(status, "creator" | "administrator");
    let posts = match status {
        "creator" | "member" => true,
        // In channels the right is named; groups do not have it.
        "administrator" => told["can_post_messages"].as_bool().unwrap_or(true),
        "restricted" => told["can_send_messages"] == true,
        _ => false,
    };
    Member { leads, posts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_as_telegram_writes_them() {
        let of = |told: Value| {
            let member = read(&told);
            (member.leads, member.posts)
        };
        assert_eq!(of(json!({"status": "creator"})), (true, true));
        assert_eq!(of(json!({"status": "administrator", "can_post_messages": false})), (true, false));
        assert_eq!(of(json!({"status": "administrator"})), (true, true));
        assert_eq!(of(json!({"status": "member"})), (false, true));
        assert_eq!(of(json!({"status": "restricted", "can_send_messages": false})), (false, false));
        assert_eq!(of(json!({"status": "left"})), (false, false));
    }
}
