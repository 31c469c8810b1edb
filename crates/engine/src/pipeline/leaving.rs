//! An answer's way out: held against the caller's schema, looked at, given back what was hidden in its prompt. Invariant:
//! what is found is noted before the answer leaves or, in a stream, when it ends.

use super::Inner;
use crate::{
    outgoing::{self, Outgoing, Sight},
    policy::Policy,
    screening::{self, Who},
    shape::{Shape, Shaped},
};
use portcullis_domain::{Failure, Format, Reply, ReplyBody};
use portcullis_inspect::CheckAction;
use std::sync::Arc;

/// An answer on its way out, under a policy that looks at it or has to put something back.
pub(super) struct Leaving<'a> {
    pub(super) engine: &'a Arc<Inner>,
    pub(super) policy: &'a Arc<Policy>,
    pub(super) shape: Option<Arc<Shape>>,
    pub(super) sight: Sight,
    pub(super) who: Who,
    pub(super) format: Format,
    pub(super) choices: u32,
}

impl Leaving<'_> {
    /// The answer as it may leave.
    pub(super) fn reply(self, reply: Reply) -> Result<Reply, Failure> {
        let Self { engine, policy, shape, sight, who, format, choices } = self;
        let body = match reply.body {
            ReplyBody::Whole(body) => {
                // As the model said it: what is redacted afterwards is no fault of the answer.
                let wrong = shape.and_then(|shape| shape.whole(&body));
                let called = outgoing::called(&sight, format, &body);
                let (body, mut findings, mut blocked) = outgoing::whole(&sight, body);
                blocked |= !called.is_empty();
                findings.extend(called);
                blocked |= wrong.is_some_and(|(_, action)| action == CheckAction::Block);
                findings.extend(wrong);
                if !findings.is_empty() {
                    let incident = screening::note(engine, policy, "output", &findings, &who);
                    if blocked {
                        return Err(Failure::Blocked { incident });
                    }
                }
                ReplyBody::Whole(body)
            }
            ReplyBody::Stream(mut source) => {
                let told = || {
                    let (engine, policy, who) = (engine.clone(), policy.clone(), who.clone());
                    Box::new(move |findings| {
                        screening::note(&engine, &policy, "output", &findings, &who);
                    })
                };
                if let Some(shape) = shape {
                    source = Box::pin(Shaped::new(source, shape, told()));
                }
                if !sight.is_blind() {
                    source = Box::pin(Outgoing::new(source, format, choices, sight, told()));
                }
                ReplyBody::Stream(source)
            }
            // Its app has looked at every text of it.
            message @ ReplyBody::Message(_) => message,
        };
        Ok(Reply { body, ..reply })
    }
}
