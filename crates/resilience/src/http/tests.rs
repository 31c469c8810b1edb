//! The client against real sockets on loopback.

use super::*;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_util::task::TaskTracker;

/// Answers every connection with `answer`, then closes it.
async fn server(answer: &'static [u8]) -> (String, TaskTracker) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = TaskTracker::new();
    tasks.spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut seen = vec![0; 4096];
            let _read = socket.read(&mut seen).await;
            let _written = socket.write_all(answer).await;
        }
    });
    (format!("http://{address}/"), tasks)
}

fn get(url: &str) -> Request<Full<Bytes>> {
    Request::get(url).body(Full::default()).unwrap()
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

#[tokio::test]
async fn an_answer_is_read_whole_and_a_redirect_is_only_an_answer() {
    let answer = b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 5\r\n\r\nmoved";
    let (url, _tasks) = server(answer).await;
    let response = Client::new(&HttpConfig::default()).send(get(&url)).await.unwrap();
    assert_eq!(response.status(), 302);
    assert_eq!(collect(response.into_body(), 5, soon()).await.unwrap(), "moved");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let announced = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nx";
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n4\r\nefgh\r\n0\r\n\r\n";
    for (answer, limit) in [(&announced[..], 999_999), (&chunked[..], 7)] {
        let (url, _tasks) = server(answer).await;
        let response = Client::new(&HttpConfig::default()).send(get(&url)).await.unwrap();
        let told = collect(response.into_body(), limit, soon()).await;
        assert!(matches!(told, Err(HttpError::TooLarge(most)) if most == limit), "{told:?}");
    }
}

#[tokio::test]
async fn a_cut_answer_is_broken_and_never_whole() {
    let (url, _tasks) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    let response = Client::new(&HttpConfig::default()).send(get(&url)).await.unwrap();
    let told = collect(response.into_body(), 100, soon()).await;
    assert!(matches!(told, Err(HttpError::Broken(_))), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_ends_at_the_deadline() {
    let chunks = futures_util::stream::pending::<Result<Frame<Bytes>, io::Error>>();
    let told = collect(StreamBody::new(chunks), 100, Deadline::after(Duration::from_secs(5))).await;
    assert!(matches!(told, Err(HttpError::Timeout)), "{told:?}");
}

#[tokio::test]
async fn nobody_there_is_told_without_the_address() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error =
        Client::new(&HttpConfig::default()).send(get(&format!("http://{free}/secret"))).await.unwrap_err();
    assert!(matches!(error, HttpError::Connect(_)), "{error:?}");
    assert!(!error.to_string().contains("secret") && !error.to_string().contains("127.0.0.1"), "{error}");
}

#[tokio::test]
async fn a_guarded_client_reaches_no_private_address_however_it_is_written() {
    let (url, _tasks) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let port = url.trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
    let excepted = Guard::new(&[format!("127.0.0.1:{port}")], Network::system());
    let client = Client::guarded(&HttpConfig::default(), excepted);
    assert_eq!(client.send(get(&url)).await.unwrap().status(), 200);
    for host in ["localhost", "[::ffff:127.0.0.1]", "[::1]", "2130706433", "0x7f.1", "169.254.169.254"] {
        for place in [host.to_owned(), format!("{host}:{port}")] {
            let told = client.send(get(&format!("http://{place}/"))).await;
            assert!(matches!(told, Err(HttpError::Refused(_))), "{place}: {told:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_never_finishes_tls_is_given_up_in_time_and_one_that_speaks_none_is_told() {
    let config = HttpConfig { connect_timeout_secs: 1, ..HttpConfig::default() };
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", silent.local_addr().unwrap());
    let told = Client::new(&config).send(get(&url)).await;
    assert!(matches!(&told, Err(HttpError::Connect(why)) if why == "timed out"), "{told:?}");
    let (url, _tasks) = server(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    let told = Client::new(&config).send(get(&url.replace("http:", "https:"))).await;
    assert!(
        matches!(&told, Err(HttpError::Connect(why)) if why == "the server does not speak TLS"),
        "{told:?}"
    );
}

#[test]
fn what_is_wrong_with_a_certificate_is_told_without_names() {
    use rustls::{CertificateError, Error, pki_types::ServerName};
    let expected = ServerName::try_from("secret.example").unwrap();
    let presented = vec!["other.example".to_owned()];
    let named = CertificateError::NotValidForNameContext { expected, presented };
    for (kind, words) in [
        (named, "the server's certificate is for another name"),
        (CertificateError::Expired, "the server's certificate has expired"),
        (CertificateError::UnknownIssuer, "the server's certificate is of an unknown issuer"),
        (CertificateError::Revoked, "the server's certificate is not valid"),
    ] {
        assert_eq!(tls_words(&Error::InvalidCertificate(kind)), words);
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_broken_and_not_kept_in_memory() {
    let head: &'static str =
        Box::leak(format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(200_000)).into_boxed_str());
    let (url, _tasks) = server(head.as_bytes()).await;
    let told = Client::new(&HttpConfig::default()).send(get(&url)).await;
    assert!(matches!(told, Err(HttpError::Broken(_))), "{told:?}");
}

#[tokio::test]
async fn connections_are_used_again() {
    let double = portcullis_testkit::upstream::OpenAi::start().await;
    let client = Client::new(&HttpConfig::default());
    let models = format!("{}/models", double.base_url());
    let ask = || {
        let key = format!("Bearer {}", double.key());
        Request::get(&models).header("authorization", key).body(Full::default()).unwrap()
    };
    for _ in 0..3 {
        let response = client.send(ask()).await.unwrap();
        collect(response.into_body(), 100_000, soon()).await.unwrap();
    }
    assert_eq!(double.counts().connections, 1);
}

#[test]
fn public_addresses_are_told_from_all_others() {
    for public in [
        "1.1.1.1",
        "93.184.216.34",
        "100.128.0.1",
        "2606:4700::1111",
        "2002:0101:0101::1",
        "64:ff9b::101:101",
    ] {
        assert!(is_public(public.parse().unwrap()), "{public}");
    }
    for private in [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.8",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2001:db8::1",
        "2001::1",
        "2002:0a00:0001::1",
        "3fff::1",
        "fc00::1",
        "fe80::1",
        "ff02::1",
    ] {
        assert!(!is_public(private.parse().unwrap()), "{private}");
    }
}

#[test]
fn the_default_settings_have_no_problem_and_absurd_ones_do() {
    let mut out = vec![];
    HttpConfig::default().problems("outbound", &mut out);
    assert_eq!(out, []);
    HttpConfig { connect_timeout_secs: 0, ..HttpConfig::default() }.problems("outbound", &mut out);
    assert_eq!(out[0].key, "outbound.connect_timeout_secs");
    HttpConfig { max_header_bytes: 100, ..HttpConfig::default() }.problems("outbound", &mut out);
    assert_eq!(out[1].key, "outbound.max_header_bytes");
}

#[tokio::test]
async fn a_body_in_pieces_arrives_in_one_with_its_length() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let tasks = TaskTracker::new();
    let heard = tasks.spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"the end") {
            assert!(socket.read_buf(&mut heard).await.unwrap() > 0);
        }
        socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        String::from_utf8(heard).unwrap()
    });
    let long = "x".repeat(200_000);
    let pieces = vec![Bytes::from("{"), Bytes::new(), long.clone().into(), Bytes::from_static(b"the end")];
    let request = Request::post(&url).body(Pieces::from(pieces)).unwrap();
    let response = Client::new(&HttpConfig::default()).send_pieces(request).await.unwrap();
    assert_eq!(response.status(), 204);
    let heard = heard.await.unwrap();
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-length: 200008") && !head.contains("chunked"), "{head}");
    assert_eq!(body, format!("{{{long}the end"));
}
