//! Two servers of the real binary over one PostgreSQL and one Redis, to which Telegram brings updates through a balancer:
//! whichever of them an update comes to, it is worked on once, by the one whose turn it is, and what ends work ends it there.

use crate::{
    replicas::{Ground, door},
    support::{open, until},
};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use portcullis_testkit::{process::Server, telegram::Person};
use std::{convert::Infallible, net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::task::TaskTracker;

/// Where Telegram brings updates, and the servers to each of which every update is passed on.
async fn balancer() -> (String, watch::Sender<Vec<SocketAddr>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (to, heard) = watch::channel(Vec::new());
    let (tasks, inner) = (TaskTracker::new(), TaskTracker::new());
    tasks.spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let heard = heard.clone();
            let service = service_fn(move |request| {
                let to = heard.borrow().clone();
                async move { Ok::<_, Infallible>(pass_on(request, &to).await) }
            });
            inner.spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    });
    (url, to)
}

async fn pass_on(request: Request<Incoming>, to: &[SocketAddr]) -> Response<Full<Bytes>> {
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        bytes.extend(frame.into_data().unwrap_or_default());
    }
    let body = Bytes::from(bytes);
    let brought = to.iter().map(|address| {
        let mut request = Request::new(Full::new(body.clone()));
        (*request.method_mut(), *request.uri_mut()) = (head.method.clone(), head.uri.clone());
        *request.headers_mut() = head.headers.clone();
        open(*address, request)
    });
    let answers = join_all(brought).await.into_iter().flatten().map(|answer| answer.status);
    let mut response = Response::new(Full::default());
    *response.status_mut() = answers.min().unwrap_or(StatusCode::BAD_GATEWAY);
    response
}

/// Whether that server works for the door.
fn has_the_turn(server: &Server) -> bool {
    server.stderr().contains("this replica works for the chat door")
}

async fn is_open(server: &Server) {
    until("it is in order", async || door(server).await.contains("\"webhook\"")).await;
}

// req: S1-05
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_comes_to_both_servers_is_answered_once_and_a_cancel_ends_work_of_the_other_server() {
    let Some(ground) = Ground::new().await else { return };
    let (url, to) = balancer().await;
    // No secret is given: both make the same.
    let settings = format!("mode = \"webhook\"\nwebhook_url = \"{url}\"\n[news]\nfetch_ttl_secs = 0\n");
    let mut one = ground.server(&settings).await;
    to.send_replace(vec![one.address()]);
    is_open(&one).await;
    let mut two = ground.server(&settings).await;
    is_open(&two).await;
    assert!(has_the_turn(&one) && !has_the_turn(&two));
    let both = vec![one.address(), two.address()];
    to.send_replace(both.clone());
    let people: Vec<Person> = (0..8).map(|n| ground.double.person(&format!("Reader {n}"))).collect();
    for person in people.iter().chain(&people) {
        ground.double.say(person, "/usage");
    }
    ground.each_got(&people, 2).await;
    assert!(people.iter().all(|person| ground.count(person) == 2), "once each");
    // A digest takes long at the one server; what ends it is typed or pressed and comes to the other.
    let ann = &people[0];
    let site = ground.channel();
    ground.double.say(ann, "/add @harbour_news");
    ground.double.sent_count(ann.id, 3).await;
    let _site = site.after(Duration::from_secs(4));
    for typed in [true, false] {
        let before = ground.count(ann);
        to.send_replace(both.clone());
        ground.double.say(ann, "/news");
        let status = ground.double.sent_count(ann.id, before + 1).await.remove(before);
        let cancel = status.button("✖️ Cancel").expect("a button that ends it");
        to.send_replace(vec![two.address()]);
        if typed {
            ground.double.say(ann, "/cancel");
        } else {
            ground.double.press(ann, ann.id, status.id, &cancel);
        }
        ground
            .double
            .until("it is ended", |double| {
                double.sent_to(ann.id)[before..].iter().any(|sent| sent.text.starts_with("Cancelled"))
            })
            .await;
    }
    to.send_replace(both);
    one.kill();
    until("the second server takes over", async || has_the_turn(&two)).await;
    for person in &people[1..] {
        ground.double.say(person, "/usage");
    }
    ground.each_got(&people[1..], 3).await;
    assert!(people[1..].iter().all(|person| ground.count(person) == 3), "once each");
    assert_eq!(ground.double.violations(), [""; 0]);
    two.terminate();
    assert_eq!(two.wait(40).await, Some(0));
}
