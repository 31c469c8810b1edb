//! Pages of the web for whoever takes in documents: one async function, so that `knowledge` knows no client. Invariant:
//! an address that was typed by a person is read as the URL standard has it before anything judges it.

use crate::Settings;
use portcullis_domain::Deadline;
use portcullis_pages::{Options, PageError, Pages, Parts, Url};
use portcullis_resilience::{Registry, http::Network};
use portcullis_telemetry::{Alerts, Metrics};
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

pub use portcullis_pages::Page;

/// Longest time that one page of an ingestion is waited for, the line included: nobody sits before it.
const PATIENCE: Duration = Duration::from_secs(600);

/// Fetches one page, or says in a sentence why not.
pub type Fetch =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Result<Page, PageError>> + Send>> + Send + Sync>;

/// The fetcher of a running process.
#[must_use]
pub fn pages(settings: &Settings, metrics: &Metrics, alerts: &Alerts, registry: &Registry) -> Pages {
    Pages::new(&Parts {
        config: &settings.pages,
        outbound: &settings.outbound,
        network: Network::system(),
        metrics,
        alerts,
        registry,
    })
}

/// A fetcher for a command that runs alone.
#[must_use]
pub fn alone(settings: &Settings) -> Pages {
    pages(settings, &Metrics::new(), &Alerts::silent(), &Registry::new())
}

/// The fetcher as the function that an ingestion takes.
#[must_use]
pub fn fetch(pages: Pages) -> Fetch {
    Arc::new(move |address| {
        let pages = pages.clone();
        Box::pin(async move {
            let url = Url::parse(address.trim()).map_err(|_| PageError::Address)?;
            pages.fetch(&url, Options::until(Deadline::after(PATIENCE))).await
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_any_spelling_that_leads_inside_is_refused_in_one_sentence() {
        let fetch = fetch(alone(&Settings::default()));
        for inside in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::ffff:127.0.0.1]/",
            "http://１２７.0.0.1/",
            "http://127%2e0%2e0%2e1/",
            "http://localhost:8700/",
            "http://169.254.169.254/latest/meta-data/",
            "http://user:word@example.org/",
        ] {
            let told = fetch(inside.to_owned()).await.unwrap_err();
            assert_eq!(told.to_string(), "this address is not reachable from here", "{inside}");
        }
        for other in ["file:///etc/passwd", "ftp://example.org/", "example.org", ""] {
            assert_eq!(fetch(other.to_owned()).await, Err(PageError::Address), "{other}");
        }
    }
}
