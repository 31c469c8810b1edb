//! Backups, restore and damage, with the real binary.

use crate::support::{BINARY, get, until};
use portcullis_testkit::process::{Options, Server, run};
use serde_json::Value;
use std::{fs, path::Path};

const CONFIG: &str = "[backup]\ndebounce_secs = 1\n";

async fn command(folder: &Path, args: &[&str]) -> (Option<i32>, Value) {
    let mut all = vec!["--json"];
    all.extend(args);
    let ended = run(BINARY, folder, &all, &[]).await;
    let said = if ended.stdout.trim().is_empty() { ended.stderr } else { ended.stdout };
    (ended.code, serde_json::from_str(said.trim()).unwrap_or_else(|_| panic!("no JSON: {said}")))
}

async fn start(config: &str) -> Server {
    Server::start(BINARY, Options::config(config)).await.unwrap_or_else(|refused| panic!("{refused:?}"))
}

/// Ends a server in order.
async fn stop(server: &mut Server) {
    server.terminate();
    assert_eq!(server.wait(40).await, Some(0));
}

/// Asks the running server through its admin listener.
async fn admin(server: &Server, args: &[&str]) -> String {
    let url = format!("http://{}", server.admin().unwrap());
    run(BINARY, server.folder(), args, &[("PORTCULLIS_ADMIN_URL", &url)]).await.stdout
}

/// Whether that key still opens the door.
async fn opens(server: &Server, key: &str) -> bool {
    get(server.address(), "/v1/models", key).await.status == 200
}

fn flip(path: &Path) {
    let mut content = fs::read(path).unwrap();
    let at = content.len() / 2;
    content[at] ^= 0x10;
    fs::write(path, content).unwrap();
}

// req: S1-10
#[tokio::test]
async fn a_database_damaged_under_a_stopped_server_is_replaced_by_the_newest_backup_and_it_says_so() {
    let mut server = start(CONFIG).await;
    let key = server.key().unwrap();
    stop(&mut server).await;
    let (code, listed) = command(server.folder(), &["backup", "--list"]).await;
    let newest = listed["backups"][0].clone();
    assert_eq!((code, newest["number"].as_u64(), &newest["problem"]), (Some(0), Some(1), &Value::Null));
    flip(&server.folder().join("data/portcullis.db"));
    let mut server = server.restart(|_| {}).await.unwrap();
    assert!(opens(&server, &key).await, "the key of the first start is in the backup");
    let log = server.stderr();
    assert!(log.contains("store_damaged") && log.contains(newest["name"].as_str().unwrap()), "{log}");
    assert!(log.contains("minutes"), "{log}");
    assert!(server.folder().join("data/quarantine").read_dir().unwrap().next().is_some());
    stop(&mut server).await;
    let audit = run(BINARY, server.folder(), &["audit", "show", "--json"], &[]).await;
    assert!(audit.stdout.contains("store_mended"), "{}", audit.stdout);
    let mut server = server.restart(|_| {}).await.unwrap();
    assert!(!server.stderr().contains("store_damaged"), "once");
    stop(&mut server).await;
}

// req: S1-10
#[tokio::test]
async fn without_a_backup_a_damaged_database_stops_the_start_with_what_to_do() {
    let mut server = start(CONFIG).await;
    stop(&mut server).await;
    fs::remove_dir_all(server.folder().join("data/backups")).unwrap();
    flip(&server.folder().join("data/portcullis.db"));
    let refused = server.restart(|_| {}).await.unwrap_err();
    assert!(refused.stderr.contains("no valid backup") && refused.stderr.contains("allow_empty_start"));
}

// req: S1-10
#[tokio::test]
async fn a_backup_is_made_beside_the_server_and_restored_only_without_it() {
    let mut server = start("[backup]\nenabled = false\n").await;
    let first = server.key().unwrap();
    let (code, made) = command(server.folder(), &["backup"]).await;
    assert_eq!(code, Some(0), "{made}");
    assert!(made["backup"]["rows"]["api_keys"].as_u64() == Some(1), "{made}");
    let name = made["backup"]["name"].as_str().unwrap().to_owned();
    let created = admin(&server, &["keys", "create", "--name", "later", "--json"]).await;
    let later: Value = serde_json::from_str(created.trim()).unwrap();
    let later = later["key"].as_str().unwrap().to_owned();
    assert!(opens(&server, &later).await);
    let (code, refused) = command(server.folder(), &["restore", "latest"]).await;
    assert!(code == Some(1) && refused["error"].as_str().unwrap().contains("stop the server"), "{refused}");
    stop(&mut server).await;
    let (code, restored) = command(server.folder(), &["restore", "1"]).await;
    assert_eq!((code, restored["restored"]["name"].as_str()), (Some(0), Some(name.as_str())), "{restored}");
    assert!(restored["restored"]["kept_as"].as_str().unwrap().starts_with("pre-restore-"));
    let mut server = server.restart(|_| {}).await.unwrap();
    assert!(opens(&server, &first).await && !opens(&server, &later).await);
    stop(&mut server).await;
    for wrong in ["../portcullis.db", "9", "/etc/passwd"] {
        assert_eq!(command(server.folder(), &["restore", wrong]).await.0, Some(1), "{wrong}");
    }
    let audit = run(BINARY, server.folder(), &["audit", "show", "--json"], &[]).await;
    assert!(audit.stdout.contains("backup_restored"), "{}", audit.stdout);
}

// req: S1-10
#[tokio::test]
async fn a_database_damaged_under_a_running_server_is_replaced_and_the_server_goes_on() {
    let config = format!("{CONFIG}\n[server]\ndrain_secs = 1\n");
    let mut server = start(&config).await;
    let key = server.key().unwrap();
    stop(&mut server).await;
    let mut server = server.restart(|_| {}).await.unwrap();
    // Every page but the first, under the server's hands.
    let path = server.folder().join("data/portcullis.db");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0x5a; length - 4096], 4096).unwrap();
    // What reads a page that it has not read yet finds it; the next backup reads them all.
    until("it started again", async || {
        let _may_fail = admin(&server, &["keys", "create", "--name", "more"]).await;
        server.stderr().matches("\"ready\"").count() >= 2
    })
    .await;
    let log = server.stderr();
    assert!(log.contains("store_damaged") && log.contains("took its place"), "{log}");
    assert!(!key.is_empty());
    stop(&mut server).await;
}
