//! The strategy and the tiles follow from the sizes and the device.

use super::*;

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

/// Covers WebGPU and OpenGL ES 3.1 (wgpu's downlevel defaults), which leave slightly less workgroup memory.
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
        // 256 KiB of weights, read again for each row.
        (LstmConfig::new(64, 128), 100, 16, Strategy::Sequence, Strategy::Step),
        (LstmConfig::new(64, 128), 100, 17, Strategy::Step, Strategy::Step),
        (LstmConfig::new(64, 129), 100, 1, Strategy::Step, Strategy::Step),
        // Overlapping layers, except if a step keeps a GPU busy or there are few steps.
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
    // 256 invocations own at most 256 units.
    let task = Task::forward(Extents::batched(&LstmConfig::new(1, 257).0, 3, 1));
    let asked = Task { strategy: Strategy::Sequence, ..task };
    assert!(matches!(Plan::new(&LstmConfig::new(1, 257).0, Precision::F32, asked, &gpu), Err(Error::Limit { .. })));
}

/// Overlapping layers needs room for all their outputs: if it is missing and the wavefront was not requested, the plan
/// uses steps.
#[test]
fn a_wave_that_does_not_fit_gives_way_to_steps() {
    let config = LstmConfig::new(10, 256).with_num_layers(4);
    let wave = plan(&config, 100, 1).unwrap();
    let less = DeviceLimits { forward_memory: wave.device_bytes() - wave.program.bytes(Name::Gx), ..limits() };
    let steps = plan_with(&config, 100, 1, &less).unwrap();
    assert_eq!(steps.strategy(), Strategy::Step);
    assert!(steps.device_bytes() <= less.forward_memory && steps.choice.why.contains("memory"), "{steps:#}");
    let asked = Task { strategy: Strategy::Wavefront, ..steps.task };
    assert!(matches!(Plan::new(&config.0, Precision::F32, asked, &less), Err(Error::Limit { .. })));
}

/// The tile is the largest that keeps a large GPU busy, and the same for every T.
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

/// A device with large workgroups and little memory for them gets smaller ones.
#[test]
fn a_sequence_uses_a_workgroup_that_fits_the_memory() {
    let large = DeviceLimits { workgroup_invocations: 1024, workgroup_size: [1024, 1024, 64], ..limits() };
    for (hidden, invocations) in [(65, 256), (100, 256), (256, 256), (257, 1024), (1000, 1024)] {
        let config = LstmConfig::new(1, hidden);
        let task = Task { strategy: Strategy::Sequence, ..Task::forward(Extents::batched(&config.0, 3, 1)) };
        let of_invocations = |n| DeviceLimits { workgroup_invocations: n, ..large };
        let runs = Plan::new(&config.0, Precision::F32, task, &of_invocations(invocations)).is_ok();
        assert_eq!(Plan::new(&config.0, Precision::F32, task, &large).is_ok(), runs, "{hidden}");
    }
}

/// A strategy that was found fastest by timing was not requested: if it does not fit, the plan uses steps.
#[test]
fn a_timed_strategy_that_does_not_fit_gives_way_to_steps() {
    let config = LstmConfig::new(4, 65).with_num_layers(6);
    let task = Task::forward(Extents::batched(&config.0, 400, 4));
    let steps = Plan::new(&config.0, Precision::F32, Task { strategy: Strategy::Step, ..task }, &limits()).unwrap();
    let tuned = Task { tuned: Some(Strategy::Wavefront), ..task };
    let wave = Plan::new(&config.0, Precision::F32, tuned, &limits()).unwrap();
    assert_eq!((wave.strategy(), wave.choice.why), (Strategy::Wavefront, "the fastest when timed on this device"));
    let less = DeviceLimits { forward_memory: steps.device_bytes(), ..limits() };
    assert_eq!(Plan::new(&config.0, Precision::F32, tuned, &less).unwrap().strategy(), Strategy::Step);
}
