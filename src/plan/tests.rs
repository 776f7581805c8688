use super::*;
use crate::extents::Extents;
use crate::layer::LstmConfig;
use crate::plan::kernel::{Kernel, Role};
use crate::plan::params::{ChunkParams, SharedParams};
use crate::plan::program::Dispatch;

/// wgpu's `Limits::default()`, which every WebGPU device has.
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

/// The kernel of a dispatch, and the layer whose arrays it binds.
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
                assert!(next.is_empty(), "the steps of the chunk before are all there");
                next = steps.map(|s| (layer, s)).rev().collect();
                assert_eq!(dispatch.groups, [25, (chunk.steps * 100).div_ceil(64), 2]);
            }
            Kernel::StepOneRow | Kernel::StepFewRows | Kernel::StepManyRows => {
                let index = (dispatch.step_offset as usize / stride - params.len()) as u32;
                assert_eq!(next.pop(), Some((layer, chunk.first_step + index)));
                assert_eq!(dispatch.groups, [25, 4, 2]);
            }
            Kernel::Projection | Kernel::Sequence => panic!("neither projected nor small"),
        }
    }
    assert!(next.is_empty());
    assert_eq!(plan.program.dispatches().count(), plan.dispatch_count());
    assert_eq!(plan.dispatch_count(), 3 * (150 + 3));
}

/// A forward of steps on a GPU and on a software adapter.
fn plans_of_steps(config: &LstmConfig, time_steps: usize, batch: usize, workgroup_storage: u32) -> [Result<Plan>; 2] {
    [false, true].map(|software| {
        let roomy = DeviceLimits { storage_binding: 1 << 32, buffer: 1 << 32, ..limits() };
        let limits = DeviceLimits { workgroup_storage, software, ..roomy };
        let task = Task::forward(Extents::batched(&config.0, time_steps, batch));
        Plan::new(&config.0, Precision::F32, Task { strategy: Strategy::Step, ..task }, &limits)
    })
}

const BATCHES: [usize; 9] = [1, 2, 4, 5, 8, 9, 16, 64, 200];

#[test]
fn the_tile_does_not_depend_on_the_length() {
    for (batch, hidden) in BATCHES.into_iter().flat_map(|batch| [(batch, 5), (batch, 1024)]) {
        let of_length =
            |t| plans_of_steps(&LstmConfig::new(3, hidden), t, batch, 16_384).map(|plan| plan.unwrap().choice);
        let [one, few, many] = [1, 7, 5000].map(of_length);
        assert!(one == few && few == many, "B = {batch}, H = {hidden}");
    }
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
    // 2 operations for each of 8·H² weights, row and step.
    assert_eq!(long.flops(), 2 * 8 * 1024 * 1024 * 200 * 64);
}

/// Less memory means fewer steps at a time, to the point where a single step does not fit.
#[test]
fn a_forward_stays_within_the_memory_that_it_may_take() {
    let config = LstmConfig::new(64, 128).with_num_layers(3);
    let free = plan(&config, 500, 16).unwrap();
    let with = |forward_memory| plan_with(&config, 500, 16, &DeviceLimits { forward_memory, ..limits() });
    let least = free.device_bytes() - free.program.bytes(Name::Gx);
    for memory in [free.device_bytes(), free.device_bytes() - 1, least + (4 << 20), least + (1 << 20)] {
        let plan = with(memory).unwrap();
        assert!(plan.device_bytes() <= memory, "{} of {memory}", plan.device_bytes());
        assert_eq!(plan.schedule.chunk_steps < free.schedule.chunk_steps, memory < free.device_bytes());
        assert_eq!(plan.choice, free.choice);
    }
    let error = with(least).unwrap_err().to_string();
    assert!(
        error.starts_with("a forward needs ") && error.contains("of the bytes that set_memory_limit allows"),
        "{error}"
    );
}

