//! Twice as much as can be served, for a minute: queues of bulkheads and of
//! adaptive limits, with priorities and tenants.

use std::collections::BinaryHeap;
use std::time::Duration;

use tower::{Layer, Service};
use tower_keep::adaptive::{self, AdaptiveLayer};
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::queue::{Discipline, Priority, rank};
use tower_keep::test_util::{Hand, ManualClock};
use tower_keep::{Error, Ratio, Setup, key};

/// Served at once, each for this time: 1,000 a second.
const WORKERS: usize = 20;
const SERVICE: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(100);
const MINUTE: Duration = Duration::from_secs(60);

/// A request, by class and tenant.
#[derive(Debug, Clone, Copy)]
struct Ask {
    priority: Priority,
    tenant: u32,
}

/// A service with so many workers: more calls take turns.
#[derive(Clone)]
struct Workers {
    time: ManualClock,
    free: std::rc::Rc<std::cell::RefCell<BinaryHeap<std::cmp::Reverse<u64>>>>,
}

impl Service<Ask> for Workers {
    type Response = ();
    type Error = Error<()>;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<(), Error<()>>>>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Error<()>>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Ask) -> Self::Future {
        let now = self.time.now();
        let mut free = self.free.borrow_mut();
        let std::cmp::Reverse(first) = free.pop().unwrap();
        let start = first.max(now.as_nanos());
        let end = start + u64::try_from(SERVICE.as_nanos()).unwrap();
        free.push(std::cmp::Reverse(end));
        let sleep = self
            .time
            .clock()
            .sleep_until(tower_keep::clock::Tick::from_nanos(end));
        Box::pin(async move {
            let _ = sleep.await;
            Ok(())
        })
    }
}

/// What became of the requests of one class or tenant.
#[derive(Debug, Default, Clone)]
struct Fate {
    offered: u64,
    served: u64,
    refused: u64,
    times: Vec<Duration>,
}

#[derive(Debug)]
struct Shown {
    classes: [Fate; 4],
    tenants: [Fate; 4],
    goodput: f64,
    p99: Duration,
}

/// Sends `load(n)` as the n-th request, twice as many as can be served.
fn overload<L>(time: &ManualClock, layer: &L, load: impl Fn(u64) -> Ask) -> Shown
where
    L: Layer<Workers, Service: Service<Ask, Response = (), Error = Error<()>>>,
{
    let free = (0..WORKERS).map(|_| std::cmp::Reverse(0)).collect();
    let mut service = layer.layer(Workers {
        time: time.clone(),
        free: std::rc::Rc::new(std::cell::RefCell::new(free)),
    });
    let step = SERVICE / u32::try_from(2 * WORKERS).unwrap();
    let (mut classes, mut tenants) = (<[Fate; 4]>::default(), <[Fate; 4]>::default());
    let mut calls = Vec::new();
    let mut times = Vec::new();
    let start = time.now();
    let mut number = 0;
    while time.now().saturating_since(start) < MINUTE {
        let ask = load(number);
        number += 1;
        let of = (ask.priority as usize, ask.tenant as usize);
        classes[of.0].offered += 1;
        tenants[of.1].offered += 1;
        calls.push((of, time.now(), None, Hand::new(Box::pin(service.call(ask)))));
        time.advance(step);
        // Those who were woken since they were polled last.
        calls.retain_mut(|(of, since, seen, call)| {
            if seen.replace(call.wakes()) == Some(call.wakes()) {
                return true;
            }
            let std::task::Poll::Ready(result) = call.poll() else {
                return true;
            };
            if result.is_err() {
                classes[of.0].refused += 1;
                tenants[of.1].refused += 1;
            } else {
                let took = time.now().saturating_since(*since);
                times.push(took);
                for fate in [&mut classes[of.0], &mut tenants[of.1]] {
                    fate.served += 1;
                    fate.times.push(took);
                }
            }
            false
        });
    }
    times.sort_unstable();
    Shown {
        goodput: times.len() as f64 / MINUTE.as_secs_f64(),
        p99: times[times.len() * 99 / 100],
        classes,
        tenants,
    }
}

const CAPACITY: f64 = 1_000.0;

impl Shown {
    #[track_caller]
    fn assert_good(&self, what: &str) {
        let goodput = self.goodput / CAPACITY;
        assert!(goodput >= 0.95, "{what}: {goodput} of the capacity");
        // By the step with which time goes on, later.
        let most = 2 * SERVICE + LONGEST + Duration::from_millis(1);
        assert!(
            self.p99 <= most,
            "{what}: {:?} of at most {most:?}",
            self.p99
        );
    }
}

fn alike(_: u64) -> Ask {
    Ask {
        priority: Priority::Normal,
        tenant: 0,
    }
}

