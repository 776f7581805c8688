//! Plans stay within the limits of the device and of the memory, or name the limit.

use super::*;

/// Less memory means fewer steps at a time, down to the point where a single step does not fit.
#[test]
fn a_forward_stays_within_its_memory_limit() {
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

#[test]
fn the_chunk_keeps_gx_within_its_budget() {
    // A step takes 16·H·B bytes; 64 MiB hold 1024 of these.
    for (hidden, batch, steps) in [(64, 64, 1024), (128, 32, 1024), (1, 1, MAX_CHUNK_STEPS)] {
        let plan = plan(&LstmConfig::new(1, hidden), 5000, batch).unwrap();
        assert_eq!(plan.schedule.chunk_steps, steps, "{hidden} {batch}");
        assert!(plan.program.bytes(Name::Gx) <= GX_BUDGET);
    }
    // One step that is larger than the budget is a chunk of its own, as long as it fits a binding.
    let plan = plan(&LstmConfig::new(1, 1000), 3, 5000).unwrap();
    assert_eq!((plan.schedule.chunk_steps, plan.program.bytes(Name::Gx)), (1, 80_000_000));
}

#[test]
fn exceeded_limits_are_reported_before_anything_else() {
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

/// Arithmetic on sizes that nothing can hold comes before they are rejected.
#[test]
fn sizes_beyond_all_limits_are_rejected() {
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
fn huge_sizes_are_limit_errors_too() {
    let deep = LstmConfig::new(1, 1).with_num_layers(100_000);
    let plan_of = |t, b| plan_with(&deep, t, b, &limits());
    // Without rows there is nothing to hold.
    assert_eq!(plan_of(usize::MAX, 0).unwrap().dispatch_count(), 0);
    assert!(plan_of(usize::MAX, usize::MAX).is_err());
    assert_eq!(
        plan_of(20_000_000, 1).unwrap_err().to_string(),
        "the parameter buffer needs 125004800000 of max_buffer_size, the device has 268435456"
    );
}

/// Fewer steps at a time save more than gx alone, but cost blocks of chunks: any limit that some number of chunks
/// satisfies is accepted.
#[test]
fn a_memory_limit_that_some_number_of_chunks_satisfies_is_enough() {
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
