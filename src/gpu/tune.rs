//! Timing the strategies on the device itself, once for a class of shapes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::call::Task;
use crate::config::RecurrentConfig;
use crate::gpu::model::GpuModel;
use crate::precision::Precision;
use crate::strategy::Strategy;

/// What a strategy's time depends on, beside the device and T. Without T, so that results do not depend on how a sequence is cut.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Class {
    /// The model's sizes, in words.
    model: String,
    precision: Precision,
    batch: usize,
}

/// The fastest strategy of each class that was timed on a device.
#[derive(Debug, Default)]
pub(crate) struct Tuned(Mutex<HashMap<Class, Strategy>>);

impl GpuModel {
    fn class(&self, batch: usize) -> Class {
        let model = RecurrentConfig { batch_first: false, dropout: 0.0, ..self.config.clone() }.to_string();
        let precision = self.weights.first().map_or(Precision::F32, |layer| layer.precision);
        Class { model, precision, batch }
    }

    /// The strategy that was found to be the fastest for a task, if any was.
    pub(super) fn tuned(&self, task: &Task) -> Option<Strategy> {
        let tuned = self.context.tuned.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tuned.is_empty() {
            return None;
        }
        tuned.get(&self.class(task.state_arrays.tile_batch)).copied()
    }

    // wasm32 has no clock of its own.
    /// Times a forward of zeros with each strategy that can run, and has the fastest taken from now on.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) async fn tune(&self, call: &crate::call::Call, input: &[f32]) -> crate::Result<Strategy> {
        use std::time::{Duration, Instant};

        // Those that are timed; the first is for compilation and buffers.
        const FORWARDS: usize = 4;
        let mut best: Option<(Duration, Strategy)> = None;
        for strategy in Strategy::ALL.into_iter().filter(|&strategy| strategy != Strategy::Auto) {
            let call = call.clone().with_strategy(strategy);
            if self.plan_forward(call.task).is_err() {
                continue;
            }
            let mut least = Duration::MAX;
            for n in 0..FORWARDS {
                let start = Instant::now();
                self.forward(&call, input, None, crate::gpu::Wait::Blocking).await?;
                least = if n == 0 { least } else { least.min(start.elapsed()) };
            }
            log::info!("{}: {strategy} takes {least:?}", self.config);
            if best.is_none_or(|(time, _)| least < time) {
                best = Some((least, strategy));
            }
        }
        let Some((_, strategy)) = best else {
            // Not even steps run: the reason is the error.
            return self.plan_forward(call.task).map(|plan| plan.strategy());
        };
        let class = self.class(call.task.state_arrays.tile_batch);
        self.context.tuned.0.lock().unwrap_or_else(PoisonError::into_inner).insert(class, strategy);
        Ok(strategy)
    }
}
