use axum::extract::ConnectInfo;
use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::key::{self, KeySpace, NoKey};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn headers(name: &'static str, lines: &[&str]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in lines {
        map.append(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
    }
    map
}

fn xff(ip_source: &ClientIp, peer: &str, lines: &[&str]) -> String {
    ip_source
        .behind(ip(peer), &headers("x-forwarded-for", lines))
        .to_string()
}

fn nets(list: &[&str]) -> ClientIp {
    ClientIp::trusted_networks(list.iter().map(|net| net.parse().unwrap()))
}

#[test]
fn hops_count_from_the_right() {
    for (hops, lines, client) in [
        (0, &["1.1.1.1, 2.2.2.2"][..], "9.9.9.9"),
        (1, &["1.1.1.1, 2.2.2.2"], "2.2.2.2"),
        (2, &["1.1.1.1, 2.2.2.2"], "1.1.1.1"),
        (2, &["7.7.7.7, 1.1.1.1, 2.2.2.2"], "1.1.1.1"),
        // Fewer entries than hops: the leftmost, or the peer.
        (3, &["1.1.1.1, 2.2.2.2"], "1.1.1.1"),
        (usize::MAX, &["1.1.1.1"], "1.1.1.1"),
        (1, &[], "9.9.9.9"),
        (1, &[""], "9.9.9.9"),
        // Lines are one list, in order.
        (1, &["7.7.7.7", "1.1.1.1,2.2.2.2"], "2.2.2.2"),
        (3, &["7.7.7.7", "1.1.1.1,2.2.2.2"], "7.7.7.7"),
        // Empty elements are no entries (RFC 9110 §5.6.1).
        (2, &[" , 1.1.1.1,, \t2.2.2.2 ,"], "1.1.1.1"),
        // Ports go, mapped addresses are IPv4.
        (1, &["1.1.1.1:80"], "1.1.1.1"),
        (1, &["[2001:db8::1]:80"], "2001:db8::1"),
        (1, &["[2001:db8::1]"], "2001:db8::1"),
        (1, &["2001:DB8:0::1"], "2001:db8::1"),
        (1, &["::ffff:1.1.1.1"], "1.1.1.1"),
        (1, &["[::ffff:101:101]:443"], "1.1.1.1"),
        // What is no address ends the walk at the last good one.
        (1, &["1.1.1.1, unknown"], "9.9.9.9"),
        (2, &["nonsense, 2.2.2.2"], "2.2.2.2"),
        (3, &["1.1.1.1, nonsense, 2.2.2.2"], "2.2.2.2"),
        (1, &["1.1.1.1 2.2.2.2"], "9.9.9.9"),
    ] {
        let found = xff(&ClientIp::trusted_hops(hops), "9.9.9.9", lines);
        assert_eq!(found, client, "{hops} hops in {lines:?}");
    }
}

