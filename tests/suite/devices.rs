//! Choosing a device, a caller's own device, pipeline caches, small limits, and losing a device.

use std::io::Write;

use wgpu_rnn::{
    Device, Error, GpuOptions, Gru, GruConfig, Lstm, LstmBuffers, LstmConfig, Mode, Precision, Strategy, Tensor, wgpu,
};

use crate::compare::{Tolerance, compare};
use crate::support::{adapter_under_test, bits, gpu, own_device, slice, under_test, uniform};

/// Prints the reason for skipping a test. Written directly to stderr, because the output of a passing test is hidden.
fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED, {why}: {test}");
}

fn model() -> Lstm {
    Lstm::random(LstmConfig::new(3, 5), 1).unwrap()
}

#[test]
fn auto_always_returns_a_device_that_works() {
    let device = Device::auto();
    assert!(!device.reason().is_empty());
    // A software adapter is only chosen if it was named.
    let named = std::env::var_os("WGPU_ADAPTER_NAME").is_some();
    let is_software = device.adapter_info().is_some_and(|info| info.device_type == wgpu::DeviceType::Cpu);
    assert!(named || !is_software, "{device}");
    model().to(&device).unwrap().forward(&uniform(&[2, 2, 3], 2), None).unwrap();
}

#[test]
fn a_missing_adapter_is_an_error_that_lists_the_available_ones() {
    let error = Device::gpu(&GpuOptions::new().with_name("no such adapter")).unwrap_err();
    let Error::NoAdapter { found, .. } = &error else { panic!("{error}") };
    assert!(error.to_string().contains("with \"no such adapter\" in its name"), "{error}");
    if gpu().is_some() {
        assert!(!found.is_empty());
    }
    let error = Device::gpu(&GpuOptions::new().with_backends(wgpu::Backends::empty())).unwrap_err();
    assert!(
        error.to_string().starts_with("no GPU adapter for the chosen backends, of which this build or system has none"),
        "{error}"
    );
}

#[test]
fn an_adapter_is_found_by_part_of_its_name() {
    let Some(gpu) = gpu() else { return };
    let name = gpu.adapter_info().unwrap().name.to_uppercase();
    let part: String = name.chars().take(6).collect();
    let found = Device::gpu(&GpuOptions::new().with_name(part.clone())).unwrap();
    assert!(found.adapter_info().unwrap().name.to_uppercase().contains(&part));
    assert!(found.to_string().contains(&found.adapter_info().unwrap().name));
    assert!(!Device::adapters().is_empty());
}

#[test]
fn a_callers_device_is_used_and_left_alone() {
    if gpu().is_none() {
        return;
    }
    let (device, queue) = own_device(|_| {});
    let x = uniform(&[4, 2, 3], 3);
    let expected = model().to(&gpu().unwrap()).unwrap().forward(&x, None).unwrap().0;
    {
        let borrowed = Device::from_wgpu(device.clone(), queue.clone());
        assert_eq!(borrowed.reason(), "the caller's own device");
        let output = model().to(&borrowed).unwrap().forward(&x, None).unwrap().0;
        // Other features mean other kernels.
        compare("on a caller's device", output.data(), expected.data(), Tolerance::of_f32_sum(32)).unwrap();
    }
    // All of the crate's objects are gone, and the device still works.
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let usage = wgpu::BufferUsages::COPY_DST;
    let buffer =
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false });
    queue.write_buffer(&buffer, 0, &[0; 16]);
    queue.submit([]);
    assert!(pollster::block_on(scope.pop()).is_none());
}

