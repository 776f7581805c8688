//! The caller's own device buffers of gradients.

use std::marker::PhantomData;

use crate::error::Result;
use crate::gpu::arrays::BufferRange;
use crate::gpu::record_train::GradientArrays;
use crate::layer::buffers::{BufferSizes, Buffers, DeviceArray};
use crate::layer::kind::{GruKind, LstmKind, RnnKind};
use crate::layer::need::Need;
use crate::plan::Plan;
use crate::plan::limits::DeviceLimits;

/// The caller's device arrays for [`RecordedPass::encode_backward`](crate::RecordedPass::encode_backward): f32, dense,
/// in the shapes of what they are the gradients of. Each is optional: a gradient that is not given is zero, and one
/// that is not asked for is not written.
///
/// | array | shape | usages of its buffer |
/// |---|---|---|
/// | given: output | that of the output | `STORAGE` |
/// | given: h_n, c_n | `[L·D, B, P]`, `[L·D, B, H]` | `COPY_SRC` |
/// | result: input | that of the input | `STORAGE`, `COPY_DST` |
/// | result: h_0, c_0 | `[L·D, B, P]`, `[L·D, B, H]` | `COPY_DST` |
///
/// No two may overlap, nor may the gradient of the input overlap input or output; but h_0 may be the very range of h_n,
/// and c_0 that of c_n: a gradient that goes on to the pass before.
#[derive(Clone, Debug)]
pub struct GradientBuffers<'a, K> {
    output: Option<DeviceArray<'a>>,
    last: Option<Vec<DeviceArray<'a>>>,
    input: Option<DeviceArray<'a>>,
    initial: Option<Vec<DeviceArray<'a>>>,
    kind: PhantomData<K>,
}

impl<K> Default for GradientBuffers<'_, K> {
    fn default() -> Self {
        Self { output: None, last: None, input: None, initial: None, kind: PhantomData }
    }
}

impl<'a, K> GradientBuffers<'a, K> {
    /// Returns no arrays: all given gradients are zero, and only those of the weights are asked for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the gradient with respect to the output.
    #[must_use]
    pub fn with_output(self, output: impl Into<DeviceArray<'a>>) -> Self {
        Self { output: Some(output.into()), ..self }
    }

    /// Asks for the gradient with respect to the input.
    #[must_use]
    pub fn with_input(self, input: impl Into<DeviceArray<'a>>) -> Self {
        Self { input: Some(input.into()), ..self }
    }
}

impl<'a> GradientBuffers<'a, LstmKind> {
    /// Gives the gradients with respect to the last state.
    #[must_use]
    pub fn with_last(self, h_n: impl Into<DeviceArray<'a>>, c_n: impl Into<DeviceArray<'a>>) -> Self {
        Self { last: Some(vec![h_n.into(), c_n.into()]), ..self }
    }

    /// Asks for the gradients with respect to the initial state.
    #[must_use]
    pub fn with_initial(self, h_0: impl Into<DeviceArray<'a>>, c_0: impl Into<DeviceArray<'a>>) -> Self {
        Self { initial: Some(vec![h_0.into(), c_0.into()]), ..self }
    }
}

/// The same of the kinds whose state is h alone.
macro_rules! gradients_of_h {
    ($kind:ident) => {
        impl<'a> GradientBuffers<'a, $kind> {
            /// Gives the gradient with respect to the last state.
            #[must_use]
            pub fn with_last(self, h_n: impl Into<DeviceArray<'a>>) -> Self {
                Self { last: Some(vec![h_n.into()]), ..self }
            }

            /// Asks for the gradient with respect to the initial state.
            #[must_use]
            pub fn with_initial(self, h_0: impl Into<DeviceArray<'a>>) -> Self {
                Self { initial: Some(vec![h_0.into()]), ..self }
            }
        }
    };
}

gradients_of_h!(GruKind);
gradients_of_h!(RnnKind);

/// The names of the gradients of states in errors: h, and c of an LSTM.
const LAST: [&str; 2] = ["the gradient of h_n", "the gradient of c_n"];
const INITIAL: [&str; 2] = ["the gradient of h_0", "the gradient of c_0"];

impl<K> GradientBuffers<'_, K> {
    /// Checks sizes, usages and places, and that no two arrays overlap, nor the gradient of the input those of the
    /// forward.
    pub(super) fn checked(
        &self,
        plan: &Plan,
        forward: &[DeviceArray<'_>; 2],
        limits: &DeviceLimits,
    ) -> Result<GradientArrays> {
        use wgpu::BufferUsages as Use;
        let BufferSizes { input, output, .. } = BufferSizes::of(plan);
        let given = self.output.map(|array| Need::bound("the gradient of the output", array, output, limits));
        let result = self.input.map(|array| Need::bound("the gradient of the input", array, input, limits));
        let result = result.map(|need| Need { usage: Use::STORAGE | Use::COPY_DST, ..need });
        let last = states(LAST, self.last.as_deref(), plan, Use::COPY_SRC);
        let initial = states(INITIAL, self.initial.as_deref(), plan, Use::COPY_DST);
        let [x, y] = forward;
        let of_forward = [Need::bound("input", *x, input, limits), Need::bound("output", *y, output, limits)];
        let all: Vec<&Need<'_>> = given.iter().chain(&result).chain(&last).chain(&initial).collect();
        for (n, need) in all.iter().enumerate() {
            need.check()?;
            for other in &all[..n] {
                // The gradient of an initial state may take the place of its own last state's.
                let state = |names: [&str; 2], need: &Need<'_>| names.iter().position(|&name| name == need.name);
                let takes_place = state(LAST, other).is_some() && state(LAST, other) == state(INITIAL, need);
                if need.overlaps(other) && !(takes_place && need.is_at(other)) {
                    return Err(need.overlap(other));
                }
            }
        }
        if let Some(need) = &result
            && let Some(other) = of_forward.iter().find(|other| other.overlaps(need))
        {
            return Err(need.overlap(other));
        }
        let ranges = |needs: Vec<Need<'_>>| -> Option<Vec<BufferRange>> {
            (!needs.is_empty()).then(|| needs.iter().map(Need::range).collect())
        };
        Ok(GradientArrays {
            output: given.map(|need| need.range()),
            last: ranges(last),
            input: result.map(|need| need.range()),
            initial: ranges(initial),
        })
    }
}

/// Returns the demands on the gradients of states, in the order of their names.
fn states<'a>(
    names: [&'static str; 2],
    arrays: Option<&[DeviceArray<'a>]>,
    plan: &Plan,
    usage: wgpu::BufferUsages,
) -> Vec<Need<'a>> {
    let arrays = arrays.unwrap_or_default().iter().enumerate();
    arrays.map(|(state, &array)| Need { usage, ..Need::target(names[state], array, plan.state_bytes(state)) }).collect()
}

impl<'a, K> Buffers<'a, K> {
    /// Returns the arrays of a forward that its backward reads, too: input and output.
    pub(super) fn of_backward(&self) -> Option<[DeviceArray<'a>; 2]> {
        self.arrays.input_and_output()
    }
}
