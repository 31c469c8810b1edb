//! `portcullis check`: settings and secrets together, everything that is wrong at once, each with how to mend it.
//! Source: requirement S2-1.4.

use crate::{
    Environment, Secrets, Settings,
    secrets::{how_to_give, known_secrets, references},
    settings::{Examined, LoadError, Located, Origin, Report, Severity, Sources, examine},
};
use portcullis_engine::budgets::PriceUnknown;
use portcullis_providers::{
    BUILTIN, ProviderConfig, listed_models,
    presets::{self, PRESETS},
};
use std::collections::BTreeSet;

/// Examines settings and secrets.
///
/// # Errors
/// When a file that was named cannot be read.
pub async fn check(sources: &Sources) -> Result<Report, LoadError> {
    let mut examined = examine(sources)?;
    let secrets = read_secrets(&examined.settings, &sources.environment).await;
    let mut found = secret_problems(&examined, &secrets);
    found.extend(door_problems(&examined, &secrets));
    found.extend(provider_warnings(&examined, &secrets));
    found.extend(price_warnings(&examined, &secrets));
    examined.report.problems.extend(found);
    examined.report.tidy();
    Ok(examined.report)
}

/// Every secret these settings may ask for, from the sources they name.
pub async fn read_secrets(settings: &Settings, environment: &Environment) -> Secrets {
    Secrets::read(&settings.secrets, environment, known_secrets(settings).into_keys()).await
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

/// Doors that are to be opened without what they need: the start would refuse. A name that the file says is looked for with
/// all others.
fn door_problems(examined: &Examined, secrets: &Secrets) -> Vec<Located> {
    let (telegram, signal) = (&examined.settings.telegram, &examined.settings.signal);
    let needed = [
        (
            "telegram",
            telegram.enabled,
            "token_secret",
            &telegram.token_secret,
            "the token that BotFather shows",
        ),
        (
            "signal",
            signal.enabled,
            "account_secret",
            &signal.account_secret,
            "the number that signal-cli is linked to",
        ),
        (
            "signal",
            signal.enabled,
            "activation_secret",
            &signal.activation_secret,
            "the passphrase of the door",
        ),
    ];
    let missing = needed
        .into_iter()
        .filter(|(_, enabled, _, name, _)| *enabled && !name.is_empty() && !secrets.has(name));
    let told = missing.map(|(door, _, member, name, what)| Located {
        origin: examined.origins.get(&format!("{door}.enabled")).cloned().unwrap_or(Origin::Default),
        key: format!("{door}.{member}"),
        message: format!("the secret `{name}`, {what}, is in none of the sources"),
        mend: format!("{}; or set `{door}.enabled = false`", how_to_give(name, &examined.settings.secrets)),
        severity: Severity::Error,
    });
    told.filter(|problem| !examined.origins.contains_key(&problem.key)).collect()
}

/// Models in use whose price nobody knows: a budget of money does not see what they cost.
fn price_warnings(examined: &Examined, secrets: &Secrets) -> Vec<Located> {
    let settings = &examined.settings;
    let budgets = settings.budgets.named.values().any(|budget| budget.money_usd.is_some());
    let admission = settings.admission();
    let shares = admission.tiers.values().any(|tier| tier.daily_usd.is_some());
    if !budgets && !shares {
        return Vec::new();
    }
    let plain = ProviderConfig::default();
    let usable = |name: &str| {
        let said = settings.providers.get(name).unwrap_or(&plain);
        let names = said.key_names(presets::row_for(name));
        said.enabled != Some(false) && (names.is_empty() || names.iter().any(|name| secrets.has(name)))
    };
    let unpriced = |name: &str, model: &str| {
        let known = listed_models(&settings.providers, &settings.models, name);
        let price = known.iter().find(|known| &*known.name == model).and_then(|known| known.price);
        !presets::row_for(name).free && name != BUILTIN && price.is_none()
    };
    let (refused, follows) = match settings.budgets.price_unknown {
        PriceUnknown::Allow => (false, "no budget of money sees what it costs"),
        PriceUnknown::Refuse => (true, "it does not answer callers under a budget of money"),
    };
    let mut out = Vec::new();
    let mut warn = |key: String, names: Vec<String>, told: BTreeSet<String>| {
        if names.is_empty() {
            return told;
        }
        let origin = examined.origins.get(&key).cloned().unwrap_or(Origin::Default);
        let which =
            if refused { "" } else { " (`budgets.price_unknown = \"refuse\"` keeps them from such callers)" };
        let message = format!("has no known price: {}; {follows}", names.join(", "));
        let section = names.first().cloned().unwrap_or_default();
        let mend = format!("write its price in `[models.\"{section}\"]`, and so for the others{which}");
        out.push(Located { origin, key, message, mend, severity: Severity::Warning });
        told.into_iter().chain(names).collect()
    };
    let mut told = BTreeSet::new();
    for (route, config) in &settings.routes {
        let targets = config.targets.iter().filter(|target| usable(&target.provider));
        let dear = targets.filter(|target| unpriced(&target.provider, &target.model));
        let names = dear.map(|target| format!("{}/{}", target.provider, target.model)).collect();
        told = warn(format!("routes.{route}.targets"), names, told);
    }
    for name in settings.providers.keys().filter(|name| usable(name)) {
        let models = listed_models(&settings.providers, &settings.models, name);
        let dear = models.iter().filter(|model| unpriced(name, &model.name));
        let names =
            dear.map(|model| format!("{name}/{}", model.name)).filter(|name| !told.contains(name)).collect();
        told = warn(format!("providers.{name}"), names, told);
    }
    out
}

/// What is allowed but probably not meant: a provider that is written down without its key, a limit above the
/// quota that its provider publishes.
fn provider_warnings(examined: &Examined, secrets: &Secrets) -> Vec<Located> {
    let mut out = Vec::new();
    let mut warn = |key: String, message: String, mend: String| {
        let origin = examined.origins.get(&key).cloned().unwrap_or(Origin::Default);
        out.push(Located { origin, key, message, mend, severity: Severity::Warning });
    };
    let configured = &examined.settings.providers;
    let names: BTreeSet<&str> =
        PRESETS.iter().map(|row| row.name).chain(configured.keys().map(String::as_str)).collect();
    for name in names {
        let row = presets::row_for(name);
        let said = configured.get(name);
        if said.is_some_and(|said| said.enabled == Some(false)) {
            continue;
        }
        let plain = ProviderConfig::default();
        let names = said.unwrap_or(&plain).key_names(row);
        let has_key = names.is_empty() || names.iter().any(|name| secrets.has(name));
        let explicit = said.is_some_and(|said| said.key_secret.is_some() || !said.key_secrets.is_empty());
        let secret = names.first().copied().unwrap_or_default();
        if said.is_some() && !has_key && !explicit {
            let message =
                format!("has no key: the secret `{secret}` is in none of the sources, so it is not used");
            warn(format!("providers.{name}"), message, how_to_give(secret, &examined.settings.secrets));
        }
        if said.is_some_and(|said| said.allow_without_safety) && has_key {
            let message = "goes to the provider without safety settings: it filters nothing".to_owned();
            let mend = "use the provider `gemini` wherever its own wire will do".to_owned();
            warn(format!("providers.{name}.allow_without_safety"), message, mend);
        }
        if said.and_then(|said| said.safety).is_some_and(|safety| safety.is_loose()) && has_key {
            let message = "lets the provider filter less than the shipped settings".to_owned();
            let mend = "use an override for the hours it is needed (`portcullis safety override`)".to_owned();
            warn(format!("providers.{name}.safety"), message, mend);
        }
        let concurrency = said.and_then(|said| said.concurrency).unwrap_or(row.concurrency);
        if let Some(known) = row.known_concurrency.filter(|known| concurrency > *known)
            && has_key
            && !secret.is_empty()
        {
            let message =
                format!("{concurrency} calls at once are more than the {known} that its quota surely allows");
            let mend = format!(
                "set it to what your account allows ({}; read {})",
                row.quota.trim_end_matches('.'),
                row.quota_read
            );
            warn(format!("providers.{name}.concurrency"), message, mend);
        }
    }
    out
}
