//! Header fields: what must not cross the gateway, and what it must add.

use crate::support::{Gateway, Upstream};

#[tokio::test]
async fn hop_by_hop_fields_do_not_cross() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client
        .send(
            "GET /a HTTP/1.1\r\nHost: example.org\r\nConnection: keep-alive, X-Secret, X-Request-Id, close\r\n\
             Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nX-Secret: 1\r\n\
             TE: trailers, deflate\r\nUpgrade: websocket\r\nProxy-Authorization: Basic eA==\r\n\
             X-Kept: yes\r\n\r\n",
        )
        .await;
    let mut server = upstream.accept().await;
    let seen = server.head().await;
    assert_eq!(seen.first_line(), "GET /a HTTP/1.1");
    for name in [
        "keep-alive",
        "proxy-connection",
        "x-secret",
        "upgrade",
        "proxy-authorization",
        "transfer-encoding",
    ] {
        assert_eq!(seen.get(name), None, "{name} crossed: {seen:?}");
    }
    assert_eq!(seen.get("te"), Some("trailers"));
    assert_eq!(seen.get("connection"), Some("te"));
    assert_eq!(seen.get("x-kept"), Some("yes"));
    assert!(seen.get("x-request-id").is_some(), "{seen:?}");
    assert_eq!(
        seen.get("host"),
        Some(upstream.address.to_string().as_str())
    );

    server
        .send(
            "HTTP/1.1 200 OK\r\nConnection: X-Inner, close\r\nX-Inner: 1\r\n\
             Keep-Alive: timeout=9\r\nProxy-Authenticate: Basic\r\nX-Kept: too\r\n\
             Content-Length: 2\r\n\r\nhi",
        )
        .await;
    let answer = client.head().await;
    assert_eq!(answer.first_line(), "HTTP/1.1 200 OK");
    for name in ["keep-alive", "proxy-authenticate", "x-inner"] {
        assert_eq!(answer.get(name), None, "{name} crossed: {answer:?}");
    }
    assert_eq!(answer.get("x-kept"), Some("too"));
    assert_eq!(answer.get("content-length"), Some("2"));
    assert_eq!(client.until("hi").await, "hi");
}

#[tokio::test]
async fn says_who_asked_and_through_whom() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: example.org:81\r\nX-Forwarded-For: 192.0.2.1\r\n\
             Forwarded: for=192.0.2.1\r\nVia: 1.0 before\r\nX-Request-Id: abc-1\r\n\r\n",
        )
        .await;
    let mut server = upstream.accept().await;
    let seen = server.head().await;
    assert_eq!(seen.all("x-forwarded-for"), ["192.0.2.1, 127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-host"), ["example.org:81"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
    let forwarded = seen.get("forwarded").expect("Forwarded");
    assert!(
        forwarded.starts_with(
            "for=192.0.2.1, for=127.0.0.1;host=\"example.org:81\";proto=http;by=_gateway-"
        ),
        "{forwarded}"
    );
    let via = seen.get("via").expect("Via");
    assert!(via.starts_with("1.0 before, 1.1 gateway-"), "{via}");
    assert_eq!(seen.get("x-request-id"), Some("abc-1"));

    server
        .send("HTTP/1.1 200 OK\r\nVia: 1.1 inner\r\nContent-Length: 0\r\n\r\n")
        .await;
    let answer = client.head().await;
    assert_eq!(answer.all("x-request-id"), ["abc-1"]);
    let via = answer.get("via").expect("Via");
    assert!(via.starts_with("1.1 inner, 1.1 gateway-"), "{via}");
}

#[tokio::test]
async fn makes_a_request_id_when_there_is_no_usable_one() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: not \"usable\"\r\n\r\n")
        .await;
    let mut server = upstream.accept().await;
    let made = server.head().await.get("x-request-id").map(str::to_owned);
    let id = made.expect("an id");
    assert_eq!(id.len(), 32, "{id}");
    server.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    let answer = client.head().await;
    assert_eq!(answer.get("x-request-id"), Some(id.as_str()));
    assert_eq!(answer.get("content-length"), None);
}

#[tokio::test]
async fn a_request_that_comes_back_is_refused() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut server = upstream.accept().await;
    let via = server.head().await.get("via").map(str::to_owned);
    let mut again = gateway.connect().await;
    again
        .send(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nVia: {}\r\nConnection: close\r\n\r\n",
            via.expect("Via")
        ))
        .await;
    let answer = again.rest().await;
    assert!(answer.starts_with("HTTP/1.1 508 "), "{answer}");
}

#[tokio::test]
async fn answers_for_itself_where_it_must() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    for (request, expected) in [
        ("OPTIONS * HTTP/1.1\r\nHost: a", "HTTP/1.1 200 "),
        (
            "OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0",
            "HTTP/1.1 200 ",
        ),
        (
            "TRACE /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0",
            "HTTP/1.1 200 ",
        ),
        (
            "OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: few",
            "HTTP/1.1 400 ",
        ),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1", "HTTP/1.1 501 "),
        ("GET / HTTP/1.1\r\nX-No: host", "HTTP/1.1 400 "),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b", "HTTP/1.1 400 "),
        ("GET /a/%2e./b HTTP/1.1\r\nHost: a", "HTTP/1.1 400 "),
    ] {
        let mut client = gateway.connect().await;
        client
            .send(&format!("{request}\r\nConnection: close\r\n\r\n"))
            .await;
        let answer = client.rest().await;
        assert!(answer.starts_with(expected), "{request}: {answer}");
    }
    let mut client = gateway.connect().await;
    client
        .send("OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n")
        .await;
    let seen = upstream.accept().await.head().await;
    assert_eq!(seen.get("max-forwards"), Some("2"));
}

#[tokio::test]
async fn routes_by_the_longest_prefix() {
    let (one, two) = (Upstream::bind().await, Upstream::bind().await);
    let gateway = Gateway::start(&[
        format!("--upstream=/=http://{}", one.address),
        format!("--upstream=/two=http://{}/base", two.address),
    ]);
    for (path, upstream, expected) in [
        ("/twofold?q=1", &one, "GET /twofold?q=1 HTTP/1.1"),
        ("/two/x?q=1", &two, "GET /base/x?q=1 HTTP/1.1"),
    ] {
        let mut client = gateway.connect().await;
        client
            .send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!(upstream.accept().await.head().await.first_line(), expected);
    }
}
