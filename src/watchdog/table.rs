//! Calls in flight, in a table of a fixed size that one thread looks through.
//!
//! A stripe has a word with a bit for each of its slots. Who enters a call takes a
//! bit of its thread's stripe, or of another one when that is full; who leaves gives
//! it back. No call stores a time: who looks through the table remembers since when
//! it has seen a call there.

use crate::kernel::sync::{AtomicU64, Ordering, Padded, fence, ids};
use crate::key::KeyId;

/// Slots of a stripe: bits of its word.
#[cfg(not(keep_loom))]
pub(super) const SLOTS: usize = 64;
#[cfg(keep_loom)]
pub(super) const SLOTS: usize = 2;

/// Bytes of a stage's name that are kept.
pub(super) const STAGE: usize = 24;

/// What a call has told: whose call it was, key, stage.
const WORDS: usize = 2 + STAGE / 8;

#[derive(Debug)]
struct Slot {
    /// Which call this is: grows by one when a call leaves, before its bit is given
    /// back, so that whoever sees the bit of a later call also sees its number.
    call: AtomicU64,
    /// The call that was given up on.
    condemned: AtomicU64,
    /// Odd while the call in the slot writes to `words`.
    sequence: AtomicU64,
    words: [AtomicU64; WORDS],
}

#[derive(Debug)]
struct Stripe {
    taken: AtomicU64,
    slots: [Slot; SLOTS],
}

/// The calls in flight.
#[derive(Debug)]
pub(super) struct Table {
    stripes: Box<[Padded<Stripe>]>,
}

/// What is known of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Details {
    pub(super) key: Option<KeyId>,
    stage: [u8; STAGE],
}

