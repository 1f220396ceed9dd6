//! Layers in a stack that has its own error type, and in one that has tower's
//! `BoxError`: no adapter is needed for either.

#![allow(clippy::print_stdout, reason = "it shows something")]

use std::fmt;
use std::time::Duration;

use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::timeout::{self, TimeoutLayer};
use tower_keep::{AsRejection, Override, Rejection};

/// The errors of an application.
#[derive(Debug)]
enum ShopError {
    SoldOut,
    /// One variant takes all that the layers have to say.
    Refused(Rejection),
}

// The first of two impls: a layer can say no.
impl From<Rejection> for ShopError {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

// The second: layers outside see that one said no, and do not count it as a
// failure of the service.
impl AsRejection for ShopError {
    fn as_rejection(&self) -> Option<Rejection> {
        match self {
            Self::Refused(rejection) => Some(*rejection),
            Self::SoldOut => None,
        }
    }
}

impl fmt::Display for ShopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SoldOut => f.write_str("sold out"),
            Self::Refused(rejection) => rejection.fmt(f),
        }
    }
}

impl std::error::Error for ShopError {
    // So that `find_rejection` finds it, also in a box.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::SoldOut => None,
            Self::Refused(rejection) => Some(rejection),
        }
    }
}

async fn buy(article: &'static str) -> Result<String, ShopError> {
    match article {
        "bread" => Err(ShopError::SoldOut),
        "time" => std::future::pending().await,
        article => Ok(format!("one {article}")),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bulkhead = BulkheadLayer::new(bulkhead::Policy::max_concurrent(10)?);
    let patience = timeout::Policy::attempt(Duration::from_millis(50))?;
    let operator = bulkhead.handle();

    println!("the error type stays ShopError:");
    let shop = ServiceBuilder::new()
        .layer(bulkhead.clone())
        .layer(TimeoutLayer::new(patience))
        .service_fn(buy);
    for article in ["milk", "bread", "time"] {
        match shop.clone().oneshot(article).await {
            Ok(bought) => println!("  {bought}"),
            Err(ShopError::SoldOut) => println!("  {article} is sold out"),
            // It may have been bought all the same: we did not wait for the answer.
            Err(ShopError::Refused(r)) if r.reached_inner() => println!("  gave up: {r}"),
            Err(ShopError::Refused(r)) => println!("  refused: {r}"),
        }
    }
    let seen = operator.snapshot();
    println!("  succeeded {}, failed {}", seen.succeeded, seen.failed);

    println!("among other layers, with BoxError:");
    let mixed = ServiceBuilder::new()
        .layer(bulkhead)
        .layer(tower::timeout::TimeoutLayer::new(Duration::from_secs(1)))
        .service_fn(buy);
    operator.set_override(Override::Close);
    tell(mixed.clone().oneshot("milk").await);
    operator.set_override(Override::None);
    tell(mixed.oneshot("bread").await);
    Ok(())
}

fn tell(answer: Result<String, BoxError>) {
    match answer {
        Ok(bought) => println!("  {bought}"),
        // `as_rejection` looks through the whole chain of errors.
        Err(error) => match error.as_rejection() {
            Some(rejection) => println!("  a layer said no: {:?}", rejection.kind()),
            None => println!("  the service failed: {error}"),
        },
    }
}
