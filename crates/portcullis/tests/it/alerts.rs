//! The walk of alerts, with the real binary: a refused key, an empty account, a Signal daemon that is away, a damaged
//! index, a disk that is nearly full, messages that fail, a process that dies again and again. Each is told once, what
//! repeats within the cooldown is counted into the next word, the end is told, and health names the cause while it lasts.

use crate::support::{BINARY, PATIENCE, chat, get, post, receiver, until};
use portcullis_testkit::{
    process::{Options, Server, run},
    signal::{ACCOUNT, Sent, Signal},
    upstream::{Behaviour, OpenAi},
};
use serde_json::Value;
use std::{fs, net::SocketAddr, time::Duration};
use tokio::sync::mpsc::UnboundedReceiver;

/// What the webhook was told, in order.
struct Told {
    bodies: UnboundedReceiver<String>,
    seen: Vec<(String, String, u64)>,
}

impl Told {
    /// Waits for a word of this category.
    async fn wait(&mut self, category: &str, status: &str) -> u64 {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.bodies.recv()).await;
            let text = next.unwrap_or_else(|_| panic!("no {category} {status}: {:?}", self.seen)).unwrap();
            let body: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
            let alert = &body["alerts"][0];
            let name = alert["labels"]["alertname"].as_str().unwrap().to_owned();
            let repeated = alert["annotations"]["suppressed"].as_str().unwrap().parse().unwrap();
            let state = body["status"].as_str().unwrap().to_owned();
            self.seen.push((name.clone(), state.clone(), repeated));
            if name == category && state == status {
                return repeated;
            }
        }
    }

    /// How often this was told to begin and to end.
    fn counts(&self, category: &str) -> [usize; 2] {
        ["firing", "resolved"].map(|status| {
            self.seen.iter().filter(|(name, state, _)| name == category && state == status).count()
        })
    }
}

async fn health_says(server: &Server, key: &str, component: &str, cause: &str) {
    until(&format!("health names {component}: {cause}"), async || {
        let told = get(server.address(), "/health", key).await.json();
        let all = told["components"].as_array().cloned().unwrap_or_default();
        all.iter().any(|one| one["name"] == component && one.to_string().contains(cause))
    })
    .await;
}

async fn answered(server: SocketAddr, key: &str) -> bool {
    post(server, "/v1/chat/completions", key, &chat(false)).await.status == 200
}

// req: S2-3.7
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_an_empty_account_a_dead_stream_and_a_damaged_index_are_each_told_counted_and_over() {
    let (url, bodies, _tasks) = receiver().await;
    let mut told = Told { bodies, seen: Vec::new() };
    let (double, signal) = (OpenAi::start().await, Signal::start().await);
    let admin = signal.person("Administrator").uuid;
    let config = format!(
        "[alerts]\ncooldown_secs = 2\nerror_rate_events = 1000000\n\
         receivers = [{{ kind = \"webhook\", url = \"{url}\" }}]\n[upstream]\nhold_secs = 1\n[knowledge]\nwatch_secs = 1\n\
         [signal]\nenabled = true\nurl = \"{}\"\nalert_after_secs = 1\nreconnect_max_secs = 1\nadmins = [\"{admin}\"]\n\
         [providers.openai]\nbase_url = \"{}\"\nmodels = [\"gpt-double\"]\n\
         [routes.default]\ntargets = [{{ provider = \"openai\", model = \"gpt-double\" }}]\n",
        signal.http_url(),
        double.base_url()
    );
    let options = Options::config(config + crate::support::WIDE)
        .env("OPENAI_API_KEY", double.key())
        .env("SIGNAL_PHONE_NUMBER", ACCOUNT)
        .env("ACTIVATION_PASSPHRASE", "open sesame, made up");
    let mut server = Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("{refused:?}"));
    let key = server.key().expect("a first key");

    for (behaviour, category) in
        [(Behaviour::bad_key(), "key_invalid"), (Behaviour::quota_exhausted(), "quota_exhausted")]
    {
        double.always(behaviour);
        let mut repeated = 0;
        // The account is tried again whenever its hold is over; what was refused meanwhile is counted.
        while repeated == 0 {
            until(category, async || {
                assert!(!answered(server.address(), &key).await);
                !told.bodies.is_empty()
            })
            .await;
            repeated = told.wait(category, "firing").await;
        }
        health_says(&server, &key, "outbound:openai", "the account is held").await;
        double.always(Behaviour::Answer);
        until("calls work again", async || answered(server.address(), &key).await).await;
        told.wait(category, "resolved").await;
        assert_eq!(told.counts(category)[1], 1, "{:?}", told.seen);
    }

    signal.stop().await;
    told.wait("signal_error", "firing").await;
    health_says(&server, &key, "signal_cli", "no messages arrive").await;
    signal.start_again().await;
    told.wait("signal_error", "resolved").await;
    assert_eq!(told.counts("signal_error")[1], 1, "{:?}", told.seen);

    fs::create_dir(server.folder().join("docs")).unwrap();
    fs::write(server.folder().join("docs/a.md"), "# Notice\n\nThe notice period is two months.\n").unwrap();
    let taken = run(BINARY, server.folder(), &["ingest", "docs"], &[]).await;
    assert_eq!(taken.code, Some(0), "{}", taken.stderr);
    server.terminate();
    server.wait(60).await;
    let texts = server.folder().join("data/knowledge/default/gen-1/chunks.zst");
    let mut bytes = fs::read(&texts).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&texts, bytes).unwrap();
    let server = server.restart(|_| {}).await.unwrap_or_else(|refused| panic!("{refused:?}"));
    told.wait("index_corrupt", "firing").await;
    health_says(&server, &key, "index", "default: damaged").await;
    let taken = run(BINARY, server.folder(), &["ingest", "docs"], &[]).await;
    assert_eq!(taken.code, Some(0), "{}", taken.stderr);
    told.wait("index_corrupt", "resolved").await;
    assert_eq!(told.counts("index_corrupt"), [1, 1], "{:?}", told.seen);
    assert_eq!(told.counts("breaker_open"), [0, 0], "no account opens a breaker: {:?}", told.seen);
    // Administrators at Signal heard of it too, in private.
    until("the administrator is told", async || {
        let to = |sent: &Sent| sent.recipients == [admin.as_str()] && sent.text.contains("index_corrupt");
        signal.sent().iter().any(to)
    })
    .await;
}

