//! The command line's side of a running server: where it is, with which key, and what it answers. Uses the shared
//! outbound client; no provider is ever called from here.

use crate::{Environment, Settings, secrets::OwnKeys};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use portcullis_domain::Deadline;
use portcullis_resilience::http::{self as outbound, Client};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use std::{net::IpAddr, net::SocketAddr, time::Duration};

/// Largest whole answer read, in bytes.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;
/// Longest line of a stream, in bytes.
const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;

/// A running server as seen from the command line.
#[derive(Debug)]
pub struct Server {
    client: Client,
    base: String,
    key: Option<SecretString>,
}

/// Which listener is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// `PORTCULLIS_URL`, else `http.listen`.
    Main,
    /// `PORTCULLIS_ADMIN_URL`, else `admin.listen`.
    Admin,
}

/// Why the server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Nobody answers there.
    #[error("no server answers at {base} ({reason})")]
    Unreachable {
        /// Where.
        base: String,
        /// Why, without any secret.
        reason: String,
    },
    /// The server said no.
    #[error("the server refused ({status}): {message}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// Its words.
        message: String,
        /// Seconds after which it may say yes.
        retry_after: Option<u64>,
        /// What the log is searched for.
        request_id: Option<String>,
    },
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Interrupted(String),
    /// The answer is not what this version understands.
    #[error("the server's answer cannot be read: {0}")]
    Unreadable(String),
    /// The key file cannot be read, or the URL is none.
    #[error("{0}")]
    Setup(String),
}

/// A question.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The text.
    pub text: &'a str,
    /// Instructions, if any.
    pub system: Option<&'a str>,
    /// Route or model.
    pub model: &'a str,
    /// Print as it comes.
    pub stream: bool,
}

/// How an answer ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// The whole text.
    pub text: String,
    /// Set when the answer is less than what was asked for.
    pub degraded: Option<String>,
    /// Why the model stopped.
    pub finish: Option<String>,
}

impl Server {
    /// The server of these settings and this environment.
    ///
    /// # Errors
    /// [`RemoteError::Setup`] when the local key file is there but cannot be read.
    pub fn find(
        settings: &Settings,
        environment: &Environment,
        listener: Listener,
    ) -> Result<Self, RemoteError> {
        let (variable, listen, tls) = match listener {
            Listener::Main => ("PORTCULLIS_URL", &settings.http.listen, settings.http.tls.is_some()),
            Listener::Admin => ("PORTCULLIS_ADMIN_URL", &settings.admin.listen, settings.admin.tls.is_some()),
        };
        let base = match environment.get(variable) {
            Some(url) => url.trim_end_matches('/').trim_end_matches("/v1").to_owned(),
            None => local_base(listen, tls)?,
        };
        let key = match environment.get("PORTCULLIS_KEY") {
            Some(key) => Some(SecretString::from(key)),
            None => OwnKeys::new(&settings.data_dir)
                .local()
                .map_err(|error| RemoteError::Setup(error.to_string()))?,
        };
        Ok(Self { client: Client::new(&outbound::HttpConfig::default()), base, key })
    }

    /// Where the server is.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// One call with a JSON answer.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Value, RemoteError> {
        let deadline = Deadline::after(within);
        let response = self.send(method, path, body, deadline).await?;
        let (head, body) = response.into_parts();
        let bytes = outbound::collect(body, MAX_ANSWER_BYTES, deadline)
            .await
            .map_err(|error| RemoteError::Interrupted(error.to_string()))?;
        if !head.status.is_success() {
            return Err(refused(&head, &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|error| RemoteError::Unreadable(error.to_string()))
    }

    /// Asks a question and hands out the answer as it comes.
    ///
    /// # Errors
    /// [`RemoteError`]; after the first piece only [`RemoteError::Interrupted`].
    pub async fn chat(
        &self,
        question: &Question<'_>,
        within: Duration,
        mut piece: impl FnMut(&str),
    ) -> Result<Answered, RemoteError> {
        let deadline = Deadline::after(within);
        let mut messages = Vec::new();
        if let Some(system) = question.system {
            messages.push(json!({"role": "system", "content": system}));
        }
        messages.push(json!({"role": "user", "content": question.text}));
        let body = json!({"model": question.model, "messages": messages, "stream": question.stream});
        let response = self.send(Method::POST, "/v1/chat/completions", Some(&body), deadline).await?;
        let (head, mut body) = response.into_parts();
        if !head.status.is_success() || !question.stream {
            let bytes = outbound::collect(body, MAX_ANSWER_BYTES, deadline)
                .await
                .map_err(|error| RemoteError::Interrupted(error.to_string()))?;
            if !head.status.is_success() {
                return Err(refused(&head, &bytes));
            }
            let mut answered = whole(&bytes)?;
            answered.degraded = degraded(&head);
            piece(&answered.text);
            return Ok(answered);
        }
        let mut answered = Answered { degraded: degraded(&head), ..Answered::default() };
        let mut lines = Lines::default();
        loop {
            let frame = tokio::time::timeout_at(deadline.instant(), body.frame())
                .await
                .map_err(|_| RemoteError::Interrupted("the time is over".to_owned()))?;
            let Some(frame) = frame else {
                return Err(RemoteError::Interrupted(
                    "the connection ended before the answer did".to_owned(),
                ));
            };
            let frame = frame.map_err(|error| RemoteError::Interrupted(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            lines.push(&data)?;
            while let Some(line) = lines.next() {
                if event(&line, &mut answered, &mut piece)? {
                    return Ok(answered);
                }
            }
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        deadline: Deadline,
    ) -> Result<http::Response<outbound::AnswerBody>, RemoteError> {
        let unreachable = |reason: String| RemoteError::Unreachable { base: self.base.clone(), reason };
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.expose_secret()));
        }
        let bytes = match body {
            Some(value) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(value.to_string())
            }
            None => Bytes::new(),
        };
        let request = request
            .body(Full::new(bytes))
            .map_err(|_| RemoteError::Setup(format!("{} is not a URL that can be called", self.base)))?;
        tokio::time::timeout_at(deadline.instant(), self.client.send(request))
            .await
            .map_err(|_| unreachable("no answer in time".to_owned()))?
            .map_err(|error| unreachable(error.to_string()))
    }
}

