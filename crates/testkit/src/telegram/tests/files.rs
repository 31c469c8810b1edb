//! Documents up and down.

use super::{bad, direct, done, double, http, refused};
use crate::telegram::Incoming;
use serde_json::{Value, json};

fn form(fields: &[(&str, &str)], file: (&str, &str, &[u8])) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let part = format!("--b0\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend(part.as_bytes());
    }
    let (name, file_name, bytes) = file;
    let head = format!(
        "--b0\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file_name}\"\r\nContent-Type: text/plain\r\n\r\n"
    );
    body.extend(head.as_bytes());
    body.extend(bytes);
    body.extend(b"\r\n--b0--\r\n");
    body
}

#[tokio::test]
async fn a_document_goes_up_and_comes_down_again() {
    let double = double().await;
    let anna = double.person("Anna");
    let (chat, token) = (anna.id.to_string(), double.token());
    let line = format!("POST /bot{token}/sendDocument");
    for (document, file) in [(None, "document"), (Some("attach://one"), "one")] {
        let mut fields = vec![("chat_id", chat.as_str()), ("caption", "*see*"), ("parse_mode", "MarkdownV2")];
        fields.extend(document.map(|document| ("document", document)));
        let body = form(&fields, (file, "a.txt", b"line\r\n--b1\r\nline"));
        let (status, answer) = http(&double, &line, "multipart/form-data; boundary=\"b0\"", &body).await;
        assert_eq!(status, 200, "{answer}");
    }
    let sent = &double.sent()[1];
    assert_eq!(sent.document.as_ref().unwrap().bytes, &b"line\r\n--b1\r\nline"[..]);
    assert_eq!((sent.text.as_str(), sent.entities.len()), ("see", 1));
    let said = double.push(&Incoming::document(&anna, "list.opml", b"<opml/>", "mine"));
    let update = done(&double, "getUpdates", json!({})).await;
    assert_eq!(update[0]["update_id"], said.update.unwrap());
    let id = update[0]["message"]["document"]["file_id"].clone();
    let file = done(&double, "getFile", json!({"file_id": id})).await;
    let path = format!("GET /file/bot{token}/{}", file["file_path"].as_str().unwrap());
    assert_eq!(http(&double, &path, "", b"").await, (200, Value::from("<opml/>")));
    assert_eq!(http(&double, &format!("GET /file/bot{token}/documents/none"), "", b"").await.0, 404);
    assert_eq!(http(&double, &path.replace(&token, "1:x"), "", b"").await.0, 401);
    assert_eq!(refused(&double, "getFile", json!({"file_id": "x"})).await, bad("invalid file_id"));
    // Sent again by its number.
    done(&double, "sendDocument", json!({"chat_id": anna.id, "document": id})).await;
    assert_eq!(double.sent()[2].document.as_ref().unwrap().name, "list.opml");
    assert_eq!(double.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn documents_and_captions_have_their_limits() {
    let double = double().await;
    let anna = double.person("Anna");
    let (chat, line) = (anna.id.to_string(), format!("POST /bot{}/sendDocument", double.token()));
    let kind = "multipart/form-data; boundary=b0";
    let long = "c".repeat(1025);
    let body = form(&[("chat_id", &chat), ("caption", &long)], ("document", "a.txt", b"x"));
    let (status, answer) = http(&double, &line, kind, &body).await;
    assert_eq!((status, &answer["description"]), (400, &json!("Bad Request: message caption is too long")));
    let body = form(&[("chat_id", &chat)], ("document", "a.txt", b""));
    let (_, answer) = http(&double, &line, kind, &body).await;
    assert_eq!(answer["description"], "Bad Request: file must be non-empty");
    let body = form(&[("chat_id", &chat)], ("document", "a.bin", &vec![7; (50 << 20) + 1]));
    let (status, _) = http(&double, &line, kind, &body).await;
    assert_eq!(status, 413);
    let none = json!({"chat_id": anna.id});
    assert_eq!(refused(&double, "sendDocument", none).await, bad("there is no document in the request"));
    double.push(&Incoming::document(&anna, "big.zip", b"x", "").weighing((20 << 20) + 1));
    let update = direct(&double, "getUpdates", json!({})).await.unwrap();
    let id = update[0]["message"]["document"]["file_id"].clone();
    assert_eq!(refused(&double, "getFile", json!({"file_id": id})).await, bad("file is too big"));
}
