//! How the recurrence is run on a GPU.

use std::fmt;

/// How a GPU runs the recurrence: [`Placed::set_strategy`](crate::Placed::set_strategy). Every strategy gives the same numbers but
/// for rounding; which one is fastest depends on the sizes and on the GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// Chosen by hidden size, batch, layers, length and device, or what `tune` has found; a [`Plan`](crate::Plan) says which and why.
    #[default]
    Auto,
    /// A dispatch a time step, whose workgroups share the hidden units. Runs every shape.
    Step,
    /// A dispatch a layer for all time steps, or some thousand of them, in which a workgroup owns all hidden units of a row: no step
    /// waits for another workgroup. For small hidden sizes, H up to the invocations of a workgroup (256 on every device, 1,024 on
    /// many, if its memory holds their sums), without `proj_size`.
    Sequence,
    /// A dispatch a time step, over all layers at once, each of them a chunk of steps behind the one below: fewer steps wait for
    /// each other. For stacks of 2 to 32 layers in one direction, without `proj_size`. Gives the bits of [`Step`](Self::Step).
    Wavefront,
}

impl Strategy {
    /// Every strategy that can be asked for, [`Auto`](Self::Auto) first.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Step, Self::Sequence, Self::Wavefront];

    /// "auto", "step" and so on.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Step => "step",
            Self::Sequence => "sequence",
            Self::Wavefront => "wavefront",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
