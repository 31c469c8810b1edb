//! Ids of tool calls where Google gives none: `call_<n>_<hash>`, the same whenever the same turn is read. Invariant: an
//! id of this shape is never sent to Google, which knows nothing of it; calls and results then meet by name and order.
//! Source: gateway.md section 8.

/// The id of call number `n` (of a conversation, or of the answer `of`).
pub(super) fn call_id(n: u32, of: &str, name: &str, arguments: &str) -> String {
    // FNV-1a: stable over versions and machines, which the standard hashers do not promise.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for text in [of, name, arguments] {
        for byte in text.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("call_{n}_{hash:016x}")
}

/// Whether an id is one of ours.
pub(super) fn is_ours(id: &str) -> bool {
    let parts = id.strip_prefix("call_").and_then(|rest| rest.split_once('_'));
    parts.is_some_and(|(n, hash)| {
        !n.is_empty()
            && n.bytes().all(|byte| byte.is_ascii_digit())
            && hash.len() == 16
            && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Calls of a conversation that have no result yet.
#[derive(Debug, Default)]
pub(super) struct Calls {
    made: u32,
    open: Vec<(String, String)>,
}

impl Calls {
    /// Notes a call; its id.
    pub(super) fn made(&mut self, given: Option<String>, name: &str, arguments: &str) -> String {
        let id = given.unwrap_or_else(|| call_id(self.made, "", name, arguments));
        self.made = self.made.saturating_add(1);
        self.open.push((id.clone(), name.to_owned()));
        id
    }

    /// The id of the call that a result answers: the one it names, else the first of its name that is open.
    pub(super) fn answered(&mut self, given: Option<String>, name: &str) -> Option<String> {
        let at = self.open.iter().position(|(id, called)| match &given {
            Some(given) => id == given,
            None => called == name,
        });
        let found = at.map(|at| self.open.remove(at).0);
        given.or(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_known_and_meet_their_results_by_name_and_order() {
        let id = call_id(3, "", "look", "{}");
        assert_eq!(id, call_id(3, "", "look", "{}"));
        assert!(is_ours(&id) && id != call_id(3, "", "loo", "k{}"));
        assert!(!is_ours("call_1") && !is_ours("call_x_0123456789abcdef") && !is_ours("toolu_1"));
        let mut calls = Calls::default();
        let ids = ["a", "b", "a"].map(|name| calls.made(None, name, "{}"));
        assert_eq!(calls.answered(None, "b").as_ref(), Some(&ids[1]));
        assert_eq!(calls.answered(None, "a").as_ref(), Some(&ids[0]));
        assert_eq!(calls.answered(None, "a").as_ref(), Some(&ids[2]));
        assert_eq!(calls.answered(None, "a"), None);
    }
}
