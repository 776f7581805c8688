//! What a plan does, in which order, and how it explains itself.

mod bounds;
mod strategy;

use super::*;
use crate::extents::Extents;
use crate::layer::LstmConfig;
use crate::plan::kernel::{Kernel, Role};
use crate::plan::params::{ChunkParams, SharedParams};
use crate::plan::program::Dispatch;

/// Returns wgpu's `Limits::default()`, which every WebGPU device supports.
pub(super) fn limits() -> DeviceLimits {
    DeviceLimits {
        storage_binding: 128 << 20,
        buffer: 256 << 20,
        groups_per_dimension: 65_535,
        workgroup_storage: 16_384,
        workgroup_invocations: 256,
        workgroup_size: [256, 256, 64],
        uniform_alignment: 256,
        storage_alignment: 256,
        software: false,
        uniform_binding: 65_536,
        stacked_weights: true,
        forward_memory: u64::MAX,
        submission_work: limits::SUBMISSION_WORK,
    }
}

fn plan_with(config: &LstmConfig, time_steps: usize, batch: usize, limits: &DeviceLimits) -> Result<Plan> {
    Plan::new(&config.0, Precision::F32, Task::forward(Extents::batched(&config.0, time_steps, batch)), limits)
}

fn plan(config: &LstmConfig, time_steps: usize, batch: usize) -> Result<Plan> {
    plan_with(config, time_steps, batch, &limits())
}

/// Returns the kernel of a dispatch, and the layer whose arrays it binds.
fn kernel_and_layer(plan: &Plan, dispatch: &Dispatch) -> (Kernel, usize) {
    let kernels_of_layer = plan.program.bindings.len() / plan.config.num_layers;
    let kernel = plan.program.bindings[dispatch.binding].pipeline.sources.kernel;
    (kernel, dispatch.binding / kernels_of_layer)
}

#[test]
fn every_step_of_every_layer_is_dispatched_once_and_after_its_input() {
    let config = LstmConfig::new(10, 400).with_num_layers(3).with_bidirectional(true);
    // gx of a step is 100·2·1600·4 bytes, so that 52 steps fill its 64 MiB.
    let plan = plan(&config, 150, 100).unwrap();
    assert_eq!(plan.schedule.chunk_steps, 52);
    let params: Vec<ChunkParams> = plan.chunk_params().collect();
    let mut next = Vec::new();
    let stride = 256;
    for dispatch in plan.program.dispatches() {
        let chunk = params[dispatch.chunk_offset as usize / stride];
        let (kernel, layer) = kernel_and_layer(&plan, &dispatch);
        match kernel {
            Kernel::InputProduct | Kernel::InputProductFewRows => {
                let steps = chunk.first_step..chunk.first_step + chunk.steps;
                assert!(next.is_empty(), "the previous chunk's steps are complete");
                next = steps.map(|s| (layer, s)).rev().collect();
                assert_eq!(dispatch.groups, [25, (chunk.steps * 100).div_ceil(64), 2]);
            }
            Kernel::StepOneRow | Kernel::StepFewRows | Kernel::StepManyRows => {
                let index = (dispatch.step_offset as usize / stride - params.len()) as u32;
                assert_eq!(next.pop(), Some((layer, chunk.first_step + index)));
                assert_eq!(dispatch.groups, [25, 4, 2]);
            }
            _ => panic!("neither projected nor small"),
        }
    }
    assert!(next.is_empty());
    assert_eq!(plan.program.dispatches().count(), plan.dispatch_count());
    assert_eq!(plan.dispatch_count(), 3 * (150 + 3));
}

/// Plans a forward by steps on a GPU and on a software adapter.
fn plans_of_steps(config: &LstmConfig, time_steps: usize, batch: usize, workgroup_storage: u32) -> [Result<Plan>; 2] {
    [false, true].map(|software| {
        let roomy = DeviceLimits { storage_binding: 1 << 32, buffer: 1 << 32, ..limits() };
        let limits = DeviceLimits { workgroup_storage, software, ..roomy };
        let task = Task::forward(Extents::batched(&config.0, time_steps, batch));
        Plan::new(&config.0, Precision::F32, Task { strategy: Strategy::Step, ..task }, &limits)
    })
}

#[test]
fn an_ordinary_forward_is_one_submission_and_a_long_one_is_cut() {
    let config = LstmConfig::new(512, 512);
    assert_eq!(plan(&config, 25, 16).unwrap().submission_count(), 1);
    let long = plan(&LstmConfig::new(1024, 1024), 200, 64).unwrap();
    let ends = long.submission_ends();
    assert_eq!(ends.last(), Some(&long.dispatch_count()));
    assert!(ends.len() > 1 && ends.is_sorted());
    let work: Vec<u64> = long.program.dispatches().map(|d| d.work).collect();
    let mut start = 0;
    for end in ends {
        assert!(work[start..end].iter().sum::<u64>() <= limits::SUBMISSION_WORK);
        start = end;
    }
    // Two operations per weight (8·H² of them), row and step.
    assert_eq!(long.flops(), 2 * 8 * 1024 * 1024 * 200 * 64);
}

