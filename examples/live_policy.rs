//! Watching and steering layers while they work: handles and a registry.

#![allow(clippy::print_stdout, reason = "it shows something")]

use std::time::Duration;

use tower::{Service, ServiceBuilder, ServiceExt};
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::throttle::{self, ThrottleLayer};
use tower_keep::{Error, LiftLayer, Override, Registry, Setup, event};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Everything that is refused is told to whoever listens.
    let registry =
        Registry::new().with_listener(|who: &event::Source<'_>, what: &event::Event<'_>| {
            if let event::Event::Rejected(rejection) = what {
                println!("    [{} {}] {rejection}", who.pattern, who.name);
            }
        });

    // The policies could come from a file as well: feature `serde`.
    let throttle = ThrottleLayer::with(
        throttle::Policy::per_second(1_000)?,
        Setup::named("all callers").in_registry(&registry),
    );
    let bulkhead = BulkheadLayer::with(
        bulkhead::Policy::max_concurrent(2)?,
        Setup::named("reports").in_registry(&registry),
    );
    // Layers go into the stack, handles stay with whoever operates it.
    let (rate, room) = (throttle.handle(), bulkhead.handle());
    let mut service = ServiceBuilder::new()
        .layer(throttle)
        .layer(bulkhead)
        .layer(LiftLayer::new())
        .service_fn(report);

    println!("three calls at once, room for two:");
    println!("    {} served", at_once(&mut service, 3).await?);

    println!("a larger policy, from now on:");
    room.update(room.policy().to_builder().max_concurrent(3).build()?);
    println!("    {} served", at_once(&mut service, 3).await?);

    println!("closed by an operator:");
    room.set_override(Override::Close);
    println!("    {} served", at_once(&mut service, 1).await?);

    println!("no limit at all, whatever the policy says:");
    room.set_override(Override::Bypass);
    println!("    {} served", at_once(&mut service, 5).await?);
    room.set_override(Override::None);

    println!("where they stand, in types:");
    let (rate, room) = (rate.snapshot(), room.snapshot());
    println!("    admitted by the throttle: {}", rate.admitted);
    println!(
        "    beyond the bulkhead's limit of {}: {}",
        room.limit, room.bypassed
    );

    println!("and all layers of the registry, for a console (feature `serde`):");
    for report in registry.reports() {
        println!("    {}", serde_json::to_string(&report)?);
    }
    Ok(())
}

/// How many of so many calls were served.
async fn at_once<S>(service: &mut S, calls: usize) -> Result<usize, S::Error>
where
    S: Service<u32, Error = Error<std::io::Error>>,
{
    let mut pending = Vec::new();
    for n in 0..calls {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        pending.push(service.ready().await?.call(n));
    }
    let mut served = 0;
    for call in pending {
        served += usize::from(call.await.is_ok());
    }
    Ok(served)
}

#[allow(clippy::disallowed_methods, reason = "a service like any other")]
async fn report(n: u32) -> Result<String, std::io::Error> {
    tokio::time::sleep(Duration::from_millis(10)).await;
    Ok(format!("report {n}"))
}
