//! A plan in words.

use std::fmt;

use crate::plan::{GX_BUDGET, Plan};

const MIB: f64 = (1 << 20) as f64;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return self.explain(f);
        }
        write!(
            f,
            "{} ({}), {} steps in {} chunk(s), {} dispatches in {} submission(s), {:.2} MiB on the device",
            self.strategy(),
            self.choice.recurrence,
            self.task.sequence.time_steps,
            self.chunks(),
            self.dispatch_count(),
            self.submission_count(),
            self.device_bytes() as f64 / MIB,
        )
    }
}

impl Plan {
    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sequence, bytes) = (&self.task.sequence, &self.bytes);
        writeln!(f, "{} over T = {}, B = {}", self.config, sequence.time_steps, sequence.batch)?;
        writeln!(
            f,
            "  input product  {} chunk(s) of up to {} steps, gx of {:.2} MiB: {}",
            self.chunks(),
            self.chunk_steps,
            bytes.gx as f64 / MIB,
            self.why_chunks(),
        )?;
        writeln!(f, "  strategy       {}: {}", self.strategy(), self.choice.why)?;
        writeln!(f, "  workgroup      {}", self.choice.recurrence)?;
        writeln!(f, "  dispatches     {} in {} submission(s)", self.dispatch_count(), self.submission_count())?;
        writeln!(f, "  operations     {:.3} G, a multiply-add counted as two", self.flops() as f64 / 1e9)?;
        write!(f, "  device memory  {:.2} MiB beside the weights", self.device_bytes() as f64 / MIB)
    }

    fn why_chunks(&self) -> &'static str {
        if self.chunks() <= 1 {
            return "the whole sequence at once";
        }
        if self.choice.recurrence.is_wave() {
            return "short, so that the layers above need not wait long";
        }
        let another_step = self.bytes.gx / self.chunk_steps as u64;
        if self.bytes.gx + another_step > GX_BUDGET {
            "more would not keep a GPU busier"
        } else {
            "more is beyond a limit of memory, of the grid or of one submission's work"
        }
    }
}
