//! Active checks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;
use tower_keep::balance::{Endpoint, Policy, Watch};
use tower_keep::probe::{Schedule, Status};

use super::{World, ask_all, endpoints, in_turn, pause, settle};
use crate::support::{ms, secs};

fn often() -> Schedule {
    let schedule = Schedule::builder().interval(secs(1)).timeout(ms(100));
    let schedule = schedule.jitter(tower_keep::Ratio::ZERO);
    schedule.rise(2).fall(3).build().unwrap()
}

/// What probes find, by address, and how often they have asked.
#[derive(Clone, Default)]
struct Found(Arc<std::sync::Mutex<BTreeSet<String>>>, Arc<AtomicU64>);

impl Found {
    fn sick(&self, address: &str) {
        self.0.lock().unwrap().insert(address.to_owned());
    }

    fn well(&self, address: &str) {
        self.0.lock().unwrap().remove(address);
    }

    fn asked(&self) -> u64 {
        self.1.load(Ordering::Relaxed)
    }

    fn probe(&self, endpoint: &Endpoint) -> impl tower_keep::probe::Probe + use<> {
        let (found, address) = (self.clone(), endpoint.address().to_owned());
        move || {
            found.1.fetch_add(1, Ordering::Relaxed);
            let is_sick = found.0.lock().unwrap().contains(&address);
            assert!(!(is_sick && address == "panics"), "scripted");
            let hangs = is_sick && address == "hangs";
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                match is_sick {
                    true => Status::Fail,
                    false => Status::Pass,
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_probe_finds_decides_after_so_many_answers() {
    for sick in ["fails", "hangs", "panics"] {
        let (world, found) = (World::default(), Found::default());
        let probes = found.clone();
        let policy = in_turn().build().unwrap();
        let mut balance = world
            .balance(policy, endpoints([sick, "b"]))
            .checked(often(), move |endpoint| probes.probe(endpoint));
        let share = async |balance: &mut _| {
            let went = ask_all(balance, 10).await;
            went.iter().filter(|to| *to == sick).count()
        };
        // Whoever uses it first begins the checks.
        share(&mut balance).await;
        pause(ms(500)).await;
        assert_eq!(share(&mut balance).await, 5, "{sick}");
        found.sick(sick);
        pause(secs(2)).await;
        assert_eq!(share(&mut balance).await, 5, "two answers are not three");
        pause(secs(1) + ms(300)).await;
        assert_eq!(share(&mut balance).await, 0, "{sick}");
        found.well(sick);
        pause(secs(1)).await;
        assert_eq!(share(&mut balance).await, 0, "one answer is not two");
        pause(secs(1)).await;
        assert_eq!(share(&mut balance).await, 5, "{sick}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_removed_are_asked_no_more() {
    let (world, found) = (World::default(), Found::default());
    let probes = found.clone();
    let (send, receive) = watch::channel(endpoints(["a", "b", "c"]));
    let balance = world
        .balance(Policy::default(), Watch::new(receive))
        .checked(often(), move |endpoint| probes.probe(endpoint));
    ask_all(&mut balance.clone(), 1).await;
    pause(ms(9_500)).await;
    assert_eq!(found.asked(), 30);
    send.send(endpoints(["a"])).unwrap();
    settle().await;
    let before = found.asked();
    pause(secs(10)).await;
    assert_eq!(found.asked() - before, 10);
    drop(balance);
    settle().await;
    let before = found.asked();
    pause(secs(10)).await;
    assert_eq!(found.asked(), before, "the checks outlive the balancer");
}
