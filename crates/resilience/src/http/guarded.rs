//! The guard of a client whose addresses strangers may name (SSRF). It looks names up itself, refuses a host when ANY
//! of its addresses is not public, and connects to an address that it checked, without a second look-up: one private
//! address among public ones, or another answer a moment later, is how a rebinding attack looks.
//!
//! Invariants: whatever the spelling, an IP literal is judged by the address it stands for, and by our own reading,
//! not the C library's; a refusal opens no socket. Source: crates.md trap 6; news.md section 4.

use super::{address::is_public, connect::place};
use http::Uri;
use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
};
use tokio::net::TcpStream;

/// Why the guard refuses an address. For the log; callers are told one sentence for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Neither http nor https.
    #[error("the scheme is neither http nor https")]
    Scheme,
    /// A name or password in the URL.
    #[error("the URL holds credentials")]
    Credentials,
    /// Another port than 80 and 443.
    #[error("the port is neither 80 nor 443")]
    Port,
    /// No host, or one that is neither a name nor an address.
    #[error("the host is neither a name nor an address")]
    Host,
    /// At least one of its addresses is not a public one.
    #[error("the address is not a public one")]
    NotPublic,
}

/// An answer that comes later.
type Later<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;
/// Finds the addresses of a name.
pub type Lookup = Arc<dyn Fn(String) -> Later<Vec<IpAddr>> + Send + Sync>;
/// Opens a socket to an address that was checked.
type Dial = Arc<dyn Fn(SocketAddr) -> Later<TcpStream> + Send + Sync>;

/// How names are found and sockets opened; tests put their own in place of the system's.
#[derive(Clone)]
pub struct Network {
    lookup: Lookup,
    dial: Dial,
}

impl Network {
    /// The system's resolver and sockets.
    #[must_use]
    pub fn system() -> Self {
        Self { lookup: Arc::new(|name| Box::pin(resolve(name))), dial: Arc::new(|to| Box::pin(dial(to))) }
    }

    /// With another resolver and, for what it finds, other sockets: a test's own internet on loopback.
    #[must_use]
    pub fn of(lookup: Lookup, reroute: impl Fn(SocketAddr) -> SocketAddr + Send + Sync + 'static) -> Self {
        Self { lookup, dial: Arc::new(move |to| Box::pin(dial(reroute(to)))) }
    }
}

async fn resolve(name: String) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.map(|address| address.ip()).collect())
}

async fn dial(to: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(to).await
}

/// The guard. Exceptions are exact: the host as it is written in the URL, and the port.
pub struct Guard {
    exceptions: Vec<(String, u16)>,
    network: Network,
}

impl fmt::Debug for Guard {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Guard").field("exceptions", &self.exceptions).finish_non_exhaustive()
    }
}

impl Guard {
    /// Allows what is public, and the exceptions (`host:port`, an IPv6 host in brackets). An exception that
    /// [`Guard::exception`] cannot read allows nothing.
    #[must_use]
    pub fn new(exceptions: &[String], network: Network) -> Self {
        Self { exceptions: exceptions.iter().filter_map(|text| Self::exception(text)).collect(), network }
    }

    /// Reads `host:port`.
    #[must_use]
    pub fn exception(text: &str) -> Option<(String, u16)> {
        let (host, port) = text.rsplit_once(':')?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let sound = literal(bare).is_ok() && (bare.contains(':') == host.starts_with('['));
        Some((bare.to_ascii_lowercase(), port.parse().ok().filter(|port| *port > 0 && sound)?))
    }

    fn excepted(&self, host: &str, port: u16) -> bool {
        self.exceptions.iter().any(|(name, own)| *own == port && name.eq_ignore_ascii_case(host))
    }

    /// Everything that can be told without the network; a redirect's target passes here too.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, uri: &Uri) -> Result<(), Refused> {
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(Refused::Scheme);
        }
        if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
            return Err(Refused::Credentials);
        }
        let (host, port) = place(uri);
        let found = literal(host)?;
        if self.excepted(host, port) {
            return Ok(());
        }
        if !matches!(port, 80 | 443) {
            return Err(Refused::Port);
        }
        match found {
            Some(address) if !is_public(address) => Err(Refused::NotPublic),
            None if is_here(host) => Err(Refused::NotPublic),
            Some(_) | None => Ok(()),
        }
    }

    /// Looks up, checks, and opens a socket to an address that was checked.
    pub(super) async fn connect(&self, uri: &Uri) -> io::Result<TcpStream> {
        self.check(uri).map_err(refusal)?;
        let (host, port) = place(uri);
        let addresses = match literal(host).map_err(refusal)? {
            Some(address) => vec![address],
            None => (self.network.lookup)(host.to_owned()).await?,
        };
        if !self.excepted(host, port) && !addresses.iter().all(|address| is_public(*address)) {
            return Err(refusal(Refused::NotPublic));
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match (self.network.dial)(SocketAddr::new(address, port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn refusal(why: Refused) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// Names of this machine, which some resolvers answer from elsewhere.
fn is_here(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// The address a host stands for, if it is one and no name. `host` has no brackets.
fn literal(host: &str) -> Result<Option<IpAddr>, Refused> {
    if host.contains(':') {
        return host.parse::<Ipv6Addr>().map(|v6| Some(v6.into())).map_err(|_| Refused::Host);
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) {
        return Err(Refused::Host);
    }
    // As the URL standard has it: whose last part is a number is an address, or nothing.
    let last = host.rsplit('.').next().unwrap_or_default();
    if !(last.bytes().all(|byte| byte.is_ascii_digit()) || number(last).is_some()) {
        return Ok(None);
    }
    v4(host).map(|v4| Some(v4.into())).ok_or(Refused::Host)
}

/// One to four numbers, decimal, octal (`0177`) or hexadecimal (`0x7f`); the last fills what is left.
fn v4(host: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u64> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) || *last >= 1 << (8 * (4 - first.len())) {
        return None;
    }
    let head = first.iter().zip([24, 16, 8]).map(|(part, shift)| part << shift).sum::<u64>();
    u32::try_from(head + last).ok().map(Ipv4Addr::from)
}

fn number(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match lower.strip_prefix("0x") {
        Some("") => return Some(0),
        Some(rest) => (rest, 16),
        None if lower.len() > 1 && lower.starts_with('0') => (&lower[1..], 8),
        None => (lower.as_str(), 10),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests;