#[test]
fn opengl_devices_can_tell_each_others_buffers_apart() {
    let opengl = GpuOptions::new().with_backends(wgpu::Backends::GL);
    let [own, other] = match [Device::gpu(&opengl), Device::gpu(&opengl)] {
        [Ok(own), Ok(other)] => [own, other],
        [Err(error @ Error::NoAdapter { .. }), _] => return skipped(&error.to_string()),
        [own, other] => panic!("{own:?}, {other:?}"),
    };
    let make = |device: &Device| {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: None, size: 64, usage, mapped_at_creation: false };
        device.wgpu().unwrap().0.create_buffer(&descriptor)
    };
    let ([output, h, c], foreign) = ([(); 3].map(|()| make(&own)), make(&other));
    let model = Lstm::random(LstmConfig::new(1, 1), 1).unwrap().to(&own).unwrap();
    let mut encoder = own.wgpu().unwrap().0.create_command_encoder(&Default::default());
    let error = model.encode(&mut encoder, 1, 1, &LstmBuffers::new(&foreign, &output, &h, &c)).unwrap_err();
    assert!(matches!(error, Error::Gpu { during: "binding buffers", .. }), "{error}");
}

#[test]
fn every_gpu_is_opened_once_and_found_by_its_bus_id() {
    let real = |info: &wgpu::AdapterInfo| info.device_type != wgpu::DeviceType::Cpu;
    let named = std::env::var("WGPU_ADAPTER_NAME").is_ok_and(|name| !name.is_empty());
    match Device::gpus() {
        Ok(gpus) => {
            assert!(!gpus.is_empty());
            for device in gpus {
                let info = device.adapter_info().unwrap();
                assert!(named || real(info), "{device}");
                if !info.device_pci_bus_id.is_empty() {
                    let options = GpuOptions::new().with_pci_bus_id(info.device_pci_bus_id.clone());
                    let found = Device::gpu(&options).unwrap();
                    assert_eq!(found.adapter_info().unwrap().device_pci_bus_id, info.device_pci_bus_id);
                }
                model().to(&device).unwrap().forward(&uniform(&[2, 2, 3], 2), None).unwrap();
            }
        }
        Err(Error::NoAdapter { .. }) => assert!(!Device::auto().is_gpu()),
        Err(error) => panic!("{error}"),
    }
    let wanted = |id: &str| Device::gpu(&GpuOptions::new().with_pci_bus_id(id)).unwrap_err().to_string();
    assert!(wanted("ffff:ff:1f.7").contains(" at PCI bus id ffff:ff:1f.7; "), "{}", wanted("ffff:ff:1f.7"));
    let malformed = wanted("second");
    assert!(malformed.contains(r#"at PCI bus id "second", which is not of the form "0000:01:00.0""#), "{malformed}");
}

/// In `async` code, the same options open the same devices.
#[test]
fn async_calls_open_the_same_devices_as_blocking_calls() {
    let auto = pollster::block_on(GpuOptions::new().open_or_cpu());
    assert_eq!((auto.to_string(), auto.reason()), (Device::auto().to_string(), Device::auto().reason()));
    let nothing = pollster::block_on(GpuOptions::new().with_name("no such adapter").open_or_cpu());
    assert!(!nothing.is_gpu() && nothing.reason().contains("no such adapter"), "{}", nothing.reason());
    let Some(gpu) = gpu() else { return };
    let opened = pollster::block_on(GpuOptions::new().open()).unwrap();
    assert_eq!((opened.to_string(), opened.reason()), (gpu.to_string(), gpu.reason()));
    // A named adapter is used, software or not.
    let named = pollster::block_on(GpuOptions::new().with_name(&gpu.adapter_info().unwrap().name).open_or_cpu());
    assert!(named.is_gpu(), "{named}");
}

#[test]
fn a_cpu_device_has_at_least_one_thread() {
    assert_eq!(Device::cpu_with(0).unwrap_err().to_string(), "threads: expected at least 1, got 0");
    let device = Device::cpu_with(3).unwrap();
    assert_eq!(
        (device.to_string(), device.reason()),
        ("CPU".to_owned(), "the CPU was requested, with at most 3 threads")
    );
}

/// Creates an empty cache; returns `None` if the device does not support caches.
fn pipeline_cache(device: &Device) -> Option<wgpu::PipelineCache> {
    let (gpu, _) = device.wgpu()?;
    if !gpu.features().contains(wgpu::Features::PIPELINE_CACHE) {
        skipped(&format!("{device} has no pipeline caches"));
        return None;
    }
    let descriptor = wgpu::PipelineCacheDescriptor { label: None, data: None, fallback: true };
    // SAFETY: the requirements concern the data, and there is none.
    #[allow(unsafe_code)]
    let cache = unsafe { gpu.create_pipeline_cache(&descriptor) };
    Some(cache)
}

#[test]
fn kernels_go_through_a_pipeline_cache_and_give_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let device = under_test(Device::gpu(&GpuOptions::new()).unwrap());
    let Some(cache) = pipeline_cache(&device) else { return };
    let x = uniform(&[4, 2, 3], 3);
    let expected = model().to(&gpu).unwrap().forward(&x, None).unwrap().0;

    // Clones share it, whichever it was set on.
    device.clone().set_pipeline_cache(cache.clone()).unwrap();
    assert_eq!(bits(&model().to(&device).unwrap().forward(&x, None).unwrap().0), bits(&expected));
    assert!(!cache.get_data().unwrap().is_empty());

    // Kernels that are already compiled would be missing from the cache.
    assert_eq!(
        device.set_pipeline_cache(cache.clone()).unwrap_err().to_string(),
        "a pipeline cache on a device that has compiled kernels is not supported: they would be missing from it; \
         set it before the first model runs"
    );

    // The cache is used: one of another device is rejected. Both devices belong to one instance, as wgpu cannot tell
    // the objects of two instances apart.
    let adapter = adapter_under_test();
    let open = || {
        let required_features = adapter.features() & Device::optional_features();
        let descriptor = wgpu::DeviceDescriptor { required_features, ..Default::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
        Device::from_wgpu(device, queue)
    };
    let (device, other) = (open(), open());
    device.set_pipeline_cache(pipeline_cache(&other).unwrap()).unwrap();
    let error = model().to(&device).unwrap().forward(&x, None).unwrap_err();
    assert!(matches!(error, Error::Gpu { during: "compiling a kernel", .. }), "{error}");
    // Of another device, but no buffer.
    assert!(
        error.to_string().starts_with("wgpu rejected a call while compiling a kernel: Validation Error"),
        "{error}"
    );
}

#[test]
fn a_pipeline_cache_that_cannot_be_used_is_rejected() {
    let Some(gpu) = gpu() else { return };
    let Some(cache) = pipeline_cache(&gpu) else { return };
    assert_eq!(
        Device::cpu().set_pipeline_cache(cache.clone()).unwrap_err().to_string(),
        "a pipeline cache on the CPU is not supported: place the model on a GPU device"
    );
    // A caller's device that was opened without the feature.
    let (device, queue) = own_device(|_| {});
    let device = Device::from_wgpu(device, queue);
    assert_eq!(
        device.set_pipeline_cache(cache).unwrap_err().to_string(),
        format!(
            "a pipeline cache on {device} is not supported: the device was opened without Features::PIPELINE_CACHE"
        )
    );
}

#[test]
fn limits_of_a_device_are_named() {
    if gpu().is_none() {
        return;
    }
    let (device, queue) = own_device(|limits| {
        limits.max_storage_buffer_binding_size = 4096;
        limits.max_compute_workgroups_per_dimension = 100;
    });
    let small = Device::from_wgpu(device, queue);
    let message = |result: Result<(), Error>| result.unwrap_err().to_string();

    let wide = Lstm::random(LstmConfig::new(3, 64), 0).unwrap();
    assert_eq!(
        message(wide.to(&small).map(drop)),
        "w_hh of layer 0 needs 65536 of max_storage_buffer_binding_size, the device has 4096"
    );
    let model = Lstm::random(LstmConfig::new(3, 8), 0).unwrap().to(&small).unwrap();
    let forward = |t: usize, b: usize| message(model.forward(&uniform(&[t, b, 3], 0), None).map(drop));
    assert_eq!(
        forward(1, 33),
        "gx of one time step needs 4224 of max_storage_buffer_binding_size, the device has 4096"
    );
    assert_eq!(forward(400, 1), "the input needs 4800 of max_storage_buffer_binding_size, the device has 4096");
    assert_eq!(forward(200, 1), "the output needs 6400 of max_storage_buffer_binding_size, the device has 4096");

    // A shape that fits runs, in as many chunks as the small binding requires, and gives the same bits as in one chunk.
    let x = uniform(&[120, 1, 3], 1);
    assert!(
        model.plan(120, 1).unwrap().to_string().contains("120 steps in 4 chunks"),
        "{}",
        model.plan(120, 1).unwrap()
    );
    // The same features, so that the kernels are the same.
    let (device, queue) = own_device(|_| {});
    let large = Device::from_wgpu(device, queue);
    let whole = Lstm::random(LstmConfig::new(3, 8), 0).unwrap().to(&large).unwrap();
    assert!(whole.plan(120, 1).unwrap().to_string().contains("120 steps in 1 chunk,"));
    assert_eq!(bits(&model.forward(&x, None).unwrap().0), bits(&whole.forward(&x, None).unwrap().0));

    // Chunks, both directions and batch-first layout: every stride differs.
    let config = LstmConfig::new(2, 3).with_num_layers(3).with_bidirectional(true).with_batch_first(true);
    let lstm = Lstm::random(config, 2).unwrap();
    let x = uniform(&[3, 40, 2], 3);
    let (in_chunks, whole) = (lstm.to(&small).unwrap(), lstm.to(&large).unwrap());
    assert!(
        in_chunks.plan(40, 3).unwrap().as_gpu().unwrap().dispatch_count()
            > whole.plan(40, 3).unwrap().as_gpu().unwrap().dispatch_count()
    );
    let (a, b) = (in_chunks.forward(&x, None).unwrap(), whole.forward(&x, None).unwrap());
    assert_eq!((bits(&a.0), bits(&a.1.h), bits(&a.1.c)), (bits(&b.0), bits(&b.1.h), bits(&b.1.c)));
}

#[test]
fn a_small_workgroup_is_named() {
    if gpu().is_none() {
        return;
    }
    let (device, queue) = own_device(|limits| limits.max_compute_invocations_per_workgroup = 32);
    let model = Lstm::random(LstmConfig::new(1, 1), 0).unwrap().to(&Device::from_wgpu(device, queue)).unwrap();
    assert_eq!(
        model.forward(&uniform(&[1, 1, 1], 0), None).unwrap_err().to_string(),
        "the input product needs 64 of max_compute_invocations_per_workgroup, the device has 32"
    );
}

#[test]
fn a_lost_device_is_an_error_not_a_panic() {
    if gpu().is_none() {
        return;
    }
    let x = uniform(&[4, 2, 3], 3);
    // A device opened by the crate learns of its loss.
    let own = Device::gpu(&GpuOptions::new()).unwrap();
    let model_on_own = model().to(&own).unwrap();
    model_on_own.forward(&x, None).unwrap();
    own.wgpu().unwrap().0.destroy();
    for _ in 0..2 {
        let error = model_on_own.forward(&x, None).unwrap_err();
        assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
    }
    assert!(matches!(model().to(&own), Err(Error::DeviceLost { .. })));

    // A caller's device reports nothing until a result is waited for: still an error, whichever call is first.
    let (device, queue) = own_device(|_| {});
    let model = model().to(&Device::from_wgpu(device.clone(), queue)).unwrap();
    model.forward(&x, None).unwrap();
    device.destroy();
    for _ in 0..2 {
        let error = model.forward(&x, None).unwrap_err();
        assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
    }
}

/// wgpu runs a program's own callbacks on whichever thread polls; a panic resumes there, and the device stays usable.
#[test]
fn a_panic_in_a_callback_of_the_program_is_no_device_loss() {
    if gpu().is_none() {
        return;
    }
    let (device, queue) = own_device(|_| {});
    let model = model().to(&Device::from_wgpu(device.clone(), queue)).unwrap();
    let x = uniform(&[4, 2, 3], 3);
    let expected = bits(&model.forward(&x, None).unwrap().0);
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let readback =
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false });
    readback.map_async(wgpu::MapMode::Read, .., |_| panic!("deliberate"));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.forward(&x, None)));
    assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "deliberate");
    assert_eq!(bits(&model.forward(&x, None).unwrap().0), expected);
}

