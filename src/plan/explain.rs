//! A plan in words.

use std::fmt;

use crate::plan::count::{Bytes, Count};
use crate::plan::program::Name;
use crate::plan::{GX_BUDGET, Plan};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return self.explain(f);
        }
        write!(
            f,
            "{} ({}), {} in {}, {} in {}, {} on the device",
            self.strategy(),
            self.choice.recurrence,
            Count(self.task.extents.time_steps, "step"),
            Count(self.schedule.chunks(), "chunk"),
            Count(self.dispatch_count(), "dispatch"),
            Count(self.submission_count(), "submission"),
            Bytes(self.device_bytes()),
        )
    }
}

impl Plan {
    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (extents, gx) = (&self.task.extents, self.program.bytes(Name::Gx));
        writeln!(f, "{} over T = {}, B = {}", self.config, extents.time_steps, extents.batch)?;
        writeln!(
            f,
            "  input product  {}; {} of up to {}, gx of {}: {}",
            self.choice.input_product,
            Count(self.schedule.chunks(), "chunk"),
            Count(self.schedule.chunk_steps, "step"),
            Bytes(gx),
            self.why_chunks(),
        )?;
        writeln!(f, "  strategy       {}: {}", self.strategy(), self.choice.why)?;
        writeln!(f, "  workgroup      {}", self.choice.recurrence)?;
        writeln!(f, "  dispatches     {} in {}", self.dispatch_count(), Count(self.submission_count(), "submission"))?;
        writeln!(f, "  operations     {:.3} G, counting a multiply-add as two", self.flops() as f64 / 1e9)?;
        write!(f, "  device memory  {} in addition to the weights", Bytes(self.device_bytes()))
    }

    fn why_chunks(&self) -> &'static str {
        if self.schedule.chunks() <= 1 {
            return "the whole sequence at once";
        }
        if self.choice.recurrence.is_wavefront() {
            return "short, so that the layers above do not wait long";
        }
        let gx = self.program.bytes(Name::Gx);
        let another_step = gx / self.schedule.chunk_steps as u64;
        if gx + another_step > GX_BUDGET {
            "more would not keep a GPU busier"
        } else {
            "more would exceed a limit of memory, of the grid or of one submission's work"
        }
    }
}
