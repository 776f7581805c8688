//! Choosing a device, and using a caller's own.

use wgpu_rnn::{Device, Error, GpuOptions, Lstm, LstmBuffers, LstmConfig, wgpu};

use crate::compare::{Tolerance, compare};
use crate::support::{gpu, own_device, skipped, small_lstm, uniform};

#[test]
fn auto_always_returns_a_device_that_works() {
    let device = Device::auto();
    assert!(!device.reason().is_empty());
    // A software adapter is only chosen if it was named.
    let named = std::env::var_os("WGPU_ADAPTER_NAME").is_some();
    let is_software = device.adapter_info().is_some_and(|info| info.device_type == wgpu::DeviceType::Cpu);
    assert!(named || !is_software, "{device}");
    small_lstm().to(&device).unwrap().forward(&uniform(&[2, 2, 3], 2), None).unwrap();
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
    let expected = small_lstm().to(&gpu().unwrap()).unwrap().forward(&x, None).unwrap().0;
    {
        let borrowed = Device::from_wgpu(device.clone(), queue.clone());
        assert_eq!(borrowed.reason(), "the caller's own device");
        let output = small_lstm().to(&borrowed).unwrap().forward(&x, None).unwrap().0;
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
        [Err(error @ Error::NoAdapter { .. }), _] => return skipped(error),
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
                small_lstm().to(&device).unwrap().forward(&uniform(&[2, 2, 3], 2), None).unwrap();
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