impl Details {
    pub(super) fn stage(&self) -> &str {
        let len = self.stage.iter().position(|byte| *byte == 0);
        let bytes = self.stage.get(..len.unwrap_or(STAGE)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// What fits of a stage's name, as words.
fn pack(stage: &str) -> [u64; STAGE / 8] {
    let mut bytes = [0; STAGE];
    let mut fits = stage.len().min(STAGE);
    while !stage.is_char_boundary(fits) {
        fits -= 1;
    }
    if let (Some(to), Some(from)) = (bytes.get_mut(..fits), stage.as_bytes().get(..fits)) {
        to.copy_from_slice(from);
    }
    let mut words = [0; STAGE / 8];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

impl Slot {
    fn new() -> Self {
        Self {
            call: AtomicU64::new(1),
            condemned: AtomicU64::new(0),
            sequence: AtomicU64::new(0),
            words: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Only the call in the slot writes here.
    #[inline]
    fn write<const N: usize>(&self, from: usize, words: [u64; N]) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence
            .store(sequence.wrapping_add(1), Ordering::Relaxed);
        // Who sees one of the new words also sees the odd sequence.
        fence(Ordering::Release);
        for (slot, word) in self.words.iter().skip(from).zip(words) {
            slot.store(word, Ordering::Relaxed);
        }
        self.sequence
            .store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// What the call of this number has told; nothing if it is telling right now.
    fn details(&self, call: u64) -> Details {
        let before = self.sequence.load(Ordering::Acquire);
        let [of, key, stage @ ..]: [u64; WORDS] =
            std::array::from_fn(|i| self.words[i].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let steady = before & 1 == 0 && self.sequence.load(Ordering::Relaxed) == before;
        if !steady || of >> 1 != call {
            return Details::default();
        }
        let mut bytes = [0; STAGE];
        for (to, word) in bytes.chunks_exact_mut(8).zip(stage) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        Details {
            key: (of & 1 == 1).then(|| KeyId::new(key)),
            stage: bytes,
        }
    }
}

impl Table {
    /// Room for so many calls, rounded up to whole stripes.
    pub(super) fn new(capacity: usize) -> Self {
        let stripe = || {
            Padded(Stripe {
                taken: AtomicU64::new(0),
                slots: std::array::from_fn(|_| Slot::new()),
            })
        };
        let stripes = capacity.div_ceil(SLOTS).max(1);
        Self {
            stripes: std::iter::repeat_with(stripe).take(stripes).collect(),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.stripes.len() * SLOTS
    }

    fn slot(&self, at: u32) -> Option<&Slot> {
        let at = at as usize;
        self.stripes.get(at / SLOTS)?.0.slots.get(at % SLOTS)
    }

    /// Enters a call; `None` if there is no room.
    #[inline]
    pub(super) fn enter(&self, key: Option<KeyId>) -> Option<u32> {
        self.enter_from(ids::thread_index() as usize, key)
    }

    /// As [`enter`](Self::enter), for a thread whose number the caller knows.
    #[inline]
    pub(super) fn enter_from(&self, thread: usize, key: Option<KeyId>) -> Option<u32> {
        let stripes = self.stripes.len();
        // Not the remainder, which costs a division.
        let own = if thread < stripes {
            thread
        } else {
            thread % stripes
        };
        let at = match self.take(own) {
            Some(at) => at,
            None => self.take_elsewhere(own)?,
        };
        let slot = self.slot(at)?;
        let call = slot.call.load(Ordering::Relaxed);
        // What is kept as a stage ends with its first zero.
        let keyed = u64::from(key.is_some());
        slot.write(
            0,
            [call << 1 | keyed, key.map_or(0, KeyId::as_u64), 0, 0, 0],
        );
        Some(at)
    }

    #[cold]
    fn take_elsewhere(&self, own: usize) -> Option<u32> {
        let stripes = self.stripes.len();
        (1..stripes).find_map(|next| self.take((own + next) % stripes))
    }

    /// Takes a free slot of a stripe.
    #[inline]
    fn take(&self, stripe: usize) -> Option<u32> {
        const ALL: u64 = u64::MAX >> (64 - SLOTS);
        let taken = &self.stripes.get(stripe)?.0.taken;
        let mut word = taken.load(Ordering::Relaxed);
        loop {
            if word == ALL {
                return None;
            }
            let free = (!word).trailing_zeros();
            // Acquire: of who had the slot before.
            let claim = taken.compare_exchange_weak(
                word,
                word | 1 << free,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            match claim {
                Ok(_) => return u32::try_from(stripe * SLOTS).ok()?.checked_add(free),
                Err(now) => word = now,
            }
        }
    }

    /// Takes a call out.
    #[inline]
    pub(super) fn leave(&self, at: u32) {
        let Some(slot) = self.slot(at) else { return };
        let call = slot.call.load(Ordering::Relaxed);
        slot.call.store(call.wrapping_add(1), Ordering::Relaxed);
        let at = at as usize;
        if let Some(stripe) = self.stripes.get(at / SLOTS) {
            let bit = 1_u64 << (at % SLOTS);
            stripe.0.taken.fetch_and(!bit, Ordering::Release);
        }
    }

    /// The call in this slot, which the caller is a part of, has come to a stage.
    pub(super) fn set_stage(&self, at: u32, stage: &str) {
        if let Some(slot) = self.slot(at) {
            slot.write(2, pack(stage));
        }
    }

    /// Whether the call in this slot, which is the caller's, was given up on.
    pub(super) fn is_condemned(&self, at: u32) -> bool {
        self.slot(at).is_some_and(|slot| {
            slot.condemned.load(Ordering::Acquire) == slot.call.load(Ordering::Relaxed)
        })
    }

    /// Gives up on a call.
    pub(super) fn condemn(&self, at: u32, call: u64) {
        if let Some(slot) = self.slot(at) {
            slot.condemned.store(call, Ordering::Release);
        }
    }

    /// What is known of a call that [`look`](Self::look) has shown.
    pub(super) fn details(&self, at: u32, call: u64) -> Details {
        self.slot(at)
            .map_or_else(Details::default, |slot| slot.details(call))
    }

    /// Shows every call there is: where it is, and its number, which no other call in
    /// this slot has had before.
    pub(super) fn look(&self, mut show: impl FnMut(u32, u64)) {
        for (number, stripe) in self.stripes.iter().enumerate() {
            let stripe = &stripe.0;
            let first = u32::try_from(number * SLOTS).unwrap_or(u32::MAX);
            let mut left = stripe.taken.load(Ordering::Acquire);
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                if let Some(slot) = stripe.slots.get(bit as usize) {
                    show(first.saturating_add(bit), slot.call.load(Ordering::Relaxed));
                }
            }
        }
    }
}