#[test]
fn a_dropped_forward_leaves_the_model_usable() {
    use std::task::{Context, Waker};
    let Some(gpu) = gpu() else { return };
    let model = model().to(&gpu).unwrap();
    let x = uniform(&[40, 2, 3], 4);
    let expected = model.forward(&x, None).unwrap().0;
    for _ in 0..3 {
        let mut future = model.request(&x).into_future();
        // Far enough to have submitted work.
        let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(future);
    }
    assert_eq!(bits(&model.forward(&x, None).unwrap().0), bits(&expected));
}

#[test]
fn a_long_sequence_runs_in_several_chunks() {
    let Some(gpu) = gpu() else { return };
    // More steps than a chunk can have (4096), in the smallest model.
    let lstm = Lstm::random(LstmConfig::new(1, 1), 5).unwrap();
    let x = uniform(&[9000, 1], 6);
    let model = lstm.to(&gpu).unwrap();
    let (expected, _) = crate::support::oracle(&lstm, &x, None);
    for (strategy, dispatches) in [(Strategy::Step, 9003), (Strategy::Sequence, 6)] {
        model.set_strategy(strategy).unwrap();
        // Submissions on OpenGL's software adapters are short, and a dispatch is not longer than a submission.
        if gpu.adapter_info().unwrap().backend != wgpu::Backend::Gl {
            assert_eq!(model.plan(9000, 1).unwrap().as_gpu().unwrap().dispatch_count(), dispatches);
        }
        let (output, _): (Tensor, _) = model.forward(&x, None).unwrap();
        let tolerance = Tolerance::of_f32_sum(4);
        compare(strategy.name(), output.data(), expected.data(), tolerance).unwrap();
    }
}

