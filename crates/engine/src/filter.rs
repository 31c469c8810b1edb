//! The output filter for apps that say words themselves instead of passing a provider's answer on: each text passes it
//! once before it leaves. Invariant: what is found is noted with the message's incident, as for answers that the
//! pipeline itself looks at. Source: ask.md section 7, gateway.md section 11.

use crate::{
    pipeline::Inner,
    policy::{Policy, Remembered},
    screening::{self, Who},
};
use portcullis_domain::Failure;
use portcullis_inspect::Watch;
use std::{fmt, sync::Arc};

/// What the words of an answer must pass. Cheap to clone.
#[derive(Clone)]
pub struct Filter(Option<Arc<Look>>);

struct Look {
    engine: Arc<Inner>,
    policy: Arc<Policy>,
    watch: Option<Arc<Watch>>,
    remembered: Option<Arc<Remembered>>,
    who: Who,
}

impl Filter {
    /// Lets everything pass: for apps asked outside the pipeline, in tests.
    pub const OPEN: Self = Self(None);

    pub(crate) fn new(
        engine: &Arc<Inner>,
        policy: &Arc<Policy>,
        watch: Option<&Arc<Watch>>,
        remembered: Option<&Arc<Remembered>>,
        who: &Who,
    ) -> Self {
        if watch.is_none() && remembered.is_none() {
            return Self::OPEN;
        }
        Self(Some(Arc::new(Look {
            engine: engine.clone(),
            policy: policy.clone(),
            watch: watch.cloned(),
            remembered: remembered.cloned(),
            who: who.clone(),
        })))
    }

    /// The text as it may leave.
    ///
    /// # Errors
    /// `Blocked`, with the incident under which the reason was noted.
    pub fn text(&self, text: String) -> Result<String, Failure> {
        let Some(look) = &self.0 else { return Ok(text) };
        let mut said = text;
        if let Some(watch) = &look.watch {
            let (seen, findings, blocked) = watch.whole(&said);
            if !findings.is_empty() {
                let incident = screening::note(&look.engine, &look.policy, "output", &findings, &look.who);
                if blocked {
                    return Err(Failure::Blocked { incident });
                }
            }
            if seen != said {
                said = seen.into_owned();
            }
        }
        if let Some(remembered) = &look.remembered {
            let restored = remembered.names.restore(&said, false);
            if restored != said {
                said = restored.into_owned();
            }
        }
        Ok(said)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Filter(…)" } else { "Filter(open)" })
    }
}
