//! Many at once, and work that ends in the middle.

use super::*;
use std::collections::BTreeSet;
use tokio::task::JoinSet;

/// Digests that were committed, charges, and messages in the outbox of everybody together.
async fn books(store: &Store, people: usize) -> (u64, u64, usize) {
    let (mut given, mut charged) = (0, 0);
    for n in 0..people {
        let Some(reader) = store.readers().find(&format!("telegram:{n}")).await.unwrap() else { continue };
        let (one, two) = store.readers().given(reader.id).await.unwrap();
        (given, charged) = (given + one, charged + two);
    }
    let rows = store.outbox().list(None, None, 100_000).await.unwrap();
    let headers = rows.iter().filter(|row| row.payload.starts_with("📰 Folder")).count();
    (given, charged, headers)
}

// req: S1-05
#[tokio::test]
async fn ten_at_once_of_one_person_are_one_digest_and_of_ten_people_ten() {
    let house = Arc::new(House::new().await);
    *house.kitchen.takes.lock() = Duration::from_millis(300);
    for n in 0..10 {
        house.ask(message(&format!("telegram:{n}"), "/add @alpha_one")).await;
    }
    let mut tasks = JoinSet::new();
    for n in 0..20 {
        let (house, who) = (house.clone(), format!("telegram:{}", if n < 10 { 0 } else { n - 10 }));
        tasks.spawn(async move { house.ask(message(&who, "/news")).await.words() });
    }
    let said: Vec<String> = tasks.join_all().await;
    let waiting = said.iter().filter(|said| said.contains("already being prepared")).count();
    assert_eq!((said.iter().filter(|said| said.is_empty()).count(), waiting), (10, 10), "{said:?}");
    assert_eq!(books(&house.store, 10).await, (10, 10, 10));
}

/// Fifty people ask twenty times each, everything ends at some moment, and begins again over the same store with the same
/// requests, until all are answered.
async fn fifty_people(url: Option<secrecy::SecretString>) {
    const PEOPLE: usize = 50;
    const EACH: usize = 20;
    let folder = TempDir::new().unwrap();
    let kitchen = Arc::new(Kitchen {
        serves: Mutex::new(Digest { stories: vec![story("It rains", 2, 4)], ..Digest::default() }),
        takes: Mutex::new(Duration::from_millis(2)),
        asked: AtomicUsize::new(0),
        last: Mutex::default(),
    });
    let store = open(&folder, url.as_ref()).await;
    let config = NewsConfig::default();
    let house = |store: &Store| House {
        people: people(store, &kitchen, config.clone()),
        store: store.clone(),
        kitchen: kitchen.clone(),
        _folder: TempDir::new().unwrap(),
    };
    let first = house(&store);
    for n in 0..PEOPLE {
        first.ask(message(&format!("telegram:{n}"), "/add @alpha_one")).await;
    }
    let mut open_requests: BTreeSet<(usize, usize)> =
        (0..PEOPLE).flat_map(|n| (0..EACH).map(move |request| (n, request))).collect();
    let mut kills = 0;
    while !open_requests.is_empty() {
        let house = Arc::new(house(&store));
        let mut tasks = JoinSet::new();
        for (n, request) in &open_requests {
            let (house, n, request) = (house.clone(), *n, *request);
            tasks.spawn(async move {
                let asked = MessageRequest {
                    key: format!("telegram:7-{n}-{request}").into(),
                    ..message(&format!("telegram:{n}"), "/news")
                };
                let who = PLAIN;
                (n, request, house.ask_as(who, asked).await)
            });
        }
        // The process ends at a moment that differs each time: tasks are dropped wherever they are.
        let until = tokio::time::sleep(Duration::from_millis(40 + (kills * 37) % 200));
        tokio::pin!(until);
        loop {
            tokio::select! {
                done = tasks.join_next() => match done {
                    Some(Ok((n, request, Ok(_)))) => drop(open_requests.remove(&(n, request))),
                    Some(Ok((_, _, Err(_))) | Err(_)) => {}
                    None => break,
                },
                () = &mut until, if kills < 12 => break,
            }
        }
        tasks.shutdown().await;
        kills += 1;
    }
    let (given, charged, headers) = books(&store, PEOPLE).await;
    assert_eq!(given, charged, "what is charged is what was given");
    assert_eq!(usize::try_from(given).unwrap(), headers, "and each stands in the outbox once");
    assert!(given >= PEOPLE as u64 && given <= (PEOPLE * 3) as u64, "{given}: within everybody's plan");
    for n in 0..PEOPLE {
        let reader = store.readers().find(&format!("telegram:{n}")).await.unwrap().unwrap();
        let folders = store.readers().folders(reader.id).await.unwrap();
        assert_eq!((folders.len(), folders[0].sources), (1, 1));
        assert!((1..=3).contains(&store.readers().given(reader.id).await.unwrap().0));
    }
}

// req: S1-05
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_people_and_ends_at_any_moment_leave_the_books_right_on_sqlite() {
    fifty_people(None).await;
}

// req: S1-05
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_people_and_ends_at_any_moment_leave_the_books_right_on_postgres() {
    let Some(server) = portcullis_testkit::postgres::start().await else { return };
    fifty_people(Some(server.database().await.into())).await;
}