/// Returns the bytes of this crate's buffers on a device, as counted by wgpu; `None` if it does not count them.
fn bytes_on(device: &Device) -> Option<u64> {
    let (device, _) = device.wgpu().unwrap();
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let report = device.generate_allocator_report()?;
    let own = report.allocations.iter().filter(|allocation| allocation.name.starts_with("wgpu-rnn"));
    Some(own.map(|allocation| allocation.size).sum())
}

/// Buffers that a push leaves for the next one are no reason to exceed the memory limit of a forward.
#[test]
fn streams_stay_within_the_memory_limit_of_a_forward() {
    if gpu().is_none() {
        return;
    }
    let device = Device::gpu(&GpuOptions::new()).unwrap();
    let model = Gru::random(GruConfig::new(1, 8), 1).unwrap().to(&device).unwrap();
    model.set_strategy(Strategy::Step).unwrap();
    let mut streams = model.streams(4096).run().unwrap();
    let slots = streams.slots().to_vec();
    let Some(before) = bytes_on(&device) else { return };
    let limit = model.plan(1, 4096).unwrap().device_bytes() + 50_000;
    model.set_memory_limit(limit);
    let mut push = |rows: usize, steps: usize| {
        let chunk = Tensor::zeros([steps, rows, 1]).unwrap();
        streams.request(&chunk).slots(&slots[..rows]).run().unwrap();
        bytes_on(&device).unwrap() - before
    };
    // A long push, then a wide one; together they would exceed the limit.
    for (rows, steps) in [(1, 8000), (4096, 1), (1, 8000)] {
        let taken = push(rows, steps);
        assert!(taken <= limit, "{taken} bytes of {limit}, {rows} rows of {steps} steps");
    }
    let lower = limit / 2;
    model.set_memory_limit(lower);
    let taken = push(1, 1);
    assert!(taken <= lower, "{taken} bytes of {lower}");
}