/// By arithmetic alone, none of these would be cut: dispatches that do almost nothing, weights that are read for one
/// row, and a single product that would be the work of several submissions.
#[test]
fn submissions_stay_short_whatever_takes_their_time() {
    for (config, t, b) in [
        (LstmConfig::new(1, 1), 1_000_000, 1),
        (LstmConfig::new(8, 2048), 2000, 1),
        (LstmConfig::new(8192, 256), 1500, 2),
    ] {
        let limits = DeviceLimits { storage_binding: 1 << 30, buffer: 1 << 30, ..limits() };
        let plan = plan_with(&config, t, b, &limits).unwrap();
        assert!(plan.submission_count() > 1, "{config}");
        assert!(
            plan.program.dispatches().all(|d| d.work < limits::SUBMISSION_WORK + 2 * limits::WORK_PER_DISPATCH),
            "{config}"
        );
    }
}

#[test]
fn a_projection_follows_every_step() {
    let config = LstmConfig::new(10, 40).with_proj_size(7).with_num_layers(2);
    let plan = plan(&config, 3, 5).unwrap();
    let kernels: Vec<_> = plan.program.dispatches().map(|d| kernel_and_layer(&plan, &d).0).collect();
    let of_layer = [&[Kernel::InputProduct][..], &[Kernel::StepFewRows, Kernel::Projection].repeat(3)].concat();
    assert_eq!(kernels, of_layer.repeat(2));
    assert_eq!(plan.dispatch_count(), 14);
    let params: Vec<ChunkParams> = plan.chunk_params().collect();
    assert_eq!((params[1].h_offset, params[1].c_offset, params[1].input_size), (5 * 7, 5 * 40, 7));
    assert_eq!(
        (plan.program.bytes(Name::Output), plan.state_bytes(0), plan.state_bytes(1)),
        (3 * 5 * 7 * 4, 2 * 5 * 7 * 4, 2 * 5 * 40 * 4)
    );
}

#[test]
fn a_plan_explains_what_it_does_and_why() {
    let plan = plan(&LstmConfig::new(10, 400).with_num_layers(3).with_bidirectional(true), 150, 100).unwrap();
    assert_eq!(
        format!("{plan:#}"),
        "LSTM(10, 400, num_layers=3, bidirectional=true) over T = 150, B = 100\n  \
         input product  16 units x 64 rows; 3 chunks of up to 52 steps, gx of 63.48 MiB: \
         more would not keep a GPU busier\n  \
         strategy       step: many rows and units, which share what is read of both\n  \
         workgroup      16 units x 32 rows, sum split 4-fold\n  \
         dispatches     459 in 7 submissions\n  \
         operations     269.760 G, counting a multiply-add as two\n  \
         device memory  252.66 MiB in addition to the weights"
    );
    let small = format!("{plan}");
    assert!(small.starts_with("step (16 units x 32 rows, sum split 4-fold), 150 steps in 3 chunks"), "{small}");
}

/// Each layer's step comes after its input product and the layer below's chunk, in waves that overlap.
#[test]
fn a_wave_runs_every_step_of_every_layer_once_and_in_order() {
    for (layers, t) in [(2, 16), (3, 50), (5, 101), (32, 20)] {
        let config = LstmConfig::new(10, 16).with_num_layers(layers);
        let task = Task::forward(Extents::batched(&config.0, t, 1));
        let plan =
            Plan::new(&config.0, Precision::F32, Task { strategy: Strategy::Wavefront, ..task }, &limits()).unwrap();
        assert_eq!(plan.program.dispatches().count(), plan.dispatch_count());
        assert!(plan.dispatch_count() < layers * t, "{layers} {t}");
        let content = plan.filled_params().unwrap();
        let chunks_at = |dispatch: &Dispatch| -> Vec<ChunkParams> {
            let start = dispatch.chunk_offset as usize + size_of::<SharedParams>();
            let bytes = dispatch.groups[2] as usize * size_of::<ChunkParams>();
            bytemuck::pod_collect_to_vec(&content[start..start + bytes])
        };
        // The progress of the input product and the recurrence of each layer.
        let (mut produced, mut done) = (vec![0; layers], vec![0; layers]);
        for dispatch in plan.program.dispatches() {
            let chunks = chunks_at(&dispatch);
            let (kernel, layer) = kernel_and_layer(&plan, &dispatch);
            if kernel.role() == Role::InputProduct {
                let end = chunks[0].first_step + chunks[0].steps;
                assert!(layer == 0 || done[layer - 1] >= end, "its input is ready");
                produced[layer] = end;
                continue;
            }
            let at = dispatch.step_offset as usize;
            let index: u32 = bytemuck::pod_read_unaligned(&content[at..at + 4]);
            for chunk in chunks.iter().filter(|chunk| index < chunk.steps) {
                let layer = (chunk.h_offset / 16) as usize;
                let step = chunk.first_step + index;
                assert_eq!((step, step < produced[layer]), (done[layer], true), "layer {layer}");
                done[layer] += 1;
            }
        }
        assert_eq!(done, vec![t as u32; layers]);
    }
}
