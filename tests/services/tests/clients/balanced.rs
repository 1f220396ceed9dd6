//! Balancing over servers that die and come back.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::backoff::Backoff;
use tower_keep::balance::{Balance, Condition, Endpoint, Handle, Policy, RoundRobin, by};
use tower_keep::probe::{self, Schedule};
use tower_keep::replay::Buffered;
use tower_keep::retry::{self, RetryLayer};
use tower_keep::{Error, Lift, LiftLayer};
use tower_keep_services::{eventually, pause, serve};

/// A server in a process of its own.
struct Upstream {
    process: Child,
    port: u16,
}

impl Upstream {
    /// On this port; 0: on any.
    fn start(port: u16) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_upstream"))
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        Self { process, port }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::new(format!("127.0.0.1:{}", self.port))
    }

    /// With SIGKILL.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One connection, shared by its clones.
#[derive(Debug, Clone)]
struct Connection {
    sender: SendRequest<Body>,
}

impl Connection {
    async fn open(endpoint: Endpoint) -> Result<Lift<Self>, BoxError> {
        let stream = TcpStream::connect(endpoint.address()).await?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(LiftLayer::new().layer(Self { sender }))
    }
}

impl<B> Service<Request<B>> for Connection
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(self.sender.send_request(request.map(Body::new)))
    }
}

type Over = Balance<Lift<Connection>>;

fn over(upstreams: &[Upstream]) -> Over {
    let backoff = Backoff::builder().base(Duration::from_millis(5));
    let backoff = backoff.cap(Duration::from_millis(20)).build().unwrap();
    let policy = Policy::builder().picker(RoundRobin::default());
    // Only connections tell who is gone.
    let policy = policy.backoff(backoff).outliers(None).build().unwrap();
    let endpoints: Vec<_> = upstreams.iter().map(Upstream::endpoint).collect();
    Balance::new(policy, endpoints, service_fn(Connection::open))
}

fn usable(handle: &Handle) -> usize {
    let endpoints = handle.snapshot().endpoints;
    endpoints.iter().filter(|one| one.is_usable()).count()
}

fn request(method: &Method) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri("http://upstream/");
    request.body(Full::default()).unwrap()
}

const WORKERS: usize = 24;
const CALLS: usize = 40;

