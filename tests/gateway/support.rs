//! A gateway process and raw sockets on both of its sides.
//!
//! The tests look at bytes, because what a proxy must not do (a field too many, a frame too late)
//! is exactly what a good HTTP library would hide.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Long enough for a loaded machine, short enough to notice a hang.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not in time"))
}

/// The example, which `cargo test` builds next to the tests.
pub(crate) fn program() -> Command {
    let mut path: PathBuf = std::env::current_exe().expect("the path of the test");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push("examples");
    path.push(format!("gateway{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.exists(),
        "{} is missing: build it with `cargo build --example gateway`",
        path.display()
    );
    Command::new(path)
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("run the gateway")
}

/// A running gateway; it is killed with the value.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Gateway {
    pub(crate) fn start(arguments: &[String]) -> Self {
        let mut process = program()
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the gateway");
        let mut output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("read a line");
        let address = line
            .strip_prefix("listening on http://")
            .and_then(|rest| rest.split(' ').next())
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("no address in {line:?}"));
        Self {
            address,
            process,
            output,
        }
    }

    /// A gateway before one upstream.
    pub(crate) fn before(upstream: &Upstream) -> Self {
        Self::start(&[format!("--upstream=http://{}", upstream.address)])
    }

    /// A gateway before one upstream, with lines for its `[gateway]` section.
    pub(crate) fn configured(name: &str, settings: &str, upstream: &Upstream) -> Self {
        let file = format!("gateway-{name}-{}.toml", std::process::id());
        let file = std::env::temp_dir().join(file);
        std::fs::write(&file, format!("[gateway]\n{settings}\n")).expect("write");
        let gateway = Self::start(&[
            format!("--config={}", file.display()),
            format!("--upstream=http://{}", upstream.address),
        ]);
        std::fs::remove_file(&file).expect("remove");
        gateway
    }

    pub(crate) async fn connect(&self) -> Peer {
        Peer(TcpStream::connect(self.address).await.expect("connect"))
    }

    /// Sends SIGTERM and waits until the gateway says that it drains.
    #[cfg(unix)]
    pub(crate) fn terminate(&mut self) {
        self.signal();
        self.says("draining");
    }

    /// Sends SIGTERM.
    #[cfg(unix)]
    pub(crate) fn signal(&self) {
        let status = Command::new("kill")
            .args(["-TERM", &self.process.id().to_string()])
            .status()
            .expect("run kill");
        assert!(status.success());
    }

    /// Waits for a line that begins so: the rest of it.
    pub(crate) fn says(&mut self, beginning: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.output.read_line(&mut line).expect("read a line");
            assert!(read > 0, "the gateway ended without saying {beginning:?}");
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.trim_end().to_owned();
            }
        }
    }

    /// Waits for the end: the exit code and what was printed until then.
    pub(crate) async fn end(mut self) -> (Option<i32>, String) {
        soon(
            "the end of the gateway",
            tokio::task::spawn_blocking(move || {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut self.output, &mut text).expect("read");
                let status = self.process.wait().expect("wait");
                (status.code(), text)
            }),
        )
        .await
        .expect("the end")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server that does what a test tells it to, byte by byte.
pub(crate) struct Upstream {
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Upstream {
    pub(crate) async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        Self { listener, address }
    }

    pub(crate) async fn accept(&self) -> Peer {
        let accepted = soon("a connection to the upstream", self.listener.accept()).await;
        Peer(accepted.expect("accept").0)
    }
}

/// One end of a connection.
pub(crate) struct Peer(pub(crate) TcpStream);

impl Peer {
    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("write");
    }

    /// Reads up to and with `end`.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        soon(&format!("bytes up to {end:?}"), async {
            while !bytes.ends_with(end.as_bytes()) {
                match self.0.read_u8().await {
                    Ok(byte) => bytes.push(byte),
                    Err(error) => {
                        panic!("{error} after {:?}", String::from_utf8_lossy(&bytes))
                    }
                }
            }
        })
        .await;
        String::from_utf8(bytes).expect("text")
    }

    pub(crate) async fn head(&mut self) -> Head {
        Head(self.until("\r\n\r\n").await)
    }

    /// Everything until the other side closes.
    pub(crate) async fn rest(&mut self) -> String {
        let mut text = String::new();
        soon("the end of the stream", self.0.read_to_string(&mut text))
            .await
            .expect("read");
        text
    }

    /// Whether nothing arrives for a moment.
    pub(crate) async fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        timeout(Duration::from_millis(200), self.0.peek(&mut byte))
            .await
            .is_err()
    }
}

/// The head of a message, as it was on the wire.
#[derive(Debug)]
pub(crate) struct Head(pub(crate) String);

impl Head {
    pub(crate) fn first_line(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.0
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }
}
