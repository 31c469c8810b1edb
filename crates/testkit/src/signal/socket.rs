//! TCP and UNIX sockets of the double: one JSON object a line, answers in any order, messages in between.

use super::{
    ReceiveMode, Run,
    rpc::{Answer, Connection, answer, error},
    state::{Frame, Next, Shared},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{TcpListener, UnixListener},
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) async fn accept_tcp(listener: TcpListener, shared: Arc<Shared>, run: Run, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = run.leave.cancelled() => return,
        };
        let Ok((stream, _peer)) = accepted else { continue };
        drop(stream.set_nodelay(true));
        let (read, write) = stream.into_split();
        tasks.spawn(serve(read, write, Arc::clone(&shared), run.clone(), tasks.clone()));
    }
}

pub(super) async fn accept_unix(listener: UnixListener, shared: Arc<Shared>, run: Run, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = run.leave.cancelled() => return,
        };
        let Ok((stream, _peer)) = accepted else { continue };
        let (read, write) = stream.into_split();
        tasks.spawn(serve(read, write, Arc::clone(&shared), run.clone(), tasks.clone()));
    }
}

/// A line to write, or the end.
enum Out {
    Line(Vec<u8>),
    Close,
}

struct Socket {
    shared: Arc<Shared>,
    out: UnboundedSender<Out>,
    tasks: TaskTracker,
    closed: CancellationToken,
    subscriptions: Mutex<HashMap<usize, CancellationToken>>,
}

impl Socket {
    /// Passes messages on until the connection or the subscription ends.
    fn stream(&self, account: Option<String>, subscription: Option<usize>, end: CancellationToken) {
        let (mut listener, out) = (self.shared.listen(account), self.out.clone());
        self.tasks.spawn(async move {
            loop {
                let next = tokio::select! {
                    next = listener.next() => next,
                    () = end.cancelled() => return,
                };
                match next {
                    // Sockets have none.
                    Next::KeepAlive => {}
                    Next::Write(Frame::Raw(bytes)) => drop(out.send(Out::Line(bytes))),
                    Next::Write(Frame::End) => {
                        drop(out.send(Out::Close));
                        return;
                    }
                    Next::Write(Frame::Event(event)) => {
                        let params = match subscription {
                            None => event.body.clone(),
                            Some(number) => json!({"subscription": number, "result": event.body}),
                        };
                        let mut line =
                            json!({"jsonrpc": "2.0", "method": "receive", "params": params}).to_string();
                        line.push('\n');
                        if event.cut {
                            line.truncate(line.len() / 2);
                            drop(out.send(Out::Line(line.into())));
                            drop(out.send(Out::Close));
                            return;
                        }
                        drop(out.send(Out::Line(line.into())));
                    }
                }
            }
        });
    }
}

impl Connection for Arc<Socket> {
    fn subscribe(&self, account: Option<&str>) -> Option<usize> {
        let number = self.shared.number();
        let end = self.closed.child_token();
        self.subscriptions.lock().insert(number, end.clone());
        self.stream(account.map(str::to_owned), Some(number), end);
        Some(number)
    }

    fn unsubscribe(&self, number: usize) -> Option<bool> {
        Some(self.subscriptions.lock().remove(&number).map(|end| end.cancel()).is_some())
    }
}

async fn serve(
    read: impl AsyncRead + Send + Unpin + 'static,
    mut write: impl AsyncWrite + Send + Unpin + 'static,
    shared: Arc<Shared>,
    run: Run,
    tasks: TaskTracker,
) {
    let (out, mut lines) = unbounded_channel();
    let closed = run.die.child_token();
    let socket = Arc::new(Socket {
        shared: Arc::clone(&shared),
        out,
        tasks: tasks.clone(),
        closed: closed.clone(),
        subscriptions: Mutex::default(),
    });
    if shared.options.receive_mode != ReceiveMode::Manual {
        socket.stream(None, None, closed.clone());
    } else {
        // Nobody streams here who would end it with the daemon.
        let (out, leave, closed) = (socket.out.clone(), run.leave.clone(), closed.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = leave.cancelled() => drop(out.send(Out::Close)),
                () = closed.cancelled() => {}
            }
        });
    }
    let writer = async {
        while let Some(Out::Line(line)) = lines.recv().await {
            // In two pieces: readers must not take a read for a line.
            let (first, second) = line.split_at(line.len() / 2);
            if write.write_all(first).await.is_err() || write.flush().await.is_err() {
                return;
            }
            if write.write_all(second).await.is_err() {
                return;
            }
        }
        drop(write.shutdown().await);
        // Closing with unread bytes would reset the connection under what was just written.
        sleep(Duration::from_millis(50)).await;
    };
    let reader = async {
        let mut reader = BufReader::new(read).lines();
        while let Ok(Some(line)) = reader.next_line().await {
            let (socket, number) = (Arc::clone(&socket), shared.number());
            tasks.spawn(async move {
                let told = respond(&socket, &line, number);
                tokio::select! {
                    () = told => {}
                    () = socket.closed.cancelled() => {}
                }
            });
        }
    };
    tokio::select! {
        () = writer => {}
        () = reader => {}
        () = run.die.cancelled() => {}
    }
    closed.cancel();
}

async fn respond(socket: &Arc<Socket>, line: &str, number: usize) {
    let answered = if line.trim().is_empty() {
        Answer::Json(error(&Value::Null, -32700, "Empty input line", &Value::Null))
    } else {
        match serde_json::from_str::<Value>(line) {
            Err(problem) => Answer::Json(error(&Value::Null, -32700, &problem.to_string(), &Value::Null)),
            Ok(Value::Array(batch)) => {
                let mut answers = Vec::new();
                for one in &batch {
                    if let Answer::Json(json) = answer(&socket.shared, socket, one).await {
                        answers.push(json);
                    }
                }
                Answer::Json(Value::Array(answers))
            }
            Ok(one) => answer(&socket.shared, socket, &one).await,
        }
    };
    // Every second answer lets the next one pass.
    if number.is_multiple_of(2) {
        sleep(Duration::from_millis(3)).await;
    }
    match answered {
        Answer::Json(json) => drop(socket.out.send(Out::Line(format!("{json}\n").into()))),
        Answer::Nothing | Answer::Silence => {}
        Answer::Break => drop(socket.out.send(Out::Close)),
    }
}
