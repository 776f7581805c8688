//! The results of tuning on a device.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::cell_kind::CellKind;
use crate::precision::Precision;
use crate::strategy::Strategy;

/// The properties that a strategy's time depends on, apart from the device and T. T is left out so that results do not
/// depend on how a sequence is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Class {
    pub(crate) cell: CellKind,
    pub(crate) input_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) proj_size: usize,
    pub(crate) num_layers: usize,
    pub(crate) directions: usize,
    pub(crate) precision: Precision,
    pub(crate) batch: usize,
}

/// The fastest strategy of each class that was timed.
#[derive(Debug, Default)]
pub(crate) struct Tuned(Mutex<HashMap<Class, Strategy>>);

impl Tuned {
    /// Returns the strategy of a class, if it was timed.
    pub(crate) fn get(&self, class: Class) -> Option<Strategy> {
        self.0.lock().get(&class).copied()
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn insert(&self, class: Class, strategy: Strategy) {
        self.0.lock().insert(class, strategy);
    }
}
