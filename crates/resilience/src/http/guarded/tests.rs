//! Every spelling of an address against a naive model: a list of networks and standard-library addresses.

use super::*;
use crate::http::{Client, HttpConfig, HttpError};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::net::TcpListener;

/// What nobody outside may reach, as networks. The first ones are of the public internet again.
const PUBLIC_AGAIN: &[(&str, u32)] = &[("64:ff9b::", 96), ("2002::", 16), ("::ffff:0:0", 96)];
const FORBIDDEN: &[(&str, u32)] = &[
    ("0.0.0.0", 8),
    ("10.0.0.0", 8),
    ("100.64.0.0", 10),
    ("127.0.0.0", 8),
    ("168.63.129.16", 32),
    ("169.254.0.0", 16),
    ("172.16.0.0", 12),
    ("192.0.0.0", 24),
    ("192.0.2.0", 24),
    ("192.88.99.0", 24),
    ("192.168.0.0", 16),
    ("198.18.0.0", 15),
    ("198.51.100.0", 24),
    ("203.0.113.0", 24),
    ("224.0.0.0", 3),
    ("::", 3),
    ("4000::", 2),
    ("8000::", 1),
    ("2001::", 23),
    ("2001:db8::", 32),
    ("3ff0::", 12),
];

fn inside(address: IpAddr, (network, bits): (&str, u32)) -> bool {
    match (address, network.parse().unwrap()) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u32::from(a) ^ u32::from(n)) >> (32 - bits) == 0,
        (IpAddr::V6(a), IpAddr::V6(n)) => (u128::from(a) ^ u128::from(n)) >> (128 - bits) == 0,
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// The model: whether an address may be reached.
fn allowed(address: IpAddr) -> bool {
    if let IpAddr::V6(v6) = address
        && let Some(way) = PUBLIC_AGAIN.iter().position(|network| inside(address, *network))
    {
        let bits = u128::from(v6);
        let v4 = if way == 1 { bits >> 80 } else { bits };
        return allowed(Ipv4Addr::from(u32::try_from(v4 & 0xffff_ffff).unwrap()).into());
    }
    !FORBIDDEN.iter().any(|network| inside(address, *network))
}

/// Any address, those in and beside the special networks more often.
fn any_v4() -> impl Strategy<Value = Ipv4Addr> {
    let v4: Vec<_> = FORBIDDEN.iter().filter_map(|(n, bits)| Some((n.parse().ok()?, *bits))).collect();
    let near = (prop::sample::select(v4), any::<u32>(), -1i64..2).prop_map(
        |((network, bits), random, step): ((Ipv4Addr, u32), u32, i64)| {
            let host = random.checked_shr(bits).unwrap_or(0);
            let around = i64::from(u32::from(network) | host)
                + if random % 3 == 0 { step << (32 - bits).min(31) } else { 0 };
            Ipv4Addr::from(u32::try_from(around.clamp(0, i64::from(u32::MAX))).unwrap())
        },
    );
    prop_oneof![near, any::<u32>().prop_map(Ipv4Addr::from)]
}

fn any_v6() -> impl Strategy<Value = Ipv6Addr> {
    let embed = (any_v4(), 0..4usize, any::<u64>()).prop_map(|(v4, way, rest)| {
        let low = u128::from(u32::from(v4));
        Ipv6Addr::from(match way {
            0 => 0xffff_0000_0000 | low,
            1 => 0x0064_ff9b << 96 | low,
            2 => 0x2002 << 112 | low << 80 | u128::from(rest),
            _ => low,
        })
    });
    let v6: Vec<_> = FORBIDDEN.iter().filter_map(|(n, bits)| Some((n.parse().ok()?, *bits))).collect();
    let near = (prop::sample::select(v6), any::<u128>()).prop_map(
        |((network, bits), random): ((Ipv6Addr, u32), u128)| {
            Ipv6Addr::from(u128::from(network) | random.checked_shr(bits).unwrap_or(0))
        },
    );
    let out = any::<u128>().prop_map(|random| Ipv6Addr::from(0x2 << 124 | random >> 4));
    prop_oneof![embed, near, out]
}

