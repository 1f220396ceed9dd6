//! Numbers and signs, there and back.

use super::*;
use crate::test_util::Hand;

/// The client's side right around the server's.
fn through(
    wire: &Wire,
    attempt: &mut Attempt,
    marks: bool,
    answer: (u16, &'static str),
) -> (u32, HeaderMap, HeaderMap) {
    let (sent, seen) = (cell(), cell());
    let service = tower::service_fn({
        let (sent, seen) = (sent.clone(), seen.clone());
        move |request: Request<()>| {
            sent.set(Some(request.headers().clone()));
            let seen = seen.clone();
            async move {
                seen.set(Attempt::current());
                if marks {
                    mark();
                }
                let response = Response::builder().status(answer.0);
                let response = response.header("grpc-status", answer.1);
                Ok::<_, ()>(response.body(()).unwrap())
            }
        }
    });
    let server = ReadLayer::new(wire.clone()).layer(service);
    let mut client = WriteLayer::new(wire.clone()).layer(server);
    let mut hand = attempt.scope(|| Hand::new(client.call(Request::new(()))));
    let Poll::Ready(Ok(response)) = attempt.scope(|| hand.poll()) else {
        panic!("it does not wait");
    };
    let mut headers = response.into_parts().0.headers;
    headers.remove("grpc-status");
    (seen.take().unwrap().number(), sent.take().unwrap(), headers)
}

fn cell<T>() -> std::rc::Rc<std::cell::Cell<Option<T>>> {
    std::rc::Rc::default()
}

#[test]
fn number_and_mark_travel_there_and_back() {
    let wires = [
        (Wire::Http, "x-attempt", "2", "x-should-retry", "false"),
        (
            Wire::Named(HeaderName::from_static("x-try")),
            "x-try",
            "2",
            "x-should-retry",
            "false",
        ),
        (
            Wire::Grpc,
            "grpc-previous-rpc-attempts",
            "1",
            "grpc-retry-pushback-ms",
            "-1",
        ),
    ];
    for (wire, request, number, response, sign) in wires {
        let mut first = Attempt::first();
        let (seen, sent, answered) = through(&wire, &mut first, false, (503, "0"));
        assert!(seen == 1 && sent.is_empty() && answered.is_empty());
        assert!(!first.is_marked());
        let mut second = first.next();
        let (_, _, answered) = through(&wire, &mut second, true, (200, "0"));
        assert!(answered.is_empty() && !second.is_marked());
        let (_, _, answered) = through(&wire, &mut second.next(), true, (200, "14"));
        assert_eq!(answered.get(response).unwrap(), sign);
        let (seen, sent, answered) = through(&wire, &mut second, true, (503, "0"));
        assert_eq!(seen, 2);
        assert_eq!(sent.get(request).unwrap(), number);
        assert_eq!(answered.get(response).unwrap(), sign);
        assert!(second.is_marked());
    }
}

#[test]
fn what_cannot_be_read_is_the_first_attempt() {
    for value in ["", "-1", "+2", "1e3", "99999999999", "two"] {
        let mut headers = HeaderMap::new();
        headers.insert(&NUMBER, value.parse().unwrap());
        assert_eq!(Wire::Http.read(&headers), Attempt::first(), "{value:?}");
    }
}

#[test]
fn a_pushback_that_is_no_time_is_a_no() {
    let sign = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&PUSHBACK, value.parse().unwrap());
        }
        Sign::Pushback.is_in(&headers)
    };
    for yes in [&["-1"][..], &["soon"], &[""], &["1e30"], &["5", "-5"]] {
        assert!(sign(yes), "{yes:?}");
    }
    for no in [&[][..], &["0"], &["250"], &["1", "2"]] {
        assert!(!sign(no), "{no:?}");
    }
}
