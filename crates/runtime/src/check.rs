//! `portcullis check`: settings and secrets together, everything that is wrong at once, each with how to mend it.
//! Source: requirement S2-1.4.

use crate::{
    Secrets, Settings,
    secrets::{OWN_KEYS, how_to_give, references},
    settings::{Examined, LoadError, Located, Origin, Report, Severity, Sources, examine},
};
use std::collections::BTreeSet;

/// Examines settings and secrets.
///
/// # Errors
/// When a file that was named cannot be read.
pub async fn check(sources: &Sources) -> Result<Report, LoadError> {
    let mut examined = examine(sources)?;
    let secrets = read_secrets(&examined.settings, sources).await;
    secret_problems(&examined, &secrets)
        .into_iter()
        .for_each(|problem| examined.report.problems.push(problem));
    examined.report.tidy();
    Ok(examined.report)
}

/// Every secret these settings may ask for.
pub async fn read_secrets(settings: &Settings, sources: &Sources) -> Secrets {
    let named = references(settings).into_iter().map(|reference| reference.name);
    let own = OWN_KEYS.iter().map(|(name, _)| (*name).to_owned());
    let names: BTreeSet<String> = named.chain(own).collect();
    Secrets::read(&settings.secrets, &sources.environment, names).await
}

/// Secrets that were asked for and cannot be had. A name that stands only in the defaults may be absent.
pub(crate) fn secret_problems(examined: &Examined, secrets: &Secrets) -> Vec<Located> {
    let config = &examined.settings.secrets;
    let mut out = Vec::new();
    for (name, reason) in secrets.broken() {
        out.push(Located {
            origin: Origin::Default,
            key: format!("secret {name}"),
            message: format!("cannot be read: {reason}"),
            mend: "make it readable, or take that source out of `secrets.sources`".to_owned(),
            severity: Severity::Error,
        });
    }
    let broken: BTreeSet<&str> = secrets.broken().map(|(name, _)| name).collect();
    for reference in references(&examined.settings) {
        let Some(origin) = examined.origins.get(&reference.key) else { continue };
        if secrets.has(&reference.name) || broken.contains(reference.name.as_str()) {
            continue;
        }
        out.push(Located {
            origin: origin.clone(),
            key: reference.key,
            message: format!("the secret `{}` is in none of the sources", reference.name),
            mend: how_to_give(&reference.name, config),
            severity: Severity::Error,
        });
    }
    out
}
