//! The tables, line by line.

use std::time::Duration;

use http::{Method, Request, Response};

use super::{Again, Grpc, Http, Idempotent, Judged, Rules};
use crate::classify;
use crate::error::{Error, LayerId, Rejection, RejectionKind};

type Fail = Error<&'static str>;

fn response(status: u16, headers: &[(&'static str, &'static str)]) -> Response<()> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(()).unwrap()
}

/// For `GET`, a keyed `POST` and a plain one.
fn by_request<U>(rules: &Http<U>, result: Result<&Response<()>, &Fail>) -> [Again; 3]
where
    Http<U>: Rules<Request<()>, Response<()>, Fail>,
{
    let request = |method, key: bool| {
        let mut request = Request::new(());
        *request.method_mut() = method;
        if key {
            let key = http::HeaderValue::from_static("\"8e03978e\"");
            request.headers_mut().insert("idempotency-key", key);
        }
        request
    };
    [
        request(Method::GET, false),
        request(Method::POST, true),
        request(Method::POST, false),
    ]
    .map(|request| rules.judge(&rules.see(&request), result).again)
}

use Again::{After, Never, No, Yes};

const SEVEN: Again = After(Duration::from_secs(7));

#[test]
fn statuses_are_tried_again_as_in_the_table() {
    let table: [(u16, [Again; 3]); 17] = [
        (200, [No; 3]),
        (302, [No; 3]),
        (400, [No; 3]),
        (401, [No; 3]),
        (404, [No; 3]),
        (409, [No; 3]),
        (413, [No; 3]),
        (422, [No; 3]),
        (425, [Yes; 3]),
        (429, [Yes; 3]),
        (408, [Yes, Yes, No]),
        (503, [Yes, Yes, No]),
        (502, [Yes, Yes, No]),
        (504, [Yes, Yes, No]),
        (500, [No; 3]),
        (501, [No; 3]),
        (507, [No; 3]),
    ];
    let wait = [("retry-after", "7")];
    for (status, expected) in table {
        let rules = Http::new();
        assert_eq!(
            by_request(&rules, Ok(&response(status, &[]))),
            expected,
            "{status}"
        );
        let mut later = expected.map(|again| if again == Yes { SEVEN } else { again });
        if status == 409 {
            later = [No, SEVEN, No];
        }
        assert_eq!(
            by_request(&rules, Ok(&response(status, &wait))),
            later,
            "{status}"
        );
        let asked = response(status, &[("x-should-retry", "False")]);
        let never = if status < 400 { [No; 3] } else { [Never; 3] };
        assert_eq!(by_request(&rules, Ok(&asked)), never, "{status}");
    }
    let also = Http::new().also(http::StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(by_request(&also, Ok(&response(500, &[]))), [Yes, Yes, No]);
    assert_eq!(by_request(&also, Ok(&response(501, &[]))), [No; 3]);
    // It is no status that can be asked for.
    let also = Http::new().also(http::StatusCode::NOT_FOUND);
    assert_eq!(by_request(&also, Ok(&response(404, &[]))), [No; 3]);
}

fn refused(kind: RejectionKind) -> Fail {
    Error::Rejected(Rejection::before(kind, LayerId(1)).with_wait(7_000_000_000))
}

fn late() -> Fail {
    Error::Rejected(Rejection::after(RejectionKind::Timeout, LayerId(1)))
}

#[test]
fn errors_are_tried_again_as_in_the_table() {
    let rules = Http::new();
    assert_eq!(
        by_request(&rules, Err(&Error::Inner("reset"))),
        [Yes, Yes, No]
    );
    assert_eq!(by_request(&rules, Err(&late())), [Yes, Yes, No]);
    // Nothing was sent.
    let unconnected = refused(RejectionKind::ConnectTimeout);
    assert_eq!(by_request(&rules, Err(&unconnected)), [Yes; 3]);
    let injected = refused(RejectionKind::Injected);
    assert_eq!(by_request(&rules, Err(&injected)), [Yes, Yes, No]);
    for kind in [
        RejectionKind::Open,
        RejectionKind::Full,
        RejectionKind::Closed,
    ] {
        assert_eq!(by_request(&rules, Err(&refused(kind))), [No; 3]);
        let asked = rules.also_refused(kind);
        assert_eq!(by_request(&asked, Err(&refused(kind))), [SEVEN; 3]);
        let throttled = refused(RejectionKind::Throttled);
        assert_eq!(by_request(&asked, Err(&throttled)), [No; 3]);
    }
    let rules = rules.unprocessed(|error: &Fail| *error == Error::Inner("refused"));
    assert_eq!(by_request(&rules, Err(&Error::Inner("refused"))), [Yes; 3]);
    assert_eq!(
        by_request(&rules, Err(&Error::Inner("reset"))),
        [Yes, Yes, No]
    );
}

fn grpc(rules: Grpc, result: Result<&Response<()>, &Fail>) -> Again {
    Rules::<(), _, _>::judge(&rules, &(), result).again
}

#[test]
fn grpc_tries_again_what_is_listed() {
    let plain = Grpc::new();
    let listed = Grpc::new().also(10).also(4).also(0).also(99);
    for code in 0_u8..=17 {
        let mut trailers_only = response(200, &[]);
        let value = http::HeaderValue::from(u16::from(code));
        trailers_only.headers_mut().insert("grpc-status", value);
        let yes = |yes| if yes { Yes } else { No };
        assert_eq!(grpc(plain, Ok(&trailers_only)), yes(code == 14), "{code}");
        let expected = yes([4, 10, 14].contains(&code));
        assert_eq!(grpc(listed, Ok(&trailers_only)), expected, "{code}");
    }
    // Its status comes after its messages: it is committed.
    assert_eq!(grpc(plain, Ok(&response(200, &[]))), No);
    for (status, again) in [
        (429, Yes),
        (502, Yes),
        (503, Yes),
        (504, Yes),
        (500, No),
        (404, No),
    ] {
        assert_eq!(grpc(plain, Ok(&response(status, &[]))), again, "{status}");
    }
    assert_eq!(grpc(plain, Err(&Error::Inner("reset"))), Yes);
    assert_eq!(
        (grpc(plain, Err(&late())), grpc(listed, Err(&late()))),
        (No, Yes)
    );
    assert_eq!(grpc(plain, Err(&refused(RejectionKind::Open))), No);
    let unconnected = refused(RejectionKind::ConnectTimeout);
    assert_eq!(grpc(plain, Err(&unconnected)), Yes);
}

#[test]
fn grpc_obeys_what_the_server_pushes_back() {
    let pushed = |code, value| {
        let headers = [("grpc-status", code), ("grpc-retry-pushback-ms", value)];
        grpc(Grpc::new(), Ok(&response(200, &headers)))
    };
    assert_eq!(pushed("14", "250"), After(Duration::from_millis(250)));
    assert_eq!(pushed("14", "0"), After(Duration::ZERO));
    assert_eq!(pushed("8", "250"), No);
    for no in ["-1", "soon", ""] {
        assert_eq!(pushed("14", no), Never);
        assert_eq!(pushed("8", no), Never);
    }
    assert_eq!(pushed("0", "-1"), No);
    let pushed = |status| response(status, &[("grpc-retry-pushback-ms", "-1")]);
    for (status, again) in [(200, No), (500, Never), (404, Never), (503, Never)] {
        assert_eq!(grpc(Grpc::new(), Ok(&pushed(status))), again, "{status}");
    }
}

#[test]
fn all_that_may_pass_is_tried_again_where_all_is_idempotent() {
    let judge = |response: &Response<()>| -> Judged {
        let rules = Idempotent::by(classify::Http);
        Rules::<(), _, Fail>::judge(&rules, &(), Ok(response))
    };
    for (status, again) in [
        (200, No),
        (404, No),
        (500, Yes),
        (501, No),
        (503, Yes),
        (504, Yes),
    ] {
        assert_eq!(judge(&response(status, &[])).again, again, "{status}");
    }
    assert_eq!(judge(&response(429, &[("retry-after", "7")])).again, SEVEN);
    let of_error = |error: &Fail| {
        let rules = Idempotent::new();
        Rules::<(), (), _>::judge(&rules, &(), Err(error)).again
    };
    assert_eq!(of_error(&Error::Inner("reset")), Yes);
    assert_eq!(
        (of_error(&late()), of_error(&refused(RejectionKind::Full))),
        (Yes, No)
    );
    assert_eq!(of_error(&refused(RejectionKind::ConnectTimeout)), Yes);
}