/// After `warm_up`, a forward creates no buffers, in training mode either.
#[test]
fn a_forward_after_warm_up_creates_nothing() {
    if gpu().is_none() {
        return;
    }
    for training in [false, true] {
        let device = Device::gpu(&GpuOptions::new()).unwrap();
        let config = GruConfig::new(5, 40).with_num_layers(2).with_dropout(0.5);
        let model = Gru::random(config, 1).unwrap().to(&device).unwrap();
        if training {
            model.set_mode(Mode::Training { seed: 1 });
        }
        model.warm_up(&[60, 9, 5]).run().unwrap();
        let before = bytes_on(&device);
        model.forward(&uniform(&[60, 9, 5], 2), None).unwrap();
        assert_eq!(bytes_on(&device), before, "training: {training}");
    }
}

#[test]
fn less_memory_gives_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let model = Lstm::random(LstmConfig::new(5, 40).with_num_layers(2), 1).unwrap().to(&gpu).unwrap();
    let x = uniform(&[60, 9, 5], 2);
    model.warm_up(&[60, 9, 5]).run().unwrap();
    let (free, (expected, _)) = (model.plan(60, 9).unwrap(), model.forward(&x, None).unwrap());
    model.set_memory_limit(free.device_bytes() - 200_000);
    let bounded = model.plan(60, 9).unwrap();
    assert!(
        bounded.device_bytes() <= free.device_bytes() - 200_000
            && bounded.as_gpu().unwrap().dispatch_count() > free.as_gpu().unwrap().dispatch_count()
    );
    assert_eq!(bits(&model.forward(&x, None).unwrap().0), bits(&expected));
    model.set_memory_limit(1000);
    assert!(matches!(
        model.forward(&x, None),
        Err(Error::Limit { limit: "the bytes that set_memory_limit allows", .. })
    ));
    // Selecting a strategy takes no memory, so it succeeds.
    model.set_strategy(Strategy::Step).unwrap();
    model.set_strategy(Strategy::Auto).unwrap();
    // The same holds for streams, for which buffers already exist.
    model.set_memory_limit(u64::MAX);
    let mut streams = model.streams(9).run().unwrap();
    streams.push(&x).unwrap();
    model.set_memory_limit(1000);
    assert!(matches!(streams.push(&x), Err(Error::Limit { .. })));
    model.set_memory_limit(u64::MAX);
    streams.push(&x).unwrap();

    let cpu = Lstm::random(LstmConfig::new(5, 4), 1).unwrap().to(&Device::cpu()).unwrap();
    cpu.warm_up(&[6, 2, 5]).run().unwrap();
    assert!(matches!(cpu.warm_up(&[6, 2, 4]).run(), Err(Error::Shape { .. })));
}

