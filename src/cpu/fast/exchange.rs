//! How the threads that share a recurrence give each other h: each computes some units, and needs all of them for the next step.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use crate::Result;
use crate::tensor::zeroed;

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
}

/// So many looks at the counter take longer than a step of a size that is shared; a member that takes more has lost its core.
const SPINS: usize = 10_000;

impl Exchange {
    pub(super) fn new(members: usize, size: usize) -> Result<Self> {
        let size = if members > 1 { size } else { 0 };
        let h = zeroed::<f32>("h of all threads", &[2, size])?.into_iter().map(|_| AtomicU32::new(0)).collect();
        Ok(Self { h, size, members, arrived: AtomicUsize::new(0), broken: AtomicBool::new(false) })
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

    /// Waits until all members have published step number `step`, and takes all of it; false if a member has gone.
    pub(super) fn collect(&self, step: usize, h: &mut [f32]) -> bool {
        self.arrived.fetch_add(1, Ordering::AcqRel);
        let all = (step + 1) * self.members;
        let mut looks = 0;
        while self.arrived.load(Ordering::Acquire) < all {
            if self.broken.load(Ordering::Relaxed) {
                return false;
            }
            looks += 1;
            if looks < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
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