/// The URL of a listener on this machine; one that listens everywhere is reached over loopback.
fn local_base(listen: &str, tls: bool) -> Result<String, RemoteError> {
    let mut address: SocketAddr = listen
        .parse()
        .map_err(|_| RemoteError::Setup(format!("`{listen}` is not an address with a port")))?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(_) => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        });
    }
    Ok(format!("{}://{address}", if tls { "https" } else { "http" }))
}

fn degraded(head: &http::response::Parts) -> Option<String> {
    Some(head.headers.get("x-portcullis-degraded")?.to_str().ok()?.to_owned())
}

fn refused(head: &http::response::Parts, bytes: &[u8]) -> RemoteError {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let words = value["error"]["message"].as_str().or_else(|| value["message"].as_str());
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    RemoteError::Refused {
        status: head.status,
        message: words.unwrap_or("no reason was given").to_owned() + &problems(&value),
        retry_after: header("retry-after").and_then(|text| text.parse().ok()),
        request_id: header("x-request-id").map(str::to_owned),
    }
}

/// Every problem of settings that were refused, a line each.
fn problems(value: &Value) -> String {
    let rows = value["details"]["problems"].as_array().into_iter().flatten();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    rows.map(|row| {
        let (place, key) = (text(row, "place"), text(row, "key"));
        format!("\n  {place}: `{key}`: {}. {}", text(row, "message"), text(row, "mend"))
    })
    .collect()
}

fn whole(bytes: &[u8]) -> Result<Answered, RemoteError> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| RemoteError::Unreadable(error.to_string()))?;
    let choice = &value["choices"][0];
    Ok(Answered {
        text: choice["message"]["content"].as_str().unwrap_or_default().to_owned(),
        degraded: None,
        finish: choice["finish_reason"].as_str().map(str::to_owned),
    })
}

/// One line of the event stream; true at the end of the answer.
fn event(line: &str, answered: &mut Answered, piece: &mut impl FnMut(&str)) -> Result<bool, RemoteError> {
    let Some(data) = line.strip_prefix("data:").map(str::trim) else { return Ok(false) };
    if data == "[DONE]" {
        return Ok(true);
    }
    let value: Value =
        serde_json::from_str(data).map_err(|error| RemoteError::Unreadable(error.to_string()))?;
    if let Some(words) = value["error"]["message"].as_str() {
        return Err(RemoteError::Interrupted(words.to_owned()));
    }
    let choice = &value["choices"][0];
    if let Some(text) = choice["delta"]["content"].as_str().filter(|text| !text.is_empty()) {
        answered.text.push_str(text);
        piece(text);
    }
    if let Some(finish) = choice["finish_reason"].as_str() {
        answered.finish = Some(finish.to_owned());
    }
    Ok(false)
}

/// Puts lines together from chunks that end anywhere.
#[derive(Default)]
struct Lines {
    held: Vec<u8>,
}

impl Lines {
    fn push(&mut self, data: &[u8]) -> Result<(), RemoteError> {
        if self.held.len() + data.len() > MAX_LINE_BYTES {
            return Err(RemoteError::Unreadable("a line of the stream is too long".to_owned()));
        }
        self.held.extend_from_slice(data);
        Ok(())
    }

    fn next(&mut self) -> Option<String> {
        let end = self.held.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.held.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_put_together_from_chunks_cut_anywhere() {
        let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"Grüß\"}}]}\n\n: keep-alive\n\n\
                      data: {\"choices\":[{\"delta\":{\"content\":\" Gott\"},\"finish_reason\":\"stop\"}]}\r\n\r\n\
                      data: [DONE]\n\n";
        for cut in 1..stream.len() {
            let (mut lines, mut answered, mut seen, mut ended) =
                (Lines::default(), Answered::default(), String::new(), false);
            for chunk in stream.as_bytes().chunks(cut) {
                lines.push(chunk).unwrap();
                while let Some(line) = lines.next() {
                    ended |= event(&line, &mut answered, &mut |text| seen.push_str(text)).unwrap();
                }
            }
            assert!(ended, "cut {cut}");
            assert_eq!((seen.as_str(), answered.finish.as_deref()), ("Grüß Gott", Some("stop")));
        }
    }

    #[test]
    fn an_error_inside_a_stream_is_told_as_an_interruption() {
        let line =
            "data: {\"error\":{\"message\":\"The upstream broke off.\",\"code\":\"upstream_interrupted\"}}";
        let told = event(line, &mut Answered::default(), &mut |_| ());
        assert!(matches!(told, Err(RemoteError::Interrupted(words)) if words == "The upstream broke off."));
    }

    #[test]
    fn a_server_that_listens_everywhere_is_reached_over_loopback() {
        assert_eq!(local_base("0.0.0.0:8700", false).unwrap(), "http://127.0.0.1:8700");
        assert_eq!(local_base("[::]:8700", true).unwrap(), "https://[::1]:8700");
        assert_eq!(local_base("10.1.2.3:80", false).unwrap(), "http://10.1.2.3:80");
    }
}