// req: S2-3.7, S2-3.6
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_failing_messages_and_a_process_that_dies_again_and_again_are_told() {
    let (url, bodies, _tasks) = receiver().await;
    let mut told = Told { bodies, seen: Vec::new() };
    let double = OpenAi::start().await;
    let config = |free: u64| {
        format!(
            "[alerts]\ncooldown_secs = 2\nlook_secs = 1\nerror_rate_secs = 3\nmin_free_bytes = {free}\n\
             restarts = 3\nrestart_window_secs = 40\nreceivers = [{{ kind = \"webhook\", url = \"{url}\" }}]\n\
             [knowledge]\nwatch_secs = 1\n\
             [providers.openai]\nbase_url = \"{}\"\nmodels = [\"gpt-double\"]\nbreaker_reset_secs = 1\nattempts = 1\n\
             [routes.default]\ntargets = [{{ provider = \"openai\", model = \"gpt-double\" }}]\n\
             [routes.ask]\ntargets = [{{ provider = \"openai\", model = \"gpt-double\" }}]\n{}",
            double.base_url(),
            crate::support::WIDE
        )
    };
    let full = Options::config(config(1 << 62)).env("OPENAI_API_KEY", double.key());
    let mut server = Server::start(BINARY, full).await.unwrap_or_else(|refused| panic!("{refused:?}"));
    let key = server.key().expect("a first key");
    told.wait("disk_low", "firing").await;
    health_says(&server, &key, "disk", "nearly full").await;
    let roomy = config(1 << 20);
    server.terminate();
    server.wait(60).await;
    let mut server = server.restart(move |options| options.config = roomy).await.unwrap();
    health_says(&server, &key, "disk", "healthy").await;

    // People go on asking while it fails and when it works again.
    let asking = async || {
        loop {
            let _well = answered(server.address(), &key).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    double.always(Behaviour::server_error());
    tokio::select! {
        _ = told.wait("error_rate", "firing") => {}
        () = asking() => {}
    }
    tokio::select! {
        () = health_says(&server, &key, "ai_provider", "no AI of the route") => {}
        () = asking() => {}
    }
    double.always(Behaviour::Answer);
    tokio::select! {
        _ = told.wait("error_rate", "resolved") => {}
        () = asking() => {}
    }
    health_says(&server, &key, "ai_provider", "healthy").await;
    assert_eq!(told.counts("restart_loop"), [0, 0], "an end in order is no death: {:?}", told.seen);

    for _ in 0..3 {
        server.kill();
        server.wait(60).await;
        server = server.restart(|_| {}).await.unwrap_or_else(|refused| panic!("{refused:?}"));
    }
    told.wait("restart_loop", "firing").await;
    told.wait("restart_loop", "resolved").await;
    // Each process that comes after deaths tells it once; what the last one told is over with it.
    let [told_loop, over] = told.counts("restart_loop");
    assert_eq!((told.counts("disk_low"), told_loop >= 1, over), ([1, 0], true, 1), "{:?}", told.seen);
}
