//! Finds an endpoint that takes a request.

use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::handle::Permit;
use super::hub::{Hub, Link, Snapshot};
use super::pick::Draw;
use super::set::{Picked, Set};
use super::state::SKIPPED;
use crate::attempt::{self, Attempt};
use crate::clock::Tick;
use crate::kernel::shared::Shared;

/// How often the picker is asked: whom it chooses may be busy.
const PICKS: usize = 3;

/// An endpoint's service that is ready, and its admission.
pub(super) struct Chosen<S> {
    pub(super) service: S,
    pub(super) permit: Permit,
}

/// A service that was not ready when it was asked.
pub(super) struct Held<S> {
    set: Shared<Set>,
    picked: Picked,
    link: Arc<Link<S>>,
    service: S,
}

/// What is kept of those that are not ready: nothing, or what wakes.
pub(super) trait Keep<S> {
    fn keep(&mut self, snapshot: &Snapshot<S>, picked: Picked, service: S);
}

/// Nothing.
pub(super) struct Nothing;

impl<S> Keep<S> for Nothing {
    #[inline]
    fn keep(&mut self, _: &Snapshot<S>, _: Picked, _: S) {}
}

/// As many as are ever asked in one go.
impl<S> Keep<S> for &mut Vec<Held<S>> {
    fn keep(&mut self, snapshot: &Snapshot<S>, picked: Picked, service: S) {
        if let Some(link) = snapshot.link(picked) {
            self.push(Held {
                set: snapshot.set.clone(),
                picked,
                link: Arc::clone(link),
                service,
            });
        }
    }
}

/// One search.
struct Search<'a, 'c, 'w, S, K> {
    hub: &'a Hub<S>,
    snapshot: &'a Snapshot<S>,
    attempt: Option<Attempt>,
    keep: K,
    cx: &'c mut Context<'w>,
    /// One that an earlier attempt has tried.
    tried: Option<Picked>,
}

impl<S: Send + Sync + 'static> Hub<S> {
    /// An endpoint that takes a request, asked with this context.
    #[inline]
    pub(super) fn choose<Req, K>(
        &self,
        attempt: Option<Attempt>,
        now: impl FnOnce() -> Tick,
        keep: K,
        cx: &mut Context<'_>,
    ) -> Option<Chosen<S>>
    where
        S: Service<Req> + Clone,
        K: Keep<S>,
    {
        let snapshot = self.snapshot.load();
        if snapshot.links.is_empty() {
            return None;
        }
        let now = match snapshot.set.timed {
            true => now(),
            false => Tick::ZERO,
        };
        let mut search = Search {
            hub: self,
            snapshot: &snapshot,
            attempt,
            keep,
            cx,
            tried: None,
        };
        let mut draw = Draw::here();
        let found = search.find::<Req>(now, &mut draw);
        draw.leave();
        let (picked, service) = found?;
        Some(Chosen::new(
            &snapshot.set,
            picked,
            service,
            now,
            attempt.is_some(),
        ))
    }

    /// The same for who waits: one of those that were not ready, or somebody else if
    /// `news` have come.
    pub(super) fn choose_again<Req>(
        &self,
        held: &mut Vec<Held<S>>,
        news: Option<()>,
        cx: &mut Context<'_>,
    ) -> Option<Chosen<S>>
    where
        S: Service<Req> + Clone,
    {
        let now = || self.state.core.clock().now();
        let mut place = 0;
        while let Some(Held { link, service, .. }) = held.get_mut(place) {
            let poll = match link.is_gone() {
                true => None,
                false => Some(service.poll_ready(cx)),
            };
            match poll {
                Some(Poll::Pending) => place += 1,
                Some(Poll::Ready(Ok(()))) => {
                    let held = held.swap_remove(place);
                    let chosen = Chosen::new(&held.set, held.picked, held.service, now(), true);
                    return Some(chosen);
                }
                Some(Poll::Ready(Err(_))) => {
                    self.report_broken(link);
                    held.swap_remove(place);
                }
                None => _ = held.swap_remove(place),
            }
        }
        news?;
        held.clear();
        self.choose(Attempt::current(), now, held, cx)
    }
}

/// Outside attempts, most calls are made.
#[cold]
fn note(set: &Set, picked: Picked) {
    if let Some(member) = set.members.get(picked.place) {
        attempt::note(member.id());
    }
}

impl<S> Chosen<S> {
    #[inline]
    fn new(set: &Shared<Set>, picked: Picked, service: S, now: Tick, in_attempt: bool) -> Self {
        if in_attempt {
            note(set, picked);
        }
        let permit = Permit::new(set, set.begin(picked, now));
        Self { service, permit }
    }
}

impl<S, K> Search<'_, '_, '_, S, K>
where
    S: Send + Sync + 'static,
    K: Keep<S>,
{
    #[inline]
    fn find<Req>(&mut self, now: Tick, draw: &mut Draw) -> Option<(Picked, S)>
    where
        S: Service<Req> + Clone,
    {
        let set = &self.snapshot.set;
        let level = set.level(draw);
        for _ in 0..PICKS {
            let picked = set.pick(level, now, draw)?;
            if let Some(service) = self.ask::<Req>(picked) {
                return Some((picked, service));
            }
        }
        self.look_around::<Req>(level, draw)
    }

    /// One after the other, beginning anywhere: those of this level, then those of
    /// the others, and at last one that was tried before.
    #[cold]
    fn look_around<Req>(&mut self, level: usize, draw: &mut Draw) -> Option<(Picked, S)>
    where
        S: Service<Req> + Clone,
    {
        let set = &self.snapshot.set;
        let most = self.hub.state.bounds().max_picks;
        for step in 0..set.levels.len() {
            let level = (level + step) % set.levels.len();
            let Some(members) = set.levels.get(level) else {
                continue;
            };
            let len = members.end - members.start;
            let first = draw.below(len);
            for step in 0..len.min(most) {
                let place = members.start + (first + step) % len;
                let picked = Picked { level, place };
                if let Some(service) = self.ask::<Req>(picked) {
                    return Some((picked, service));
                }
            }
        }
        let tried = self.tried.take()?;
        self.attempt = None;
        Some((tried, self.ask::<Req>(tried)?))
    }

    /// Its service, if it is ready.
    #[inline]
    fn ask<Req>(&mut self, picked: Picked) -> Option<S>
    where
        S: Service<Req> + Clone,
    {
        let link = self.snapshot.link(picked)?;
        if link.is_gone() {
            return None;
        }
        let id = link.member.id();
        if self.attempt.is_some_and(|attempt| attempt.has_tried(id)) {
            self.tried = Some(picked);
            return None;
        }
        let mut service = link.service.clone();
        match service.poll_ready(self.cx) {
            Poll::Ready(Ok(())) => Some(service),
            Poll::Ready(Err(_)) => {
                self.hub.report_broken(link);
                None
            }
            Poll::Pending => {
                self.hub.state.counters.add(SKIPPED, 1);
                self.keep.keep(self.snapshot, picked, service);
                None
            }
        }
    }
}
