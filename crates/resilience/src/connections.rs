//! How many sockets one address, and all together, may hold. Invariant: both counts change under one lock and are
//! given back by `Drop`, on every path. Source: S4-CONN, tools.md 4.1.

use ahash::AHashMap;
use parking_lot::Mutex;
use portcullis_domain::Problem;
use portcullis_telemetry::{Gauge, Metrics};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, sync::Arc};

/// `[connections]`: sockets at the doors.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionsConfig {
    /// Most HTTP connections at once; further ones get 503 and are closed. Default 4096.
    pub max_http: usize,
    /// Most HTTP connections of one address. Default 256.
    pub max_http_per_address: usize,
}

impl Default for ConnectionsConfig {
    fn default() -> Self {
        Self { max_http: 4096, max_http_per_address: 256 }
    }
}

impl ConnectionsConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        for (key, value) in [("max_http", self.max_http), ("max_http_per_address", self.max_http_per_address)]
        {
            if value == 0 {
                let key = format!("{prefix}.{key}");
                out.push(Problem::new(key, "must be at least 1", "leave the key out for its default"));
            }
        }
    }
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionRefused {
    /// All together hold too many.
    #[error("too many connections")]
    Global,
    /// This address holds too many.
    #[error("too many connections from this address")]
    Address,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: AHashMap<IpAddr, usize>,
}

struct Inner {
    most: usize,
    most_per_address: usize,
    counts: Mutex<Counts>,
    gauge: Gauge,
    metrics: Metrics,
}

/// The counter. Cheap to clone.
#[derive(Clone)]
pub struct Connections(Arc<Inner>);

/// A place; dropping it gives it back.
pub struct ConnectionPermit {
    counter: Connections,
    address: IpAddr,
}

impl Connections {
    /// With room for so many.
    #[must_use]
    pub fn new(most: usize, most_per_address: usize, metrics: &Metrics) -> Self {
        let (gauge, metrics) = (metrics.connections(), metrics.clone());
        Self(Arc::new(Inner { most, most_per_address, counts: Mutex::default(), gauge, metrics }))
    }

    /// Takes a place.
    ///
    /// # Errors
    /// Which count is full; the global one is looked at first.
    pub fn admit(&self, address: IpAddr) -> Result<ConnectionPermit, ConnectionRefused> {
        let address = address.to_canonical();
        let mut counts = self.0.counts.lock();
        let own = counts.by_address.get(&address).copied().unwrap_or(0);
        let full = match (counts.all >= self.0.most, own >= self.0.most_per_address) {
            (true, _) => Some((ConnectionRefused::Global, "global")),
            (false, true) => Some((ConnectionRefused::Address, "address")),
            (false, false) => None,
        };
        if let Some((refused, reason)) = full {
            self.0.metrics.connection_refused(reason);
            return Err(refused);
        }
        counts.all += 1;
        counts.by_address.insert(address, own + 1);
        self.0.gauge.inc();
        Ok(ConnectionPermit { counter: self.clone(), address })
    }

    /// Places taken now.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.0.counts.lock().all
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let inner = &self.counter.0;
        let mut counts = inner.counts.lock();
        counts.all -= 1;
        if let Some(own) = counts.by_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                counts.by_address.remove(&self.address);
            }
        }
        inner.gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: S4-CONN
    #[test]
    fn both_counts_refuse_at_their_number_and_come_back_to_rest() {
        let connections = Connections::new(3, 2, &Metrics::new());
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let held =
            [connections.admit(a).unwrap(), connections.admit("::ffff:10.0.0.1".parse().unwrap()).unwrap()];
        assert_eq!(connections.admit(a).err(), Some(ConnectionRefused::Address));
        let other = connections.admit(b).unwrap();
        assert_eq!(connections.admit(b).err(), Some(ConnectionRefused::Global));
        drop(held);
        drop(other);
        assert_eq!(connections.in_use(), 0);
        assert!(connections.0.counts.lock().by_address.is_empty());
    }
}
