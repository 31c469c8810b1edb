//! The doubles as a program, so that clients in any language can be pointed at them. Invariant: it listens on loopback
//! only and keeps nothing.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program says where it listens")]

use portcullis_testkit::{pages::Web, signal, telegram};
use std::process::ExitCode;

const HELP: &str = "\
Runs a test double on loopback until Ctrl-C.

Usage: portcullis-testkit <telegram|signal|pages> [--port P] [--rates off|lenient|exact]

  telegram   the Bot API; methods at /bot<token>/<method>
  signal     the signal-cli daemon: HTTP, TCP and a UNIX socket
  pages      web sites by their Host header
  --port     the port of HTTP; 0 or none: any free one
  --rates    how strictly telegram counts messages (lenient)

Each answers tests under /_control/ as well: GET /_control/state shows what was seen.

Examples:
  portcullis-testkit telegram --port 8081
  curl -d '{\"name\":\"Anna\"}' http://127.0.0.1:8081/_control/people
  curl -d '{\"from\":1000000001,\"text\":\"/start\"}' http://127.0.0.1:8081/_control/say

Exit codes: 0 ended by Ctrl-C, 2 wrong arguments.
";

struct Asked {
    double: String,
    port: u16,
    rates: telegram::Rates,
}

fn asked(mut args: impl Iterator<Item = String>) -> Result<Asked, String> {
    let double = args.next().ok_or("which double?")?;
    let mut asked = Asked { double, port: 0, rates: telegram::Rates::Lenient };
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        match (name.as_str(), value.as_str()) {
            ("--port", port) => asked.port = port.parse().map_err(|_| format!("{port} is no port"))?,
            ("--rates", "off") => asked.rates = telegram::Rates::Off,
            ("--rates", "lenient") => asked.rates = telegram::Rates::Lenient,
            ("--rates", "exact") => asked.rates = telegram::Rates::Exact,
            _ => return Err(format!("no {name} {value}")),
        }
    }
    Ok(asked)
}

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| matches!(arg.as_str(), "--help" | "-h" | "help")) {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match asked(args.into_iter()) {
        Ok(asked) => run(asked).await,
        Err(why) => {
            eprintln!("{why}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

async fn run(asked: Asked) -> ExitCode {
    let port = asked.port;
    match asked.double.as_str() {
        "telegram" => {
            let options = telegram::Options { port, rates: asked.rates, ..telegram::Options::default() };
            let double = telegram::Telegram::with(options).await;
            println!("telegram: {} token {}", double.base_url(), double.token());
            ended().await;
            for violation in double.violations() {
                println!("violation: {violation}");
            }
        }
        "signal" => {
            let double = signal::Signal::with(signal::Options { port, ..signal::Options::default() }).await;
            println!("signal: {} {} {}", double.http_url(), double.tcp_url(), double.unix_url());
            ended().await;
        }
        "pages" => {
            let web = Web::on(port).await;
            println!("pages: http://{}", web.address());
            ended().await;
        }
        other => {
            eprintln!("no double {other}\n\n{HELP}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

async fn ended() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
