//! The hook "prompt" of guard policies: untrusted texts of a message are marked in place, the system part is told what
//! the marks mean and holds a canary, and what must not come out of the answer is known from here on.
//!
//! Invariants: a message that its policy does not harden keeps its bytes and costs nothing here; the same message is
//! hardened the same way in every process of an installation, so that its answer can be kept and replayed, and nobody
//! without the pepper foresees the marks. Source: inspect.md section 3, gateway.md section 11.

use crate::{ids, pipeline::Inner, policy::Policy};
use portcullis_domain::{ChatRequest, Failure, Format, Payload, Role};
use portcullis_inspect::{CheckAction, Flagged, Harden, Hardening, Leak, Origin, Watch};
use portcullis_wire::system;
use serde_json::Value;
use std::sync::Arc;

/// What is done to one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    style: Harden,
    canary: bool,
    leak: CheckAction,
    cited: bool,
    said: bool,
}

/// What a policy says of prompts and of leaks.
#[derive(Debug)]
pub(crate) struct Prompting {
    pub(crate) harden: Harden,
    pub(crate) flagged: Flagged,
    pub(crate) canary: Option<bool>,
    pub(crate) leak: Option<CheckAction>,
    pub(crate) cited: bool,
    /// Whether personal data of the message may stand in its answer.
    pub(crate) said: bool,
    /// Nothing changes, and nothing is blocked.
    pub(crate) shadow: bool,
}

impl Prompting {
    /// None when a message passes as it is.
    pub(crate) fn plan(&self, suspicious: bool) -> Option<Plan> {
        let raised = suspicious && self.hardens_flagged();
        let style = match (self.shadow, self.harden, raised) {
            (true, _, _) => Harden::Off,
            (false, Harden::Off, true) => Harden::Delimit,
            (false, style, _) => style,
        };
        let hardened = style != Harden::Off;
        let leak = self.leak.unwrap_or(if hardened { CheckAction::Block } else { CheckAction::Off });
        let plan = Plan {
            style,
            canary: !self.shadow && self.canary.unwrap_or(hardened),
            leak: if self.shadow { leak.min(CheckAction::Flag) } else { leak },
            cited: self.cited,
            said: self.said,
        };
        (hardened || plan.canary || plan.cited || plan.said || plan.leak != CheckAction::Off).then_some(plan)
    }

    /// Whether suspicious messages are hardened, and their answers call fewer tools.
    pub(crate) fn hardens_flagged(&self) -> bool {
        self.flagged != Flagged::Record && !self.shadow
    }
}

/// A message as it goes on.
pub(crate) struct Prompted {
    pub(crate) payload: Payload,
    /// What is looked for in its answer; the policy's own where nothing was added to that.
    pub(crate) watch: Option<Arc<Watch>>,
    /// Whether its untrusted texts are marked.
    pub(crate) hardened: bool,
    /// What its caller wrote as `instructions`, where answers repeat them and they were added to.
    pub(crate) instructions: Option<Arc<Value>>,
}

/// A message as the plan wants it.
pub(crate) async fn harden(
    engine: &Inner,
    policy: &Policy,
    payload: Payload,
    plan: Plan,
) -> Result<Prompted, Failure> {
    let output = policy.output.clone();
    let mut request = match payload {
        Payload::Chat(request) => request,
        payload @ (Payload::Count(_)
        | Payload::Embed(_)
        | Payload::Models(_)
        | Payload::Library(_)
        | Payload::News(_)) => {
            let watch = match (output, words_of(&payload)) {
                (Some(watch), Some(text)) if plan.said => {
                    Some(Arc::new(watch.as_ref().clone().and_said([text])))
                }
                (watch, _) => watch,
            };
            return Ok(Prompted { payload, watch, hardened: false, instructions: None });
        }
    };
    let seed = engine.seed(&request.body);
    let large = request.body.len() > engine.screening.offload_bytes;
    let tells = plan.style != Harden::Off || plan.canary;
    let instructions =
        (tells && request.format == Format::Responses).then(|| Arc::new(system::instructions(&request.body)));
    let work = move || {
        let watch = prepared(plan, &seed, &mut request, output.as_deref());
        (request, watch)
    };
    let (request, watch) = if large {
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            let incident = ids::incident();
            tracing::error!(%incident, %error, "hardening failed; only this request was refused");
            Failure::Internal { incident }
        })?
    } else {
        work()
    };
    Ok(Prompted {
        payload: Payload::Chat(request),
        watch: Some(Arc::new(watch)),
        hardened: plan.style != Harden::Off,
        instructions,
    })
}

/// The words of a person in a message that is no chat.
fn words_of(payload: &Payload) -> Option<&str> {
    match payload {
        Payload::Library(request) => request.text(),
        Payload::News(request) => request.text(),
        Payload::Chat(_) | Payload::Count(_) | Payload::Embed(_) | Payload::Models(_) => None,
    }
}

/// Marks what is untrusted and tells the system part; what to look for in the answer.
fn prepared(plan: Plan, seed: &[u8; 32], request: &mut ChatRequest, output: Option<&Watch>) -> Watch {
    let texts: Vec<(Role, String)> = request.texts().map(|(role, text)| (role, text.into_owned())).collect();
    let of =
        |wanted: Role| texts.iter().filter(move |(role, _)| *role == wanted).map(|(_, text)| text.as_str());
    let hardening = Hardening::new(plan.style, plan.canary, seed, of(Role::User).chain(of(Role::Tool)));
    let told = hardening.announcement();
    let mut edits = Vec::new();
    let mut untold = told.as_deref();
    for (index, (role, text)) in texts.iter().enumerate() {
        let origin = match role {
            Role::User => Origin::Person,
            Role::Tool => Origin::Data,
            Role::System => {
                edits.extend(untold.take().map(|told| (index, format!("{text}\n\n{told}"))));
                continue;
            }
            Role::Assistant => continue,
        };
        if plan.style != Harden::Off && !text.trim().is_empty() {
            edits.push((index, hardening.mark(text, origin).into_owned()));
        }
    }
    if !edits.is_empty() {
        request.replace(edits);
    }
    if let Some((at, json)) = untold.and_then(|told| system::place(request.format, &request.body, told)) {
        request.splice_in(&at, &json);
    }
    let mut watch = output.cloned().unwrap_or_default();
    if plan.leak != CheckAction::Off {
        let instructions = of(Role::System).chain(told.as_deref());
        let known = of(Role::User).chain(of(Role::Tool));
        watch = watch.and_leak(plan.leak, Leak::new(hardening.canary(), instructions, known));
    }
    if plan.cited {
        watch = watch.and_cited(of(Role::User));
    }
    if plan.said {
        watch = watch.and_said(of(Role::User).chain(of(Role::Tool)));
    }
    watch
}

#[cfg(test)]
mod tests;
