//! The pool against sockets on loopback that answer, wait and close as each test says.

use super::*;
use crate::http::{Client, collect};
use http_body_util::{BodyExt as _, Full};
use portcullis_domain::Deadline;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_util::task::TaskTracker;

const HALF: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ndata\r\n";
const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server whose connections the test serves itself.
struct Server {
    url: String,
    accepted: mpsc::UnboundedReceiver<TcpStream>,
    count: Arc<AtomicUsize>,
    _tasks: TaskTracker,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (give, accepted) = mpsc::unbounded_channel();
        let (tasks, count) = (TaskTracker::new(), Arc::new(AtomicUsize::new(0)));
        let counted = count.clone();
        tasks.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                if give.send(socket).is_err() {
                    return;
                }
            }
        });
        Self { url, accepted, count, _tasks: tasks }
    }

    async fn next(&mut self) -> TcpStream {
        self.accepted.recv().await.unwrap()
    }

    /// Takes the next connection, reads a request and answers it.
    async fn answer(&mut self, answer: &[u8]) -> TcpStream {
        let mut socket = self.next().await;
        heard(&mut socket).await;
        socket.write_all(answer).await.unwrap();
        socket
    }

    fn connections(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

fn get(url: &str) -> Request<Full<Bytes>> {
    Request::get(url).body(Full::default()).unwrap()
}

async fn whole(answer: Response<AnswerBody>) -> Bytes {
    collect(answer.into_body(), 10_000_000, Deadline::after(Duration::from_secs(30))).await.unwrap()
}

/// Reads one request without a body.
async fn heard(socket: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    while !heard.ends_with(b"\r\n\r\n") {
        assert!(socket.read_buf(&mut heard).await.unwrap() > 0, "closed before a request came");
    }
    String::from_utf8(heard).unwrap()
}

/// Asks and answers at once.
async fn exchange(client: &Client, url: &str, socket: &mut TcpStream) -> String {
    let answering = async {
        let heard = heard(socket).await;
        socket.write_all(WHOLE).await.unwrap();
        heard
    };
    let (answer, heard) = tokio::join!(client.send(get(url)), answering);
    assert_eq!(whole(answer.unwrap()).await, "ok");
    heard
}

/// Whether the other side has closed.
async fn is_closed(socket: &mut TcpStream) -> bool {
    matches!(socket.read(&mut [0; 16]).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn a_request_says_what_a_server_of_its_own_is_asked_for() {
    let mut server = Server::start().await;
    let client = Client::new(&HttpConfig::default());
    let url = format!("{}v1/models?a=b", server.url);
    let (asking, serving) = (client.send(get(&url)), async {
        let mut socket = server.next().await;
        let heard = heard(&mut socket).await;
        socket.write_all(WHOLE).await.unwrap();
        heard
    });
    let (answer, heard) = tokio::join!(asking, serving);
    assert_eq!(whole(answer.unwrap()).await, "ok");
    let place = server.url.trim_start_matches("http://").trim_end_matches('/');
    assert_eq!(heard, format!("GET /v1/models?a=b HTTP/1.1\r\nhost: {place}\r\n\r\n"));
}

#[test]
fn a_host_is_named_without_its_user_and_without_the_usual_port() {
    for (scheme, authority, named) in [
        (Scheme::HTTP, "a.example", "a.example"),
        (Scheme::HTTP, "a.example:80", "a.example"),
        (Scheme::HTTPS, "a.example:443", "a.example"),
        (Scheme::HTTPS, "a.example:80", "a.example:80"),
        (Scheme::HTTP, "ann:secret@a.example:8080", "a.example:8080"),
        (Scheme::HTTP, "[::1]:81", "[::1]:81"),
    ] {
        assert_eq!(host(&(scheme, authority.parse().unwrap())).unwrap(), named, "{authority}");
    }
}

#[tokio::test]
async fn an_address_without_a_server_is_told() {
    let told = Client::new(&HttpConfig::default()).send(get("/only/a/path")).await;
    assert!(matches!(told, Err(HttpError::Connect(_))), "{told:?}");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_unused_is_replaced_and_nobody_notices() {
    let mut server = Server::start().await;
    let client = Client::new(&HttpConfig::default());
    let asking = client.send(get(&server.url.clone()));
    let (answer, first) = tokio::join!(asking, server.answer(WHOLE));
    assert_eq!(whole(answer.unwrap()).await, "ok");
    drop(first);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let asking = client.send(get(&server.url.clone()));
    let (answer, mut second) = tokio::join!(asking, server.answer(WHOLE));
    assert_eq!(whole(answer.unwrap()).await, "ok");
    exchange(&client, &server.url, &mut second).await;
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_fresh_connection_that_is_closed_without_an_answer_is_an_error_and_not_tried_again() {
    let mut server = Server::start().await;
    let client = Client::new(&HttpConfig::default());
    let asking = client.send(get(&server.url.clone()));
    let (answer, ()) = tokio::join!(asking, async {
        let mut socket = server.next().await;
        heard(&mut socket).await;
    });
    assert!(matches!(answer, Err(HttpError::Broken(_))), "{answer:?}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_answer_thrown_away_closes_its_connection_but_where_the_rest_has_arrived() {
    for (rest_arrived, connections) in [(true, 1), (false, 2)] {
        let mut server = Server::start().await;
        let client = Client::new(&HttpConfig::default());
        let asking = client.send(get(&server.url.clone()));
        let (answer, mut first) = tokio::join!(asking, server.answer(HALF));
        let mut body = answer.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data");
        if rest_arrived {
            first.write_all(b"0\r\n\r\n").await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drop(body);
        if rest_arrived {
            exchange(&client, &server.url, &mut first).await;
        } else {
            assert!(is_closed(&mut first).await);
            let url = server.url.clone();
            let (answer, _second) = tokio::join!(client.send(get(&url)), server.answer(WHOLE));
            assert_eq!(whole(answer.unwrap()).await, "ok");
        }
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn a_request_given_up_closes_its_connection() {
    let mut server = Server::start().await;
    let client = Client::new(&HttpConfig::default());
    let url = server.url.clone();
    let asking = tokio::time::timeout(Duration::from_millis(100), client.send(get(&url)));
    let (given_up, mut socket) = tokio::join!(asking, server.next());
    assert!(given_up.is_err());
    heard(&mut socket).await;
    assert!(is_closed(&mut socket).await);
}

#[tokio::test]
async fn what_stood_unused_too_long_is_closed_even_when_nobody_asks_again() {
    let mut server = Server::start().await;
    let client = Client::new(&HttpConfig { idle_secs: 1, ..HttpConfig::default() });
    let url = server.url.clone();
    let (answer, mut socket) = tokio::join!(client.send(get(&url)), server.answer(WHOLE));
    assert_eq!(whole(answer.unwrap()).await, "ok");
    assert!(is_closed(&mut socket).await);
}

#[tokio::test]
async fn no_more_connections_stand_unused_than_allowed() {
    let mut server = Server::start().await;
    let client = Client::new(&HttpConfig { max_idle_per_host: 1, ..HttpConfig::default() });
    let url = server.url.clone();
    let (first, second, mut sockets) = tokio::join!(client.send(get(&url)), client.send(get(&url)), async {
        let mut sockets = [server.next().await, server.next().await];
        for socket in &mut sockets {
            heard(socket).await;
            socket.write_all(WHOLE).await.unwrap();
        }
        sockets
    });
    assert_eq!((whole(first.unwrap()).await, whole(second.unwrap()).await), ("ok".into(), "ok".into()));
    // One of both is closed; the other one answers.
    let [one, other] = &mut sockets;
    let left = tokio::select! { _ = is_closed(one) => other, _ = is_closed(other) => one };
    exchange(&client, &url, left).await;
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn an_answer_that_comes_in_pieces_wakes_who_reads_it() {
    let mut server = Server::start().await;
    let client = Client::new(&HttpConfig::default());
    let url = server.url.clone();
    let (read, ()) = tokio::join!(async { whole(client.send(get(&url)).await.unwrap()).await }, async {
        let mut socket = server.next().await;
        heard(&mut socket).await;
        let answer =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ndata\r\n4\r\nmore\r\n0\r\n\r\n";
        for piece in answer.chunks(7) {
            socket.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert_eq!(read, "datamore");
}

#[tokio::test]
async fn an_answer_of_very_many_pieces_lets_others_work_and_ends() {
    let mut server = Server::start().await;
    let client = Client::new(&HttpConfig::default());
    let url = server.url.clone();
    let (read, ()) = tokio::join!(async { whole(client.send(get(&url)).await.unwrap()).await }, async {
        let mut socket = server.next().await;
        heard(&mut socket).await;
        let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        answer.extend(b"1\r\nx\r\n".repeat(20_000));
        answer.extend(b"0\r\n\r\n");
        socket.write_all(&answer).await.unwrap();
    });
    assert_eq!(read.len(), 20_000);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_was_sent_whole_is_read_and_the_connection_used_once() {
    let mut server = Server::start().await;
    let client = Client::new(&HttpConfig::default());
    let request = Request::post(&server.url).body(Full::from(vec![b'x'; 20_000_000])).unwrap();
    let (answer, mut socket) = tokio::join!(client.send(request), async {
        let mut socket = server.next().await;
        let read = socket.read(&mut [0; 1024]).await.unwrap();
        assert!(read > 0);
        socket.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        socket
    });
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 413);
    assert_eq!(whole(answer).await, "no");
    let mut left = Vec::new();
    let _end = socket.read_to_end(&mut left).await;
    assert!(left.len() < 20_000_000);
}

#[test]
fn an_answer_dropped_outside_of_any_runtime_only_closes_its_connection() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Client::new(&HttpConfig::default());
    let (answer, mut socket) = runtime.block_on(async {
        let mut server = Server::start().await;
        let url = server.url.clone();
        let (answer, socket) = tokio::join!(
            client.send(get(&url)),
            server.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
        );
        (answer.unwrap(), socket)
    });
    drop(answer);
    assert!(runtime.block_on(is_closed(&mut socket)));
}