#[test]
fn networks_are_walked_while_trusted() {
    let source = nets(&["10.0.0.0/8", "fd00::/8", "::ffff:192.168.0.0/120"]);
    for (peer, lines, client) in [
        // An untrusted peer says nothing about anybody else.
        ("9.9.9.9", &["1.1.1.1"][..], "9.9.9.9"),
        ("10.0.0.1", &["1.1.1.1"], "1.1.1.1"),
        ("10.0.0.1", &["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
        ("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.2.3.4"], "1.1.1.1"),
        (
            "10.0.0.1",
            &["6.6.6.6", "1.1.1.1", "10.2.3.4, [fd00::1]:1"],
            "1.1.1.1",
        ),
        ("::ffff:10.0.0.1", &["1.1.1.1"], "1.1.1.1"),
        ("192.168.7.7", &["1.1.1.1"], "192.168.7.7"),
        ("192.168.0.7", &["1.1.1.1"], "1.1.1.1"),
        // Everybody is trusted: the outermost.
        ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &["1.1.1.1, bad, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", &["1.1.1.1, bad"], "10.0.0.1"),
    ] {
        assert_eq!(xff(&source, peer, lines), client, "{lines:?} from {peer}");
    }
    assert_eq!(xff(&nets(&[]), "10.0.0.1", &["1.1.1.1"]), "10.0.0.1");
}

#[test]
fn addresses_are_strict() {
    for bad in [
        "",
        "1.1.1",
        "1.1.1.1.1",
        "01.1.1.1",
        "256.1.1.1",
        "1.1.1.1:",
        "1.1.1.1:x",
        "1.1.1.1:123456",
        "1.1.1.1:_",
        "1.1.1.1:_a b",
        "[1.1.1.1]",
        "[::1",
        "[::1]80",
        "[::1]:",
        "[::1]:-1",
        "::1]",
        "fe80::1%eth0",
        "_hidden",
        "unknown",
        "\"1.1.1.1\"",
        "1.1.1.1/8",
        "localhost",
        "0x7f.1.1.1",
    ] {
        assert_eq!(address(bad.as_bytes()), None, "{bad}");
    }
    assert_eq!(address(b"\xff1.1.1.1"), None);
    assert_eq!(address(b"1.1.1.1:_p-o.r_t"), Some(ip("1.1.1.1")));
}

#[test]
fn forwarded_by_rfc_7239() {
    for (hops, lines, client) in [
        (1, &["for=1.1.1.1"][..], "1.1.1.1"),
        (
            1,
            &["For=\"[2001:db8:cafe::17]:4711\""],
            "2001:db8:cafe::17",
        ),
        (
            1,
            &["for=192.0.2.60;proto=http;by=203.0.113.43"],
            "192.0.2.60",
        ),
        (
            1,
            &["proto=http ; by=\"a;b,c\" ; for=192.0.2.60;"],
            "192.0.2.60",
        ),
        (
            2,
            &["for=192.0.2.43, for=\"[2001:db8:cafe::17]\""],
            "192.0.2.43",
        ),
        (
            2,
            &[
                "for=192.0.2.43",
                "for=198.51.100.17;host=\"x, for=6.6.6.6\"",
            ],
            "192.0.2.43",
        ),
        (1, &["for=\"1.1.1.1:_hid\""], "1.1.1.1"),
        (1, &["for=\"1\\.1.1.1\""], "1.1.1.1"),
        (1, &["for=1.1.1.1;host=\"a, \\\"b\""], "1.1.1.1"),
        (1, &["for=1.1.1.1;host=\"a\\\", for=6.6.6.6\""], "1.1.1.1"),
        // Hidden, missing, said twice or malformed: as far as the last good one.
        (1, &["for=_hidden"], "9.9.9.9"),
        (1, &["for=unknown"], "9.9.9.9"),
        (2, &["for=unknown, for=2.2.2.2"], "2.2.2.2"),
        (3, &["for=1.1.1.1, for=_x, for=2.2.2.2"], "2.2.2.2"),
        (2, &["for=1.1.1.1, proto=https"], "9.9.9.9"),
        (1, &["for=1.1.1.1;for=2.2.2.2"], "9.9.9.9"),
        (1, &["for=1.1.1.1 2.2.2.2"], "9.9.9.9"),
        (1, &["for=\"1.1.1.1\"x"], "9.9.9.9"),
        (1, &["1.1.1.1"], "9.9.9.9"),
        (1, &["for=\"1.1.1.1"], "9.9.9.9"),
        (1, &["for=\" 1.1.1.1\""], "9.9.9.9"),
        // A caller's open quote does not swallow what a proxy appends behind it.
        (1, &["for=\"evil, for=1.1.1.1"], "1.1.1.1"),
        (2, &["for=\"evil, for=1.1.1.1, for=\"[::2]:1\""], "1.1.1.1"),
        (1, &["for=\"evil", "for=1.1.1.1"], "1.1.1.1"),
    ] {
        let source = ClientIp::trusted_hops(hops).with_header(ForwardedHeader::Forwarded);
        let found = source
            .behind(ip("9.9.9.9"), &headers("forwarded", lines))
            .to_string();
        assert_eq!(found, client, "{hops} hops in {lines:?}");
    }
    // A long value elsewhere is skipped; as an address it is none, however it begins.
    let long = "x".repeat(200);
    let source = ClientIp::trusted_hops(1).with_header(ForwardedHeader::Forwarded);
    let find = |line: &str| source.behind(ip("9.9.9.9"), &headers("forwarded", &[line]));
    assert_eq!(find(&format!("host=\"{long}\";for=1.1.1.1")), ip("1.1.1.1"));
    assert_eq!(find(&format!("for=\"1.1.1.1:1{long}\"")), ip("9.9.9.9"));
    // Only the header that was chosen is read.
    assert_eq!(
        source.behind(ip("9.9.9.9"), &headers("x-forwarded-for", &["1.1.1.1"])),
        ip("9.9.9.9")
    );
}

#[test]
fn keys_group_ipv6() {
    let space = KeySpace::new();
    let id = |source: &ClientIp, peer: &str| {
        let mut request = Request::new(());
        request
            .extensions_mut()
            .insert(PeerAddr(SocketAddr::new(ip(peer), 1)));
        space.id(&key::client_ip(source.clone()), &request).unwrap()
    };
    let default = ClientIp::peer();
    assert_eq!(
        id(&default, "2001:db8::1"),
        id(&default, "2001:db8::ffff:0:0:1")
    );
    assert_ne!(id(&default, "2001:db8::1"), id(&default, "2001:db8:0:1::1"));
    assert_ne!(id(&default, "1.1.1.1"), id(&default, "1.1.1.2"));
    assert_eq!(id(&default, "1.1.1.1"), id(&default, "::ffff:1.1.1.1"));
    for (bits, group) in [
        (0, "::"),
        (1, "8000::"),
        (48, "fedc:ba98:7654::"),
        (64, "fedc:ba98:7654:3210::"),
        (128, "fedc:ba98:7654:3210:fedc:ba98:7654:3210"),
        (200, "fedc:ba98:7654:3210:fedc:ba98:7654:3210"),
    ] {
        let source = ClientIp::peer().with_ipv6_prefix(bits);
        assert_eq!(
            source.group(ip("fedc:ba98:7654:3210:fedc:ba98:7654:3210")),
            ip(group),
            "{bits}"
        );
        assert_eq!(source.group(ip("1.2.3.4")), ip("1.2.3.4"));
    }
}

#[test]
fn the_peer_comes_from_an_extension() {
    let mut request = Request::new(());
    let axum = ClientIp::peer()
        .read_peer_with(|ext| ext.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
    let space = KeySpace::new();
    assert_eq!(axum.of(&request), None);
    assert_eq!(ClientIp::peer().of(&request), None);
    assert_eq!(
        space.id(&key::client_ip(axum.clone()), &request),
        Err(NoKey::Missing)
    );
    request
        .extensions_mut()
        .insert(ConnectInfo(SocketAddr::new(ip("5.5.5.5"), 1)));
    assert_eq!(axum.of(&request), Some(ip("5.5.5.5")));
    assert_eq!(ClientIp::peer().of(&request), None);
}

/// Bytes of a header that look like one, or not at all.
fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop::sample::select(vec![
            "for=",
            "\"",
            "\\",
            ",",
            ";",
            "=",
            "10.0.0.1",
            "1.1.1.1",
            "[2001:db8::1]",
            ":80",
            "unknown",
            "_x",
            " ",
            "by=",
            "\"10.0.0.2\"",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
    ];
    let line = prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat());
    prop::collection::vec(line, 0..4)
}

proptest! {
    /// Whatever comes before what the trusted proxy appended: it changes nothing, and no byte
    /// makes us panic.
    #[test]
    fn what_a_caller_writes_changes_nothing(
        lines in lines(),
        same_line in any::<bool>(),
        hops in 0_usize..4,
    ) {
        for (header, name, entry) in [
            (ForwardedHeader::XForwardedFor, "x-forwarded-for", "203.0.113.7"),
            (ForwardedHeader::Forwarded, "forwarded", "for=\"203.0.113.7:80\";proto=https"),
        ] {
            let mut map = HeaderMap::new();
            for line in &lines {
                if let Ok(value) = HeaderValue::from_bytes(line) {
                    map.append(name, value);
                }
            }
            let any = ClientIp::trusted_hops(hops).with_header(header);
            let walk = nets(&["10.0.0.0/8"]).with_header(header);
            let _ = any.behind(ip("10.0.0.9"), &map);
            prop_assert_eq!(walk.behind(ip("9.9.9.9"), &map), ip("9.9.9.9"));

            let last = map.get_all(name).iter().next_back().cloned();
            match last {
                Some(last) if same_line => {
                    let mut lines: Vec<_> = map.get_all(name).iter().cloned().collect();
                    lines.pop();
                    map.clear();
                    for line in lines {
                        map.append(name, line);
                    }
                    let joined = [last.as_bytes(), b", ", entry.as_bytes()].concat();
                    map.append(name, HeaderValue::from_bytes(&joined).unwrap());
                }
                _ => { map.append(name, HeaderValue::from_static(entry)); }
            }
            let one = ClientIp::trusted_hops(1).with_header(header);
            prop_assert_eq!(one.behind(ip("10.0.0.9"), &map), ip("203.0.113.7"));
            prop_assert_eq!(walk.behind(ip("10.0.0.9"), &map), ip("203.0.113.7"));
        }
    }
}