/// So many calls one after the other by each of many; how many each has lost. One of
/// the upstreams is killed in the middle of it.
async fn lost_by_each<S, B>(
    service: S,
    method: Method,
    handle: &Handle,
    victim: &mut Upstream,
) -> Vec<usize>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: std::fmt::Debug + Send,
    B: http_body::Body<Data: Send, Error: Send> + Send,
{
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (service, method) = (service.clone(), method.clone());
        workers.spawn(async move {
            let mut lost = 0;
            for _ in 0..CALLS {
                match service.clone().oneshot(request(&method)).await {
                    Ok(response) => {
                        assert_eq!(response.status(), StatusCode::OK);
                        lost += usize::from(response.into_body().collect().await.is_err());
                    }
                    Err(_) => lost += 1,
                }
            }
            lost
        });
    }
    let address = victim.endpoint();
    eventually("it has a lot to do", || {
        let endpoints = handle.snapshot().endpoints;
        let of_victim = endpoints
            .iter()
            .find(|one| one.address == address.address());
        of_victim.is_some_and(|one| one.succeeded > 20 && one.in_flight > 2)
    })
    .await;
    victim.kill();
    workers.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_costs_what_it_had_in_flight() {
    let mut upstreams: Vec<_> = (0..3).map(|_| Upstream::start(0)).collect();
    let balance = over(&upstreams);
    let handle = balance.handle();
    balance
        .clone()
        .oneshot(request(&Method::GET))
        .await
        .unwrap();
    eventually("all are connected", || usable(&handle) == 3).await;

    // What was given to a connection that had just broken was not sent.
    let rules = retry::Http::new().unprocessed(
        |error: &Error<hyper::Error>| matches!(error, Error::Inner(error) if error.is_canceled()),
    );
    let retry = RetryLayer::new(retry::Policy::default(), rules).replay(Buffered::up_to(1_024));
    let service = ServiceBuilder::new().layer(retry).service(balance.clone());
    let lost = lost_by_each(service, Method::POST, &handle, &mut upstreams[1]).await;
    // Whoever has lost a call is sent elsewhere from then on.
    assert!(lost.iter().all(|lost| *lost <= 1), "{lost:?}");
    assert!(lost.contains(&1), "it was not killed under load");
    assert_eq!(usable(&handle), 2);

    // It comes back where it was.
    let port = upstreams[1].port;
    upstreams[1] = Upstream::start(port);
    eventually("it is back", || usable(&handle) == 3).await;
    let mut answers = std::collections::BTreeSet::new();
    // The set follows the connection a moment later.
    for _ in 0..30 {
        let response = balance
            .clone()
            .oneshot(request(&Method::GET))
            .await
            .unwrap();
        answers.insert(response.into_body().collect().await.unwrap().to_bytes());
    }
    assert_eq!(answers.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_costs_idempotent_calls_nothing() {
    let mut upstreams: Vec<_> = (0..3).map(|_| Upstream::start(0)).collect();
    let balance = over(&upstreams);
    let handle = balance.handle();
    balance
        .clone()
        .oneshot(request(&Method::GET))
        .await
        .unwrap();
    eventually("all are connected", || usable(&handle) == 3).await;

    let retry = RetryLayer::new(retry::Policy::default(), retry::Http::new());
    let retry = retry.replay(Buffered::up_to(1_024));
    let retries = retry.handle();
    let service = ServiceBuilder::new().layer(retry).service(balance);
    let lost = lost_by_each(service, Method::GET, &handle, &mut upstreams[0]).await;
    assert_eq!(lost, [0; WORKERS]);
    assert!(retries.snapshot().recovered > 0, "nothing was in flight");
}

fn often() -> Schedule {
    let time = Duration::from_millis(20);
    let schedule = Schedule::builder().interval(time).timeout(time * 10);
    schedule.rise(2).fall(2).build().unwrap()
}

/// A balancer whose clients connect by themselves: nothing but a probe tells of trouble.
fn by_itself(endpoints: Vec<Endpoint>) -> Balance<Lift<Client<HttpConnector, Full<Bytes>>>> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let client = LiftLayer::new().layer(client);
    let policy = Policy::builder().outliers(None).build().unwrap();
    Balance::new(policy, endpoints, by(move |_| client.clone()))
}

/// Its background work begins with its first use.
async fn begin(balance: &Balance<Lift<Client<HttpConnector, Full<Bytes>>>>) {
    let ready = std::future::poll_fn(|cx| balance.clone().poll_ready(cx));
    ready.await.unwrap();
}

fn condition(handle: &Handle, place: usize) -> Condition {
    handle.snapshot().endpoints[place].condition
}

#[tokio::test]
async fn an_http_probe_takes_a_server_out_and_back() {
    let well = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&well);
    let health = move || async move {
        match seen.load(Ordering::SeqCst) {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        }
    };
    let sick = serve(Router::new().route("/health", get(health))).await;
    let other = serve(Router::new().route("/health", get(|| async {}))).await;
    let endpoint = |address: SocketAddr| Endpoint::new(address.to_string());
    let balance = by_itself(vec![endpoint(sick), endpoint(other)]).checked(often(), |endpoint| {
        probe::Http::new(&format!("http://{}/health", endpoint.address())).unwrap()
    });
    let handle = balance.handle();
    begin(&balance).await;
    for _ in 0..2 {
        well.store(false, Ordering::SeqCst);
        eventually("it is out", || {
            condition(&handle, 0) == Condition::Unhealthy
        })
        .await;
        assert_eq!(condition(&handle, 1), Condition::Usable);
        well.store(true, Ordering::SeqCst);
        eventually("it is back", || usable(&handle) == 2).await;
    }
}

#[tokio::test]
async fn a_tcp_probe_takes_a_server_out_and_back() {
    let mut upstreams = [Upstream::start(0), Upstream::start(0)];
    let endpoints = upstreams.iter().map(Upstream::endpoint).collect();
    let balance = by_itself(endpoints).checked(often(), |endpoint| {
        probe::Tcp::new(endpoint.address()).unwrap()
    });
    let handle = balance.handle();
    begin(&balance).await;
    pause(Duration::from_millis(100)).await;
    assert_eq!(usable(&handle), 2, "the well are left alone");
    upstreams[0].kill();
    eventually("it is out", || {
        condition(&handle, 0) == Condition::Unhealthy
    })
    .await;
    assert_eq!(condition(&handle, 1), Condition::Usable);
    let port = upstreams[0].port;
    upstreams[0] = Upstream::start(port);
    eventually("it is back", || usable(&handle) == 2).await;
}
