//! K. Layers in every order.

use http::{Request, Response};
use tower::Layer;
use tower::util::BoxCloneSyncService;
use tower_keep::adaptive::AdaptiveLayer;
use tower_keep::balance;
use tower_keep::bulkhead::BulkheadLayer;
use tower_keep::circuit_breaker::CircuitBreakerLayer;
use tower_keep::classify::Http;
use tower_keep::fallback::{self, FallbackLayer};
use tower_keep::hedge::{HedgeLayer, every};
use tower_keep::retry::{self, RetryLayer, when};
use tower_keep::test_util::{Call, Hand, ManualClock, Ready, Script, ScriptBody, drop_at};
use tower_keep::throttle::ThrottleLayer;
use tower_keep::throttle::learned::{self, LearnedLayer};
use tower_keep::timeout::TimeoutLayer;
use tower_keep::watchdog::WatchdogLayer;

use crate::k_composition::setup;
use crate::support::balanced::Balanced;
use crate::support::cases::{
    by_time_and_slowness, calm, contented, finding, hedging, leased, never_asked, permits, rate,
    refusals, rejecting, several, timeouts,
};
use crate::support::keys::unkeyed;
use crate::support::watched::Watched;
use crate::support::{BROKEN, Fail, data, full_scale, inner, poll_ready, request, response};

/// A service of any layers, so that they can be stacked while the test runs.
type Any = BoxCloneSyncService<Request<()>, Response<ScriptBody>, Fail>;

/// A layer of a kind, and what shows that nothing is left in it.
struct Part {
    wrap: Box<dyn Fn(Any) -> Any>,
    quiet: Box<dyn Fn()>,
}

