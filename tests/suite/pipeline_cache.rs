//! Pipeline caches: kernels go through the caller's cache, which must fit the device and come before the first kernel.

use wgpu_rnn::{Device, Error, GpuOptions, wgpu};

use crate::support::{adapter_under_test, bits, gpu, own_device, skipped, small_lstm, under_test, uniform};

/// Creates an empty cache; returns `None` if the device does not support caches.
fn pipeline_cache(device: &Device) -> Option<wgpu::PipelineCache> {
    let (gpu, _) = device.wgpu()?;
    if !gpu.features().contains(wgpu::Features::PIPELINE_CACHE) {
        skipped(format!("{device} has no pipeline caches"));
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
    let expected = small_lstm().to(&gpu).unwrap().forward(&x, None).unwrap().0;

    // Clones share it, whichever it was set on.
    device.clone().set_pipeline_cache(cache.clone()).unwrap();
    assert_eq!(bits(&small_lstm().to(&device).unwrap().forward(&x, None).unwrap().0), bits(&expected));
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
    let error = small_lstm().to(&device).unwrap().forward(&x, None).unwrap_err();
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
