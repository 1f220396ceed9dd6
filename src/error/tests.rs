//! Sizes, and what is found in boxes.

use super::*;

#[test]
fn a_rejection_is_16_bytes() {
    assert!(size_of::<Rejection>() <= 16);
}

#[test]
fn a_boxed_rejection_is_found_through_a_chain() {
    let rejection = Rejection::before(RejectionKind::Full, LayerId(7));
    let direct: Box<dyn StdError + Send + Sync> = rejection.into();
    assert_eq!(direct.as_rejection(), Some(rejection));
    let nested: Box<dyn StdError + Send + Sync> =
        Box::new(Error::<std::io::Error>::Rejected(rejection));
    assert_eq!(nested.as_rejection(), Some(rejection));
    let other: Box<dyn StdError + Send + Sync> = "no".into();
    assert_eq!(other.as_rejection(), None);
}