type Kind = (&'static str, fn(&ManualClock) -> Part);

macro_rules! kinds {
    ($($name:ident: |$setup:ident| $layer:expr;)*) => { [$((
        stringify!($name),
        |time| {
            let $setup = setup(time);
            let layer = $layer;
            let handle = layer.handle();
            Part {
                wrap: Box::new(move |inner| BoxCloneSyncService::new(layer.layer(inner))),
                quiet: Box::new(move || handle.assert_quiet()),
            }
        },
    )),*] };
}

const KINDS: &[Kind] = &kinds! {
    shed: |s| BulkheadLayer::with(permits(4), s);
    queue: |s| BulkheadLayer::with(permits(4), s).queued();
    backpressure: |s| BulkheadLayer::with(permits(4), s).backpressure();
    timeout: |s| TimeoutLayer::with(timeouts(), s);
    refuse: |s| ThrottleLayer::with(rate(10_000), s);
    wait: |s| ThrottleLayer::with(rate(10_000), s).waiting();
    learned: |s| LearnedLayer::with(learned::Policy::default(), Http, s).waiting();
    leased: |s| ThrottleLayer::with(leased(10_000), s);
    refund: |s| ThrottleLayer::with(several(10_000), s).refunding();
    breaker: |s| CircuitBreakerLayer::with(by_time_and_slowness(), s);
    fallback: |s| FallbackLayer::with(refusals(), fallback::by(never_asked), s);
    chaos: |s| calm(s);
    adaptive: |s| AdaptiveLayer::with(finding(4), s);
    retry: |s| RetryLayer::with(retry::Policy::default(), when(contented), s);
    hedge: |s| HedgeLayer::with(hedging(), every(), s);
    watchdog: |s| WatchdogLayer::with(rejecting(), s);
    idempotency: |s| unkeyed(s);
};

const BALANCE: &[Kind] = &kinds! {
    balance: |s| {
        let policy = balance::Policy::builder().outliers(None);
        Balanced::with(policy.build().unwrap(), s)
    };
};

/// A stack, and what shows that nothing is left in it.
struct Stack {
    what: String,
    quiet: Box<dyn Fn()>,
    script: Script<Response<ScriptBody>, Fail>,
    service: Any,
}

/// A stack of these kinds, the first one outermost, after every way in which a call can
/// end.
fn calls_hold(kinds: &[Kind]) -> Stack {
    let names: Vec<_> = kinds.iter().map(|(name, _)| name).collect();
    let what = format!("{names:?}");
    let time = ManualClock::new();
    let parts: Vec<_> = kinds.iter().map(|(_, part)| part(&time)).collect();
    let (probe, script, watch) = inner(&time);
    let inside_out = parts.iter().rev();
    let service = inside_out.fold(Any::new(probe), |inner, part| (part.wrap)(inner));
    let ok = || Call::respond(response(&time, 200, [data("x")]));
    let (told, clock) = (what.clone(), time.clone());
    let quiet: Box<dyn Fn()> = Box::new(move || {
        watch.assert_quiet();
        parts.iter().for_each(|part| (part.quiet)());
        assert_eq!(clock.armed(), 0, "{told}");
    });
    for line in [
        ok(),
        ok().pending(2),
        Call::error(BROKEN).pending(1),
        Call::panic().pending(1),
        ok().panic_in_call(),
        ok().pending(1).panic_in_drop(),
        Call::never(),
    ] {
        let never = format!("{line:?}").contains("Never");
        let ends = drop_at(
            || {
                script.then_call(line.clone());
                tower::Service::call(&mut service.clone(), request("a"))
            },
            |_| quiet(),
        );
        assert_eq!(ends.is_none(), never, "{what}: {line:?}");
    }
    Stack {
        what,
        quiet,
        script,
        service,
    }
}

/// Laws 1 to 18 in short.
fn holds(kinds: &[Kind]) {
    let Stack {
        what,
        quiet,
        script,
        mut service,
    } = calls_hold(kinds);
    // Readiness: forwarded, not used twice, not carried by clones, dropped.
    script.then_ready(Ready::Pend(1));
    assert!(poll_ready(&mut service).is_pending(), "{what}");
    assert!(poll_ready(&mut service).is_ready(), "{what}");
    drop(service.clone());
    assert!(poll_ready(&mut service).is_ready(), "{what}");
    script.then_ready(Ready::Never);
    let refused = Hand::new(tower::Service::call(&mut service.clone(), request("a"))).poll();
    assert!(matches!(refused, std::task::Poll::Ready(Err(_))), "{what}");
    let mut answer = Hand::new(tower::Service::call(&mut service, request("a")));
    assert!(answer.poll().is_ready(), "{what}");
    assert!(answer.poll().is_pending(), "{what}");
    drop(answer);
    quiet();
}

#[test]
fn fault_099_all_pairs_keep_the_laws() {
    for a in KINDS {
        for b in KINDS {
            holds(&[*a, *b]);
        }
    }
}

/// A balancer's readiness is not that of the one service that it has here: so the
/// calls are looked at alone.
#[test]
fn fault_099_a_balancer_inside_or_outside_of_any_layer_keeps_the_laws() {
    let balance = BALANCE[0];
    (calls_hold(&[balance]).quiet)();
    for a in KINDS {
        for stack in [[*a, balance], [balance, *a]] {
            (calls_hold(&stack).quiet)();
        }
        for b in KINDS {
            (calls_hold(&[*a, balance, *b]).quiet)();
        }
    }
}

/// All orders of three, and of four where it does not take long.
#[test]
fn fault_099_deeper_stacks_keep_the_laws() {
    let four = full_scale(KINDS.len() as u64, 0);
    for a in KINDS {
        for b in KINDS {
            for c in KINDS {
                holds(&[*a, *b, *c]);
                for (d, _) in KINDS.iter().zip(0..four) {
                    holds(&[*a, *b, *c, *d]);
                }
            }
        }
    }
}

/// The orders that the documentation recommends, with each kind of their layers.
#[test]
fn fault_099_the_documented_stacks_keep_the_laws() {
    let kind = |name: &str| {
        let found = KINDS.iter().find(|(kind, _)| *kind == name);
        *found.unwrap_or_else(|| panic!("no kind is called {name}"))
    };
    let stack = |names: &[&str]| {
        let kinds: Vec<_> = names.iter().map(|name| kind(name)).collect();
        holds(&kinds);
    };
    for bulkhead in ["shed", "queue", "backpressure"] {
        for throttle in ["refuse", "wait"] {
            // A server.
            stack(&[throttle, bulkhead, "timeout"]);
            stack(&[throttle, bulkhead, "timeout", "chaos"]);
        }
        // A client, of one endpoint or of several.
        stack(&["timeout", bulkhead]);
        stack(&["timeout", "fallback", bulkhead]);
        let per_endpoint = ["breaker", bulkhead, "timeout"];
        stack(&per_endpoint);
        stack(&[&["timeout", "fallback"], &per_endpoint[..]].concat());
        stack(&[&["timeout", "fallback"], &per_endpoint[..], &["chaos"]].concat());
    }
}
