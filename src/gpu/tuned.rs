//! What was found out about the strategies on a device.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::precision::Precision;
use crate::strategy::Strategy;

/// What a strategy's time depends on, beside the device and T. Without T, so that results do not depend on how a sequence is cut.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Class {
    /// The model's sizes, in words.
    pub(crate) model: String,
    pub(crate) precision: Precision,
    pub(crate) batch: usize,
}

/// The fastest strategy of each class that was timed.
#[derive(Debug, Default)]
pub(crate) struct Tuned(Mutex<HashMap<Class, Strategy>>);

impl Tuned {
    /// The strategy of a class, if it was timed; it is named only where any was.
    pub(crate) fn get(&self, class: impl FnOnce() -> Class) -> Option<Strategy> {
        let known = self.lock();
        if known.is_empty() { None } else { known.get(&class()).copied() }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn insert(&self, class: Class, strategy: Strategy) {
        self.lock().insert(class, strategy);
    }

    /// The map is whole after every operation, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, HashMap<Class, Strategy>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