fn disciplines() -> [(&'static str, Discipline); 2] {
    [
        ("fifo", Discipline::fifo()),
        ("overload", Discipline::overload()),
    ]
}

fn bulkhead_of(discipline: Discipline) -> bulkhead::Policy {
    let policy = bulkhead::Policy::builder().max_concurrent(20);
    let policy = policy.queue_length(100).max_wait(LONGEST);
    policy.discipline(discipline).build().unwrap()
}

fn adaptive_of(discipline: Discipline) -> adaptive::Policy {
    let policy = adaptive::Policy::builder().min_limit(1).initial_limit(4);
    let policy = policy.max_wait(LONGEST).discipline(discipline);
    policy.build().unwrap()
}

fn setup(time: &ManualClock) -> Setup {
    Setup::new().with_clock(time.clock())
}

#[test]
fn twice_the_capacity_for_a_minute_costs_a_twentieth_of_it_at_most() {
    for (name, discipline) in disciplines() {
        let time = ManualClock::new();
        let layer = BulkheadLayer::with(bulkhead_of(discipline), setup(&time)).queued();
        overload(&time, &layer, alike).assert_good(&format!("bulkhead, {name}"));
        let time = ManualClock::new();
        let layer = AdaptiveLayer::with(adaptive_of(discipline), setup(&time)).queued();
        overload(&time, &layer, alike).assert_good(&format!("adaptive, {name}"));
    }
}

/// A fifth of each but the lowest; what is critical is less than the capacity.
fn mixed(number: u64) -> Ask {
    let priority = match number % 5 {
        0 => Priority::Critical,
        1 => Priority::Normal,
        2 => Priority::BestEffort,
        _ => Priority::Bulk,
    };
    Ask {
        priority,
        tenant: 0,
    }
}

#[test]
fn the_highest_class_loses_nothing_while_lower_ones_are_shed() {
    let by_priority = || rank(|ask: &Ask| ask.priority);
    for (name, discipline) in disciplines() {
        let time = ManualClock::new();
        let layer = BulkheadLayer::with(bulkhead_of(discipline), setup(&time));
        let bulkhead = overload(&time, &layer.queued().ranked(by_priority()), mixed);
        let time = ManualClock::new();
        // From a start at which what is critical can be served.
        let policy = adaptive_of(discipline).to_builder().initial_limit(16);
        let layer = AdaptiveLayer::with(policy.build().unwrap(), setup(&time));
        let adaptive = overload(&time, &layer.queued().ranked(by_priority()), mixed);
        for (layer, shown) in [("bulkhead", bulkhead), ("adaptive", adaptive)] {
            let what = format!("{layer}, {name}");
            shown.assert_good(&what);
            let [critical, normal, _, bulk] = &shown.classes;
            assert_eq!(critical.refused, 0, "{what}");
            // What is in flight at the end is neither lost nor served.
            let unfinished = critical.offered - critical.served;
            assert!(unfinished <= 2 * WORKERS as u64, "{what}: {unfinished}");
            assert!(normal.served > normal.offered * 9 / 10, "{what}");
            assert!(bulk.served < bulk.offered / 3, "{what}: {}", bulk.served);
        }
    }
}

#[test]
fn a_share_is_kept_for_the_lowest_and_what_is_not_used_goes_to_others() {
    let share = Discipline::fifo().share(Priority::Bulk, Ratio::percent(25));
    let time = ManualClock::new();
    let layer = BulkheadLayer::with(bulkhead_of(share), setup(&time));
    let layer = layer.queued().ranked(rank(|ask: &Ask| ask.priority));
    // Three of four are critical: more than is served.
    let most = |number: u64| Ask {
        priority: if number.is_multiple_of(4) {
            Priority::Bulk
        } else {
            Priority::Critical
        },
        tenant: 0,
    };
    let shown = overload(&time, &layer, most);
    shown.assert_good("with a share");
    let bulk = shown.classes[3].served as f64 / MINUTE.as_secs_f64();
    assert!((230.0..=270.0).contains(&bulk), "{bulk} a second of 250");
    // Without anybody of the lowest class, nothing is kept back.
    let shown = overload(&time, &layer, |_| Ask {
        priority: Priority::Critical,
        tenant: 0,
    });
    shown.assert_good("with a share that nobody uses");
}

#[test]
fn one_noisy_tenant_does_not_fill_the_queue() {
    // One sends 70 of 100 requests, three others ten each.
    let noisy = |number: u64| Ask {
        priority: Priority::Normal,
        tenant: match number % 10 {
            0 => 1,
            3 => 2,
            6 => 3,
            _ => 0,
        },
    };
    let time = ManualClock::new();
    let layer = BulkheadLayer::with(bulkhead_of(Discipline::fifo()), setup(&time));
    let layer = layer
        .queued()
        .fair(key::value(|ask: &Ask| Some(ask.tenant)));
    let shown = overload(&time, &layer, noisy);
    shown.assert_good("fair");
    for (tenant, fate) in shown.tenants.iter().enumerate().skip(1) {
        let served = fate.served as f64 / fate.offered as f64;
        assert!(
            served > 0.99,
            "tenant {tenant}: {served} of what it asked for"
        );
    }
}
