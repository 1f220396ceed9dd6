//! Guarding code that is no Tower service: the handles of a layer are enough.

#![allow(clippy::print_stdout, reason = "it shows something")]

use std::time::Duration;

use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::classify::{Failure, Outcome};
use tower_keep::clock::Clock;
use tower_keep::deadline::Deadline;
use tower_keep::throttle::{self, ThrottleLayer};
use tower_keep::{Rejection, key};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A layer that wraps nothing; all clones of its handle are one limit.
    let two = bulkhead::Policy::builder()
        .max_concurrent(2)
        .queue_length(10)
        .build()?;
    let disk = BulkheadLayer::new(two).handle();

    println!("now or not at all:");
    let first = disk.admit()?;
    let second = disk.admit()?;
    match disk.admit() {
        Ok(_permit) => println!("  admitted"),
        Err(refused) => println!("  {refused}"),
    }
    // A permit ends when it is dropped; that counts as cancelled, unless it is
    // told how the work went.
    first.finish(Outcome::Success);
    second.finish(Outcome::Failure(Failure::Transient));

    println!("in a queue, two at a time:");
    let mut jobs = tokio::task::JoinSet::new();
    for n in 1..=5 {
        let disk = disk.clone();
        jobs.spawn(async move {
            let permit = disk.acquire().await?;
            work(n).await;
            permit.finish(Outcome::Success);
            Ok::<_, Rejection>(n)
        });
    }
    while let Some(done) = jobs.join_next().await {
        println!("  job {} is done", done??);
    }

    println!("in the queue no longer than somebody waits for it:");
    let held = (disk.admit()?, disk.admit()?);
    let deadline = Deadline::after(&Clock::default(), Duration::from_millis(30));
    match deadline.wrap(disk.acquire()).await {
        Ok(_permit) => println!("  admitted"),
        Err(refused) => println!("  {refused}"),
    }
    drop(held);
    let seen = disk.snapshot();
    println!(
        "  so far: {} succeeded, {} waited",
        seen.succeeded, seen.waited
    );

    println!("a loop of jobs, 50 a second and 3 at once:");
    let policy = throttle::Policy::builder()
        .rate(50, Duration::from_secs(1))
        .burst(3)
        .build()?;
    let rate = ThrottleLayer::new(policy).handle();
    for n in 1..=6 {
        // It tells exactly how long to wait.
        while let Err(refused) = rate.admit(1) {
            match refused.retry_after() {
                Some(wait) => sleep(wait).await,
                None => return Err(refused.into()),
            }
        }
        println!("  job {n}; {} more could begin at once", rate.remaining());
    }

    println!("and per tenant:");
    struct Job {
        tenant: &'static str,
        rows: u32,
    }
    let by_tenant = key::bytes(|job: &Job| Some(job.tenant.as_bytes()));
    let policy = throttle::Policy::per_second(100)?;
    let rows = ThrottleLayer::keyed(policy, by_tenant).handle();
    for (tenant, count) in [("acme", 80), ("acme", 80), ("emca", 80)] {
        let job = Job {
            tenant,
            rows: count,
        };
        match rows.admit_for(&by_tenant, &job, job.rows) {
            Ok(()) => println!("  {tenant}: {count} rows"),
            Err(refused) => println!("  {tenant}: {refused}"),
        }
    }
    Ok(())
}

async fn work(_: u32) {
    sleep(Duration::from_millis(20)).await;
}

#[allow(
    clippy::disallowed_methods,
    reason = "an application sleeps as it likes"
)]
async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}