/// One part of an IPv4 address in some base, with zeros in front or without.
fn part(value: u64, how: u8) -> String {
    match how % 6 {
        0 => value.to_string(),
        1 => format!("{value:#x}"),
        2 => format!("0X{value:08X}"),
        3 => format!("0{value:o}"),
        4 => format!("000{value:o}"),
        _ => format!("0x{value:02x}"),
    }
}

fn spell_v4(v4: Ipv4Addr, parts: usize, how: [u8; 4], dot: bool) -> String {
    let bits = u64::from(u32::from(v4));
    let mut said: Vec<String> =
        (0..parts - 1).map(|at| part(bits >> (24 - 8 * at) & 0xff, how[at])).collect();
    let left = 8 * (5 - parts);
    said.push(part(bits & ((1u64 << left) - 1), how[parts - 1]));
    format!("{}{}", said.join("."), if dot { "." } else { "" })
}

fn spell_v6(v6: Ipv6Addr, how: u8) -> String {
    let [.., g, h] = v6.segments();
    let all = v6.segments().map(|segment| format!("{segment:x}"));
    let said = match how % 4 {
        0 => v6.to_string(),
        1 => v6.segments().map(|segment| format!("{segment:04X}")).join(":"),
        2 => format!("{}:{}", all[..6].join(":"), Ipv4Addr::from(u32::from(g) << 16 | u32::from(h))),
        _ => all.join(":"),
    };
    format!("[{said}]")
}

fn checked(guard: &Guard, host: &str) -> Result<(), Refused> {
    guard.check(&format!("http://{host}/x").parse().unwrap())
}

fn strict() -> Guard {
    Guard::new(&[], Network::system())
}

proptest! {
    #[test]
    fn no_spelling_of_a_forbidden_address_passes_and_every_one_of_a_public_address_does(
        v4 in any_v4(), v6 in any_v6(), parts in 1..5usize, how in any::<[u8; 4]>(), dot in any::<bool>(),
    ) {
        for (address, host) in [
            (IpAddr::from(v4), spell_v4(v4, parts, how, dot)),
            (IpAddr::from(v6), spell_v6(v6, how[0])),
        ] {
            let expected = if allowed(address) { Ok(()) } else { Err(Refused::NotPublic) };
            prop_assert_eq!(checked(&strict(), &host), expected, "{} as {}", address, host);
            prop_assert_eq!(is_public(address), allowed(address));
        }
    }

    #[test]
    fn what_is_no_address_and_no_name_is_refused_without_a_panic(host in "[0-9a-fxX.]{1,40}") {
        let told = literal(&host);
        if let Ok(Some(IpAddr::V4(v4))) = told {
            prop_assert!(checked(&strict(), &host).is_ok() == is_public(v4.into()));
        }
    }
}

#[test]
fn what_a_url_may_say_is_bounded() {
    let guard = Guard::new(
        &["127.0.0.1:8080".into(), "[::1]:9".into(), "Intra.example:81".into()],
        Network::system(),
    );
    let told = |url: &str| guard.check(&url.parse().unwrap());
    assert_eq!(told("http://example.org/"), Ok(()));
    assert_eq!(told("https://example.org:443/"), Ok(()));
    assert_eq!(told("ftp://example.org/"), Err(Refused::Scheme));
    assert_eq!(told("http://me:you@example.org/"), Err(Refused::Credentials));
    assert_eq!(told("http://example.org:8080/"), Err(Refused::Port));
    assert_eq!(told("http://exa~mple.org/"), Err(Refused::Host));
    for here in ["localhost", "LOCALHOST.", "a.localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"] {
        assert_eq!(told(&format!("http://{here}/")), Err(Refused::NotPublic), "{here}");
    }
    for wrong in ["1.2.3.4.5", "256.1.1.1", "1.2.3.09", "4294967296", "a.0x100000000", "1.2..3"] {
        assert_eq!(told(&format!("http://{wrong}/")), Err(Refused::Host), "{wrong}");
    }
    // An exception is one host and one port, not a neighbour, not another spelling.
    assert_eq!(told("http://127.0.0.1:8080/"), Ok(()));
    assert_eq!(told("http://[::1]:9/"), Ok(()));
    assert_eq!(told("http://intra.example:81/"), Ok(()));
    assert_eq!(told("http://127.0.0.1:8081/"), Err(Refused::Port));
    assert_eq!(told("http://127.0.0.1/"), Err(Refused::NotPublic));
    assert_eq!(told("http://0x7f.1:8080/"), Err(Refused::Port));
}