/// A device's largest buffer may be smaller than its largest binding. A shape that a plan accepts runs, and a stream's
/// spare capacity is no reason to fail.
#[test]
fn buffers_that_are_smaller_than_bindings_are_respected() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = own_device(|limits| limits.max_buffer_size = 1 << 20);
    let small = under_test(Device::from_wgpu(device, queue));
    let lstm = Lstm::random(LstmConfig::new(1, 64), 1).unwrap();
    let x = uniform(&[100, 16, 1], 2);
    let expected = lstm.to(&gpu).unwrap().forward(&x, None).unwrap().0;
    let placed = lstm.to(&small).unwrap();
    placed.plan(100, 16).unwrap();
    assert_eq!(bits(&placed.forward(&x, None).unwrap().0), bits(&expected));
    // A push of 65 steps reserves room for 128, whose arrays would be too large.
    let mut streams = placed.streams(16).run().unwrap();
    let pieces = [(0..65), (65..100)].map(|steps| streams.push(&slice(&x, 0, steps)).unwrap());
    assert_eq!(bits(&pieces[0]), bits(&slice(&expected, 0, 0..65)));
    assert_eq!(bits(&pieces[1]), bits(&slice(&expected, 0, 65..100)));

    let stack = Lstm::random(LstmConfig::new(3, 65).with_num_layers(3), 1).unwrap();
    let x = uniform(&[7, 65, 3], 2);
    let precision = |device: &Device| stack.place(device).precision(Precision::F16).run().unwrap();
    let expected = precision(&gpu).forward(&x, None).unwrap().0;
    assert_eq!(bits(&precision(&small).forward(&x, None).unwrap().0), bits(&expected));
}
