//! Words and ranges.

use proptest::prelude::*;

use super::*;

prop_compose! {
    fn builders()(
        times in prop::array::uniform4(1_000_000_000..86_400_000_000_000u64),
        choices in prop::array::uniform5(any::<bool>()),
        in_flight in 0..4usize,
        lengths in (64..67_108_865u32, 0..67_108_865u32),
    ) -> PolicyBuilder {
        let [lease, retention, wait, store] = times.map(Duration::from_nanos);
        let [again, fails, full, unrecorded, streams] = choices;
        let unguarded = |run| if run { Unguarded::Run } else { Unguarded::Refuse };
        let told = [
            InFlight::Conflict, InFlight::TooEarly, InFlight::Accepted, InFlight::Wait,
        ];
        Policy::builder()
            .lease(lease)
            .retention(retention)
            .max_wait(wait)
            .store_timeout(store)
            .again(if again { Again::Allowed } else { Again::Never })
            .store_fails(unguarded(fails))
            .store_full(unguarded(full))
            .unrecorded(if unrecorded { Unrecorded::Forget } else { Unrecorded::Mark })
            .streams(if streams { Streams::Pass } else { Streams::Collect })
            .in_flight(told[in_flight])
            .max_answer(lengths.0)
            .max_request(lengths.1)
    }
}

proptest! {
    #[test]
    fn every_policy_survives_its_words(builder in builders()) {
        let policy = builder.build().unwrap();
        prop_assert_eq!(Policy::from_words(policy.to_words()), policy);
    }
}

#[test]
fn extremes_are_refused_by_their_names() {
    let zero = Duration::ZERO;
    let ever = Duration::MAX;
    let builder = Policy::builder;
    for (field, built) in [
        ("lease", builder().lease(zero)),
        ("lease", builder().lease(ever)),
        ("retention", builder().retention(zero)),
        ("retention", builder().retention(ever)),
        ("max_wait", builder().max_wait(zero)),
        ("max_wait", builder().max_wait(ever)),
        ("store_timeout", builder().store_timeout(zero)),
        ("store_timeout", builder().store_timeout(ever)),
        ("max_answer", builder().max_answer(0)),
        ("max_answer", builder().max_answer(u32::MAX)),
        ("max_request", builder().max_request(u32::MAX)),
    ] {
        assert_eq!(built.build().unwrap_err().field(), field);
    }
    assert_eq!(builder().build(), Ok(Policy::default()));
}