#[test]
fn an_exception_that_is_no_host_and_port_is_none() {
    for wrong in
        ["", "host", "host:", "host:0", "host:99999", "::1:80", "[::1", "[host]:80", "a b:80", "http://a:80"]
    {
        assert_eq!(Guard::exception(wrong), None, "{wrong}");
    }
    assert_eq!(Guard::exception("[::1]:80"), Some(("::1".into(), 80)));
}

/// A network whose names answer as told, one answer for each look-up, and whose public addresses all lead to `to`.
fn internet(answers: &[&[&str]], to: SocketAddr) -> (Network, Arc<Mutex<usize>>) {
    let answers: Vec<Vec<IpAddr>> =
        answers.iter().map(|all| all.iter().map(|text| text.parse().unwrap()).collect()).collect();
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let lookup: Lookup = Arc::new(move |_name| {
        let mut count = count.lock();
        let answer = answers[(*count).min(answers.len() - 1)].clone();
        *count += 1;
        Box::pin(async move { Ok(answer) })
    });
    let reroute = move |asked: SocketAddr| if is_public(asked.ip()) { to } else { asked };
    (Network::of(lookup, reroute), asked)
}

async fn get(client: &Client, url: &str) -> Result<http::StatusCode, HttpError> {
    let request = Request::get(url).body(Full::<Bytes>::default()).unwrap();
    client.send(request).await.map(|response| response.status())
}

#[tokio::test]
async fn one_private_address_among_public_ones_refuses_the_name_and_no_socket_is_opened() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    for answers in [
        &["93.184.216.34", "127.0.0.1"][..],
        &["::1", "2606:4700::1111"],
        &["169.254.169.254"],
        &["fd00:ec2::254"],
        &["::ffff:10.0.0.1"],
    ] {
        let (network, _asked) = internet(&[answers], to);
        let client = Client::guarded(&HttpConfig::default(), Guard::new(&[], network));
        let told = get(&client, "http://pages.example/").await;
        assert!(matches!(told, Err(HttpError::Refused(Refused::NotPublic))), "{answers:?}: {told:?}");
    }
    let nobody = tokio::time::timeout(std::time::Duration::from_millis(50), listener.accept()).await;
    assert!(nobody.is_err());
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_asked_once_for_a_connection_and_judged_anew_for_the_next() {
    let double = portcullis_testkit::upstream::OpenAi::start().await;
    let to = double.base_url().trim_start_matches("http://").split('/').next().unwrap().parse().unwrap();
    let (network, asked) = internet(&[&["93.184.216.34"], &["127.0.0.1"]], to);
    let client = Client::guarded(&HttpConfig::default(), Guard::new(&[], network));
    assert_eq!(get(&client, "http://rebind.example/nothing").await.unwrap(), 404);
    assert_eq!(*asked.lock(), 1);
    let told = get(&client, "http://rebind.example:443/nothing").await;
    assert!(matches!(told, Err(HttpError::Refused(Refused::NotPublic))), "{told:?}");
    assert_eq!((*asked.lock(), double.counts().connections), (2, 1));
}
