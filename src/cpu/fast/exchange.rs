//! How the threads that share a recurrence give each other h: each computes some units, and needs all of them for the next step.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::memory::zeroed;

/// h of two steps in turn: a thread is at most one step ahead of another, which may still read the step before.
#[derive(Debug)]
pub(super) struct Exchange {
    /// `[2, B, P]`, the bits of f32
    h: Vec<AtomicU32>,
    /// Elements of a step.
    size: usize,
    members: usize,
    arrived: AtomicUsize,
    /// Whether a member has gone, so that nobody waits for it.
    broken: AtomicBool,
    /// Nanoseconds that members have waited for one that had lost its core.
    waited: AtomicU64,
    /// How many of them are enough: what the work would take a thread alone.
    patience: u64,
}

/// How many layers that threads could share are left to one before sharing is tried again: set where a thread had to wait for one
/// whose core another program uses.
static CROWDED: AtomicUsize = AtomicUsize::new(0);
const LAYERS_ALONE: usize = 100;

/// Whether a layer is to be left to one thread, as other programs use the cores; counts it.
pub(super) fn take_turn_alone() -> bool {
    CROWDED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |layers| layers.checked_sub(1)).is_ok()
}

/// So many looks at the counter take longer than a step of a size that is shared; a member that takes more has lost its core.
const SPINS: usize = 10_000;

impl Exchange {
    /// `work` is how long the members' work would take one of them, about.
    pub(super) fn new(members: usize, size: usize, work: Duration) -> Result<Self> {
        let size = if members > 1 { size } else { 0 };
        let h = zeroed::<f32>("h of all threads", &[2, size])?.into_iter().map(|_| AtomicU32::new(0)).collect();
        Ok(Self {
            h,
            size,
            members,
            arrived: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            waited: AtomicU64::new(0),
            patience: u64::try_from(work.as_nanos()).unwrap_or(u64::MAX),
        })
    }

    /// Whether there is anybody to exchange with.
    pub(super) fn is_shared(&self) -> bool {
        self.members > 1
    }

    /// Gives the others part of h of step number `step`, from element `at` on.
    pub(super) fn publish(&self, step: usize, at: usize, part: &[f32]) {
        let at = step % 2 * self.size + at;
        for (slot, value) in self.h[at..at + part.len()].iter().zip(part) {
            // The counter orders these.
            slot.store(value.to_bits(), Ordering::Relaxed);
        }
    }

    /// Waits until all members have published step number `step`, and takes all of it; false if a member has gone, or if waiting
    /// has taken longer than the work would take one thread.
    pub(super) fn collect(&self, step: usize, h: &mut [f32]) -> bool {
        self.arrived.fetch_add(1, Ordering::AcqRel);
        let all = (step + 1) * self.members;
        let (mut looks, mut since) = (0, None);
        while self.arrived.load(Ordering::Acquire) < all {
            if self.broken.load(Ordering::Relaxed) {
                return false;
            }
            looks += 1;
            if looks < SPINS {
                std::hint::spin_loop();
                continue;
            }
            let since = *since.get_or_insert_with(Instant::now);
            if self.waited.load(Ordering::Relaxed).saturating_add(nanoseconds(since)) > self.patience {
                CROWDED.store(LAYERS_ALONE, Ordering::Relaxed);
                self.leave();
                return false;
            }
            std::thread::yield_now();
        }
        if let Some(since) = since {
            self.waited.fetch_add(nanoseconds(since), Ordering::Relaxed);
        }
        let at = step % 2 * self.size;
        for (value, slot) in h.iter_mut().zip(&self.h[at..at + self.size]) {
            *value = f32::from_bits(slot.load(Ordering::Relaxed));
        }
        true
    }

    /// Tells the others that a member will not come.
    pub(super) fn leave(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Whether a member has gone, so that the work is not done.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Leaves the exchange if its thread panics, so that the panic is seen and not a standstill.
pub(super) struct Membership<'a>(pub(super) &'a Exchange);

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_keeps_the_others_waiting_is_given_up() {
        let exchange = Exchange::new(2, 3, Duration::from_millis(1)).unwrap();
        exchange.publish(0, 0, &[1.0, 2.0, 3.0]);
        let start = Instant::now();
        // Nobody else comes.
        assert!(!exchange.collect(0, &mut [0.0; 3]));
        assert!(exchange.is_broken() && start.elapsed() >= Duration::from_millis(1));
        // The next layers are not shared, and then it is tried again.
        assert!(take_turn_alone());
        while take_turn_alone() {}
    }

    #[test]
    fn members_that_come_in_time_see_each_others_part() {
        let exchange = Exchange::new(2, 2, Duration::from_secs(60)).unwrap();
        let member = |own: usize| {
            let mut seen = Vec::new();
            for step in 0..1000 {
                exchange.publish(step, own, &[(2 * step + own) as f32]);
                let mut h = [0.0; 2];
                assert!(exchange.collect(step, &mut h));
                seen.push(h);
            }
            seen
        };
        let (first, second) = std::thread::scope(|scope| {
            let other = scope.spawn(|| member(1));
            (member(0), other.join().unwrap())
        });
        let expected: Vec<[f32; 2]> = (0..1000).map(|step| [(2 * step) as f32, (2 * step + 1) as f32]).collect();
        assert_eq!((&first, &second), (&expected, &expected));
    }
}