/// By arithmetic alone none of these would be cut: dispatches that do next to nothing, weights that are read for one row, and
/// a single product that would be the work of several submissions.
#[test]
fn submissions_stay_short_whatever_they_spend_their_time_on() {
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
fn the_chunk_keeps_gx_within_its_budget() {
    // A step takes 16·H·B bytes; 64 MiB hold 1024 of these.
    for (hidden, batch, steps) in [(64, 64, 1024), (128, 32, 1024), (1, 1, MAX_CHUNK_STEPS)] {
        let plan = plan(&LstmConfig::new(1, hidden), 5000, batch).unwrap();
        assert_eq!(plan.schedule.chunk_steps, steps, "{hidden} {batch}");
        assert!(plan.program.bytes(Name::Gx) <= GX_BUDGET);
    }
    // One step that is larger than the budget is a chunk of its own, as long as a binding holds it.
    let plan = plan(&LstmConfig::new(1, 1000), 3, 5000).unwrap();
    assert_eq!((plan.schedule.chunk_steps, plan.program.bytes(Name::Gx)), (1, 80_000_000));
}

#[test]
fn limits_are_named_before_anything_else() {
    let message = |config: LstmConfig, t, b| plan(&config, t, b).unwrap_err().to_string();
    assert_eq!(
        message(LstmConfig::new(1, 1000), 1, 10_000),
        "gx of one time step needs 160000000 of max_storage_buffer_binding_size, the device has 134217728"
    );
    assert_eq!(
        message(LstmConfig::new(1, 1), usize::MAX, 2),
        format!("the input needs {} of max_storage_buffer_binding_size, the device has 134217728", u64::MAX)
    );
    let narrow = DeviceLimits { groups_per_dimension: 10, ..limits() };
    let config = LstmConfig::new(1, 200);
    let error = plan_with(&config, 1, 1, &narrow).unwrap_err().to_string();
    assert_eq!(error, "the input product needs 25 of max_compute_workgroups_per_dimension, the device has 10");
    let little = DeviceLimits { workgroup_storage: 4096, ..limits() };
    let error = plan_with(&config, 1, 1, &little).unwrap_err().to_string();
    assert_eq!(error, "the input product needs 8192 of max_compute_workgroup_storage_size, the device has 4096");
}

/// Those of WebGPU and of OpenGL ES 3.1 (wgpu's downlevel defaults), which leave a little less workgroup memory.
#[test]
fn every_batch_has_a_tile_that_fits_every_device() {
    for (batch, hidden) in BATCHES.into_iter().flat_map(|batch| [(batch, 5), (batch, 1024)]) {
        for workgroup_storage in [16_384, 16_352] {
            for plan in plans_of_steps(&LstmConfig::new(3, hidden), 2, batch, workgroup_storage) {
                plan.unwrap();
            }
        }
    }
}

/// Arithmetic on sizes that nothing holds comes before they are refused.
#[test]
fn sizes_beyond_all_limits_are_refused() {
    for (t, b) in [(16, 1 << 60), (1, usize::MAX), (0, usize::MAX), (usize::MAX, usize::MAX)] {
        let error = plan(&LstmConfig::new(3, 5).with_num_layers(2), t, b).unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{error}");
    }
}

#[test]
fn the_input_products_own_limits_are_checked() {
    let config = LstmConfig::new(3, 5);
    let message = |limits: DeviceLimits| plan_with(&config, 1, 1, &limits).unwrap_err().to_string();
    assert_eq!(
        message(DeviceLimits { workgroup_storage: 8000, ..limits() }),
        "the input product needs 8192 of max_compute_workgroup_storage_size, the device has 8000"
    );
    assert_eq!(
        message(DeviceLimits { workgroup_size: [4, 256, 64], ..limits() }),
        "the input product needs 8 of max_compute_workgroup_size_x, the device has 4"
    );
}

#[test]
fn sizes_beyond_everything_are_limits_too() {
    let deep = LstmConfig::new(1, 1).with_num_layers(100_000);
    let plan_of = |t, b| plan_with(&deep, t, b, &limits());
    // Without rows there is nothing to hold.
    assert_eq!(plan_of(usize::MAX, 0).unwrap().dispatch_count(), 0);
    assert!(plan_of(usize::MAX, usize::MAX).is_err());
    assert_eq!(
        plan_of(20_000_000, 1).unwrap_err().to_string(),
        "the parameters of all chunks needs 125004800000 of max_buffer_size, the device has 268435456"
    );
}

#[test]
fn with_a_projection_every_step_is_followed_by_it() {
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
fn a_plan_says_what_it_does_and_why() {
    let plan = plan(&LstmConfig::new(10, 400).with_num_layers(3).with_bidirectional(true), 150, 100).unwrap();
    assert_eq!(
        format!("{plan:#}"),
        "LSTM(10, 400, num_layers=3, bidirectional=true) over T = 150, B = 100\n  \
         input product  16 units x 64 rows; 3 chunks of up to 52 steps, gx of 63.48 MiB: more would not keep a GPU busier\n  \
         strategy       step: many rows and units, which share what is read of both\n  \
         workgroup      16 units x 32 rows, sum split 4-fold\n  \
         dispatches     459 in 7 submissions\n  \
         operations     269.760 G, a multiply-add counted as two\n  \
         device memory  252.66 MiB beside the weights"
    );
    let small = format!("{plan}");
    assert!(small.starts_with("step (16 units x 32 rows, sum split 4-fold), 150 steps in 3 chunks"), "{small}");
}

fn strategy_of(config: &LstmConfig, time_steps: usize, batch: usize, limits: &DeviceLimits) -> Strategy {
    plan_with(config, time_steps, batch, limits).unwrap().strategy()
}

#[test]
fn the_strategy_follows_from_sizes_and_device() {
    let gpu = limits();
    let software = DeviceLimits { software: true, ..gpu };
    let stack = LstmConfig::new(64, 256).with_num_layers(4);
    for (config, t, b, expected, on_software) in [
        // All weights in registers.
        (LstmConfig::new(64, 64), 100, 1, Strategy::Sequence, Strategy::Sequence),
        (LstmConfig::new(64, 64), 100, 1000, Strategy::Sequence, Strategy::Step),
        // 256 KiB of weights, read anew for each row.
        (LstmConfig::new(64, 128), 100, 16, Strategy::Sequence, Strategy::Step),
        (LstmConfig::new(64, 128), 100, 17, Strategy::Step, Strategy::Step),
        (LstmConfig::new(64, 129), 100, 1, Strategy::Step, Strategy::Step),
        // Layers that overlap, but not where a step keeps a GPU busy, or where there are few.
        (stack.clone(), 100, 1, Strategy::Wavefront, Strategy::Step),
        (stack.clone(), 100, 64, Strategy::Step, Strategy::Step),
        (stack.clone(), 10, 1, Strategy::Step, Strategy::Step),
        (stack.clone().with_bidirectional(true), 100, 1, Strategy::Step, Strategy::Step),
        (stack.clone().with_proj_size(32), 100, 1, Strategy::Step, Strategy::Step),
    ] {
        let name = format!("{config}, T = {t}, B = {b}");
        assert_eq!(strategy_of(&config, t, b, &gpu), expected, "{name}");
        assert_eq!(strategy_of(&config, t, b, &software), on_software, "{name} on a software adapter");
    }
    // 256 invocations own 256 units at most.
    let task = Task::forward(Extents::batched(&LstmConfig::new(1, 257).0, 3, 1));
    let asked = Task { strategy: Strategy::Sequence, ..task };
    assert!(matches!(Plan::new(&LstmConfig::new(1, 257).0, Precision::F32, asked, &gpu), Err(Error::Limit { .. })));
}

/// Each layer's step comes after its input product and the layer below's chunk, in waves that overlap.
#[test]
fn a_wave_takes_every_step_of_every_layer_once_and_in_order() {
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
        // How far the input product and the recurrence of each layer are.
        let (mut produced, mut done) = (vec![0; layers], vec![0; layers]);
        for dispatch in plan.program.dispatches() {
            let chunks = chunks_at(&dispatch);
            let (kernel, layer) = kernel_and_layer(&plan, &dispatch);
            if kernel.role() == Role::InputProduct {
                let end = chunks[0].first_step + chunks[0].steps;
                assert!(layer == 0 || done[layer - 1] >= end, "its input is there");
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

/// Overlapping layers takes room for all their outputs: where it is not there and nobody asked for it, steps do.
#[test]
fn a_wave_that_does_not_fit_gives_way() {
    let config = LstmConfig::new(10, 256).with_num_layers(4);
    let wave = plan(&config, 100, 1).unwrap();
    let less = DeviceLimits { forward_memory: wave.device_bytes() - wave.program.bytes(Name::Gx), ..limits() };
    let steps = plan_with(&config, 100, 1, &less).unwrap();
    assert_eq!(steps.strategy(), Strategy::Step);
    assert!(steps.device_bytes() <= less.forward_memory && steps.choice.why.contains("memory"), "{steps:#}");
    let asked = Task { strategy: Strategy::Wavefront, ..steps.task };
    assert!(matches!(Plan::new(&config.0, Precision::F32, asked, &less), Err(Error::Limit { .. })));
}

/// The largest tile that keeps a large GPU busy; the same for every T.
#[test]
fn the_tile_follows_from_rows_and_units() {
    let size = |hidden: usize, batch: usize| {
        let config = LstmConfig::new(1, hidden);
        let task = Task { strategy: Strategy::Step, ..Task::forward(Extents::batched(&config.0, 1, batch)) };
        Plan::new(&config.0, Precision::F32, task, &limits()).unwrap().choice.recurrence.to_string()
    };
    for (hidden, batch, expected) in [
        (512, 1, "8 units x 1 row, sum split 32-fold"),
        (512, 4, "16 units x 4 rows, sum split 16-fold"),
        (512, 8, "16 units x 8 rows, sum split 8-fold"),
        (512, 16, "8 units x 16 rows, sum split 8-fold"),
        (512, 64, "8 units x 16 rows, sum split 8-fold"),
        (1024, 64, "16 units x 32 rows, sum split 4-fold"),
        (2048, 16, "8 units x 16 rows, sum split 8-fold"),
        (2048, 32, "16 units x 32 rows, sum split 4-fold"),
    ] {
        assert_eq!(size(hidden, batch), expected, "H = {hidden}, B = {batch}");
    }
}

/// Fewer steps at a time save more than gx alone, and cost blocks of chunks: whatever some number of chunks fits is accepted.
#[test]
fn memory_that_some_number_of_chunks_fits_is_enough() {
    for strategy in [Strategy::Step, Strategy::Sequence, Strategy::Wavefront] {
        let config = LstmConfig::new(1, 2).with_num_layers(2);
        let task = Task { strategy, ..Task::forward(Extents::batched(&config.0, 3000, 1)) };
        let with =
            |forward_memory| Plan::new(&config.0, Precision::F32, task, &DeviceLimits { forward_memory, ..limits() });
        let free = with(u64::MAX).unwrap();
        let Error::Limit { need: least, .. } = with(0).unwrap_err() else { panic!("no limit") };
        assert!(least <= free.device_bytes());
        for memory in [free.device_bytes() - 1, free.device_bytes() / 2, least + 5000, least] {
            let plan = with(memory.clamp(least, free.device_bytes())).unwrap();
            assert!(plan.device_bytes() <= memory.max(least), "{strategy} {memory}: {plan:#}");
        }
        assert!(with(least - 1).is_err());
    }
}

/// A device with large workgroups and little memory for them takes smaller ones.
#[test]
fn a_sequence_takes_the_workgroup_that_there_is_memory_for() {
    let large = DeviceLimits { workgroup_invocations: 1024, workgroup_size: [1024, 1024, 64], ..limits() };
    for (hidden, invocations) in [(65, 256), (100, 256), (256, 256), (257, 1024), (1000, 1024)] {
        let config = LstmConfig::new(1, hidden);
        let task = Task { strategy: Strategy::Sequence, ..Task::forward(Extents::batched(&config.0, 3, 1)) };
        let of_invocations = |n| DeviceLimits { workgroup_invocations: n, ..large };
        let runs = Plan::new(&config.0, Precision::F32, task, &of_invocations(invocations)).is_ok();
        assert_eq!(Plan::new(&config.0, Precision::F32, task, &large).is_ok(), runs, "{hidden}");
    }
}

/// A strategy that was timed and found the fastest was not asked for: where it does not fit, steps do.
#[test]
fn what_was_timed_gives_way_as_well() {
    let config = LstmConfig::new(4, 65).with_num_layers(6);
    let task = Task::forward(Extents::batched(&config.0, 400, 4));
    let steps = Plan::new(&config.0, Precision::F32, Task { strategy: Strategy::Step, ..task }, &limits()).unwrap();
    let tuned = Task { tuned: Some(Strategy::Wavefront), ..task };
    let wave = Plan::new(&config.0, Precision::F32, tuned, &limits()).unwrap();
    assert_eq!(
        (wave.strategy(), wave.choice.why),
        (Strategy::Wavefront, "the fastest when it was timed on this device")
    );
    let less = DeviceLimits { forward_memory: steps.device_bytes(), ..limits() };
    assert_eq!(Plan::new(&config.0, Precision::F32, tuned, &less).unwrap().strategy(), Strategy::Step);
}
